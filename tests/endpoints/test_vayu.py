"""Vayu's customers: fields, the overlay that keeps everything else, errors, and one log-in for all (its README)."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from trio.testing import MockClock

from batch.endpoints.base import MISSING, Account, ConflictError, CustomField, UnreadableReplyError
from batch.endpoints.vayu.customers import VayuCustomers
from batch.endpoints.vayu.login import life_left
from batch.errors import StoppedError
from batch.http import ApiRequest, ApiResponse, FailureKind, RequestFailure
from batch.ratelimit import Bucket

ENDPOINT, SPARSE = VayuCustomers(), VayuCustomers(sparse=True)
ID = "65f000000000000000000001"
TEXTS = ("legalName", "taxId", "customerErpId", "salesForceAccountId", "subsidiary")
ADDRESS = ("country", "city", "addressText", "state", "postalCode")
CLOUD = ("cloudProvider", "cloudProviderMarketplaceId", "customerIdentifier")
CONTACT = ("name", "email", "title", "phone", "receiveInvoiceEmail")
CURRENT = {
    "id": ID,
    "createdAt": "2026-01-01",
    "updatedAt": "2026-01-02",
    "totalOutstandingAmount": 5,
    "openAmount": 7,
    "name": "Bolt",
    "externalId": None,
    "aliases": ["B", "BG"],
    "taxIds": [],
    "legalName": None,
    "contacts": [{"name": "Ann", "email": "a@x.de", "id": 1}, {"name": "Bob", "phone": "12345"}],
    "address": {"city": "Bonn", "country": "DE", "geo": [1, 2]},
    "customFields": [
        {"vayuCustomFieldName": "Tier", "valueType": "Enum", "fieldPath": "a.b", "value": "Tin", "_id": 1}
    ],
    "cloudProviderSettings": None,
}
KEPT = {
    "name": "Bolt",
    "aliases": ["B", "BG"],
    "taxIds": [],
    "legalName": None,
    "contacts": [{"name": "Ann", "email": "a@x.de"}, {"name": "Bob", "phone": "12345"}],
    "address": {"city": "Bonn", "country": "DE"},
    "customFields": [{"vayuCustomFieldName": "Tier", "valueType": "Enum", "fieldPath": "a.b", "value": "Tin"}],
    "cloudProviderSettings": None,
}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.sampled_from(["params", "param", "message", "code", "customFields"]), inner)
    ),
    max_leaves=10,
)


def response(body: Any, status: int = 400) -> ApiResponse:
    return ApiResponse(status, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def read(name: str, cell: str) -> Any:
    field = ENDPOINT.field_named(name)
    assert field is not None
    try:
        return TypeAdapter(field.type).validate_python(cell)
    except ValidationError:
        return ValueError


def named(header: str, *definitions: CustomField) -> str | None:
    field = VayuCustomers(definitions=definitions).field_named(header)
    return field and field.name


def test_operation() -> None:
    """PUT at the maker's own host, 500 a second with bursts of 100, the whole record unless `sparse`."""
    assert ("PUT", "https://connect.withvayu.com") == (ENDPOINT.method, ENDPOINT.base_url)
    assert (Bucket(100, 500), None) == (ENDPOINT.limits.total, ENDPOINT.limits.per_route)
    assert (True, False, False) == (ENDPOINT.needs_full_body, SPARSE.needs_full_body, ENDPOINT.rules.idempotent_keys)


def test_fields() -> None:
    """Every field of the PUT body can be set, and no computed balance."""
    parts = {f"address.{one}" for one in ADDRESS} | {f"cloudProviderSettings.{one}" for one in CLOUD}
    lists = {"aliases", "taxIds", "contacts", "address", "cloudProviderSettings"}
    expected = {"name", "externalId", "source", "dueDays", "currency", *lists, *TEXTS, *parts}
    assert expected == {one.name for one in ENDPOINT.fields}


def test_nullable() -> None:
    """Name, external id, and the parts of contacts and of the cloud settings may not be null; the rest may."""
    expected = {"name", "externalId", *(f"cloudProviderSettings.{one}" for one in CLOUD)}
    assert expected == {one.name for one in ENDPOINT.fields if not one.nullable}
    assert [False] * 5 == [ENDPOINT.field_named(f"contacts.1.{one}").nullable for one in CONTACT]  # type: ignore[union-attr]  # each is there


