"""A million rows with faults on, resumed twice on the way: memory is flat, and the books balance.

RESILIENCE_ROWS=100000 ./run.sh test tests/resilience/test_endurance.py -m long -s
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from batch.sandbox.options import SandboxOptions
from tests.sandbox.control import ControlledSandbox
from tests.shell import DUALENTRY, ROOT, Shell, assert_balanced, summary

ROWS = int(os.environ.get("RESILIENCE_ROWS", "1000000"))
FAULTS = ("500=0.01", "drop-before=0.005", "drop-after=0.005", "hang-after=0.005")
GROWTH = 1.2
PATIENT = """
import functools, sys
from batch.engine import api_session as connection
from batch.http import Session, Timeouts
connection.Session = functools.partial(Session, timeouts=Timeouts(connect=2.0, read=2.0, total=5.0))
sys.argv[0] = "batch"
from batch.cli import main
main()
"""
"""The program, but an answer that never comes is given up after 2 s instead of 60."""


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[ControlledSandbox]:
    """A sandbox that writes down no more than it must."""
    ledger = tmp_path / "ledger.jsonl"
    options = SandboxOptions(
        records=10_000_000, limits="off", faults=FAULTS, ledger=ledger, ledger_writes_only=True, ledger_no_bodies=True
    )
    with ControlledSandbox(options) as sandbox:
        yield sandbox


def run_and_watch(shell: Shell, command: list[object], stop_after: int | None) -> tuple[int, int]:
    """Run to the end, or to SIGTERM (an odd number: kill -9) after so many seconds; gives exit code and peak in KiB."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    around = {"cwd": shell.folder, "env": shell.environment | {"PYTHONPATH": str(ROOT)}}
    process = subprocess.Popen([sys.executable, "-P", "-c", PATIENT, *map(str, command)], **around, **options)
    began, pid = time.monotonic(), 0
    while not pid:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if not pid:
            time.sleep(0.1)
            if stop_after is not None and time.monotonic() - began > stop_after:
                process.send_signal(signal.SIGKILL if stop_after % 2 else signal.SIGTERM)
                stop_after = None
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_maxrss


def change_all(shell: Shell, sandbox: ControlledSandbox, rows: int, first: int) -> tuple[int, Path]:
    """Change so many records, broken off twice; gives the peak of memory and the run's folder."""
    name = f"rows-{rows}.csv"
    with (shell.folder / name).open("w") as file:
        file.write("id,name\n")
        file.writelines(f"{number},New {number}\n" for number in range(first, first + rows))
    command: list[object] = [
        "update", name, "-e", DUALENTRY, "--base-url", sandbox.url, "--yes", "--no-compare", "--quiet",
        "--max-per-second", 100_000, "--max-at-once", 64,
    ]  # fmt: skip
    quarter = round(rows / 16_000) * 2  # seconds, roughly
    ends = [run_and_watch(shell, command, stop_after) for stop_after in (quarter + 1, quarter)]
    for _ in range(60):
        ends.append(run_and_watch(shell, command, None))
        if ends[-1][0] == 0:
            break
    assert 0 == ends[-1][0], ends
    return max(peak for _, peak in ends), shell.only_run(f"rows-{rows}.batch")


def applied(sandbox: ControlledSandbox) -> Counter[str]:
    """How often each record was written."""
    assert sandbox.ledger is not None
    with sandbox.ledger.open("rb") as file:
        return Counter(line["id"] for line in map(json.loads, file) if line["applied"])


@pytest.mark.long
def test_endurance(shell: Shell, busy: ControlledSandbox) -> None:
    """Five times the rows need no more than 1.2 times the memory, and every row was applied exactly once."""
    small, _ = change_all(shell, busy, ROWS // 5, 10_001 + ROWS)
    peak, folder = change_all(shell, busy, ROWS, 10_001)
    print(f"| endurance, {ROWS:,} rows | peak {peak // 1024} MiB | at a fifth {small // 1024} MiB |")  # noqa: T201 - the table of results
    assert peak <= GROWTH * small
    if ROWS <= 100_000:
        assert_balanced(folder)
    told = summary(folder)
    outcomes = pl.scan_csv(folder / "results.csv", infer_schema=False).group_by("outcome").len().collect()
    assert {"updated": ROWS} == dict(outcomes.rows())
    assert ROWS == told["rows"] == told["outcomes"]["updated"]
    counted = applied(busy)
    assert {1} == set(counted.values())
    assert ROWS + ROWS // 5 == len(counted)
