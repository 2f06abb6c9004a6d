"""What an undo puts back: the changes, read from the journal of the run, and `undo.csv`, which a person can read.

Promises: every change that was or may have been applied is in it, of a killed and of a resumed run as well; what cannot
be put back is in it too, with the reason. A cell of an ordinary column means exactly the value that is put back, should
somebody run the sheet by itself; what no cell can say is in the column `batch_also` as JSON, which is ignored on input.
The undo itself takes its values, which are the API's own, from the plan file beside it, never from the text.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import polars as pl
from pydantic import TypeAdapter, ValidationError

from batch.conditions import FieldChange, PlannedChange, as_shown, expected_units
from batch.csv_injection import guard
from batch.diff import How, shows_value
from batch.endpoints.base import MISSING, CustomField, Endpoint, Record, is_blank
from batch.endpoints.cell_types import as_text
from batch.exact_json import encode_for_people
from batch.files import NewFile
from batch.journal import Journal
from batch.model import (
    READ_ERRORS,
    ROW,
    Change,
    Column,
    Columns,
    CsvDialect,
    Field,
    Intent,
    Outcome,
    Problem,
    RowResult,
    Staged,
    cell_column,
    looks_blank,
)
from batch.own_files import UNDO_SHEET
from batch.provenance import PulledFrom
from batch.run.plan_file import PlanFile
from batch.run.rounds import UNDOES_ROW
from batch.settings import DEFAULT_CLEAR
from batch.sources.staging import Rows, staged_schema, write_frames
from batch.validation import ColumnCount, is_hardly_meant
from batch.validation.file_changes import locate

PENDING_BEFORE_CODES = "updated, "
"""Begins what 0.1, which wrote down no codes, said of a change that the API took but had not carried out yet."""


def iter_undo_changes(journal: Journal, endpoint: Endpoint, first_row: int) -> Iterator[PlannedChange]:
    """Yield what is to be put back, numbered from `first_row`."""
    row = first_row
    for intents, row_result in journal.iter_intents():
        if may_be_applied(intents[-1], row_result):
            last = intents[-1]
            note = Problem("kept_pending") if _is_pending(row_result) else None
            kept = Problem("kept_found") if is_found(last, row_result) else None
            names = (name for intent in intents for name in intent.fields)
            units = expected_units(endpoint, names, *(intent.body for intent in reversed(intents)))
            steps = tuple(_steps(endpoint, intents, row_result.shown if row_result else {}, kept))
            yield PlannedChange(row, last.id, last.name, steps, of=last.change, note=note, units=units)
            row += 1


def may_be_applied(intent: Intent, row_result: RowResult | None) -> bool:
    """Whether the API may have applied a change: all but what it refused, or never saw."""
    if not intent.attempts:
        return False
    if row_result is None or row_result.outcome in (Outcome.UPDATED, Outcome.UNKNOWN):
        return True
    if row_result.attempts < intent.made:
        return True  # it is of an earlier part, or of no attempt
    if row_result.attempts > 1 or row_result.status is None:
        return True  # an earlier attempt may have arrived
    if row_result.outcome is Outcome.UNCHANGED and any(one.code == "spelling_kept" for one in row_result.problems):
        return False  # it shows as it did before
    if row_result.outcome is Outcome.REJECTED:
        return 200 <= row_result.status < 300  # such as an answer that dropped a field
    return row_result.status != 429


def can_be_put_back(intent: Intent, row_result: RowResult | None) -> bool:
    """Whether an undo may have something to do about a change."""
    return may_be_applied(intent, row_result) and not is_found(intent, row_result)


def is_found(intent: Intent, row_result: RowResult | None) -> bool:
    """Whether a later start found what an attempt had asked for, so that nobody knows who wrote it."""
    if row_result is None or row_result.attempts < intent.made:
        return False
    return row_result.outcome is Outcome.UNCHANGED


def _is_pending(row_result: RowResult | None) -> bool:
    """Whether the API took a change, but had not carried it out when it answered."""
    return (
        row_result is not None
        and row_result.outcome is Outcome.UPDATED
        and any(
            one.code == "pending" or (not one.code and one.text.startswith(PENDING_BEFORE_CODES))
            for one in row_result.problems
        )
    )


def _steps(
    endpoint: Endpoint, intents: Sequence[Intent], shown: Mapping[str, Any], kept: Problem | None
) -> Iterator[FieldChange]:
    """Make a step of each field, and one of each nested value of which only parts were written."""
    steps = {step.field: step for step in _fields(endpoint, intents, shown, kept)}
    replaced_whole = {
        name: step
        for name in intents[-1].replaced_whole
        if (step := _whole(endpoint, name, intents, steps)) is not None
    }
    for name, step in steps.items():
        if name.partition(".")[0] not in replaced_whole or "." not in name:
            yield step
    yield from replaced_whole.values()


def _fields(
    endpoint: Endpoint, intents: Sequence[Intent], shown: Mapping[str, Any], kept: Problem | None
) -> Iterator[FieldChange]:
    """Make a step of each field: to its oldest value, unless another hand's stood in between, or all are `kept`."""
    steps: dict[str, FieldChange] = {}
    for intent in intents:
        for name, value in intent.fields.items():
            before = (intent.before or {}).get(name, MISSING)
            if name in steps and before is not MISSING and _is_ours(endpoint, steps[name], before):
                before = steps[name].wanted
            problem = Problem("kept_unread") if before is MISSING else kept
            if before is None and endpoint.is_needed(name):
                problem = Problem("kept_not_clearable")
            steps[name] = FieldChange(name, value, before, problem=problem, shown=shown.get(name, MISSING))
    yield from steps.values()


