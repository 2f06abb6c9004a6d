"""What every store of limiter states must do. Subclass `StoreConformance` in a test module, and give it `make`."""

import json
import math
from functools import partial
from typing import Any, cast

import anyio
import pytest

from batch.engine.record_leases import LASTS, RecordLeases
from batch.ratelimit import (
    Bucket,
    LeasedRecord,
    LimiterState,
    LimiterStore,
    Limits,
    RatePolicy,
    RecordLease,
    RecordStep,
    Step,
    read_reply,
)
from tests.simulation.world import seeded

MANY = 30
POLICY = RatePolicy(Limits(total=Bucket(12, 0.01), per_route=Bucket(5, 0.01)))


async def refuse(store: LimiterStore, key: str, headers: dict[str, str] | None = None) -> int:
    """Book a 429, which counts one up; return the count that this made."""
    reply = read_reply("r", 0.0, 429, headers or {}, now_epoch=0, rng=seeded(1))

    def step(state: LimiterState | None, now: float) -> tuple[LimiterState, int]:
        state, _ = POLICY.update(reply)(state, now)
        return state, state.throttled

    _, count = await store.transact(key, step)
    return count


async def seen(store: LimiterStore, key: str) -> dict[str, Any] | None:
    """Return the stored state of a key as JSON; None if there is none."""

    def step(state: LimiterState | None, _: float) -> tuple[LimiterState, dict[str, Any] | None]:
        return state or POLICY.new_state(), state and state.as_json()

    _, found = await store.transact(key, step)
    return found


async def lease(store: LimiterStore, key: str, record: str, holder: str, seconds: float) -> RecordLease | None:
    """Lease a record to a holder for so long."""
    (found,) = await store.on_records(key, [(record, lambda one, now: one.lease(holder, now, seconds))])
    return cast(RecordLease | None, found)


async def renew(store: LimiterStore, key: str, record: str, holder: str, epoch: int, seconds: float) -> float | None:
    """Let a lease go on for so long; return until when."""
    (found,) = await store.on_records(key, [(record, lambda one, now: one.renew(holder, epoch, now, seconds))])
    return cast(float | None, found)


async def release(store: LimiterStore, key: str, record: str, holder: str, epoch: int, *, wrote: bool) -> None:
    """End a lease."""
    await store.on_records(key, [(record, lambda one, now: one.release(holder, epoch, now, wrote=wrote))])


def _leased(holder: str, one: LeasedRecord, now: float) -> RecordLease | None:
    return one.lease(holder, now, 60)


