"""Rows of one input -> changes for one endpoint, or results with the problems, a column at a time."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import polars as pl
from pydantic import ConfigDict, TypeAdapter, ValidationError

from batch.endpoints.base import Endpoint
from batch.model import (
    READ_ERRORS,
    ROW,
    Change,
    Column,
    Columns,
    Outcome,
    Problem,
    RowResult,
    Staged,
    cell_column,
    iter_read_errors,
    shorten,
)
from batch.problems import Values
from batch.validation.messages import SHEET_ERROR, cell_problem, near_token


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
NOTHING_SET = Problem("nothing_set")


@dataclass(slots=True)
class FrameState:
    """What is known of the rows of a frame while they are validated, by their index in it."""

    frame: pl.DataFrame
    ids: list[str]
    problems: dict[int, list[Problem]] = field(default_factory=dict)
    broken: dict[int, Problem] = field(default_factory=dict)
    unread: dict[int, set[int]] = field(default_factory=dict)
    """Indexes of the rows whose cell could not be read, by column."""
    values: dict[str, list[Any]] = field(default_factory=dict)

    def number(self, place: int) -> int:
        return int(self.frame[ROW][place])

    def fields(self, place: int) -> dict[str, Any]:
        return {key: cells[place] for key, cells in self.values.items() if cells[place] is not ABSENT}

    def row_result(self, place: int) -> RowResult:
        """Return the result of a row that makes no change; a row of the wrong length has that problem only."""
        broken = self.broken.get(place)
        found = (broken,) if broken else tuple(self.problems.get(place, ()))
        outcome = Outcome.INVALID if found else Outcome.UNCHANGED
        return RowResult(self.number(place), self.ids[place], outcome, problems=found or (NOTHING_SET,))


@dataclass(slots=True)
class Row:
    """A row of an id that occurs more than once; `said` is what it says of each field, as text to compare and show."""

    place: int
    number: int
    fields: dict[str, Any]
    said: dict[str, str]


EXAMPLES = 3
CLEAR = 2
"""The state of a cell that clears its field."""


@dataclass(slots=True)
class ColumnCount:
    """What a column holds, over all rows seen so far."""

    values: int = 0
    clears: int = 0
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
    ) -> None:
        self._staged, self._columns, self._endpoint = staged, columns, endpoint
        self._clear_token, self._is_completed, self._only_counts = clear_token, reads_before_write, only_counts
        self._near_token = near_token(clear_token)
        self._by_key = {one.target: one for one in columns.fields}
        self._has_nested = any("." in key or "[" in key for key in self._by_key)
        self._adapters: dict[str, TypeAdapter[Any]] = {
            key: TypeAdapter(list[one.field.type], config=ConfigDict(hide_input_in_errors=True))  # type: ignore[name-defined]  # a type known only now
            for key, one in self._by_key.items()
            if one.field
        }
        self.counts = {one.index: ColumnCount() for one in (columns.id, *columns.fields)}

    def validate(self, frame: pl.DataFrame) -> ValidatedRows:
        """Validate rows whose ids occur once."""
        frame_state = self._validate_cells(frame, with_values=not self._only_counts)
        idle = set(_all_blank(frame, self._columns.fields)) - frame_state.problems.keys() - frame_state.broken.keys()
        finished = sorted(idle | frame_state.problems.keys() | frame_state.broken.keys())
        row_results = [frame_state.row_result(place) for place in finished]
        if self._only_counts:
            return ValidatedRows([], row_results, frame.height - len(row_results))
        rest = sorted(set(range(frame.height)).difference(finished))
        changes = [
            Change((frame_state.number(place),), frame_state.ids[place], frame_state.fields(place)) for place in rest
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
        ids = frame[cell_column(self._columns.id.index)].fill_null("").str.strip_chars()
        frame_state = FrameState(frame, ids.to_list())
        self._count(self._columns.id, frame[cell_column(self._columns.id.index)], 0)
        self._add_read_errors(frame_state)
        self._check_ids(frame_state, ids, frame_state.unread.get(self._columns.id.index, set()))
        states = {
            key: self._read_column(frame_state, column, with_values=with_values) for key, column in self._by_key.items()
        }
        if self._has_nested:
            self._check_together(frame_state, pl.DataFrame(states))
        self._uncount_clears(frame_state, states)
        return frame_state

    def _uncount_clears(self, frame_state: FrameState, states: Mapping[str, pl.Series]) -> None:
        """What a row that stays behind would clear is not cleared."""
        bad = sorted(frame_state.problems.keys() | frame_state.broken.keys())
        for key, state in states.items() if bad else ():
            self.counts[self._by_key[key].index].clears -= int((state.gather(bad) == CLEAR).sum())

    def _read_column(self, frame_state: FrameState, column: Column, *, with_values: bool) -> pl.Series:
        """Validate the cells of a column; gives for each row 0 (leave), 1 (value, right or wrong) or 2 (clear)."""
        cells = frame_state.frame[cell_column(column.index)]
        unread = sorted(frame_state.unread.get(column.index, ()))
        is_clear = (cells.str.strip_chars() == self._clear_token).fill_null(value=False).scatter(unread, values=False)
        clears = int(is_clear.sum())
        self._count(column, cells, clears)
        if clears:
            self._refuse_clears(frame_state, column, cells, is_clear)
        unread = sorted({*unread, *self._suspicious(frame_state, column, cells)})
        is_text = cells.is_not_null() & ~is_clear if clears else cells.is_not_null()
        states = is_text.cast(pl.UInt8).scatter(unread, values=1) + is_clear.cast(pl.UInt8) * 2
        is_text = is_text.scatter(unread, values=False)
        places = is_text.arg_true()
        texts = cells.gather(places).to_list() if len(places) < len(cells) else cells.to_list()
        found = self._validated(frame_state, column, texts, places)
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
        hardly_meant = (
            (self._near_token, Problem("clear_nearly", {"token": token})),
            (SHEET_ERROR, Problem("sheet_error")),
        )
        found = []
        for pattern, problem in hardly_meant:
            for place in cells.str.contains(pattern).fill_null(value=False).arg_true().to_list():
                if cells[place].strip() != token and place not in frame_state.unread.get(column.index, ()):
                    self._add(frame_state, place, column, problem, cells[place])
                    found.append(place)
        return found

    def _refuse_clears(self, frame_state: FrameState, column: Column, cells: pl.Series, is_clear: pl.Series) -> None:
        if column.field and column.field.nullable:
            return
        for place in is_clear.arg_true().to_list():
            self._add(frame_state, place, column, Problem("not_clearable"), cells[place])

    def _validated(self, frame_state: FrameState, column: Column, texts: list[str], places: pl.Series) -> list[Any]:
        """Give the value of each text, absent where it has none; the problems go to `frame_state`."""
        adapter = self._adapters[column.target]
        try:
            values: list[Any] = adapter.validate_python(texts)
        except ValidationError as error:
            bad = set()
            for detail in error.errors(include_url=False, include_input=False):
                index = int(detail["loc"][0])
                bad.add(index)
                problem = cell_problem(detail, column.field, texts[index])
                self._add(frame_state, places[index], column, problem, texts[index])
            good = iter(adapter.validate_python([text for index, text in enumerate(texts) if index not in bad]))
            return [ABSENT if index in bad else next(good) for index in range(len(texts))]
        return values

    def _count(self, column: Column, cells: pl.Series, clears: int) -> None:
        count = self.counts[column.index]
        count.clears += clears
        count.values += len(cells) - cells.null_count() - clears
        if len(count.examples) < EXAMPLES:
            fresh = cells.drop_nulls().head(50).unique(maintain_order=True).to_list()
            count.examples += [one for one in fresh if one.strip() != self._clear_token and one not in count.examples]
            del count.examples[EXAMPLES:]

    def _check_ids(self, frame_state: FrameState, ids: pl.Series, unread: Collection[int]) -> None:
        pattern: str = self._endpoint.id_pattern
        check: Callable[[str], Problem | None] = self._endpoint.id_problem
        if self._columns.key_field:
            pattern, check = KEY_PATTERN, _key_problem
        for place in (~ids.str.contains(pattern)).arg_true().to_list():
            record_id = frame_state.ids[place]
            problem = check(record_id) if record_id else Problem("id_empty", {"noun": self._endpoint.noun})
            if problem and place not in unread:
                self._add(frame_state, place, self._columns.id, problem, record_id)

    def _add_read_errors(self, frame_state: FrameState) -> None:
        """Note what the reader saw wrong."""
        by_index = {one.index: one for one in (self._columns.id, *self._columns.fields)}
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
            fields = {key: "" if state == 1 else None for key, state in shape.items() if state}
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
        return said

    def _merge(
        self, frame_state: FrameState, group: Sequence[Row], changes: list[Change], row_results: list[RowResult]
    ) -> None:
        self._note_disagreements(frame_state, [row for row in group if row.place not in frame_state.broken])
        good = [row for row in group if row.place not in frame_state.problems and row.place not in frame_state.broken]
        merged = {key: row.fields[key] for key in self._by_key for row in good if key in row.fields}
        if len(good) > 1 and self._note_merged_conflicts(frame_state, good, merged):
            good, merged = [], {}
        sent = {row.place for row in good}
        row_results += [frame_state.row_result(row.place) for row in group if row.place not in sent]
        if merged:
            changes.append(Change(tuple(row.number for row in good), frame_state.ids[good[0].place], merged))
        else:
            row_results += [frame_state.row_result(row.place) for row in good]

    def _note_disagreements(self, frame_state: FrameState, group: Sequence[Row]) -> None:
        """Make all rows invalid when two of them disagree."""
        found = _disagreements(group)
        for row, other, key in found:
            texts = frame_state.frame[cell_column(self._by_key[key].index)]
            said = shorten(texts[other.place].strip())
            values: Values = {"noun": self._endpoint.noun, "row": other.number, "said": said}
            problem = Problem("duplicate_differs", values)
            self._add(frame_state, row.place, self._by_key[key], problem, texts[row.place])
        if found:
            row, other, key = found[0]
            values = {"first": row.number, "second": other.number, "field": key}
            self._note_bystanders(frame_state, group, Problem("duplicate_of_differing", values))

    def _note_merged_conflicts(self, frame_state: FrameState, group: Sequence[Row], merged: Mapping[str, Any]) -> bool:
        """Make all rows invalid when one clears a whole of which another sets a part."""
        conflicts = self._endpoint.conflicts(merged, reads_before_write=self._is_completed) if self._has_nested else []
        for problem in conflicts:
            column = self._by_key[problem.field]
            whole = problem.field.partition(".")[0]
            clearing = [row.number for row in group if row.fields.get(whole, ABSENT) is None]
            if clearing and problem.code == "whole_cleared":
                problem = replace(problem, code="whole_cleared_in_row", values={**problem.values, "row": clearing[0]})
            for row in group:
                if problem.field in row.fields:
                    seen = frame_state.frame[cell_column(column.index)][row.place]
                    self._add(frame_state, row.place, column, problem, seen)
        if conflicts:
            problem = Problem("duplicate_of_conflicting", {"field": conflicts[0].field})
            self._note_bystanders(frame_state, group, problem)
        return bool(conflicts)

    def _note_bystanders(self, frame_state: FrameState, group: Sequence[Row], problem: Problem) -> None:
        for row in group:
            if row.place not in frame_state.problems:
                self._add(frame_state, row.place, self._columns.id, problem, frame_state.ids[row.place])


def _all_blank(frame: pl.DataFrame, columns: Sequence[Column]) -> list[int]:
    is_blank = pl.all_horizontal(pl.col(cell_column(one.index)).is_null() for one in columns)
    return frame.select(is_blank).to_series().arg_true().to_list()


KEY_PATTERN = r"^[^\pC.]+$"


def _key_problem(key: str) -> Problem | None:
    if key.isprintable() and key not in (".", ".."):
        return None
    return Problem("key_invisible")


def _disagreements(group: Sequence[Row]) -> list[tuple[Row, Row, str]]:
    """List (row, a row it disagrees with, field), for every row that takes part in a disagreement."""
    said_by: dict[str, list[tuple[str, Row]]] = {}
    for row in group:
        for key, said in row.said.items():
            said_by.setdefault(key, []).append((said, row))
    found = []
    for key, entries in said_by.items():
        first, first_row = entries[0]
        other = next((row for said, row in entries if said != first), None)
        if other is not None:
            found += [(row, other if said == first else first_row, key) for said, row in entries]
    return found
