"""What one exchange costs over our transport and over httpx's own, on one core against nginx on the other.

    .venv/bin/python -m tests.benchmarks.transports [EXCHANGES PER ROUND]

Prints the client's processor time for each, at 64 in flight, as a Markdown table. The rounds of all candidates are
interleaved, and the median counts.
"""

import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import httpx

from batch.http import ApiRequest, ApiResponse, Session
from batch.http.session import Client
from batch.http.transport import HttpTransport
from tests.nginx import nginx

BODY = b'{"name":"Acme B.V.","phone":"+31 20 1234567"}'
HEADERS = {"X-API-Key": "abc", "Content-Type": "application/json", "Accept": "application/json"}
ROUNDS, WIDTH = 7, 64
RECORD = """location / { return 200 '{"id":"17","name":"Acme B.V.","status":"active","city":"Utrecht"}'; }"""

Send = Callable[[int], Awaitable[int]]
Candidate = Callable[[str], AbstractAsyncContextManager[Send]]


@asynccontextmanager
async def stock(url: str) -> AsyncIterator[Send]:
    """Send with httpx alone, as one usually does."""
    limits = httpx.Limits(max_connections=WIDTH, max_keepalive_connections=WIDTH)
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, limits=limits, timeout=60) as client:

        async def send(number: int) -> int:
            return (await client.patch(f"/customers/{number}", content=BODY)).status_code

        yield send


@asynccontextmanager
async def our_transport(url: str) -> AsyncIterator[Send]:
    """Send with httpx's client over our transport."""
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), 60.0)
    headers = {**HEADERS, "Host": "127.0.0.1", "Content-Length": str(len(BODY))}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    auth = httpx.Auth()
    async with Client(transport=HttpTransport(httpx.URL(url), max_connections=WIDTH), trust_env=False) as client:

        async def send(number: int) -> int:
            stream, extensions = httpx.ByteStream(BODY), {"timeout": timeout}
            target = f"{url}/customers/{number}"
            request = httpx.Request("PATCH", target, headers=raw, stream=stream, extensions=extensions)
            answer = await client.send(request, stream=True, auth=auth)
            await answer.aread()
            return answer.status_code

        yield send


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Send]:
    """Send as a run does."""
    async with Session(url, headers={"X-API-Key": "abc"}, max_at_once=WIDTH) as opened:

        async def send(number: int) -> int:
            answer = await opened.exchange(ApiRequest("PATCH", f"/customers/{number}", "PATCH customer", content=BODY))
            return answer.status if isinstance(answer, ApiResponse) else 0

        yield send


CANDIDATES: dict[str, Candidate] = {
    "httpx alone": stock,
    "AsyncClient.send over our transport": our_transport,
    "Session.exchange, which a run calls": session,
}


async def measure(candidate: Candidate, url: str, exchanges: int) -> float:
    """Return microseconds of processor time for each exchange."""
    async with candidate(url) as send:

        async def send_all(count: int) -> None:
            rest = iter(range(count))

            async def work() -> None:
                for number in rest:
                    if await send(number) != 200:
                        raise RuntimeError("nginx did not answer 200")

            async with anyio.create_task_group() as tasks:
                for _ in range(WIDTH):
                    tasks.start_soon(work)

        await send_all(WIDTH)  # connecting is not what is measured
        began = time.process_time()
        await send_all(exchanges)
        return (time.process_time() - began) / exchanges * 1e6


def main(exchanges: int) -> None:
    """Print the table."""
    found: dict[tuple[str, bool], list[float]] = {}
    with nginx(RECORD, last_core=True) as url:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        for _ in range(ROUNDS):
            for name, candidate in CANDIDATES.items():
                for has_uvloop in (False, True):
                    count = exchanges if candidate is not stock else exchanges // 10
                    options = {"use_uvloop": has_uvloop}
                    cost = anyio.run(measure, candidate, url, count, backend_options=options)
                    found.setdefault((name, has_uvloop), []).append(cost)
    sys.stdout.write("| µs of processor each, 64 in flight | asyncio | uvloop |\n|---|---:|---:|\n")
    for name in CANDIDATES:
        plain, uvloop = (statistics.median(found[name, has_uvloop]) for has_uvloop in (False, True))
        sys.stdout.write(f"| {name} | {plain:,.0f} | {uvloop:,.0f} |\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000)
