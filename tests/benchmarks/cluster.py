"""Where the time of many jobs in shards goes, on a cluster of this machine, beside what the limits alone ask for.

    .venv/bin/python -m tests.benchmarks.cluster [--jobs N] [--shards N] [--rows N] [--rate N] [--workers N]

Does them by `submit` against a sandbox that refuses nothing, at so many requests a second for each key, by default 8
jobs of 600 rows in 4 shards at 10. Prints Markdown: the parts of the time by the clock, from the sandbox's ledger, and
processor time of `submit` and its workers. What the machine does beside, the load at the beginning tells.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from batch.sandbox.options import SandboxOptions
from tests.benchmarks.sending import say
from tests.sandbox.control import ControlledSandbox


def write_manifest(folder: Path, url: str, chosen: argparse.Namespace) -> Path:
    """Write the manifest and its one sheet."""
    names = "".join(f"{10001 + number},Firm {time.time_ns()}\n" for number in range(chosen.rows))
    (folder / "sheet.csv").write_text(f"id,name\n{names}")
    head = f'[defaults]\nendpoint = "dualentry.customers"\nbase_url = "{url}"\ninput = "sheet.csv"\n'
    head += f"max_per_second = {chosen.rate:g}\nshards = {chosen.shards}\n"
    jobs = [f'[[job]]\nname = "job-{n}"\ntoken_env = "KEY_{n}"\n' for n in range(1, chosen.jobs + 1)]
    path = folder / "jobs.toml"
    path.write_text(head + "".join(jobs))
    return path


def run(folder: Path, path: Path, chosen: argparse.Namespace) -> tuple[dict[str, Any], float, float, float]:
    """Do all jobs; return the summary, when that began and ended, and the processor time that it took."""
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    environment |= {f"KEY_{n}": f"key-{n}" for n in range(1, chosen.jobs + 1)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "batch", "submit", str(path), "--yes", "--json", "--quiet"]
    command += ["--workers", str(chosen.workers)] if chosen.workers else []
    began, before = time.time(), os.times()
    told = json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)
    ended, after = time.time(), os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return told, began, ended, used


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("jobs", 8), ("shards", 4), ("rows", 600), ("rate", 10), ("workers", 0)):
        options.add_argument(f"--{name}", type=type(value), default=value)
    chosen = options.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = tuple(f"key-{n}" for n in range(1, chosen.jobs + 1))
        asked = SandboxOptions(keys=keys, ledger=folder / "ledger.jsonl", records=chosen.rows, limits="off")
        with ControlledSandbox(asked) as sandbox:
            told, began, ended, used = run(folder, write_manifest(folder, sandbox.url, chosen), chosen)
            lines = [one for one in sandbox.read_ledger() if one["by"] == "client"]
    assert told["outcomes"]["updated"] == chosen.jobs * chosen.rows, told["outcomes"]
    by_job: dict[int, list[float]] = {}
    for line in lines:
        by_job.setdefault(line["company"], []).append(line["t"])
    firsts, lasts = [min(times) for times in by_job.values()], [max(times) for times in by_job.values()]
    bound = max(len(times) for times in by_job.values()) / chosen.rate
    sending = max(max(times) - min(times) for times in by_job.values())
    parts = {
        "until the first request: the program, the cluster, its workers' imports": min(firsts) - began,
        "until the last job has begun": max(firsts) - min(firsts),
        f"sending, of the slowest job (the limits alone: {bound:.1f} s)": sending,
        "until the last job has sent, where another began later": max(lasts) - max(firsts) - sending,
        "after the last request: results, their merging, the end of the cluster": ended - max(lasts),
    }
    say(f"{chosen.jobs} jobs × {chosen.shards} shards, {len(lines):,} requests; load before: {load:.1f}\n")
    say("| part | seconds |\n|---|---|")
    for part, seconds in parts.items():
        say(f"| {part} | {seconds:.1f} |")
    say(f"| all of it | {ended - began:.1f} |\n| processor time | {used:.1f} |")


if __name__ == "__main__":
    main()