@pytest.mark.parametrize(
    ("name", "cell", "value"),
    [
        ("name", "x", "x"),
        ("name", " ", ValueError),
        ("externalId", "007", "007"),
        ("externalId", " ", ValueError),
        ("aliases", "a; b;c", ["a", "b", "c"]),
        ("taxIds", "1", ["1"]),
        ("source", "hubspot", "HubSpot"),
        ("source", "Hub", ValueError),
        ("dueDays", "30_days", "30_DAYS"),
        ("dueDays", "30", ValueError),
        ("dueDays", "END_OF_MONTH", "END_OF_MONTH"),
        ("currency", "eur", "EUR"),
        ("currency", "CHF", ValueError),
        ("cloudProviderSettings.cloudProvider", "aws", "AWS"),
        ("cloudProviderSettings.cloudProvider", "GCP", ValueError),
        ("contacts.1.phone", "12345", "12345"),
        ("contacts.1.phone", "+1" + "2" * 15, "+1" + "2" * 15),
        ("contacts.1.phone", "1234", ValueError),
        ("contacts.1.phone", "1" * 17, ValueError),
        ("contacts.1.phone", "0123456", ValueError),
        ("contacts.1.phone", "+49 30", ValueError),
        ("contacts.1.phone", "1٢٣٤٥٦", ValueError),
        ("contacts.1.email", "a@b.de", "a@b.de"),
        ("contacts.1.email", "a@b", ValueError),
        ("contacts.1.email", "a b@c.de", ValueError),
        ("contacts.1.receiveInvoiceEmail", "yes", True),
        ("address", "x", ValueError),
        ("address.addressText", " x ", " x "),
    ],
)
def test_limits(name: str, cell: str, value: Any) -> None:
    """Each field takes what the schema takes, enums in any case."""
    assert value == read(name, cell)


def test_enums() -> None:
    """The enums are the schema's."""
    choices = {one.name: one.choices for one in ENDPOINT.fields if one.choices}
    expected = {
        "source": ("Stripe", "VayuEventsApi", "Api", "Salesforce", "HubSpot"),
        "dueDays": ("END_OF_MONTH", "SAME_DAY", "15_DAYS", "30_DAYS", "45_DAYS", "60_DAYS", "90_DAYS"),
        "currency": ("USD", "EUR", "GBP", "ILS", "CAD", "AUD", "COP", "BRL"),
        "cloudProviderSettings.cloudProvider": ("AWS",),
    }
    assert expected == choices


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("contacts.1.email", "contacts.1.email"),
        ("Contact.02.E_Mail", "contacts.2.email"),
        ("contacts[50].name", "contacts.50.name"),
        ("contacts.0.email", None),
        ("contacts.51.email", None),
        ("contacts.1", None),
        ("contacts.1.fax", None),
        ("customFields.Tier", "customFields.Tier"),
        ("Custom Fields.Tier:number", "customFields.Tier"),
        ("customFields.Tier:ENUM", "customFields.Tier:enum"),
        ("customFields.a.b", "customFields.a.b"),
        ("customFields.", None),
    ],
)
def test_families(header: str, name: str | None) -> None:
    """Contacts are named by number and part, custom fields by name."""
    assert name == named(header)


def test_custom_field_by_another_spelling() -> None:
    """A known custom field is found in any case, and a definition goes before the header's suffix."""
    tier = CustomField("Tier", "Enum", options=("Gold", "Tin"))
    found = VayuCustomers(definitions=[tier]).field_named("customfields.TIER:number")
    assert found
    assert ("customFields.Tier", "Gold") == (found.name, TypeAdapter(found.type).validate_python("gold"))


@pytest.mark.parametrize(
    "record_id",
    [
        "",
        ".",
        "..",
        "%2e",
        "x" * 24,
        ID[:-1],
        ID + "0",
        ID[:-1] + "/",
        ID[:-1] + "\n",
        " " * 24,
        "٠" * 24,
        "ａ" * 24,
        "007",
    ],
)
def test_no_ids(record_id: str) -> None:
    """Only 24 hexadecimal digits are an id."""
    problem = ENDPOINT.id_problem(record_id)
    assert "is not a Vayu customer id (24 characters, 0-9 and a-f)" == (problem and problem.reason)


