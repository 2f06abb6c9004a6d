"""DualEntry's customers, imitated: authentication, limits, idempotency, PATCH, GET one and GET many.

Order of judgement: key, route, rate limit, idempotency, record, body. The answers' shapes are in the endpoint's README;
what nobody documents: a 401 and a 404 take no token, an ordering by an unknown field is a 422.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pydantic_core import to_json

from batch.sandbox.dualentry_fields import (
    DEFINITIONS,
    STRING_FIELDS,
    Errors,
    RefusedError,
    changes_from,
    read_custom_fields,
)
from batch.sandbox.exchange import Answer, Call, json_answer
from batch.sandbox.idempotency import MAX_KEY_LENGTH, IdempotencyKeys, KeyInUseError, KeyReusedError
from batch.sandbox.limits import DUALENTRY_ALL, DUALENTRY_ROUTE, Limiter, Ticket
from batch.sandbox.options import DUALENTRY_API_KEY, SandboxOptions
from batch.sandbox.records import Overlay, Records
from batch.sandbox.samples import FIRST_DUALENTRY_ID, DualEntrySamples

Action = Callable[[str | None], Answer]
"""What remains to be done for a request; takes the fault that it meets."""

MAX_PAGE: Final = 100
SEARCHABLE: Final = ("unique_id", "name", "email")
ORDERABLE: Final = {"id", "updated_at", *SEARCHABLE, *STRING_FIELDS}


class DualEntry:
    """The whole API; `open` judges a request, and the action it returns does it."""

    name = "dualentry"

    def __init__(self, options: SandboxOptions) -> None:
        self.records = Records(DualEntrySamples(), options.records, SEARCHABLE)
        self._limiter = Limiter(DUALENTRY_ALL, DUALENTRY_ROUTE, options.limits)
        self._keys = IdempotencyKeys()
        self._pending: dict[int, Overlay] = {}
        self._stale_reads = options.stale_reads
        self._replays = options.replay == "stored"
        self._bare_lists = options.bare_lists

    def record_in(self, call: Call) -> str | None:
        """The id in the path, whether or not there is such a record."""
        match _beneath_version(call):
            case ["customers", wanted, ""] if wanted:
                return wanted
        return None

    def open(self, call: Call, now: float) -> Answer | Action:
        """Refuse the request, or say what is to be done for it."""
        key = call.headers.get("X-API-KEY")
        if key != DUALENTRY_API_KEY:
            return _unauthenticated(key)
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
        if ticket is not None and (refusal := _limited(call, ticket)):
            return refusal
        return self._open_once(call, partial(allowed[call.method], call))

    def edit(self, call: Call, wanted: str) -> Answer:
        """Apply a change by another hand, without a key or a limit."""
        number = self.number_of(wanted)
        if number is None:
            return _failure(404, "Not found")
        call.record = wanted
        return self._apply(call, number, None)

    def approve(self, call: Call, wanted: str) -> Answer:
        """Apply a change that waits for approval."""
        number = self.number_of(wanted)
        if number is None or number not in self._pending:
            return _failure(404, "Nothing waits for approval")
        call.record, call.applied = wanted, True
        return self._shown(200, number, self.records.write(number, self._pending.pop(number)))

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
        try:
            stored = self._keys.begin(key, call)
        except KeyInUseError:
            message = "A request with this Idempotency-Key is still being processed"
            return _failure(409, message, {"Retry-After": "1"})
        except KeyReusedError:
            return _failure(422, "This Idempotency-Key was already used with a different request")
        if stored is None:
            return partial(self._finish, key, action)
        return stored if self._replays else _failure(409, "The stored answer is too large to be replayed")

    def _finish(self, key: str, action: Action, fault: str | None) -> Answer:
        answer = action(fault)
        self._keys.finish(key, answer)
        return answer

    def _write(self, call: Call, fault: str | None) -> Answer:
        number = self.number_of(call.record or "")
        if number is None:
            return _failure(404, "Not found")
        return self._apply(call, number, fault)

    def _apply(self, call: Call, number: int, fault: str | None) -> Answer:
        try:
            changes = changes_from(call.body, self.records.record(number)["custom_fields"])
        except RefusedError as refused:
            return _refused(422 if refused.is_json else 400, refused.errors)
        if fault == "success-false":
            return self.not_done()
        if fault == "approval":
            self._pending[number] = changes
            return self._shown(200, number, self.records.overlay(number) | changes | {"approval_status": "pending"})
        if fault == "lie-drop-field":
            changes = self.records.without_one(number, changes)
        call.applied = bool(changes) or fault != "lie-drop-field"
        overlay = self.records.write(number, changes, stale_reads=self._stale_reads if fault == "stale-read" else 0)
        if fault == "lie-other":
            number = number % self.records.count + 1
            overlay = self.records.overlay(number)
        return self._shown(200, number, overlay)

    def _get(self, call: Call, fault: str | None) -> Answer:
        number = self.number_of(call.record or "")
        if number is None:
            return _failure(404, "Not found")
        return self._shown(200, number, self.records.overlay_for_reading(number))

    def _list(self, call: Call, fault: str | None) -> Answer:
        parameters = call.parameters
        try:
            offset, limit = _paging(parameters)
            ordering = parameters.get("ordering", ["-updated_at"])[-1]
            if ordering.removeprefix("-") not in ORDERABLE:
                raise RefusedError({"ordering": [f"Cannot order by '{ordering}'"]})
            found = self._filtered(parameters)
        except RefusedError as refused:
            return _refused(422, refused.errors)
        if found is None:
            count, page = self.records.count, self.records.page(ordering, offset, limit)
        else:
            count, page = len(found), self.records.ordered(found, ordering)[offset : offset + limit]
        items = [self._list_item(number) for number in page]
        return json_answer(200, items if self._bare_lists else {"items": items, "count": count})

    def _filtered(self, parameters: dict[str, list[str]]) -> set[int] | None:
        """The numbers that pass all filters; None without a filter."""
        sets: list[set[int]] = []
        if "id" in parameters:
            if bad := [wanted for wanted in parameters["id"] if not wanted.isascii() or not wanted.isdigit()]:
                raise RefusedError({"id": [f"'{bad[0]}' is not a valid integer"]})
            sets.append({number for wanted in parameters["id"] if (number := self.number_of(wanted))})
        sets += [set(self.records.find(field, parameters[field][-1])) for field in SEARCHABLE if field in parameters]
        return set.intersection(*sets) if sets else None

    def _list_item(self, number: int) -> dict[str, Any]:
        record = self.records.record(number, self.records.overlay_for_reading(number))
        item = _rendered(number, record)
        del item["address"]
        return item | {"full_address": record["full_address"]}

    def _definitions(self, call: Call, fault: str | None) -> Answer:
        try:
            offset, limit = _paging(call.parameters)
        except RefusedError as refused:
            return _refused(422, refused.errors)
        items = DEFINITIONS[offset : offset + limit]
        return json_answer(200, items if self._bare_lists else {"items": items, "count": len(DEFINITIONS)})

    def _shown(self, status: int, number: int, overlay: Overlay) -> Answer:
        return Answer(status, partial(self._render, number, overlay))

    def _render(self, number: int, overlay: Overlay) -> bytes:
        return to_json(_rendered(number, self.records.record(number, overlay)))


def _beneath_version(call: Call) -> list[str]:
    """The path's segments after /public/v1/ or /public/v2/."""
    segments = call.segments
    return segments[2:] if segments[:1] == ["public"] and segments[1:2] in (["v1"], ["v2"]) else []


