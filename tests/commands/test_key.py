"""`--key`: rows found by the customer's own number, end to end, by the sandbox's ledger."""

from collections.abc import Sequence

import pytest

from batch.commands.plan import plan
from batch.commands.undo import undo
from batch.engine import lookup
from batch.journal import Journal
from batch.settings import Settings
from tests.job_fixture import DUALENTRY, VAYU, VAYU_1, VAYU_2, JobFixture, job, results, shared_sandbox, told

__all__ = ["job", "shared_sandbox"]
OWN = {DUALENTRY: "unique_id", VAYU: "externalId"}


def reads(job: JobFixture) -> list[str]:
    """What clients read of customers: paths and queries."""
    asked = [line for line in job.ledger() if line["method"] == "GET" and line["by"] == "client"]
    return [f"{line['path']}?{line['query']}" for line in asked if "customers" in line["path"]]


def sheet_of(keys: Sequence[str], endpoint: str = DUALENTRY) -> str:
    """A sheet that gives the customers with these numbers a new name each."""
    return f"{OWN[endpoint]},name\n" + "".join(f"{key},New {key}\n" for key in keys)


@pytest.mark.parametrize(("endpoint", "key", "record"), [(DUALENTRY, "C-10001", "10001"), (VAYU, "V-1", VAYU_1)])
def test_found(job: JobFixture, endpoint: str, key: str, record: str) -> None:
    """The record with the number is changed under its real id, and the results keep the number."""
    closing = job.update(job.sheet(sheet_of([key], endpoint)), endpoint, key=OWN[endpoint])
    assert [("updated", "")] == told(closing)
    assert [record] == [written for _, written, _ in job.writes()]
    assert [key] == [row["id"] for row in results(closing.folder)]
    assert f"New {key}" == job.record(record, endpoint)["name"]


@pytest.mark.parametrize(("endpoint", "key"), [(DUALENTRY, "C-10001"), (VAYU, "V-1")])
def test_found_is_compared(job: JobFixture, endpoint: str, key: str) -> None:
    """The record that was found is the one to compare with: one read, and nothing sent when nothing differs."""
    name = job.record("10001" if endpoint == DUALENTRY else VAYU_1, endpoint)["name"]
    closing = job.update(job.sheet(f'{OWN[endpoint]},name\n{key},"{name}"\n'), endpoint, key=OWN[endpoint])
    assert [("unchanged", "")] == told(closing)
    assert (1, []) == (len(reads(job)), job.writes())


def test_journal_has_the_id(job: JobFixture) -> None:
    """The intent carries the record's id, so that a resume and an undo know it."""
    closing = job.update(job.sheet(sheet_of(["C-10007"])), key="unique_id")
    with Journal.open(closing.folder / "journal.sqlite") as journal:
        intent = journal.intent(2)
    assert intent is not None
    assert ("10007", {"name": "New C-10007"}) == (intent.id, intent.fields)


def test_nobody(job: JobFixture) -> None:
    """A number that no customer has makes its row invalid, and only that row."""
    closing = job.update(job.sheet(sheet_of(["C-1", "C-10001"])), key="unique_id")
    expected = [("invalid", 'column "unique_id": "C-1" is no customer\'s unique_id'), ("updated", "")]
    assert expected == told(closing)
    assert ["10001"] == [written for _, written, _ in job.writes()]
    assert 1 == closing.summary.exit_code


def test_other_case(job: JobFixture) -> None:
    """The API's filter ignores case; we do not, and say who is nearly it."""
    closing = job.update(job.sheet(sheet_of(["c-10001"])), key="unique_id")
    expected = 'column "unique_id": "c-10001" is no customer\'s unique_id ("C-10001", id 10001, is spelt differently)'
    assert [("invalid", expected)] == told(closing)
    assert [] == job.writes()


