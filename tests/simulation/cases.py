"""The table of servers: what the policy, knowing nothing, must reach on each."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from batch.ratelimit import Learned, Limits, RatePolicy

from .servers import FixedWindowServer, Server, SlidingLogServer, TokenBucketServer
from .world import NEAR, Client, Environment, Network, seeded

WARM_UP = 30.0
SEEDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Case:
    """A server, how long it is watched after the warm-up, and the targets: share of what it permits, share of 429s."""

    name: str
    server: Callable[[random.Random], Server]
    seconds: float
    reach: float
    refused: float
    network: Network = NEAR


@dataclass(frozen=True)
class Figures:
    """What came out, in percent."""

    reached: float
    refused: float


def window(quota: int, seconds: float, *, tells: bool = False) -> Callable[[random.Random], Server]:
    """A fixed window whose edges have nothing to do with when the client begins."""
    return lambda rng: FixedWindowServer(quota, seconds, first_end=seconds * (1 - rng.random()), tells=tells)


def harsh(_: random.Random) -> Server:
    """What is refused counts too: who goes on knocking is never let in again."""
    return SlidingLogServer(100, 1, is_harsh=True)


CASES = (
    Case("token bucket 100/s, burst 100", lambda _: TokenBucketServer(100, 100), 300, 99, 0.5),
    Case("token bucket 100/s, burst 5", lambda _: TokenBucketServer(100, 5), 300, 97.5, 0.5),
    Case("token bucket 100/s, burst 100, Retry-After", lambda _: TokenBucketServer(100, 100, tells=True), 300, 99, 0.5),
    Case("token bucket 5/s, burst 5", lambda _: TokenBucketServer(5, 5), 1200, 99, 0.7),
    Case("token bucket 1000/s, burst 1000", lambda _: TokenBucketServer(1000, 1000), 60, 99, 0.3),
    Case("fixed window 100 per 1 s", window(100, 1), 300, 96.5, 0.6),
    Case("fixed window 600 per 60 s, no header", window(600, 60), 1800, 98, 0.8),
    Case("fixed window 600 per 60 s, Retry-After", window(600, 60, tells=True), 1800, 98.5, 0.4),
    Case("sliding log 100 per 1 s", lambda _: SlidingLogServer(100, 1), 300, 95, 0.5),
    Case("sliding log that counts refused requests too", harsh, 300, 95, 0.5),
    Case(
        "token bucket 100/s, burst 20, round trip 500 ms σ 0.6",
        lambda _: TokenBucketServer(100, 20),
        300,
        90,
        0.8,
        Network(0.5, 0.6),
    ),
)


def measure(case: Case, seed: int) -> Figures:
    """Run one case with one seed. Of a fixed window, whole windows are counted."""
    rng = seeded(seed)
    server = case.server(rng)
    begin = server.first_edge_after(WARM_UP) if isinstance(server, FixedWindowServer) else WARM_UP
    client = pacing(seed)
    Environment(server, [client], rng, case.network, counts_from=begin).run(begin + case.seconds)
    assert client.broken_pauses == 0
    return figures([client], server, case.seconds)


def pacing(
    seed: int,
    *,
    limits: Limits | None = None,
    learned: Learned | None = None,
    joins: float = 0.0,
    rows: float = float("inf"),
) -> Client:
    """A client with a policy of its own."""
    return Client(RatePolicy(limits, learned=learned), seeded(-seed), joins, rows)


def figures(clients: list[Client], server: Server, seconds: float) -> Figures:
    """Sum up what the server said to these clients."""
    accepted, refused = sum(one.accepted for one in clients), sum(one.refused for one in clients)
    return Figures(100 * accepted / (seconds * server.per_second), 100 * refused / max(1, accepted + refused))
