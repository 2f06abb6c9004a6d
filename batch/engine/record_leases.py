"""One writer for a record: leases of records to a run, in the store that all runs with the key share.

Promises: between the read that a change is made of and the answer to its write no other run of the key writes the
record, and a change whose record was written by another run since it was read is not sent before it is read again; who
waits for a lease holds no slot, and no other lease; a lease is short, and holds as long as its run says that it is
there, so that a run that died keeps nobody waiting for long; it is not relied on beyond that. A store whose leases are
over as they are granted counts as one that cannot be asked.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar, cast

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint

from batch.ratelimit import LeasedRecord, LimiterStore, RecordLease, StoreLostError, Wait

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two tries to lease a record that another run holds, or whose store is lost."""
LASTS: Final = 15.0
"""Seconds for which a lease holds when nothing more is heard of its run: what left just before it died is over then."""
RENEWED_EVERY: Final = 4.0
MARGIN: Final = 3.0
"""Seconds that a lease must still hold for an attempt to leave; it is renewed while the attempt lasts."""
TURNS: Final = 2
"""Turns of the event loop in which what is asked is asked together: who was answered together asks again within two."""
SHOWN_AFTER, TOLD_AFTER = 1.0, 3.0
"""Seconds after which a wait for a record is shown, and told of in a line."""
WAITS: Final = "another run with this key has the same record"
TOLD: Final = (
    "Another run with this key changes the same records: each waits until that run is done with it"
    f" (of a run that was killed, up to {LASTS:g} s)."
)
OVER: Final = f"what they lease for {LASTS:g} s is over at once, so that their clock is not to be relied on"
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class HeldRecord:
    """A record that is leased to this run until `until`; `written`: when another run wrote it at the latest.

    Both are on anyio's clock.
    """

    name: str
    holder: str
    lease: RecordLease
    until: float
    written: float


@dataclass(slots=True, eq=False)
class _Ask(Generic[Result]):
    """A step on a record that the store is to take, and what it came to."""

    name: str
    step: Callable[[LeasedRecord, float], Result]
    answer: Result | None = None
    error: StoreLostError | None = None
    is_answered: bool = False


