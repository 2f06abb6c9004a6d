"""What replies say about rate: every generation of headers, and garbage."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.ratelimit import RateHint, read_rate_headers

NOW = 1_700_000_000.0
TEXT = st.text(max_size=40)
PIECE = st.sampled_from(
    [*"0123456789;,=\"'. rtqw-+", "limit=", "remaining=", "reset=", "Wed, 21 Oct 2015 07:28:00 GMT"]
)
NAMES = st.sampled_from(
    ["Retry-After", "RateLimit", "RateLimit-Policy"]
    + [
        f"{prefix}{part}"
        for prefix in ("RateLimit-", "X-RateLimit-", "X-Rate-Limit-")
        for part in ("Limit", "Remaining", "Reset")
    ]
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("1.5", 1.5),
        (formatdate(NOW + 90, usegmt=True), 90),
        ("Tuesday, 14-Nov-23 22:15:20 GMT", 120),
        ("Tue Nov 14 22:15:20 2023", 120),
        (formatdate(NOW - 90, usegmt=True), 0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("1e3", None),
        ("٣", None),
        ("inf", None),
        ("99999999999", 99999999999),
        ("9" * 400, 1e12),
        ("Wed, 99 Foo 2015 07:28:00 GMT", None),
        ("Wed", None),
        ("5, 7", 7),
        ("7,5", 7),
        ("5, soon, -9", 5),
        (formatdate(NOW + 90, usegmt=True) + ", 7", 90),
        ("70, " + formatdate(NOW + 9, usegmt=True) + ", " + formatdate(NOW + 80, usegmt=True), 80),
        ("Tuesday, 14-Nov-23 22:15:20 GMT, Tue Nov 14 22:15:10 2023", 120),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    """Retry-After is seconds, a date of three forms or a list, of which the largest counts; garbage is nothing."""
    assert read_rate_headers({"Retry-After": text}, NOW) == RateHint(retry_after=seconds)


@pytest.mark.parametrize("skew", [-86_400, 0, 86_400])
def test_date_goes_by_the_clock_of_the_server(skew: float) -> None:
    """A Retry-After that is a date is held against the answer's own Date: the clock here may be wrong."""
    headers = {"date": formatdate(NOW, usegmt=True), "retry-after": formatdate(NOW + 90, usegmt=True)}
    assert RateHint(retry_after=90) == read_rate_headers(headers, NOW + skew)


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        (
            {"RateLimit": '"p";r=50;t=30', "RateLimit-Policy": '"p";q=100;w=60'},
            RateHint(limit=100, remaining=50, reset=30, window=60),
        ),
        (
            {"ratelimit": '"a";r=50;t=30, "b";r=3;t=900', "ratelimit-policy": '"a";q=100;w=60,"b";q=1000;w=3600'},
            RateHint(limit=1000, remaining=3, reset=900, window=3600),
        ),
        ({"RateLimit": "limit=100, remaining=50, reset=5"}, RateHint(limit=100, remaining=50, reset=5)),
        (
            {"RateLimit": "limit=100, remaining=50, reset=5", "RateLimit-Policy": "100;w=60"},
            RateHint(limit=100, remaining=50, reset=5, window=60),
        ),
        (
            {"RateLimit-Limit": "100, 100;w=60", "RateLimit-Remaining": "5", "RateLimit-Reset": "7"},
            RateHint(limit=100, remaining=5, reset=7, window=60),
        ),
        (
            {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"},
            RateHint(limit=50, remaining=0, reset=12),
        ),
        ({"x-rate-limit-remaining": "9", "x-rate-limit-reset": "1700000030"}, RateHint(remaining=9, reset=30)),
        ({"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": "1700000030000"}, RateHint(remaining=9, reset=30)),
        ({"X-RateLimit-Reset": "1600000000"}, RateHint(reset=0)),
        ({"X-RateLimit-Remaining": "-1", "X-RateLimit-Reset": "never"}, RateHint()),
        ({"Content-Type": "application/json", "X-Request-Id": "5"}, RateHint()),
    ],
)
def test_all_generations_of_rate_headers_are_understood(headers: dict[str, str], hint: RateHint) -> None:
    """Each spelling gives limit, remaining, reset in seconds and window; of several policies the tightest one."""
    assert read_rate_headers(headers, NOW) == hint


def test_retry_after_outranks_rate_headers() -> None:
    """A refused client waits as Retry-After says, whatever the rate headers say."""
    hint = read_rate_headers({"X-RateLimit-Reset": "900", "Retry-After": "3"}, NOW)
    assert (hint.wait, hint.reset) == (3, 900)


def test_reset_is_the_wait_without_retry_after() -> None:
    """Without Retry-After, a refused client waits for the reset."""
    assert read_rate_headers({"RateLimit-Reset": "9", "Retry-After": "garbage"}, NOW).wait == 9


@given(headers=st.dictionaries(NAMES, TEXT | st.lists(PIECE, max_size=12).map("".join), max_size=6))
def test_no_header_raises_or_gives_nonsense(headers: dict[str, str]) -> None:
    """Whatever the headers, what is read is absent or a number from 0 on, and no reset is later than in a year."""
    hint = read_rate_headers(headers, NOW)
    for value in (hint.limit, hint.remaining, hint.window, hint.retry_after):
        assert value is None or 0 <= value < float("inf")
    assert hint.reset is None or 0 <= hint.reset <= 366 * 86_400
