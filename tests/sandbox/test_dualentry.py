"""The imitated DualEntry answers as `batch/endpoints/dualentry/README.md` says, asked over a real socket."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from batch.sandbox.options import SandboxOptions
from tests.sandbox.control import KEY, ControlledSandbox

CUSTOMERS = "/public/v2/customers/"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[ControlledSandbox]:
    with ControlledSandbox(SandboxOptions(limits="off", records=250)) as running:
        yield running


@pytest.fixture(scope="module")
def api(sandbox: ControlledSandbox) -> Iterator[httpx.Client]:
    headers = {"X-API-KEY": KEY}
    with httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False) as client:
        yield client


def patch(api: httpx.Client, record: int, body: Any, **headers: str) -> httpx.Response:
    return api.patch(
        f"{CUSTOMERS}{record}/", json=body, headers={name.replace("_", "-"): headers[name] for name in headers}
    )


def custom(record: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{item['field']['id']} {item['field']['name']}": (item["value"] or {}).get("value")
        for item in record["custom_fields"]
    }


def failure(*messages: str, at: str = "__all__") -> dict[str, Any]:
    return {"success": False, "errors": {at: list(messages)}}


def test_missing_key_is_401(sandbox: ControlledSandbox) -> None:
    """Without a key the answer is 401."""
    answer = httpx.get(f"{sandbox.url}{CUSTOMERS}10001/", trust_env=False)
    assert (401, failure("API key is missing")) == (answer.status_code, answer.json())


def test_wrong_key_is_403(sandbox: ControlledSandbox) -> None:
    """A wrong key is 403, not 401."""
    answer = httpx.get(f"{sandbox.url}{CUSTOMERS}10001/", headers={"X-API-KEY": "other"}, trust_env=False)
    assert (403, failure("API key authentication failed")) == (answer.status_code, answer.json())


def test_get_one_shows_address_and_no_full_address(api: httpx.Client) -> None:
    """A single record has the address as text only."""
    record = api.get(f"{CUSTOMERS}10001/").json()
    assert {name: value for name, value in record.items() if name != "custom_fields"} == {
        "id": 10001,
        "name": "Acme Holdings, Inc.",
        "unique_id": "C-10001",
        "email": "billing1@acme.example",
        "address": "2 Oak Avenue\nAustin\n78701",
        "country": "US",
        "website": "https://www.acme.example",
        "phone": "555-0001",
        "customer_type": "company",
        "is_active": True,
        "record_status": "active",
        "is_taxable": False,
        "default_currency": "USD",
        "shipping_address": None,
        "created_by": None,
        "updated_by": None,
        "approval_status": None,
    }


def test_patch_is_partial(api: httpx.Client) -> None:
    """Only what is sent changes, and the answer is the record."""
    before = api.get(f"{CUSTOMERS}10002/").json()
    answer = patch(api, 10002, {"phone": "+49 30 1234"})
    assert (200, before | {"phone": "+49 30 1234"}) == (answer.status_code, answer.json())
    assert answer.json() == api.get(f"{CUSTOMERS}10002/").json()


def test_put_is_partial_too(api: httpx.Client) -> None:
    """PUT on customers leaves out what it leaves out."""
    before = api.get(f"{CUSTOMERS}10003/").json()
    answer = api.put(f"{CUSTOMERS}10003/", json={"name": "Bolt"})
    assert before | {"name": "Bolt"} == answer.json()


@pytest.mark.parametrize("field", ["name", "email", "address", "country", "website", "phone"])
def test_null_clears_a_string_which_reads_back_empty(api: httpx.Client, field: str) -> None:
    """null and absent are told apart, and no string is ever null."""
    assert patch(api, 10004, {field: None}).json()[field] == ""
    assert api.get(f"{CUSTOMERS}10004/").json()[field] == ""


def test_a_cleared_unique_id_reads_back_null(api: httpx.Client) -> None:
    """unique_id is the one text that is null when cleared."""
    assert patch(api, 10005, {"unique_id": None}).json()["unique_id"] is None


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"phone": "ext. 5"}, {"phone": [r"String should match pattern '^[0-9\s\+\-\.\(\)]*$'"]}),
        ({"phone": "1" * 33}, {"phone": ["String should have at most 32 characters"]}),
        ({"unique_id": ""}, {"unique_id": ["String should have at least 1 character"]}),
        ({"unique_id": "x" * 65}, {"unique_id": ["String should have at most 64 characters"]}),
        ({"name": 5}, {"name": ["Input should be a valid string"]}),
        ({"full_address": {"city": "Bonn"}},
         {"full_address.street": ["Field required"], "full_address.postal_code": ["Field required"]}),
        ({"full_address": {"street": "", "city": "", "postal_code": "", "country": "de"}},
         {"full_address.country": ["String should match pattern '^([A-Z]{2})?$'"]}),
        ({"custom_fields": [{"Teir": "Gold"}]}, {"custom_fields": ["Custom field 'Teir' does not exist"]}),
        ({"custom_fields": [{"Tier": "Golden"}]},
         {"custom_fields": ["Invalid value for custom field 'Tier' (single_select)"]}),
        ({"custom_fields": [{"Segments": ["Retail", "None"]}]},
         {"custom_fields": ["Invalid value for custom field 'Segments' (multi_select)"]}),
        ({"custom_fields": [{"Partner": "yes"}]},
         {"custom_fields": ["Invalid value for custom field 'Partner' (boolean)"]}),
        ({"custom_fields": [{"Credit Limit": "1"}]},
         {"custom_fields": ["Invalid value for custom field 'Credit Limit' (number)"]}),
        ({"custom_fields": [{"Renewal": "1.2.2026"}]},
         {"custom_fields": ["Invalid value for custom field 'Renewal' (date)"]}),
        ({"custom_fields": [{"Region": "North"}]},
         {"custom_fields": ["More than one custom field is named 'Region': use its id"]}),
        ({"custom_fields": [{"Vendor Class": "A"}]},
         {"custom_fields": ["Custom field 'Vendor Class' does not exist"]}),
        ({"custom_fields": [{"field": {"id": 7}, "value": None}]},
         {"custom_fields": ["Custom field with id 7 does not exist"]}),
        ([], {"__all__": ["Input should be an object"]}),
    ],
)  # fmt: skip
def test_a_wrong_body_is_422_and_changes_nothing(api: httpx.Client, body: Any, errors: dict[str, list[str]]) -> None:
    """Each limit of each field is kept, in the API's own error shape."""
    before = api.get(f"{CUSTOMERS}10006/").json()
    answer = patch(api, 10006, body)
    assert (422, {"success": False, "errors": errors}) == (answer.status_code, answer.json())
    assert before == api.get(f"{CUSTOMERS}10006/").json()


