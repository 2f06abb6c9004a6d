"""Rate limiters as APIs have them, each deciding on one request at a time. Times are seconds of simulated time."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Protocol

NO_HEADERS: Mapping[str, str] = {}
Refusal = Mapping[str, str] | None


class Server(Protocol):
    """A rate limiter, and what it permits a second in the long run."""

    per_second: float

    def refusal(self, now: float) -> Refusal:
        """Return None to let a request in, else the headers of the 429."""


class TokenBucketServer:
    """`burst` at once, refilled at `per_second`; starts full."""

    def __init__(self, per_second: float, burst: int, *, tells: bool = False) -> None:
        self.per_second, self.burst, self.tells = per_second, burst, tells
        self.tokens = float(burst)
        self._seen = 0.0

    def refusal(self, now: float) -> Refusal:
        self.tokens = min(self.burst, self.tokens + (now - self._seen) * self.per_second)
        self._seen = now
        if self.tokens >= 1:
            self.tokens -= 1
            return None
        return retry_after((1 - self.tokens) / self.per_second) if self.tells else NO_HEADERS


class FixedWindowServer:
    """`quota` in each window; the first one ends at `first_end`."""

    def __init__(self, quota: int, window: float, *, first_end: float = 0.0, tells: bool = False) -> None:
        self.quota, self.window, self.tells = quota, window, tells
        self.per_second = quota / window
        self._left = quota
        self._end = first_end or window

    def refusal(self, now: float) -> Refusal:
        if now >= self._end:
            self._end += self.window * ((now - self._end) // self.window + 1)
            self._left = self.quota
        if self._left:
            self._left -= 1
            return None
        return retry_after(self._end - now) if self.tells else NO_HEADERS

    def first_edge_after(self, time: float) -> float:
        return self._end + self.window * math.ceil((time - self._end) / self.window)


class SlidingLogServer:
    """`quota` within any `window`; a harsh one counts refused requests too."""

    def __init__(self, quota: int, window: float, *, is_harsh: bool = False) -> None:
        self.quota, self.window, self.is_harsh = quota, window, is_harsh
        self.per_second = quota / window
        self._log: deque[float] = deque()

    def refusal(self, now: float) -> Refusal:
        while self._log and self._log[0] <= now - self.window:
            self._log.popleft()
        is_in = len(self._log) < self.quota
        if is_in or self.is_harsh:
            self._log.append(now)
        return None if is_in else NO_HEADERS


class TwoBucketServer:
    """One bucket for everything and one for the route, as DualEntry documents them; tells when to come back."""

    def __init__(self, total: TokenBucketServer, route: TokenBucketServer) -> None:
        self._both = (total, route)
        self.per_second = min(total.per_second, route.per_second)

    def refusal(self, now: float) -> Refusal:
        parse_error = [bucket.refusal(now) for bucket in self._both]
        if parse_error == [None, None]:
            return None
        for bucket, refusal in zip(self._both, parse_error, strict=True):
            if refusal is None:
                bucket.tokens += 1  # what the other refuses costs nothing here
        return max((one for one in parse_error if one), key=lambda one: float(one.get("retry-after", 0)))


class DeadServer:
    """Lets nobody in, and never says until when."""

    per_second = 1.0

    def refusal(self, now: float) -> Refusal:
        return NO_HEADERS


def retry_after(wait: float) -> Mapping[str, str]:
    """Retry-After has whole seconds: round up."""
    return {"retry-after": str(math.ceil(wait))}
