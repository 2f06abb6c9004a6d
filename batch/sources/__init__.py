"""File -> rows: finds the input, says what it really is, and reads it once into the run folder as rows of text.

`input` finds it and tells its format, `csv`, `excel` and `parquet` read it, `staging` keeps the rows.

Promises that a cell's text is exactly what stands in the file, that no row is shifted, padded or guessed, and that
what cannot be trusted is either an `InputError` (the file) or `read_errors` (the row). Memory does not grow with the
file.
"""

from pathlib import Path

from batch.errors import FolderError
from batch.model import Staged
from batch.sources.input import Input, ReadOptions, open_input
from batch.sources.staging import iter_frames, read_rows

__all__ = ["Input", "ReadOptions", "iter_frames", "open_input", "read_rows", "stage"]


def stage(input: Input, folder: Path, options: ReadOptions) -> Staged:
    """Read `input` once and write `folder/input.parquet`.

    Raises `InputError` when it cannot be read as a table with at least one row, `FolderError` when the folder is full.
    """
    try:
        staged = _stage(input, folder, options)
    except OSError as error:
        raise FolderError(f"{input.name} cannot be copied into {folder}: {error.strerror or error}.") from None
    input.check_unchanged()
    return staged


def _stage(input: Input, folder: Path, options: ReadOptions) -> Staged:
    match input.format:
        case "csv":
            from batch.sources import csv

            return csv.stage(input, folder, options)
        case "parquet":
            from batch.sources import parquet

            return parquet.stage(input, folder, options)
        case "xlsx":
            from batch.sources import excel

            return excel.stage(input, folder, options)
