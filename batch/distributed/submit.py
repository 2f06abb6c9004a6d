"""All shards of all jobs of a manifest as tasks of a Dask cluster, to their end.

Promises: a cluster that was started for this ends with it; a stop ends every shard in order, as Ctrl-C does; the same
manifest again goes on with what is left: what had finished stands, until all of it has. A shard whose worker died, or
that another worker still holds, is done again.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from math import ceil
from os import cpu_count
from pathlib import Path
from secrets import token_hex
from traceback import extract_tb
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import dask
from distributed import Client, KilledWorker, LocalCluster

from batch.distributed.manifest import Job, Manifest, in_sandbox, sandbox_key
from batch.distributed.shard_runs import look_up, seen_here
from batch.distributed.shard_task import LOST, NOT_SHARED, STOPS, ShardTask, as_task
from batch.distributed.summary import (
    JobSummary,
    ShardEnd,
    SubmitSummary,
    add_up,
    code_of,
    has_changed,
    state_of_job,
    worst,
)
from batch.endpoints import ENDPOINTS
from batch.errors import NOTHING_SENT, BatchError, ExitCode, FolderError, UsageError
from batch.machine import now_text
from batch.model import shorten, visible
from batch.run.latest import LATEST
from batch.run.merge import find_merged, merge_runs
from batch.run.summary_file import read_summary
from batch.run.target import sandbox_of
from batch.summary import Files, Outcomes

BUSY_SECONDS: Final = 5.0
"""After which a shard that another start holds is tried again; each time so much later than before."""
BUSY_MOST: Final = 60.0
FIRST_SECONDS: Final = 20.0
"""For so long a job's other shards leave the processors to its first one, which can use all of the key's limit."""
LOOK_SECONDS: Final = 0.2
"""How often it is looked which shards are over."""
MOST_THREADS: Final = 16
"""Shards that one worker process of a local cluster does at once."""
LOST_WORKERS: Final = 100
"""Workers that may die over one shard: it goes on where the last one was, whoever died."""
FROZEN_SECONDS: Final = 45
"""After which a worker of a local cluster that says nothing is killed, and started anew."""
CONNECT_SECONDS: Final = 20
CHANGED: Final = (
    "{input} changed while its shards were read: some had another version than others, so their results are not put "
    "together. Leave it as it is, and run the same command again: it does what is left of this version."
)
INSTALL: Final = "Install the same version of batch, with what it needs, for all workers."
NOT_BEGUN: Final = "It was stopped before it began."
NO_SIGNALS: Final = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Run by each local worker: Ctrl-C is for the process that submits, which stops all of them in order."""


@dataclass(slots=True)
class JobProgress:
    """How far a job is: rows and outcomes by shard."""

    job: Job
    shards: dict[str | None, Mapping[str, Any]] = field(default_factory=dict)
    ended: int = 0
    has_begun: bool = False
    """A worker has taken up one of its shards."""

    @property
    def rows(self) -> int:
        """The rows of the shards that have begun."""
        return sum(int(one["rows"]) for one in self.shards.values())

    @property
    def waits(self) -> str:
        """What its shards wait for at the moment, as a phrase; "" where one of them goes on."""
        if not self.has_begun and self.ended < self.job.shards:
            return "a free worker of the cluster"
        causes = [one["waits"] for one in self.shards.values() if "waits" in one]
        return causes[0] if causes and all(causes) else ""

    @property
    def counts(self) -> Counter[str]:
        """What became of rows by now."""
        found: Counter[str] = Counter()
        for one in self.shards.values():
            found.update(one["done"])
        return found


@dataclass(frozen=True, slots=True)
class Submission:
    """Where the jobs of a manifest are done, and who is told."""

    manifest: Manifest
    scheduler: str | None = None
    workers: int | None = None
    sandbox: bool = False
    progress: Callable[[Sequence[JobProgress]], None] = lambda jobs: None
    """Is told about twice a second how far the jobs are."""
    note: Callable[[str], None] = lambda text: None
    stopped_by: Callable[[], int | None] = lambda: None
    """Returns the exit code of the signal that ends all of it; None while there was none."""


