"""A sandbox as a child process that cannot outlive its parent.

The child stops when its standard input closes, which the operating system sees to however the parent ends, and it is
in a session of its own, so that Ctrl-C on the terminal reaches the parent alone.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from batch.errors import UsageError
from batch.sandbox.options import SandboxOptions, arguments_of

STOP_SECONDS = 5.0
SECRETS = ("DUALENTRY_API_KEY", "VAYU_API_TOKEN", "VAYU_CLIENT_ID")


class SandboxError(UsageError):
    """The sandbox could not be started."""


class SandboxProcess:
    """A running sandbox: where it is, what opens it, and how to stop it."""

    def __init__(self, process: subprocess.Popen[bytes], hello: dict[str, Any], options: SandboxOptions) -> None:
        self._process = process
        self.options = options
        self.url: str = hello["url"]
        self.pid: int = hello["pid"]
        self.apis: dict[str, dict[str, Any]] = {name: hello[name] for name in ("dualentry", "vayu")}

    @property
    def ledger(self) -> Path | None:
        """The file with one line per request, when one was asked for."""
        return self.options.ledger

    @property
    def returncode(self) -> int | None:
        """How the process ended; None while it runs, negative when it was killed."""
        return self._process.poll()

    def environment(self) -> dict[str, str]:
        """The environment variables that open both imitated APIs."""
        return {name: value for api in self.apis.values() for name, value in api["env"].items()}

    def read_ledger(self) -> list[dict[str, Any]]:
        """The ledger's lines up to now."""
        if self.ledger is None:
            return []
        return [json.loads(line) for line in self.ledger.read_bytes().splitlines()]

    def set_faults(self, *specs: str) -> None:
        """From now on these faults and no others (`KIND=WHEN`, see `SandboxOptions`)."""
        self.ask("faults", {"faults": specs})

    def edit(self, api: str, record_id: str | int, changes: dict[str, Any]) -> None:
        """Change a record by another hand; `changes` is the body of a PATCH."""
        self.ask("edit", {"api": api, "id": record_id, "set": changes})

    def reset(self) -> None:
        """Make every record what it was at the beginning, and end all faults."""
        self.ask("reset", {})

    def record(self, api: str, record_id: str | int) -> dict[str, Any]:
        """A record as it is, whatever reads are shown."""
        return self.ask(f"record?api={api}&id={record_id}")

    def counts(self) -> dict[str, Any]:
        """How many requests there were by method and status, and how many were applied."""
        return self.ask("counts")

    def ask(self, route: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call one of the routes under `/_sandbox/`; raises `SandboxError` with what it says."""
        from http.client import HTTPConnection  # here, since it is slow to import and few need it

        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        with contextlib.closing(connection):
            sent = None if body is None else json.dumps(body)
            connection.request("POST" if sent else "GET", f"/_sandbox/{route}", sent)
            answer = connection.getresponse()
            said = answer.read()
        if answer.status >= 400:
            raise SandboxError(f"The sandbox refuses {route}: {said.decode()}")
        result: dict[str, Any] = json.loads(said)
        return result

    def stop(self) -> None:
        """End the process and wait for it; a second call does nothing."""
        _end(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(options: SandboxOptions) -> SandboxProcess:
    """Start a sandbox and wait until it answers; raises `SandboxError` with its own words when it does not."""
    options = dataclasses.replace(options, until_stdin_closes=True)
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - this very program, with checked switches
            [sys.executable, "-P", "-m", "batch.sandbox", *arguments_of(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(),
            start_new_session=True,
        )
        return SandboxProcess(process, _read_hello(process, errors), options)


def _read_hello(process: subprocess.Popen[bytes], errors: IO[bytes]) -> dict[str, Any]:
    assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
    try:
        line = process.stdout.readline()
    except BaseException:  # Ctrl-C while waiting must not leave a child behind
        _end(process)
        raise
    if line.endswith(b"\n"):
        hello: dict[str, Any] = json.loads(line)
        return hello
    _end(process)
    errors.seek(0)
    said = errors.read().decode(errors="replace").strip().splitlines()
    raise SandboxError(f"The sandbox did not start: {said[-1] if said else 'it ended without a word'}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """Ours, with this package importable and without the credentials of a real API."""
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    own = str(Path(__file__).resolve().parents[2])
    paths = [own, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    return environment | {"PYTHONPATH": os.pathsep.join(paths)}
