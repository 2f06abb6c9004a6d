"""What a number format makes of a number: whether it shows a date, a time, a share, or something that is not stored."""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "date", "time", "elapsed"]

_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.')
_BRACKET = re.compile(r"\[(?![hms]+\])[^\]]*\]", re.IGNORECASE)
_ELAPSED = re.compile(r"\[([hms]+)\]", re.IGNORECASE)
_CURRENCY = re.compile(r"[$€£¥₹₽₩₪]|\[\$[^\]\-]+")


@dataclass(frozen=True, slots=True)
class Format:
    """A number format, understood as far as reading needs it."""

    code: str
    kind: Kind = "number"
    shows: Literal["", "percent", "currency", "words"] = ""
    """What is shown beside the stored number."""
    zeros: int = 0
    """Digits that it always shows, as in `00000`: zeros stand for those that are not stored. 0 = no such format."""


def read_format(code: str) -> Format:
    """Understand a number format's code."""
    section = _first_section(code)
    bare = _BRACKET.sub("", _LITERAL.sub("", section))
    if bare.strip().lower() in ("general", "standard", "@", ""):
        return Format(code)
    if _ELAPSED.search(bare):
        return Format(code, kind="elapsed")
    letters = set(re.sub(r"general|am/pm|a/p", "", bare.lower())) & set("ymdhs")
    if letters:
        has_day = "y" in letters or "d" in letters or ("m" in letters and not letters & {"h", "s"})
        return Format(code, kind="date" if has_day else "time")
    return Format(code, shows=_shown(section, bare), zeros=len(bare) if re.fullmatch("0{2,}", bare.strip()) else 0)


def _shown(section: str, bare: str) -> Literal["", "percent", "currency", "words"]:
    if "%" in bare:
        return "percent"
    if _CURRENCY.search(section):
        return "currency"
    words = "".join(_LITERAL.findall(section))
    return "words" if re.search(r'"[^"]*\w[^"]*"|\\\w', words) or bare.rstrip().endswith(",") else ""


def _first_section(code: str) -> str:
    """The part for positive numbers: up to the first `;` outside of quotes."""
    match = re.match(r'(?:"[^"]*"|\\.|[^;"\\])*', code)
    return match[0] if match else code
