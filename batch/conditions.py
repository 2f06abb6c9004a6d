"""What a record must show before a write: what was planned of it, or what a run had written.

Promises: pure; a field that already has the wanted value satisfies its condition; one that shows neither the expected
nor the wanted value is never written over in silence, but told with both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from batch.diff import show
from batch.endpoints.base import MISSING, Endpoint, Record
from batch.model import Problem


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
            fields[step.field] = step.wanted
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
