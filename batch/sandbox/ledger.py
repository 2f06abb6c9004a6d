"""What was asked of the APIs: a line for each request, and counts.

The line is written before the first byte of an answer leaves, so whatever a client has seen is in it; it is one write
to a file opened for appending, readable by its owner alone, so a killed sandbox loses none.
"""

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from batch.sandbox.api import Call, parsed


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
            "n": call.n, "t": time.time(), "api": api, "method": call.method, "path": call.path, "query": call.query,
            "id": call.record, "key": call.headers.get("Idempotency-Key"), "status": status, "applied": call.applied,
            "fault": fault, "by": by, "company": call.company,
        }  # fmt: skip
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


@dataclass(slots=True)
class Counts:
    """What was asked of the APIs, without the sandbox's own routes."""

    requests: Counter[tuple[str, str, int | None]] = field(default_factory=Counter)
    applied: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0

    def enter(self) -> None:
        """A request has come."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)

    def note(self, api: str, call: Call, status: int | None) -> None:
        """A request has been decided."""
        self.requests[api, call.method, status] += 1
        self.applied[api] += call.applied

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        apis: dict[str, dict[str, int]] = {"dualentry": {}, "vayu": {}}
        for (api, method, status), count in sorted(self.requests.items(), key=str):
            apis[api][f"{method} {status or 'none'}"] = count
        return {
            "requests": apis, "total": self.requests.total(), "applied": {api: self.applied[api] for api in apis},
            "most_at_once": self.most_at_once,
        }  # fmt: skip
