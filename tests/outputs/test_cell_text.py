"""Records as cells: each text is read back as the very value, or there is none and it is told."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from batch.endpoints import DualEntryCustomers, VayuCustomers
from batch.endpoints.base import CustomField, Endpoint
from batch.endpoints.cell_types import as_text
from batch.model import looks_blank
from batch.outputs.cell_text import Renderer
from batch.settings import DEFAULT_CLEAR
from batch.validation.blank_or_clear import is_hardly_meant

DUALENTRY = DualEntryCustomers().defined(
    [CustomField("Score", "number", 7), CustomField("Twin", "text", 8), CustomField("Twin", "text", 9)]
)
VAYU = VayuCustomers().defined([CustomField("Seats", "Number")])


def rendered(endpoint: Endpoint, record: dict[str, Any]) -> tuple[dict[str, str], dict[str, int]]:
    """The cells of a record, and what was left blank."""
    renderer = Renderer(endpoint, DEFAULT_CLEAR)
    cells = renderer.cells({"id": 1} | record)
    return cells, {name: one.count for name, one in renderer.left.items()}


def custom(number: int, name: str, value: Any) -> dict[str, Any]:
    return {"field": {"id": number, "name": name}, "value": {"custom_field_id": number, "value": value}}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (-5, "-5"), (1.5, "1.5"), (1.234, "1.2340"), (-12.345, "-12.3450"), (0.123, "0.1230"),
        (1e21, f"1{'0' * 21}"), (5.0, "5"), (1234.567, "1234.567"), (True, "true"), (False, "false"),
        (["a", "b"], "a; b"), ({"a": 1}, None), ([1], None),
    ],
)  # fmt: skip
def test_spelling(value: Any, text: str | None) -> None:
    """Values have one spelling each, and a number one that has a single reading."""
    assert text == as_text(value)


@given(st.one_of(st.integers(-(10**15), 10**15), st.floats(allow_nan=False, allow_infinity=False)))
def test_any_number(value: float) -> None:
    """Whatever number a record has: its cell means that number, or it is left blank and told."""
    cells, left = rendered(DUALENTRY, {"custom_fields": [custom(7, "Score", value)]})
    text = cells.get("custom_fields.Score")
    if text is None:
        assert {"custom_fields.Score": 1} == left
        return
    field = DUALENTRY.field_named("custom_fields.Score")
    assert field is not None
    assert math.isclose(value, TypeAdapter(field.type).validate_python(text), rel_tol=0, abs_tol=0)


@given(
    st.text(st.characters(exclude_characters="\x1c\x1d\x1e\x1f", exclude_categories=["Cs"]))
)  # white space for Python alone
def test_any_text(value: str) -> None:
    """Whatever text a record has: its cell is that text, or it is left blank and told, or there is nothing to say."""
    cells, left = rendered(DUALENTRY, {"name": value})
    is_meant = not looks_blank(value) and not is_hardly_meant(value, DEFAULT_CLEAR)
    is_sayable = is_meant and value == value.strip()
    assert (value if is_sayable else None) == cells.get("name")
    assert ({} if is_sayable or not value else {"name": 1}) == left


@given(st.lists(st.text(st.sampled_from("ab; \t<")), max_size=4))
def test_any_list(value: list[str]) -> None:
    """Whatever list a record has: its cell is read back as that list, or it is left blank and told."""
    cells, left = rendered(VAYU, {"aliases": value})
    if "aliases" in cells:
        field = VAYU.field_named("aliases")
        assert field is not None
        assert value == TypeAdapter(field.type).validate_python(cells["aliases"])
    else:
        assert ({"aliases": 1} if value else {}) == left


def test_what_the_field_refuses() -> None:
    """A value that update would refuse (it came in by another way) is left blank, and told."""
    assert ({"id": "1"}, {"phone": 1}) == rendered(DUALENTRY, {"phone": "555 ext. 5"})


def test_two_of_one_name() -> None:
    """Custom fields that share a name have a column each, by id."""
    record = {"custom_fields": [custom(8, "Twin", "left"), custom(9, "Twin", "right")]}
    expected = {"id": "1", "custom_fields[8]": "left", "custom_fields[9]": "right"}
    assert (expected, {}) == rendered(DUALENTRY, record)


def test_name_that_no_header_can_carry() -> None:
    """The value of a custom field whose name a header would lose is told, not lost."""
    items = [{"vayuCustomFieldName": "Odd ", "value": "x"}, {"vayuCustomFieldName": "Seats", "value": 3}]
    assert ({"id": "1", "customFields.Seats": "3"}, {"customFields.Odd ": 1}) == rendered(VAYU, {"customFields": items})


def test_custom_field_that_nobody_defined() -> None:
    """A custom field of Vayu that only a record has is a column where no definitions are known, else it is told."""
    record = {"customFields": [{"vayuCustomFieldName": "Old", "value": "x"}]}
    assert ({"id": "1", "customFields.Old": "x"}, {}) == rendered(VayuCustomers(), record)
    assert ({"id": "1"}, {"customFields.Old": 1}) == rendered(VAYU, record)


def test_custom_fields_of_one_name() -> None:
    """Of several custom fields with one name none is shown, which is told."""
    items = [{"vayuCustomFieldName": "Seats", "value": 1}, {"vayuCustomFieldName": "Seats", "value": 2}]
    assert ({"id": "1"}, {"customFields.Seats": 1}) == rendered(VAYU, {"customFields": items})
    assert ({"id": "1"}, {"customFields.Seats": 1}) == rendered(VayuCustomers(), {"customFields": items})


def test_definitions_unknown() -> None:
    """Where the organisation's custom fields could not be asked for, those of the records are columns, by id."""
    record = {"custom_fields": [custom(31, "Tier", "Gold"), custom(32, "Partner", True), custom(34, "Limit", 1000)]}
    expected = {"custom_fields[31]": "Gold", "custom_fields[32]": "true", "custom_fields[34]": "1000"}
    assert ({"id": "1"} | expected, {}) == rendered(DualEntryCustomers(), record)


def test_more_contacts_than_columns() -> None:
    """Contacts beyond the last column are told, not lost."""
    people = [{"name": f"P{number}"} for number in range(1, 52)]
    cells, left = rendered(VAYU, {"contacts": people})
    assert ("P50", {"contacts.51.name": 1}) == (cells["contacts.50.name"], left)
