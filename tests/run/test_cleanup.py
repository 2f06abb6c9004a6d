"""What a crash leaves is removed by the next run, and nothing else is."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from batch.own_files import JOURNAL
from batch.run import cleanup
from tests.shell import DUALENTRY, Api, Shell

DAY = "20260101-000000"


def make_old(folder: Path) -> Path:
    """Make a folder look as if it had been there for a while."""
    os.utime(folder, (1_000_000_000, 1_000_000_000))
    return folder


def make(folder: Path, *names: str) -> Path:
    """A folder with such files that is old."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("private")
    return make_old(folder)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_scratch(temporary: Path) -> None:
    """A folder for a job's own is this user's alone, and gone after it."""
    with cleanup.scratch() as folder:
        (folder / "input.parquet").write_text("private")
        assert [folder] == list(temporary.iterdir())
        assert "0o700" == oct(folder.stat().st_mode & 0o777)
    assert [] == list(temporary.iterdir())


def test_scratch_of_a_crash(temporary: Path) -> None:
    """That of a job that crashed is removed by the next one."""
    make(temporary / "batch-tmp-old", ".lock", "input.parquet")
    with cleanup.scratch() as folder:
        assert [folder] == list(temporary.iterdir())


def test_scratch_of_others(temporary: Path) -> None:
    """That of a job that goes on stays, and so do one that is being made, a link, and what has another name."""
    names = ("batch-tmp-held", "batch-tmp-making", "batch-tmp-new", "batch-tmp-link", "batch-check-1", "mine")
    for name in (names[0], *names[4:]):
        make(temporary / name, ".lock")
    make(temporary / names[1])
    make(temporary / names[2], ".lock").touch()
    (temporary / names[3]).symlink_to(temporary / "mine")
    with FileLock(temporary / names[0] / ".lock"), cleanup.scratch() as folder:
        assert sorted([*names, folder.name]) == sorted(path.name for path in temporary.iterdir())


def test_unbegun(tmp_path: Path) -> None:
    """A run folder without a journal, left by a crash while the input was read, is removed."""
    make(tmp_path / "x.batch" / DAY, ".lock", ".lock.holder", ".input.parquet.part", "input.parquet")
    make(
        tmp_path / "x.batch" / f"{DAY}-2", ".lock", "input.parquet", ".journal.sqlite.part", ".journal.sqlite.part-wal"
    )
    make(tmp_path / "x.batch" / f"undo-{DAY}", ".lock", "undo.json", "undo.csv")
    cleanup.remove_unbegun(tmp_path / "x.batch")
    assert [] == list((tmp_path / "x.batch").iterdir())


@pytest.mark.parametrize("name", ["journal.sqlite", "failures.csv", "summary.json", "plan.json", "notes.txt"])
def test_begun(tmp_path: Path, name: str) -> None:
    """A folder with anything in it that somebody may want stays."""
    folder = make(tmp_path / "x.batch" / DAY, ".lock", "input.parquet", name)
    cleanup.remove_unbegun(tmp_path / "x.batch")
    assert sorted([".lock", "input.parquet", name]) == sorted(path.name for path in folder.iterdir())


def test_unbegun_and_held(tmp_path: Path) -> None:
    """A folder in which a run is being begun stays."""
    folder = make(tmp_path / "x.batch" / DAY, ".lock", "input.parquet")
    with FileLock(folder / ".lock"):
        cleanup.remove_unbegun(tmp_path / "x.batch")
    assert (folder / "input.parquet").exists()


def test_parts(tmp_path: Path) -> None:
    """In a run folder the beginnings of our files are removed, and nothing else."""
    ours = [".failures.csv.part", ".summary.json.123.part", ".results.parquet.part", ".journal.sqlite.part-wal"]
    others = [".hidden.part", "failures.csv", "journal.sqlite", "x.part"]
    folder = make(tmp_path / "run", *ours, *others)
    (folder / ".failures.xlsx.parts").mkdir()
    cleanup.remove_parts(folder)
    assert others == sorted(path.name for path in folder.iterdir())


def test_next_run(shell: Shell, api: Api) -> None:
    """The next run on an input clears away what crashed ones left, and its own half-written files."""
    sheet = shell.sheet(api.names(1))
    api.sandbox.set_faults("503=1")
    shell.here("update", sheet, "-e", DUALENTRY, *api.options, "--max-attempts", "1")
    folder = shell.only_run()
    make(shell.folder / "sheet.batch" / "20200101-000000", ".lock", "input.parquet")
    (folder / ".failures.csv.part").write_text("private")
    api.sandbox.set_faults()
    assert 0 == shell.here("update", sheet, "-e", DUALENTRY, *api.options).code
    assert folder == shell.only_run()
    assert [".lock", "input.parquet", JOURNAL, "report.html", "results.csv", "summary.json"] == sorted(
        os.listdir(folder)
    )
