"""The pacer against a limiter that nobody here wrote: real nginx with `limit_req`, over real sockets and real time."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import pytest

from batch.pacer import Gate, Pacer
from batch.transport import Call, Reply, Session
from tests.nginx import find_nginx, nginx

pytestmark = pytest.mark.long

SECONDS = 30.0
WORKERS = 64
CALL = Call("PATCH", "/customers/1", "PATCH customer", content=b"{}")


@dataclass
class Client:
    """One program with a pacer that knows nothing, and what the API said to it."""

    url: str
    accepted: int = 0
    refused: int = 0

    async def run(self, until: float) -> None:
        """Send as fast as its pacer lets it, until then."""
        gate = Gate(Pacer(None), WORKERS)

        async def work(session: Session) -> None:
            while anyio.current_time() < until:
                async with gate.attempt(CALL.route) as started:
                    answer = await session.exchange(CALL)
                    assert isinstance(answer, Reply)
                    gate.answered(CALL.route, started, answer.status, answer.headers)
                self.accepted += answer.status == 200
                self.refused += answer.status == 429

        async with Session(self.url, max_at_once=WORKERS) as session, anyio.create_task_group() as workers:
            for _ in range(WORKERS):
                workers.start_soon(work, session)


@pytest.fixture
def tell(capfd: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Say it past pytest's capturing: what was measured, or that nothing was."""

    def say(text: str) -> None:
        with capfd.disabled():
            sys.stderr.write(f"\n{text}\n")

    return say


@pytest.fixture(autouse=True)
def has_nginx(tell: Callable[[str], None]) -> None:
    if find_nginx() is None:
        tell("NOT CHECKED: nginx is not installed, so the pacer was not held against a real limiter.")
        pytest.skip("nginx is not installed")


async def run_all(clients: list[Client]) -> float:
    """Run them at the same time; return the seconds it took."""
    began = time.monotonic()
    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(client.run, anyio.current_time() + SECONDS)
    return time.monotonic() - began


def against_nginx(per_second: int, burst: int, clients: int = 1) -> tuple[list[Client], float]:
    """Let clients loose on nginx with this limit; SKIPS, and says so, where nginx is missing."""
    if find_nginx() is None:
        sys.__stderr__.write(
            "\nNOT CHECKED: nginx is not installed, so the pacer was not held against a real limiter.\n"
        )
        pytest.skip("nginx is not installed")
    http = f"limit_req_zone $server_name zone=all:1m rate={per_second}r/s; limit_req_status 429;"
    server = f"""
      location / {{ limit_req zone=all burst={burst} nodelay; try_files /none @answer; }}
      location @answer {{ return 200 '{{"success": true}}'; }}
    """  # `return` in the same location would answer before limit_req is asked
    with nginx(server, http=http) as url:
        all_of_them = [Client(url) for _ in range(clients)]
        return all_of_them, anyio.run(run_all, all_of_them)


@pytest.mark.parametrize(("per_second", "burst"), [(100, 5), (500, 50)])
def test_one_client(per_second: int, burst: int, tell: Callable[[str], None]) -> None:
    """Nearly all that is permitted is used, and nearly nothing refused, from the first second on."""
    [client], seconds = against_nginx(per_second, burst)
    share = client.accepted / (per_second * seconds)
    refused = client.refused / (client.accepted + client.refused)
    tell(f"nginx, {per_second}/s, burst {burst}: {share:.1%} of the rate, {refused:.2%} refused")
    assert (True, True) == (share >= 0.98, refused <= 0.005)


def test_two_clients(tell: Callable[[str], None]) -> None:
    """Two programs on one key get about the same (Jain's fairness)."""
    clients, _ = against_nginx(100, 5, clients=2)
    got = [client.accepted for client in clients]
    fairness = sum(got) ** 2 / (len(got) * sum(one**2 for one in got))
    tell(f"nginx, two clients: fairness {fairness:.3f}, accepted {got}, refused {[one.refused for one in clients]}")
    assert fairness >= 0.9
