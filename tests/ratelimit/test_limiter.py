"""The rate limiter: slots, order, pauses and cancellation, on trio's virtual clock, over both kinds of store."""

from collections.abc import Callable
from typing import Any, Protocol

import anyio
import pytest
from trio.testing import MockClock

from batch.ratelimit import Bucket, LimiterState, Limits, MemoryStore, RateLimiter, RatePolicy, Turn
from tests.ratelimit.json_store import JsonStore
from tests.simulation.world import seeded

pytestmark = pytest.mark.anyio
FREE = Limits(total=Bucket(1000, 1e6))
ONE_A_SECOND = Limits(total=Bucket(1, 1))


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run on a clock that jumps to the next thing that happens."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class MakeLimiter(Protocol):
    """Makes a rate limiter over a new store."""

    def __call__(self, limits: Limits, max_at_once: int = 1) -> RateLimiter: ...


def shared() -> JsonStore:
    """A store that several processes share, whose clock is another one."""
    return JsonStore(ahead=0.1, offset=1000)


@pytest.fixture(params=[MemoryStore, JsonStore, shared])
def limiter(request: pytest.FixtureRequest) -> MakeLimiter:
    """Make limiters over live objects, and over a store that suspends and repeats steps on copies."""

    def make(limits: Limits, max_at_once: int = 1) -> RateLimiter:
        return RateLimiter(RatePolicy(limits), max_at_once, request.param(), rng=seeded(1))

    return make


class Trace:
    """Attempts by name, and when each began."""

    def __init__(self, through: RateLimiter) -> None:
        self.limiter = through
        self.begins: dict[str, float] = {}
        self.begun = anyio.current_time()

    async def attempt(self, name: str, route: str = "r", *, turn: Turn = Turn.FRESH, lasts: float = 0.0) -> None:
        async with self.limiter.attempt(route, turn) as started:
            self.begins[name] = round(started - self.begun, 6)
            await anyio.sleep(lasts)


async def enters_at_once(limiter: RateLimiter) -> bool:
    """Whether an attempt need not wait."""
    with anyio.move_on_after(0.001):
        async with limiter.attempt("r"):
            return True
    return False


async def run_all(*jobs: Callable[[], Any], apart: float = 0.0) -> None:
    """Start jobs one after the other, and wait for all."""
    async with anyio.create_task_group() as tasks:
        for job in jobs:
            tasks.start_soon(job)
            await anyio.sleep(apart)
            await anyio.lowlevel.checkpoint()


async def test_no_more_than_the_slots_are_inside(limiter: MakeLimiter) -> None:
    """With two slots, the third attempt begins when the first ends."""
    trace = Trace(limiter(FREE, 2))
    await run_all(*(lambda n=n: trace.attempt(n, lasts=5) for n in "abcd"), apart=1)
    assert trace.begins == {"a": 0, "b": 1, "c": 5, "d": 6}


async def test_waiting_for_permission_holds_no_slot(limiter: MakeLimiter) -> None:
    """While one route waits for its own bucket, another one goes through the only slot."""
    trace = Trace(limiter(Limits(per_route=Bucket(1, 0.1))))
    await run_all(
        lambda: trace.attempt("first", "slow"),
        lambda: trace.attempt("waits", "slow"),
        lambda: trace.attempt("other", "fast"),
        apart=1,
    )
    assert trace.begins == {"first": 0, "other": 2, "waits": 10}


async def test_waiting_for_a_slot_holds_no_token(limiter: MakeLimiter) -> None:
    """Who waits for a slot and gives up has taken no token: it is there for the next one."""
    trace = Trace(limiter(Limits(total=Bucket(2, 0.1))))

    async def gives_up() -> None:
        with anyio.move_on_after(1):
            await trace.attempt("gives up")

    await run_all(lambda: trace.attempt("holds", lasts=3), gives_up, lambda: trace.attempt("next"), apart=1)
    assert trace.begins == {"holds": 0, "next": 3}


async def test_first_come_first_served_and_retries_before(limiter: MakeLimiter) -> None:
    """Who waits is served in the order of arrival, retries before all the others."""
    trace = Trace(limiter(ONE_A_SECOND))
    await run_all(
        *(lambda n=n: trace.attempt(n) for n in ("first", "second", "third")),
        lambda: trace.attempt("retry", turn=Turn.AHEAD),
        lambda: trace.attempt("later retry", turn=Turn.AHEAD),
        apart=0.1,
    )
    assert trace.begins == {"first": 0, "retry": 1, "later retry": 2, "second": 3, "third": 4}


