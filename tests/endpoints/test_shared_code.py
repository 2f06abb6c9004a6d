"""Shared code asks the endpoint what its ids and fields mean, and never decides by their spelling."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batch.commands.update import update
from batch.endpoints import DualEntryCustomers, VayuCustomers
from batch.engine.pull_filter import make_pull_filter, read_ids
from batch.model import Column, Columns, Field, Problem, Staged
from batch.settings import Settings
from batch.validation.file_changes import locate
from tests.endpoints.acme import AcmeApi, AcmeVendors
from tests.job_fixture import VAYU, VAYU_1, FakeReporter, JobFixture, told


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


class PickyVendors(AcmeVendors):
    """Acme's vendors, with custom fields of plain names, and two fields of which a row may set only one."""

    def is_custom(self, name: str) -> bool:
        return name.startswith("x-")

    def conflicts(self, fields: Mapping[str, Any], *, reads_before_write: bool) -> list[Problem]:
        found = super().conflicts(fields, reads_before_write=reads_before_write)
        return found + ([Problem("whole_set", field="tier")] if {"tier", "email"} <= fields.keys() else [])


def test_conflicts_of_plain_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which fields do not go together is asked of the endpoint, however they are spelt, in one row and in several."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("id,email,tier\nVaaaa,a@b.example,Gold\nVaaaA,,Gold\nVbbbb,a@b.example,\nVbbbb,,Tin\n", "utf-8")
    api = AcmeApi()
    environment = replace(api.environment(), endpoints={AcmeVendors.name: PickyVendors})
    closing = update(Settings(input=str(sheet), endpoint=AcmeVendors.name), FakeReporter(), environment)
    assert ["invalid", "unchanged", "invalid", "invalid"] == [outcome for outcome, _ in told(closing)]
    assert [] == api.writes


def test_custom_fields_have_no_parts() -> None:
    """One custom field is no part of another, whatever their names: clearing the one leaves the other alone."""
    assert [] == PickyVendors().conflicts({"x-A": None, "x-A.B": ""}, reads_before_write=True)
    assert "x-tags.B" == PickyVendors().unit("x-tags.B")
    (problem,) = PickyVendors().conflicts({"a.b": None, "a.b.c": ""}, reads_before_write=True)
    assert ("a.b.c", "a.b") == (problem.field, problem.values["whole"])


def test_ids_of_a_pull(tmp_path: Path) -> None:
    """The same id in two spellings is one, in a list and beside a choice by id."""
    path = tmp_path / "ids.txt"
    path.write_text(f"{'b' * 24}\n{'B' * 24}\n{'c' * 24}\n", encoding="utf-8")
    ids = read_ids(path, VayuCustomers())
    assert ("b" * 24, "c" * 24) == ids
    assert ("C" * 24,) == make_pull_filter(VayuCustomers(), [("id", "C" * 24)], ids).ids
    assert () == make_pull_filter(VayuCustomers(), [("id", "D" * 24)], ids).ids


def test_field_that_may_be_of_two_columns() -> None:
    """What an API says of a field is told of its column: spelt just so, else but for case where there is one."""
    names = ("id", "customFields.Tier", "customFields.tier", "customFields.Score")
    columns = [Column(index, name, "field", Field(name, str)) for index, name in enumerate(names)]
    found = Columns(tuple(columns), Column(0, "id", "id"), tuple(columns[1:]))
    staged = Staged(Path("x"), "x.csv", "csv", names, 1, "")
    expected = {
        "customFields.tier": "customFields.tier", "customFields.TIER": "", "customFields.score": "customFields.Score",
    }  # fmt: skip
    assert expected == {name: locate(staged, found, Problem("whole_set", field=name), 2).header for name in expected}