def test_a_body_that_is_not_json_is_400(api: httpx.Client) -> None:
    """Broken JSON is not a validation error."""
    assert api.patch(f"{CUSTOMERS}10006/", content=b'{"name": ').status_code == 400


def test_unknown_keys_are_ignored(api: httpx.Client) -> None:
    """A misspelt field is silently dropped."""
    before = api.get(f"{CUSTOMERS}10007/").json()
    assert before == patch(api, 10007, {"phnoe": "1", "is_active": False}).json()


def test_a_nested_address_is_replaced_whole(api: httpx.Client, sandbox: ControlledSandbox) -> None:
    """What an address leaves out is blanked."""
    patch(api, 10001, {"full_address": {"street": "1 A", "city": "B", "postal_code": "C"}})
    assert sandbox.record("dualentry", 10001)["full_address"] == {
        "street": "1 A", "second_line": "", "city": "B", "state": "", "postal_code": "C", "country": "", "name": None,
    }  # fmt: skip


def test_custom_fields_merge_by_name_and_by_id(api: httpx.Client) -> None:
    """Both forms may stand in one request, and unlisted ones survive."""
    before = custom(api.get(f"{CUSTOMERS}10009/").json())
    by_id = {"field": {"id": 42}, "value": {"custom_field_id": 42, "value": "North"}}
    record = patch(api, 10009, {"custom_fields": [{"Tier": "Gold"}, by_id]}).json()
    assert before | {"31 Tier": "Gold", "42 Region": "North"} == custom(record)


def test_null_clears_a_custom_field(api: httpx.Client) -> None:
    """By name and by id; cleared, it reads back as a null value."""
    patch(api, 10010, {"custom_fields": [{"Tier": None}, {"field": {"id": 32}, "value": None}]})
    record = api.get(f"{CUSTOMERS}10010/").json()
    assert [item["value"] for item in record["custom_fields"] if item["field"]["id"] in (31, 32)] == [None, None]


@pytest.mark.parametrize("path", ["9999/", "10251/", "ten/", "-1/", "10001", "10001//", "%2e/", "٣/"])
def test_what_is_not_a_record_is_404(api: httpx.Client, path: str) -> None:
    """An id that does not exist, is no integer, or lacks the trailing slash."""
    answer = api.patch(CUSTOMERS + path, json={})
    assert (404, failure("Not found")) == (answer.status_code, answer.json())


def test_a_key_replays_the_first_answer_without_applying_again(api: httpx.Client) -> None:
    """The stored answer comes back even when the record has changed since."""
    first = patch(api, 10011, {"phone": "1"}, Idempotency_Key="replay")
    patch(api, 10011, {"phone": "2"}, Idempotency_Key="later")
    again = patch(api, 10011, {"phone": "1"}, Idempotency_Key="replay")
    assert (200, first.content) == (again.status_code, again.content)
    assert api.get(f"{CUSTOMERS}10011/").json()["phone"] == "2"


