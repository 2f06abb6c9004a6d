"""Known limits as values, and the arithmetic that keeps starts within them.

`TokenBucket` promises: never more than `burst + per_second * t` starts within any `t` seconds. `FixedRate` promises
the same with a burst of a few milliseconds. Both are GCRA (the virtual-scheduling form of the leaky bucket, ITU-T
I.371): one float of state, nothing to refill.
"""

import math
from dataclasses import dataclass

ARRIVAL_LAG = 0.5
"""A bucket refills from the moment the first request *arrives*, not from when it left. So many seconds later are
reckoned with (connection and TLS included), up to half of what the burst lasts; that is lost once per burst."""

CATCH_UP = 0.02
"""A busy program is late by milliseconds; a pace may make up for so many seconds."""

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
    """The state of one `Bucket`, as seen from this side of the network."""

    __slots__ = ("_depth", "_full_at", "_interval", "_lag")

    def __init__(self, bucket: Bucket) -> None:
        self._interval = 1 / bucket.per_second
        self._depth = (bucket.burst - 1) * self._interval
        self._lag = min(ARRIVAL_LAG, self._depth / 2)
        self._full_at = -math.inf

    def earliest(self) -> float:
        """Return the time from which a start is within the bucket; it may be long ago."""
        return self._full_at - self._depth

    def take(self, now: float) -> None:
        """Count one start."""
        self._full_at = max(self._full_at, now + self._lag) + self._interval

    def drain(self, now: float) -> None:
        """Believe the API that the bucket is empty: somebody else took from it."""
        self._full_at = max(self._full_at, now + self._depth + self._interval)


class FixedRate:
    """Starts evenly spaced at `per_second`, which may change at any time."""

    __slots__ = ("_next", "per_second")

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._next = -math.inf

    def earliest(self) -> float:
        """Return the time from which a start keeps the pace; it may be long ago."""
        return self._next

    def take(self, now: float) -> None:
        """Count one start."""
        self._next = max(self._next, now - CATCH_UP) + 1 / self.per_second

    def is_held(self, now: float) -> bool:
        """Return whether it is this pace that a start now had to wait for, but for the lateness of timers."""
        return self._next > now - LATENESS

    def delay(self, until: float) -> None:
        """Let nobody start before then."""
        self._next = max(self._next, until)

    def reset(self, now: float) -> None:
        """Forget what was delayed; the next start may be now."""
        self._next = now
