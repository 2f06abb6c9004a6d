"""Lines of NDJSON that are flat objects, read many at once by one regular expression for all with the same keys.

Promises: the texts of a line that matches are those that reading it as JSON gives, digit by digit; what does not match
(other keys, an object in the object, an escape, what is no JSON) is left to be read so.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import polars as pl

from batch.exact_json import HALF, REPEATED
from batch.model import ROW

TEXT: Final = "text"
"""The column with a line as it stands, beside its number in the column ROW."""
MAX_SHAPES: Final = 8
MAX_KEYS: Final = 64
"""An expression for more keys than these is large, and no faster."""
_SPACE: Final = r"[ \t]*"
_NUMBER: Final = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_STRING: Final = rf'"[^"\\\x00-\x1f{HALF}{REPEATED}]*"'
_VALUE: Final = f"({_STRING}|{_NUMBER}|true|false|null)"
_SPECIAL: Final = frozenset(f'"\\{HALF}{REPEATED}')

L = TypeVar("L")


@dataclass(frozen=True, slots=True)
class Shape:
    """The keys that a flat object has, in their order."""

    keys: tuple[str, ...]
    pattern: str

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> "Shape | None":
        """Return the shape of an object, None where it is not flat, or its keys are not plain."""
        keys = tuple(members)
        is_flat = not any(isinstance(one, dict | list) for one in members.values())
        if not (is_flat and 0 < len(keys) <= MAX_KEYS and all(map(_is_plain, keys))):
            return None
        pairs = (f'"{pl.escape_regex(key)}"{_SPACE}:{_SPACE}{_VALUE}' for key in keys)
        return cls(keys, rf"^\{{{_SPACE}{f'{_SPACE},{_SPACE}'.join(pairs)}{_SPACE}\}}$")

    def texts(self, lines: pl.DataFrame) -> list[pl.Series]:
        """Return the texts of lines that have this shape, by key; null is none."""
        found = lines[TEXT].str.extract_groups(self.pattern).struct.unnest()
        columns = [pl.col(name) for name in found.columns]
        text = [
            pl.when(one != "null").then(one.str.strip_prefix('"').str.strip_suffix('"')).alias(one.meta.output_name())
            for one in columns
        ]
        return found.select(text).get_columns()


def _is_plain(key: str) -> bool:
    return key.isprintable() and not _SPECIAL.intersection(key)


@dataclass(slots=True)
class FlatLines:
    """Tells the lines that have a known shape from others; the first others that are flat become known."""

    but: Collection[str] = ()
    """Objects with one of these keys are never read so."""
    shapes: list[Shape] = field(default_factory=list)

    def sort(
        self, lines: pl.DataFrame, read: Callable[[int, str], L], members: Callable[[L], Mapping[str, Any]]
    ) -> tuple[list[tuple[Shape, pl.DataFrame]], list[L]]:
        """Return the lines of each known shape, and all others as `read` (number, text) gives them, in their order."""
        flat: list[tuple[Shape, pl.DataFrame]] = []
        others: list[L] = []
        for shape in self.shapes:
            lines = _take(shape, lines, flat)
        while not lines.is_empty():
            for number, text in lines.iter_rows():
                others.append(read(number, text))
                learned = self._learned(members(others[-1]))
                if learned is not None:
                    lines = _take(learned, lines.filter(pl.col(ROW) > number), flat)
                    break
            else:
                break
        return flat, others

    def _learned(self, members: Mapping[str, Any]) -> Shape | None:
        """Return the shape of an object that is the first of its keys, and know it from then on."""
        if len(self.shapes) == MAX_SHAPES or any(one in members for one in self.but):
            return None
        shape = Shape.of(members)
        if shape is None or shape in self.shapes:
            return None
        self.shapes.append(shape)
        return shape


def _take(shape: Shape, lines: pl.DataFrame, flat: list[tuple[Shape, pl.DataFrame]]) -> pl.DataFrame:
    """Move the lines of a shape to `flat`, and return the others."""
    if lines.is_empty():
        return lines
    is_such = lines[TEXT].str.contains(shape.pattern)
    found = lines.filter(is_such)
    if not found.is_empty():
        flat.append((shape, found))
    return lines.filter(~is_such)
