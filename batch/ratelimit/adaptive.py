"""The controller that finds an API's real limit from its replies, when nobody says it or what is said is wrong.

It paces attempts evenly at a rate that climbs until the API refuses one, and settles a little below. It assumes no
particular kind of limiter; `tests/simulation/` holds those it is tried on, and this package's README the results.
Only refusals for rate are its business; time-outs and other failures are not.

The numbers below were found by random search over that simulation: deeper cuts and faster climbs are fairer among
several programs on one key and notice a raised limit sooner, shallower and slower ones use more of it.
"""

import math
from dataclasses import dataclass, field

from batch.ratelimit.buckets import EventLog, FixedRate
from batch.ratelimit.learned import Learned
from batch.ratelimit.quota import QuotaExhausted

FIRST_RATE = 10.0
"""Attempts per second when nothing is known; doubled every second that the pace is what holds the sender back."""

SLOWEST = 0.02
KEPT = 0.985
"""What is left of the rate after a refusal that came although nearly everything was accepted."""

NEARLY_ALL = 0.9
DEEPEST_CUT = 0.3
DIP, RISE = 0.02, 0.02
STEP_BACK = 0.2
"""After a cut, wait so many round trips: it gives a small bucket the token or two that jitter needs."""

SHORTEST_CLIMB, LONGEST_CLIMB = 3.0, 60.0

TRIAL_REFUSALS, TRIAL_REPLIES = 4, 20


@dataclass(slots=True)
class Trial:
    """A few replies at one rate, until it is plain which share of them is accepted."""

    replies: int = 0
    refused: int = 0

    def share(self, is_refused: bool) -> float | None:
        """Count a reply; return the share once that is enough."""
        self.replies += 1
        self.refused += is_refused
        if self.refused < TRIAL_REFUSALS and self.replies < TRIAL_REPLIES:
            return None
        return 1 - self.refused / self.replies


