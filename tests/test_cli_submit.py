"""`submit` on the screen: what became of all jobs, and what to do next."""

from dataclasses import replace
from typing import Any

import pytest

from batch.cli.submit import submit_page
from batch.distributed.summary import JobSummary, SubmitSummary
from batch.model import Outcome
from batch.summary import Files, Outcomes


def job(name: str, code: int, state: Any, *, failures: str = "", **counts: int) -> JobSummary:
    files = {"results": f"jobs.batch/{name}/merged/results.csv"} | ({"failures": failures} if failures else {})
    outcomes = Outcomes({Outcome(one): count for one, count in counts.items()})
    return JobSummary(
        name=name, endpoint="dualentry.customers", input=f"{name}.csv", shards=2, rows=sum(counts.values()),
        outcomes=outcomes, requests=0, attempts=0, throttled=0, is_exact=True, exit_code=code, state=state, folder="",
        files=Files(files if code != 2 else {}),
    )  # fmt: skip


NORTH = job("north", 1, "to fix", failures="jobs.batch/north/merged/failures.csv", updated=7, invalid=1)
SOUTH = job("south", 0, "finished", updated=8)
EAST = job("east", 6, "unfinished", failures="jobs.batch/east/merged/failures.csv", updated=1, unsent=2)
WEST = job("west", 3, "unfinished", updated=1, unknown=1)


def page(*jobs: JobSummary, sandbox: bool = False) -> list[str]:
    counts = sum((one.outcomes for one in jobs), Outcomes())
    found = SubmitSummary(
        command="submit", input="jobs.toml", sandbox=sandbox, started="", finished="", seconds=6.44, exit_code=0,
        rows=sum(one.rows or 0 for one in jobs), outcomes=Outcomes(counts), jobs=jobs, state="finished",
    )  # fmt: skip
    return [line for line, _ in submit_page(found, ["--workers", "2"])]


def test_rows_to_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job whose rows are to be fixed names the file, and the command for it."""
    monkeypatch.setenv("BATCH_COMMAND", "batch")
    assert [
        "north: to fix, 8 rows: 7 updated, 1 invalid",
        "  Every row:  jobs.batch/north/merged/results.csv",
        "  To fix:  jobs.batch/north/merged/failures.csv",
        "  Then:  batch update jobs.batch/north/merged/failures.csv -e dualentry.customers",
        "south: finished, 8 rows: 8 updated",
        "  Every row:  jobs.batch/south/merged/results.csv",
        "2 jobs, 16 rows in 6.4 s",
        "  updated          15",
        "  invalid           1",
    ] == page(NORTH, SOUTH)


def test_a_job_that_tells_nothing() -> None:
    """Where no shard tells of its rows, a lost worker may have sent some: it is not said that none were read."""
    assert (
        "west: unfinished, its rows are not known"
        == page(replace(WEST, rows=None, outcomes=Outcomes(), files=Files()))[0]
    )


def test_rows_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is told with what to do first, and the same command."""
    monkeypatch.setenv("BATCH_COMMAND", "batch")
    assert [
        "west: Run the same command again: it goes on with the rows that are left.",
        "east: Set the right key, and run the same command again: it goes on.",
        "The same command:  batch submit jobs.toml --workers 2",
    ] == page(EAST, WEST, SOUTH)[-3:]


def test_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox of a rehearsal is gone, and no command goes on there."""
    monkeypatch.setenv("BATCH_COMMAND", "batch")
    told = page(NORTH, WEST, sandbox=True)
    assert "That was a sandbox, which is gone. To send it for real:  batch submit jobs.toml --workers 2" == told[-1]
    assert [] == [line for line in told if "Then:" in line or "same command" in line]
