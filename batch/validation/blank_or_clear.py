"""The three states of a cell: blank (leave the field), the clear token (empty it), anything else (a value).

Promises: a blank cell never changes anything; only the clear token itself empties a field, and what merely resembles it
is no value either.
"""

import re
from collections.abc import Sequence
from typing import Final

import polars as pl

from batch.endpoints.cell_types import LIST_KINDS, LIST_SEPARATOR
from batch.model import UNSEEN

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
    """Return the pattern of texts that are the clear token but for case, what does not show, and brackets."""
    return rf"(?i)^{_GAP}{_spaced(clear_token)}{_GAP}$"


def token_among_items(clear_token: str) -> str:
    """Return the pattern of lists of which an item is nearly the clear token."""
    return rf"(?i)(?:^|{LIST_SEPARATOR}){_GAP}{_spaced(clear_token)}{_GAP}(?:{LIST_SEPARATOR}|$)"


_GAP: Final = f"{UNSEEN}*"
"""Spaces, and what a page or a mail leaves of invisible characters in a text that is copied from it."""
_BRACKETS: Final = {"<": "(?:<|&lt;|\uff1c)", ">": "(?:>|&gt;|\uff1e)"}
"""Brackets as they are, as a page has them in its source, and as they are typed with Chinese and Japanese letters."""


def _spaced(token: str) -> str:
    return _GAP.join(_BRACKETS.get(letter, re.escape(letter)) for letter in token)


def is_hardly_meant(text: str, clear_token: str, kind: str = "text") -> bool:
    """Return whether a field of `kind` would not take a text: the clear token or nearly, or a spreadsheet error."""
    patterns = [SHEET_ERROR, near_token(clear_token)]
    if kind in LIST_KINDS:
        patterns.append(token_among_items(clear_token))
    return any(re.search(pattern, text) for pattern in patterns)
