"""The reason why a cell is invalid, in words, from what pydantic reports."""

import re
from collections.abc import Mapping
from typing import Any

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
    return r"(?i)^\s*" + r"\s*".join(map(re.escape, clear_token)) + r"\s*$"


def is_hardly_meant(text: str, clear_token: str) -> bool:
    """Return whether a text would not be taken as a value: the clear token or nearly, or a spreadsheet error."""
    return bool(re.search(SHEET_ERROR, text) or re.search(near_token(clear_token), text))
