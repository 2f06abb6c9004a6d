"""A sandbox that a test controls: faults, changes by another hand, the truth about a record, and the ledger."""

import dataclasses
import json
import os
import subprocess
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Any

from batch.sandbox.options import SandboxOptions, arguments_of
from batch.sandbox.process import SECRETS, SandboxError, SandboxProcess
from tests import starts

KEY = "sandbox-key"


def fork_process(options: SandboxOptions, stdin: int, errors: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start a sandbox as `start_process` does, without its imports."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(starts.AT_THE_START)
    } | starts.environment_of_server()
    for name in SECRETS:
        environment.pop(name, None)
    around: dict[str, Any] = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": errors, "start_new_session": True}
    return starts.start("batch.sandbox", arguments_of(options), Path.cwd(), environment, **around)


class ControlledSandbox(SandboxProcess):
    """A running sandbox, opened by `KEY` unless the test names others, and its own routes."""

    def __init__(self, options: SandboxOptions) -> None:
        options = dataclasses.replace(options, keys=options.keys or (KEY,))
        super().__init__(options)
        self.options = options

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def ledger(self) -> Path | None:
        """The file with one line per request, when one was asked for."""
        return self.options.ledger

    @property
    def returncode(self) -> int | None:
        """How the process ended; None while it runs, negative when it was killed."""
        return self._process.poll()

    def read_ledger(self, start: int = 0) -> list[dict[str, Any]]:
        """The ledger's lines up to now, from byte `start` on."""
        if self.ledger is None:
            return []
        with self.ledger.open("rb") as file:
            file.seek(start)
            return [json.loads(line) for line in file]

    def ledger_size(self) -> int:
        """How many bytes the ledger has."""
        return self.ledger.stat().st_size if self.ledger is not None and self.ledger.exists() else 0

    def set_faults(self, *specs: str) -> None:
        """From now on these faults and no others (`KIND=WHEN`, see `SandboxOptions`)."""
        self.ask("faults", {"faults": specs})

    def edit(self, api: str, record_id: str | int, changes: dict[str, Any], company: int = 1) -> None:
        """Change a record by another hand; `changes` is the body of a PATCH."""
        self.ask("edit", {"api": api, "id": record_id, "set": changes, "company": company})

    def behave(self, **options: Any) -> None:
        """Change options of the running sandbox, until `reset`."""
        self.ask("behave", options)

    def reset(self) -> None:
        """Make every record and option what it was at the beginning, and end all faults."""
        self.ask("reset", {})

    def record(self, api: str, record_id: str | int, company: int = 1) -> dict[str, Any]:
        """A record as it is, whatever reads are shown."""
        return self.ask(f"record?api={api}&id={record_id}&company={company}")

    def counts(self) -> dict[str, Any]:
        """How many requests there were by method and status, and how many were applied."""
        return self.ask("counts")

    def ask(self, route: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call one of the routes under `/_sandbox/`; raises `SandboxError` with what it says."""
        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        with closing(connection):
            sent = None if body is None else json.dumps(body)
            connection.request("POST" if sent else "GET", f"/_sandbox/{route}", sent)
            answer = connection.getresponse()
            said = answer.read()
        if answer.status >= 400:
            raise SandboxError(f"The sandbox refuses {route}: {said.decode()}")
        result: dict[str, Any] = json.loads(said)
        return result
