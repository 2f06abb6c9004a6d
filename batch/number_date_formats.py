"""How columns of numbers and dates are written (decimal point or comma, day or month first), before a cell is read.

Promises: `--decimal` and `--date-format` decide; without them the texts of a column decide together, and a column that
they leave ambiguous stops the run; a cell that the file itself stores as a number or a date needs no format.

`FormatDetector` does it for all columns of an input; it asks one `DetectedFormat` for each column.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl
from pydantic import TypeAdapter, ValidationError

from batch.endpoints import cell_types
from batch.endpoints.cell_types import CellType, ParseOptions, date, number
from batch.errors import InputError, NotationError
from batch.model import ROW, Column, Columns, Staged, cell_column, original_column, shorten
from batch.settings import Parsing

Kind = Literal["number", "date"]
KINDS: dict[str, Kind] = {"number": "number", "date": "date"}
"""The kinds of fields whose texts can be written in several formats."""
_NOTATIONS: dict[Kind, dict[str, CellType]] = {
    "number": {".": number("."), ",": number(",")},
    "date": {"dmy": date("dmy"), "mdy": date("mdy")},
}
_OPTION: dict[Kind, str] = {"number": "--decimal", "date": "--date-format"}
_WORDS = {".": "a decimal point", ",": "a decimal comma", "dmy": "the day first", "mdy": "the month first"}


@dataclass(frozen=True, slots=True)
class _Seen:
    """A cell, and its value in each notation in which it can be read."""

    row: int
    text: str
    values: dict[str, object]


class DetectedFormat:
    """The format of one column: `feed` it every text of the column, then ask for the `notation`."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._adapters = {notation: TypeAdapter(type_) for notation, type_ in _NOTATIONS[kind].items()}
        self._decisive: dict[str, dict[str, _Seen]] = {}
        """By separator and notation, the first cell that can be read in no other notation."""
        self._ambiguous: dict[str, _Seen] = {}
        """By separator, the first cell with several meanings: 13.04.2026 does not decide about 4/3/2026."""

    @property
    def _evidence(self) -> dict[str, _Seen]:
        """By notation, a cell that can be read in no other."""
        return {notation: seen for formats in self._decisive.values() for notation, seen in formats.items()}

    @property
    def is_settled(self) -> bool:
        """Whether no further cell can change the result: two notations are in use."""
        return len(self._evidence) > 1

    def feed(self, cells: Iterable[tuple[int, str]]) -> None:
        """Add (row, text) pairs; texts that are neither numbers nor dates do not count."""
        for row, text in cells:
            seen = _Seen(row, text, self._readings(text.strip()))
            mark = _separator(text) if self.kind == "date" else ""
            if len(seen.values) == 1:
                self._decisive.setdefault(mark, {}).setdefault(next(iter(seen.values)), seen)
            elif len(set(map(repr, seen.values.values()))) > 1:
                self._ambiguous.setdefault(mark, seen)

    @property
    def telling(self) -> list[tuple[int, str]]:
        """The cells (row, text) that alone say as much as all that were seen."""
        seen = [*self._evidence.values(), *self._ambiguous.values()]
        seen += [one for formats in self._decisive.values() for one in formats.values()]
        return sorted({(one.row, one.text) for one in seen})

    def _readings(self, text: str) -> dict[str, object]:
        found = {}
        for notation, adapter in self._adapters.items():
            try:
                found[notation] = adapter.validate_python(text)
            except ValidationError:
                continue
        return found

    def notation(self, where: str) -> str | None:
        """Return the notation of the column, None when it does not matter; raises InputError that names `where`."""
        evidence = self._evidence
        if len(evidence) > 1:
            one, other = evidence.values()
            raise InputError(
                f'{where} is written in two ways: "{shorten(one.text)}" (row {one.row}) has {_word(one)}, '
                f'"{shorten(other.text)}" (row {other.row}) has {_word(other)}. '
                "Write the whole column in one way. Nothing was sent."
            )
        for mark, ambiguous in self._ambiguous.items():
            if mark not in self._decisive:
                raise self._unclear(where, ambiguous)
        return next(iter(evidence), None)

    def _unclear(self, where: str, seen: _Seen) -> NotationError:
        readings = " or ".join(f"{value} ({_WORDS[notation]})" for notation, value in seen.values.items())
        options = " or ".join(f"{_OPTION[self.kind]} {notation}" for notation in seen.values)
        return NotationError(
            f'{where}: "{shorten(seen.text)}" (row {seen.row}) may mean {readings}, '
            f"and no other cell tells. Nothing was sent. Say which:  {options}",
            setting=_OPTION[self.kind].removeprefix("--").replace("-", "_"),
            where=where,
            seen=f'"{shorten(seen.text)}" (row {seen.row})',
            readings={notation: f"{value} ({_WORDS[notation]})" for notation, value in seen.values.items()},
        )

    @property
    def note(self) -> str:
        """Return how the column is read and which cell decided it; "" where nothing had to be decided."""
        seen = next(iter(self._evidence.values()), None)
        if seen is None or not self._ambiguous:
            return ""
        return f'is read with {_word(seen)}, as "{shorten(seen.text)}" in row {seen.row} tells'

    def parse_options(self, where: str) -> ParseOptions:
        """Return the notation as the options with which an endpoint parses cells."""
        notation = self.notation(where)
        if self.kind == "number":
            return ParseOptions(decimal="," if notation == "," else ".")
        return ParseOptions(date_format="mdy" if notation == "mdy" else "dmy" if notation == "dmy" else "iso")


