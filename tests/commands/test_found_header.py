"""Whole runs of files whose header is not their first row."""

from pathlib import Path

import pytest

from tests.job_fixture import JobFixture, results, summary, told
from tests.sources.test_header_row import TITLED, write


@pytest.mark.parametrize("ending", [".xlsx", ".csv"])
def test_rows_keep_their_numbers(ending: str, job: JobFixture) -> None:
    """Results name the rows of the user's file, and the failures file is read as any other."""
    rows = [*TITLED[:6], ["x", "Bolt", "Köln", "50667"]]
    first = job.update(write(job.folder / f"kunden{ending}", rows))
    assert [("6", "updated"), ("7", "invalid")] == [(str(one["row"]), one["outcome"]) for one in results(first.folder)]
    assert first.failures is not None
    assert ["invalid"] == [outcome for outcome, _ in told(job.update(Path(first.failures)))]


@pytest.mark.parametrize("ending", [".xlsx", ".csv"])
def test_unfinished_run_is_gone_on_with(ending: str, job: JobFixture) -> None:
    """The same header is found again; another --header-row is another run."""
    path = write(job.folder / f"kunden{ending}", TITLED)
    job.sandbox.set_faults("500=id:10001")
    first = job.update(path, max_attempts=1)
    assert ["failed", "updated"] == [outcome for outcome, _ in told(first)]
    other = job.update(path, max_attempts=1, header_row=5)
    job.sandbox.set_faults()
    again = job.update(path)
    assert (first.folder, ["updated", "updated"]) == (again.folder, [outcome for outcome, _ in told(again)])
    assert other.folder != first.folder


def test_totals(job: JobFixture) -> None:
    """Rows of totals are none of the rows, and `summary.json` has their numbers, also when the run is gone on with."""
    path = write(job.folder / "kunden.xlsx", [*TITLED, ["Summe", "", "", ""]])
    job.sandbox.set_faults("500=id:10001")
    first = job.update(path, max_attempts=1)
    assert ([8], 2) == (summary(first.folder)["left_out"], first.summary.rows)
    job.sandbox.set_faults()
    again = job.update(path)
    assert (first.folder, [8]) == (again.folder, summary(again.folder)["left_out"])
