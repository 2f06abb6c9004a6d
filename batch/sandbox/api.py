"""What both imitated APIs are made of: one request, one answer, and rate limits as token buckets; no sockets.

Paths are kept as they arrived, percent signs and all: whether the path that left the client is the path that was meant
is one of the things that tests ask the sandbox. Limits: DualEntry has 50 burst + 5/s for all requests, and 10 burst +
1/s for each route with its method; Vayu 100 burst + 500/s. `fast` is twenty times that, `off` is none.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from pydantic_core import from_json, to_json

from batch.sandbox.options import LimitsMode, RateHeadersMode

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
    company: int | None = None
    """The number of the company (from 1) whose key it comes with."""
    applied: bool = False
    """Whether the request changed the API's state; for the ledger."""
    now: float = 0.0
    """When it came, in seconds of the clock that limits and lags are measured by."""
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
    def arguments(self) -> list[tuple[str, str]]:
        """The query's parameters in their order."""
        return parse_qsl(self.query, keep_blank_values=True)

    @property
    def parameters(self) -> dict[str, list[str]]:
        """The query's parameters, each with all its values."""
        found: dict[str, list[str]] = {}
        for name, value in self.arguments:
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


Action = Callable[[str | None], Answer]
"""What remains to be done for a request; takes the fault that it meets."""


def json_answer(status: int, payload: Any, headers: dict[str, str] | None = None) -> Answer:
    """An answer with `payload` as JSON."""
    return Answer(status, to_json(payload), headers or {})


def parsed(body: bytes) -> Any:
    """The JSON value of `body`; raises ValueError."""
    return from_json(body, allow_inf_nan=False)


def normalized(value: Any, name: str = "") -> Any:
    """What an API stores that has a spelling of its own; custom fields and ids stay as they are."""
    match value:
        case str() if name in ("unique_id", "externalId"):
            return value
        case str():
            trimmed = value.strip()
            return (
                trimmed.lower() if name == "email" else re.sub(r"[^0-9+]", "", trimmed) if name == "phone" else trimmed
            )
        case list():
            return [normalized(one) for one in value]
        case dict():
            kept = ("custom_fields", "customFields")
            return {name: one if name in kept else normalized(one, name) for name, one in value.items()}
    return value


FAST: Final = 20
ROUNDING: Final = 1e-6
"""Tokens; whoever comes exactly in time is not refused for the last bit of a float."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests at once, and how many more each second."""

    burst: float
    per_second: float

    def times(self, factor: float) -> "Rate":
        """The same, `factor` times as generous."""
        return Rate(self.burst * factor, self.per_second * factor)


DUALENTRY_ALL: Final = Rate(50, 5)
DUALENTRY_ROUTE: Final = Rate(10, 1)
VAYU_ALL: Final = Rate(100, 500)


class Bucket:
    """A token bucket that is full at first."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.tokens = rate.burst
        self._filled_at = 0.0

    def fill(self, now: float) -> None:
        """Add what has accrued since the last call."""
        passed = max(0.0, now - self._filled_at)
        self.tokens = min(self.rate.burst, self.tokens + passed * self.rate.per_second)
        self._filled_at = now

    def seconds_until(self, tokens: float) -> float:
        """How long until the bucket, as filled last, holds `tokens`."""
        missing = tokens - self.tokens
        return missing / self.rate.per_second if missing > ROUNDING else 0.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the buckets say to one request; `wait` is 0 when it may go on, else seconds."""

    wait: float
    limit: int
    remaining: int
    reset: float


_LIES: Final = {"full": ("100000", "100000", "0"), "empty": ("10", "0", "86400"), "garbled": ("many", "-1", "soon")}


def rate_headers(mode: RateHeadersMode, ticket: Ticket | None) -> dict[str, str]:
    """The rate headers of an answer; there is something true to say only with a ticket."""
    match mode:
        case "none":
            return {}
        case "true":
            if ticket is None:
                return {}
            said: Sequence[str] = (str(ticket.limit), str(ticket.remaining), str(math.ceil(ticket.reset)))
        case _:
            said = _LIES[mode]
    return dict(zip(("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"), said, strict=True))


class Limiter:
    """Several buckets that a request has to pass together: it takes from all of them or from none."""

    def __init__(self, shared: Rate, route: Rate | None, mode: LimitsMode) -> None:
        factor = FAST if mode == "fast" else 1
        self.is_off = mode == "off"
        self._route_rate = route and route.times(factor)
        self._shared = Bucket(shared.times(factor))
        self._routes: dict[str, Bucket] = {}

    def admit(self, route: str, now: float) -> Ticket | None:
        """Take a token from every bucket of `route`, or say how long to wait; None when limits are off."""
        if self.is_off:
            return None
        buckets = [self._shared, *self._buckets_of(route)]
        for bucket in buckets:
            bucket.fill(now)
        wait = max(bucket.seconds_until(1) for bucket in buckets)
        if wait == 0:
            for bucket in buckets:
                bucket.tokens -= 1
        tightest = min(buckets, key=lambda bucket: bucket.tokens)
        full_in = tightest.seconds_until(tightest.rate.burst)
        return Ticket(wait, int(tightest.rate.burst), int(tightest.tokens), full_in)

    def _buckets_of(self, route: str) -> list[Bucket]:
        if self._route_rate is None:
            return []
        if route not in self._routes:
            self._routes[route] = Bucket(self._route_rate)
        return [self._routes[route]]
