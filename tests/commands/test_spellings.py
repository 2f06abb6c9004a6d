"""An API that normalises what it is sent: what is a spelling, what is remembered of it, and what nightly runs say."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batch.cli.views import closing_page
from batch.commands.undo import undo
from batch.conditions import FieldChange, PlannedChange, check_undo_drift
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.engine import write
from batch.errors import UsageError
from batch.journal import Journal
from batch.model import Intent, Outcome, Problem, RowResult
from batch.run import record_memory
from batch.run.locks import state_folder
from batch.run.plan_file import PlanFile, PlanWriter
from batch.run.undo import iter_undo_changes
from tests.job_fixture import DUALENTRY, VAYU, VAYU_1, JobFixture, summary, told

SHEET = "id,email,phone\n10001,Ana@Example.COM,(030) 12-34\n"
PLAIN = {"email": "ana@example.com", "phone": "0301234"}
SPELT = {DUALENTRY: PLAIN, VAYU: {"contacts.1.email": PLAIN["email"]}}
SHEETS = {DUALENTRY: SHEET, VAYU: f"id,contacts.1.email,name\n{VAYU_1},Ana@Example.COM,Bolt\n"}


def said(sentence: str, **values: str) -> str:
    """What is said of each of these columns."""
    return "; ".join(f'column "{name}": {sentence.format(value)}' for name, value in values.items())


MADE = 'the API made "{}" of it, which is another spelling of the same'
KEPT = 'sent; the API keeps its own spelling, "{}"'
FOUND_APPLIED = "no answer came, but reading back showed that it was applied"
KNOWN = 'not sent again; the API keeps its own spelling, "{}"'


@pytest.fixture(autouse=True)
def normalises(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "LOOKS", (0.0,) * len(write.LOOKS))
    job.sandbox.behave(normalize="shown")


def nightly(job: JobFixture, text: str = SHEET, **options: Any) -> list[tuple[str, str]]:
    return told(job.update(job.sheet(text), new=True, **options))


def edit(job: JobFixture, **values: str) -> None:
    """Let another hand write, just so."""
    job.sandbox.behave(normalize="no")
    job.sandbox.edit("dualentry", 10001, values)
    job.sandbox.behave(normalize="shown")


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_nightly(job: JobFixture, endpoint: str) -> None:
    """What the API spells its own way is updated once, with its version, and unchanged from the next run on."""
    first = nightly(job, SHEETS[endpoint], endpoint=endpoint)
    spelt, asked = SPELT[endpoint], [line["method"] for line in job.ledger() if line["by"] == "client"]
    assert [("updated", said(MADE, **spelt))] == first
    assert asked[-1] in ("PATCH", "PUT")  # its answer is the proof
    for _ in range(2):
        assert [("unchanged", said(KNOWN, **spelt))] == nightly(job, SHEETS[endpoint], endpoint=endpoint)
    assert 1 == len(job.writes())


def test_echo(job: JobFixture) -> None:
    """An answer that echoes what was sent is no proof where only the spelling changes: the record is looked at."""
    job.sandbox.behave(normalize="hidden")
    told = [("updated", ""), ("unchanged", said(KEPT, **PLAIN)), ("unchanged", said(KNOWN, **PLAIN))]
    assert told == [one for _ in told for one in nightly(job)]
    edit(job, email="ANA@EXAMPLE.COM")
    job.sandbox.behave(normalize="hidden")
    began = len(job.ledger())
    assert [("updated", said(MADE, email=PLAIN["email"]))] == nightly(job, "id,email\n10001,ana@Example.com\n")
    asked = [line["method"] for line in job.ledger()[began:]]
    assert 1 == len(asked[asked.index("PATCH") + 1 :])  # look at it
    job.sandbox.behave(normalize="no")
    assert [("updated", "")] == nightly(job, "id,email\n10001,Ana@Example.com\n")


def test_kept(job: JobFixture) -> None:
    """What shows as before after it was sent is unchanged, counted, and not sent by the next run."""
    edit(job, **PLAIN)
    closing = job.update(job.sheet(SHEET))
    assert [("unchanged", said(KEPT, **PLAIN))] == told(closing)
    assert ({"made": 0, "kept": 1, "known": 0}, 1) == (summary(closing.folder)["spellings"], len(job.writes()))
    closing = job.update(job.sheet(SHEET), new=True)
    assert [("unchanged", said(KNOWN, **PLAIN))] == told(closing)
    assert ({"made": 0, "kept": 0, "known": 1}, 1) == (summary(closing.folder)["spellings"], len(job.writes()))


def test_partly_kept(job: JobFixture) -> None:
    """A row of which one field changed is updated, and says which the API kept."""
    edit(job, email=PLAIN["email"])
    assert [("updated", f"{said(KEPT, email=PLAIN['email'])}; {said(MADE, phone='0301234')}")] == nightly(job)
    name = "id,name,email\n10001,Bolt,Ana@Example.COM\n"
    assert [("updated", said(KNOWN, email=PLAIN["email"]))] == nightly(job, name)
    assert {"name": "Bolt"} == job.writes()[-1][2]


def test_exactly_this(job: JobFixture) -> None:
    """What is remembered is this value of this record, shown just so: anything else is sent."""
    nightly(job)
    for text in (SHEET.replace("Ana@", "ANA@"), SHEET.replace("10001", "10002")):
        before = len(job.writes())
        nightly(job, text)
        assert before + 1 == len(job.writes())
    edit(job, email="aNa@example.com")  # another hand's spelling is none of the API's
    expected = f"{said(MADE, email=PLAIN['email'])}; {said(KNOWN, phone='0301234')}"
    assert [("updated", expected)] == nightly(job)


def test_other_value(job: JobFixture) -> None:
    """What is no spelling is rejected with both values, and what was applied of the row is named and can be undone."""
    job.sandbox.set_faults("lie-drop-field=1")
    before = job.record(10001)
    closing = job.update(job.sheet(SHEET))
    wrong = f'column "phone": the API accepted the change, but still shows "{before["phone"]}" instead of "(030) 12-34"'
    assert [("rejected", f"{wrong}; changed all the same: email")] == told(closing)
    assert any(line.startswith("Take it back:  ") for line, _ in closing_page(closing))
    job.sandbox.set_faults()
    undo(closing.folder, job.settings(job.sheet("")), job.reporter, job.environment)
    assert before["email"] == job.record(10001)["email"]


def test_undo(job: JobFixture) -> None:
    """What the API spelt its own way is taken back, since it is what the run wrote; what it kept is nothing to undo."""
    before = job.record(10001)
    closing = job.update(job.sheet(SHEET))
    undo(closing.folder, job.settings(job.sheet("")), job.reporter, job.environment)
    shown = job.record(10001)
    assert (before["email"], before["phone"].replace("-", "")) == (shown["email"], shown["phone"])
    edit(job, **PLAIN)
    closing = job.update(job.sheet(SHEET + "\n"), new=True)
    assert not any(line.startswith("Take it back") for line, _ in closing_page(closing))
    with pytest.raises(UsageError, match="changed nothing"):
        undo(closing.folder, job.settings(job.sheet("")), job.reporter, job.environment)


def test_undo_of_a_whole_record(job: JobFixture) -> None:
    """So it is where the whole record is written."""
    before = job.record(VAYU_1, VAYU)
    closing = job.update(job.sheet(SHEETS[VAYU]), VAYU)
    assert PLAIN["email"] == job.record(VAYU_1, VAYU)["contacts"][0]["email"]
    undo(closing.folder, job.settings(job.sheet(""), VAYU), job.reporter, job.environment)
    shown = job.record(VAYU_1, VAYU)
    assert before["contacts"][0]["email"] == shown["contacts"][0]["email"]
    assert before["name"] == shown["name"]


def test_undo_leaves_another_hand(job: JobFixture) -> None:
    """A spelling that the API did not show is another hand's."""
    closing = job.update(job.sheet(SHEET))
    edit(job, email="ANA@example.com")
    undo(closing.folder, job.settings(job.sheet("")), job.reporter, job.environment)
    assert "ANA@example.com" == job.record(10001)["email"]


