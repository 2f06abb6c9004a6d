"""`plan.xlsx`: what would change, what would not be sent, and lines to sign on, for people to read and to print.

Promises: the sheets *Plan*, *Plan 2* and so on have the lines of `plan.csv`, with the columns by which they are held
against the plan before it is carried out (`batch/run/plan_list.py`).
"""

from collections.abc import Iterable
from pathlib import Path

from batch.model import Outcome
from batch.outputs.plan import AboutPlan, Line
from batch.outputs.printed import EMPTIED_COLOUR, Count, ListColumn, PrintedBook, PrintedList
from batch.outputs.results_xlsx import TO_FIX, add_open_row

LABELS = {
    Outcome.UPDATED: ("to update", "will be changed as the sheet Plan says"),
    Outcome.UNCHANGED: ("unchanged", "have these values already: nothing is sent"),
    Outcome.INVALID: ("invalid", "are not sent: a cell must be corrected (see Not sent)"),
    Outcome.REJECTED: ("rejected", "are not sent: they do not fit the record (see Not sent)"),
    Outcome.FAILED: ("failed", "could not be compared (see Not sent)"),
}
ALWAYS = (Outcome.UPDATED, Outcome.UNCHANGED, Outcome.INVALID, Outcome.REJECTED)
PLAN = (
    ListColumn("Row", 7, is_number=True), ListColumn("Id", 20), ListColumn("Name", 26), ListColumn("Column", 20),
    ListColumn("Field", 28), ListColumn("Before", 29, colour="#757575"), ListColumn("After", 29),
)  # fmt: skip


def write_workbook(path: Path, parts: Path, lines: Iterable[Line], about: AboutPlan) -> None:
    """Write the workbook into the empty file `path`; raises OSError."""
    book = PrintedBook(path, parts, about.title)
    planned = PrintedList(book, "Plan", PLAN)
    for line in lines:
        header = about.headers.get(line.field, line.field)
        cells = (line.row, line.id, line.name, header, line.field, line.before, line.after)
        planned.add(cells, {6: EMPTIED_COLOUR} if line.is_clear else {})
    planned.finish()
    not_sent = PrintedList(book, "Not sent", TO_FIX)
    for record_id, row_result in about.not_sent:
        add_open_row(not_sent, record_id, row_result)
    not_sent.finish()
    rows = dict.fromkeys(ALWAYS, 0) | dict(about.outcomes)
    counts = [Count(one, LABELS[one][0], rows[one], LABELS[one][1]) for one in LABELS if one in rows]
    book.sum_up(about.title, about.facts, counts, signed_by=("Prepared by", "Approved by"))
    book.close()
