"""What every endpoint must keep: one function for each promise, each taking a `Case`.

A `Case` is an endpoint, something that answers as its API does, and what is known of that API. Add one to
`test_conformance.py`; whatever the endpoint lacks is said by the check that fails.
"""

import copy
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from batch import diff
from batch.columns import match_columns
from batch.endpoints.base import (
    MISSING,
    ConflictError,
    CustomField,
    Endpoint,
    Record,
    UnreadableReplyError,
    as_content,
    is_blank,
)
from batch.engine.pull_filter import make_pull_filter
from batch.errors import HeaderError, SettingsError
from batch.http import ApiRequest, ApiResponse, Session, check_base_url
from batch.http.url import is_exact
from batch.outputs.cell_text import Renderer
from batch.run.target import Environment, make_target
from batch.settings import Settings
from tests.virtual import run_on_virtual_clock

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CLIMBING = (".", "..", "%2e", "%2e%2e", "", " ", "a/../b", "x\\..\\y", "/", "a/b", "a?b", "a#b", "a\nb")


@dataclass(frozen=True)
class Case:
    """An endpoint and its API. `cells` are headers with a cell that the record does not have yet."""

    endpoint: Endpoint
    credentials: Mapping[str, str]
    transport: Callable[[], httpx.AsyncBaseTransport]
    record_id: str
    absent_id: str
    cells: Mapping[str, str]
    names: Sequence[str] = ()
    """Keys of an error body, so that bodies made at random come near to real ones."""
    errors: Sequence[tuple[Any, Sequence[tuple[str, str]]]] = ()
    """Documented bodies, and the (field, message) pairs in them."""
    refused: Sequence[tuple[Mapping[str, Any], Record | None, str]] = ()
    """Changes that cannot be said: fields, the current record (None: not read), and the field that is named."""

    def ask(self, *requests: ApiRequest) -> list[ApiResponse]:
        """Send requests to the API, logged in, and return its answers."""

        async def send_all() -> list[ApiResponse]:
            transport = self.transport()
            async with Session(self.endpoint.base_url, transport=transport) as session:
                headers = await self.endpoint.account(self.credentials).headers(session.exchange)
                return [await _answered(session.exchange(one, headers)) for one in requests]

        found: list[ApiResponse] = run_on_virtual_clock(send_all)
        return found

    def record(self, record_id: str = "") -> Record:
        """Read a record, by itself."""
        (record,) = self.endpoint.parse_records(*self.ask(self.endpoint.read_one_request(record_id or self.record_id)))
        return record

    def defined(self) -> Endpoint:
        """Return the endpoint with the organisation's custom fields, as the API lists them."""
        if not self.endpoint.has_custom_fields:
            return self.endpoint
        (answer,) = self.ask(self.endpoint.definitions_request(0))
        return self.endpoint.defined(self.endpoint.parse_definitions(answer))

    def write(self, endpoint: Endpoint, fields: Mapping[str, Any]) -> Record:
        """Write fields as a run does, and return the record as it then is."""
        body = endpoint.body(fields, self.record())
        key = str(uuid.uuid4()) if endpoint.rules.idempotent_keys else None
        (answer,) = self.ask(endpoint.write_request(self.record_id, body, key))
        assert 200 == answer.status, answer.text
        assert [self.record_id] == [endpoint.record_id(one) for one in endpoint.parse_records(answer)]
        return self.record()


async def _answered(exchange: Awaitable[object]) -> ApiResponse:
    answer = await exchange
    assert isinstance(answer, ApiResponse)
    return answer


def _value(endpoint: Endpoint, header: str, cell: str) -> tuple[str, Any]:
    found = endpoint.field_named(header)
    assert found is not None, header
    return found.name, TypeAdapter(found.type).validate_python(cell)


def says_what_it_is(case: Case) -> None:
    """Everything that a person is shown of it is there, and every label leads to one field."""
    endpoint = case.endpoint
    assert re.fullmatch(r"[a-z0-9]+\.[a-z0-9_]+", endpoint.name)
    assert all((endpoint.title, endpoint.noun, endpoint.plural, endpoint.method, endpoint.id_form))
    assert endpoint.base_url == check_base_url(endpoint.base_url, has_credentials=True)
    assert [] == [one.name for one in endpoint.fields if not one.limits]
    labels = [(label, one) for one in endpoint.fields for label in (one.name, *one.labels)]
    assert [] == [label for label, one in labels if endpoint.field_named(label) is not one]
    ids = ("id", *endpoint.id_labels)
    assert ([True] * len(ids), [None] * len(ids)) == (
        [endpoint.is_id(label) for label in ids],
        [endpoint.field_named(label) for label in ids],
    )
    names = {one.name for one in endpoint.fields}
    assert names >= {*endpoint.key_fields, *endpoint.filters}


