"""`--only-empty`: a field is written only where its record has none; a fill never overwrites."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from batch.cli.views import closing_page, plan_page
from batch.commands.plan import PlanMade
from batch.commands.plan import plan as run_plan
from batch.commands.undo import undo as run_undo
from batch.commands.update import update as run_update
from batch.engine import write_call
from batch.errors import InputError, UsageError
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import (
    DUALENTRY,
    VAYU,
    VAYU_1,
    VAYU_2,
    FakeReporter,
    JobFixture,
    told,
)
from tests.little_api import Asked, Said, little_api

SHEET = "id,name,phone\n10001,Bolt,123\n10002,,456\n10003,Cobalt,\n"


def kept(name: str, now: str, wanted: str) -> str:
    """The message of a field that is left alone."""
    return f'column "{name}": it is {now} already, so {wanted} was not written (--only-empty)'


def plan(job: JobFixture, sheet: Any, endpoint: str = DUALENTRY) -> PlanMade:
    settings = job.settings(sheet, endpoint, only_empty=True)
    return run_plan(settings, job.reporter, job.environment)


def lines(page: Iterator[tuple[str, str]]) -> list[str]:
    return [text for text, _ in page]


def test_fills(job: JobFixture) -> None:
    """Empty fields are filled, others are left alone, which their rows say; and it can be taken back."""
    job.sandbox.edit("dualentry", 10001, {"phone": None})
    names = [job.record(one)["name"] for one in (10001, 10003)]
    before = job.record(10001)
    closing = job.update(job.sheet(SHEET), only_empty=True)
    assert [
        ("updated", kept("name", f'"{names[0]}"', '"Bolt"')),
        ("unchanged", kept("phone", '"555-0002"', '"456"')),
        ("unchanged", kept("name", f'"{names[1]}"', '"Cobalt"')),
    ] == told(closing)
    assert [("PATCH", "10001", {"phone": "123"})] == job.writes()
    assert (0, 3, ()) == (closing.summary.exit_code, closing.summary.not_empty, closing.summary.reasons)
    said = "3 rows with cells that are left alone, since their records have other values already (--only-empty)"
    assert said in lines(closing_page(closing))
    run_undo(closing.folder, job.settings(job.folder / "sheet.csv"), job.reporter, job.environment)
    assert (before["name"], None) == (job.record(10001)["name"], job.record(10001)["phone"] or None)


def test_clears_nothing(job: JobFixture) -> None:
    """A cell that empties a field does nothing to one that has a value; so no guard asks about it."""
    phones = "".join(f"{one},<clear>\n" for one in range(10001, 10021))
    job.sandbox.edit("dualentry", 10001, {"phone": None})
    closing = job.update(job.sheet(f"id,phone\n{phones}"), only_empty=True)
    assert ([], {}) == (job.writes(), dict(job.reporter.asked[0].clears) if job.reporter.asked else {})
    assert ("unchanged", "") == told(closing)[0]
    assert ("unchanged", kept("phone", '"555-0002"', "(empty)")) == told(closing)[1]
    made = plan(job, job.folder / "sheet.csv")
    assert ({}, (), 0) == (made.summary.clears, made.excesses, made.summary.cells)


ADDRESS = {"street": "1 Dom", "city": "Köln", "postal_code": "50667", "state": "NW", "country": "DE"}


@pytest.mark.parametrize(
    ("shown", "cells", "expected"),
    [
        ({"city": ""}, "Köln,", {"city": "Köln"}),  # another part is there, and says nothing else
        ({"city": ""}, "Köln,1 Dom", {"city": "Köln"}),  # the sheet says the same of it
        ({"city": ""}, "Bonn,2 Markt", {}),  # an address of two
        ({"city": "", "street": ""}, "Bonn,2 Markt", {"city": "Bonn", "street": "2 Markt"}),
        ({}, "Bonn,", {}),
    ],
)
def test_parts_of_an_address(
    job: JobFixture, shown: dict[str, Any], cells: str, expected: dict[str, Any]
) -> None:  # fmt: skip
    """Parts go together: where one that is wanted has another value, no part of it is filled."""
    job.sandbox.edit("dualentry", 10002, {"full_address": ADDRESS | shown})
    before = job.record(10002)["full_address"]
    closing = job.update(job.sheet(f"id,full_address.city,full_address.street\n10002,{cells}\n"), only_empty=True)
    assert before | expected == job.record(10002)["full_address"]
    assert (["updated"] if expected else ["unchanged"]) == [outcome for outcome, _ in told(closing)]
    if cells == "Bonn,2 Markt" and not expected:
        said = kept("full_address.street", '"1 Dom"', '"2 Markt"').removeprefix('column "full_address.street": ')
        goes = 'full_address.street goes with it, and is "1 Dom" already, so "Bonn" was not written (--only-empty)'
        assert told(closing)[0][1] == f'column "full_address.city": {goes}; column "full_address.street": {said}'


def test_address_that_is_not_there(job: JobFixture) -> None:
    """A record without an address gets the whole one."""
    job.sandbox.edit("dualentry", 10002, {"full_address": None})
    text = "id,full_address.street,full_address.city,full_address.postal_code\n10002,1 Dom,Köln,50667\n"
    assert ["updated"] == [one for one, _ in told(job.update(job.sheet(text), only_empty=True))]
    assert "Köln" == job.record(10002)["full_address"]["city"]


def test_put(job: JobFixture) -> None:
    """Where the whole record is written, what it has stays as it is; contacts are filled part by part."""
    contacts = [{"name": "P", "email": "p@x.example", "title": ""}, {"name": "Q", "email": "q@x.example", "title": "T"}]
    for one in (VAYU_1, VAYU_2):
        job.sandbox.edit("vayu", one, {"contacts": contacts})
    name = job.record(VAYU_1, VAYU)["name"]
    sheet = job.sheet(f"id,name,contacts.1.title,contacts.2.title\n{VAYU_1},Bolt,CEO,CEO\n{VAYU_2},,CEO,T\n")
    closing = job.update(sheet, VAYU, only_empty=True)
    messages = [kept("name", f'"{name}"', '"Bolt"'), kept("contacts.2.title", '"T"', '"CEO"')]
    assert [("updated", "; ".join(messages)), ("updated", "")] == told(closing)
    found = job.record(VAYU_1, VAYU)
    assert (name, ["CEO", "T"]) == (found["name"], [one["title"] for one in found["contacts"]])


def test_needs_comparing(job: JobFixture) -> None:
    """Without reading it cannot be known what is empty: exit code 2, nothing sent, no run left."""
    with pytest.raises(UsageError, match="--only-empty and --no-compare: which fields are empty cannot be known"):
        job.update(job.sheet(SHEET), only_empty=True, compare=False)
    assert ([], False) == (job.writes(), (job.folder / "sheet.batch").exists())


class Slow(FakeReporter):
    """Somebody fills the field while the question is on the screen."""

    def __init__(self, fill: Callable[[], None]) -> None:
        super().__init__(can_ask=True)
        self._fill = fill

    def confirm(self, preflight: Any) -> Any:
        self._fill()
        return super().confirm(preflight)


def test_filled_while_asked(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that came between the first look and the write is not written over."""
    monkeypatch.setattr(write_call, "YOUNG_SECONDS", 0.0)
    job.sandbox.edit("dualentry", 10001, {"phone": None})
    job.reporter = Slow(lambda: job.sandbox.edit("dualentry", 10001, {"phone": "777"}))
    closing = job.update(job.sheet("id,phone\n10001,123\n"), only_empty=True)
    assert [("unchanged", kept("phone", '"777"', '"123"'))] == told(closing)
    assert ([], "777") == (job.writes(), job.record(10001)["phone"])


