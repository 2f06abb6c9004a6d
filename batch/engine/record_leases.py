"""One writer for a record: leases of records to a run, in the store that all runs with the key share.

Promises: between the read that a change is made of and the answer to its write no other run of the key writes the
record, and a change whose record was written by another run since it was read is not sent before it is read again; who
waits for a lease holds no slot, and no other lease; a lease ends by itself, and is not relied on beyond that.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio

from batch.ratelimit import LimiterStore, RecordLease, StoreLostError

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two tries to lease a record that another run holds, or whose store is lost."""
MARGIN: Final = 5.0
"""Seconds by which a lease is to outlast the attempt that it is for."""
WAITING: Final = 60.0
"""Seconds for which a lease holds beyond one attempt: for a look at the record, and the wait for a start."""


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A record that is leased to this run until `until`; `written`: when another run wrote it last (anyio's clock)."""

    name: str
    lease: RecordLease
    until: float
    written: float


@dataclass(slots=True)
class RecordLeases:
    """Leases records of one key to runs; `attempt` is how many seconds one attempt may take."""

    store: LimiterStore
    key: str
    attempt: float
    lose: Callable[[str], None] = lambda why: None
    """Is told when the store cannot be asked."""

    async def try_hold(self, record_id: str, holder: str) -> HeldRecord | None:
        """Lease a record; None while another run holds it, or the store cannot be asked."""
        name = hashlib.blake2b(record_id.encode(), key=self.key.encode(), digest_size=16).hexdigest()
        try:
            lease = await self.store.lease(self.key, name, holder, self.attempt + WAITING)
        except StoreLostError as error:
            self.lose(str(error))
            return None
        if lease is None:
            return None
        ahead = self.store.now(self.key) - anyio.current_time()
        return HeldRecord(name, lease, lease.until - ahead, lease.written - ahead)

    async def hold(self, record_id: str, holder: str) -> HeldRecord:
        """Lease a record, as soon as nobody else holds it."""
        pause = FIRST_PAUSE
        while (held := await self.try_hold(record_id, holder)) is None:
            await anyio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return held

    def is_held(self, held: HeldRecord, now: float) -> bool:
        """Return whether a lease outlasts an attempt that begins now."""
        return held.until - now > self.attempt + MARGIN

    async def let_go(self, held: HeldRecord, holder: str, *, wrote: bool) -> None:
        """End a lease; where the store cannot be asked, it ends by itself."""
        with anyio.CancelScope(shield=True):
            try:
                await self.store.release(self.key, held.name, holder, held.lease.epoch, wrote=wrote)
            except StoreLostError as error:
                self.lose(str(error))