def takes_its_options(case: Case) -> None:
    """Each option of its own is taken by the constructor, under its name, with a default of its type."""
    options = case.endpoint.options
    assert all(isinstance(one.default, one.type) and one.help for one in options)
    type(case.endpoint)(**{one.name: one.default for one in options})


def keeps_ids_in_their_place(case: Case) -> None:
    """An id that is let through leaves as one whole segment of the path; every other gets a reason."""
    endpoint = case.endpoint
    assert (None, None) == (endpoint.id_problem(case.record_id), endpoint.id_problem(case.absent_id))

    @settings(max_examples=60)
    @given(st.text(min_size=1) | st.sampled_from(CLIMBING) | st.from_regex(endpoint.id_pattern, fullmatch=True))
    def check(record_id: str) -> None:
        problem = endpoint.id_problem(record_id)
        if problem is not None:
            assert problem.reason == problem.reason.strip() != ""
            assert not pl.Series([record_id]).str.contains(endpoint.id_pattern).item()
            return
        for request in (endpoint.write_request(record_id, {}, None), endpoint.read_one_request(record_id)):
            assert is_exact(request.path)
            assert record_id in request.path.split("/")

    check()
    assert [] == [one for one in CLIMBING if endpoint.id_problem(one) is None]


def knows_same_ids(case: Case) -> None:
    """An id is the same as itself, and as one in another case exactly when the endpoint says so."""
    endpoint, one = case.endpoint, case.record_id
    assert endpoint.id_key(one) == endpoint.id_key(endpoint.record_id(case.record()))
    if one.swapcase() != one:
        assert endpoint.ids_ignore_case is (endpoint.id_key(one) == endpoint.id_key(one.swapcase()))
    assert endpoint.id_key(one) != endpoint.id_key(case.absent_id)


def writes_what_a_cell_says(case: Case) -> None:
    """A cell becomes a value, a body, a changed record, and the same cell again; what is the same sends nothing."""
    endpoint = case.defined()
    for header, cell in case.cells.items():
        name, value = _value(endpoint, header, cell)
        before = case.record()
        assert {name: value} == diff.shows(endpoint, {name: value}, before).differing
        after = case.write(endpoint, {name: value})
        assert diff.shows(endpoint, {name: value}, after).is_as_asked
        back = Renderer(endpoint, "<clear>").cells(after)[name]
        assert value == _value(endpoint, name, back)[1]


def changes_nothing_else(case: Case) -> None:
    """What a change does not name stays as it was."""
    endpoint = case.defined()
    was = copy.deepcopy(case.record())
    header, cell = next(iter(case.cells.items()))
    name, value = _value(endpoint, header, cell)
    after = case.write(endpoint, {name: value})
    others = [one.name for one in endpoint.columns() if one.name != name]
    assert {one: endpoint.value(was, one) for one in others} == {one: endpoint.value(after, one) for one in others}


def clears(case: Case) -> None:
    """A field that may be cleared is empty afterwards."""
    endpoint = case.defined()
    for header, cell in case.cells.items():
        field, (name, value) = endpoint.field_named(header), _value(endpoint, header, cell)
        case.write(endpoint, {name: value})
        if field is not None and field.nullable:
            assert is_blank(endpoint.value(case.write(endpoint, {name: None}), name))


def knows_its_own_values(case: Case) -> None:
    """A record compared with what it shows differs in nothing, and so do all its cells, read again."""
    endpoint, record = case.defined(), case.record()
    shown = {one.name: endpoint.value(record, one.name) for one in endpoint.columns()}
    shown = {name: value for name, value in shown.items() if value is not MISSING}
    assert diff.shows(endpoint, shown, record).is_as_asked
    cells = Renderer(endpoint, "<clear>").cells(record)
    assert case.record_id == cells.pop("id")
    assert diff.shows(endpoint, dict(_value(endpoint, *one) for one in cells.items()), record).is_as_asked


