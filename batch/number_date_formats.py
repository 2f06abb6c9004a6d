"""Columns of numbers and dates: in which way they are written, found out before any of their cells is read.

Promises: what `--decimal` and `--date-format` say counts; else the column as a whole tells, or the run is refused; a
cell that the file itself stores as a number or a date needs no telling.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl
from pydantic import TypeAdapter, ValidationError

from batch.endpoints import cells
from batch.endpoints.cells import CellType, ParseOptions, date, number
from batch.errors import InputError
from batch.model import ROW, Column, Columns, Staged, cell_column, original_column, shorten
from batch.settings import Parsing

Kind = Literal["number", "date"]


_WAYS: dict[Kind, dict[str, CellType]] = {
    "number": {".": number("."), ",": number(",")},
    "date": {"dmy": date("dmy"), "mdy": date("mdy")},
}


_OPTION: dict[Kind, str] = {"number": "--decimal", "date": "--date-format"}


_WORDS = {".": "a decimal point", ",": "a decimal comma", "dmy": "the day first", "mdy": "the month first"}


@dataclass(frozen=True, slots=True)
class _Seen:
    """A cell and what it means in each way in which it can be read."""

    row: int
    text: str
    values: dict[str, object]


class DetectedFormat:
    """Judges one column; feed it every text of the column, then ask for the `notation`."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._adapters = {notation: TypeAdapter(type_) for notation, type_ in _WAYS[kind].items()}
        self._only: dict[str, dict[str, _Seen]] = {}
        """By separator and way, the first cell that can be read in no other way."""
        self._both: dict[str, _Seen] = {}
        """By separator, the first cell that means different things: 13.04.2026 says nothing of 4/3/2026."""

    @property
    def _told(self) -> dict[str, _Seen]:
        """By way, a cell that can be read in no other."""
        return {notation: seen for formats in self._only.values() for notation, seen in formats.items()}

    @property
    def is_settled(self) -> bool:
        """Whether no further cell can change the verdict."""
        return len(self._told) > 1

    def feed(self, cells: Iterable[tuple[int, str]]) -> None:
        """Look at (row, text) pairs; texts that are neither numbers nor dates say nothing."""
        for row, text in cells:
            seen = _Seen(row, text, self._readings(text.strip()))
            mark = _separator(text) if self.kind == "date" else ""
            if len(seen.values) == 1:
                self._only.setdefault(mark, {}).setdefault(next(iter(seen.values)), seen)
            elif len(set(map(repr, seen.values.values()))) > 1:
                self._both.setdefault(mark, seen)

    def _readings(self, text: str) -> dict[str, object]:
        found = {}
        for notation, adapter in self._adapters.items():
            try:
                found[notation] = adapter.validate_python(text)
            except ValidationError:
                continue
        return found

    def notation(self, where: str) -> str | None:
        """Say how the column is written, None when it does not matter; raises InputError that names `where`."""
        told = self._told
        if len(told) > 1:
            one, other = told.values()
            raise InputError(
                f'{where} is written in two ways: "{shorten(one.text)}" (row {one.row}) has {_word(one)}, '
                f'"{shorten(other.text)}" (row {other.row}) has {_word(other)}. '
                "Write the whole column in one way. Nothing was sent."
            )
        for mark, both in self._both.items():
            if mark not in self._only:
                raise self._unclear(where, both)
        return next(iter(told), None)

    def _unclear(self, where: str, both: _Seen) -> InputError:
        readings = " or ".join(f"{value} ({_WORDS[notation]})" for notation, value in both.values.items())
        options = " or ".join(f"{_OPTION[self.kind]} {notation}" for notation in both.values)
        return InputError(
            f'{where}: "{shorten(both.text)}" (row {both.row}) may mean {readings}, '
            f"and no other cell tells. Nothing was sent. Say which:  {options}"
        )

    @property
    def note(self) -> str:
        """Say how the column was read and by which cell, "" where nothing had to be told."""
        seen = next(iter(self._told.values()), None)
        if seen is None or not self._both:
            return ""
        return f'is read with {_word(seen)}, as "{shorten(seen.text)}" in row {seen.row} tells'

    def parse_options(self, where: str) -> ParseOptions:
        """Give the way as what an endpoint reads by."""
        notation = self.notation(where)
        if self.kind == "number":
            return ParseOptions(decimal="," if notation == "," else ".")
        return ParseOptions(date_format="mdy" if notation == "mdy" else "dmy" if notation == "dmy" else "iso")