@pytest.mark.parametrize("record_id", [ID, "ABCDEFabcdef012345678901"])
def test_ids(record_id: str) -> None:
    """An id is hexadecimal in either case."""
    assert (None, f"/customers/{record_id}") == (
        ENDPOINT.id_problem(record_id),
        ENDPOINT.read_one_request(record_id).path,
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("contacts.1.email", "contacts"),
        ("customFields.Tier", "custom fields"),
        ("address.city", "address"),
        ("cloudProviderSettings.customerIdentifier", "cloud provider settings"),
    ],
)
def test_part_without_current(name: str, what: str) -> None:
    """Sent alone, a part would wipe what is beside it; so the current record must be read."""
    (problem,) = SPARSE.conflicts({name: "x", "name": "y"}, reads_before_write=False)
    assert (name, f"needs the current {what} (leave out --no-compare)") == (problem.field, problem.reason)
    assert [] == SPARSE.conflicts({name: "x", "name": "y"}, reads_before_write=True)


def test_overlay_keeps_everything() -> None:
    """The body is the whole writable set with the change laid over it; what PUT refuses is left out."""
    assert {**KEPT, "name": "Bolt GmbH"} == ENDPOINT.body({"name": "Bolt GmbH"}, CURRENT)


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"legalName": None, "aliases": None}, {"legalName": None, "aliases": None}),
        ({"aliases": ["X"]}, {"aliases": ["X"]}),
        (
            {"address.city": "Berlin", "address.state": None},
            {"address": {"city": "Berlin", "country": "DE", "state": None}},
        ),
        ({"address": None}, {"address": None}),
        ({"cloudProviderSettings.cloudProvider": "AWS"}, {"cloudProviderSettings": {"cloudProvider": "AWS"}}),
        (
            {"contacts.2.email": "b@x.de", "contacts.3.name": "Eve"},
            {"contacts": [KEPT["contacts"][0], {"name": "Bob", "phone": "12345", "email": "b@x.de"}, {"name": "Eve"}]},
        ),
        ({"customFields.Tier": "Gold"}, {"customFields": [{**KEPT["customFields"][0], "value": "Gold"}]}),
        ({"customFields.Tier:enum": None}, {"customFields": [{**KEPT["customFields"][0], "value": None}]}),
        ({"customFields.Gone": None}, {}),
    ],
)
@pytest.mark.parametrize("endpoint", [ENDPOINT, SPARSE], ids=["whole", "sparse"])
def test_overlay(endpoint: VayuCustomers, fields: Any, changed: Any) -> None:
    """A change is laid over the current record part by part; `sparse` sends what it touches alone."""
    body = endpoint.body(fields, CURRENT)
    touched = {name.partition(".")[0] for name in fields}
    expected = KEPT | changed
    assert (expected if endpoint is ENDPOINT else {name: expected[name] for name in touched}) == body
    assert "Ann" == CURRENT["contacts"][0]["name"]  # type: ignore[index]  # a list


@pytest.mark.parametrize(
    ("name", "value", "value_type"),
    [
        ("customFields.New", "x", "String"),
        ("customFields.New", True, "Boolean"),
        ("customFields.New", 1.5, "Number"),
        ("customFields.New:enum", "Gold", "Enum"),
        ("customFields.Known", "1", "Enum"),
    ],
)
def test_new_custom_field(name: str, value: Any, value_type: str) -> None:
    """A custom field that the customer does not have yet gets the type of its definition, header or value."""
    endpoint = VayuCustomers(definitions=[CustomField("Known", "Enum")])
    item = endpoint.body({name: value}, {"customFields": []})["customFields"][0]
    expected = {"vayuCustomFieldName": name.split(".")[1].split(":")[0], "valueType": value_type, "value": value}
    assert expected == item


