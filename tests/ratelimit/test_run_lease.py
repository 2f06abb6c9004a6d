"""One process does a run: who was not heard of for too long loses it, and starts nothing any more (virtual clock)."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from trio.testing import MockClock

from batch.ratelimit import Bucket, LimiterListener, Limits, MemoryStore, RateLimiter, RatePolicy, limiter, policy
from batch.ratelimit.policy import RUN_LEASE
from batch.ratelimit.sqlite_store import SqliteStore
from tests.ratelimit.json_store import JsonStore
from tests.simulation.world import seeded

pytestmark = pytest.mark.anyio
LIMITS = Limits(total=Bucket(50, 100))


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run on a clock that jumps to the next thing that happens."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@dataclass
class Worker(LimiterListener):
    """A process that is started for the run."""

    store: JsonStore
    number: int
    host: str = ""
    taken_at: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limiter = RateLimiter(
            RatePolicy(LIMITS), 8, self.store, "key", rng=seeded(self.number), listener=self,
            wall_clock=lambda: 1.7e9 + anyio.current_time(),
        )  # fmt: skip

    def taken(self) -> None:
        """Note when the run was another's."""
        self.taken_at.append(anyio.current_time())

    async def claim(self) -> str | None:
        return await self.limiter.claim("run", self.host or f"host{self.number}", f"seed{self.number}")

    async def start(self) -> bool:
        """Try for a second to start an attempt."""
        with anyio.move_on_after(1):
            async with self.limiter.attempt("r") as started:
                await self.limiter.answered("r", started or 0.0, 200, {})
                return self.limiter.may_leave()
        return False


async def test_a_frozen_process_starts_nothing() -> None:
    """Who was silent for longer than its lease is followed, with the same seed; awake again it sends nothing."""
    store = JsonStore(ahead=0.1)
    frozen, next_one = Worker(store, 1), Worker(store, 2)
    assert "seed1" == await frozen.claim()
    assert await frozen.start()
    began = anyio.current_time()
    assert "seed1" == await next_one.claim()
    assert RUN_LEASE <= anyio.current_time() - began < RUN_LEASE + 1
    assert await next_one.start()
    assert not frozen.limiter.may_leave()  # before it has asked anybody
    assert (False, 1) == (await frozen.start(), len(frozen.taken_at))
    assert await next_one.start()
    await frozen.limiter.close()
    assert await next_one.start()


async def test_what_was_booked_is_void() -> None:
    """Starts that were booked before another process took the run over are not made."""
    store = JsonStore(ahead=0.1)
    one, other = Worker(store, 1, "here"), Worker(store, 2, "here")
    await one.claim()
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(one.start)
    assert "seed1" == await other.claim()
    assert not await one.start()
    assert 1 == len(one.taken_at)


async def test_a_live_process_keeps_it() -> None:
    """While a process says that it is there, another one does not get the run, and knows that after one lease."""
    store = JsonStore(ahead=0.1)
    one, other = Worker(store, 1), Worker(store, 2)
    await one.claim()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.limiter.keep_run)
        assert await other.claim() is None
        tasks.cancel_scope.cancel()
    assert (True, []) == (await one.start(), one.taken_at)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_process_that_waits_for_a_person_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the event loop stands still, as at a question, a thread says that the process is there."""
    for module in (limiter, policy):
        monkeypatch.setattr(module, "RUN_LEASE", 0.4)
    monkeypatch.setattr(limiter, "HELD_UP", 0.1)
    stores = [SqliteStore(lambda: tmp_path) for _ in range(2)]
    one, other = (RateLimiter(RatePolicy(LIMITS), 8, store, "key") for store in stores)
    assert await one.claim("run", "host1", "seed1") == "seed1"
    with one.kept_when_held_up(lambda: SqliteStore(lambda: tmp_path)):
        time.sleep(0.6)  # noqa: ASYNC251 - a person thinks
        assert (True, None) == (one.may_leave(), await other.claim("run", "host2", "seed2"))
    for store in stores:
        store.close()


async def test_after_its_end() -> None:
    """A run that was let go is claimed at once: with its seed where rows are left, with a new one where none are."""
    store = JsonStore(ahead=0.1)
    for number, is_done, seed in ((1, False, "seed1"), (2, True, "seed1"), (3, False, "seed3")):
        worker, began = Worker(store, number), anyio.current_time()
        assert seed == await worker.claim()
        assert 0.5 > anyio.current_time() - began
        if is_done:
            worker.limiter.done()
        await worker.limiter.close()


async def test_epochs_of_a_run_that_was_forgotten() -> None:
    """The process after another one has the next epoch; where the run was forgotten meanwhile, none that there was."""
    store, epochs = JsonStore(ahead=0.1), list[int]()
    for number, is_done in enumerate((False, True, False, False)):
        worker = Worker(store, number)
        await worker.claim()
        epochs.append(worker.limiter.epoch)
        if is_done:
            worker.limiter.done()
        await worker.limiter.close()
        await anyio.sleep(RUN_LEASE + 1)
    first, second, third, fourth = epochs
    assert (first + 1, third + 1) == (second, fourth)
    assert third > second + 1


async def test_runs_that_are_over_are_forgotten_soon() -> None:
    """However many shards a job has, the state holds those with something left to send, and the last few others."""
    store = JsonStore(ahead=0.1)
    for number in range(40):
        worker = Worker(store, number)
        await worker.limiter.claim(f"run {number}", f"host{number}", "seed")
        if number:
            worker.limiter.done()
        await worker.limiter.close()
        await anyio.sleep(RUN_LEASE / 3)
    kept = [*json.loads(store.texts["key"])["runs"]]
    assert ["run 0", "run 36", "run 37", "run 38", "run 39"] == kept


async def test_a_frozen_process_does_not_take_a_run_from_those_that_began_after_it_was_forgotten() -> None:
    """Who wakes up when its run was done by another one, forgotten, and begun anew, sends nothing."""
    store = JsonStore(ahead=0.1)
    first, frozen, third, last = (Worker(store, number) for number in range(4))
    assert "seed0" == await first.claim()
    await first.limiter.close()
    assert "seed0" == await frozen.claim()
    assert "seed0" == await third.claim()
    third.limiter.done()
    await third.limiter.close()
    await anyio.sleep(2 * RUN_LEASE)
    assert "seed3" == await last.claim()
    assert (False, 1) == (await frozen.start(), len(frozen.taken_at))
    assert (True, []) == (await last.start(), last.taken_at)


async def test_a_store_that_forgot() -> None:
    """A store that lost everything is told who has the run; who was frozen meanwhile cannot know, and sends nothing."""
    store = JsonStore(ahead=0.1)
    one, frozen, third = Worker(store, 1), Worker(store, 2), Worker(store, 3)
    await one.claim()
    store.texts.clear()
    assert await one.start()
    assert one.limiter.may_leave()
    await frozen.limiter.claim("other", "host2", "seed2")
    await anyio.sleep(2 * RUN_LEASE)
    store.texts.clear()
    await third.start()
    assert not await frozen.start()
    assert 1 == len(frozen.taken_at)


async def test_shared_with_nobody() -> None:
    """Over the memory of one process nothing is claimed, and everything may leave."""
    limiter = RateLimiter(RatePolicy(LIMITS), 8, MemoryStore())
    assert "seed" == await limiter.claim("run", "host", "seed")
    assert limiter.may_leave()
