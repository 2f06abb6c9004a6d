"""Change + current record -> only what differs, and whether an answer proves what was asked.

Promises: pure; compares as the API means it (the endpoint says how); what the record does not show counts as differing,
so that it is sent; nothing is called the same that is not.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from batch.endpoints.base import MISSING, Endpoint, Record, is_blank
from batch.model import Problem, shorten, visible


@dataclass(frozen=True, slots=True)
class Difference:
    """The fields that differ, and what the record shows for them now (MISSING ones left out of `before`)."""

    fields: Mapping[str, Any]
    before: Mapping[str, Any]


def differing(endpoint: Endpoint, fields: Mapping[str, Any], record: Record) -> Difference:
    """Keep the fields for which `record` does not already have the wanted value."""
    now = {name: endpoint.value(record, name) for name in fields}
    wanted = {n: v for n, v in fields.items() if now[n] is MISSING or not endpoint.is_same(n, v, now[n])}
    return Difference(wanted, {name: now[name] for name in wanted if now[name] is not MISSING})


def unproven(endpoint: Endpoint, record_id: str, fields: Mapping[str, Any], record: Record) -> list[Problem]:
    """List what an answer shows otherwise than asked; fields that it does not show prove nothing either way."""
    shown = endpoint.record_id(record)
    if shown and endpoint.id_key(shown) != endpoint.id_key(record_id):
        return [
            Problem(f"the API answered with another record ({shorten(visible(shown))}): look at both before going on")
        ]
    found = []
    for name, wanted in fields.items():
        now = endpoint.value(record, name)
        if now is not MISSING and not endpoint.is_same(name, wanted, now):
            reason = f"the API accepted the change, but still shows {show(now)} instead of {show(wanted)}"
            found.append(Problem(reason, field=name))
    return found


def is_as_before(endpoint: Endpoint, before: Mapping[str, Any], record: Record) -> bool:
    """Whether the record still shows what it showed before an attempt whose answer never came."""
    return all(endpoint.is_same(name, value, endpoint.value(record, name)) for name, value in before.items())


def hidden(endpoint: Endpoint, names: Iterable[str], record: Record) -> list[str]:
    """List the fields that a record does not show, so that nothing can be said about them."""
    return [name for name in names if not endpoint.has_value(record, name)]


def neither(endpoint: Endpoint, wanted: Mapping[str, Any], before: Mapping[str, Any], record: Record) -> list[Problem]:
    """List the fields that a record, after an attempt without an answer, does not show as they were sent."""
    return [
        Problem(
            f"no answer came, and the record now shows {show(now)}: it was {show(before[name])}, "
            f"and {show(value)} was sent (somebody else may have changed it)",
            field=name,
        )
        for name, value in wanted.items()
        if name in before and not endpoint.is_same(name, value, now := endpoint.value(record, name))
    ]


def show(value: Any) -> str:
    """Show a value to a person: text in quotes, nothing as (empty), what is not there as (not shown)."""
    if value is MISSING:
        return "(not shown)"
    if is_blank(value):
        return "(empty)"
    if isinstance(value, str):
        return f'"{shorten(visible(value))}"'
    return shorten(visible(json.dumps(value, ensure_ascii=False)))
