"""Change + current record -> whether, and how, the record shows it: what differs, what was proven, what another did.

Promises: pure; `shows` alone decides, for comparing, reading back, resuming, plans and undo alike; values are compared
as the endpoint says that its API does; a field that the record does not show counts as different, so that it is sent;
different values are never taken for equal.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from batch.endpoints.base import MISSING, Endpoint, Record, is_blank
from batch.exact_json import encode_for_people
from batch.model import Change, Problem, shorten, visible


class How(Enum):
    """How a record shows a value."""

    AS_ASKED = "as asked"
    OTHERWISE = "otherwise"
    HIDDEN = "not at all"


@dataclass(frozen=True, slots=True)
class Shown:
    """How a record shows the values that were asked for, field by field."""

    asked: Mapping[str, Any]
    now: Mapping[str, Any]
    """What the record shows, MISSING where it shows nothing."""
    how: Mapping[str, How]

    @property
    def is_as_asked(self) -> bool:
        """Whether the record shows every one of the values, of which there is one at least."""
        return bool(self.asked) and not self.differing

    @property
    def differing(self) -> dict[str, Any]:
        """The values asked for that the record does not show."""
        return {name: value for name, value in self.asked.items() if self.how[name] is not How.AS_ASKED}

    @property
    def before(self) -> dict[str, Any]:
        """What the record shows in place of those values."""
        return {name: self.now[name] for name in self.differing if self.how[name] is not How.HIDDEN}

    @property
    def hidden(self) -> dict[str, Any]:
        """The values asked for of fields that the record does not show, so that it proves nothing about them."""
        return {name: value for name, value in self.asked.items() if self.how[name] is How.HIDDEN}

    @property
    def problems(self) -> list[Problem]:
        """Why the record disproves a confirmed change: fields that it shows otherwise, with both values."""
        return [
            Problem("not_shown", {"now": show(self.now[name]), "wanted": show(value)}, name)
            for name, value in self.asked.items()
            if self.how[name] is How.OTHERWISE
        ]

    def neither(self, before: Mapping[str, Any]) -> list[Problem]:
        """Return problems for fields that, after an attempt without an answer, show another value than was sent."""
        return [
            Problem(
                "shows_neither",
                {"now": show(self.now[name]), "before": show(before[name]), "wanted": show(value)},
                name,
            )
            for name, value in self.asked.items()
            if name in before and self.how[name] is How.OTHERWISE
        ]


def shows(endpoint: Endpoint, fields: Mapping[str, Any], record: Record) -> Shown:
    """Say whether, and how, `record` shows the values in `fields`."""
    now = {name: endpoint.value(record, name) for name in fields}
    return Shown(fields, now, {name: shows_value(endpoint, name, value, now[name]) for name, value in fields.items()})


def shows_value(endpoint: Endpoint, name: str, wanted: Any, now: Any) -> How:
    """Say how a field that shows `now` shows a value; nothing shows MISSING, not even MISSING."""
    if now is MISSING:
        return How.HIDDEN
    return How.AS_ASKED if wanted is not MISSING and endpoint.is_same(name, wanted, now) else How.OTHERWISE


def other_record(endpoint: Endpoint, record_id: str, record: Record) -> list[Problem]:
    """Return a problem where an answer is about another record than `record_id`, whatever it shows."""
    shown = endpoint.record_id(record)
    is_other = shown and endpoint.id_key(shown) != endpoint.id_key(record_id)
    return [Problem("other_record", {"id": shorten(visible(shown))})] if is_other else []


def zeros_lost(endpoint: Endpoint, change: Change, record: Record) -> list[Problem]:
    """Return problems for cells stored as numbers of which `record` shows the same number with zeros in front."""
    found = []
    for name in sorted(change.bare_numbers & change.fields.keys()):
        now, wanted = endpoint.value(record, name), change.fields[name]
        is_list = isinstance(now, list) and isinstance(wanted, list)
        pairs = zip(now, wanted, strict=False) if is_list else [(now, wanted)]
        if any(_is_longer_by_zeros(shown, number) for shown, number in pairs):
            found.append(Problem("zeros_lost", {"now": show(now)}, name))
    return found


def _is_longer_by_zeros(now: Any, wanted: Any) -> bool:
    if not (isinstance(now, str) and isinstance(wanted, str)):
        return False
    digits: str = now.strip()
    return digits.isdecimal() and len(digits) > len(wanted) and digits.lstrip("0") == wanted.lstrip("0")


def hidden(endpoint: Endpoint, names: Iterable[str], record: Record) -> list[str]:
    """Return the fields that a record does not show, so that nothing is known about them."""
    return [name for name in names if not endpoint.has_value(record, name)]


def overwritten(
    endpoint: Endpoint, wanted: Mapping[str, Any], before: Mapping[str, Any], record: Record
) -> list[Problem]:
    """Return problems for fields to write that another hand has changed since they showed `before`."""
    shown, known = shows(endpoint, wanted, record), shows(endpoint, before, record)
    return [
        Problem("wrote_over", {"now": show(shown.now[name]), "before": show(before[name])}, name)
        for name in wanted
        if name in before and shown.how[name] is How.OTHERWISE and known.how[name] is How.OTHERWISE
    ]


def show(value: Any) -> str:
    """Return a value for a message: text in quotes, a blank as (empty), a missing one as (not shown)."""
    if value is MISSING:
        return "(not shown)"
    if is_blank(value):
        return "(empty)"
    if isinstance(value, str):
        return f'"{shorten(visible(value))}"'
    return shorten(visible(encode_for_people(value)))
