"""What a job will cost, told before it starts: requests, and the time they take at the limits.

Promises: each route counts in a bucket of its own and all of them in the common one, as the limiter lets them through.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batch.engine.api_session import ApiSession
from batch.engine.context import RunContext
from batch.engine.lookup import LookupStrategy
from batch.ratelimit import Bucket


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests that write and that read, and seconds at the limits (None: no limit is known)."""

    writes: int
    reads: int
    write_seconds: float | None
    read_seconds: float | None
    seconds: float | None
    """Of both together, which go on at the same time."""


def estimate(context: RunContext, strategy: LookupStrategy | None, writes: int, to_read: int | None = None) -> Estimate:
    """Estimate the cost of `writes` changes, out of `to_read` that are read first (else as many)."""
    reads = _reads(context, strategy, writes if to_read is None else to_read)
    return Estimate(
        writes, reads, seconds_at_limits(context.api, [writes]), seconds_at_limits(context.api, [reads]),
        seconds_at_limits(context.api, [writes, reads]),
    )  # fmt: skip


def _reads(context: RunContext, strategy: LookupStrategy | None, changes: int) -> int:
    if strategy is not None:
        return strategy.reads
    endpoint = context.endpoint
    if not (context.is_compared or endpoint.needs_full_body):
        return 0
    return -(-changes // endpoint.ids_per_read)


def seconds_at_limits(api: ApiSession, routes: Sequence[int]) -> float | None:
    """Estimate the seconds that so many requests on each route take together, None when no limit is known."""
    if api.pace.max_per_second is not None:
        return sum(routes) / api.pace.max_per_second
    limits = api.limits
    times = [_drained(limits.total, sum(routes))] if limits.total else []
    times += [_drained(limits.per_route, max(routes))] if limits.per_route else []
    return max(times, default=None)


def _drained(bucket: Bucket, count: int) -> float:
    return max(0, count - bucket.burst) / bucket.per_second
