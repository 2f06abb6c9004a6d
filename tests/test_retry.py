"""Replies become verdicts; backoff, retry quota, breaker and failure limit bound what a hopeless run costs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.retry import (
    Action,
    Body,
    BreakerState,
    CircuitBreaker,
    Classification,
    Delivered,
    FailureLimit,
    RetryPolicy,
    RetryQuota,
    Rules,
    backoff,
    classify,
)
from tests.simulation.world import seeded

IDEMPOTENT = Rules(idempotent_keys=True)
WAIT_5 = {"Retry-After": "5"}


def action(status: int, body: object = Body.EMPTY, **headers: str) -> Action:
    """The verdict on a whole answer."""
    return classify(status, headers, body, delivered="answered", now_epoch=0).action


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_success_is_done(status: int) -> None:
    """2xx is done, with a body or without."""
    assert (action(status), action(status, {"id": 1})) == (Action.SUCCEED, Action.SUCCEED)


@pytest.mark.parametrize(
    ("body", "has_record"),
    [
        ({"success": False}, False),
        ({"success": "False"}, False),
        ({"success": 0, "message": "no"}, False),
        ({"success": False, "errors": {"name": ["no"]}}, False),
        ({"errors": ["no"]}, False),
        ({"error": {"code": 7}}, False),
        ({"id": 1, "success": True, "errors": {"name": ["no"]}}, True),
        ({"id": 1, "success": False}, True),
        ({"customer": {"id": 1}, "error": "no"}, True),
    ],
)
def test_success_that_says_it_failed_is_none(body: object, has_record: bool) -> None:
    """2xx whose body says that it failed is a refusal, perhaps after the deed where it shows more than that."""
    expected = Classification(Action.REJECT, "the API answered 200, but says that it failed", has_arrived=has_record)
    assert classify(200, {}, body, delivered="answered") == expected


def test_page_from_someone_else_is_no_success() -> None:
    """200 with something that is not JSON came from a proxy or a login page: whether it was applied is unknown."""
    expected = Classification(
        Action.RETRY, "the answer (200) did not come from the API: it is not JSON", is_in_doubt=True
    )
    assert classify(200, {}, Body.NOT_JSON, delivered="answered") == expected


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 529, 599])
def test_transient_trouble_is_tried_again(status: int) -> None:
    """Codes that pass by themselves, and those of gateways, are tried again; where there are no keys, after a look."""
    for rules, is_in_doubt in ((IDEMPOTENT, False), (Rules(), status != 429)):
        found = classify(status, {}, Body.NOT_JSON, delivered="answered", rules=rules)
        assert (found.action, found.is_in_doubt) == (Action.RETRY, is_in_doubt)


@pytest.mark.parametrize("status", [400, 402, 404, 405, 409, 410, 412, 415, 422, 428, 451, 501, 505, 419, 444, 499])
def test_refusals_are_final_for_the_row(status: int) -> None:
    """Every other 4xx, and 501, says something about this row that trying again does not change.

    Codes that no standard has may come after the deed.
    """
    found = classify(status, WAIT_5, {"errors": {}}, delivered="answered")
    assert (Action.REJECT, status in (419, 444, 499)) == (found.action, found.has_arrived)


def test_too_large_at_the_moment() -> None:
    """A 413 with Retry-After passes by itself; without, it is a refusal."""
    cause = "too large for the API (413)"
    expected = [Classification(Action.RETRY, cause, 5.0), Classification(Action.REJECT, cause)]
    assert expected == [classify(413, headers, Body.EMPTY, delivered="answered") for headers in (WAIT_5, {})]


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (401, "the API does not accept the key (401)"),
        (403, "the API does not permit this with the key (403)"),
        (407, "the API asks for a login, as only a proxy should (407)"),
        (511, "the network asks for a login first (511)"),
        (302, "the API answers with a redirect (302), which is never followed"),
        (308, "the API answers with a redirect (308), which is never followed"),
    ],
)
def test_what_holds_for_every_row_stops_the_run(status: int, cause: str) -> None:
    """A key that is not accepted, and a redirect, would meet every other row too."""
    expected = Classification(Action.ABORT, cause, has_arrived=status == 302)  # which some say after the deed
    assert expected == classify(status, {}, Body.EMPTY, delivered="answered")


@pytest.mark.parametrize(
    ("delivered", "cause", "is_in_doubt"),
    [
        ("no", "the API cannot be reached", False),
        ("unknown", "no answer came", True),
        ("answered", "the answer broke off", True),
    ],
)
def test_no_answer_is_unknown_once_bytes_have_left(delivered: Delivered, cause: str, is_in_doubt: bool) -> None:
    """Without a whole answer it is tried again; unless nothing left, it may have been applied."""
    expected = Classification(Action.RETRY, cause, is_in_doubt=is_in_doubt)
    assert classify(None, {}, None, delivered=delivered) == expected


@pytest.mark.parametrize(
    ("status", "headers", "wait", "is_rate"),
    [
        (429, {}, None, True),
        (429, WAIT_5, 5, True),
        (429, {"RateLimit-Reset": "9"}, 9, True),
        (503, WAIT_5, 5, True),
        (503, {}, None, False),
        (503, {"RateLimit-Reset": "9"}, None, False),
        (500, WAIT_5, 5, False),
    ],
)
def test_only_429_and_503_with_retry_after_speak_about_rate(
    status: int, headers: dict[str, str], wait: float | None, is_rate: bool
) -> None:
    """What speaks about rate is the limiter's; Retry-After is the row's wait in any case."""
    found = classify(status, headers, Body.EMPTY, delivered="answered", now_epoch=0)
    assert (found.action, found.wait, found.is_rate) == (Action.RETRY, wait, is_rate)


@pytest.mark.parametrize(
    ("headers", "rules", "expected"),
    [
        (
            WAIT_5,
            IDEMPOTENT,
            Classification(
                Action.RETRY, "the API is still busy with the first try of this change (409)", 5, is_in_doubt=True
            ),
        ),
        ({}, IDEMPOTENT, Classification(Action.REJECT, "it conflicts with something at the API (409)")),
        (WAIT_5, Rules(), Classification(Action.REJECT, "it conflicts with something at the API (409)")),
    ],
)
def test_conflict_means_something_else_where_there_are_keys(
    headers: dict[str, str], rules: Rules, expected: Classification
) -> None:
    """With idempotency keys, 409 with Retry-After is "still busy"; otherwise a refusal."""
    assert classify(409, headers, Body.EMPTY, delivered="answered", rules=rules) == expected


@given(
    status=st.none() | st.integers(100, 999),
    headers=st.dictionaries(st.sampled_from(["Retry-After", "RateLimit", "X-RateLimit-Reset"]), st.text(max_size=20)),
    body=st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists) | st.sampled_from(Body),
    delivered=st.sampled_from(["no", "unknown", "answered"]),
)
def test_every_reply_has_a_verdict_in_words(
    status: int | None, headers: dict[str, str], body: object, delivered: Delivered
) -> None:
    """Whatever comes, there is a verdict, a cause, and no wait that cannot be waited for."""
    found = classify(status, headers, body, delivered=delivered)
    assert isinstance(found.action, Action)
    assert found.cause
    assert found.wait is None or 0 <= found.wait < math.inf


def test_backoff_grows_to_the_cap_with_full_jitter() -> None:
    """After the n-th attempt it is anything from 0 to 0.5 s doubled n - 1 times, at most 30 s."""
    policy, rng = RetryPolicy(), seeded(1)
    longest = [max(backoff(policy, attempt, rng) for _ in range(2000)) for attempt in (1, 2, 3, 6, 7, 500)]
    assert longest == pytest.approx([0.5, 1, 2, 16, 30, 30], rel=0.01)
    assert min(backoff(policy, 7, rng) for _ in range(2000)) < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_attempts": 0}, "max_attempts must be at least 1, not 0"),
        ({"max_wait": -1}, "max_wait must be 0 or more seconds, not -1"),
        ({"base": math.nan}, "base must be 0 or more seconds, not nan"),
        ({"cap": math.inf}, "cap must be 0 or more seconds, not inf"),
    ],
)
def test_policy_refuses_nonsense(options: dict[str, float], message: str) -> None:
    """A policy that could not be followed is refused when it is made."""
    with pytest.raises(ValueError, match=f"^{message}$"):
        RetryPolicy(**options)  # type: ignore[arg-type]  # nonsense is the point


@pytest.mark.parametrize(("is_timeout", "retries"), [(False, 100), (True, 50)])
def test_quota_pays_for_a_bounded_number_of_retries(is_timeout: bool, retries: int) -> None:
    """A full quota is 100 retries, or 50 after time-outs."""
    quota = RetryQuota()
    assert sum(quota.spend(is_timeout=is_timeout) for _ in range(10_000)) == retries


def test_quota_recovers_with_first_tries_that_succeed() -> None:
    """Five rows that succeed at once pay for one retry, and it never holds more than at the start."""
    quota = RetryQuota()
    quota.earn()
    assert quota.tokens == 500
    while quota.spend():
        pass
    for _ in range(5):
        quota.earn()
    assert (quota.spend(), quota.spend()) == (True, False)


def failing(breaker: CircuitBreaker, count: int, *causes: str, now: float = 0.0) -> BreakerState:
    """Let so many attempts fail, for these causes in turn."""
    for number in range(count):
        breaker.failed(now, now, causes[number % len(causes)])
    return breaker.state


def test_breaker_pauses_after_twenty_failures_for_one_cause() -> None:
    """Nineteen are bad luck, the twentieth pauses the run."""
    breaker = CircuitBreaker(pause=15)
    assert (failing(breaker, 19, "500"), failing(breaker, 1, "500", now=7)) == (
        BreakerState.CLOSED,
        BreakerState.HALF_OPEN,
    )
    assert (breaker.cause, breaker.paused_until) == ("500", 22)


def test_breaker_forgets_at_any_proper_answer() -> None:
    """One answer among the failures, be it a rejection, shows that the API works."""
    breaker = CircuitBreaker()
    for _ in range(10):
        assert failing(breaker, 19, "500") is BreakerState.CLOSED
        breaker.answered()


def test_breaker_pauses_after_a_hundred_failures_for_any_cause() -> None:
    """Causes that alternate do not hide that nothing works."""
    breaker = CircuitBreaker()
    assert (failing(breaker, 99, "500", "reset"), failing(breaker, 1, "reset")) == (
        BreakerState.CLOSED,
        BreakerState.HALF_OPEN,
    )


def test_breaker_stops_when_the_probe_fails_too() -> None:
    """After the pause one attempt decides: it fails, and the run stops; failures from before the pause do not count."""
    breaker = CircuitBreaker(pause=15)
    failing(breaker, 20, "500")
    assert breaker.failed(3, 2, "500") is BreakerState.HALF_OPEN
    assert breaker.failed(16, 15, "no answer came") is BreakerState.OPEN
    assert (breaker.cause, breaker.answered()) == ("no answer came", BreakerState.OPEN)


def test_breaker_goes_on_when_the_probe_succeeds() -> None:
    """After the pause one attempt decides: it succeeds, and the count begins anew."""
    breaker = CircuitBreaker(pause=15)
    failing(breaker, 20, "500")
    assert (breaker.answered(), failing(breaker, 19, "500")) == (BreakerState.CLOSED, BreakerState.CLOSED)


@pytest.mark.parametrize(
    ("max_at_once", "causes", "bound"), [(32, ("500",), 20 + 32 + 1), (256, ("500", "reset"), 100 + 256 + 1)]
)
def test_dead_api_costs_a_bounded_number_of_requests(max_at_once: int, causes: tuple[str, ...], bound: int) -> None:
    """Of 10,000 rows a dead API sees no more than the breaker's count, what was in flight then, and one probe."""
    breaker, rows, in_flight, requests, now = CircuitBreaker(pause=15), 10_000, 0, 0, 0.0
    while rows and breaker.state is not BreakerState.OPEN:
        now += 0.01
        at_most = 1 if breaker.state is BreakerState.HALF_OPEN else max_at_once
        while in_flight < at_most and rows and now >= breaker.paused_until:
            rows, in_flight, requests = rows - 1, in_flight + 1, requests + 1
        in_flight -= 1 if in_flight else 0
        breaker.failed(now, now, causes[requests % len(causes)])
    assert (breaker.state, requests <= bound) == (BreakerState.OPEN, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50", FailureLimit(count=50)),
        ("0", FailureLimit(count=0)),
        (" 5% ", FailureLimit(share=0.05)),
        ("0.5 %", FailureLimit(share=0.005)),
        ("100%", FailureLimit(share=1.0)),
    ],
)
def test_failure_limit_is_a_count_or_a_share(text: str, expected: FailureLimit) -> None:
    """`--max-failures` takes a number of rows or a share of them."""
    assert FailureLimit.parse(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "5 rows", "%", "1e3", "5%%", "٣"])
def test_failure_limit_that_is_neither_is_named(text: str) -> None:
    """Anything else is refused, with what it should look like."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        FailureLimit.parse(text)
    assert str(caught.value) == f"{text!r} is neither a number of rows (50) nor a share of them (5%)"


def test_share_above_all_rows_is_refused() -> None:
    """More than all rows cannot fail."""
    with pytest.raises(ValueError, match=r"^the share must be between 0 % and 100 %, not 101%$"):
        FailureLimit.parse("101%")


@pytest.mark.parametrize(
    ("limit", "rejected", "answered", "is_exceeded"),
    [
        ("3", 3, 10, False),
        ("3", 4, 10_000, True),
        ("0", 1, 1, True),
        ("5%", 1, 1, False),
        ("5%", 3, 3, True),
        ("5%", 50, 1000, False),
        ("5%", 51, 1000, True),
    ],
)
def test_failure_limit_counts_rejections(limit: str, rejected: int, answered: int, is_exceeded: bool) -> None:
    """A count holds for the run; a share is of what was answered so far, reckoned on at least 50 rows."""
    assert FailureLimit.parse(limit).is_exceeded(rejected, answered) is is_exceeded
