"""DualEntry's customers: PATCH, partial (what the API is known to do: README.md).

What is sent changes, what is left out stays, null clears; but a nested address is replaced whole, so that its missing
parts come from the current record or, without one, the three required parts must be there.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from batch.endpoints import cell_types
from batch.endpoints.base import (
    MISSING,
    Account,
    ConflictError,
    CredentialVariable,
    CustomField,
    Endpoint,
    Record,
    StaticAccount,
    UnreadableReplyError,
    as_content,
    definition_id,
    find_definition,
    nest,
    split_kind,
    unknown_definition,
)
from batch.endpoints.errors import error_text, flattened, parse_common_errors, tidied
from batch.endpoints.labels import read_labels, with_labels
from batch.exact_json import members, whole_text
from batch.http import ApiRequest, ApiResponse, encode_id
from batch.model import Field, Problem
from batch.ratelimit import Bucket, Limits
from batch.retry import Rules

NAMES = {"api": "DualEntry", "noun": "customer"}
"""Values that messages name."""
ROOT = "/public/v2/customers/"
DEFINITIONS = "/public/v2/custom-fields/"
MAX_ID = 2**63 - 1
LIST_BYTES = 16 * 1024 * 1024
PAGE = 100
CUSTOM_BY_ID = re.compile(r"custom_fields\[(\d+)\]", re.ASCII)
DECIDED = ("reject", "declin", "denied", "refus", "cancel", "withdr")
"""What an `approval_status` says, in whatever form, of a change that does not wait any more, and was not applied."""
_KEY = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # a UUID
_FAMILY = re.compile(
    r"custom[\s_-]*fields?\s*(?:\.\s*(?P<name>\S.*)|\[\s*(?P<number>[0-9]{1,18})\s*\])", re.IGNORECASE | re.DOTALL
)

ADDRESSES = ("full_address", "shipping_address")
REQUIRED_PARTS = ("street", "city", "postal_code")
OPTIONAL_PARTS = ("second_line", "state", "country", "name")


def _text(name: str) -> Field:
    return Field(name, cell_types.text(), limits="text", spelling="text")


def _address(whole: str, title: str) -> tuple[Field, ...]:
    def needed(name: str, spelling: Literal["", "text"]) -> Field:
        return replace(_text(f"{whole}.{name}"), type=cell_types.text(min_length=1), nullable=False, spelling=spelling)

    return (
        Field(whole, cell_types.ONLY_CLEAR, limits=f"the {title} as a whole: only <clear>", kind="object"),
        _text(f"{whole}.name"),
        needed("street", "text"),
        _text(f"{whole}.second_line"),
        needed("city", "text"),
        _text(f"{whole}.state"),
        needed("postal_code", ""),
        Field(
            f"{whole}.country", cell_types.text(pattern="^[A-Z]{2}$"), limits="two capital letters (ISO 3166)",
            form="use the two capital letters of the country, such as US or DE",
        ),
    )  # fmt: skip


LABELS = read_labels(Path(__file__).with_name("labels.toml"))
FIELDS = with_labels((
    _text("name"),
    _text("email"),
    Field(
        "phone", cell_types.text(max_length=32, pattern=r"^[0-9\s\+\-\.\(\)]*$"),
        limits="at most 32 characters: digits, spaces and + - . ( )", form="use digits, spaces and + - . ( ) only",
        spelling="phone",
    ),
    Field("unique_id", cell_types.text(min_length=1, max_length=64), limits="1 to 64 characters"),
    _text("website"),
    _text("country"),
    Field("address", cell_types.text(trim=False), limits="text, spaces around it kept", trims=False, spelling="text"),
    *_address("full_address", "address"),
    *_address("shipping_address", "shipping address"),
), LABELS)  # fmt: skip

KINDS: dict[str, str] = {
    "text": "text", "paragraph": "text", "link": "text",
    "number": "number", "currency": "number",
    "date": "date", "boolean": "boolean",
    "single_select": "single_select", "multi_select": "multi_select",
}  # fmt: skip
"""Kinds of custom fields, and how their cells are read."""


class DualEntryCustomers(Endpoint):
    """PATCH /public/v2/customers/{id}/"""

    name = "dualentry.customers"
    title = "DualEntry customers"
    noun, plural = "customer", "customers"
    method = "PATCH"
    base_url = "https://api.dualentry.com"
    test_urls = ("https://api-dev.dualentry.com",)
    limits = Limits(total=Bucket(burst=50, per_second=5), per_route=Bucket(burst=10, per_second=1))
    rules = Rules(idempotent_keys=True)
    has_sandbox = True
    has_custom_fields = True
    id_labels = LABELS["id"]
    id_pattern = "^[1-9][0-9]{0,17}$"
    id_form = "a whole number without leading zeros"
    key_fields = ("unique_id",)
    lists_by_key = True
    ids_per_read = PAGE
    page_size = PAGE
    page_overlap = 1
    filters = frozenset({"unique_id", "name", "email"})
    replaced_whole = ADDRESSES
    known_parts = dict.fromkeys(ADDRESSES, (*REQUIRED_PARTS, *OPTIONAL_PARTS))
    hidden_in_answers = ("full_address",)
    hidden_in_lists = ("address",)
    variables = (
        CredentialVariable(
            "DUALENTRY_API_KEY", True, "the API key (Settings, API keys)", found_at="in DualEntry: Settings, API keys"
        ),
    )
    dynamic_fields = (
        ("custom_fields.NAME", "the custom field with this name; NAME:boolean, :number, :date say its kind"),
        ("custom_fields[ID]", "the custom field with this id, when two share a name"),
    )
    fields = FIELDS

    # -- fields -------------------------------------------------------------------------------------------------

    def is_custom(self, name: str) -> bool:
        """Take those that are named by name or by id."""
        return name.startswith(("custom_fields.", "custom_fields["))

    def definition_problem(self, name: str) -> str:
        """Tell before the first row what the API would refuse with 422 in every row: an unknown name or id."""
        if not self.definitions or not self.is_custom(name):
            return ""
        number, wanted = CUSTOM_BY_ID.fullmatch(name), name.removeprefix("custom_fields.")
        sharing = [str(one.id) for one in self.definitions if one.name == wanted]
        if len(sharing) > 1:
            return "is the name of several: " + " or ".join(f"custom_fields[{one}]" for one in sharing)
        if number:
            return "" if number[1] in {str(one.id) for one in self.definitions} else "is none of your custom fields"
        return unknown_definition(self.definitions, wanted)

    def dynamic_field(self, header: str) -> Field | None:
        """Build the field for `custom_fields.Name`, `custom_fields.Name:kind` or `custom_fields[42]`."""
        found = _FAMILY.fullmatch(header)
        if not found:
            return None
        if found["number"]:
            return self._by_id(str(int(found["number"])))
        return self._by_name(found["name"])

    def _by_id(self, number: str) -> Field:
        known = next((one for one in self.definitions if str(one.id) == number), None)
        return self._custom(f"custom_fields[{number}]", known, None)

    def _by_name(self, rest: str) -> Field:
        known = find_definition(self.definitions, rest)
        name, kind = (rest, None) if known else split_kind(rest, KINDS)
        known = known or find_definition(self.definitions, name)
        return self._custom(f"custom_fields.{known.name if known else name}", known, kind)

    def _custom(self, name: str, known: CustomField | None, kind: str | None) -> Field:
        options = known.options if known else ()
        read_as = KINDS.get(known.kind if known else kind or "", "")
        if read_as.endswith("select") and not options:
            read_as = "multi_text" if read_as == "multi_select" else "text"
        types: dict[str, Any] = {
            "text": lambda: cell_types.text(trim=False),
            "number": lambda: cell_types.number(self.parse_options.decimal),
            "date": lambda: cell_types.date(self.parse_options.date_format),
            "boolean": lambda: cell_types.BOOLEAN,
            "single_select": lambda: cell_types.choice(*options),
            "multi_select": lambda: cell_types.choice_list(*options),
            "multi_text": lambda: cell_types.TEXT_LIST,
        }
        build = types.get(read_as, lambda: cell_types.CUSTOM_TEXT)
        label = (known.kind if known else kind) or "text, or exactly true or false"
        trims = read_as in ("number", "date", "boolean", "single_select", "multi_select", "multi_text")
        return Field(name, build(), limits=label, choices=options, kind=read_as or "custom", trims=trims)

    def more_columns(self, record: Record | None) -> list[str]:
        """Name the record's own custom fields, by id, where the organisation's could not be asked for."""
        items = record.get("custom_fields") if record is not None and not self.definitions else None
        known = [item.get("field") for item in items or () if isinstance(item, Mapping)]
        return [f"custom_fields[{whole_text(one['id'])}]" for one in known if isinstance(one, Mapping) and "id" in one]

    def id_problem(self, record_id: str) -> Problem | None:
        """DualEntry's own ids are integers; zeros in front mean that it is somebody else's number."""
        if not (record_id.isascii() and record_id.isdigit()):
            return Problem("id_of_other_form", {**NAMES, "form": "a whole number, such as 10042"})
        if record_id.startswith("0"):
            return Problem("id_with_zero", NAMES)
        if int(record_id[:20]) > MAX_ID or len(record_id) > 19:
            return Problem("id_too_large", NAMES)
        return None

    def conflicts(self, fields: Mapping[str, Any], *, reads_before_write: bool) -> list[Problem]:
        """Without the current record, an address needs its three required parts."""
        found = super().conflicts(fields, reads_before_write=reads_before_write)
        for whole in () if reads_before_write else ADDRESSES:
            parts = nest(fields, whole)
            missing = [part for part in REQUIRED_PARTS if part not in parts]
            if parts and missing:
                listed = ", ".join(f"{whole}.{part}" for part in missing)
                found.append(Problem("parts_missing", {"parts": listed}, f"{whole}.{next(iter(parts))}"))
        return found

    # -- writing ------------------------------------------------------------------------------------------------

    def body(self, fields: Mapping[str, Any], current: Record | None) -> dict[str, Any]:
        """Nest addresses (completed from `current`) and custom fields; everything else goes as it is."""
        body: dict[str, Any] = {}
        custom: list[dict[str, Any]] = []
        for name, value in fields.items():
            whole, dot, _part = name.partition(".")
            if self.is_custom(name):
                custom.append(_custom_item(name, value))
            elif dot:
                if whole not in body:  # all its parts go with the first one
                    body |= members(current or {}, (whole,))
                    body[whole] = _whole_address(nest(fields, whole), whole, current)
            elif name in ADDRESSES and isinstance(value, Mapping):  # an undo puts back what was cleared
                body[name] = _whole_address(self.writable(name, value), name, None)
            else:
                body[name] = value
        return body | ({"custom_fields": custom} if custom else {})

    def write_request(self, record_id: str, body: Mapping[str, Any], key: str | None) -> ApiRequest:
        """PATCH one customer."""
        if key is not None and not _KEY.fullmatch(key):
            raise ValueError("this is no idempotency key")
        headers = {"Idempotency-Key": key} if key is not None else {}
        path = f"{ROOT}{encode_id(record_id)}/"
        return ApiRequest("PATCH", path, "PATCH customer", content=as_content(body), headers=headers)

    # -- reading ------------------------------------------------------------------------------------------------

    def read_request(self, record_ids: Sequence[str]) -> ApiRequest:
        """List at most 100 customers by id."""
        query = (("limit", str(PAGE)), ("ordering", "id"), *(("id", one) for one in record_ids))
        return ApiRequest("GET", ROOT, "GET customers", query=query, max_bytes=LIST_BYTES)

    def read_one_request(self, record_id: str) -> ApiRequest:
        """GET one customer."""
        return ApiRequest("GET", f"{ROOT}{encode_id(record_id)}/", "GET customer")

    def find_request(self, key_field: str, key: str) -> ApiRequest:
        """List the customers with one `unique_id` (the filter is exact but ignores case)."""
        query = (("limit", str(PAGE)), ("ordering", "id"), (key_field, key))
        return ApiRequest("GET", ROOT, "GET customers", query=query, max_bytes=LIST_BYTES)

    def page_request(self, cursor: str, where: Mapping[str, str]) -> ApiRequest:
        """List pages in a stable order: by default they shift while records change."""
        query = (("limit", str(PAGE)), ("offset", cursor or "0"), ("ordering", "id"), *where.items())
        return ApiRequest("GET", ROOT, "GET customers", query=query, max_bytes=LIST_BYTES)

    def next_cursor(self, response: ApiResponse, cursor: str) -> str | None:
        """Count on from the offset, less one; without a count in the answer, a page that is not full is the last."""
        total, count = self.total(response), len(self.parse_records(response))
        end = int(cursor or "0") + count
        is_last = end >= total if total is not None else count < PAGE
        return None if is_last or count <= self.page_overlap else str(end - self.page_overlap)

    def rewind(self, cursor: str) -> str | None:
        """Offsets slip when a customer before them is removed."""
        offset = int(cursor or "0")
        return str(max(0, offset - PAGE)) if offset else None

    def total(self, response: ApiResponse) -> int | None:
        """Read `count`, which a bare list does not have."""
        count = response.json.get("count") if isinstance(response.json, Mapping) else None
        return count if isinstance(count, int) else None

    def parse_records(self, response: ApiResponse) -> list[Record]:
        """Read a list (`items`, or a bare array) or one customer."""
        data: Any = response.json
        if isinstance(data, Mapping) and isinstance(data.get("items"), list):
            data = data["items"]
        if isinstance(data, Mapping) and "id" in data:
            return [data]
        if isinstance(data, list) and all(isinstance(one, Mapping) and "id" in one for one in data):
            return data
        raise UnreadableReplyError("the answer holds no customer")

    def parse_written(self, response: ApiResponse) -> Record:
        """Read the bare customer: a list is the answer to another request."""
        if not (isinstance(response.json, Mapping) and "id" in response.json):
            raise UnreadableReplyError("the answer holds no customer")
        return super().parse_written(response)

    def value(self, record: Record, name: str) -> Any:
        """Read a field: nested addresses by part, custom fields by name or id."""
        if self.is_custom(name):
            return _custom_value(record.get("custom_fields"), name)
        whole, dot, part = name.partition(".")
        if whole not in record:
            return MISSING
        if not dot:
            return record[whole]
        address = record[whole]
        return address.get(part) if isinstance(address, Mapping) else None

    def excerpt(self, record: Record) -> dict[str, Any]:
        """Keep of each custom field what tells it from others, and its value, but not its whole definition."""
        items = record.get("custom_fields")
        custom = {"custom_fields": [_custom_excerpt(one) for one in items]} if isinstance(items, list) else {}
        return super().excerpt(record) | custom

    def definitions_request(self, offset: int) -> ApiRequest:
        """List the organisation's custom fields."""
        query = (("limit", str(PAGE)), ("offset", str(offset)))
        return ApiRequest("GET", DEFINITIONS, "GET custom-fields", query=query, max_bytes=LIST_BYTES)

    def parse_definitions(self, response: ApiResponse) -> list[CustomField]:
        """Read those that are active and apply to customers."""
        found = [_definition(item) for item in _items(response) if isinstance(item, Mapping)]
        return [one for one in found if one]

    def count_definitions(self, response: ApiResponse) -> int:
        """Count those of other kinds of records, too."""
        return len(_items(response))

    def custom_fields(self) -> list[Field]:
        """Name them by name, and by id where the name is not theirs alone or would be read as another."""
        names = Counter(one.name for one in self.definitions)
        found = []
        for one in self.definitions:
            field = self.field_named(f"custom_fields.{one.name}")
            is_plain = split_kind(one.name, KINDS)[0] == one.name  # else the end of the name reads as a kind
            if names[one.name] > 1 or not is_plain or field is None or field.name != f"custom_fields.{one.name}":
                field = self._by_id(str(one.id))
            found.append(field)
        return found

    def same_field(self, name: str) -> str:
        """Take a name for the id of its definition, where there is one."""
        known = [one for one in self.definitions if f"custom_fields.{one.name}" == name]
        return f"custom_fields[{known[0].id}]" if len(known) == 1 else name

    def ambiguity(self, record: Record, name: str) -> Problem | None:
        """Two custom fields may share a name; their ids differ."""
        found = _custom_items(record.get("custom_fields"), name) if self.is_custom(name) else []
        ids = " and ".join(f"custom_fields[{whole_text(item['field'].get('id'))}]" for item in found)
        return Problem("custom_field_of_ids", {**NAMES, "ids": ids}, name) if len(found) > 1 else None

    def shown_as(self, record: Record, name: str) -> str:
        """Name the item by its id."""
        found = _custom_items(record.get("custom_fields"), name)
        return whole_text(found[0]["field"].get("id")) if found else ""

    def account(self, credentials: Mapping[str, str]) -> Account:
        """The key goes as it is, without `Bearer`."""
        return StaticAccount({"X-API-KEY": credentials["DUALENTRY_API_KEY"]})

    def parse_error(self, response: ApiResponse) -> list[tuple[str, str]]:
        """Read `{"success": false, "errors": {field | "__all__": [message, …]}}` however deep it is nested."""
        data: Any = response.json
        errors = data.get("errors") if isinstance(data, Mapping) else None
        if isinstance(errors, list) and any(isinstance(one, Mapping) and "detail" in one for one in errors):
            errors = None  # RFC 9457
        return tidied(flattened("", errors) or parse_common_errors(data) or [("", error_text(response))])

    def is_own_error(self, response: ApiResponse) -> bool:
        """All of its errors are `{"success": false, "errors": {…}}`; a route that is not there has `detail` instead."""
        data: Any = response.json
        return isinstance(data, Mapping) and data.get("success") is False and bool(data.get("errors"))

    def pending_note(self, record: Record) -> str:
        """Approval workflows hold an accepted update back."""
        status = record.get("approval_status")
        if not isinstance(status, str) or status.casefold() in ("", "approved", "none", "not_required"):
            return ""
        is_over = any(word in status.casefold() for word in DECIDED)
        return "" if is_over else f"awaiting approval ({status})"

    def awaits_approval(self, record: Record) -> bool:
        """Which words there are, no source says: only what cannot mean anything else counts."""
        status = record.get("approval_status")
        return isinstance(status, str) and any(word in status.casefold() for word in ("pending", "await"))


