"""Rows of one input -> changes for one endpoint, or results with the problems, a column at a time."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import polars as pl
from pydantic import ConfigDict, TypeAdapter, ValidationError

from batch.endpoints.base import Endpoint
from batch.endpoints.cell_types import LIST_KINDS
from batch.model import (
    NOW,
    READ_ERRORS,
    ROW,
    Change,
    Column,
    Columns,
    Condition,
    Field,
    Outcome,
    Problem,
    RowResult,
    Staged,
    cell_column,
    iter_read_errors,
    read_errors_text,
    shorten,
)
from batch.problems import SENTENCES, Values
from batch.provenance import PulledFrom
from batch.validation.blank_or_clear import (
    CLEAR,
    LEAVE,
    SHEET_ERROR,
    VALUE,
    cell_states,
    find_clears,
    near_token,
    token_among_items,
)
from batch.validation.pulled_rows import PulledFrame, PulledRows
from batch.validation.typed_cells import NO_TEXT, TypedCells


@dataclass(frozen=True, slots=True)
class ValidatedRows:
    """Some rows after validation: what is to be sent, and the results of rows that are not (invalid, or nothing to do).

    `count` counts the changes, also where only they were asked for and `changes` is left empty.
    """

    changes: list[Change]
    row_results: list[RowResult]
    count: int


class Absent:
    """No value to send: the cell is blank, cleared, or wrong."""


ABSENT: Final = Absent()
NOTHING_SET, NOT_EDITED = Problem("nothing_set"), Problem("not_edited")


@dataclass(slots=True)
class FrameState:
    """What is known of the rows of a frame while they are validated, by their index in it."""

    frame: pl.DataFrame
    ids: list[str]
    record_ids: list[str]
    """Beside keys, the API's ids ("" where there is none)."""
    pulled: PulledFrame = field(default_factory=lambda: PulledFrame({}))
    problems: dict[int, list[Problem]] = field(default_factory=dict)
    broken: dict[int, Problem] = field(default_factory=dict)
    unread: dict[int, set[int]] = field(default_factory=dict)
    """Indexes of the rows whose cell could not be read, by column."""
    numbers: Mapping[str, pl.Series] = field(default_factory=dict)
    """Which cells of a text field are stored as numbers, by field."""
    states: dict[str, pl.Series] = field(default_factory=dict)
    """By field, for each row: 0 (leave), 1 (value, right or wrong) or 2 (clear)."""
    values: dict[str, list[Any]] = field(default_factory=dict)
    expected: dict[str, list[Any]] = field(default_factory=dict)
    """What each row says that a field must show now, by field."""

    def number(self, place: int) -> int:
        return int(self.frame[ROW][place])

    def fields(self, place: int) -> dict[str, Any]:
        return {key: cells[place] for key, cells in self.values.items() if cells[place] is not ABSENT}

    def bare_numbers(self, places: Collection[int]) -> frozenset[str]:
        """Return the text fields whose cells in one of these rows are stored as numbers."""
        return frozenset(key for key, is_bare in self.numbers.items() if any(is_bare[place] for place in places))

    def shape(self, place: int) -> dict[str, Any]:
        """Return the fields that a row sets ("") and clears (None), whether their cells can be read or not."""
        return {key: None if state[place] == CLEAR else "" for key, state in self.states.items() if state[place]}

    def row_result(self, place: int) -> RowResult:
        """Return the result of a row that makes no change; a row of the wrong length has that problem only."""
        broken = self.broken.get(place)
        found = (broken,) if broken else tuple(self.problems.get(place, ()))
        outcome = Outcome.INVALID if found else Outcome.UNCHANGED
        nothing = NOT_EDITED if place in self.pulled.rows else NOTHING_SET
        return RowResult(self.number(place), self.ids[place], outcome, problems=found or (nothing,))


@dataclass(slots=True)
class Row:
    """A row of an id that occurs more than once; `said` is what it says of each field, as text to compare and show."""

    place: int
    number: int
    fields: dict[str, Any]
    said: dict[str, str]


EXAMPLES = 3


@dataclass(slots=True)
class ColumnCount:
    """What a column holds, over all rows seen so far."""

    values: int = 0
    examples: list[str] = field(default_factory=list)


