"""The rate limiter under the real client: requests go to simulated APIs with limits, on trio's virtual clock."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import httpx
import pytest
from trio.testing import MockClock

from batch.endpoints.base import StaticAccount
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.engine.retry_loop import ApiClient
from batch.engine.shutdown import Shutdown
from batch.http import ApiRequest, Session
from batch.ratelimit import RateLimiter, RatePolicy
from batch.retry import RetryPolicy
from tests.simulation.servers import FixedWindowServer, Server, TokenBucketServer
from tests.simulation.world import Network, seeded

WARM_UP, SECONDS = 30.0, 30.0
MAX_AT_ONCE = 32


@dataclass
class Api:
    """A rate limiter behind a network, as an httpx handler; counts from the end of the warm-up."""

    server: Server
    rng: random.Random
    accepted: int = 0
    refused: int = 0
    paused_until: float = 0.0
    broken_pauses: int = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        half = Network().round_trip(self.rng) / 2
        self.broken_pauses += anyio.current_time() < self.paused_until
        await anyio.sleep(half)
        refusal = self.server.refusal(anyio.current_time())
        if anyio.current_time() >= WARM_UP:
            self.accepted += refusal is None
            self.refused += refusal is not None
        await anyio.sleep(half)
        if refusal is None:
            return httpx.Response(200, json={"id": 1})
        self.paused_until = max(self.paused_until, anyio.current_time() + float(refusal.get("retry-after", 0)))
        return httpx.Response(429, headers=dict(refusal), json={"success": False})


async def send_rows(api: Api) -> None:
    """Send rows without end through one caller, until the time is over."""
    session = Session("https://api.example", transport=httpx.MockTransport(api.answer), max_at_once=MAX_AT_ONCE)
    limiter = RateLimiter(RatePolicy(None), MAX_AT_ONCE, rng=seeded(1))
    client = ApiClient(
        session,
        limiter,
        DualEntryCustomers(),
        StaticAccount({}),
        Shutdown(),
        lambda _: None,
        policy=RetryPolicy(max_attempts=50),
    )

    async def worker() -> None:
        while True:
            await client.read(ApiRequest("GET", "/customers/1/", "GET /customers/{id}/"))

    with anyio.move_on_after(WARM_UP + SECONDS):
        async with anyio.create_task_group() as workers:
            for _ in range(2 * MAX_AT_ONCE):
                workers.start_soon(worker)


@pytest.mark.parametrize(
    ("server", "reach", "refused"),
    [
        (lambda: TokenBucketServer(50, 20), 98, 0.5),
        pytest.param(lambda: TokenBucketServer(50, 50, tells=True), 98, 0.8, marks=pytest.mark.long),
        pytest.param(lambda: FixedWindowServer(50, 1), 96.5, 0.6, marks=pytest.mark.long),
    ],
    ids=["token bucket", "token bucket that tells", "fixed window"],
)
def test_rows_go_out_as_fast_as_permitted(server: Callable[[], Server], reach: float, refused: float) -> None:
    """Through slots, retries and replies of the real client, nearly all that is permitted is used."""
    api = Api(server(), seeded(1))
    anyio.run(send_rows, api, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})
    reached = 100 * api.accepted / (SECONDS * api.server.per_second)
    assert (reached >= reach, 100 * api.refused / (api.accepted + api.refused) <= refused) == (True, True)
    assert api.broken_pauses == 0
