"""The stop sign: whoever sees a reason to end the run raises it, and everybody finishes what is in flight.

Promises: who waits (for a slot, a token, a backoff) is let go at once; who has bytes under way goes on to its answer,
until `cancel_in_flight`. The first reason is the one that counts.
"""

from types import TracebackType

import anyio


class Shutdown:
    """Down until `request`; then `requested` with the `reason`, a whole sentence."""

    def __init__(self) -> None:
        self.reason = ""
        self.requested = False
        self._waiting: set[anyio.CancelScope] = set()
        self._in_flight: set[anyio.CancelScope] = set()

    def request(self, reason: str) -> None:
        """End the run: nothing new starts, and nobody waits any longer."""
        if not self.requested:
            self.requested, self.reason = True, reason
            for scope in list(self._waiting):
                scope.cancel()

    def cancel_in_flight(self) -> None:
        """Give up what is in flight, too."""
        for scope in list(self._in_flight):
            scope.cancel()

    def waiting(self) -> "_Watched":
        """Run something that the stop sign ends."""
        watched = _Watched(self._waiting, anyio.CancelScope())
        if self.requested:
            watched.scope.cancel()
        return watched

    def in_flight(self) -> "_Watched":
        """Run something that only `cancel_in_flight` ends."""
        return _Watched(self._in_flight, anyio.CancelScope(shield=True))


class _Watched:
    """A scope that is among `scopes` while it is open; a class, since two of them are opened for each attempt."""

    __slots__ = ("_scopes", "scope")

    def __init__(self, scopes: set[anyio.CancelScope], scope: anyio.CancelScope) -> None:
        self._scopes, self.scope = scopes, scope

    def __enter__(self) -> anyio.CancelScope:
        self._scopes.add(self.scope)
        return self.scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._scopes.discard(self.scope)
        return bool(self.scope.__exit__(kind, error, trace))
