"""`undo.csv`: what an undo puts back, as an ordinary input for a person to read, and the changes behind it.

Promises: a cell of an ordinary column means exactly the value that is put back, should somebody run the sheet by
itself; what no cell can say is in the column `batch_also` as JSON, which is ignored on input. The undo itself takes its
values from the sealed file beside, never from the text.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import polars as pl
from pydantic import TypeAdapter, ValidationError

from batch.conditions import FieldChange, PlannedChange
from batch.csv_injection import guard
from batch.endpoints.base import MISSING, CustomField, Endpoint, is_blank
from batch.files import NewFile
from batch.model import (
    READ_ERRORS,
    ROW,
    Change,
    Column,
    Columns,
    CsvDialect,
    Field,
    Problem,
    RowResult,
    Staged,
    cell_column,
    looks_blank,
)
from batch.outputs.cell_text import as_text
from batch.run.plan_file import PlanFile
from batch.settings import DEFAULT_CLEAR
from batch.sources.staging import Rows, staged_schema, write_frames
from batch.validation import is_hardly_meant
from batch.validation.file_changes import locate

FILE = "undo.csv"
FIRST_ROW = 2
ROWS_AT_ONCE = 5_000
NAME, OF, ALSO = "batch_name", "batch_undoes_row", "batch_also"


class _Cells:
    """Says values as cells, where a cell means just that."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._known: dict[str, tuple[Field, TypeAdapter[Any]] | None] = {}

    def text(self, step: FieldChange) -> str | None:
        """Spell what a step puts back, None where no cell means it."""
        known = self._field(step.field)
        if known is None or step.reason or step.wanted is MISSING:
            return None
        column, adapter = known
        if step.wanted is None:
            return DEFAULT_CLEAR if column.nullable else None
        text = as_text(step.wanted)
        if text is None or looks_blank(text) or is_hardly_meant(text, DEFAULT_CLEAR, column.kind):
            return None
        try:
            read = adapter.validate_python(text)
        except ValidationError:
            return None
        return text if type(read) is type(step.wanted) and read == step.wanted else None

    def _field(self, name: str) -> tuple[Field, TypeAdapter[Any]] | None:
        if name not in self._known:
            found = self._endpoint.field_named(name)
            is_it = found is not None and found.name == name
            self._known[name] = (found, TypeAdapter(found.type)) if found is not None and is_it else None
        return self._known[name]


def write_sheet(folder: Path, plan: PlanFile, endpoint: Endpoint) -> Staged:
    """Write `undo.csv` into `folder`, one line for each change in order, and `input.parquet` with the same rows."""
    cells = _Cells(endpoint)
    names = list(dict.fromkeys(step.field for one in plan for step in one.steps if cells.text(step) is not None))
    headers = ("id", *names, NAME, OF, ALSO)
    lines = (_line(one, names, cells) for one in plan)
    file = NewFile(folder / FILE)
    try:
        with file.made.open("w+b") as opened:
            opened.write(pl.DataFrame([headers], orient="row").write_csv(include_header=False).encode())
            rows = Rows(len(headers), FIRST_ROW)
            frames = rows.iter_tidy(_iter_written(lines, headers, opened))
            path = write_frames(frames, staged_schema(len(headers)), folder)
            opened.seek(0)
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        file.keep()
    finally:
        file.discard()
    return Staged(path, FILE, "csv", headers, rows.kept, digest, dialect=CsvDialect())


def _iter_written(lines: Iterator[list[str | None]], headers: Sequence[str], file: IO[bytes]) -> Iterator[pl.DataFrame]:
    """Write the lines as CSV, and yield them as rows of an input."""
    row = FIRST_ROW
    while some := list(islice(lines, ROWS_AT_ONCE)):
        frame = pl.DataFrame(some, schema=dict.fromkeys(headers, pl.String), orient="row")
        frame.with_columns(guard(pl.all())).write_csv(file, include_header=False)
        numbers = pl.int_range(row, row + frame.height, dtype=pl.UInt32, eager=True).alias(ROW)
        cells = frame.rename({header: cell_column(index) for index, header in enumerate(headers)})
        row += frame.height
        yield cells.select(numbers, pl.all(), pl.lit(None, pl.String).alias(READ_ERRORS))


def _line(planned: PlannedChange, names: Sequence[str], cells: _Cells) -> list[str | None]:
    said = {step.field: cells.text(step) for step in planned.steps}
    also = {step.field: _also(step) for step in planned.steps if said[step.field] is None}
    shown = json.dumps(also, ensure_ascii=False) if also else None
    return [planned.id, *(said.get(name) for name in names), planned.name or None, str(planned.of), shown]


def _also(step: FieldChange) -> Any:
    return f"({step.reason})" if step.reason else step.wanted


@dataclass(slots=True)
class PlanChanges:
    """The changes of an undo, which come from the list of what is put back instead of from cells."""

    staged: Staged
    columns: Columns
    endpoint: Endpoint
    plan: PlanFile
    clears: Counter[str] = field(default_factory=Counter)
    change_count: int = 0
    rows_without_change: int = 0
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """The rows of the sheet."""
        return self.staged.rows

    def validate_all(self, keep: Callable[[Sequence[RowResult]], None]) -> None:
        """Count the changes, and what they clear; none of them is invalid."""
        self.change_count = len(self.plan)
        self.clears = Counter(name for planned in self.plan for step in planned.steps for name in _emptied(step))

    def iter_changes(self) -> Iterator[Change]:
        """Yield the changes as they are written down."""
        for planned in self.plan:
            yield Change((planned.row,), planned.id, {step.field: step.wanted for step in planned.steps})

    def locate(self, row: int, name: str, reason: str) -> Problem:
        """Make a problem of what the API said of a field, with the column and cell that it belongs to."""
        return locate(self.staged, self.columns, Problem(reason, field=name), row)

    def with_definitions(self, definitions: Sequence[CustomField]) -> "PlanChanges":
        """Return the same changes: the endpoint of an undo knows the custom fields as its run knew them."""
        return self


def _emptied(step: FieldChange) -> Iterator[str]:
    """Name what a step empties: its field, or else those of its parts."""
    if is_blank(step.wanted):
        if not (step.reason or is_blank(step.expected)):
            yield step.field
    else:
        for part in step.parts:
            yield from _emptied(part)


def undo_columns(headers: Sequence[str], endpoint: Endpoint) -> Columns:
    """Match the headers of `undo.csv`, which are field names."""
    columns = [_column(index, header, endpoint) for index, header in enumerate(headers)]
    return Columns(tuple(columns), columns[0], tuple(one for one in columns if one.role == "field"))


def _column(index: int, header: str, endpoint: Endpoint) -> Column:
    if index == 0:
        return Column(index, header, "id")
    if header in (NAME, OF, ALSO):
        return Column(index, header, "reserved")
    return Column(index, header, "field", endpoint.field_named(header))
