"""File -> rows: finds the input, says what it really is, and reads it once into the run folder as rows of text.

`input` finds it and tells its format, `csv`, `excel` and `parquet` read it, `staging` keeps the rows.

Promises that a cell's text is exactly what stands in the file, that no row is shifted, padded or guessed, and that
what cannot be trusted is either an `InputError` (the file) or `read_errors` (the row). Memory does not grow with the
file.
"""

import os
from dataclasses import replace
from pathlib import Path

from batch.errors import FolderError, InputError
from batch.files import os_reason
from batch.machine import check_disk
from batch.model import Staged
from batch.sources.frame import Table, open_frame
from batch.sources.input import Input, lock_note, open_input
from batch.sources.options import ReadOptions
from batch.sources.staging import have_same_rows, iter_frames, read_rows

__all__ = [
    "Input", "ReadOptions", "Table", "check_room", "find_hidden_rows", "find_sheet", "have_same_rows",
    "iter_frames", "open_frame", "open_input", "read_rows", "sheet_names", "stage",
]  # fmt: skip


def stage(input: Input, folder: Path, options: ReadOptions) -> Staged:
    """Read `input` once and write `folder/input.parquet`.

    Raises `InputError` when it cannot be read as a table, or has no rows and must have, `FolderError` when the folder
    is full.
    """
    try:
        check_room(input, folder)
        staged = _stage(input, folder, options)
    except OSError as error:
        raise FolderError(f"{input.name} cannot be copied into {folder}: {os_reason(error)}.") from None
    input.check_unchanged()
    if options.require_rows and not staged.rows:
        raise InputError(f"{input.name} has a header but no rows, and --require-rows is set.")
    return replace(staged, notes=(*filter(None, [lock_note(input)]), *input.notes, *staged.notes))


def find_sheet(input: Input, options: ReadOptions) -> tuple[str, str] | None:
    """Return the first sheet of a workbook and another one, where the first does not fit and just the other does."""
    if input.format != "xlsx":
        return None
    from batch.sources import excel

    return excel.find_sheet(input, options)


def find_hidden_rows(input: Input, options: ReadOptions) -> str:
    """Say which rows of a workbook are hidden, "" where none is; of what is no .xlsx file that cannot be seen."""
    if input.format != "xlsx":
        return ""
    from batch.sources import excel

    return excel.find_hidden_rows(input, options)


def sheet_names(input: Input) -> tuple[str, ...]:
    """Name the sheets of a workbook that could be read, none of other inputs; raises InputError."""
    if input.format != "xlsx":
        return ()
    from batch.sources import excel

    return excel.sheet_names(input)


def check_room(input: Input, folder: Path) -> None:
    """Raise UsageError where the disk of `folder`, which may be still to be made, has too little room for the input."""
    place = next(one for one in (folder, *folder.absolute().parents) if os.path.exists(one))
    check_disk(place, input.size, input.format)


def _stage(input: Input, folder: Path, options: ReadOptions) -> Staged:
    match input.format:
        case "csv":
            from batch.sources import csv

            return csv.stage(input, folder, options)
        case "ndjson":
            from batch.sources import ndjson

            return ndjson.stage(input, folder, options)
        case "parquet":
            from batch.sources import parquet

            return parquet.stage(input, folder, options)
        case "xlsx":
            from batch.sources import excel

            return excel.stage(input, folder, options)
