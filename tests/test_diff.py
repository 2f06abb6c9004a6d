"""Change + current record -> only what differs, and what an answer proves."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.diff import How, Known, hidden, other_record, show, shows
from batch.endpoints.base import MISSING
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.endpoints.vayu.customers import VayuCustomers

DUALENTRY, VAYU = DualEntryCustomers(), VayuCustomers()
RECORD = {"id": 42, "name": "Bolt", "phone": "", "full_address": {"city": "Bonn", "state": ""}, "custom_fields": []}
STILL = "the API accepted the change, but still shows {} instead of {}"


@pytest.mark.parametrize(
    ("fields", "differ", "before"),
    [
        ({"name": "Bolt", "phone": None}, {}, {}),
        ({"name": "bolt"}, {"name": "bolt"}, {"name": "Bolt"}),
        ({"phone": "5", "name": "Bolt"}, {"phone": "5"}, {"phone": ""}),
        ({"name": None}, {"name": None}, {"name": "Bolt"}),
        (
            {"full_address.city": "Bonn", "full_address.state": "NW"},
            {"full_address.state": "NW"},
            {"full_address.state": ""},
        ),
        ({"website": "x"}, {"website": "x"}, {}),
        ({"website": None}, {"website": None}, {}),
        ({"custom_fields.Tier": None}, {}, {}),
        ({"custom_fields.Tier": False}, {"custom_fields.Tier": False}, {"custom_fields.Tier": None}),
    ],
)
def test_differing(fields: Any, differ: Any, before: Any) -> None:
    """Only what differs is kept, with what it was; what the record does not show counts as differing."""
    found = shows(DUALENTRY, fields, RECORD)
    assert (differ, before) == (found.differing, found.before)


VALUES = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "A", "1", "true", " a"])


@given(st.dictionaries(st.sampled_from(["name", "phone", "email", "full_address.city"]), VALUES), VALUES, VALUES)
def test_equal_is_never_different(fields: Any, name: Any, city: Any) -> None:
    """A record that shows exactly what is wanted never differs, and one that differs is never proof."""
    record = {"id": 1, "name": name, "full_address": {"city": city}}
    found = shows(DUALENTRY, fields, record)
    same = [
        key
        for key in found.differing
        if DUALENTRY.has_value(record, key) and json.dumps(DUALENTRY.value(record, key)) == json.dumps(fields[key])
    ]
    assert [] == same
    shown = [key for key in found.differing if DUALENTRY.has_value(record, key)]
    disproved = [one.field for one in found.problems]
    assert (set(shown), set()) == ({*disproved, *found.spelt}, {*disproved} & {*found.spelt})


def test_proof() -> None:
    """An answer that shows all that was asked leaves nothing to say."""
    found = shows(DUALENTRY, {"name": "Bolt", "phone": None, "website": "not shown"}, RECORD)
    assert ([], {"website": "not shown"}) == (found.problems, found.hidden)


def test_no_proof() -> None:
    """An answer that shows something else is told with both values."""
    expected = [("name", STILL.format('"Bolt"', "(empty)")), ("phone", STILL.format("(empty)", '"5"'))]
    found = shows(DUALENTRY, {"name": None, "phone": "5"}, RECORD)
    assert expected == [(one.field, one.reason) for one in found.problems]


def test_other_record() -> None:
    """An answer with another record proves nothing, and says so whatever it shows."""
    expected = "the API answered with another record (43\\x1b): look at both before going on"
    (problem,) = other_record(DUALENTRY, "42", RECORD | {"id": "43\x1b"})
    assert expected == problem.reason


def test_id_in_another_case() -> None:
    """An id in the other case is the same record."""
    assert [] == other_record(VAYU, "65F00000000000000000000A", {"id": "65f00000000000000000000a"})


@pytest.mark.parametrize(
    ("before", "expected"),
    [({"name": "Bolt"}, True), ({"name": "x"}, False), ({"phone": None}, True), ({"website": "x"}, False), ({}, False)],
)
def test_as_before(before: Any, expected: bool) -> None:
    """A record is as before when it shows the same values; one that shows them no more is not."""
    assert expected is shows(DUALENTRY, before, RECORD).is_as_asked


def test_hidden() -> None:
    """Fields that a record does not show are listed."""
    assert ["website"] == hidden(DUALENTRY, ["name", "website", "full_address.street"], RECORD)


def test_neither() -> None:
    """Where somebody else's hand was in it, all three values are told, and nothing else is, nor what is not shown."""
    reason = 'the record now shows {}: it was "Old", and "New" was sent (somebody else may have changed it)'
    wanted, before = (
        {"name": "New", "phone": None, "website": "New", "email": "x"},
        {"name": "Old", "phone": "1", "website": "Old"},
    )
    expected = [("name", reason.format('"Bolt"'))]
    assert expected == [(one.field, one.reason) for one in shows(DUALENTRY, wanted, RECORD).neither(before)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "(empty)"),
        ("", "(empty)"),
        ([], "(empty)"),
        ({"a": None}, "(empty)"),
        (MISSING, "(not shown)"),
        (0, "0"),
        (False, "false"),
        ("a", '"a"'),
        ("é\x1b[2J", '"é\\x1b[2J"'),
        (["é"], '["é"]'),
        ("x" * 99, f'"{"x" * 79}…"'),
    ],
)
def test_show(value: Any, expected: str) -> None:
    """Values are shown as people read them, cut, and with nothing in them that a terminal would obey."""
    assert expected == show(value)


