"""The run folder is deleted, moved or replaced while the run goes on: it stops, and what is known is kept elsewhere."""

import errno
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from batch.commands.results import results as make_results_again
from batch.commands.undo import undo
from batch.errors import JournalError
from batch.journal import Journal
from batch.run.finish import FinishedRun
from batch.run.rescue import FolderWatch, rescue
from batch.settings import Settings
from tests.job_fixture import JobFixture, results, summary
from tests.shell import assert_balanced, until

ROWS = 60
PER_SECOND = 20.0
"""So that a run takes 3 s."""


def delete(folder: Path) -> None:
    shutil.rmtree(folder)


def move(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


def move_and_make_anew(folder: Path) -> None:
    move(folder)
    folder.mkdir()


def replace_by_copy(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("copy"))
    move(folder)
    folder.with_name("copy").rename(folder)


def delete_parent(folder: Path) -> None:
    shutil.rmtree(folder.parent)


def delete_journal(folder: Path) -> None:
    (folder / "journal.sqlite").unlink()


def delete_newest_part(folder: Path) -> None:
    (folder / "journal.sqlite-wal").unlink()


def delete_rows(folder: Path) -> None:
    (folder / "input.parquet").unlink()


LOSSES = [
    delete, move, move_and_make_anew, replace_by_copy, delete_parent, delete_journal, delete_newest_part, delete_rows,
]  # fmt: skip


def start(job: JobFixture, lose: Callable[[Path], None]) -> tuple[FinishedRun, float]:
    """Run, and lose the folder after the first few writes; give the end, and when the folder was lost."""
    sheet = job.sheet("id,name\n" + "".join(f"{10_001 + number},New\n" for number in range(ROWS)))
    times: list[float] = []

    def lose_later() -> None:
        until(lambda: len(job.writes()) >= 10)
        (folder,) = (job.folder / "sheet.batch").glob("2*")
        lose(folder)
        times.append(time.time())

    thread = threading.Thread(target=lose_later)
    thread.start()
    try:
        return job.update(sheet, max_per_second=PER_SECOND, max_at_once=4), times[0] if times else 0.0
    finally:
        thread.join()


@pytest.mark.parametrize("lose", LOSSES)
def test_lost_while_sending(job: JobFixture, lose: Callable[[Path], None]) -> None:
    """Sending stops within about a second; a folder with journal and results is named, and has every write."""
    finished, lost_at = start(job, lose)
    folder = finished.folder
    assert job.folder / "state" / "batch" / "rescue" == folder.parent
    assert (3, 0o700) == (finished.summary.exit_code, folder.stat().st_mode & 0o777)
    assert bool(finished.stopped)
    assert finished.stopped.endswith(f" while the run went on. All that is known:  {folder}")
    written = [line for line in job.ledger() if line["method"] == "PATCH"]
    assert len(written) < ROWS
    assert max(line["t"] for line in written) < lost_at + 1.5
    assert_balanced(folder)
    outcomes = {row["id"]: row["outcome"] for row in results(folder)}
    assert {line["id"] for line in written if line["applied"]} == {
        one for one, outcome in outcomes.items() if outcome == "updated"
    }
    assert {"updated", "unsent"} == set(outcomes.values())


def test_lost_folder_goes_on(job: JobFixture) -> None:
    """The folder that is named is a run's: its results are made again, and the same command sends what is left."""
    finished, _ = start(job, delete)
    before = summary(finished.folder)["outcomes"]
    (finished.folder / "results.csv").unlink()
    again = make_results_again(finished.folder, job.reporter.note, job.environment)
    assert (before, 3) == ({one.value: count for one, count in again.summary.outcomes.items()}, again.summary.exit_code)
    rest = job.update(job.folder / "sheet.csv")
    assert (0, finished.folder) == (rest.summary.exit_code, rest.folder)
    assert finished.folder == (job.folder / "sheet.batch" / "latest").resolve()
    assert 0 == job.update(job.folder / "sheet.csv").summary.exit_code
    assert not (job.folder / "sheet.batch" / "latest").samefile(finished.folder)
    assert sorted(record for _, record, _ in job.writes()) == [str(10_001 + number) for number in range(ROWS)]


def test_lost_after_the_last_write(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what is lost after everything was sent is noticed, and the results are made elsewhere."""
    put_meta = Journal.put_meta

    def lose(self: Journal, values: dict[str, object]) -> None:
        put_meta(self, values)
        if "seconds" in values:
            delete(self.path.parent)

    monkeypatch.setattr(Journal, "put_meta", lose)
    finished = job.update(job.sheet("id,name\n10001,New\n"))
    assert (3, ["updated"]) == (finished.summary.exit_code, [row["outcome"] for row in results(finished.folder)])
    assert "rescue" == finished.folder.parent.name


def test_temporary_folder(job: JobFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the state folder takes nothing, what is known goes to the temporary folder."""
    (tmp_path / "state" / "batch").mkdir(parents=True)
    (tmp_path / "state" / "batch" / "rescue").write_text("in the way")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    finished, _ = start(job, delete)
    assert (tmp_path / "tmp", 3) == (finished.folder.parent, finished.summary.exit_code)
    assert 0o600 == (finished.folder / "journal.sqlite").stat().st_mode & 0o777


def test_earlier_rescue(job: JobFixture) -> None:
    """What was put there by an earlier start is not written over, and no journal names a place elsewhere."""
    sheet = job.sheet("id,name\n10001,New\n")
    run = job.update(sheet).folder
    with Journal.open(run / "journal.sqlite") as journal, FolderWatch(run, "../../x y") as watch:
        first = rescue(watch, journal)
        assert first == rescue(watch, journal)
        with FolderWatch(run, "../../x y") as another:
            second = rescue(another, journal)
    place = job.folder / "state" / "batch" / "rescue"
    assert [place / "______x_y", place / "______x_y-2"] == [first, second]


def raise_full(**given: str) -> str:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_nowhere(job: JobFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no disk takes it, that is said, and nothing is promised."""
    (tmp_path / "state" / "batch").mkdir(parents=True)
    (tmp_path / "state" / "batch" / "rescue").write_text("in the way")
    monkeypatch.setattr("batch.run.rescue.tempfile.mkdtemp", raise_full)
    monkeypatch.setattr("batch.run.cleanup.tempfile.TemporaryDirectory", lambda **given: nullcontext(str(tmp_path)))
    with pytest.raises(JournalError) as raised:
        start(job, delete)
    said = str(raised.value)
    assert "it was deleted, moved or replaced while the run went on. What is known can be written nowhere else" in said


def test_lost_undo(job: JobFixture) -> None:
    """An undo is watched as well, and what is found elsewhere is the undo's."""
    ids = "".join(f"{10_001 + number},New\n" for number in range(ROWS))
    source = job.update(job.sheet("id,name\n" + ids)).folder
    before = len(job.writes())

    def lose_later() -> None:
        until(lambda: len(job.writes()) > before + 5)
        shutil.rmtree(next(source.parent.glob("undo-*")))

    thread = threading.Thread(target=lose_later)
    thread.start()
    options = Settings(base_url=job.sandbox.url, max_per_second=PER_SECOND, yes=True)
    finished = undo(source, options, job.reporter, job.environment)
    thread.join()
    outcomes = [row["outcome"] for row in results(finished.folder)]
    assert (3, "rescue") == (finished.summary.exit_code, finished.folder.parent.name)
    assert len(job.writes()) - before == outcomes.count("updated") < ROWS
