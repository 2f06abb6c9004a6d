"""`plan` and `update --plan`: what would change, written down, and then exactly that or nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from batch.cli import messages
from batch.commands.plan import PlanMade
from batch.commands.plan import plan as run_plan
from batch.engine.reporter import Progress
from batch.errors import FolderError, InputError, StoppedError, UsageError
from batch.run.plan_list import ADVICE
from tests.job_fixture import DUALENTRY, VAYU, VAYU_1, FakeReporter, JobFixture, results, told

SHEET = "id,name,phone\n10001,Bolt,123\n10002,,<clear>\n99999,x,\n10003,,ext. 5\n10004,,555-0004\n"


def plan(job: JobFixture, sheet: Path, endpoint: str = DUALENTRY, **options: Any) -> PlanMade:
    return run_plan(job.settings(sheet, endpoint, **options), job.reporter, job.environment)


def test_counts(job: JobFixture) -> None:
    """A plan counts what would become of every row, and nothing is written to the API."""
    made = plan(job, job.sheet(SHEET))
    counts = {outcome: count for outcome, count in made.summary.as_dict()["outcomes"].items() if count}
    assert {"updated": 2, "unchanged": 1, "invalid": 1, "rejected": 1} == counts
    assert (1, 3, {"phone": 1}, 1) == (
        made.summary.not_found, made.summary.cells, made.summary.clears, made.summary.exit_code,
    )  # fmt: skip
    assert {"GET"} == {line["method"] for line in job.ledger()}


def test_progress(job: JobFixture) -> None:
    """While it compares, nothing is called updated."""
    seen: list[str] = []

    class Watching(FakeReporter):
        def progress(self, progress: Progress) -> None:
            seen.append(messages.progress(progress))

    job.reporter = Watching(interval=0.002)
    plan(job, job.sheet("id,name\n" + "".join(f"{10001 + one},New {one}\n" for one in range(250))), max_per_second=30.0)
    assert any(one.startswith("to update ") for one in seen)
    assert not any("updated" in one for one in seen)


def test_no_folder(job: JobFixture) -> None:
    """Whether there can be a folder for it is known before anything is asked of the API; a try leaves nothing."""
    (job.folder / "file").touch()
    with pytest.raises(FolderError):
        plan(job, job.sheet(SHEET), out=job.folder / "file" / "plans")
    assert [] == job.ledger()
    job.sandbox.set_faults("401=1")
    with pytest.raises(StoppedError):
        plan(job, job.sheet(SHEET), out=job.folder / "plans", max_attempts=1)
    assert not (job.folder / "plans").exists()


def test_sheet(job: JobFixture) -> None:
    """plan.csv has one line for every cell, old and new."""
    made = plan(job, job.sheet(SHEET))
    expected = (
        "row,id,name,field,before,after\n"
        '2,10001,"Acme Holdings, Inc.",name,"Acme Holdings, Inc.",Bolt\n'
        '2,10001,"Acme Holdings, Inc.",phone,555-0001,123\n'
        '3,10002,"Bolt Holdings, Inc.",phone,555-0002,<clear>\n'
    )
    assert expected == (made.folder / "plan.csv").read_text(encoding="utf-8-sig")


def test_workbook(job: JobFixture) -> None:
    """A workbook is planned in a workbook, and a text that looks like a formula stays text."""
    book = openpyxl.Workbook()
    for row in (["id", "Kunde"], ["10001", "+Bolt()"]):
        book.active.append(row)  # type: ignore[union-attr]  # there is a sheet
    book.save(job.folder / "sheet.xlsx")
    made = plan(job, job.folder / "sheet.xlsx", map={"Kunde": "name"})
    cells = openpyxl.load_workbook(made.folder / "plan.xlsx")["Plan"]
    assert [[2, "10001", "Acme Holdings, Inc.", "Kunde", "name", "Acme Holdings, Inc.", "+Bolt()"]] == [
        list(row) for row in cells.iter_rows(min_row=2, values_only=True)
    ]
    assert "s" == cells["G2"].data_type


def test_workbook_tells_what_is_not_sent(job: JobFixture) -> None:
    """The workbook has a sheet of the rows that are not sent, with the reasons, and a line for who approves."""
    book = openpyxl.Workbook()
    for row in (["id", "name", "phone"], ["10001", "Bolt", None], ["10002", None, "ext. 5"], ["10003", None, None]):
        book.active.append(row)  # type: ignore[union-attr]  # there is a sheet
    book.save(job.folder / "sheet.xlsx")
    made = openpyxl.load_workbook(plan(job, job.folder / "sheet.xlsx").folder / "plan.xlsx")
    assert ["Summary", "Plan", "Not sent"] == made.sheetnames
    wrong = '"ext. 5" has letters in it (use digits, spaces and + - . ( ) only)'
    assert [
        (3, "10002", "invalid", "phone", wrong, "Correct the cell. Nothing of the row was sent."),
        (4, "10003", "unchanged", "", "no cell of this row sets anything", "Nothing."),
    ] == list(made["Not sent"].iter_rows(min_row=2, values_only=True))
    texts = [row[0] for row in made["Summary"].iter_rows(values_only=True)]
    assert "Plan for sheet.xlsx" == texts[0]
    assert {"to update", "unchanged", "invalid", "All rows", "Prepared by", "Approved by"} < set(texts)
    for one in made.worksheets:
        setup = (one.page_setup.orientation, one.page_setup.paperSize, one.page_setup.fitToHeight)
        assert ("landscape", "9", "0") == tuple(map(str, setup))
        assert one.print_title_rows == (None if one.title == "Summary" else "$1:$1")


def test_carried_out(job: JobFixture) -> None:
    """update --plan writes exactly the cells of the plan."""
    sheet = job.sheet(SHEET)
    made = plan(job, sheet)
    closing = job.update(sheet, plan=made.folder)
    assert ["updated", "updated", "rejected", "invalid", "unchanged"] == [one for one, _ in told(closing)]
    assert [
        ("PATCH", "10001", {"name": "Bolt", "phone": "123"}),
        ("PATCH", "10002", {"phone": None}),
    ] == sorted(job.writes(), key=lambda one: one[1])


def test_again(job: JobFixture) -> None:
    """A plan that was carried out already finds everything done."""
    sheet = job.sheet(SHEET)
    made = plan(job, sheet)
    job.update(sheet, plan=made.folder)
    closing = job.update(sheet, plan=made.folder)
    assert ["unchanged", "unchanged"] == [one for one, _ in told(closing)][:2]
    assert 2 == len(job.writes())


def test_drift(job: JobFixture) -> None:
    """A record that somebody changed since the plan is not written, and both values are told."""
    sheet = job.sheet(SHEET)
    made = plan(job, sheet)
    job.sandbox.edit("dualentry", 10001, {"phone": "777"})
    closing = job.update(sheet, plan=made.folder)
    assert (
        "rejected",
        'column "phone": it is "777" now, and was "555-0001" when the plan was made, to become "123" (plan again)',
    ) == told(closing)[0]
    assert ["10002"] == [one for _, one, _ in job.writes()]


def test_drift_of_another_part(job: JobFixture) -> None:
    """An address of which another part was changed since the plan is not written, and that part is named."""
    sheet = job.sheet("id,full_address.city\n10002,Köln\n10003,Köln\n")
    made = plan(job, sheet)
    address = job.record(10002)["full_address"] | {"street": "4 Theirs"}
    job.sandbox.edit("dualentry", 10002, {"full_address": address})
    closing = job.update(sheet, plan=made.folder)
    expected = (
        'column "full_address.city": full_address.street goes with it: that is "4 Theirs" now, and was '
        '"3 Harbour Road" when the plan was made, so that "Köln" was not written (plan again)'
    )
    assert [("rejected", expected), ("updated", "")] == told(closing)
    assert address == job.record(10002)["full_address"]


def test_drift_of_another_contact(job: JobFixture) -> None:
    """A plan for a contact whose number is another one's by now is not carried out."""
    contacts = [{"name": f"P{number}", "email": f"p{number}@x.example", "title": "T"} for number in (1, 2)]
    job.sandbox.edit("vayu", VAYU_1, {"contacts": contacts})
    sheet = job.sheet(f"id,contacts.1.title\n{VAYU_1},CEO\n")
    made = plan(job, sheet, VAYU)
    job.sandbox.edit("vayu", VAYU_1, {"contacts": contacts[1:]})
    ((outcome, message),) = told(job.update(sheet, VAYU, plan=made.folder))
    assert ("rejected", True) == (outcome, "contacts.1.name goes with it" in message)