def submit(what: Submission) -> SubmitSummary:
    """Do all jobs to their end, and put the results of their shards together; raises UsageError."""
    began, started = time.monotonic(), now_text()
    with ExitStack() as stack:
        manifest, keys = what.manifest, dict[str, Mapping[str, str]]()
        if what.sandbox:
            url, opened = stack.enter_context(sandbox_of([sandbox_key(one) for one in manifest.jobs]))
            manifest = in_sandbox(manifest, url)
            keys = {one.name: opened[sandbox_key(one)] for one in manifest.jobs}
        client = stack.enter_context(_cluster(what, sum(one.shards for one in manifest.jobs)))
        _check_hosts(manifest, client)
        is_new, at = what.sandbox, time.time()
        ends = _Tasks(what, manifest, keys, client, finished_since=at if is_new else 0.0).run()
        if what.stopped_by() is None and all(_is_over(one, ends) for one in manifest.jobs):
            is_new, at = True, time.time()
            ends = _Tasks(what, manifest, keys, client, finished_since=at).run()
    since = {one.name: at if is_new else at - one.resume_within for one in manifest.jobs}
    return _sum_up(what, manifest, ends, since, (started, began))


@contextmanager
def _cluster(what: Submission, tasks: int) -> Iterator[Client]:
    """Connect to the cluster that is named, else start one for this, on the loopback interface alone."""
    told = {
        "distributed.scheduler.allowed-failures": LOST_WORKERS,
        "distributed.scheduler.worker-ttl": f"{FROZEN_SECONDS} s",
        "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS} s",
        "distributed.logging.distributed": "critical",
    }
    with dask.config.set(told), ExitStack() as stack:
        if what.scheduler is not None:
            try:
                client = stack.enter_context(Client(what.scheduler, timeout=CONNECT_SECONDS, set_as_default=False))
            except OSError as error:
                raise UsageError(f"--scheduler {what.scheduler}: it cannot be reached ({error}).") from None
            yield client
            return
        workers = what.workers or min(tasks, max(2, cpu_count() or 1))
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=workers, threads_per_worker=min(MOST_THREADS, ceil(tasks / workers)), host="127.0.0.1",
                dashboard_address=None, scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # any port
                memory_limit=None, silence_logs=50, preload=NO_SIGNALS,
            )
        )  # fmt: skip
        yield stack.enter_context(Client(cluster, set_as_default=False))


def _check_hosts(manifest: Manifest, client: Client) -> None:
    """Raise UsageError where there are workers on several hosts, and jobs for which these share nothing."""
    jobs = [one.name for one in manifest.jobs if not one.options.get("limiter")]
    if jobs and len({urlsplit(one).hostname for one in client.nthreads()}) > 1:
        raise UsageError(f"{', '.join(jobs)}: {NOT_SHARED} {NOTHING_SENT}")


