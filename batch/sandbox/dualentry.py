"""DualEntry's customers, imitated: authentication, limits, idempotency, PATCH, GET one and GET many.

Order of judgement: key, route, rate limit, idempotency, record, body. The answers' shapes are in
`batch/endpoints/dualentry/README.md`; what nobody documents: a 401 and a 404 take no token, an ordering
by an unknown field is a 422.
"""

import math
from datetime import date
from functools import partial
from typing import Annotated, Any, Final

from pydantic import BaseModel, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import to_json

# pydantic wants this one below Python 3.12
from typing_extensions import TypedDict

from batch.sandbox.api import (
    DUALENTRY_ALL,
    DUALENTRY_ROUTE,
    Action,
    Answer,
    Call,
    Limiter,
    json_answer,
    normalized,
    rate_headers,
)
from batch.sandbox.options import SandboxOptions
from batch.sandbox.records import FIRST_DUALENTRY_ID, DualEntrySamples, Overlay, Records

MAX_KEY_LENGTH = 255


STRING_FIELDS: Final = ("name", "email", "address", "country", "website", "phone")

UniqueId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Phone = Annotated[str, StringConstraints(max_length=32, pattern=r"^[0-9\s\+\-\.\(\)]*$")]
Country = Annotated[str, StringConstraints(pattern=r"^([A-Z]{2})?$")]


class Address(BaseModel):
    """A nested address, always sent whole."""

    street: str
    second_line: str = ""
    city: str
    state: str = ""
    postal_code: str
    country: Country = ""
    name: str | None = None


class Patch(TypedDict, total=False):
    """The body: what is not there stays as it is."""

    name: str | None
    email: str | None
    address: str | None
    country: str | None
    website: str | None
    phone: Phone | None
    unique_id: UniqueId | None
    full_address: Address | None
    shipping_address: Address | None
    custom_fields: list[dict[str, Any]] | None


_PATCH: Final = TypeAdapter(Patch)

Errors = dict[str, list[str]]


class RefusedError(Exception):
    """The body is refused; `errors` by field, `is_json` tells a wrong value from a body that cannot be read."""

    def __init__(self, errors: Errors, *, is_json: bool = True) -> None:
        super().__init__(errors)
        self.errors = errors
        self.is_json = is_json


def changes_from(body: bytes, current_custom_fields: dict[str, Any]) -> dict[str, Any]:
    """The changes that a body asks for, ready to be stored; raises `RefusedError`."""
    try:
        patch = _PATCH.validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None
    changes: dict[str, Any] = dict(patch)
    for name in STRING_FIELDS:
        if name in changes and changes[name] is None:
            changes[name] = ""
    for name in ("full_address", "shipping_address"):
        if isinstance(changes.get(name), Address):
            changes[name] = changes[name].model_dump()
    if "custom_fields" in changes:
        changes["custom_fields"] = _merged(current_custom_fields, changes["custom_fields"])
    return changes


def _refusal(error: ValidationError) -> RefusedError:
    errors: Errors = {}
    details = error.errors(include_url=False, include_context=False, include_input=False)
    for detail in details:
        errors.setdefault(".".join(map(str, detail["loc"])) or "__all__", []).append(detail["msg"])
    return RefusedError(errors, is_json=details[0]["type"] != "json_invalid")


def _definition(number: int, name: str, field_type: str, *options: str, of: str = "customer") -> dict[str, Any]:
    return {
        "id": number, "name": name, "field_type": field_type, "is_active": True, "company_id": None,
        "company_ids": [], "description": "", "helper_text": "",
        "applies_to": [{"type": of, "is_active": True, "is_required": False}], "default_value": None,
        "options": list(options),
    }  # fmt: skip


DEFINITIONS: Final = (
    _definition(31, "Tier", "single_select", "Gold", "Silver", "Bronze"),
    _definition(32, "Partner", "boolean"),
    _definition(33, "Account Manager", "text"),
    _definition(34, "Credit Limit", "number"),
    _definition(35, "Renewal", "date"),
    _definition(36, "Segments", "multi_select", "Retail", "Wholesale", "Online"),
    _definition(42, "Region", "text"),
    _definition(43, "Region", "text"),
    _definition(50, "Vendor Class", "text", of="vendor"),
)
OF_CUSTOMERS: Final = {str(d["id"]): d for d in DEFINITIONS if d["applies_to"][0]["type"] == "customer"}


