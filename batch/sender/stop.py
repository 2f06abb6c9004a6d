"""The stop sign: whoever sees a reason to end the run raises it, and everybody finishes what is in flight.

Promises: who waits (for a slot, a token, a backoff) is let go at once; who has bytes under way goes on to its answer,
until `cut_short`. The first reason is the one that counts.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class StopSign:
    """Down until `put_up`; then `is_up` with the `reason`, a whole sentence."""

    def __init__(self) -> None:
        self.reason = ""
        self.is_up = False
        self._waiting: set[anyio.CancelScope] = set()
        self._in_flight: set[anyio.CancelScope] = set()

    def put_up(self, reason: str) -> None:
        """End the run: nothing new starts, and nobody waits any longer."""
        if not self.is_up:
            self.is_up, self.reason = True, reason
            for scope in list(self._waiting):
                scope.cancel()

    def cut_short(self) -> None:
        """Give up what is in flight, too."""
        for scope in list(self._in_flight):
            scope.cancel()

    @contextmanager
    def waiting(self) -> Iterator[anyio.CancelScope]:
        """Run something that the stop sign ends."""
        with anyio.CancelScope() as scope:
            self._waiting.add(scope)
            if self.is_up:
                scope.cancel()
            try:
                yield scope
            finally:
                self._waiting.discard(scope)

    @contextmanager
    def in_flight(self) -> Iterator[anyio.CancelScope]:
        """Run something that only `cut_short` ends."""
        with anyio.CancelScope(shield=True) as scope:
            self._in_flight.add(scope)
            try:
                yield scope
            finally:
                self._in_flight.discard(scope)