@pytest.mark.parametrize(
    ("contacts", "count"), [([None, {"name": "B"}], 1), ([{"name": "A"}, "x", {"name": "B"}], 2), (None, 0), ("x", 0)]
)
def test_one_numbering_of_contacts(contacts: Any, count: int) -> None:
    """What is no contact does not count, in reading, in writing and in a pulled sheet."""
    record = {"contacts": contacts}
    names = [ENDPOINT.value(record, f"contacts.{number}.name") for number in range(1, 4)]
    assert [*names[:count]] == [one["name"] for one in contacts or () if isinstance(one, dict)]
    assert [None] * (3 - count) == names[count:]
    body = ENDPOINT.body({f"contacts.{count + 1}.name": "New"}, record)
    assert [*names[:count], "New"] == [one["name"] for one in body["contacts"]]
    assert count == sum(name.endswith(".name") for name in ENDPOINT.more_columns(record))


def test_contact_gap() -> None:
    """A contact cannot be put behind a gap in the list."""
    with pytest.raises(ConflictError) as caught:
        ENDPOINT.body({"contacts.4.name": "Eve"}, CURRENT)
    assert ("contacts.4.name", "would leave a gap: the customer has 2 contacts") == (
        caught.value.problem.field,
        str(caught.value),
    )


def test_too_large() -> None:
    """A body that Vayu would refuse for its size is refused here, in words."""
    with pytest.raises(ConflictError) as caught:
        ENDPOINT.write_request(ID, {"name": "x" * 300_000}, None)
    assert "makes a request of 292 KB (Vayu takes at most 256 KB)" == str(caught.value)


def test_write() -> None:
    """The body goes as it is, not wrapped."""
    request = ENDPOINT.write_request(ID, {"name": "Bölt"}, None)
    assert ("PUT", f"/customers/{ID}", '{"name":"Bölt"}'.encode()) == (request.method, request.path, request.content)


@pytest.mark.parametrize("body", [{"customers": [CURRENT]}, {"customer": CURRENT}, CURRENT])
def test_records(body: Any) -> None:
    """Customers are read from a list, wrapped and bare."""
    assert [CURRENT] == ENDPOINT.parse_records(response(body, 200))


@pytest.mark.parametrize("body", [b"", {}, {"customer": None}, {"customers": [1]}, {"customers": "x"}, [CURRENT], 5])
def test_no_records(body: Any) -> None:
    """An answer without customers says so."""
    with pytest.raises(UnreadableReplyError, match="the answer holds no customer"):
        ENDPOINT.parse_records(response(body, 200))


@pytest.mark.parametrize("shown", [{"id": ID}, {"id": ID, "legalName": "L"}, {"id": ID, "name": None}])
def test_part_of_a_record(shown: Any) -> None:
    """A record without its name is no whole one: to write it back would empty what it leaves out."""
    for body in ({"customer": shown}, {"customers": [CURRENT, shown]}, shown):
        with pytest.raises(UnreadableReplyError, match="the answer shows only a part of the customer"):
            ENDPOINT.parse_records(response(body, 200))


@pytest.mark.parametrize("body", [CURRENT, {"customers": [CURRENT]}, {"customer": [CURRENT]}])
def test_confirmation(body: Any) -> None:
    """A write is confirmed by the wrapped customer, and by nothing that looks like another answer."""
    assert CURRENT == ENDPOINT.parse_written(response({"customer": CURRENT}, 200))
    with pytest.raises(UnreadableReplyError, match="the answer holds no customer"):
        ENDPOINT.parse_written(response(body, 200))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "Bolt"),
        ("legalName", None),
        ("source", None),
        ("totalOutstandingAmount", 5),
        ("address.city", "Bonn"),
        ("address.state", None),
        ("cloudProviderSettings.cloudProvider", None),
        ("contacts.1.email", "a@x.de"),
        ("contacts.3.email", None),
        ("customFields.Tier", "Tin"),
        ("customFields.Tier:enum", "Tin"),
        ("customFields.X", None),
    ],
)
def test_value(name: str, value: Any) -> None:
    """A record's field is read as it would be written."""
    assert value == ENDPOINT.value(CURRENT, name)
    assert MISSING is ENDPOINT.value({}, "openAmount")


