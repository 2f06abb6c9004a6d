"""A discrete-event world: clients with rows to send, a network with a random round trip, one server. It never sleeps.

A request arrives half a round trip after its start and its answer the other half later. Every client has `SLOTS` slots,
and a row that was refused goes back to the others.
"""

import heapq
import math
import random
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from batch.ratelimit import LimiterState, RatePolicy, read_reply

from .servers import NO_HEADERS, Server

SLOTS = 256
ROUTE = "PATCH /customers/{id}"


@dataclass(frozen=True)
class Network:
    """Round trips, lognormal, to the microsecond."""

    mean: float = 0.08
    sigma: float = 0.3

    def round_trip(self, rng: random.Random) -> float:
        return round(rng.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma), 6)


NEAR = Network()


MOST: ContextVar[int] = ContextVar("MOST", default=sys.maxsize)
"""How many requests a run may make before it is broken off with `EnoughError`."""


class EnoughError(Exception):
    """A run made as many requests as it may: `at` this moment the next would start, and `refused` were met with 429."""

    def __init__(self, at: float, refused: int) -> None:
        super().__init__(at, refused)
        self.at, self.refused = at, refused


def seeded(seed: int) -> random.Random:
    """Chance that is the same in every run."""
    return random.Random(seed)  # noqa: S311 - a simulation, no secret


@dataclass
class Client:
    """One program with its policy and state, and what the server said to it since the counting began."""

    policy: RatePolicy
    jitter: random.Random
    joins: float = 0.0
    rows: float = math.inf
    free: int = SLOTS
    accepted: int = 0
    refused: int = 0
    broken_pauses: int = 0
    finished: float = math.inf
    _paused_until: float = -math.inf
    _state: LimiterState = field(init=False)

    def __post_init__(self) -> None:
        self._state = self.policy.new_state()

    def next_start(self, now: float) -> float:
        if not self.free or not self.rows:
            return math.inf
        return self.policy.earliest(self._state, max(now, self.joins), ROUTE)

    def start(self, now: float) -> None:
        self.broken_pauses += now < self._paused_until
        self._state, grant = self.policy.book(ROUTE)(self._state, now)
        assert grant.starts == 1
        self.free -= 1
        self.rows -= 1

    def answer(self, now: float, started: float, refusal: Mapping[str, str] | None) -> None:
        self.free += 1
        if refusal is None:
            self._learn(now, started, 200, NO_HEADERS)
            self.finished = now
            return
        self.rows += 1
        self._paused_until = max(self._paused_until, now + float(refusal.get("retry-after", 0)))
        self._learn(now, started, 429, refusal)

    def _learn(self, now: float, started: float, status: int, headers: Mapping[str, str]) -> None:
        reply = read_reply(ROUTE, started, status, headers, now_epoch=0, rng=self.jitter)
        self._state, _ = self.policy.update(reply)(self._state, now)


@dataclass
class Environment:
    """Run clients against a server, counting from `counts_from`."""

    server: Server
    clients: list[Client]
    rng: random.Random
    network: Network = NEAR
    counts_from: float = 0.0
    started: int = 0
    refused: int = 0
    """How many were refused in all."""
    _events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _number: int = 0

    def at(self, time: float, happening: Callable[[float], None]) -> None:
        """Let something happen then."""
        self._number += 1
        heapq.heappush(self._events, (time, self._number, happening))

    def run(self, until: float) -> None:
        """Step from event to event: a start, an arrival, an answer."""
        now = 0.0
        while now <= until:
            begins, client = self._next_start(now)
            if self._events and self._events[0][0] <= begins:
                now, _, happening = heapq.heappop(self._events)
                happening(now)
            elif begins <= until:
                now = begins
                self._start(client, now)
            else:
                return

    def _next_start(self, now: float) -> tuple[float, Client]:
        client = self.clients[0]
        begins = client.next_start(now)
        for other in self.clients[1:]:
            if (at := other.next_start(now)) < begins:
                begins, client = at, other
        return begins, client

    def _start(self, client: Client, started: float) -> None:
        if self.started == MOST.get():
            raise EnoughError(started, self.refused)
        self.started += 1
        client.start(started)
        half = self.network.round_trip(self.rng) / 2

        def arrive(now: float) -> None:
            refusal = self.server.refusal(now)
            self.refused += refusal is not None
            if now >= self.counts_from:
                client.accepted += refusal is None
                client.refused += refusal is not None
            self.at(now + half, lambda then: client.answer(then, started, refusal))

        self.at(started + half, arrive)
