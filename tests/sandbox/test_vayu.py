"""The imitated Vayu answers as `batch/endpoints/vayu/README.md` says, asked over a real socket."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from batch.sandbox.options import VAYU_CLIENT_ID, SandboxOptions
from batch.sandbox.vayu import Tokens
from tests.sandbox.control import KEY, ControlledSandbox


def record_id(number: int) -> str:
    return f"{0x65F000000000000000000000 + number:024x}"


def login(url: str) -> str:
    answer = httpx.post(f"{url}/login", json={"refreshToken": KEY}, trust_env=False)
    token: str = answer.json()["accessToken"]
    return token


def client_of(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {login(url)}"}, trust_env=False)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[ControlledSandbox]:
    with ControlledSandbox(SandboxOptions(limits="off", records=250)) as running:
        yield running


@pytest.fixture(scope="module")
def api(sandbox: ControlledSandbox) -> Iterator[httpx.Client]:
    with client_of(sandbox.url) as client:
        yield client


def get(api: httpx.Client, number: int) -> dict[str, Any]:
    customer: dict[str, Any] = api.get(f"/customers/{record_id(number)}").json()["customer"]
    return customer


def put(api: httpx.Client, number: int, body: Any) -> httpx.Response:
    return api.put(f"/customers/{record_id(number)}", json=body)


def without_time(customer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in customer.items() if name != "updatedAt"}


def test_login_gives_a_jwt_with_its_expiry(sandbox: ControlledSandbox) -> None:
    """Three parts, and an exp one hour ahead."""
    _, claims, _ = login(sandbox.url).split(".")
    expiry = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]
    assert 0 <= time.time() + 3601 - expiry <= 60


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"refreshToken": "wrong"}, 401, "authentication_failed"),
        ({}, 400, "parameter_missing"),
        ([], 400, "parameter_missing"),
    ],
)
def test_login_refuses_what_is_no_token(sandbox: ControlledSandbox, body: Any, status: int, code: str) -> None:
    """A wrong token is 401, a missing one 400."""
    answer = httpx.post(f"{sandbox.url}/login", json=body, trust_env=False)
    assert (status, code) == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer x.y.z"}, {"Authorization": KEY}],
    ids=["none", "unknown", "refresh token"],
)
def test_without_a_good_token_it_is_401(sandbox: ControlledSandbox, headers: dict[str, str]) -> None:
    """In Vayu's own shape."""
    answer = httpx.get(f"{sandbox.url}/customers", headers=headers, trust_env=False)
    expected = {
        "type": "authentication_error", "code": "authentication_failed", "message": "Missing or expired access token",
    }  # fmt: skip
    assert (401, expected) == (answer.status_code, answer.json())


def test_the_client_id_may_be_sent_and_must_be_right(api: httpx.Client) -> None:
    """Left out it is not missed, wrong it is refused."""
    sent = [{"x-api-key": VAYU_CLIENT_ID}, {"x-api-key": "other"}]
    assert [api.get("/customers", headers=headers).status_code for headers in sent] == [200, 401]


def test_tokens_expire() -> None:
    """A token is good up to its exp and not at it; a new one does not prolong it."""
    tokens = Tokens(3600)
    token = tokens.issue(1000.5)
    assert [tokens.is_good(token, now) for now in (1000.5, 4600.9, 4601)] == [True, True, False]
    tokens.issue(4000)
    assert not tokens.is_good(token, 4601)


def test_put_answers_with_the_wrapped_record(api: httpx.Client) -> None:
    """The body is not wrapped, the answer is."""
    before = get(api, 2)
    answer = put(api, 2, {"legalName": "Bolt Holdings Inc."})
    assert (answer.status_code, list(answer.json())) == (200, ["customer"])
    assert without_time(before) | {"legalName": "Bolt Holdings Inc."} == without_time(answer.json()["customer"])
    assert answer.json()["customer"] == get(api, 2)
    assert before["updatedAt"] < answer.json()["customer"]["updatedAt"]