@pytest.mark.parametrize(("status", "outcome"), [(429, "unchanged"), (503, "unknown")])
def test_filled_between_attempts(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, status: int, outcome: str
) -> None:  # fmt: skip
    """Each further attempt is held to what the record shows then; what the first one may have done stays unknown."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(write_call, "YOUNG_SECONDS", 0.0)
    phones, writes = [None, "777"], list[Asked]()

    def answer(asked: Asked) -> Said:
        if asked.method == "GET":
            record = {"id": 10001, "name": "Acme", "phone": phones[bool(writes)]}
            return Said(200, {"items": [record], "count": 1} if "?" in asked.path else record)
        writes.append(asked)
        return Said(status, {}, {"Retry-After": "1"} if status == 429 else {})

    with little_api(answer) as api:
        settings = Settings(
            input=str(tmp_path / "sheet.csv"), endpoint=DUALENTRY, base_url=api.url, max_per_second=500.0, yes=True,
            only_empty=True, verify_within=0.0,
        )  # fmt: skip
        (tmp_path / "sheet.csv").write_text("id,phone\n10001,123\n", encoding="utf-8")
        closing = run_update(settings, FakeReporter(), Environment({"DUALENTRY_API_KEY": "k" * 20}))
    assert (1, outcome) == (len(writes), told(closing)[0][0])
    assert "777" in told(closing)[0][1]


def test_resumed(job: JobFixture) -> None:
    """What the run itself filled is its own when it is resumed; without the option it is another run."""
    for one in (10001, 10002):
        job.sandbox.edit("dualentry", one, {"phone": None})
    sheet = job.sheet("id,phone\n10001,123\n10002,456\n10003,789\n")
    job.sandbox.set_faults("503=id:10002")
    first = job.update(sheet, only_empty=True, max_attempts=1)
    job.sandbox.set_faults()
    assert ["updated", "failed", "unchanged"] == [one for one, _ in told(first)]
    other = job.update(sheet, limit=1)
    assert first.folder != other.folder
    again = job.update(sheet, only_empty=True)
    assert (first.folder, ["updated", "updated", "unchanged"]) == (again.folder, [one for one, _ in told(again)])
    assert ("123", "456", "555-0003") == tuple(job.record(one)["phone"] for one in (10001, 10002, 10003))


def test_plan(job: JobFixture) -> None:
    """A plan has the fills alone; carried out, one that was filled by another hand since is not written."""
    for one in (10001, 10002):
        job.sandbox.edit("dualentry", one, {"phone": None})
    sheet = job.sheet("id,name,phone\n10001,Bolt,123\n10002,Bolt,456\n10003,Bolt,\n")
    made = plan(job, sheet)
    assert [("phone", "", "123"), ("phone", "", "456")] == [(one.field, one.before, one.after) for one in made.lines]
    assert (2, 1, 3) == (made.summary.outcomes.updated, made.summary.outcomes.unchanged, made.summary.not_empty)
    assert "  3 rows with cells that are left alone, since their records" in "\n".join(lines(plan_page(made)))
    with pytest.raises(InputError, match="--only-empty is different"):
        job.update(sheet, plan=made.folder)
    job.sandbox.edit("dualentry", 10001, {"phone": "777"})
    job.sandbox.edit("dualentry", 10002, {"name": "Another"})
    closing = job.update(sheet, plan=made.folder, only_empty=True)
    assert ["rejected", "updated", "unchanged"] == [one for one, _ in told(closing)]
    assert [("PATCH", "10002", {"phone": "456"})] == job.writes()
    assert "777" == job.record(10001)["phone"]


def test_conflict(job: JobFixture) -> None:
    """A row that does not fit its record says what was left alone of it, in a plan as when it is sent."""
    job.sandbox.edit("dualentry", 10001, {"full_address": None})
    name = job.record(10001)["name"]
    sheet = job.sheet("id,name,full_address.street\n10001,Bolt,Here 1\n")
    made = plan(job, sheet)
    assert (1, 1) == (made.summary.outcomes.invalid, made.summary.not_empty)
    closing = job.update(sheet, only_empty=True)
    assert (1, 1, []) == (closing.summary.outcomes.invalid, closing.summary.not_empty, job.writes())
    [(outcome, message)] = told(closing)
    assert ("invalid", True) == (outcome, kept("name", f'"{name}"', '"Bolt"') in message)


def test_other_spelling(job: JobFixture) -> None:
    """Another spelling of the same is a value, too, and not taken for one that the API made."""
    job.sandbox.edit("dualentry", 10001, {"email": "Info@Acme.example"})
    sheet = job.sheet("id,email\n10001,info@acme.example\n")
    message = kept("email", '"Info@Acme.example"', '"info@acme.example"')
    assert [("unchanged", message)] == told(job.update(sheet, only_empty=True))
    assert ["updated"] == [one for one, _ in told(job.update(sheet))]
