"""Tests of how columns of numbers and dates are told as a whole."""

from pathlib import Path

import pytest

from batch.errors import InputError
from batch.number_date_formats import DetectedFormat, Kind
from tests.shell import DUALENTRY, Shell

LIMIT, RENEWAL = "custom_fields.Limit:number", "custom_fields.Renewal:date"


def notation(kind: Kind, *texts: str) -> str | None:
    """The way of a column with these texts, from row 2 on."""
    detected = DetectedFormat(kind)
    detected.feed(enumerate(texts, 2))
    return detected.notation('f.csv, column "X"')


@pytest.mark.parametrize(
    ("kind", "texts", "expected"),
    [
        ("number", ("1", "-20", "n/a"), None),
        ("number", ("1.000", "2.50"), "."),
        ("number", ("1.000", "2,5"), ","),
        ("number", ("1.000", "1.234.567"), ","),
        ("date", ("2026-04-03", "03/03/2026"), None),
        ("date", ("03/04/2026", "13/04/2026"), "dmy"),
        ("date", ("03/04/2026", "04/13/2026"), "mdy"),
    ],
)
def test_told_by_the_others(kind: Kind, texts: tuple[str, ...], expected: str | None) -> None:
    """One cell that can be read in one way only tells how the others are written."""
    assert expected == notation(kind, *texts)


@pytest.mark.parametrize(
    ("kind", "texts", "expected"),
    [
        (
            "number",
            ("7", "1.000"),
            (
                'f.csv, column "X": "1.000" (row 3) may mean 1 (a decimal point) or 1000 (a decimal comma), '
                "and no other cell tells. Nothing was sent. Say which:  --decimal . or --decimal ,"
            ),
        ),
        (
            "date",
            ("03/04/2026",),
            (
                'f.csv, column "X": "03/04/2026" (row 2) may mean 2026-04-03 (the day first) or 2026-03-04 '
                "(the month first), and no other cell tells. Nothing was sent. "
                "Say which:  --date-format dmy or --date-format mdy"
            ),
        ),
        (
            "number",
            ("1,5", "1.5"),
            (
                'f.csv, column "X" is written in two ways: "1,5" (row 2) has a decimal comma, '
                '"1.5" (row 3) has a decimal point. Write the whole column in one way. Nothing was sent.'
            ),
        ),
    ],
)
def test_refused(kind: Kind, texts: tuple[str, ...], expected: str) -> None:
    """A column that nothing tells, or that contradicts itself, is refused with both readings."""
    with pytest.raises(InputError) as refused:
        notation(kind, *texts)
    assert expected == str(refused.value)


def test_other_separators_tell_nothing() -> None:
    """A date with points says nothing of one with slashes."""
    with pytest.raises(InputError, match=r'"4/3/2026" .row 3. may mean 2026-03-04 .the day first. or 2026-04-03'):
        notation("date", "13.04.2026", "4/3/2026")


def test_told_how_it_was_read() -> None:
    """Where a cell decided how others are read, it is said which."""
    detected = DetectedFormat("date")
    detected.feed([(2, "03/04/2026"), (3, "13/04/2026")])
    assert 'is read with the day first, as "13/04/2026" in row 3 tells' == detected.note


def test_ambiguous_column_stops_the_run(shell: Shell, session_sandbox: object) -> None:
    """An update with such a column ends with 2 and leaves nothing behind; with the option it goes on."""
    sheet = shell.sheet(f"id,{LIMIT}\n10001,1.000\n")
    ended = shell.here("update", sheet, "-e", DUALENTRY, "--base-url", session_sandbox.url)  # type: ignore[attr-defined]  # the fixture's type is the process
    assert 2 == ended.code
    assert [] == shell.runs()
    assert 0 == shell.here("check", sheet, "-e", DUALENTRY, "--decimal", ".").code


def test_typed_cells_need_no_telling(offline: Shell) -> None:
    """What a workbook stores as a number is that number, however the texts around it are written."""
    import xlsxwriter

    path = offline.folder / "book.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        for row, cells in enumerate([["id", LIMIT, RENEWAL], ["1", 1.125, "2026-04-03"], ["2", "2,5", None]]):
            for column, cell in enumerate(cells):
                sheet.write(row, column, cell)
    ended = offline.here("check", Path("book.xlsx"), "-e", DUALENTRY)
    assert (0, "  2 rows ready · 0 rows invalid") == (ended.code, ended.out.splitlines()[6])
