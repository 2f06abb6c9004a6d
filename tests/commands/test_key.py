"""`--key`: rows found by the customer's own number, end to end, by the sandbox's ledger."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from batch.commands.plan import plan
from batch.commands.results import results as run_results
from batch.commands.undo import undo
from batch.engine import lookup
from batch.journal import Journal
from batch.settings import Settings
from tests.job_fixture import DUALENTRY, VAYU, VAYU_1, VAYU_2, JobFixture, results, told

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


def test_chosen_in_a_question_and_remembered(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was answered, or that a mapping remembers, is a key: its numbers are nobody's ids at the API."""
    monkeypatch.setenv("HOME", str(job.folder))
    sheet, expected = job.sheet("Nummer,name\n10001,New\nC-10002,New\n"), ["invalid", "updated"]
    job.reporter.can_ask, job.reporter.answers = True, [True, "y"]
    asked = job.update(sheet, map={"Nummer": "unique_id"}, canary=0)
    assert expected == [outcome for outcome, _ in told(asked)]
    job.reporter.can_ask = False
    named = job.update(sheet, mapping="sheet", new=True)
    assert ["invalid", "unchanged"] == [outcome for outcome, _ in told(named)]
    assert ["10002"] == [written for _, written, _ in job.writes()]


@pytest.mark.parametrize(("endpoint", "key"), [(DUALENTRY, "C-10001"), (VAYU, "V-1")])
def test_found_is_compared(job: JobFixture, endpoint: str, key: str) -> None:
    """The record that was found is the one to compare with: no further read, and nothing sent when nothing differs."""
    name = job.record("10001" if endpoint == DUALENTRY else VAYU_1, endpoint)["name"]
    closing = job.update(job.sheet(f'{OWN[endpoint]},name\n{key},"{name}"\n'), endpoint, key=OWN[endpoint])
    assert [("unchanged", "")] == told(closing)
    assert ({DUALENTRY: 1, VAYU: 2}[endpoint], []) == (len(reads(job)), job.writes())


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


@pytest.mark.parametrize("others", [0, 1, 20])
@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_two(job: JobFixture, endpoint: str, others: int) -> None:
    """A number that two customers have makes its row invalid, however many rows there are beside it."""
    first, second = ("10001", "10002") if endpoint == DUALENTRY else (VAYU_1, VAYU_2)
    key = job.record(first, endpoint)[OWN[endpoint]]
    job.sandbox.edit(endpoint.partition(".")[0], second, {OWN[endpoint]: key})
    more = [f"C-{10100 + number}" if endpoint == DUALENTRY else f"V-{3 + number}" for number in range(others)]
    closing = job.update(job.sheet(sheet_of([key, *more], endpoint)), endpoint, key=OWN[endpoint])
    belongs = f"belongs to 2 customers (ids {first}, {second}): say which one by its id"
    assert ("invalid", f'column "{OWN[endpoint]}": "{key}" {belongs}') == told(closing)[0]
    assert others == len(job.writes())


@pytest.mark.parametrize("others", [0, 20])
def test_spelling_is_told_whatever_the_number_of_rows(job: JobFixture, others: int) -> None:
    """Who is nearly meant is said by pages, too."""
    keys = ["c-10001", *(f"C-{10100 + number}" for number in range(others))]
    closing = job.update(job.sheet(sheet_of(keys)), key="unique_id")
    assert told(closing)[0][1].endswith('is no customer\'s unique_id ("C-10001", id 10001, is spelt differently)')


# -- an id beside the key -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0, 20])
def test_id_of_another_record(job: JobFixture, others: int) -> None:
    """An id that is not that of the record with the number makes its row invalid; a blank one says nothing."""
    rows = ["C-10001,10002,Wrong", "C-10003,,Blank", "C-10004, 10004 ,Right"]
    rows += [f"C-{10100 + number},{10100 + number},New" for number in range(others)]
    closing = job.update(job.sheet("\n".join(["unique_id,id,name", *rows, ""])), key="unique_id")
    reason = "is not the id of the customer with this unique_id, which is 10001 (correct one of them)"
    expected = [("invalid", f'column "id": "10002" {reason}'), ("updated", ""), ("updated", "")]
    assert expected == told(closing)[:3]
    assert ["Blank", "Right"] == [job.record(number)["name"] for number in (10003, 10004)]
    assert not {"10001", "10002"} & {written for _, written, _ in job.writes()}


def test_id_without_case(job: JobFixture) -> None:
    """Where the API's ids ignore case, the one beside a key does, too."""
    closing = job.update(job.sheet(f"externalId,id,name\nV-1,{VAYU_1.upper()},New\n"), VAYU, key="externalId")
    assert [("updated", "")] == told(closing)


def test_id_says_which_of_two(job: JobFixture) -> None:
    """Where two customers share a number, the id beside it says which one is meant."""
    job.sandbox.edit("dualentry", 10002, {"unique_id": "C-10001"})
    closing = job.update(job.sheet("unique_id,id,name\nC-10001,10002,New\n"), key="unique_id")
    assert [("updated", "")] == told(closing)
    assert ["10002"] == [written for _, written, _ in job.writes()]


def test_ids_that_differ_beside_one_key(job: JobFixture) -> None:
    """Rows of one number with several ids are invalid; one id beside blanks is held against the record."""
    rows = "C-10001,10001,,1\nC-10001,10002,New,\nC-10003,,New,\nC-10003,10001,,2\nC-10004,x1,New,\n"
    closing = job.update(job.sheet(f"unique_id,id,name,phone\n{rows}"), key="unique_id")
    differs = 'column "id": "{}" differs between rows of one customer: row 2 says "10001", row 3 "10002"'
    other = (
        'column "id": "10001" is not the id of the customer with this unique_id, which is 10003 (correct one of them)'
    )
    form = 'column "id": "x1" is not a DualEntry customer id (a whole number, such as 10042)'
    expected = [differs.format("10001"), differs.format("10002"), other, other, form]
    assert [("invalid", one) for one in expected] == told(closing)
    assert [] == job.writes()


