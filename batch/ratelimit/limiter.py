"""The gate that every attempt goes through: a slot *and* the pacer's permission, or it waits.

Promises:
- waiting holds neither a slot nor a token; both are taken in one step, without an await between;
- never more than `max_at_once` attempts inside; no start before the pacer permits it, also when a pause arrives while
  attempts wait;
- retries go ahead of fresh attempts, otherwise first come, first served; a route that waits for its own bucket does
  not hold up the others;
- cancelling one that waits or one that is inside leaks nothing;
- no task of its own, no polling, no thundering herd: one waiter is woken at a time, and the one that enters wakes the
  next. The work per attempt grows with the number of *routes* that wait, not with the number of waiters.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from batch.ratelimit.policy import RatePolicy


class _Waiter:
    """One attempt that waits: until it is woken, or until its alarm."""

    __slots__ = ("_scope", "_woken", "alarm", "is_gone", "is_retry", "number")

    def __init__(self, number: int, is_retry: bool) -> None:
        self.number = number
        self.is_retry = is_retry
        self.is_gone = False
        self.alarm = math.inf
        self._woken = anyio.Event()
        self._scope: anyio.CancelScope | None = None

    def wake(self) -> None:
        """Let it look whether it may start."""
        self._woken.set()

    def set_alarm(self, at: float) -> None:
        """Wake it then. A scope costs as much as all the rest, so only who needs one has one, and makes it itself."""
        self.alarm = at
        if self._scope is not None:
            self._scope.deadline = at
        else:
            self._woken.set()

    async def sleep(self) -> None:
        """Come back when woken or when the alarm goes off."""
        if self._woken.is_set():
            self._woken = anyio.Event()
        if math.isinf(self.alarm):
            await self._woken.wait()
            return
        try:
            with anyio.CancelScope(deadline=self.alarm) as self._scope:
                await self._woken.wait()
        finally:
            self._scope = None
            self.alarm = math.inf


class _Line:
    """Those who wait on one route: retries first, then in the order of arrival."""

    __slots__ = ("_fresh", "_retries")

    def __init__(self) -> None:
        self._retries: deque[_Waiter] = deque()
        self._fresh: deque[_Waiter] = deque()

    def join(self, waiter: _Waiter) -> None:
        (self._retries if waiter.is_retry else self._fresh).append(waiter)

    def head(self) -> _Waiter | None:
        for queue in (self._retries, self._fresh):
            while queue and queue[0].is_gone:
                queue.popleft()
            if queue:
                return queue[0]
        return None


class RateLimiter:
    """Let attempts through at the pacer's pace, at most `max_at_once` at a time."""

    def __init__(
        self, policy: RatePolicy, max_at_once: int, *, clock: Callable[[], float] = anyio.current_time
    ) -> None:
        if max_at_once < 1:
            raise ValueError(f"max_at_once must be at least 1, not {max_at_once}")
        self.policy = policy
        self.max_at_once = max_at_once
        self._clock = clock
        self._free = max_at_once
        self._lines: dict[str, _Line] = {}
        self._arrivals = 0

    @property
    def in_flight(self) -> int:
        """Return how many attempts are inside."""
        return self.max_at_once - self._free

    def attempt(self, route: str, is_retry: bool = False) -> "_Passage":
        """Enter with `async with limiter.attempt(route) as started:`; `started` is the time of entry.

        ApiRequest `answered` *inside* the block, so that a 429 is known before the slot goes to the next one.
        """
        return _Passage(self, route, is_retry)

    def answered(self, route: str, started: float, status: int | None, headers: Mapping[str, str]) -> None:
        """Tell the pacer what came of an attempt; None = no answer."""
        self.policy.answered(self._clock(), route=route, started=started, status=status, headers=headers)

    def withdrawn(self, started: float) -> None:
        """Tell the pacer that the attempt that entered then leaves without having been made."""
        self.policy.withdrawn(started)

    def longest_wait(self, route: str) -> float:
        """Return how many seconds from now the pacer permits the next start on this route (the queue not counted)."""
        now = self._clock()
        return self.policy.earliest(now, route) - now

    def is_open(self, route: str) -> bool:
        """Return whether an attempt on this route could enter now, without waiting."""
        now = self._clock()
        return bool(self._free) and not self._lines and self.policy.earliest(now, route) <= now

    async def _enter(self, route: str, is_retry: bool) -> float:
        await checkpoint_if_cancelled()
        now = self._clock()
        if self._free and not self._lines and self.policy.earliest(now, route) <= now:
            return self._take(now, route)
        return await self._wait(now, route, is_retry)

    def _leave(self) -> None:
        self._free += 1
        if self._lines:
            self._wake_next(self._clock())

    def _take(self, now: float, route: str) -> float:
        self._free -= 1
        self.policy.take(now, route)
        return now

    async def _wait(self, now: float, route: str, is_retry: bool) -> float:
        self._arrivals += 1
        waiter = _Waiter(self._arrivals, is_retry)
        self._lines.setdefault(route, _Line()).join(waiter)
        try:
            # Whoever is woken looks again: between waking and running, a pause may have arrived.
            while self._wake_next(now, awake=waiter) is not waiter:
                await waiter.sleep()
                now = self._clock()
            return self._take(now, route)
        finally:
            waiter.is_gone = True
            self._wake_next(now)

    def _wake_next(self, now: float, awake: _Waiter | None = None) -> _Waiter | None:
        """Wake and return the one who may start now; for the others who are next, see to an alarm."""
        first: _Waiter | None = None
        for route in tuple(self._lines) if self._free else ():
            waiter = self._lines[route].head()
            if waiter is None:
                del self._lines[route]
            elif (at := self.policy.earliest(now, route)) > now:
                if waiter is awake:
                    waiter.alarm = at
                elif at != waiter.alarm:
                    waiter.set_alarm(at)
            elif first is None or (not waiter.is_retry, waiter.number) < (not first.is_retry, first.number):
                first = waiter
        if first is not None and first is not awake:
            first.wake()
        return first


class _Passage:
    """One attempt's way in and out; a class, since `asynccontextmanager` costs more than all of the above."""

    __slots__ = ("_gate", "_is_retry", "_route")

    def __init__(self, limiter: RateLimiter, route: str, is_retry: bool) -> None:
        self._gate = limiter
        self._route = route
        self._is_retry = is_retry

    async def __aenter__(self) -> float:
        return await self._gate._enter(self._route, self._is_retry)

    async def __aexit__(self, *exc: object) -> None:
        self._gate._leave()
