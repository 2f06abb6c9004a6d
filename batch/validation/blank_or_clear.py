"""The three states of a cell: blank (leave the field), the clear token (empty it), anything else (a value).

Promises: a blank cell never changes anything; only the clear token itself empties a field, and what merely resembles it
is no value either.
"""

import re
from collections.abc import Sequence

import polars as pl

from batch.endpoints.cell_types import LIST_KINDS, LIST_SEPARATOR

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
