"""Being blocked: the API refuses everybody for a while, since a quota is used up. One probe at a time finds its end.

At the end it is known how long the API's window is and what it permits in one, which is the rate to go on with.
"""

import math

from batch.ratelimit.moments import EventLog

LONG = 2.0
"""Windows and waits up to so many seconds need no blockade: pacing alone gets along with them."""

PATIENCE = 30.0
"""A probe that was cancelled never answers; so long after it the next one may go."""

SHORTEST_BREAK = 0.2
ENOUGH = 20


class QuotaExhausted:
    """On while `since` is set; `window` is the length of the API's window, once known."""

    def __init__(self, window: float | None) -> None:
        self.window = window
        self.since: float | None = None
        self._probe: float | None = None
        self._next_probe = -math.inf
        self._resumed = 0.0
        self._accepted_before = 0

    def watch_from(self, now: float, accepted: EventLog) -> None:
        """Count what is accepted from here on: the run begins, or a window."""
        self._resumed, self._accepted_before = now, accepted.total

    def begins(self, wait: float, in_a_row: int, in_flight: float) -> bool:
        """Return whether this refusal means more than "a little slower"."""
        return wait > LONG or self._is_window_long() or in_a_row >= max(6.0, 2 * in_flight)

    def begin(self, now: float) -> None:
        """Let nobody through but one probe at a time."""
        self.since, self._probe = now, None
        self._next_probe = now + self._break(now)

    def earliest(self) -> float:
        """Return the time from which the next probe may start."""
        return self._next_probe if self._probe is None else self._probe + PATIENCE

    def take(self, now: float) -> None:
        """Send a probe."""
        self._probe = now

    def withdrawn(self, started: float) -> None:
        """The attempt that started then was not made after all."""
        if self.is_probe(started):
            self._probe = None

    def is_probe(self, started: float) -> bool:
        """Return whether the attempt that started then is the probe, not one from before the blockade."""
        return self.since is not None and self._probe is not None and started >= self._probe

    def refused(self, now: float, started: float) -> None:
        """Wait before the next probe: the longer it lasts, the longer."""
        if self.is_probe(started):
            self._probe = None
            self._next_probe = now + self._break(now)

    def end(self, now: float, accepted: EventLog) -> float | None:
        """End it, since a probe was let in; return the rate to go on with, or None if nothing new was learned."""
        blocked_for = now - (now if self.since is None else self.since)
        self.since = self._probe = None
        if blocked_for < LONG and not self._is_window_long():
            return None
        count, gap = accepted.total - self._accepted_before, now - self._resumed
        self.watch_from(now, accepted)
        if self.window is None and count < ENOUGH:
            return None  # it came when others had used the window up, and has seen nothing of it
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