def _is_ours(endpoint: Endpoint, step: FieldChange, before: Any) -> bool:
    """Whether a later part of the run found what an earlier part had found or written, in whatever spelling."""
    found = (shows_value(endpoint, step.field, value, before) for value in (step.wanted, step.expected, step.shown))
    return any(how in (How.AS_ASKED, How.OTHER_SPELLING) for how in found)


def _whole(
    endpoint: Endpoint, name: str, intents: Sequence[Intent], steps: dict[str, FieldChange]
) -> FieldChange | None:
    """Put a list, or an object that was not there, back as a whole; part by part where somebody changed it since."""
    first, last = intents[0], intents[-1]
    if name not in last.body or name not in first.replaced_whole:
        return None
    before, now = first.replaced_whole[name], last.replaced_whole[name]
    if not (is_blank(before) or isinstance(before, list)):
        return None
    parts = tuple(step for field, step in steps.items() if field.startswith(name + "."))
    if len(intents) > 1 and not _is_chained(endpoint, name, first, now):
        before = now
    if any(part.problem for part in parts):
        return None
    shown = {part.field: part.shown for part in parts if part.shown is not MISSING}
    whole = as_shown(endpoint, last.body, shown)[name] if shown else MISSING
    return FieldChange(name, last.body[name], before, _parts(endpoint, {name: before}, parts), shown=whole)


def _is_chained(endpoint: Endpoint, name: str, first: Intent, now: object) -> bool:
    """Whether nobody else wrote between the parts of a run."""
    return _is_alike(endpoint, name, first.replaced_whole[name], now) or _is_alike(
        endpoint, name, first.body.get(name), now
    )


def _is_alike(endpoint: Endpoint, name: str, value: Any, now: Any) -> bool:
    """Whether two values of an object or a list of objects are the same, but for the spelling of their parts."""
    if isinstance(value, Mapping) and isinstance(now, Mapping):
        return all(_is_alike(endpoint, f"{name}.{part}", value.get(part), now.get(part)) for part in {*value, *now})
    if isinstance(value, list) and isinstance(now, list) and len(value) == len(now):
        pairs = enumerate(zip(value, now, strict=True), 1)
        return all(_is_alike(endpoint, f"{name}.{place}", *pair) for place, pair in pairs)
    return shows_value(endpoint, name, value, now) in (How.AS_ASKED, How.OTHER_SPELLING)


def _parts(endpoint: Endpoint, before: Record, parts: Sequence[FieldChange]) -> tuple[FieldChange, ...]:
    """Keep the parts that can be put back alone; what the run added to a list cannot be taken out of it alone."""
    if all(map(is_blank, before.values())):
        return ()
    known = []
    for part in parts:
        item = endpoint.unit(part.field)
        is_added = item != part.field and endpoint.value(before, item) is None
        added = FieldChange(part.field, part.expected, MISSING, problem=Problem("kept_added"))
        known.append(added if is_added else part)
    return tuple(known)


FIRST_ROW = 2
ROWS_AT_ONCE = 5_000
NAME, OF, ALSO = "batch_name", UNDOES_ROW, "batch_also"


class _Cells:
    """Says values as cells, where a cell means just that."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._known: dict[str, tuple[Field, TypeAdapter[Any]] | None] = {}

    def text(self, step: FieldChange) -> str | None:
        """Spell what a step puts back, None where no cell means it."""
        known = self._field(step.field)
        if known is None or step.problem or step.wanted is MISSING:
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
    file = NewFile(folder / UNDO_SHEET)
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
    return Staged(path, UNDO_SHEET, "csv", headers, rows.kept, digest, dialect=CsvDialect())


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
    shown = encode_for_people(also) if also else None
    return [planned.id, *(said.get(name) for name in names), planned.name or None, str(planned.of), shown]


def _also(step: FieldChange) -> Any:
    return f"({step.problem.reason})" if step.problem else step.wanted


@dataclass(slots=True)
class PlanChanges:
    """The changes of an undo, which come from the list of what is put back instead of from cells."""

    staged: Staged
    columns: Columns
    endpoint: Endpoint
    plan: PlanFile
    counts: dict[int, ColumnCount] = field(default_factory=dict)
    """None: what an undo sends is known from its list."""
    clears: Counter[str] = field(default_factory=Counter)
    change_count: int = 0
    rows_without_change: int = 0
    notes: tuple[str, ...] = ()
    conditions_in: tuple[str, ...] = ()
    """None: what an undo expects is in its list."""
    pulled_from: Counter[PulledFrom] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """The rows of the sheet."""
        return self.staged.rows

    def read_as(self, formats: Mapping[str, str]) -> None:
        """Change nothing: values of records are read in one way."""

    def validate_all(self, keep: Callable[[Sequence[RowResult]], None]) -> None:
        """Count the changes, and what they clear; none of them is invalid."""
        self.change_count = len(self.plan)
        self.clears = Counter(name for planned in self.plan for step in planned.steps for name in _emptied(step))

    def iter_changes(self) -> Iterator[Change]:
        """Yield the changes as they are written down."""
        for planned in self.plan:
            yield Change((planned.row,), planned.id, {step.field: step.wanted for step in planned.steps})

    def locate(self, row: int, problem: Problem) -> Problem:
        """Add the column and cell that a problem's field belongs to."""
        return locate(self.staged, self.columns, problem, row)

    def with_definitions(self, definitions: Sequence[CustomField]) -> "PlanChanges":
        """Return the same changes: the endpoint of an undo knows the custom fields as its run knew them."""
        return self


def _emptied(step: FieldChange) -> Iterator[str]:
    """Name what a step empties: its field, or else those of its parts."""
    if is_blank(step.wanted):
        if not (step.problem or is_blank(step.expected)):
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
