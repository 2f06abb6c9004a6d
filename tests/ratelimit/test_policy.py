"""The policy as a whole: an attempt waits for all that apply, and replies change what applies."""

import json
import math
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.ratelimit import Bucket, Learned, LimiterState, Limits, RatePolicy, Step, read_reply
from batch.ratelimit.adaptive import AdaptiveRate
from tests.simulation.world import seeded

Result = TypeVar("Result")

DUALENTRY = Limits(total=Bucket(50, 5), per_route=Bucket(10, 1))


class Driven:
    """A policy and its state. Every step also runs on a copy that went through JSON: it must do the same."""

    def __init__(self, policy: RatePolicy) -> None:
        self.policy = policy
        self.state = policy.new_state()
        self.rng = seeded(1)

    def earliest(self, now: float, route: str) -> float:
        return self.policy.earliest(self.state, now, route)

    def book(self, now: float, route: str) -> bool:
        return self.run(self.policy.book(route), now).starts == 1

    def run(self, step: Step[Result], now: float) -> Result:
        copied, expected = step(through_json(self.state), now)
        self.state, answer = step(self.state, now)
        assert (expected, copied.as_json()) == (answer, self.state.as_json())
        return answer


def through_json(state: LimiterState) -> LimiterState:
    """Write and read a state, without the infinities that only Python's JSON has."""
    return LimiterState.from_json(json.loads(json.dumps(state.as_json(), allow_nan=False)))


def policy(
    limits: Limits | None = None, *, max_per_second: float | None = None, learned: Learned | None = None
) -> Driven:
    """A policy with a state of its own."""
    return Driven(RatePolicy(limits, max_per_second=max_per_second, learned=learned))


def answer(
    to: Driven, now: float, status: int | None, route: str = "r", started: float | None = None, **headers: str
) -> None:
    """Answer the attempt that started then (by default a moment ago), by a wall clock that stands still."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    started = now if started is None else started
    to.run(to.policy.update(read_reply(route, started, status, named, now_epoch=1_700_000_000, rng=to.rng)), now)


def start_all(to: Driven, now: float, count: int, route: str = "r") -> list[float]:
    """Start as many as asked, each as early as permitted."""
    found = []
    for _ in range(count):
        now = to.earliest(now, route)
        assert to.book(now, route)
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
        one.book(0, route)
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


@pytest.mark.parametrize("is_log_in", [False, True])
def test_refusal_of_the_very_first_says_nothing_of_the_rate(is_log_in: bool) -> None:
    """A first attempt, or a log-in, that is asked to wait 1 s costs 1 s: after that the documented rate holds."""
    one = policy(DUALENTRY)
    start_all(one, 0, 1)
    reply = read_reply("r", 0, 429, {"Retry-After": "1"}, now_epoch=0, rng=one.rng, is_log_in=is_log_in)
    one.run(one.policy.update(reply), 0.1)
    assert 2.2 >= start_all(one, 0.1, 2)[1]


def test_log_in_that_is_refused_leaves_the_rate_of_the_others() -> None:
    """Log-ins have a limit of their own: one that is refused in the middle of a run cuts no rate."""
    one = policy(learned=Learned(100.0))
    start_all(one, 0, 5)
    rate = one.state.adaptive.rate
    reply = read_reply("login", 0, 429, {"Retry-After": "1"}, now_epoch=0, rng=one.rng, is_log_in=True)
    one.run(one.policy.update(reply), 0.1)
    assert (rate, True) == (one.state.adaptive.rate, one.earliest(0.1, "r") >= 1.1)


def test_used_up_budget_holds_its_route_until_the_reset() -> None:
    """When a header says that nothing remains until a reset, that route waits for it; others go on."""
    one = policy()
    one.book(0, "a")
    answer(one, 1, 200, route="a", started=0, RateLimit="limit=100, remaining=0, reset=60")
    assert (one.earliest(1, "a"), one.earliest(1, "b"), one.earliest(61, "a")) == (61, 1, 61)


@pytest.mark.parametrize(("limits", "hold"), [(DUALENTRY, 10), (None, 60)])
def test_far_reset_holds_only_until_a_trial(limits: Limits | None, hold: float) -> None:
    """A reset in a day holds as long as the bucket takes to fill; then one request tries, and proves it wrong."""
    one = policy(limits)
    start_all(one, 0, 1)
    answer(one, 1, 200, started=0, RateLimit_Remaining="0", RateLimit_Reset="86400")
    assert one.policy.wait(one.state, 1) == (1 + hold, "the API says that nothing is left of its limit")
    assert [1 + hold, 1 + 2 * hold] == [start_all(one, 1, 1)[0], one.earliest(1 + hold, "r")]
    answer(one, 2 + hold, 200, started=1 + hold, RateLimit_Remaining="0", RateLimit_Reset="86000")
    assert (one.earliest(3 + hold, "r"), one.policy.wait(one.state, 3 + hold)) == (3 + hold, None)


def test_trial_that_is_refused_is_followed_by_another_one() -> None:
    """While the API refuses, the headers may be right: one request each time goes out."""
    one = policy(DUALENTRY)
    start_all(one, 0, 1)
    answer(one, 1, 200, started=0, RateLimit_Remaining="0", RateLimit_Reset="86400")
    trial = start_all(one, 1, 1)[0]
    answer(one, trial, 500)
    assert trial + 10 == one.earliest(trial, "r")
    answer(one, trial, 429, RateLimit_Remaining="0", RateLimit_Reset="86000")
    assert trial + 10 == one.earliest(trial, "r")


@pytest.mark.parametrize(
    ("headers", "seconds"), [({"RateLimit_Reset": "86400"}, 10), ({"Retry_After": "86400"}, 86400)]
)
def test_retry_after_alone_is_waited_for_in_full(headers: dict[str, str], seconds: float) -> None:
    """A refusal's reset pauses no longer than the bucket takes to fill, its Retry-After as long as it says."""
    one = policy(DUALENTRY)
    answer(one, 0, 429, **headers)
    assert seconds <= one.state.paused_until <= seconds * 1.02