class RowValidator:
    """Validates rows of one staged input for one endpoint, a column of some thousand cells at a time.

    `reads_before_write`: current records will be read before writing, so that nested values may be given in part.
    `only_counts`: changes are validated and counted, but not made.
    """

    def __init__(
        self,
        staged: Staged,
        columns: Columns,
        endpoint: Endpoint,
        *,
        clear_token: str,
        reads_before_write: bool,
        only_counts: bool = False,
        typed_cells: TypedCells | None = None,
    ) -> None:
        self._staged, self._columns, self._endpoint = staged, columns, endpoint
        self._clear_token, self._is_completed, self._only_counts = clear_token, reads_before_write, only_counts
        self._typed_cells = typed_cells
        self._near_token = near_token(clear_token)
        self._by_key = {one.target: one for one in columns.fields}
        self._pulled_rows = PulledRows(columns, endpoint)
        self._adapters: dict[str, TypeAdapter[Any]] = {
            key: TypeAdapter(list[one.field.type], config=ConfigDict(hide_input_in_errors=True))  # type: ignore[name-defined]  # a type known only now
            for key, one in [(one.target, one) for one in columns.with_fields]
            if one.field
        }
        self.counts = {one.index: ColumnCount() for one in (columns.id, *columns.with_fields)}
        self.clears = Counter(dict.fromkeys(self._by_key, 0))
        """How many changes clear each field."""
        self.pulled_from: Counter[PulledFrom] = Counter()
        """How many rows were pulled, by where they were pulled from."""

    def validate(self, frame: pl.DataFrame) -> ValidatedRows:
        """Validate rows whose ids occur once."""
        frame_state = self._validate_cells(frame, with_values=not self._only_counts)
        blank = _all_blank(frame_state.frame, self._columns.fields)
        idle = set(blank) - frame_state.problems.keys() - frame_state.broken.keys()
        finished = sorted(idle | frame_state.problems.keys() | frame_state.broken.keys())
        self._count_clears(frame_state, finished)
        row_results = [frame_state.row_result(place) for place in finished]
        if self._only_counts:
            return ValidatedRows([], row_results, frame.height - len(row_results))
        rest = sorted(set(range(frame.height)).difference(finished))
        changes = [
            Change(
                (frame_state.number(place),),
                frame_state.ids[place],
                fields := frame_state.fields(place),
                frame_state.bare_numbers([place]),
                frame_state.record_ids[place],
                self._conditions(frame_state, [place], fields),
            )
            for place in rest
        ]
        return ValidatedRows(changes, row_results, len(changes))

    def validate_duplicates(self, frame: pl.DataFrame) -> ValidatedRows:
        """Validate rows of ids that occur more than once; all rows of an id must be in `frame`."""
        frame_state = self._validate_cells(frame, with_values=True)
        groups: dict[str, list[Row]] = {}
        for place, record_id in enumerate(frame_state.ids):
            fields = frame_state.fields(place)
            row = Row(place, frame_state.number(place), fields, self._said(frame_state, place, fields))
            name = record_id if self._columns.key_field else self._endpoint.id_key(record_id)
            groups.setdefault(name, []).append(row)
        changes: list[Change] = []
        row_results: list[RowResult] = []
        for group in groups.values():
            self._merge(frame_state, group, changes, row_results)
        return ValidatedRows(changes, row_results, len(changes))

    # -- one frame ----------------------------------------------------------------------------------------------

    def _validate_cells(self, frame: pl.DataFrame, *, with_values: bool) -> FrameState:
        ids, beside = _stripped(frame, self._columns.id), self._columns.record_id
        record_ids = _stripped(frame, beside) if beside else pl.repeat("", frame.height, eager=True)
        frame_state = FrameState(frame, ids.to_list(), record_ids.to_list())
        if self._typed_cells is not None and with_values:
            frame_state.numbers = self._typed_cells.bare_numbers(frame)
        self._count(self._columns.id, frame[cell_column(self._columns.id.index)], 0)
        if self._pulled_rows.columns or self._pulled_rows.seen:
            self._read_pulled(frame_state)
        self._add_read_errors(frame_state)
        self._check_ids(frame_state, self._columns.id, ids)
        if beside:
            self._check_ids(frame_state, beside, record_ids)
        frame_state.states = {
            key: self._read_column(frame_state, column, with_values=with_values) for key, column in self._by_key.items()
        }
        for column in self._columns.now:
            frame_state.expected[column.target.removesuffix(NOW)] = self._read_expected(frame_state, column)
        if frame_state.states:
            self._check_together(frame_state, pl.DataFrame(frame_state.states))
        return frame_state

    def _read_pulled(self, frame_state: FrameState) -> None:
        """Read what the rows were pulled as, and blank the cells that still say it: they set nothing."""
        frame = frame_state.frame
        pulled = frame_state.pulled = self._pulled_rows.read(frame)
        self.pulled_from.update(row.source for row in pulled.rows.values())
        for place in pulled.damaged:
            self._add(frame_state, place, self._pulled_rows.columns[0], Problem("pulled_damaged"), "")
        if self._pulled_rows.seen:
            for place in pulled.seen_damaged:
                self._add(frame_state, place, self._pulled_rows.seen, Problem("seen_damaged"), "")
        key, column = self._endpoint.id_key, self._columns.record_id if self._columns.key_field else self._columns.id
        ids = frame_state.record_ids if self._columns.key_field else frame_state.ids
        for place, row in pulled.rows.items():
            if column and ids[place] and key(ids[place]) != key(row.id):
                self._add(frame_state, place, column, Problem("cells_moved"), ids[place])
            elif self._columns.key_field:
                ids[place] = row.id
        for column in self._columns.fields:
            places = [*self._pulled_rows.iter_unedited(frame, pulled, column)]
            self._blank(frame_state, column, places)

    def _blank(self, frame_state: FrameState, column: Column, places: Sequence[int]) -> None:
        """Blank cells that say what was pulled, and drop what was noted about them."""
        if not places:
            return
        name, frame = cell_column(column.index), frame_state.frame
        frame = frame.with_columns(frame[name].scatter(places, None))
        noted = {place: [*iter_read_errors(frame[READ_ERRORS][place])] for place in places if frame[READ_ERRORS][place]}
        for place, found in noted.items():
            kept = [one for one in found if one[0] != column.index]
            errors = frame[READ_ERRORS].scatter(place, read_errors_text(kept) if kept else None)
            frame = frame.with_columns(errors)
        frame_state.frame = frame

    def _read_expected(self, frame_state: FrameState, column: Column) -> list[Any]:
        """Return what the cells of a column such as `name (now)` expect, absent where they are blank or wrong."""
        cells = frame_state.frame[cell_column(column.index)]
        unread = sorted(frame_state.unread.get(column.index, ()))
        is_clear = find_clears(cells, self._clear_token, unread)
        self._count(column, cells, int(is_clear.sum()))
        unread = sorted({*unread, *self._suspicious(frame_state, column, cells)})
        places = (cell_states(cells, is_clear, unread) == VALUE).scatter(unread, values=False).arg_true()
        texts = cells.gather(places).to_list()
        spread: list[Any] = [ABSENT] * len(cells)
        for place in is_clear.arg_true().to_list():
            spread[place] = None
        values, problems = self._values(column, texts)
        for place, value in zip(places, values, strict=True):
            spread[place] = value
        for index, problem in problems:
            if column.field and column.field.kind not in NO_TEXT:  # a record may show what is no valid new value
                spread[places[index]] = texts[index].strip() if column.field.trims else texts[index]
            else:
                self._add(frame_state, places[index], column, problem, texts[index])
        return spread

    def _conditions(
        self, frame_state: FrameState, places: Iterable[int], fields: Mapping[str, Any]
    ) -> tuple[Condition, ...]:
        """Return what these rows of one record expect of it."""
        found: list[Condition] = []
        pulled = frame_state.pulled
        for place in places if pulled.rows or pulled.seen or frame_state.expected else ():
            found += self._pulled_rows.iter_conditions(pulled, place, frame_state.ids[place], fields)
            for name, cells in frame_state.expected.items():
                if cells[place] is not ABSENT:
                    found.append(Condition(name, (cells[place],), "now"))
        return tuple(one for at, one in enumerate(found) if one not in found[:at])

    def _count_clears(self, frame_state: FrameState, finished: Sequence[int]) -> None:
        """Count what the rows clear that are sent; what a row that stays behind would clear is not cleared."""
        for key, state in frame_state.states.items():
            self.clears[key] += int((state == CLEAR).sum()) - int((state.gather(finished) == CLEAR).sum())

    def _read_column(self, frame_state: FrameState, column: Column, *, with_values: bool) -> pl.Series:
        """Validate the cells of a column, and return their states."""
        cells = frame_state.frame[cell_column(column.index)]
        unread = sorted(frame_state.unread.get(column.index, ()))
        is_clear = find_clears(cells, self._clear_token, unread)
        clears = int(is_clear.sum())
        if clears:
            self._refuse_clears(frame_state, column, cells, is_clear)
        suspicious = sorted({*unread, *self._suspicious(frame_state, column, cells)})
        states = cell_states(cells, is_clear, suspicious)
        places = (states == VALUE).scatter(suspicious, values=False).arg_true()
        texts = cells.gather(places).to_list() if len(places) < len(cells) else cells.to_list()
        found = self._validated(frame_state, column, texts, places)
        if frame_state.pulled.rows:
            retyped = [
                place
                for place, value in zip(places.to_list(), found, strict=True)
                if value is not ABSENT
                and self._pulled_rows.is_as_pulled(frame_state.pulled, place, column.target, value)
            ]
            self._blank(frame_state, column, retyped)
            cells = frame_state.frame[cell_column(column.index)]
            states = states.scatter(retyped, values=LEAVE)
            found = [ABSENT if cells[place] is None else value for place, value in zip(places, found, strict=True)]
        self._count(column, cells.scatter(unread, None) if unread else cells, clears)
        if with_values:
            spread: list[Any] = [ABSENT] * len(cells)
            frame_state.values[column.target] = spread
            for place in is_clear.arg_true().to_list() if clears else ():
                spread[place] = None
            for place, value in zip(places.to_list(), found, strict=True):
                spread[place] = value
        return states

    def _suspicious(self, frame_state: FrameState, column: Column, cells: pl.Series) -> list[int]:
        """Refuse texts hardly meant as values: nearly the clear token, or an error of a spreadsheet program."""
        token = self._clear_token
        hardly_meant = [
            (self._near_token, Problem("clear_nearly", {"token": token})),
            (SHEET_ERROR, Problem("sheet_error")),
        ]
        if column.field and column.field.kind in LIST_KINDS:
            hardly_meant.append((token_among_items(token), Problem("clear_among_items", {"token": token})))
        found: dict[int, Problem] = {}
        if not cells.str.contains("|".join(f"(?:{pattern})" for pattern, _ in hardly_meant)).any():
            return []
        for pattern, problem in hardly_meant:
            for place in cells.str.contains(pattern).arg_true().to_list():
                if cells[place].strip() != token and place not in frame_state.unread.get(column.index, ()):
                    found.setdefault(place, problem)
        for place, problem in found.items():
            self._add(frame_state, place, column, problem, cells[place])
        return list(found)

    def _refuse_clears(self, frame_state: FrameState, column: Column, cells: pl.Series, is_clear: pl.Series) -> None:
        if column.field and column.field.nullable:
            return
        for place in is_clear.arg_true().to_list():
            self._add(frame_state, place, column, Problem("not_clearable"), cells[place])

    def _validated(self, frame_state: FrameState, column: Column, texts: list[str], places: pl.Series) -> list[Any]:
        """Give the value of each text, absent where it has none; the problems go to `frame_state`."""
        values, problems = self._values(column, texts)
        for index, problem in problems:
            self._add(frame_state, places[index], column, problem, texts[index])
        return values

    def _values(self, column: Column, texts: list[str]) -> tuple[list[Any], list[tuple[int, Problem]]]:
        """Give the value of each text, absent where it has none, and why, by their indexes."""
        adapter = self._adapters[column.target]
        try:
            return adapter.validate_python(texts), []
        except ValidationError as error:
            details = [(int(one["loc"][0]), one) for one in error.errors(include_url=False, include_input=False)]
            bad = {index for index, _ in details}
            good = iter(adapter.validate_python([text for index, text in enumerate(texts) if index not in bad]))
            values = [ABSENT if index in bad else next(good) for index in range(len(texts))]
            return values, [(index, cell_problem(one, column.field, texts[index])) for index, one in details]

    def _count(self, column: Column, cells: pl.Series, clears: int) -> None:
        count = self.counts[column.index]
        count.values += len(cells) - cells.null_count() - clears
        if len(count.examples) < EXAMPLES:
            fresh = cells.drop_nulls().head(50).unique(maintain_order=True).to_list()
            count.examples += [one for one in fresh if one.strip() != self._clear_token and one not in count.examples]
            del count.examples[EXAMPLES:]

    def _check_ids(self, frame_state: FrameState, column: Column, ids: pl.Series) -> None:
        """Refuse what cannot be an id or a key; only an id beside a key may be left blank."""
        unread = frame_state.unread.get(column.index, set())
        pattern: str = self._endpoint.id_pattern
        check: Callable[[str], Problem | None] = self._endpoint.id_problem
        if column.role == "key":
            pattern, check = KEY_PATTERN, _key_problem
        for place in (~ids.str.contains(pattern)).arg_true().to_list():
            record_id = ids[place]
            problem = check(record_id) if record_id else Problem("id_empty", {"noun": self._endpoint.noun})
            if problem and place not in unread and (record_id or column is self._columns.id):
                self._add(frame_state, place, column, problem, record_id)

    def _add_read_errors(self, frame_state: FrameState) -> None:
        """Note what the reader saw wrong."""
        known = (self._columns.id, self._columns.record_id, *self._columns.with_fields)
        by_index = {one.index: one for one in known if one}
        column = frame_state.frame[READ_ERRORS]
        for place in column.is_not_null().arg_true().to_list():
            for index, problem in iter_read_errors(column[place]):
                if index is None:
                    frame_state.broken[place] = problem
                elif index in by_index:
                    frame_state.unread.setdefault(index, set()).add(place)
                    self._add(frame_state, place, by_index[index], problem, problem.seen)

    def _check_together(self, frame_state: FrameState, states: pl.DataFrame) -> None:
        """Refuse fields that do not go together, which depends on what is set and cleared, not on values."""
        for shape in states.unique().iter_rows(named=True):
            fields = {key: None if state == CLEAR else "" for key, state in shape.items() if state}
            conflicts = self._endpoint.conflicts(fields, reads_before_write=self._is_completed) if fields else []
            if conflicts:
                is_so = pl.all_horizontal(pl.col(key) == state for key, state in shape.items())
                for place in states.select(is_so).to_series().arg_true().to_list():
                    for problem in conflicts:
                        column = self._by_key[problem.field]
                        seen = frame_state.frame[cell_column(column.index)][place] or ""
                        self._add(frame_state, place, column, problem, seen)

    def _add(self, frame_state: FrameState, place: int, column: Column, problem: Problem, seen: str) -> None:
        """Note a problem of the cell in `column`, which has the text `seen`."""
        cell = self._staged.cell(frame_state.number(place), column.index)
        located = replace(problem, field=column.target, header=column.header, cell=cell, seen=seen)
        frame_state.problems.setdefault(place, []).append(located)

    # -- duplicate ids ---------------------------------------------------------------------------------------------

    def _said(self, frame_state: FrameState, place: int, fields: Mapping[str, Any]) -> dict[str, str]:
        """What a row says of each field: its value, or its text where that could not be read."""
        said = {}
        for key, column in self._by_key.items():
            text = frame_state.frame[cell_column(column.index)][place]
            if text is not None and place not in frame_state.unread.get(column.index, ()):
                said[key] = json.dumps(fields[key]) if key in fields else f"unread {text.strip()}"
        if record_id := frame_state.record_ids[place]:
            said["id"] = self._endpoint.id_key(record_id)
        return said

    def _merge(
        self, frame_state: FrameState, group: Sequence[Row], changes: list[Change], row_results: list[RowResult]
    ) -> None:
        whole = [row for row in group if row.place not in frame_state.broken]
        self._note_disagreements(frame_state, whole)
        if len(whole) > 1:
            self._note_merged_conflicts(frame_state, whole)
        good = [row for row in whole if row.place not in frame_state.problems]
        merged = {key: row.fields[key] for key in self._by_key for row in good if key in row.fields}
        sent = {row.place for row in good}
        row_results += [frame_state.row_result(row.place) for row in group if row.place not in sent]
        if merged:
            places = [row.place for row in good]
            numbers, beside = frame_state.bare_numbers(places), [frame_state.record_ids[place] for place in places]
            record_id, conditions = next(filter(None, beside), ""), self._conditions(frame_state, places, merged)
            rows = tuple(row.number for row in good)
            changes.append(Change(rows, frame_state.ids[places[0]], merged, numbers, record_id, conditions))
            self.clears.update(key for key, value in merged.items() if value is None)
        else:
            row_results += [frame_state.row_result(row.place) for row in good]

    def _note_disagreements(self, frame_state: FrameState, group: Sequence[Row]) -> None:
        """Make all rows invalid when two of them disagree."""
        found = _disagreements(group)
        for row, (first, second), key in found:
            column = self._columns.record_id if key == "id" else None
            column = column or self._by_key[key]
            texts = frame_state.frame[cell_column(column.index)]
            said, other = (shorten(texts[one.place].strip()) for one in (first, second))
            values: Values = {
                "noun": self._endpoint.noun, "first": first.number, "said": said, "second": second.number,
                "other": other,
            }  # fmt: skip
            problem = Problem("duplicate_differs", values)
            self._add(frame_state, row.place, column, problem, texts[row.place])
        if found:
            _, (first, second), key = found[0]
            values = {"first": first.number, "second": second.number, "field": key}
            self._note_bystanders(frame_state, group, Problem("duplicate_of_differing", values))

    def _note_merged_conflicts(self, frame_state: FrameState, group: Sequence[Row]) -> None:
        """Make all rows invalid when one clears a whole of which another sets a part, rightly or wrongly."""
        shapes = {row.place: frame_state.shape(row.place) for row in group}
        found = []
        for problem in self._conflicts(shapes.values()):
            whole = str(problem.values.get("whole", ""))
            clearing = [row for row in group if shapes[row.place].get(whole, ABSENT) is None]
            setting = [row for row in group if problem.field in shapes[row.place]]
            if clearing and any([row] != clearing for row in setting):  # else its row has been told
                found.append(problem)
                values = {**problem.values, "row": clearing[0].number}
                is_clear = problem.code == "whole_cleared"
                told = replace(problem, code="whole_cleared_in_row", values=values) if is_clear else problem
                self._note_conflict(frame_state, setting, told)
        good = [row for row in group if row.place not in frame_state.problems]
        for problem in self._conflicts(shapes[row.place] for row in good):
            found.append(problem)
            self._note_conflict(frame_state, [row for row in good if problem.field in shapes[row.place]], problem)
        if found:
            self._note_bystanders(frame_state, group, Problem("duplicate_of_conflicting", {"field": found[0].field}))

    def _conflicts(self, shapes: Iterable[Mapping[str, Any]]) -> list[Problem]:
        merged = {key: value for fields in shapes for key, value in fields.items()}
        return self._endpoint.conflicts(merged, reads_before_write=self._is_completed) if merged else []

    def _note_conflict(self, frame_state: FrameState, rows: Iterable[Row], problem: Problem) -> None:
        column = self._by_key[problem.field]
        for row in rows:
            seen = frame_state.frame[cell_column(column.index)][row.place] or ""
            self._add(frame_state, row.place, column, problem, seen)

    def _note_bystanders(self, frame_state: FrameState, group: Sequence[Row], problem: Problem) -> None:
        for row in group:
            if row.place not in frame_state.problems:
                self._add(frame_state, row.place, self._columns.id, problem, frame_state.ids[row.place])


