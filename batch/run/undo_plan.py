"""A run's journal -> what it takes to put every record back as it was.

Promises: every change that was or may have been applied is in it, of a killed and of a resumed run as well; values are
the API's own, not cells; what cannot be put back is in it too, with the reason.
"""

from collections.abc import Iterator, Sequence

from batch.conditions import FieldChange, PlannedChange
from batch.endpoints.base import MISSING, Endpoint, is_blank
from batch.journal import Journal
from batch.model import Intent, Outcome, Problem, RowResult

PENDING_BEFORE_CODES = "updated, "
"""Begins what 0.1, which wrote down no codes, said of a change that the API took but had not carried out yet."""


def iter_undo_changes(journal: Journal, endpoint: Endpoint, first_row: int) -> Iterator[PlannedChange]:
    """Yield what is to be put back, numbered from `first_row`."""
    row = first_row
    for intents, row_result in journal.iter_intents():
        if may_be_applied(intents[-1], row_result):
            last = intents[-1]
            note = Problem("kept_pending") if _is_pending(row_result) else None
            yield PlannedChange(row, last.id, last.name, tuple(_steps(endpoint, intents)), of=last.number, note=note)
            row += 1


def may_be_applied(intent: Intent, row_result: RowResult | None) -> bool:
    """Whether the API may have applied a change: all but what it refused, or never saw."""
    if not intent.attempts:
        return False
    if row_result is None or row_result.outcome in (Outcome.UPDATED, Outcome.UNKNOWN):
        return True
    if row_result.attempts > 1 or row_result.status is None:
        return True  # an earlier attempt may have arrived
    if row_result.outcome is Outcome.REJECTED:
        return 200 <= row_result.status < 300  # such as an answer that dropped a field
    return row_result.status != 429


def _is_pending(row_result: RowResult | None) -> bool:
    """Whether the API took a change, but had not carried it out when it answered."""
    return (
        row_result is not None
        and row_result.outcome is Outcome.UPDATED
        and any(
            one.code == "pending" or (not one.code and one.text.startswith(PENDING_BEFORE_CODES))
            for one in row_result.problems
        )
    )


def _steps(endpoint: Endpoint, intents: Sequence[Intent]) -> Iterator[FieldChange]:
    """Make a step of each field, and one of each nested value of which only parts were written."""
    steps = {step.field: step for step in _fields(intents)}
    replaced_whole = {
        name: step
        for name in intents[-1].replaced_whole
        if (step := _whole(endpoint, name, intents, steps)) is not None
    }
    for name, step in steps.items():
        if name.partition(".")[0] not in replaced_whole or "." not in name:
            yield step
    yield from replaced_whole.values()


def _fields(intents: Sequence[Intent]) -> Iterator[FieldChange]:
    """Make a step of each field; what a resumed run wrote again, it wrote over what somebody else had put there."""
    steps: dict[str, FieldChange] = {}
    for intent in intents:
        for name, value in intent.fields.items():
            before = (intent.before or {}).get(name, MISSING)
            problem = Problem("kept_unread") if before is MISSING else None
            steps[name] = FieldChange(name, value, before, problem=problem)
    yield from steps.values()


def _whole(
    endpoint: Endpoint, name: str, intents: Sequence[Intent], steps: dict[str, FieldChange]
) -> FieldChange | None:
    """Put a list, or an object that was not there, back as a whole; part by part where somebody changed it since."""
    first, last = intents[0], intents[-1]
    if name not in last.body or name not in first.replaced_whole:
        return None
    before, now = first.replaced_whole[name], last.replaced_whole[name]
    if not (is_blank(before) or isinstance(before, list)):
        return None
    parts = tuple(step for field, step in steps.items() if field.startswith(name + "."))
    if len(intents) > 1 and not _is_chained(endpoint, name, first, now):
        before = now
    if any(part.problem for part in parts):
        return None
    return FieldChange(name, last.body[name], before, _parts(before, parts))


def _is_chained(endpoint: Endpoint, name: str, first: Intent, now: object) -> bool:
    """Whether nobody else wrote between the parts of a run."""
    return endpoint.is_same(name, first.replaced_whole[name], now) or endpoint.is_same(name, first.body.get(name), now)


def _parts(before: object, parts: Sequence[FieldChange]) -> tuple[FieldChange, ...]:
    """Keep the parts that can be put back alone; one that the run added cannot be taken out alone."""
    if not isinstance(before, list) or not before:
        return ()
    known = []
    for part in parts:
        number = part.field.split(".")[1]
        is_added = number.isdecimal() and int(number) > len(before)
        added = FieldChange(part.field, part.expected, MISSING, problem=Problem("kept_added"))
        known.append(added if is_added else part)
    return tuple(known)
