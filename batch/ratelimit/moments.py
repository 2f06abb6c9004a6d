"""When things happened, in order: how many of them since some time, in O(log n)."""

from bisect import bisect_left
from typing import Final

KEPT: Final = 40_000


class EventLog:
    """The last moments of something that happens often; `total` counts all of them."""

    __slots__ = ("_forgotten", "_times")

    def __init__(self) -> None:
        self._times: list[float] = []
        self._forgotten = 0

    @property
    def total(self) -> int:
        """Return how many there were."""
        return self._forgotten + len(self._times)

    def add(self, now: float) -> None:
        """Note one, not earlier than the last."""
        self._times.append(now)
        if len(self._times) > KEPT:
            self._forgotten += KEPT // 2
            del self._times[: KEPT // 2]

    def since(self, time: float) -> int:
        """Count those from then on; at most those that are remembered."""
        return len(self._times) - bisect_left(self._times, time)
