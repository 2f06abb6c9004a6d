"""One request and one answer, as both imitated APIs see them: no sockets, no aiohttp.

Paths are kept as they arrived, percent signs and all: whether the path that left the client is the path that was meant
is one of the things that tests ask the sandbox.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from pydantic_core import from_json, to_json

EDIT: Final = "EDIT"
"""The method that the ledger gives to a change by another hand."""
WRITES: Final = frozenset({"PUT", "PATCH", EDIT})


@dataclass(slots=True)
class Call:
    """A request: `path` is raw and without its query, `headers` ignores case."""

    n: int
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    record: str | None = None
    """The record's id in the path, decoded."""
    applied: bool = False
    """Whether the request changed the API's state; for the ledger."""
    reply_headers: dict[str, str] = field(default_factory=dict)
    """What goes on the answer whatever it is."""

    @property
    def is_write(self) -> bool:
        """Whether the request asks for a change of a record."""
        return self.method in WRITES

    @property
    def segments(self) -> list[str]:
        """The parts of the path between slashes, decoded; the last is "" after a trailing slash."""
        return [unquote(part) for part in self.path.split("/")[1:]]

    @property
    def parameters(self) -> dict[str, list[str]]:
        """The query's parameters, each with all its values."""
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.query, keep_blank_values=True):
            found.setdefault(name, []).append(value)
        return found


@dataclass(slots=True)
class Answer:
    """A status and a body, which may be a function: a stored answer then costs no more than what it is made of."""

    status: int
    body: bytes | Callable[[], bytes]
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    def rendered(self) -> bytes:
        """The body's bytes."""
        return self.body if isinstance(self.body, bytes) else self.body()


def json_answer(status: int, payload: Any, headers: dict[str, str] | None = None) -> Answer:
    """An answer with `payload` as JSON."""
    return Answer(status, to_json(payload), headers or {})


def parsed(body: bytes) -> Any:
    """The JSON value of `body`; raises ValueError."""
    return from_json(body, allow_inf_nan=False)