def test_two_numbers_that_differ_in_case(job: JobFixture) -> None:
    """Numbers that differ in case alone are two customers', not one's."""
    job.sandbox.edit("dualentry", 10002, {"unique_id": "c-10001"})
    closing = job.update(job.sheet("unique_id,name\nC-10001,One\nc-10001,Two\n"), key="unique_id")
    assert [("updated", ""), ("updated", "")] == told(closing)
    assert ["One", "Two"] == [job.record(number)["name"] for number in (10001, 10002)]


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


@pytest.mark.parametrize(("endpoint", "pages"), [(DUALENTRY, 11), (VAYU, 1 + 1 + 30)])
def test_many_come_by_pages(job: JobFixture, endpoint: str, pages: int) -> None:
    """For many numbers all customers are read by pages, when that is fewer requests; the cost is told first.

    At Vayu one record is read to see whether pages show all of it, and those that differ, before they are written.
    """
    keys = [f"C-{10_001 + n}" if endpoint == DUALENTRY else f"V-{1 + n}" for n in range(30)]
    closing = job.update(job.sheet(sheet_of(keys, endpoint)), endpoint, key=OWN[endpoint])
    assert [("updated", "")] * 30 == told(closing)
    assert pages == job.reporter.asked[0].cost.reads == len(reads(job))
    assert not any("unique_id=" in asked or "externalId" in asked for asked in reads(job))


def test_record_of_a_page_that_is_old(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pages brought a while ago is read again before it is written over, and only then."""
    monkeypatch.setattr(lookup, "FRESH_SECONDS", -1.0)
    same = job.record(VAYU_2, VAYU)["name"]
    text = sheet_of([f"V-{n}" for n in (1, 3, 4)], VAYU) + f'V-2,"{same}"\n'
    closing = job.update(job.sheet(text), VAYU, key="externalId")
    assert ["updated"] * 3 + ["unchanged"] == [outcome for outcome, _ in told(closing)]
    again = [asked.partition("?")[0][-2:] for asked in reads(job) if "/customers/" in asked]
    assert ({"01", "03", "04"}, 3 + 1) == (set(again), len(again))  # one to see whether pages show all


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


def test_killed_beside_a_number_in_another_case(job: JobFixture) -> None:
    """What is in doubt of one number says nothing of another that differs in case, though the API's ids ignore case."""
    job.sandbox.edit("vayu", VAYU_2, {"externalId": "v-1"})
    job.sandbox.set_faults(f"hang-after=id:{VAYU_1}")
    sheet = job.sheet(sheet_of(["V-1", "v-1"], VAYU))
    command = [sys.executable, "-m", "batch", "update", str(sheet), "-e", VAYU, "--key", "externalId"]
    environment = {**job.sandbox.environment(), "XDG_STATE_HOME": str(job.folder / "state"), "PATH": ""}
    options = ["--base-url", job.sandbox.url, "--quiet", "--max-at-once", "1"]
    running = subprocess.Popen([*command, *options], env=environment)
    while not job.writes():
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    job.sandbox.set_faults()
    folder = (job.folder / "sheet.batch" / "latest").resolve()
    run_results(folder, job.reporter.note, job.environment)
    assert ["unknown", "unsent"] == [row["outcome"] for row in results(folder)]


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


@pytest.mark.parametrize("others", [0, 20])
def test_abort_looks_ahead(job: JobFixture, others: int) -> None:
    """With --invalid abort, a number that is nobody's is found out before anything is sent."""
    keys = ["C-10001", "nobody", *(f"C-{10100 + number}" for number in range(others))]
    closing = job.update(job.sheet(sheet_of(keys)), key="unique_id", invalid="abort")
    assert ["unsent", "invalid"] + ["unsent"] * others == [outcome for outcome, _ in told(closing)]
    assert (2, [], []) == (closing.summary.exit_code, job.writes(), job.reporter.asked)


@pytest.mark.parametrize(("endpoint", "key", "record"), [(DUALENTRY, "C-10001", "10001"), (VAYU, "V-1", VAYU_1)])
def test_undo(job: JobFixture, endpoint: str, key: str, record: str) -> None:
    """An undo takes back what rows named by number changed, also when the number is another's now."""
    before = job.record(record, endpoint)["name"]
    closing = job.update(job.sheet(sheet_of([key], endpoint)), endpoint, key=OWN[endpoint])
    job.sandbox.edit(endpoint.partition(".")[0], record, {OWN[endpoint]: "other"})
    undone = undo(
        closing.folder,
        Settings(max_per_second=500.0, yes=True, base_url=job.sandbox.url),
        job.reporter,
        job.environment,
    )
    assert [("updated", "")] == told(undone)
    assert before == job.record(record, endpoint)["name"]


def test_old_records_are_read_together(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the API lists by id, what pages brought a while ago is read again 100 at a time."""
    monkeypatch.setattr(lookup, "FRESH_SECONDS", -1.0)
    closing = job.update(job.sheet(sheet_of([f"C-{10_001 + n}" for n in range(30)])), key="unique_id")
    assert [("updated", "")] * 30 == told(closing)
    assert 1 == sum("&id=" in asked for asked in reads(job))
