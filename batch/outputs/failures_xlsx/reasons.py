"""The second sheet of a failures workbook: what is wrong, how often, and how to go on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import xlsxwriter

from batch.model import NEEDS_EDIT, REASONS_SHEET, Outcome, RowResult, Staged, shorten, visible
from batch.outputs.failures_xlsx.cells import ExactSheet

MAX_REASONS = 500
"""Reasons told apart; a server that words each of its refusals differently must not fill memory."""
SHOWN_ROWS = 10

WHAT_TO_DO = {
    Outcome.INVALID: "Correct the cell. Nothing of the row was sent.",
    Outcome.REJECTED: "Correct the cell. The system refused the row.",
    Outcome.FAILED: "Leave it as it is, and run again later.",
    Outcome.UNKNOWN: "Leave it as it is, and run again: what became of it is not known.",
    Outcome.UNSENT: "Leave it as it is, and run again: its turn did not come.",
}


@dataclass(slots=True)
class _Group:
    count: int = 0
    rows: list[int] = field(default_factory=list)


class Reasons:
    """Groups the problems of rows as they go by."""

    def __init__(self) -> None:
        self.rows = 0
        self.to_edit = 0
        self._groups: dict[tuple[Outcome, str, str], _Group] = {}

    def add(self, row: int, row_result: RowResult) -> None:
        """Count a row that stands in row `row` of the workbook."""
        self.rows += 1
        self.to_edit += row_result.outcome in NEEDS_EDIT
        found = [(problem.header or problem.field, problem.reason) for problem in row_result.problems]
        problems = dict.fromkeys(found) or {("", ""): None}
        for column, reason in problems:
            key = (row_result.outcome, column, shorten(visible(reason), 300))
            if key not in self._groups and len(self._groups) >= MAX_REASONS:
                key = (row_result.outcome, "", "other reasons; each is in its row, in the column batch_message")
            group = self._groups.setdefault(key, _Group())
            group.count += 1
            if len(group.rows) < SHOWN_ROWS:
                group.rows.append(row)

    def write(self, book: xlsxwriter.Workbook, staged: Staged, sheet: str) -> None:
        """Add the sheet to the workbook."""
        page = book.add_worksheet(REASONS_SHEET, ExactSheet)
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
        for outcome, column_name, reason, group in self._sorted():
            line += 1
            rows = ", ".join(map(str, group.rows)) + (", …" if group.count > len(group.rows) else "")
            page.write_number(line, 0, group.count, top)
            for column, text in enumerate((outcome.value, column_name, reason, WHAT_TO_DO[outcome], rows), 1):
                page.write_string(line, column, text, wrap)
        page.set_landscape()
        page.fit_to_pages(1, 0)
        page.hide_gridlines(2)

    def _sorted(self) -> Sequence[tuple[Outcome, str, str, _Group]]:
        order = list(Outcome)
        found = [(*key, group) for key, group in self._groups.items()]
        return sorted(found, key=lambda one: (order.index(one[0]), -one[3].count))


_HEADERS = ("Rows", "Outcome", "Column", "Reason", "What to do", "In rows (of this workbook)")
_WIDTHS = (8, 11, 22, 60, 40, 28)
_HEAD = {"bold": True, "bottom": 1, "bg_color": "#DDEBF7", "valign": "top"}


def _steps(staged: Staged, sheet: str, reasons: Reasons) -> list[str]:
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
    alone = "Leave the columns that begin with batch_ alone: they are ignored, and written anew each time."
    return [*steps, alone, again]


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _need(number: int) -> str:
    return "needs" if number == 1 else "need"