def _whole_address(parts: Mapping[str, Any], whole: str, current: Record | None) -> dict[str, Any]:
    shown = current.get(whole) if current else None
    known: Mapping[str, Any] = shown if isinstance(shown, Mapping) else {}
    kept = {
        part: value for part, value in members(known, (*REQUIRED_PARTS, *OPTIONAL_PARTS)).items() if value is not None
    }
    # a cleared part reads back as "", and only `name` may be null inside an address
    given = {part: "" if value is None and part != "name" else value for part, value in parts.items()}
    made = kept | given
    missing = [part for part in REQUIRED_PARTS if part not in made]
    if missing:
        listed = ", ".join(f"{whole}.{part}" for part in missing)
        raise ConflictError(Problem("parts_unknown", {"parts": listed}, f"{whole}.{next(iter(parts))}"))
    return made


def _custom_item(name: str, value: Any) -> dict[str, Any]:
    if name.startswith("custom_fields["):
        number = int(name[14:-1])
        return {"field": {"id": number}, "value": {"custom_field_id": number, "value": value}}
    return {name.removeprefix("custom_fields."): value}


def _custom_value(items: Any, name: str) -> Any:
    if not isinstance(items, list):
        return MISSING
    found = _custom_items(items, name)
    if len(found) > 1:
        return MISSING  # two fields share the name: which one is meant cannot be told
    value = found[0].get("value") if found else None
    return value.get("value") if isinstance(value, Mapping) else value