def test_drift_of_what_was_unchanged(job: JobFixture) -> None:
    """A cell that the plan leaves alone is not written either, should it differ by now."""
    sheet = job.sheet(SHEET)
    made = plan(job, sheet)
    job.sandbox.edit("dualentry", 10004, {"phone": "777"})
    closing = job.update(sheet, plan=made.folder)
    assert (
        "rejected",
        'column "phone": it is "777" now, and was "555-0004" when the plan was made (plan again)',
    ) == told(closing)[4]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"clear_token": "<empty>"}, "--clear-token is different"),
        ({"map": {"phone": "email"}}, "--map is different"),
        ({"limit": 2}, "--limit is different"),
    ],
)
def test_other_options(job: JobFixture, options: dict[str, Any], reason: str) -> None:
    """A plan is refused when rows would mean something else, and it is said what."""
    sheet = job.sheet(SHEET)
    made = plan(job, sheet)
    with pytest.raises(InputError) as caught:
        job.update(sheet, plan=made.folder, **options)
    expected = (
        f"{made.folder}/plan.json: this plan cannot be carried out: {reason} since it was made. "
        "Nothing was sent. Plan again, or give what it was made for."
    )
    assert expected == str(caught.value)
    assert [] == job.writes()


def test_other_input(job: JobFixture) -> None:
    """A plan is refused when the input was changed."""
    made = plan(job, job.sheet(SHEET))
    with pytest.raises(InputError, match="the input was changed since it was made"):
        job.update(job.sheet(SHEET + "10005,x,\n"), plan=made.folder)


