"""Several processes on one key, each with a limiter of its own over a store that they share, on the virtual clock."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from batch.ratelimit import Bucket, LimiterListener, Limits, RateLimiter, RatePolicy, StoreLostError, Wait
from batch.ratelimit.limiter import LATE
from tests.ratelimit.json_store import JsonStore
from tests.ratelimit.test_buckets import most_in_any_window
from tests.simulation.servers import Server, TokenBucketServer
from tests.simulation.world import seeded

pytestmark = pytest.mark.anyio
DUALENTRY = Limits(total=Bucket(50, 5), per_route=Bucket(10, 1))
FAST = Limits(total=Bucket(5, 100))
LONG = pytest.mark.long
OPEN = Limits(total=Bucket(1000, 1e5))


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run on a clock that jumps to the next thing that happens."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@dataclass
class Process(LimiterListener):
    """One of the processes: its limiter, and when its attempts began."""

    store: JsonStore
    limits: Limits | None
    number: int = 0
    slots: int = 8
    lasts: float = 0.08
    server: Server | None = None
    """What refuses attempts, where something does."""
    options: dict[str, Any] = field(default_factory=dict)
    starts: list[float] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    shares: list[tuple[int, float | None]] = field(default_factory=list)
    fillings: list[float] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self) -> None:
        policy = RatePolicy(self.limits, **self.options)
        self.limiter = RateLimiter(
            policy, self.slots, self.store, "key", rng=seeded(self.number), listener=self,
        )  # fmt: skip

    def lost(self, since: float, error: StoreLostError) -> None:
        """Note why the store could not be asked."""
        self.losses.append(str(error))

    def shared(self, processes: int, held_at: float | None) -> None:
        """Note who shares the key."""
        self.shares.append((processes, held_at))

    def emptied(self, seconds: float) -> None:
        """Note how long the buckets take to fill."""
        self.fillings.append(seconds)

    async def attempt(self, status: int = 200, **headers: str) -> float:
        """Make one attempt; return when it began."""
        async with self.limiter.attempt("r") as started:
            assert started is not None
            self.starts.append(started)
            await anyio.sleep(self.lasts)
            if self.server is not None and self.server.refusal(anyio.current_time()) is not None:
                status = 429
                self.refused += 1
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            await self.limiter.answered("r", started, status, named)
        return started

    async def work(self) -> None:
        """Send without end, on all slots."""

        async def slot() -> None:
            while True:
                await self.attempt()

        async with anyio.create_task_group() as tasks:
            for _ in range(self.slots):
                tasks.start_soon(slot)


def processes(count: int, limits: Limits | None, *, seconds: float = 0.0004, **options: Any) -> list[Process]:
    """Processes on one key of a store whose transactions take that long."""
    store = JsonStore(seconds, ahead=0.1, offset=5_000)
    return [Process(store, limits, n, options=options) for n in range(count)]


async def work_for(seconds: float, many: Sequence[Process], *more: Callable[[], Any]) -> list[float]:
    """Let all send for a while; return when attempts began, of all of them together."""
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            for one in (*(one.work for one in many), *more):
                tasks.start_soon(one)
    return sorted(start for one in many for start in one.starts)


def fairness(many: Sequence[Process]) -> float:
    """Jain's index of what each got."""
    counts = [len(one.starts) for one in many]
    return sum(counts) ** 2 / (len(counts) * sum(one**2 for one in counts))


@pytest.mark.parametrize(
    ("count", "fair"),
    [(2, 0.9), pytest.param(1, 1, marks=LONG), pytest.param(8, 0.9, marks=LONG), pytest.param(20, 0.8, marks=LONG)],
)
async def test_fast_limit_is_used_by_all_together(count: int, fair: float) -> None:
    """However many they are, together they use nearly all of a rate of 100/s and never more, each about as much."""
    many = processes(count, FAST)
    starts = await work_for(10, many)
    # a start that was booked may be made a moment late, and the next ones in time
    assert most_in_any_window(starts, 100) <= 5 + 100 * LATE
    assert len(starts) >= 0.97 * 100 * 10
    assert fairness(many) >= fair


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=LONG), pytest.param(20, marks=LONG)])
async def test_unknown_limit_is_found_by_all_together(count: int) -> None:
    """What is booked when an attempt is refused goes back, so that nothing lies idle and the rate is seen as it is."""
    many, server = processes(count, None), TokenBucketServer(100, 5)
    for one in many:
        one.server, one.lasts = server, 0.01
    await work_for(6, many)
    for one in many:
        one.starts.clear()
        one.refused = 0
    starts = await work_for(10, many)
    refused = sum(one.refused for one in many)
    assert len(starts) - refused >= 0.97 * 100 * 10
    assert refused <= 0.006 * len(starts)


