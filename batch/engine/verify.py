"""Reading records back: one queue for all changes of a run that have to be verified, and as few requests as that takes.

Promises: one read serves all who wait, where the API lists records; who waits holds no slot; while changes are being
sent, reading back has about a tenth of the requests, and all of them when nothing is left to send.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

import anyio

from batch.endpoints.base import Record
from batch.engine.record_reader import RecordReader
from batch.engine.retry_loop import ApiClient

YOUNG_SECONDS: Final = 5.0
"""Seconds for which a record counts as read now."""
SLOTS_PER_READ_BACK = 9
"""Changes are sent on so many slots for each one on which records are looked at."""


@dataclass(eq=False, slots=True)
class ReadBack:
    """One record that is to be read, and what came of it: `record` (None: it could not be read) at time `at`.

    `began` is when that read began at the earliest.
    """

    id: str
    names: Collection[str]
    """The fields that it is read for."""
    record: Record | None = None
    at: float = 0.0
    began: float = 0.0
    is_done: bool = False


@dataclass(slots=True)
class ReadBackQueue:
    """Reads records for whoever waits for them; the first who waits reads for the others."""

    client: ApiClient
    reader: RecordReader
    is_sending: Callable[[], bool] = lambda: False
    """Whether changes are being sent."""
    _waiting: deque[ReadBack] = field(default_factory=deque)
    _going: int = 0
    _ended: anyio.Event = field(default_factory=anyio.Event)

    def add(self, record_id: str, names: Iterable[str]) -> ReadBack:
        """Have a record read with the next ones, with the fields `names` if anything shows them."""
        one = ReadBack(record_id, tuple(names))
        self._waiting.append(one)
        return one

    async def read(self, one: ReadBack, *, at_stop: bool = False) -> ReadBack:
        """Wait until a record was read, or read it."""
        while not one.is_done:
            if self._waiting and self._going < self._at_once():
                await self._read_some(at_stop=at_stop)
            else:
                await self._ended.wait()
        return one

    async def read_back(self, record_id: str, names: Iterable[str], *, at_stop: bool = False) -> Record | None:
        """Read a record; None when it cannot be read."""
        return (await self.read(self.add(record_id, names), at_stop=at_stop)).record

    def _at_once(self) -> int:
        if self.client.endpoint.ids_per_read > 1:
            return 1  # meanwhile others gather for the next list
        slots = self.client.limiter.max_at_once
        return -(-slots // SLOTS_PER_READ_BACK) if self.is_sending() else slots

    async def _read_some(self, *, at_stop: bool) -> None:
        """Read what one request serves."""
        some = [self._waiting.popleft() for _ in range(min(self.client.endpoint.ids_per_read, len(self._waiting)))]
        self._going += 1
        began = anyio.current_time()
        try:
            reader = self.reader.at_stop() if at_stop else self.reader
            found = await reader.read_back({one.id: one.names for one in some})
            for one in some:
                one.record = found.get(one.id)
        finally:
            for one in some:
                one.began, one.at, one.is_done = began, anyio.current_time(), True
            self._going -= 1
            self._ended.set()
            self._ended = anyio.Event()