@pytest.mark.parametrize("edit", [lambda text: text.replace('"123"', '"124"'), lambda text: f"{text}\n"])
def test_edited_plan(job: JobFixture, edit: Callable[[str], str]) -> None:
    """A plan that was edited is refused, also where only something was put after its checksum."""
    sheet = job.sheet(SHEET)
    path = plan(job, sheet).folder / "plan.json"
    path.write_text(edit(path.read_text()))
    with pytest.raises(InputError) as caught:
        job.update(sheet, plan=path.parent)
    assert f"{path}: this is not the plan that was made: it was changed, or it is damaged. Plan again." == str(
        caught.value
    )


@pytest.mark.parametrize("names_file", [False, True])
def test_edited_list(job: JobFixture, names_file: bool) -> None:
    """Two lines that somebody deleted in plan.csv are not sent, and nothing else either."""
    sheet = job.sheet(SHEET)
    path = plan(job, sheet).folder / "plan.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[2]]))
    with pytest.raises(InputError) as caught:
        job.update(sheet, plan=path.with_name("plan.json") if names_file else path.parent)
    expected = [
        f"{path}: it does not say what was planned any more, so nothing was sent.",
        '  removed: row 2, id 10001, name: "Acme Holdings, Inc." -> "Bolt"',
        '  removed: row 3, id 10002, phone: "555-0002" -> "<clear>"',
        ADVICE,
    ]
    assert (expected, []) == (str(caught.value).splitlines(), job.writes())


def test_plan_without_its_list(job: JobFixture) -> None:
    """A plan whose list is elsewhere is carried out as it was made, which is said."""
    sheet = job.sheet(SHEET)
    made = plan(job, sheet)
    (made.folder / "plan.csv").unlink()
    job.update(sheet, plan=made.folder)
    said = "there is no plan.csv or plan.xlsx any more, so the plan is carried out as it was made, "
    assert ([f"{made.folder}: {said}whatever was done to a list elsewhere."], 2) == (
        job.reporter.notes,
        len(job.writes()),
    )


def test_no_plan(job: JobFixture) -> None:
    """A folder without a plan is told from one with a plan that was edited."""
    with pytest.raises(InputError, match="there is no plan to be read"):
        job.update(job.sheet(SHEET), plan=job.folder)


def test_plan_needs_comparing(job: JobFixture) -> None:
    """A plan cannot be carried out without reading the records."""
    made = plan(job, job.sheet(SHEET))
    with pytest.raises(UsageError, match="--plan and --no-compare"):
        job.update(job.folder / "sheet.csv", plan=made.folder, compare=False)


def test_is_no_run(job: JobFixture) -> None:
    """An update never takes a plan's folder for a run to resume."""
    sheet = job.sheet(SHEET)
    made = plan(job, sheet)
    closing = job.update(sheet)
    assert made.folder != closing.folder
    assert 2 == len(job.writes())


def test_is_json(job: JobFixture) -> None:
    """plan.json is one JSON document, with the API's own values."""
    made = plan(job, job.sheet(f"id,aliases\n{VAYU_1},a; b\n"), VAYU)
    read = json.loads((made.folder / "plan.json").read_text())
    assert {"aliases": {"from": ["alias-1"], "to": ["a", "b"]}} == read["changes"][0]["fields"]


def test_resumed_by_plan(job: JobFixture) -> None:
    """A run by a plan is resumed by the same plan."""
    sheet = job.sheet(SHEET)
    made = plan(job, sheet)
    job.sandbox.set_faults("503=id:10001")
    first = job.update(sheet, plan=made.folder, max_attempts=1)
    assert 3 == first.summary.exit_code
    job.sandbox.set_faults()
    assert first.folder == job.update(sheet, plan=made.folder).folder
    assert "updated" == results(first.folder)[0]["outcome"]


def test_not_resumed_without_plan(job: JobFixture) -> None:
    """A run by a plan that was not finished is not taken up by an update without the plan."""
    sheet = job.sheet(SHEET)
    made = plan(job, sheet)
    job.sandbox.set_faults("503=id:10001")
    first = job.update(sheet, plan=made.folder, max_attempts=1)
    job.sandbox.set_faults()
    assert first.folder != job.update(sheet).folder