async def test_start_that_is_void_is_not_given_back_again() -> None:
    """Who wakes up after a cut with starts from before it has nothing to give back: they are not counted any more."""
    one, other = processes(2, DUALENTRY)
    await one.attempt()
    shared = one.limiter._shared
    assert shared is not None
    shared.booked["r"] = deque([one.store.now("key")] * 20)
    await other.attempt(429)
    before, _ = await one.store.transact("key", other.limiter._policy.leave("nobody"))
    await anyio.sleep(LATE)
    one.limiter._drop_late(shared, "r")
    await one.limiter._transact()
    assert one.limiter._state.routes["r"].full_at == before.routes["r"].full_at


@pytest.mark.parametrize(("count", "fair"), [(1, 1), (5, 0.9), pytest.param(20, 0.8, marks=LONG)])
async def test_slow_limit_is_used_by_all_together(count: int, fair: float) -> None:
    """So it is with one start a second and a burst of ten: nobody starves, and nothing is lost between them."""
    many = processes(count, DUALENTRY)
    starts = await work_for(100, many)
    assert most_in_any_window(starts, 1) <= 10 + 1e-6
    assert len(starts) >= 0.97 * 100
    assert (fairness(many) >= fair, min(len(one.starts) for one in many) > 0) == (True, True)


async def test_store_is_asked_for_many_starts_at_once() -> None:
    """At 500 a second a transaction serves dozens of starts and replies; at one a second it is asked each time."""
    (fast,) = processes(1, Limits(total=Bucket(100, 500)))
    fast.limiter.max_at_once = 64
    starts = await work_for(3, [Process(fast.store, fast.limits, slots=64)])
    assert len(starts) >= 0.97 * 1500
    assert fast.store.transactions <= 1500 / 20


async def test_pause_is_seen_by_all_before_the_next_start() -> None:
    """What others have booked already is void when one is told to wait, and nobody starts before the time is over."""
    many = processes(4, Limits(total=Bucket(100, 500)))
    told: list[float] = []

    async def refused() -> None:
        await anyio.sleep(1)
        await many[0].attempt(429, Retry_After="5")
        told.append(anyio.current_time())

    starts = await work_for(8, many, refused)
    (at,) = told
    assert [one for one in starts if at < one < at + 5] == []
    assert len([one for one in starts if one > at + 5]) > 100


async def test_refusals_of_one_flight_cut_the_rate_once_for_all() -> None:
    """Refusals of attempts that left before the cut, whoever made them, do not cut again."""
    one, other = processes(2, None)
    rates: list[float] = []

    async def refused(process: Process, after: float) -> None:
        async with process.limiter.attempt("r") as started:
            assert started is not None
            await anyio.sleep(after)
            await process.limiter.answered("r", started, 429, {})
        rates.append(process.limiter._state.adaptive.rate)

    await work_for(12, [one, other])  # until there is a ceiling to cut
    for _ in range(6):
        await one.attempt(429)
    rates.clear()
    async with anyio.create_task_group() as tasks:
        for number, process in enumerate((one, other, one, other)):
            tasks.start_soon(refused, process, 1 + number / 100)
    assert len(set(rates)) == 1