@pytest.mark.parametrize("others", [0, 20])
def test_two(job: JobFixture, others: int) -> None:
    """A number that two customers have makes its row invalid, whether it is looked up or found in pages."""
    job.sandbox.edit("dualentry", 10002, {"unique_id": "C-10001"})
    keys = ["C-10001", *(f"C-{10100 + number}" for number in range(others))]
    closing = job.update(job.sheet(sheet_of(keys)), key="unique_id")
    expected = 'column "unique_id": "C-10001" belongs to 2 customers (ids 10001, 10002): say which one by its id'
    assert ("invalid", expected) == told(closing)[0]
    assert others == len(job.writes())


def test_two_numbers_that_differ_in_case(job: JobFixture) -> None:
    """Numbers that differ in case alone are two customers', not one's."""
    job.sandbox.edit("dualentry", 10002, {"unique_id": "c-10001"})
    closing = job.update(job.sheet("unique_id,name\nC-10001,One\nc-10001,Two\n"), key="unique_id")
    assert [("updated", ""), ("updated", "")] == told(closing)
    assert ["One", "Two"] == [job.record(number)["name"] for number in (10001, 10002)]


def test_number_that_no_address_can_carry(job: JobFixture) -> None:
    """A number that would change the path that leaves is not looked up."""
    closing = job.update(job.sheet(sheet_of(["a/../b", "V/.."], VAYU)), VAYU, key="externalId")
    reason = "cannot be looked up as externalId: a web address cannot carry it"
    expected = [("invalid", f'column "externalId": "{key}" {reason}') for key in ("a/../b", "V/..")]
    assert expected == told(closing)
    assert [] == reads(job)


def test_parts_of_an_address(job: JobFixture) -> None:
    """A nested address is completed from the record that was found, also without comparing."""
    sheet = job.sheet("unique_id,full_address.city\nC-10001,Berlin\n")
    closing = job.update(sheet, key="unique_id", compare=False)
    assert [("updated", "")] == told(closing)
    (body,) = [body for _, _, body in job.writes()]
    assert ("Berlin", "2 Oak Avenue") == (body["full_address"]["city"], body["full_address"]["street"])


# -- the cost -------------------------------------------------------------------------------------------------------


def test_few_are_looked_up(job: JobFixture) -> None:
    """Two numbers are two lookups."""
    job.update(job.sheet(sheet_of(["C-10001", "C-10002"])), key="unique_id")
    assert 2 == job.reporter.asked[0].cost.reads == len(reads(job))
    assert all("unique_id=" in asked for asked in reads(job))


@pytest.mark.parametrize(("endpoint", "pages"), [(DUALENTRY, 11), (VAYU, 1)])
def test_many_come_by_pages(job: JobFixture, endpoint: str, pages: int) -> None:
    """For many numbers all customers are read by pages, when that is fewer requests; the cost is told first."""
    keys = [f"C-{10_001 + n}" if endpoint == DUALENTRY else f"V-{1 + n}" for n in range(30)]
    closing = job.update(job.sheet(sheet_of(keys, endpoint)), endpoint, key=OWN[endpoint])
    assert [("updated", "")] * 30 == told(closing)
    assert 1 + pages == job.reporter.asked[0].cost.reads == len(reads(job))
    assert not any("unique_id=" in asked or "externalId" in asked for asked in reads(job))


