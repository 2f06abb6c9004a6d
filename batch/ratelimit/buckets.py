"""Limits as values, the arithmetic that keeps starts within them, and a log that counts what happened since a time.

`TokenBucket` promises: never more than `burst + per_second * t` starts within any `t` seconds. `FixedRate` promises
the same with a burst of a few milliseconds. Both are GCRA (the virtual-scheduling form of the leaky bucket, ITU-T
I.371): one float of state, nothing to refill.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

ARRIVAL_LAG = 0.5
"""The API's bucket refills from the moment the first request *arrives*, not from when it left. Allow this many seconds
for the way (connection and TLS included), at most half of what the burst lasts; it is lost once per burst."""

CATCH_UP = 0.02
"""A busy program is late by milliseconds; a fixed rate may make up for this many seconds."""

LATENESS = 0.005


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket as an API documents it: `burst` attempts at once, then `per_second`."""

    burst: int
    per_second: float

    def __post_init__(self) -> None:
        if self.burst < 1:
            raise ValueError(f"burst must be at least 1, not {self.burst}")
        check_rate("per_second", self.per_second)


@dataclass(frozen=True, slots=True)
class Limits:
    """The documented limits of an API: one bucket for all attempts, one more for each route. None = not documented."""

    total: Bucket | None = None
    per_route: Bucket | None = None

    def __post_init__(self) -> None:
        if self.total and self.per_route and self.per_route.per_second > self.total.per_second:
            raise ValueError("a route cannot be faster than all routes together")


def check_rate(name: str, value: float) -> None:
    """Raise ValueError unless the value is a rate that something can run at."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a number greater than 0, not {value}")


class TokenBucket:
    """The arithmetic of one `Bucket`, as seen from this side of the network.

    The state is one number that the caller keeps: `full_at`, the time at which the bucket is full again.
    """

    __slots__ = ("_depth", "_interval", "_lag")

    def __init__(self, bucket: Bucket) -> None:
        self._interval = 1 / bucket.per_second
        self._depth = (bucket.burst - 1) * self._interval
        self._lag = min(ARRIVAL_LAG, self._depth / 2)

    def earliest(self, full_at: float) -> float:
        """Return the time from which a start is within the bucket; it may be long ago."""
        return full_at - self._depth

    def take(self, full_at: float, now: float) -> float:
        """Count a start; return the new `full_at`."""
        return max(full_at, now + self._lag) + self._interval

    def give_back(self, full_at: float, starts: int) -> float:
        """Forget starts that were counted and not made; return the new `full_at`."""
        return full_at - starts * self._interval

    def void(self, full_at: float, now: float) -> float:
        """Forget starts that were counted for later than now; return the new `full_at`."""
        return min(full_at, self.drain(-math.inf, now))

    def last_start(self, count: int) -> float:
        """Return when the last of `count` starts is permitted, from the first one of a full bucket on."""
        return max(0.0, self._lag + (count - 1) * self._interval - self._depth)

    def drain(self, full_at: float, now: float) -> float:
        """Believe the API that the bucket is empty, because somebody else took from it; return the new `full_at`."""
        return max(full_at, now + self._depth + self._interval)


@dataclass(slots=True)
class FixedRate:
    """Starts evenly spaced at `per_second`, which may change at any time; `next` is the time of the next one."""

    per_second: float
    next: float = -math.inf

    def take(self, now: float) -> None:
        """Count one start."""
        self.next = max(self.next, now - CATCH_UP) + 1 / self.per_second

    def give_back(self, starts: int) -> None:
        """Forget starts that were counted and not made."""
        self.next -= starts / self.per_second

    def void(self, now: float) -> None:
        """Forget starts that were counted for later than now."""
        self.next = min(self.next, now + 1 / self.per_second)

    def is_held(self, now: float) -> bool:
        """Return whether it is this rate that a start now had to wait for, but for the lateness of timers."""
        return self.next > now - LATENESS

    def delay(self, until: float) -> None:
        """Permit no start before then."""
        self.next = max(self.next, until)


SPARE: Final = 128
"""Events that an `EventLog` takes beside those it is sure to keep, before it looks for what can share a time."""


@dataclass(slots=True)
class EventLog:
    """How often something happened up to certain times, in order; counts what happened since a time in O(log n).

    The latest events have a time each; the longer ago, the more of them share one, so that the log stays small however
    long it is kept. What happened within such a stretch counts as spread evenly over it.
    """

    times: list[float] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)
    """The events until each of `times`, it included."""
    exact: int = 256
    """So many of the latest events have a time each."""

    @property
    def most(self) -> int:
        """Return of how many times it becomes thinner: of so many that this is not soon again, however old it is."""
        return 2 * self.exact + SPARE

    @property
    def total(self) -> int:
        """Return how many events there were."""
        return self.totals[-1] if self.totals else 0

    def add(self, now: float) -> None:
        """Note an event; one that is told late counts as one of the last one's time."""
        self.totals.append(self.total + 1)
        self.times.append(now if not self.times else max(now, self.times[-1]))
        if len(self.times) > self.most:
            self._thin()

    def since(self, time: float) -> int:
        """Count the events from then on."""
        at = bisect_left(self.times, time)
        if at == len(self.times):
            return 0
        before = self.totals[at - 1] if at else 0
        count = self.totals[-1] - before
        within = self.totals[at] - before
        if at and within > 1:
            count -= round((within - 1) * (time - self.times[at - 1]) / (self.times[at] - self.times[at - 1]))
        return count

    def _thin(self) -> None:
        """Let older events share a time: at most as many as a part of those that followed, so that few times do."""
        times, totals, total, before = list[float](), list[int](), self.total, 0
        for n, reached in enumerate(self.totals):
            following = self.totals[n + 1] if n + 1 < len(self.totals) else math.inf
            if following - before > max(1, (total - following - self.exact) * 16 / self.exact):
                times.append(self.times[n])
                totals.append(reached)
                before = reached
        self.times, self.totals = times, totals
