"""JSON of records: what is read can be written back exactly as it was, or it is known that it cannot.

    12345678901234567890.25, 1.10, 1E5, -0    a `Number`, where an int or a float would be written otherwise
    {"city": "a", "city": "b"}                the last one counts; the other is kept beside it, under a marked key
    "\\ud800", half of a character             its code, behind a mark

Promises: numbers keep their text and are compared by value, without being expanded; keys keep their order; every text
can be encoded as UTF-8. What `is_exact` says of a text holds after any number of copies, files and journals. An answer
is read as strictly as the standard has it: no NaN, nothing deeper than 200.
"""

import json
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, TypeGuard

MAX_DEPTH = 200
SHORTEST = 25
"""Characters that no float and no 64-bit integer reaches; longer numbers are kept as their text."""
MOST_ZEROS = 40
"""Zeros that an exponent may stand for where a number is written without it."""
HALF = "\ufdd0"
"""Stands, with four hexadecimal digits behind it, for a lone surrogate, which no file can hold."""
REPEATED = "\ufdd1"
"""Ends the key of a member that another one of the same object has taken the place of. (Both are noncharacters, which
Unicode keeps for such inner use.)"""
_INEXACT = re.compile(f"[{HALF}{REPEATED}]")
_REPEATED_KEY = re.compile(f'"([^"]*?){REPEATED}+"')
_HAS_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u([dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
"""An escape; first a pair that makes one character, second a surrogate without its other half."""
_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?)([0-9]+))?")
"""No two neighbours in it can take the same characters, so that a long text costs no more than its length."""

_CONTAINERS = frozenset({dict, list})

_ByValue: TypeAlias = tuple[str, str, int | str]


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """A number that would be written otherwise if it were an int or a float; equal to what has the same value."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return _by_value(self) == _by_value(other) if is_number(other) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to floats by their text: a hash that says so would be slow


AnyNumber: TypeAlias = int | float | Number


def is_number(value: object) -> TypeGuard[AnyNumber]:
    """Return whether a value is a number as JSON has them: true and false are none."""
    return isinstance(value, int | float | Number) and not isinstance(value, bool)


def is_same_number(text: str, number: AnyNumber) -> bool:
    """Return whether a text, spaces around it dropped, is a number with the same value."""
    return _by_text(text.strip()) == _by_value(number)


def whole_text(value: object) -> str:
    """Return an id as text: of a number its digits, however it is written (1000.0 and 1E3 are 1000)."""
    text = shortest_text(value) if isinstance(value, float | Number) else None
    return text if text is not None and "." not in text else str(value)


def plain_text(number: AnyNumber) -> str | None:
    """Return a number in digits without an exponent, its own zeros kept; None where that would be long."""
    text = str(number)
    return text if "e" not in text.lower() else shortest_text(number)


def shortest_text(number: AnyNumber) -> str | None:
    """Return what all numbers with the same value are in digits without an exponent; None where that would be long."""
    sign, digits, exponent = _by_value(number)
    if isinstance(exponent, str) or abs(exponent) > MOST_ZEROS:
        return None
    if exponent >= 0:
        return f"{sign}{digits or 0}{'0' * exponent}"
    whole, fraction = digits[:exponent], digits[exponent:].rjust(-exponent, "0")
    return f"{sign}{whole or 0}.{fraction}"


def _by_value(value: AnyNumber) -> _ByValue:
    return _by_text(value.text if isinstance(value, Number) else repr(value))


def _by_text(text: str) -> _ByValue:
    """Return what numbers of the same value have in common: sign, digits, and the exponent of the last one of them."""
    found = _NUMBER.fullmatch(text)
    if found is None or not (found[2] or found[3]):
        return "", text, "no number"
    sign, whole, fraction, exponent_sign, exponent = found.groups("")
    digits = (whole + fraction).lstrip("0")
    shown = digits.rstrip("0")
    if not shown:
        return "", "", 0
    sign, exponent = sign.replace("+", ""), exponent.lstrip("0")
    if len(exponent) > 18:  # no integer of its own that costs time: such a one is equal only to itself
        return sign, text, exponent_sign + exponent
    return sign, shown, int(f"{exponent_sign}{exponent or 0}") - len(fraction) + len(digits) - len(shown)


# -- reading -----------------------------------------------------------------------------------------------------------


def decode(data: bytes | str) -> Any:
    """Read a JSON text; raises ValueError where it is none, or nested deeper than 200."""
    text = data.decode() if isinstance(data, bytes) else data
    if _HAS_SURROGATE.search(text):
        text = _ESCAPE.sub(_without_surrogate, text)
    try:
        found = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if text.count("{") + text.count("[") > MAX_DEPTH and not _is_within(found, MAX_DEPTH):
        raise ValueError("it is nested too deeply")
    return found


def _without_surrogate(escape: re.Match[str]) -> str:
    return f"{HALF}{escape[2].lower()}" if escape[2] else escape[0]


def _float(text: str) -> float | Number:
    value = float(text) if len(text) < SHORTEST else None
    return value if value is not None and repr(value) == text else Number(text)


def _int(text: str) -> int | Number:
    return int(text) if len(text) < SHORTEST and text != "-0" else Number(text)


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    found = {}
    for key, value in pairs:
        earlier = key
        while earlier in found:
            earlier += REPEATED
        if earlier != key:
            found[earlier] = found[key]
        found[key] = value
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant)


def _is_within(value: Any, depth: int) -> bool:
    """Return whether no more than so many objects and arrays are in one another; level by level, which is fast."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(depth):
        level = [
            one
            for outer in level
            for one in (outer.values() if type(outer) is dict else outer)
            if type(one) in _CONTAINERS
        ]
    return not level


# -- writing -----------------------------------------------------------------------------------------------------------

_MARK = secrets.token_hex(16)
"""Begins the text that the encoder takes for a number; nobody can know it, so that no other text has it."""
_MARKED = re.compile(f'"{_MARK}([^"]*)"')


def _marked(value: object) -> str:
    if isinstance(value, Number):
        return _MARK + value.text
    raise TypeError(f"{type(value)} is not JSON")


def _encoder(comma: str, colon: str, *, is_ascii: bool = False) -> Callable[[Any], str]:
    plain = json.JSONEncoder(ensure_ascii=is_ascii, separators=(comma, colon), allow_nan=False, default=_marked)

    def write(value: Any) -> str:
        text = plain.encode(value)
        return _MARKED.sub(r"\1", text) if _MARK in text else text

    return write


_write, _write_ascii, _write_spaced = _encoder(",", ":"), _encoder(",", ":", is_ascii=True), _encoder(", ", ": ")


def encode(value: Any) -> str:
    """Write a value, the same text for the same value always."""
    return _write(value)


def encode_ascii(value: Any) -> str:
    """Write a value in ASCII alone, which no encoding can spoil."""
    return _write_ascii(value)


def encode_for_people(value: Any) -> str:
    """Write a value with spaces after commas and colons."""
    return _write_spaced(value)


# -- what cannot be written back ---------------------------------------------------------------------------------------


def members(shown: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return the members of an object with these keys, in their order; of a repeated key all."""
    return {key: shown[key] for key in shown if base_key(key) in names}


def base_key(key: str) -> str:
    """Return the key of a member as the API has it."""
    return key.rstrip(REPEATED)


def repeated_key(text: str) -> str:
    """Return the first key that a written text has twice, "" where it has none."""
    found = _REPEATED_KEY.search(text)
    return found[1] if found else ""


def is_exact(text: str) -> bool:
    """Return whether a written text says what was read: no key was repeated, and no character is a half."""
    return text.isascii() or _INEXACT.search(text) is None
