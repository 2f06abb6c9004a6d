"""The failures workbook: every cell as it was, the bad ones marked and explained, and nothing executed or followed."""

import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import openpyxl
import polars as pl
import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.model import READ_ERRORS, ROW, Outcome, Problem, RowResult, Staged, iter_read_errors, looks_blank
from batch.outputs.failures import FailedRow, original_indexes
from batch.outputs.failures_xlsx import UNWRITABLE, ExcelFailures
from batch.sources import ReadOptions
from tests.libreoffice import SOFFICE, type_into
from tests.outputs import ADDED
from tests.sources.workbooks import rows, staged
from tests.worded import worded

CORPUS = Path(__file__).parents[1] / "corpus" / "xlsx"
REFUSED = {
    *("header-only", "merged-header", "nothing", "only-a-hidden-sheet-has-data", "password", "stray-cell-far-away"),
    "title-above-header",
}
BOOKS = sorted(path.name for path in CORPUS.glob("*.xlsx") if path.stem.removesuffix("--libreoffice") not in REFUSED)


def damages(found: Staged) -> list[list[tuple[int | None, Problem]]]:
    """Give what the reader saw wrong in each row: column, and problem."""
    return [list(iter_read_errors(text)) for text in pl.read_parquet(found.path)[READ_ERRORS]]


def as_read(found: Staged) -> list[RowResult]:
    """Make the results of rows of which nothing is known but how they were read."""
    numbers = pl.read_parquet(found.path)[ROW].to_list()
    return [
        RowResult(number, "", Outcome.INVALID if problems else Outcome.UNSENT, problems=tuple(problems))
        for number, wrong in zip(numbers, damages(found), strict=True)
        for problems in [
            [
                replace(problem, header=found.headers[at], cell=found.cell(number, at))
                for at, problem in wrong
                if at is not None
            ]
        ]
    ]


def write(found: Staged, path: Path, row_results: Sequence[RowResult] | None = None) -> Path:
    """Write the failures workbook of all rows."""
    path.touch(0o600)
    writer = ExcelFailures(path, found)
    writer.add(pl.read_parquet(found.path), [FailedRow(one) for one in row_results or as_read(found)])
    writer.finish()
    return path


def kinds(found: Staged) -> list[list[str]]:
    """Give what kind of cell each cell is: text, number, boolean, date, error, or none."""
    frame = pl.read_parquet(found.path)
    indexes = original_indexes(found)
    texts, origins = frame.select(f"c{at}" for at in indexes), frame.select(f"o{at}" for at in indexes)
    return [
        ["" if text is None else (origin or "s")[0] for text, origin in zip(*pair, strict=True)]
        for pair in zip(texts.rows(), origins.rows(), strict=True)
    ]


@pytest.mark.parametrize("book", BOOKS)
def test_out_and_back(book: str, tmp_path: Path) -> None:
    """Read again, every cell has the same text and is of the same kind; one of unknown value is now an error."""
    first = staged(CORPUS / book, ReadOptions(hidden="include"), tmp_path)
    texts, letters, wrong = [row[1:] for row in rows(first)], kinds(first), damages(first)
    (tmp_path / "2").mkdir()
    again = staged(write(first, tmp_path / "2" / "failures.xlsx"))
    unknown = [[at for at, problem in one if problem.code in ("formula_uncalculated", "merged")] for one in wrong]
    for text, letter, at in zip(texts, letters, unknown, strict=True):
        for index in at:
            letter[index] = "e"
        texts[texts.index(text)] = tuple("#N/A" if index in at else one for index, one in enumerate(text))
    assert texts == [row[1 : len(first.headers) + 1] for row in rows(again)]
    assert letters == kinds(again)
    assert [[at for at, _ in one] for one in wrong] == [[at for at, _ in one] for one in damages(again)]


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\ufffe\uffff"), min_size=1).filter(
    lambda text: not looks_blank(text)
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(table=st.lists(st.tuples(TEXTS, st.floats(-1e14, 1e14, allow_subnormal=False)), min_size=1, max_size=5))
def test_nothing_is_lost(table: list[tuple[str, float]], tmp_path: Path) -> None:
    """Any text and any number are the same, to the last letter and bit, after two ways out and back."""
    frame = pl.DataFrame(
        {
            ROW: pl.Series(range(2, 2 + len(table)), dtype=pl.UInt32),
            "c0": [text for text, _ in table],
            "c1": [repr(number) for _, number in table],
            READ_ERRORS: pl.Series([None] * len(table), dtype=pl.String),
            "o0": pl.Series([None] * len(table), dtype=pl.String),
            "o1": ["n0"] * len(table),
        }
    )
    frame.write_parquet(tmp_path / "input.parquet")
    found = Staged(tmp_path / "input.parquet", "x.xlsx", "xlsx", ("a", "b"), len(table), "")
    for _ in range(2):
        found = staged(write(found, tmp_path / "failures.xlsx"))
    assert table == [(str(text), float(str(number))) for _, text, number, *_ in rows(found)]


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """A failures workbook with problems of every kind."""
    book = xlsxwriter.Workbook(tmp_path / "customers.xlsx", {"strings_to_urls": False})
    sheet = book.add_worksheet("Kunden")
    sheet.write_row(1, 1, ["Customer No", "Phone", "Tier", ""])
    for row, cells in enumerate([["00123", "ext. 5", "=1+1"], ["124", "1", "http://a.example"], ["125", "2", "x"]], 2):
        for column, cell in enumerate(cells, 1):
            sheet.write_string(row, column, cell)
    book.close()
    found = staged(tmp_path / "customers.xlsx")
    letters = worded("has letters in it (use digits)", "phone", "Phone", "C3", "ext. 5")
    option = worded("'Tier' has no such option\x1b", "custom_fields.Tier", "Tier", "D3", "=1+1")
    row_results = [
        RowResult(3, "00123", Outcome.INVALID, problems=(letters, option)),
        RowResult(4, "124", Outcome.REJECTED, 422, 1, (worded("=HYPERLINK(0) refused"),)),
        RowResult(5, "125", Outcome.UNSENT),
    ]
    return write(found, tmp_path / "failures.xlsx", row_results)


