"""A run's journal -> what it takes to put every record back as it was.

Promises: every change that was or may have been applied is in it, of a killed and of a resumed run as well; values are
the API's own, not cells; what cannot be put back is in it too, with the reason.
"""

from collections.abc import Iterator, Sequence

from batch.endpoints.base import MISSING, Endpoint, is_blank
from batch.journal import Journal
from batch.model import Fate, Intent, Outcome
from batch.run.plan_file import Planned, Step

NOT_READ = "kept: it was not read before it was changed (--no-compare), so what it was is not known"
AWAITING = "updated, "
"""Begins what `sender/writing.py` says of a change that the API took, but had not carried out yet."""
PENDING = "kept: the change waited for approval and does not show; withdraw it at the API, or it may still come"
ADDED = "kept: the run added it, and its neighbours were changed since (look at it by hand)"


def iter_images(journal: Journal, endpoint: Endpoint, first_row: int) -> Iterator[Planned]:
    """Yield what is to be put back, numbered from `first_row`."""
    row = first_row
    for intents, fate in journal.iter_intents():
        if may_be_applied(intents[-1], fate):
            last = intents[-1]
            note = PENDING if _is_pending(fate) else ""
            yield Planned(row, last.id, last.name, tuple(_steps(endpoint, intents)), of=last.number, note=note)
            row += 1


def may_be_applied(intent: Intent, fate: Fate | None) -> bool:
    """Whether the API may have applied a change: all but what it refused, or never looked at."""
    if not intent.attempts:
        return False
    if fate is None or fate.outcome in (Outcome.UPDATED, Outcome.UNKNOWN):
        return True
    if fate.attempts > 1 or fate.status is None:
        return True  # an earlier attempt may have arrived
    if fate.outcome is Outcome.REJECTED:
        return 200 <= fate.status < 300  # such as an answer that dropped a field
    return fate.status != 429


def _is_pending(fate: Fate | None) -> bool:
    """Whether the API took a change, but had not carried it out when it answered."""
    is_updated = fate is not None and fate.outcome is Outcome.UPDATED
    return is_updated and any(one.reason.startswith(AWAITING) for one in (fate.problems if fate else ()))


def _steps(endpoint: Endpoint, intents: Sequence[Intent]) -> Iterator[Step]:
    """Make a step of each field, and one of each nested value of which only parts were written."""
    steps = {step.field: step for step in _fields(intents)}
    wholes = {name: step for name in intents[-1].wholes if (step := _whole(endpoint, name, intents, steps)) is not None}
    for name, step in steps.items():
        if name.partition(".")[0] not in wholes or "." not in name:
            yield step
    yield from wholes.values()


def _fields(intents: Sequence[Intent]) -> Iterator[Step]:
    """Make a step of each field; what a resumed run wrote again, it wrote over what somebody else had put there."""
    steps: dict[str, Step] = {}
    for intent in intents:
        for name, value in intent.fields.items():
            before = (intent.before or {}).get(name, MISSING)
            steps[name] = Step(name, value, before, reason=NOT_READ if before is MISSING else "")
    yield from steps.values()


def _whole(endpoint: Endpoint, name: str, intents: Sequence[Intent], steps: dict[str, Step]) -> Step | None:
    """Put a list, or an object that was not there, back as a whole; part by part where somebody changed it since."""
    first, last = intents[0], intents[-1]
    if name not in last.body or name not in first.wholes:
        return None
    before, now = first.wholes[name], last.wholes[name]
    if not (is_blank(before) or isinstance(before, list)):
        return None
    parts = tuple(step for field, step in steps.items() if field.startswith(name + "."))
    if len(intents) > 1 and not _is_chained(endpoint, name, first, now):
        before = now
    if any(part.reason for part in parts):
        return None
    return Step(name, last.body[name], before, _parts(before, parts))


def _is_chained(endpoint: Endpoint, name: str, first: Intent, now: object) -> bool:
    """Whether nobody else wrote between the parts of a run."""
    return endpoint.is_same(name, first.wholes[name], now) or endpoint.is_same(name, first.body.get(name), now)


def _parts(before: object, parts: Sequence[Step]) -> tuple[Step, ...]:
    """Keep the parts that can be put back alone; one that the run added cannot be taken out alone."""
    if not isinstance(before, list) or not before:
        return ()
    known = []
    for part in parts:
        number = part.field.split(".")[1]
        is_added = number.isdecimal() and int(number) > len(before)
        known.append(Step(part.field, part.expected, MISSING, reason=ADDED) if is_added else part)
    return tuple(known)
