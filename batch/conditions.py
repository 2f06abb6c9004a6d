"""What a record must show before a write: what was planned of it, what a run had written, what a sheet expects.

Promises: pure; a field that already has the wanted value satisfies its condition; one that shows neither the expected
nor the wanted value is never written over in silence, but told with both. Where the API replaces a whole object, all of
its parts count.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from batch.diff import differing, show
from batch.endpoints.base import MISSING, Endpoint, Record, same_value
from batch.model import NOW, Condition, Problem

# -- what a sheet expects --------------------------------------------------------------------------------------------


def find_conflicts(
    endpoint: Endpoint, conditions: Iterable[Condition], fields: Mapping[str, Any], record: Record
) -> list[Problem]:
    """Say which conditions do not hold, so that `fields` must not be written; where nothing is to be written, none.

    A condition on what `fields` leaves as it is counts only where a column of the sheet names it.
    """
    written = differing(endpoint, fields, record).fields
    found: dict[tuple[str, str], Problem] = {}
    for condition in conditions if written else ():
        for problem in _find_conflicts(endpoint, condition, fields, written, record):
            found.setdefault((problem.code, problem.field), problem)
    return list(found.values())


def _find_conflicts(
    endpoint: Endpoint, condition: Condition, fields: Mapping[str, Any], written: Collection[str], record: Record
) -> Iterator[Problem]:
    name, now = condition.field, endpoint.value(record, condition.field)
    if condition.origin == "now":
        if not _shows(endpoint, name, (*condition.accepted, *_wanted(fields, name)), now):
            values = {"now": show(now), "expected": show(condition.accepted[0])}
            yield Problem("conflict_now", values, name + NOW)
        return
    touched = [one for one in written if endpoint.unit(one) == name]
    if not touched or _shows(endpoint, name, condition.accepted, now):
        return
    if name in touched:
        yield _conflict(name, now, condition.accepted[0], fields[name])
        return
    changed = _changed_parts(endpoint, condition, fields, now)
    own = [one for one in changed if one in touched]
    for one in own:
        yield _conflict(one, *changed[one], fields[one])
    if changed and not own:  # another part of what goes with it
        part, (shown, expected) = next(iter(changed.items()))
        problem = _conflict(touched[0], shown, expected, fields[touched[0]])
        yield replace(problem, code="conflict_pulled_part", values={**problem.values, "part": part})


def _wanted(fields: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    return (fields[name],) if name in fields else ()


def _shows(endpoint: Endpoint, name: str, values: Iterable[Any], now: Any) -> bool:
    return now is not MISSING and any(endpoint.is_same(name, value, now) for value in values)


def _changed_parts(
    endpoint: Endpoint, condition: Condition, fields: Mapping[str, Any], now: Any
) -> dict[str, tuple[Any, Any]]:
    """Return the parts of an object that show neither what is accepted nor what is wanted, with both values."""
    accepted = [one if isinstance(one, Mapping) else {} for one in condition.accepted]
    shown = MISSING if now is MISSING else now if isinstance(now, Mapping) else {}
    parts = dict.fromkeys(part for one in (*accepted, shown) if one is not MISSING for part in one)
    changed = {}
    for part in parts:
        name = f"{condition.field}.{part}"
        value = MISSING if shown is MISSING else shown.get(part)
        is_accepted = value is not MISSING and any(same_value(one.get(part), value) for one in accepted)
        if not (is_accepted or _shows(endpoint, name, _wanted(fields, name), value)):
            changed[name] = (value, accepted[0].get(part))
    return changed


def _conflict(name: str, now: Any, expected: Any, wanted: Any) -> Problem:
    values = {"now": show(now), "expected": show(expected), "wanted": show(wanted)}
    return Problem("conflict_pulled", values, name)


# -- what a plan or an undo expects ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field: the value that is expected (MISSING: nobody could see it) and the one that is wanted.

    `parts`: what to do part by part where the whole is not as expected. `problem`: why nothing can be done.
    """

    field: str
    expected: Any
    wanted: Any
    parts: tuple["FieldChange", ...] = ()
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What is to be done to one record."""

    row: int
    """The first of its rows."""
    id: str
    name: str
    steps: tuple[FieldChange, ...]
    of: int | None = None
    """The row of the run that is taken back."""
    note: Problem | None = None
    """What is to be said where the record shows that there is nothing to do."""


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """What is left to do, and the fields that are neither as expected nor as wanted."""

    fields: dict[str, Any]
    drifted: tuple[Problem, ...]


def check_plan_drift(
    endpoint: Endpoint, planned: PlannedChange | None, fields: Mapping[str, Any], record: Record
) -> DriftCheck:
    """Compare a plan with a record; fields that the plan leaves alone must be what the sheet says."""
    steps = {step.field: step for step in planned.steps} if planned else {}
    for name, value in fields.items():
        steps.setdefault(name, FieldChange(name, value, value))
    return _check_drift(endpoint, tuple(steps.values()), record, _drift_from_plan)


def check_undo_drift(endpoint: Endpoint, planned: PlannedChange, record: Record) -> DriftCheck:
    """Compare what a run wrote with a record."""
    return _check_drift(endpoint, planned.steps, record, _kept)


def _check_drift(
    endpoint: Endpoint, steps: Sequence[FieldChange], record: Record, say: Callable[[FieldChange, Any], Problem]
) -> DriftCheck:
    fields: dict[str, Any] = {}
    drifted: list[Problem] = []
    for step in steps:
        now = endpoint.value(record, step.field)
        if step.problem:
            drifted.append(replace(step.problem, field=step.field))
        elif _is_same(endpoint, step, step.wanted, now):
            continue
        elif _is_same(endpoint, step, step.expected, now) or (now is MISSING and step.expected is MISSING):
            fields[step.field] = endpoint.writable(step.field, step.wanted)
            if left := endpoint.unwritable(step.field, step.wanted):
                drifted.append(Problem("put_back_without", {"parts": ", ".join(left[:5])}, step.field))
        elif step.parts:
            inner = _check_drift(endpoint, step.parts, record, say)
            fields |= inner.fields
            drifted += inner.drifted
        else:
            drifted.append(say(step, now))
    return DriftCheck(fields, tuple(drifted))


def _is_same(endpoint: Endpoint, step: FieldChange, value: Any, now: Any) -> bool:
    if value is MISSING or now is MISSING:
        return False
    return endpoint.is_same(step.field, value, now)


def _drift_from_plan(step: FieldChange, now: Any) -> Problem:
    values = {"now": show(now), "expected": show(step.expected), "wanted": show(step.wanted)}
    if step.expected is step.wanted:
        code = "sheet_drifted_hidden" if now is MISSING else "sheet_drifted"
    elif step.expected is MISSING:
        code = "plan_blind"
    else:
        code = "plan_drifted_hidden" if now is MISSING else "plan_drifted"
    return Problem(code, values, step.field)


def _kept(step: FieldChange, now: Any) -> Problem:
    values = {"now": show(now), "written": show(step.expected), "before": show(step.wanted)}
    return Problem("kept_hidden" if now is MISSING else "kept_drifted", values, step.field)
