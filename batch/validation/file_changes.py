"""The changes of an input file: first validated and counted as a whole, then yielded to be sent.

Promises: reads every row once, without any network; what it finds invalid is never sent; memory does not grow with the
file. The changes that it yields afterwards are those that were counted and shown.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import polars as pl

from batch import sources
from batch.columns import check_duplicated, match_columns, near_line
from batch.endpoints.base import CustomField, Endpoint
from batch.endpoints.cell_types import ParseOptions
from batch.errors import NOTHING_SENT, UnmatchedError
from batch.model import Change, Column, Columns, Problem, RowResult, Staged, cell_column, column_letters, map_option
from batch.number_date_formats import FormatDetector
from batch.provenance import PULLED, RUN, SEEN, PulledFrom, pulled_place
from batch.settings import Parsing
from batch.validation import ColumnCount, Duplicates, RowValidator, ValidatedRows, find_duplicates, iter_validated
from batch.validation.typed_cells import TypedCells


class ChangeSource(Protocol):
    """Where the changes of a run come from: the cells of an input, or the list of what an undo puts back."""

    staged: Staged
    columns: Columns
    endpoint: Endpoint
    counts: dict[int, ColumnCount]
    clears: Counter[str]
    """How many records each field would be emptied in, by its name."""
    change_count: int
    rows_without_change: int
    pulled_from: Counter[PulledFrom]
    """How many rows were pulled, by where they were pulled from."""

    @property
    def conditions_in(self) -> tuple[str, ...]:
        """The headers of the columns that say what records must show."""

    @property
    def rows(self) -> int:
        """The rows of the input."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know about how the input was read: whole sentences."""

    def validate_all(self, keep: Callable[[Sequence[RowResult]], None]) -> None:
        """Validate every row and fill in the counts; `keep` is given the results that need no network."""

    def iter_changes(self) -> Iterator[Change]:
        """Yield the changes, in order."""

    def locate(self, row: int, problem: Problem) -> Problem:
        """Add the column and cell that a problem's field belongs to."""

    def with_definitions(self, definitions: Sequence[CustomField]) -> "ChangeSource":
        """Return the same changes under the endpoint with the organisation's custom fields."""

    def read_as(self, formats: Mapping[str, str]) -> None:
        """Read numbers and dates as is given, by `decimal` and `date_format`."""


@dataclass(slots=True)
class FileChanges:
    """An input with its columns matched to an endpoint; `validate_all` fills in the counts."""

    staged: Staged
    columns: Columns
    endpoint: Endpoint
    parsing: Parsing
    reads_before_write: bool
    """Current records will be read before writing."""
    counts: dict[int, ColumnCount] = field(default_factory=dict)
    clears: Counter[str] = field(default_factory=Counter)
    change_count: int = 0
    rows_without_change: int = 0
    """Rows whose result needs no request: invalid ones, and those with nothing to set."""
    pulled_from: Counter[PulledFrom] = field(default_factory=Counter)
    _duplicates: Duplicates | None = None
    _formats: FormatDetector | None = None
    _typed_cells: TypedCells | None = None

    def validate_all(self, keep: Callable[[Sequence[RowResult]], None]) -> None:
        """Validate every row; `keep` gets the results that need no request, some at a time."""
        check_duplicated(self.columns, self.endpoint, name=self.staged.name)
        if self._formats is None:
            formats = FormatDetector(self.columns, self.parsing)
            formats.detect(self.staged, sources.iter_frames(self.staged))
            self.columns, self._formats = formats.apply(self.columns), formats
            self._typed_cells = TypedCells(self.staged, self.columns, self.parsing)
        validator = self._validator(only_counts=True)
        self.change_count = self.rows_without_change = 0
        for validated in self._iter_validated(validator):
            self.change_count += validated.count
            self.rows_without_change += len(validated.row_results)
            if validated.row_results:
                keep(validated.row_results)
        self.counts, self.clears, self.pulled_from = validator.counts, validator.clears, validator.pulled_from

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the input was read: whole sentences."""
        formats, typed_cells = self._formats, self._typed_cells
        return (
            *self.staged.notes,
            *(formats.notes if formats else ()),
            *(typed_cells.notes if typed_cells else ()),
            *self._pulled_notes(),
        )

    def _pulled_notes(self) -> Iterator[str]:
        pulled = self.pulled_from.total()
        if pulled and (others := self.staged.rows - pulled):
            are = "1 row is" if others == 1 else f"{others:,} rows are"
            yield f"{are} without {PULLED}: what others changed since is not noticed there."

    @property
    def conditions_in(self) -> tuple[str, ...]:
        """The headers of the columns that say what records must show."""
        reserved = [one for one in self.columns.all if one.role == "reserved"]
        known = [one for one in reserved if pulled_place(one.header) == 1 or _is_called(one, SEEN)]
        return tuple(one.header for one in (*self.columns.now, *known) if _letters_if_filled(self.staged, one.index))

    @property
    def parent_run(self) -> str | None:
        """The run whose failures file this is, of most of its rows; None where it is none."""
        column = next((one for one in self.columns.all if one.role == "reserved" and _is_called(one, RUN)), None)
        if column is None:
            return None
        cell = pl.col(cell_column(column.index)).str.strip_chars().alias("run")
        runs = pl.scan_parquet(self.staged.path).select(cell).drop_nulls().group_by("run").len()
        found = runs.sort("len", "run", descending=True).head(1).collect(engine="streaming")["run"].to_list()
        return found[0] if found and re.fullmatch("[0-9a-f]{32}", found[0]) else None

    def iter_changes(self) -> Iterator[Change]:
        """Yield the changes, read and validated anew."""
        for validated in self._iter_validated(self._validator()):
            yield from validated.changes

    @property
    def rows(self) -> int:
        """The rows of the input."""
        return self.staged.rows

    def locate(self, row: int, problem: Problem) -> Problem:
        """Add the column and cell that a problem's field belongs to."""
        return locate(self.staged, self.columns, problem, row)

    def with_definitions(self, definitions: Sequence[CustomField]) -> "FileChanges":
        """Match the same input again to the endpoint with the organisation's custom fields; raises HeaderError."""
        endpoint = self.endpoint.defined(definitions)
        return match_file(self.staged, endpoint, self.parsing, reads_before_write=self.reads_before_write)

    def read_as(self, formats: Mapping[str, str]) -> None:
        """Read numbers and dates as is given, by `decimal` and `date_format`, before anything is validated."""
        given: dict[str, Any] = dict(formats)
        parsing = replace(self.parsing, **given)
        again = match_file(self.staged, self.endpoint, parsing, reads_before_write=self.reads_before_write)
        self.parsing, self.endpoint, self.columns = parsing, again.endpoint, again.columns

    def _validator(self, *, only_counts: bool = False) -> RowValidator:
        return RowValidator(
            self.staged, self.columns, self.endpoint, clear_token=self.parsing.clear_token,
            reads_before_write=self.reads_before_write, only_counts=only_counts, typed_cells=self._typed_cells,
        )  # fmt: skip

    def _iter_validated(self, validator: RowValidator) -> Iterator[ValidatedRows]:
        if self._duplicates is None:
            ignore_case = self.endpoint.ids_ignore_case and self.columns.key_field is None  # keys are always exact
            self._duplicates = find_duplicates(self.staged, self.columns.id.index, ignore_case=ignore_case)
        frames = map(self._normalize, sources.iter_frames(self.staged))
        return iter_validated(
            frames, validator, self._duplicates, lambda rows: self._normalize(sources.read_rows(self.staged, rows))
        )

    def _normalize(self, frame: pl.DataFrame) -> pl.DataFrame:
        frame = self._formats.normalize(frame) if self._formats else frame
        return self._typed_cells.normalize(frame) if self._typed_cells else frame


