"""The pacer as a whole: an attempt waits for all that apply, and replies change what applies."""

import math
from functools import partial

import pytest

from batch.ratelimit import Bucket, Learned, Limits, RatePolicy
from tests.simulation.world import seeded

DUALENTRY = Limits(total=Bucket(50, 5), per_route=Bucket(10, 1))


def policy(
    limits: Limits | None = None, *, max_per_second: float | None = None, learned: Learned | None = None
) -> RatePolicy:
    """A pacer at a wall clock that stands still."""
    clock = partial(float, 1_700_000_000)
    return RatePolicy(limits, max_per_second=max_per_second, learned=learned, rng=seeded(1), wall_clock=clock)


def answer(
    to: RatePolicy, now: float, status: int | None, route: str = "r", started: float | None = None, **headers: str
) -> None:
    """Answer the attempt that started then (by default a moment ago)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    to.answered(now, route=route, started=now if started is None else started, status=status, headers=named)


def start_all(to: RatePolicy, now: float, count: int, route: str = "r") -> list[float]:
    """Start as many as asked, each as early as permitted."""
    found = []
    for _ in range(count):
        now = to.earliest(now, route)
        to.take(now, route)
        found.append(now)
    return found


def test_nothing_limits_a_first_attempt() -> None:
    """The first attempt starts at once, whatever the limits."""
    assert [policy(limits).earliest(7, "r") for limits in (None, DUALENTRY)] == [7, 7]


def test_routes_have_buckets_of_their_own() -> None:
    """A route whose bucket is empty waits, and another one starts at once."""
    one = policy(DUALENTRY)
    start_all(one, 0, 10, "PATCH")
    assert (one.earliest(0.5, "PATCH") > 1, one.earliest(0.5, "GET")) == (True, 0.5)


def test_bucket_for_everything_counts_all_routes() -> None:
    """Routes that are within their own buckets still wait for the one that they share."""
    one = policy(Limits(total=Bucket(4, 1), per_route=Bucket(3, 1)))
    for route in ("a", "b", "c"):
        one.take(0, route)
    assert one.earliest(0, "d") == 0.5


def test_max_per_second_replaces_the_documented_buckets() -> None:
    """With a rate of the user's own, above or below, the documented buckets are gone."""
    assert start_all(policy(DUALENTRY, max_per_second=100), 0, 60)[-1] == pytest.approx(0.57)
    assert start_all(policy(DUALENTRY, max_per_second=0.5), 0, 3)[-1] == pytest.approx(3.98)


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan])
def test_rate_must_be_one(rate: float) -> None:
    """Nobody can run at no rate, or at an infinite one."""
    with pytest.raises(ValueError, match=rf"^max_per_second must be a number greater than 0, not {rate}$"):
        policy(max_per_second=rate)


@pytest.mark.parametrize(("status", "is_paused"), [(429, True), (503, True), (500, False), (409, False), (200, False)])
def test_retry_after_of_a_refusal_pauses_everybody(status: int, is_paused: bool) -> None:
    """429 and 503 with Retry-After speak for the whole API; any other reply only for its own row."""
    one = policy(DUALENTRY)
    answer(one, 10, status, route="a", Retry_After="30")
    assert (one.earliest(10, "b") >= 40) is is_paused


def test_pause_is_never_shorter_than_asked_and_little_longer() -> None:
    """Programs on one key come back up to 2 % later than asked, each at a moment of its own."""
    one = policy()
    answer(one, 0, 429, Retry_After="100")
    assert 100 <= one.earliest(0, "r") <= 102


def test_shorter_pause_does_not_end_a_longer_one() -> None:
    """When several refusals name different times, the latest counts."""
    one = policy()
    answer(one, 0, 429, Retry_After="100")
    answer(one, 1, 429, Retry_After="2")
    assert one.earliest(1, "r") >= 100


def test_date_and_reset_are_read_by_the_wall_clock() -> None:
    """Dates and epochs are turned into seconds from now before they meet the monotonic clock."""
    by_date, by_epoch = policy(), policy()
    answer(by_date, 5, 429, Retry_After="Tue, 14 Nov 2023 22:13:50 GMT")
    answer(by_epoch, 5, 429, X_RateLimit_Reset="1700000030")
    assert [35 <= one.earliest(5, "r") <= 36 for one in (by_date, by_epoch)] == [True, True]


def test_refusal_empties_the_buckets() -> None:
    """A 429 within the documented limit means that others use it too: what was left of the burst is gone."""
    one = policy(DUALENTRY)
    answer(one, 0, 429)
    assert one.earliest(0, "r") == 1


