"""The look over the whole input before anything is sent: which columns, how many values, what is invalid.

Promises: reads every row once, without any network; what it finds invalid is never sent; memory does not grow with the
file. The same survey then yields the changes to send, so that what was shown is what is sent.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from batch import sources
from batch.columns import match_columns
from batch.endpoints.base import Endpoint
from batch.errors import HeaderError
from batch.model import Change, Columns, Fate, Problem, Staged, cell_column, column_letters, shorten
from batch.number_date_formats import Ways
from batch.settings import Settings
from batch.validation import ColumnCount, Doubles, Sieve, Sifted, find_doubles, iter_sifted


@dataclass(slots=True)
class Survey:
    """An input with its columns matched to an endpoint; `look` fills in the counts."""

    staged: Staged
    columns: Columns
    endpoint: Endpoint
    settings: Settings
    is_completed: bool
    """Current records will be read before writing."""
    counts: dict[int, ColumnCount] = field(default_factory=dict)
    changes: int = 0
    sealed: int = 0
    """Rows whose fate needs no network: invalid ones, and those with nothing to set."""
    _doubles: Doubles | None = None
    _ways: Ways | None = None

    def look(self, keep: Callable[[Sequence[Fate]], None]) -> None:
        """Validate every row; `keep` is given the fates that need no network, some at a time."""
        if self._ways is None:
            ways = Ways(self.columns, self.settings)
            ways.judge(self.staged, sources.iter_frames(self.staged))
            self.columns, self._ways = ways.apply(self.columns), ways
        sieve = self._sieve(only_counts=True)
        self.changes = self.sealed = 0
        for sifted in self._iter_sifted(sieve):
            self.changes += sifted.count
            self.sealed += len(sifted.fates)
            if sifted.fates:
                keep(sifted.fates)
        self.counts = sieve.counts

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know about how the input was read: whole sentences."""
        return (*self.staged.notes, *(self._ways.notes if self._ways else ()))

    def iter_changes(self) -> Iterator[Change]:
        """Yield the changes, read and validated anew."""
        for sifted in self._iter_sifted(self._sieve()):
            yield from sifted.changes

    def locate(self, row: int, name: str, reason: str) -> Problem:
        """Make a problem of what the API said of a field, with the column and cell that it belongs to."""
        target = name.casefold()
        column = next((one for one in self.columns.fields if one.target.casefold() == target), None)
        if column is None and target == "id":
            column = self.columns.id
        if column is None:
            return Problem(reason, field=name)
        return Problem(reason, column.target, column.header, self.staged.cell(row, column.index))

    def _sieve(self, *, only_counts: bool = False) -> Sieve:
        return Sieve(
            self.staged,
            self.columns,
            self.endpoint,
            clear_token=self.settings.clear_token,
            is_completed=self.is_completed,
            only_counts=only_counts,
        )

    def _iter_sifted(self, sieve: Sieve) -> Iterator[Sifted]:
        if self._doubles is None:
            self._doubles = find_doubles(self.staged, self.columns.id.index)
        respell = self._ways.respell if self._ways else lambda frame: frame
        frames = map(respell, sources.iter_frames(self.staged))
        return iter_sifted(frames, sieve, self._doubles, lambda rows: respell(sources.read_rows(self.staged, rows)))


def make_survey(staged: Staged, endpoint: Endpoint, settings: Settings, *, is_completed: bool) -> Survey:
    """Match the headers of `staged`; raises HeaderError before any row is looked at."""
    columns = match_columns(
        staged.headers,
        endpoint,
        name=staged.name,
        mapping=settings.map,
        key_field=settings.key,
        filled=lambda index: _letters_if_filled(staged, index),
    )
    _check_definitions(staged, columns, endpoint)
    return Survey(staged, columns, endpoint, settings, is_completed)


def _check_definitions(staged: Staged, columns: Columns, endpoint: Endpoint) -> None:
    """Stop before anything is sent for a custom field that the API would refuse in every row."""
    told = [(one, endpoint.definition_problem(one.target)) for one in columns.fields]
    problems = [
        f'  "{shorten(one.header, 60)}" {problem}.  To leave it out:  --map "{shorten(one.header, 60)}="'
        for one, problem in told
        if problem
    ]
    if problems:
        first = f"{staged.name}: the headers do not fit {endpoint.name}."
        raise HeaderError("\n".join([first, *problems, "Nothing was sent."]))


def _letters_if_filled(staged: Staged, index: int) -> str:
    column = pl.scan_parquet(staged.path).select(pl.col(cell_column(index)).is_not_null().any())
    is_filled = column.collect(engine="streaming").item()
    first = staged.style.first_column if staged.style else 1
    return column_letters(first + index) if is_filled else ""
