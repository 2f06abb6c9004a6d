"""The summary of a run as a whole: counts, reasons, and `summary.json`.

Promises: the seven outcomes add up to the rows, or a CountMismatchError says that batch is at fault; a success is never
counted before it is in the journal; equal reasons are listed once, with their rows.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, PlainSerializer

from batch import __version__
from batch.conditions import KEPT
from batch.documents import CONFIG, NOT_KNOWN, Number, Seconds, Text, as_json
from batch.errors import CountMismatchError
from batch.model import NEEDS_EDIT, NEEDS_RETRY, Outcome, Problem, RowResult, shorten

MAX_REASONS = 1_000
"""Reasons told apart; a server that words each of its refusals differently must not fill memory."""
SHOWN_ROWS, KEPT_ROWS = 5, 10
"""Rows named for a reason on screen and in `summary.json`, and in a failures workbook."""


@dataclass(slots=True)
class Reason:
    """Equal problems of several rows; `header` is their column, where they have one."""

    outcome: Outcome
    field: str
    code: str
    reason: str
    header: str = ""
    count: int = 0
    rows: list[int] = dataclasses.field(default_factory=list)
    cells: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    """The first few cells, as `F17: "ext. 5"`, where they are known, with their rows."""

    @property
    def example(self) -> str:
        """The first cell; "" where there is none."""
        return self.cells[0][1] if self.cells else ""

    @property
    def told(self) -> "ToldReason":
        """What `summary.json` has of it."""
        return ToldReason(self.outcome, self.code, self.field, self.reason, self.count, self.rows[:SHOWN_ROWS])


@dataclass(frozen=True, slots=True)
class ToldReason:
    """Equal problems of several rows."""

    outcome: Outcome
    code: str
    field: str
    message: str
    count: int
    rows: list[int]
    """The first few."""


class Reasons:
    """Groups the problems of rows by outcome, field, code and words, as the rows go by."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Outcome, str, str, str], Reason] = {}
        self.left_out: dict[Outcome, Reason] = {}
        """By outcome: problems whose reasons were too many to be told apart."""

    def add(self, row: int, outcome: Outcome, problems: Iterable[Problem]) -> None:
        """Count a row, once for each of its reasons."""
        told: list[Reason] = []
        for one in problems:
            key = (outcome, one.field, one.code, one.reason)
            found = self._groups.get(key)
            if found is None and len(self._groups) < MAX_REASONS:
                found = self._groups[key] = Reason(*key, one.header)
            found = found or self.left_out.setdefault(outcome, Reason(outcome, "", "", ""))
            if found not in told:
                told.append(found)
                found.count += 1
                found.rows += [row] if len(found.rows) < KEPT_ROWS else []
                shown = _example(one.cell, one.seen)
                found.cells += [(row, shown)] if shown and len(found.cells) < SHOWN_ROWS else []

    def sorted(self) -> list[Reason]:
        """List the reasons by outcome, the most frequent first."""
        order = list(Outcome)
        return sorted(self._groups.values(), key=lambda one: (order.index(one.outcome), -one.count))


SPELLINGS = {"made": "spelling_made", "kept": "spelling_kept", "known": "spelling_known"}
"""What the API spells its own way, by code."""
COUNTED = {*SPELLINGS.values(), *KEPT}
"""Codes that are counted, and not grouped, since each row says a value of its own."""


def group_reasons(row_results: Iterable[RowResult]) -> tuple[tuple[Reason, ...], int]:
    """Group the problems of `row_results`, but for those that are counted; count the rows of those left out."""
    grouped = Reasons()
    for one in row_results:
        grouped.add(one.row, one.outcome, (said for said in one.problems if said.code not in COUNTED))
    return tuple(grouped.sorted()), sum(one.count for one in grouped.left_out.values())


def _example(cell: str, seen: str) -> str:
    shown = f'"{shorten(seen, 40)}"' if seen else ""
    return f"{cell}: {shown}" if cell and shown else cell or shown