def test_a_record_shows_every_field(api: httpx.Client) -> None:
    """Writable ones, id, times and computed balances."""
    assert get(api, 1) == {
        "id": "65f000000000000000000001",
        "name": "Acme Holdings, Inc. 1",
        "externalId": "V-1",
        "aliases": ["alias-1"],
        "taxIds": [],
        "contacts": [
            {"name": "Jane Doe", "email": "jane1@acme.example", "title": "CFO", "phone": "+15550000001",
             "receiveInvoiceEmail": True},
            {"name": "Ravi Patel", "email": "ravi1@acme.example", "title": None, "phone": None,
             "receiveInvoiceEmail": False},
        ],
        "source": "Api",
        "legalName": "Acme Holdings, Inc.",
        "taxId": None,
        "customerErpId": "ERP-1",
        "salesForceAccountId": None,
        "subsidiary": None,
        "address": {"country": "US", "city": "Austin", "addressText": "2 Oak Avenue", "state": "TX",
                    "postalCode": "78701"},
        "dueDays": "60_DAYS",
        "currency": "EUR",
        "customFields": [
            {"vayuCustomFieldName": "Segment", "valueType": "Enum", "integrationSource": "Salesforce",
             "integrationEntityType": "Account", "fieldPath": "Segment__c", "value": "Enterprise"},
            {"vayuCustomFieldName": "Seats", "valueType": "Number", "value": 1},
        ],
        "cloudProviderSettings": None,
        "createdAt": "2024-03-09T16:00:01.000Z",
        "updatedAt": "2024-03-09T16:00:01.000Z",
        "totalOutstandingAmount": 0,
        "openAmount": 0,
        "overdueAmount": 0,
        "pendingPaymentAmount": 0,
        "paidAmount": 0,
    }  # fmt: skip


def test_what_was_read_can_be_written_back(api: httpx.Client) -> None:
    """Read, overlay, write: the writable set of every sample passes its own validation."""
    read_only = {"id", "createdAt", "updatedAt"} | {name for name in get(api, 3) if name.endswith("Amount")}
    for number in range(3, 20):
        before = get(api, number)
        body = {name: value for name, value in before.items() if name not in read_only}
        assert without_time(before) == without_time(put(api, number, body).json()["customer"])


def test_null_clears_and_absent_stays(api: httpx.Client) -> None:
    """A nullable field is null afterwards."""
    before = get(api, 20)
    after = put(api, 20, {"currency": None, "contacts": None}).json()["customer"]
    assert without_time(before) | {"currency": None, "contacts": None} == without_time(after)


def test_lists_and_addresses_are_replaced_whole(api: httpx.Client) -> None:
    """Nothing inside of them is merged."""
    after = put(api, 21, {"aliases": ["b", "a"], "address": {"city": "Bonn"}}).json()["customer"]
    assert (after["aliases"], after["address"]) == (["b", "a"], {"city": "Bonn"})


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"name": None}, "parameter_invalid", "name"),
        ({"externalId": ""}, "parameter_invalid", "externalId"),
        ({"phone": "1"}, "parameter_invalid", "phone"),
        ({"openAmount": 0}, "parameter_invalid", "openAmount"),
        ({"dueDays": "20_DAYS"}, "parameter_invalid", "dueDays"),
        ({"currency": "CHF"}, "parameter_invalid", "currency"),
        ({"source": "hubspot"}, "parameter_invalid", "source"),
        ({"aliases": "a"}, "parameter_invalid", "aliases"),
        ({"contacts": [{"phone": "0123456"}]}, "parameter_invalid", "contacts.0.phone"),
        ({"contacts": [{}, {"email": "jane"}]}, "parameter_invalid", "contacts.1.email"),
        ({"contacts": [{"receiveInvoiceEmail": "yes"}]}, "parameter_invalid", "contacts.0.receiveInvoiceEmail"),
        ({"address": {"street": "1 A"}}, "parameter_invalid", "address.street"),
        ({"customFields": [{"vayuCustomFieldName": "Seats"}]}, "parameter_missing", "customFields.0.valueType"),
        ({"cloudProviderSettings": {"cloudProvider": "GCP"}}, "parameter_invalid",
         "cloudProviderSettings.cloudProvider"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_400_with_its_name(api: httpx.Client, body: Any, code: str, param: str) -> None:
    """One wrong field stands in `param`; unknown keys are refused; nothing changes."""
    before = get(api, 22)
    answer = put(api, 22, body)
    assert (400, code, param) == (answer.status_code, answer.json()["code"], answer.json()["param"])
    assert before == get(api, 22)


def test_several_wrong_fields_are_listed(api: httpx.Client) -> None:
    """More than one stand in `params`."""
    assert put(api, 22, {"name": "", "colour": "red"}).json() == {
        "type": "invalid_request_error",
        "code": "validation_failed",
        "message": "Multiple parameters failed validation",
        "params": [
            {"param": "name", "message": "String should have at least 1 character"},
            {"param": "colour", "message": "Extra inputs are not permitted"},
        ],
    }


@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b""])
def test_a_body_that_is_no_object_is_400(api: httpx.Client, content: bytes) -> None:
    """Malformed JSON is a bad_request."""
    answer = api.put(f"/customers/{record_id(22)}", content=content)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_an_id_that_is_not_24_hex_digits_is_400(api: httpx.Client) -> None:
    """It is a parameter like another."""
    assert api.put("/customers/V-1", json={}).json() == {
        "type": "invalid_request_error",
        "code": "parameter_invalid",
        "message": "customerId is not a valid id",
        "param": "customerId",
    }


