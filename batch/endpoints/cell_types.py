"""Cell types: how the text of a cell becomes a value of the API, or the reason why not; and a value becomes a text.

Promises: nothing is guessed. A type takes the cell's text and gives a value or the code of a problem; the constraints
that most cells pass are checked inside pydantic, without Python code per cell.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, StringConstraints
from pydantic_core import PydanticCustomError

from batch.exact_json import AnyNumber, is_number, plain_text
from batch.problems import Scalar

CellType: TypeAlias = Any
"""A type that pydantic can validate a cell's text with."""

TRUE, FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})
LIST_SEPARATOR = ";"
LIST_KINDS = frozenset({"list", "multi_text", "multi_select"})
"""The kinds of fields whose cells are lists."""


def text(
    *, min_length: int | None = None, max_length: int | None = None, pattern: str | None = None, trim: bool = True
) -> CellType:
    """Text with limits in characters; spaces around it are dropped unless `trim` is off."""
    return Annotated[
        str, StringConstraints(strip_whitespace=trim, min_length=min_length, max_length=max_length, pattern=pattern)
    ]


def problem(code: str, **values: Scalar) -> PydanticCustomError:
    """Build the error that carries a code of `batch/problems.py`, with the values of its sentence, to the person."""
    return PydanticCustomError(code, code, values or None)


def _parsed(parse: Callable[[str], Any]) -> CellType:
    return Annotated[Any, BeforeValidator(parse)]


def choice(*options: str) -> CellType:
    """One of `options`; upper and lower case do not matter, the API's own spelling is sent."""
    find = _finder(options)
    return _parsed(lambda cell: find(cell.strip()))


def _finder(options: tuple[str, ...]) -> Callable[[str], str]:
    """Find an option by its spelling; where two differ in case only, only the exact one is clear."""
    exact = {option.strip(): option for option in options}
    often = Counter(spelt.casefold() for spelt in exact)
    folded = {spelt.casefold(): option for spelt, option in exact.items() if often[spelt.casefold()] == 1}

    def find(cell: str) -> str:
        found = exact.get(cell) or folded.get(cell.casefold())
        if found is None:
            raise not_among(cell, options)
        return found

    return find


def not_among(cell: str, options: tuple[str, ...]) -> PydanticCustomError:
    """Build the error that `cell` is none of `options`, naming the nearest one when there is one."""
    listed = ", ".join(options[:15]) + (f" and {len(options) - 15} more" if len(options) > 15 else "")
    near = get_close_matches(cell.casefold(), [option.casefold() for option in options], n=1, cutoff=0.7)
    spelt = next((option for option in options if near and option.casefold() == near[0]), None)
    return problem("not_among_but_near", options=listed, near=spelt) if spelt else problem("not_among", options=listed)


def parse_boolean(cell: str) -> bool:
    """Read true/false/yes/no/1/0, in any case."""
    word = cell.strip().casefold()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise problem("boolean_unclear")


BOOLEAN: CellType = _parsed(parse_boolean)

_PLAIN = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
_GROUPED = {
    ".": re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?", re.ASCII),  # 0.123 is a fraction, never a group
    ",": re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?", re.ASCII),
}
_COMMA = re.compile(r"[+-]?\d+(,\d+)?", re.ASCII)


def number(decimal: Literal[".", ",", None] = None) -> CellType:
    """A number; `decimal` says which mark separates decimals, `None` that only unambiguous ones are taken."""

    return _parsed(lambda cell: parse_number(cell, decimal))


def parse_number(cell: str, decimal: str | None) -> int | float:
    """Read a number as JSON can hold it; see `number`."""
    return _as_json_number(_plain_digits(cell.strip(), decimal))


