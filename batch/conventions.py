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
_WORDS = {".": "a decimal point", ",": "a decimal comma", "dmy": "day first", "mdy": "month first"}


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
        self._only: dict[str, _Seen] = {}
        """By way, the first cell that can be read in no other."""
        self._both: _Seen | None = None
        """The first cell that means different things."""

    @property
    def is_settled(self) -> bool:
        """Whether no further cell can change the verdict."""
        return len(self._only) > 1

    def feed(self, cells: Iterable[tuple[int, str]]) -> None:
        """Look at (row, text) pairs; texts that are neither numbers nor dates say nothing."""
        for row, text in cells:
            seen = _Seen(row, text, self._readings(text.strip()))
            if len(seen.values) == 1:
                self._only.setdefault(next(iter(seen.values)), seen)
            elif self._both is None and len(set(map(repr, seen.values.values()))) > 1:
                self._both = seen

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
        if len(self._only) > 1:
            one, other = self._only.values()
            raise InputError(
                f'{where} is written in two ways: "{shorten(one.text)}" (row {one.row}) has {_word(one)}, '
                f'"{shorten(other.text)}" (row {other.row}) has {_word(other)}. '
                "Write the whole column in one way. Nothing was sent."
            )
        if self._both is not None and not self._only:
            readings = " or ".join(f"{value} ({_WORDS[way]})" for way, value in self._both.values.items())
            options = " or ".join(f"{_OPTION[self.kind]} {way}" for way in self._both.values)
            raise InputError(
                f'{where}: "{shorten(self._both.text)}" (row {self._both.row}) may mean {readings}, '
                f"and no other cell tells. Nothing was sent. Say which:  {options}"
            )
        return next(iter(self._only), None)

    def reading(self, where: str) -> Reading:
        """Give the way as what an endpoint reads by."""
        way = self.way(where)
        if self.kind == "number":
            return Reading(decimal="," if way == "," else ".")
        return Reading(date_format="mdy" if way == "mdy" else "dmy" if way == "dmy" else "iso")


def _word(seen: _Seen) -> str:
    (way,) = seen.values
    return _WORDS[way]
