"""Rows whose last attempt has no result in the journal: the process ended before the answer came.

Promises: they are called unknown, never unsent and never by an earlier outcome, in every file made from the journal.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import polars as pl

from batch.endpoints import ENDPOINTS
from batch.endpoints.base import Endpoint
from batch.errors import JournalError
from batch.journal import Journal, JournalQueries
from batch.model import NEEDS_RETRY, ROW, Outcome, Problem, RowResult, Staged
from batch.run.metadata import RunMetadata
from batch.validation import id_cells

IN_DOUBT = Problem("ended_in_doubt")


def resolve_in_doubt(journal: Journal, staged: Staged, id_column: int, *, ignore_case: bool) -> None:
    """Write down what is in doubt, of every row of such a change; where the disk refuses, the next time does it."""
    with suppress(JournalError):
        if found := results_in_doubt(journal, staged, id_column, ignore_case=ignore_case):
            journal.record_of_changes(found)


def results_in_doubt(
    journal: JournalQueries, staged: Staged, id_column: int, *, ignore_case: bool
) -> list[tuple[int, RowResult]]:
    """List what is in doubt, of every row of such a change, with the number of the change."""
    doubts = journal.in_doubt()
    return list(_iter_results(journal, staged, id_cells(id_column, ignore_case=ignore_case), doubts)) if doubts else []


def outcomes_of_cut_off(journal: JournalQueries, metadata: RunMetadata) -> Counter[Outcome]:
    """Count the rows of a run that nobody holds, by outcome, without writing down what is in doubt."""
    found = Counter(journal.outcomes())
    ignore_case = ignores_case(metadata, ENDPOINTS.get(metadata.endpoint))
    try:
        rows = [
            one.row
            for _, one in results_in_doubt(journal, metadata.staged, metadata.id_column, ignore_case=ignore_case)
        ]
    except (OSError, pl.exceptions.PolarsError):  # the run's copy of its input is gone: the first row of each change
        rows = list(journal.in_doubt())
    for row in rows:
        before = journal.row_results(row, row).get(row)
        if before is not None:
            found[before.outcome] -= 1
        found[Outcome.UNKNOWN] += 1
    found[Outcome.UNSENT] += metadata.staged.rows - found.total()
    return +found


def ignores_case(metadata: RunMetadata, endpoint: type[Endpoint] | None) -> bool:
    """Whether two ids of a run are the same in any case of their letters; `endpoint` is None where it is not known."""
    is_exact = metadata.is_keyed  # keys are, whatever ids are
    return endpoint is not None and endpoint.ids_ignore_case and not is_exact


def _iter_results(
    journal: JournalQueries, staged: Staged, ids: pl.Expr, doubts: dict[int, tuple[str, int]]
) -> Iterator[tuple[int, RowResult]]:
    for number, row in _rows_of(staged, ids, list(doubts)):
        record_id, attempts = doubts[number]
        known = journal.row_results(row, row).get(row)
        if known is None or known.outcome in NEEDS_RETRY:
            yield number, RowResult(row, record_id, Outcome.UNKNOWN, None, attempts, (IN_DOUBT,))


def _rows_of(staged: Staged, ids: pl.Expr, numbers: list[int]) -> list[tuple[int, int]]:
    """Pair the numbers of changes with all of their rows: those with the same id in its column."""
    keys = pl.scan_parquet(staged.path, glob=False).select(ROW, ids.alias("id"))
    of_changes = keys.filter(pl.col(ROW).is_in(numbers)).rename({ROW: "number"})
    return keys.join(of_changes, on="id").select("number", ROW).sort("number", ROW).collect().rows()
