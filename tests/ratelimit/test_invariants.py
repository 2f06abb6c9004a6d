"""What holds whatever rows, replies and cancellations come: slots, buckets and Retry-After, through the limiter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from batch.ratelimit import Bucket, LimiterStore, Limits, MemoryStore, RateLimiter, RatePolicy, Turn
from tests.ratelimit.json_store import JsonStore
from tests.ratelimit.test_buckets import most_in_any_window
from tests.simulation.world import seeded

EPSILON = 1e-6


@dataclass(frozen=True)
class Attempt:
    """One attempt as planned: when it comes, how long the API takes, what it says, and when its row is cancelled."""

    comes: float
    route: str
    turn: Turn
    lasts: float
    status: int | None
    retry_after: int | None
    cancelled_after: float | None


@dataclass
class Seen:
    """What happened."""

    starts: list[tuple[float, str]] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)
    peak: int = 0
    inside: int = 0


ATTEMPTS = st.lists(
    st.builds(
        Attempt,
        comes=st.floats(0, 20),
        route=st.sampled_from(["GET", "PATCH", "PUT"]),
        turn=st.sampled_from(Turn),
        lasts=st.sampled_from([0.0, 0.05, 0.4, 3.0]),
        status=st.sampled_from([200, 200, 200, 422, 429, 429, 500, 503, None]),
        retry_after=st.none() | st.integers(0, 40),
        cancelled_after=st.none() | st.none() | st.floats(0, 30),
    ),
    max_size=40,
)
BUCKETS = st.none() | st.builds(Bucket, st.integers(1, 8), st.sampled_from([0.5, 2.0, 10.0]))


def play(limiter: RateLimiter, attempts: Sequence[Attempt]) -> Seen:
    """Let all attempts come through the limiter, and write down what happened."""
    seen = Seen()

    async def one(attempt: Attempt) -> None:
        await anyio.sleep(attempt.comes)
        with anyio.move_on_after(attempt.cancelled_after):
            async with limiter.attempt(attempt.route, attempt.turn) as started:
                seen.starts.append((started, attempt.route))
                seen.inside += 1
                seen.peak = max(seen.peak, seen.inside)
                try:
                    await anyio.sleep(attempt.lasts)
                    await answer(attempt, started)
                finally:
                    seen.inside -= 1

    async def answer(attempt: Attempt, started: float) -> None:
        headers = {} if attempt.retry_after is None else {"retry-after": str(attempt.retry_after)}
        if attempt.status in (429, 503) and attempt.retry_after is not None:
            seen.pauses.append((anyio.current_time(), anyio.current_time() + attempt.retry_after))
        await limiter.answered(attempt.route, started, attempt.status, headers)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for attempt in attempts:
                tasks.start_soon(one, attempt)

    anyio.run(main, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})
    return seen


def shared() -> JsonStore:
    """A store that several processes share."""
    return JsonStore(ahead=0.1, offset=1000)


@pytest.mark.parametrize("kind", [MemoryStore, JsonStore, shared])
@settings(max_examples=100, deadline=None)
@given(attempts=ATTEMPTS, max_at_once=st.integers(1, 5), total=BUCKETS, per_route=BUCKETS, seed=st.integers(0, 9))
def test_slots_buckets_and_pauses_hold_whatever_comes(
    kind: Callable[[], LimiterStore],
    attempts: list[Attempt],
    max_at_once: int,
    total: Bucket | None,
    per_route: Bucket | None,
    seed: int,
) -> None:
    """Never too many at once, never too many in a window, never a start in a pause; and nothing leaks."""
    if total and per_route and per_route.per_second > total.per_second:
        total, per_route = per_route, total
    limiter = RateLimiter(RatePolicy(Limits(total, per_route)), max_at_once, kind(), rng=seeded(seed))
    seen = play(limiter, attempts)
    assert seen.peak <= max_at_once
    assert not [start for start, _ in seen.starts for begin, end in seen.pauses if begin < start < end]
    if total and seen.starts:
        assert most_in_any_window([start for start, _ in seen.starts], total.per_second) <= total.burst + EPSILON
    for route in {route for _, route in seen.starts} if per_route else ():
        assert per_route
        times = [start for start, other in seen.starts if other == route]
        assert most_in_any_window(times, per_route.per_second) <= per_route.burst + EPSILON
    never_cancelled = sum(attempt.cancelled_after is None for attempt in attempts)
    assert (seen.inside, len(seen.starts) >= never_cancelled) == (0, True)


@settings(max_examples=100, deadline=None)
@given(attempts=ATTEMPTS, seed=st.integers(0, 9))
def test_after_any_cancellations_later_attempts_still_start(attempts: list[Attempt], seed: int) -> None:
    """Slots and tokens of those who were cancelled are there for the next ones: all that come later start."""
    limiter = RateLimiter(RatePolicy(None), 2, rng=seeded(seed))
    late = [Attempt(100 + n, "GET", Turn.FRESH, 0.05, 200, None, None) for n in range(5)]
    seen = play(limiter, [*attempts, *late])
    assert sum(start >= 100 for start, _ in seen.starts) >= 5
