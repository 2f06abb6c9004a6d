"""DualEntry's customers: the facts of its documentation, field by field (its README)."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from batch.endpoints.base import MISSING, ConflictError, CustomField, UnreadableReplyError
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.http import ApiRequest, ApiResponse
from batch.ratelimit import Bucket

ENDPOINT = DualEntryCustomers()
PLAIN = ("name", "email", "phone", "unique_id", "website", "country", "address")
PARTS = ("name", "street", "second_line", "city", "state", "postal_code", "country")
REQUIRED = ("street", "city", "postal_code")
WHOLE = {
    "street": "Main St 1",
    "city": "Bonn",
    "postal_code": "53111",
    "state": "NW",
    "second_line": "",
    "country": "DE",
}
KEYS = ["errors", "detail", "message", "items", "id", "msg", "loc", "options"]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(KEYS), inner),
    max_leaves=12,
)


def response(body: Any, status: int = 422) -> ApiResponse:
    return ApiResponse(status, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def fits(name: str, cell: str) -> bool:
    field = ENDPOINT.field_named(name)
    assert field is not None
    try:
        return TypeAdapter(field.type).validate_python(cell) is not None
    except ValidationError:
        return False


def named(header: str, *definitions: CustomField) -> str | None:
    field = DualEntryCustomers(definitions=definitions).field_named(header)
    return field and field.name


def test_operation() -> None:
    """PATCH at the documented host, under both documented buckets, with idempotency keys."""
    assert ("PATCH", "https://api.dualentry.com") == (ENDPOINT.method, ENDPOINT.base_url)
    assert (Bucket(50, 5), Bucket(10, 1)) == (ENDPOINT.limits.total, ENDPOINT.limits.per_route)
    assert (True, False) == (ENDPOINT.rules.idempotent_keys, ENDPOINT.needs_full_body)


def test_fields() -> None:
    """Every field of the PATCH body can be set, and nothing else."""
    parts = [f"{whole}.{part}" for whole in ("full_address", "shipping_address") for part in PARTS]
    expected = {*PLAIN, "full_address", "shipping_address", *parts}
    assert expected == {one.name for one in ENDPOINT.fields}


def test_nullable() -> None:
    """Every field may be null, but for the required parts of an address."""
    not_null = {f"{whole}.{part}" for whole in ("full_address", "shipping_address") for part in REQUIRED}
    assert not_null == {one.name for one in ENDPOINT.fields if not one.nullable}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("phone", "1" * 32, "1" * 33),
        ("phone", "+49 (30) 1.2-3", "555 ext 5"),
        ("phone", "0", "5/5"),
        ("unique_id", "x" * 64, "x" * 65),
        ("unique_id", "00123", " "),
        ("full_address.country", "US", "us"),
        ("shipping_address.country", "DE", "DEU"),
        ("full_address.street", "x", " "),
    ],
)
def test_limits(name: str, good: str, bad: str) -> None:
    """Each declared limit holds, to the character."""
    assert (True, False) == (fits(name, good), fits(name, bad))


@pytest.mark.parametrize("name", ["name", "email", "address", "country", "website", "full_address.state"])
def test_no_limits(name: str) -> None:
    """Where none is declared, no limit is invented."""
    assert fits(name, "ünï " * 5000)


def test_labels_are_unambiguous() -> None:
    """No label stands for two fields, nor for a field and the id."""
    labels = [(label, one.name) for one in ENDPOINT.fields for label in (one.name, *one.labels)]
    assert [(label, name) for label, name in labels if named(label) != name or ENDPOINT.is_id(label)] == []


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("custom_fields.Tier", "custom_fields.Tier"),
        ("Custom Fields.Tier of it.all", "custom_fields.Tier of it.all"),
        ("custom_field.Tier:boolean", "custom_fields.Tier"),
        ("custom_fields. Tier : Number ", "custom_fields.Tier"),
        ("custom_fields.Tier:odd", "custom_fields.Tier:odd"),
        ("custom_fields[42]", "custom_fields[42]"),
        ("custom fields[ 0042 ]", "custom_fields[42]"),
        ("custom_fields.e\u0301", "custom_fields.é"),
        ("custom_fields.", None),
        ("custom_fields[x]", None),
        ("custom_fields[1234567890123456789012]", None),
        ("custom_fieldsTier", None),
    ],
)
def test_custom_field_headers(header: str, name: str | None) -> None:
    """Custom fields are named by name, with or without their kind, or by id."""
    assert name == named(header)


def test_custom_field_by_another_spelling() -> None:
    """A known custom field is found whatever the header's case, under its own name; an exact name goes first."""
    tier, other = CustomField("Tier", "text", 1), CustomField("Net: number", "text", 2)
    assert "custom_fields.Tier" == named("custom_fields.tier", tier, other)
    assert "custom_fields.Net: number" == named("custom_fields.Net: number", tier, other)
    assert "custom_fields.TIER" == named("custom_fields.TIER", tier, CustomField("tier", "text", 3))


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("text", " true ", " true "),
        ("paragraph", "5", "5"),
        ("link", "x", "x"),
        ("number", "1.5", 1.5),
        ("currency", "12", 12),
        ("date", "2026-04-03", "2026-04-03"),
        ("boolean", "yes", True),
        ("single_select", "gold", "Gold"),
        ("multi_select", "gold; silver", ["Gold", "Silver"]),
        ("new_kind", "true", True),
    ],
)
def test_custom_field_kinds(kind: str, cell: str, value: Any) -> None:
    """A custom field's cells are typed by its definition, whether it is named by name or by id."""
    endpoint = DualEntryCustomers(definitions=[CustomField("X", kind, 42, ("Gold", "Silver"))])
    fields = [endpoint.field_named("custom_fields.X"), endpoint.field_named("custom_fields[42]")]
    assert [value, value] == [TypeAdapter(one.type).validate_python(cell) for one in fields if one]


