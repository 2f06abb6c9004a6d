"""The retries that the run's quota does not pay for: they are made when nothing else is left to send.

Promises: who waits here holds no slot and keeps no other change from going on; the tries go out one after the other, at
a quarter of the rate of that moment; a stop of the run ends the wait.
"""

import math
from collections.abc import Callable
from typing import Final

import anyio

SHARE: Final = 0.25
"""Of the present rate: an API that fails so often is not to be pressed."""


class LastTries:
    """Lets changes wait for their turns; `rate` gives the attempts per second that are permitted now."""

    def __init__(self, rate: Callable[[], float]) -> None:
        self._rate = rate
        self.on_wait: Callable[[], None] = lambda: None
        """Is told when one more change waits."""
        self._begun = anyio.Event()
        self._turn = anyio.Lock()
        self._next = -math.inf
        self.waiting = 0
        """Changes whose turn has not come."""

    @property
    def has_begun(self) -> bool:
        """Whether turns are given already."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Give turns from now on."""
        self._begun.set()

    async def wait_for_turn(self) -> None:
        """Come back when it is the turn of this change."""
        self.waiting += 1
        self.on_wait()
        try:
            await self._begun.wait()
            async with self._turn:
                await anyio.sleep_until(self._next)
                self._next = anyio.current_time() + 1 / (SHARE * self._rate())
        finally:
            self.waiting -= 1
