"""`batch check`: what it shows, and what it leaves behind."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.shell import DUALENTRY, OUTCOMES, ROOT, SUMMARY_KEYS, VAYU, Ended, Shell

SHEET = """Customer ID;Name;Phone;Note;batch_row
10001;Größe;<clear>;a;1
10002;;ext. 5;b;2
x;Bolt;ext. 6;c;3
10003;;;d;4
"""
SHOWN = """sheet.csv: 4 rows, 5 columns

  Customer ID -> id         4 values
  Name        -> name       2 values            Größe · Bolt
  Phone       -> phone      2 values  1 clear   ext. 5 · ext. 6
  Note           ignored (--map "Note=")
  batch_row      ignored (a column of batch's own)

  2 rows ready · 2 rows invalid

  phone            has letters in it (use digits, spaces and + - . ( ) only)   2 rows: 3, 4 ("ext. 5")
  Customer ID (id) is not a DualEntry customer id (a whole number, such as 10042)   row 4 ("x")

Nothing was sent. Only the 2 rows with problems, each with its reason: sheet.batch/check-{time}/failures.csv
To send the other 2 rows:  batch update sheet.csv -e dualentry.customers --map=Note=
"""


def test_page(offline: Shell) -> None:
    """It shows what each column is taken for, and the problems, equal ones grouped; on standard output."""
    ended = offline.here("check", offline.sheet(SHEET), "-e", DUALENTRY, "--map", "Note=")
    assert Ended(1, SHOWN, "") == Ended(ended.code, offline.tell(ended.out), ended.err)


def test_failures(offline: Shell) -> None:
    """The failures file has the invalid rows as they were, each with all its problems."""
    offline.here("check", offline.sheet(SHEET), "-e", DUALENTRY, "--map", "Note=")
    (folder,) = offline.runs()
    phone = 'column ""Phone"": ""ext. {}"" has letters in it (use digits, spaces and + - . ( ) only)'
    record = 'column ""Customer ID"": ""x"" is not a DualEntry customer id (a whole number, such as 10042)'
    expected = [
        "Customer ID;Name;Phone;Note;batch_row;batch_outcome;batch_field;batch_message;batch_run;batch_seen",
        f'10002;;ext. 5;b;3;invalid;phone;"{phone.format(5)}";;',
        f'x;Bolt;ext. 6;c;4;invalid;id; phone;"{record}; {phone.format(6)}";;',
    ]
    lines = (folder / "failures.csv").read_text(encoding="utf-8").splitlines()
    assert expected == [line.replace('"id; phone"', "id; phone") for line in lines]
    assert ["failures.csv", "summary.json"] == sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("command", "name"),
    [("check", "failures.csv"), ("update", "failures.csv"), ("update", "results.csv"), ("plan", "input.csv")],
)
def test_out_beside_the_input(offline: Shell, command: str, name: str) -> None:
    """Runs may go into the input's own folder, whatever it is called: it is never written over."""
    (offline.folder / "mine").mkdir()
    path = offline.folder / offline.sheet(SHEET, f"mine/{name}")
    ended = offline.here(command, path, "-e", DUALENTRY, "--map", "Note=", "--out", "mine", "--sandbox")
    (run,) = offline.runs("mine")
    assert (1, SHEET, run.name) == (ended.code, path.read_text(), str((offline.folder / "mine/latest").readlink()))
    assert {path, run, path.with_name("latest"), path.with_name(f"latest-{name}")} == set(path.parent.iterdir())


def test_clean(offline: Shell) -> None:
    """A clean file leaves nothing behind, and the links to an earlier run where they are."""
    shown = """sheet.csv: 1 row, 2 columns

  id   -> id         1 value
  name -> name       1 value   A

  1 row ready · 0 rows invalid

Nothing was sent.
To send the row:  batch update sheet.csv -e dualentry.customers
"""
    ended = offline.here("check", offline.sheet("id,name\n10001,A\n"), "-e", DUALENTRY)
    assert Ended(0, shown, "") == ended
    assert ["sheet.csv"] == [path.name for path in offline.folder.iterdir()]
    run = offline.folder / "sheet.batch" / "20260101-000000"
    run.mkdir(parents=True)
    run.with_name("latest").symlink_to(run.name)
    assert Ended(0, shown, "") == offline.here("check", "sheet.csv", "-e", DUALENTRY)
    assert {run, run.with_name("latest")} == set(run.parent.iterdir())


def test_workbook(offline: Shell) -> None:
    """A workbook is named with its sheet, and its cells as the spreadsheet names them."""
    pl.DataFrame({"id": [10001], "phone": ["ext. 5"]}).write_excel(offline.folder / "sheet.xlsx", worksheet="Customers")
    ended = offline.here("check", "sheet.xlsx", "-e", DUALENTRY)
    lines = ended.out.splitlines()
    assert (1, 'sheet.xlsx, sheet "Customers": 1 row, 2 columns') == (ended.code, lines[0])
    problem = 'phone            has letters in it (use digits, spaces and + - . ( ) only)   row 2 (B2: "ext. 5")'
    assert f"  {problem}" in lines
    assert offline.tell(lines[-1]) == (
        "Nothing was sent. Only the row with a problem, with its reason: sheet.batch/check-{time}/failures.xlsx"
    )
    assert offline.tell(lines[-1]).endswith("sheet.batch/check-{time}/failures.xlsx")


def test_json(offline: Shell) -> None:
    """With --json the summary, in which rows that are fine are unsent or unchanged."""
    ended = offline.here("check", offline.sheet(SHEET), "-e", DUALENTRY, "--map", "Note=", "--json")
    told = ended.json
    assert (1, "", SUMMARY_KEYS, OUTCOMES) == (ended.code, ended.err, list(told), list(told["outcomes"]))
    assert (4, 4, 2) == (told["rows"], sum(told["outcomes"].values()), told["outcomes"]["invalid"])
    assert (0, 0, 0) == (told["requests"], told["attempts"], told["throttled"])
    assert told == json.loads((offline.runs()[0] / "summary.json").read_text())


def test_quiet(offline: Shell) -> None:
    """With --quiet the exit code alone says it."""
    assert Ended(1, "", "") == offline.here("check", offline.sheet("id,name\nx,y\n"), "-e", DUALENTRY, "--quiet")


def test_no_network_and_no_key(offline: Shell) -> None:
    """Nothing is asked of anybody: an address that does not answer and a missing key do not matter."""
    command = ["check", offline.sheet("id,name,custom_fields.X\n10001,A,b\n"), "-e", DUALENTRY]
    assert 0 == offline.here(*command, "--base-url", "http://127.0.0.1:1", "--compare").code


def test_an_update_is_not_held_up(offline: Shell) -> None:
    """A check of an input begins no run of it."""
    sheet = offline.sheet("id,name\nx,y\n")
    offline.here("check", sheet, "-e", DUALENTRY)
    ended = offline.here("update", sheet, "-e", DUALENTRY, "--sandbox")
    assert (1, False) == (ended.code, "resuming" in ended.err)
    assert 2 == len(offline.runs())


def test_out(offline: Shell) -> None:
    """--out is where the check goes, always with a summary, and the run of the same input beside it."""
    sheet = offline.sheet("id,name\nx,y\n")
    assert 1 == offline.here("check", sheet, "-e", DUALENTRY, "--out", "here").code
    assert ["failures.csv", "summary.json"] == sorted(path.name for path in offline.only_run("here").iterdir())
    assert 1 == offline.here("update", sheet, "-e", DUALENTRY, "--sandbox", "--out", "here").code
    assert 0 == offline.here("check", offline.sheet("id,name\n10001,y\n"), "-e", DUALENTRY, "--out", "here").code
    latest = offline.folder / "here" / "latest"
    assert (3, ["summary.json"]) == (len(offline.runs("here")), [path.name for path in latest.iterdir()])


def test_standard_input(offline: Shell) -> None:
    """`-` reads CSV from standard input."""
    ended = offline.run("check", "-", "-e", VAYU, "--json", stdin=b"\xef\xbb\xbfid,name\n65f000000000000000000001,A\n")
    assert (0, 1, "-") == (ended.code, ended.json["rows"], ended.json["input"])


def test_folder_of_parquet(offline: Shell) -> None:
    """A folder or a pattern of Parquet files is one input."""
    (offline.folder / "parts").mkdir()
    for number in (1, 2):
        frame = pl.DataFrame({"id": [10000 + number], "name": ["A"]})
        frame.write_parquet(offline.folder / "parts" / f"{number}.parquet")
    for name in ("parts", "parts/*.parquet"):
        ended = offline.here("check", name, "-e", DUALENTRY, "--json")
        assert (0, 2) == (ended.code, ended.json["rows"])


@pytest.mark.parametrize("name", ["customers.csv", "customers.xlsx", "customers.parquet"])
def test_samples_are_clean(offline: Shell, name: str) -> None:
    """The clean samples are."""
    shutil.copy(ROOT / "samples" / name, offline.folder)
    ended = offline.here("check", name, "-e", DUALENTRY)
    assert (0, "Nothing was sent.") == (ended.code, ended.out.splitlines()[-2])
    assert [Path(name)] == [Path(path.name) for path in offline.folder.iterdir()]
