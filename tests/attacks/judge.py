"""What came of an attack, by the ledger of the sandbox: lost, twice, untrue; and the attacks by strace."""

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.shell import Api, Shell, assert_balanced, results

CALLS = ("write", "writev", "pwrite64", "fsync", "fdatasync", "sendto", "sendmsg", "rename", "ftruncate", "unlink")
"""Every system call by which bytes leave the process or become durable."""
RESUMES = 4


@dataclass
class Score:
    """The books of an attack: how many tries, and what they broke."""

    tries: int = 0
    killed: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)

    def line(self, name: str) -> str:
        """A row of the table of attacks."""
        counts = (self.tries, self.killed, len(self.lost), len(self.twice), len(self.untrue))
        return f"| {name} | " + " | ".join(map(str, counts)) + " |"


def needs_strace() -> str:
    """The path of strace; skips loudly where there is none."""
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed, so no system call can be attacked:  apt install strace")
    return path


def count_calls(shell: Shell, command: list[object], log: Path) -> Counter[str]:
    """Run a command and count its system calls; of each, as many as the busiest thread makes."""
    trace = [needs_strace(), "-f", "-qq", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    process = shell.start_under(trace, *command)
    process.communicate()
    threads: Counter[tuple[str, str]] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        found = re.match(r"(\d+) +(\w+)\(", line)
        if found and found[2] in CALLS:
            threads[found[1], found[2]] += 1
    most: Counter[str] = Counter()
    for (_, call), count in threads.items():
        most[call] = max(most[call], count)
    return most


def attack(shell: Shell, command: list[object], call: str, number: int, what: str) -> int:
    """Run a command whose call number `number` (of each thread) meets `what`: `signal=KILL` or `error=EIO`."""
    inject = f"inject={call}:{what}:when={number}"
    trace = [needs_strace(), "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    process = shell.start_under(trace, *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process.communicate()
    return process.returncode


def judge(shell: Shell, api: Api, command: list[object], sheet: Path, score: Score, name: str) -> None:
    """Resume until the end, and hold what the program says against the ledger."""
    ids = [line.split(",")[0] for line in (shell.folder / sheet).read_text().splitlines()[1:]]
    code = -1
    for _ in range(RESUMES):
        code = shell.here(*command).code
        if code != 3:
            break
    folders = [one for one in shell.runs(f"{sheet.stem}.batch") if not one.name.startswith("plan-")]
    if code != 0 or not folders:
        score.lost.append(f"{name}: exit {code}")
        return
    assert_balanced(folders[-1])
    applied = Counter(one for one in api.applied() if one in set(ids))
    said = {
        line["id"]: line["outcome"]
        for folder in folders
        if (folder / "results.csv").exists()
        for line in results(folder)
    }
    score.lost += [f"{name}: {one}" for one in ids if said.get(one) not in ("updated", "unchanged")]
    score.untrue += [f"{name}: {one}" for one in ids if said.get(one) == "updated" and not applied[one]]
    score.twice += [f"{name}: {one}" for one in ids if applied[one] > 1]
