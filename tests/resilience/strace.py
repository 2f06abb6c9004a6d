"""Attacks by strace on single system calls of a run.

strace counts the calls of each thread by itself. What the main thread calls before anything is sent would hide what
the journal's thread calls afterwards; so there are attacks from the start, and late ones: strace joins while the
sandbox lets the first request wait, and counts from there.
"""

import os
import re
import shutil
import subprocess
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.shell import Api, Shell, until

CALLS = ("write", "writev", "pwrite64", "fsync", "fdatasync", "sendto", "sendmsg", "rename", "ftruncate", "unlink")
"""Every system call by which bytes leave the process or become durable."""
PATIENCE = 0.5
"""Seconds that the sandbox waits before each answer, in late attacks."""
ESTABLISHED = "01"


@dataclass(frozen=True)
class Point:
    """A call: number `number` of its kind in its thread, from the start or, if it `is_late`, from the first request."""

    call: str
    number: int
    is_late: bool = False

    def __str__(self) -> str:
        return f"{'late-' if self.is_late else ''}{self.call}-{self.number}"


def needs_strace() -> str:
    """The path of strace; skips loudly where there is none."""
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed, so no system call can be attacked:  apt install strace")
    return path


def find_points(shell: Shell, api: Api, command: list[object], *, is_late: bool = False) -> list[Point]:
    """Run a command, and list its calls; of each kind, as many as the busiest thread makes.

    Late ones are those of the other threads than the main one, whose calls are all found from the start.
    """
    log = shell.folder / "strace.log"
    trace = ["-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    process = _run(shell, api, command, trace, is_late=is_late)
    main = str(process.pid) if is_late else ""
    threads: Counter[tuple[str, str]] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        found = re.match(r"(\d+) +(\w+)\(", line)
        if found and found[2] in CALLS and found[1] != main:
            threads[found[1], found[2]] += 1
    most: Counter[str] = Counter()
    for (_, call), count in threads.items():
        most[call] = max(most[call], count)
    return [Point(call, number, is_late) for call in sorted(most) for number in range(1, most[call] + 1)]


def attack(shell: Shell, api: Api, command: list[object], point: Point, what: str) -> int:
    """Run a command in which a call (of each thread) meets `what`: `signal=KILL` or `error=EIO`; gives its end."""
    inject = f"inject={point.call}:{what}:when={point.number}"
    trace = ["-o", "/dev/null", "-e", f"trace={point.call}", "-e", inject]
    return _run(shell, api, command, trace, is_late=point.is_late).returncode


def _run(
    shell: Shell, api: Api, command: list[object], trace: list[str], *, is_late: bool
) -> "subprocess.Popen[bytes]":
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    strace = [needs_strace(), "-f", "-qq", *trace]
    if not is_late:
        process = shell.start_under(strace, *command, **quiet)
        process.wait()
        return process
    process = shell.start(*command, **quiet)
    until(lambda: is_connected(process.pid, urlsplit(api.url).port or 0), process)
    tracer = subprocess.Popen([*strace, "-p", str(process.pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, said = tracer.communicate()
    process.wait()
    if b"Operation not permitted" in said:
        pytest.skip("strace may not join a process here: run this as root")
    return process


def is_connected(process: int, port: int) -> bool:
    """Whether a process has a connection to a port."""
    sockets: set[str] = set()
    with suppress(OSError):
        sockets = {os.readlink(file) for file in Path(f"/proc/{process}/fd").iterdir()}
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    there = (inode for _, _, to, state, *_, inode in (line[:10] for line in lines) if _is(to, state, port))
    return any(f"socket:[{inode}]" in sockets for inode in there)


def _is(to: str, state: str, port: int) -> bool:
    return state == ESTABLISHED and int(to.rpartition(":")[2], 16) == port
