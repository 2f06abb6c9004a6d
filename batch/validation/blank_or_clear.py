"""The three states of a cell: blank (leave the field), the clear token (empty it), anything else (a value).

Promises: a blank cell never changes anything; only the clear token itself empties a field, and what merely resembles it
is no value either.
"""

import re
from collections.abc import Sequence

import polars as pl

LEAVE, VALUE, CLEAR = 0, 1, 2


def find_clears(cells: pl.Series, clear_token: str, unread: Sequence[int]) -> pl.Series:
    """Return whether each cell is the clear token; one at the places `unread`, which the reader refused, is not."""
    return (cells.str.strip_chars() == clear_token).fill_null(value=False).scatter(unread, values=False)


def cell_states(cells: pl.Series, is_clear: pl.Series, unread: Sequence[int]) -> pl.Series:
    """Return LEAVE, VALUE (right or wrong, so what the reader refused, too) or CLEAR for each cell."""
    return (cells.is_not_null() & ~is_clear).cast(pl.UInt8).scatter(unread, values=VALUE) + is_clear.cast(
        pl.UInt8
    ) * CLEAR


SHEET_ERROR = r"^\s*#(?:N/A|REF!|DIV/0!|VALUE!|NAME\?|NULL!|NUM!|SPILL!|CALC!|GETTING_DATA)\s*$"
"""What Excel and LibreOffice write into a CSV file where a formula failed, as a pattern."""


def near_token(clear_token: str) -> str:
    """Return the pattern of texts that are the clear token but for case and spaces."""
    return r"(?i)^\s*" + r"\s*".join(map(re.escape, clear_token)) + r"\s*$"


def is_hardly_meant(text: str, clear_token: str) -> bool:
    """Return whether a text would not be taken as a value: the clear token or nearly, or a spreadsheet error."""
    return bool(re.search(SHEET_ERROR, text) or re.search(near_token(clear_token), text))
