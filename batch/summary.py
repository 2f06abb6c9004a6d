"""The summary of a run as a whole: counts, reasons, and `summary.json`.

Promises: the seven outcomes add up to the rows, or a CountMismatchError says that batch is at fault; a success is never
counted before it is in the journal; equal reasons are listed once, with their rows.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from batch.errors import CountMismatchError
from batch.model import NEEDS_RETRY, Outcome, Problem, RowResult, shorten

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
    example: str = ""
    """The first cell, as `F17: "ext. 5"`, where there is one."""
    count: int = 0
    rows: list[int] = dataclasses.field(default_factory=list)

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
                found = self._groups[key] = Reason(*key, one.header, _example(one.cell, one.seen))
            found = found or self.left_out.setdefault(outcome, Reason(outcome, "", "", ""))
            if found not in told:
                told.append(found)
                found.count += 1
                found.rows += [row] if len(found.rows) < KEPT_ROWS else []

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


@dataclass(frozen=True, slots=True)
class Summary:
    """The closing summary; `as_dict` is `summary.json`."""

    run_id: str
    endpoint: str
    company: str | None
    """Its name, where one was given."""
    input: str
    input_sha256: str
    started: str
    """ISO 8601, UTC."""
    seconds: float
    """Spent on the run so far, all its parts together."""
    rows: int
    outcomes: Mapping[Outcome, int]
    earlier: Mapping[Outcome, int]
    """Of these the rows that were done before the last start went on with the run."""
    not_looked_at: int
    """Of those the rows that the last start was to look at again and did not: they are told as they were left."""
    requests: int
    """Distinct requests: log-ins, reads, and one for each change that was sent."""
    attempts: int
    """HTTP exchanges: requests and their retries."""
    throttled: int
    """Attempts that the API answered with 429."""
    is_exact: bool
    """False where a part of the run was cut off: no more requests and attempts than this were made."""
    state: Literal["ended", "interrupted"]
    """While the run goes on `summary.json` says "running"; beside a free lock that means "interrupted"."""
    stopped: str | None
    """Why the run ended before its last row; None when it did not."""
    exit_code: int
    files: Mapping[str, str]
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
        return as_json_values(self) | {"earlier": earlier, "reasons": [one.as_dict() for one in self.reasons]}


def failures_of(files: Mapping[str, str]) -> str | None:
    """Return the failures file that people are to take: a workbook where there is one; None when there is none."""
    return files.get("failures_xlsx") or files.get("failures")


def as_json_values(summary: Any) -> dict[str, Any]:
    """Return the fields of a summary in their order, seconds rounded and every outcome counted."""
    values = {one.name: getattr(summary, one.name) for one in dataclasses.fields(summary)}
    outcomes = {outcome.value: summary.outcomes.get(outcome, 0) for outcome in Outcome}
    return values | {"seconds": round(summary.seconds, 3), "outcomes": outcomes, "files": dict(summary.files)}


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