@pytest.mark.parametrize(
    ("header", "cell", "value"),
    [
        ("custom_fields.X", "true", True),
        ("custom_fields.X", "007", "007"),
        ("custom_fields.X:boolean", "no", False),
        ("custom_fields.X:number", "007", 7),
        ("custom_fields.X:text", "true", "true"),
        ("custom_fields.X:multi_select", "a; b", ["a", "b"]),
        ("custom_fields.X:single_select", "a", "a"),
    ],
)
def test_custom_field_suffix(header: str, cell: str, value: Any) -> None:
    """Without a definition the header's suffix says the kind, and without that it is text but for true and false."""
    field = ENDPOINT.field_named(header)
    assert field
    assert value == TypeAdapter(field.type).validate_python(cell)


@pytest.mark.parametrize("record_id", ["1", "42", "10042", str(2**63 - 1)])
def test_ids(record_id: str) -> None:
    """Whole numbers are ids, up to the largest that a database has."""
    assert ENDPOINT.id_problem(record_id) is None
    assert f"/public/v2/customers/{record_id}/" == ENDPOINT.write_request(record_id, {}, None).path


NO_ID = "is not a DualEntry customer id (a whole number, such as 10042)"
ZERO = "begins with a zero, as DualEntry's own ids never do (is it your own customer number?)"


@pytest.mark.parametrize(
    ("record_id", "reason"),
    [
        *((one, NO_ID) for one in ["", ".", "..", "%2e", "%2e%2e", "1/../2", "1%2f2", "4\x002", "4\n2", "\x1f42"]),
        *((one, NO_ID) for one in ["-1", "+1", "1.0", "1e3", "0x2a", "٤٢", "４２", "²", "½"]),
        *((one, NO_ID) for one in ["4 2", "42?x", "42#", "1_0", "NaN"]),
        ("007", ZERO),
        ("0", ZERO),
        ("00", ZERO),
        (str(2**63), "is too large for a DualEntry customer id"),
        ("9" * 5000, "is too large for a DualEntry customer id"),
    ],
)
def test_no_ids(record_id: str, reason: str) -> None:
    """Whatever could climb to another record, or is somebody else's number, is refused in words."""
    problem = ENDPOINT.id_problem(record_id)
    assert reason == (problem and problem.reason)


@given(st.text(st.sampled_from("0123456789.%/e-+ \x00٤")))
def test_id_pattern_agrees(record_id: str) -> None:
    """The quick check lets through only what the thorough one lets through."""
    import polars as pl

    quick = bool(pl.Series([record_id]).str.contains(ENDPOINT.id_pattern)[0])
    assert not quick or ENDPOINT.id_problem(record_id) is None


def test_incomplete_address() -> None:
    """Without the current record, an address needs its three required parts."""
    reason = "needs full_address.street, full_address.postal_code in the same row (an address is replaced whole)"
    fields = {"full_address.city": "Bonn", "shipping_address": None}
    (problem,) = ENDPOINT.conflicts(fields, reads_before_write=False)
    assert ("full_address.city", reason) == (problem.field, problem.reason)
    assert [] == ENDPOINT.conflicts(fields, reads_before_write=True)


