"""Vayu's contacts, which columns call by their numbers: what is another's by now is never written over."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from batch.commands.undo import undo as run_undo
from batch.commands.update import update as run_update
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import VAYU, VAYU_1, FakeReporter, results, told
from tests.virtual import run_on_virtual_clock

KNOWN = {"name", "email", "title", "phone", "receiveInvoiceEmail"}


@dataclass
class StrictVayu:
    """One customer of an API that numbers its contacts itself, shows more of them than it takes, and takes no more."""

    folder: Path
    customer: dict[str, Any]
    writes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def environment(self) -> Environment:
        """A world in which this is the API."""
        known = {"VAYU_API_TOKEN": "a-token-for-tests"}
        return Environment(known, run_on_virtual_clock, lambda: httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        if request.url.path == "/login":
            return httpx.Response(200, json={"accessToken": "access"})
        if request.url.path == "/customFields":
            return httpx.Response(200, json=[])
        if request.method == "PUT":
            body = json.loads(request.content)
            contacts = body.get("contacts") or []
            if not body.get("externalId", "-") or any(not isinstance(c, dict) or c.keys() - KNOWN for c in contacts):
                return httpx.Response(400, json={"type": "x", "code": "y", "message": "this is not taken"})
            self.writes.append(body)
            self.customer |= body
            shown = [{**one, "id": f"c-{number}"} for number, one in enumerate(contacts)]
            self.customer |= {"contacts": shown} if "contacts" in body else {}
        return httpx.Response(200, json={"customer": self.customer})

    def update(self, header: str, row: str, **options: Any) -> FinishedRun:
        """Update the customer by a sheet of one row."""
        sheet = self.folder / "sheet.csv"
        sheet.write_text(f"id,{header}\n{VAYU_1},{row}\n", encoding="utf-8")
        return run_update(Settings(input=str(sheet), endpoint=VAYU, **options), FakeReporter(), self.environment)

    def undo(self, run: FinishedRun) -> FinishedRun:
        """Take a run back."""
        return run_undo(run.folder, Settings(yes=True), FakeReporter(), self.environment)


def said(run: FinishedRun) -> list[tuple[str, str, str]]:
    """Outcome, field and message of every row."""
    return [(row["outcome"], row["field"], row["message"]) for row in results(run.folder)]


@pytest.fixture
def vayu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StrictVayu:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return StrictVayu(tmp_path, {"id": VAYU_1, "name": "Bolt", "externalId": "V-1", "contacts": []})


# -- what the API has of its own --------------------------------------------------------------------------------------


def test_undo_of_contacts_with_parts_of_the_api(vayu: StrictVayu) -> None:
    """What the API keeps of its own in a contact is refused in a write: it is left out, and named."""
    first = {"name": "A", "email": "a@x.example", "id": "c-1", "verified": False, "note": None}
    vayu.customer["contacts"] = [first, None, {"name": "B"}]
    closing = vayu.update("contacts.2.email,contacts.3.name", "b@x.example,C")
    assert [("updated", "")] == told(closing)
    assert ["A", "B", "C"] == [one["name"] for one in vayu.customer["contacts"]]
    undone = vayu.undo(closing)
    reason = "put back without contacts.1.id, contacts.1.verified, which the API alone writes"
    assert [("updated", "contacts", reason)] == said(undone)
    assert [("A", "a@x.example"), ("B", None)] == [(c["name"], c.get("email")) for c in vayu.customer["contacts"]]


def test_undo_of_a_first_value(vayu: StrictVayu) -> None:
    """A field that the API does not let be emptied is kept and named, without a request that it would refuse."""
    vayu.customer |= {"externalId": None, "legalName": None}
    closing = vayu.update("externalId,legalName", "V-99,New")
    undone = vayu.undo(closing)
    reason = "kept: it was empty before, and the API does not let this field be emptied"
    assert [("updated", "externalId", reason)] == said(undone)
    assert ("V-99", None) == (vayu.customer["externalId"], vayu.customer["legalName"])


def test_undo_of_a_custom_field_that_is_called_by_a_number(vayu: StrictVayu) -> None:
    """A custom field whose name is a number is no item of a list by its number."""
    vayu.customer["customFields"] = [custom_field("5", "old"), custom_field("Other", "x")]
    closing = vayu.update("customFields.5", "new")
    vayu.customer["customFields"][1]["value"] = "theirs"
    assert [("updated", "")] == told(vayu.undo(closing))
    assert ["old", "theirs"] == [one["value"] for one in vayu.customer["customFields"]]


def custom_field(name: str, value: str) -> dict[str, str]:
    return {"vayuCustomFieldName": name, "valueType": "String", "value": value}
