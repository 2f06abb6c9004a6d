"""CSV -> rows of text, exactly as they stand.

`encoding` finds the encoding and yields pieces of text, `header` finds the delimiter and the header, `rows` turns the
rest into frames (polars reads all that is regular), `failures_file` undoes what batch added to a failures file,
`several` makes one table of several files, and `stage` writes the frames to `input.parquet`.
"""

from pathlib import Path

import polars as pl

from batch.csv_injection import unguard
from batch.model import Staged, cell_column
from batch.sources.csv.several import Tables, look_into
from batch.sources.input import Input
from batch.sources.options import ReadOptions
from batch.sources.staging import Rows, staged_schema, write_frames


def stage(input: Input, folder: Path, options: ReadOptions) -> Staged:
    """Read CSV files once into `folder/input.parquet`."""
    tables = Tables(input, [look_into(file, options) for file in input.files], options)
    rows = Rows(tables.width, tables.first_row, options.limit)
    path = write_frames(rows.iter_tidy(tables.iter_frames()), staged_schema(tables.width), folder)
    return Staged(
        path=path, name=input.name, format="csv", headers=_headers(tables, rows), rows=rows.kept,
        sha256=input.sha256, notes=tuple(filter(None, (*tables.head_notes, rows.note(), *tables.row_notes))),
        dialect=tables.dialect, files=tuple(tables.parts) if input.is_many else (),
    )  # fmt: skip


def _headers(tables: Tables, rows: Rows) -> tuple[str, ...]:
    """Return the headers without those at the end that are empty and whose columns are empty too."""
    headers = list(tables.headers)
    while headers and not headers[-1].strip() and cell_column(len(headers) - 1) not in rows.filled:
        headers.pop()
    if not tables.is_guarded:
        return tuple(headers)
    return tuple(pl.Series(headers, dtype=pl.String).to_frame("header").select(unguard(pl.col("header"))).to_series())
