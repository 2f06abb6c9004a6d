"""What can be seen here of the runs of a job's shards, also of those whose tasks ended without telling.

Promises: a run counts as a shard's only if it is of the same input, meaning and company as those of the others; what
cannot be seen is unknown, and unsent only where it is certain that nothing was sent.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from batch.distributed.manifest import Job
from batch.distributed.summary import ShardEnd
from batch.errors import FolderError, JournalError
from batch.journal import open_for_reading
from batch.own_files import JOURNAL
from batch.run.folder import identity, list_runs, look_into, peek_metadata
from batch.run.metadata import RunMetadata
from batch.run.recovery import outcomes_of_cut_off
from batch.shard import Shard
from batch.summary import named_counts


def seen_here(end: ShardEnd) -> RunMetadata | None:
    """Return what the run of a shard knows of itself; None where there is none, or this machine does not see it."""
    with suppress(FolderError):
        known = peek_metadata(Path(end.run)) if end.run else None
        return known if known and known.run_id == end.summary["run_id"] else None
    return None


def look_up(job: Job, ends: Sequence[ShardEnd], since: float) -> list[ShardEnd]:
    """Return how the shards of a job ended, with the runs that are found here of those that told of none.

    One that has finished counts if that was after `since` (seconds since 1970): one before belongs to an earlier start.
    """
    sample = next(filter(None, map(seen_here, ends)), None)
    return [one if one.summary else _found(job, one, sample, since) for one in ends]


def _found(job: Job, end: ShardEnd, sample: RunMetadata | None, since: float) -> ShardEnd:
    """Return how a shard ended with its newest run; `sample` is that of another shard, None where none is seen here."""
    if sample is None or end.shard is None:
        return replace(end, may_have_sent=True)  # an earlier start of it may have
    wanted = identity({**sample.meaning, "shard": end.shard}, sample.staged.sha256, sample.endpoint, sample.host)
    for folder in list_runs(job.parent / Shard.parse(end.shard).folder):
        with suppress(FolderError, JournalError):
            run = look_into(folder)
            if run is None or run.identity != wanted or not run.company.is_same(sample.owner):
                continue
            if run.is_undone or (run.is_finished and run.last < since):
                break
            known = peek_metadata(folder)
            with open_for_reading(folder / JOURNAL) as journal:
                counts = named_counts(outcomes_of_cut_off(journal, known))
            told = {"run_id": known.run_id, "rows": known.staged.rows, "all_rows": known.staged.all_rows}
            if run.is_finished and known.exit_code is not None:  # only its task was lost
                end = replace(end, exit_code=known.exit_code, message="")
            return replace(end, run=str(folder), summary={**told, "outcomes": counts, "is_exact": False}, is_found=True)
    return end
