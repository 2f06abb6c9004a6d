"""The policy: all that says when the next attempt may start, as pure steps from one state to the next.

`RatePolicy` holds what is configured and never changes; `LimiterState` (`state.py`) is everything that does. A step is
a function `(state, now) -> (state, answer)` for `LimiterStore.transact`: it reads no clock, rolls no dice and waits for
nothing, so that a store may run it again. It may change the state that it is handed.

Promise: a start is booked in everything that applies to it or in nothing.
What applies to an attempt is listed in README.md.
"""

import math
import random
from collections.abc import Mapping
from typing import NamedTuple

from batch.ratelimit.adaptive import FIRST_RATE, AdaptiveRate
from batch.ratelimit.buckets import Bucket, FixedRate, Limits, TokenBucket, check_rate
from batch.ratelimit.headers import HeaderBudget, RateHint, is_about_rate, read_rate_headers
from batch.ratelimit.learned import Learned
from batch.ratelimit.state import LimiterState, RouteState, RunLease, Sharer, Step

PAUSE_JITTER = 0.02
"""Several programs on one key must not come back at the same moment; never earlier than asked."""

UNDOCUMENTED_HOLD = 60.0
"""Seconds for which a rate header holds a route at most where no bucket is documented, which would be full by then."""

SAYS_NOTHING = frozenset({None, 408, 500, 502, 503, 504})
"""Replies that may come from before or behind the rate limiter, or not at all."""

PRESENT = 2.0
"""Seconds for which a process counts as one of those that share the rate, from when it last asked for a start."""
FARTHEST = 0.5
"""Seconds for which starts are booked ahead at most where many processes share a rate."""
HEEDED = 60.0
"""Seconds for which the --max-per-second of a process holds for all others, from when it last asked for a start."""
SOONEST, LATEST_TURN = 0.02, 0.5
"""Seconds, within these half an interval: for so long a turn is kept for a process that does not come for it."""
RUN_LEASE = 30.0
"""Seconds for which a run belongs to a process, from when that last asked for a start or said that it is there."""
RUNS_KEPT = 86_400.0
"""Seconds for which it is known who did a run last that has something left to send.

Of one that has nothing left it is known for RUN_LEASE: whoever claimed it before knows then that its claim has ended.
"""
LOOK_AGAIN, LOOK_FOR_PROBE = 1.0, 0.25
"""Seconds after which it is asked again at the latest: turns before it may have become free, or a probe accepted."""


class Ask(NamedTuple):
    """Who asks for starts: process `who` ("": there is no other), up to `starts`, as far `ahead` as so many seconds.

    `delay`: the answer takes so many seconds, so that no start is of use before.
    """

    who: str = ""
    starts: int = 1
    ahead: float = 0.0
    delay: float = 0.0


ONE_START = Ask()


class Grant(NamedTuple):
    """The answer to a booking: attempts may start at `times`, the first of them at `at`; if none, ask again at `at`."""

    times: tuple[float, ...]
    at: float

    @property
    def starts(self) -> int:
        """Return how many were booked."""
        return len(self.times)


class RunClaim(NamedTuple):
    """Process `holder` of `host` wants to do a run, or goes on with it in the `epoch` it was given (0: none yet).

    The name of a holder begins with that of its host. `until` is when its lease ends, as far as it knows. `first` is
    its epoch where the store does not know the run: a number that no claim had which the store has forgotten.
    """

    name: str
    host: str
    holder: str
    seed: str
    first: int = 1
    epoch: int = 0
    until: float = -math.inf


class Wait(NamedTuple):
    """That nobody, or nobody on one route, may start before `until`, and why."""

    until: float
    cause: str


class Reply(NamedTuple):
    """What a reply says to the limiter. `status` None: no answer. `wait`: how long a refusal pauses everybody.

    `is_log_in`: log-ins have a limit of their own, and a refusal of one says nothing about the rate of the others.
    """

    route: str
    started: float
    status: int | None
    hint: RateHint
    is_refusal: bool
    wait: float
    is_log_in: bool = False