def test_marks_and_notes(problems: Path) -> None:
    """A bad cell is filled and has a note that says what was seen and what to do; no other cell is or has."""
    sheet = openpyxl.load_workbook(problems).worksheets[1]
    marked = [
        cell.coordinate for row in sheet.iter_rows(max_col=3) for cell in row if cell.fill.bgColor.rgb == "FFFFC7CE"
    ]
    marked += [one.coordinate for row in sheet["A2:C4"] for one in row if one.fill.fgColor.rgb == "FFFFC7CE"]
    notes = {cell.coordinate: cell.comment.text for row in sheet.iter_rows() for cell in row if cell.comment}
    assert ["B2", "C2"] == marked
    assert {
        "B2": '"ext. 5" has letters in it (use digits)',
        "C2": "\"=1+1\" 'Tier' has no such option\\x1b",
    } == notes


def test_the_sheet(problems: Path) -> None:
    """The sheet keeps its name and its columns; ours stand at the end; the header is frozen and has a filter."""
    sheet = openpyxl.load_workbook(problems).worksheets[1]
    phone = 'column "Phone": "ext. 5" has letters in it (use digits)'
    message = f'{phone}; column "Tier": "=1+1" \'Tier\' has no such option\\x1b'
    assert [
        ("Customer No", "Phone", "Tier", *ADDED),
        ("00123", "ext. 5", "=1+1", 3, "invalid", "phone; custom_fields.Tier", message, None, None),
        ("124", "1", "http://a.example", 4, "rejected", None, "=HYPERLINK(0) refused", None, None),
        ("125", "2", "x", 5, "unsent", None, None, None, None),
    ] == list(sheet.values)
    assert ("Kunden", "A2", "A1:I4", True) == (
        sheet.title, sheet.freeze_panes, sheet.auto_filter.ref, sheet["A1"].font.bold,
    )  # fmt: skip


def test_nothing_is_executed_or_followed(problems: Path) -> None:
    """What looks like a formula or a link, also in a message, is text."""
    book = openpyxl.load_workbook(problems)
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    assert [] == [cell.coordinate for cell in cells if cell.data_type == "f" or cell.hyperlink]


