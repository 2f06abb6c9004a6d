"""Every endpoint keeps what `conformance.py` says: the two that are built in, and the sample."""

from collections.abc import Callable

import httpx
import pytest

from batch.endpoints import ENDPOINTS, DualEntryCustomers, VayuCustomers
from tests.endpoints.acme import KEY, AcmeApi, AcmeVendors
from tests.endpoints.conformance import CHECKS, Case
from tests.job_fixture import DUALENTRY, VAYU, VAYU_1
from tests.resilience.memory_api import ENVIRONMENT, MemoryApi


def dualentry() -> Case:
    """DualEntry, as the sandbox imitates it."""
    return Case(
        endpoint=DualEntryCustomers(),
        credentials={"DUALENTRY_API_KEY": ENVIRONMENT["DUALENTRY_API_KEY"]},
        transport=MemoryApi(DUALENTRY).transport,
        record_id="10003",
        absent_id="99999",
        cells={
            "name": "Bölt & Sons",
            "Phone Number": "+49 (30) 12.34",
            "customer number": "00123",
            "website": "https://new.example",
            "shipping_address.city": "Ulm",
            "custom_fields.Tier": "silver",
            "custom_fields.Partner": "yes",
            "custom_fields.Credit Limit": "12.5",
            "custom_fields.Renewal": "2026-04-03",
            "custom_fields.Segments": "Wholesale; Retail",
        },
        names=("success",),
        errors=[
            ({"success": False, "errors": {"phone": ["bad", "long"]}}, [("phone", "bad"), ("phone", "long")]),
            ({"errors": {"__all__": ["API key authentication failed"]}}, [("", "API key authentication failed")]),
            ({"errors": {"full_address": {"city": ["needed"]}}}, [("full_address.city", "needed")]),
            (b"", [("", "the API answered 422 without saying why")]),
        ],
        refused=[
            ({"full_address.city": "Ulm"}, None, "full_address.city"),
            ({"full_address.city": "Ulm"}, {"id": 1}, "full_address.city"),
            ({"full_address": None, "full_address.city": "Ulm"}, {"id": 1}, "full_address.city"),
        ],
    )


def vayu() -> Case:
    """Vayu, as the sandbox imitates it."""
    return Case(
        endpoint=VayuCustomers(),
        credentials={name: ENVIRONMENT[name] for name in ("VAYU_API_TOKEN", "VAYU_CLIENT_ID")},
        transport=MemoryApi(VAYU).transport,
        record_id=VAYU_1,
        absent_id="65f0000000000000000fffff",
        cells={
            "name": "Bölt & Sons",
            "externalId": "00123",
            "customerErpId": "E-7",
            "aliases": "a; b",
            "dueDays": "15_days",
            "address.city": "Ulm",
            "contacts.1.email": "new@example.com",
            "customFields.Segment": "startup",
        },
        names=("message", "param", "params"),
        errors=[
            ({"type": "t", "code": "parameter_invalid", "message": "bad", "param": "name"}, [("name", "bad")]),
            ({"message": "bad", "params": [{"param": "a", "message": "x"}]}, [("a", "x")]),
            ({"message": "Too Many Requests"}, [("", "Too Many Requests")]),
            (b"", [("", "the API answered 422 without saying why")]),
        ],
        refused=[
            ({"address.city": "Ulm"}, None, "address.city"),
            ({"contacts.3.email": "a@b.example"}, {"id": VAYU_1}, "contacts.3.email"),
            ({"address": None, "address.city": "Ulm"}, {"id": VAYU_1}, "address.city"),
        ],
    )


def acme() -> Case:
    """The sample."""
    api = AcmeApi()
    return Case(
        endpoint=AcmeVendors(),
        credentials={"ACME_KEY": KEY},
        transport=lambda: httpx.MockTransport(api.answer),
        record_id="Vaaaa",
        absent_id="VAAAA",
        cells={"vendor name": "Bölt", "email": "b@b.example", "tier": "tin", "tags": "p; q", "preferred": "yes"},
        names=("problems",),
        errors=[({"problems": [{"at": "email", "why": "is no address"}]}, [("email", "is no address")])],
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("make_case", [dualentry, vayu, acme], ids=lambda one: one.__name__)
def test_conformance(make_case: Callable[[], Case], check: Callable[[Case], None]) -> None:
    """The endpoint keeps the promise."""
    check(make_case())


def test_every_endpoint_is_checked() -> None:
    """No built-in endpoint is left out."""
    assert set(ENDPOINTS) == {one().endpoint.name for one in (dualentry, vayu)}
