"""Columns of numbers and dates: in which way they are written, found out before any of their cells is read.

Promises: what `--decimal` and `--date-format` say counts; else the column as a whole tells, or the run is refused; a
cell that the file itself stores as a number or a date needs no telling.
"""

from collections.abc import Iterable
from dataclasses import replace

import polars as pl

from batch.conventions import Convention, Kind
from batch.endpoints import cells
from batch.endpoints.cells import Reading
from batch.model import ROW, Column, Columns, Staged, cell_column, original_column
from batch.settings import Settings

KINDS: dict[str, Kind] = {"number": "number", "date": "date"}


class Ways:
    """The way of each column of numbers or dates of one input."""

    def __init__(self, columns: Columns, settings: Settings) -> None:
        self._settings = settings
        self._columns = {one.index: one for one in columns.fields if one.field and one.field.kind in KINDS}
        self._readings: dict[int, Reading] = {}
        self.notes: list[str] = []
        """How columns were read that could be read in two ways: whole sentences."""

    def judge(self, staged: Staged, frames: Iterable[pl.DataFrame]) -> None:
        """Look at every text of these columns; raises InputError for a column that cannot be told."""
        open_ones = {i: Convention(self._kind(one)) for i, one in self._columns.items() if not self._is_given(one)}
        for frame in frames if open_ones else ():
            for index, convention in open_ones.items():
                if not convention.is_settled:
                    convention.feed(self._texts(frame, index))
        for index, column in self._columns.items():
            where = f'{staged.name}, column "{column.header}"'
            self._readings[index] = open_ones[index].reading(where) if index in open_ones else self._given()
            if index in open_ones and open_ones[index].note:
                self.notes.append(f'Column "{column.header}" {open_ones[index].note}.')

    def apply(self, columns: Columns) -> Columns:
        """Give the columns with cell types that read in the way of each."""
        fields = tuple(self._typed(one) for one in columns.fields)
        by_index = {one.index: one for one in fields}
        everything = tuple(by_index.get(one.index, one) for one in columns.all)
        return replace(columns, all=everything, fields=fields)

    def respell(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Spell cells that are stored as numbers, always with a point, as the texts of their column are written."""
        for index in self._columns:
            if self._readings[index].decimal == "," and original_column(index) in frame.columns:
                cell = pl.col(cell_column(index))
                as_text = (
                    pl.when(_is_typed(frame, index)).then(cell.str.replace_all(".", ",", literal=True)).otherwise(cell)
                )
                frame = frame.with_columns(as_text.alias(cell_column(index)))
        return frame

    def _typed(self, column: Column) -> Column:
        if column.index not in self._readings or column.field is None:
            return column
        reading = self._readings[column.index]
        is_number = self._kind(column) == "number"
        type_ = cells.number(reading.decimal) if is_number else cells.date(reading.date_format)
        return replace(column, field=replace(column.field, type=type_))

    def _texts(self, frame: pl.DataFrame, index: int) -> list[tuple[int, str]]:
        name = cell_column(index)
        texts = frame.filter(pl.col(name).is_not_null() & ~_is_typed(frame, index)).select(ROW, name)
        distinct = texts.filter(pl.col(name) != self._settings.clear_token).unique(name, maintain_order=True)
        return list(zip(distinct[ROW].to_list(), distinct[name].to_list(), strict=True))

    def _kind(self, column: Column) -> Kind:
        assert column.field is not None  # noqa: S101 - only columns with a field of a known kind are kept
        return KINDS[column.field.kind]

    def _is_given(self, column: Column) -> bool:
        given = self._given()
        return (given.decimal if self._kind(column) == "number" else given.date_format) is not None

    def _given(self) -> Reading:
        return Reading(self._settings.decimal, self._settings.date_format)


def _is_typed(frame: pl.DataFrame, index: int) -> pl.Expr:
    """Whether the file stores a cell as something other than text (a text cell of a workbook is marked `s`)."""
    name = original_column(index)
    if name not in frame.columns:
        return pl.lit(value=False)
    kept = pl.col(name)
    return kept.is_not_null() & ~kept.str.starts_with("s") if frame[name].dtype == pl.String else kept.is_not_null()
