"""The part of a job that talks to the API: read what is there, send what differs, until the last change or a stop.

Promises: changes are pulled, never pushed, so memory is flat whatever the API's pace; the first write leaves long
before the last read; a stop lets what is in flight finish and leaves every other row unsent; a row's trouble never
crosses a task group.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup

from batch.engine.context import RunContext
from batch.engine.guards import Canary
from batch.engine.last_tries import LastTries
from batch.engine.prepare import PREPARERS, ChangePreparer, PreparedChange
from batch.engine.shutdown import Shutdown
from batch.errors import JournalError, StopCause
from batch.model import NEEDS_RETRY, Change, Outcome
from batch.retry import FailureLimit

OPEN_PER_SLOT = 4
"""Changes under way at most for each slot: so many when most of them wait for something else than a slot."""
MOST_WAITING = 4_000
"""Changes that may wait long at the same time without a worker: each takes some KB of memory."""


class Writer(Protocol):
    """Brings a prepared change to its outcome: one sends it, another only journals what it would change."""

    async def send(self, prepared: PreparedChange) -> Outcome | None:
        """Bring one change to its outcome and journal it; None where reading its record did that."""


class PreparedQueue:
    """Changes on their way from the preparers to the workers; preparers wait while there is one for each slot.

    Not a memory object stream, which takes and gives one at a time, with a turn of the event loop for each.
    """

    def __init__(self, preparers: int, enough: int) -> None:
        self._changes: deque[PreparedChange] = deque()
        self._preparers, self._enough = preparers, enough
        self._more, self._room = anyio.Event(), anyio.Event()

    async def put(self, prepared_changes: Iterable[PreparedChange]) -> None:
        """Hand over some, and come back when more are wanted."""
        self._changes.extend(prepared_changes)
        self._tell()
        while len(self._changes) >= self._enough:
            await self._room.wait()

    def end(self) -> None:
        """Note that one of the preparers is through."""
        self._preparers -= 1
        self._tell()

    def _tell(self) -> None:
        self._more.set()
        self._more = anyio.Event()

    async def take(self) -> PreparedChange | None:
        """Give the next one, None when there are no more."""
        while not self._changes:
            if not self._preparers:
                return None
            await self._more.wait()
        prepared = self._changes.popleft()
        if len(self._changes) == self._enough - 1:
            self._room.set()
            self._room = anyio.Event()
        return prepared


class WorkerPool:
    """Workers, one for each slot at first; one more whenever one of them waits without a slot.

    Where a change waits for long, its worker is replaced, and ends when the change has its outcome. When all workers
    that are left wait for the last tries of their changes, these begin.
    """

    def __init__(
        self, tasks: TaskGroup, work: Callable[[], Coroutine[Any, Any, None]], slots: int, last_tries: LastTries,
        begin: Callable[[], None],
    ) -> None:  # fmt: skip
        self._tasks, self._work, self._last_tries, self._begin = tasks, work, last_tries, begin
        self._left = slots * OPEN_PER_SLOT
        self._running = 0
        self._replaced = set[int]()
        last_tries.on_wait = self.begin_last_tries_if_idle
        for _ in range(slots):
            self.add_worker()

    def add_worker(self) -> None:
        """Start one more, as long as there are not too many."""
        if self._left:
            self._left -= 1
            self._start_worker()

    def replace_worker(self) -> None:
        """Start another worker instead of the one that calls, which is to wait long, unless very many do."""
        worker = anyio.get_current_task().id
        if worker not in self._replaced and len(self._replaced) < MOST_WAITING:
            self._replaced.add(worker)
            self._start_worker()

    def is_replaced(self) -> bool:
        """Whether the worker that calls is one too many, now that it has nothing to do any more."""
        return bool(self._replaced) and anyio.get_current_task().id in self._replaced

    def begin_last_tries_if_idle(self) -> None:
        """Begin with the last tries if nothing else goes on."""
        if not self._last_tries.has_begun and self._running == self._last_tries.waiting:
            self._begin()

    def _start_worker(self) -> None:
        self._running += 1
        self._tasks.start_soon(self._run)

    async def _run(self) -> None:
        try:
            await self._work()
        finally:
            self._running -= 1
            self._replaced.discard(anyio.get_current_task().id)
            self.begin_last_tries_if_idle()


@dataclass(slots=True)
class Executor:
    """One stretch of sending, from the first change that has no final outcome to the last."""

    context: RunContext
    preparer: ChangePreparer
    writer: Writer
    failure_limit: FailureLimit | None = None
    canary: Canary | None = None
    most: int | None = None
    """So many changes at most; None for all."""
    answered: int = 0
    rejected: int = 0
    _pool: WorkerPool | None = None

    @property
    def max_at_once(self) -> int:
        """Slots for attempts."""
        return self.context.client.limiter.max_at_once

    @property
    def shutdown(self) -> Shutdown:
        """What ends the run."""
        return self.context.shutdown

    async def send_all(self) -> None:
        """Bring every change to its outcome, or stop."""
        ready = PreparedQueue(self._preparers(), self.max_at_once)
        changes = islice(self.context.iter_open(), self.most)
        try:
            await self._send_all(changes, ready)
        finally:  # the client goes on without these workers
            self.context.client.work_for()

    async def _send_all(self, changes: Iterator[Change], ready: PreparedQueue) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(self._preparers()):
                tasks.start_soon(self._prepare, changes, ready)
            if self.canary is not None:
                await self._send_canary(self.canary, ready)
            client = self.context.client
            last_tries = LastTries(client.limiter.per_second)
            pool = self._pool = WorkerPool(
                tasks, partial(self._work, ready), self.max_at_once, last_tries, self._begin_last_tries
            )
            client.work_for(pool.add_worker, pool.replace_worker, last_tries)

    @property
    def _is_held(self) -> bool:
        """Whether nothing else is prepared: the run stops, or somebody has to be asked about the first ids."""
        return self.shutdown.requested or self.context.first_ids.are_odd

    def _begin_last_tries(self) -> None:
        client = self.context.client
        if client.last_tries is None:
            return
        if (waiting := client.last_tries.waiting) and not self.shutdown.requested:
            which = (
                "1 change whose tries failed gets" if waiting == 1 else f"{waiting:,} changes whose tries failed get"
            )
            client.note(f"{which} the rest of them now, at a quarter of the pace.")
        client.last_tries.begin()

    def _preparers(self) -> int:
        if not self.preparer.reads:
            return 1
        return PREPARERS if self.preparer.batch_size > 1 else self.max_at_once

    async def _prepare(self, changes: Iterator[Change], ready: PreparedQueue) -> None:
        """Take as many changes at a time as one read serves; all preparers take from the same ones."""
        while not self._is_held and (batch := list(islice(changes, self.preparer.batch_size))):
            prepared_changes = await self.preparer.prepare(batch)
            self._check_failures()
            await ready.put(prepared_changes)
        ready.end()

    async def _work(self, ready: PreparedQueue) -> None:
        """Deliver one change after the other; after a stop they are only taken, so that the preparers end."""
        while (prepared := await ready.take()) is not None:
            if not self.shutdown.requested:
                await self._deliver(prepared)
            if self._pool is not None and self._pool.is_replaced():
                break

    async def _send_canary(self, canary: Canary, ready: PreparedQueue) -> None:
        """Send the first few, wait for all of them, and end the run unless all held."""
        has_more = True
        while has_more and canary.sent < canary.count and not (canary.reason or self.shutdown.requested):
            async with anyio.create_task_group() as tasks:
                for _ in range(canary.count - canary.sent):
                    prepared = await ready.take()
                    has_more = prepared is not None
                    if prepared is None:
                        break
                    tasks.start_soon(self._try, canary, prepared)
        if canary.reason:
            self.shutdown.request(canary.reason)
        canary.has_held = not (canary.reason or self._is_held)

    async def _try(self, canary: Canary, prepared: PreparedChange) -> None:
        delivered = await self._deliver(prepared)
        if delivered is None or delivered[1] in (Outcome.UNCHANGED, Outcome.INVALID, Outcome.UNSENT):
            return  # so nothing left, or nothing came of it
        canary.sent += 1
        whole, outcome = delivered
        row, said = whole.change.number, f"it is {outcome.value}"
        if outcome in NEEDS_RETRY:
            canary.left.append((row, said))
        elif outcome is not Outcome.UPDATED:
            canary.failed.append((row, said))
        else:
            wrong = await canary.verify(whole, whole.fields)
            if wrong:
                problem = wrong[0].with_texts(self.context.client.session.redaction.hide)
                canary.failed.append((row, f"{problem.field}: {problem.reason}"))
            elif wrong is None and not self.shutdown.requested:
                canary.failed.append((row, "it could not be read back"))

    async def _deliver(self, prepared: PreparedChange) -> tuple[PreparedChange, Outcome] | None:
        """Bring a change to its outcome; None when it needed no sending, or the journal failed."""
        try:
            whole = await self.preparer.complete(prepared)
            if whole is None:
                return None
            outcome = await self.writer.send(whole)
            if outcome is None:
                return None
        except JournalError:
            return None  # the journal writer has already requested shutdown
        self.answered += 1
        self.rejected += outcome is Outcome.REJECTED
        self._check_failures()
        return whole, outcome

    def _check_failures(self) -> None:
        """Stop when the API refuses too many, be it in reading or in writing."""
        limit, rejected = self.failure_limit, self.rejected + self.preparer.rejected
        if limit is not None and limit.is_exceeded(rejected, self.answered + self.preparer.settled):
            were = "change was" if rejected == 1 else "changes were"
            said = f"{rejected:,} {were} rejected, more than --max-failures allows."
            self.shutdown.request(said, StopCause.FAILURES)