def _separator(text: str) -> str:
    return next((letter for letter in text if letter in "./-"), "")


def _word(seen: _Seen) -> str:
    (notation,) = seen.values
    return _WORDS[notation]


class FormatDetector:
    """Finds the format of each column of numbers or dates of one input, and applies it."""

    def __init__(self, columns: Columns, parsing: Parsing) -> None:
        self._parsing = parsing
        self._columns = {one.index: one for one in columns.with_fields if one.field and one.field.kind in KINDS}
        self._options: dict[int, ParseOptions] = {}
        self.notes: list[str] = []
        """How ambiguous columns are read: whole sentences for the user."""

    def detect(self, staged: Staged, frames: Iterable[pl.DataFrame]) -> None:
        """Read every text of these columns; raises InputError for a column that stays ambiguous."""
        undecided = {i: DetectedFormat(self._kind(one)) for i, one in self._columns.items() if not self._is_given(one)}
        for row, index, text in staged.telling:
            if index in undecided:
                undecided[index].feed([(row, text)])
        for frame in frames if undecided else ():
            for index, detected in undecided.items():
                if not detected.is_settled:
                    detected.feed(self._texts(frame, index))
        for index, column in self._columns.items():
            where = f'{staged.name}, column "{column.header}"'
            self._options[index] = undecided[index].parse_options(where) if index in undecided else self._given()
            if index in undecided and undecided[index].note:
                self.notes.append(f'Column "{column.header}" {undecided[index].note}.')

    def apply(self, columns: Columns) -> Columns:
        """Return the columns with cell types that parse the format of each."""
        everything = tuple(self._typed(one) for one in columns.all)
        by_index = {one.index: one for one in everything}
        return replace(columns, all=everything, fields=tuple(by_index[one.index] for one in columns.fields))

    def normalize(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Write cells that are stored as numbers, which have a point, with the decimal comma of their column."""
        for index in self._columns:
            if self._options[index].decimal == "," and original_column(index) in frame.columns:
                cell = pl.col(cell_column(index))
                as_text = (
                    pl.when(_is_typed(frame, index)).then(cell.str.replace_all(".", ",", literal=True)).otherwise(cell)
                )
                frame = frame.with_columns(as_text.alias(cell_column(index)))
        return frame

    def _typed(self, column: Column) -> Column:
        if column.index not in self._options or column.field is None:
            return column
        parse_options = self._options[column.index]
        is_number = self._kind(column) == "number"
        type_ = cell_types.number(parse_options.decimal) if is_number else cell_types.date(parse_options.date_format)
        return replace(column, field=replace(column.field, type=type_))

    def telling_cells(self, frames: Iterable[pl.DataFrame], more: Iterable[int]) -> tuple[tuple[int, int, str], ...]:
        """Return the cells (row, column, text) that say of the formats as much as all rows do.

        `more` are columns whose kind is not known yet: for each what tells numbers, and what tells dates.
        """
        kinds = {index: [self._kind(one)] for index, one in self._columns.items()} | {
            one: [*_NOTATIONS] for one in more
        }
        detected = [(index, DetectedFormat(kind)) for index, found in kinds.items() for kind in found]
        for frame in frames if detected else ():
            texts = {index: self._texts(frame, index) for index in kinds}
            for index, one in detected:
                one.feed(texts[index])
        return tuple(sorted({(row, index, text) for index, one in detected for row, text in one.telling}))

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
    """Return whether the file stores a cell as something other than text (a text cell of a workbook is marked `s`)."""
    name = original_column(index)
    if name not in frame.columns:
        return pl.lit(value=False)
    kept = pl.col(name)
    return kept.is_not_null() & ~kept.str.starts_with("s") if frame[name].dtype == pl.String else kept.is_not_null()
