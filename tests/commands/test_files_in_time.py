"""After a signal the journal comes first, and results files only as far as the grace goes."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batch.cli.views import closing_page
from batch.commands import update as update_command
from batch.commands.report import report as write_report_of
from batch.commands.results import results as run_results
from batch.files import shown_path
from batch.journal import database
from batch.model import Outcome
from batch.run import finish, index
from batch.run.finish import FinishedRun
from tests.job_fixture import FakeReporter, JobFixture, summary

SHEET = "id,name,phone\n" + "".join(f"{one},Bolt {one},\n" for one in range(10001, 10031)) + "10032,,no phone\n"


def cancelled(job: JobFixture, **options: Any) -> FinishedRun:
    """A run that is ended while it sends."""
    job.sandbox.behave(latency=0.05)
    settings = job.settings(job.sheet(SHEET), compare=False, max_at_once=1, **options)
    environment = replace(job.environment, is_cancelled=lambda: bool(job.writes()))
    try:
        return update_command.update(settings, FakeReporter(), environment)
    finally:
        job.sandbox.behave(latency=0.0)


def files(closing: FinishedRun) -> set[str]:
    return {path.name for path in closing.folder.iterdir() if path.suffix in (".csv", ".xlsx", ".part", ".parts")}


def test_no_time(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without time there are no results files, which is said; counts and exit code are right, and it goes on."""
    monkeypatch.setattr(update_command, "FILES_SECONDS", -1.0)
    monkeypatch.setattr(database, "STEPS", 1)
    closing = cancelled(job, grace=0.0)
    known = index.get(str(closing.summary.run_id))
    assert (True, None) == (known is not None, known and known.digest)  # no time to go through the whole record
    told = summary(closing.folder)
    again = f"batch results {shown_path(str(closing.folder))}"
    assert (set(), 130, "unfinished") == (files(closing), closing.summary.exit_code, told["state"])
    assert f"Interrupted. The results files were not written yet: {again} makes them." == told["stopped"]["message"]
    assert (31, ["journal"], []) == (sum(told["outcomes"].values()), list(told["files"]), told["reasons"])
    assert f"Stopped: {told['stopped']['message']}" == next(iter(closing_page(closing)))[0]
    made = run_results(closing.folder, job.reporter, job.environment)
    assert ({"results.csv", "failures.csv"}, "Interrupted.") == (files(made), made.stopped)
    assert {name: count for name, count in told["outcomes"].items() if count} == {
        one.value: count for one, count in made.summary.outcomes.items() if count
    }
    done = job.update(job.folder / "sheet.csv", compare=False)
    assert (closing.folder, 30) == (done.folder, done.summary.outcomes[Outcome.UPDATED])


def test_time_ends_meanwhile(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are not ready in time leave nothing of themselves behind."""
    monkeypatch.setattr(update_command, "FILES_SECONDS", 0.3)
    frames = finish.sources.iter_frames

    def slowly(staged: Any, size: int = 10) -> Any:
        for frame in frames(staged, 10):
            yield frame
            time.sleep(0.2)

    monkeypatch.setattr(finish.sources, "iter_frames", slowly)
    closing = cancelled(job, grace=0.0)
    assert (set(), True) == (files(closing), "were not written yet" in closing.stopped)


def test_no_time_for_the_report(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that would not be ready in time is left out, which is said; what reads the record for it is ended."""
    monkeypatch.setattr(update_command, "FILES_SECONDS", 0.5)
    monkeypatch.setattr(database, "STEPS", 1)
    write_report = finish.write_report_of_run

    def late(*arguments: Any, **more: Any) -> str:
        time.sleep(1.0)
        return write_report(*arguments, **more)

    monkeypatch.setattr(finish, "write_report_of_run", late)
    closing = cancelled(job, grace=0.0)
    again = f"batch report {shown_path(str(closing.folder))}"
    assert ({"results.csv", "failures.csv"}, False) == (files(closing), (closing.folder / "report.html").exists())
    assert (f"There was no time left for report.html: {again} makes it.",) == closing.notes
    assert ("report" in closing.summary.files, "Interrupted.") == (False, closing.stopped)
    assert write_report_of(closing.folder, job.reporter, job.environment).is_file()


def test_time_enough(job: JobFixture) -> None:
    """A run that is small enough has its files, however little of the grace is left."""
    closing = cancelled(job, grace=0.0)
    assert ({"results.csv", "failures.csv"}, "Interrupted.") == (files(closing), closing.stopped)
    assert Path(closing.summary.files["results"]).is_file()