def read_custom_fields(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Custom fields as a record shows them: every definition, with its value or null."""
    return [
        {"field": definition, "value": _read_value(definition, values.get(number))}
        for number, definition in OF_CUSTOMERS.items()
    ]


def _read_value(definition: dict[str, Any], value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"custom_field_id": definition["id"], "custom_field_name": definition["name"], "value": value}


def _merged(current: dict[str, Any], items: list[dict[str, Any]] | None) -> dict[str, Any]:
    if items is None:
        return {}
    merged = dict(current)
    problems: list[str] = []
    for item in items:
        try:
            number, value = _item(item)
            merged[number] = value
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise RefusedError({"custom_fields": problems})
    return merged


def _item(item: dict[str, Any]) -> tuple[str, Any]:
    """The definition's id and the value of one item, by id or by name."""
    if set(item) == {"field", "value"} and isinstance(item["field"], dict):
        definition, value = _by_id(item["field"].get("id"), item["value"])
    elif len(item) == 1:
        [(name, value)] = item.items()
        definition = _by_name(name)
    else:
        raise ValueError("Each item must name exactly one custom field")
    if value is not None and not _fits(definition, value):
        raise ValueError(f"Invalid value for custom field '{definition['name']}' ({definition['field_type']})")
    return str(definition["id"]), value


def _by_id(number: Any, value: Any) -> tuple[dict[str, Any], Any]:
    definition = OF_CUSTOMERS.get(str(number)) if isinstance(number, int) else None
    if definition is None:
        raise ValueError(f"Custom field with id {number} does not exist")
    if value is None:
        return definition, None
    if not isinstance(value, dict) or value.get("custom_field_id") != number:
        raise ValueError(f"The value of custom field {number} must carry its custom_field_id")
    return definition, value.get("value")


def _by_name(name: str) -> dict[str, Any]:
    named = [definition for definition in OF_CUSTOMERS.values() if definition["name"] == name]
    if not named:
        raise ValueError(f"Custom field '{name}' does not exist")
    if len(named) > 1:
        raise ValueError(f"More than one custom field is named '{name}': use its id")
    return named[0]


def _fits(definition: dict[str, Any], value: Any) -> bool:
    match definition["field_type"]:
        case "boolean":
            return isinstance(value, bool)
        case "number" | "currency":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "single_select":
            return value in definition["options"]
        case "multi_select":
            return isinstance(value, list) and all(one in definition["options"] for one in value)
        case "date":
            return isinstance(value, str) and _is_date(value)
        case _:
            return isinstance(value, str)


def _is_date(value: str) -> bool:
    try:
        return date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


MAX_PAGE: Final = 100
SEARCHABLE: Final = ("unique_id", "name", "email")
ORDERABLE: Final = {"id", "updated_at", *SEARCHABLE, *STRING_FIELDS}


class DualEntry:
    """The whole API of one company; `open` judges a request, and the action it returns does it."""

    name = "dualentry"

    def __init__(self, options: SandboxOptions, key: str) -> None:
        self._key = key
        self.records = Records(DualEntrySamples(), options.records, SEARCHABLE)
        self._limiter = Limiter(DUALENTRY_ALL, DUALENTRY_ROUTE, options.limits)
        self._keys: dict[str, tuple[int, Answer | None]] = {}
        """Of each idempotency key: the request that it came with, and its answer once that is known."""
        self._pending: dict[int, Overlay] = {}
        self.options = options
        """May be replaced while it serves."""

    def record_in(self, call: Call) -> str | None:
        """The id in the path, whether or not there is such a record."""
        match _beneath_version(call):
            case ["customers", wanted, ""] if wanted:
                return wanted
        return None

    def is_opened_by(self, call: Call) -> bool:
        """Whether the request comes with this company's key."""
        return call.headers.get("X-API-KEY") == self._key

    def open(self, call: Call, now: float) -> Answer | Action:
        """Refuse the request, or say what is to be done for it."""
        call.now = now
        if call.headers.get("X-API-KEY") is None:
            return _failure(401, "API key is missing")
        if not self.is_opened_by(call):
            return _failure(403, "API key authentication failed")
        match _beneath_version(call):
            case ["customers", ""]:
                route, allowed = "customers", {"GET": self._list}
            case ["customers", _, ""]:
                route, allowed = "customer", {"GET": self._get, "PATCH": self._write, "PUT": self._write}
            case ["custom-fields", ""]:
                route, allowed = "custom-fields", {"GET": self._definitions}
            case _:
                return _failure(404, "Not found")
        if call.method not in allowed:
            return _failure(405, "Method not allowed")
        ticket = self._limiter.admit(f"{call.method} {route}", now)
        call.reply_headers |= rate_headers(self.options.rate_headers, ticket)
        if ticket is not None and ticket.wait > 0:
            return _failure(429, "Request was throttled", {"Retry-After": str(math.ceil(ticket.wait))})
        return self._open_once(call, partial(allowed[call.method], call))

    def edit(self, call: Call, wanted: str) -> Answer:
        """Apply a change by another hand, without a key or a limit."""
        number = self.number_of(wanted)
        if number is None:
            return _failure(404, "Not found")
        call.record = wanted
        return self._apply(call, number, None)

    def approve(self, call: Call, wanted: str, *, granted: bool = True) -> Answer:
        """Apply a change that waits for approval, or drop it."""
        number = self.number_of(wanted)
        if number is None or number not in self._pending:
            return _failure(404, "Nothing waits for approval")
        changes = self._pending.pop(number)
        call.record, call.applied = wanted, granted
        return self._shown(number, self._store(call, number, changes) if granted else self.records.overlay(number))

    def forget(self) -> None:
        """Make every record what it was at the beginning, with nothing that waits for approval."""
        self.records.forget()
        self._pending.clear()

    def true_record(self, wanted: str) -> dict[str, Any] | None:
        """The record as it is, with both kinds of address."""
        number = self.number_of(wanted)
        if number is None:
            return None
        shown = _rendered(number, self.records.record(number))
        return shown | {"full_address": self.records.record(number)["full_address"]}

    def number_of(self, wanted: str) -> int | None:
        """The sample number of an id, if there is such a record."""
        if not (wanted.isascii() and wanted.isdigit()) or len(wanted) > 18:
            return None
        number = int(wanted) - FIRST_DUALENTRY_ID + 1
        return number if 1 <= number <= self.records.count else None

    def failed(self, status: int) -> Answer:
        """The answer of a gateway or a server that is in trouble; a 503 is a page of HTML."""
        if status == 503:
            return Answer(503, b"<html><body><h1>503 Service Unavailable</h1></body></html>", content_type="text/html")
        headers = {"Retry-After": "1"} if status == 429 else {}
        return _failure(status, "Something went wrong", headers)

    def not_done(self) -> Answer:
        """The status says 200 and the body that nothing was done."""
        return _failure(200, "The customer could not be saved")

    def _open_once(self, call: Call, action: Action) -> Answer | Action:
        key = call.headers.get("Idempotency-Key")
        if key is None or not call.is_write:
            return action
        if not 1 <= len(key) <= MAX_KEY_LENGTH:
            return _failure(422, f"Idempotency-Key must have 1 to {MAX_KEY_LENGTH} characters")
        request = hash((call.method, call.path, call.body))
        if key not in self._keys:
            self._keys[key] = (request, None)
            return partial(self._finish, key, action)
        known, stored = self._keys[key]
        if known != request:
            return _failure(422, "This Idempotency-Key was already used with a different request")
        if stored is None:
            message = "A request with this Idempotency-Key is still being processed"
            return _failure(409, message, {"Retry-After": "1"})
        return (
            stored
            if self.options.replay == "stored"
            else _failure(409, "The stored answer is too large to be replayed")
        )

    def _finish(self, key: str, action: Action, fault: str | None) -> Answer:
        answer = action(fault)
        self._keys[key] = (self._keys[key][0], answer)
        return answer

    def _write(self, call: Call, fault: str | None) -> Answer:
        number = self.number_of(call.record or "")
        return _failure(404, "Not found") if number is None else self._apply(call, number, fault)

    def _apply(self, call: Call, number: int, fault: str | None) -> Answer:
        try:
            changes = changes_from(call.body, self.records.record(number)["custom_fields"])
        except RefusedError as refused:
            return _refused(422 if refused.is_json else 400, refused.errors)
        if fault == "success-false":
            return self.not_done()
        if fault == "approval":
            self._pending[number] = changes
            return self._shown(number, self.records.overlay(number) | changes | {"approval_status": "pending"})
        if fault == "lie-drop-field":
            changes = self.records.without_one(number, changes)
        call.applied = bool(changes) or fault != "lie-drop-field"
        overlay = self._store(call, number, changes, fault)
        if self.options.normalize == "hidden":
            overlay = overlay | changes
        if fault == "lie-other":
            number = self.records.other_than(number)
            overlay = self.records.overlay(number)
        return self._shown(number, overlay)

    def _store(self, call: Call, number: int, changes: dict[str, Any], fault: str | None = None) -> Overlay:
        changes = changes if self.options.normalize == "no" else normalized(changes)
        stale_reads = self.options.stale_reads if fault == "stale-read" else 0
        return self.records.write(number, changes, now=call.now, lag=self.options.read_lag, stale_reads=stale_reads)

    def _get(self, call: Call, fault: str | None) -> Answer:
        number = self.number_of(call.record or "")
        if number is None:
            return _failure(404, "Not found")
        if fault == "lie-other":
            number = self.records.other_than(number)
        return self._shown(number, self._read(number, call.now))

    def _list(self, call: Call, fault: str | None) -> Answer:
        parameters = call.parameters
        try:
            offset, limit = _paging(parameters, self.options.max_page)
            ordering = parameters.get("ordering", ["-updated_at"])[-1]
            if ordering.removeprefix("-") not in ORDERABLE:
                raise RefusedError({"ordering": [f"Cannot order by '{ordering}'"]})
            found = self._filtered(call)
        except RefusedError as refused:
            return _refused(422, refused.errors)
        if found is None:
            count, page = self.records.count, self.records.page(ordering, offset, limit)
        else:
            count, page = len(found), self.records.ordered(found, ordering)[offset : offset + limit]
        if fault == "lie-other":
            page = [self.records.other_than(number) for number in page]
        items = [self._list_item(number, call.now) for number in page]
        return json_answer(200, items if self.options.bare_lists else {"items": items, "count": count})

    def _filtered(self, call: Call) -> set[int] | None:
        """The numbers that pass all filters that work; None without one."""
        filters = [(name, value) for name, value in call.arguments if name in ("id", *SEARCHABLE)]
        match self.options.filters:
            case "ignored":
                return None
            case "last":
                filters = filters[-1:]
        parameters: dict[str, list[str]] = {}
        for name, value in filters:
            parameters.setdefault(name, []).append(value)
        sets: list[set[int]] = []
        if "id" in parameters:
            if bad := [wanted for wanted in parameters["id"] if not wanted.isascii() or not wanted.isdigit()]:
                raise RefusedError({"id": [f"'{bad[0]}' is not a valid integer"]})
            sets.append({number for wanted in parameters["id"] if (number := self.number_of(wanted))})
        sets += [
            set(self.records.find(field, parameters[field][-1], call.now))
            for field in SEARCHABLE
            if field in parameters
        ]
        return set.intersection(*sets) if sets else None

    def _list_item(self, number: int, now: float) -> dict[str, Any]:
        record = self.records.record(number, self._read(number, now))
        item = _rendered(number, record)
        del item["address"]
        return item | {"full_address": record["full_address"]}

    def _definitions(self, call: Call, fault: str | None) -> Answer:
        try:
            offset, limit = _paging(call.parameters, self.options.max_page)
        except RefusedError as refused:
            return _refused(422, refused.errors)
        items = DEFINITIONS[offset : offset + limit]
        return json_answer(200, items if self.options.bare_lists else {"items": items, "count": len(DEFINITIONS)})

    def _read(self, number: int, now: float) -> Overlay:
        """What a read shows of a record."""
        overlay = self.records.overlay_for_reading(number, now)
        waits = self.options.pending == "shown" and number in self._pending
        return overlay | {"approval_status": "pending"} if waits else overlay

    def _shown(self, number: int, overlay: Overlay) -> Answer:
        return Answer(200, lambda: to_json(_rendered(number, self.records.record(number, overlay))))


def _beneath_version(call: Call) -> list[str]:
    """The path's segments after /public/v1/ or /public/v2/."""
    segments = call.segments
    return segments[2:] if segments[:1] == ["public"] and segments[1:2] in (["v1"], ["v2"]) else []


def _rendered(number: int, record: dict[str, Any]) -> dict[str, Any]:
    """A customer as one GET or a PATCH shows it: `address`, and no `full_address`."""
    return {
        "id": FIRST_DUALENTRY_ID - 1 + number,
        **{name: record[name] for name in ("name", "unique_id", "email", "address", "country", "website", "phone")},
        "customer_type": "company", "is_active": True, "record_status": "active", "is_taxable": False,
        "default_currency": "USD", "shipping_address": record["shipping_address"],
        "custom_fields": read_custom_fields(record["custom_fields"]), "created_by": None, "updated_by": None,
        "approval_status": record.get("approval_status"),
    }  # fmt: skip


def _refused(status: int, errors: Errors, headers: dict[str, str] | None = None) -> Answer:
    return json_answer(status, {"success": False, "errors": errors}, headers)


def _failure(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    return _refused(status, {"__all__": [message]}, headers)


def _paging(parameters: dict[str, list[str]], max_page: int) -> tuple[int, int]:
    """Offset and limit, the limit silently capped; raises `RefusedError`."""
    offset = _whole_number(parameters, "offset", 0, least=0)
    return offset, min(max_page or MAX_PAGE, MAX_PAGE, _whole_number(parameters, "limit", MAX_PAGE, least=1))


def _whole_number(parameters: dict[str, list[str]], name: str, default: int, *, least: int) -> int:
    if name not in parameters:
        return default
    text = parameters[name][-1]
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) < least:
        raise RefusedError({name: [f"Input should be a whole number from {least}"]})
    return int(text)
