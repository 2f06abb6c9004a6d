"""Starts of the program that cost a fork instead of its imports.

Most tests that need a process of their own need its signals, streams, locks and death, not its imports, which take
most of its time. One server a test process has imported the program and forks for each start; the child gets the
words, the environment, the folder and the streams, and goes through the real entry point to the interpreter's end.

    start()    a process, as `subprocess.Popen` gives it
    serve()    the server (`python -P -m tests.starts`)

A start goes through the interpreter, as the user's does, where something is asked that is settled before the first
line of the program runs (see `is_forked`), and for whoever starts a process without this module.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
AT_THE_START = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "MALLOC_", "_RJEM_", "POLARS_", "RUST", "OPENSSL_", "SSL_")
"""How variables begin that the interpreter and libraries look at when they start or are imported, once for all."""
KEYRING = "PYTHON_KEYRING_BACKEND"
"""Is looked at when keyring is imported, which no start does before it needs one."""
LONGEST = 100_000
"""How many bytes of words and environment the server takes; a start with more is not forked."""
STREAMS = ("stdin", "stdout", "stderr")


def start(
    module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], **options: Any
) -> "subprocess.Popen[bytes]":
    """Start `python -P -m MODULE ARGUMENTS` in `folder`; `options` are those of `subprocess.Popen`."""
    if is_forked(environment, options):
        wanted = {"module": module, "arguments": [*arguments], "folder": str(folder), "environment": {**environment}}
        wanted["is_leader"] = options.get("start_new_session", False)
        message = json.dumps(wanted).encode()
        if len(message) < LONGEST:
            return ForkedProcess(command(module, arguments), message, [options.get(one) for one in STREAMS])
    return start_cold(module, arguments, folder, environment, **options)


def start_cold(
    module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], **options: Any
) -> "subprocess.Popen[bytes]":
    """Start it as its users do: a new interpreter, which imports what it needs."""
    return subprocess.Popen(command(module, arguments), cwd=folder, env=environment, **options)


def command(module: str, arguments: Sequence[str]) -> list[str]:
    """Name the words of a cold start."""
    return [sys.executable, "-P", "-m", module, *arguments]


def is_forked(environment: Mapping[str, str], options: Mapping[str, Any]) -> bool:
    """Whether a fork of the server is as good as a start of the interpreter."""
    return (
        sys.platform == "linux"  # elsewhere what the system's own libraries do does not bear a fork
        and options.keys() <= {*STREAMS, "start_new_session"}
        and os.geteuid() == os.getuid()
        and _at_the_start(environment) == _at_the_start(environment_of_server())
    )


def _at_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(AT_THE_START) and name != KEYRING}


def environment_of_server() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


# -- in the test -------------------------------------------------------------------------------------------------------


class ForkedProcess(subprocess.Popen[bytes]):
    """A child of the server, which tells how it ended; used as `subprocess.Popen` is, with pipes of bytes."""

    def __init__(self, command: list[str], message: bytes, streams: Sequence[Any]) -> None:
        """Have it started; of `streams`, which are as `subprocess.Popen` takes them, pipes become `stdin` and so on."""
        self.args, self.returncode = command, None
        ours: list[IO[bytes] | None] = []
        theirs: list[int] = []
        close: list[int] = []
        for number, wanted in enumerate(streams):
            if wanted == subprocess.PIPE:
                ends = os.pipe() if number == 0 else os.pipe()[::-1]
                ours.append(open(ends[1], "wb" if number == 0 else "rb"))  # noqa: SIM115 - a process's own
                theirs.append(ends[0])
                close.append(ends[0])
                continue
            ours.append(None)
            if wanted == subprocess.DEVNULL:
                close.append(os.open(os.devnull, os.O_RDWR))
                theirs.append(close[-1])
            elif wanted == subprocess.STDOUT:
                theirs.append(theirs[1])
            else:
                theirs.append(number if wanted is None else wanted if isinstance(wanted, int) else wanted.fileno())
        self.stdin, self.stdout, self.stderr = ours
        self._said = {one: bytearray() for one in ours[1:] if one is not None}
        reads, writes = os.pipe()
        close.append(writes)
        self._report = open(reads, "rb", buffering=0)  # noqa: SIM115 - until it has ended
        try:
            socket.send_fds(_server(), [message], [*theirs, writes])
        finally:
            for one in close:
                os.close(one)
        self.pid = self._read_report()

    def _read_report(self) -> int:
        told = self._report.read(NUMBER)
        if not told:
            raise ChildProcessError("The server of starts has ended.")
        return int(told)

    def poll(self) -> int | None:
        """Return how it ended, or None while it runs."""
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ended, when it has; raise `subprocess.TimeoutExpired` when that takes longer."""
        if self.returncode is None:
            if timeout is not None and not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self._end()
        code: int = self.returncode
        return code

    def _end(self) -> None:
        self.returncode = self._read_report()
        self._report.close()

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Write `input`, read its pipes to their ends, and wait for its end."""
        end = None if timeout is None else time.monotonic() + timeout
        left = memoryview(input or b"")
        said = self._said
        reading = [one for one in said if not one.closed]
        writing = [self.stdin] if self.stdin and not self.stdin.closed else []
        while reading or writing:
            if writing and not left:
                writing.pop().close()
                continue
            rest = None if end is None else max(0.0, end - time.monotonic())
            can_read, can_write, _ = select.select(reading, writing, [], rest)
            if not (can_read or can_write):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            for one in can_read:
                data = os.read(one.fileno(), 65536)
                said[one] += data
                if not data:
                    reading.remove(one)
                    one.close()
            for one in can_write:
                try:
                    left = left[os.write(one.fileno(), left[: select.PIPE_BUF]) :]
                except BrokenPipeError:
                    left = left[:0]
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        return tuple(bytes(said[one]) if one else None for one in (self.stdout, self.stderr))  # type: ignore[return-value]

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


@cache
def _server() -> socket.socket:
    """Start the server of this process; it ends with the socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        words = [sys.executable, "-P", "-m", "tests.starts", str(theirs.fileno())]
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment_of_server(), stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# -- in the server -----------------------------------------------------------------------------------------------------

