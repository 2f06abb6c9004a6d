"""One writer for a record: two runs on the same records, in one event loop on the virtual clock, over one store."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from trio.testing import MockClock

from batch.endpoints.vayu.customers import VayuCustomers
from batch.engine.api_session import SharedLimits
from batch.engine.prepare import PreparedChange
from batch.engine.record_leases import LASTS, RENEWED_EVERY, HeldRecord, RecordLeases
from batch.engine.retry_loop import ApiClient
from batch.errors import StopCause
from batch.http import ApiRequest
from batch.model import Change, Outcome
from batch.ratelimit import LimiterStore, MemoryStore, RateLimiter, RatePolicy, RecordStep, StoreLostError, Wait
from tests.engine.writer_fixture import Script, WriterFixture, writer_fixture
from tests.ratelimit.json_store import JsonStore
from tests.simulation.world import seeded

pytestmark = pytest.mark.anyio
COUNT = 20
NEVER_ASKED: Script = lambda request, count: None  # noqa: E731 - the one API of all runs answers
FIELDS = ("legalName", "subsidiary", "customerErpId")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def id_of(number: int) -> str:
    return format(number, "024x")


@dataclass
class Vayu:
    """Customers in memory: a PUT replaces all that a customer has, or `merges`. Requests take time, each way."""

    records: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {id_of(n): {"id": id_of(n), "name": f"N {n}"} for n in range(COUNT)}
    )
    rng: Any = field(default_factory=lambda: seeded(1))
    fails: list[int] = field(default_factory=list)
    """Statuses of the next answers to writes."""
    writes: int = 0
    peak: int = 0
    merges: bool = False
    writing: list[str] = field(default_factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        record_id = request.url.path.rsplit("/", 1)[1]
        if request.method == "PUT":
            self.writing.append(record_id)
            self.peak = max(self.peak, self.writing.count(record_id))
        await anyio.sleep(self.rng.uniform(0, 0.2))
        if request.method == "PUT" and self.fails:
            self.writing.remove(record_id)
            return httpx.Response(self.fails.pop(0), json={"message": "no"})
        if request.method == "PUT":
            self.writes += 1
            kept = self.records[record_id] if self.merges else {"id": record_id}
            self.records[record_id] = {**kept, **json.loads(request.content)}
        said = dict(self.records[record_id])
        await anyio.sleep(self.rng.uniform(0, 0.2))
        if request.method == "PUT":
            self.writing.remove(record_id)
        return httpx.Response(200, json={"customer": said})


async def read(client: ApiClient, record_id: str) -> dict[str, Any] | None:
    answer = await client.read(ApiRequest("GET", f"/customers/{record_id}", "GET /customers/{id}"))
    (record,) = client.endpoint.parse_records(answer.response)  # type: ignore[arg-type]  # it is one
    return dict(record)


async def run(
    vayu: Vayu,
    store: LimiterStore,
    numbers: list[int],
    *,
    count: int = COUNT,
    slots: int = 4,
    sparse: int = -1,
    own: Mapping[int, LimiterStore] = {},
) -> list[WriterFixture]:
    """Let runs set one field each, all of them on the same records, of which each has read all before.

    The run `sparse` has not: it writes its field alone, unseen.
    """
    async with AsyncExitStack() as stack:
        writers = []
        for number in numbers:
            endpoint = VayuCustomers(sparse=number == sparse)
            one = await stack.enter_async_context(
                writer_fixture(NEVER_ASKED, endpoint=endpoint, read_back=read, max_at_once=slots, answer=vayu.answer)
            )
            one.writer.client.leases = RecordLeases(own.get(number, store), "key")
            one.writer.context.key_seed = f"{number}" * 32
            writers.append(one)

        async def send(one: WriterFixture, number: int, record: int) -> None:
            name = FIELDS[number]
            seen = await read(one.writer.client, id_of(record))
            began = anyio.current_time()
            assert seen is not None
            await anyio.sleep(1)
            change = Change((record + 2,), id_of(record), {name: f"V {number}"})
            ready = PreparedChange(change, change.fields, {name: None}, seen, read_at=began, read_from=began - 0.4)
            if number == sparse:
                ready = PreparedChange(change, change.fields)
            await one.writer.send(ready)

        async with anyio.create_task_group() as tasks:
            for one, number in zip(writers, numbers, strict=True):
                for record in range(count):
                    tasks.start_soon(send, one, number, record)
        return writers


def outcomes(one: WriterFixture) -> set[Outcome]:
    return {result.outcome for result in one.journal.row_results.values()}


def lost(vayu: Vayu, numbers: list[int], count: int = COUNT) -> list[tuple[int, int]]:
    """List the changes (run, record) that the records do not show."""
    return [
        (number, record)
        for number in numbers
        for record in range(count)
        if vayu.records[id_of(record)].get(FIELDS[number]) != f"V {number}"
    ]


@pytest.mark.parametrize("numbers", [[0, 1], [0, 1, 2]])
async def test_no_update_of_our_own_runs_is_lost(numbers: list[int]) -> None:
    """Runs that overlay the same records at the same time lose nothing of each other's; no two write one at once."""
    vayu = Vayu()
    writers = await run(vayu, MemoryStore(), numbers)
    assert ([], 1) == (lost(vayu, numbers), vayu.peak)
    assert [{Outcome.UPDATED}] * len(numbers) == [outcomes(one) for one in writers]
    assert vayu.writes == len(numbers) * COUNT