def test_the_page_of_reasons(problems: Path) -> None:
    """The second sheet says how to go on, and groups the reasons with their counts and rows."""
    page = openpyxl.load_workbook(problems)["What to do"]
    correct = (
        "correct the marked cells: each has a note that says what is wrong. To leave a field as it is, empty its cell."
    )
    again = "and run the same command again with it in place of customers.xlsx. Only these rows are sent."
    invalid = "Correct the cell. Nothing of the row was sent."
    assert [
        ["3 rows of customers.xlsx still need something"],
        [],
        [f'1.  On the sheet "Kunden", {correct}'],
        ["2.  Rows that are failed, unknown or unsent need no correction."],
        ["3.  Leave the columns that begin with batch_ alone: they are batch's own, and set nothing."],
        [f"4.  Save the file as it is (.xlsx), {again}"],
        ["5.  Pictures, charts, conditional formats and macros of customers.xlsx are not in this file."],
        [],
        ["Rows", "Outcome", "Column", "Reason", "What to do", "In rows (of this workbook)"],
        [1, "invalid", "Phone", "has letters in it (use digits)", invalid, "2"],
        [1, "invalid", "Tier", "'Tier' has no such option\\x1b", invalid, "2"],
        [1, "rejected", "=HYPERLINK(0) refused", "Correct the cell. The row was refused.", "3"],
        [1, "unsent", "Leave it as it is, and run again: its turn did not come.", "4"],
    ] == [[cell for cell in row if cell not in (None, "")] for row in page.values]


def test_read_again(problems: Path, tmp_path: Path) -> None:
    """As the next input, the workbook is read without a word about its second sheet."""
    again = staged(problems)
    assert (3, (), "Kunden") == (again.rows, again.notes, again.style and again.style.sheet)


def test_failures_of_failures(problems: Path, tmp_path: Path) -> None:
    """Our own columns do not pile up."""
    again = write(staged(problems), tmp_path / "failures-2.xlsx")
    headers = [cell.value for cell in openpyxl.load_workbook(again).worksheets[1][1]]
    assert ["Customer No", "Phone", "Tier", *ADDED] == headers


def test_numbers_typed_as_text_stay_text(problems: Path) -> None:
    """Texts of digits are formatted as text, and so is the column, or correcting a digit would lose the zeros."""
    sheet = openpyxl.load_workbook(problems).worksheets[1]
    assert ("@", "@", "General") == (
        sheet["A2"].number_format, sheet.column_dimensions["A"].number_format, sheet["C2"].number_format,
    )  # fmt: skip


def test_only_the_owner_may_read_it(problems: Path) -> None:
    """The workbook keeps its mode, and nothing of it is left beside it."""
    assert 0o600 == stat.S_IMODE(problems.stat().st_mode)
    assert ["customers.xlsx", "failures.xlsx", "input.parquet"] == sorted(one.name for one in problems.parent.iterdir())


@pytest.mark.parametrize("text", ["x" * 32_768, "\uffff", "🍣" * 16_384])
def test_a_text_that_no_cell_holds(text: str, tmp_path: Path) -> None:
    """It is not cut but left out, in a cell that nobody takes for blank, with a note that says so."""
    nothing = pl.Series([None], dtype=pl.String)
    frame = pl.DataFrame({ROW: [2], "c0": [text], READ_ERRORS: nothing, "o0": nothing})
    frame.write_parquet(tmp_path / "input.parquet")
    found = Staged(tmp_path / "input.parquet", "x.xlsx", "xlsx", ("a",), 1, "")
    path = write(found, tmp_path / "failures.xlsx", [RowResult(2, "", Outcome.FAILED)])
    cell = openpyxl.load_workbook(path, data_only=True).worksheets[1]["A2"]
    assert ("#N/A", f"The value of this cell is not known: {UNWRITABLE}. Type the value, or empty the cell.") == (
        cell.value,
        cell.comment.text,
    )


@pytest.mark.parametrize("name", ["What to do", "a/b:c"])
def test_names_of_sheets_that_cannot_be_kept(name: str, tmp_path: Path) -> None:
    """A name that is ours, or that Excel refuses, gives way to another."""
    first = staged(CORPUS / "ordinary.xlsx", None, tmp_path)
    assert first.style is not None
    style = type(first.style)(name, 1, 1, formats=first.style.formats)
    found = Staged(first.path, first.name, "xlsx", first.headers, first.rows, "", style=style)
    assert ["What to do", "Rows"] == openpyxl.load_workbook(write(found, tmp_path / "failures.xlsx")).sheetnames


@pytest.mark.long
@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")
def test_corrected_in_libreoffice(problems: Path, tmp_path: Path) -> None:
    """A person corrects one cell in LibreOffice and saves: that cell changes, and nothing else."""
    before = rows(staged(problems))
    (tmp_path / "2").mkdir()
    type_into(problems, tmp_path / "2" / "failures.xlsx", {"B2": "030 1234", "A3": "00124"}, tmp_path)
    after = rows(staged(tmp_path / "2" / "failures.xlsx"))
    before[0] = (2, "00123", "030 1234", *before[0][3:])
    before[1] = (3, "00124", *before[1][2:])
    assert before == after
