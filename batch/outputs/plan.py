"""`plan.csv` and `plan.xlsx`: what would change, one line for every cell, for who has to approve it.

Promises: the same lines in both; nothing in them is executed by a spreadsheet program; the file is complete or absent,
and memory does not grow with it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from batch.conditions import PlannedChange
from batch.csv_injection import escape_formula
from batch.endpoints.base import MISSING, is_blank
from batch.exact_json import encode_for_people
from batch.files import NewFile
from batch.model import shorten

LINES_AT_ONCE = 5_000
MAX_CELL = 32_000
MAX_SHEET = 1_000_000
"""Lines on one sheet (Excel's limit is 1,048,576)."""
WIDTHS = (8, 26, 34, 26, 40, 40)


@dataclass(frozen=True, slots=True)
class Line:
    """One cell that would change, as text; `is_clear` when it would be emptied."""

    row: int
    id: str
    name: str
    field: str
    before: str
    after: str
    is_clear: bool = False


COLUMNS = ("row", "id", "name", "field", "before", "after")


def as_cell(value: Any, clear_token: str = "") -> str:
    """Return a value as the text of a cell; an empty one as `clear_token`."""
    match value:
        case None | "" | []:
            return clear_token
        case str():
            return value
        case list() if all(isinstance(one, str) and ";" not in one for one in value):
            return "; ".join(value)
    return encode_for_people(value)


def iter_lines(changes: Iterable[PlannedChange], clear_token: str) -> Iterator[Line]:
    """Yield one line for every cell that would change."""
    for planned in changes:
        for step in planned.steps:
            was = as_cell(None if step.expected is MISSING else step.expected)
            will = as_cell(step.wanted, clear_token)
            yield Line(planned.row, planned.id, planned.name, step.field, was, will, is_clear=is_blank(step.wanted))


def write_plan(path: Path, lines: Iterable[Line]) -> None:
    """Write the lines as the ending of `path` says; raises OSError."""
    file = NewFile(path)
    try:
        (_write_xlsx if path.suffix == ".xlsx" else _write_csv)(file.made, lines)
        file.keep()
    finally:
        file.discard()


def _write_csv(path: Path, lines: Iterable[Line]) -> None:
    schema = {name: pl.UInt32 if name == "row" else pl.String for name in COLUMNS}
    texts = [name for name in COLUMNS if name != "row"]
    waiting = iter(lines)
    with path.open("wb") as file:
        file.write((",".join(COLUMNS) + "\n").encode())
        while some := [astuple(line)[:-1] for line in islice(waiting, LINES_AT_ONCE)]:
            frame = pl.DataFrame(some, schema=schema, orient="row")
            frame.with_columns(escape_formula(pl.col(texts).replace("", None))).write_csv(file, include_header=False)


def _write_xlsx(path: Path, lines: Iterable[Line]) -> None:
    import xlsxwriter  # here, since most runs write no workbook

    options = {"constant_memory": True, "tmpdir": str(path.parent), "strings_to_urls": False}
    book = xlsxwriter.Workbook(str(path), options)
    head = book.add_format({"bold": True, "bottom": 1, "bg_color": "#DDEBF7"})
    text, clear = book.add_format({"num_format": "@"}), book.add_format({"font_color": "#9C0006", "num_format": "@"})
    sheet, at = _add_sheet(book, head, "Plan"), 0
    for line in lines:
        if at == MAX_SHEET:
            sheet, at = _add_sheet(book, head, f"Plan {len(book.worksheets()) + 1}"), 0
        at += 1
        sheet.write_number(at, 0, line.row)
        for column, cell in enumerate((line.id, line.name, line.field, line.before, line.after), 1):
            style = clear if line.is_clear and column == 5 else text
            sheet.write_string(at, column, shorten(cell, MAX_CELL), style)
    book.close()


def _add_sheet(book: Any, head: Any, name: str) -> Any:
    from batch.outputs.failures_xlsx.cells import ExactSheet

    sheet = book.add_worksheet(name, ExactSheet)
    for column, (title, width) in enumerate(zip(COLUMNS, WIDTHS, strict=True)):
        sheet.set_column(column, column, width)
        sheet.write_string(0, column, title, head)
    sheet.freeze_panes(1, 0)
    return sheet
