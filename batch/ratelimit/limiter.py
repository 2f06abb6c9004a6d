"""The rate limiter that every attempt goes through: it waits for a slot *and* the policy's permission.

Promises:
- waiting holds neither a slot nor a token;
- never more than `max_at_once` attempts inside; no start before the policy permits it, also when a pause arrives while
  attempts wait;
- retries and writes go ahead of fresh reads, otherwise first come, first served; a route that waits for its own bucket
  does not hold up the others;
- an attempt that is not ready when its turn comes takes neither slot nor token, and goes ahead when it comes again;
- cancelling one that waits or one that is inside leaks no slot, and no token of a store that does not suspend;
- no task of its own, no polling, no thundering herd: one waiter is woken at a time, and the one that enters wakes the
  next. The work per attempt grows with the number of *routes* that wait, not with the number of waiters.

Who waits how long is decided by the state that the store returned last; only the store's grant lets an attempt start.
"""

import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from batch.ratelimit.learned import Learned
from batch.ratelimit.policy import Answer, LimiterState, RatePolicy, Step, Wait, read_reply

IsReady = Callable[[float], bool]
"""Whether an attempt may start at a time, as far as it is concerned."""
ALWAYS: Final[IsReady] = lambda now: True  # noqa: E731 - a constant


class LimiterStore(Protocol):
    """Keeps one `LimiterState` for each key: behind one method, so that processes and hosts can share a limit.

    `tests/ratelimit/store_conformance.py` is what every store has to pass.
    Promises of every store: steps on one key take effect one after the other, each on what the last one returned; keys
    have nothing to do with each other; `now` is the store's own clock and never goes back; a step that may have to run
    again (after a lost compare-and-swap) gets a fresh copy of the stored state each time. When `transact` is cancelled,
    the step took effect as a whole or not at all.
    """

    async def transact(self, key: str, step: Step[Answer]) -> tuple[LimiterState, Answer]:
        """Run `step` on the state of `key`, keep the state that it returns, and return both; only look at the state."""
        ...


class MemoryStore:
    """The state as live objects of this process, on anyio's clock. It never suspends, and so needs no lock."""

    def __init__(self) -> None:
        self._states: dict[str, LimiterState] = {}

    async def transact(self, key: str, step: Step[Answer]) -> tuple[LimiterState, Answer]:
        """Run `step` on the state itself; nothing is copied."""
        state, answer = step(self._states.get(key), anyio.current_time())
        self._states[key] = state
        return state, answer


class _Waiter:
    """One attempt that waits: until it is woken, or until its alarm."""

    __slots__ = ("_scope", "_woken", "alarm", "is_ahead", "is_gone", "number")

    def __init__(self, number: int, is_ahead: bool) -> None:
        self.number = number
        self.is_ahead = is_ahead
        self.is_gone = False
        self.alarm = math.inf
        self._woken = anyio.Event()
        self._scope: anyio.CancelScope | None = None

    def wake(self) -> None:
        """Let it check whether it may start."""
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
    """Those who wait on one route: some ahead of the others, then in the order of arrival."""

    __slots__ = ("_ahead", "_others")

    def __init__(self) -> None:
        self._ahead: deque[_Waiter] = deque()
        self._others: deque[_Waiter] = deque()

    def join(self, waiter: _Waiter) -> None:
        (self._ahead if waiter.is_ahead else self._others).append(waiter)

    def head(self) -> _Waiter | None:
        for queue in (self._ahead, self._others):
            while queue and queue[0].is_gone:
                queue.popleft()
            if queue:
                return queue[0]
        return None