class _Tasks:
    """The shards of all jobs, from their submission to their end."""

    def __init__(
        self, what: Submission, manifest: Manifest, keys: Mapping[str, Mapping[str, str]], client: Client,
        *, finished_since: float,
    ) -> None:  # fmt: skip
        self._what, self._client, self._id = what, client, token_hex(4)
        self._topic = f"batch-progress-{self._id}"
        self._jobs = {one.name: JobProgress(one) for one in manifest.jobs}
        stops = client.get_metadata([STOPS], {})
        self._tasks = [
            ShardTask(
                one.name, str(shard) if shard else None, one.options, one.token_env, one.identity,
                stops.get(one.identity, 0), self._topic, keys.get(one.name), finished_since,
            )
            for one in manifest.jobs
            for shard in one.shard_list
        ]  # fmt: skip
        self._tries: Counter[tuple[str, str | None]] = Counter()
        self._later: list[tuple[float, ShardTask]] = []
        self._running: dict[Any, ShardTask] = {}
        self._ends: list[ShardEnd] = []
        self._busy: dict[tuple[str, str | None], str] = {}
        """What another start holds: what was said of it."""
        self._has_stopped = False

    def run(self) -> list[ShardEnd]:
        """Do all of them."""
        self._client.subscribe_topic(self._topic, self._hear)
        try:
            firsts = {task.job: task for task in reversed(self._tasks)}
            for task in firsts.values():
                self._submit(task)
            others = time.monotonic() + FIRST_SECONDS
            self._later = [(others, task) for task in self._tasks if task is not firsts[task.job]]
            while self._running or self._later:
                self._look()
                self._what.progress(list(self._jobs.values()))
        except BaseException:
            with suppress(Exception):  # what ended it is told
                self._stop_all()
            raise
        finally:
            with suppress(Exception):  # the scheduler may be gone, which is told
                self._client.unsubscribe_topic(self._topic)
                for name in (self._topic, f"{self._topic} hosts"):
                    self._client.set_metadata([name], None)
        self._what.progress(list(self._jobs.values()))
        return self._ends

    def _submit(self, task: ShardTask) -> None:
        key = (task.job, task.shard)
        self._tries[key] += 1
        name = f"batch-{self._id}-{task.job}-{task.shard or 'all'}-{self._tries[key]}"
        do, values = as_task(task)
        self._running[self._client.submit(do, *values, key=name, pure=False)] = task

    def _look(self) -> None:
        if self._what.stopped_by() is not None:
            self._stop()
        due = [task for at, task in self._later if at <= time.monotonic() or self._follows(task)]
        self._later = [(at, task) for at, task in self._later if task not in due]
        for task in due:
            self._submit(task)
        time.sleep(LOOK_SECONDS)
        for future in [one for one in self._running if one.done()]:
            self._end(self._running.pop(future), future)

    def _stop(self) -> None:
        """Have what has begun end in order; what waits, here or in the cluster's queue, does not begin any more."""
        for _, task in self._later:
            self._finish(self._stopped(task))
        self._later = []
        try:
            self._stop_all()
            begun, workers = self._client.get_metadata([self._topic], {}), self._client.processing()
        except OSError:  # the scheduler is gone, and what it had with it
            return
        # A task says that it has begun, and then asks whether it is stopped: one that has not said so does nothing.
        waiting = [one for one in self._running if not one.done() and begun.get(one.key) not in workers]
        for future in waiting:
            task, had_begun = self._running.pop(future), future.key in begun
            self._finish(self._stopped(task, LOST if had_begun else ""))
        self._client.cancel(waiting)

    def _stop_all(self) -> None:
        """Stop the shards of these jobs, whoever submitted them: one that was killed may have left some."""
        if not self._has_stopped:
            for task in {one.identity: one for one in self._tasks}.values():
                stops = max(task.stops, self._client.get_metadata([STOPS, task.identity], 0))
                self._client.set_metadata([STOPS, task.identity], stops + 1)
            self._has_stopped = True

    def _follows(self, task: ShardTask) -> bool:
        """Return whether it has not begun yet, and another shard of its job has: the job's key is in use."""
        return not self._tries[task.job, task.shard] and bool(self._jobs[task.job].shards)

    def _end(self, task: ShardTask, future: Any) -> None:
        if future.status == "finished":
            end: ShardEnd = future.result() or self._stopped(task)
            if (task.job, task.shard) in self._busy:  # what was waited for belongs to this start
                end = replace(end, was_finished=False)
        else:
            end = self._failed(task, future)
        if end.exit_code == ExitCode.BUSY and not end.run and self._what.stopped_by() is None:
            self._wait_for(task, end.message)
            return
        self._finish(end)

    def _failed(self, task: ShardTask, future: Any) -> ShardEnd:
        """Say why a task did not come to its end: it was lost, or its worker cannot run it, or batch has a bug."""
        error = future.exception() if future.status == "error" else None
        said = shorten(" ".join(f"{type(error).__name__}: {error}".split()), 300) if error else future.status
        has_begun = True
        with suppress(Exception):  # the scheduler may be gone, and what it knew
            has_begun = self._client.get_metadata([self._topic, future.key], None) is not None
        if error is None or isinstance(error, (KilledWorker, OSError)):
            code, why = ExitCode.RUN_AGAIN, f"the cluster could not do it ({said}). Run the same command again."
        elif isinstance(error, ImportError) or not has_begun:
            code, why = ExitCode.COULD_NOT_START, f"the worker cannot run it ({said}). {INSTALL}"
        else:
            code, why = ExitCode.BUG, f"This is a bug in batch ({_where(future)}). Please report it with your command."
        return ShardEnd(task.job, task.shard, int(code), message=why, may_have_sent=has_begun)

    def _wait_for(self, task: ShardTask, why: str) -> None:
        """Try a shard again that another start holds, until that has ended: each try finds out whether it has."""
        if all(job != task.job for job, _ in self._busy):
            self._what.note(f"{task.job}: it goes on when this is over: {why}")
        self._busy[task.job, task.shard] = why
        self._jobs[task.job].shards[task.shard] = {"rows": 0, "done": {}, "waits": "another start of the same"}
        wait = min(BUSY_MOST, BUSY_SECONDS * self._tries[task.job, task.shard])
        self._later.append((time.monotonic() + wait, task))

    def _finish(self, end: ShardEnd) -> None:
        self._jobs[end.job].ended += 1
        if end.summary.get("rows") is not None:
            self._jobs[end.job].shards[end.shard] = {"rows": end.summary["rows"], "done": end.summary["outcomes"]}
        self._ends.append(end)

    def _stopped(self, task: ShardTask, why: str = "") -> ShardEnd:
        """Return the end of a task that did nothing, unless it had begun (`why`), or another start holds its shard."""
        code, busy = self._what.stopped_by() or ExitCode.INTERRUPTED, self._busy.get((task.job, task.shard), "")
        said = why or busy or NOT_BEGUN
        return ShardEnd(task.job, task.shard, int(code), message=said, may_have_sent=bool(why or busy))

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        told = event[1]
        job = self._jobs.get(str(told.get("job")))
        if job is not None:
            job.has_begun = True
            if "rows" in told:
                job.shards[told["shard"]] = told