class StoreConformance:
    """The suite."""

    pytestmark = pytest.mark.anyio

    def make(self) -> LimiterStore:
        """Return a store that holds nothing yet; the suite may use several keys of it."""
        raise NotImplementedError

    def beside(self, store: LimiterStore) -> LimiterStore:
        """Return the store as another process has it, where it may have it."""
        return store

    def set_back(self, seconds: float) -> None:
        """Have the clock beneath the store be behind the last time of "key", where a store is made of one that may."""

    async def test_new_key_has_no_state(self) -> None:
        """The first step on a key gets None, and the next one what the first returned."""
        store = self.make()
        assert await seen(store, "key") is None
        assert await seen(store, "key") == POLICY.new_state().as_json()

    async def test_state_and_answer_are_those_of_the_step(self) -> None:
        """`transact` returns the state that is kept, and the answer."""
        store = self.make()
        state, grant = await store.transact("key", POLICY.book("r"))
        assert (grant.starts, state.as_json()) == (1, await seen(store, "key"))

    async def test_keys_are_separate(self) -> None:
        """What is booked under one key is not seen under another."""
        store = self.make()
        await refuse(store, "mine", {"Retry-After": "60"})
        state, grant = await store.transact("other", POLICY.book("r"))
        assert (grant.starts, state.throttled) == (1, 0)

    async def test_no_update_is_lost(self) -> None:
        """Of many steps at once each one builds on the one before, and gets the answer of the run that took effect."""
        store, counts = self.make(), []

        async def one() -> None:
            counts.append(await refuse(store, "key"))

        async with anyio.create_task_group() as tasks:
            for _ in range(MANY):
                tasks.start_soon(one)
        assert list(range(1, MANY + 1)) == sorted(counts)

    async def test_repeated_step_gets_the_stored_state(self) -> None:
        """However often a step runs, it counts once: no run sees what an earlier run of the same step did."""
        store, entered = self.make(), []

        def step(state: LimiterState | None, now: float) -> tuple[LimiterState, None]:
            state = state or POLICY.new_state()
            entered.append(state.throttled)
            state.throttled += 1
            return state, None

        async with anyio.create_task_group() as tasks:
            for _ in range(MANY):
                tasks.start_soon(store.transact, "key", step)
        found = await seen(store, "key")
        assert found is not None
        assert (found["throttled"], max(entered)) == (MANY, MANY - 1)

    async def test_now_is_one_clock_that_never_goes_back(self) -> None:
        """All callers get the time from the same clock, in the order in which their steps take effect."""
        store = self.make()

        def tell(state: LimiterState | None, now: float) -> tuple[LimiterState, float]:
            state = state or POLICY.new_state()
            last, state.paused_until = state.paused_until, now
            return state, now - last

        steps: list[float] = []

        async def one(after: float) -> None:
            await anyio.sleep(after)
            steps.append((await store.transact("key", tell))[1])

        async with anyio.create_task_group() as tasks:
            for n in range(MANY):
                tasks.start_soon(one, n % 3 / 10)
        assert min(steps) >= 0
        assert sum(step for step in steps if step < 1e9) >= 0.15  # the first one may come late

    async def test_no_bucket_is_overdrawn(self) -> None:
        """Many bookings at once on several routes get what the buckets hold: each is in all of them or none."""
        store, granted = self.make(), dict.fromkeys("abcd", 0)

        async def one(route: str) -> None:
            _, grant = await store.transact("key", POLICY.book(route))
            granted[route] += grant.starts

        async with anyio.create_task_group() as tasks:
            for n in range(4 * MANY):
                tasks.start_soon(one, "abcd"[n % 4])
        found = await seen(store, "key")
        assert found is not None
        assert (sum(granted.values()) <= 12, max(granted.values()) <= 5) == (True, True)
        kept = {name: route.budget.starts.total for name, route in LimiterState.from_json(found).routes.items()}
        assert kept == {name: starts for name, starts in granted.items() if starts}

    async def test_refused_booking_changes_nothing(self) -> None:
        """A booking that is not granted leaves the state as it was, and says when to ask again."""
        store = self.make()
        while (await store.transact("key", POLICY.book("r")))[1].starts:
            pass
        before = await seen(store, "key")
        state, grant = await store.transact("key", POLICY.book("r"))
        assert (grant.starts, await seen(store, "key")) == (0, before)
        assert grant.at == POLICY.earliest(state, 0.0, "r")

    async def test_state_survives_json(self) -> None:
        """What a store keeps is what JSON can hold, infinities included."""
        store = self.make()
        for step in self._history():
            state, _ = await store.transact("key", step)
            text = json.dumps(state.as_json(), allow_nan=False)
            assert LimiterState.from_json(json.loads(text)).as_json() == state.as_json() == await seen(store, "key")

    async def test_cancelled_transaction_is_whole_or_nothing(self) -> None:
        """Who is cancelled while the store works leaves either all of the step or nothing, and the store in order."""
        store = self.make()
        async with anyio.create_task_group() as tasks:
            for _ in range(MANY):
                tasks.start_soon(partial(refuse, store, "key"))
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        count = await refuse(store, "key", {"Retry-After": "1"})
        found = await seen(store, "key")
        assert found is not None
        assert (1 <= count <= MANY + 1, found["throttled"]) == (True, count)

    async def test_revision_is_that_of_the_state(self) -> None:
        """Whoever looks sees at once that a pause was booked, and nothing else changes a revision."""
        store = self.make()
        state, _ = await store.transact("key", POLICY.book("r"))
        assert store.revision("key") == state.revision
        before = state.revision
        await store.transact("key", POLICY.book("r"))
        assert store.revision("key") == before
        await refuse(store, "key", {"Retry-After": "9"})
        assert store.revision("key") == before + 1

    async def test_store_can_be_used_after_it_was_closed(self) -> None:
        """What was kept is there again."""
        store = self.make()
        await refuse(store, "key")
        store.close()
        assert await refuse(store, "key") == 2

    async def test_record_has_one_holder(self) -> None:
        """While a record is leased nobody else gets it, other records and keys are free, and its end frees it."""
        store = self.make()
        one = await lease(store, "key", "record", "a", 60)
        assert one is not None
        assert await lease(store, "key", "record", "b", 60) is None
        assert await lease(store, "key", "other", "b", 60) is not None
        assert await lease(store, "other key", "record", "b", 60) is not None
        await release(store, "key", "record", "a", one.epoch, wrote=False)
        two = await lease(store, "key", "record", "b", 60)
        assert two is not None
        assert (two.epoch > one.epoch, two.written) == (True, -math.inf)

    async def test_lease_ends_by_itself(self) -> None:
        """A holder that has ended holds nobody up, and one that comes back late frees nothing of its successor's."""
        store = self.make()
        one = await lease(store, "key", "record", "a", 0.05)
        await anyio.sleep(0.06)
        two = await lease(store, "key", "record", "b", 60)
        assert one is not None
        assert two is not None
        await release(store, "key", "record", "a", one.epoch, wrote=True)
        assert await lease(store, "key", "record", "c", 60) is None
        await release(store, "key", "record", "b", two.epoch, wrote=False)
        assert await lease(store, "key", "record", "c", 60) is not None

    async def test_holder_may_take_its_lease_again(self) -> None:
        """A run that goes on after a crash has the leases of its own earlier part; those of that part are void."""
        store = self.make()
        one = await lease(store, "key", "record", "a", 60)
        two = await lease(store, "key", "record", "a", 90)
        assert one is not None
        assert two is not None
        assert two.until >= one.until + 29
        await release(store, "key", "record", "a", one.epoch, wrote=False)
        assert await lease(store, "key", "record", "b", 60) is None

    async def test_lease_that_is_renewed_goes_on(self) -> None:
        """A holder that says in time that it is there keeps its record; one whose lease went on is told so."""
        store = self.make()
        one = await lease(store, "key", "record", "a", 0.05)
        assert one is not None
        until = await renew(store, "key", "record", "a", one.epoch, 60)
        assert until is not None
        assert until >= one.until + 59
        await anyio.sleep(0.06)
        assert await lease(store, "key", "record", "b", 60) is None
        assert await renew(store, "key", "record", "a", one.epoch, 0.01) is not None
        await anyio.sleep(0.02)
        assert await lease(store, "key", "record", "b", 60) is not None
        assert await renew(store, "key", "record", "a", one.epoch, 60) is None

    async def test_next_holder_learns_when_another_wrote(self) -> None:
        """Who gets a record after another one wrote it is told when; who wrote it itself, is not."""
        store = self.make()
        await store.transact("key", POLICY.book("r"))
        before = store.now("key")
        one = await lease(store, "key", "record", "a", 60)
        assert one is not None
        await release(store, "key", "record", "a", one.epoch, wrote=True)
        two = await lease(store, "key", "record", "b", 60)
        assert two is not None
        assert before <= two.written <= store.now("key") + 1
        await release(store, "key", "record", "b", two.epoch, wrote=False)
        three = await lease(store, "key", "record", "a", 60)
        assert three is not None
        assert three.written == -math.inf

    @pytest.mark.parametrize("seconds", [5, 3600])
    @pytest.mark.parametrize("is_known", [True, False])
    async def test_clock_that_was_set_back(self, seconds: float, is_known: bool) -> None:
        """A lease lasts as long as it says, and a write after a read is told as one, whoever knows of the clock yet."""
        store = self.make()
        one, other = RecordLeases(store, "key"), RecordLeases(self.beside(store), "key")
        await refuse(one.store, "key")
        await refuse(other.store, "key")
        self.set_back(seconds)
        if is_known:
            await refuse(one.store, "key")
        assert await lease(one.store, "key", "record", "killed", 0.05) is not None
        await anyio.sleep(0.06)
        read = anyio.current_time()
        first = await one.try_hold("record", "a")
        assert first is not None
        assert LASTS - 1 < first.until - read < LASTS + 1
        assert await other.try_hold("record", "b") is None
        await one.let_go(first, wrote=True)
        second = await other.try_hold("record", "b")
        assert second is not None
        assert second.written >= read
        assert LASTS - 1 < second.until - anyio.current_time() <= LASTS
        assert await one.try_hold("record", "a") is None

    async def test_of_many_who_want_a_record_one_gets_it(self) -> None:
        """However many ask at once, there is one holder."""
        store, granted = self.make(), list[str]()

        async def one(name: str) -> None:
            if await lease(store, "key", "record", name, 60):
                granted.append(name)

        async with anyio.create_task_group() as tasks:
            for n in range(MANY):
                tasks.start_soon(one, str(n))
        assert len(granted) == 1

    async def test_steps_on_records_take_effect_in_their_order(self) -> None:
        """What is asked at once is done one after the other, each on what the one before left, and told in order."""
        store = self.make()
        one = await lease(store, "key", "1", "a", 60)
        assert one is not None
        steps: list[tuple[str, RecordStep]] = [
            ("1", lambda one, now: one.lease("b", now, 60)),
            ("2", lambda one, now: one.lease("b", now, 60)),
            ("1", lambda record, now: record.release("a", one.epoch, now, wrote=True)),
            ("1", lambda one, now: one.lease("b", now, 60)),
            ("2", lambda one, now: one.lease("c", now, 60)),
        ]
        early, other, _, late, second = await store.on_records("key", steps)
        assert (early, second, other.written, late.epoch) == (None, None, -math.inf, one.epoch + 1)
        assert math.isfinite(late.written)
        assert await lease(store, "key", "1", "a", 60) is None
        assert [] == await store.on_records("key", [])

    async def test_many_steps_at_once_lose_nothing_to_each_other(self) -> None:
        """Of many who want many records in lots that overlap, each record has one holder at a time in the end."""
        store, granted = self.make(), list[str]()

        async def one(name: str) -> None:
            steps = [(str(n), partial(_leased, name)) for n in range(5)]
            granted.extend(f"{n}" for n, found in enumerate(await store.on_records("key", steps)) if found is not None)

        async with anyio.create_task_group() as tasks:
            for n in range(MANY):
                tasks.start_soon(one, str(n))
        assert sorted(granted) == [str(n) for n in range(5)]

    def _history(self) -> list[Step[Any]]:
        replies = [
            read_reply("r", 0.0, status, headers, now_epoch=0, rng=seeded(1))
            for status, headers in (
                (200, {}),
                (429, {"Retry-After": "9"}),
                (200, {"RateLimit": "r=0, t=60"}),
                (None, {}),
            )
        ]
        return [POLICY.book("r"), *map(POLICY.update, replies), POLICY.withdraw(0.0), POLICY.book("s")]
