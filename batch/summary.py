"""The summary of a run as a whole: counts, reasons, and `summary.json`.

Promises: the seven outcomes add up to the rows, or a CountMismatchError says that batch is at fault; a success is never
counted before it is in the journal; equal reasons are listed once, with their rows.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from batch.errors import CountMismatchError
from batch.model import Outcome, RowResult, shorten

MAX_REASONS = 1_000
SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True)
class Summary:
    """The closing summary; `as_dict` is `summary.json`."""

    run_id: str
    endpoint: str
    input: str
    input_sha256: str
    started: str
    """ISO 8601, UTC."""
    seconds: float
    """Spent on the run so far, all its parts together."""
    rows: int
    outcomes: Mapping[Outcome, int]
    requests: int
    """Distinct requests: log-ins, reads, and one for each change that was sent."""
    attempts: int
    """HTTP exchanges: requests and their retries."""
    throttled: int
    """Attempts that the API answered with 429."""
    stopped: str | None
    """Why the run ended before its last row; None when it did not."""
    exit_code: int
    files: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return it as `summary.json` has it."""
        return {
            "run_id": self.run_id,
            "endpoint": self.endpoint,
            "input": self.input,
            "input_sha256": self.input_sha256,
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "rows": self.rows,
            "outcomes": {outcome.value: self.outcomes.get(outcome, 0) for outcome in Outcome},
            "requests": self.requests,
            "attempts": self.attempts,
            "throttled": self.throttled,
            "stopped": self.stopped,
            "exit_code": self.exit_code,
            "files": dict(self.files),
        }


def check_totals(rows: int, outcomes: Mapping[Outcome, int], journal: Mapping[Outcome, int]) -> None:
    """Raise CountMismatchError unless the results add up to the rows and agree with the journal."""
    total = sum(outcomes.values())
    counted = {outcome: n for outcome, n in outcomes.items() if n and outcome is not Outcome.UNSENT}
    journaled = {outcome: n for outcome, n in journal.items() if n and outcome is not Outcome.UNSENT}
    if total != rows or counted != journaled:
        listed = ", ".join(f"{outcome.value} {n}" for outcome, n in sorted(journaled.items())) or "nothing"
        raise CountMismatchError(
            f"This is a bug in batch: {rows} rows, but the outcomes add up to {total}, "
            f"and the journal says {listed}. Please report it."
        )


@dataclass(slots=True)
class Reason:
    """Equal problems of several rows."""

    outcome: Outcome
    field: str
    reason: str
    count: int = 0
    rows: list[int] = dataclasses.field(default_factory=list)
    example: str = ""
    """The first cell, as `F17: "ext. 5"`, where there is one."""


def group_reasons(row_results: Iterable[RowResult]) -> tuple[list[Reason], int]:
    """Group the problems of `row_results` by outcome, field and reason, most frequent first; count those left out."""
    groups: dict[tuple[Outcome, str, str], Reason] = {}
    left_out = 0
    for row_result in row_results:
        for one in row_result.problems:
            key = (row_result.outcome, one.field, one.reason)
            if key not in groups:
                if len(groups) >= MAX_REASONS:
                    left_out += 1
                    continue
                groups[key] = Reason(*key, example=_example(one.cell, one.seen))
            group = groups[key]
            group.count += 1
            if len(group.rows) < SHOWN_ROWS:
                group.rows.append(row_result.row)
    order = list(Outcome)
    return sorted(groups.values(), key=lambda one: (order.index(one.outcome), -one.count)), left_out


def _example(cell: str, seen: str) -> str:
    shown = f'"{shorten(seen, 40)}"' if seen else ""
    return f"{cell}: {shown}" if cell and shown else cell or shown