@dataclass(slots=True)
class RecordLeases:
    """Leases records of one key to runs."""

    store: LimiterStore
    key: str
    lose: Callable[[StoreLostError, float], None] = lambda error, since: None
    """Is told when the store cannot be asked, and since when that is known to be so (anyio's clock; inf: since now)."""
    note: Callable[[str], None] = lambda text: None
    """Is told what the person should know."""
    _held: dict[tuple[str, str], HeldRecord] = field(default_factory=dict)
    """By record and holder."""
    _waiting: dict[object, float] = field(default_factory=dict)
    """Who waits for another run, in the order in which they began, and when that was."""
    _asks: list["_Ask[Any]"] = field(default_factory=list)
    """What the store is to be asked next."""
    _is_asking: bool = False
    _answered: anyio.Event = field(default_factory=anyio.Event)
    """That what the store is asked now is answered."""
    _is_lost: bool = False
    """The store could not be asked when it was last tried."""
    _over_since: float = math.inf
    """When the store began to grant leases that are over at once."""
    _least_ahead: float = math.inf
    """By how much the store's clock was ahead of anyio's at least: before it was set forward, if it was."""
    _is_told: bool = False

    async def try_hold(self, record_id: str, holder: str) -> HeldRecord | None:
        """Lease a record; None while another run holds it, or the store cannot be asked, or grants what is over."""
        name = hashlib.blake2b(record_id.encode(), key=self.key.encode(), digest_size=16).hexdigest()
        try:
            lease = await self._ask(name, lambda one, now: one.lease(holder, now, LASTS))
        except StoreLostError as error:
            self._lose(error)
            return None
        self._is_lost = False
        if lease is None:
            return None
        ahead, now = self._ahead(), anyio.current_time()
        self._least_ahead = min(self._least_ahead, ahead)
        held = HeldRecord(name, holder, lease, lease.until - ahead, lease.written - self._least_ahead)
        if not self.is_held(held, now):
            self._over_since = min(self._over_since, now)
            self._lose(StoreLostError(OVER), self._over_since)
            return None
        self._over_since = math.inf
        self._held[name, holder] = held
        return held

    async def hold(self, record_id: str, holder: str) -> HeldRecord:
        """Lease a record, as soon as nobody else holds it."""
        pause = FIRST_PAUSE
        with self._waits() as began:
            while (held := await self.try_hold(record_id, holder)) is None:
                await anyio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                if anyio.current_time() - began > TOLD_AFTER and not (self._is_told or self._is_lost):
                    self._is_told = True
                    self.note(TOLD)
        return held

    @contextmanager
    def _waits(self) -> Iterator[float]:
        one, began = object(), anyio.current_time()
        self._waiting[one] = began
        try:
            yield began
        finally:
            del self._waiting[one]

    def wait(self) -> Wait | None:
        """Return the wait for other runs, where that is all that this one does; None for nothing."""
        began, now = next(iter(self._waiting.values()), math.inf), anyio.current_time()
        if self._held or self._is_lost or now - began < SHOWN_AFTER:
            return None
        return Wait(began + LASTS * math.ceil((now - began + 1e-9) / LASTS), WAITS)

    def is_held(self, held: HeldRecord, now: float) -> bool:
        """Return whether an attempt that begins now may rely on a lease."""
        return held.until - now > MARGIN

    async def keep_renewed(self) -> None:
        """Let what is held go on, for ever: a run that is there says so."""
        while True:
            await anyio.sleep(RENEWED_EVERY)
            for held in [*self._held.values()]:
                await self._renew(held)

    async def _renew(self, held: HeldRecord) -> None:
        is_let_go = self._held.get((held.name, held.holder)) is not held
        if is_let_go or held.until - anyio.current_time() > LASTS - RENEWED_EVERY / 2:
            return
        try:
            until = await self._ask(held.name, lambda one, now: one.renew(held.holder, held.lease.epoch, now, LASTS))
        except StoreLostError as error:
            self._lose(error)
            return
        if until is None:
            held.until = -math.inf
            self._forget(held)
        else:
            held.until = until - self._ahead()

    async def let_go(self, held: HeldRecord, *, wrote: bool) -> None:
        """End a lease; where the store cannot be asked, it ends by itself."""
        self._forget(held)
        try:
            await self._ask(held.name, lambda one, now: one.release(held.holder, held.lease.epoch, now, wrote=wrote))
        except StoreLostError as error:
            self._lose(error)

    async def _ask(self, name: str, step: Callable[[LeasedRecord, float], Result]) -> Result:
        """Have the store take a step on a record, with all that others ask at the same time; it is not cancelled."""
        ask: _Ask[Result] = _Ask(name, step)
        self._asks.append(ask)
        with anyio.CancelScope(shield=True):
            while not ask.is_answered:
                if self._is_asking:
                    await self._answered.wait()
                else:
                    await self._ask_all()
        if ask.error is not None:
            raise ask.error
        return cast(Result, ask.answer)

    async def _ask_all(self) -> None:
        """Ask the store at once what all ask who came within some turns of the event loop."""
        self._is_asking = True
        asks: list[_Ask[Any]] = []
        try:
            for _ in range(TURNS):
                await cancel_shielded_checkpoint()
            asks, self._asks = self._asks, []
            answers = await self.store.on_records(self.key, [(ask.name, ask.step) for ask in asks])
            for ask, answer in zip(asks, answers, strict=True):
                ask.answer, ask.is_answered = answer, True
        except StoreLostError as error:
            for ask in asks:
                ask.error, ask.is_answered = error, True
        finally:
            self._is_asking = False
            answered, self._answered = self._answered, anyio.Event()
            answered.set()

    def _forget(self, held: HeldRecord) -> None:
        if self._held.get((held.name, held.holder)) is held:
            del self._held[held.name, held.holder]

    def _lose(self, error: StoreLostError, since: float = math.inf) -> None:
        self._is_lost = True
        self.lose(error, since)

    def _ahead(self) -> float:
        """Return by how much the store's clock is ahead of anyio's."""
        return self.store.now(self.key) - anyio.current_time()
