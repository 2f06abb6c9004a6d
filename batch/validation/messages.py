"""The problem of a cell that is invalid, from what pydantic reports."""

import re
from collections.abc import Mapping
from typing import Any

from batch.model import Field, Problem
from batch.problems import SENTENCES


def cell_problem(detail: Mapping[str, Any], known: Field | None, seen: str) -> Problem:
    """Return the problem that an error of pydantic stands for, of a cell with the text `seen`."""
    context, form = detail.get("ctx") or {}, known.form if known else ""
    match detail["type"]:
        case "string_too_long":
            return Problem("text_too_long", {"length": len(seen.strip()), "most": context["max_length"]})
        case "string_too_short":
            return Problem("text_too_short", {"least": context["min_length"]})
        case "string_pattern_mismatch":
            has_letters = "digits" in form and any(map(str.isalpha, seen))
            return Problem("form_has_letters" if has_letters else "form_differs", {"form": form})
        case code if code in SENTENCES:
            return Problem(code, context)
        case _:
            return Problem("not_of_type", {"limits": known.limits if known else "this field"})


SHEET_ERROR = r"^\s*#(?:N/A|REF!|DIV/0!|VALUE!|NAME\?|NULL!|NUM!|SPILL!|CALC!|GETTING_DATA)\s*$"
"""What Excel and LibreOffice write into a CSV file where a formula failed, as a pattern."""


def near_token(clear_token: str) -> str:
    """Return the pattern of texts that are the clear token but for case and spaces."""
    return r"(?i)^\s*" + r"\s*".join(map(re.escape, clear_token)) + r"\s*$"


def is_hardly_meant(text: str, clear_token: str) -> bool:
    """Return whether a text would not be taken as a value: the clear token or nearly, or a spreadsheet error."""
    return bool(re.search(SHEET_ERROR, text) or re.search(near_token(clear_token), text))
