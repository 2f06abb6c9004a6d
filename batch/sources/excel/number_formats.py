"""What a number format makes of a number: which kind of value the cell holds, and what it shows.

Promises: `shown_number` and `shown_date` say what every computer shows, whatever its language, or nothing.
"""

import re
from dataclasses import dataclass
from datetime import datetime, time
from typing import Literal

Kind = Literal["number", "date", "time", "elapsed"]

_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.')
_BRACKET = re.compile(r"\[(?![hms]+\])[^\]]*\]", re.IGNORECASE)
_ELAPSED = re.compile(r"\[([hms]+)\]", re.IGNORECASE)
_CURRENCY = re.compile(r"(?<!\[)[$€£¥₹₽₩₪]|\[\$[^\]\-]+")  # `[$-409]` is a language
_UNQUOTED = re.compile(r"[-+():\s,]")
"""What a format may show between digits without quotes; a comma groups them."""
_PADDED = re.compile(r"[#?]*(0[0#?]+)")


@dataclass(frozen=True, slots=True)
class Format:
    """What a number format makes of a number: a date, a time, a share, or something that is not stored."""

    code: str
    kind: Kind = "number"
    shows: Literal["", "percent", "currency", "words"] = ""
    """What is shown beside the stored number."""
    zeros: int = 0
    """Digits that it always shows, as in `00000` and `00000-0000`: zeros stand for those that are not stored. 0 = no
    such format."""


def read_format(code: str) -> Format:
    """Parse the code of a number format."""
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
    padded = _PADDED.fullmatch(_UNQUOTED.sub("", bare))
    return Format(code, shows=_shown(section, bare), zeros=len(padded[1]) if padded else 0)


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


def shown_number(text: str, code: str) -> str | None:
    """Return what a number shows in a format that nobody's settings change, None in any other."""
    digits = text.removeprefix("-")
    if code.strip().casefold() in ("general", "@", "0", ""):
        return text if digits.isdigit() or code.strip() != "0" else None
    if re.fullmatch("0{2,}", code.strip()) and digits.isdigit():
        return text.removesuffix(digits) + digits.zfill(len(code.strip()))
    return None


_TOKEN = re.compile(r"yyyy|yy|mm|m|dd|d|hh|h|ss|\\?[-. :]|\"[^\"]*\"", re.IGNORECASE)


def shown_date(text: str, code: str) -> str | None:
    """Return what a date or time shows in a format of digits only, None in one that differs between languages."""
    moment = _moment(text)
    parts = _TOKEN.findall(code)
    if moment is None or "".join(parts) != code or re.search("m{3}|d{3}", code, re.IGNORECASE):  # names, not digits
        return None
    tokens = [part.casefold() for part in parts]
    letters = [token[0] for token in tokens if token[0] in "ymdhs"]
    shown, seen = [], 0
    for part, unit in zip(parts, tokens, strict=True):
        if unit[0] not in "ymdhs":
            shown.append(part.strip('"').removeprefix("\\"))
            continue
        is_minute = unit[0] == "m" and ("h" in letters[:seen][-1:] or "s" in letters[seen + 1 :][:1])
        value = {
            "y": moment.year % 100 if unit == "yy" else moment.year,
            "m": moment.minute if is_minute else moment.month,
            "d": moment.day,
            "h": moment.hour,
            "s": moment.second,
        }[unit[0]]
        shown.append(f"{value:0{len(unit)}d}")
        seen += 1
    return "".join(shown)


def _moment(text: str) -> datetime | None:
    """Read a date or time as the workbook's reader writes it; None for a duration, or what it refused."""
    try:
        return datetime.fromisoformat(text) if "-" in text else datetime.combine(datetime.min, time.fromisoformat(text))
    except ValueError:
        return None
