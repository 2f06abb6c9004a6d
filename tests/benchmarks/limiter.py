"""What the rate limiter costs for a start, and what several processes get together from one limit.

    .venv/bin/python -m tests.benchmarks.limiter cost [--seconds N] [--rounds N]
    .venv/bin/python -m tests.benchmarks.limiter share [--processes N …] [--seconds N]

`cost` prints the processor time of a start and its reply in microseconds over each kind of store, the median of
interleaved rounds, at 5 and 500 a second and where nothing limits; the wait for a start costs, too, so that the memory
is the measure for the others. `share` lets processes loose on a real nginx (`limit_req`, 100 a second) through one
SQLite store: their part of the rate, what was refused, and how fairly it was shared (Jain's index). Without
redis-server or nginx their lines are left out, and that is said.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio

from batch.http import ApiRequest, ApiResponse, Session
from batch.ratelimit import LimiterStore, MemoryStore, RateLimiter, RatePolicy
from batch.ratelimit.sqlite_store import SqliteStore
from tests.nginx import find_nginx, nginx
from tests.redis_server import RedisServer, find_redis

ROUTE = "PATCH /customers/{id}/"
HEADERS = {"content-type": "application/json", "content-length": "20"}
RATES = {"5/s": 5.0, "500/s": 500.0, "unlimited": 1e6}
WORKERS = 32
PER_SECOND, BURST, WARM_UP = 100, 5, 15.0
CALL = ApiRequest("PATCH", "/customers/1", "PATCH customer", content=b"{}", headers={"X-API-Key": "one key for all"})


# -- cost -------------------------------------------------------------------------------------------------------------


async def microseconds(make: Callable[[], LimiterStore], per_second: float, seconds: float) -> float:
    """Make attempts that are answered after a moment, for a while; return what one costs."""
    store, made, key = make(), 0, f"{time.monotonic()}"  # a key of its own: a rate that was given holds for a minute
    limiter = RateLimiter(RatePolicy(None, max_per_second=per_second), WORKERS, store, key)
    is_limited = per_second < 1e6

    async def work() -> None:
        nonlocal made
        while True:
            async with limiter.attempt(ROUTE) as started:
                assert started is not None
                made += 1
                await anyio.sleep(0.02 if is_limited else 0)
                await limiter.answered(ROUTE, started, 200, HEADERS)

    begun = time.process_time()
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as workers:
            for _ in range(WORKERS if is_limited else 1):
                workers.start_soon(work)
    spent = time.process_time() - begun
    await limiter.close()
    store.close()
    return 1e6 * spent / max(1, made)


@contextmanager
def stores() -> Iterator[dict[str, Callable[[], LimiterStore]]]:
    """Give every kind of store that can be made here."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kinds: dict[str, Callable[[], LimiterStore]] = {
            "memory": MemoryStore,
            "SQLite": lambda: SqliteStore(lambda: folder),
        }
        try:
            from batch.ratelimit.redis_store import RedisStore
        except ImportError:
            sys.stdout.write("Redis is left out: ./run.sh extra redis\n")
        else:
            if find_redis() is None:
                sys.stdout.write("Redis is left out: redis-server is not installed\n")
            else:
                server = RedisServer(folder)
                server.start()
                stack.callback(server.kill)
                kinds["Redis"] = lambda: RedisStore(server.url)
        yield kinds


def cost(seconds: float, rounds: int) -> None:
    """Measure what a start costs, and print a line for each store and rate."""
    with stores() as kinds:
        costs: dict[tuple[str, str], list[float]] = {(rate, kind): [] for rate in RATES for kind in kinds}
        for _ in range(rounds):
            for rate, kind in costs:
                costs[rate, kind].append(anyio.run(microseconds, kinds[kind], RATES[rate], seconds))
        for (rate, kind), found in costs.items():
            sys.stdout.write(f"{rate:>9} {kind:>6}: {statistics.median(found):7.1f} µs\n")


# -- share ------------------------------------------------------------------------------------------------------------


async def send(url: str, folder: Path, seconds: float) -> tuple[int, int]:
    """Be one of the processes: send for a while; return what was accepted and refused after the warm-up."""
    store, counts, begun = SqliteStore(lambda: folder), [0, 0], anyio.current_time()
    limiter = RateLimiter(RatePolicy(None), WORKERS, store, "benchmark")

    async def work(session: Session) -> None:
        while True:
            async with limiter.attempt(CALL.route) as started:
                assert started is not None
                answer = await session.exchange(CALL)
                assert isinstance(answer, ApiResponse)
                await limiter.answered(CALL.route, started, answer.status, answer.headers)
            if anyio.current_time() - begun > WARM_UP:
                counts[answer.status == 429] += 1

    async with Session(url, max_at_once=WORKERS) as session:
        with anyio.move_on_after(WARM_UP + seconds):
            async with anyio.create_task_group() as workers:
                for _ in range(WORKERS):
                    workers.start_soon(work, session)
        await limiter.close()
    store.close()
    return counts[0], counts[1]


def share(processes: list[int], seconds: float) -> None:
    """Let so many processes loose on nginx, and print what they got."""
    if find_nginx() is None:
        sys.stdout.write("Nothing was measured: nginx is not installed\n")
        return
    http = f"limit_req_zone $http_x_api_key zone=all:1m rate={PER_SECOND}r/s; limit_req_status 429;"
    server = f"""
      location / {{ limit_req zone=all burst={BURST} nodelay; try_files /none @answer; }}
      location @answer {{ return 200 '{{"success": true}}'; }}
    """
    for count in processes:
        with tempfile.TemporaryDirectory() as folder, nginx(server, http=http) as url:
            command = [sys.executable, "-m", "tests.benchmarks.limiter", "send", url, folder, str(seconds)]
            running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
            ended = [one.communicate()[0].split() for one in running]
        accepted, refused = ([int(one[n]) for one in ended] for n in (0, 1))
        total, fair = sum(accepted), sum(accepted) ** 2 / (count * sum(one**2 for one in accepted))
        sys.stdout.write(
            f"{count:>2} processes: {total / (PER_SECOND * seconds):.1%} of the rate, "
            f"{sum(refused) / (total + sum(refused)):.2%} refused, Jain {fair:.3f}\n"
        )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("cost")
    one.add_argument("--seconds", type=float, default=5)
    one.add_argument("--rounds", type=int, default=5)
    one = commands.add_parser("share")
    one.add_argument("--processes", type=int, nargs="+", default=[1, 2, 8, 20])
    one.add_argument("--seconds", type=float, default=30)
    one = commands.add_parser("send")
    one.add_argument("url")
    one.add_argument("folder", type=Path)
    one.add_argument("seconds", type=float)
    options = parser.parse_args()
    if options.command == "cost":
        cost(options.seconds, options.rounds)
    elif options.command == "share":
        share(options.processes, options.seconds)
    else:
        found = anyio.run(send, options.url, options.folder, options.seconds)
        sys.stdout.write(f"{found[0]} {found[1]}\n")
        sys.stdout.flush()
        os._exit(0)  # what is still open does not matter


if __name__ == "__main__":
    main()