def test_cleared_and_set() -> None:
    """An address cannot be cleared and set at once; custom fields that begin alike have nothing to do with it."""
    fields = {"full_address": None, "full_address.city": "Bonn", "custom_fields.A": None, "custom_fields.A.B": "x"}
    reason = 'cannot be changed while "full_address" is cleared for the same customer'
    (problem,) = ENDPOINT.conflicts(fields, reads_before_write=True)
    assert ("full_address.city", reason) == (problem.field, problem.reason)


def test_body() -> None:
    """Fields go as they are, custom fields as items, by name and by id in one request; null clears."""
    fields = {
        "name": "Bolt",
        "phone": None,
        "custom_fields.Tier": "Gold",
        "custom_fields[42]": 5,
        "custom_fields.A.B": None,
    }
    expected = {
        "name": "Bolt",
        "phone": None,
        "custom_fields": [
            {"Tier": "Gold"},
            {"field": {"id": 42}, "value": {"custom_field_id": 42, "value": 5}},
            {"A.B": None},
        ],
    }
    assert expected == ENDPOINT.body(fields, None)


def test_body_completes_address() -> None:
    """A part of an address goes with the rest of the current one; a cleared part is empty, a cleared name null."""
    current = {"full_address": {**WHOLE, "id": 5, "name": None}, "shipping_address": {**WHOLE, "name": "Ann"}}
    fields = {"full_address.city": "Berlin", "full_address.state": None, "shipping_address.name": None}
    body = ENDPOINT.body(fields, current)
    assert {**WHOLE, "city": "Berlin", "state": ""} == body["full_address"]
    assert {**WHOLE, "name": None} == body["shipping_address"]


@pytest.mark.parametrize("current", [{}, {"full_address": None}, {"full_address": {"city": "Bonn"}}])
def test_address_that_cannot_be_completed(current: Any) -> None:
    """When the customer has no address to complete it from, the change is refused with what is missing."""
    with pytest.raises(ConflictError) as caught:
        ENDPOINT.body({"full_address.city": "Berlin"}, current)
    listed = "full_address.street, full_address.postal_code"
    expected = f"needs {listed} in the same row (no current address is there to take them from)"
    assert ("full_address.city", expected) == (caught.value.problem.field, str(caught.value))


def test_write() -> None:
    """The write has the trailing slash, the body as JSON, and the key in its header."""
    key = str(uuid.uuid4())
    request = ENDPOINT.write_request("42", {"name": "Bölt"}, key)
    assert ("PATCH", "/public/v2/customers/42/", '{"name":"Bölt"}'.encode()) == (
        request.method,
        request.path,
        request.content,
    )
    assert key == request.headers["Idempotency-Key"]


@pytest.mark.parametrize(
    "key",
    ["x" * 36, "", "a\nb"],
)
def test_broken_key(key: str) -> None:
    """A key that is no UUID never leaves."""
    with pytest.raises(ValueError, match="this is no idempotency key"):
        ENDPOINT.write_request("42", {}, key)


def test_read() -> None:
    """Up to 100 customers are listed by id, in a stable order."""
    expected = (("limit", "100"), ("ordering", "id"), ("id", "1"), ("id", "2"))
    request = ENDPOINT.read_request(["1", "2"])
    assert ("GET", "/public/v2/customers/", expected) == (request.method, request.path, request.query)


def test_read_one_and_find() -> None:
    """One customer is read by id, and found by its own number."""
    assert "/public/v2/customers/42/" == ENDPOINT.read_one_request("42").path
    assert ("unique_id", "A/1") == ENDPOINT.find_request("unique_id", "A/1").query[-1]


@pytest.mark.parametrize("body", [{"items": [{"id": 1}], "count": 1}, [{"id": 1}], {"id": 1}])
def test_records(body: Any) -> None:
    """Records are read from a wrapped list, a bare one, and a single customer."""
    assert [{"id": 1}] == ENDPOINT.parse_records(response(body, 200))


@pytest.mark.parametrize("body", [b"", b"x", {"success": True}, [1], {"items": [{}]}, 5, None])
def test_no_records(body: Any) -> None:
    """An answer without customers says so instead of being taken for an empty list."""
    with pytest.raises(UnreadableReplyError, match="the answer holds no customer"):
        ENDPOINT.parse_records(response(body, 200))


