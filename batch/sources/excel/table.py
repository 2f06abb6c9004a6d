"""A sheet's cells -> the rows of the table in it, as frames of `input.parquet`.

Promises that every cell with a value comes out in its own row and column, or the table is refused afterwards.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from batch.model import READ_ERRORS, ROW, cell_column, column_letters, original_column, shorten
from batch.sources.excel.header import Header
from batch.sources.excel.layout import Area

MERGED = "lies in merged cells, and only their first cell has a value (unmerge them, and fill in what is meant)"
"""Reason of a cell covered by a merged one."""

_BROKEN = ("row", "column", "text", "origin", "reason")


class Table:
    """Turns cells into rows, and remembers what was met on the way."""

    def __init__(self, header: Header, merged: Iterable[Area], *, skips_hidden: bool) -> None:
        self.header = header
        self.left, self.right = header.left, header.right
        """The columns that have a value in any row."""
        self.stray = ""
        """The first cell outside of the header's columns, as Excel names it."""
        self.hidden_rows: list[int] = []
        self._skips_hidden = skips_hidden
        self._merged = sorted(
            (area for area in merged if area.is_many and area.bottom > header.row), key=lambda a: a.top
        )
        self._filled: set[Area] = set()

    def iter_rows(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Turn frames of cells into frames of rows; blank rows do not come out."""
        for frame in frames:
            cells = frame.filter(pl.col("row") > self.header.row)
            cells = self._without_hidden(cells)
            if len(cells):
                self._note_extent(cells)
                yield self._rows(self._cover(cells))

    def _without_hidden(self, cells: pl.DataFrame) -> pl.DataFrame:
        if not cells["is_hidden"].any():
            return cells
        self.hidden_rows += cells.filter("is_hidden")["row"].unique(maintain_order=True).to_list()
        return cells.filter(~pl.col("is_hidden")) if self._skips_hidden else cells

    def _note_extent(self, cells: pl.DataFrame) -> None:
        outside = cells.filter(~pl.col("column").is_between(self.header.left, self.header.right))
        if len(outside):
            row, column = outside.select("row", "column").row(0)
            self.stray = self.stray or f"{column_letters(column)}{row}"
            self.left = min(self.left, *outside["column"].unique().to_list())
            self.right = max(self.right, *outside["column"].unique().to_list())

    def _cover(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Add the cells that lie under merged ones with a value: they look filled, and are blank in the file."""
        first, last = int(cells["row"][0]), int(cells["row"][-1])
        here = [area for area in self._merged if area.top <= last and area.bottom >= first]
        if not here:
            return cells
        rows = cells["row"].unique(maintain_order=True)
        places = set(zip(cells["row"].to_list(), cells["column"].to_list(), strict=True))
        covered = []
        for area in here:
            if (area.top, area.left) in places:
                self._filled.add(area)
            if area in self._filled:
                inside = rows.filter(rows.is_between(area.top, area.bottom)).to_list()
                columns = range(max(area.left, self.header.left), min(area.right, self.header.right) + 1)
                covered += [(row, column) for row in inside for column in columns]
                covered = [place for place in covered if place != (area.top, area.left)]
        extra = pl.DataFrame(covered, schema={"row": pl.UInt32, "column": pl.UInt16}, orient="row").unique()
        extra = extra.with_columns(
            is_hidden=False, text=pl.lit(None, dtype=pl.String), origin=pl.lit("m0:"), reason=pl.lit(MERGED)
        )
        kept = cells.join(extra, on=["row", "column"], how="anti")
        return pl.concat([kept, extra.select(kept.columns)]).sort("row", "column")

    def _rows(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Lay the cells out as rows: `row c0 … cN read_errors o0 … oN`."""
        numbers = cells["row"].unique(maintain_order=True)
        by_column = cells.with_columns(cells["row"].rle_id().alias("at")).partition_by("column", as_dict=True)
        texts, origins = [], []
        for index in range(len(self.header.texts)):
            part = by_column.get((self.header.left + index,))
            texts.append(_spread(part, "text", len(numbers)).alias(cell_column(index)))
            origins.append(_spread(part, "origin", len(numbers)).alias(original_column(index)))
        return pl.DataFrame([numbers.alias(ROW), *texts, self._damage(cells, numbers), *origins])

    def _damage(self, cells: pl.DataFrame, numbers: pl.Series) -> pl.Series:
        broken = cells.filter(pl.col("reason").is_not_null())
        by_row: dict[int, list[Any]] = defaultdict(list)
        for row, column, text, origin, reason in broken.select(_BROKEN).iter_rows():
            seen = "" if origin[0] in "dm" else shorten(text, 200)  # the number behind a date is not what is seen
            by_row[row].append([column - self.header.left, seen, reason])
        if not by_row:
            return pl.Series(READ_ERRORS, [None], dtype=pl.String).new_from_index(0, len(numbers))
        found = {row: json.dumps(one, ensure_ascii=False) for row, one in by_row.items()}
        return pl.Series(READ_ERRORS, [found.get(row) for row in numbers.to_list()], dtype=pl.String)


def _spread(part: pl.DataFrame | None, name: str, length: int) -> pl.Series:
    """Put the cells of one column where their rows are."""
    if part is None:
        return pl.Series([None], dtype=pl.String).new_from_index(0, length)
    if len(part) == length:
        return part[name]
    places = pl.Series([None], dtype=pl.UInt32).new_from_index(0, length)
    return part[name].gather(places.scatter(part["at"], pl.arange(len(part), dtype=pl.UInt32, eager=True)))