SCHEMA_VERSION = 1
"""Of the documents of `--json`. It changes when a key goes, or comes to mean something else."""
State = Literal["running", "finished", "to fix", "unfinished", "undone", "superseded", "purged"]
"""What became of a run, in the words of `runs`."""


class Outcomes(Counter[Outcome]):
    """Rows by outcome, also by name: `outcomes.updated` is `outcomes[Outcome.UPDATED]`."""

    updated = property(lambda self: self[Outcome.UPDATED])
    unchanged = property(lambda self: self[Outcome.UNCHANGED])
    invalid = property(lambda self: self[Outcome.INVALID])
    rejected = property(lambda self: self[Outcome.REJECTED])
    failed = property(lambda self: self[Outcome.FAILED])
    unknown = property(lambda self: self[Outcome.UNKNOWN])
    unsent = property(lambda self: self[Outcome.UNSENT])


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows have each outcome."""

    updated: int
    unchanged: int
    invalid: int
    rejected: int
    failed: int
    unknown: int
    unsent: int


def all_counts(counts: Mapping[Outcome, int]) -> Counts:
    """Return all seven counts."""
    return Counts(**named_counts(counts))


OutcomesInJson = Annotated[Outcomes, PlainSerializer(all_counts, return_type=Counts)]


class Files(dict[str, str]):
    """The files of a run, by what they are."""

    @property
    def failures(self) -> str | None:
        """The failures file that people are to take: a workbook where there is one; None when there is none."""
        return self.get("failures_xlsx") or self.get("failures")

    @property
    def results(self) -> str | None:
        """What became of every row; None where nothing was begun."""
        return self.get("results")

    @property
    def journal(self) -> str | None:
        """The record of the run."""
        return self.get("journal")


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why a job ended before its last row."""

    reason: str
    """A stable word, such as "interrupted" or "max-wait"."""
    message: str
    """A whole sentence for a person."""
    hint: str
    """The next step."""


def _without_none(counts: Mapping[Outcome, int]) -> dict[str, int]:
    return {outcome.value: count for outcome, count in counts.items() if count}


