"""The rows of one shard of an input (`--shard`): all of a record are in the same one, over all files of the input.

Promises: every row is in exactly one shard of N, also one without an id or with one that cannot be read; what the rows
of all shards tell together, such as whether 3/4 has the day first, each shard is told; row numbers stay.
"""

from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from batch import sources
from batch.model import ROW, Staged
from batch.number_date_formats import KINDS, FormatDetector
from batch.shard import Shard
from batch.sources.staging import write_frames
from batch.validation.duplicates import id_cells
from batch.validation.file_changes import FileChanges


def keep_shard(changes: FileChanges, shard: Shard) -> Staged:
    """Leave of a staged input the rows of one shard, in the place of all; raises OSError."""
    staged, columns = changes.staged, changes.columns
    ignore_case = changes.endpoint.ids_ignore_case and columns.key_field is None
    ids = id_cells(columns.id.index, ignore_case=ignore_case).fill_null("").alias("id")
    fields = [(one.index, one.field) for one in columns.with_fields if one.field]
    is_custom = changes.endpoint.is_custom  # of these the kinds are known when the API was asked
    more = [index for index, known in fields if is_custom(known.name) and known.kind not in KINDS]
    telling = FormatDetector(columns, changes.parsing).telling_cells(sources.iter_frames(staged), more)
    kept = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal kept
        for frame in sources.iter_frames(staged):
            keys = frame.select(ROW, ids).iter_rows()
            own = frame.filter(pl.Series([shard.has(key or f"row {row}") for row, key in keys], dtype=pl.Boolean))
            kept += own.height
            if own.height:
                yield own

    path = write_frames(frames(), dict(pl.read_parquet_schema(staged.path)), staged.path.parent)
    note = f"Shard {shard.number} of {shard.count}: {kept:,} of {staged.rows:,} rows."
    return replace(
        staged, path=path, rows=kept, all_rows=staged.rows, telling=telling, notes=(*staged.notes, note)
    )  # fmt: skip
