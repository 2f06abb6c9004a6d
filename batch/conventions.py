"""How the numbers and dates of a column are written, judged over the whole column before any cell is read.

Promises: a column is read in one way or not at all. Where some cells can be read in only one way and the others agree,
that is the way; where none tells, or two contradict each other, the column is refused with both readings.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from batch.endpoints.cells import CellType, Reading, date, number
from batch.errors import InputError
from batch.model import shorten

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


class Convention:
    """Judges one column; feed it every text of the column, then ask for the `way`."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._adapters = {way: TypeAdapter(type_) for way, type_ in _WAYS[kind].items()}
        self._only: dict[str, dict[str, _Seen]] = {}
        """By separator and way, the first cell that can be read in no other way."""
        self._both: dict[str, _Seen] = {}
        """By separator, the first cell that means different things: 13.04.2026 says nothing of 4/3/2026."""

    @property
    def _told(self) -> dict[str, _Seen]:
        """By way, a cell that can be read in no other."""
        return {way: seen for ways in self._only.values() for way, seen in ways.items()}

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
        for way, adapter in self._adapters.items():
            try:
                found[way] = adapter.validate_python(text)
            except ValidationError:
                continue
        return found

    def way(self, where: str) -> str | None:
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
        readings = " or ".join(f"{value} ({_WORDS[way]})" for way, value in both.values.items())
        options = " or ".join(f"{_OPTION[self.kind]} {way}" for way in both.values)
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

    def reading(self, where: str) -> Reading:
        """Give the way as what an endpoint reads by."""
        way = self.way(where)
        if self.kind == "number":
            return Reading(decimal="," if way == "," else ".")
        return Reading(date_format="mdy" if way == "mdy" else "dmy" if way == "dmy" else "iso")


def _separator(text: str) -> str:
    return next((letter for letter in text if letter in "./-"), "")


def _word(seen: _Seen) -> str:
    (way,) = seen.values
    return _WORDS[way]
