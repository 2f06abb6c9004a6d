"""Changes that wait for approval: asked for once, while their record says that they wait."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from batch.commands.plan import plan
from batch.commands.undo import undo
from batch.journal import Journal
from batch.model import State
from batch.run import record_memory
from batch.run.locks import state_folder
from tests.job_fixture import JobFixture, told

SHEET = "id,name,phone\n10001,New,123\n"
PENDING = ("updated", "updated, awaiting approval (pending)")
AWAITS = "a change awaits approval, and an earlier run asked for the same: approve it at the API, or withdraw it"
WAITS = ("unchanged", AWAITS)


@pytest.fixture(autouse=True)
def approves(job: JobFixture) -> None:
    job.sandbox.behave(pending="shown")
    job.sandbox.set_faults("approval=1")


def nightly(job: JobFixture, text: str = SHEET, **options: Any) -> tuple[str, str]:
    (found,) = told(job.update(job.sheet(text), new=True, **options))
    return found


def approve(job: JobFixture, *, granted: bool = True) -> None:
    job.sandbox.ask("approve", {"id": 10001, "granted": granted})


def sent(job: JobFixture) -> list[Any]:
    return [body for _, _, body in job.writes()]


def test_nightly(job: JobFixture) -> None:
    """What waits is not asked for again, until it was approved; then the record has it."""
    assert [PENDING, WAITS, WAITS] == [nightly(job) for _ in range(3)]
    assert 1 == len(job.writes())
    approve(job)
    assert ("unchanged", "") == nightly(job)
    assert 1 == len(job.writes())


def test_declined(job: JobFixture) -> None:
    """What was declined is asked for again."""
    nightly(job)
    approve(job, granted=False)
    assert PENDING == nightly(job)
    assert 2 == len(job.writes())


def test_part_of_it(job: JobFixture) -> None:
    """A sheet that asks for a part of what waits is not sent; one that asks for more is sent whole."""
    nightly(job)
    assert WAITS == nightly(job, "id,phone\n10001,123\n")
    more = "id,name,phone,email\n10001,New,123,a@b.example\n"
    assert [PENDING, WAITS] == [nightly(job, more) for _ in range(2)]
    assert [{"name": "New", "phone": "123"}, {"name": "New", "phone": "123", "email": "a@b.example"}] == sent(job)


def test_newest(job: JobFixture) -> None:
    """What counts is the newest request: an earlier one may not wait any more."""
    other = SHEET.replace("New", "Newer")
    assert [PENDING, PENDING, PENDING, WAITS] == [nightly(job, text) for text in (SHEET, other, SHEET, SHEET)]


def test_another_record(job: JobFixture) -> None:
    """What waits for one record is nothing to another one."""
    nightly(job)
    assert PENDING == nightly(job, SHEET.replace("10001", "10002"))


def test_somebody_elses(job: JobFixture) -> None:
    """A change that waits, but is not known to be ours, holds nothing back."""
    nightly(job, "id,website\n10001,theirs.example\n")
    (state_folder() / record_memory.FILE).unlink()
    assert PENDING == nightly(job)


def test_hidden(job: JobFixture) -> None:
    """Where records do not say that something waits it is sent again."""
    job.sandbox.behave(pending="hidden")
    assert [PENDING, PENDING] == [nightly(job) for _ in range(2)]


def test_no_memory(job: JobFixture) -> None:
    """Where nothing can be remembered it is sent again."""
    (state_folder() / record_memory.FILE).mkdir()
    assert [PENDING, PENDING] == [nightly(job) for _ in range(2)]


@pytest.mark.parametrize(
    ("days", "expected"), [(record_memory.DAYS_KEPT, WAITS), (record_memory.DAYS_KEPT + 1, PENDING)]
)
def test_forgotten(job: JobFixture, days: int, expected: tuple[str, str]) -> None:
    """A request is remembered for 90 days after it was seen to wait."""
    nightly(job)
    with sqlite3.connect(state_folder() / record_memory.FILE) as db:
        assert 1 == db.execute("UPDATE waiting SET day = day - ?", [days]).rowcount
    assert expected == nightly(job)


def test_waits_no_more(job: JobFixture) -> None:
    """A record that does not say any more that something waits is forgotten: what waits later is something else."""
    nightly(job)
    approve(job, granted=False)
    job.sandbox.set_faults()
    job.update(job.sheet("id,website\n10001,ours.example\n"), new=True)
    job.sandbox.set_faults("approval=1")
    with kept_memory():
        nightly(job, "id,country\n10001,theirs\n")
    assert PENDING == nightly(job)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Do something of which nothing is remembered afterwards."""
    path = state_folder() / record_memory.FILE
    before = path.read_bytes()
    yield
    path.write_bytes(before)


TWO = SHEET + "10002,Two,\n"
UNLISTED = "id,address\n10001,New\n10002,Two\n"
"""A field that only single records show."""


@pytest.mark.parametrize("text", [TWO, UNLISTED])
@pytest.mark.parametrize("is_remembered", [True, False])
def test_resumed(job: JobFixture, is_remembered: bool, text: str) -> None:
    """A resumed run does not send it again while its record says that it waits, whatever the state folder knows."""
    sheet = half_done(job, text)
    if not is_remembered:
        (state_folder() / record_memory.FILE).unlink()
    closing = job.update(sheet)
    assert [PENDING, ("updated", "")] == told(closing)
    assert 1 == len([one for one in job.writes() if one[1] == "10001"])
    with Journal.open(closing.folder / "journal.sqlite") as journal:
        assert State.PENDING is journal.row_results(2, 2)[2].state


def test_resumed_and_approved(job: JobFixture) -> None:
    """What was approved meanwhile is said to wait no more; what was declined is sent again."""
    sheet = half_done(job)
    approve(job)
    assert [("updated", ""), ("updated", "")] == told(job.update(sheet))
    assert 1 == len([one for one in job.writes() if one[1] == "10001"])


def test_resumed_and_declined(job: JobFixture) -> None:
    """What was declined meanwhile is asked for again."""
    sheet = half_done(job)
    approve(job, granted=False)
    assert [PENDING, ("updated", "")] == told(job.update(sheet))
    assert 2 == len([one for one in job.writes() if one[1] == "10001"])


def half_done(job: JobFixture, text: str = TWO) -> Path:
    """Begin a run of which one row waits and one is left, and let another run write, so that both are looked at."""
    sheet = job.sheet(text)
    job.sandbox.set_faults("approval=id:10001", "503@writes=id:10002")
    first, second = told(job.update(sheet, max_attempts=1))
    assert (PENDING, "failed") == (first, second[0])
    job.sandbox.set_faults("approval=id:10001")
    job.update(job.sheet("id,name\n10003,Three\n", "other.csv"))
    return sheet


def test_plan(job: JobFixture) -> None:
    """A plan has nothing to do about it, and one that was made before sends nothing."""
    sheet = job.sheet(SHEET)
    before = plan(job.settings(sheet), job.reporter, job.environment)
    nightly(job)
    made = plan(job.settings(sheet), job.reporter, job.environment)
    assert () == made.lines
    assert WAITS == told(job.update(sheet, plan=before.folder))[0]
    assert 1 == len(job.writes())


def test_undo(job: JobFixture) -> None:
    """An undo whose changes wait is not sent twice either."""
    job.sandbox.set_faults()
    closing = job.update(job.sheet(SHEET))
    job.sandbox.set_faults("approval=1")
    found = [told(undo(closing.folder, job.settings(job.sheet("")), job.reporter, job.environment)) for _ in range(2)]
    assert [[PENDING], [WAITS]] == found
    assert 2 == len(job.writes())