async def test_what_is_not_used_goes_back() -> None:
    """Starts that a process booked ahead and did not make are there for the others."""
    one, other = processes(2, FAST)
    one.limiter._shared.used["r"], one.limiter._shared.asked_at["r"] = 50, 4_999.9  # type: ignore[union-attr]
    await one.attempt()
    await anyio.sleep(1)
    await one.attempt()
    state = one.limiter._state
    booked = len(one.limiter._shared.booked["r"])  # type: ignore[union-attr]
    assert state.adaptive.exhausted.since is None
    assert state.routes["r"].budget.starts.total - booked >= 2
    assert state.total_full_at <= one.store.now("key") + 0.5 + (booked + 1) / 100
    starts = await work_for(5, [other])
    assert len(starts) >= 0.97 * 500


async def test_start_that_was_booked_is_not_made_late() -> None:
    """A process that is frozen while it has starts booked makes none of them when it wakes up."""
    one, other = processes(2, Limits(total=Bucket(100, 500)))
    await work_for(0.5, [one, other])
    shared = one.limiter._shared
    assert shared is not None
    shared.booked["r"].extend([one.store.now("key")] * 20)
    await anyio.sleep(60)
    before = one.store.transactions
    await one.attempt()
    assert one.store.transactions > before  # it asked anew


@pytest.mark.parametrize("limits", [FAST, DUALENTRY])
async def test_process_that_dies_holds_nobody_up(limits: Limits) -> None:
    """A process that ends without a word, with starts booked and a turn of its own, costs the others a moment."""
    many = processes(5, limits)
    await work_for(3.05, many)  # cancelled wherever they are, and never heard of again
    for one in many:
        one.starts.clear()
    starts = await work_for(20, many[:2])
    rate = limits.per_route.per_second if limits.per_route else 100
    assert len(starts) >= 0.95 * 20 * rate - 1


async def test_nothing_starts_while_the_store_is_lost() -> None:
    """Without the store nobody starts anything, and it is said why; when it is back all go on at the same rate."""
    many, waits = processes(3, FAST), list[Wait | None]()

    async def lose() -> None:
        await anyio.sleep(2)
        many[0].store.is_lost = True
        await anyio.sleep(5)
        waits.extend(one.limiter.wait() for one in many)
        many[0].store.is_lost = False

    starts = await work_for(12, many, lose)
    begun = starts[0]
    assert [one for one in starts if 2.01 < one - begun < 6.99] == []
    assert {why for one in many for why in one.losses} == {"the store is gone"}
    assert {"the limits that other runs share cannot be asked"} == {wait.cause for wait in waits if wait is not None}
    assert not any(one.limiter.is_lost or one.limiter.wait() for one in many)
    assert len([one for one in starts if one - begun > 9]) >= 250


async def test_store_that_has_lost_its_state_gives_no_second_burst() -> None:
    """A store that begins anew is told what its users know: a pause goes on, and no bucket is full again."""
    many = processes(3, DUALENTRY)
    starts = await work_for(10, many)
    many[0].store.texts.clear()
    for one in many:
        one.starts.clear()
    again = await work_for(10, many)
    assert most_in_any_window(starts + again, 1) <= 10 + 1e-6
    await many[0].attempt(429, Retry_After="60")
    at = anyio.current_time()
    many[0].store.texts.clear()
    assert await many[0].attempt() >= at + 60 - 0.1


@pytest.mark.parametrize("keeps_old", [False, True])
async def test_process_that_begins_on_a_store_that_began_anew_has_no_burst(keeps_old: bool) -> None:
    """Who comes first after a store was lost, or fell back to an old state, goes at the steady rate, on all routes."""
    (before,) = processes(1, DUALENTRY)
    await work_for(5, [before])
    store = before.store
    old = dict(store.texts)
    starts = await work_for(20, [before])
    store.texts, store.since = old if keeps_old else {}, anyio.current_time()
    new = Process(store, DUALENTRY, 2)
    assert await new.limiter.claim("run", "host", "seed") == "seed"  # which asks the store, too
    again = await work_for(20, [new])
    assert most_in_any_window([*starts, *again], 1) <= 10 + 1e-6
    assert len(again) >= 18
    assert [10] == [round(one) for one in new.fillings]
    async with new.limiter.attempt("another route"):
        pass
    assert new.limiter._state.routes["another route"].full_at < store.now("key") + 2  # it has filled up meanwhile


