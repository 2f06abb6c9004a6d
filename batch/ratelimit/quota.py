"""A used-up quota: the API refuses everybody for a while, and single probes find out when it ends.

At the end it is known how long the API's window is and how much it permits in one; that is the rate to go on with.
"""

import math
from dataclasses import dataclass

from batch.ratelimit.buckets import EventLog

LONG = 2.0
"""Seconds. Shorter windows and waits need no probes: pacing alone gets along with them."""

PATIENCE = 30.0
"""Seconds after which a probe that was cancelled, and so is never answered, gives way to the next one."""

SHORTEST_BREAK = 0.2
ENOUGH = 20


@dataclass(slots=True)
class QuotaExhausted:
    """Whether the quota is used up (since `since`, else None), and the length of the API's `window`, once known."""

    window: float | None
    since: float | None = None
    probe: float | None = None
    next_probe: float = -math.inf
    resumed: float = 0.0
    accepted_before: int = 0

    def watch_from(self, now: float, accepted: EventLog) -> None:
        """Count what is accepted from here on: the run begins, or a window."""
        self.resumed, self.accepted_before = now, accepted.total

    def begins(self, wait: float, in_a_row: int, in_flight: float) -> bool:
        """Return whether this refusal means more than "a little slower"."""
        return wait > LONG or self._is_window_long() or in_a_row >= max(6.0, 2 * in_flight)

    def begin(self, now: float) -> None:
        """Permit nothing but one probe at a time from now on."""
        self.since, self.probe = now, None
        self.next_probe = now + self._break(now)

    def earliest(self) -> float:
        """Return the time from which the next probe may start."""
        return self.next_probe if self.probe is None else self.probe + PATIENCE

    def take(self, now: float) -> None:
        """Note that a probe starts now."""
        self.probe = now

    def withdrawn(self, started: float) -> None:
        """Forget the attempt that started then: it was not made after all."""
        if self.is_probe(started):
            self.probe = None

    def is_probe(self, started: float) -> bool:
        """Return whether the attempt that started then is the probe, not one from before the quota was used up."""
        return self.since is not None and self.probe is not None and started >= self.probe

    def refused(self, now: float, started: float) -> None:
        """Put the next probe off, the longer the more time the quota has been used up."""
        if self.is_probe(started):
            self.probe = None
            self.next_probe = now + self._break(now)

    def end(self, now: float, accepted: EventLog) -> float | None:
        """End it, because a probe was accepted; return the rate to go on with, or None if nothing new was learned."""
        blocked_for = now - (now if self.since is None else self.since)
        self.since = self.probe = None
        if blocked_for < LONG and not self._is_window_long():
            return None
        count, gap = accepted.total - self.accepted_before, now - self.resumed
        self.watch_from(now, accepted)
        if gap <= 0 or (self.window is None and count < ENOUGH):
            return None  # this run began when others had used the window up, and has seen nothing of it
        self.window = self._window(gap, blocked_for)
        return max(count / gap, accepted.since(now - self.window) / self.window)

    def _window(self, gap: float, blocked_for: float) -> float:
        """Return the window, from one that began `gap` ago; several may have passed since, not all used up."""
        if self.window is None or blocked_for > self.window:
            return gap
        return gap / max(1, round(gap / self.window))

    def _is_window_long(self) -> bool:
        return self.window is not None and self.window > LONG

    def _break(self, now: float) -> float:
        blocked_for = 0.0 if self.since is None else now - self.since
        return max(SHORTEST_BREAK, 0.006 * (self.window or 0.0), 0.1 * blocked_for)
