"""Many keys, each shared by processes on several hosts over one store: how long that takes, beside the limits' bound.

What decides is the real policy, step by step and reply by reply (`RatePolicy.book`, `update`, `give_back`, `leave`), on
states in one store: its steps take effect one after the other, at its own clock, and messages to and from it take time.
A process does what `RateLimiter` does: it books as many starts as wait or were made lately, up to 100 ms ahead, tells
replies with its next question, drops what has become late or void, and hears of revisions a message later.

Keys have nothing to do with each other, so each is a world of its own; what hosts do at once is summed up afterwards.
"""

import heapq
import math
import random
import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from batch.ratelimit import Bucket, LimiterState, Limits, RatePolicy, Step, read_reply
from batch.ratelimit.limiter import LATE, LATEST, MOST_PENDING
from batch.ratelimit.policy import Ask, Grant
from batch.ratelimit.store import LEASE_SECONDS

from .servers import NO_HEADERS, Refusal, TokenBucketServer
from .world import NEAR, ROUTE, seeded

SLOTS = 64
LATENESS = 0.001
"""Seconds, on average, by which a process is woken too late."""
BIN = 10.0
"""Seconds over which the starts of a host are counted."""


@dataclass(frozen=True)
class Kind:
    """A kind of API: what it documents, what it permits, and which part of the keys and of the rows it has."""

    name: str
    limits: Limits | None
    permits: Bucket
    keys: float
    rows: float


KINDS = (
    Kind("documented 10 + 1/s", Limits(Bucket(50, 5), Bucket(10, 1)), Bucket(10, 1), 0.4, 0.05),
    Kind("documented 100 + 500/s", Limits(Bucket(100, 500)), Bucket(100, 500), 0.4, 0.8),
    Kind("100/s, burst 20, not documented", None, Bucket(20, 100), 0.2, 0.15),
)


@dataclass(frozen=True)
class KeyCase:
    """One key: its API, and the rows of each of its processes with the host that each is on."""

    number: int
    kind: Kind
    shards: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> int:
        return sum(rows for rows, _ in self.shards)

    @property
    def bound(self) -> float:
        """The seconds without which its API permits no end."""
        return max(0.0, (self.rows - self.kind.permits.burst) / self.kind.permits.per_second)


@dataclass(frozen=True)
class KeyFigures:
    """What came out for one key: seconds from its first start to its last answer, and what its processes did."""

    kind: str
    rows: int
    processes: int
    bound: float
    began: float
    ended: float
    refused: int
    transactions: int
    starts: Counter[tuple[int, int]]
    """By host and stretch of `BIN` seconds."""

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class KeyWorld:
    """One key: events in the order of time, the store's state, the API, and the processes."""

    def __init__(self, case: KeyCase) -> None:
        self.rng = seeded(case.number)
        self.policy = RatePolicy(case.kind.limits)
        self.server = TokenBucketServer(case.kind.permits.per_second, case.kind.permits.burst)
        self.state: LimiterState | None = None
        self.transactions = self.refused = 0
        self.began, self.ended = math.inf, 0.0
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0
        self.processes = [SimulatedProcess(self, str(n), *shard) for n, shard in enumerate(case.shards)]

    def at(self, time: float, happening: Callable[[float], None]) -> None:
        """Let something happen then."""
        self._number += 1
        heapq.heappush(self._events, (time, self._number, happening))

    def run(self) -> None:
        """Go on until nothing happens any more: all rows are answered."""
        for process in self.processes:
            self.at(self.rng.uniform(0, 2), process.act)
        events, pop = self._events, heapq.heappop
        while events:
            now, _, happening = pop(events)
            happening(now)
        if any(process.rows or process.in_flight for process in self.processes):
            raise RuntimeError("a process stopped before its rows were answered")

    def transact(self, now: float, step: Step[Grant | None]) -> tuple[LimiterState, Grant | None]:
        """Take a step on the store's clock, and tell all who listen of a new revision."""
        self.transactions += 1
        before = self.state.revision if self.state else 0
        self.state, grant = step(self.state, now)
        if self.state.revision != before:
            for process in self.processes:
                self.at(now + process.one_way(), _Heard(process, self.state.revision))
        return self.state, grant


@dataclass(slots=True)
class _Heard:
    """A message that the key has a new revision, on its way to a process."""

    process: "SimulatedProcess"
    revision: int

    def __call__(self, now: float) -> None:
        self.process.heard = max(self.process.heard, self.revision)
        self.process.act(now)


