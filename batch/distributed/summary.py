"""What became of the jobs of a manifest: their counts over all shards, and the one exit code.

Promises: the rows of all shards add up to the rows of the input, and their outcomes to the rows, or it is exit code 4;
rows of a shard that tells nothing are unknown where it may have sent any, else unsent. A job whose input changed while
its shards were read is not finished.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from batch.engine.reporter import Progress
from batch.errors import ExitCode
from batch.exit_code import SIGNALS, exit_code
from batch.model import NEEDS_RETRY, Outcome
from batch.summary import Files, FilesInJson, Head, Outcomes, OutcomesInJson, State, state_of

WORST_FIRST: Final = (4, 6, 2, 130, 143, 3, 5, 1, 0)


@dataclass(frozen=True, slots=True)
class ShardEnd:
    """How a shard ended."""

    job: str
    shard: str | None
    exit_code: int
    run: str = ""
    """Its run folder; "" where none was begun."""
    message: str = ""
    """Why it could not begin, or stopped; "" where neither."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """That of its run; none where none was begun."""
    may_have_sent: bool = False
    """Whether something of it may have been sent, where it tells nothing of that."""
    is_found: bool = False
    """Its task did not tell of its run, which was found, and may go on."""
    was_finished: bool = False
    """Its run had finished before, and stands as it is."""
    sha256: str = ""
    """The digest of the input that its run has read."""


def how_far(progress: Progress) -> dict[str, Any]:
    """Return the rows of a shard, what became of them by now, in earlier starts, too, and what it waits for."""
    done = {outcome.value: count for outcome, count in progress.counts.items()}
    rows = max(0, progress.rows - progress.done) + sum(done.values())
    return {"rows": rows, "done": done, "waits": progress.why if progress.paused > SHOWN_FROM else ""}


SHOWN_FROM: Final = 1.0
"""Seconds for which a shard has to wait before that is told."""


def worst(codes: Iterable[int]) -> int:
    """Return the exit code that wins; 4 for one that nobody knows."""
    found = set(codes)
    return next((one for one in WORST_FIRST if one in found), 0) if found <= set(WORST_FIRST) else int(ExitCode.BUG)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """What became of one job, over all of its shards."""

    name: str
    endpoint: str
    input: str
    shards: int
    rows: int | None
    """None where no shard tells of its rows."""
    outcomes: OutcomesInJson
    requests: int
    attempts: int
    throttled: int
    is_exact: bool
    exit_code: int
    state: State
    folder: str
    """Where its shards lie, and what is put together of them."""
    files: FilesInJson = field(default_factory=Files)
    messages: tuple[str, ...] = ()
    """Why shards could not begin, or stopped, and how many had finished before; each once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitSummary(Head):
    """What became of all jobs of a manifest; `as_dict` is what `--json` prints."""

    rows: int
    outcomes: OutcomesInJson
    jobs: tuple[JobSummary, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """The counts of a job over its shards, and whether they balance."""

    rows: int | None
    outcomes: Outcomes
    balances: bool


def add_up(shards: int, ends: Sequence[ShardEnd]) -> Totals:
    """Add up the counts of a job's shards; the rows of those that tell nothing are unsent, or unknown."""
    begun = [one.summary for one in ends if one.summary.get("rows") is not None]
    counts: Counter[Outcome] = Counter()
    for one in begun:
        counts.update({Outcome(name): int(count) for name, count in one["outcomes"].items()})
    own = sum(int(one["rows"]) for one in begun)
    every = {int(one["rows"] if shards == 1 else one["all_rows"]) for one in begun}
    if not begun:
        return Totals(None, Outcomes(counts), balances=True)
    if has_changed(ends):  # how many rows the shards have that read nothing is not known
        return Totals(own, Outcomes(counts), sum(counts.values()) == own)
    rows = max(every)
    fits = own == rows if len(begun) == shards else own <= rows
    untold = Outcome.UNKNOWN if any(one.may_have_sent for one in ends if not one.summary) else Outcome.UNSENT
    counts[untold] += rows - own if fits else 0
    return Totals(rows, Outcomes(counts), len(every) == 1 and fits and sum(counts.values()) == rows)


def has_changed(ends: Sequence[ShardEnd]) -> bool:
    """Return whether a job's shards have read several versions of its input."""
    return len({one.sha256 for one in ends if one.sha256}) > 1


def code_of(totals: Totals, ends: Sequence[ShardEnd]) -> int:
    """Return the exit code of a job."""
    codes = [_code_of_shard(one) for one in ends]
    if not totals.balances:
        codes.append(int(ExitCode.BUG))
    if has_changed(ends):
        codes.append(int(ExitCode.RUN_AGAIN))
    if not any(codes) and any(totals.outcomes.get(one) for one in NEEDS_RETRY):
        codes.append(int(ExitCode.BUG))  # rows are left, and no shard says so
    return worst(codes)


def _code_of_shard(end: ShardEnd) -> int:
    """Return the exit code of a shard: a signal that came when all of its rows were done has stopped nothing."""
    counts = {Outcome(name): int(count) for name, count in end.summary.get("outcomes", {}).items()}
    if end.exit_code not in SIGNALS.values() or not counts or any(counts.get(one) for one in NEEDS_RETRY):
        return end.exit_code
    return int(exit_code(counts))


def state_of_job(totals: Totals, ends: Sequence[ShardEnd]) -> State:
    """Return what became of a job, in the words of `runs`."""
    is_left = totals.rows is None or has_changed(ends) or any(totals.outcomes.get(one) for one in NEEDS_RETRY)
    return state_of(totals.outcomes, is_left=is_left)
