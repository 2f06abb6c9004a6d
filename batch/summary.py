"""The summary of a run as a whole: counts, reasons, and `summary.json`.

Promises: the seven outcomes add up to the rows, or a CountMismatchError says that batch is at fault; a success is never
counted before it is in the journal; equal reasons are listed once, with their rows.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from batch import __version__
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

    def as_dict(self) -> dict[str, Any]:
        """Return it as `summary.json` has it."""
        known = {"outcome": self.outcome.value, "code": self.code, "field": self.field, "message": self.reason}
        return known | {"count": self.count, "rows": self.rows[:SHOWN_ROWS]}


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
"""What the API spells its own way, by code; it is counted, and not grouped, since each row says a value of its own."""


def group_reasons(row_results: Iterable[RowResult]) -> tuple[tuple[Reason, ...], int]:
    """Group the problems of `row_results`, but for spellings; count the rows of those left out."""
    grouped = Reasons()
    for one in row_results:
        grouped.add(one.row, one.outcome, (said for said in one.problems if said.code not in SPELLINGS.values()))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How the documents of all commands begin; "" (null in JSON) where that is not known, or makes no sense."""

    schema_version: int = SCHEMA_VERSION
    version: str = __version__
    command: str
    run_id: str = ""
    run: str = ""
    """The folder."""
    resumed: bool = False
    endpoint: str = ""
    host: str = ""
    """The address, where anything was asked."""
    input: str = ""
    company: str | None = None
    """Its name, where one was given."""
    sandbox: bool = False
    parent_run: str | None = None
    """The run whose failures file was the input."""
    state: State | None = None
    started: str
    """ISO 8601, UTC."""
    finished: str = ""
    """"" while it goes on."""
    seconds: float = 0.0
    """Spent on it so far; on a run by all its starts together."""
    stopped: Stopped | None = None
    """Why it ended before its last row; None when it did not."""
    exit_code: int = 0
    """Null in JSON while it goes on."""
    files: Files = dataclasses.field(default_factory=Files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Head):
    """What became of an input as a whole; `as_dict` is `summary.json`, and what `--json` prints."""

    input_sha256: str = ""
    planned_by: str = ""
    """Who made the plan that it carries out, where a colleague sent it: as its file says."""
    mapping: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What headers stand for that are not the names of their fields; "" for a column that is left out."""
    rows: int = 0
    """Null in JSON where the input was not read."""
    outcomes: Outcomes = dataclasses.field(default_factory=Outcomes)
    earlier: Mapping[Outcome, int] = dataclasses.field(default_factory=dict)
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
    limiter: Literal["process"] = "process"
    """Who shares the limits of the API with this job."""
    retry_after: float | None = None
    """Seconds that the API asked to wait, where the job stopped for that."""
    reasons: tuple[Reason, ...] = ()
    spellings: Mapping[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(SPELLINGS, 0))
    """Rows with values that the API spells its own way: made so now, sent and kept so, known so and not sent."""
    left_out: tuple[int, ...] = ()
    """Rows of totals in a workbook, which are no rows and none of `rows`."""

    @property
    def left(self) -> int:
        """The rows for which the same command goes on."""
        return sum(self.outcomes.get(outcome, 0) for outcome in NEEDS_RETRY) + self.not_looked_at

    def as_dict(self) -> dict[str, Any]:
        """Return it as `summary.json` has it."""
        earlier = {outcome.value: count for outcome, count in self.earlier.items() if count}
        reasons = [one.as_dict() for one in self.reasons]
        rows = self.rows if self.input_sha256 else None
        values = {"earlier": earlier, "reasons": reasons, "mapping": dict(self.mapping), "rows": rows}
        return as_json_values(self) | values


def state_of(outcomes: Mapping[Outcome, int], *, is_left: bool) -> State:
    """Return the state of a run that ended in order; `is_left`: the same command goes on with some of its rows."""
    if is_left:
        return "unfinished"
    return "to fix" if any(outcomes.get(outcome) for outcome in NEEDS_EDIT) else "finished"


def as_json_values(summary: Any) -> dict[str, Any]:
    """Return the fields of a document in their order, seconds rounded and every outcome counted."""
    values: dict[str, Any] = {one.name: getattr(summary, one.name) for one in dataclasses.fields(summary)}
    values = {name: None if value == "" else value for name, value in values.items()}
    values |= {"seconds": round(summary.seconds, 3), "files": dict(summary.files)}
    values |= {"stopped": dataclasses.asdict(summary.stopped) if summary.stopped else None}
    if "outcomes" in values:
        values["outcomes"] = named_counts(summary.outcomes)
    return values


def named_counts(counts: Mapping[Outcome, int]) -> dict[str, int]:
    """Return all seven counts by the names of their outcomes."""
    return {outcome.value: counts.get(outcome, 0) for outcome in Outcome}


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
