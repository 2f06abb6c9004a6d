"""What a row of `update` costs, on one core against nginx on the other, beside other ways to send as much.

    .venv/bin/python -m tests.benchmarks.sending [--rows N] [--rounds N] [--memory]

Starts its own nginx, prints Markdown. Everything is processor time (of all threads, user and system), since a busy
machine disturbs that least; the rounds of all candidates are interleaved, and the median counts. `rows/s of a core` is
what one core could do if nothing else ran on it. Limits are off; journal and results are included.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks import stages
from tests.nginx import find_nginx, nginx

FIELDS = '"name":"Acme B.V.","phone":"+31 20 1234567","status":"active"'
ADDRESS = '{"street":"Oudegracht 1","city":"Utrecht","postal_code":"3511 AB"}'
ANSWER = f"""location ~ /(?<id>[0-9]+)/$ {{ return 200 '{{"id":$id,{FIELDS},"full_address":{ADDRESS}}}'; }}"""
"""Confirms every row, with its own id, and shows what was asked, so that nothing is read again."""
HEADERS = "id,name,phone,full_address.street,full_address.city,full_address.postal_code"
BODY = f"{{{FIELDS}}}"
NO_LIMITS = ("--no-compare", "--yes", "--quiet", "--max-per-second", "1000000")
PLAIN_ROWS = 2_000
LUA = "wrk.method='PATCH' wrk.body='{body}' wrk.headers['Content-Type']='application/json'"


@dataclass(frozen=True)
class Cost:
    """What a process used: seconds of processor time, and its peak of memory in MB."""

    seconds: float
    megabytes: float


def say(text: str) -> None:
    """Write a line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(command: Sequence[str], folder: Path) -> tuple[Cost, str]:
    """Run a program on the first core; RuntimeError unless it ends well."""
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "DUALENTRY_API_KEY": "k" * 20}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # who has it compiles all modules at each start
    core = min(os.sched_getaffinity(0))
    with (folder / "out").open("w+") as out:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(os.sched_setaffinity, 0, {core}),
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {said[-500:]}")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024), said


def make_sheet(folder: Path, rows: int) -> Path:
    """Write a sheet with five fields a row."""
    path = folder / f"{rows}.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write(HEADERS + "\n")
        for n in range(1, rows + 1):
            file.write(f"{n},Acme B.V.,+31 20 1234567,Oudegracht 1,Utrecht,3511 AB\n")
    return path