def test_attempts_under_way_count_against_the_budget() -> None:
    """What started since the attempt that was answered is taken off what remains."""
    one = policy(max_per_second=1000)
    for now in (0, 0.1, 0.2):
        one.book(now, "r")
    answer(one, 0.3, 200, started=0, RateLimit="limit=100, remaining=3, reset=60")
    one.book(0.4, "r")
    assert one.earliest(0.5, "r") == 60.3


def test_reset_within_the_documented_bucket_holds_nobody() -> None:
    """A header that tells when the documented bucket is full again says nothing that was not known."""
    one = policy(DUALENTRY)
    one.book(0, "r")
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
    before, after = one.state.adaptive.rate, []
    for at in found[-10:]:
        answer(one, found[-1] + 0.05, 429, started=at)
        after.append(one.state.adaptive.rate)
    assert after == [pytest.approx(0.985 * 0.98 * before)] * 10


def test_time_outs_and_failures_say_nothing_about_rate() -> None:
    """No answer and 5xx leave the rate as it is; they are for the retry quota and the breaker."""
    one = policy()
    start_all(one, 0, 3)
    for status in (None, 500, 502, 503, 504, 408):
        answer(one, 1, status)
    assert (one.state.adaptive.rate, one.state.throttled, one.state.blocked_since) == (10, 0, None)


def test_blocked_api_gets_one_probe_at_a_time() -> None:
    """After a long Retry-After a single attempt goes out; the next ones wait for its answer."""
    one = policy()
    answer(one, 0, 429, Retry_After="30")
    (probe,) = start_all(one, 0, 1)
    assert (one.state.blocked_since, one.earliest(probe, "r")) == (0, probe + 30)
    answer(one, probe + 0.1, 200, started=probe)
    assert (one.state.blocked_since, one.earliest(probe + 0.1, "r")) == (None, probe + 0.1)


def test_probe_that_was_not_made_after_all() -> None:
    """An attempt that leaves the limiter without being made lets another one probe at once."""
    one = policy()
    answer(one, 0, 429, Retry_After="30")
    (probe,) = start_all(one, 0, 1)
    one.run(one.policy.withdraw(probe), probe)
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


