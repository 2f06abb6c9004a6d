"""The pacer: all that says when the next attempt may start, in one place.

Pure: time is passed in (`now`, seconds of one monotonic clock), it never awaits. An attempt waits for all that apply:
the documented bucket for everything, the one of its route, or `--max-per-second` in their place; the controller that
finds the real limit; a pause that the API asked for.
"""

import math
import random
import time
from collections.abc import Callable, Mapping

from .buckets import Limits, Pace, TokenBucket, check_rate
from .headers import RateHint, read_rate_headers
from .learned import Learned

PAUSE_JITTER = 0.02
BLOCKED_AFTER = 2.0


class Pacer:
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
        limits = limits or Limits()
        if max_per_second is not None:
            check_rate("max_per_second", max_per_second)
            limits = Limits()
        self._pace = None if max_per_second is None else Pace(max_per_second)
        self._total = None if limits.total is None else TokenBucket(limits.total)
        self._per_route = limits.per_route
        self._routes: dict[str, TokenBucket] = {}
        self._learned = learned or Learned()
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._wall_clock = wall_clock
        self.paused_until = -math.inf
        self.throttled = 0

    def earliest(self, now: float, route: str) -> float:
        """Return the earliest time, not before now, at which an attempt on this route may start."""
        at = max(now, self.paused_until)
        for bucket in (self._total, self._route(route), self._pace):
            if bucket is not None:
                at = max(at, bucket.earliest())
        return at

    def take(self, now: float, route: str) -> None:
        """Count an attempt that starts now."""
        for bucket in (self._total, self._route(route), self._pace):
            if bucket is not None:
                bucket.take(now)

    def answered(
        self, now: float, *, route: str, started: float, status: int | None, headers: Mapping[str, str]
    ) -> None:
        """Learn from the reply to the attempt that started then; None = no answer."""
        hint = read_rate_headers(headers, self._wall_clock())
        if status == 429 or (status == 503 and hint.retry_after is not None):
            self._refused(now, route, hint)

    def pause(self, until: float) -> None:
        """Let nobody start before then."""
        self.paused_until = max(self.paused_until, until)

    def is_blocked(self, now: float) -> bool:
        """Return whether the API keeps everybody away for so long that a person wants to know."""
        return self.paused_until - now > BLOCKED_AFTER

    def learned(self) -> Learned:
        """Return what is worth keeping for the next run."""
        return self._learned

    def _route(self, route: str) -> TokenBucket | None:
        if self._per_route is None:
            return None
        if route not in self._routes:
            self._routes[route] = TokenBucket(self._per_route)
        return self._routes[route]

    def _refused(self, now: float, route: str, hint: RateHint) -> None:
        self.throttled += 1
        for bucket in (self._total, self._route(route)):
            if bucket is not None:
                bucket.drain(now)
        self.pause(now + (hint.wait or 0.0) * (1 + PAUSE_JITTER * self._rng.random()))
