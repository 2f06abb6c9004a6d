"""The header's row: found by the names of fields in it, named with --header-row, and what stands above it is told."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xlsxwriter

from batch.columns import is_known_header
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.errors import InputError
from batch.model import Staged
from batch.sources import ReadOptions, open_input, stage

IS_KNOWN = is_known_header(DualEntryCustomers(), {"Betreuer": ""})
TITLED: list[list[Any]] = [
    ["Kundenliste 2026"], ["Stand 1.3.2026"], [], ["Kunde", "", "Anschrift"],
    ["ID", "Kundenname", "Ort", "PLZ"], [10001, "Acme", "Bonn", "53111"], [10002, "Bolt", "Köln", "50667"],
]  # fmt: skip
NOTE = 'The header is row 5. What stands above it was left out: "Kundenliste 2026", "Stand 1.3.2026", "Kunde", ….'


def write(path: Path, rows: list[list[Any]]) -> Path:
    """Write rows as a workbook or as CSV, as a spreadsheet program does."""
    if path.suffix == ".xlsx":
        with xlsxwriter.Workbook(path) as book:
            sheet = book.add_worksheet("Kunden")
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    else:
        path.write_text("".join(";".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, **options: Any) -> Staged:
    """Stage a file in its own folder."""
    return stage(open_input(str(path), path.parent), path.parent, ReadOptions(is_known=IS_KNOWN, **options))


def numbers(staged: Staged) -> list[int]:
    """Return the numbers of the rows."""
    return pl.read_parquet(staged.path)["row"].to_list()


@pytest.mark.parametrize("ending", [".xlsx", ".csv"])
def test_what_stands_above_the_header_is_left_out_and_said(ending: str, tmp_path: Path) -> None:
    """A title, a date, a blank row and a group header are no headers; rows keep their numbers."""
    found = read(write(tmp_path / f"kunden{ending}", TITLED))
    assert (("ID", "Kundenname", "Ort", "PLZ"), [6, 7], (NOTE,)) == (found.headers, numbers(found), found.notes)
    assert found.style is None or found.cell(6, 1) == "B6"


@pytest.mark.parametrize("ending", [".xlsx", ".csv"])
def test_first_row_is_the_header_where_no_other_names_more(ending: str, tmp_path: Path) -> None:
    """Neither a cell that says "Ort" nor a header that is repeated further down takes its place."""
    rows = [["Nr", "Was"], [1, "Ort"], ["Nr", "Was"]]
    assert ("Nr", "Was") == read(write(tmp_path / f"own{ending}", rows)).headers
    rows = [["ID", "Ort"], [1, "Bonn"], ["ID", "Ort"], [2, "Köln"]]
    found = read(write(tmp_path / f"twice{ending}", rows))
    assert (("ID", "Ort"), [2, 3, 4], ()) == (found.headers, numbers(found), found.notes)


@pytest.mark.parametrize("ending", [".xlsx", ".csv"])
def test_header_row_is_named(ending: str, tmp_path: Path) -> None:
    """`--header-row` is believed, and a row with nothing in it is refused."""
    path = write(tmp_path / f"kunden{ending}", [["Liste"], [], ["A", "B"], [1, 2]])
    with pytest.raises(InputError, match=r"If it is:  --header-row 3"):
        read(path)
    assert (("A", "B"), [4]) == ((found := read(path, header_row=3)).headers, numbers(found))
    for row in (2, 99):
        with pytest.raises(InputError, match=f"there is nothing in row {row}, which --header-row says"):
            read(path, header_row=row)


@pytest.mark.parametrize("ending", [".xlsx", ".csv"])
def test_headers_that_are_mapped_count(ending: str, tmp_path: Path) -> None:
    """What `--map` names is a header, whatever else is known; a title of one word is none."""
    rows = [["Name"], ["ID", "Betreuer"], [1, "Ana"]]
    assert ("ID", "Betreuer") == read(write(tmp_path / f"kunden{ending}", rows)).headers


@pytest.mark.parametrize("ending", [".xlsx", ".csv"])
def test_one_known_header_is_enough_below_a_title(ending: str, tmp_path: Path) -> None:
    """A first row of one cell that names nothing gives way to a wider one that names something."""
    rows = [["Liste"], ["Nr", "Ort"], [1, "Bonn"]]
    assert ("Nr", "Ort") == read(write(tmp_path / f"kunden{ending}", rows)).headers


def test_far_header_of_a_workbook(tmp_path: Path) -> None:
    """--header-row reaches beyond the rows among which the header is looked for."""
    rows = [[f"Zeile {number}", "x"] for number in range(1, 60)]
    found = read(write(tmp_path / "far.xlsx", [*rows, ["ID", "Ort"], [1, "Bonn"]]), header_row=60)
    assert (("ID", "Ort"), [61]) == (found.headers, numbers(found))
