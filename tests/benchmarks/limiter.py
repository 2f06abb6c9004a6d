"""What the rate limiter costs for a start, and what several processes get together from one limit.

    .venv/bin/python -m tests.benchmarks.limiter cost [--seconds N] [--rounds N]
    .venv/bin/python -m tests.benchmarks.limiter share [--processes N …] [--seconds N]
    .venv/bin/python -m tests.benchmarks.limiter jobs [--rows N] [--seconds N] [--documented]

`cost` prints the processor time of a start and its reply in microseconds over each kind of store, the median of
interleaved rounds, at 5 and 500 a second and where nothing limits; the wait for a start costs, too, so that the memory
is the measure for the others. `share` lets processes loose on a real nginx (`limit_req`, 100 a second) through one
SQLite store: their part of the rate, what was refused, and how fairly it was shared (Jain's index). Without
redis-server or nginx their lines are left out, and that is said. `jobs` does whole jobs against nginx, over SQLite and
the memory in pairs, each first by turns, for so many seconds (by default 150), at the documented limits or at none: the
medians of the pairs' ratios, the bounds within which these are certain (95 %), and the ratio of the lowest quarter of
each, which a busy machine disturbs least. A job has the first core and nginx the last one; its processor time is that
of its own process, from its first line to its last, without the imports.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import anyio

from batch.engine import api_session
from batch.http import ApiRequest, ApiResponse, Session
from batch.library import update
from batch.ratelimit import LimiterStore, MemoryStore, RateLimiter, RatePolicy
from batch.ratelimit.sqlite_store import SqliteStore
from tests.benchmarks.sending import ANSWER, make_sheet, say
from tests.nginx import find_nginx, nginx
from tests.redis_server import RedisServer, find_redis

ROUTE = "PATCH /customers/{id}/"
HEADERS = {"content-type": "application/json", "content-length": "20"}
RATES = {"5/s": 5.0, "500/s": 500.0, "unlimited": 1e6}
WORKERS = 32
JOB_KEY = "k" * 20
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


@dataclass(frozen=True)
class Part:
    """What one process got in the time that was measured: answers, and seconds for which it waited for a processor."""

    accepted: int
    refused: int
    kept_waiting: float


async def send(url: str, folder: Path) -> Part:
    """Be one of the processes: say that it is ready, and send at once when told; count between the times it is told."""
    store, counts, waited = SqliteStore(lambda: folder), [0, 0], [0.0, 0.0]
    limiter = RateLimiter(RatePolicy(None), WORKERS, store, "benchmark")
    async with Session(url, max_at_once=WORKERS) as session:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        begin, end = map(float, sys.stdin.readline().split())  # of the host's clock, which all processes share

        async def work() -> None:
            while True:
                async with limiter.attempt(CALL.route) as started:
                    assert started is not None
                    answer = await session.exchange(CALL)
                    assert isinstance(answer, ApiResponse)
                    await limiter.answered(CALL.route, started, answer.status, answer.headers)
                if begin <= time.monotonic() < end:
                    counts[answer.status == 429] += 1

        async def watch() -> None:
            for n, at in enumerate((begin, end)):
                await anyio.sleep(at - time.monotonic())
                waited[n] = seconds_kept_waiting()
            everything.cancel_scope.cancel()

        async with anyio.create_task_group() as everything:
            for one in (watch, *[work] * WORKERS):
                everything.start_soon(one)
        await limiter.close()
    store.close()
    return Part(counts[0], counts[1], waited[1] - waited[0])


def seconds_kept_waiting() -> float:
    """Return for how long this process could have run, and the machine ran others; 0 where no kernel says so."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def share(processes: list[int], seconds: float) -> None:
    """Let so many processes loose on nginx, and print what they got."""
    if find_nginx() is None:
        say("Nothing was measured: nginx is not installed")
        return
    say(f"| processes on nginx, {PER_SECOND}/s | of the rate | 429s | Jain's index | kept waiting by the machine |")
    say("|---|---|---|---|---|")
    for count in processes:
        parts = measure_share(count, seconds)
        accepted, refused = sum(one.accepted for one in parts), sum(one.refused for one in parts)
        busy = sum(one.kept_waiting for one in parts) / count / seconds
        say(
            f"| {count} | {accepted / (PER_SECOND * seconds):.1%} | {refused / (accepted + refused):.2%} "
            f"| {jain([one.accepted for one in parts]):.3f} | {busy:.1%} of the time |"
        )