def _is_called(column: Column, name: str) -> bool:
    return column.header.strip().casefold() == name


def locate(staged: Staged, columns: Columns, problem: Problem, row: int) -> Problem:
    """Add the column and cell that a problem's field belongs to; a field of no column, or of two, stays as it is."""
    if problem.header or problem.cell:
        return problem
    target = problem.field.casefold()
    known = [one for one in (*columns.with_fields, columns.id, columns.record_id) if one is not None]
    alike = [one for one in known if one.target.casefold() == target]
    column = next((one for one in alike if one.target == problem.field), alike[0] if len(alike) == 1 else None)
    if column is None and target == "id":
        column = columns.id
    if column is None:
        return problem
    return replace(problem, field=column.target, header=column.header, cell=staged.cell(row, column.index))


def match_file(staged: Staged, endpoint: Endpoint, parsing: Parsing, *, reads_before_write: bool) -> FileChanges:
    """Match the headers of `staged`; raises HeaderError before any row is read."""
    endpoint = endpoint.with_parse_options(ParseOptions(parsing.decimal, parsing.date_format))
    columns = match_columns(
        staged.headers, endpoint, name=staged.name, mapping=parsing.map, chosen=parsing.columns,
        key_field=parsing.key,
        filled=lambda index: _letters_if_filled(staged, index),
    )  # fmt: skip
    _check_definitions(staged, columns, endpoint)
    return FileChanges(staged, columns, endpoint, parsing, reads_before_write)


def _check_definitions(staged: Staged, columns: Columns, endpoint: Endpoint) -> None:
    """Stop before anything is sent for a custom field that the API would refuse in every row."""
    refused = {one: why for one in columns.with_fields if one.field and (why := _definition_problem(one, endpoint))}
    if not refused:
        return
    near = {one: endpoint.nearest_custom(one.target) for one in refused}
    lines = [near_line(one.header, why, near[one]) for one, why in refused.items()]
    first = f"{staged.name}: the headers do not fit {endpoint.name}."
    raise UnmatchedError(
        "\n".join([first, *lines, NOTHING_SENT]),
        unmatched=[one.header for one in refused], taken=[one.target for one in columns.with_fields], lacks_id=False,
        options=[map_option(one.header, next(iter(near[one]), "")) for one in refused],
    )  # fmt: skip


def _definition_problem(column: Column, endpoint: Endpoint) -> str:
    return endpoint.definition_problem(column.field.name) if column.field else ""


def _letters_if_filled(staged: Staged, index: int) -> str:
    column = pl.scan_parquet(staged.path).select(pl.col(cell_column(index)).is_not_null().any())
    is_filled = column.collect(engine="streaming").item()
    first = staged.style.first_column if staged.style else 1
    return column_letters(first + index) if is_filled else ""
