"""Time and memory of reading one workbook with batch's own reader, openpyxl and fastexcel (calamine).

    python -m tests.benchmarks.excel [ROWS]

Each reader runs in a process of its own and makes a text of every cell of ROWS rows of ten columns. batch's own also
writes them to disk. The table stands in `batch/sources/excel/README.md`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import xlsxwriter

ROWS = 100_000
OWN = """
from pathlib import Path
from batch.sources import ReadOptions, open_input, stage
folder = Path(sys.argv[1]).parent
stage(open_input(sys.argv[1], folder), folder, ReadOptions())
"""
OPENPYXL = """
import openpyxl
for row in openpyxl.load_workbook(sys.argv[1], read_only=READ_ONLY).worksheets[0].iter_rows(values_only=True):
    [str(cell) for cell in row]
"""
FASTEXCEL = """
import fastexcel
fastexcel.read_excel(sys.argv[1]).load_sheet(0, dtypes="string").to_polars()
"""
READERS = {
    "batch": OWN,
    "openpyxl, read-only": OPENPYXL.replace("READ_ONLY", "True"),
    "openpyxl": OPENPYXL.replace("READ_ONLY", "False"),
    "fastexcel": FASTEXCEL,
}
MEASURE = """
import resource, sys, time
start = time.perf_counter()
{}
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def make_workbook(path: Path, rows: int) -> None:
    """Write a workbook of ten columns, half texts and half numbers."""
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, [f"Column {column}" for column in range(10)])
        for row in range(1, rows + 1):
            sheet.write_row(row, 0, [10_000 + row, *(f"Text {row} {one}" for one in range(5)), row, row / 4, 7, 0.5])


def main() -> None:
    """Print the table."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "customers.xlsx"
        make_workbook(path, rows)
        print(f"| {rows:,} rows × 10 | seconds | peak MB |\n|---|---:|---:|")  # noqa: T201 - the table
        for name, code in READERS.items():
            command = [sys.executable, "-c", MEASURE.format(code), str(path)]
            seconds, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            print(f"| {name} | {float(seconds):.1f} | {peak} |")  # noqa: T201 - the table


if __name__ == "__main__":
    main()
