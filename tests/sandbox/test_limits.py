"""The limits of both APIs: buckets on a clock of their own, and headers over a real socket."""

from collections.abc import Iterator

import httpx
import pytest

from batch.sandbox.api import DUALENTRY_ALL, DUALENTRY_ROUTE, VAYU_ALL, Limiter, Ticket
from batch.sandbox.options import SandboxOptions
from tests.sandbox.control import KEY, ControlledSandbox
from tests.sandbox.in_process import InProcessSandbox
from tests.virtual import run_on_virtual_clock

CUSTOMER = "/public/v2/customers/10001/"


def admitted(limiter: Limiter, route: str, times: list[float]) -> int:
    tickets = [limiter.admit(route, now) for now in times]
    return sum(ticket is None or ticket.wait == 0 for ticket in tickets)


def test_a_route_takes_10_at_once_and_1_a_second() -> None:
    """Over 20 seconds with a request each 10 ms."""
    limiter = Limiter(DUALENTRY_ALL, DUALENTRY_ROUTE, "documented")
    assert admitted(limiter, "PATCH customer", [n / 100 for n in range(2001)]) == 30


def test_all_routes_together_take_50_at_once_and_5_a_second() -> None:
    """Ten routes share one bucket, whatever each of them would allow."""
    limiter = Limiter(DUALENTRY_ALL, DUALENTRY_ROUTE, "documented")
    times = [n / 100 for n in range(401)]
    total = sum(admitted(limiter, f"route {n % 10}", [now]) for now in times for n in range(10))
    assert total == 70


def test_vayu_takes_100_at_once_and_500_a_second() -> None:
    """One bucket and no routes."""
    limiter = Limiter(VAYU_ALL, None, "documented")
    assert admitted(limiter, "", [n / 10_000 for n in range(10_001)]) == 600


def test_fast_is_twenty_times_and_off_is_none() -> None:
    """The switch."""
    assert admitted(Limiter(DUALENTRY_ALL, DUALENTRY_ROUTE, "fast"), "r", [0.0] * 500) == 200
    assert admitted(Limiter(DUALENTRY_ALL, DUALENTRY_ROUTE, "off"), "r", [0.0] * 500) == 500


def test_a_refused_request_takes_nothing_from_the_other_bucket() -> None:
    """Forty are left for other routes after one route was hammered."""
    limiter = Limiter(DUALENTRY_ALL, DUALENTRY_ROUTE, "documented")
    admitted(limiter, "PATCH customer", [0.0] * 100)
    assert sum(admitted(limiter, f"other {n % 5}", [0.0]) for n in range(100)) == 40


def test_the_ticket_speaks_of_the_tighter_bucket() -> None:
    """What is left of it, and how long until it is full."""
    limiter = Limiter(DUALENTRY_ALL, DUALENTRY_ROUTE, "documented")
    tickets = [limiter.admit("PATCH customer", 0.0) for _ in range(11)]
    assert (tickets[0], tickets[9], tickets[10]) == (
        Ticket(0.0, 10, 9, 1.0), Ticket(0.0, 10, 0, 10.0), Ticket(1.0, 10, 0, 10.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def sandbox() -> Iterator[ControlledSandbox]:
    with ControlledSandbox(SandboxOptions(records=10)) as running:
        yield running


def test_dualentry_says_how_long_to_wait(sandbox: ControlledSandbox) -> None:
    """429 with Retry-After in whole seconds; the rate headers stand on every answer."""
    with httpx.Client(base_url=sandbox.url, headers={"X-API-KEY": KEY}, trust_env=False) as api:
        answers = [api.patch(CUSTOMER, json={}) for _ in range(11)]
        read = api.get(CUSTOMER).status_code
    refused = answers[-1]
    names = ("Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert refused.json() == {"success": False, "errors": {"__all__": ["Request was throttled"]}}
    assert [answers[0].headers.get(name) for name in names] == [None, "10", "9", "1"]
    assert [refused.headers.get(name) for name in names] == ["1", "10", "0", "10"]
    assert read == 200


def test_vayu_does_not_say_how_long_to_wait() -> None:
    """Its own shape, no Retry-After and no rate headers; on a clock of the test, or a busy machine meets no limit."""

    async def hammer() -> httpx.Response:
        transport = InProcessSandbox(SandboxOptions(keys=(KEY,), records=10))
        async with httpx.AsyncClient(base_url="http://sandbox", transport=transport) as api:
            token = (await api.post("/login", json={"refreshToken": KEY})).json()
            headers = {"Authorization": f"Bearer {token['accessToken']}"}
            answers = [await api.get("/customers?limit=1", headers=headers) for _ in range(1000)]
        return next(answer for answer in answers if answer.status_code == 429)

    refused: httpx.Response = run_on_virtual_clock(hammer)
    expected = {"type": "rate_limit_error", "code": "rate_limit_exceeded", "message": "Too many requests"}
    assert refused.json() == expected
    assert not [name for name in refused.headers if "retry" in name.lower() or "ratelimit" in name.lower()]