def _separator(text: str) -> str:
    return next((letter for letter in text if letter in "./-"), "")


def _word(seen: _Seen) -> str:
    (notation,) = seen.values
    return _WORDS[notation]


KINDS: dict[str, Kind] = {"number": "number", "date": "date"}


class FormatDetector:
    """The way of each column of numbers or dates of one input."""

    def __init__(self, columns: Columns, parsing: Parsing) -> None:
        self._parsing = parsing
        self._columns = {one.index: one for one in columns.fields if one.field and one.field.kind in KINDS}
        self._readings: dict[int, ParseOptions] = {}
        self.notes: list[str] = []
        """How columns were read that could be read in two ways: whole sentences."""

    def detect(self, staged: Staged, frames: Iterable[pl.DataFrame]) -> None:
        """Look at every text of these columns; raises InputError for a column that cannot be told."""
        open_ones = {i: DetectedFormat(self._kind(one)) for i, one in self._columns.items() if not self._is_given(one)}
        for frame in frames if open_ones else ():
            for index, convention in open_ones.items():
                if not convention.is_settled:
                    convention.feed(self._texts(frame, index))
        for index, column in self._columns.items():
            where = f'{staged.name}, column "{column.header}"'
            self._readings[index] = open_ones[index].parse_options(where) if index in open_ones else self._given()
            if index in open_ones and open_ones[index].note:
                self.notes.append(f'Column "{column.header}" {open_ones[index].note}.')

    def apply(self, columns: Columns) -> Columns:
        """Give the columns with cell types that read in the way of each."""
        fields = tuple(self._typed(one) for one in columns.fields)
        by_index = {one.index: one for one in fields}
        everything = tuple(by_index.get(one.index, one) for one in columns.all)
        return replace(columns, all=everything, fields=fields)

    def normalize(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Spell cells that are stored as numbers, always with a point, as the texts of their column are written."""
        for index in self._columns:
            if self._readings[index].decimal == "," and original_column(index) in frame.columns:
                cell = pl.col(cell_column(index))
                as_text = (
                    pl.when(_is_typed(frame, index)).then(cell.str.replace_all(".", ",", literal=True)).otherwise(cell)
                )
                frame = frame.with_columns(as_text.alias(cell_column(index)))
        return frame

    def _typed(self, column: Column) -> Column:
        if column.index not in self._readings or column.field is None:
            return column
        parse_options = self._readings[column.index]
        is_number = self._kind(column) == "number"
        type_ = cells.number(parse_options.decimal) if is_number else cells.date(parse_options.date_format)
        return replace(column, field=replace(column.field, type=type_))

    def _texts(self, frame: pl.DataFrame, index: int) -> list[tuple[int, str]]:
        name = cell_column(index)
        texts = frame.filter(pl.col(name).is_not_null() & ~_is_typed(frame, index)).select(ROW, name)
        distinct = texts.filter(pl.col(name) != self._parsing.clear_token).unique(name, maintain_order=True)
        return list(zip(distinct[ROW].to_list(), distinct[name].to_list(), strict=True))

    def _kind(self, column: Column) -> Kind:
        assert column.field is not None  # noqa: S101 - only columns with a field of a known kind are kept
        return KINDS[column.field.kind]

    def _is_given(self, column: Column) -> bool:
        given = self._given()
        return (given.decimal if self._kind(column) == "number" else given.date_format) is not None

    def _given(self) -> ParseOptions:
        return ParseOptions(self._parsing.decimal, self._parsing.date_format)


def _is_typed(frame: pl.DataFrame, index: int) -> pl.Expr:
    """Whether the file stores a cell as something other than text (a text cell of a workbook is marked `s`)."""
    name = original_column(index)
    if name not in frame.columns:
        return pl.lit(value=False)
    kept = pl.col(name)
    return kept.is_not_null() & ~kept.str.starts_with("s") if frame[name].dtype == pl.String else kept.is_not_null()
