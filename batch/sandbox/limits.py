"""Rate limits as token buckets; time is passed in.

DualEntry: all requests 50 burst + 5/s, and each route with its method 10 burst + 1/s. Vayu: 100 burst + 500/s.
`fast` is twenty times that, `off` is none.
"""

from dataclasses import dataclass
from typing import Final

from batch.sandbox.options import LimitsMode

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
