"""What became of the rows of a run in later rounds: those on its failures file, on the failures files of these, …

Promises: only runs of the index are asked, whose folders are where this user's starts left them; what cannot be read,
or is going on, is passed over, as if nothing were known of it. What was taken back is not done; a row that its undo
kept, since somebody changed it, or that its undo did not come to, was not taken back.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from batch.errors import BatchError, FolderError
from batch.input_names import short_name
from batch.journal import JournalQueries, open_for_reading
from batch.machine import utc_text
from batch.model import ROW, Outcome, Staged, cell_column
from batch.own_files import JOURNAL
from batch.provenance import RUN
from batch.run import index
from batch.run.folder import open_run, peek_metadata
from batch.run.index import IndexedRun
from batch.run.locks import run_held
from batch.run.metadata import RunMetadata

DONE: Final = frozenset({Outcome.UPDATED, Outcome.UNCHANGED})
NUMBER: Final = "batch_row"
UNDOES_ROW: Final = "batch_undoes_row"
"""The column of an undo's sheet that names the change which a row takes back."""


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that this process holds, whose folder cannot be opened again."""

    journal: JournalQueries
    metadata: RunMetadata


@dataclass(frozen=True, slots=True)
class LaterRounds:
    """What later rounds did to the rows of a run, by the numbers that they have in it."""

    done: dict[int, str] = field(default_factory=dict)
    """The rows that are done by now, each with the time at which the run ended that did it."""
    taken_back: set[int] = field(default_factory=set)
    """The rows that were done, until that round was taken back."""


@dataclass(frozen=True, slots=True)
class AllRounds:
    """How much of a sheet is done, all of its rounds together."""

    name: str
    """Of its input."""
    rows: int
    done: int
    taken_back: int
    """Rows that were changed, and put back by an undo."""
    rounds: int

    @property
    def text(self) -> str:
        """Spell it: `50 of 50 rows done, in 3 rounds`."""
        rows = "1 row" if self.rows == 1 else f"{self.rows:,} rows"
        rounds = "1 round" if self.rounds == 1 else f"{self.rounds:,} rounds"
        taken_back = f", {self.taken_back:,} taken back" if self.taken_back else ""
        return f"{self.done:,} of {rows} done, in {rounds}{taken_back}"


def taken_back() -> frozenset[str]:
    """Return the runs that were taken back, but for those whose undo was taken back itself."""
    known = index.undone_and_undos()  # the newest first: an undo of an undo comes before it
    undos = [one for one in known if one.undoes and one.wrote is not None]
    explained = {one.undoes for one in undos}
    unexplained = [one for one in known if one.state == "undone" and one.run_id not in explained]
    found = {one.run_id for one in unexplained}
    for one in undos:
        if one.undoes and one.run_id not in found:
            found.add(one.undoes)
    again = {one.folder.resolve() for one in undos if one.run_id in found}
    return frozenset(found - {one.run_id for one in unexplained if again and _undo_of(one) in again})


def _undo_of(run: IndexedRun) -> Path | None:
    """Return the folder of the undo that took a run back, as the run knows it: of a shard that is one of all shards."""
    with suppress(FolderError):
        metadata = peek_metadata(run.folder)
        return Path(metadata.undone) if metadata.undone and metadata.run_id == run.run_id else None
    return None


def first_round(run: IndexedRun, known: Mapping[str, IndexedRun]) -> IndexedRun:
    """Return the round with which the rounds of a run, or of the run that it takes back, began."""
    seen = {run.run_id}
    while (before := known.get(run.undoes or run.parent_run or "")) is not None and before.run_id not in seen:
        seen.add(before.run_id)
        run = before
    return run


def all_rounds(current: OpenRun) -> AllRounds | None:
    """Sum up the rounds of the sheet of a run at its end; None where it is the only one."""
    known = {one.run_id: one for one in index.all_runs()}
    run = known.get(current.metadata.run_id)
    if run is None or run.is_found:
        return None
    first = first_round(run, known)
    later = index.rounds_after(first.run_id)
    if not later:
        return None
    counts = current.journal.outcomes() if first.run_id == run.run_id else first.counts
    return sum_up(first, counts, later_rounds(first.run_id, current), 1 + len(later), current)


def sum_up(
    first: IndexedRun, counts: Mapping[Outcome, int], later: LaterRounds, rounds: int, current: OpenRun | None = None
) -> AllRounds:
    """Sum up the rounds that began with `first`, whose rows came out as `counts` says; `current` is held here."""
    updated, unchanged = counts.get(Outcome.UPDATED, 0), counts.get(Outcome.UNCHANGED, 0)
    is_back = first.run_id in taken_back()
    kept = len(_kept_by_undo(first, current)) if is_back else updated
    done = unchanged + len(later.done) + kept
    return AllRounds(short_name(first.input), first.rows, done, len(later.taken_back) + updated - kept, rounds)


def _kept_by_undo(run: IndexedRun, current: OpenRun | None) -> set[int]:
    """Return the updated rows that the newest undo of a run left as they are: somebody changed them, or it stopped."""
    undo = index.newest_undo(run.run_id)
    if undo is None:
        return set()
    with suppress(BatchError, OSError, pl.exceptions.PolarsError), ExitStack() as stack:
        if current is not None and current.metadata.run_id == undo.run_id:
            queries, metadata = current.journal, current.metadata
        else:
            queries = stack.enter_context(open_for_reading(undo.folder / JOURNAL))
            metadata = peek_metadata(undo.folder)
        undoes = _column(metadata.staged, UNDOES_ROW)
        if undoes is None or metadata.run_id != undo.run_id:
            return set()
        sheet = pl.scan_parquet(metadata.staged.path, glob=False).select(ROW, undoes).collect()
        results = queries.row_results(sheet[ROW][0], sheet[ROW][-1])
        is_kept = [row not in results or results[row].outcome not in DONE for row in sheet[ROW]]
        changes = sheet.filter(is_kept)[undoes].cast(pl.UInt32, strict=False)
        own = stack.enter_context(open_for_reading(run.folder / JOURNAL))
        return own.rows_of_changes(changes.drop_nulls().to_list(), Outcome.UPDATED)
    return set()


def later_rounds(run_id: str, current: OpenRun | None = None) -> LaterRounds:
    """Return what later rounds did to the rows of a run; `current` is the one that this process holds."""
    rows: dict[str, Mapping[int, int] | None] = {run_id: None}
    """By run, which row of the first run each of its rows is; None: they are its rows."""
    found, back = LaterRounds(), taken_back()
    for later in index.rounds_after(run_id):
        if later.parent_run in rows and not later.is_found:
            before, is_back = rows[later.parent_run], later.run_id in back
            kept = _kept_by_undo(later, current) if is_back else set()
            rows[later.run_id] = own = {}
            with suppress(BatchError, OSError, pl.exceptions.PolarsError):
                for row, earlier, outcome in _iter_rows(later, current, is_over=is_back):
                    first = earlier if before is None else before.get(earlier)
                    if first is not None:
                        own[row] = first
                        _note(found, first, later, outcome, is_back=is_back and row not in kept)
    return found


def _note(found: LaterRounds, row: int, later: IndexedRun, outcome: Outcome, *, is_back: bool) -> None:
    found.done.pop(row, None)
    found.taken_back.discard(row)
    if outcome is Outcome.UPDATED and is_back:
        found.taken_back.add(row)
    elif outcome in DONE:
        found.done[row] = _time(later)


def done_later(run_id: str) -> dict[int, str]:
    """Return the rows of a run that are done by now, each with the time at which the run ended that did it."""
    return later_rounds(run_id).done


def last_write_after(run_id: str, but: str) -> str:
    """Return when the last run on the failures file of a run ended, but for one; "" where none did."""
    times = [_time(one) for one in index.rounds_after(run_id) if one.run_id != but and one.wrote and one.ended]
    return max(times, default="")


def _iter_rows(later: IndexedRun, current: OpenRun | None, *, is_over: bool) -> Iterator[tuple[int, int, Outcome]]:
    """Yield the rows of a run: its number, the number in the parent run, and what became of it.

    One that `is_over` is not gone on with, and may be held by who takes it back.
    """
    if current is not None and current.metadata.run_id == later.run_id:
        yield from _rows_of(later, current.journal, current.metadata)
        return
    if is_over:
        with open_for_reading(later.folder / JOURNAL) as queries:
            yield from _rows_of(later, queries, peek_metadata(later.folder))
        return
    with run_held(later.folder):
        journal, metadata = open_run(later.folder)
        with journal:
            yield from _rows_of(later, journal, metadata)


def _rows_of(
    later: IndexedRun, journal: JournalQueries, metadata: RunMetadata
) -> Iterator[tuple[int, int, Outcome]]:  # fmt: skip
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
    return utc_text(run.ended or run.started)