@pytest.mark.parametrize("days", [record_memory.DAYS_KEPT, record_memory.DAYS_KEPT + 1])
def test_forgotten(job: JobFixture, days: int) -> None:
    """A spelling is remembered for 90 days after it was seen last."""
    nightly(job)
    with sqlite3.connect(state_folder() / record_memory.FILE) as db:
        assert 2 == db.execute("UPDATE spelling SET day = day - ?", [days]).rowcount
    (outcome, message), *_ = nightly(job)
    expected = KNOWN if days == record_memory.DAYS_KEPT else KEPT
    assert ("unchanged", said(expected, **PLAIN)) == (outcome, message)


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_no_memory(job: JobFixture, endpoint: str) -> None:
    """Where nothing can be remembered the run goes on, and learns anew."""
    (state_folder() / record_memory.FILE).mkdir()
    spelt = SPELT[endpoint]
    told = [("updated", said(MADE, **spelt)), *[("unchanged", said(KEPT, **spelt))] * 2]
    assert told == [one for _ in told for one in nightly(job, SHEETS[endpoint], endpoint=endpoint)]
    assert 3 == len(job.writes())


def test_without_comparing(job: JobFixture) -> None:
    """What was not read before is updated, with the API's version, each time that it is sent."""
    for _ in range(2):
        assert [("updated", said(MADE, **PLAIN))] == nightly(job, compare=False)


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_no_answer(job: JobFixture, endpoint: str) -> None:
    """What was applied without an answer is found in the API's spelling, and not sent again."""
    job.sandbox.set_faults("drop-after=nth:1")
    (outcome, message), *_ = nightly(job, SHEETS[endpoint], endpoint=endpoint)
    assert ("updated", f"{FOUND_APPLIED}; {said(MADE, **SPELT[endpoint])}") == (outcome, message)
    assert 1 == len(job.writes())


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_resumed(job: JobFixture, endpoint: str) -> None:
    """By a later start it is found so, too, where the first one could not look: nobody knows then who wrote it."""
    sheet = job.sheet(SHEETS[endpoint])
    job.sandbox.set_faults("drop-after=1", f"503@reads=nth:{','.join(map(str, range(2, 30)))}")
    assert ["unknown"] == [outcome for outcome, _ in told(job.update(sheet, endpoint, max_attempts=1))]
    job.sandbox.set_faults()
    found = (
        "at an earlier start: the connection was dropped before an answer came; "
        "the record has the value now, whoever wrote it"
    )
    assert [("unchanged", f"{found}; {said(KNOWN, **SPELT[endpoint])}")] == told(job.update(sheet, endpoint))
    assert [("unchanged", said(KNOWN, **SPELT[endpoint]))] == nightly(job, SHEETS[endpoint], endpoint=endpoint)
    assert 1 == len(job.writes())


