"""The first sheet of a failures workbook: what is wrong, how often, and how to go on."""

from dataclasses import replace

import xlsxwriter

from batch.model import NEEDS_EDIT, REASONS_SHEET, Outcome, Problem, RowResult, Staged, first_few, shorten, visible
from batch.outputs.failures_xlsx.cells import ExactSheet
from batch.summary import Reasons

OTHER_REASONS = "other reasons; each is in its row, in the column batch_message"
WHAT_TO_DO = {
    Outcome.INVALID: "Correct the cell. Nothing of the row was sent.",
    Outcome.REJECTED: "Correct the cell. The row was refused.",
    Outcome.FAILED: "Leave it as it is, and run again later.",
    Outcome.UNKNOWN: "Leave it as it is, and run again: what became of it is not known.",
    Outcome.UNSENT: "Leave it as it is, and run again: its turn did not come.",
}


class ReasonsSheet:
    """Counts the problems of rows as they go by, and writes them as a sheet."""

    def __init__(self, book: xlsxwriter.Workbook) -> None:
        self._book, self._page = book, book.add_worksheet(REASONS_SHEET, ExactSheet)
        self.rows = self.to_edit = 0
        self._reasons = Reasons()

    def add(self, row: int, row_result: RowResult) -> None:
        """Count a row that stands in row `row` of the workbook."""
        self.rows += 1
        self.to_edit += row_result.outcome in NEEDS_EDIT
        self._reasons.add(row, row_result.outcome, row_result.problems or (Problem(""),))

    def write(self, staged: Staged, sheet: str) -> None:
        """Write what was counted."""
        book, page = self._book, self._page
        title, head = book.add_format({"bold": True, "font_size": 14}), book.add_format(_HEAD)
        wrap = book.add_format({"text_wrap": True, "valign": "top"})
        top = book.add_format({"valign": "top", "align": "left"})
        for column, width in enumerate(_WIDTHS):
            page.set_column(column, column, width)
        page.write_string(
            0, 0, f"{_counted(self.rows, 'row')} of {staged.name} still {_need(self.rows)} something", title
        )
        line = 2
        for number, step in enumerate(_steps(staged, sheet, self), 1):
            page.merge_range(line, 0, line, 5, "", wrap)
            page.write_string(line, 0, f"{number}.  {step}", wrap)
            page.set_row(line, 15 * (1 + len(step) // 150))
            line += 1
        line += 1
        for column, text in enumerate(_HEADERS):
            page.write_string(line, column, text, head)
        others = [replace(one, reason=OTHER_REASONS) for one in self._reasons.left_out.values()]
        for one in [*self._reasons.sorted(), *others]:
            line += 1
            rows = first_few(one.rows, one.count)
            reason = shorten(visible(one.reason), 300)
            page.write_number(line, 0, one.count, top)
            told = (one.outcome.value, one.header or one.field, reason, WHAT_TO_DO[one.outcome], rows)
            for column, text in enumerate(told, 1):
                page.write_string(line, column, text, wrap)
        page.set_landscape()
        page.fit_to_pages(1, 0)
        page.hide_gridlines(2)


_HEADERS = ("Rows", "Outcome", "Column", "Reason", "What to do", "In rows (of this workbook)")
_WIDTHS = (8, 11, 22, 60, 40, 28)
_HEAD = {"bold": True, "bottom": 1, "bg_color": "#DDEBF7", "valign": "top"}


def _steps(staged: Staged, sheet: str, reasons: ReasonsSheet) -> list[str]:
    edit = (
        f'On the sheet "{sheet}", correct the marked cells: each has a note that says what is wrong. '
        "To leave a field as it is, empty its cell."
    )
    steps = [edit] if reasons.to_edit else []
    if reasons.to_edit < reasons.rows:
        steps.append("Rows that are failed, unknown or unsent need no correction.")
    again = (
        f"Save the file as it is (.xlsx), and run the same command again with it in place of {staged.name}. "
        "Only these rows are sent."
    )
    alone = "Leave the columns that begin with batch_ alone: they are batch's own, and set nothing."
    lost = f"Pictures, charts, conditional formats and macros of {staged.name} are not in this file."
    return [*steps, alone, again, *([lost] if staged.style else [])]


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _need(number: int) -> str:
    return "needs" if number == 1 else "need"
