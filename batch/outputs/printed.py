"""Workbooks that people read, print and sign (`results.xlsx`, `plan.xlsx`): one look for all of their sheets.

Promises: A4 across, as wide as the page, the header on each of its pages, no row on two; ids and numbers of telephones
are text, and nothing is a formula; a list that is longer than a sheet goes on in the next one; memory does not grow
with the rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xlsxwriter
from xlsxwriter.format import Format

from batch.model import Outcome, shorten
from batch.outputs.failures_xlsx.cells import LINE, MAX_LINES, TEXT_FORMAT, ExactSheet, close_book, lines_of
from batch.outputs.tables import sheet_text

MAX_ROWS = 1_000_000
"""Rows of a list on one sheet (Excel's limit is 1,048,576)."""
A4 = 9
BAR = 40
"""Blocks in the longest bar."""
HEAD = {"bold": True, "bottom": 1, "bg_color": "#DDEBF7", "valign": "top", "text_wrap": True}
CELL = {"valign": "top", "text_wrap": True, "bottom": 4, "bottom_color": "#BFBFBF"}
COLOURS = {
    Outcome.UPDATED: "#2E7D32", Outcome.UNCHANGED: "#757575", Outcome.INVALID: "#9C0006", Outcome.REJECTED: "#9C0006",
    Outcome.FAILED: "#7F6000", Outcome.UNKNOWN: "#7F6000", Outcome.UNSENT: "#7F6000",
}  # fmt: skip
EMPTIED_COLOUR = "#9C0006"


@dataclass(frozen=True, slots=True)
class ListColumn:
    """A column of a list; `colour` is that of its texts."""

    header: str
    width: int
    is_number: bool = False
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """A line of the counts: how many rows, and what that means."""

    outcome: Outcome
    label: str
    rows: int
    meaning: str


class PrintedBook:
    """A workbook whose first sheet sums it up; `close` when all is written."""

    def __init__(self, path: Path, parts: Path, name: str) -> None:
        """Begin the workbook in the empty file `path`; `parts` is a folder of our own, `name` stands on each page."""
        parts.mkdir(mode=0o700, exist_ok=True)
        options = {"constant_memory": True, "tmpdir": str(parts), "strings_to_urls": False}
        self._book = xlsxwriter.Workbook(str(path), options)
        self._name = name.replace("&", "&&")
        self._formats: dict[tuple[tuple[str, Any], ...], Format] = {}
        self._summary = self.add_sheet("Summary")

    def add_sheet(self, name: str) -> ExactSheet:
        """Add a sheet that is set up for printing."""
        sheet: ExactSheet = self._book.add_worksheet(name, ExactSheet)
        sheet.set_landscape()
        sheet.set_paper(A4)
        sheet.set_margins(left=0.5, right=0.5, top=0.6, bottom=0.7)
        sheet.fit_to_pages(1, 0)
        sheet.hide_gridlines(2)
        sheet.set_footer(f"&L{shorten(self._name, 120)}&C&A&RPage &P of &N")
        return sheet

    def style(self, **properties: Any) -> Format:
        """Return the format with these properties, each made once."""
        key = tuple(properties.items())
        if key not in self._formats:
            self._formats[key] = self._book.add_format(properties)
        return self._formats[key]

    def sum_up(
        self, title: str, facts: Mapping[str, str], counts: Sequence[Count], *, signed_by: Sequence[str] = ()
    ) -> None:
        """Fill the first sheet: title, facts, counts with bars, and lines to sign on."""
        sheet, row = self._summary, 0
        for column, width in enumerate((20, 10, 45, 60)):
            sheet.set_column(column, column, width)
        sheet.set_row(row, 26)
        sheet.write_string(row, 0, sheet_text(title), self.style(bold=True, font_size=16, valign="top"))
        label, text = self.style(bold=True, valign="top"), self.style(valign="top", text_wrap=True, num_format="@")
        row += 1
        for name, fact in facts.items():
            row += 1
            self._set_height(row, lines_of(fact, 115))
            sheet.write_string(row, 0, name, label)
            sheet.merge_range(row, 1, row, 3, "", text)
            sheet.write_string(row, 1, sheet_text(fact), text)
        row = self._write_counts(row + 2, counts)
        line = self.style(top=1, valign="top", font_color="#595959")
        for name in signed_by:
            row += 3
            for column in range(3):
                sheet.write_string(row, column, name if not column else "", line)
            sheet.write_string(row, 3, "Date and signature", line)

    def _write_counts(self, row: int, counts: Sequence[Count]) -> int:
        sheet, most = self._summary, max((one.rows for one in counts), default=0)
        head = self.style(**HEAD)
        for column, header in enumerate(("Rows", "", "", "What it means")):
            sheet.write_string(row, column, header, head)
        for one in counts:
            row += 1
            colour = COLOURS[one.outcome] if one.rows else "#A6A6A6"
            sheet.write_string(row, 0, one.label, self.style(font_color=colour, bold=bool(one.rows)))
            sheet.write_number(row, 1, one.rows, self.style(num_format="#,##0", font_color=colour))
            blocks = max(1, round(BAR * one.rows / most)) if one.rows else 0
            sheet.write_string(
                row, 2, "█" * blocks, self.style(font_color=colour, font_size=8, valign="vcenter", indent=1)
            )
            sheet.write_string(row, 3, one.meaning, self.style(font_color="#595959"))
        row += 1
        total = sum(one.rows for one in counts)
        for column, text in enumerate(("All rows", "", "", "")):
            sheet.write_string(row, column, text, self.style(bold=True, top=1))
        sheet.write_number(row, 1, total, self.style(bold=True, top=1, num_format="#,##0"))
        return row

    def _set_height(self, row: int, lines: int) -> None:
        if lines > 1:
            self._summary.set_row(row, LINE * min(lines, MAX_LINES))

    def close(self) -> None:
        """Write the file; raises OSError."""
        close_book(self._book)


class PrintedList:
    """A list of rows below a header, on as many sheets as it needs."""

    def __init__(self, book: PrintedBook, name: str, columns: Sequence[ListColumn]) -> None:
        self._book, self._name, self._columns = book, name, columns
        self._styles = [
            book.style(**CELL, num_format="0", align="left") if one.is_number
            else book.style(**CELL, num_format=TEXT_FORMAT, **({"font_color": one.colour} if one.colour else {}))
            for one in columns
        ]  # fmt: skip
        self._colours: dict[str, Format] = {}
        self._sheets = self._row = 0
        self.sheet = self._begin_sheet()

    def _begin_sheet(self) -> ExactSheet:
        self._sheets += 1
        sheet = self._book.add_sheet(self._name if self._sheets == 1 else f"{self._name} {self._sheets}")
        head = self._book.style(**HEAD)
        for at, column in enumerate(self._columns):
            sheet.set_column(at, at, column.width)
            sheet.write_string(0, at, column.header, head)
        sheet.freeze_panes(1, 0)
        sheet.repeat_rows(0)
        self._row = 0
        return sheet

    def add(self, cells: Sequence[str | int], colours: Mapping[int, str] = {}) -> None:
        """Append a row; `colours`: those of single cells, by column."""
        if self._row == MAX_ROWS:
            self.finish()
            self.sheet = self._begin_sheet()
        self._row += 1
        shown = [cell if isinstance(cell, int) else sheet_text(cell) for cell in cells]
        self._set_height(max(lines_of(str(cell), one.width) for cell, one in zip(shown, self._columns, strict=True)))
        styles = self._styles
        if colours:
            styles = [self._coloured(colours[at]) if at in colours else one for at, one in enumerate(styles)]
        for at, (cell, style) in enumerate(zip(shown, styles, strict=True)):
            if isinstance(cell, int):
                self.sheet.write_number(self._row, at, cell, style)
            else:
                self.sheet.write_string(self._row, at, cell, style)

    def _coloured(self, colour: str) -> Format:
        if colour not in self._colours:
            self._colours[colour] = self._book.style(**CELL, num_format=TEXT_FORMAT, font_color=colour)
        return self._colours[colour]

    def _set_height(self, lines: int) -> None:
        """Set the height of the row, and forget that of the one before the last, which is written."""
        if lines > 1:
            self.sheet.set_row(self._row, LINE * min(lines, MAX_LINES))
        self.sheet.row_info.pop(self._row - 2, None)
        self.sheet.row_sizes.pop(self._row - 2, None)

    def finish(self) -> None:
        """Let the list be filtered by its columns."""
        self.sheet.autofilter(0, 0, max(self._row, 1), len(self._columns) - 1)