async def test_write_of_one_field_is_not_lost_to_who_writes_the_record_whole() -> None:
    """A run that writes its field alone holds the record, too: else whoever overlays what it read would write over."""
    vayu = Vayu(merges=True)
    await run(vayu, MemoryStore(), [0, 1], sparse=1)
    assert ([], 1) == (lost(vayu, [0, 1]), vayu.peak)


async def test_without_a_common_store_updates_are_lost() -> None:
    """The trial above tries something: runs that know nothing of each other lose updates in it."""
    vayu, numbers = Vayu(), [0, 1]
    await run(vayu, MemoryStore(), numbers, own={1: MemoryStore()})
    assert len(lost(vayu, numbers)) > COUNT / 2


async def test_single_run_reads_nothing_more() -> None:
    """Alone on its records a run leases each once, and looks at none again."""
    vayu = Vayu()
    (one,) = await run(vayu, MemoryStore(), [0])
    assert (one.counts["attempts"], vayu.writes) == (2 * COUNT, COUNT)


async def test_runs_that_fail_do_not_wait_for_each_other_for_ever() -> None:
    """With one slot each, and attempts that fail and back off, two runs on the same records both come to an end."""
    vayu = Vayu(fails=[500, 503] * 10)
    with anyio.fail_after(600):
        writers = await run(vayu, MemoryStore(), [0, 1], slots=1)
    assert [] == lost(vayu, [0, 1])
    assert {Outcome.UPDATED} == outcomes(writers[0]) | outcomes(writers[1])


async def test_lease_of_a_run_that_died_ends_by_itself() -> None:
    """A record that a dead run holds is written when its lease has ended; the same run goes on at once."""
    store, vayu = MemoryStore(), Vayu()
    dead = RecordLeases(store, "key")
    held = await dead.try_hold(id_of(0), "9" * 32)
    assert held is not None
    began = anyio.current_time()
    await run(vayu, store, [0], count=1)
    assert LASTS - 1 < anyio.current_time() - began < LASTS + 3
    again = await dead.try_hold(id_of(0), "9" * 32)
    assert again is not None
    began = anyio.current_time()
    assert await dead.try_hold(id_of(0), "9" * 32) is not None
    assert await dead.try_hold(id_of(0), "0" * 32) is None
    assert anyio.current_time() == began


