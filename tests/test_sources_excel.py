"""Reading XLSX: exact text, Excel's own row numbers, and a reason beside every cell that cannot be trusted."""

from datetime import date, datetime
from pathlib import Path

import openpyxl
import polars as pl

from batch.model import Staged
from batch.sources import excel
from batch.sources.input import Input, ReadOptions


def stage(path: Path, **options: object) -> Staged:
    """Stage a workbook into the folder it lies in."""
    return excel.stage(Input((path,), path.name, "", "xlsx"), path.parent, ReadOptions(**options))  # type: ignore[arg-type]  # options by name


def save(folder: Path, *rows: list[object]) -> Path:
    """Write a workbook of one sheet with openpyxl."""
    book = openpyxl.Workbook()
    for row in rows:
        book.worksheets[0].append(row)
    path = folder / "customers.xlsx"
    book.save(path)
    return path


def cells(staged: Staged) -> list[tuple[object, ...]]:
    """Give the rows of `input.parquet`: number and texts."""
    names = [f"c{index}" for index in range(len(staged.headers))]
    return pl.read_parquet(staged.path).select("row", *names).rows()


def test_values_arrive_as_exact_text(tmp_path: Path) -> None:
    """Whole numbers lose nothing and gain no `.0`, text keeps its zeros, dates are ISO, booleans are words."""
    path = save(
        tmp_path,
        ["id", "a", "b", "c"],
        [10042, "00123", 1.5, True],
        [10043, date(2026, 3, 4), datetime(2026, 3, 4, 12, 30), 0.1],
    )
    assert cells(stage(path)) == [
        (2, "10042", "00123", "1.5", "true"),
        (3, "10043", "2026-03-04", "2026-03-04T12:30:00", "0.1"),
    ]
