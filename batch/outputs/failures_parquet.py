"""Failures and results as Parquet: the original columns with their types, then those that batch adds."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from polars.datatypes import DataType, DataTypeClass

from batch.model import Staged, cell_column, original_column
from batch.outputs.failures import FILE_COLUMNS, FailedRow, added_cells, original_indexes
from batch.provenance import RUN, SEEN

PART_ROWS = 100_000
NUMBERS = ("batch_row", FILE_COLUMNS[1])
"""Columns that are added, and hold numbers."""
PolarsDataType = DataType | DataTypeClass


class ParquetParts:
    """Writes frames of one schema as one Parquet file, holding no more than one part of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.with_name(f"{path.name}s")
        self._folder.mkdir(mode=0o700)
        self._frames: list[pl.DataFrame] = []
        self._parts: list[Path] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Take a frame; write a part when there is enough for one."""
        self._frames.append(frame)
        if sum(frame.height for frame in self._frames) >= PART_ROWS:
            self._write_part()

    def _write_part(self) -> None:
        part = self._folder / f"{len(self._parts)}.parquet"
        pl.concat(self._frames).write_parquet(part, compression="lz4")
        self._parts.append(part)
        self._frames = []

    def finish(self) -> None:
        """Join the parts into the file."""
        if self._frames:
            self._write_part()
        pl.scan_parquet(self._parts, glob=False).sink_parquet(self._path)


class ParquetFailures:
    """Writes the rows with their original columns, in order, and the added ones."""

    def __init__(self, path: Path, staged: Staged) -> None:
        self._staged = staged
        self._headers = staged.headers
        self._indexes = original_indexes(staged)
        self._parts = ParquetParts(path)

    def add(self, frame: pl.DataFrame, rows: Sequence[FailedRow]) -> None:
        """Add rows and what is said of them."""
        texts = added_cells(rows, self._staged)
        numbers = pl.col([name for name in NUMBERS if name in texts.columns]).cast(pl.UInt32)
        added = texts.with_columns(numbers, pl.col(RUN, SEEN).replace("", None))
        self._parts.add(pl.concat([frame.select(self._originals(frame)), added], how="horizontal"))

    def _originals(self, frame: pl.DataFrame) -> list[pl.Expr]:
        kept: list[pl.Expr] = []
        covered = -1
        for index in self._indexes:
            if index <= covered:
                continue
            original = original_column(index)
            if original not in frame.columns:
                kept.append(pl.col(cell_column(index)).alias(self._headers[index]))
                continue
            dtype = frame.schema[original]
            first = _first_text_column(dtype)
            covered = index + _text_column_count(dtype) - 1
            kept.append(pl.col(original).alias(self._headers[index].removesuffix(first)))
        return kept

    def finish(self) -> None:
        """Write the file."""
        self._parts.finish()


def _text_column_count(dtype: PolarsDataType) -> int:
    """Return how many columns of text a column became."""
    return sum(_text_column_count(field.dtype) for field in dtype.fields) if isinstance(dtype, pl.Struct) else 1


def _first_text_column(dtype: PolarsDataType) -> str:
    """Return what the header of a struct's first text column has after the struct's own name."""
    if not isinstance(dtype, pl.Struct) or not dtype.fields:
        return ""
    return f".{dtype.fields[0].name}{_first_text_column(dtype.fields[0].dtype)}"
