"""Where an imitated API keeps its records: the samples, and over them only what was changed.

A record that nobody wrote is made from its number whenever it is read. What was written is an *overlay*, a dictionary
of the fields that differ from the sample; overlays are replaced, never changed in place, so a stored answer may hold on
to one. Paging by id is computed, so its cost does not depend on how many records there are. Samples count from 1;
their `locate` returns the numbers that may have a value, so that a search need not make every record.
"""

from collections.abc import Iterable, Sequence
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
    ("Springfield", "IL", "62701", "US"), ("Austin", "TX", "78701", "US"), ("Bonn", "", "53111", "DE"),
    ("Leeds", "", "LS1 4AP", "GB"), ("Toronto", "ON", "M5H 2N2", "CA"), ("Portland", "OR", "97201", "US"),
    ("Zürich", "", "8001", "CH"), ("Boston", "MA", "02108", "US"),
)  # fmt: skip
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
            "name": name, "unique_id": f"C-{FIRST_DUALENTRY_ID - 1 + number}",
            "email": f"billing{number}@{name.split()[0].lower()}.example",
            "address": f"{full_address['street']}\n{full_address['city']}\n{full_address['postal_code']}",
            "country": full_address["country"], "website": f"https://www.{name.split()[0].lower()}.example",
            "phone": f"555-{number % 10_000:04d}", "full_address": full_address,
            "shipping_address": _dualentry_address(number + 3) if number % 3 == 0 else None,
            "custom_fields": {
                "31": _TIERS[number % 5], "32": number % 4 == 0, "33": _MANAGERS[number % 4], "34": number % 7 * 1000,
            },
        }  # fmt: skip

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
            "name": f"{name} {number}", "externalId": f"V-{number}",
            "aliases": [f"alias-{number}"] if number % 2 else [],
            "taxIds": [f"TAX-{number}"] if number % 3 == 0 else [],
            "contacts": _vayu_contacts(number, name.split()[0].lower()), "source": "Api", "legalName": name,
            "taxId": None, "customerErpId": f"ERP-{number}", "salesForceAccountId": None, "subsidiary": None,
            "address": {
                "country": country, "city": city,
                "addressText": f"{number % 900 + 1} {_STREETS[number % len(_STREETS)]}",
                "state": state or None, "postalCode": postal_code,
            },
            "dueDays": _TERMS[number % 4], "currency": _CURRENCIES[number % 4],
            "customFields": _vayu_custom_fields(number), "cloudProviderSettings": None,
        }  # fmt: skip

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
        "second_line": "Suite 200" if number % 6 == 0 else "", "city": city, "state": state,
        "postal_code": postal_code, "country": country, "name": None,
    }  # fmt: skip


def _vayu_contacts(number: int, company: str) -> list[dict[str, Any]]:
    parts = ("name", "email", "title", "phone", "receiveInvoiceEmail")
    contacts = (
        ("Jane Doe", f"jane{number}@{company}.example", "CFO", f"+1555{number % 10_000_000:07d}", True),
        ("Ravi Patel", f"ravi{number}@{company}.example", None, None, False),
    )
    return [dict(zip(parts, one, strict=True)) for one in contacts[: 1 + number % 2]]


def _vayu_custom_fields(number: int) -> list[dict[str, Any]]:
    if number % 2 == 0:
        return []
    return [
        {
            "vayuCustomFieldName": "Segment", "valueType": "Enum", "integrationSource": "Salesforce",
            "integrationEntityType": "Account", "fieldPath": "Segment__c",
            "value": "Enterprise" if number % 3 else "Startup",
        },
        {"vayuCustomFieldName": "Seats", "valueType": "Number", "value": number % 50},
    ]  # fmt: skip


Overlay = dict[str, Any]
_NOTHING: Final[Overlay] = {}