def puts_back_what_a_write_takes(case: Case) -> None:
    """Of an object, what a record shows beside the parts that a write takes is left out, named, and never compared."""
    endpoint, record = case.endpoint, case.record()
    assert set(endpoint.known_parts) <= set(endpoint.replaced_whole)
    for whole in endpoint.replaced_whole:
        shown, parts = record.get(whole), endpoint.known_parts[whole]
        own = {**dict.fromkeys(parts, "x"), "of-its-own": "x"}
        value = [own] if isinstance(shown, list) else own
        taken = endpoint.writable(whole, value)
        assert taken == ([dict.fromkeys(parts, "x")] if isinstance(shown, list) else dict.fromkeys(parts, "x"))
        assert [f"{whole}.1.of-its-own" if isinstance(shown, list) else f"{whole}.of-its-own"] == endpoint.unwritable(
            whole, value
        )
        assert [] == endpoint.unwritable(whole, taken) == endpoint.unwritable(whole, None)
        assert endpoint.is_same(whole, taken, value)
        assert endpoint.is_same(whole, endpoint.writable(whole, shown), shown)


def refuses_what_it_cannot_say(case: Case) -> None:
    """What cannot be written is refused by naming the field, before anything is sent."""
    for fields, current, name in case.refused:
        found = case.endpoint.conflicts(fields, reads_before_write=current is not None)
        if not found:
            with pytest.raises(ConflictError) as caught:
                case.endpoint.body(fields, current)
            found = [caught.value.problem]
        assert name in [one.field for one in found]
        assert all(one.reason for one in found)


def reads_records(case: Case) -> None:
    """One record and one that is not there are told apart, and any other body is refused in words."""
    endpoint = case.endpoint
    read, absent = case.ask(endpoint.read_request([case.record_id]), endpoint.read_request([case.absent_id]))
    assert [case.record_id] == [endpoint.record_id(one) for one in endpoint.parse_records(read)]
    assert 404 == absent.status or [] == endpoint.parse_records(absent)

    @settings(max_examples=60)
    @given(st.binary() | JSON.map(_as_json))
    def check(body: bytes) -> None:
        try:
            records = endpoint.parse_records(ApiResponse(200, body=body))
        except UnreadableReplyError:
            return
        assert all(isinstance(one, Mapping) for one in records)

    check()


def reads_any_record(case: Case) -> None:
    """Whatever a record shows for a field, reading and comparing it never fails."""
    endpoint = case.endpoint

    @settings(max_examples=60)
    @given(st.sampled_from(endpoint.fields), JSON)
    def check(field: Any, shown: Any) -> None:
        record = {"id": 1, field.name.partition(".")[0]: shown}
        assert endpoint.is_same(field.name, "x", endpoint.value(record, field.name)) in (True, False)

    check()


def lists_records(case: Case) -> None:
    """All records come by pages, or the API lists none and a pull without ids is refused."""
    endpoint = case.endpoint
    if not endpoint.page_size:
        with pytest.raises(SettingsError):
            make_pull_filter(endpoint, (), None)
        return
    found, cursor = list[str](), ""
    for _ in range(100):
        (answer,) = case.ask(endpoint.page_request(cursor, {}))
        found += [endpoint.record_id(one) for one in endpoint.parse_records(answer)]
        following = endpoint.next_cursor(answer, cursor)
        if following is None:
            break
        cursor = following
    assert (True, False) == (case.record_id in found, case.absent_id in found)


def finds_by_key(case: Case) -> None:
    """A record is found by its key, a key leaves as it is or is refused; without keys --key is refused in words."""
    endpoint = case.endpoint
    if not endpoint.key_fields:
        with pytest.raises(HeaderError, match="by their id alone"):
            match_columns(["name"], endpoint, name="x.csv", mapping={}, key_field="name")
        return
    assert endpoint.lists_by_key or endpoint.page_size  # else two records with one key cannot be told
    if not endpoint.lists_by_key:
        return
    record = case.record()
    for key_field in endpoint.key_fields:
        (answer,) = case.ask(endpoint.find_request(key_field, endpoint.value(record, key_field)))
        assert [case.record_id] == [endpoint.record_id(one) for one in endpoint.parse_records(answer)]

    @settings(max_examples=60)
    @given(st.sampled_from(endpoint.key_fields), st.text() | st.sampled_from(CLIMBING))
    def check(key_field: str, key: str) -> None:
        try:
            request = endpoint.find_request(key_field, key)
        except ValueError:
            return
        assert is_exact(request.path)

    check()


