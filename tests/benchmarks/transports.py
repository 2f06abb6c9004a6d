"""What one exchange costs over each transport that could be used, on one core against nginx on the other.

    .venv/bin/python -m tests.benchmarks.transports [SECONDS PER CELL]

Prints requests per second and the client's processor time for each, at 16, 64 and 256 in flight, as a Markdown table.
The rounds of all candidates are interleaved and the best one counts, so that a busy machine disturbs the ratios little.
`httpx-aiohttp` and `pyreqwest` are measured if they are installed; they are no dependencies of this project.
"""

import asyncio
import importlib.util
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import httpx

from batch.http import ApiRequest, ApiResponse, Session
from tests.nginx import nginx

BODY = b'{"name":"Acme B.V.","phone":"+31 20 1234567"}'
HEADERS = {"X-API-Key": "abc", "Content-Type": "application/json", "Accept": "application/json"}
ROUNDS = 5
RECORD = """location / { return 200 '{"id":"17","name":"Acme B.V.","status":"active","city":"Utrecht"}'; }"""

Send = Callable[[int], Awaitable[int]]
Candidate = Callable[[str, int], AbstractAsyncContextManager[Send]]


def over(transport: Callable[[int], httpx.AsyncBaseTransport]) -> Candidate:
    """Return an httpx client over `transport` as a candidate."""

    @asynccontextmanager
    async def candidate(url: str, width: int) -> AsyncIterator[Send]:
        async with httpx.AsyncClient(base_url=url, headers=HEADERS, transport=transport(width), timeout=60) as client:

            async def send(number: int) -> int:
                return (await client.patch(f"/customers/{number}", content=BODY)).status_code

            yield send

    return candidate


@asynccontextmanager
async def batch_session(url: str, width: int) -> AsyncIterator[Send]:
    """Send as the sender does."""
    async with Session(url, headers={"X-API-Key": "abc"}, max_at_once=width) as session:

        async def send(number: int) -> int:
            answer = await session.exchange(ApiRequest("PATCH", f"/customers/{number}", "PATCH customer", content=BODY))
            return answer.status if isinstance(answer, ApiResponse) else 0

        yield send


@asynccontextmanager
async def bare_aiohttp(url: str, width: int) -> AsyncIterator[Send]:
    """Send with aiohttp's own client, of whose connections and parser batch makes use."""
    async with aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(limit=width)) as client:

        async def send(number: int) -> int:
            async with client.patch(f"{url}/customers/{number}", data=BODY) as answer:
                await answer.read()
                return answer.status

        yield send


def stock(width: int) -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=width, max_keepalive_connections=width))


def candidates() -> dict[str, Candidate]:
    found: dict[str, Candidate] = {"httpx, its own pool": over(stock)}
    if importlib.util.find_spec("httpx_aiohttp"):
        from httpx_aiohttp import AiohttpTransport

        found["httpx, httpx-aiohttp"] = over(lambda width: AiohttpTransport(limits=httpx.Limits(max_connections=width)))
    if importlib.util.find_spec("pyreqwest"):
        from pyreqwest.compatibility.httpx import HttpxTransport

        found["httpx, pyreqwest"] = over(lambda _: HttpxTransport())
    return found | {"batch.http.Session": batch_session, "aiohttp alone": bare_aiohttp}


async def as_coroutine(answer: Awaitable[int]) -> int:
    return await answer


async def measure(candidate: Candidate, url: str, width: int, seconds: float) -> tuple[float, float]:
    """Return requests per second, and microseconds of processor time for each."""
    async with candidate(url, width) as send:
        sent = 0

        async def work() -> None:
            nonlocal sent
            while time.perf_counter() < end:
                if await send(sent) != 200:
                    raise RuntimeError("nginx did not answer 200")
                sent += 1

        async with asyncio.TaskGroup() as tasks:  # connecting is not what is measured
            for _ in range(width):
                tasks.create_task(as_coroutine(send(0)))
        began, processor = time.perf_counter(), time.process_time()
        end = began + seconds
        async with asyncio.TaskGroup() as tasks:
            for _ in range(width):
                tasks.create_task(work())
        return sent / (time.perf_counter() - began), (time.process_time() - processor) / sent * 1e6


def main(seconds: float) -> None:
    sys.stdout.write("| in flight | transport | requests/s | µs of processor each |\n|---|---|---|---|\n")
    with nginx(RECORD, last_core=True) as url:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        for width in (16, 64, 256):
            rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates()}
            for _ in range(ROUNDS):
                for name, candidate in candidates().items():
                    rounds[name].append(asyncio.run(measure(candidate, url, width, seconds)))
            for name, figures in rounds.items():
                rate, cost = max(rate for rate, _ in figures), min(cost for _, cost in figures)
                sys.stdout.write(f"| {width} | {name} | {rate:,.0f} | {cost:,.0f} |\n")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