def test_used_up_budget_holds_its_route_until_the_reset() -> None:
    """When a header says that nothing remains until a reset, that route waits for it; others go on."""
    one = policy()
    one.take(0, "a")
    answer(one, 1, 200, route="a", started=0, RateLimit="limit=100, remaining=0, reset=60")
    assert (one.earliest(1, "a"), one.earliest(1, "b"), one.earliest(61, "a")) == (61, 1, 61)


def test_attempts_under_way_count_against_the_budget() -> None:
    """What started since the attempt that was answered is taken off what remains."""
    one = policy(max_per_second=1000)
    for now in (0, 0.1, 0.2):
        one.take(now, "r")
    answer(one, 0.3, 200, started=0, RateLimit="limit=100, remaining=3, reset=60")
    one.take(0.4, "r")
    assert one.earliest(0.5, "r") == 60.3


def test_reset_within_the_documented_bucket_holds_nobody() -> None:
    """A header that tells when the documented bucket is full again says nothing that was not known."""
    one = policy(DUALENTRY)
    one.take(0, "r")
    answer(one, 1, 200, started=0, X_RateLimit_Remaining="0", X_RateLimit_Reset="10")
    assert one.earliest(1, "r") == 1


def test_unknown_api_is_met_slowly_and_then_faster() -> None:
    """Where nothing is known it begins with 10 a second, and doubles every second until refused."""
    found = start_all(policy(), 0, 75)
    assert [sum(second <= at < second + 1 for at in found) for second in range(3)] == [11, 19, 38]


def test_refusals_of_one_flight_cut_the_rate_once() -> None:
    """Of ten refusals of attempts that left together, the first one counts."""
    one = policy(learned=Learned(100))
    found = start_all(one, 0, 300)
    for at in found:
        answer(one, at + 0.05, 200, started=at)
    before, after = one.rate, []
    for at in found[-10:]:
        answer(one, found[-1] + 0.05, 429, started=at)
        after.append(one.rate)
    assert after == [pytest.approx(0.985 * 0.98 * before)] * 10


def test_time_outs_and_failures_say_nothing_about_rate() -> None:
    """No answer and 5xx leave the rate as it is; they are for the retry quota and the breaker."""
    one = policy()
    start_all(one, 0, 3)
    for status in (None, 500, 502, 503, 504, 408):
        answer(one, 1, status)
    assert (one.rate, one.throttled, one.is_blocked(1)) == (10, 0, False)


def test_blocked_api_gets_one_probe_at_a_time() -> None:
    """After a long Retry-After a single attempt goes out; the next ones wait for its answer."""
    one = policy()
    answer(one, 0, 429, Retry_After="30")
    (probe,) = start_all(one, 0, 1)
    assert (one.blocked_since, one.is_blocked(probe), one.earliest(probe, "r")) == (0, True, probe + 30)
    answer(one, probe + 0.1, 200, started=probe)
    assert (one.blocked_since, one.earliest(probe + 0.1, "r")) == (None, probe + 0.1)


def test_probe_that_was_not_made_after_all() -> None:
    """An attempt that leaves the gate without being made lets another one probe at once."""
    one = policy()
    answer(one, 0, 429, Retry_After="30")
    (probe,) = start_all(one, 0, 1)
    one.withdrawn(probe)
    assert probe == one.earliest(probe, "r")


@pytest.mark.parametrize("status", [429, 500, None])
def test_probe_that_fails_is_followed_by_another_one_later(status: int | None) -> None:
    """Probes of a blocked API come ever more seldom, at least a tenth of the blocked time apart."""
    one = policy()
    answer(one, 0, 429, Retry_After="30")
    (probe,) = start_all(one, 0, 1)
    answer(one, probe + 0.1, status, started=probe)
    assert one.earliest(probe + 0.1, "r") == pytest.approx((probe + 0.1) * 1.1)


def test_probe_that_was_cancelled_blocks_nobody_for_good() -> None:
    """A probe that never answers gives way to another one after half a minute."""
    one = policy()
    answer(one, 0, 429, Retry_After="30")
    (probe,) = start_all(one, 0, 1)
    assert start_all(one, probe, 1) == [probe + 30]


def test_display_counts_refusals_and_knows_the_rate() -> None:
    """For the screen: the refusals so far, and the rate of whatever limits most."""
    one = policy(DUALENTRY)
    answer(one, 0, 429, Retry_After="1")
    answer(one, 0, 503, Retry_After="1")
    assert (one.throttled, policy(DUALENTRY).rate, policy(max_per_second=3).rate, policy().rate) == (1, 5, 3, 10)


def test_what_was_learned_is_where_the_next_run_begins() -> None:
    """The ceiling that a run found is kept, and the next one starts a little below it."""
    one = policy(learned=Learned(100, 60))
    assert (one.rate, one.learned()) == (98, Learned(100, 60))