def reads_errors(case: Case) -> None:
    """Every documented error becomes field and message; any other body a message, and never an exception."""
    endpoint = case.endpoint
    for body, expected in case.errors:
        assert list(expected) == endpoint.parse_error(ApiResponse(422, body=_as_json(body)))

    @settings(max_examples=100)
    @given(st.binary() | (JSON | st.dictionaries(st.sampled_from(["errors", *case.names]), JSON)).map(_as_json))
    def check(body: bytes) -> None:
        found = endpoint.parse_error(ApiResponse(422, body=body))
        assert 1 <= len(found) <= 50
        assert all(isinstance(field, str) and isinstance(message, str) for field, message in found)

    check()


def says_that_nobody_is_there(case: Case) -> None:
    """Writing to a record that is not there is refused, with words."""
    endpoint = case.endpoint
    (answer,) = case.ask(endpoint.write_request(case.absent_id, endpoint.body({"name": "x"}, None), None))
    assert 404 == answer.status
    assert all(message for _, message in endpoint.parse_error(answer))


def knows_custom_fields(case: Case) -> None:
    """What the organisation defined has columns that are custom; where nothing is defined, nothing is."""
    endpoint = case.defined()
    assert [] == [one.name for one in endpoint.fields if endpoint.is_custom(one.name)]
    assert ((), []) == (case.endpoint.definitions, case.endpoint.custom_fields())
    columns = endpoint.custom_fields()
    for one in columns:
        found = endpoint.field_named(one.name)
        assert (True, one.name) == (endpoint.is_custom(one.name), found.name if found else None)
    assert endpoint.has_custom_fields is bool(columns)

    @settings(max_examples=60)
    @given(st.binary() | JSON.map(_as_json))
    def check(body: bytes) -> None:
        found = endpoint.parse_definitions(ApiResponse(200, body=body))
        assert all(isinstance(one, CustomField) for one in found)

    check()


def is_copied(case: Case) -> None:
    """Definitions are given to copies; the endpoint itself stays as it is."""
    tier = CustomField("Tier", "text")
    twin = case.endpoint.defined([tier])
    assert ((), (tier,), type(case.endpoint)) == (case.endpoint.definitions, twin.definitions, type(twin))


def keeps_its_credentials(case: Case) -> None:
    """No credential shows in what is printed of an account."""
    account = case.endpoint.account(case.credentials)
    assert [] == [secret for secret in case.credentials.values() if secret in repr(account)]
    assert {one.name for one in case.endpoint.variables} >= set(case.credentials)


def has_a_sandbox_or_says_so(case: Case) -> None:
    """--sandbox is refused in words where there is no imitation of the API."""
    if case.endpoint.has_sandbox:
        return
    environment = Environment({}, endpoints={case.endpoint.name: type(case.endpoint)})
    with ExitStack() as stack, pytest.raises(SettingsError, match="there is no imitation of"):
        make_target(Settings(endpoint=case.endpoint.name, sandbox=True), environment, stack, print)


def takes_any_header(case: Case) -> None:
    """Any header names a field or none, and has at most three near ones that exist."""
    endpoint = case.endpoint
    known = {"id", *(one.name for one in endpoint.fields)}

    @settings(max_examples=60)
    @given(st.text())
    def check(header: str) -> None:
        endpoint.field_named(header)
        near = endpoint.nearest(header)
        assert len(near) <= 3
        assert set(near) <= known

    check()


def _as_json(body: Any) -> bytes:
    return body if isinstance(body, bytes) else as_content(body)


CHECKS: tuple[Callable[[Case], None], ...] = (
    says_what_it_is, takes_its_options, keeps_ids_in_their_place, knows_same_ids, writes_what_a_cell_says,
    changes_nothing_else, clears, knows_its_own_values, puts_back_what_a_write_takes, refuses_what_it_cannot_say,
    reads_records, reads_any_record,
    lists_records, finds_by_key, reads_errors, says_that_nobody_is_there, knows_custom_fields, is_copied,
    keeps_its_credentials, has_a_sandbox_or_says_so, takes_any_header,
)  # fmt: skip