async def test_looks_get_a_tenth(limiter: MakeLimiter) -> None:
    """One start of ten is for a look, though writes and other tries go ahead of all reads."""
    trace = Trace(limiter(ONE_A_SECOND))
    await run_all(
        lambda: trace.attempt("fresh", "reads"),
        lambda: trace.attempt("later", "reads"),
        *(lambda n=n: trace.attempt(f"write {n}", turn=Turn.AHEAD) for n in range(30)),
        *(lambda n=n: trace.attempt(f"look {n}", "reads", turn=Turn.LOOK) for n in range(2)),
        apart=0.01,
    )
    order = sorted(trace.begins, key=lambda one: trace.begins[one])
    assert [10, 20, 32] == [order.index(one) for one in ("look 0", "look 1", "write 29")]


async def test_newcomer_does_not_pass_one_who_was_just_woken(limiter: MakeLimiter) -> None:
    """Who leaves and comes again at once goes behind the one who waits."""
    trace = Trace(limiter(FREE))

    async def comes_again() -> None:
        await trace.attempt("first", lasts=5)
        await trace.attempt("again")

    await run_all(comes_again, lambda: trace.attempt("waits", lasts=5))
    assert trace.begins == {"first": 0, "waits": 5, "again": 10}


async def test_retry_goes_first_across_routes(limiter: MakeLimiter) -> None:
    """A retry goes ahead of fresh attempts of other routes, too."""
    trace = Trace(limiter(ONE_A_SECOND))
    await run_all(
        *(lambda n=n: trace.attempt(n, f"route {n}") for n in "ab"),
        lambda: trace.attempt("retry", "route a", turn=Turn.AHEAD),
        apart=0.1,
    )
    assert trace.begins == {"a": 0, "retry": 1, "b": 2}


async def test_order_holds_across_routes(limiter: MakeLimiter) -> None:
    """Routes that share a bucket are served in the order of arrival, too."""
    trace = Trace(limiter(ONE_A_SECOND, 9))
    await run_all(*(lambda n=n: trace.attempt(n, f"route {n}") for n in "abcd"), apart=0.1)
    assert trace.begins == {"a": 0, "b": 1, "c": 2, "d": 3}


async def test_pause_that_arrives_holds_those_who_wait_already(limiter: MakeLimiter) -> None:
    """A Retry-After that comes while others sleep until their turn keeps all of them until it has passed."""
    trace = Trace(limiter(ONE_A_SECOND, 9))
    begun = trace.begun

    async def refused() -> None:
        await anyio.sleep(0.5)
        await trace.limiter.answered("r", begun, 429, {"Retry-After": "60"})

    await run_all(*(lambda n=n: trace.attempt(n) for n in "abc"), refused)
    assert (trace.begins["a"], trace.begins["b"] >= 60.5, trace.begins["c"] > trace.begins["b"]) == (0, True, True)


async def test_pause_between_waking_and_running_counts(limiter: MakeLimiter) -> None:
    """One who was woken for a free slot does not start when, before it runs, a refusal pauses everybody."""
    trace = Trace(limiter(FREE))

    async def refused_at_the_end() -> None:
        async with trace.limiter.attempt("r") as started:
            await anyio.sleep(5)
        await trace.limiter.answered("r", started, 429, {"Retry-After": "60"})

    await run_all(refused_at_the_end, lambda: trace.attempt("waits"))
    assert trace.begins["waits"] >= 65


async def test_pause_that_ends_early_lets_the_waiting_through(limiter: MakeLimiter) -> None:
    """When a probe shows that the API lets in again, who waits starts at once, not at an alarm set before."""
    trace = Trace(limiter(FREE, 9))
    await trace.limiter.answered("r", trace.begun, 429, {"Retry-After": "30"})

    async def probe() -> None:
        async with trace.limiter.attempt("r") as started:
            await anyio.sleep(0.25)
            await trace.limiter.answered("r", started, 200, {})

    await run_all(probe, lambda: trace.attempt("next"), apart=0.1)
    assert 30.25 <= trace.begins["next"] <= 31


async def test_alarm_moves_when_the_next_permission_comes_sooner(limiter: MakeLimiter) -> None:
    """Who sleeps until a time far off is told when a refused probe brings the next one nearer."""
    trace = Trace(limiter(FREE, 9))
    await trace.limiter.answered("r", trace.begun, 429, {"Retry-After": "30"})

    async def probe() -> None:
        async with trace.limiter.attempt("r") as started:
            await anyio.sleep(0.25)
            await trace.limiter.answered("r", started, 429, {})

    await run_all(probe, lambda: trace.attempt("next", "another"), apart=0.1)
    assert 33 <= trace.begins["next"] <= 35