NUMBER = 16
"""How many bytes a process's number and its end are told in."""
NOT_IMPORTED = ("batch.distributed", "batch.extras")


def serve(control: int) -> str:
    """Fork for each message from `control` until it is closed; return the module to run in each child."""
    import_all()
    stretch_less()
    reports: dict[int, int] = {}
    rings, ring = socket.socketpair()
    for one in (rings, ring):
        one.setblocking(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(ring.fileno())
    messages = socket.socket(fileno=control)
    while True:
        ready, _, _ = select.select([messages, rings], [], [])
        if rings in ready:
            rings.recv(4096)
            _reap(reports)
        if messages not in ready:
            continue
        message, files, _, _ = socket.recv_fds(messages, LONGEST, 4)
        if not message:
            os._exit(0)
        pid = os.fork()
        if pid:
            reports[pid] = files.pop()
            _tell(reports[pid], pid)
            for file in files:
                os.close(file)
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for one in (messages, rings, ring):
            one.close()
        for report in reports.values():
            os.close(report)
        wanted = json.loads(message)
        _become(wanted, files)
        return str(wanted["module"])


def stretch_less() -> None:
    """Make the names of credentials at once: the time that they take is for who tries out credentials."""
    from batch import credentials

    credentials.STRETCHES = 2


def _reap(reports: dict[int, int]) -> None:
    while reports:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        report = reports.pop(pid)
        _tell(report, os.waitstatus_to_exitcode(status))
        os.close(report)


def _tell(report: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody wants to know
        os.write(report, b"%*d" % (NUMBER, number))


def import_all() -> None:
    """Import what the program imports. No pool of threads may begin with that, since a fork would lose it.

    Polars makes its own at the first use; what it begins with its import (jemalloc's cleaning up, and that of what is
    laid out to the disk) is missing in a child, which does not live long enough to need it.
    """
    import batch

    for found in pkgutil.walk_packages(batch.__path__, "batch."):
        if not found.name.endswith("__main__") and not found.name.startswith(NOT_IMPORTED):
            importlib.import_module(found.name)
    gc.collect()
    gc.freeze()  # what is never looked at stays shared


def _become(wanted: dict[str, Any], files: list[int]) -> None:
    """Take the place of a new process: its session, streams, folder, environment and words."""
    if wanted["is_leader"]:
        os.setsid()
    *streams, report = files
    os.close(report)
    for number, file in enumerate(streams):
        os.dup2(file, number)
        os.close(file)
    os.chdir(wanted["folder"])
    chosen = {
        name: os.environ[name] for name in ("LC_CTYPE",) if name in os.environ
    }  # by the interpreter, at its start
    os.environ.clear()
    os.environ.update(wanted["environment"] | chosen)
    for number, name in enumerate(STREAMS):
        before = getattr(sys, name)
        mode, newline = ("w", "\n") if number else ("r", None)
        around = {"encoding": before.encoding, "errors": before.errors, "newline": newline, "closefd": False}
        made = open(number, mode, 1 if name == "stderr" else -1, **around)  # noqa: SIM115 - for as long as it lives
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)
    sys.argv[1:] = wanted["arguments"]


if __name__ == "__main__":
    runpy.run_module(serve(int(sys.argv[1])), run_name="__main__", alter_sys=True)