def update(folder: Path, url: str, rows: int, width: int) -> Cost:
    """Run `batch update` in a new run folder."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        sheet = make_sheet(folder, rows)
        command = [sys.executable, "-m", "batch", "update", str(sheet), "-e", "dualentry.customers", "--base-url", url]
        return run([*command, *NO_LIMITS, "--max-at-once", str(width), "--out", out], folder)[0]


def plain(folder: Path, url: str, width: int) -> Cost:
    """Run the plain script on fewer rows: it is slow."""
    script = str(Path(__file__).with_name("plain.py"))
    return run([sys.executable, script, str(make_sheet(folder, PLAIN_ROWS)), url, str(width)], folder)[0]


def compare(folder: Path, url: str, rows: int, rounds: int) -> None:
    """Print the table of all ways to send."""
    start = f"batch update, {rows // 20:,} rows"
    ways: dict[str, tuple[int, Callable[[], Cost]]] = {
        "plain httpx with a semaphore, 64 in flight": (PLAIN_ROWS, lambda: plain(folder, url, 64)),
        **{
            f"batch update, {width} in flight": (rows, partial(update, folder, url, rows, width))
            for width in (32, 64, 256)
        },
        start: (rows // 20, partial(update, folder, url, rows // 20, 64)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (_, way) in ways.items():
            seconds[name].append(way().seconds)
    median = {name: statistics.median(found) for name, found in seconds.items()}
    each = {name: median[name] / ways[name][0] for name in ways if name != start}
    base, small, _, large = each.values()
    say("| way | µs per row | rows/s of a core | times plain httpx |\n|---|---|---|---|")
    for name, cost in each.items():
        say(f"| {name} | {cost * 1e6:,.0f} | {1 / cost:,.0f} | {base / cost:.1f} |")
    further = (median["batch update, 64 in flight"] - median[start]) / (rows - rows // 20)
    say(f"| batch update, each further row | {further * 1e6:,.0f} | {1 / further:,.0f} | {base / further:.1f} |")
    say(f"\nAt 256 in flight: {small / large:.0%} of the rate at 32.\n")


def compare_starts(folder: Path, url: str, rounds: int) -> None:
    """Print what a run of one row costs, most of which is starting."""
    costs = [update(folder, url, 1, 64).seconds for _ in range(rounds)]
    say(f"A run of one row: {statistics.median(costs):.2f} s of processor time.\n")


def compare_stages(folder: Path, url: str, rows: int, rounds: int) -> None:
    """Print what each stage costs."""
    sheet = make_sheet(folder, rows)
    found = [stages.measure(sheet, rows, url) for _ in range(rounds)]
    say("| stage alone | µs per row |\n|---|---|")
    costs = {name: statistics.median(one[name] for one in found) for name in found[0]}
    for name, cost in {**costs, "all stages": sum(costs.values())}.items():
        say(f"| {name} | {cost:,.0f} |")
    say("\nWhat `update` costs more is starting, workers, slots, pacing, answers and shutdown.\n")


def compare_programs(folder: Path, url: str) -> None:
    """Print what programs in C do with the same server; a program that is missing is named."""
    say("| program | µs per request | requests/s of a core |\n|---|---|---|")
    for name, measure in (("wrk", by_wrk), ("curl", by_curl)):
        program = shutil.which(name)
        if program is None:
            say(f"| {name} | NOT INSTALLED, not compared | |")
            continue
        each = measure(program, folder, url)
        say(f"| {name} | {each * 1e6:,.0f} | {1 / each:,.0f} |")


def by_wrk(program: str, folder: Path, url: str) -> float:
    """Return the processor seconds of each request at 64 in flight."""
    script = folder / "patch.lua"
    script.write_text(LUA.format(body=BODY))
    used, said = run([program, "-t1", "-c64", "-d3s", "-s", str(script), f"{url}/public/v2/customers/1/"], folder)
    requests = int(said.split(" requests in ")[0].split()[-1])
    return used.seconds / requests


def by_curl(program: str, folder: Path, url: str, requests: int = 5_000) -> float:
    """Return the processor seconds of each request at 64 in flight."""
    how = ["--silent", "--parallel", "--parallel-max", "64", "--output", "/dev/null", "--request", "PATCH"]
    target = f"{url}/public/v2/customers/[1-{requests}]/"
    used, _ = run([program, *how, "--header", "Content-Type: application/json", "--data", BODY, target], folder)
    return used.seconds / requests


def compare_memory(folder: Path, url: str) -> None:
    """Print the peak of memory for few and for many rows."""
    say("| rows | peak of memory, MB |\n|---|---|")
    for rows in (20_000, 200_000):
        say(f"| {rows:,} | {update(folder, url, rows, 64).megabytes:,.0f} |")


def main() -> None:
    """Print all tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--memory", action="store_true", help="20,000 and 200,000 rows, some minutes")
    chosen = options.parse_args()
    if find_nginx() is None:
        sys.exit("NOTHING WAS MEASURED: nginx is not installed.")
    with tempfile.TemporaryDirectory() as name, nginx(ANSWER, last_core=True) as url:
        folder = Path(name)
        compare(folder, url, chosen.rows, chosen.rounds)
        compare_starts(folder, url, chosen.rounds)
        compare_stages(folder, url, chosen.rows, chosen.rounds)
        compare_programs(folder, url)
        if chosen.memory:
            compare_memory(folder, url)


if __name__ == "__main__":
    main()