async def test_route_that_is_new_after_a_loss_has_no_burst() -> None:
    """What was taken from a route before the store began is not known, whichever route that is."""
    (one,) = processes(1, Limits(per_route=Bucket(10, 1)))
    one.store.since = anyio.current_time()
    begun = []
    for _ in range(4):
        async with one.limiter.attempt("s") as started:
            begun.append(started or 0.0)
    assert [1, 1, 1] == [round(later - earlier, 1) for earlier, later in pairwise(begun)]


async def test_loss_is_told_once() -> None:
    """A server that counts its age in whole seconds has not begun anew at each of them."""
    (one,) = processes(1, DUALENTRY)
    began = anyio.current_time()
    for later in range(3):
        one.store.since = began + later / 2
        async with one.limiter.attempt("r"):
            pass
    assert len(one.fillings) == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_lowest_rate_that_was_given_holds_for_all(order: tuple[int, int]) -> None:
    """Of two --max-per-second the lower one counts for both, which is told; a minute after its last use it is gone."""
    store = JsonStore(ahead=0.1)
    rates = (2.0, 20.0)
    slow, fast = (Process(store, DUALENTRY, n, options={"max_per_second": rates[n]}) for n in (0, 1))
    together = [(slow, fast)[n] for n in order]
    await work_for(5, together)
    for one in together:
        one.starts.clear()
    starts = await work_for(20, together)
    assert 38 <= len(starts) <= 42
    assert ((2, 2.0) in fast.shares, [said for said in slow.shares if said[1] is not None]) == (True, [])
    await slow.limiter.close()
    await anyio.sleep(30)
    fast.starts.clear()
    assert len(await work_for(10, [fast])) <= 22
    await anyio.sleep(60)
    fast.starts.clear()
    assert len(await work_for(10, [fast])) >= 190


async def test_process_without_a_rate_counts_with_the_documented_one() -> None:
    """Where one process is told 500 a second and the other nothing, both keep to what is documented, and say so."""
    store = JsonStore(ahead=0.1)
    told, plain = Process(store, DUALENTRY, 0, options={"max_per_second": 500.0}), Process(store, DUALENTRY, 1)
    await work_for(1, [told])
    told.starts.clear()
    starts = await work_for(30, [told, plain])
    assert most_in_any_window([one for one in starts if one > starts[0] + 0.2], 1) <= 12
    assert (2, 0.0) in told.shares


async def test_each_has_its_share_of_the_rate() -> None:
    """What a process is told of its rate is its own part, so that times left are told by it."""
    many = processes(4, Limits(total=Bucket(100, 500)))
    await work_for(3, many)
    assert [one.limiter.sharing() for one in many] == [4] * 4
    assert [one.limiter.per_second() for one in many] == [125] * 4
    await anyio.sleep(5)
    await many[0].attempt()
    assert many[0].limiter.per_second() == 500


async def test_at_its_end_a_process_gives_back_what_it_has() -> None:
    """Closing tells the store what it was not told, gives back what is booked, and ends the process's turn."""
    one, other = processes(2, OPEN)
    await work_for(0.5, [one])
    await one.limiter.close()
    accepted = len([start for start in one.starts if start < one.starts[-1] - 0.2])
    state, _ = await one.store.transact("key", other.limiter._policy.give_back("r", 0, 0))
    assert state.adaptive.accepted_log.total >= accepted
    assert other.limiter._policy.sharing(state, one.store.now("key")) == 1


@pytest.mark.parametrize(("seconds", "share"), [(0.15, 0.5), (1.0, 0.5), pytest.param(3.0, 0.2, marks=LONG)])
async def test_store_that_answers_late_is_used_ahead(seconds: float, share: float) -> None:
    """Over a store far away, or a slow one, starts are booked for when its answer has come, and as many more: nobody
    starves, and half of the rate is used as long as that is within a second."""
    many = processes(2, Limits(total=Bucket(20, 50)), seconds=seconds)
    starts = await work_for(30 + 10 * seconds, many)
    assert most_in_any_window(starts, 50) <= 20 + 50 * LATE
    assert len([one for one in starts if one > 10 * seconds]) >= share * 50 * 30
    assert fairness(many) >= 0.9