def items(*pairs: tuple[int, str, Any]) -> dict[str, Any]:
    return {"custom_fields": [{"field": {"id": i, "name": n}, "value": {"value": v}} for i, n, v in pairs]}


@pytest.mark.parametrize(
    ("record", "name", "value"),
    [
        ({"name": "x"}, "name", "x"),
        ({"name": "x"}, "phone", MISSING),
        ({"full_address": WHOLE}, "full_address.city", "Bonn"),
        ({"full_address": None}, "full_address.city", None),
        ({}, "full_address.city", MISSING),
        (items((1, "Tier", "Gold")), "custom_fields.Tier", "Gold"),
        (items((1, "Tier", "Gold")), "custom_fields[1]", "Gold"),
        (items((1, "Tier", "Gold")), "custom_fields.Other", None),
        (items((1, "Tier", "a"), (2, "Tier", "b")), "custom_fields.Tier", MISSING),
        (items((1, "Tier", "a"), (2, "Tier", "b")), "custom_fields[2]", "b"),
        ({"custom_fields": [{"field": {"id": 1, "name": "Tier"}, "value": None}]}, "custom_fields.Tier", None),
        ({"custom_fields": "?"}, "custom_fields.Tier", MISSING),
        ({}, "custom_fields[1]", MISSING),
    ],
)
def test_value(record: Any, name: str, value: Any) -> None:
    """A record's field is read as it would be written; what it does not show is missing, not empty."""
    assert value == ENDPOINT.value(record, name)


@pytest.mark.parametrize(
    ("name", "wanted", "current", "is_same"),
    [
        ("name", None, "", True),
        ("name", "a", "A", False),
        ("name", "a", "a ", False),
        ("name", "5", 5, False),
        ("full_address", None, {"street": "", "name": None}, True),
        ("full_address", None, WHOLE, False),
        ("custom_fields.X", 12.5, "12.50", True),
        ("custom_fields.X", 12.5, "12.51", False),
        ("custom_fields.X", True, "tRUE", True),
        ("custom_fields.X", True, 1, False),
        ("custom_fields.X", "007", 7, False),
        ("custom_fields.X", "7", 7, True),
        ("custom_fields.X", ["b", "a"], ["a", "b"], True),
        ("custom_fields.X", ["a"], ["a", "b"], False),
        ("custom_fields[1]", 5, "five", False),
        ("custom_fields[1]", None, [], True),
        ("custom_fields[1]", False, None, False),
        ("custom_fields[1]", 0, None, False),
    ],
)
def test_is_same(name: str, wanted: Any, current: Any, is_same: bool) -> None:
    """Values are compared as the API means them: null is empty, true is not 1, text is not trimmed."""
    assert is_same is ENDPOINT.is_same(name, wanted, current)


DEFINED = {
    "id": 7,
    "name": "Tier",
    "field_type": "single_select",
    "options": ["Gold"],
    "applies_to": [{"type": "customer"}],
}


@pytest.mark.parametrize("wrap", [lambda found: {"items": found, "count": 1}, lambda found: found])
def test_definitions(wrap: Any) -> None:
    """Definitions are read from a wrapped or a bare list; those of other records and retired ones are left out."""
    others = [{**DEFINED, "applies_to": [{"type": "invoice"}]}, {**DEFINED, "is_active": False}, {"id": 8}, "x", None]
    found = ENDPOINT.parse_definitions(response(wrap([DEFINED, *others]), 200))
    assert [CustomField("Tier", "single_select", 7, ("Gold",))] == found


def test_options_as_objects() -> None:
    """Options are read as texts or as objects with a value or a name."""
    options = [{"value": "Gold"}, {"name": "Silver"}, "Tin", 5]
    found = ENDPOINT.parse_definitions(response([{**DEFINED, "options": options}], 200))
    assert ("Gold", "Silver", "Tin") == found[0].options


@given(ANY_JSON | st.binary())
def test_any_definitions(body: Any) -> None:
    """Whatever the answer is, reading definitions never fails."""
    assert isinstance(ENDPOINT.parse_definitions(response(body)), list)