def test_record_of_a_page_that_is_old(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pages brought a while ago is read again before it is written over, and only then."""
    monkeypatch.setattr(lookup, "FRESH_SECONDS", -1.0)
    same = job.record(VAYU_2, VAYU)["name"]
    text = sheet_of([f"V-{n}" for n in (1, 3, 4)], VAYU) + f'V-2,"{same}"\n'
    closing = job.update(job.sheet(text), VAYU, key="externalId")
    assert ["updated"] * 3 + ["unchanged"] == [outcome for outcome, _ in told(closing)]
    again = [asked.partition("?")[0][-2:] for asked in reads(job) if "/customers/" in asked]
    assert ["01", "03", "04"] == sorted(again)


# -- resuming -------------------------------------------------------------------------------------------------------


def test_resume_keeps_the_record(job: JobFixture) -> None:
    """A change that was begun keeps the record found then, whatever has become of its number."""
    sheet = job.sheet(sheet_of(["C-10001"]))
    job.sandbox.set_faults("500=id:10001")
    first = job.update(sheet, key="unique_id", max_attempts=1)
    assert ["failed"] == [outcome for outcome, _ in told(first)]
    job.sandbox.set_faults()
    job.sandbox.edit("dualentry", 10001, {"unique_id": "other"})
    second = job.update(sheet, key="unique_id")
    assert (first.folder, [("updated", "")]) == (second.folder, told(second))
    assert "New C-10001" == job.record(10001)["name"]


def test_lookup_that_fails(job: JobFixture) -> None:
    """A lookup that does not work is failed, and the same command takes it up again."""
    sheet = job.sheet(sheet_of(["C-10001"]))
    job.sandbox.set_faults("500=nth:1")
    first = job.update(sheet, key="unique_id", max_attempts=1)
    assert [("failed", 'column "unique_id": "C-10001" could not be looked up: the API failed (500)')] == told(first)
    assert [("updated", "")] == told(job.update(sheet, key="unique_id"))


def test_invalid_numbers_are_not_asked_for_again(job: JobFixture) -> None:
    """A resumed run counts what is left without the numbers that led nowhere."""
    sheet = job.sheet(sheet_of(["nobody", "C-10001"]))
    job.sandbox.set_faults("500=id:10001")
    job.update(sheet, key="unique_id", max_attempts=1)
    job.sandbox.set_faults()
    job.update(sheet, key="unique_id")
    assert [2, 1] == [preflight.to_send for preflight in job.reporter.asked]


def test_plan(job: JobFixture) -> None:
    """A plan by number is carried out to the letter."""
    sheet = job.sheet(sheet_of(["C-10001", "nobody"]))
    made = plan(job.settings(sheet, key="unique_id"), job.reporter, job.environment)
    closing = job.update(sheet, key="unique_id", plan=made.folder)
    assert ["updated", "invalid"] == [outcome for outcome, _ in told(closing)]
    assert "New C-10001" == job.record(10001)["name"]


def test_abort_does_not_look_ahead(job: JobFixture) -> None:
    """--invalid abort is about what can be checked before; that a number is nobody's is told, not promised."""
    closing = job.update(job.sheet(sheet_of(["C-10001", "nobody"])), key="unique_id", invalid="abort")
    assert ["updated", "invalid"] == [outcome for outcome, _ in told(closing)]
    (note,) = job.reporter.notes
    assert note == (
        "With --key, a number that no customer has is found out while sending: --invalid abort does not stop for it, "
        "and only its row is left out. To know before:  batch plan"
    )


@pytest.mark.parametrize(("endpoint", "key", "record"), [(DUALENTRY, "C-10001", "10001"), (VAYU, "V-1", VAYU_1)])
def test_undo(job: JobFixture, endpoint: str, key: str, record: str) -> None:
    """An undo takes back what rows named by number changed, also when the number is another's now."""
    before = job.record(record, endpoint)["name"]
    closing = job.update(job.sheet(sheet_of([key], endpoint)), endpoint, key=OWN[endpoint])
    job.sandbox.edit(endpoint.partition(".")[0], record, {OWN[endpoint]: "other"})
    undone = undo(closing.folder, Settings(max_per_second=500.0, yes=True), job.reporter, job.environment)
    assert [("updated", "")] == told(undone)
    assert before == job.record(record, endpoint)["name"]


def test_old_records_are_read_together(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the API lists by id, what pages brought a while ago is read again 100 at a time."""
    monkeypatch.setattr(lookup, "FRESH_SECONDS", -1.0)
    closing = job.update(job.sheet(sheet_of([f"C-{10_001 + n}" for n in range(30)])), key="unique_id")
    assert [("updated", "")] * 30 == told(closing)
    assert 1 == sum("&id=" in asked for asked in reads(job))
