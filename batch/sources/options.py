"""How the user wants an input to be read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from batch.sources.totals import Totals


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How the user wants the input to be read."""

    sheet: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    hidden: Literal["include", "skip"] | None = None
    limit: int | None = None
    """Only the first so many rows (blank ones do not count)."""
    header_row: int | None = None
    """The header's row; None: it is found."""
    is_known: Callable[[str], bool] = lambda text: False
    """Whether a header names a field, by which the header's row is found."""
    is_own_number: Callable[[str], bool] = lambda text: False
    """Whether a header names a number of the sender's own by which records can be found, where none names the id."""
    totals: Totals | None = None
    """How rows of totals in a workbook are found; None: there are none."""
    is_left_out: Callable[[str], bool] = lambda header: False
    """Whether a column is left out on purpose, so that it does not matter what it holds."""
    require_rows: bool = False
    """An input without rows is a mistake."""