def measure_share(count: int, seconds: float) -> list[Part]:
    """Let processes send together, from when all are ready, and count the same seconds of all, after the warm-up."""
    http = f"limit_req_zone $http_x_api_key zone=all:1m rate={PER_SECOND}r/s; limit_req_status 429;"
    server = f"""
      location / {{ limit_req zone=all burst={BURST} nodelay; try_files /none @answer; }}
      location @answer {{ return 200 '{{"success": true}}'; }}
    """
    with tempfile.TemporaryDirectory() as folder, nginx(server, http=http) as url:
        command = [sys.executable, "-m", "tests.benchmarks.limiter", "send", url, folder]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        running = [subprocess.Popen(command, **pipes) for _ in range(count)]
        for one in running:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        begin = time.monotonic() + WARM_UP
        for one in running:
            assert one.stdin is not None
            one.stdin.write(f"{begin} {begin + seconds}\n")
            one.stdin.flush()
        return [Part(*json.loads(one.communicate()[0])) for one in running]


# -- jobs -------------------------------------------------------------------------------------------------------------


KINDS = ("SQLite", "memory")


def jobs(rows: int, seconds: float, *, is_documented: bool) -> None:
    """Do jobs in pairs, and print how much more time, and processor time, they take over SQLite."""
    if find_nginx() is None:
        say("Nothing was measured: nginx is not installed")
        return
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    end = time.monotonic() + seconds
    with nginx(ANSWER, last_core=True) as url:
        while time.monotonic() < end or len(found[KINDS[0]]) < LEAST_PAIRS:
            for kind in KINDS[:: 1 if len(found[KINDS[0]]) % 2 else -1]:
                with tempfile.TemporaryDirectory() as folder:
                    command = [sys.executable, "-m", "tests.benchmarks.limiter", "job", url, folder, kind]
                    told = [str(rows), "0" if is_documented else "1e6"]
                    variables = {**os.environ, "XDG_STATE_HOME": folder}
                    variables.pop("PYTHONDONTWRITEBYTECODE", None)
                    found[kind].append(tuple(json.loads(subprocess.check_output([*command, *told], env=variables))))
    say(f"{len(found[KINDS[0]])} pairs of {rows:,} rows, load {os.getloadavg()[0]:.1f}\n")
    say("| | memory | SQLite more, median of pairs | certain within | lowest quarter of each |\n|---|---|---|---|---|")
    for n, name in enumerate(("time", "processor time")):
        one, other = ([pair[n] for pair in found[kind]] for kind in KINDS)
        ratios = sorted(mine / its for mine, its in zip(one, other, strict=True))
        rank = max(0, int((len(ratios) - 1.96 * len(ratios) ** 0.5) / 2))  # of the median, by the sign test
        least, most = ratios[rank], ratios[-1 - rank]
        lowest = quarter(one) / quarter(other)
        say(
            f"| {name} | {statistics.median(other):.2f} s | {statistics.median(ratios) - 1:+.1%} "
            f"| {least - 1:+.1%} to {most - 1:+.1%} | {lowest - 1:+.1%} |"
        )


LEAST_PAIRS = 3


def quarter(values: list[float]) -> float:
    """Return the mean of the lowest quarter."""
    return statistics.mean(sorted(values)[: max(1, len(values) // 4)])


def job(url: str, folder: Path, kind: str, rows: int, per_second: float) -> tuple[float, float]:
    """Do a job on the first core; return the seconds, and those of processor time, that it took."""
    if kind == "memory":
        api_session.open_store = lambda redis, note: MemoryStore()
    sheet = make_sheet(folder, rows)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pace: Any = {"max_per_second": per_second} if per_second else {}
    given: Any = {"credentials": {"DUALENTRY_API_KEY": JOB_KEY}, "base_url": url, "compare": False, **pace}
    begun, spent = time.monotonic(), time.process_time()
    ended = update(sheet, endpoint="dualentry.customers", out=folder, **given)
    assert ended.outcomes.updated == rows
    return time.monotonic() - begun, time.process_time() - spent


def jain(shares: list[int]) -> float:
    """Return Jain's index of fairness."""
    return sum(shares) ** 2 / max(1, len(shares) * sum(share**2 for share in shares))


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
    one = commands.add_parser("jobs")
    one.add_argument("--rows", type=int, default=3_000)
    one.add_argument("--seconds", type=float, default=150)
    one.add_argument("--documented", action="store_true")
    one = commands.add_parser("job")
    one.add_argument("url")
    one.add_argument("folder", type=Path)
    one.add_argument("kind")
    one.add_argument("rows", type=int)
    one.add_argument("per_second", type=float)
    one = commands.add_parser("send")
    one.add_argument("url")
    one.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "cost":
        cost(options.seconds, options.rounds)
    elif options.command == "share":
        share(options.processes, options.seconds)
    elif options.command == "jobs":
        jobs(options.rows, options.seconds, is_documented=options.documented)
    elif options.command == "job":
        found = (options.url, options.folder, options.kind, options.rows, options.per_second)
        say(json.dumps(job(*found)))
    else:
        say(json.dumps(astuple(anyio.run(send, options.url, options.folder))))
        os._exit(0)  # what is still open does not matter


if __name__ == "__main__":
    main()
