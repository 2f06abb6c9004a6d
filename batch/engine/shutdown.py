"""The end of a run: whoever sees a reason for it requests it, and everybody finishes what is in flight.

Promises: who waits (for a slot, a token, a backoff) is let go at once; who has bytes under way goes on to its answer,
until `cancel_in_flight`. The first reason is the one that counts.
"""

import math
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeVar

import anyio

from batch.errors import ExitCode, StopCause, StoppedError
from batch.exit_code import SIGNALS
from batch.http import ApiRequest

T = TypeVar("T")
LEFT = (
    "Left at once, without results files. What was sent last may have arrived or not: the same command looks first, "
    "and goes on."
)


@dataclass(slots=True)
class Heard:
    """What this start has heard from the API by now."""

    is_answered: bool = False
    """A byte of an answer came that let the run go on."""
    has_written: bool = False
    """A write was accepted."""
    accepted_read: ApiRequest | None = None
    """A request that changes nothing and was accepted: whether it still is, tells whether the key is."""
    attempts: int = 0
    """Requests that left."""
    since: float = 0.0
    """When the first of them left."""

    def asked(self, now: float) -> None:
        """Note a request that leaves."""
        self.since = self.since if self.attempts else now
        self.attempts += 1


class Shutdown:
    """Not requested until `request`; then `requested` with the `reason`, a whole sentence, and its `cause`."""

    def __init__(self) -> None:
        self.reason = ""
        self.cause = StopCause.TROUBLE
        self.retry_after: float | None = None
        """Seconds that the API asked to wait, where the run stopped for that."""
        self.heard = Heard()
        self.signalled: ExitCode | None = None
        """The exit code of the signal that ends the run, None when none came."""
        self.is_cancelled: Callable[[], bool] | None = None
        """Whether a caller of the library wants it to end; None where none can."""
        self.requested = False
        self.grace_seconds = 20.0
        """How long attempts in flight are given after the first signal."""
        self._until = math.inf
        self._waiting: set[anyio.CancelScope] = set()
        self._in_flight: set[anyio.CancelScope] = set()

    def request(self, reason: str, cause: StopCause = StopCause.TROUBLE, *, retry_after: float | None = None) -> None:
        """End the run: nothing new starts, and nobody waits any longer.

        What was set up well enough for an answer may come back by itself, so SET_UP is TROUBLE then.
        """
        if not self.requested:
            is_passing = cause is StopCause.SET_UP and self.heard.is_answered
            self.requested, self.reason, self.cause = True, reason, StopCause.TROUBLE if is_passing else cause
            self.retry_after = retry_after
            self._until = time.monotonic() + self.grace_seconds
            for scope in list(self._waiting):
                scope.cancel()

    @property
    def grace(self) -> float:
        """The seconds that are left of the grace, 0 or less when it is over."""
        return self._until - time.monotonic()

    def as_error(self, otherwise: str = "", more: str = "") -> StoppedError:
        """Return what is raised where the run ends before it sends: the reason, or else `otherwise`, and `more`."""
        return StoppedError(f"{self.reason or otherwise}{more}", self.cause, retry_after=self.retry_after)

    def cancel_in_flight(self) -> None:
        """Give up what is in flight, too."""
        for scope in list(self._in_flight):
            scope.cancel()

    def waiting(self) -> "_Watched":
        """Run something that the request ends."""
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


class _Screen(Protocol):
    def note(self, text: str) -> None:
        """Tell a whole sentence."""

    def leave_at_once(self, code: ExitCode, why: str) -> None:
        """Tell that the process ends at once, with this exit code, and give the terminal back."""


@contextmanager
def _received_signals() -> Iterator[AsyncIterator[signal.Signals]]:
    """Receive the signals that end a run, but for those that are ignored, as under nohup."""
    before = {one: handler for one in SIGNALS if (handler := signal.getsignal(one)) is not signal.SIG_IGN}
    try:
        with anyio.open_signal_receiver(*before) as received:
            yield received
    finally:
        for number, handler in before.items():  # asyncio leaves the default ones
            signal.signal(number, handler)


def _may_receive() -> bool:
    return threading.current_thread() is threading.main_thread()


async def ended_by_signals(shutdown: Shutdown, work: Callable[[], Awaitable[T]]) -> T:
    """Await `work`, which sends nothing; a signal ends it at once, and does what it does where nothing is awaited."""
    if not _may_receive() and shutdown.is_cancelled is None:
        return await work()
    numbers: list[signal.Signals] = []
    is_cancelled = False
    error: Exception | None = None
    async with anyio.create_task_group() as around:

        async def watch() -> None:
            with _received_signals() as received:
                async for number in received:
                    numbers.append(number)
                    around.cancel_scope.cancel()
                    shutdown.cancel_in_flight()  # a read, for whose answer nobody waits any more

        async def watch_caller(asks: Callable[[], bool]) -> None:
            nonlocal is_cancelled
            await _until(asks)
            is_cancelled = True
            around.cancel_scope.cancel()
            shutdown.cancel_in_flight()

        if _may_receive():
            around.start_soon(watch)
        if shutdown.is_cancelled is not None:
            around.start_soon(watch_caller, shutdown.is_cancelled)
        try:
            found = await work()
        except Exception as raised:  # it comes alone, not in a group
            error = raised
        around.cancel_scope.cancel()
    if numbers:
        signal.raise_signal(numbers[0])
    if is_cancelled:
        raise KeyboardInterrupt
    if error is not None:
        raise error
    return found


async def stop_on_signals(shutdown: Shutdown, screen: _Screen, *, sends: bool) -> None:
    """End the run at the first signal, and the process at the second one; run it as a task of its own.

    What only reads (not `sends`) is ended at once: nobody needs its answers any more.
    """
    if not _may_receive():
        return
    with _received_signals() as received:
        async with anyio.create_task_group() as timer:
            async for number in received:
                if shutdown.signalled is not None:
                    try:
                        screen.leave_at_once(SIGNALS[number], LEFT)
                    finally:  # whatever became of the screen
                        os._exit(SIGNALS[number])
                _request(shutdown, screen if sends else None, number)
                if sends:
                    timer.start_soon(_cancel_in_flight_later, shutdown)
                else:
                    shutdown.cancel_in_flight()


async def stop_on_cancel(shutdown: Shutdown, screen: _Screen) -> None:
    """End the run when the caller of the library wants it; run it as a task of its own."""
    if shutdown.is_cancelled is None:
        return
    await _until(shutdown.is_cancelled)
    _request(shutdown, screen, signal.SIGINT)
    await _cancel_in_flight_later(shutdown)


CANCEL_SECONDS = 0.1
"""How often a caller is asked whether the run is to end."""


async def _until(is_cancelled: Callable[[], bool]) -> None:
    """Come back when the caller wants the run to end."""
    while not is_cancelled():  # noqa: ASYNC110 - it is set in another thread, or by another event loop
        await anyio.sleep(CANCEL_SECONDS)


def _request(shutdown: Shutdown, screen: _Screen | None, number: signal.Signals) -> None:
    shutdown.signalled = SIGNALS[number]
    word = "Interrupted" if number == signal.SIGINT else "Terminated"
    shutdown.request(f"{word}.")
    if screen is None:
        return
    answers = f"answers to what was sent are waited for up to {shutdown.grace_seconds:g} s"
    screen.note(f"{word}: no further change is sent, and {answers} (a second time: leave at once).")


async def _cancel_in_flight_later(shutdown: Shutdown) -> None:
    await anyio.sleep(shutdown.grace_seconds)
    shutdown.cancel_in_flight()