async def test_cancelled_waiter_passes_its_turn_on(limiter: MakeLimiter) -> None:
    """Who is cancelled while waiting leaves no gap: the next one begins at the time that was its own."""
    trace = Trace(limiter(ONE_A_SECOND))

    async def gives_up() -> None:
        with anyio.move_on_after(0.5):
            await trace.attempt("gives up")

    await run_all(lambda: trace.attempt("first"), gives_up, lambda: trace.attempt("next"), apart=0.1)
    await anyio.sleep(1)
    assert (trace.begins, await enters_at_once(trace.limiter)) == ({"first": 0, "next": 1}, True)


async def test_cancelled_holder_gives_its_slot_back(limiter: MakeLimiter) -> None:
    """Who is cancelled inside frees the slot."""
    trace = Trace(limiter(FREE))

    async def is_cancelled() -> None:
        with anyio.move_on_after(2):
            await trace.attempt("cancelled", lasts=100)

    await run_all(is_cancelled, lambda: trace.attempt("next"), apart=0.1)
    assert (trace.begins, await enters_at_once(trace.limiter)) == ({"cancelled": 0, "next": 2}, True)


async def test_exception_inside_gives_the_slot_back(limiter: MakeLimiter) -> None:
    """An error inside the block goes on its way and frees the slot."""
    one = limiter(FREE)
    with pytest.raises(OSError, match=r"^broken$"):
        async with one.attempt("r"):
            raise OSError("broken")
    assert await enters_at_once(one)


async def test_who_is_cancelled_already_takes_nothing(limiter: MakeLimiter) -> None:
    """An attempt in a cancelled scope does not start, and takes no token."""
    one = limiter(ONE_A_SECOND)
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with one.attempt("r"):
            pytest.fail("it started")
    assert await enters_at_once(one)


async def test_pause_can_be_seen(limiter: MakeLimiter) -> None:
    """The engine sees how long a pause lasts, to stop instead of waiting, and what the screen shows."""
    one = limiter(FREE)
    begun = anyio.current_time()
    await one.answered("r", begun, 429, {"Retry-After": "3600"})
    assert 3600 <= one.paused_until - begun <= 3672
    assert (one.is_open("r"), one.throttled, one.blocked_since) == (False, 1, begun)


async def test_work_per_attempt_does_not_grow_with_the_crowd() -> None:
    """A thousand waiters on a slow bucket ask the policy a handful of times each: nobody wakes the whole crowd."""
    questions = 0

    class Watched(RatePolicy):
        def earliest(self, state: LimiterState, now: float, route: str) -> float:
            nonlocal questions
            questions += 1
            return super().earliest(state, now, route)

    trace = Trace(RateLimiter(Watched(Limits(total=Bucket(1, 10))), 50))
    await run_all(*(lambda n=n: trace.attempt(str(n)) for n in range(1000)))
    assert (len(trace.begins), questions < 8 * 1000) == (1000, True)


def test_there_must_be_a_slot(limiter: MakeLimiter) -> None:
    """A rate limiter that permits nothing is a mistake."""
    with pytest.raises(ValueError, match=r"^max_at_once must be at least 1, not 0$"):
        limiter(FREE, 0)


async def test_cancelled_booking_wakes_who_waits() -> None:
    """Who is cancelled while the store is asked gives the slot back, and the next one gets it."""
    trace = Trace(RateLimiter(RatePolicy(FREE), 1, JsonStore(seconds=1)))

    async def gives_up() -> None:
        with anyio.move_on_after(0.5):
            await trace.attempt("gives up")

    await run_all(gives_up, lambda: trace.attempt("next"), apart=0.1)
    assert {"next": 1.0} == trace.begins


async def test_limiters_on_one_key_share_its_limit() -> None:
    """Two limiters over one store and key start together no more than one would, and see each other's pauses."""
    store, begun = JsonStore(), anyio.current_time()
    traces = [Trace(RateLimiter(RatePolicy(ONE_A_SECOND), 5, store, "key")) for _ in range(2)]
    await run_all(*(lambda t=t, n=n: t.attempt(n) for t in traces for n in "abc"))
    assert sorted(at for trace in traces for at in trace.begins.values()) == [0, 1, 2, 3, 4, 5]
    await traces[0].limiter.answered("r", begun, 429, {"Retry-After": "60"})
    asked = anyio.current_time()
    await traces[1].attempt("after the pause")
    assert traces[1].begins["after the pause"] >= asked - begun + 60
