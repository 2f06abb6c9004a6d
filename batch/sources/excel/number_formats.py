"""What a number format makes of a number: which kind of value the cell holds, and what it shows.

Promises: `shown_number` and `shown_date` say what every computer shows, whatever its language, or nothing.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Any, Final, Literal

Kind = Literal["number", "date", "time", "elapsed"]
Shows = Literal["", "percent", "currency", "words"]

_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.')
_BRACKET = re.compile(r"\[(?![hms]+\])[^\]]*\]", re.IGNORECASE)
_ELAPSED = re.compile(r"\[([hms]+)\]", re.IGNORECASE)
_CURRENCY = re.compile(r"(?<!\[)[$€£¥₹₽₩₪]|\[\$[^\]\-]+")  # `[$-409]` is a language
_UNQUOTED = re.compile(r"[-+():\s,]")
"""What a format may show between digits without quotes; a comma groups them."""
_PADDED = re.compile(r"[#?]*(0[0#?]+)")
_SECTION = re.compile(r'(?:"[^"]*"|\\.|\[[^\]]*\]|[^;"\\\[])*')
_CONDITION = re.compile(r"\[(<=|>=|<>|<|>|=)(-?[0-9]+(?:\.[0-9]+)?)\]")
_PART = re.compile(r"""(?P<digit>[0#?]) | "(?P<quoted>[^"]*)" | \\(?P<escaped>.) | (?P<plain>[-+()\ ]) | (?P<blank>_.)
    | (?P<ignored>\[\$-[0-9a-f]{1,4}\] | \[(?:red|blue|green|black|white|cyan|magenta|yellow)\] | \[[<>=][^\]]*\])
    | (?P<general>general|standard|@) | (?P<other>\*?.)""", re.IGNORECASE | re.VERBOSE | re.DOTALL)  # fmt: skip
_COMPARE: Final[Mapping[str, Callable[[Any, float], Any]]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "<>": operator.ne,
}  # fmt: skip
_MOST_GENERAL = 11
"""Digits of a whole number that the format General shows; of more of them Excel makes `1.23457E+11`."""


@dataclass(frozen=True, slots=True)
class Section:
    """What one part of a format, between its semicolons, makes of the numbers that it is for."""

    condition: tuple[str, float] | None = None
    """Which numbers these are, if no section before it is for them; None: all others."""
    shows: Shows = ""
    """What is shown beside the stored number."""
    zeros: int = 0
    """Digits that it always shows, as in `00000` and `00000-0000`: zeros stand for those that are not stored. 0 = no
    such format."""
    front: int = 0
    """Zeros that it shows in front of any number, as in `"0"0000`."""

    def is_for(self, numbers: Any) -> Any:
        """Return whether it is for a number, or for which of many; True for all."""
        return True if self.condition is None else _COMPARE[self.condition[0]](numbers, self.condition[1])


@dataclass(frozen=True, slots=True)
class Format:
    """What a number format makes of a number: a date, a time, or a number, maybe with something that is not stored."""

    code: str
    kind: Kind = "number"
    sections: tuple[Section, ...] = (Section(),)
    """Its parts; one where they do not differ."""


def read_format(code: str) -> Format:
    """Parse the code of a number format."""
    texts = _split(code)
    bare = _bare(texts[0])
    if _ELAPSED.search(bare):
        return Format(code, kind="elapsed")
    letters = set(re.sub(r"general|standard|am/pm|a/p", "", bare.lower())) & set("ymdhs")
    if letters:
        has_day = "y" in letters or "d" in letters or ("m" in letters and not letters & {"h", "s"})
        return Format(code, kind="date" if has_day else "time")
    sections = [_read_section(text) for text in texts[:3]]
    conditions = _conditions(texts)
    if conditions is None:  # whichever is for a number, no zero that it shows may be lost
        shows = max(sections, key=lambda one: bool(one.shows)).shows
        zeros, front = max(one.zeros for one in sections), max(one.front for one in sections)
        return Format(code, sections=(Section(None, shows, zeros, front),))
    if len(set(sections)) == 1:
        return Format(code, sections=(sections[0],))
    return Format(
        code, sections=tuple(replace(one, condition=which) for one, which in zip(sections, conditions, strict=True))
    )


def _split(code: str) -> list[str]:
    """Take a format apart at the semicolons that are outside of quotes and brackets."""
    texts, at = list[str](), 0
    while True:
        match = _SECTION.match(code, at)
        end = match.end() if match else at
        if end < len(code) and code[end] != ";":
            return [*texts, code[at:]]
        texts.append(code[at:end])
        if end >= len(code):
            return texts
        at = end + 1


def _conditions(texts: Sequence[str]) -> list[tuple[str, float] | None] | None:
    """Return for which numbers each section is; None where programs may disagree about that."""
    own = [_CONDITION.search(text) for text in texts[:3]]
    if not any(own):
        usual: dict[int, list[tuple[str, float] | None]] = {1: [None], 2: [(">=", 0.0), None]}
        return usual.get(len(own), [(">", 0.0), ("<", 0.0), None])
    if own[-1] or not all(own[:-1]) or len(texts) > 3:
        return None
    return [(one[1], float(one[2])) if one else None for one in own]


def _bare(text: str) -> str:
    return _BRACKET.sub("", _LITERAL.sub("", text))


def _read_section(text: str) -> Section:
    bare = _bare(text)
    padded = _PADDED.fullmatch(_UNQUOTED.sub("", bare))
    parts = [*_PART.finditer(text)]
    first = next((at for at, part in enumerate(parts) if part["digit"] or part["general"]), 0)
    before, after = ("".join(map(_literal, some)) for some in (parts[:first], parts[first:]))
    front = 0 if re.search(r"[^\W0]", before) else before.count("0")
    added = before.lstrip("-").replace("0", "") + after
    is_whole = not any(part["other"] for part in parts)
    has_words = re.search(r"\w", added) or bare.rstrip().endswith(",") or (is_whole and added.strip())
    shows: Shows = "words" if has_words else ""
    if _CURRENCY.search(text):
        shows = "currency"
    if "%" in bare:
        shows = "percent"
    return Section(None, shows, len(padded[1]) if padded else 0, front)


def _literal(part: re.Match[str]) -> str:
    """Return what a part of a format shows whatever the number is."""
    return part["quoted"] or part["escaped"] or part["plain"] or ""


# -- what a cell shows ------------------------------------------------------------------------------------------------


def shown_number(text: str, code: str) -> str | None:
    """Return what a number shows in a format that nobody's settings change, None in any other."""
    sections = _split(code.strip())
    if len(sections) == 1 and sections[0].casefold() in ("general", "@", ""):
        return text if len(text.removeprefix("-")) <= _MOST_GENERAL else None
    conditions = _conditions(sections)
    if not re.fullmatch("-?[0-9]+", text) or conditions is None:
        return None
    number = int(text)
    is_for = (Section(one).is_for(number) for one in conditions)
    place = next(at for at, one in enumerate(is_for) if one)
    if number < 0 and len(conditions) > 1 and any(map(_CONDITION.search, sections)):
        return None  # whether the sign is shown differs
    shown = _fill(sections[place], str(abs(number)))
    if not shown:
        return None
    return f"-{shown}" if number < 0 and len(conditions) == 1 else shown


def _fill(section: str, digits: str) -> str | None:
    """Put digits into the places of a section, from the right; None where that may look different elsewhere."""
    parts = [*_PART.finditer(section)]
    places = sum(part["digit"] is not None for part in parts)
    if any(part["other"] for part in parts) or sum(part["general"] is not None for part in parts) + bool(places) != 1:
        return None
    left = digits.lstrip("0") if places else digits
    missing = places - len(left)
    shown, has_zero = "", False
    for part in parts:
        if part["general"]:
            if len(digits) > _MOST_GENERAL:
                return None
            shown += digits
        elif not part["digit"]:
            shown += " " if part["blank"] else _literal(part)
        elif missing > 0:
            missing -= 1
            if part["digit"] == "?" or (part["digit"] == "#" and has_zero):
                return None
            has_zero |= part["digit"] == "0"
            shown += "0" * (part["digit"] == "0")
        else:
            taken = 1 - missing  # the first place takes all that there are more
            shown, left, missing = shown + left[:taken], left[taken:], 0
    return shown.strip()


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
