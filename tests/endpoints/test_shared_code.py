"""Shared code asks the endpoint what its ids and fields mean, and never decides by their spelling."""

import pytest

from batch.endpoints import DualEntryCustomers, VayuCustomers
from tests.job_fixture import VAYU, VAYU_1, JobFixture, job, shared_sandbox, told

__all__ = ["job", "shared_sandbox"]


def test_custom_fields_are_told_by_the_endpoint(job: JobFixture) -> None:
    """Vayu's own `customerErpId` is no custom field: no definitions are read for it."""
    closing = job.update(job.sheet(f"id,customerErpId\n{VAYU_1},E-7\n"), VAYU)
    assert [("updated", "")] == told(closing)
    assert [] == [line["path"] for line in job.ledger() if line["path"] == "/customFields"]


@pytest.mark.parametrize(
    ("name", "is_dualentry", "is_vayu"),
    [
        ("custom_fields.Tier", True, False),
        ("custom_fields[42]", True, False),
        ("customFields.Tier", False, True),
        ("customerErpId", False, False),
        ("custom_fields", False, False),
    ],
)
def test_is_custom(name: str, is_dualentry: bool, is_vayu: bool) -> None:
    """Each API spells custom fields in its own way."""
    assert (is_dualentry, is_vayu) == (DualEntryCustomers().is_custom(name), VayuCustomers().is_custom(name))
