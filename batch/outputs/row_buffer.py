"""Rows of text cells on disk while a table is made of them: which columns there are is known only at the end.

Promises: no more than one part of the rows is in memory; the folder is this user's alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

PART_ROWS = 5_000


class RowBuffer:
    """Takes rows as mappings from column to text, and yields them as frames of selected columns."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self._folder = folder
        self._parts: list[Path] = []
        self._rows: list[Mapping[str, str]] = []
        self.height = 0

    def add(self, row: Mapping[str, str]) -> None:
        """Add a row."""
        self._rows.append(row)
        self.height += 1
        if len(self._rows) >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory to disk."""
        if not self._rows:
            return
        names = dict.fromkeys(name for row in self._rows for name in row)
        columns = [pl.Series(name, [row.get(name) for row in self._rows], dtype=pl.String) for name in names]
        self._parts.append(self._folder / f"{len(self._parts)}.parquet")
        pl.DataFrame(columns).write_parquet(self._parts[-1], compression="lz4")
        self._rows = []

    def iter_frames(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield all rows in order, with these columns; those that a part does not have are blank."""
        for part in self._parts:
            frame = pl.read_parquet(part, glob=False)
            blank = pl.lit(None, pl.String)
            yield frame.select(pl.col(name) if name in frame.columns else blank.alias(name) for name in columns)

    def replace(self, part: int, frame: pl.DataFrame) -> None:
        """Replace the cells of a part; parts are counted as `iter_frames` yields them."""
        frame.write_parquet(self._parts[part], compression="lz4")