def _all_blank(frame: pl.DataFrame, columns: Sequence[Column]) -> list[int]:
    is_blank = pl.all_horizontal(pl.col(cell_column(one.index)).is_null() for one in columns)
    return frame.select(is_blank).to_series().arg_true().to_list()


def _stripped(frame: pl.DataFrame, column: Column) -> pl.Series:
    return frame[cell_column(column.index)].fill_null("").str.strip_chars()


KEY_PATTERN = r"^[^\pC.]+$"


def _key_problem(key: str) -> Problem | None:
    return None if key.isprintable() and key not in (".", "..") else Problem("key_invisible")


def _disagreements(group: Sequence[Row]) -> list[tuple[Row, tuple[Row, Row], str]]:
    """List (row, two rows that disagree, field), for every row that takes part; the two are the same for all of them.

    So equal problems can be grouped.
    """
    said_by: dict[str, list[tuple[str, Row]]] = {}
    for row in group:
        for key, said in row.said.items():
            said_by.setdefault(key, []).append((said, row))
    found = []
    for key, entries in said_by.items():
        first, first_row = entries[0]
        other = next((row for said, row in entries if said != first), None)
        if other is not None:
            found += [(row, (first_row, other), key) for _, row in entries]
    return found


def cell_problem(detail: Mapping[str, Any], known: Field | None, seen: str) -> Problem:
    """Return the problem that an error of pydantic stands for, of a cell with the text `seen`."""
    context, form = detail.get("ctx") or {}, known.form if known else ""
    match detail["type"]:
        case "string_too_long":
            return Problem("text_too_long", {"length": len(seen.strip()), "most": context["max_length"]})
        case "string_too_short":
            return Problem("text_too_short", {"least": context["min_length"]})
        case "string_pattern_mismatch":
            has_letters = "digits" in form and any(map(str.isalpha, seen))
            return Problem("form_has_letters" if has_letters else "form_differs", {"form": form})
        case code if code in SENTENCES:
            return Problem(code, context)
        case _:
            return Problem("not_of_type", {"limits": known.limits if known else "this field"})
