"""What became of the rows of a run in later runs: those on its failures file, on the failures files of these, …

Promises: only runs of the index are asked, whose folders are where this user's starts left them; what cannot be read,
or is going on, is passed over, as if nothing were known of it.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime

import polars as pl

from batch.errors import BatchError
from batch.model import ROW, Outcome, Staged, cell_column
from batch.provenance import RUN
from batch.run import index
from batch.run.folder import open_run
from batch.run.index import IndexedRun
from batch.run.locks import held

DONE = frozenset({Outcome.UPDATED, Outcome.UNCHANGED})
NUMBER = "batch_row"


def done_later(run_id: str) -> dict[int, str]:
    """Return the rows of a run that are through by now, each with the time at which the run ended that did it."""
    rows: dict[str, Mapping[int, int] | None] = {run_id: None}
    """By run, which row of the first run each of its rows is; None: they are its rows."""
    done: dict[int, str] = {}
    for later in index.rounds_after(run_id):
        if later.parent_run in rows and not later.is_found:
            before = rows[later.parent_run]
            rows[later.run_id] = found = {}
            with suppress(BatchError, OSError, pl.exceptions.PolarsError):
                for row, earlier, outcome in _iter_rows(later):
                    first = earlier if before is None else before.get(earlier)
                    if first is not None:
                        found[row] = first
                        done.pop(first, None)
                        if outcome in DONE:
                            done[first] = _time(later)
    return done


def last_write_after(run_id: str, but: str) -> str:
    """Return when the last run on the failures file of a run ended, but for one; "" where none did."""
    times = [_time(one) for one in index.rounds_after(run_id) if one.run_id != but and one.wrote and one.ended]
    return max(times, default="")


def _iter_rows(later: IndexedRun) -> Iterator[tuple[int, int, Outcome]]:
    """Yield the rows of a run: its number, the number in the parent run, and what became of it."""
    with held(later.folder / ".lock", "this run folder", later.folder):
        journal, metadata = open_run(later.folder)
        with journal:
            number, run = (_column(metadata.staged, name) for name in (NUMBER, RUN))
            if number is None or run is None or metadata.run_id != later.run_id:
                return
            pairs = pl.scan_parquet(metadata.staged.path, glob=False).select(
                ROW, earlier=pl.col(number).str.strip_chars().cast(pl.UInt32, strict=False), run=pl.col(run)
            )
            own = pairs.filter(pl.col("run").str.strip_chars() == later.parent_run).drop_nulls().collect()
            if own.height:
                results = journal.row_results(own[ROW][0], own[ROW][-1])
                for row, earlier in own.select(ROW, "earlier").iter_rows():
                    yield row, earlier, results[row].outcome if row in results else Outcome.UNSENT


def _column(staged: Staged, name: str) -> str | None:
    at = next((at for at, header in enumerate(staged.headers) if header.strip().casefold() == name), None)
    return None if at is None else cell_column(at)


def _time(run: IndexedRun) -> str:
    ended = datetime.fromtimestamp(run.ended or run.started, UTC)
    return ended.isoformat(timespec="seconds").replace("+00:00", "Z")
