"""A Delta Lake table -> the rows of its current version, as one Parquet file; by deltalake, which few have.

Promises: rows that were deleted or replaced are not read; the table is only read. It is the same input as long as it is
the same version of the same table.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from batch.errors import InputError
from batch.model import shorten


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a table was at one moment."""

    version: int
    sha256: str
    """Of the table's own id and the version."""


def copy_snapshot(folder: Path, name: str, target: Path) -> Snapshot:
    """Write the current rows of the table in `folder` to `target`, which is there; raises InputError."""
    try:
        table = DeltaTable(folder)
        version, table_id = table.version(), table.metadata().id
        pl.scan_delta(table).sink_parquet(target, compression="lz4")
    except (DeltaError, pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = shorten(" ".join(str(error).split()), 160)
        raise InputError(f"{name}: this Delta table cannot be read ({reason}).") from None
    return Snapshot(version, hashlib.sha256(f"delta\0{table_id}\0{version}".encode()).hexdigest())
