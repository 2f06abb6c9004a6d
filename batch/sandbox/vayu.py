"""Vayu's customers, imitated: login, limits, PUT that merges or replaces, GET one and GET many.

Order of judgement: size, token, route, rate limit, record, body. Error shapes and codes are the maker's; whether PUT
merges or replaces no source says, so it is a switch.
"""

import base64
import hashlib
import hmac
import json
import math
import re
import secrets
import time
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final, Literal, Required

from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import to_json

# pydantic wants this one below Python 3.12
from typing_extensions import TypedDict

from batch.sandbox.api import VAYU_ALL, Action, Answer, Call, Limiter, json_answer, normalized, parsed, rate_headers
from batch.sandbox.options import VAYU_CLIENT_ID, SandboxOptions
from batch.sandbox.records import FIRST_VAYU_ID, Overlay, Records, VayuSamples


class Tokens:
    """Issues tokens that are good for `lifetime` seconds, rounded up to whole ones."""

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._secret = secrets.token_bytes(32)
        self._expiry: dict[str, int] = {}

    def issue(self, now: float) -> str:
        """Make a token; `now` in epoch seconds."""
        self._expiry = {token: expiry for token, expiry in self._expiry.items() if expiry > now}
        expiry = math.ceil(now + self._lifetime)
        claims = {"sub": "sandbox", "iat": int(now), "exp": expiry, "jti": secrets.token_hex(8)}
        signed = _encoded({"alg": "HS256", "typ": "JWT"}) + b"." + _encoded(claims)
        signature = hmac.digest(self._secret, signed, hashlib.sha256)
        token = (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
        self._expiry[token] = expiry
        return token

    def is_good(self, token: str, now: float) -> bool:
        """Whether the token was issued here and has not expired."""
        return self._expiry.get(token, 0) > now

    def expire_all(self) -> None:
        """Make every token issued so far worthless."""
        self._expiry.clear()


def _encoded(part: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")


NonEmpty = Annotated[str, StringConstraints(min_length=1)]
Phone = Annotated[str, StringConstraints(pattern=r"^\+?[1-9]\d{4,15}$")]
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
Source = Literal["Stripe", "VayuEventsApi", "Api", "Salesforce", "HubSpot"]
DueDays = Literal["END_OF_MONTH", "SAME_DAY", "15_DAYS", "30_DAYS", "45_DAYS", "60_DAYS", "90_DAYS"]
Currency = Literal["USD", "EUR", "GBP", "ILS", "CAD", "AUD", "COP", "BRL"]
ValueType = Literal["String", "Number", "Boolean", "Enum"]
IntegrationSource = Literal[
    "NetSuite", "QuickBooks", "Stripe", "Salesforce", "Hubspot", "Vayu", "Slack", "S3", "Morning", "Snowflake",
    "Anrok", "Connact", "Xero",
]  # fmt: skip
EntityType = Literal["Account", "Invoice", "SalesOrder", "Item", "Deal", "Company", "Opportunity"]

_CLOSED = ConfigDict(extra="forbid")


class Contact(TypedDict, total=False):
    """A person at the customer."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic's own way of giving a TypedDict its settings
    name: str | None
    email: Email | None
    title: str | None
    phone: Phone | None
    receiveInvoiceEmail: bool | None


class Address(TypedDict, total=False):
    """Replaced whole."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # as above
    country: str | None
    city: str | None
    addressText: str | None
    state: str | None
    postalCode: str | None


class CustomField(TypedDict, total=False):
    """A custom field with its value."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # as above
    vayuCustomFieldName: Required[NonEmpty]
    valueType: Required[ValueType]
    integrationSource: IntegrationSource | None
    integrationEntityType: EntityType | None
    fieldPath: str | None
    value: Any


class CloudProviderSettings(TypedDict, total=False):
    """Where the customer buys through a cloud marketplace."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # as above
    cloudProvider: Literal["AWS"]
    cloudProviderMarketplaceId: str
    customerIdentifier: str


class Put(TypedDict, total=False):
    """The body, not wrapped."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # as above
    name: NonEmpty
    externalId: NonEmpty
    aliases: list[str] | None
    taxIds: list[str] | None
    contacts: list[Contact] | None
    source: Source | None
    legalName: str | None
    taxId: str | None
    customerErpId: str | None
    salesForceAccountId: str | None
    subsidiary: str | None
    address: Address | None
    dueDays: DueDays | None
    currency: Currency | None
    customFields: list[CustomField] | None
    cloudProviderSettings: CloudProviderSettings | None


_PUT: Final = TypeAdapter(Put)

LEFT_OUT: Final[dict[str, Any]] = {
    name: [] if name in ("aliases", "taxIds") else None
    for name in Put.__annotations__
    if name not in ("name", "externalId", "__pydantic_config__")
}
"""What a field becomes that a replacing PUT leaves out; name and externalId cannot be null and stay."""


class RefusedError(Exception):
    """The body is refused: Vayu's code, its message, and the parameters with a message each."""

    def __init__(self, code: str, message: str, params: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.params = params


def changes_from(body: bytes) -> dict[str, Any]:
    """The fields that a body sets; raises `RefusedError`."""
    try:
        return dict(_PUT.validate_json(body, strict=True))
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> RefusedError:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    if not details[0]["loc"]:
        return RefusedError("bad_request", "The request body must be a JSON object", [])
    params = [(".".join(map(str, detail["loc"])), detail["msg"]) for detail in details]
    if len(params) > 1:
        return RefusedError("validation_failed", "Multiple parameters failed validation", params)
    if details[0]["type"] == "missing":
        return RefusedError("parameter_missing", f"Missing required parameter: {params[0][0]}", params)
    return RefusedError("parameter_invalid", f"{params[0][0]}: {params[0][1]}", params)


DEFINITIONS: Final = [
    {
        "id": f"{0x66A000000000000000000000 + place:024x}", "vayuEntity": "Customer", "vayuCustomFieldName": name,
        "valueType": value_type, "integrationSource": source, "integrationEntityType": "Account" if source else None,
        "fieldPath": path, "allowedValues": allowed, "defaultValue": None,
    }
    for place, (name, value_type, source, path, allowed) in enumerate(
        [
            ("Segment", "Enum", "Salesforce", "Segment__c", ["Enterprise", "Startup", "Public sector"]),
            ("Seats", "Number", None, None, None),
            ("AE Name", "String", "Salesforce", "Owner.Name", None),
            ("Is Partner", "Boolean", None, None, None),
            ("Region", "String", None, None, None),
        ],
        start=1,
    )
]  # fmt: skip


MAX_BODY: Final = 256 * 1024
MAX_PAGE: Final = 1000
DEFAULT_PAGE: Final = 10
FIRST_CREATED: Final = 1_710_000_000
_ID = re.compile(r"[0-9a-fA-F]{24}")
_BALANCES: Final = (
    "totalOutstandingAmount", "openAmount", "overdueAmount", "pendingPaymentAmount", "paidAmount",
)  # fmt: skip
_TYPES: Final = {401: "authentication_error", 429: "rate_limit_error", 500: "api_error"}


class Vayu:
    """The whole API of one company; `open` judges a request, and the action it returns does it."""

    name = "vayu"

    def __init__(self, options: SandboxOptions, key: str) -> None:
        self._key = key
        self.records = Records(VayuSamples(), options.records, ("externalId", "name"))
        self.tokens = Tokens(options.token_lifetime)
        self._limiter = Limiter(VAYU_ALL, None, options.limits)
        self.options = options
        """May be replaced while it serves."""

    def record_in(self, call: Call) -> str | None:
        """The id in the path, whether or not there is such a record."""
        match call.segments:
            case ["customers", wanted]:
                return wanted
        return None

    def is_opened_by(self, call: Call) -> bool:
        """Whether the request comes with this company's API token, or with an access token that it was given."""
        try:
            return _refresh_token(call) == self._key if _is_login(call) else self._has_token(call)
        except ValueError:
            return False

    def open(self, call: Call, now: float) -> Answer | Action:
        """Refuse the request, or say what is to be done for it."""
        call.now = now
        if len(call.body) > MAX_BODY:
            return _failure(413, "request_too_large", "The request is larger than 256 KB")
        if _is_login(call):
            return partial(self._login, call)
        if refusal := self._authenticated(call):
            return refusal
        action = self._route(call)
        if isinstance(action, Answer):
            return action
        ticket = self._limiter.admit("", now)
        call.reply_headers |= rate_headers(self.options.rate_headers, None)
        if ticket is not None and ticket.wait > 0:
            return _failure(429, "rate_limit_exceeded", "Too many requests")
        return action

    def edit(self, call: Call, wanted: str) -> Answer:
        """Apply a change by another hand, merging, without a token or a limit."""
        number = self.number_of(wanted)
        if number is None:
            return _not_found(wanted)
        call.record = wanted
        try:
            changes = changes_from(call.body)
        except RefusedError as refused:
            return _refused(refused)
        call.applied = True
        return self._shown(number, self._stored(call, number, changes))

    def forget(self) -> None:
        """Make every record what it was at the beginning."""
        self.records.forget()

    def true_record(self, wanted: str) -> dict[str, Any] | None:
        """The record as it is."""
        number = self.number_of(wanted)
        return None if number is None else _rendered(number, self.records.record(number))

    def number_of(self, wanted: str) -> int | None:
        """The sample number of an id, if there is such a record."""
        if not _ID.fullmatch(wanted):
            return None
        number = int(wanted, 16) - FIRST_VAYU_ID
        return number if 1 <= number <= self.records.count else None

    def failed(self, status: int) -> Answer:
        """The answer of a gateway or a server that is in trouble; a 503 is a page of HTML."""
        if status == 503:
            return Answer(503, b"<html><body><h1>503 Service Unavailable</h1></body></html>", content_type="text/html")
        if status == 429:
            return json_answer(429, {"message": "Too Many Requests"})
        return _failure(status, "internal_error" if status >= 500 else "bad_request", "Something went wrong")

    def not_done(self) -> Answer:
        """The status says 200 and the body that nothing was done."""
        return json_answer(200, {"success": False, "message": "The customer could not be saved"})

    def _login(self, call: Call, fault: str | None) -> Answer:
        try:
            given = _refresh_token(call)
        except ValueError:
            return _failure(400, "bad_request", "The request body must be a JSON object")
        if given is None:
            missing = [("refreshToken", "Missing")]
            return _refused(RefusedError("parameter_missing", "Missing required parameter: refreshToken", missing))
        if given != self._key:
            return _failure(401, "authentication_failed", "Invalid refresh token")
        return json_answer(200, {"accessToken": self.tokens.issue(time.time())})

    def _has_token(self, call: Call) -> bool:
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.tokens.is_good(token.strip(), time.time())

    def _authenticated(self, call: Call) -> Answer | None:
        if not self._has_token(call):
            return _failure(401, "authentication_failed", "Missing or expired access token")
        if call.headers.get("x-api-key", VAYU_CLIENT_ID) != VAYU_CLIENT_ID:
            return _failure(401, "authentication_failed", "Unknown client id")
        return None

    def _route(self, call: Call) -> Answer | Action:
        match call.method, call.segments:
            case "GET", ["customers"]:
                return partial(self._list, call)
            case "GET", ["customFields"]:
                return lambda fault: json_answer(200, {"customFields": DEFINITIONS})
            case "GET", ["customers", ("externalId" | "name") as field, value]:
                return partial(self._find, call, field, value)
            case ("GET" | "PUT") as method, ["customers", wanted]:
                if not _ID.fullmatch(wanted):
                    bad = [("customerId", "must be 24 hexadecimal digits")]
                    return _refused(RefusedError("parameter_invalid", "customerId is not a valid id", bad))
                return partial(self._get if method == "GET" else self._write, call)
        return _failure(404, "resource_not_found", f"Cannot {call.method} {call.path}")

    def _write(self, call: Call, fault: str | None) -> Answer:
        number = self.number_of(call.record or "")
        if number is None:
            return _not_found(call.record)
        try:
            changes = changes_from(call.body)
        except RefusedError as refused:
            return _refused(refused)
        if set(self.records.find("externalId", changes.get("externalId", ""))) - {number}:
            return _failure(409, "resource_already_exists", "A customer with this externalId already exists")
        if fault == "success-false":
            return self.not_done()
        if self.options.put == "replace":
            changes = LEFT_OUT | changes
        if fault == "lie-drop-field":
            changes = self.records.without_one(number, changes)
        call.applied = bool(changes) or fault != "lie-drop-field"
        overlay = self._stored(call, number, changes, fault)
        if self.options.normalize == "hidden":
            overlay = overlay | changes
        if fault == "lie-other":
            number = self.records.other_than(number)
            overlay = self.records.overlay(number)
        return self._shown(number, overlay)

    def _stored(self, call: Call, number: int, changes: dict[str, Any], fault: str | None = None) -> Overlay:
        changes = changes if self.options.normalize == "no" else normalized(changes)
        changes = changes | {"updatedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        stale_reads = self.options.stale_reads if fault == "stale-read" else 0
        return self.records.write(number, changes, now=call.now, lag=self.options.read_lag, stale_reads=stale_reads)

    def _get(self, call: Call, fault: str | None) -> Answer:
        number = self.number_of(call.record or "")
        if number is None:
            return _not_found(call.record)
        if fault == "lie-other":
            number = self.records.other_than(number)
        return self._shown(number, self.records.overlay_for_reading(number, call.now))

    def _find(self, call: Call, field: str, value: str, fault: str | None) -> Answer:
        found = self.records.find(field, value, call.now)
        exact = [number for number in found if self.records.record_at(number, call.now)[field] == value]
        if not exact:
            return _not_found(value)
        number = self.records.other_than(exact[0]) if fault == "lie-other" else exact[0]
        return self._shown(number, self.records.overlay_for_reading(number, call.now))

    def _list(self, call: Call, fault: str | None) -> Answer:
        parameters = call.parameters
        limit = parameters.get("limit", [str(DEFAULT_PAGE)])[-1]
        if not re.fullmatch(r"[0-9]{1,4}", limit) or not 1 <= int(limit) <= MAX_PAGE:
            bad = [("limit", f"must be from 1 to {MAX_PAGE}")]
            return _refused(RefusedError("parameter_invalid", "limit is invalid", bad))
        after = _position(parameters.get("cursor", [""])[-1])
        if after is None:
            return _refused(RefusedError("parameter_invalid", "cursor is invalid", [("cursor", "unknown")]))
        page = self.records.page("id", after, min(int(limit), self.options.max_page or MAX_PAGE))
        has_more = after + len(page) < self.records.count
        if fault == "lie-other":
            page = [self.records.other_than(number) for number in page]
        payload = {
            "customers": [
                _rendered(number, self.records.record(number, self.records.overlay_for_reading(number, call.now)))
                for number in page
            ],
            "total": self.records.count, "hasMore": has_more,
            "nextCursor": _cursor(after + len(page)) if has_more else None,
        }  # fmt: skip
        return json_answer(200, payload)

    def _shown(self, number: int, overlay: Overlay) -> Answer:
        return Answer(200, to_json({"customer": _rendered(number, self.records.record(number, overlay))}))


def _is_login(call: Call) -> bool:
    return call.segments == ["login"] and call.method == "POST"


def _refresh_token(call: Call) -> Any:
    """The API token in the body of a login, None when there is none; raises ValueError for what is no JSON."""
    body = parsed(call.body)
    return body.get("refreshToken") if isinstance(body, dict) else None


def _rendered(number: int, record: dict[str, Any]) -> dict[str, Any]:
    created = datetime.fromtimestamp(FIRST_CREATED + number, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return {
        **record, "id": f"{FIRST_VAYU_ID + number:024x}", "createdAt": created,
        "updatedAt": record.get("updatedAt", created), **dict.fromkeys(_BALANCES, 0),
    }  # fmt: skip


def _failure(status: int, code: str, message: str) -> Answer:
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return json_answer(status, {"type": kind, "code": code, "message": message})


def _not_found(wanted: str | None) -> Answer:
    return _failure(404, "resource_not_found", f"Customer with id {wanted} not found")


def _refused(refused: RefusedError) -> Answer:
    """One parameter stands in `param`, several in `params`."""
    payload: dict[str, Any] = {"type": "invalid_request_error", "code": refused.code, "message": refused.message}
    if len(refused.params) == 1:
        payload["param"] = refused.params[0][0]
    elif refused.params:
        payload["params"] = [{"param": param, "message": message} for param, message in refused.params]
    return json_answer(400, payload)


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(f"after:{position}".encode()).decode()


def _position(cursor: str) -> int | None:
    """Where a cursor points to; 0 without one, None for one that is not ours."""
    if not cursor:
        return 0
    try:
        word, _, digits = base64.urlsafe_b64decode(cursor).decode().partition(":")
    except ValueError:
        return None
    return int(digits) if word == "after" and re.fullmatch(r"[0-9]{1,18}", digits) else None
