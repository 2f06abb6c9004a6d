"""The runs of shards whose tasks told nothing of them."""

import time
from pathlib import Path

from batch.commands.undo import undo
from batch.distributed.manifest import Job
from batch.distributed.shard_runs import look_up, seen_here
from batch.distributed.summary import ShardEnd, add_up, code_of
from batch.run.finish import FinishedRun
from tests.job_fixture import JobFixture

SHEET = "id,name\n" + "".join(f"{10001 + number},Firm {number}\n" for number in range(12))


def told(end: FinishedRun, run: Path | None = None) -> ShardEnd:
    found = end.summary.as_dict()
    return ShardEnd("job", found["shard"], int(end.summary.exit_code), str(run or end.folder), summary=found)


def test_found_by_their_input(job: JobFixture) -> None:
    """A run is found where it is of the same input, and counts; a shard without one did not begin."""
    sheet, other = job.sheet(SHEET), job.sheet(SHEET.replace("Firm", "Other"), "other.csv")
    one, two = (job.update(sheet, shard=f"{number}/3", out=job.folder / "out") for number in (1, 2))
    for number in (2, 3):
        job.update(other, shard=f"{number}/3", out=job.folder / "out")
    ends = [told(one), ShardEnd("job", "2/3", 3, may_have_sent=True), ShardEnd("job", "3/3", 130)]
    found = look_up(Job("job", 3, {"out": str(job.folder / "out")}), ends, 0.0)
    assert [str(one.folder), str(two.folder), ""] == [end.run for end in found]
    assert [True, True, False] == [seen_here(end) is not None for end in found]
    totals, done = add_up(3, found), one.summary.rows + two.summary.rows
    assert (12, done, 12 - done, 0) == (
        totals.rows, totals.outcomes.updated, totals.outcomes.unsent, totals.outcomes.unknown
    )  # fmt: skip


def test_what_is_not_seen_is_unknown(job: JobFixture) -> None:
    """Where the runs of the others are not seen here, an earlier start of a shard may have sent what is not either."""
    sheet = job.sheet(SHEET)
    one, other = (job.update(sheet, shard="1/3", new=True) for _ in range(2))
    for run in (job.folder / "away", other.folder):  # of another machine; and another run at the same path
        found = look_up(
            Job("job", 3, {"out": str(one.folder.parents[1])}), [told(one, run), ShardEnd("job", "3/3", 130)], 0.0
        )
        assert (None, 12 - one.summary.rows) == (seen_here(found[0]), add_up(3, found).outcomes.unknown)


def test_what_an_earlier_start_finished_is_not_of_this_one(job: JobFixture) -> None:
    """A shard that did not begin is unsent, whatever became of it before: that was undone, or is of another start."""
    sheet, out = job.sheet(SHEET), job.folder / "out"
    one, two = (job.update(sheet, shard=f"{number}/2", out=out) for number in (1, 2))
    told_of, stopped = told(one), ShardEnd("job", "2/2", 130, message="It was stopped before it began.")
    manifest_job = Job("job", 2, {"out": str(out)})

    def counts(since: float) -> tuple[int, int, int]:
        ends = look_up(manifest_job, [told_of, stopped], since)
        totals = add_up(2, ends)
        return totals.outcomes.updated, totals.outcomes.unsent, code_of(totals, ends)

    rows = one.summary.rows
    assert rows is not None
    assert (12, 0, 0) == counts(0.0)  # its task was lost when it had finished
    assert (rows, 12 - rows, 130) == counts(time.time() + 1)
    undo(str(two.folder), job.settings(sheet, out=None), job.reporter, job.environment)
    assert (rows, 12 - rows, 130) == counts(0.0)