FilesInJson = Annotated[Files, PlainSerializer(dict, return_type=dict[str, str])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How the documents of all commands begin; "" (null in JSON) where that is not known, or makes no sense."""

    __pydantic_config__: ClassVar[ConfigDict] = CONFIG

    schema_version: int = SCHEMA_VERSION
    version: str = __version__
    command: Text
    run_id: Text = ""
    run: Text = ""
    """The folder."""
    resumed: bool = False
    endpoint: Text = ""
    host: Text = ""
    """The address, where anything was asked."""
    input: Text = ""
    company: str | None = None
    """Its name, where one was given."""
    sandbox: bool = False
    shard: str | None = None
    """Which shard of the input it is of (--shard), such as "3/16"; None where it is of all of it."""
    parent_run: str | None = None
    """The run whose failures file was the input."""
    state: State | None = None
    started: str
    """ISO 8601, UTC."""
    finished: Text = ""
    """"" while it goes on."""
    seconds: Seconds = 0.0
    """Spent on it so far; on a run by all its starts together."""
    stopped: Stopped | None = None
    """Why it ended before its last row; None when it did not."""
    exit_code: Number = 0
    """NOT_KNOWN (null in JSON) while it goes on."""
    files: FilesInJson = dataclasses.field(default_factory=Files)
    uploaded: FilesInJson = dataclasses.field(default_factory=Files)
    """Where the same files are at the address of --out; none where that is a folder, or could not be written."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return as_json(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Head):
    """What became of an input as a whole; `as_dict` is `summary.json`, and what `--json` prints."""

    input_sha256: Text = ""
    users: tuple[str, ...] = ()
    """Who began the run or went on with it, as the system calls them."""
    planned_by: Text = ""
    """Who made the plan that it carries out, where a colleague sent it: as its file says."""
    mapping: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What headers stand for that are not the names of their fields; "" for a column that is left out."""
    rows: Number = NOT_KNOWN
    """NOT_KNOWN (null in JSON) where the input was not read; of a shard its own rows."""
    all_rows: int | None = None
    """Of a shard the rows of all shards together."""
    outcomes: OutcomesInJson = dataclasses.field(default_factory=Outcomes)
    earlier: Annotated[Mapping[Outcome, int], PlainSerializer(_without_none, return_type=dict[str, int])] = (
        dataclasses.field(default_factory=dict)
    )
    """Of these the rows that were done before the last start went on with the run."""
    not_looked_at: int = 0
    """Of those the rows that the last start was to look at again and did not: they are told as they were left."""
    requests: int = 0
    """Distinct requests: log-ins, reads, and one for each change that was sent."""
    attempts: int = 0
    """HTTP exchanges: requests and their retries."""
    throttled: int = 0
    """Attempts that the API answered with 429."""
    is_exact: bool = True
    """False where a part of the run was cut off: no more requests and attempts than this were made."""
    limiter: Literal["process", "host", "redis"] = "process"
    """Who shares the limits of the API with this job: nobody, this user's processes on this host, or those of Redis."""
    retry_after: float | None = None
    """Seconds that the API asked to wait, where the job stopped for that."""
    reasons: Annotated[
        tuple[Reason, ...], PlainSerializer(lambda found: [one.told for one in found], return_type=list[ToldReason])
    ] = ()
    spellings: Mapping[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(SPELLINGS, 0))
    """Rows with values that the API spells its own way: made so now, sent and kept so, known so and not sent."""
    not_empty: int = 0
    """Rows of which something was not written, since the record had another value (--only-empty)."""
    left_out: tuple[int, ...] = ()
    """Rows of totals in a workbook, which are no rows and none of `rows`."""

    @property
    def left(self) -> int:
        """The rows for which the same command goes on."""
        return sum(self.outcomes.get(outcome, 0) for outcome in NEEDS_RETRY) + self.not_looked_at


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSummary(Summary):
    """What `summary.json` is while a run goes on."""

    process: int
    process_host: str
    """The machine that the process is on."""
    since: str
    """When its last start began, ISO 8601 in UTC."""


def state_of(outcomes: Mapping[Outcome, int], *, is_left: bool) -> State:
    """Return the state of a run that ended in order; `is_left`: the same command goes on with some of its rows."""
    if is_left:
        return "unfinished"
    return "to fix" if any(outcomes.get(outcome) for outcome in NEEDS_EDIT) else "finished"


def named_counts(counts: Mapping[Outcome, int]) -> dict[str, int]:
    """Return all seven counts by the names of their outcomes."""
    return {outcome.value: counts.get(outcome, 0) for outcome in Outcome}


def shown_counts(counts: Mapping[Outcome, int]) -> str:
    """Spell what became of the rows."""
    return ", ".join(f"{counts[one]:,} {one.value}" for one in Outcome if counts.get(one))


def check_totals(rows: int, outcomes: Mapping[Outcome, int], journal: Mapping[Outcome, int]) -> None:
    """Raise CountMismatchError unless the results add up to the rows and agree with the journal."""
    total = sum(outcomes.values())
    counted = {outcome: n for outcome, n in outcomes.items() if n and outcome is not Outcome.UNSENT}
    journaled = {outcome: n for outcome, n in journal.items() if n and outcome is not Outcome.UNSENT}
    if total != rows or counted != journaled:
        listed = ", ".join(f"{outcome.value} {n}" for outcome, n in sorted(journaled.items())) or "nothing"
        raise CountMismatchError(
            f"This is a bug in batch: {rows} rows, but the outcomes add up to {total}, "
            f"and the record of this run says {listed}. Please report it."
        )