def test_a_key_with_another_body_is_422(api: httpx.Client) -> None:
    """Not to be taken for a validation error: it has its own message."""
    patch(api, 10012, {"phone": "1"}, Idempotency_Key="other-body")
    answer = patch(api, 10012, {"phone": "2"}, Idempotency_Key="other-body")
    assert answer.status_code == 422
    assert failure("This Idempotency-Key was already used with a different request") == answer.json()


def test_a_key_of_256_characters_is_refused(api: httpx.Client) -> None:
    """255 are allowed."""
    assert patch(api, 10012, {}, Idempotency_Key="k" * 255).status_code == 200
    assert patch(api, 10012, {}, Idempotency_Key="k" * 256).status_code == 422


def test_list_items_have_full_address_and_no_address(api: httpx.Client) -> None:
    """The list shows the one address, a single record the other."""
    answer = api.get(CUSTOMERS, params={"id": 10020}).json()
    [item] = answer["items"]
    single = api.get(f"{CUSTOMERS}10020/").json()
    del single["address"]
    assert answer["count"] == 1
    assert single == {name: value for name, value in item.items() if name != "full_address"}
    assert item["full_address"]["city"] == "Toronto"


def test_the_page_is_capped_at_100_silently(api: httpx.Client) -> None:
    """limit=1000 gives 100."""
    answer = api.get(CUSTOMERS, params={"limit": 1000, "ordering": "id"}).json()
    assert (250, list(range(10001, 10101))) == (answer["count"], [item["id"] for item in answer["items"]])


def test_pages_go_on_to_the_end(api: httpx.Client) -> None:
    """offset skips records, also beyond the last."""
    pages = [
        api.get(CUSTOMERS, params={"ordering": "-id", "offset": start}).json()["items"] for start in (0, 100, 200, 300)
    ]
    assert list(range(10250, 10000, -1)) == [item["id"] for page in pages for item in page]


def test_id_may_be_repeated(api: httpx.Client) -> None:
    """Several records in one request; those that do not exist are left out."""
    answer = api.get(CUSTOMERS, params={"id": [10031, 10030, 1], "ordering": "id"}).json()
    assert [item["id"] for item in answer["items"]] == [10030, 10031]


def test_unique_id_matches_exactly_but_ignores_case(api: httpx.Client) -> None:
    """c-10040 finds C-10040 and nothing that merely begins with it."""
    assert [item["id"] for item in api.get(CUSTOMERS, params={"unique_id": "c-10040"}).json()["items"]] == [10040]
    assert api.get(CUSTOMERS, params={"unique_id": "C-1004"}).json()["items"] == []


def test_a_changed_unique_id_is_found_under_the_new_one_only(api: httpx.Client) -> None:
    """Two records may share one unique_id."""
    for record in (10041, 10042):
        patch(api, record, {"unique_id": "Shared"})
    found = api.get(CUSTOMERS, params={"unique_id": "SHARED", "ordering": "id"}).json()["items"]
    assert [item["id"] for item in found] == [10041, 10042]
    assert api.get(CUSTOMERS, params={"unique_id": "C-10041"}).json()["count"] == 0


@pytest.mark.parametrize("field", ["name", "email"])
def test_name_and_email_are_filters(api: httpx.Client, field: str) -> None:
    """Each finds the record that has the value."""
    record = api.get(f"{CUSTOMERS}10050/").json()
    assert [item["id"] for item in api.get(CUSTOMERS, params={field: record[field].upper()}).json()["items"]] == [10050]


def test_the_default_order_begins_with_what_was_written_last(api: httpx.Client) -> None:
    """-updated_at: pages shift while somebody writes."""
    for record in (10060, 10070, 10060):
        patch(api, record, {"website": f"https://{record}.example"})
    assert [item["id"] for item in api.get(CUSTOMERS, params={"limit": 2}).json()["items"]] == [10060, 10070]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "offset=-1", "id=x", "ordering=colour"])
def test_a_wrong_parameter_is_422(api: httpx.Client, query: str) -> None:
    """The error names the parameter."""
    answer = api.get(f"{CUSTOMERS}?{query}")
    assert (422, [query.partition("=")[0]]) == (answer.status_code, list(answer.json()["errors"]))


def test_definitions_of_custom_fields(api: httpx.Client) -> None:
    """Every kind of definition is there, two share a name, one is not for customers."""
    answer = api.get("/public/v2/custom-fields/").json()
    assert answer["count"] == 9
    assert answer["items"][0] == {
        "id": 31,
        "name": "Tier",
        "field_type": "single_select",
        "is_active": True,
        "company_id": None,
        "company_ids": [],
        "description": "",
        "helper_text": "",
        "applies_to": [{"type": "customer", "is_active": True, "is_required": False}],
        "default_value": None,
        "options": ["Gold", "Silver", "Bronze"],
    }
    assert [(d["name"], d["id"]) for d in answer["items"] if d["name"] == "Region"] == [("Region", 42), ("Region", 43)]