def _rendered(number: int, record: dict[str, Any]) -> dict[str, Any]:
    """A customer as one GET or a PATCH shows it: `address`, and no `full_address`."""
    return {
        "id": FIRST_DUALENTRY_ID - 1 + number,
        "name": record["name"],
        "unique_id": record["unique_id"],
        "email": record["email"],
        "address": record["address"],
        "country": record["country"],
        "website": record["website"],
        "phone": record["phone"],
        "customer_type": "company",
        "is_active": True,
        "record_status": "active",
        "is_taxable": False,
        "default_currency": "USD",
        "shipping_address": record["shipping_address"],
        "custom_fields": read_custom_fields(record["custom_fields"]),
        "created_by": None,
        "updated_by": None,
        "approval_status": record.get("approval_status"),
    }


def _refused(status: int, errors: Errors, headers: dict[str, str] | None = None) -> Answer:
    return json_answer(status, {"success": False, "errors": errors}, headers)


def _failure(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    return _refused(status, {"__all__": [message]}, headers)


def _unauthenticated(key: str | None) -> Answer:
    if key is None:
        return _failure(401, "API key is missing")
    return _failure(403, "API key authentication failed")


def _limited(call: Call, ticket: Ticket) -> Answer | None:
    """The 429, if it is one; the rate headers go on every answer."""
    call.reply_headers |= {
        "X-RateLimit-Limit": str(ticket.limit),
        "X-RateLimit-Remaining": str(ticket.remaining),
        "X-RateLimit-Reset": str(math.ceil(ticket.reset)),
    }
    if ticket.wait == 0:
        return None
    return _failure(429, "Request was throttled", {"Retry-After": str(math.ceil(ticket.wait))})


def _paging(parameters: dict[str, list[str]]) -> tuple[int, int]:
    """Offset and limit, the limit silently capped; raises `RefusedError`."""
    offset = _whole_number(parameters, "offset", 0, least=0)
    return offset, min(MAX_PAGE, _whole_number(parameters, "limit", MAX_PAGE, least=1))


def _whole_number(parameters: dict[str, list[str]], name: str, default: int, *, least: int) -> int:
    if name not in parameters:
        return default
    text = parameters[name][-1]
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) < least:
        raise RefusedError({name: [f"Input should be a whole number from {least}"]})
    return int(text)
