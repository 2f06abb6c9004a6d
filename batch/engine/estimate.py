"""What a job will cost, told before it starts: requests, and the time they take at the limits.

Promises: one function for every figure that is shown; each request that will be made is counted (log-ins, reads, reads
of single records, writes, read-backs), on the route whose bucket it uses; the time is the limiter's own arithmetic,
without the pauses and refusals that nobody can know.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from batch.endpoints.base import Endpoint
from batch.engine.api_session import ApiSession
from batch.engine.context import RunContext
from batch.engine.lookup import LookupStrategy
from batch.engine.pages import FRESH_SECONDS
from batch.engine.prepare import PREPARERS
from batch.engine.reporter import Cost, Estimate
from batch.engine.verify import YOUNG_SECONDS
from batch.ratelimit import Bucket, TokenBucket

LOG_IN = "log in"
"""Stands for the route of a log-in."""
SOME = "1"
"""Stands for any id or key: only the route of the request counts."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How many changes are written, and how many of them the API's answer does not show in full.

    `alone`: how many of these need a second read, since a list does not show them in full either. `completed`: how many
    changes are made of what their records show when they leave.
    """

    writes: int
    read_backs: int = 0
    alone: int = 0
    completed: int = 0

    @classmethod
    def counted(cls, endpoint: Endpoint, changes: Iterable[Iterable[str]]) -> "Sent":
        """Count changes, each given as the names of its fields."""
        writes = read_backs = alone = completed = 0
        for names in map(tuple, changes):
            is_hidden = any(_is_among(endpoint.hidden_in_answers, name) for name in names)
            writes += bool(names)
            read_backs += is_hidden
            alone += is_hidden and any(_is_among(endpoint.hidden_in_lists, name) for name in names)
            completed += any(endpoint.unit(name) != name for name in names)
        return cls(writes, read_backs, alone, completed)

    def scaled(self, share: float) -> "Sent":
        """Return that share of it."""
        return Sent(*(round(one * share) for one in (self.writes, self.read_backs, self.alone, self.completed)))


@dataclass(slots=True)
class _Requests:
    """Requests by route: those that must be answered before the first write, and those that go on beside each other."""

    first: Counter[str] = field(default_factory=Counter)
    beside: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.first.total() + self.beside.total()


def estimate(
    context: RunContext,
    strategy: LookupStrategy | None,
    changes: int,
    *,
    sent: Sent | None = None,
    canary: int = 0,
    spent: int = 0,
) -> Estimate:
    """Estimate the cost of `changes` changes, of which `sent` (None: at most all) are written.

    `spent` requests were made already; they count, but take no more time.
    """
    endpoint, api, reads = context.endpoint, context.api, _reads(context, strategy)
    is_known = sent is not None or not context.is_compared
    alone = _rows_with(context, endpoint.hidden_in_lists, changes) if reads and endpoint.ids_per_read > 1 else 0
    if sent is None:
        read_backs = _rows_with(context, endpoint.hidden_in_answers, changes) if reads else 0
        completed = _rows_with(context, endpoint.replaced_whole, changes) if reads else 0
        sent = Sent(changes, read_backs, min(read_backs, alone), completed)
    if context.plan is not None or context.changes.conditions_in or context.only_empty:
        sent = replace(sent, completed=sent.writes)  # what is expected of a record has to hold when the change leaves
    comparing = _comparing(context, strategy, changes)
    comparing.beside[endpoint.read_one_request(SOME).route] += alone
    whole = _Requests(comparing.first.copy(), comparing.beside.copy())
    if strategy is not None and strategy.pages is not None:
        whole.beside[endpoint.read_request([SOME]).route] += _read_again(context, comparing, sent.writes)
    whole.beside[endpoint.write_request(SOME, {}, None).route] += sent.writes
    verified = min(canary, sent.writes)
    whole.beside[endpoint.read_request([SOME]).route] += _looks(context, sent) + _shared(endpoint, verified, alone)
    whole.beside[endpoint.read_one_request(SOME).route] += sent.alone + (verified if alone else 0)
    reads_made = whole.total - sent.writes + (strategy.spent if strategy else 0)
    return Estimate(sent.writes, reads_made, _cost(api, comparing, spent), _cost(api, whole, spent), is_known)


def estimate_reads(api: ApiSession, reads: int, *, spent: int) -> Cost:
    """Estimate the cost of reading by pages or by ids, after `spent` requests for something else."""
    return Cost(reads + spent, seconds_at_limits(api, Counter({"": reads})))


def _reads(context: RunContext, strategy: LookupStrategy | None) -> bool:
    by_key = strategy is not None and strategy.by_key
    return context.is_compared or context.endpoint.needs_full_body or by_key


def _comparing(context: RunContext, strategy: LookupStrategy | None, changes: int) -> _Requests:
    """Count what reads the current records, but for those that are read alone."""
    endpoint, found = context.endpoint, _Requests()
    read = endpoint.read_request([SOME]).route
    if strategy is None or (strategy.pages is None and not strategy.by_key):
        found.beside[read] += -(-changes // endpoint.ids_per_read) if _reads(context, strategy) else 0
    elif strategy.pages is None:
        found.beside[endpoint.find_request(endpoint.key_fields[0], SOME).route] += strategy.count
    else:
        found.first[endpoint.page_request("", {}).route] += strategy.pages - strategy.spent
        found.first[endpoint.read_one_request(SOME).route] += endpoint.ids_per_read == 1  # are pages whole?
    return found


def _read_again(context: RunContext, comparing: _Requests, writes: int) -> int:
    """Count the requests that read again, before it is written, what pages brought.

    Changes are prepared a list's worth at a time by each preparer, whenever fewer than one for each slot are left.
    """
    api, at_once = context.api, context.endpoint.ids_per_read
    if context.rereads:
        return writes
    left = starts_within(api, FRESH_SECONDS - (seconds_at_limits(api, comparing.first) or 0))
    rounds = 1 + (left + api.pace.max_at_once - 1) // (PREPARERS * at_once)
    return max(0, -(-(writes - rounds * PREPARERS * at_once) // at_once))


def _looks(context: RunContext, sent: Sent) -> int:
    """Count the lists that are read once more: for what an answer did not show, and before what is made of a record.

    One list serves the changes that leave within the time for which a record counts as read now.
    """
    endpoint, api = context.endpoint, context.api
    if endpoint.ids_per_read == 1:
        return sent.read_backs  # a record that is read alone is young when it is written
    if sent.alone:
        return _shared(endpoint, sent.read_backs, sent.alone)
    at_once = max(1, starts_within(api, YOUNG_SECONDS) - starts_within(api, 1e-9))
    return max(sent.read_backs, -(-max(0, sent.completed - starts_within(api, YOUNG_SECONDS)) // at_once))


def _shared(endpoint: Endpoint, reads: int, alone: int) -> int:
    """Count the lists for so many records: while some of them are read alone, others gather for the next list."""
    return -(-reads // (endpoint.ids_per_read // 2)) if alone else reads


def _rows_with(context: RunContext, hidden: Sequence[str], changes: int) -> int:
    """Count the changes that touch one of the `hidden` fields, as far as the cells of the columns tell."""
    counts = [
        count.values + context.changes.clears[column.target]
        for column in context.changes.columns.fields
        if _is_among(hidden, column.target) and (count := context.changes.counts.get(column.index))
    ]
    share = changes / max(1, context.changes.change_count)  # of a resumed run
    return min(changes, round(max(counts, default=0) * share))


def _is_among(hidden: Sequence[str], name: str) -> bool:
    return name in hidden or name.partition(".")[0] in hidden


# -- time -----------------------------------------------------------------------------------------------------------


def _cost(api: ApiSession, requests: _Requests, spent: int) -> Cost:
    seconds = seconds_at_limits(api, requests.first, requests.beside)
    lifetime, log_ins = api.target.endpoint.seconds_logged_in, 0
    if lifetime and requests.total:
        log_ins = (0 if spent else 1) + int((seconds or 0) // lifetime)  # whatever was spent, needed the first
        requests = _Requests(requests.first, requests.beside + Counter({LOG_IN: log_ins}))
        seconds = seconds_at_limits(api, requests.first, requests.beside)
    return Cost(requests.total + spent, seconds)


def seconds_at_limits(api: ApiSession, first: Counter[str], beside: Counter[str] | None = None) -> float | None:
    """Estimate the seconds that requests take: those of `first`, by route, and then those of `beside` together.

    None when no limit is known.
    """
    beside, rate, limits = beside or Counter(), api.pace.max_per_second, api.limits
    total = first.total() + beside.total()
    if rate is not None:
        return max(0, total - 1) / rate
    in_all = _last_start(limits.total, total)
    if limits.per_route is None:
        return in_all
    before = max((_last_start(limits.per_route, count) or 0 for count in first.values()), default=0.0)
    after = [
        (_last_start(limits.per_route, first[route] + count) or 0) - (before if first[route] else 0)
        for route, count in beside.items()
    ]
    return max(before + max(after, default=0.0), in_all or 0.0)


def starts_within(api: ApiSession, seconds: float) -> int:
    """Estimate how many requests of one route start within so many seconds; very many when no limit is known."""
    rate, bucket = api.pace.max_per_second, api.limits.per_route or api.limits.total
    if seconds <= 0:
        return 0
    if rate is not None:
        return int(rate * seconds)
    return bucket.burst + int(bucket.per_second * seconds) if bucket else 1 << 62


def _last_start(bucket: Bucket | None, count: int) -> float | None:
    return TokenBucket(bucket).last_start(count) if bucket else None