@pytest.mark.parametrize(
    ("wanted", "current", "is_same"),
    [(True, "true", True), (1.5, "1.50", True), (1, "1.0", True), ("1", 1, True), ("01", 1, False), (True, 1, False)],
)
def test_custom_values_as_text(wanted: Any, current: Any, is_same: bool) -> None:
    """A custom field's value may be kept as text, whatever its type."""
    assert is_same is ENDPOINT.is_same("customFields.X", wanted, current)


@pytest.mark.parametrize("wrap", [lambda found: {"customFields": found, "total": 1}, lambda found: found])
def test_definitions(wrap: Callable[[Any], Any]) -> None:
    """Definitions are read however the list is wrapped, without those of other records."""
    tier = {"vayuCustomFieldName": "Tier", "valueType": "Enum", "options": ["Gold", 5]}
    found = ENDPOINT.parse_definitions(response(wrap([tier, {**tier, "vayuEntity": "Invoice"}, {"id": 1}, 7]), 200))
    assert [CustomField("Tier", "Enum", None, ("Gold",))] == found


@given(ANY_JSON | st.binary())
def test_any_answer(body: Any) -> None:
    """Whatever the answer is, reading definitions and errors never fails, and a reason comes out."""
    assert isinstance(ENDPOINT.parse_definitions(response(body)), list)
    assert 1 <= len(ENDPOINT.parse_error(response(body))) <= 50


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"type": "t", "code": "parameter_invalid", "message": "bad", "param": "name"}, [("name", "bad")]),
        ({"message": "bad", "params": [{"param": "a", "message": "x"}, {"param": "b"}]}, [("a", "x"), ("b", "bad")]),
        ({"message": "Too Many Requests"}, [("", "Too Many Requests")]),
        ({"params": [{"param": "a", "message": "x"}, 5]}, [("a", "x")]),
        ({"message": "bad", "params": []}, [("", "bad")]),
        ({"message": ["a", "b"]}, [("", 'the API answered 400: {"message": ["a", "b"]}')]),
        (b"", [("", "the API answered 400 without saying why")]),
    ],
)
def test_refusals(body: Any, expected: list[tuple[str, str]]) -> None:
    """Errors are read with one parameter, with several, and from the gateway."""
    assert expected == ENDPOINT.parse_error(response(body))


# -- the account ----------------------------------------------------------------------------------------------------


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def jwt(**claims: Any) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"head.{middle}.sign"


class Maker:
    """The maker's log-in: gives tokens in turn, and counts."""

    def __init__(self, tokens: Iterator[Any]) -> None:
        self.tokens, self.calls = tokens, []  # type: ignore[var-annotated]  # of ApiRequest

    async def send(self, request: ApiRequest) -> ApiResponse | RequestFailure:
        self.calls.append(request)
        await anyio.sleep(0.1)
        answer = next(self.tokens)
        return answer if isinstance(answer, ApiResponse | RequestFailure) else response({"accessToken": answer}, 200)


