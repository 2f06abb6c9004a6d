"""What a record must show before a write, as a pure function of endpoint, conditions, fields and record."""

from typing import Any

import pytest

from batch.conditions import FieldChange, PlannedChange, check_undo_drift, find_conflicts
from batch.endpoints.vayu.customers import VayuCustomers
from batch.model import Condition

VAYU = VayuCustomers()
OLD = {"city": "Bonn", "addressText": "1 Dom", "verifiedAt": "2025"}
STEP = FieldChange("address.city", "Köln", "Bonn")


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (OLD, None),
        (OLD | {"verifiedAt": "2026", "checked": True}, None),
        (OLD | {"state": None}, None),
        (OLD | {"city": "Köln"}, None),
        (OLD | {"addressText": "2 Dom"}, "conflict_pulled_part"),
        (OLD | {"city": "Essen"}, "conflict_pulled"),
        (OLD | {"city": "Köln", "addressText": "2 Dom"}, None),
        (None, "conflict_pulled"),
    ],
)
def test_address(now: Any, code: str | None) -> None:
    """All parts count that a write takes, but not what the API adds of its own; nothing to write is no conflict."""
    conditions = [Condition("address", (OLD,), "pulled")]
    found = find_conflicts(VAYU, conditions, {"address.city": "Köln"}, {"address": now})
    assert [code] * (code is not None) == [one.code for one in found]


@pytest.mark.parametrize(
    ("now", "codes"), [("Old", []), ("New", []), ("Theirs", ["conflict_now"]), (None, ["conflict_now"])]
)
def test_now(now: Any, codes: list[str]) -> None:
    """A field that shows the wanted value already satisfies its condition, so that the rest of the row is written."""
    conditions, fields = [Condition("legalName", ("Old",), "now")], {"legalName": "New", "email": "a@b.example"}
    found = find_conflicts(VAYU, conditions, fields, {"legalName": now, "email": "old@b.example"})
    assert codes == [one.code for one in found]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (OLD | {"city": "Köln", "verifiedAt": "2026"}, ({"address.city": "Bonn"}, [])),
        (OLD | {"city": "Köln", "addressText": "2 Dom"}, ({}, ["kept_part"])),
        (OLD, ({}, [])),
    ],
)
def test_undo(now: Any, expected: tuple[dict[str, Any], list[str]]) -> None:
    """What a run left of an object counts as a whole when a part of it is put back."""
    planned = PlannedChange(2, "1", "", (STEP,), units={"address": OLD | {"city": "Köln"}})
    drift = check_undo_drift(VAYU, planned, {"address": now})
    assert expected == (drift.fields, [one.code for one in drift.drifted])
