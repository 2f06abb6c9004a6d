"""The rate limiter that every attempt goes through: it waits for a slot *and* the policy's permission.

Promises:
- waiting holds neither a slot nor a token;
- never more than `max_at_once` attempts inside; no start before the policy permits it, also when a pause arrives while
  attempts wait;
- retries and writes go ahead of reads, but one start of ten is for a look that waits; otherwise first come, first
  served; a route that waits for its own bucket does not hold up the others;
- an attempt that is not ready when its turn comes takes neither slot nor token, and goes ahead when it comes again;
- cancelling one that waits or one that is inside leaks no slot, and no token of a store that does not suspend;
- no task of its own, no polling, no thundering herd: one waiter is woken at a time, and the one that enters wakes the
  next. The work per attempt grows with the number of *routes* that wait, not with the number of waiters;
- over a store that others share, a start that was booked ahead is not made once a pause or a cut is more than a
  millisecond old, whichever process it came from; what is not used in time goes back. While the store cannot be asked
  nothing starts.

Who waits how long is decided by the state that the store returned last; only the store's grant lets an attempt start.
"""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from functools import partial
from typing import Final

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from batch.errors import BatchError
from batch.ratelimit.learned import Learned
from batch.ratelimit.policy import RUN_LEASE, Ask, Grant, RatePolicy, RunClaim, Wait, read_reply
from batch.ratelimit.state import LimiterState, RunLease, Step
from batch.ratelimit.store import LimiterStore, MemoryStore, StoreLostError

IsReady = Callable[[float], bool]
"""Whether an attempt may start at a time, as far as it is concerned."""
ALWAYS: Final[IsReady] = lambda now: True  # noqa: E731 - a constant


class Turn(Enum):
    """What an attempt is for, which decides who of those that wait is let in."""

    AHEAD = "a write, or another try"
    LOOK = "a look at a record, for which a row waits"
    FRESH = "a read of what is sent later"


BETWEEN_LOOKS: Final = 9
"""Starts that may go ahead of a look that waits: looks get a tenth of the limit at least."""


class _Waiter:
    """One attempt that waits: until it is woken, or until its alarm."""

    __slots__ = ("_scope", "_woken", "alarm", "is_gone", "number", "turn")

    def __init__(self, number: int, turn: Turn) -> None:
        self.number = number
        self.turn = turn
        self.is_gone = False
        self.alarm = math.inf
        self._woken = anyio.Event()
        self._scope: anyio.CancelScope | None = None

    def rank(self, is_for_look: bool) -> tuple[bool, bool, int]:
        """Return what is least of the one who is next, if it is for a look then, where one waits."""
        return not (is_for_look and self.turn is Turn.LOOK), self.turn is not Turn.AHEAD, self.number

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
    """Those who wait on one route: by their turns, then in the order of arrival."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[Turn, deque[_Waiter]] = {turn: deque() for turn in Turn}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def join(self, waiter: _Waiter) -> None:
        """Go to the end of the line, or before all others where it was there before."""
        queue = self._queues[waiter.turn]
        if waiter.number < 0:
            queue.appendleft(waiter)
        else:
            queue.append(waiter)

    def head(self, is_for_look: bool) -> _Waiter | None:
        found: _Waiter | None = None
        for queue in self._queues.values():
            while queue and queue[0].is_gone:
                queue.popleft()
            if queue and (found is None or queue[0].rank(is_for_look) < found.rank(is_for_look)):
                found = queue[0]
        return found


LATE, LATEST = 0.05, 0.5
"""Seconds after which of the starts that were booked ahead one is still made, and none: who was held up does not burst.
"""
SLOW: Final = LATE / 2
"""Seconds from which on it counts how long the store takes to answer."""
MOST_PENDING: Final = 1_000
"""Replies that the store is told of together, at most."""
HELD_UP: Final = RUN_LEASE / 2
"""Seconds without a word of the event loop after which its run is kept for it."""
FIRST_RETRY, LONGEST_RETRY = 0.1, 2.0
"""Seconds after which a store that could not be asked is asked again: the double each time, up to the second."""


class _Shared:
    """What this process has of a limit that it shares: starts that are booked, and what the store is to be told."""

    __slots__ = (
        "asked_at", "booked", "busy", "closed", "delay", "lost_since", "next_ask", "pending", "retry", "revision",
        "used", "who",
    )  # fmt: skip

    def __init__(self, who: str) -> None:
        self.who = who
        self.booked: dict[str, deque[float]] = {}
        """By route, when starts may be made; on the store's clock."""
        self.revision = 0
        """That of the state when they were booked."""
        self.next_ask: dict[str, float] = {}
        """By route, when the store said to ask again."""
        self.busy = False
        """Somebody asks the store for starts."""
        self.pending: list[tuple[float, Step[None]]] = []
        """What the store is to be told, and when that happened."""
        self.used: dict[str, int] = {}
        self.asked_at: dict[str, float] = {}
        """By route, starts made since the store was last asked, and when that was."""
        self.delay = 0.0
        """Seconds that the store takes to answer, where that is long: starts are booked for afterwards."""
        self.lost_since = math.inf
        self.retry = FIRST_RETRY
        self.closed = False


