"""The pacer: all that says when the next attempt may start, in one place.

Pure: time is passed in (`now`, seconds of one monotonic clock), it never awaits. An attempt waits for all that apply:
the documented bucket for everything and the one of its route, or `--max-per-second` in their place; what rate headers
promise its route; the controller that finds the real limit; a pause that the API asked for.
"""

import math
import random
import time
from collections.abc import Callable, Mapping

from batch.ratelimit.adaptive import FIRST_RATE, AdaptiveRate
from batch.ratelimit.buckets import Bucket, FixedRate, Limits, TokenBucket, check_rate
from batch.ratelimit.headers import RateHint, read_rate_headers
from batch.ratelimit.holds import HeaderBudget
from batch.ratelimit.learned import Learned

PAUSE_JITTER = 0.02
"""Several programs on one key must not come back at the same moment; never earlier than asked."""

LONG_PAUSE = 2.0
SAYS_NOTHING = frozenset({None, 408, 500, 502, 503, 504})
"""Replies that may come from before or behind the rate limiter, or not at all."""


class _Route:
    """What applies to one method and path alone."""

    __slots__ = ("bucket", "buckets", "hold")

    def __init__(self, limits: Limits, total: TokenBucket | None, pace: FixedRate | None) -> None:
        self.bucket = None if limits.per_route is None else TokenBucket(limits.per_route)
        self.buckets = tuple(bucket for bucket in (total, self.bucket, pace) if bucket is not None)
        # A documented bucket is better known than headers that tell when it is full again.
        self.hold = HeaderBudget(max(_time_to_fill(limits.total), _time_to_fill(limits.per_route)))


class RatePolicy:
    """Say when an attempt may start, and learn from the replies. `max_per_second` replaces the documented limits."""

    def __init__(
        self,
        limits: Limits | None,
        *,
        max_per_second: float | None = None,
        learned: Learned | None = None,
        rng: random.Random | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if max_per_second is not None:
            check_rate("max_per_second", max_per_second)
            limits = None
        self._limits = limits or Limits()
        is_known = max_per_second is not None or self._limits != Limits()
        self._adaptive = AdaptiveRate(math.inf if is_known else FIRST_RATE, learned or Learned())
        self._fixed_rate = None if max_per_second is None else FixedRate(max_per_second)
        self._total = None if self._limits.total is None else TokenBucket(self._limits.total)
        self._routes: dict[str, _Route] = {}
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._wall_clock = wall_clock
        self.paused_until = -math.inf
        self.throttled = 0

    @property
    def rate(self) -> float:
        """Return the attempts per second that are permitted in the long run; infinite when nothing limits them."""
        total = math.inf if self._limits.total is None else self._limits.total.per_second
        pace = math.inf if self._fixed_rate is None else self._fixed_rate.per_second
        return min(total, pace, self._adaptive.rate)

    @property
    def blocked_since(self) -> float | None:
        """Return since when only single probes go out because the API refuses everything, or None."""
        return self._adaptive.exhausted.since

    def is_blocked(self, now: float) -> bool:
        """Return whether the API keeps everybody away for so long that a person wants to know."""
        return self.blocked_since is not None or self.paused_until - now > LONG_PAUSE

    def earliest(self, now: float, route: str) -> float:
        """Return the earliest time, not before now, at which an attempt on this route may start."""
        own = self._route(route)
        at = max(now, self.paused_until, self._adaptive.earliest(), own.hold.earliest(now))
        for bucket in own.buckets:
            at = max(at, bucket.earliest())
        return at

    def take(self, now: float, route: str) -> None:
        """Count an attempt that starts now."""
        own = self._route(route)
        own.hold.take(now)
        self._adaptive.take(now)
        for bucket in own.buckets:
            bucket.take(now)

    def answered(
        self, now: float, *, route: str, started: float, status: int | None, headers: Mapping[str, str]
    ) -> None:
        """Learn from the reply to the attempt that started then; None = no answer."""
        hint = read_rate_headers(headers, self._wall_clock())
        own = self._route(route)
        own.hold.update(now, started, hint)
        if status == 429 or (status == 503 and hint.retry_after is not None):
            self.throttled += status == 429
            self._refused(now, own, started, hint)
        elif status in SAYS_NOTHING:
            self._adaptive.unclear(now, started)
        else:
            self._adaptive.accepted(now, started)

    def withdrawn(self, started: float) -> None:
        """Forget that the attempt that entered then was the probe: another one may be, at once."""
        self._adaptive.exhausted.withdrawn(started)

    def pause(self, until: float) -> None:
        """Let nobody start before then."""
        self.paused_until = max(self.paused_until, until)

    def learned(self) -> Learned:
        """Return what is worth keeping for the next run."""
        return self._adaptive.learned()

    def _route(self, route: str) -> _Route:
        found = self._routes.get(route)
        if found is None:
            found = self._routes[route] = _Route(self._limits, self._total, self._fixed_rate)
        return found

    def _refused(self, now: float, own: _Route, started: float, hint: RateHint) -> None:
        wait = hint.wait or 0.0
        self.pause(now + wait * (1 + PAUSE_JITTER * self._rng.random()))
        for bucket in (self._total, own.bucket):
            if bucket is not None:
                bucket.drain(now)
        self._adaptive.refused(now, started, wait)


def _time_to_fill(bucket: Bucket | None) -> float:
    return 0.0 if bucket is None else bucket.burst / bucket.per_second