def _sum_up(
    what: Submission, manifest: Manifest, ends: Sequence[ShardEnd], since: Mapping[str, float],
    times: tuple[str, float],
) -> SubmitSummary:  # fmt: skip
    """Sum up all jobs; `since`: from when on, by job, what has finished counts where its task did not tell of it."""
    of = {
        one.name: look_up(one, sorted((end for end in ends if end.job == one.name), key=_number), since[one.name])
        for one in manifest.jobs
    }
    jobs = [_job_summary(one, of[one.name], what.note) for one in manifest.jobs]
    is_left, signalled = any(one.state == "unfinished" for one in jobs), what.stopped_by()
    codes = [one.exit_code for one in jobs] + ([int(signalled)] if is_left and signalled is not None else [])
    outcomes: Counter[Any] = Counter()
    for one in jobs:
        outcomes.update(one.outcomes)
    return SubmitSummary(
        command="submit", input=str(manifest.path), sandbox=what.sandbox, started=times[0], finished=now_text(),
        seconds=time.monotonic() - times[1], exit_code=worst(codes), rows=sum(one.rows or 0 for one in jobs),
        outcomes=Outcomes(outcomes), jobs=tuple(jobs),
        state="unfinished" if is_left else "to fix" if any(one.state == "to fix" for one in jobs) else "finished",
    )  # fmt: skip


