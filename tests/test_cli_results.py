"""`batch results`: the files again, from the journal."""

import json
from pathlib import Path

import pytest

from tests.shell import DUALENTRY, Api, Ended, Shell, summary


@pytest.fixture
def folder(shell: Shell, api: Api) -> Path:
    """A run with an updated, an invalid and a rejected row."""
    sheet = shell.sheet(api.names(1) + "x,Bad\n999999999,Nobody\n")
    assert 1 == shell.here("update", sheet, "-e", DUALENTRY, *api.options).code
    return shell.only_run().rename(shell.folder / "run")


def test_again(shell: Shell, folder: Path) -> None:
    """The same files come out, whatever became of them and of the input; the exit code is the run's."""
    (shell.folder / "sheet.csv").unlink()
    names = ("results.csv", "failures.csv", "summary.json")
    before = [(folder / name).read_text() for name in names]
    for name in names:
        (folder / name).unlink()
    ended = shell.here("results", "run", "--json")
    after = [(folder / name).read_text() for name in names]
    assert (1, before[:2]) == (ended.code, after[:2])
    assert ended.json == summary(folder) == json.loads(after[2])
    old, new = json.loads(before[2]), summary(folder)
    assert {**old, "files": 0, "run": 0} == {**new, "files": 0, "run": 0}
    assert {name: str(folder / Path(path).name) for name, path in old["files"].items()} == new["files"]


def test_page(shell: Shell, folder: Path) -> None:
    """It shows the closing summary."""
    ended = shell.here("results", "run")
    expected = """3 rows in {seconds}
  updated           1
  invalid           1   fix and run again
  rejected          1   fix and run again
Reasons
  invalid   id                   is not a DualEntry customer id (a whole number, such as 10042)   row 3 ("x")
  rejected  id                   there is no customer with this id   row 4
2 rows to fix:  run/failures.csv
Then:  batch update run/failures.csv -e dualentry.customers --base-url {url} --max-per-second 2000
Every row:  run/results.csv
Take it back:  batch undo run --base-url {url}
"""
    assert Ended(1, "", expected) == Ended(ended.code, ended.out, shell.tell(ended.err))


def test_quiet(shell: Shell, folder: Path) -> None:
    """--quiet says nothing."""
    assert Ended(1, "", "") == shell.here("results", folder, "--quiet")


def test_variables(shell: Shell, folder: Path) -> None:
    """Its options are environment variables, too, as they are for every other command."""
    ended = shell.here("results", folder, env={"BATCH_QUIET": "1", "BATCH_JSON": "1"})
    assert (1, summary(folder), "") == (ended.code, ended.json, ended.err)


def test_links_are_not_followed(shell: Shell, folder: Path) -> None:
    """Results are never written through a symbolic link."""
    other = shell.folder / "precious.txt"
    other.write_text("mine")
    (folder / "results.csv").unlink()
    (folder / "results.csv").symlink_to(other)
    assert 1 == shell.here("results", "run").code
    assert ("mine", False) == (other.read_text(), (folder / "results.csv").is_symlink())


def test_damaged_journal(shell: Shell, folder: Path) -> None:
    """A journal that is damaged is said to be; nothing is made from it."""
    (folder / "journal.sqlite").write_bytes(b"nonsense" * 1000)
    before = (folder / "results.csv").read_bytes()
    ended = shell.here("results", "run")
    assert (2, "") == (ended.code, ended.out)
    assert ended.err.startswith("run/journal.sqlite: the record of this run ")
    assert "Traceback" not in ended.err
    assert before == (folder / "results.csv").read_bytes()


def test_missing_rows(shell: Shell, folder: Path) -> None:
    """Without the rows as they were read nothing can be made, and it says so."""
    (folder / "input.parquet").unlink()
    ended = shell.here("results", "run")
    message = "run: input.parquet is missing, so the rows of this run are not known any more.\n"
    assert Ended(2, "", message) == ended
