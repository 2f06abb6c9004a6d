"""What many rows take in shards and in one process, where nothing limits, beside each other against nginx.

    .venv/bin/python -m tests.benchmarks.shards [--rows N] [--shards N]

Starts its own nginx, prints Markdown: seconds by the clock, processor time of all processes of `update`, the most
memory of one of them, and what their runs take on the disk, which is removed after each. On two cores, of which nginx
has a part, more processes can hardly be faster; what they cost more is what is looked at. The sheet is written row by
row: 5,000,000 rows take 0.3 GB in TMPDIR, where the runs lie, too.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.sending import ANSWER, NO_LIMITS, make_sheet, say
from tests.nginx import find_nginx, nginx


@dataclass(frozen=True)
class Took:
    """What sending all rows took: seconds by the clock and of processors, the most MB of a process, GB on the disk."""

    seconds: float
    used: float
    megabytes: float
    gigabytes: float


def run(folder: Path, url: str, sheet: Path, shards: int) -> Took:
    """Send all rows in so many processes at once."""
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / f"state-{shards}"), "DUALENTRY_API_KEY": "k" * 20}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    out = folder / f"out-{shards}"
    command = [sys.executable, "-m", "batch", "update", str(sheet), "-e", "dualentry.customers", "--base-url", url]
    command += [*NO_LIMITS, "--max-at-once", "64", "--out", str(out)]
    began, used, most = time.monotonic(), 0.0, 0.0
    parts = [[]] if shards == 1 else [["--shard", f"{k}/{shards}"] for k in range(1, shards + 1)]
    running = [subprocess.Popen([*command, *part], env=environment) for part in parts]
    for process in running:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        used += usage.ru_utime + usage.ru_stime
        most = max(most, usage.ru_maxrss / 1024)
    seconds = time.monotonic() - began
    if ended := [process.returncode for process in running if process.returncode]:
        raise RuntimeError(f"Of {shards} processes some ended with {ended}.")
    size = sum(one.stat().st_size for one in out.rglob("*") if one.is_file() and not one.is_symlink())
    shutil.rmtree(out)
    return Took(seconds, used, most, size / 1e9)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--shards", type=int, default=8)
    chosen = options.parse_args()
    if find_nginx() is None:
        sys.exit("NOTHING WAS MEASURED: nginx is not installed.")
    with tempfile.TemporaryDirectory() as name, nginx(ANSWER) as url:
        folder = Path(name)
        sheet = make_sheet(folder, chosen.rows)
        say("| processes | seconds | rows/s | processor time, s | µs a row | most MB of one | GB on disk |")
        say("|---|---|---|---|---|---|---|")
        rates = []
        for count in (1, chosen.shards):
            took = run(folder, url, sheet, count)
            rates.append(chosen.rows / took.seconds)
            each = took.used / chosen.rows * 1e6
            say(
                f"| {count} | {took.seconds:,.1f} | {rates[-1]:,.0f} | {took.used:,.1f} | {each:,.0f} "
                f"| {took.megabytes:,.0f} | {took.gigabytes:.2f} |"
            )
        say(f"\nIn {chosen.shards} shards: {rates[1] / rates[0]:.2f} times the rate of one process.")


if __name__ == "__main__":
    main()
