"""The rows of an input as rows of text on disk: `input.parquet`, written once, read in slices afterwards.

Promises flat memory both ways: frames are pulled from the reader one at a time while they are written, and no slice
reads more than its own rows. The file is complete or absent, and readable by this user only.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from batch.files import NewFile
from batch.model import READ_ERRORS, ROW, SEEN, Staged, cell_column
from batch.own_files import INPUT
from batch.sources.totals import TotalsFinder

ROWS_AT_ONCE = 10_000
CELLS_AT_ONCE = 2_000_000
"""A table of 1,000 columns is read and written 2,000 rows at a time, or a slice would be as large as a file."""

IO_ERROR = re.compile(r"IO error: (.+) \(os error (\d+)\)")

Schema = dict[str, pl.DataType]


def staged_schema(columns: int, originals: Mapping[str, pl.DataType] | None = None) -> Schema:
    """Return the columns of `input.parquet` for an input of so many columns."""
    cells: Schema = {cell_column(index): pl.String() for index in range(columns)}
    return {ROW: pl.UInt32(), **cells, READ_ERRORS: pl.String(), **(originals or {})}


def rows_at_once(columns: int) -> int:
    """Return how many rows of so many columns are held at once."""
    return max(100, min(ROWS_AT_ONCE, CELLS_AT_ONCE // max(columns, 1)))


class Rows:
    """Counts rows as they pass: those kept, blank ones between them, and the columns with a value in a sound row."""

    def __init__(
        self, columns: int, first_row: int, limit: int | None = None, totals: TotalsFinder | None = None
    ) -> None:
        self.cells = [cell_column(index) for index in range(columns)]
        self.limit = limit
        self.kept = 0
        self.filled: set[str] = set()
        self.totals: list[int] = []
        """The rows of totals, which were left out."""
        self._totals_finder = totals
        self._first_row = first_row
        self._last_row = first_row - 1

    @property
    def blank(self) -> int:
        """How many rows without any value were left out, not counting those after the last row."""
        totals = sum(row < self._last_row for row in self.totals)
        return self._last_row - self._first_row + 1 - self.kept - totals

    def note(self, *, but: int = 0) -> str:
        """Return the note about blank rows, `but` those of which something else is told; "" when there were none."""
        count = self.blank - but
        if count <= 0:
            return ""
        return "1 blank row was left out." if count == 1 else f"{count:,} blank rows were left out."

    def iter_tidy(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Make blank cells null, leave blank rows out, and end after `limit` rows."""
        for frame in frames:
            tidy = self._tidy(frame)
            if tidy.height:
                yield tidy
            if self.limit is not None and self.kept >= self.limit:
                return

    def _tidy(self, frame: pl.DataFrame) -> pl.DataFrame:
        cells = pl.col(self.cells)
        frame = frame.with_columns(pl.when(cells.str.contains(SEEN)).then(cells).name.keep())
        is_blank = pl.all_horizontal(cells.is_null(), pl.col(READ_ERRORS).is_null())
        tidy = frame.filter(~is_blank)
        if self._totals_finder and (totals := self._totals_finder.find(tidy)):
            self.totals += totals
            tidy = tidy.filter(~pl.col(ROW).is_in(totals))
        if self.limit is not None:
            tidy = tidy.head(self.limit - self.kept)
        self.kept += tidy.height
        self._last_row = tidy[ROW][-1] if tidy.height else self._last_row
        self._note_filled(tidy)
        return tidy

    def _note_filled(self, frame: pl.DataFrame) -> None:
        open_cells = [name for name in self.cells if name not in self.filled]
        if open_cells and frame.height:
            counts = frame.filter(pl.col(READ_ERRORS).is_null()).select(pl.col(open_cells).count()).row(0)
            self.filled.update(name for name, count in zip(open_cells, counts, strict=True) if count)


def write_frames(frames: Iterable[pl.DataFrame], schema: Schema, folder: Path) -> Path:
    """Write `frames`, pulled one at a time, as `folder/input.parquet`; what they raise is raised here."""

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        for frame in frames:
            yield frame if with_columns is None else frame.select(with_columns)

    lazy = register_io_source(source, schema=schema)
    file = NewFile(folder / INPUT)
    try:
        lazy.sink_parquet(file.made, row_group_size=rows_at_once(len(schema)), compression="lz4")
        file.keep()
    except pl.exceptions.ComputeError as error:
        _raise_os_error(error)
        raise
    finally:
        file.discard()
    return file.path


def _raise_os_error(error: pl.exceptions.ComputeError) -> None:
    """Raise what the system said, where polars wraps it in a sentence about Parquet (a full disk)."""
    if found := IO_ERROR.search(str(error)):
        raise OSError(int(found[2]), found[1]) from None


def iter_frames(staged: Staged, size: int = ROWS_AT_ONCE) -> Iterator[pl.DataFrame]:
    """Pull the rows in slices of at most `size`, in order."""
    lazy = pl.scan_parquet(staged.path, glob=False)
    step = min(size, rows_at_once(len(staged.headers)))
    for offset in range(0, staged.rows, step):
        yield lazy.slice(offset, step).collect()


def read_rows(staged: Staged, rows: Sequence[int]) -> pl.DataFrame:
    """Read the rows with these numbers, in order; a number that is no row is left out."""
    lazy = pl.scan_parquet(staged.path, glob=False)
    if not rows:
        return lazy.head(0).collect()
    wanted = pl.Series(ROW, sorted(set(rows)), dtype=pl.UInt32)
    near = pl.col(ROW).is_between(wanted[0], wanted[-1])
    return lazy.filter(near, pl.col(ROW).is_in(wanted.implode())).collect()


def have_same_rows(one: Path, other: Path) -> bool:
    """Whether two staged inputs have the same rows; False where one of them cannot be read."""
    try:
        frames = [pl.scan_parquet(path, glob=False) for path in (one, other)]
        if frames[0].collect_schema() != frames[1].collect_schema():
            return False
        (rows, others) = (frame.select(pl.len()).collect().item() for frame in frames)
        step = rows_at_once(len(frames[0].collect_schema()))
        return rows == others and all(
            frames[0].slice(first, step).collect().equals(frames[1].slice(first, step).collect())
            for first in range(0, rows, step)
        )
    except (pl.exceptions.PolarsError, OSError):
        return False
