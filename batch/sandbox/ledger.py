"""The ledger: one JSON line per request that reached the sandbox, written before its answer leaves.

Tests judge by it what was applied, whatever became of the client. Each line is one write to a file opened for
appending, readable by its owner alone, so a killed sandbox loses no line of an answer that was seen.
"""

import os
import time
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from batch.sandbox.exchange import Call, parsed


class Ledger:
    """Appends to `path`; with None it does nothing."""

    def __init__(self, path: Path | None, *, writes_only: bool = False, bodies: bool = True) -> None:
        self._writes_only = writes_only
        self._bodies = bodies
        self._file = None
        if path is not None:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def record(self, api: str, call: Call, *, status: int | None, fault: str | None, by: str = "client") -> None:
        """Write the line of `call`."""
        if self._file is None or (self._writes_only and not call.is_write):
            return
        line: dict[str, Any] = {
            "n": call.n,
            "t": time.time(),
            "api": api,
            "method": call.method,
            "path": call.path,
            "query": call.query,
            "id": call.record,
            "key": call.headers.get("Idempotency-Key"),
            "status": status,
            "applied": call.applied,
            "fault": fault,
            "by": by,
        }
        if self._bodies and call.body:
            line["body"] = _shown(call)
        os.write(self._file, to_json(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _shown(call: Call) -> Any:
    """The body as JSON, else as text; a refresh token is not written down."""
    if call.path == "/login":
        return "(not kept)"
    try:
        return parsed(call.body)
    except ValueError:
        return call.body.decode(errors="replace")
