"""What many rows take in shards and in one process, where nothing limits, beside each other against nginx.

    .venv/bin/python -m tests.benchmarks.shards [--rows N] [--shards N]

Starts its own nginx, prints Markdown: seconds by the clock, and processor time of all processes of `update`. On two
cores, of which nginx has a part, more processes can hardly be faster; what they cost more is what is looked at.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.sending import ANSWER, NO_LIMITS, make_sheet, say
from tests.nginx import find_nginx, nginx


def run(folder: Path, url: str, sheet: Path, shards: int) -> tuple[float, float]:
    """Send all rows in so many processes at once; return the seconds by the clock, and those of processors."""
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / f"state-{shards}"), "DUALENTRY_API_KEY": "k" * 20}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "batch", "update", str(sheet), "-e", "dualentry.customers", "--base-url", url]
    command += [*NO_LIMITS, "--max-at-once", "64", "--out", str(folder / f"out-{shards}")]
    began, used = time.monotonic(), 0.0
    parts = [[]] if shards == 1 else [["--shard", f"{k}/{shards}"] for k in range(1, shards + 1)]
    running = [subprocess.Popen([*command, *part], env=environment) for part in parts]
    for process in running:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        used += usage.ru_utime + usage.ru_stime
    seconds = time.monotonic() - began
    if ended := [process.returncode for process in running if process.returncode]:
        raise RuntimeError(f"Of {shards} processes some ended with {ended}.")
    return seconds, used


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--shards", type=int, default=8)
    chosen = options.parse_args()
    if find_nginx() is None:
        sys.exit("NOTHING WAS MEASURED: nginx is not installed.")
    with tempfile.TemporaryDirectory() as name, nginx(ANSWER) as url:
        folder = Path(name)
        sheet = make_sheet(folder, chosen.rows)
        say("| processes | seconds | rows/s | processor time, s | µs a row |\n|---|---|---|---|---|")
        found = [run(folder, url, sheet, count) for count in (1, chosen.shards)]
        for count, (seconds, used) in zip((1, chosen.shards), found, strict=True):
            rate, each = chosen.rows / seconds, used / chosen.rows * 1e6
            say(f"| {count} | {seconds:,.1f} | {rate:,.0f} | {used:,.1f} | {each:,.0f} |")
        say(f"\nIn {chosen.shards} shards: {found[0][0] / found[1][0]:.2f} times the rate of one process.")


if __name__ == "__main__":
    main()
