"""The sample records: made from their number alone, so that two million of them cost nothing until they are touched.

Numbers count from 1. `locate` is the way back from a value to the numbers that may have it, so that a search need not
make every record.
"""

from collections.abc import Iterable
from typing import Any, Final, Protocol

FIRST_DUALENTRY_ID: Final = 10_001
FIRST_VAYU_ID: Final = 0x65F000000000000000000000

_FIRST = (
    "Acme", "Bolt", "Cobalt", "Delta", "Ember", "Falcon", "Granite", "Harbor", "Iris", "Juniper",
    "Keystone", "Lumen", "Maple", "Nimbus", "Orchard", "Pioneer", "Quartz", "Ridgeway", "Summit", "Tundra",
    "Umbra", "Vertex", "Willow", "Xenon", "Yarrow", "Zephyr", "Aurora", "Beacon", "Cascade", "Drift",
)  # fmt: skip
_TRADE = (
    "Holdings", "Logistics", "Foods", "Energy", "Software", "Textiles", "Partners", "Labs", "Media", "Freight",
    "Paper", "Motors", "Optics", "Supply", "Analytics", "Ceramics", "Marine", "Outdoor", "Press", "Robotics",
)  # fmt: skip
_FORM = (", Inc.", " LLC", " GmbH", " Ltd.", ", Corp.", " & Co.")
_NAMES: Final = [f"{first} {trade}{form}" for form in _FORM for trade in _TRADE for first in _FIRST]
_NUMBER_OF_NAME: Final = {name.casefold(): number for number, name in enumerate(_NAMES)}

_STREETS = ("Main Street", "Oak Avenue", "Harbour Road", "Mill Lane", "Station Road", "Lindenweg", "Kings Court")
_CITIES = (
    ("Springfield", "IL", "62701", "US"),
    ("Austin", "TX", "78701", "US"),
    ("Bonn", "", "53111", "DE"),
    ("Leeds", "", "LS1 4AP", "GB"),
    ("Toronto", "ON", "M5H 2N2", "CA"),
    ("Portland", "OR", "97201", "US"),
    ("Zürich", "", "8001", "CH"),
    ("Boston", "MA", "02108", "US"),
)
_TIERS = (None, "Gold", "Silver", "Bronze", "Silver")
_MANAGERS = (None, "Jane Doe", "Ravi Patel", "Ana María López")
_CURRENCIES = ("USD", "EUR", "GBP", "CAD")
_TERMS = ("30_DAYS", "60_DAYS", "END_OF_MONTH", None)


class Samples(Protocol):
    """Where untouched records come from."""

    def record(self, number: int) -> dict[str, Any]:
        """Make the record with this number; a new dictionary each time."""

    def locate(self, field: str, value: str, count: int) -> Iterable[int]:
        """Name the numbers up to `count` whose record may have this value, given in lower case."""


class DualEntrySamples:
    """Customers of DualEntry; custom fields as a dictionary by definition id."""

    def record(self, number: int) -> dict[str, Any]:
        name = _NAMES[(number - 1) % len(_NAMES)]
        full_address = _dualentry_address(number)
        return {
            "name": name,
            "unique_id": f"C-{FIRST_DUALENTRY_ID - 1 + number}",
            "email": f"billing{number}@{name.split()[0].lower()}.example",
            "address": f"{full_address['street']}\n{full_address['city']}\n{full_address['postal_code']}",
            "country": full_address["country"],
            "website": f"https://www.{name.split()[0].lower()}.example",
            "phone": f"555-{number % 10_000:04d}",
            "full_address": full_address,
            "shipping_address": _dualentry_address(number + 3) if number % 3 == 0 else None,
            "custom_fields": {
                "31": _TIERS[number % 5],
                "32": number % 4 == 0,
                "33": _MANAGERS[number % 4],
                "34": number % 7 * 1000,
            },
        }

    def locate(self, field: str, value: str, count: int) -> Iterable[int]:
        if field == "unique_id":
            return _numbered(value, "c-", FIRST_DUALENTRY_ID - 1, count)
        if field == "email":
            return _numbered(value.partition("@")[0], "billing", 0, count)
        first = _NUMBER_OF_NAME.get(value)
        return () if first is None else range(first + 1, count + 1, len(_NAMES))


class VayuSamples:
    """Customers of Vayu, in the order of their creation."""

    def record(self, number: int) -> dict[str, Any]:
        name = _NAMES[(number - 1) % len(_NAMES)]
        city, state, postal_code, country = _CITIES[number % len(_CITIES)]
        return {
            "name": f"{name} {number}",
            "externalId": f"V-{number}",
            "aliases": [f"alias-{number}"] if number % 2 else [],
            "taxIds": [f"TAX-{number}"] if number % 3 == 0 else [],
            "contacts": _vayu_contacts(number, name.split()[0].lower()),
            "source": "Api",
            "legalName": name,
            "taxId": None,
            "customerErpId": f"ERP-{number}",
            "salesForceAccountId": None,
            "subsidiary": None,
            "address": {
                "country": country,
                "city": city,
                "addressText": f"{number % 900 + 1} {_STREETS[number % len(_STREETS)]}",
                "state": state or None,
                "postalCode": postal_code,
            },
            "dueDays": _TERMS[number % 4],
            "currency": _CURRENCIES[number % 4],
            "customFields": _vayu_custom_fields(number),
            "cloudProviderSettings": None,
        }

    def locate(self, field: str, value: str, count: int) -> Iterable[int]:
        if field == "externalId":
            return _numbered(value, "v-", 0, count)
        return _numbered(value.rpartition(" ")[2], "", 0, count)


def _numbered(value: str, prefix: str, less: int, count: int) -> Iterable[int]:
    digits = value.removeprefix(prefix)
    if not value.startswith(prefix) or not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        return ()
    number = int(digits) - less
    return (number,) if 1 <= number <= count else ()


def _dualentry_address(number: int) -> dict[str, Any]:
    city, state, postal_code, country = _CITIES[number % len(_CITIES)]
    return {
        "street": f"{number % 900 + 1} {_STREETS[number % len(_STREETS)]}",
        "second_line": "Suite 200" if number % 6 == 0 else "",
        "city": city,
        "state": state,
        "postal_code": postal_code,
        "country": country,
        "name": None,
    }


def _vayu_contacts(number: int, company: str) -> list[dict[str, Any]]:
    contacts: list[dict[str, Any]] = [
        {
            "name": "Jane Doe",
            "email": f"jane{number}@{company}.example",
            "title": "CFO",
            "phone": f"+1555{number % 10_000_000:07d}",
            "receiveInvoiceEmail": True,
        },
        {
            "name": "Ravi Patel",
            "email": f"ravi{number}@{company}.example",
            "title": None,
            "phone": None,
            "receiveInvoiceEmail": False,
        },
    ]
    return contacts[: 1 + number % 2]


def _vayu_custom_fields(number: int) -> list[dict[str, Any]]:
    if number % 2 == 0:
        return []
    return [
        {
            "vayuCustomFieldName": "Segment",
            "valueType": "Enum",
            "integrationSource": "Salesforce",
            "integrationEntityType": "Account",
            "fieldPath": "Segment__c",
            "value": "Enterprise" if number % 3 else "Startup",
        },
        {"vayuCustomFieldName": "Seats", "valueType": "Number", "value": number % 50},
    ]