def test_refusals_are_counted_for_the_screen() -> None:
    """Only 429s count as throttled."""
    one = policy(DUALENTRY)
    answer(one, 0, 429, Retry_After="1")
    answer(one, 0, 503, Retry_After="1")
    assert one.state.throttled == 1


def test_what_was_learned_is_where_the_next_run_begins() -> None:
    """The ceiling that a run found is kept, and the next one starts a little below it."""
    one = policy(learned=Learned(100, 60))
    assert (one.state.adaptive.rate, one.state.learned()) == (98, Learned(100, 60))


def test_a_climb_that_held_is_kept() -> None:
    """A rate above what a collision left, which the API took for a second, is what the next run begins with."""
    one = policy(DUALENTRY, learned=Learned(0.3))
    for number in range(60):
        at = one.earliest(0, f"r{number}")
        (at,) = start_all(one, at, 1, f"r{number}")
        answer(one, at + 0.05, 200, started=at)
    found = one.state.learned().per_second or 0
    assert (True, True) == (found > 2, found < one.state.adaptive.rate)


def test_booking_is_in_all_buckets_or_in_none() -> None:
    """A start that one bucket refuses is booked in no other, and the answer says when to ask again."""
    one = policy(Limits(total=Bucket(4, 1), per_route=Bucket(3, 1)))
    while one.book(0, "a"):
        pass
    before = one.state.as_json()
    assert one.run(one.policy.book("a"), 0) == ((), one.earliest(0, "a"))
    assert one.state.as_json() == before
    assert one.book(0, "b")


ROUTES = st.sampled_from("ab")
HEADERS = st.sampled_from(
    [{}, {}, {"Retry-After": "1"}, {"Retry-After": "30"}, {"RateLimit": "limit=9, remaining=1, reset=20"}]
)
HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.floats(0, 3), ROUTES),
        st.tuples(st.sampled_from([200, 200, 200, 429, 429, 503, 500, None]), st.floats(0, 3), HEADERS),
        st.tuples(st.just("withdraw"), st.floats(0, 0.1), st.none()),
    ),
    max_size=60,
)
LIMITS = st.sampled_from([None, DUALENTRY, Limits(per_route=Bucket(2, 0.5))])


@settings(max_examples=200, deadline=None)
@given(happenings=HAPPENINGS, limits=LIMITS, rate=st.sampled_from([None, None, 2.0]), learned=st.booleans())
def test_state_survives_json_at_any_point(
    happenings: list[tuple[object, float, object]], limits: Limits | None, rate: float | None, learned: bool
) -> None:
    """Whatever happened, a policy whose state goes through JSON before every step gives the same answers."""
    one = policy(limits, max_per_second=rate, learned=Learned(5, 60) if learned else None)
    now, under_way = 0.0, [(0.0, "a")]
    for what, later, more in happenings:
        now += later
        if what == "start":
            now = one.earliest(now, str(more))
            assert one.book(now, str(more))
            under_way.append((now, str(more)))
        elif what == "withdraw":
            one.run(one.policy.withdraw(under_way[-1][0]), now)
        else:
            started, route = under_way[-1]
            reply = read_reply(route, started, what, more, now_epoch=0, rng=one.rng)
            one.run(one.policy.update(reply), now)


@pytest.mark.parametrize(
    ("now", "told_until"), [(1.5, 0.05), (5.05, 4.8)], ids=["the others have hardly begun", "the others are behind"]
)
def test_what_others_have_not_told_yet_is_no_refusal(now: float, told_until: float) -> None:
    """A refusal while other processes have not told of what was accepted lately cuts little of a rate that was good."""
    one = AdaptiveRate.begin_at(10.0, Learned(100))
    for number in range(int(100 * min(now - 0.05, max(told_until, 1.4)))):
        one.take(number / 100)
        one.accepted(number / 100 + 0.01, number / 100)
    one.refused(now, now - 0.01, 0.0, told_until)
    assert 95 < (one.ceiling or 0) < 100