# -- spellings ------------------------------------------------------------------------------------------------------

SPELT = {"id": 42, "name": "Bolt", "email": "a@x.com", "phone": "+49301"}


def known(*names: str) -> Known:
    return lambda name, asked, shown: name in names


def test_how() -> None:
    """Another spelling differs, so that it is sent, unless it is known; it disproves nothing."""
    asked = {"name": "Bolt", "email": "A@x.com", "phone": "+49 30-1", "website": "w", "unique_id": None}
    found = shows(DUALENTRY, asked, SPELT, known("phone"))
    expected = [How.AS_ASKED, How.OTHER_SPELLING, How.KNOWN_SPELLING, How.HIDDEN, How.HIDDEN]
    assert expected == list(found.how.values())
    assert ({"email", "website", "unique_id"}, []) == (found.differing.keys(), found.problems)
    assert ({"phone": "+49301"}, {"email": "a@x.com", "phone": "+49301"}) == (found.known_spellings, found.spelt)


@pytest.mark.parametrize(
    ("asked", "before", "outcome", "codes"),
    [
        ({"name": "Bolt"}, {"name": "Old"}, "updated", []),
        ({"email": "A@x.com"}, {"email": "old"}, "updated", ["spelling_made email"]),
        ({"email": "A@x.com"}, {"email": "a@x.com"}, "unchanged", ["spelling_kept email"]),
        ({"email": "A@x.com"}, {"email": ""}, "updated", ["spelling_made email"]),
        ({"email": "A@x.com"}, None, "updated", ["spelling_made email"]),
        ({"email": "A@x.com"}, {}, "updated", ["spelling_made email"]),
        ({"email": "A@x.com", "name": "Bolt"}, {"email": "a@x.com", "name": "Old"}, "updated", ["spelling_kept email"]),
        ({"email": "b@x.com", "name": "Bolt"}, {"name": "Old"}, "rejected", ["not_shown email", "part_applied "]),
        ({"email": "b@x.com", "name": "Bolt"}, {"name": "Bolt"}, "rejected", ["not_shown email"]),
        ({"email": "b@x.com", "phone": "+49 301"}, {"phone": "1"}, "rejected", ["not_shown email", "part_applied "]),
        ({"email": "b@x.com", "phone": "+49 301"}, {"phone": "+49301"}, "rejected", ["not_shown email"]),
    ],
)
def test_conclude(asked: Any, before: Any, outcome: str, codes: list[str]) -> None:
    """Another spelling than before was made; the same is kept; anything else is rejected, and says what was applied."""
    found, problems = shows(DUALENTRY, asked, SPELT).conclude(before)
    assert (outcome, codes) == (found.value, [f"{one.code} {one.field}" for one in problems])


def test_unproven() -> None:
    """What is not shown is not proven, nor is what an answer may echo: another spelling of what was there."""
    asked = {"name": "Bolt", "email": "a@x.com", "phone": "+49 301", "website": "w"}
    found = shows(DUALENTRY, asked, SPELT)
    assert {"phone", "website"} == found.unproven(None).keys() == found.unproven({"name": "Old"}).keys()
    assert {"email", "phone", "website"} == found.unproven({"name": "Bolt", "email": "A@x.com"}).keys()


def test_later_look() -> None:
    """A later look tells of the fields that it shows."""
    first = shows(DUALENTRY, {"name": "New", "email": "A@x.com", "website": "w"}, SPELT)
    later = shows(DUALENTRY, {"name": "New", "website": "w"}, {"id": 42, "name": "New"})
    found = first.updated(later)
    assert ({"email": "a@x.com"}, {"email", "website"}) == (found.unlike, found.differing.keys())
