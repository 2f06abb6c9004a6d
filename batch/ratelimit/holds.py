"""What rate headers promise, route by route: so many more attempts until a time, and then anew."""

import math

from batch.ratelimit.headers import RateHint
from batch.ratelimit.moments import EventLog

SHORT = 2.0
"""Shorter resets are left to the buckets and the controller: headers count in whole seconds, which costs more."""


class HeaderBudget:
    """The budget of one route. Without a word from the API there is no limit."""

    __slots__ = ("_left", "_shortest", "_starts", "_until")

    def __init__(self, shortest: float) -> None:
        self._shortest = max(SHORT, shortest)
        self._left = math.inf
        self._until = -math.inf
        self._starts = EventLog()

    def earliest(self, now: float) -> float:
        """Return the time from which a start is within the budget."""
        return self._until if self._left < 1 and self._until > now else now

    def take(self, now: float) -> None:
        """Count one start."""
        self._left -= 1
        self._starts.add(now)

    def update(self, now: float, started: float, hint: RateHint) -> None:
        """Take the word of the reply to the attempt that started then; later ones may be under way already."""
        if hint.remaining is None or hint.reset is None or hint.reset <= self._shortest:
            return
        under_way = max(0, self._starts.since(started) - 1)
        self._left = hint.remaining - under_way
        self._until = now + hint.reset
