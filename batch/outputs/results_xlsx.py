"""`results.xlsx`: what a run was, what it changed, and what is left to do; for people to read and to print.

Promises: everything in it comes from the journal, so that `results` makes it again; every change that was or may have
been sent is on the sheet *Changes*, and every row that still needs something on *To fix*.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from batch.model import NEEDS_EDIT, Outcome, RowResult, visible
from batch.outputs.failures import message_text
from batch.outputs.failures_xlsx.reasons import WHAT_TO_DO
from batch.outputs.plan import Line
from batch.outputs.printed import COLOURS, EMPTIED_COLOUR, Count, ListColumn, PrintedBook, PrintedList

MEANINGS = {
    Outcome.UPDATED: "changed, and confirmed",
    Outcome.UNCHANGED: "had these values already",
    Outcome.INVALID: "not sent: a cell must be corrected (see To fix)",
    Outcome.REJECTED: "refused: a cell must be corrected (see To fix)",
    Outcome.FAILED: "did not get through: run the same command again",
    Outcome.UNKNOWN: "sent, but no answer came: run the same command again",
    Outcome.UNSENT: "not sent yet: run the same command again",
}
CHANGES = (
    ListColumn("Row", 7, is_number=True), ListColumn("Id", 22), ListColumn("Name", 28), ListColumn("Field", 24),
    ListColumn("Old", 32, colour="#757575"), ListColumn("New", 32), ListColumn("Outcome", 12),
)  # fmt: skip
TO_FIX = (
    ListColumn("Row", 7, is_number=True), ListColumn("Id", 22), ListColumn("Outcome", 12), ListColumn("Column", 24),
    ListColumn("What is wrong", 60), ListColumn("What to do", 34),
)  # fmt: skip
EMPTIED = "(emptied)"


class ResultsWorkbook:
    """Writes the workbook: rows as they come, and the rest at the end."""

    def __init__(self, path: Path, parts: Path, title: str) -> None:
        self._title = title
        self._book = PrintedBook(path, parts, title)
        self._changes = PrintedList(self._book, "Changes", CHANGES)
        self._to_fix = PrintedList(self._book, "To fix", TO_FIX)

    def add(self, ids: Sequence[str], row_results: Sequence[RowResult], open_rows: Collection[int]) -> None:
        """Take the results of the next rows; `open_rows` are the indexes of those that still need something."""
        for at in open_rows:
            add_open_row(self._to_fix, ids[at], row_results[at])

    def finish(
        self, facts: Mapping[str, str], outcomes: Mapping[Outcome, int], changes: Iterable[tuple[Line, Outcome]]
    ) -> None:
        """Write what the run was and what it changed, and close the file; raises OSError."""
        for line, outcome in changes:
            after = EMPTIED if line.is_clear else line.after
            cells = (line.row, line.id, line.name, line.field, line.before, after, outcome.value)
            colours = {6: COLOURS[outcome]} | ({5: EMPTIED_COLOUR} if line.is_clear else {})
            self._changes.add(cells, colours)
        counts = [Count(one, one.value, outcomes.get(one, 0), MEANINGS[one]) for one in Outcome]
        self._book.sum_up(self._title, facts, counts)
        self._changes.finish()
        self._to_fix.finish()
        self._book.close()


def add_open_row(listed: PrintedList, record_id: str, row_result: RowResult) -> None:
    """Append a row that still needs something to a list with the columns of `TO_FIX`: a line for each problem."""
    outcome = row_result.outcome
    problems = row_result.problems if outcome in NEEDS_EDIT else ()
    told = [(one.header or one.field, visible(_reason(one.seen, one.reason))) for one in problems]
    for column, reason in told or [("", visible(message_text(row_result)) or MEANINGS[outcome])]:
        cells = (row_result.row, record_id.strip(), outcome.value, column, reason, WHAT_TO_DO.get(outcome, "Nothing."))
        listed.add(cells, {2: COLOURS[outcome]})


def _reason(seen: str, reason: str) -> str:
    return f'"{seen}" {reason}' if seen else reason
