"""Vayu's customers: PUT (what the API is known to do: README.md).

Whether PUT merges or replaces is said nowhere, so the safe way is the default: read, overlay, write the whole writable
set. `sparse` sends the change alone, for who knows that it merges.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from batch.endpoints import cell_types
from batch.endpoints.base import (
    MISSING,
    Account,
    ConflictError,
    CredentialVariable,
    CustomField,
    Endpoint,
    EndpointOption,
    Record,
    UnreadableReplyError,
    as_content,
    definition_id,
    find_definition,
    nest,
    only_objects,
    split_kind,
    unknown_definition,
)
from batch.endpoints.errors import error_text, parse_common_errors, tidied
from batch.endpoints.labels import fold, read_labels, with_labels
from batch.endpoints.vayu.login import DEFAULT_LIFE, RENEW_BEFORE, VayuAccount
from batch.exact_json import is_number, members
from batch.http import ApiRequest, ApiResponse, encode_id
from batch.model import Field, Problem
from batch.problems import Values
from batch.ratelimit import Bucket, Limits

NAMES = {"api": "Vayu", "noun": "customer"}
"""Values that messages name."""
ROOT = "/customers"
LIST_BYTES = 16 * 1024 * 1024
PAGE = 1000
MAX_BODY = 256 * 1024
_CONTACT = re.compile(r"contacts?\s*[.\[]\s*(\d{1,3})\s*\]?\s*\.\s*(\S.*)", re.IGNORECASE)
_CUSTOM = re.compile(r"custom[\s_-]*fields?\s*\.\s*(\S.*)", re.IGNORECASE | re.DOTALL)

MAX_CONTACTS = 50
NAME = "vayuCustomFieldName"
SOURCE = ("integrationSource", "integrationEntityType", "fieldPath")
"""What tells custom fields of one name apart."""

CURRENCIES = ("USD", "EUR", "GBP", "ILS", "CAD", "AUD", "COP", "BRL")
DUE_DAYS = ("END_OF_MONTH", "SAME_DAY", "15_DAYS", "30_DAYS", "45_DAYS", "60_DAYS", "90_DAYS")
SOURCES = ("Stripe", "VayuEventsApi", "Api", "Salesforce", "HubSpot")
VALUE_TYPES = {"string": "String", "number": "Number", "boolean": "Boolean", "enum": "Enum"}
PHONE = r"^\+?[1-9][0-9]{4,15}$"  # pydantic takes \d for the digits of every script
EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
PHONE_FORM = "use 5 to 16 digits without spaces, with + in front if you like, not beginning with 0"
EMAIL_FORM = "use an e-mail address such as ana@example.com"


def _choice(name: str, options: tuple[str, ...]) -> Field:
    return Field(name, cell_types.choice(*options), limits="one of a list", choices=options, kind="choice")


def _text(name: str) -> Field:
    return Field(name, cell_types.text(), limits="text", spelling="text")


def _code(name: str) -> Field:
    return Field(name, cell_types.text(), limits="text")


def _needed(name: str) -> Field:
    return Field(name, cell_types.text(min_length=1), nullable=False, limits="at least 1 character")


def _list(name: str) -> Field:
    return Field(name, cell_types.TEXT_LIST, limits="a list: a; b; c", kind="list")


def _object(name: str, what: str) -> Field:
    return Field(name, cell_types.ONLY_CLEAR, limits=f"{what} as a whole: only <clear>", kind="object")


CONTACT_FIELDS = {
    "name": Field("name", cell_types.text(), nullable=False, limits="text", spelling="text"),
    "email": Field(
        "email",
        cell_types.text(pattern=EMAIL),
        nullable=False,
        limits="an e-mail address",
        form=EMAIL_FORM,
        spelling="text",
    ),
    "title": Field("title", cell_types.text(), nullable=False, limits="text", spelling="text"),
    "phone": Field(
        "phone",
        cell_types.text(pattern=PHONE),
        nullable=False,
        limits="5 to 16 digits, + in front",
        form=PHONE_FORM,
        spelling="phone",
    ),
    "receiveInvoiceEmail": Field(
        "receiveInvoiceEmail", cell_types.BOOLEAN, nullable=False, limits="true or false", kind="boolean"
    ),
}


def _settings() -> tuple[Field, ...]:
    """The parts of an object of which only the whole may be null."""
    start = "cloudProviderSettings."
    parts = (
        _choice(start + "cloudProvider", ("AWS",)),
        _code(start + "cloudProviderMarketplaceId"),
        _code(start + "customerIdentifier"),
    )
    return tuple(replace(part, nullable=False) for part in parts)


LABELS = read_labels(Path(__file__).with_name("labels.toml"))
FIELDS = with_labels((
    replace(_needed("name"), spelling="text"),
    _needed("externalId"),
    replace(_list("aliases"), spelling="text"),
    _list("taxIds"),
    _choice("source", SOURCES),
    _text("legalName"),
    _code("taxId"),
    _code("customerErpId"),
    _code("salesForceAccountId"),
    _text("subsidiary"),
    _choice("dueDays", DUE_DAYS),
    _choice("currency", CURRENCIES),
    _object("contacts", "the contacts"),
    _object("address", "the address"),
    _text("address.country"),
    _text("address.city"),
    Field(
        "address.addressText", cell_types.text(trim=False), limits="text, spaces around it kept", trims=False,
        spelling="text",
    ),
    _text("address.state"),
    _code("address.postalCode"),
    _object("cloudProviderSettings", "the cloud provider settings"),
    *_settings(),
), LABELS)  # fmt: skip

COMPUTED = frozenset({"totalOutstandingAmount", "openAmount"})
NESTED = {
    "address": "address", "cloudProviderSettings": "cloud provider settings", "contacts": "contacts",
    "customFields": "custom fields",
}  # fmt: skip
PARTS: dict[str, Collection[str]] = {
    "contacts": tuple(CONTACT_FIELDS), "address": ("country", "city", "addressText", "state", "postalCode"),
    "cloudProviderSettings": ("cloudProvider", "cloudProviderMarketplaceId", "customerIdentifier"),
    "customFields": (
        "vayuCustomFieldName", "valueType", "integrationSource", "integrationEntityType", "fieldPath", "value",
    ),
}  # fmt: skip
"""What the schema knows inside of objects; it refuses everything else."""
WRITABLE = (*dict.fromkeys(one.name.partition(".")[0] for one in FIELDS), "customFields")
_REFUSE_NULL = frozenset(one.name for one in FIELDS if not one.nullable)


def contact_field(number: int, part: str) -> Field | None:
    """Build the field for a part of contact `number`, counted from 1."""
    spelt = next((name for name in CONTACT_FIELDS if fold(name) == fold(part)), None)
    if spelt is None or not 1 <= number <= MAX_CONTACTS:
        return None
    known = CONTACT_FIELDS[spelt]
    return Field(
        f"contacts.{number}.{spelt}",
        known.type,
        nullable=False,
        limits=known.limits,
        form=known.form,
        kind=known.kind,
        spelling=known.spelling,
    )


class VayuCustomers(Endpoint):
    """PUT /customers/{customerId}"""

    name = "vayu.customers"
    title = "Vayu customers"
    noun, plural = "customer", "customers"
    method = "PUT"
    base_url = "https://connect.withvayu.com"
    test_urls = ("https://staging-connect.withvayu.com",)
    limits = Limits(total=Bucket(burst=100, per_second=500))
    seconds_logged_in = DEFAULT_LIFE - RENEW_BEFORE
    has_sandbox = True
    has_custom_fields = True
    options = (EndpointOption("sparse", bool, False, "PUT the change alone: for who knows that PUT merges"),)
    id_labels = LABELS["id"]
    id_pattern = "^[0-9a-fA-F]{24}$"
    id_form = "24 characters, 0-9 and a-f"
    ids_ignore_case = True
    key_fields = ("externalId",)
    page_size = PAGE
    may_need_full_body = True
    replaced_whole = ("address", "contacts", "customFields", "cloudProviderSettings")
    known_parts = PARTS
    variables = (
        CredentialVariable(
            "VAYU_API_TOKEN", True, "the API token (dashboard, API Token)", found_at="in Vayu: dashboard, API Token"
        ),
        CredentialVariable(
            "VAYU_CLIENT_ID", False, "the client id (dashboard, API Token); sent when set", is_secret=False
        ),
    )
    dynamic_fields = (
        ("contacts.N.PART", "part of contact N (1 = the first): " + ", ".join(CONTACT_FIELDS)),
        ("customFields.NAME", "the custom field with this name; NAME:number, :boolean, :enum say its type"),
    )
    fields = FIELDS

    def __init__(self, *, sparse: bool = False, clock: Callable[[], float] = time.time, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.needs_full_body = not sparse
        self._clock = clock

    # -- fields -------------------------------------------------------------------------------------------------

    def is_custom(self, name: str) -> bool:
        """Take those that are named in full: `customerErpId` is none."""
        return name.startswith("customFields.")

    def dynamic_field(self, header: str) -> Field | None:
        """Build the field for `contacts.1.email` or `customFields.Name`."""
        contact = _CONTACT.fullmatch(header)
        if contact:
            return contact_field(int(contact[1]), contact[2])
        custom = _CUSTOM.fullmatch(header)
        return self._custom_field(custom[1]) if custom else None

    def _custom_field(self, rest: str) -> Field:
        known = find_definition(self.definitions, rest)
        name, kind = (rest, None) if known else split_kind(rest, VALUE_TYPES)
        known = known or find_definition(self.definitions, name)
        name, kind = (known.name, known.kind.casefold()) if known else (name, kind)
        if kind == "enum" and not known:
            name += ":enum"
        options = known.options if known else ()
        types = {
            "number": cell_types.number(self.parse_options.decimal),
            "boolean": cell_types.BOOLEAN,
            "string": cell_types.text(trim=False),
            "enum": cell_types.choice(*options) if options else cell_types.text(),
        }
        limits = kind or "text, or exactly true or false"
        read_as = types.get(kind or "", cell_types.CUSTOM_TEXT)
        return Field(
            f"customFields.{name}", read_as, limits=limits, choices=options, kind=kind or "custom", trims=False
        )

    def definition_problem(self, name: str) -> str:
        """Tell before the first row what would make a new custom field: a name that nobody defined."""
        if not self.is_custom(name):
            return ""
        return unknown_definition(self.definitions, self._name_and_kind(_part(name))[0])

    def same_field(self, name: str) -> str:
        """A kind behind the name is none of it."""
        return f"customFields.{self._name_and_kind(_part(name))[0]}" if self.is_custom(name) else name

    def _items(self, record: Record, name: str) -> list[Mapping[str, Any]]:
        """Return the items of a record that are custom field `name`; but for case and spacing where none is exactly."""
        called, items = self._name_and_kind(_part(name))[0], record.get("customFields")
        named = [one for one in items or () if isinstance(one, Mapping) and isinstance(one.get(NAME), str)]
        exact = [one for one in named if one[NAME] == called]
        return exact or [one for one in named if fold(one[NAME]) == fold(called)]

    def ambiguity(self, record: Record, name: str) -> Problem | None:
        """Fields of several sources may have one name."""
        if not self.is_custom(name):
            return None
        found = self._items(record, name)
        defined = [one for one in self.definitions if one.name == self._name_and_kind(_part(name))[0]]
        if len(found) > 1:
            return Problem("custom_field_of_sources", {**NAMES, "sources": _sources(found)}, name)
        if not found and len(defined) > 1:
            return Problem("custom_field_of_none", NAMES, name)
        return None

    def shown_as(self, record: Record, name: str) -> str:
        """Name the item as the record spells it."""
        found = self._items(record, name)
        return str(found[0][NAME]) if found else ""

    def respelt(self, record: Record, name: str) -> str:
        """A name that is equal but for case and spacing is the record's."""
        shown = self.shown_as(record, name) if self.is_custom(name) else ""
        return shown if shown != self._name_and_kind(_part(name))[0] else ""

    def fitted(self, fields: Mapping[str, Any], record: Record) -> dict[str, Any]:
        """Without a definition, the record's own item says the type."""
        found = super().fitted(fields, record)
        for name, value in fields.items():
            if self.is_custom(name) and value is not None and not self.definitions:
                for item in self._items(record, name):
                    try:
                        found[name] = self._as_type(str(item.get("valueType")), value)
                    except PydanticCustomError as error:
                        raise ConflictError(Problem(error.type, error.context or {}, name)) from None
        return found

    def _as_type(self, value_type: str, value: Any) -> Any:
        text = value if isinstance(value, str) else json.dumps(value)
        match value_type.casefold():
            case "boolean":
                return cell_types.parse_boolean(text)
            case "number" if not is_number(value):
                return cell_types.parse_number(text, self.parse_options.decimal)
            case "string" | "enum":
                return text
        return value

    def more_columns(self, record: Record | None) -> list[str]:
        """Name the parts of each contact, and the custom fields, also those that nobody defined."""
        contacts = _contacts(record.get("contacts")) if record is not None else [{}]
        count = min(len(contacts), 2 * MAX_CONTACTS)  # more is told, not shown
        names = [f"contacts.{number}.{part}" for number in range(1, count + 1) for part in CONTACT_FIELDS]
        items = (record.get("customFields") if record is not None else None) or ()
        spelt = [item.get(NAME) for item in items if isinstance(item, Mapping)]
        return names + [f"customFields.{name}" for name in spelt if isinstance(name, str)]

    def id_problem(self, record_id: str) -> Problem | None:
        """Vayu's ids are 24 hexadecimal digits."""
        is_id = re.fullmatch(self.id_pattern, record_id)
        return None if is_id else Problem("id_of_other_form", {**NAMES, "form": self.id_form})

    def conflicts(self, fields: Mapping[str, Any], *, reads_before_write: bool) -> list[Problem]:
        """Without the current record, what is beside the parts that change is not known."""
        found = super().conflicts(fields, reads_before_write=reads_before_write)
        if not reads_before_write:  # sent alone, a part would replace the whole
            found += [
                Problem("current_needed", {"what": what}, name)
                for whole, what in NESTED.items()
                for name in nested(fields, whole)
            ]
        return found

    # -- writing ------------------------------------------------------------------------------------------------

    def body(self, fields: Mapping[str, Any], current: Record | None) -> dict[str, Any]:
        """Lay `fields` over the current record: the whole writable set, or (sparse) what the change touches."""
        known = self._whole_body(current or {})
        body = dict(known) if self.needs_full_body else members(known, [one for one in NESTED if nested(fields, one)])
        for name, value in fields.items():
            whole, dot, _ = name.partition(".")
            if not dot:
                body[name] = self.writable(name, value)
        for whole in ("address", "cloudProviderSettings"):
            parts = nest(fields, whole)
            if parts:
                body[whole] = {**(known.get(whole) or {}), **parts}
        if nest(fields, "contacts"):
            body["contacts"] = _overlay_contacts(known.get("contacts"), nest(fields, "contacts"))
        if nest(fields, "customFields"):
            body["customFields"] = self._overlay_custom(known.get("customFields"), nest(fields, "customFields"))
        return body

    def _whole_body(self, record: Record) -> dict[str, Any]:
        """Keep what PUT takes: no id, dates or computed balances, also inside, and no null where null is refused."""
        return {
            name: self.writable(name, value)
            for name, value in members(record, WRITABLE).items()
            if not (value is None and name in _REFUSE_NULL)
        }

    def _overlay_custom(self, current: Any, parts: Mapping[str, Any]) -> list[dict[str, Any]]:
        items = [dict(item) for item in current or () if isinstance(item, Mapping)]
        for part, value in parts.items():
            record, field = {"customFields": items}, f"customFields.{part}"
            if problem := self.ambiguity(record, field):
                raise ConflictError(problem)
            known = self.shown_as(record, field)
            name, kind = self._name_and_kind(part)
            if known:
                next(item for item in items if item.get(NAME) == known)["value"] = value
            elif value is not None:
                items.append({NAME: name, "valueType": self._value_type(kind, value), "value": value})
        return items

    def _name_and_kind(self, part: str) -> tuple[str, str | None]:
        """Split what follows `customFields.`: a definition says its kind, else `:enum` does, which no value shows."""
        known = next((one for one in self.definitions if one.name == part), None)
        if known:
            return part, known.kind.casefold()
        return split_kind(part, ("enum",))

    def _value_type(self, kind: str | None, value: Any) -> str:
        if kind:
            return VALUE_TYPES.get(kind, "String")
        if isinstance(value, bool):
            return "Boolean"
        return "Number" if is_number(value) else "String"

    def write_request(self, record_id: str, body: Mapping[str, Any], key: str | None) -> ApiRequest:
        """PUT one customer; the API has no idempotency keys here, and needs none."""
        content = as_content(body)
        if len(content) > MAX_BODY:
            values: Values = {**NAMES, "size": len(content) // 1024, "most": MAX_BODY // 1024}
            raise ConflictError(Problem("request_too_large", values))
        return ApiRequest("PUT", f"{ROOT}/{encode_id(record_id)}", "PUT customer", content=content)

    # -- reading ------------------------------------------------------------------------------------------------

    @property
    def without_reading(self) -> str:
        """Without --sparse the whole record is written, so that it is read in any case."""
        return "--no-compare --sparse"

    def read_one_request(self, record_id: str) -> ApiRequest:
        """GET one customer."""
        return ApiRequest("GET", f"{ROOT}/{encode_id(record_id)}", "GET customer")

    def find_request(self, key_field: str, key: str) -> ApiRequest:
        """GET the customer with one `externalId`: one, even where several have it."""
        return ApiRequest("GET", f"{ROOT}/{key_field}/{encode_id(key)}", f"GET customer by {key_field}")

    def page_request(self, cursor: str, where: Mapping[str, str]) -> ApiRequest:
        """List pages by the time of creation, which does not change."""
        query = (("limit", str(PAGE)), *((("cursor", cursor),) if cursor else ()), *where.items())
        return ApiRequest("GET", ROOT, "GET customers", query=query, max_bytes=LIST_BYTES)

    def next_cursor(self, response: ApiResponse, cursor: str) -> str | None:
        """Follow `nextCursor` while `hasMore`."""
        data: Any = response.json
        following = data.get("nextCursor") if isinstance(data, Mapping) and data.get("hasMore") else None
        return str(following) if following and str(following) != cursor else None

    def total(self, response: ApiResponse) -> int | None:
        """Read `total`."""
        total = response.json.get("total") if isinstance(response.json, Mapping) else None
        return total if isinstance(total, int) else None

    def parse_records(self, response: ApiResponse) -> list[Record]:
        """Read `customers`, a wrapped `customer`, or a bare one; each has a name, or there is only a part of it."""
        data: Any = response.json
        found = data.get("customers", data.get("customer", data)) if isinstance(data, Mapping) else None
        found = found if isinstance(found, list) else [found]
        if not all(isinstance(one, Mapping) and "id" in one for one in found):
            raise UnreadableReplyError("the answer holds no customer")
        if not all(isinstance(one.get("name"), str) for one in found):  # a PUT of what it shows would empty the rest
            raise UnreadableReplyError("the answer shows only a part of the customer")
        return found

    def parse_written(self, response: ApiResponse) -> Record:
        """Read the wrapped `customer`."""
        if not (isinstance(response.json, Mapping) and isinstance(response.json.get("customer"), Mapping)):
            raise UnreadableReplyError("the answer holds no customer")
        return super().parse_written(response)

    def value(self, record: Record, name: str) -> Any:
        """Read a field: nested by part, contacts by number, custom fields by name."""
        whole, dot, part = name.partition(".")
        if whole == "contacts" and dot:
            return _contact_value(record.get("contacts"), part)
        if whole == "customFields" and dot:
            found = self._items(record, name)
            return MISSING if len(found) > 1 else found[0].get("value") if found else None
        if not dot:
            return record.get(name, MISSING if name in COMPUTED else None)
        parts = record.get(whole)
        return parts.get(part) if isinstance(parts, Mapping) else None

    def unit(self, name: str) -> str:
        """Take a contact as a whole, since its number may be another one's by now."""
        whole, dot, part = name.partition(".")
        return f"contacts.{part.partition('.')[0]}" if whole == "contacts" and dot else super().unit(name)

    def excerpt(self, record: Record) -> dict[str, Any]:
        """Keep what PUT takes."""
        return {name: record[name] for name in WRITABLE if name in record}

    def definitions_request(self, offset: int) -> ApiRequest:
        """List the organisation's custom fields."""
        return ApiRequest("GET", "/customFields", "GET customFields", max_bytes=LIST_BYTES)

    def parse_definitions(self, response: ApiResponse) -> list[CustomField]:
        """Read name, type and options, however the list is wrapped."""
        data: Any = response.json
        if isinstance(data, Mapping):
            data = next((v for v in data.values() if isinstance(v, list)), None)
        return [one for one in map(_definition, data if isinstance(data, list) else ()) if one]

    def custom_fields(self) -> list[Field]:
        """Name them by name; one whose name a header cannot carry is left out."""
        found = [(one, self.field_named(f"customFields.{one.name}")) for one in self.definitions]
        return [field for one, field in found if field is not None and field.name == f"customFields.{one.name}"]

    def account(self, credentials: Mapping[str, str]) -> Account:
        """Log in with the API token, which is a refresh token."""
        return VayuAccount(credentials["VAYU_API_TOKEN"], credentials.get("VAYU_CLIENT_ID", ""), self._clock)

    def parse_error(self, response: ApiResponse) -> list[tuple[str, str]]:
        """Read `{"type", "code", "message"}` with `param` or `params`; a gateway may give the message alone."""
        data: Any = response.json
        params = data.get("params") if isinstance(data, Mapping) else None
        found = [
            (str(p.get("param") or ""), str(p.get("message") or data["message"]))
            for p in (params if isinstance(params, list) else ())
            if isinstance(p, Mapping) and (p.get("message") or data.get("message"))
        ]
        if not found and isinstance(data, Mapping) and isinstance(data.get("message"), str):
            found = [(str(data.get("param") or ""), data["message"])]
        return tidied(found or parse_common_errors(data) or [("", error_text(response))])

    def is_own_error(self, response: ApiResponse) -> bool:
        """All of its errors have a code; a gateway's message stands alone."""
        data: Any = response.json
        return isinstance(data, Mapping) and isinstance(data.get("code"), str) and isinstance(data.get("message"), str)


def _part(name: str) -> str:
    return name.removeprefix("customFields.")


def _sources(items: Iterable[Mapping[str, Any]]) -> str:
    """Name where custom fields come from."""
    return ", ".join(" ".join(str(one[key]) for key in SOURCE if one.get(key)) or "of no source" for one in items)


def nested(fields: Mapping[str, Any], whole: str) -> list[str]:
    """List the names in `fields` that are parts of `whole`."""
    return [name for name in fields if name.startswith(whole + ".")]


def _contacts(value: Any) -> list[Mapping[str, Any]]:
    """Return the contacts of a record as columns number them, for reading and for writing."""
    return only_objects(value) if isinstance(value, list) else []


def _contact_value(contacts: Any, part: str) -> Any:
    number, _, name = part.partition(".")
    index, known = int(number) - 1, _contacts(contacts)
    if index >= len(known):
        return None
    return known[index].get(name) if name else known[index]


def _overlay_contacts(current: Any, parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    contacts = [dict(one) for one in _contacts(current)]
    numbered = sorted((int(part.partition(".")[0]), part.partition(".")[2], value) for part, value in parts.items())
    for number, name, value in numbered:
        if number > len(contacts) + 1:
            values: Values = {**NAMES, "count": len(contacts)}
            raise ConflictError(Problem("contacts_gap", values, f"contacts.{number}.{name}"))
        if number == len(contacts) + 1:
            contacts.append({})
        contacts[number - 1][name] = value
        if value is None:  # no cell empties it: an undo takes it out
            del contacts[number - 1][name]
    return contacts


def _definition(item: Any) -> CustomField | None:
    if not isinstance(item, Mapping):
        return None
    name = next((item[key] for key in ("vayuCustomFieldName", "name") if isinstance(item.get(key), str)), None)
    if name is None:
        return None
    if item.get("vayuEntity", "Customer") != "Customer":
        return None
    spellings = ("options", "allowedValues", "enumValues", "values")  # ? which one it is, no source says
    options = next((item[key] for key in spellings if isinstance(item.get(key), list)), ())
    return CustomField(
        name=name, kind=str(item.get("valueType") or "String"), id=definition_id(item),
        options=tuple(o for o in options if isinstance(o, str)),
    )  # fmt: skip
