"""CSV -> rows of text, exactly as they stand.

`encoding` finds the encoding and yields pieces of text, `header` finds the delimiter and the header, `rows` turns the
rest into frames (polars reads all that is regular), `failures_file` undoes what batch added to a failures file, and
`stage` writes the frames to `input.parquet`.
"""

from pathlib import Path

import polars as pl

from batch.csv_injection import unguard
from batch.model import CsvDialect, Staged, cell_column
from batch.sources.csv.encoding import TextPieces, find_encoding
from batch.sources.csv.failures_file import FailuresFile, is_reserved
from batch.sources.csv.header import Head, read_head
from batch.sources.csv.rows import CsvRows, Shape
from batch.sources.input import Input
from batch.sources.options import ReadOptions
from batch.sources.staging import Rows, staged_schema, write_frames


def stage(input: Input, folder: Path, options: ReadOptions) -> Staged:
    """Read a CSV file once into `folder/input.parquet`."""
    encoding = find_encoding(input.paths[0], input.name, options.encoding)
    pieces = TextPieces(input.paths[0], encoding)
    head = read_head(pieces.read(), input.name, options)
    shape = Shape(input.name, head.delimiter, len(head.headers), head.first_row)
    rows = Rows(shape.width, shape.first_row, options.limit)
    frames = CsvRows(head.rest, pieces, shape).iter_frames()
    failures_file = FailuresFile(head.headers, head.delimiter) if is_reserved(head.headers) else None
    if failures_file is not None:
        frames = failures_file.iter_restored(frames)
    path = write_frames(rows.iter_tidy(frames), staged_schema(shape.width), folder)
    return Staged(
        path=path, name=input.name, format="csv", headers=_headers(head, rows), rows=rows.kept, sha256=input.sha256,
        notes=tuple(
            filter(None, (encoding.note, *head.notes, rows.note(), failures_file.note if failures_file else ""))
        ),
        dialect=CsvDialect(encoding.codec, head.delimiter, head.line_end, head.quoting, head.has_sep_line),
    )  # fmt: skip


def _headers(head: Head, rows: Rows) -> tuple[str, ...]:
    """Return the headers without those at the end that are empty and whose columns are empty too."""
    headers = list(head.headers)
    while headers and not headers[-1].strip() and cell_column(len(headers) - 1) not in rows.filled:
        headers.pop()
    if not is_reserved(headers):
        return tuple(headers)
    return tuple(pl.Series(headers, dtype=pl.String).to_frame("header").select(unguard(pl.col("header"))).to_series())
