"""Rows -> changes, or the reasons why not (pydantic).

Promises: a row becomes part of exactly one change or gets at least one problem; all problems of a row are found in one
pass; a blank cell never sets anything; a damaged cell makes its row invalid. Rows with one id become one change, or are
all invalid when they disagree. Memory does not grow with the file, but for the ids that occur twice.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from batch.endpoints.base import Endpoint
from batch.model import DAMAGE, ROW, Change, Column, Columns, Fate, Field, Outcome, Problem, Staged, cell_column

ReadRows = Callable[[Sequence[int]], pl.DataFrame]
"""Reads the rows with these numbers (in order) from the staged input."""

GROUP_ROWS = 5_000
"""Rows of double ids looked at together."""
EXAMPLES = 3


@dataclass(slots=True)
class ColumnCount:
    """What a column holds, over all rows seen so far."""

    values: int = 0
    clears: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Sifted:
    """Some rows after validation: what is to be sent, and the rows whose fate is sealed (invalid, or nothing to do).

    `count` counts the changes, also where only they were asked for and `changes` is left empty.
    """

    changes: list[Change]
    fates: list[Fate]
    count: int


@dataclass(slots=True)
class _Row:
    number: int
    id: str
    raw: dict[str, str]
    fields: dict[str, Any]
    problems: tuple[Problem, ...] = ()

    def add(self, problem: Problem) -> None:
        self.problems += (problem,)


class Sieve:
    """Validates rows of one staged input for one endpoint.

    `is_completed`: current records will be read before writing, so that nested values may be given in part.
    `only_counts`: changes are validated and counted, but not made.
    """

    def __init__(
        self,
        staged: Staged,
        columns: Columns,
        endpoint: Endpoint,
        *,
        clear_token: str,
        is_completed: bool,
        only_counts: bool = False,
    ) -> None:
        self._staged, self._columns, self._endpoint = staged, columns, endpoint
        self._clear_token, self._is_completed, self._only_counts = clear_token, is_completed, only_counts
        self._keys = [one.target for one in columns.fields]
        self._by_key = {one.target: one for one in columns.fields}
        self._has_nested = any("." in key or "[" in key for key in self._keys)
        shape = {key: one.field.type for key, one in self._by_key.items() if one.field}
        row: Any = TypedDict("Row", shape, total=False)  # type: ignore[misc]  # the columns are known only now
        self._adapter: TypeAdapter[Any] = TypeAdapter(list[row], config=ConfigDict(hide_input_in_errors=True))
        self.counts = {one.index: ColumnCount() for one in (columns.id, *columns.fields)}

    def sift(self, frame: pl.DataFrame) -> Sifted:
        """Validate rows whose ids occur once."""
        rows = self._rows(frame)
        fates = [_invalid(row) if row.problems else _nothing(row) for row in rows if row.problems or not row.fields]
        if self._only_counts:
            return Sifted([], fates, len(rows) - len(fates))
        changes = [Change((row.number,), row.id, row.fields) for row in rows if row.fields and not row.problems]
        return Sifted(changes, fates, len(changes))

    def sift_doubles(self, frame: pl.DataFrame) -> Sifted:
        """Validate rows of ids that occur more than once; all rows of an id must be in `frame`."""
        groups: dict[str, list[_Row]] = {}
        for row in self._rows(frame):
            groups.setdefault(row.id.casefold(), []).append(row)
        changes: list[Change] = []
        fates: list[Fate] = []
        for group in groups.values():
            self._merge(group, changes, fates)
        return Sifted(changes, fates, len(changes))

    # -- one frame ----------------------------------------------------------------------------------------------

    def _rows(self, frame: pl.DataFrame) -> list[_Row]:
        ids = frame[cell_column(self._columns.id.index)].fill_null("").str.strip_chars()
        numbers, raws = frame[ROW].to_list(), self._raw_rows(frame)
        rows = [_Row(n, i, raw, raw) for n, i, raw in zip(numbers, ids.to_list(), raws, strict=True)]
        self._count(frame)
        self._check_ids(rows, ids)
        clears = self._take_clears(frame, rows)
        broken = self._take_damage(frame, rows)
        self._validate(rows)
        for index, key in clears:
            rows[index].fields[key] = None
        self._check_together(rows)
        for index, problem in broken.items():  # a row of the wrong length says nothing else that can be trusted
            rows[index].problems = (problem,)
        return rows

    def _raw_rows(self, frame: pl.DataFrame) -> list[dict[str, str]]:
        """Make a dictionary of each row, without the blank cells; the full columns are the fast way."""
        columns = {key: frame[cell_column(one.index)] for key, one in self._by_key.items()}
        full = {key: column for key, column in columns.items() if not column.null_count()}
        raws: list[dict[str, str]] = pl.DataFrame(full).to_dicts() if full else [{} for _ in range(frame.height)]
        for key in columns.keys() - full.keys():
            places, values = columns[key].is_not_null().arg_true(), columns[key].drop_nulls()
            for place, value in zip(places.to_list(), values.to_list(), strict=True):
                raws[place][key] = value
        return raws

    def _count(self, frame: pl.DataFrame) -> None:
        for index, count in self.counts.items():
            column = frame[cell_column(index)].drop_nulls()
            clears = int((column.str.strip_chars() == self._clear_token).sum())
            count.clears += clears
            count.values += len(column) - clears
            if len(count.examples) < EXAMPLES:
                fresh = column.head(50).unique(maintain_order=True).to_list()
                count.examples += [
                    one for one in fresh if one.strip() != self._clear_token and one not in count.examples
                ]
                del count.examples[EXAMPLES:]

    def _check_ids(self, rows: Sequence[_Row], ids: pl.Series) -> None:
        pattern, check = self._endpoint.id_pattern, self._endpoint.id_problem
        if self._columns.key_field:
            pattern, check = "^[^\\pC.]+$", self._key_problem
        for index in (~ids.str.contains(pattern)).arg_true().to_list():
            row = rows[index]
            reason = check(row.id) if row.id else "is empty (every row needs the customer's id)"
            if reason:
                row.add(self._problem(row, self._columns.id, reason, row.id))

    def _key_problem(self, key: str) -> str | None:
        return (
            None
            if key.isprintable() and key not in (".", "..")
            else "cannot be looked up (it has invisible characters)"
        )

    def _take_clears(self, frame: pl.DataFrame, rows: Sequence[_Row]) -> list[tuple[int, str]]:
        found = []
        for key, column in self._by_key.items():
            series = frame[cell_column(column.index)]
            for index in (series.str.strip_chars() == self._clear_token).fill_null(value=False).arg_true().to_list():
                seen = rows[index].raw.pop(key)
                if column.field and column.field.nullable:
                    found.append((index, key))
                else:
                    reason = "cannot be cleared: this field may not be empty (write a value, or leave the cell blank)"
                    rows[index].add(self._problem(rows[index], column, reason, seen))
        return found

    def _take_damage(self, frame: pl.DataFrame, rows: Sequence[_Row]) -> dict[int, Problem]:
        """Note what the reader saw wrong; gives the rows that cannot be trusted as a whole."""
        broken = {}
        by_index = {one.index: one for one in (self._columns.id, *self._columns.fields)}
        for position in frame[DAMAGE].is_not_null().arg_true().to_list():
            row = rows[position]
            for index, seen, reason in json.loads(frame[DAMAGE][position]):
                column = by_index.get(index)
                if index is None:
                    broken[position] = Problem(reason, seen=seen)
                elif column is not None:
                    row.raw.pop(column.target, None)
                    row.problems = tuple(one for one in row.problems if one.header != column.header)
                    row.add(self._problem(row, column, reason, seen))
        return broken

    def _validate(self, rows: Sequence[_Row]) -> None:
        pending = list(rows)
        while pending:
            try:
                values = self._adapter.validate_python([row.raw for row in pending])
            except ValidationError as error:
                bad = self._note_errors(pending, error)
                pending = [row for index, row in enumerate(pending) if index not in bad]
                continue
            for row, fields in zip(pending, values, strict=True):
                row.fields = fields
            return

    def _note_errors(self, rows: Sequence[_Row], error: ValidationError) -> set[int]:
        bad: set[int] = set()
        for detail in error.errors(include_url=False, include_input=False):
            index, key = int(detail["loc"][0]), str(detail["loc"][1])
            column, row = self._by_key[key], rows[index]
            bad.add(index)
            row.fields = {}
            row.add(self._problem(row, column, in_words(detail, column.field, row.raw[key]), row.raw[key]))
        return bad

    def _check_together(self, rows: Iterable[_Row]) -> None:
        """Look for fields that do not go together; which ones do depends on what is set and cleared, not on values."""
        if not self._has_nested:
            return
        known: dict[tuple[str, ...], list[tuple[str, str]]] = {}
        for row in rows:
            if row.fields and not row.problems:
                cleared = [key for key, value in row.fields.items() if value is None]
                shape = (*row.fields, "", *cleared)
                if shape not in known:
                    known[shape] = self._endpoint.conflicts(row.fields, is_completed=self._is_completed)
                for key, reason in known[shape]:
                    row.add(self._problem(row, self._by_key[key], reason, row.raw.get(key, "")))

    def _problem(self, row: _Row, column: Column, reason: str, seen: str) -> Problem:
        cell = self._staged.cell(row.number, column.index)
        return Problem(reason, field=column.target, header=column.header, cell=cell, seen=seen)

    # -- double ids ---------------------------------------------------------------------------------------------

    def _merge(self, group: Sequence[_Row], changes: list[Change], fates: list[Fate]) -> None:
        for row, other, key in _disagreements(group):
            said, against = row.raw.get(key, self._clear_token), other.raw.get(key, self._clear_token)
            reason = f'differs between rows of one customer: row {other.number} says "{against.strip()}"'
            row.add(self._problem(row, self._by_key[key], reason, said))
        good = [row for row in group if not row.problems]
        merged = {key: row.fields[key] for key in self._keys for row in good if key in row.fields}
        fates += [_invalid(row) for row in group if row.problems]
        if merged:
            changes.append(Change(tuple(row.number for row in good), good[0].id, merged))
        else:
            fates += [_nothing(row) for row in good]


def _disagreements(group: Sequence[_Row]) -> list[tuple[_Row, _Row, str]]:
    """List (row, a row it disagrees with, field), for every row that takes part in a disagreement."""
    said_by: dict[str, list[tuple[str, _Row]]] = {}
    for row in group:
        for key in row.raw.keys() | row.fields.keys():
            said_by.setdefault(key, []).append((_said(row, key), row))
    found = []
    for key, entries in said_by.items():
        first, first_row = entries[0]
        other = next((row for said, row in entries if said != first), None)
        if other is not None:
            found += [(row, other if said == first else first_row, key) for said, row in entries]
    return found


def _said(row: _Row, key: str) -> str:
    """What `row` says of a field: its value, or its text while that could not be read."""
    value = row.fields.get(key, row.raw.get(key, "").strip()) if key in row.raw or key in row.fields else None
    return value if isinstance(value, str) else json.dumps(value)


def _invalid(row: _Row) -> Fate:
    return Fate(row.number, row.id, Outcome.INVALID, problems=row.problems)


def _nothing(row: _Row) -> Fate:
    reason = "no cell of this row sets anything"
    return Fate(row.number, row.id, Outcome.UNCHANGED, problems=(Problem(reason),))


def in_words(detail: Mapping[str, Any], known: Field | None, seen: str) -> str:
    """Say what pydantic found wrong with a cell as a person would."""
    context = detail.get("ctx") or {}
    match detail["type"]:
        case "string_too_long":
            return f"is {len(seen.strip())} characters long (at most {context['max_length']})"
        case "string_too_short":
            return f"is too short (at least {context['min_length']} characters)"
        case "string_pattern_mismatch":
            form = known.form if known else ""
            what = (
                "has letters in it"
                if known and "digits" in known.form and any(map(str.isalpha, seen))
                else "does not fit"
            )
            return f"{what} ({form})"
        case "cell":
            return str(detail["msg"])
        case _:
            return "cannot be read as " + (known.limits if known else "this field")


@dataclass(frozen=True, slots=True)
class Doubles:
    """The rows whose id occurs more than once, grouped."""

    groups: tuple[tuple[int, ...], ...]
    rows: frozenset[int]


def find_doubles(staged: Staged, id_index: int) -> Doubles:
    """Find the rows whose ids occur more than once (spaces around it and case aside).

    Two passes over the id column: 8 bytes a row to find hashes that occur twice, then only those rows' ids.
    """
    ids = (
        pl.scan_parquet(staged.path)
        .select(pl.col(ROW), pl.col(cell_column(id_index)).str.strip_chars().str.to_lowercase().alias("id"))
        .filter(pl.col("id").is_not_null() & (pl.col("id") != ""))
    )
    hashes = ids.select(pl.col("id").hash()).collect(engine="streaming").to_series().sort()
    twice = hashes.filter(hashes == hashes.shift(1)).unique()
    if not len(twice):
        return Doubles((), frozenset())
    found = ids.filter(pl.col("id").hash().is_in(twice.implode())).collect(engine="streaming").sort(ROW)
    groups = found.group_by("id", maintain_order=True).agg(ROW).filter(pl.col(ROW).list.len() > 1)[ROW].to_list()
    return Doubles(tuple(map(tuple, groups)), frozenset(row for group in groups for row in group))


def iter_sifted(
    frames: Iterable[pl.DataFrame], sieve: Sieve, doubles: Doubles, read_rows: ReadRows
) -> Iterator[Sifted]:
    """Yield all rows, sifted: those with an id of their own in order of the file, then the ids that occur twice."""
    apart = pl.Series(sorted(doubles.rows), dtype=pl.UInt32)
    for frame in frames:
        single = frame.filter(~pl.col(ROW).is_in(apart.implode())) if len(apart) else frame
        if len(single):
            yield sieve.sift(single)
    waiting: list[int] = []
    for group in doubles.groups:
        waiting += group
        if len(waiting) >= GROUP_ROWS:
            yield sieve.sift_doubles(read_rows(sorted(waiting)))
            waiting = []
    if waiting:
        yield sieve.sift_doubles(read_rows(sorted(waiting)))
