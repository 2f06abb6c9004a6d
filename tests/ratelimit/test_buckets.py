"""Known limits: what a bucket permits, and what is no limit at all."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.ratelimit import Bucket, Limits
from batch.ratelimit.buckets import CATCH_UP, EventLog, FixedRate, TokenBucket

GAPS = st.lists(st.floats(0, 3), max_size=80)


def starts(bucket: TokenBucket, gaps: list[float], full_at: float = -math.inf) -> list[float]:
    """Start as early as the bucket permits after each gap."""
    found, now = [], 100.0
    for gap in gaps:
        now = max(now + gap, bucket.earliest(full_at))
        full_at = bucket.take(full_at, now)
        found.append(now)
    return found


def starts_at_rate(rate: FixedRate, gaps: list[float]) -> list[float]:
    """Start as early as the rate permits after each gap."""
    found, now = [], 100.0
    for gap in gaps:
        now = max(now + gap, rate.next)
        rate.take(now)
        found.append(now)
    return found


def most_in_any_window(times: list[float], per_second: float) -> float:
    """The largest burst that a bucket refilled at this rate must have had."""
    return max(
        (later - first + 1 - per_second * (times[later] - times[first]))
        for first in range(len(times))
        for later in range(first, len(times))
    )


@pytest.mark.parametrize(
    ("burst", "per_second", "message"),
    [
        (0, 1, "burst must be at least 1, not 0"),
        (1, 0, "per_second must be a number greater than 0, not 0"),
        (1, -1, "per_second must be a number greater than 0, not -1"),
        (1, float("inf"), "per_second must be a number greater than 0, not inf"),
        (1, float("nan"), "per_second must be a number greater than 0, not nan"),
    ],
)
def test_nonsense_is_no_bucket(burst: int, per_second: float, message: str) -> None:
    """A bucket that could not be kept is refused when it is made."""
    with pytest.raises(ValueError, match=f"^{message}$"):
        Bucket(burst, per_second)


def test_route_cannot_be_faster_than_everything() -> None:
    """A bucket for each route that is faster than the one for all of them is a mistake."""
    with pytest.raises(ValueError, match=r"^a route cannot be faster than all routes together$"):
        Limits(total=Bucket(50, 5), per_route=Bucket(10, 6))


def test_burst_goes_at_once_and_then_the_rate_holds() -> None:
    """The burst starts at once, but for the token that the way of the first one costs; then one every interval."""
    found = starts(TokenBucket(Bucket(5, 2)), [0] * 7)
    assert found == [100, 100, 100, 100, 100.5, 101, 101.5]


@given(burst=st.integers(1, 20), per_second=st.floats(0.1, 50), gaps=GAPS)
def test_no_window_has_more_than_the_bucket_permits(burst: int, per_second: float, gaps: list[float]) -> None:
    """In any window there are at most burst + rate x length starts, whenever attempts come."""
    found = starts(TokenBucket(Bucket(burst, per_second)), gaps)
    assert not found or most_in_any_window(found, per_second) <= burst + 1e-6


@given(per_second=st.floats(0.1, 500), gaps=GAPS)
def test_fixed_rate_makes_up_for_milliseconds_only(per_second: float, gaps: list[float]) -> None:
    """A fixed rate bursts by no more than what fits into the time that it may catch up."""
    found = starts_at_rate(FixedRate(per_second), gaps)
    assert not found or most_in_any_window(found, per_second) <= 1 + CATCH_UP * per_second + 1e-6


@given(rates=st.lists(st.tuples(st.floats(0, 0.4), st.floats(0.001, 0.2)), min_size=30, max_size=60))
def test_jitter_on_the_way_overdraws_no_bucket(rates: list[tuple[float, float]]) -> None:
    """Requests that arrive up to 0.2 s later than they left find a token in the API's own bucket."""
    ours, full_at, tokens, seen, now = TokenBucket(Bucket(10, 5)), -math.inf, 10.0, 0.0, 0.0
    arrivals = []
    for gap, lateness in rates:
        now = max(now + gap / 8, ours.earliest(full_at))
        full_at = ours.take(full_at, now)
        arrivals.append(now + lateness)
    for arrival in sorted(arrivals):
        tokens, seen = min(10.0, tokens + (arrival - seen) * 5) - 1, arrival
        assert tokens >= -1e-6


def test_drained_bucket_has_none_left() -> None:
    """When the API says that the bucket is empty, its burst is gone and the next token is one interval away."""
    bucket = TokenBucket(Bucket(5, 2))
    assert starts(bucket, [0, 0, 0], bucket.drain(-math.inf, 100)) == [100.5, 101, 101.5]


@given(gaps=st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.1, 1.0]), min_size=1, max_size=200))
def test_log_counts_the_latest_events_exactly(gaps: list[float]) -> None:
    """However long a log is kept, what it counts of its latest events is exact, and it stays small."""
    log, times, now = EventLog(), list[float](), 0.0
    for n in range(2000):
        now += gaps[n % len(gaps)]
        log.add(now)
        times.append(now)
    latest = times[-log.exact :]
    assert [log.since(one) for one in latest] == [sum(other >= one for other in times) for one in latest]
    assert (log.total, log.since(-1.0), len(log.times) <= log.most) == (2000, 2000, True)


def test_log_counts_what_is_long_ago_nearly() -> None:
    """Of a hundred thousand events at one rate, those since any time are counted to within 1 %, in as small a log."""
    log = EventLog()
    for n in range(100_000):
        log.add(n / 1000)
    for ago in (1, 5, 20, 60, 90):
        assert log.since(100 - ago) == pytest.approx(1000 * ago, rel=0.01)
    assert len(log.times) <= log.most


@pytest.mark.parametrize("exact", [64, 256])
def test_log_is_seldom_made_thinner(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many events there were, a log that was made thinner takes dozens until it is looked through again."""
    thin, thinned = EventLog._thin, list[int]()
    monkeypatch.setattr(EventLog, "_thin", lambda self: (thinned.append(len(self.times)), thin(self)))
    log = EventLog(exact=exact)
    for n in range(200_000):
        log.add(n // 8)
    assert len(thinned) < 200_000 / 50


def test_log_takes_an_event_that_is_told_late() -> None:
    """What another process tells late counts as of the time of the last event, so that the log stays in order."""
    log = EventLog()
    for at in (1.0, 3.0, 2.0):
        log.add(at)
    assert (log.times, log.since(2.5)) == ([1.0, 3.0, 3.0], 2)