def read_reply(
    route: str, started: float, status: int | None, headers: Mapping[str, str], *, now_epoch: float,
    rng: random.Random, is_log_in: bool = False,
) -> Reply:  # fmt: skip
    """Read the reply to the attempt that started then. The wall clock and the jitter are used here, not in the step."""
    hint = read_rate_headers(headers, now_epoch)
    is_refusal = is_about_rate(status, hint)
    wait = (hint.wait or 0.0) * (1 + PAUSE_JITTER * rng.random()) if is_refusal else 0.0
    return Reply(route, started, status, hint, is_refusal, wait, is_log_in)


class RatePolicy:
    """The limits of one API and the steps that keep to them. `max_per_second` replaces the documented limits."""

    def __init__(
        self, limits: Limits | None, *, max_per_second: float | None = None, learned: Learned | None = None
    ) -> None:
        if max_per_second is not None:
            check_rate("max_per_second", max_per_second)
        self._limits = limits = limits or Limits()
        self.max_per_second = max_per_second
        self._is_known = max_per_second is not None or limits != Limits()
        self._learned = learned or Learned()
        self._total = None if limits.total is None else TokenBucket(limits.total)
        self._per_route = None if limits.per_route is None else TokenBucket(limits.per_route)
        # A documented bucket is better known than headers that tell when it is full again.
        own = Limits() if max_per_second is not None else limits
        self._time_to_fill = max(_time_to_fill(own.total), _time_to_fill(own.per_route))
        self._longest_hold = self._time_to_fill or UNDOCUMENTED_HOLD

    def new_state(self) -> LimiterState:
        """Return the state of a key of which nothing is known but what the last run learned."""
        adaptive = AdaptiveRate.begin_at(math.inf if self._is_known else FIRST_RATE, self._learned)
        is_documented = self.max_per_second is None
        return LimiterState(adaptive, None if is_documented else FixedRate(self.max_per_second or 0.0), is_documented)

    def earliest(self, state: LimiterState, now: float, route: str) -> float:
        """Return the earliest time, not before now, at which an attempt on this route may start."""
        at = max(now, state.paused_until, state.adaptive.earliest())
        own = state.routes.get(route)
        if own is not None:
            at = max(at, own.budget.earliest(now))
        if self._per_route is not None and state.is_documented:
            full_at = self._per_route.drain(-math.inf, state.emptied) if own is None else own.full_at
            at = max(at, self._per_route.earliest(full_at))
        if self._total is not None and state.is_documented:
            at = max(at, self._total.earliest(state.total_full_at))
        if state.fixed_rate is not None:
            at = max(at, state.fixed_rate.next)
        return at

    def per_second(self, state: LimiterState) -> float:
        """Return the rate that is permitted now on one route, bursts aside, for all processes together."""
        limits = (self._limits.total, self._limits.per_route) if state.is_documented else ()
        buckets = [one.per_second for one in limits if one is not None]
        fixed = [state.fixed_rate.per_second] if state.fixed_rate is not None else []
        return min([state.adaptive.rate, *buckets, *fixed])

    def sharing(self, state: LimiterState, now: float) -> int:
        """Return how many processes share the rate at the moment, of which one asks."""
        return max(1, sum(one.asked > now - PRESENT for one in state.sharers.values()))

    def held_at(self, state: LimiterState) -> float | None:
        """Return the lower --max-per-second of another process, 0 for the documented limits of one without.

        None: no other process holds this one up.
        """
        lowest = math.inf if state.fixed_rate is None else state.fixed_rate.per_second
        if lowest < (self.max_per_second or math.inf):
            return lowest
        return 0.0 if state.is_documented and self.max_per_second is not None and self._limits != Limits() else None

    def wait(self, state: LimiterState, now: float) -> Wait | None:
        """Return the latest of the waits that the API's answers have brought about, None when there is none.

        The pace is no such wait: it shows in the rate.
        """
        waits = [Wait(state.paused_until, "the API asks for it")]
        if state.blocked_since is not None:
            waits.append(Wait(state.adaptive.earliest(), "the API refuses everything, and is tried now and then"))
        used_up = "the API says that nothing is left of its limit"
        waits += [Wait(own.budget.earliest(now), used_up) for own in state.routes.values()]
        latest = max(waits)
        return latest if latest.until > now else None

    def book(self, route: str, ask: Ask = ONE_START) -> Step[Grant]:
        """Book starts on this route, in all that applies, or say when to ask again.

        A process alone gets one, and now or not at all. Several get up to their share of what the rate permits in the
        time that they may book ahead, and one each, when its turn has come, where that is less than one start.
        """

        def step(state: LimiterState | None, now: float) -> tuple[LimiterState, Grant]:
            state = state or self.new_state()
            most, soonest = 1, now + ask.delay
            horizon = soonest
            if ask.who:
                self._join(state, now, ask.who)
                if state.blocked_since is None and (rate := self.per_second(state)) * ask.ahead >= 1:
                    sharing = self.sharing(state, now)
                    # Two for each of many: one to make while it asks for the next, however late it wakes up.
                    horizon = soonest + max(ask.ahead, min(2 * sharing / rate, FARTHEST))
                    most = min(ask.starts, max(2, int(rate * ask.ahead / sharing)))
            at = self.earliest(state, soonest, route)
            own = state.routes.get(route)
            if ask.who:
                own = own or self._route(state, route)
                turn = self._turn(state, own, ask.who, now, at - (horizon - now))
                if turn > now:
                    return state, Grant((), turn)
            if at > horizon:
                return state, Grant((), at)
            own = own or self._route(state, route)
            times: list[float] = []
            while at <= horizon and len(times) < max(1, most):
                self._take(state, own, at)
                times.append(at)
                at = self.earliest(state, soonest, route)
            return state, Grant(tuple(times), times[0])

        return step

    def give_back(self, route: str, starts: int, revision: int) -> Step[None]:
        """Note that starts that were booked at this revision will not be made; those of an earlier one are void."""

        def step(state: LimiterState | None, now: float) -> tuple[LimiterState, None]:
            state = state or self.new_state()
            if state.revision != revision:
                return state, None
            own = self._route(state, route)
            own.budget.left += starts
            state.adaptive.fixed_rate.give_back(starts)
            if state.fixed_rate is not None:
                state.fixed_rate.give_back(starts)
            if state.is_documented and self._total is not None:
                state.total_full_at = self._total.give_back(state.total_full_at, starts)
            if state.is_documented and self._per_route is not None:
                own.full_at = self._per_route.give_back(own.full_at, starts)
            return state, None

        return step

    def leave(self, who: str) -> Step[None]:
        """Forget a process that asks for no more starts; its --max-per-second holds a little longer."""

        def step(state: LimiterState | None, now: float) -> tuple[LimiterState, None]:
            state = state or self.new_state()
            if who in state.sharers:
                state.sharers[who].asked = min(state.sharers[who].asked, now - PRESENT)
            for own in state.routes.values():
                own.queue.pop(who, None)
            return state, None

        return step

    def hold(self, claim: RunClaim) -> Step[RunLease | None]:
        """Give a run to a process, or let it go on with it; None where another one does it.

        One of the same host that asks anew holds the host's own lock on the run, so that the one before it is gone. A
        process whose lease ended, and which the store does not name as the last, cannot know what others did since, and
        is refused.
        """

        def step(state: LimiterState | None, now: float) -> tuple[LimiterState, RunLease | None]:
            state = state or self.new_state()
            for name, one in [*state.runs.items()]:
                if one.until < now - (RUNS_KEPT if one.seed else RUN_LEASE):
                    del state.runs[name]
            found = state.runs.get(claim.name)
            if claim.epoch and claim.until < now and (found is None or found.holder != claim.holder):
                return state, None
            if found is not None and found.holder != claim.holder and claim.epoch <= found.epoch:
                is_free = found.until <= now or found.holder.startswith(f"{claim.host}/")
                if claim.epoch or not is_free:
                    return state, None
                self._void(state, now)
            epoch = claim.epoch or claim.first
            if found is not None:
                epoch = found.epoch + (not claim.epoch and found.holder != claim.holder)
            seed = (found.seed if found else "") or claim.seed
            state.runs[claim.name] = RunLease(claim.holder, max(epoch, claim.epoch), now + RUN_LEASE, seed)
            return state, state.runs[claim.name]

        return step

    def let_go(self, claim: RunClaim, *, is_done: bool) -> Step[None]:
        """End the lease of a run, unless another process has it; `is_done`: nothing is left to send."""

        def step(state: LimiterState | None, now: float) -> tuple[LimiterState, None]:
            state = state or self.new_state()
            found = state.runs.get(claim.name)
            if found is not None and (found.holder, found.epoch) == (claim.holder, claim.epoch):
                state.runs[claim.name] = RunLease("", found.epoch, now, "" if is_done else found.seed)
            return state, None

        return step

    def recover(self, known: LimiterState, began: float = -math.inf) -> Step[None]:
        """Take up what this process saw last (`known`), where a store has lost that and may have begun anew.

        What others were granted is not known from before the store began (`began`; -inf: it lost nothing), and where it
        lost what this process knows, from before now. So no bucket has a burst left from then, of routes to come, too:
        it fills up again at its documented rate.
        """

        def step(state: LimiterState | None, now: float) -> tuple[LimiterState, None]:
            is_lost = bool(known.routes) and (state is None or state.origin != known.origin)
            if state is None:
                state = LimiterState.from_json(known.as_json())
                self._void(state, now)
            if is_lost or began > state.emptied:
                self._empty(state, now if is_lost else began)
            state.paused_until = max(state.paused_until, known.paused_until)
            return state, None

        return step

    def filling(self, state: LimiterState, now: float) -> float:
        """Return for how many seconds documented buckets that count as emptied are not full again; 0 for none."""
        return max(0.0, state.emptied + self._time_to_fill - now) if state.is_documented else 0.0

    def update(self, reply: Reply) -> Step[None]:
        """Learn from a reply."""

        def step(state: LimiterState | None, now: float) -> tuple[LimiterState, None]:
            state = state or self.new_state()
            own = self._route(state, reply.route)
            is_accepted = not reply.is_refusal and reply.status not in SAYS_NOTHING
            own.budget.update(
                now, reply.started, reply.hint, shortest=self._time_to_fill, longest=self._longest_hold,
                is_accepted=is_accepted,
            )  # fmt: skip
            if reply.is_refusal:
                state.throttled += reply.status == 429
                self._pause_everybody(state, own, now, reply)
            elif is_accepted:
                state.adaptive.accepted(now, reply.started)
            else:
                state.adaptive.unclear(now, reply.started)
            return state, None

        return step

    def withdraw(self, started: float) -> Step[None]:
        """Forget that the attempt that started then was the probe: another one may be, at once."""

        def step(state: LimiterState | None, now: float) -> tuple[LimiterState, None]:
            state = state or self.new_state()
            state.adaptive.exhausted.withdrawn(started)
            return state, None

        return step

    def _pause_everybody(self, state: LimiterState, own: RouteState, now: float, reply: Reply) -> None:
        """Let nobody start for as long as a refusal asks, and go slower from then on."""
        # Retry-After alone is waited for in full; a reset may be meant otherwise.
        longest = math.inf if reply.hint.retry_after is not None else self._longest_hold
        state.paused_until = max(state.paused_until, now + min(reply.wait, longest))
        self._void(state, now)
        if reply.is_log_in:
            state.adaptive.unclear(now, reply.started)
            return
        self._drain(state, own, now)
        told_until = min([one.asked for one in state.sharers.values() if one.asked > now - PRESENT], default=now)
        state.adaptive.refused(now, reply.started, min(reply.hint.wait or 0.0, longest), told_until)

    def _route(self, state: LimiterState, route: str) -> RouteState:
        """Return what is known of a route; of one that is new, that its bucket was empty when all were."""
        own = state.routes.get(route)
        if own is None:
            own = state.routes[route] = RouteState()
            self._drain(state, own, state.emptied)
        return own

    def _empty(self, state: LimiterState, at: float) -> None:
        """Count all buckets as empty at that time."""
        state.emptied = max(state.emptied, at)
        for own in state.routes.values():
            self._drain(state, own, at)
        if self._total is not None:
            state.total_full_at = self._total.drain(state.total_full_at, at)

    def _drain(self, state: LimiterState, own: RouteState, now: float) -> None:
        if self._total is not None:
            state.total_full_at = self._total.drain(state.total_full_at, now)
        if self._per_route is not None:
            own.full_at = self._per_route.drain(own.full_at, now)

    def _void(self, state: LimiterState, now: float) -> None:
        """Take back what is booked for later than now: who booked it sees by the revision that it is void.

        Otherwise nothing would start until those times are over, and the API would seem to permit the rate that it
        refuses.
        """
        state.revision += 1
        state.adaptive.void(now)
        if state.fixed_rate is not None:
            state.fixed_rate.void(now)
        if self._total is not None:
            state.total_full_at = self._total.void(state.total_full_at, now)
        if self._per_route is not None:
            for own in state.routes.values():
                own.full_at = self._per_route.void(own.full_at, now)

    def _take(self, state: LimiterState, own: RouteState, at: float) -> None:
        """Count a start at that time in all that applies."""
        own.budget.take(at)
        state.adaptive.take(at)
        if state.is_documented and self._total is not None:
            state.total_full_at = self._total.take(state.total_full_at, at)
        if state.is_documented and self._per_route is not None:
            own.full_at = self._per_route.take(own.full_at, at)
        if state.fixed_rate is not None:
            state.fixed_rate.take(at)

    def _join(self, state: LimiterState, now: float, who: str) -> None:
        """Count a process among those that share the key; the lowest --max-per-second of them holds for all."""
        for other in [other for other, one in state.sharers.items() if one.asked < now - HEEDED]:
            del state.sharers[other]
        if not state.sharers:
            self._begin_anew(state)
        state.sharers[who] = Sharer(now, self.max_per_second)
        rates = {one.max_per_second for one in state.sharers.values()}
        is_documented, lowest = None in rates, min((one for one in rates if one is not None), default=None)
        before = math.inf if state.fixed_rate is None else state.fixed_rate.per_second
        if lowest is None:
            state.fixed_rate = None
        elif state.fixed_rate is None:
            state.fixed_rate = FixedRate(lowest)
        else:
            state.fixed_rate.per_second = lowest
        if (lowest or math.inf) < before or (is_documented and not state.is_documented):
            self._void(state, now)
        state.is_documented = is_documented

    def _begin_anew(self, state: LimiterState) -> None:
        """Forget what earlier processes found out, but for what they used up and what the API asked them to wait."""
        if state.blocked_since is None:
            state.adaptive = self.new_state().adaptive
        for own in state.routes.values():
            own.budget = HeaderBudget()
            own.queue.clear()

    def _turn(self, state: LimiterState, own: RouteState, who: str, now: float, opens: float) -> float:
        """Return when it is the turn of a process to be granted a start, which is possible from `opens` on.

        First come, first served; who does not come for its turn (it has ended, or is frozen) goes to the end.
        """
        for other in [other for other, kept in own.queue.items() if kept < now and other != who]:
            del own.queue[other]
        before = list(own.queue).index(who) if who in own.queue else len(own.queue)
        if not before and opens <= now:
            own.queue.pop(who, None)
            return now
        interval = 1 / self.per_second(state)
        turn = max(opens, now) + before * interval
        look_again = LOOK_AGAIN if state.blocked_since is None else LOOK_FOR_PROBE
        turn = max(min(turn, now + look_again), state.paused_until)
        own.queue[who] = turn + min(max(interval / 2, SOONEST), LATEST_TURN)
        return turn


def _time_to_fill(bucket: Bucket | None) -> float:
    return 0.0 if bucket is None else bucket.burst / bucket.per_second
