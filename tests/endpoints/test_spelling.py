"""What is another spelling of a value, and in which fields."""

from typing import Any

import pytest

from batch.endpoints.base import Endpoint
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.endpoints.spelling import is_spelling
from batch.endpoints.vayu.customers import VayuCustomers


@pytest.mark.parametrize(
    ("kind", "one", "other", "expected"),
    [
        ("text", "Ana@X.COM", "ana@x.com", True),
        ("text", " Acme   GmbH\u00a0", "acme gmbh", True),
        ("text", "Cafe\u0301", "caf\u00e9", True),
        ("text", "Straße", "STRASSE", False),
        ("text", "Acme", "Acme.", False),
        ("text", "030-1", "0301", False),
        ("text", "a", 1, False),
        ("text", None, "a", False),
        ("text", ["A", "b"], ["a", "B"], True),
        ("text", ["a", "b"], ["b", "a"], False),
        ("text", ["a"], ["a", "a"], False),
        ("phone", "(030) 12-34/5", "03012345", True),
        ("phone", "+49 30.1", "+49301", True),
        ("phone", "+4930", "004930", False),
        ("phone", "+4930", "4930", False),
        ("phone", "0049 30", "004930", True),
        ("phone", "030 EXT 5", "030 ext 5", True),
        ("phone", "030 ext 5", "0305", False),
        ("phone", "030+5", "0305", False),
        ("phone", "030", "031", False),
        ("phone", "-", "", False),
        ("", "A", "a", False),
    ],
)
def test_spelling(kind: str, one: Any, other: Any, expected: bool) -> None:
    """Text is the same but for form, blanks and case; a phone number but for what is no digit and no + in front."""
    assert (expected, expected) == (is_spelling(kind, one, other), is_spelling(kind, other, one))


EXACT = {
    "dualentry": {"unique_id", "full_address", "full_address.postal_code", "full_address.country"}
    | {"shipping_address", "shipping_address.postal_code", "shipping_address.country"},
    "vayu": {"externalId", "taxIds", "taxId", "source", "customerErpId", "salesForceAccountId", "dueDays", "currency"}
    | {"contacts", "address", "address.postalCode", "cloudProviderSettings", "cloudProviderSettings.cloudProvider"}
    | {"cloudProviderSettings.cloudProviderMarketplaceId", "cloudProviderSettings.customerIdentifier"},
}


@pytest.mark.parametrize("endpoint", [DualEntryCustomers(), VayuCustomers()])
def test_fields(endpoint: Endpoint) -> None:
    """Ids, keys, codes, choices, objects and custom fields mean what they say to the letter."""
    exact = {one.name for one in endpoint.fields if not endpoint.is_spelling(one.name, "A b", "a  B")}
    assert EXACT[endpoint.name.partition(".")[0]] == exact
    for custom in ("custom_fields.Tier", "custom_fields[3]", "customFields.Tier", "contacts.1", "contacts.1.nonsense"):
        assert not endpoint.is_spelling(custom, "A", "a")


def test_phones() -> None:
    """Both APIs have phone numbers."""
    assert DualEntryCustomers().is_spelling("phone", "(030) 1", "0301")
    assert VayuCustomers().is_spelling("contacts.2.phone", "+49 30", "+4930")
    assert VayuCustomers().is_spelling("contacts.2.email", "A@x.com", "a@x.com")
