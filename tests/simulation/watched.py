"""What else is watched besides the table: beginnings, changes, neighbours, wrong and right documentation."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from batch.ratelimit import Bucket, Learned, Limits, RatePolicy

from .cases import figures, pacing, window
from .servers import DeadServer, Server, SlidingLogServer, TokenBucketServer, TwoBucketServer
from .world import Client, Environment, seeded

DUALENTRY = Limits(total=Bucket(50, 5), per_route=Bucket(10, 1))


@dataclass(frozen=True)
class Watched:
    """Something to watch: what it is, its figure for one seed, and the bounds within which that must stay."""

    name: str
    figure: Callable[[int], float]
    unit: str
    at_least: float = 0.0
    at_most: float = float("inf")

    @property
    def title(self) -> str:
        """What stands in the report."""
        return f"{self.name}{f', {self.unit}' if self.unit else ''}"


def fairness(server: Callable[[random.Random], Server], joins: float, seconds: float = 300) -> Callable[[int], float]:
    """Jain's index of two clients, from 30 s after the second joined."""

    def figure(seed: int) -> float:
        rng = seeded(seed)
        clients = [pacing(2 * seed), pacing(2 * seed + 1, joins=joins)]
        Environment(server(rng), clients, rng, counts_from=joins + 30).run(joins + 30 + seconds)
        shares = [client.accepted for client in clients]
        return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))

    return figure


def refused_of_first_rows(rows: int, server: Callable[[], Server], learned: Learned | None) -> Callable[[int], float]:
    """The share of 429s, in percent, of a short run."""

    def figure(seed: int) -> float:
        client = pacing(seed, learned=learned, rows=rows)
        Environment(server(), [client], seeded(seed)).run(3600)
        return 100 * client.refused / (client.accepted + client.refused)

    return figure


def time_of_first_rows(rows: int, server: Callable[[], Server], learned: Learned | None) -> Callable[[int], float]:
    """How long a short run takes, in seconds."""

    def figure(seed: int) -> float:
        client = pacing(seed, learned=learned, rows=rows)
        Environment(server(), [client], seeded(seed)).run(3600)
        return client.finished

    return figure


def after_change(before: float, after: float) -> Callable[[int], float]:
    """The share reached, in percent, in the minute that begins 15 s after the limit changed."""

    def figure(seed: int) -> float:
        server, client = TokenBucketServer(before, 20), pacing(seed)
        world = Environment(server, [client], seeded(seed), counts_from=135)
        world.at(120, lambda _: setattr(server, "per_second", after))
        world.run(195)
        return figures([client], server, 60).reached

    return figure


def documented(server: Callable[[], Server], limits: Limits, what: str) -> Callable[[int], float]:
    """A share, in percent, of 20 minutes under documented limits."""

    def figure(seed: int) -> float:
        client = pacing(seed, limits=limits)
        Environment(server(), [client], seeded(seed), counts_from=30).run(1230)
        return float(getattr(figures([client], server(), 1200), what))

    return figure


def too_fast(seed: int) -> float:
    """The share of 429s, in percent, when `--max-per-second` promises five times too much."""
    client = Client(RatePolicy(None, max_per_second=500), seeded(seed))
    Environment(TokenBucketServer(100, 20), [client], seeded(seed), counts_from=30).run(330)
    return figures([client], TokenBucketServer(100, 20), 300).refused


def requests_to_the_dead(seed: int) -> float:
    """How many requests an API gets in an hour that refuses everything."""
    client = pacing(seed)
    Environment(DeadServer(), [client], seeded(seed)).run(3600)
    return float(client.refused)


def dualentry() -> Server:
    return TwoBucketServer(TokenBucketServer(5, 50, tells=True), TokenBucketServer(1, 10, tells=True))


def bucket(burst: int) -> Callable[[random.Random], Server]:
    return lambda _: TokenBucketServer(100, burst)


def hundred() -> Server:
    return TokenBucketServer(100, 20)


WATCHED = (
    Watched("two clients on a token bucket 100/s, burst 100: Jain", fairness(bucket(100), 0), "", 0.9),
    Watched("two clients on a token bucket 100/s, burst 5: Jain", fairness(bucket(5), 0), "", 0.9),
    Watched("the second joins after 60 s, burst 100: Jain", fairness(bucket(100), 60), "", 0.85),
    Watched("the second joins after 60 s, burst 5: Jain", fairness(bucket(5), 60), "", 0.85),
    Watched(
        "the second joins a sliding log 100 per 1 s: Jain", fairness(lambda _: SlidingLogServer(100, 1), 60), "", 0.8
    ),
    Watched("the second joins a window 600 per 60 s: Jain", fairness(window(600, 60), 60, 900), "", 0.8),
    Watched("1,000 rows, 100/s unknown: 429s", refused_of_first_rows(1000, hundred, None), "%", 0, 4),
    Watched("1,000 rows, 100/s unknown: time", time_of_first_rows(1000, hundred, None), "s", 10, 16),
    Watched("1,000 rows, 100/s learned: 429s", refused_of_first_rows(1000, hundred, Learned(100)), "%", 0, 0.5),
    Watched("1,000 rows, 100/s learned: time", time_of_first_rows(1000, hundred, Learned(100)), "s", 9.8, 10.8),
    Watched("the limit falls from 100/s to 50/s: reached", after_change(100, 50), "%", 95),
    Watched("the limit rises from 50/s to 100/s: reached", after_change(50, 100), "%", 75),
    Watched("documented 10 + 1/s, and true: reached", documented(dualentry, DUALENTRY, "reached"), "%", 99.5),
    Watched("documented 10 + 1/s, and true: 429s", documented(dualentry, DUALENTRY, "refused"), "%", 0, 0),
    Watched(
        "documented 10 + 1/s, but it is 0.5/s: reached",
        documented(lambda: TokenBucketServer(0.5, 5, tells=True), DUALENTRY, "reached"),
        "%",
        90,
    ),
    Watched(
        "documented 10 + 1/s, but it is 0.5/s: 429s",
        documented(lambda: TokenBucketServer(0.5, 5, tells=True), DUALENTRY, "refused"),
        "%",
        0,
        6,
    ),
    Watched("--max-per-second 500, but it is 100/s: 429s", too_fast, "%", 0, 0.5),
    Watched("an API that refuses everything for an hour: requests", requests_to_the_dead, "", 0, 150),
)