def _plain_digits(cell: str, decimal: str | None) -> str:
    if decimal is None:
        if re.fullmatch(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", cell, re.ASCII):
            whole, part = re.split("[.,]", cell)
            raise problem("number_ambiguous", whole=whole, part=part)
        decimal = "," if _COMMA.fullmatch(cell) or _GROUPED[","].fullmatch(cell) else "."
    grouping = "," if decimal == "." else "."
    if _GROUPED[decimal].fullmatch(cell):
        cell = cell.replace(grouping, "")
    plain = cell.replace(decimal, ".")
    if grouping in cell or not _PLAIN.fullmatch(plain):
        raise problem("number_unreadable")
    return plain


def _as_json_number(digits: str) -> int | float:
    try:
        exact = Decimal(digits)
    except InvalidOperation:
        raise problem("number_unreadable") from None
    value = float(exact)
    if not math.isfinite(value) or Decimal(repr(value)) != exact:  # also whole ones: many readers of JSON round them
        raise problem("number_too_long")
    return int(exact) if value.is_integer() else value


_DATE_FORMATS = {
    "iso": (
        re.compile(r"(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})(?:[T ]00:00(?::00(?:\.0+)?)?)?", re.ASCII),
        "2026-04-03",
    ),
    "dmy": (re.compile(r"(?P<d>\d{1,2})[./-](?P<m>\d{1,2})[./-](?P<y>\d{4})", re.ASCII), "03/04/2026 = 3 April"),
    "mdy": (re.compile(r"(?P<m>\d{1,2})[./-](?P<d>\d{1,2})[./-](?P<y>\d{4})", re.ASCII), "03/04/2026 = March 4"),
}
DateFormat: TypeAlias = Literal["iso", "dmy", "mdy"]


def date(order: DateFormat | None = None) -> CellType:
    """A calendar date, sent as `2026-04-03`; `order` says how dates other than ISO's are written."""

    def parse(cell: str) -> str:
        return parse_date(cell.strip(), order)

    return _parsed(parse)


def parse_date(cell: str, order: DateFormat | None) -> str:
    """Read a date as ISO text; without `order` a date that has two readings is refused with both."""
    from datetime import date as day

    readings: dict[str, str] = {}
    for name in ("iso", order) if order else ("iso", "dmy", "mdy"):
        found = _DATE_FORMATS[name][0].fullmatch(cell)
        if found:
            try:
                readings[name] = day(int(found["y"]), int(found["m"]), int(found["d"])).isoformat()
            except ValueError:
                continue
    values = sorted(set(readings.values()))
    if len(values) == 1:
        return values[0]
    if values:
        raise problem("date_ambiguous")
    raise problem("date_malformed")


def parse_list(cell: str) -> list[str]:
    """Split `a; b; c` into its items; empty ones are dropped, and a cell of separators alone is refused."""
    items = [item for item in (part.strip() for part in cell.split(LIST_SEPARATOR)) if item]
    if not items:
        raise problem("list_empty")
    return items


TEXT_LIST: CellType = _parsed(parse_list)


def choice_list(*options: str) -> CellType:
    """Several of `options`, separated by semicolons."""
    find = _finder(options)
    return _parsed(lambda cell: [find(item) for item in parse_list(cell)])


def parse_custom_text(cell: str) -> str | bool:
    """Read a custom field's cell of unknown type: text, except exactly `true` and `false`."""
    return {"true": True, "false": False}.get(cell, cell)


CUSTOM_TEXT: CellType = _parsed(parse_custom_text)


def parse_nothing(cell: str) -> None:
    """Refuse every value: for columns of whole objects, which may only be left or cleared."""
    raise problem("whole_set")


ONLY_CLEAR: CellType = _parsed(parse_nothing)


_MAY_BE_GROUPED = re.compile(r"-?\d{1,3}\.\d{3}")


def as_text(value: Any) -> str | None:
    """Return a value as the text of a cell; None for a type that no cell can express."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case _ if is_number(value):
            return _number_text(value)
        case [*items] if all(isinstance(item, str) for item in items):
            return f"{LIST_SEPARATOR} ".join(items)
        case _:
            return None


def _number_text(value: AnyNumber) -> str | None:
    """Return a number as text with one meaning only: 1.234 may mean 1234 somewhere, 1.2340 may not."""
    text = plain_text(value)
    if text is None:
        return None
    text = text.removesuffix(".0")
    return f"{text}0" if _MAY_BE_GROUPED.fullmatch(text) else text


@dataclass(frozen=True, slots=True)
class ParseOptions:
    """How ambiguous cells are to be read: `--decimal` and `--date-format`."""

    decimal: Literal[".", ",", None] = None
    date_format: DateFormat | None = None
