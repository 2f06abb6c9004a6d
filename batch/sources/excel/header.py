"""Where the table in a sheet begins: its header, or why that cannot be told.

The header is the first row with anything in it. A title above it, or merged cells in it, are refused with the row
named: nobody should have to guess which column a value stands in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from batch.errors import InputError
from batch.model import column_letters, shorten
from batch.sources.excel.layout import Area

LOOK_AHEAD = 20
"""Rows among which the header is looked for, when what comes first is a title."""
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Header:
    """The header's row, and its texts from column `left` on (1 = A)."""

    row: int
    left: int
    texts: tuple[str, ...]

    @property
    def right(self) -> int:
        """The last column."""
        return self.left + len(self.texts) - 1

    def widened(self, left: int, right: int) -> "Header":
        """Give the same header with unnamed columns, so that it reaches from `left` to `right`."""
        before, after = max(self.left - left, 0), max(right - self.right, 0)
        return replace(self, left=self.left - before, texts=("",) * before + self.texts + ("",) * after)

    def column(self, column: int) -> str:
        """Name a column for a message: `column "Phone" (F)`."""
        text = self.texts[column - self.left].strip()
        return (
            f'column "{shorten(text, 60)}" ({column_letters(column)})' if text else f"column {column_letters(column)}"
        )


def find_header(cells: pl.DataFrame, merged: Sequence[Area], where: str) -> Header:
    """Find the header in the first `cells` that have anything in them; raise `InputError` when it cannot be told."""
    row = int(cells["row"][0])
    first = cells.filter(pl.col("row") == row)
    texts = dict(zip(first["column"].to_list(), first["text"].to_list(), strict=True))
    left, right = min(texts), max(texts)
    if len(texts) > 1:
        _refuse_merged(row, left, right, texts, merged, where)
    _refuse_title(cells, row, texts, where)
    _refuse_merged(row, left, right, texts, merged, where)
    return Header(row, left, tuple(texts.get(column, "") for column in range(left, right + 1)))


def _refuse_title(cells: pl.DataFrame, row: int, texts: dict[int, str], where: str) -> None:
    """Refuse a first row of one cell, or of less than half the cells of a later one that has nothing but texts."""
    is_text = pl.col("origin").is_null() | pl.col("origin").str.starts_with("s")
    below = (
        cells.filter(pl.col("row") > row).group_by("row", maintain_order=True).agg("text", is_text.all().alias("ok"))
    )
    likely = below.head(LOOK_AHEAD).filter(
        pl.col("text").list.len() >= 2 * len(texts), pl.col("ok") | pl.lit(len(texts) == 1)
    )
    if not len(likely):
        return
    stands = ", ".join(f'{column_letters(column)}{row} "{shorten(text, 60)}"' for column, text in texts.items())
    raise InputError(
        f"{where}: row {row} has only {stands}, and is no header. "
        f"The header seems to be in row {likely['row'][0]}: {_listed(likely['text'][0].to_list())}. "
        "Delete the rows above the header, save the file, and run again."
    )


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(f'"{shorten(text, 40)}"' for text in texts[:SHOWN]) + (", …" if len(texts) > SHOWN else "")


def _refuse_merged(row: int, left: int, right: int, texts: dict[int, str], merged: Sequence[Area], where: str) -> None:
    found = [
        area
        for area in sorted(merged, key=lambda area: (area.top, area.left))
        if area.top <= row <= area.bottom and area.left <= right and area.right >= left and area.is_many
    ]
    if found:
        shown = ", ".join(f'{area.name} ("{shorten(texts.get(area.left, ""), 40)}")' for area in found[:SHOWN])
        raise InputError(
            f"{where}: the header in row {row} has merged cells: {shown}{', …' if len(found) > SHOWN else ''}. "
            "Unmerge them, give every column a header of its own, save the file, and run again."
        )