class Records:
    """`count` records, numbered from 1; `searchable` fields can be found by value, ignoring case."""

    def __init__(self, samples: Samples, count: int, searchable: Sequence[str]) -> None:
        self.count = count
        self._samples = samples
        self._searchable = searchable
        self._overlays: dict[int, Overlay] = {}  # the one that was written last is last
        self._stale: dict[int, tuple[Overlay, int]] = {}
        self._lagging: dict[int, list[tuple[float, float, Overlay]]] = {}
        """Of late writes: from when until when reads show the record as it was before, and how that was."""
        self._written_to: dict[tuple[str, str], set[int]] = {}
        self.writes = 0
        """How often one was written."""

    def overlay(self, number: int) -> Overlay:
        """What is true of a record now."""
        return self._overlays.get(number, _NOTHING)

    def overlay_for_reading(self, number: int, now: float) -> Overlay:
        """What a read is shown, which may lag behind; counts as one read."""
        lagging = self._stale.get(number)
        if lagging is None:
            return self._overlay_at(number, now)
        before, reads_left = lagging
        if reads_left <= 1:
            del self._stale[number]
        else:
            self._stale[number] = (before, reads_left - 1)
        return before

    def record_at(self, number: int, now: float) -> dict[str, Any]:
        """The whole record as reads show it, without counting as one."""
        return self.record(number, self._overlay_at(number, now))

    def _overlay_at(self, number: int, now: float) -> Overlay:
        lagging = [one for one in self._lagging.get(number, ()) if one[0] <= now < one[1]]  # a clock may begin anew
        return lagging[0][2] if lagging else self.overlay(number)

    def record(self, number: int, overlay: Overlay | None = None) -> dict[str, Any]:
        """The whole record, as of `overlay` or as of now; a new dictionary."""
        return self._samples.record(number) | (self.overlay(number) if overlay is None else overlay)

    def settle(self) -> None:
        """Let every read show records as they are."""
        self._stale.clear()
        self._lagging.clear()

    def write(
        self, number: int, changes: Overlay, *, now: float = 0.0, lag: float = 0.0, stale_reads: int = 0
    ) -> Overlay:
        """Apply `changes`; reads are shown the record as it was for `lag` seconds, and the next `stale_reads`."""
        self.writes += 1
        before = self._overlays.pop(number, _NOTHING)
        sample = self._samples.record(number)
        merged = before | changes
        after = {name: value for name, value in merged.items() if name not in sample or value != sample[name]}
        self._overlays[number] = after
        if stale_reads:
            self._stale[number] = (before, stale_reads)
        if lag:
            late = [one for one in self._lagging.get(number, ()) if now < one[1]]
            self._lagging[number] = [*late, (now, now + lag, before)]
        for field in self._searchable:
            if isinstance(after.get(field), str):
                self._written_to.setdefault((field, after[field].casefold()), set()).add(number)
        return after

    def without_one(self, number: int, changes: Overlay) -> Overlay:
        """What of `changes` makes a difference, less the last of it."""
        now = self.record(number)
        differing = [name for name, value in changes.items() if now.get(name) != value]
        return {name: changes[name] for name in differing[:-1]}

    def other_than(self, number: int) -> int:
        """The number of the next record, after the last one of the first."""
        return number % self.count + 1

    def find(self, field: str, value: str, now: float | None = None) -> list[int]:
        """The numbers of the records with this value in a searchable field, ignoring case, in their order.

        With `now`, as reads show them then.
        """
        folded = value.casefold()
        maybe = {*self._samples.locate(field, folded, self.count), *self._written_to.get((field, folded), ())}
        return sorted(number for number in maybe if self._folded(number, field, now) == folded)

    def page(self, ordering: str, offset: int, limit: int) -> list[int]:
        """The numbers on one page; `ordering` is a field, `id` or `updated_at`, with `-` for descending."""
        positions = range(offset, min(offset + limit, self.count))
        descending = ordering.startswith("-")
        if descending:
            positions = range(self.count - 1 - offset, self.count - 1 - offset - len(positions), -1)
        field = ordering.removeprefix("-")
        if field == "id":
            return [position + 1 for position in positions]
        ordered = self.ordered(range(1, self.count + 1), field)
        return [ordered[position] for position in positions]

    def ordered(self, numbers: Iterable[int], ordering: str) -> list[int]:
        """Sort a few numbers in memory."""
        field = ordering.removeprefix("-")
        descending = ordering.startswith("-")
        if field == "id":
            return sorted(numbers, reverse=descending)
        if field == "updated_at":
            places = {number: place for place, number in enumerate(self._overlays, start=self.count + 1)}
            return sorted(numbers, key=lambda number: places.get(number, number), reverse=descending)
        return sorted(numbers, key=lambda number: self._folded(number, field), reverse=descending)

    def forget(self) -> None:
        """Make every record what it was at the beginning."""
        for written in (self._overlays, self._stale, self._lagging, self._written_to):
            written.clear()

    def dump(self) -> dict[str, Overlay]:
        """All overlays, oldest write first."""
        return {str(number): overlay for number, overlay in self._overlays.items()}

    def load(self, overlays: dict[str, Overlay]) -> None:
        """Put back what `dump` gave."""
        for number, overlay in overlays.items():
            self.write(int(number), overlay)

    def _folded(self, number: int, field: str, now: float | None = None) -> str:
        record = self.record(number) if now is None else self.record_at(number, now)
        return str(record[field] or "").casefold()