async def test_run_that_is_there_keeps_its_lease() -> None:
    """However long an attempt takes, its record stays the run's; nobody waits for one that died longer than a lease."""
    store = MemoryStore()
    alive, other = RecordLeases(store, "key"), RecordLeases(store, "key")
    held = await alive.try_hold(id_of(0), "9" * 32)
    assert held is not None
    with anyio.move_on_after(100):  # then it is killed
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(alive.keep_renewed)
            tasks.start_soon(other.hold, id_of(0), "0" * 32)
    died = anyio.current_time()
    assert alive.is_held(held, died)
    await other.hold(id_of(0), "0" * 32)
    assert LASTS - RENEWED_EVERY - 1 <= anyio.current_time() - died <= LASTS + 1
    assert not alive.is_held(held, anyio.current_time())


async def test_lease_that_went_to_another_run_is_not_renewed() -> None:
    """A run that was frozen beyond its lease is told at its next renewal that it does not hold the record any more."""
    store = MemoryStore()
    frozen, other = RecordLeases(store, "key"), RecordLeases(store, "key")
    held = await frozen.try_hold(id_of(0), "9" * 32)
    await anyio.sleep(LASTS + 1)
    assert held is not None
    assert await other.try_hold(id_of(0), "0" * 32) is not None
    with anyio.move_on_after(RENEWED_EVERY + 1):
        await frozen.keep_renewed()
    assert not frozen.is_held(held, anyio.current_time())
    await frozen.let_go(held, wrote=True)
    assert await frozen.try_hold(id_of(0), "9" * 32) is None


async def test_wait_for_another_run_is_shown_and_told() -> None:
    """Where a run does nothing but wait for a record, its progress says why and until when, and a line does, once."""
    store, told, shown = MemoryStore(), list[str](), list[Wait | None]()
    dead, waiting = RecordLeases(store, "key"), RecordLeases(store, "key", note=told.append)
    await dead.try_hold(id_of(0), "9" * 32)
    await dead.try_hold(id_of(1), "9" * 32)
    began = anyio.current_time()

    async def look() -> None:
        for _ in range(2):
            await anyio.sleep(0.9)
            shown.append(waiting.wait())

    async with anyio.create_task_group() as tasks:
        for task in (look, partial(waiting.hold, id_of(0), "0" * 32), partial(waiting.hold, id_of(1), "0" * 32)):
            tasks.start_soon(task)
    assert [None, Wait(began + LASTS, "another run with this key has the same record")] == shown
    assert waiting.wait() is None
    said = "Another run with this key changes the same records: each waits until that run is done with it"
    assert [f"{said} (of a run that was killed, up to 15 s)."] == told


async def test_lease_that_ends_is_not_relied_on() -> None:
    """A run that was frozen between its look and its write leases the record again, and looks at it again."""
    store, vayu = MemoryStore(), Vayu()

    class Freezing(MemoryStore):
        has_frozen = False

        async def on_records(self, key: str, steps: Sequence[tuple[str, RecordStep]]) -> list[Any]:
            found = await store.on_records(key, steps)
            if not self.has_frozen:
                self.has_frozen = True
                await anyio.sleep(300)  # meanwhile the other one has it
            return found

    await run(vayu, store, [0, 1], count=1, own={0: Freezing()})
    assert ([], 1) == (lost(vayu, [0, 1], 1), vayu.peak)


async def test_store_that_is_lost_lets_nothing_leave() -> None:
    """While no lease can be had nothing is written; the limiter is told, and later it goes on."""
    vayu, told = Vayu(), list[object]()

    class Lost(MemoryStore):
        async def on_records(self, key: str, steps: Sequence[tuple[str, RecordStep]]) -> list[Any]:
            if anyio.current_time() < 30:
                raise StoreLostError("it is gone")
            return await super().on_records(key, steps)

    store = Lost()
    leases = RecordLeases(store, "key", lambda error, since: told.append(error), told.append)
    began = anyio.current_time()

    async def look() -> None:
        await anyio.sleep(5)
        assert leases.wait() is None  # it is not another run that it waits for

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        held = await leases.hold(id_of(0), "0" * 32)
    assert (30 <= anyio.current_time() - began <= 32, set(map(str, told))) == (True, {"it is gone"})
    await leases.let_go(held, wrote=False)
    await run(vayu, store, [0], count=2)
    assert [] == lost(vayu, [0], 2)


