"""What a record must show before a write: what was planned of it, what a run had written, what a sheet expects.

Promises: pure; a field that already has the wanted value satisfies its condition; one that shows neither the expected
nor the wanted value is never written over in silence, but told with both. Where the API replaces a whole object, all of
its parts count.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from batch.credentials import hidden_texts, hide_known
from batch.diff import Known, nothing_known, show, shows, shows_value
from batch.endpoints.base import MISSING, Endpoint, Record, is_blank, same_value
from batch.model import NOW, Condition, Problem

# -- what a sheet expects --------------------------------------------------------------------------------------------


def find_conflicts(
    endpoint: Endpoint, conditions: Collection[Condition], fields: Mapping[str, Any], record: Record,
    known: Known = nothing_known,
) -> list[Problem]:  # fmt: skip
    """Say which conditions do not hold, so that `fields` must not be written; where nothing is to be written, none.

    A condition on what `fields` leaves as it is counts only where a column of the sheet names it.
    """
    if not conditions:  # as most changes have none
        return []
    written = shows(endpoint, fields, record, known).differing
    found: dict[tuple[str, str], Problem] = {}
    for condition in conditions if written else ():
        for problem in _find_conflicts(endpoint, condition, fields, written, record, known):
            found.setdefault((problem.code, problem.field), problem)
    return list(found.values())


def _find_conflicts(
    endpoint: Endpoint, condition: Condition, fields: Mapping[str, Any], written: Collection[str], record: Record,
    known: Known,
) -> Iterator[Problem]:  # fmt: skip
    name, now = condition.field, endpoint.value(record, condition.field)
    if condition.origin == "now":
        if not _shows(endpoint, name, (*condition.accepted, *_wanted(fields, name)), now, known):
            values = {"now": show(now), "expected": show(condition.accepted[0])}
            yield Problem("conflict_now", values, name + NOW)
        return
    touched = [one for one in written if endpoint.unit(one) == name]
    if not touched or _shows(endpoint, name, condition.accepted, now, known):
        return
    if name in touched:
        yield _conflict(condition, name, now, condition.accepted[0], fields[name])
        return
    wanted = {part: (value,) for part, value in fields.items()}
    changed = _changed_parts(endpoint, name, condition.accepted, wanted, now, known)
    own = [one for one in changed if one in touched]
    for one in own:
        yield _conflict(condition, one, *changed[one], fields[one])
    if changed and not own:  # another part of what goes with it
        part, (shown, expected) = next(iter(changed.items()))
        problem = _conflict(condition, touched[0], shown, expected, fields[touched[0]])
        yield replace(problem, code=CONFLICTS_BESIDE[condition.origin], values={**problem.values, "part": part})


def _wanted(fields: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    return (fields[name],) if name in fields else ()


def _shows(endpoint: Endpoint, name: str, values: Iterable[Any], now: Any, known: Known) -> bool:
    return any(shows_value(endpoint, name, value, now, known).is_shown for value in values)


def _changed_parts(
    endpoint: Endpoint, unit: str, accepted: Sequence[Any], wanted: Mapping[str, Sequence[Any]], now: Any, known: Known
) -> dict[str, tuple[Any, Any]]:
    """Return the parts of an object that show neither what is accepted nor what is wanted, with both values.

    What the API adds of its own does not count.
    """
    objects = [one if isinstance(one, Mapping) else {} for one in accepted]
    shown = MISSING if now is MISSING else now if isinstance(now, Mapping) else {}
    parts = dict.fromkeys(part for one in (*objects, shown) if one is not MISSING for part in one)
    changed = {}
    for part in parts:
        name = f"{unit}.{part}"
        value = MISSING if shown is MISSING else shown.get(part)
        is_accepted = value is not MISSING and any(same_value(one.get(part), value) for one in objects)
        is_own = endpoint.field_named(name) is None
        if not (is_accepted or is_own or _shows(endpoint, name, wanted.get(name, ()), value, known)):
            changed[name] = (value, objects[0].get(part))
    return changed


CONFLICTS = {"pulled": "conflict_pulled", "seen": "conflict_seen"}
CONFLICTS_BESIDE = {"pulled": "conflict_pulled_part", "seen": "conflict_seen_part"}
"""Codes by who expects something: of the field itself, and of another part of its object."""


def _conflict(condition: Condition, name: str, now: Any, expected: Any, wanted: Any) -> Problem:
    later = {"later": ""} if condition.origin == "seen" else {}  # whoever knows of later runs, says when they ended
    values = {"now": show(now), "expected": show(expected), "wanted": show(wanted), **later}
    return Problem(CONFLICTS[condition.origin], values, name)


# -- what is only filled ---------------------------------------------------------------------------------------------

KEPT = ("fill_kept", "fill_kept_part")
"""Codes of fields that are left as they are where only empty ones are filled."""


def find_filled(
    endpoint: Endpoint, fields: Mapping[str, Any], record: Record, known: Known = nothing_known
) -> list[Problem]:  # fmt: skip
    """Say which of `fields` must not be written where only empty ones are filled: those with another value.

    Parts of an object that go together (`Endpoint.unit`) are filled together or not at all: where one that is wanted
    has another value, the others would make an address of two. A field that the record does not show may have one.
    """
    shown = shows(endpoint, fields, record, known)
    found = {}
    for name, wanted in shown.differing.items():
        now = shown.now[name]
        if now is MISSING:
            found[name] = Problem("fill_unseen", field=name)
        elif not is_blank(now):
            found[name] = Problem("fill_kept", {"now": show(now), "wanted": show(wanted)}, name)
    units = {endpoint.unit(name): name for name, one in found.items() if endpoint.unit(name) != name}
    for name, wanted in shown.differing.items():
        part = units.get(endpoint.unit(name))
        if part is not None and name not in found:
            values = {"part": part, "now": show(shown.now[part]), "wanted": show(wanted)}
            found[name] = Problem("fill_kept_part", values, name)
    return [found[name] for name in fields if name in found]


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
    shown: Any = MISSING
    """How the API showed what was written, where that was not to the letter: it is expected as well."""


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
    units: Mapping[str, Any] = field(default_factory=dict)
    """What is expected of the objects of which `steps` are parts (`Endpoint.unit`): nothing of it may have changed."""
    hidden: Mapping[str, str] = field(default_factory=dict)
    """What is shown of its texts that have a secret in them (`credentials.hidden_texts`)."""

    def with_hidden(self, hidden: Mapping[str, str]) -> "PlannedChange":
        """Return the same with what of `hidden` is about it."""
        if not hidden:
            return self
        return replace(self, hidden=hidden_texts(self._texts, hide_known(hidden)))

    @property
    def _texts(self) -> list[Any]:
        return [self.id, self.name, *([one.expected, one.wanted] for one in self.steps)]

    def as_shown(self, hide: Callable[[str], str] | None = None) -> "PlannedChange":
        """Return the same as it may be shown and written to files, and never sent, without secrets.

        `hide` takes them out; None: those that it is known to hold.
        """
        hide = hide_known(self.hidden) if hide is None else hide
        steps = tuple(
            FieldChange(one.field, _hidden(one.expected, hide), _hidden(one.wanted, hide)) for one in self.steps
        )
        return replace(self, id=hide(self.id), name=hide(self.name), steps=steps)


def _hidden(value: Any, hide: Callable[[str], str]) -> Any:
    match value:
        case str():
            return hide(value)
        case list():
            return [_hidden(one, hide) for one in value]
        case Mapping():
            return {name: _hidden(one, hide) for name, one in value.items()}
    return value


def expected_units(endpoint: Endpoint, names: Iterable[str], *shown: Record) -> dict[str, Any]:
    """Return the objects that go with fields, from the first of `shown` (records or write bodies) that has them."""
    units = {}
    for name in names:
        unit, whole = endpoint.unit(name), name.partition(".")[0]
        known = next((one for one in shown if whole in one), None)
        if unit != name and known is not None:
            units[unit] = endpoint.value(known, unit)
    return units


def as_shown(endpoint: Endpoint, body: Record, shown: Mapping[str, Any]) -> Record:
    """Return a write body as the API shows it, with what it `shown` otherwise than asked in its place."""
    parts = {name: value for name, value in shown.items() if "." in name and not endpoint.is_custom(name)}
    wholes = {name.partition(".")[0] for name in parts}
    known = {whole: body[whole] for whole in wholes if not is_blank(body.get(whole))}
    made = endpoint.body({name: one for name, one in parts.items() if name.partition(".")[0] in known}, known)
    return {**body, **{whole: made[whole] for whole in known}}


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """What is left to do, and the fields that are neither as expected nor as wanted."""

    fields: dict[str, Any]
    drifted: tuple[Problem, ...]


def check_plan_drift(
    endpoint: Endpoint, planned: PlannedChange | None, fields: Mapping[str, Any], record: Record,
    known: Known = nothing_known,
) -> DriftCheck:  # fmt: skip
    """Compare a plan with a record; fields that the plan leaves alone must be what the sheet says."""
    steps = {step.field: step for step in planned.steps} if planned else {}
    for name, value in fields.items():
        steps.setdefault(name, FieldChange(name, value, value))
    units = planned.units if planned else {}
    return _check_drift(endpoint, tuple(steps.values()), units, record, _drift_from_plan, known)


def check_undo_drift(
    endpoint: Endpoint, planned: PlannedChange, record: Record, known: Known = nothing_known
) -> DriftCheck:
    """Compare what a run wrote with a record."""
    return _check_drift(endpoint, planned.steps, planned.units, record, _kept, known)


Say = Callable[[FieldChange, Any, str, Any], Problem]
"""Makes the problem of a step: what is seen instead, and, where that is another part of its object, which, expected."""


def _check_drift(
    endpoint: Endpoint, steps: Sequence[FieldChange], units: Mapping[str, Any], record: Record, say: Say, known: Known
) -> DriftCheck:
    fields: dict[str, Any] = {}
    drifted: list[Problem] = []
    for step in steps:
        now = endpoint.value(record, step.field)
        if step.wanted is not MISSING and _shows(endpoint, step.field, (step.wanted,), now, known):
            continue
        if step.problem:
            drifted.append(replace(step.problem, field=step.field))
        elif _shows(endpoint, step.field, (step.expected, step.shown), now, known) or (
            now is MISSING and step.expected is MISSING
        ):
            beside = _changed_beside(endpoint, step, steps, units, record, known)
            if beside is None:
                fields[step.field] = endpoint.writable(step.field, step.wanted)
                if left := endpoint.unwritable(step.field, step.wanted):
                    drifted.append(Problem("put_back_without", {"parts": ", ".join(left[:5])}, step.field))
            else:
                part, (shown, expected) = beside
                drifted.append(say(step, shown, part, expected))
        elif step.parts:
            inner = _check_drift(endpoint, step.parts, units, record, say, known)
            fields |= inner.fields
            drifted += inner.drifted
        else:
            drifted.append(say(step, now, "", None))
    return DriftCheck(fields, tuple(drifted))


def _changed_beside(
    endpoint: Endpoint,
    step: FieldChange,
    steps: Sequence[FieldChange],
    units: Mapping[str, Any],
    record: Record,
    known: Known,
) -> tuple[str, tuple[Any, Any]] | None:
    """Return the first part that was changed of the object that a step writes with it, its value and the expected."""
    unit = endpoint.unit(step.field)
    if unit not in units or unit == step.field:
        return None
    wanted = {one.field: (one.wanted, one.shown) for one in steps}
    changed = _changed_parts(endpoint, unit, (units[unit],), wanted, endpoint.value(record, unit), known)
    return next(iter(changed.items()), None)


def _drift_from_plan(step: FieldChange, now: Any, part: str, expected: Any) -> Problem:
    if part:
        shown = {"now": show(now), "expected": show(expected), "wanted": show(step.wanted)}
        return Problem("plan_drifted_part", {"part": part, **shown}, step.field)
    values = {"now": show(now), "expected": show(step.expected), "wanted": show(step.wanted)}
    if step.expected is step.wanted:
        code = "sheet_drifted_hidden" if now is MISSING else "sheet_drifted"
    elif step.expected is MISSING:
        code = "plan_blind"
    else:
        code = "plan_drifted_hidden" if now is MISSING else "plan_drifted"
    return Problem(code, values, step.field)


def _kept(step: FieldChange, now: Any, part: str, expected: Any) -> Problem:
    if part:
        return Problem("kept_part", {"part": part, "now": show(now), "written": show(expected)}, step.field)
    values = {"now": show(now), "written": show(step.expected), "before": show(step.wanted)}
    return Problem("kept_hidden" if now is MISSING else "kept_drifted", values, step.field)
