"""What is caught before much harm is done: a column emptied by mistake, a first few changes that do not hold, and a
sheet of another company.

What is counted are the records in which a field would be emptied, whatever number of rows says so. Without the option
these may be 20 % of the records that are sent; fewer than 10 are never too many then, so that a short list may clear.
What the option says counts from the first record on.

A canary fails where the API refused one of the changes, or does not show it afterwards. One that is left to retry ends
the run, too, and is among the first again; one that was refused here was not sent, and another takes its place.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from batch.engine.context import RunContext
from batch.engine.prepare import PreparedChange
from batch.engine.record_reader import FIRST_IDS
from batch.errors import UsageError
from batch.model import Problem, shorten, visible
from batch.provenance import PulledFrom
from batch.retry import FailureLimit
from batch.run import index
from batch.run.consent import require_consent
from batch.run.target import SANDBOX
from batch.settings import FEW_ROWS, SOME_ROWS
from batch.validation.file_changes import ChangeSource


class TooManyClearsError(UsageError):
    """A field would be cleared on more records than are allowed, and there is nobody to ask."""


@dataclass(frozen=True, slots=True)
class ClearLimit:
    """On how many records one field may be cleared, as a count or a share of the records that are sent."""

    count: int | None
    share: float | None
    text: str
    is_default: bool

    @classmethod
    def from_option(cls, max_clears: str | None) -> "ClearLimit":
        """Read the option."""
        text = max_clears if max_clears is not None else SOME_ROWS
        parsed = FailureLimit.parse(text)
        return cls(parsed.count, parsed.share, text, max_clears is None)

    def iter_excesses(self, changes: ChangeSource) -> Iterator[str]:
        """Name each field that would be cleared on too many records."""
        records, endpoint = changes.change_count, changes.endpoint
        for name, clears in changes.clears.items():
            if self._is_exceeded(clears, records):
                kind = endpoint.noun if records == 1 else endpoint.plural
                yield f"{name} would be cleared on {clears:,} of {records:,} {kind} ({clears / records:.0%})"

    def _is_exceeded(self, clears: int, records: int) -> bool:
        if not clears or (self.is_default and clears < FEW_ROWS):
            return False
        return clears > (self.count if self.count is not None else (self.share or 0) * records)

    def refusal(self, excesses: tuple[str, ...]) -> TooManyClearsError:
        """Say that nothing is sent because of these fields, and how to send all the same."""
        listed = "\n".join(f"{one}." for one in excesses)
        return TooManyClearsError(
            f"{listed}\nThat is more than --max-clears {self.text} allows, so nothing was sent. "
            "If it is meant:  --max-clears 100%"
        )


def check_compared(context: RunContext) -> None:
    """Raise UsageError where nothing is compared, although the sheet says what its records must show.

    So does whoever has only empty fields filled.
    """
    if context.only_empty and not context.is_compared:
        raise UsageError(
            "--only-empty and --no-compare: which fields are empty cannot be known without reading the records. "
            "Leave one of them out."
        )
    headers = context.changes.conditions_in
    if headers and not context.is_compared:
        named = " and ".join(f'"{shorten(visible(one), 60)}"' for one in headers)
        raise UsageError(
            f"--no-compare: {context.changes.staged.name} says in {named} what its records must show, which cannot be "
            f'known without reading them. Leave the option out, or the column:  --map "{headers[0]}="'
        )


def check_company(context: RunContext, parent_run: str | None, *, is_meant: bool) -> None:
    """Ask about rows that were pulled from elsewhere, and about the failures file of another company's run.

    Raises Declined, or UsageError where nobody can be asked.
    """
    changes, target = context.changes, context.api.target
    here = PulledFrom(target.endpoint.name, target.host, target.company)
    foreign = Counter({one: rows for one, rows in changes.pulled_from.items() if not _is_same(one, here)})
    parent = index.get(parent_run) if parent_run else None
    ran_at = PulledFrom(parent.endpoint, parent.host, parent.company) if parent and not parent.is_found else here
    if is_meant or not (foreign or not _is_same(ran_at, here)):
        return
    one, count = foreign.most_common(1)[0][0] if foreign else ran_at, foreign.total()
    rows = "1 row was" if count == 1 else f"{count:,} rows were"
    what = f"{rows} pulled from another company" if foreign else "these are rows that a run left for another company"
    name = f'of the company "{visible(one.company.name)}"' if one.company.name else "with another key than this one"
    is_elsewhere = (one.endpoint, one.host) != (here.endpoint, here.host)
    kind = context.api.environment.endpoints.get(one.endpoint)
    where = f"{kind.title if kind else visible(one.endpoint)} at {visible(one.host)}" if is_elsewhere else name
    require_consent(
        context.reporter,
        f"{changes.staged.name}: {what} ({where}). The same ids may be other {target.endpoint.plural} here.",
        instead="If it is the same company under a new key, or meant:  --other-company",
    )


def check_found(context: RunContext) -> None:
    """Ask about a sheet whose first ids no record has; raises Declined, or UsageError where nobody can be asked."""
    target = context.api.target
    whose = f'the company "{visible(target.company_name)}"' if target.company_name else "the company of the key"
    require_consent(
        context.reporter,
        f"{context.changes.staged.name}: no {target.endpoint.noun} of {whose} at {target.host} has any of the first "
        f"{FIRST_IDS} ids. They may be another company's, or those of another system.",
        instead="Nothing was sent. If they are meant:  --none-found",
    )
    context.first_ids.is_settled = True


def _is_same(one: PulledFrom, here: PulledFrom) -> bool:
    """Compare; sandboxes that are started for one command each have the same sample records, whatever their keys."""
    return one.is_same(here) or (one.endpoint == here.endpoint and one.host == here.host == SANDBOX)


@dataclass(slots=True)
class Canary:
    """The first few changes that are sent, and what became of them."""

    count: int
    verify: Callable[[PreparedChange, Mapping[str, Any]], Awaitable[list[Problem] | None]]
    sent: int = 0
    failed: list[tuple[int, str]] = field(default_factory=list)
    """What did not hold: (row, why)."""
    left: list[tuple[int, str]] = field(default_factory=list)
    """What is to be sent again: (row, why)."""
    has_held: bool = False

    @property
    def failure(self) -> str:
        """Why it failed, as a sentence; "" where it did not."""
        return self._sentence(self.failed)

    @property
    def reason(self) -> str:
        """Why nothing else is sent, as a sentence; "" where there is no reason."""
        return self._sentence(self.failed or self.left)

    def _sentence(self, found: list[tuple[int, str]]) -> str:
        if not found:
            return ""
        row, why = min(found)
        were = "change was" if self.sent == 1 else f"{self.sent} changes were"
        return f"The first {were} sent to try, and row {row} did not hold: {why}. Nothing else was sent."