class RateLimiter:
    """Let attempts start at the rate of `policy`, at most `max_at_once` at a time.

    The state is that of `key` in `store`, by default a memory of this limiter's own.
    """

    def __init__(
        self, policy: RatePolicy, max_at_once: int, store: LimiterStore | None = None, key: str = "", *,
        rng: random.Random | None = None, wall_clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        if max_at_once < 1:
            raise ValueError(f"max_at_once must be at least 1, not {max_at_once}")
        self.max_at_once = max_at_once
        self._policy = policy
        self._store = store or MemoryStore()
        self._key = key
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._wall_clock = wall_clock
        self._state = policy.new_state()
        self._free = max_at_once
        self._lines: dict[str, _Line] = {}
        self._arrivals = 0

    @property
    def paused_until(self) -> float:
        """Return the time before which the API wants no attempt to start; long ago if it never asked for a pause."""
        return self._state.paused_until

    @property
    def blocked_since(self) -> float | None:
        """Return since when only single probes go out because the API refuses everything, or None."""
        return self._state.blocked_since

    def per_second(self) -> float:
        """Return the rate that is permitted now on one route, bursts aside."""
        return self._policy.per_second(self._state)

    def wait(self) -> Wait | None:
        """Return what the API's answers make everybody wait for now, and until when; None for nothing."""
        return self._policy.wait(self._state, anyio.current_time())

    @property
    def throttled(self) -> int:
        """Return how many attempts were answered with 429."""
        return self._state.throttled

    def learned(self) -> Learned:
        """Return what is worth keeping for the next run."""
        return self._state.learned()

    def attempt(self, route: str, is_ahead: bool = False, is_ready: IsReady = ALWAYS) -> "_Attempt":
        """Enter with `async with limiter.attempt(route) as started:`; `started` is the time of entry.

        It is None where `is_ready`, asked when the turn has come, says no: then nothing was taken. Call `answered`
        *inside* the block, so that a 429 is known before the slot goes to the next one.
        """
        return _Attempt(self, route, is_ahead, is_ready)

    async def answered(
        self, route: str, started: float, status: int | None, headers: Mapping[str, str], *, is_log_in: bool = False
    ) -> None:
        """Learn from what came of an attempt; None = no answer."""
        reply = read_reply(
            route, started, status, headers, now_epoch=self._wall_clock(), rng=self._rng, is_log_in=is_log_in
        )
        self._state, _ = await self._store.transact(self._key, self._policy.update(reply))

    async def withdrawn(self, started: float) -> None:
        """Note that the attempt that entered then leaves without having been made."""
        self._state, _ = await self._store.transact(self._key, self._policy.withdraw(started))

    def is_open(self, route: str) -> bool:
        """Return whether an attempt on this route could enter now, without waiting."""
        now = anyio.current_time()
        return bool(self._free) and not self._lines and self._policy.earliest(self._state, now, route) <= now

    async def enter(self, route: str, is_ahead: bool, is_ready: IsReady) -> float | None:
        """Wait for a slot and a start on this route, take both, and return the time of the start; None: not ready."""
        await checkpoint_if_cancelled()
        is_next = self._free and not self._lines and is_ready(anyio.current_time())
        if is_next and (started := await self._book(route)) is not None:
            return started
        return await self._wait(route, is_ahead, is_ready)

    def leave(self) -> None:
        """Give the slot back."""
        self._free += 1
        if self._lines:
            self._wake_next(anyio.current_time())

    async def _book(self, route: str) -> float | None:
        """Take a slot and book a start; return its time, or None when the store grants none."""
        self._free -= 1
        started = None
        try:
            self._state, grant = await self._store.transact(self._key, self._policy.book(route))
            if grant.starts:
                started = grant.at
            return started
        finally:
            if started is None:
                self.leave()

    async def _wait(self, route: str, is_ahead: bool, is_ready: IsReady) -> float | None:
        self._arrivals += 1
        waiter = _Waiter(self._arrivals, is_ahead)
        self._lines.setdefault(route, _Line()).join(waiter)
        try:
            # Whoever is woken checks again: between waking and running, a pause may have arrived.
            while True:
                if self._wake_next(anyio.current_time(), awake=waiter) is not waiter:
                    await waiter.sleep()
                elif not is_ready(anyio.current_time()):
                    return None
                elif (started := await self._book(route)) is not None:
                    return started
        finally:
            waiter.is_gone = True
            self._wake_next(anyio.current_time())

    def _wake_next(self, now: float, awake: _Waiter | None = None) -> _Waiter | None:
        """Wake and return the one who may start now; for the others who are next, see to an alarm."""
        first: _Waiter | None = None
        for route in tuple(self._lines) if self._free else ():
            waiter = self._lines[route].head()
            if waiter is None:
                del self._lines[route]
            elif (at := self._policy.earliest(self._state, now, route)) > now:
                if waiter is awake:
                    waiter.alarm = at
                elif at != waiter.alarm:
                    waiter.set_alarm(at)
            elif first is None or (not waiter.is_ahead, waiter.number) < (not first.is_ahead, first.number):
                first = waiter
        if first is not None and first is not awake:
            first.wake()
        return first


class _Attempt:
    """One attempt's way in and out; a class, since `asynccontextmanager` costs more than all of the above."""

    __slots__ = ("_has_entered", "_is_ahead", "_is_ready", "_limiter", "_route")

    def __init__(self, limiter: RateLimiter, route: str, is_ahead: bool, is_ready: IsReady) -> None:
        self._limiter = limiter
        self._route = route
        self._is_ahead = is_ahead
        self._is_ready = is_ready
        self._has_entered = False

    async def __aenter__(self) -> float | None:
        started = await self._limiter.enter(self._route, self._is_ahead, self._is_ready)
        self._has_entered = started is not None
        return started

    async def __aexit__(self, *exc: object) -> None:
        if self._has_entered:
            self._limiter.leave()
