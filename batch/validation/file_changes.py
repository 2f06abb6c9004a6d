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
from batch.model import Change, Columns, Problem, RowResult, Staged, cell_column, column_letters, shorten
from batch.number_date_formats import FormatDetector
from batch.settings import Settings
from batch.validation import ColumnCount, Duplicates, RowValidator, ValidatedRows, find_duplicates, iter_validated


@dataclass(slots=True)
class FileChanges:
    """An input with its columns matched to an endpoint; `validate_all` fills in the counts."""

    staged: Staged
    columns: Columns
    endpoint: Endpoint
    settings: Settings
    reads_before_write: bool
    """Current records will be read before writing."""
    counts: dict[int, ColumnCount] = field(default_factory=dict)
    change_count: int = 0
    rows_without_change: int = 0
    """Rows whose fate needs no network: invalid ones, and those with nothing to set."""
    _duplicates: Duplicates | None = None
    _formats: FormatDetector | None = None

    def validate_all(self, keep: Callable[[Sequence[RowResult]], None]) -> None:
        """Validate every row; `keep` is given the fates that need no network, some at a time."""
        if self._formats is None:
            formats = FormatDetector(self.columns, self.settings)
            formats.detect(self.staged, sources.iter_frames(self.staged))
            self.columns, self._formats = formats.apply(self.columns), formats
        validator = self._validator(only_counts=True)
        self.change_count = self.rows_without_change = 0
        for validated in self._iter_validated(validator):
            self.change_count += validated.count
            self.rows_without_change += len(validated.row_results)
            if validated.row_results:
                keep(validated.row_results)
        self.counts = validator.counts

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know about how the input was read: whole sentences."""
        return (*self.staged.notes, *(self._formats.notes if self._formats else ()))

    def iter_changes(self) -> Iterator[Change]:
        """Yield the changes, read and validated anew."""
        for validated in self._iter_validated(self._validator()):
            yield from validated.changes

    def locate(self, row: int, name: str, reason: str) -> Problem:
        """Make a problem of what the API said of a field, with the column and cell that it belongs to."""
        target = name.casefold()
        column = next((one for one in self.columns.fields if one.target.casefold() == target), None)
        if column is None and target == "id":
            column = self.columns.id
        if column is None:
            return Problem(reason, field=name)
        return Problem(reason, column.target, column.header, self.staged.cell(row, column.index))

    def _validator(self, *, only_counts: bool = False) -> RowValidator:
        return RowValidator(
            self.staged,
            self.columns,
            self.endpoint,
            clear_token=self.settings.clear_token,
            reads_before_write=self.reads_before_write,
            only_counts=only_counts,
        )

    def _iter_validated(self, validator: RowValidator) -> Iterator[ValidatedRows]:
        if self._duplicates is None:
            ignore_case = self.endpoint.ids_ignore_case and self.columns.key_field is None  # keys are always exact
            self._duplicates = find_duplicates(self.staged, self.columns.id.index, ignore_case=ignore_case)
        normalize = self._formats.normalize if self._formats else lambda frame: frame
        frames = map(normalize, sources.iter_frames(self.staged))
        return iter_validated(
            frames, validator, self._duplicates, lambda rows: normalize(sources.read_rows(self.staged, rows))
        )


def match_file(staged: Staged, endpoint: Endpoint, settings: Settings, *, reads_before_write: bool) -> FileChanges:
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
    return FileChanges(staged, columns, endpoint, settings, reads_before_write)


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