def _is_over(job: Job, ends: Sequence[ShardEnd]) -> bool:
    """Return whether a job had finished as a whole before: all of its shards, and what is put together of them."""
    own = [one for one in ends if one.job == job.name]
    if not all(one.was_finished for one in own):
        return False
    with suppress(FolderError):  # they are not seen from here
        return job.shards == 1 or find_merged([Path(one.run) for one in own], job.parent) is not None
    return True


def _job_summary(job: Job, ends: Sequence[ShardEnd], note: Callable[[str], None]) -> JobSummary:
    totals = add_up(job.shards, ends)
    code, files = code_of(totals, ends), Files()
    messages = [f"{_shard(one)}{one.message}" for one in ends if one.message]
    if stood := sum(one.was_finished for one in ends):
        whose = f"{stood} of its {job.shards} shards" if job.shards > 1 else "It"
        messages.append(f"{whose} had finished before, and nothing of that was sent again.")
    try:
        if job.shards == 1 or not any(one.run for one in ends):
            files = Files(ends[0].summary.get("files") or {})
        elif apart := _why_apart(job, ends):
            messages += apart
        elif stood == job.shards and (before := find_merged([Path(one.run) for one in ends], job.parent)):
            files = Files(read_summary(before)["files"])
        else:
            merged = merge_runs([Path(one.run) for one in ends], job.parent, ENDPOINTS[job.options["endpoint"]])
            files, counted = merged.summary.files, merged.summary.outcomes
            if any(one.is_found for one in ends):  # it may have got further
                totals = replace(totals, outcomes=counted)
            elif +Outcomes(totals.outcomes) != +counted:
                code = worst([code, int(ExitCode.BUG)])
                messages.append("This is a bug in batch: the results of all shards are not those of each. Report it.")
    except (BatchError, OSError) as error:
        messages.append(f"The results of its shards could not be put together: {error}")
        code = worst([code, int(error.exit_code) if isinstance(error, BatchError) else int(ExitCode.RUN_AGAIN)])
    for text in dict.fromkeys(messages):
        note(f"{job.name}: {text}")

    def total(name: str) -> int:
        return sum(int(one.summary.get(name) or 0) for one in ends if not one.was_finished)

    return JobSummary(
        name=job.name, endpoint=job.options["endpoint"], input=str(job.options["input"]), shards=job.shards,
        rows=totals.rows, outcomes=totals.outcomes, requests=total("requests"), attempts=total("attempts"),
        throttled=total("throttled"), is_exact=all(one.summary.get("is_exact", True) for one in ends),
        exit_code=code, state=state_of_job(totals, ends), folder=str(job.parent), files=files,
        messages=tuple(dict.fromkeys(messages)),
    )  # fmt: skip


def _why_apart(job: Job, ends: Sequence[ShardEnd]) -> list[str]:
    """Say why the results of a job's shards cannot be put together; nothing where they can."""
    if has_changed(ends):
        return [CHANGED.format(input=visible(str(job.options["input"])))]
    unbegun = ", ".join(str(one.shard) for one in ends if not one.run)
    unseen = ", ".join(str(one.shard) for one in ends if one.run and seen_here(one) is None)
    found = []
    if unseen:
        where = f"they are where the workers did them, in {job.parent}"
        found.append(f"This machine does not see the results of shard {unseen}, so they are not put together: {where}.")
    if unbegun:
        others = f"Those of the others:  {job.parent / 'shard-*' / LATEST}"
        found.append(f"The results are not put together before there are some of shard {unbegun}. {others}")
    return found


def _where(future: Any) -> str:
    """Say where a worker met an error, without its text, which may have values in it."""
    kind, traceback = type(future.exception()).__name__, future.traceback()
    if not isinstance(traceback, TracebackType):  # it was too long to be sent
        return kind
    frame = extract_tb(traceback)[-1]
    return f"{kind} at {Path(frame.filename).name}:{frame.lineno}"


def _number(end: ShardEnd) -> int:
    return int((end.shard or "1/1").partition("/")[0])


def _shard(end: ShardEnd) -> str:
    return f"shard {end.shard}: " if end.shard else ""
