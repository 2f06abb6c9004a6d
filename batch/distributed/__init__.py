"""Many jobs on an engine: a manifest of jobs, their shards as tasks of a Dask cluster, and their results put together.

    manifest.py     JOBS.toml -> jobs, each with the options of `update`
    shard_task.py   what a worker does: one shard of one job, by the library
    submit.py       all shards of all jobs on a cluster, to their end
    summary.py      what became of the jobs, and the worst exit code

Promises: a task can be run again, by any worker, at any time: nothing is lost, and nothing is sent twice. No key goes
through the cluster: workers read files, variables or commands of their own machine. Only `shard_task` and `submit` know
Dask.
"""
