"""A table in memory (polars, pandas, or anything with the Arrow C stream) -> an input like any Parquet file.

Promises: the rows, and nothing about the object that held them, say whether two tables are the same input.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl

from batch.errors import InputError
from batch.files import make_private, write_private
from batch.sources import parquet
from batch.sources.input import Input, InputFile
from batch.sources.options import ReadOptions
from batch.sources.staging import iter_frames

PANDAS_INDEX = re.compile(r"__index_level_\d+__")
"""What an index without a name is called where pandas turns it into a column."""


@runtime_checkable
class ArrowStream(Protocol):
    """A table that exports the Arrow C stream (the PyCapsule interface)."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export it."""


Table = ArrowStream | pl.DataFrame | pl.LazyFrame


def open_frame(table: Table, name: str, spool: Path) -> Input:
    """Copy a table into the folder `spool`, as the input called `name`; raises InputError where it cannot be read."""
    path = spool / "frame.parquet"
    write_private(path, "")
    _as_frame(table, name).write_parquet(path, compression="lz4")
    found = Input((InputFile(path, name, path),), name, "", "parquet")
    return replace(found, sha256=_digest(found, spool))


@dataclass(frozen=True, slots=True)
class _Exporter:
    """Nothing but the stream of a table: of a pandas table as such, polars leaves out the index."""

    table: ArrowStream

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def _as_frame(table: Any, name: str) -> pl.DataFrame:
    try:
        frame = table.collect() if isinstance(table, pl.LazyFrame) else table
        if not isinstance(frame, pl.DataFrame):
            frame = pl.DataFrame(_Exporter(frame) if isinstance(frame, ArrowStream) else frame)
    except ImportError as error:  # pandas exports itself by pyarrow
        raise InputError(f"{name}: the table cannot be exported: {error}. Install that, or give a file.") from None
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        why = ". ".join(str(one).rstrip(".") for one in error.args)  # pyarrow names the column in the second
        raise InputError(
            f"{name}: the table cannot be read: {why}. A column needs values of one kind; "
            'pandas makes texts of all kinds with .astype("string").'
        ) from None
    return frame.drop([one for one in frame.columns if PANDAS_INDEX.fullmatch(one)])


def _digest(found: Input, spool: Path) -> str:
    """Hash the rows as they are staged: headers, numbers and texts."""
    folder = spool / "digest"
    make_private(folder)
    staged = parquet.stage(found, folder, ReadOptions(is_left_out=lambda header: True))
    digest = hashlib.sha256("\0".join(staged.headers).encode())
    for frame in iter_frames(staged):
        digest.update(frame.select(frame.columns[: len(staged.headers) + 1]).write_csv().encode())
    staged.path.unlink()
    return digest.hexdigest()