async def test_write_before_the_store_s_clock_was_set_forward_is_known() -> None:
    """What another run wrote after a read is told as such, also where the store's clock went on by seconds since."""

    class Jumping(MemoryStore):
        by = 0.0

        def now(self, key: str) -> float:
            return super().now(key) + self.by

        async def on_records(self, key: str, steps: Sequence[tuple[str, RecordStep]]) -> list[Any]:
            def late(step: RecordStep) -> RecordStep:
                return lambda one, now: step(one, now + self.by)

            return await super().on_records(key, [(name, late(step)) for name, step in steps])

    store = Jumping()
    one, other = RecordLeases(store, "key"), RecordLeases(store, "key")
    assert await other.try_hold(id_of(1), "b") is not None
    read = anyio.current_time()
    held = await one.try_hold(id_of(0), "a")
    assert held is not None
    await anyio.sleep(0.3)
    await one.let_go(held, wrote=True)
    store.by = 5
    await anyio.sleep(0.3)
    found = await other.try_hold(id_of(0), "b")
    assert found is not None
    assert (read + 0.3, anyio.current_time() + LASTS) == pytest.approx((found.written, found.until))


async def test_store_whose_leases_are_over_at_once_stops_the_run() -> None:
    """No record is read again and again for a lease that never lasts: the run ends after --max-wait, and says why."""

    class Behind(JsonStore):
        async def on_records(self, key: str, steps: Sequence[tuple[str, RecordStep]]) -> list[Any]:
            def late(step: RecordStep) -> RecordStep:
                return lambda one, now: step(one, now - 3600)

            return await super().on_records(key, [(name, late(step)) for name, step in steps])

    vayu, store, notes = Vayu(), Behind(ahead=0.1), list[str]()
    seen = dict(vayu.records[id_of(0)])
    async with writer_fixture(NEVER_ASKED, endpoint=VayuCustomers(), read_back=read, answer=vayu.answer) as one:
        client, listener = one.writer.client, SharedLimits(notes.append, one.shutdown, 30)
        client.limiter = RateLimiter(RatePolicy(None), 4, store, "key", listener=listener)
        client.leases = RecordLeases(store, "key", client.limiter.lose)
        change, now = Change((2,), id_of(0), {FIELDS[0]: "V"}), anyio.current_time()
        ready = PreparedChange(change, change.fields, {FIELDS[0]: None}, seen, read_at=now, read_from=now)
        reads = list[str]()

        async def read_others() -> None:
            while True:
                await anyio.sleep(5)
                await read(client, id_of(1))
                reads.append(id_of(1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_others)
            with anyio.fail_after(60):
                await one.writer.send(ready)
            tasks.cancel_scope.cancel()
    assert 4 < len(reads) == one.counts["attempts"]
    assert (StopCause.WAIT, set()) == (one.shutdown.cause, outcomes(one))
    why = "what they lease for 15 s is over at once, so that their clock is not to be relied on"
    assert [f"Nothing is sent while the limits that other runs share cannot be asked: {why}."] == notes


async def test_what_is_asked_at_the_same_time_reaches_the_store_at_once() -> None:
    """Changes that need their records at the same time cost one step of the store, whoever is cancelled meanwhile."""
    asked = list[int]()

    class Counting(MemoryStore):
        async def on_records(self, key: str, steps: Sequence[tuple[str, RecordStep]]) -> list[Any]:
            asked.append(len(steps))
            await anyio.sleep(1)
            return await super().on_records(key, steps)

    leases, held = RecordLeases(Counting(), "key"), list[HeldRecord | None]()

    async def hold(number: int) -> None:
        held.append(await leases.try_hold(id_of(number), "0" * 32))

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(hold, number)
        await anyio.sleep(0.5)
        for number in range(10, 15):
            tasks.start_soon(hold, number)
        await anyio.sleep(0.1)
        tasks.cancel_scope.cancel()
    assert ([10, 5], 15) == (asked, len([one for one in held if one is not None]))
    for one in filter(None, held):
        await leases.let_go(one, wrote=False)
    assert await leases.try_hold(id_of(0), "1" * 32) is not None