def _custom_items(items: Any, name: str) -> list[Mapping[str, Any]]:
    """Return the items of a record that have the name, or the id, of a custom field."""
    number = name[14:-1] if name.startswith("custom_fields[") else None
    wanted = name.removeprefix("custom_fields.")
    listed = [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
    known = [item for item in listed if isinstance(item.get("field"), Mapping)]
    if number is None:
        return [item for item in known if item["field"].get("name") == wanted]
    return [item for item in known if whole_text(item["field"].get("id")) == number]


def _custom_excerpt(item: Any) -> Any:
    if not (isinstance(item, Mapping) and isinstance(item.get("field"), Mapping)):
        return item
    known, value = item["field"], item.get("value")
    shown = {"value": value.get("value")} if isinstance(value, Mapping) else value
    return {"field": {name: known[name] for name in ("id", "name") if name in known}, "value": shown}


def _items(response: ApiResponse) -> list[Any]:
    """Take the list out of an answer; [] where there is none."""
    data: Any = response.json
    items = data.get("items") if isinstance(data, Mapping) else data
    return items if isinstance(items, list) else []


def _definition(item: Mapping[str, Any]) -> CustomField | None:
    applies = item.get("applies_to")
    if isinstance(applies, list) and not any(isinstance(a, Mapping) and a.get("type") == "customer" for a in applies):
        return None
    if item.get("is_active") is False or not isinstance(item.get("name"), str):
        return None
    options = item.get("options")
    listed = options if isinstance(options, list) else []
    spelt = [one.get("value", one.get("name")) if isinstance(one, Mapping) else one for one in listed]
    return CustomField(
        name=item["name"], kind=str(item.get("field_type") or "text"), id=definition_id(item),
        options=tuple(o for o in spelt if isinstance(o, str)),
    )  # fmt: skip