class LimiterListener:
    """Is told what a limiter that shares its state finds out; does nothing with it."""

    def lost(self, since: float, error: StoreLostError) -> None:
        """Hear that the store cannot be asked: since when (anyio's clock), and why."""

    def shared(self, processes: int, held_at: float | None) -> None:
        """Hear that this changed: how many processes share the key, and what `RatePolicy.held_at` says."""

    def paused(self, seconds: float) -> None:
        """Hear of a pause that another process was asked for."""

    def emptied(self, seconds: float) -> None:
        """Hear that the store may have lost what was sent before: in so many seconds its buckets are full."""

    def taken(self) -> None:
        """Hear that another process does the run by now that this one claimed."""


class RateLimiter:
    """Let attempts start at the rate of `policy`, at most `max_at_once` at a time.

    The state is that of `key` in `store`, by default a memory of this limiter's own. `who` names this process among
    those that share the store.
    """

    def __init__(
        self, policy: RatePolicy, max_at_once: int, store: LimiterStore | None = None, key: str = "", *,
        who: str = "", rng: random.Random | None = None, wall_clock: Callable[[], float] = time.time,
        listener: LimiterListener | None = None,
    ) -> None:  # fmt: skip
        if max_at_once < 1:
            raise ValueError(f"max_at_once must be at least 1, not {max_at_once}")
        self.max_at_once = max_at_once
        self._policy = policy
        self._store = store or MemoryStore()
        self._key = key
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._wall_clock = wall_clock
        self._listener = listener or LimiterListener()
        self._run: RunClaim | None = None
        """The run that this process claims."""
        self._is_done = False
        self.is_taken = False
        """Another process does the run by now."""
        self._shares: tuple[int, float | None] = (1, None)
        self._state = policy.new_state()
        self._state.origin = self._state.revision = self._rng.randrange(1, 2**31)
        self._shared = _Shared(who or f"{self._rng.randrange(2**64):x}") if self._store.ahead else None
        self._free = max_at_once
        self._lines: dict[str, _Line] = {}
        self._arrivals = self._since_look = 0
        self.throttled = 0
        """How many attempts of this process were answered with 429."""

    @property
    def paused_until(self) -> float:
        """Return the time before which the API wants no attempt to start; long ago if it never asked for a pause."""
        until = self._state.paused_until
        return until - self._ahead_of_here() if math.isfinite(until) else until  # it is asked several times a row

    @property
    def blocked_since(self) -> float | None:
        """Return since when only single probes go out because the API refuses everything, or None."""
        since = self._state.blocked_since
        return None if since is None else since - self._ahead_of_here()

    @property
    def is_lost(self) -> bool:
        """Return whether the store could not be asked when it was last tried."""
        return self._shared is not None and math.isfinite(self._shared.lost_since)

    def per_second(self) -> float:
        """Return the rate that is permitted now on one route, bursts aside: this process's share of it."""
        return self._policy.per_second(self._state) / self.sharing()

    def sharing(self) -> int:
        """Return how many processes share the limits at the moment."""
        return 1 if self._shared is None else self._policy.sharing(self._state, self._now())

    def wait(self) -> Wait | None:
        """Return what everybody waits for now, the API or the store, and until when; None for nothing."""
        if self.is_lost:
            return Wait(anyio.current_time() + LONGEST_RETRY, "the limits that other runs share cannot be asked")
        found = self._policy.wait(self._state, self._now())
        return found and found._replace(until=found.until - self._ahead_of_here())

    def learned(self) -> Learned:
        """Return what is worth keeping for the next run."""
        return self._state.learned()

    def attempt(
        self, route: str, turn: Turn = Turn.FRESH, is_ready: IsReady = ALWAYS, *, is_again: bool = False,
        may_wait: bool = True,
    ) -> "_Attempt":  # fmt: skip
        """Enter with `async with limiter.attempt(route) as started:`; `started` is the time of entry.

        It is None where `is_ready`, asked when the turn has come, says no: then nothing was taken, and who comes again
        (`is_again`) goes before all others. It is also None where it would have to wait, and may not. Call `answered`
        *inside* the block, so that a 429 is known before the slot goes to the next one.
        """
        return _Attempt(self, route, turn, is_ready, is_again, may_wait)

    async def answered(
        self, route: str, started: float, status: int | None, headers: Mapping[str, str], *, is_log_in: bool = False
    ) -> None:
        """Learn from what came of an attempt; None = no answer."""
        self.throttled += status == 429
        reply = read_reply(
            route, started + self._ahead_of_here(), status, headers, now_epoch=self._wall_clock(), rng=self._rng,
            is_log_in=is_log_in,
        )  # fmt: skip
        booked, left = self._shared and self._shared.booked.get(route), reply.hint.remaining
        is_too_much = bool(booked) and left is not None and left <= len(booked or ())
        if is_too_much:  # more is booked than the API says is left
            self._give_back(route)
        await self._tell(self._policy.update(reply), is_urgent=reply.is_refusal or is_too_much)

    async def withdrawn(self, started: float) -> None:
        """Note that the attempt that entered then leaves without having been made."""
        await self._tell(self._policy.withdraw(started + self._ahead_of_here()))

    def is_open(self, route: str) -> bool:
        """Return whether an attempt on this route could enter now, without waiting."""
        if not self._free or self._lines:
            return False
        if self._shared is not None:
            booked = self._shared.booked.get(route)
            return booked is not None and len(booked) > 0 and booked[0] <= self._now()
        now = anyio.current_time()
        return self._policy.earliest(self._state, now, route) <= now

    async def enter(self, route: str, turn: Turn, is_ready: IsReady, is_again: bool, may_wait: bool) -> float | None:
        """Wait for a slot and a start on this route, take both, and return when that was; None: see `attempt`."""
        await checkpoint_if_cancelled()
        is_next = self._free and not self._lines and is_ready(anyio.current_time())
        started = await self._start(route, may_ask=may_wait) if is_next else None
        if started is None and may_wait:
            started = await self._wait(route, turn, is_ready, is_again)
        return started

    def leave(self) -> None:
        """Give the slot back."""
        self._free += 1
        if self._lines:
            self._wake_next(anyio.current_time())

    async def claim(self, name: str, host: str, seed: str) -> str | None:
        """Do a run in the place of all processes that did before; return what its idempotency keys are made of.

        None where another process does it. From then on no start is made that another process's claim came before.
        Nothing is claimed, and `seed` returned, where the store is shared with nobody.
        """
        shared = self._shared
        if shared is None:
            return seed
        self._run = RunClaim(name, host, f"{host}/{shared.who}", seed, int(1_000 * self._wall_clock()))
        until = -math.inf
        while self._run is not None:
            pause = shared.retry
            try:
                lease = (await self._hold()).runs.get(name)
            except StoreLostError as error:
                self._lose(shared, error)
                await anyio.sleep(pause)
                continue
            if lease is None or lease.holder == self._run.holder:
                return lease.seed if lease is not None else None
            if until < lease.until and math.isfinite(until):
                break  # it is there: it said so since
            until = lease.until
            await anyio.sleep(max(0.0, until - self._now()) + pause)
        self._run = None
        return None

    @property
    def epoch(self) -> int:
        """Return the number of the run's claim, one more than that of the process before; 0 where there is none."""
        return self._run.epoch if self._run is not None else 0

    async def _hold(self) -> LimiterState:
        """Claim the run, or say that this process still does it."""
        assert self._run is not None  # noqa: S101 - for the type checker
        state, lease = await self._store.transact(self._key, self._policy.hold(self._run))
        self._take_lease(lease, state)
        return state

    def _take_lease(self, lease: RunLease | None, state: LimiterState) -> None:
        """Note until when the run is this process's, or that it is another's."""
        run, shared = self._run, self._shared
        if run is None or shared is None:
            return
        if lease is not None:
            self._run = run._replace(epoch=lease.epoch, until=lease.until)
        elif run.epoch and not self.is_taken:
            self.is_taken = True
            shared.booked.clear()
            self._listener.taken()

    async def keep_run(self) -> None:
        """Say every few seconds that this process still does its run; run it as a task of its own."""
        while self._run is not None and not self.is_taken:
            await anyio.sleep(RUN_LEASE / 4)
            with suppress(StoreLostError):  # starts are asked for, too, and tell
                await self._hold()

    @contextmanager
    def kept_when_held_up(self, beside: Callable[[], LimiterStore]) -> Iterator[None]:
        """Say that this process still does its run also while its event loop does not go on: from a thread of its own.

        A person may think over a question for longer than a lease lasts. `beside` opens the store for that thread.
        """
        over = threading.Event()
        if self._run is not None:
            threading.Thread(target=self._say_beside, args=(over, beside), daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _say_beside(self, over: threading.Event, beside: Callable[[], LimiterStore]) -> None:
        store = None
        while not over.wait(HELD_UP / 2):
            run = self._run
            if run is None or self.is_taken or run.until - self._now() > RUN_LEASE - HELD_UP:
                continue
            with suppress(StoreLostError, BatchError):  # the next start is asked for, and tells
                store = store or beside()
                _, lease = anyio.run(store.transact, self._key, self._policy.hold(run))
                if lease is not None:  # else the next start is refused
                    self._run = run._replace(until=lease.until)
        if store is not None:
            store.close()

    def may_leave(self) -> bool:
        """Return whether the run is certainly this process's at this moment, so that a request may leave."""
        return self._run is None or (not self.is_taken and self._now() < self._run.until)

    def done(self) -> None:
        """Note that nothing is left to send of the run: the next one on its input has keys of its own."""
        self._is_done = True

    async def close(self) -> None:
        """Give back what is booked, and tell the store what it was not told yet, if it can be asked."""
        shared = self._shared
        if shared is None or shared.closed:
            return
        shared.closed = True
        for route in [*shared.booked]:
            self._give_back(route)
        shared.pending.append((self._now(), self._policy.leave(shared.who)))
        if self._run is not None and not self.is_taken:
            shared.pending.append((self._now(), self._policy.let_go(self._run, is_done=self._is_done)))
            self._run = None
        with anyio.CancelScope(shield=True), anyio.move_on_after(1):
            await self._transact()

    # -- starts -------------------------------------------------------------------------------------------------

    async def _start(self, route: str, *, may_ask: bool = True) -> float | None:
        """Take a slot and a start; return its time, or None when there is no start now."""
        self._free -= 1
        started = None
        try:
            if self._shared is None:
                self._state, grant = await self._store.transact(self._key, self._policy.book(route))
                started = grant.at if grant.times else None
            else:
                started = self._use(self._shared, route)
                if started is None and may_ask and not self._shared.busy:
                    await self._ask(self._shared, route)
                    started = self._use(self._shared, route)
            return started
        finally:
            if started is None:
                self.leave()

    def _use(self, shared: _Shared, route: str) -> float | None:
        """Take a start that is booked for now, and return its time, unless what was booked is void by now."""
        self._drop_late(shared, route)
        booked = shared.booked.get(route)
        if not booked or booked[0] > self._now():
            return None
        try:
            revision = self._store.revision(self._key)
        except StoreLostError as error:
            self._lose(shared, error)
            return None
        if revision != shared.revision:  # a pause, or a cut, which voids what is booked
            shared.booked.clear()
            shared.next_ask.clear()
            return None
        booked.popleft()
        shared.used[route] = shared.used.get(route, 0) + 1
        return anyio.current_time()

    def _drop_late(self, shared: _Shared, route: str) -> None:
        """Give back starts that were not made in time."""
        booked, now = shared.booked.get(route), self._now()
        if not booked or booked[0] >= now - LATE:
            return
        late = sum(one < now - LATE for one in booked)
        late -= booked[late - 1] >= now - LATEST
        for _ in range(late):
            booked.popleft()
        if late:
            shared.pending.append((now, self._policy.give_back(route, late, shared.revision)))

    def _give_back(self, route: str) -> None:
        shared = self._shared
        if shared is not None and (booked := shared.booked.pop(route, None)):
            shared.pending.append((self._now(), self._policy.give_back(route, len(booked), shared.revision)))

    async def _ask(self, shared: _Shared, route: str) -> None:
        """Book starts on this route: as many as wait, or as were made lately, as far as there is a share of them."""
        now, asked = self._now(), anyio.current_time()
        ahead = self._store.ahead + shared.delay
        since = max(now - shared.asked_at.get(route, -math.inf), ahead)
        made = 2 * math.ceil(shared.used.get(route, 0) * ahead / since)
        waiting = 1 + (len(self._lines[route]) if route in self._lines else 0)
        ask = Ask(shared.who, max(waiting, made), ahead, shared.delay)
        shared.busy = True
        try:
            grant = await self._transact(self._policy.book(route, ask))
            took = anyio.current_time() - asked
            shared.delay = max(took, shared.delay / 2) if took > SLOW or shared.delay / 2 > SLOW else 0.0
            if grant is not None:
                shared.used[route], shared.asked_at[route] = 0, self._now()
                shared.booked.setdefault(route, deque()).extend(grant.times)
                shared.next_ask[route] = -math.inf if grant.times else grant.at
        finally:
            shared.busy = False
            if self._lines:
                self._wake_next(anyio.current_time())

    # -- the store ----------------------------------------------------------------------------------------------

    async def _tell(self, step: Step[None], *, is_urgent: bool = False) -> None:
        """Have the store take a step: at once where others must know of it, else with the next ones."""
        shared = self._shared
        if shared is None:
            self._state, _ = await self._store.transact(self._key, step)
            return
        shared.pending.append((self._now(), step))
        adaptive = self._state.adaptive
        is_watched = self._state.blocked_since is not None or adaptive.trial is not None
        if is_urgent or is_watched or len(shared.pending) >= MOST_PENDING:
            await self._transact()

    async def _transact(self, book: Step[Grant] | None = None) -> Grant | None:
        """Tell the store what is pending, and book; None where nothing was booked, or the store cannot be asked."""
        shared = self._shared
        assert shared is not None  # noqa: S101 - for the type checker
        told, shared.pending = shared.pending, []
        known = self._state
        try:
            state, (grant, lease) = await self._store.transact(self._key, partial(self._step, known, told, book))
        except StoreLostError as error:
            shared.pending = told + shared.pending
            self._lose(shared, error)
            return None
        except BaseException:
            shared.pending = told + shared.pending
            raise
        if state.revision != shared.revision:
            shared.booked.clear()
        if state.revision != shared.revision or state.blocked_since != known.blocked_since:
            shared.next_ask.clear()
        self._state, shared.revision = state, state.revision
        self._take_lease(lease, state)
        shared.lost_since, shared.retry = math.inf, FIRST_RETRY
        shares = self.sharing(), self._policy.held_at(state)
        if shares != self._shares and not shared.closed:
            self._shares = shares
            self._listener.shared(*shares)
        if book is not None and state.paused_until > max(known.paused_until, self._now()):
            self._listener.paused(state.paused_until - self._now())
        now = self._now()
        if not self._policy.filling(known, now) and (seconds := self._policy.filling(state, now)):
            self._listener.emptied(seconds)
        return grant

    def _step(
        self, known: LimiterState, told: list[tuple[float, Step[None]]], book: Step[Grant] | None,
        state: LimiterState | None, now: float,
    ) -> tuple[LimiterState, tuple[Grant | None, RunLease | None]]:  # fmt: skip
        """Take all that is pending as one step; nothing is booked for a run that another process does by now."""
        state, _ = self._policy.recover(known, self._store.began(self._key))(state, now)
        for at, step in told:
            state, _ = step(state, min(at, now))
        lease = None
        if self._run is not None:
            state, lease = self._policy.hold(self._run)(state, now)
            if lease is None:
                return state, (Grant((), now + LONGEST_RETRY), None)
        if book is None:
            return state, (None, lease)
        state, grant = book(state, now)
        return state, (grant, lease)

    def lose(self, error: StoreLostError, since: float = math.inf) -> None:
        """Note that the store cannot be asked, since then, for something else than starts: nothing starts meanwhile."""
        if self._shared is not None:
            self._lose(self._shared, error, since)

    def _lose(self, shared: _Shared, error: StoreLostError, since: float = math.inf) -> None:
        """Start nothing until the store can be asked again."""
        if shared.closed:
            return
        now = anyio.current_time()
        shared.booked.clear()
        shared.lost_since = min(shared.lost_since, now, since)
        shared.retry, wait = min(2 * shared.retry, LONGEST_RETRY), shared.retry
        again = self._now() + wait
        shared.next_ask = dict.fromkeys([*self._lines, *shared.next_ask], again)
        self._listener.lost(shared.lost_since, error)

    def _now(self) -> float:
        """Return the time on the store's clock."""
        return anyio.current_time() if self._shared is None else self._store.now(self._key)

    def _ahead_of_here(self) -> float:
        """Return by how much the store's clock is ahead of anyio's."""
        return 0.0 if self._shared is None else self._store.now(self._key) - anyio.current_time()

    def _earliest(self, route: str, now: float) -> float:
        """Return when, as far as is known here, a start on this route may be made or asked for; on anyio's clock."""
        shared = self._shared
        if shared is None:
            return self._policy.earliest(self._state, now, route)
        ahead = self._store.now(self._key) - now
        self._drop_late(shared, route)
        if booked := shared.booked.get(route):
            return booked[0] - ahead
        if shared.busy:
            return math.inf
        at = shared.next_ask.get(route)
        return (self._policy.earliest(self._state, now + ahead, route) if at is None or math.isinf(at) else at) - ahead

    # -- who waits ----------------------------------------------------------------------------------------------

    async def _wait(self, route: str, turn: Turn, is_ready: IsReady, is_again: bool) -> float | None:
        self._arrivals += 1
        waiter = _Waiter(-self._arrivals if is_again else self._arrivals, turn)
        self._lines.setdefault(route, _Line()).join(waiter)
        try:
            # Whoever is woken checks again: between waking and running, a pause may have arrived.
            while True:
                if self._wake_next(anyio.current_time(), awake=waiter) is not waiter:
                    await waiter.sleep()
                elif not is_ready(anyio.current_time()):
                    return None
                elif (started := await self._start(route)) is not None:
                    self._since_look = 0 if turn is Turn.LOOK else self._since_look + 1
                    return started
        finally:
            waiter.is_gone = True
            self._wake_next(anyio.current_time())

    def _wake_next(self, now: float, awake: _Waiter | None = None) -> _Waiter | None:
        """Wake and return the one who may start now; for the others who are next, see to an alarm."""
        first: _Waiter | None = None
        is_for_look = self._since_look >= BETWEEN_LOOKS
        for route in tuple(self._lines) if self._free else ():
            waiter = self._lines[route].head(is_for_look)
            if waiter is None:
                del self._lines[route]
            elif (at := self._earliest(route, now)) > now:
                if waiter is awake:
                    waiter.alarm = at
                elif at != waiter.alarm:
                    waiter.set_alarm(at)
            elif first is None or waiter.rank(is_for_look) < first.rank(is_for_look):
                first = waiter
        if first is not None and first is not awake:
            first.wake()
        return first


class _Attempt:
    """One attempt's way in and out; a class, since `asynccontextmanager` costs more than all of the above."""

    __slots__ = ("_has_entered", "_limiter", "_way_in")

    def __init__(
        self, limiter: RateLimiter, route: str, turn: Turn, is_ready: IsReady, is_again: bool, may_wait: bool
    ) -> None:
        self._limiter = limiter
        self._way_in = route, turn, is_ready, is_again, may_wait
        self._has_entered = False

    async def __aenter__(self) -> float | None:
        started = await self._limiter.enter(*self._way_in)
        self._has_entered = started is not None
        return started

    async def __aexit__(self, *exc: object) -> None:
        if self._has_entered:
            self._limiter.leave()