def test_an_id_that_does_not_exist_is_404(api: httpx.Client) -> None:
    """One beyond the last record."""
    assert put(api, 251, {}).json() == {
        "type": "invalid_request_error",
        "code": "resource_not_found",
        "message": "Customer with id 65f0000000000000000000fb not found",
    }


def test_an_id_ignores_case(api: httpx.Client) -> None:
    """Hexadecimal digits may be in upper case."""
    assert get(api, 1) == api.get(f"/customers/{record_id(1).upper()}").json()["customer"]


def test_more_than_256_kb_is_413(api: httpx.Client) -> None:
    """Exactly 256 KB are allowed; more than a megabyte is refused likewise."""
    sizes = [256 * 1024, 256 * 1024 + 1, 2 * 1024 * 1024]
    bodies = [b'{"legalName":"' + b"x" * (size - 16) + b'"}' for size in sizes]
    answers = [api.put(f"/customers/{record_id(23)}", content=body) for body in bodies]
    assert [answer.status_code for answer in answers] == [200, 413, 413]
    assert answers[1].json()["code"] == "request_too_large"


def test_an_external_id_of_another_record_is_409(api: httpx.Client) -> None:
    """Its own is no conflict, and one that was given up is free."""
    taken = put(api, 24, {"externalId": "V-25"})
    assert (taken.status_code, taken.json()["code"]) == (409, "resource_already_exists")
    assert [put(api, 24, {"externalId": new}).status_code for new in ("V-24", "free")] == [200, 200]
    assert put(api, 25, {"externalId": "V-24"}).status_code == 200


def test_the_list_is_walked_by_cursor(api: httpx.Client) -> None:
    """By creation, up to 1000 a page, with the total; the last page has no cursor."""
    first = api.get("/customers", params={"limit": 200}).json()
    second = api.get("/customers", params={"limit": 200, "cursor": first["nextCursor"]}).json()
    ids = [customer["id"] for page in (first, second) for customer in page["customers"]]
    assert [record_id(number) for number in range(1, 251)] == ids
    assert (
        first["total"], first["hasMore"], second["total"], second["hasMore"], second["nextCursor"],
    ) == (250, True, 250, False, None)  # fmt: skip


def test_a_page_has_ten_records_when_nothing_is_said(api: httpx.Client) -> None:
    """The default of the maker."""
    assert len(api.get("/customers").json()["customers"]) == 10


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "cursor=nonsense", "cursor=bm9wZQ=="])
def test_a_wrong_parameter_is_400(api: httpx.Client, query: str) -> None:
    """The error names the parameter."""
    answer = api.get(f"/customers?{query}")
    assert (400, query.partition("=")[0]) == (answer.status_code, answer.json()["param"])


def test_records_are_found_by_external_id_and_by_name(api: httpx.Client) -> None:
    """Exactly, and by what is true now."""
    put(api, 30, {"externalId": "a/b c", "name": "Ünïcode & Co"})
    paths = ["externalId/V-31", "externalId/a%2Fb%20c", "name/%C3%9Cn%C3%AFcode%20%26%20Co", "externalId/V-30"]
    found = [api.get(f"/customers/{path}") for path in paths]
    assert [record_id(31), record_id(30), record_id(30)] == [answer.json()["customer"]["id"] for answer in found[:3]]
    assert found[3].status_code == 404


def test_definitions_of_custom_fields(api: httpx.Client) -> None:
    """Name and type of each."""
    definitions = api.get("/customFields").json()["customFields"]
    assert [(definition["vayuCustomFieldName"], definition["valueType"]) for definition in definitions] == [
        ("Segment", "Enum"),
        ("Seats", "Number"),
        ("AE Name", "String"),
        ("Is Partner", "Boolean"),
        ("Region", "String"),
    ]


def test_replacing_put_blanks_what_it_leaves_out() -> None:
    """By switch: null or an empty list, but name and externalId stay."""
    with ControlledSandbox(SandboxOptions(limits="off", put="replace")) as replacing, client_of(replacing.url) as api:
        after = put(api, 1, {"legalName": "Only"}).json()["customer"]
    kept = {name: value for name, value in after.items() if value not in (None, [], 0)}
    assert {"name", "externalId", "legalName", "id", "createdAt", "updatedAt"} == set(kept)
    assert (after["aliases"], after["taxIds"], after["contacts"]) == ([], [], None)