def test_no_values(job: JobFixture) -> None:
    """What is remembered gives no value away, and belongs to this user."""
    nightly(job)
    path = state_folder() / record_memory.FILE
    data = path.read_bytes().lower()
    assert (0o600, True) == (
        path.stat().st_mode & 0o777,
        not any(one in data for one in (b"ana@", b"0301234", b"10001")),
    )


def test_plan(job: JobFixture) -> None:
    """A plan leaves out what the API is known to spell its own way, and is carried out beside it."""
    from batch.commands.plan import plan

    nightly(job)
    sheet = job.sheet("id,name,email\n10001,Bolt,Ana@Example.COM\n")
    made = plan(job.settings(sheet), job.reporter, job.environment)
    assert ["name"] == [line.field for line in made.lines]
    closing = job.update(sheet, plan=made.folder)
    assert "updated" == told(closing)[0][0]


def test_canary(job: JobFixture) -> None:
    """A first change whose spelling the API keeps shows nothing, so that the next one is tried."""
    edit(job, **PLAIN)
    job.sandbox.set_faults("lie-drop-field=id:10002")
    closing = job.update(job.sheet(SHEET + "10002,b@example.com,\n10003,c@example.com,\n"), canary=1)
    assert ["unchanged", "rejected", "unsent"] == [outcome for outcome, _ in told(closing)]


