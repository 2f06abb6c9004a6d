"""The failures workbook of an XLSX input: the rows that still need something, ready to be corrected and run again.

Promises that batch reads every cell back as it was (text as text, numbers to the last bit, dates in their
format); that a cell which could not be trusted stays one until somebody types into it; that the bad cell is marked and
has a note; and that nothing in it is executed or followed. Memory does not grow with the rows.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import xlsxwriter
from xlsxwriter.exceptions import XlsxWriterException
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from batch.model import (
    COMMENTS,
    NEEDS_EDIT,
    NOTE_AUTHOR,
    NOTE_MARK,
    READ_ERRORS,
    RESERVED_SHEETS,
    CellStyle,
    RowResult,
    SheetStyle,
    Staged,
    cell_column,
    column_letters,
    iter_read_errors,
    original_column,
    shorten,
    visible,
)
from batch.outputs.failures import FailedRow, added_columns, is_hidden, original_indexes
from batch.outputs.failures_xlsx.cells import (
    LINE,
    MAX_LINES,
    TEXT_FORMAT,
    CellWriter,
    ExactSheet,
    close_book,
    lines_of,
    look_properties,
)
from batch.outputs.failures_xlsx.reasons import ReasonsSheet
from batch.provenance import MOST

MAX_NOTES = 10_000
"""Notes on cells; spreadsheet programs get slow with more. The column batch_message has them all."""
NO_VALUE_NOTE = "The value of this cell is not known: {reason}. Type the value, or empty the cell."
UNWRITABLE = "its text is too long for a cell, or has characters that no workbook can hold"
WIDEST = 60
MARGIN = 0.7109375
"""What xlsxwriter adds to the width of a column, as a spreadsheet program does."""
HEAD = {"bold": True, "bottom": 1, "bg_color": "#DDEBF7"}
TO_EDIT = {"bg_color": "#FFEB9C", "font_color": "#7F6000"}
TO_RETRY = {"bg_color": "#EDEDED"}
ADDED_HEAD = {"italic": True, "bottom": 1, "bg_color": "#EDEDED"}


class ExcelFailures:
    """Writes rows into a workbook as they come."""

    def __init__(self, path: Path, staged: Staged) -> None:
        self._staged = staged
        style = staged.style or SheetStyle("Rows", 1, 1)
        self._indexes = original_indexes(staged)
        self._parts = path.with_name(f"{path.name}s")
        self._parts.mkdir(mode=0o700, exist_ok=True)
        # the folder for temporary files is one that others cannot read
        options = {"constant_memory": True, "tmpdir": str(self._parts), "strings_to_urls": False}
        self._book = xlsxwriter.Workbook(str(path), options | {"date_1904": style.is_1904})
        self._reasons = ReasonsSheet(self._book)
        self._sheet = _add_sheet(self._book, style.sheet)
        self._style = style
        self._cells = CellWriter(self._book, self._sheet, style.formats, style.looks)
        self._by_letters = {column_letters(style.first_column + index): at for at, index in enumerate(self._indexes)}
        self._by_header = {staged.headers[index]: at for at, index in reversed(list(enumerate(self._indexes)))}
        self._widths: list[int] = []
        self._text_columns: set[int] = set()
        self._row = self._notes = 0
        self._header_lines = 1
        self._left = self._book.add_format({"align": "left"})
        self._outcomes = (self._book.add_format(TO_RETRY), self._book.add_format(TO_EDIT))
        self._write_header([staged.headers[index] for index in self._indexes])

    def _write_header(self, headers: Sequence[str]) -> None:
        head, added = self._book.add_format(HEAD), self._book.add_format(ADDED_HEAD)
        for at, header in enumerate([*headers, *added_columns(self._staged)]):
            style = (self._header_style(at) or head) if at < len(headers) else added
            if header:
                self._sheet.write_string(0, at, header, style)
            else:
                self._sheet.write_blank(0, at, None, style)
            self._widths.append(len(header) + 4)
        self._sheet.freeze_panes(1, 0)

    def _header_style(self, at: int) -> Format | None:
        """Return the style that a header has in the input, None where it has none of its own."""
        style, index = self._style, self._indexes[at]
        look = style.looks[style.header_formats[index]] if style.looks and style.header_formats else CellStyle()
        if replace(look, wraps=False) == CellStyle():
            return None
        lines = lines_of(self._staged.headers[index], int(self._own_width(at) or WIDEST)) if look.wraps else 1
        self._header_lines = max(self._header_lines, lines)
        if self._header_lines > 1:
            self._sheet.set_row(0, LINE * min(self._header_lines, MAX_LINES))
        return self._book.add_format(look_properties(look) | {"text_wrap": look.wraps, "valign": "top"})

    def _own_width(self, at: int) -> float:
        """Return how wide a column is in the input, 0 where that is not known."""
        width = self._style.widths[self._indexes[at]] if self._style.widths and at < len(self._indexes) else 0.0
        return max(width - MARGIN, 0.0)

    def add(self, frame: pl.DataFrame, rows: Sequence[FailedRow]) -> None:
        """Append some rows, in order."""
        self._measure(frame)
        names = [name for index in self._indexes for name in (cell_column(index), original_column(index))]
        comments = pl.col(COMMENTS) if COMMENTS in frame.columns else pl.lit(None, pl.String).alias(COMMENTS)
        for cells, row in zip(frame.select(*names, READ_ERRORS, comments).iter_rows(), rows, strict=True):
            self._row += 1
            notes = self._find_notes(row.result, cells[-2])
            for at in range(len(self._indexes)):
                text, origin = cells[2 * at], cells[2 * at + 1]
                if text is None and origin is None and at not in notes:
                    continue
                if self._cells.write(self._row, at, text, origin, is_bad=at in notes):
                    notes.setdefault(at, NO_VALUE_NOTE.format(reason=UNWRITABLE))
            self._write_added(row)
            self._write_notes(notes, self._comments(cells[-1]))
            self._reasons.add(self._row + 1, row.result)

    def _measure(self, frame: pl.DataFrame) -> None:
        """Update column widths, and which columns stay text when somebody types into them."""
        for at, index in enumerate(self._indexes):
            texts, origins = frame[cell_column(index)], frame[original_column(index)]
            longest = max(texts.head(1_000).str.len_chars().fill_null(0).to_list(), default=0)
            is_shown_longer = origins.str.contains("^[nd][1-9]").any()  # 1200.5 as 1,200.50 €
            self._widths[at] = max(self._widths[at], longest + (6 if is_shown_longer else 2))
            is_text = texts.is_not_null() & (origins.is_null() | origins.str.starts_with("s"))
            if texts.filter(is_text).str.contains(r"^0\d+$").any() or self._has_text_format(origins):
                self._text_columns.add(at)

    def _has_text_format(self, origins: pl.Series) -> bool:
        codes = self._staged.style.formats if self._staged.style else ()
        text_origins = [f"s{number}" for number, code in enumerate(codes) if code == TEXT_FORMAT]
        return bool(origins.is_in(text_origins).any())

    def _find_notes(self, row_result: RowResult, read_errors: str | None) -> dict[int, str]:
        """Return the notes of a row, by the index of the cell."""
        notes: dict[int, list[str]] = {}
        for problem in row_result.problems:
            at = self._by_letters.get(problem.cell.rstrip("0123456789"), self._by_header.get(problem.header))
            if at is not None:
                notes.setdefault(at, []).append(replace(problem, header="").message)
        found = {at: "\n".join(texts) for at, texts in notes.items()}
        for index, problem in iter_read_errors(read_errors):
            if index in self._indexes:
                found.setdefault(self._indexes.index(index), problem.message)
        return found

    def _write_added(self, row: FailedRow) -> None:
        first = len(self._indexes)
        self._sheet.write_number(self._row, first, row.result.row, self._left)
        _, outcome, *texts = row.texts
        self._sheet.write_string(self._row, first + 1, outcome, self._outcomes[row.result.outcome in NEEDS_EDIT])
        for at, text in enumerate(texts, first + 2):
            if text:
                self._sheet.write_string(self._row, at, shorten(visible(text), MOST))
                self._widths[at] = max(self._widths[at], len(text) + 2)

    def _comments(self, text: str | None) -> dict[int, str]:
        """Return what the person noted beside cells of a row, by the index of the cell."""
        found = {int(index): str(said) for index, said in json.loads(text or "{}").items()}
        return {self._indexes.index(index): said for index, said in found.items() if index in self._indexes}

    def _write_notes(self, notes: dict[int, str], comments: dict[int, str]) -> None:
        """Write one note a cell: what is wrong, and the person's own comment after it."""
        for at in sorted(notes.keys() | comments.keys()):
            said = [*([notes[at]] if at in notes else []), *([NOTE_MARK + comments[at]] if at in comments else [])]
            self._notes += 1
            if self._notes <= MAX_NOTES:
                text = "\n".join(visible(line) for one in said for line in one.splitlines())
                lines = sum(1 + len(line) // 42 for line in text.splitlines())
                size = {"width": 260, "height": 20 + 15 * lines, "font_size": 9, "author": NOTE_AUTHOR}
                self._sheet.write_comment(self._row, at, shorten(text, 2_000), size)

    def finish(self) -> None:
        """Write what is left and close the file."""
        headers = [*(self._staged.headers[index] for index in self._indexes), *added_columns(self._staged)]
        for at, width in enumerate(self._widths):
            style = self._cells.style(TEXT_FORMAT, is_bad=False) if at in self._text_columns else None
            own = self._own_width(at)
            self._sheet.set_column(at, at, own or min(width, WIDEST), style, {"hidden": is_hidden(headers[at])})
        self._sheet.autofilter(0, 0, self._row, len(self._widths) - 1)
        self._sheet.set_landscape()
        self._sheet.fit_to_pages(1, 0)
        self._sheet.repeat_rows(0)
        self._reasons.write(self._staged, self._sheet.get_name())
        close_book(self._book)
        shutil.rmtree(self._parts)


def _add_sheet(book: xlsxwriter.Workbook, name: str) -> Worksheet:
    try:
        return book.add_worksheet(name if name not in RESERVED_SHEETS else "Rows", ExactSheet)
    except XlsxWriterException:  # LibreOffice allows names that Excel does not
        return book.add_worksheet("Rows", ExactSheet)
