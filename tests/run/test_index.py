"""The index of runs: what this user ran, and what it says of others since."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from batch.errors import Declined
from batch.model import Outcome
from batch.run import index
from batch.run.folder import peek_metadata
from tests.commands.test_undo import undo
from tests.job_fixture import FakeReporter, JobFixture, summary

NAMES = "id,name\n10001,New 1\n10002,New 2\n"


def test_run_that_ended(job: JobFixture) -> None:
    """Of a run it knows the folder, the counts, the state and the digest of its record, and nothing of its cells."""
    folder = job.update(job.sheet(NAMES)).folder
    run_id = summary(folder)["run_id"]
    known = index.get(run_id)
    assert known is not None
    assert ({Outcome.UPDATED: 2}, "finished", True) == (known.counts, known.state, index.knows(run_id, folder))
    assert known.digest is not None
    kept = (job.folder / "state" / "batch" / "runs.sqlite").read_bytes()
    assert [] == [one for one in (b"New 1", b"10001", b"sandbox-key") if one in kept]


def test_declined_run_is_forgotten(job: JobFixture) -> None:
    """Of a run that a person declined nothing is left, here neither."""
    job.reporter = FakeReporter(answers=[False])
    with pytest.raises(Declined):
        job.update(job.sheet(NAMES))
    with closing(sqlite3.connect(job.folder / "state" / "batch" / "runs.sqlite")) as db:
        assert [(0,)] == db.execute("SELECT count(*) FROM run").fetchall()


def test_folder_elsewhere_is_not_known(job: JobFixture, tmp_path: Path) -> None:
    """A run is known in its own folder only."""
    run_id = summary(job.update(job.sheet(NAMES)).folder)["run_id"]
    assert not index.knows(run_id, tmp_path)
    assert not index.knows("another", tmp_path)


def test_run_that_was_killed_writes_no_more(job: JobFixture) -> None:
    """A run that is gone when another one begins to write has written nothing later than that."""
    killed = summary(job.update(job.sheet(NAMES)).folder)["run_id"]
    index.mark(killed, "running")  # as a kill leaves it
    folder = job.update(job.sheet("id,name\n10003,New\n", "other.csv")).folder
    assert not index.has_later_writes(peek_metadata(folder))


def test_declined_part(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later start that a person declined leaves the run as it is by then: an undo need not ask."""
    sheet = job.sheet(f"{NAMES}10003,\n")
    job.sandbox.set_faults("503=id:10002")
    folder = job.update(sheet, max_attempts=1).folder
    job.sandbox.set_faults()
    monkeypatch.setattr("batch.run.begin_or_resume.LOOK_AFTER", 0.0)  # so that the next start looks again
    for ask in (lambda: job.update(sheet), lambda: undo(job, folder)):
        job.reporter = FakeReporter(answers=[False])
        with pytest.raises(Declined):
            ask()
    known = index.get(summary(folder)["run_id"])
    assert known is not None
    assert ("unfinished", {Outcome.UPDATED: 1, Outcome.FAILED: 1, Outcome.UNCHANGED: 1}) == (known.state, known.counts)
    assert 0 == undo(job, folder).summary.exit_code
