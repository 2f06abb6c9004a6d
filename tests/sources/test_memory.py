"""Memory is flat: four million rows need hardly more than one million, to read and to write about.

Peaks are of whole processes (`ru_maxrss`), Python and polars included. Run by `--long`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

READ_AND_WRITE = """
import resource, sys
from pathlib import Path
from batch.model import RowResult, Outcome
from batch.outputs import Wanted, write
from batch.sources import ReadOptions, iter_frames, open_input, stage

folder = Path(sys.argv[2])
staged = stage(open_input(sys.argv[1], folder), folder, ReadOptions())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
write(folder, staged, lambda: iter_frames(staged), lambda first, last: {}, Wanted(id_column=0))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
MAKE_PARQUET = "import polars, sys; polars.scan_csv(sys.argv[1]).sink_parquet(sys.argv[2])"
LINE = (
    "Customer {0},555-{0:04d},c{0}@example.com,https://example.com/{0},{0} Main Street,Springfield,{0:05d},US,Gold {0}"
)


def make_csv(path: Path, rows: int, first: str = "") -> Path:
    """Write a CSV file with so many rows of ten columns, after a first line."""
    with path.open("w") as file:
        file.write(f"id,name,phone,email,website,street,city,postal_code,country,tier\n{first}")
        for row in range(rows):
            file.write(f"{10_000 + row},{LINE.format(row % 9973)} and some padding\n")
    return path


def peaks(path: Path, folder: Path) -> tuple[int, int]:
    """Read a file and write results and failures in a process of its own: its peaks after each, in MB."""
    folder.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", READ_AND_WRITE, path, folder], capture_output=True, text=True, check=True
    )
    reading, writing = map(int, run.stdout.split())
    return reading, writing


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_memory_is_flat(form: str, tmp_path: Path) -> None:
    """Four million rows stay below 350 MB, and within 1.6 times what one million need."""
    found = {}
    for rows in (1_000_000, 4_000_000):
        path = make_csv(tmp_path / f"{rows}.csv", rows)
        if form == "parquet":
            path = tmp_path / f"{rows}.parquet"
            subprocess.run([sys.executable, "-c", MAKE_PARQUET, tmp_path / f"{rows}.csv", path], check=True)
        found[rows] = peaks(path, tmp_path / f"run-{rows}")
    assert max(found[4_000_000]) < 350, found
    assert all(four < 1.6 * one for one, four in zip(found[1_000_000], found[4_000_000], strict=True)), found


def test_lost_quotation_mark_in_a_large_file(tmp_path: Path) -> None:
    """A quotation mark that is never closed does not bring a large file into memory."""
    path = make_csv(tmp_path / "large.csv", 1_000_000, first=f'1,"{LINE.format(1)}\n')
    assert max(peaks(path, tmp_path / "run")) < 350
