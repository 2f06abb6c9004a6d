"""Rows of totals in a workbook: they have no id, begin with a word such as Total or Summe, and are no rows.

Promises: a row with an id of its own is never taken for one, nor a name that merely begins like one ("Total Energies").
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from batch.model import ROW, SEEN, cell_column

_ALONE = (
    "totals?", "grand total", "total general", "total général", "overall", "sum", "sums", "summe", "summen", "gesamt",
    "insgesamt", "total amount", "somme", "suma", "total geral", "totaal",
)  # fmt: skip
_OF_A_PART = (
    "sub-?totals?", "zwischensummen?", "gesamtsummen?", "endsummen?", "teilsummen?", "sous-totaux", "sous-total",
    "subtotales", "suma parcial", "suma total",
)  # fmt: skip
_AMOUNT = r"[\s:=.,'’\d()+-]*(?:EUR|USD|GBP|CHF|ILS|CAD|AUD|COP|BRL|[€$£])?"
WORD = rf"(?i)^\s*(?:(?:{'|'.join(_ALONE)}){_AMOUNT}|(?:{'|'.join(_OF_A_PART)})(?:[^\p{{L}}].*)?)\s*$"
"""A cell that begins a row of totals: the word, with an amount or a currency; a subtotal with what it is of."""


@dataclass(frozen=True, slots=True)
class Totals:
    """How rows of totals are told from others."""

    is_id: Callable[[str], bool]
    """Whether a header names what says which record: the id, or the field of --key."""
    is_key: bool
    """Whether it is the field of --key, where a customer's own number may be any text."""

    def among(self, headers: Sequence[str]) -> "TotalsFinder | None":
        """Return what finds them in a table; None where no header, or more than one, names the id."""
        found = [index for index, header in enumerate(headers) if self.is_id(header)]
        if len(found) != 1:
            return None
        own = pl.col(cell_column(found[0]))
        has_id = own.str.contains(SEEN)
        if not self.is_key:
            has_id &= ~own.str.contains(WORD)
        return TotalsFinder(~has_id.fill_null(value=False), begins_with_word(len(headers)))


def begins_with_word(columns: int) -> pl.Expr:
    """Whether the first cell of a row that has letters is the word of a total."""
    cells = [pl.col(cell_column(index)) for index in range(columns)]
    first = pl.coalesce([pl.when(cell.str.contains(r"\p{L}")).then(cell) for cell in cells])
    return first.str.contains(WORD).fill_null(value=False)


@dataclass(frozen=True, slots=True)
class TotalsFinder:
    """Finds the rows of totals of one table."""

    has_no_id: pl.Expr
    begins_with_word: pl.Expr

    def find(self, rows: pl.DataFrame) -> list[int]:
        """Return the numbers of those among `rows`; only the few without an id are looked at whole."""
        some = rows.filter(self.has_no_id)
        return some.filter(self.begins_with_word)[ROW].to_list() if some.height else []