@dataclass(slots=True)
class SimulatedProcess:
    """One process of a key, as `RateLimiter` is over a store that others share."""

    world: KeyWorld
    who: str
    rows: int
    host: int
    in_flight: int = 0
    heard: int = 0
    """The newest revision that it was told of."""
    starts: Counter[tuple[int, int]] = field(default_factory=Counter)
    _booked: deque[float] = field(default_factory=deque)
    _revision: int = 0
    _next_ask: float = -math.inf
    _is_busy: bool = False
    _is_watched: bool = False
    _has_left: bool = False
    _pending: list[tuple[float, Step[None]]] = field(default_factory=list)
    _used: int = 0
    _asked_at: float = -math.inf
    _lag: float = 0.0
    """By how much its idea of the store's clock is behind: what the last answer took."""
    _distance: float = 0.0
    _wakes: float = math.inf

    def __post_init__(self) -> None:
        self._distance = seeded(self.host).uniform(0.0002, 0.005)

    def one_way(self) -> float:
        """Return how long a message between it and the store takes."""
        return self._distance * (1 + self.world.rng.expovariate(5))

    def act(self, now: float) -> None:
        """Start what may start, ask for more, or see to be woken when that is possible."""
        if self._wakes <= now:
            self._wakes = math.inf
        clock, booked = now - self._lag, self._booked
        while self.rows and self.in_flight < SLOTS:
            self._drop_late(clock)
            if booked and booked[0] > clock:
                self._wake(booked[0] + self._lag, now)
                return
            if booked and self.heard != self._revision:  # a pause, or a cut, which voids what is booked
                booked.clear()
                self._next_ask = -math.inf
            elif booked:
                booked.popleft()
                self._used += 1
                self._start(now)
            elif self._is_busy:
                return
            elif self._next_ask > clock:
                self._wake(self._next_ask + self._lag, now)
                return
            else:
                self._ask(now, clock)

    def _wake(self, at: float, now: float) -> None:
        if at < self._wakes:
            self._wakes = at
            late = self.world.rng.expovariate(1 / LATENESS)
            self.world.at(max(now, at) + late, self._woken)

    def _woken(self, now: float) -> None:
        if self._wakes <= now:
            self.act(now)

    def _drop_late(self, clock: float) -> None:
        """Give back starts that were not made in time."""
        booked = self._booked
        if not booked or booked[0] >= clock - LATE:
            return
        late = sum(one < clock - LATE for one in booked)
        late -= booked[late - 1] >= clock - LATEST
        for _ in range(late):
            booked.popleft()
        if late:
            self._pending.append((clock, self.world.policy.give_back(ROUTE, late, self._revision)))

    def _start(self, now: float) -> None:
        self.rows -= 1
        self.in_flight += 1
        self.starts[self.host, int(now // BIN)] += 1
        world = self.world
        world.began = min(world.began, now)
        half = NEAR.round_trip(world.rng) / 2
        world.at(now + half, lambda then: world.at(then + half, _Answer(self, now, world.server.refusal(then))))

    def answered(self, now: float, started: float, refusal: Refusal) -> None:
        """Learn from an answer; a row that was refused waits again."""
        world, clock = self.world, now - self._lag
        self.in_flight -= 1
        world.ended = now
        if refusal is not None:
            self.rows += 1
            world.refused += 1
        status, headers = (200, NO_HEADERS) if refusal is None else (429, refusal)
        reply = read_reply(ROUTE, started - self._lag, status, headers, now_epoch=0, rng=world.rng)
        self._pending.append((clock, world.policy.update(reply)))
        if not (self.rows or self.in_flight or self._has_left):
            self._has_left = True
            self._pending.append((clock, world.policy.give_back(ROUTE, len(self._booked), self._revision)))
            self._booked.clear()
            self._pending.append((clock, world.policy.leave(self.who)))
            self._transact(now, None)
        elif refusal is not None or self._is_watched or len(self._pending) >= MOST_PENDING:
            self._transact(now, None)
        self.act(now)

    def _ask(self, now: float, clock: float) -> None:
        """Book as many starts as wait, or as were made lately."""
        since = max(clock - self._asked_at, LEASE_SECONDS)
        made = 2 * math.ceil(self._used * LEASE_SECONDS / since)
        waiting = min(self.rows, SLOTS - self.in_flight)
        self._is_busy = True
        self._transact(now, self.world.policy.book(ROUTE, Ask(self.who, max(waiting, made), LEASE_SECONDS)))

    def _transact(self, now: float, book: Step[Grant] | None) -> None:
        """Send the store what is pending, with a booking; its answer takes time, too."""
        told, self._pending = self._pending, []
        world = self.world

        def step(state: LimiterState | None, at: float) -> tuple[LimiterState, Grant | None]:
            state = state or world.policy.new_state()
            for then, one in told:
                state, _ = one(state, min(then, at))
            return (state, None) if book is None else book(state, at)

        def arrive(then: float) -> None:
            state, grant = world.transact(then, step)
            adaptive = state.adaptive
            is_watched = state.blocked_since is not None or adaptive.trial is not None
            back = self.one_way()
            world.at(then + back, lambda now: self._granted(now, back, state.revision, is_watched, grant))

        world.at(now + self.one_way(), arrive)

    def _granted(self, now: float, took: float, revision: int, is_watched: bool, grant: Grant | None) -> None:
        self._lag, self._is_watched, self.heard = took, is_watched, max(self.heard, revision)
        if revision != self._revision:
            self._booked.clear()
            self._next_ask = -math.inf
        self._revision = revision
        if grant is not None:
            self._is_busy = False
            self._used, self._asked_at = 0, now - took
            self._booked.extend(grant.times)
            self._next_ask = -math.inf if grant.times else grant.at
        self.act(now)


@dataclass(slots=True)
class _Answer:
    """An answer on its way to the process that asked."""

    process: SimulatedProcess
    started: float
    refusal: Refusal

    def __call__(self, now: float) -> None:
        self.process.answered(now, self.started, self.refusal)


def cases(keys: int, hosts: int, rows: int, seed: int = 1) -> Iterator[KeyCase]:
    """Yield keys of all kinds, whose rows differ (lognormal, σ 0.8) and come to `rows`, and spread them over hosts."""
    rng, number = seeded(seed), 0
    for kind in KINDS:
        sizes = [rng.lognormvariate(0, 0.8) for _ in range(max(1, round(keys * kind.keys)))]
        each = rows * kind.rows / sum(sizes)
        for size in sizes:
            number += 1
            whole = max(kind.permits.burst + 1, round(size * each))
            count = min(hosts, rng.choice((1, 2, 4, 8)))
            yield KeyCase(
                number, kind, tuple(zip(_parts(rng, whole, count), rng.sample(range(hosts), count), strict=True))
            )


def _parts(rng: random.Random, whole: int, count: int) -> list[int]:
    """Return how many of the rows a hash puts into each of so many shards."""
    parts = [whole // count] * count
    for n in range(count - 1):
        moved = round(rng.gauss(0, math.sqrt(whole / count)))
        parts[n], parts[n + 1] = parts[n] + moved, parts[n + 1] - moved
    parts = [max(0, part) for part in parts]
    parts[0] += whole - sum(parts)
    return parts


def simulate(case: KeyCase) -> KeyFigures:
    """Let the processes of a key do all their rows."""
    world = KeyWorld(case)
    world.run()
    starts: Counter[tuple[int, int]] = Counter()
    for process in world.processes:
        starts.update(process.starts)
    return KeyFigures(
        case.kind.name, case.rows, len(case.shards), case.bound, world.began, world.ended, world.refused,
        world.transactions, starts,
    )  # fmt: skip


def simulate_all(keys: int, hosts: int, rows: int, *, workers: int = 1) -> list[KeyFigures]:
    """Simulate all keys, on so many processors."""
    todo = sorted(cases(keys, hosts, rows), key=lambda case: -case.rows)
    if workers == 1:
        return [simulate(case) for case in todo]
    with ProcessPoolExecutor(workers) as pool:
        return [*pool.map(simulate, todo)]  # the longest first, so that all end together


# -- the report -------------------------------------------------------------------------------------------------------

REPORT = Path(__file__).with_name("hosts.md")
WHOLE = {"keys": 1_000, "hosts": 50, "rows": 20_000_000}
HEAD = """\
# Many keys on many hosts, simulated

Written by `python -m tests.simulation hosts` in the top folder. {keys:,} keys, each with 1 to 8 processes on some of
{hosts} hosts, {rows:,} rows in all, which differ between keys (lognormal, σ 0.8). Every start is booked and every reply
learned from by the real policy, over one store that messages reach in 0.2 to 5 ms and more. Round trips to the API are
lognormal, mean 80 ms, σ 0.3; processes are woken 1 ms late on average; {slots} slots each; all begin within 2 s.

The bound of a key is what its API's limits alone ask for: (rows - burst) / rate.

**All keys together take {seconds:,.0f} s, {ratio:.4f} times the {bound:,.0f} s of the key that its limit holds up
longest.** Of the time of all keys, added up, it is {sum_ratio:.4f} times. The busiest host makes {peak:,.0f} starts a
second, over {bin:.0f} s.

| keys | how many | processes | rows | time by bound: median | 95 % | worst | 429s, % | starts a transaction |
|---|---|---|---|---|---|---|---|---|
"""


def render_hosts(figures: list[KeyFigures], keys: int, hosts: int, rows: int) -> str:
    """Write down what came out, in Markdown."""
    longest, on_hosts = max(figures, key=lambda one: one.bound), Counter[tuple[int, int]]()
    for one in figures:
        on_hosts.update(one.starts)
    ended = max(one.ended for one in figures)
    text = HEAD.format(
        keys=keys, hosts=hosts, rows=sum(one.rows for one in figures), slots=SLOTS, seconds=ended,
        bound=longest.bound, ratio=ended / longest.bound, peak=max(on_hosts.values()) / BIN, bin=BIN,
        sum_ratio=sum(one.seconds for one in figures) / sum(one.bound for one in figures),
    )  # fmt: skip
    for kind in KINDS:
        some = [one for one in figures if one.kind == kind.name]
        ratios, starts = sorted(one.seconds / one.bound for one in some), sum(one.rows + one.refused for one in some)
        processes = sum(one.processes for one in some)
        text += (
            f"| {kind.name} | {len(some):,} | {processes:,} | {sum(one.rows for one in some):,} "
            f"| {statistics.median(ratios):.4f} | {ratios[int(0.95 * len(ratios))]:.4f} | {ratios[-1]:.4f} "
            f"| {100 * sum(one.refused for one in some) / starts:.3f} "
            f"| {starts / sum(one.transactions for one in some):.1f} |\n"
        )
    return text
