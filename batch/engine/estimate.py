"""What a job will cost, told before it starts: requests, and the time they take at the limits.

Promises: each route counts in a bucket of its own and all of them in the common one, as the rate limiter permits them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batch.engine.context import RunContext
from batch.ratelimit import Bucket, Limits
from batch.summary import seconds_at_limits


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests that write and that read, and seconds at the limits (None: no limit is known)."""

    writes: int
    reads: int
    write_seconds: float | None
    read_seconds: float | None
    seconds: float | None
    """Of both together, which go on at the same time."""


def estimate(sending: RunContext, writes: int, to_read: int | None = None) -> Estimate:
    """Reckon the cost of `writes` changes, out of `to_read` that are read first (else as many)."""
    reads = _reads(sending, writes if to_read is None else to_read)
    own, limits = sending.settings.max_per_second, sending.limits
    if own is not None:
        return Estimate(writes, reads, writes / own, reads / own, (writes + reads) / own)
    return Estimate(
        writes, reads, _seconds(limits, [writes]), _seconds(limits, [reads]), _seconds(limits, [writes, reads])
    )


def _reads(sending: RunContext, changes: int) -> int:
    if sending.strategy is not None:
        return sending.strategy.reads
    endpoint = sending.endpoint
    if not (sending.settings.compare or endpoint.needs_full_body):
        return 0
    return -(-changes // endpoint.ids_per_read)


def _seconds(limits: Limits, routes: Sequence[int]) -> float | None:
    """Reckon how long it takes when each route has so many requests."""
    times = [_drained(limits.total, sum(routes))] if limits.total else []
    times += [_drained(limits.per_route, max(routes))] if limits.per_route else []
    return max(times, default=None)


def _drained(bucket: Bucket, count: int) -> float:
    return seconds_at_limits(count, [(bucket.burst, bucket.per_second)])
