"""What the rate limiter costs for one attempt: a grant and what is learned from the reply, on asyncio, without waiting.

    .venv/bin/python -m tests.benchmarks.limiter [--attempts N] [--rounds N]

Prints the processor time in microseconds, the median of interleaved rounds, over each kind of store. `JSON` is the
tests' own store, which writes and reads the whole state: what a store outside of the process costs at least.
"""

import argparse
import statistics
import sys
import time

import anyio

from batch.ratelimit import Bucket, LimiterStore, Limits, MemoryStore, RateLimiter, RatePolicy
from tests.ratelimit.json_store import JsonStore

FAST = Limits(total=Bucket(50_000_000, 5e6), per_route=Bucket(10_000_000, 1e6))
ROUTE = "PATCH /customers/{id}/"
HEADERS = {"content-type": "application/json", "content-length": "20"}
STORES: dict[str, type[LimiterStore]] = {"memory": MemoryStore, "JSON": JsonStore}


async def microseconds(store: LimiterStore, attempts: int) -> float:
    """Make attempts one after the other that are answered at once; return what one costs."""
    limiter = RateLimiter(RatePolicy(FAST), 32, store)
    begun = time.process_time()
    for _ in range(attempts):
        async with limiter.attempt(ROUTE) as started:
            await limiter.answered(ROUTE, started, 200, HEADERS)
    return 1e6 * (time.process_time() - begun) / attempts


def main() -> None:
    """Measure, and print a line for each store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    costs: dict[str, list[float]] = {name: [] for name in STORES}
    for _ in range(options.rounds):
        for name, kind in STORES.items():
            attempts = options.attempts if kind is MemoryStore else options.attempts // 100
            costs[name].append(anyio.run(microseconds, kind(), attempts))
    for name, found in costs.items():
        sys.stdout.write(f"{name}: {statistics.median(found):.1f} µs\n")


if __name__ == "__main__":
    main()
