"""`batch` alone: on a terminal it greets and leads, in a pipeline it prints the help."""

import os
import shlex
import shutil
from pathlib import Path

import pytest

from batch.cli.greeting import dropped_path
from tests.shell import DUALENTRY, ROOT, Shell
from tests.test_terminal import SEND, on_terminal

GREETING = """\
batch changes customer records in DualEntry or Vayu from a spreadsheet.
It shows what will change, asks, sends it, and notes what became of every row.

   1  Try it with sample records
   2  Send a file
   3  Look at earlier runs
   4  Set up a key
What would you like to do? (Enter: nothing): """
WHAT = b"(Enter: nothing): "
FILE = b"Which file? Type its name, or drag it into this window (Enter: none): "
RECORDS = b"Which records does it change? (Enter: none): "
MEANT = b"Which records are meant? (Enter: none): "
OPENS = b"Which records does the key open? (Enter: none): "
KEY = b"(stays hidden while you paste or type it): "
APIS = "   1  DualEntry customers  (dualentry.customers)\n   2  Vayu customers  (vayu.customers)\n"


@pytest.fixture
def copy(offline: Shell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program with its samples, so that their runs are not left in the checkout."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("batch", "samples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.batch"))
    offline.environment["PYTHONPATH"] = str(folder)
    return folder


def test_nothing(offline: Shell) -> None:
    """It says what the program does in two lines; Enter leaves it at that, and says where the rest is."""
    ended = on_terminal(offline, [], [(WHAT, b"\n")])
    assert (0, f"{GREETING}\nAll commands:  batch --help\n") == (ended.code, ended.err)


def test_sample(offline: Shell, copy: Path) -> None:
    """The samples go to the sandbox, and the command that does the same is said."""
    ended = on_terminal(offline, [], [(WHAT, b"1\n"), (SEND, b"y\n")])
    assert 0 == ended.code, ended.err
    assert "this is a sandbox" in ended.err
    said = f"The same command:  batch update {copy}/samples/customers.csv -e {DUALENTRY} --sandbox\n"
    assert ended.err.endswith(said), ended.err


def test_file(offline: Shell) -> None:
    """A file is asked for until there is one, then whose records it changes; a missing key comes first."""
    offline.sheet("id,name\n10001,New\n", "two words.csv")
    dragged = shlex.quote(str(offline.folder / "two words.csv"))
    answers = [
        (WHAT, b"2\n"), (FILE, b"nobody.csv\n"), (FILE, dragged.encode() + b" \n"), (RECORDS, b"1\n"), (KEY, b"\x04"),
    ]  # fmt: skip
    ended = on_terminal(offline, [], answers)
    assert (130, True) == (
        ended.code,
        f"{FILE.decode()}nobody.csv\nnobody.csv: there is no such file. Check the name and the folder.\n"
        f"{FILE.decode()}{dragged} \n{APIS}{RECORDS.decode()}1\n"
        "There is no key for DualEntry customers yet, so that comes first.\n"
        "A login for DualEntry customers, " in ended.err,
    ), ended.err
    assert ended.err.endswith(f"The same command:  batch login -e {DUALENTRY}\n")


def test_file_with_a_key(offline: Shell) -> None:
    """Where there is a key, the file is sent as the command does it."""
    offline.sheet("id,nothing\n10001,New\n")
    answers = [(WHAT, b"2\n"), (FILE, b"sheet.csv\n"), (RECORDS, b"2\n"), (b'"q" to stop: ', b"q\n")]
    ended = on_terminal(offline, [], answers, **{"VAYU_API_TOKEN": "nothing-that-opens"})
    assert 2 == ended.code
    assert ended.err.endswith("The same command:  batch update sheet.csv -e vayu.customers\n"), ended.err


def test_records_are_asked_for(offline: Shell) -> None:
    """A command that is not told whose records are meant asks; Enter, --yes and a pipeline get what to add."""
    offline.sheet("id,name\n10001,New\n")
    ended = on_terminal(offline, ["check", "sheet.csv"], [(MEANT, b"1\n")])
    assert (0, True) == (ended.code, ended.err.startswith(f"{APIS}{MEANT.decode()}1\nsheet.csv: 1 row")), ended.err
    assert ended.err.endswith(f"batch update sheet.csv -e {DUALENTRY}\n"), ended.err
    none = on_terminal(offline, ["check", "sheet.csv"], [(MEANT, b"\n")])
    assert (2, True) == (none.code, "Error: Which records? Name them with -e" in none.err), none.err
    for unasked in (["update", "sheet.csv", "--yes"], ["update", "sheet.csv", "--log-format", "json"]):
        ended = on_terminal(offline, [*unasked], [(MEANT, b"1\n")])
        assert (2, False) == (ended.code, MEANT.decode() in ended.err), ended.err


def test_runs_and_key(offline: Shell) -> None:
    """The other ways are commands, too."""
    ended = on_terminal(offline, [], [(WHAT, b"3\n")])
    assert (0, True) == (ended.code, ended.err.endswith("The same command:  batch runs\n")), ended.err
    ended = on_terminal(offline, [], [(WHAT, b"4\n"), (OPENS, b"2\n"), (KEY, b"\x04")])
    assert (130, True) == (ended.code, ended.err.endswith("The same command:  batch login -e vayu.customers\n"))


@pytest.mark.parametrize(
    "pasted",
    [
        "{folder}/my sheet (1).csv", "'{folder}/my sheet (1).csv'", '"{folder}/my sheet (1).csv"',
        r"{folder}/my\ sheet\ \(1\).csv", "file://{folder}/my%20sheet%20(1).csv",
        "'file://{folder}/my%20sheet%20%281%29.csv'", "file://localhost{folder}/my%20sheet%20(1).csv",
        "~/my sheet (1).csv", "'~/my sheet (1).csv'",
    ],
)  # fmt: skip
def test_dropped_paths(pasted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is understood as terminals paste it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "my sheet (1).csv"
    path.touch()
    assert path == dropped_path(pasted.format(folder=tmp_path))


@pytest.mark.parametrize("name", ["O'Brien.csv", r"a\ b.csv", "'quoted'.csv", "50%20.csv", "nobody here.csv"])
def test_names_that_look_dropped(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is there as it was typed is that file; one that is nowhere stays as it was typed."""
    monkeypatch.chdir(tmp_path)
    if name != "nobody here.csv":
        Path(name).touch()
    assert name == os.fspath(dropped_path(name))
