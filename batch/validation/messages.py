"""The reason why a cell is invalid, in words, from what pydantic reports."""

import re
from collections.abc import Mapping
from typing import Any

from batch.endpoints.cells import LIST_KINDS, LIST_SEPARATOR
from batch.model import Field


def in_words(detail: Mapping[str, Any], known: Field | None, seen: str) -> str:
    """Return the reason in words for an error of pydantic."""
    context = detail.get("ctx") or {}
    match detail["type"]:
        case "string_too_long":
            return f"is {len(seen.strip())} characters long (at most {context['max_length']})"
        case "string_too_short":
            least = context["min_length"]
            return f"is too short (at least {least} character{'s' if least > 1 else ''})"
        case "string_pattern_mismatch":
            form = known.form if known else ""
            what = (
                "has letters in it"
                if known and "digits" in known.form and any(map(str.isalpha, seen))
                else "does not fit"
            )
            return f"{what} ({form})"
        case "cell":
            return str(detail["msg"])
        case _:
            return "cannot be read as " + (known.limits if known else "this field")


SHEET_ERROR = r"^\s*#(?:N/A|REF!|DIV/0!|VALUE!|NAME\?|NULL!|NUM!|SPILL!|CALC!|GETTING_DATA)\s*$"
"""What Excel and LibreOffice write into a CSV file where a formula failed, as a pattern."""


def near_token(clear_token: str) -> str:
    """Return the pattern of texts that are the clear token but for case and spaces."""
    return rf"(?i)^\s*{_spaced(clear_token)}\s*$"


def token_among_items(clear_token: str) -> str:
    """Return the pattern of lists of which an item is the clear token, but for case and spaces."""
    return rf"(?i)(?:^|{LIST_SEPARATOR})\s*{_spaced(clear_token)}\s*(?:{LIST_SEPARATOR}|$)"


def _spaced(token: str) -> str:
    return r"\s*".join(map(re.escape, token))


def is_hardly_meant(text: str, clear_token: str, kind: str = "text") -> bool:
    """Return whether a field of `kind` would not take a text: the clear token or nearly, or a spreadsheet error."""
    patterns = [SHEET_ERROR, near_token(clear_token)]
    if kind in LIST_KINDS:
        patterns.append(token_among_items(clear_token))
    return any(re.search(pattern, text) for pattern in patterns)