@pytest.mark.parametrize("value", [5, "x", {"a": 1}, None, [[1]]])
def test_odd_definitions(value: Any) -> None:
    """Definitions whose parts have another type than documented are read as far as they go."""
    found = ENDPOINT.parse_definitions(response({"items": [{**DEFINED, "options": value}], "count": value}, 200))
    assert [()] == [one.options for one in found]
    assert [] == ENDPOINT.parse_definitions(response({"items": value}, 200))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"success": False, "errors": {"phone": ["bad", "long"]}}, [("phone", "bad"), ("phone", "long")]),
        ({"errors": {"__all__": ["API key authentication failed"]}}, [("", "API key authentication failed")]),
        ({"errors": {"full_address": {"city": ["needed"]}}}, [("full_address.city", "needed")]),
        ({"errors": {"full_address.city": "needed"}}, [("full_address.city", "needed")]),
        ({"errors": {"custom_fields": [{"Teir": ["unknown"]}]}}, [("custom_fields.Teir", "unknown")]),
        ({"errors": {"full_address": {"__all__": ["odd"]}}}, [("full_address", "odd")]),
        ({"errors": "all wrong"}, [("", "all wrong")]),
        ({"errors": ["all wrong", "very"]}, [("", "all wrong"), ("", "very")]),
        ({"errors": [{"detail": "too long", "pointer": "#/full_address/city"}]}, [("full_address.city", "too long")]),
        ({"detail": [{"loc": ["body", "name"], "msg": "bad", "type": "t"}]}, [("name", "bad")]),
        ({"detail": "Not found."}, [("", "Not found.")]),
        ({"message": "Too Many Requests"}, [("", "Too Many Requests")]),
        ({}, [("", "the API answered 422: {}")]),
        (b"", [("", "the API answered 422 without saying why")]),
        (b"oh\n no", [("", "the API answered 422: oh no")]),
        (b" <html>x", [("", "the API answered 422 with a web page instead of a reason")]),
        ({"errors": {"a\x1b[2J": "b\x07"}}, [("a\\x1b[2J", "b\\x07")]),
    ],
)
def test_refusals(body: Any, expected: list[tuple[str, str]]) -> None:
    """Every known shape of an error answer is read as field and message, and nothing in it is obeyed."""
    assert expected == ENDPOINT.parse_error(response(body))


@given(ANY_JSON | st.binary() | st.fixed_dictionaries({"errors": ANY_JSON}))
def test_any_refusal(body: Any) -> None:
    """Whatever the answer is, there is a reason in words, and not too much of it."""
    found = ENDPOINT.parse_error(response(body))
    assert 1 <= len(found) <= 50
    assert all(isinstance(name, str) and len(message) <= 5000 for name, message in found)


def test_deep_and_wide_refusal() -> None:
    """An error answer made to be endless is cut."""
    deep: Any = "x"
    for _ in range(150):
        deep = {"a": [deep]}
    assert [
        ("", "the API answered 422: " + " ".join(json.dumps({"errors": deep})[:300].split()))
    ] == ENDPOINT.parse_error(response({"errors": deep}))
    wide = {"errors": {str(number): ["m" * 1000] * 60 for number in range(60)}}
    assert (50, 500) == (len(ENDPOINT.parse_error(response(wide))), len(ENDPOINT.parse_error(response(wide))[0][1]))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("pending", "awaiting approval (pending)"),
        ("in review", "awaiting approval (in review)"),
        ("approved", ""),
        ("Rejected", ""),
        ("declined by Ana", ""),
        (None, ""),
        ("", ""),
        (5, ""),
        ("Not_Required", ""),
    ],
)
def test_pending(status: Any, said: str) -> None:
    """An update that waits for approval says so."""
    assert said == ENDPOINT.pending_note({"id": 1, "approval_status": status})


@pytest.mark.parametrize(
    ("status", "awaits"),
    [
        ("pending", True),
        ("Pending_Approval", True),
        ("AWAITING", True),
        ("rejected", False),
        ("odd", False),
        (5, False),
    ],
)
def test_awaits_approval(status: Any, awaits: bool) -> None:
    """A record says that it awaits approval by words that cannot mean anything else."""
    assert awaits is ENDPOINT.awaits_approval({"id": 1, "approval_status": status})


async def never(request: ApiRequest) -> ApiResponse:
    raise AssertionError(request)


@pytest.mark.anyio
async def test_account() -> None:
    """The key goes as it is, without Bearer, and there is nothing to renew; it never shows."""
    account = ENDPOINT.account({"DUALENTRY_API_KEY": "s3cret"})
    headers = await account.headers(never)
    assert ({"X-API-KEY": "s3cret"}, False) == (headers, await account.renew(never, headers))
    assert "s3cret" not in repr(account)
