"""The rate limiter against one that nobody here wrote: real nginx with `limit_req`, over real sockets and real time.

Clients start knowing nothing, warm up for 15 s, and are judged over 30 s. Real time is what this is about, so 30 s in
which this machine did not keep time itself (it let a timer wait for so long that nginx forgot a whole burst) say
nothing, and others are taken; after three of them it is said that nothing was checked.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import anyio
import pytest
from anyio.abc import TaskGroup

from batch.http import ApiRequest, ApiResponse, Session
from batch.ratelimit import RateLimiter, RatePolicy
from tests.nginx import find_nginx, nginx

pytestmark = pytest.mark.long
Tell = Callable[[str], None]

WARM_UP, SECONDS, WINDOWS = 15.0, 30.0, 3
TICK = 0.005
WORKERS = 64
CALL = ApiRequest("PATCH", "/customers/1", "PATCH customer", content=b"{}", headers={"X-API-Key": "one key for all"})


@dataclass
class Client:
    """One program with a rate limiter that knows nothing, and what the API said to it since the counting began."""

    url: str
    accepted: int = 0
    refused: int = 0

    async def run(self) -> None:
        """Send as fast as its limiter permits."""
        limiter = RateLimiter(RatePolicy(None), WORKERS)
        async with Session(self.url, max_at_once=WORKERS) as session, anyio.create_task_group() as workers:
            for _ in range(WORKERS):
                workers.start_soon(self._work, limiter, session)

    async def _work(self, limiter: RateLimiter, session: Session) -> None:
        while True:
            async with limiter.attempt(CALL.route) as started:
                answer = await session.exchange(CALL)
                assert isinstance(answer, ApiResponse)
                await limiter.answered(CALL.route, started, answer.status, answer.headers)
            self.accepted += answer.status == 200
            self.refused += answer.status == 429


@dataclass
class Window:
    """What a stretch of time came to: its length, and by how much a timer was late at worst."""

    seconds: float
    latest: float
    accepted: list[int]
    refused: int

    @property
    def share_refused(self) -> float:
        return self.refused / (sum(self.accepted) + self.refused)


async def watch(clients: list[Client]) -> Window:
    """Count for a while, and look how well this machine keeps time."""
    for client in clients:
        client.accepted = client.refused = 0
    began = then = anyio.current_time()
    latest = 0.0
    while then - began < SECONDS:
        await anyio.sleep(TICK)
        now = anyio.current_time()
        then, latest = now, max(latest, now - then - TICK)
    return Window(then - began, latest, [one.accepted for one in clients], sum(one.refused for one in clients))


async def windows(url: str, count: int, latest: float) -> list[Window]:
    """Let clients loose, and watch until there was a quiet window."""
    found: list[Window] = []
    clients = [Client(url) for _ in range(count)]
    async with anyio.create_task_group() as tasks:
        start_all(tasks, clients)
        await anyio.sleep(WARM_UP)
        while len(found) < WINDOWS and not (found and found[-1].latest <= latest):
            found.append(await watch(clients))
        tasks.cancel_scope.cancel()
    return found


def start_all(tasks: TaskGroup, clients: list[Client]) -> None:
    for client in clients:
        tasks.start_soon(client.run)


@pytest.fixture
def tell(capfd: pytest.CaptureFixture[str]) -> Tell:
    """Say it past pytest's capturing: what was measured, or that nothing was."""

    def say(text: str) -> None:
        with capfd.disabled():
            sys.stderr.write(f"\n{text}\n")

    return say


def against_nginx(tell: Tell, per_second: int, burst: int, clients: int = 1) -> Window:
    """Give a quiet window with this limit; skips, and says so, without nginx or a machine that keeps time."""
    if find_nginx() is None:
        tell("NOT CHECKED: nginx is not installed, so the rate limiter was not tried on a real one.")
        pytest.skip("nginx is not installed")
    http = f"limit_req_zone $http_x_api_key zone=all:1m rate={per_second}r/s; limit_req_status 429;"
    server = f"""
      location / {{ limit_req zone=all burst={burst} nodelay; try_files /none @answer; }}
      location @answer {{ return 200 '{{"success": true}}'; }}
    """  # `return` in the same location would answer before limit_req is asked
    with nginx(server, http=http) as url:
        found = anyio.run(partial(windows, url, clients, burst / per_second))
    for one in found:
        share = sum(one.accepted) / (per_second * one.seconds)
        tell(
            f"nginx {per_second}/s, burst {burst}: {share:.1%} of the rate by {one.accepted}, "
            f"{one.share_refused:.2%} refused; timers up to {one.latest * 1000:.0f} ms late"
        )
    if found[-1].latest > burst / per_second:
        tell("NOT CHECKED: this machine is too busy to keep time, so the rate limiter was not tried on nginx.")
        pytest.skip("the machine does not keep time")
    return found[-1]


@pytest.mark.parametrize(("per_second", "burst"), [(100, 5), (500, 50)])
def test_one_client(per_second: int, burst: int, tell: Tell) -> None:
    """Nearly all that is permitted is used, and nearly nothing refused."""
    window = against_nginx(tell, per_second, burst)
    share = sum(window.accepted) / (per_second * window.seconds)
    assert (True, True) == (0.98 <= share <= 1.02, window.share_refused <= 0.005)  # beyond it, nginx limited nothing


def test_two_clients(tell: Tell) -> None:
    """Two programs on one key get about the same (Jain's fairness)."""
    window = against_nginx(tell, 100, 5, clients=2)
    fairness = sum(window.accepted) ** 2 / (2 * sum(one**2 for one in window.accepted))
    tell(f"two clients: fairness {fairness:.3f}")
    assert (True, True) == (fairness >= 0.9, sum(window.accepted) <= 102 * window.seconds)
