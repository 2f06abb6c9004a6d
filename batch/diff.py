"""Change + current record -> only what differs, and whether a record shows what was sent.

Promises: pure; values are compared as the endpoint says that its API does; a field that the record does not show counts
as different, so that it is sent; different values are never taken for equal.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from batch.endpoints.base import MISSING, Endpoint, Record, is_blank
from batch.model import Change, Problem, shorten, visible


@dataclass(frozen=True, slots=True)
class Difference:
    """The fields that differ, and what the record shows for them now (MISSING ones left out of `before`)."""

    fields: Mapping[str, Any]
    before: Mapping[str, Any]


def differing(endpoint: Endpoint, fields: Mapping[str, Any], record: Record) -> Difference:
    """Return the fields for which `record` does not already have the wanted value."""
    now = {name: endpoint.value(record, name) for name in fields}
    wanted = {n: v for n, v in fields.items() if now[n] is MISSING or not endpoint.is_same(n, v, now[n])}
    return Difference(wanted, {name: now[name] for name in wanted if now[name] is not MISSING})


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


def unproven(endpoint: Endpoint, record_id: str, fields: Mapping[str, Any], record: Record) -> list[Problem]:
    """Return problems for fields that an answer does not show as sent; fields that it lacks do not count."""
    shown = endpoint.record_id(record)
    if shown and endpoint.id_key(shown) != endpoint.id_key(record_id):
        return [Problem("other_record", {"id": shorten(visible(shown))})]
    found = []
    for name, wanted in fields.items():
        now = endpoint.value(record, name)
        if now is not MISSING and not endpoint.is_same(name, wanted, now):
            found.append(Problem("not_shown", {"now": show(now), "wanted": show(wanted)}, name))
    return found


def is_as_before(endpoint: Endpoint, before: Mapping[str, Any], record: Record) -> bool:
    """Return whether the record still shows what it showed before an attempt whose answer never came."""
    return all(endpoint.is_same(name, value, endpoint.value(record, name)) for name, value in before.items())


def hidden(endpoint: Endpoint, names: Iterable[str], record: Record) -> list[str]:
    """Return the fields that a record does not show, so that nothing is known about them."""
    return [name for name in names if not endpoint.has_value(record, name)]


def neither(endpoint: Endpoint, wanted: Mapping[str, Any], before: Mapping[str, Any], record: Record) -> list[Problem]:
    """Return problems for fields that a record, after an attempt without an answer, shows otherwise than as sent."""
    return [
        Problem("shows_neither", {"now": show(now), "before": show(before[name]), "wanted": show(value)}, name)
        for name, value in wanted.items()
        if name in before and (now := endpoint.value(record, name)) is not MISSING
        if not endpoint.is_same(name, value, now)
    ]


def show(value: Any) -> str:
    """Return a value for a message: text in quotes, a blank as (empty), a missing one as (not shown)."""
    if value is MISSING:
        return "(not shown)"
    if is_blank(value):
        return "(empty)"
    if isinstance(value, str):
        return f'"{shorten(visible(value))}"'
    return shorten(visible(json.dumps(value, ensure_ascii=False)))