class Clock:
    """The wall clock, moved by hand."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def account(clock: Clock, client_id: str = "") -> Account:
    return VayuCustomers(clock=clock).account({"VAYU_API_TOKEN": "refresh-s3cret", "VAYU_CLIENT_ID": client_id})


def numbered(life: float, clock: Clock) -> Iterator[str]:
    return (jwt(iat=clock.now, exp=clock.now + life, n=number) for number in range(1000))


@pytest.mark.anyio
async def test_one_log_in_for_all() -> None:
    """Many workers that begin at once share one log-in, with the API token as the refresh token."""
    clock, found = Clock(), []
    maker, mine = Maker(numbered(3600, clock)), account(clock, "client")

    async def work() -> None:
        found.append(await mine.headers(maker.send))

    async with anyio.create_task_group() as workers:
        for _ in range(50):
            workers.start_soon(work)
    assert (50, 1) == (len(found), len({one["Authorization"] for one in found}))
    assert [("POST", "/login", b'{"refreshToken": "refresh-s3cret"}')] == [
        (c.method, c.path, c.content) for c in maker.calls
    ]
    assert "client" == found[0]["x-api-key"]


@pytest.mark.anyio
async def test_without_client_id() -> None:
    """The client id is sent only when it is set."""
    clock = Clock()
    assert ["Authorization"] == list(await account(clock).headers(Maker(numbered(3600, clock)).send))


@pytest.mark.anyio
@pytest.mark.parametrize(("life", "renewed_after"), [(3600, 3300), (86_400, 86_100), (400, 200), (60, 30), (1, 1)])
async def test_renewed_in_time(life: float, renewed_after: float) -> None:
    """The token is renewed 5 minutes before it ends; one that lives shorter, at half of its life."""
    clock = Clock()
    maker, mine = Maker(numbered(life, clock)), account(clock)
    began = clock.now
    await mine.headers(maker.send)
    clock.now = began + renewed_after - 0.01
    await mine.headers(maker.send)
    assert 1 == len(maker.calls)
    clock.now = began + renewed_after
    await mine.headers(maker.send)
    assert 2 == len(maker.calls)


@pytest.mark.anyio
async def test_one_log_in_after_401() -> None:
    """When a token is refused, one new log-in serves all workers that it was given to."""
    clock, found = Clock(), []
    maker, mine = Maker(numbered(3600, clock)), account(clock)
    old = await mine.headers(maker.send)

    async def work() -> None:
        assert await mine.renew(maker.send, old)
        found.append(await mine.headers(maker.send))

    async with anyio.create_task_group() as workers:
        for _ in range(50):
            workers.start_soon(work)
    assert (2, 1) == (len(maker.calls), len({one["Authorization"] for one in found}))
    assert old != found[0]


@pytest.mark.anyio
async def test_same_token_again() -> None:
    """When the log-in gives the refused token again, there is no getting past the 401."""
    clock = Clock()
    maker, mine = Maker(iter([jwt(exp=clock.now + 3600)] * 9)), account(clock)
    old = await mine.headers(maker.send)
    assert False is await mine.renew(maker.send, old)


NO_LOG_IN = "Logging in to Vayu did not work: "


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (response({"code": "x"}, 401), "Vayu refused the API token (VAYU_API_TOKEN). Make a new one in its dashboard."),
        (response({}, 400), "Vayu refused the API token (VAYU_API_TOKEN). Make a new one in its dashboard."),
        (response({}, 200), NO_LOG_IN + "it answered 200 without a token."),
        (response(b"<html>", 302), NO_LOG_IN + "it answered 302 without a token."),
        (response({"accessToken": "a b\r\nX: y"}, 200), NO_LOG_IN + "it answered 200 without a token."),
        (response({"accessToken": ["x"]}, 200), NO_LOG_IN + "it answered 200 without a token."),
        (
            RequestFailure("no", "the connection was refused", FailureKind.REFUSED),
            NO_LOG_IN + "the connection was refused.",
        ),
    ],
)
async def test_no_log_in(answer: Any, expected: str) -> None:
    """A log-in that does not work stops the run in words, without the token."""
    with pytest.raises(StoppedError) as caught:
        await account(Clock()).headers(Maker(iter([answer])).send)
    assert expected == str(caught.value)


def test_secrets_do_not_show() -> None:
    """An account never shows its token."""
    assert "VayuAccount(…)" == repr(account(Clock()))


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (jwt(exp=1100), 100.0),
        (jwt(exp=1100, iat=900), 100.0),
        (jwt(exp=900, iat=500), 400.0),
        (jwt(exp=900), 3600.0),
        (jwt(exp=9_000, iat=8_000), 1000.0),
        (jwt(exp=1_700_000_000_000), 3600.0),
        (jwt(exp="soon"), 3600.0),
        (jwt(exp=10**400), 3600.0),
        (jwt(exp=float("inf")), 3600.0),
        (jwt(exp=float("nan")), 3600.0),
        (jwt(exp=1100, iat="x"), 3600.0),
        (jwt(), 3600.0),
        ("", 3600.0),
        ("a.b.c", 3600.0),
        ("a.é.c", 3600.0),
        ("opaque", 3600.0),
    ],
)
def test_life_left(token: str, expected: float) -> None:
    """A token's end is believed as far as it makes sense: clocks differ, and some tokens cannot be read."""
    assert expected == life_left(token, 1000.0)


@given(st.text() | st.binary().map(lambda raw: "a." + base64.urlsafe_b64encode(raw).decode() + ".c"))
def test_any_token(token: str) -> None:
    """Whatever the token is, it has a life."""
    assert 0 < life_left(token, 1000.0)
