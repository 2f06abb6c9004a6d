"""A sandbox as a child process that cannot outlive its parent.

The child stops when its standard input closes, which the operating system sees to however the parent ends, and it is
in a session of its own, so that Ctrl-C on the terminal reaches the parent alone.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, Self

from batch.errors import UsageError
from batch.sandbox.options import SandboxOptions, arguments_of

STOP_SECONDS = 5.0
SECRETS = ("DUALENTRY_API_KEY", "VAYU_API_TOKEN", "VAYU_CLIENT_ID")


class SandboxError(UsageError):
    """The sandbox could not be started."""


class SandboxProcess:
    """A running sandbox: where it is, what opens it, and how to stop it."""

    def __init__(self, options: SandboxOptions) -> None:
        """Start it and wait until it answers; raises `SandboxError` with its own words when it does not."""
        options = dataclasses.replace(options, until_stdin_closes=True)
        with tempfile.TemporaryFile() as errors:
            self._process = start_process(options, subprocess.PIPE, errors)
            self._hello = _read_hello(self._process, errors)
        self.url: str = self._hello["url"]

    def environment(self) -> dict[str, str]:
        """The environment variables that open both imitated APIs."""
        return credentials_in(self._hello)

    def stop(self) -> None:
        """End the process and wait for it; a second call does nothing."""
        _end(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def start_detached(options: SandboxOptions, log: Path) -> dict[str, Any]:
    """Start one that outlives this process, and wait until it answers; gives its first words. Raises `SandboxError`."""
    with os.fdopen(os.open(log, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "r+b") as errors:
        process = start_process(options, subprocess.DEVNULL, errors)
        hello = _read_hello(process, errors)
    if process.stdout is not None:
        process.stdout.close()
    return hello


def credentials_in(hello: dict[str, Any]) -> dict[str, str]:
    """Return what opens both imitated APIs, by the names of their variables, out of a sandbox's first words."""
    return {name: value for api in ("dualentry", "vayu") for name, value in hello[api]["env"].items()}


def start_process(options: SandboxOptions, stdin: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the process, which says on its standard output where it is."""
    return subprocess.Popen(  # noqa: S603 - this very program, with checked switches
        [sys.executable, "-P", "-m", "batch.sandbox", *arguments_of(options)],
        stdin=stdin, stdout=subprocess.PIPE, stderr=errors, env=_environment(), start_new_session=True,
    )  # fmt: skip


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