@dataclass(slots=True)
class AdaptiveRate:
    """The state of the controller, and how starts and replies change it. Make a new one with `begin_at`."""

    ceiling: float | None
    exhausted: QuotaExhausted
    fixed_rate: FixedRate
    earlier: float
    accepted_log: EventLog = field(default_factory=EventLog)
    begun: float = math.inf
    last_start: float = math.inf
    last_cut: float = -math.inf
    last_deep_cut: float = -math.inf
    held: float = 0.0
    climb_time: float = SHORTEST_CLIMB
    round_trip: float = 0.1
    refused_in_a_row: int = 0
    trial: Trial | None = None

    @classmethod
    def begin_at(cls, first_rate: float, learned: Learned) -> "AdaptiveRate":
        """Return the state of a new run. `first_rate` is infinite where documented limits go before."""
        # What was learned is trusted, unless documented limits say otherwise: then it is only where to begin.
        earlier = 0.0 if learned.per_second is None or math.isinf(first_rate) else 2 * LONGEST_CLIMB
        new = cls(learned.per_second, QuotaExhausted(learned.window), FixedRate(first_rate), earlier)
        if new.ceiling is not None:
            new.climb_time = min(new._time_to_climb(0.0), max(SHORTEST_CLIMB, earlier))
            new._climb()
        return new

    @property
    def rate(self) -> float:
        """Return the attempts per second that are permitted now."""
        return self.fixed_rate.per_second

    def earliest(self) -> float:
        """Return the time from which the next attempt may start; it may be long ago."""
        return self.fixed_rate.next if self.exhausted.since is None else self.exhausted.earliest()

    def take(self, now: float) -> None:
        """Count an attempt that starts now."""
        if math.isinf(self.begun):
            self.begun = now
            self.exhausted.watch_from(now, self.accepted_log)
        if self.exhausted.since is not None:
            self.exhausted.take(now)
            return
        # It climbs only in time in which the pace is what holds the sender back: an untried rate proves nothing.
        if self.fixed_rate.is_held(now) and self.trial is None:
            self.held += min(max(now - self.last_start, 0.0), 1.0)
            self._climb()
        self.last_start = now
        self.fixed_rate.take(now)

    def void(self, now: float) -> None:
        """Forget starts that were counted for later than now, but not the wait after a cut."""
        self.fixed_rate.void(max(now, self._after_cut()))

    def accepted(self, now: float, started: float) -> None:
        """Learn from a reply that shows that the API's limiter accepted the attempt."""
        self.round_trip += (now - started - self.round_trip) / 20
        self.refused_in_a_row = 0
        self.accepted_log.add(now)
        if self.trial is not None:
            self._try(now, 0.0, is_refused=False)
        if self.exhausted.is_probe(started):
            self._resume(now, started)

    def refused(self, now: float, started: float, wait: float, told_until: float) -> None:
        """Learn from a refusal; `wait` is the time that the API asks for, or 0.

        `told_until`: the time up to which all processes have told of what the API accepted.
        """
        if self.exhausted.since is not None:
            self.exhausted.refused(now, started)
            return
        self.refused_in_a_row += 1
        # One cut per flight: what left before the last cut says nothing about the rate after it.
        if started >= self.last_cut:
            if math.isinf(self.rate) and not self.accepted_log.total and math.isinf(self.last_cut):
                self.last_cut = now  # others had used it up before this run began, and nothing is known of its rate
            elif self.ceiling is None and math.isfinite(self.rate):
                self._try(now, wait, is_refused=True)
            else:
                self._cut(now, wait, told_until)
        if self.exhausted.begins(wait, self.refused_in_a_row, self.round_trip * self.rate):
            self.exhausted.begin(now)

    def unclear(self, now: float, started: float) -> None:
        """Note an attempt whose reply, or lack of one, says nothing about rate."""
        self.exhausted.refused(now, started)

    def learned(self) -> Learned:
        """Return what is worth keeping for the next run: the ceiling, or a rate above it that has held for a while."""
        if self.ceiling is None or self.exhausted.since is not None:
            return Learned(self.ceiling, self.exhausted.window)
        known = self.held - max(1.0, 2 * self.round_trip)  # replies to what left later may still be under way
        rate = max(self.ceiling, self._rate_after(known))
        return Learned(rate if math.isfinite(rate) else None, self.exhausted.window)  # a climb of days has no end

    def _cut(self, now: float, wait: float, told_until: float) -> None:
        span = self._span()
        if told_until - self.begun < span:  # too little is told for that
            told_until = now
        watched = max(0.05, min(span, told_until - self.begun - self.round_trip))
        log = self.accepted_log
        got = (log.since(told_until - watched) - log.since(told_until)) / watched
        rate = max(got, 1.0) if math.isinf(self.rate) else self.rate
        if got < NEARLY_ALL * rate and now - self.last_deep_cut >= span:
            self.last_deep_cut = now
            self.ceiling = max(0.98 * got, DEEPEST_CUT * rate)
        else:
            self.ceiling = KEPT * rate
        self._restart(now, wait)
        self.fixed_rate.delay(self._after_cut())

    def _after_cut(self) -> float:
        return self.last_cut + STEP_BACK * self.round_trip

    def _try(self, now: float, wait: float, *, is_refused: bool) -> None:
        """After the first refusal of a search, stay at this rate for a few replies: their share tells the limit."""
        if self.trial is None:
            self.trial = Trial()
            return
        share = self.trial.share(is_refused)
        if share is None:
            return
        self.trial = None
        if share >= NEARLY_ALL:
            return  # others fill the limit: take a share of it before settling
        # Half of the rate was good for a second.
        self.ceiling = max(0.98 * share, 0.5 if self.rate > FIRST_RATE else DEEPEST_CUT) * self.rate
        self.last_deep_cut = now
        self._restart(now, wait)

    def _span(self) -> float:
        """Return the seconds over which acceptances are counted: some 20 attempts."""
        few = 10.0 if math.isinf(self.rate) else 20 / self.rate
        return min(60.0, max(1.0, 3 * self.round_trip, few))

    def _restart(self, now: float, wait: float) -> None:
        """Begin a new climb from below the ceiling. Early in a run little is sure, and climbs are short."""
        self.ceiling = max(SLOWEST, self.ceiling or 0.0)
        self.last_cut = now
        self.trial = None
        self.held = 0.0
        known_for = now - self.begun + self.earlier
        self.climb_time = min(self._time_to_climb(wait), max(2.0, known_for / 2))
        self._climb()

    def _time_to_climb(self, wait: float) -> float:
        """Return the seconds in which the rate is back at the ceiling: the costlier a refusal, the longer."""
        by_rate = 65 / math.pow(self.ceiling or SLOWEST, 0.6)
        return min(LONGEST_CLIMB, max(SHORTEST_CLIMB, by_rate, 1.5 * (self.exhausted.window or 0.0), 30 * wait))

    def _climb(self) -> None:
        """Set the rate: a cubic that is flat at the ceiling (as CUBIC, RFC 9438), then doubling if nothing stops it."""
        if self.ceiling is None:
            if self.held >= 1.0:
                self.fixed_rate.per_second *= 2
                self.held = 0.0
            return
        self.fixed_rate.per_second = self._rate_after(self.held)

    def _rate_after(self, held: float) -> float:
        """Return the rate after so many seconds of a climb, in which it was what held the sender back."""
        x = held / self.climb_time
        if x < 3:
            factor = 1 + (DIP if x < 1 else RISE) * (x - 1) ** 3
        else:
            factor = (1 + 8 * RISE) * math.exp2(min(2 * (x - 3), 60.0))
        return (self.ceiling or 0.0) * factor

    def _resume(self, now: float, started: float) -> None:
        # A newcomer's burst may have used this window up; giving way by more than half would leave it the API for good.
        least = 0.0 if self.exhausted.window is None else (self.ceiling or 0.0) / 2
        per_second = self.exhausted.end(started, self.accepted_log)
        if per_second is not None:
            self.ceiling = max(per_second, least)
        elif self.ceiling is None:
            self.ceiling = self.rate / 2
        self.refused_in_a_row = 0
        self.fixed_rate.next = now
        self._restart(now, 0.0)
