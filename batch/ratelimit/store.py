"""Where the limiter's state is kept, so that all who use a key share its limits: the interface, and the memory of one.

A store keeps one `LimiterState` for each key, and leases records to one writer at a time. `StoreLostError` says that it
cannot be asked now: nothing may start that it did not grant.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

import anyio

from batch.ratelimit.state import Answer, LimiterState, Step

Reach = Literal["process", "host", "redis"]
"""Who shares the limits of a key, as the summary says it."""

LEASE_SECONDS: Final = 0.1
"""Starts may be booked so far ahead in a store that others share: it is not asked for each of them."""


class StoreLostError(Exception):
    """The store cannot be asked now; the text says why, for a person.

    `is_in_use`: it is there, and others go by it. `to_do`: what somebody has to do first, as the beginning of a
    sentence; "" where it may come back by itself, so that waiting can help.
    """

    def __init__(self, why: str, *, is_in_use: bool = False, to_do: str = "") -> None:
        super().__init__(why)
        self.is_in_use = is_in_use
        self.to_do = to_do


@dataclass(frozen=True, slots=True)
class RecordLease:
    """That one holder alone may write a record until `until`, on the store's clock.

    `epoch` counts the holders of a record: a holder whose lease went to another one is told by it. `written` is when
    another holder may have written the record last; -inf where none did within `WRITES_KEPT`.
    """

    epoch: int
    until: float
    written: float = -math.inf


WRITES_KEPT: Final = 600.0
"""Seconds for which it is known that a record was written."""


RECORDS_KEPT: Final = 10_000
"""Records that the memory of one process knows of."""


@dataclass(slots=True)
class LeasedRecord:
    """What a store knows of a record: who holds it until when, and who wrote it when."""

    holder: str = ""
    epoch: int = 0
    until: float = -math.inf
    writer: str = ""
    written: float = -math.inf

    def lease(self, holder: str, now: float, seconds: float) -> RecordLease | None:
        """Lease it to a holder for so long, or longer where it holds it already; None while another does."""
        if self.holder not in ("", holder) and self.until > now:
            return None
        self.holder, self.epoch, self.until = holder, self.epoch + 1, now + seconds
        return RecordLease(self.epoch, self.until, -math.inf if self.writer == holder else self.written)

    def renew(self, holder: str, epoch: int, now: float, seconds: float) -> float | None:
        """Let a lease hold for so long from now; return until when, or None where it went to another holder."""
        if (self.holder, self.epoch) != (holder, epoch):
            return None
        self.until = now + seconds
        return self.until

    def release(self, holder: str, epoch: int, now: float, *, wrote: bool) -> None:
        """End a lease, unless it went to another holder; `wrote`: the record may have been written meanwhile."""
        if (self.holder, self.epoch) != (holder, epoch):
            return
        self.holder, self.until = "", -math.inf
        if wrote:
            self.writer, self.written = holder, now


RecordStep = Callable[[LeasedRecord, float], Any]
"""What is done to a record at a time of the store's clock; returns what it came to."""


class LimiterStore(Protocol):
    """Keeps one `LimiterState` for each key: behind one method, so that processes and hosts can share a limit.

    `tests/ratelimit/store_conformance.py` is what every store has to pass.
    Promises of every store: steps on one key take effect one after the other, each on what the last one returned; keys
    have nothing to do with each other; `now` is the store's own clock and never goes back; a step that may have to run
    again (after a lost compare-and-swap) gets a fresh copy of the stored state each time. When `transact` is cancelled,
    the step took effect as a whole or not at all. What cannot be asked or written raises StoreLostError.
    """

    reach: Reach
    ahead: float
    """Seconds for which starts may be booked ahead; 0 where the store costs nothing to ask, and nobody shares it."""

    def now(self, key: str) -> float:
        """Return the time on the store's clock as far as it is known here, never ahead of it."""
        ...

    def revision(self, key: str) -> int:
        """Return the revision of a state as it is, or was a millisecond ago, without suspending."""
        ...

    def began(self, key: str) -> float:
        """Return, within a step, since when on its clock the store has lost nothing of a key; -inf: it never did."""
        ...

    async def transact(self, key: str, step: Step[Answer]) -> tuple[LimiterState, Answer]:
        """Run `step` on the state of `key`, keep the state that it returns, and return both; only look at the state."""
        ...

    async def on_records(self, key: str, steps: Sequence[tuple[str, RecordStep]]) -> list[Any]:
        """Run steps on the records of `key` that they name, in their order, and return what each returns.

        Each takes effect as a whole or not at all. A step may run again, on a fresh copy of its record. After a
        StoreLostError some may have taken effect.
        """
        ...

    def close(self) -> None:
        """Close what is open; the store may be used again."""
        ...


class MemoryStore:
    """The state as live objects of this process, on anyio's clock. It never suspends, and so needs no lock."""

    reach: Reach = "process"
    ahead = 0.0

    def __init__(self) -> None:
        self._states: dict[str, LimiterState] = {}
        self._records: dict[tuple[str, str], LeasedRecord] = {}

    def now(self, key: str) -> float:
        """Return anyio's time."""
        return anyio.current_time()

    def revision(self, key: str) -> int:
        """Return the revision of the state itself."""
        return self._states[key].revision if key in self._states else 0

    def began(self, key: str) -> float:
        """Return that nothing is lost: what is not there was never used by this process."""
        return -math.inf

    async def transact(self, key: str, step: Step[Answer]) -> tuple[LimiterState, Answer]:
        """Run `step` on the state itself; nothing is copied."""
        state, answer = step(self._states.get(key), anyio.current_time())
        self._states[key] = state
        return state, answer

    async def on_records(self, key: str, steps: Sequence[tuple[str, RecordStep]]) -> list[Any]:
        """Run steps on the records themselves; of those that nobody holds, only the latest are kept."""
        now = anyio.current_time()
        found = [step(self._records.setdefault((key, record), LeasedRecord()), now) for record, step in steps]
        if len(self._records) > RECORDS_KEPT:
            free = [name for name, one in self._records.items() if not one.holder]
            for name in free[: RECORDS_KEPT // 2]:
                del self._records[name]
        return found

    def close(self) -> None:
        """Keep everything: it is there as long as the store."""


@dataclass(frozen=True, slots=True)
class StoreClock:
    """A clock that never goes back, made of one that may: it goes on from `last` where that one is behind it.

    `base` is what is added to the other clock, which read the store's state last at `last`; `wall` was the time then,
    in seconds since 1970. Where the other clock began anew, as after a start of the machine, the wall clock tells how
    long that was ago.
    """

    base: float = 0.0
    last: float = -math.inf
    wall: float = 0.0

    def at(self, reading: float, wall: float) -> "StoreClock":
        """Return the clock as it is at a reading of the other one; its time is `last`."""
        now = reading + self.base
        if now >= self.last:
            return replace(self, last=now, wall=wall)
        passed = max(0.0, wall - self.wall)
        return StoreClock(self.last + passed - reading, self.last + passed, wall)
