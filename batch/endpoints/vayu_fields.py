"""The fields of Vayu's PUT body, each with its limits and labels, and what of a record can be written (apis.md)."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from batch.endpoints import cells
from batch.endpoints.base import Record, fold
from batch.model import Field

MAX_CONTACTS = 50

CURRENCIES = ("USD", "EUR", "GBP", "ILS", "CAD", "AUD", "COP", "BRL")
DUE_DAYS = ("END_OF_MONTH", "SAME_DAY", "15_DAYS", "30_DAYS", "45_DAYS", "60_DAYS", "90_DAYS")
SOURCES = ("Stripe", "VayuEventsApi", "Api", "Salesforce", "HubSpot")
VALUE_TYPES = {"string": "String", "number": "Number", "boolean": "Boolean", "enum": "Enum"}
PHONE = r"^\+?[1-9][0-9]{4,15}$"  # pydantic takes \d for the digits of every script
EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
PHONE_FORM = "use 5 to 16 digits without spaces, with + in front if you like, not beginning with 0"
EMAIL_FORM = "use an e-mail address such as ana@example.com"


def _choice(name: str, options: tuple[str, ...], *labels: str) -> Field:
    return Field(name, cells.choice(*options), labels=labels, limits="one of a list", choices=options, kind="choice")


def _text(name: str, *labels: str) -> Field:
    return Field(name, cells.text(), labels=labels, limits="text")


def _needed(name: str, *labels: str) -> Field:
    return Field(name, cells.text(min_length=1), nullable=False, labels=labels, limits="at least 1 character")


def _list(name: str, *labels: str) -> Field:
    return Field(name, cells.TEXT_LIST, labels=labels, limits="a list: a; b; c", kind="list")


def _object(name: str, what: str) -> Field:
    return Field(name, cells.ONLY_CLEAR, limits=f"{what} as a whole: only <clear>", kind="object")


CONTACT_FIELDS = {
    "name": Field("name", cells.text(), nullable=False, limits="text"),
    "email": Field("email", cells.text(pattern=EMAIL), nullable=False, limits="an e-mail address", form=EMAIL_FORM),
    "title": Field("title", cells.text(), nullable=False, limits="text"),
    "phone": Field(
        "phone", cells.text(pattern=PHONE), nullable=False, limits="5 to 16 digits, + in front", form=PHONE_FORM
    ),
    "receiveInvoiceEmail": Field(
        "receiveInvoiceEmail", cells.BOOLEAN, nullable=False, limits="true or false", kind="boolean"
    ),
}


def _settings() -> tuple[Field, ...]:
    """The parts of an object of which only the whole may be null."""
    start = "cloudProviderSettings."
    parts = (
        _choice(start + "cloudProvider", ("AWS",), "cloud provider"),
        _text(start + "cloudProviderMarketplaceId", "cloud provider marketplace id"),
        _text(start + "customerIdentifier", "cloud provider customer identifier"),
    )
    return tuple(replace(part, nullable=False) for part in parts)


FIELDS: tuple[Field, ...] = (
    _needed("name", "customer name", "company name", "company", "display name"),
    _needed("externalId", "external customer id", "customer number", "customer no"),
    _list("aliases", "alias", "also known as"),
    _list("taxIds", "tax id list"),
    _choice("source", SOURCES),
    _text("legalName", "legal name", "registered name"),
    _text("taxId", "tax id", "vat id", "vat number", "tax number"),
    _text("customerErpId", "erp id", "erp customer id"),
    _text("salesForceAccountId", "salesforce id", "salesforce account id"),
    _text("subsidiary"),
    _choice("dueDays", DUE_DAYS, "payment terms", "due days"),
    _choice("currency", CURRENCIES, "currency code"),
    _object("contacts", "the contacts"),
    _object("address", "the address"),
    _text("address.country", "country", "country name"),
    _text("address.city", "city", "town"),
    Field(
        "address.addressText", cells.text(trim=False), labels=("street", "street address", "address text"),
        limits="text, spaces around it kept", trims=False,
    ),
    _text("address.state", "state", "province", "region"),
    _text("address.postalCode", "postal code", "postcode", "zip", "zip code"),
    _object("cloudProviderSettings", "the cloud provider settings"),
    *_settings(),
)  # fmt: skip

COMPUTED = frozenset({"totalOutstandingAmount", "openAmount"})
NESTED = {
    "address": "address",
    "cloudProviderSettings": "cloud provider settings",
    "contacts": "contacts",
    "customFields": "custom fields",
}
PARTS: dict[str, Collection[str]] = {
    "contacts": tuple(CONTACT_FIELDS),
    "address": ("country", "city", "addressText", "state", "postalCode"),
    "cloudProviderSettings": ("cloudProvider", "cloudProviderMarketplaceId", "customerIdentifier"),
    "customFields": (
        "vayuCustomFieldName", "valueType", "integrationSource", "integrationEntityType", "fieldPath", "value",
    ),
}  # fmt: skip
"""What the schema knows inside of objects; it refuses everything else (apis.md)."""
WRITABLE = (*dict.fromkeys(one.name.partition(".")[0] for one in FIELDS), "customFields")
_REFUSE_NULL = frozenset(one.name for one in FIELDS if not one.nullable)


def writable(record: Record) -> dict[str, Any]:
    """Keep what PUT takes: no id, dates or computed balances, also inside, and no null where null is refused."""
    return {
        name: _known_parts(record[name], PARTS.get(name))
        for name in WRITABLE
        if name in record and not (record[name] is None and name in _REFUSE_NULL)
    }


def _known_parts(value: Any, parts: Collection[str] | None) -> Any:
    if isinstance(value, list):
        return [_known_parts(one, parts) for one in value]
    if isinstance(value, Mapping) and parts is not None:
        return {part: value[part] for part in value if part in parts}
    return value


def contact_field(number: int, part: str) -> Field | None:
    """Build the field for a part of contact `number`, counted from 1."""
    spelt = next((name for name in CONTACT_FIELDS if fold(name) == fold(part)), None)
    if spelt is None or not 1 <= number <= MAX_CONTACTS:
        return None
    known = CONTACT_FIELDS[spelt]
    return Field(
        f"contacts.{number}.{spelt}", known.type, nullable=False, limits=known.limits, form=known.form, kind=known.kind
    )