# -- what an undo puts back -----------------------------------------------------------------------------------------

ADDRESS = {"street": "Am Ring 1", "city": "Bonn", "postal_code": "1"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("Old", "Old"),
        ("OLD", "Old"),
        ("Ana", "Old"),
        ("ANA", "Old"),
        ("Third", "Third"),
    ],
)
def test_oldest_value(tmp_path: Path, found: str, expected: str) -> None:
    """It is the oldest value, unless another hand's stood there before a later part wrote: not ours in its spelling."""
    first = Intent(2, "1", None, 1, {"name": "Ana"}, {"name": "Old"}, {"name": "Ana"})
    again = replace(first, before={"name": found}, number=2, spent=1)
    (step,) = steps(tmp_path, first, again, shown={"name": "ANA"})
    assert ("Ana", "ANA", expected) == (step.expected, step.shown, step.wanted)


def test_unread_value(tmp_path: Path) -> None:
    """What nobody read before the first part wrote is not known, whatever the later part found of ours."""
    first = Intent(2, "1", None, 1, {"name": "Ana"}, None, {"name": "Ana"})
    (step,) = steps(tmp_path, first, replace(first, before={"name": "ANA"}, number=2, spent=1))
    assert step.problem is not None
    assert "kept_unread" == step.problem.code


def test_address(tmp_path: Path) -> None:
    """An object that was not there is taken out again as the API showed it, also where two parts wrote it."""
    asked = ADDRESS | {"city": "BONN"}
    fields = {f"full_address.{part}": value for part, value in asked.items()}
    body, nothing = {"full_address": asked}, dict.fromkeys(fields)
    first = Intent(2, "1", None, 1, fields, nothing, body, "", {"full_address": None})
    again = replace(
        first, before={f"full_address.{part}": value for part, value in ADDRESS.items()},
        replaced_whole={"full_address": ADDRESS}, number=2, spent=1,
    )  # fmt: skip
    (step,) = steps(tmp_path, first, again, shown={"full_address.city": "Bonn"})
    assert (asked, ADDRESS, None) == (step.expected, step.shown, step.wanted)
    planned = PlannedChange(2, "1", "", (step,))
    found = check_undo_drift(DualEntryCustomers(), planned, {"id": 1, "full_address": ADDRESS})
    assert ({"full_address": None}, ()) == (found.fields, found.drifted)


def steps(folder: Path, *intents: Intent, shown: dict[str, Any] | None = None) -> tuple[FieldChange, ...]:
    """What an undo does about a change with these intents, of which the last was confirmed."""
    with Journal.create(folder / "journal.sqlite", {}) as journal:
        for intent in intents:
            journal._waiting.intents.append((intent, 1, True))
        journal.record(2, [RowResult(2, "1", Outcome.UPDATED, 200, 2, (Problem("found_applied"),), shown=shown or {})])
        journal.flush()
        (planned,) = iter_undo_changes(journal, DualEntryCustomers(), 2)
    return planned.steps


def test_plan_file(tmp_path: Path) -> None:
    """The list of what is put back keeps what the API showed."""
    planned = PlannedChange(2, "1", "", (FieldChange("name", "Ana", "Old", shown="ANA"),))
    PlanWriter(tmp_path / "undo.json", {"kind": "undo"}).write_all([planned])
    with closing(PlanFile(tmp_path / "undo.json")) as plan:
        assert [planned] == list(plan)


def test_next_round(job: JobFixture) -> None:
    """What the API made of a value is expected by the next run on the failures file, too: it is nobody else's."""
    job.sandbox.set_faults("lie-drop-field=once:10001")
    closing = job.update(job.sheet(SHEET))
    assert "rejected" == told(closing)[0][0]
    (state_folder() / record_memory.FILE).unlink()
    again = told(job.update(Path(closing.failures or "")))
    assert [("updated", f"{said(KEPT, email=PLAIN['email'])}; {said(MADE, phone='0301234')}")] == again
