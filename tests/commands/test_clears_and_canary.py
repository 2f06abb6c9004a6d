"""What is caught before much harm is done: a column emptied by mistake, and a first few changes that do not hold."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from batch.commands.results import results as run_results
from batch.commands.undo import undo as run_undo
from batch.engine import write
from batch.engine.guards import TooManyClearsError
from batch.engine.reporter import CANARY
from batch.errors import Declined, UsageError
from batch.journal import Journal
from batch.settings import Settings
from tests.job_fixture import FakeReporter, JobFixture, summary, told


def clearing(rows: int, clears: int) -> str:
    """A sheet of so many rows, of which the first few clear the phone."""
    lines = [f"{10_001 + n},{'<clear>' if n < clears else n}" for n in range(rows)]
    return "\n".join(["id,phone", *lines, ""])


def names(rows: int) -> str:
    return "\n".join(["id,name", *(f"{10_001 + n},New {n}" for n in range(rows)), ""])


# -- clears ---------------------------------------------------------------------------------------------------------


def test_too_many_clears(job: JobFixture) -> None:
    """More than 20 % of the rows clearing a field is refused where nobody can be asked, and nothing is left behind."""
    with pytest.raises(TooManyClearsError) as caught:
        job.update(job.sheet(clearing(40, 12)))
    assert (
        "phone would be cleared on 12 of 40 customers (30%).\n"
        "That is more than --max-clears 20% allows, so nothing was sent. If it is meant:  --max-clears 100%"
    ) == str(caught.value)
    assert (2, [], False) == (
        caught.value.exit_code, job.ledger(), (job.folder / "sheet.batch").exists(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "clears", "limit"), [(3, 1, None), (40, 9, None), (40, 8, None), (60, 12, None), (40, 40, "100%")]
)
def test_enough_clears(job: JobFixture, rows: int, clears: int, limit: str | None) -> None:
    """A few clears, a fifth of the rows, and what --max-clears allows are sent."""
    closing = job.update(job.sheet(clearing(rows, clears)), max_clears=limit)
    assert 0 == closing.summary.exit_code


@pytest.mark.parametrize(
    ("limit", "reason"),
    [("0", "1 of 3 customers (33%)"), ("30%", "1 of 3 customers (33%)"), ("2", "3 of 3 customers (100%)")],
)
def test_own_limit(job: JobFixture, limit: str, reason: str) -> None:
    """A limit of one's own counts from the first cell on."""
    with pytest.raises(TooManyClearsError, match=re.escape(f"phone would be cleared on {reason}")):
        job.update(job.sheet(clearing(3, int(reason[0]))), max_clears=limit)


def test_asked_about_clears(job: JobFixture) -> None:
    """Who can be asked is shown the excess, and may send it."""
    job.reporter = FakeReporter(can_ask=True)
    closing = job.update(job.sheet(clearing(20, 20)))
    assert ("phone would be cleared on 20 of 20 customers (100%)",) == job.reporter.asked[0].excesses
    assert 0 == closing.summary.exit_code


def test_copies_of_a_row_do_not_dilute(job: JobFixture) -> None:
    """What is counted are records: neither copies of a row nor rows that stay behind change the share."""
    copies = "10004,7\n" * 50
    with pytest.raises(TooManyClearsError, match=re.escape("phone would be cleared on 3 of 4 customers (75%)")):
        job.update(job.sheet(clearing(3, 3) + copies), max_clears="20%")
    again = "id,name,phone\n10001,Acme,<clear>\n10001,Other,<clear>\n10002,,<clear>\n10002,,<clear>\n"
    with pytest.raises(TooManyClearsError, match=re.escape("phone would be cleared on 1 of 1 customer (100%)")):
        job.update(job.sheet(again), max_clears="99%")
    assert 1 == job.update(job.sheet(again), max_clears="100%").summary.exit_code
    assert [{"phone": None}] == [body for _, _, body in job.writes()]


@pytest.mark.parametrize("blank", ["", None])
def test_undo_empties(job: JobFixture, blank: str | None) -> None:
    """What an undo empties counts as what an update does, whether the API shows it as null or as an empty text."""
    for number in range(10_001, 10_005):
        job.sandbox.edit("dualentry", number, {"email": blank})
    lines = [f"{number},a@b.example" for number in range(10_001, 10_005)]
    closing = job.update(job.sheet("\n".join(["id,email", *lines, ""])))
    settings = Settings(max_per_second=500.0, yes=True, max_clears="3", base_url=job.sandbox.url)
    with pytest.raises(TooManyClearsError, match=re.escape("email would be cleared on 4 of 4 customers (100%)")):
        run_undo(closing.folder, settings, job.reporter, job.environment)
    undone = run_undo(closing.folder, replace(settings, max_clears="4"), job.reporter, job.environment)
    assert 0 == undone.summary.exit_code


def test_declined_clears(job: JobFixture) -> None:
    """Who says no leaves nothing behind."""
    job.reporter = FakeReporter(answers=[False], can_ask=True)
    with pytest.raises(Declined):
        job.update(job.sheet(clearing(20, 20)))
    assert [] == job.writes()


# -- canary ---------------------------------------------------------------------------------------------------------


def test_canary_holds(job: JobFixture) -> None:
    """When the first few hold, the rest follows, and each of the first was read back."""
    closing = job.update(job.sheet(names(20)), canary=3)
    assert 0 == closing.summary.exit_code
    compared, *asked = job.ledger()
    methods = [line["method"] for line in asked]
    begun = [line["id"] for line in asked if line["method"] == "PATCH"][:3]
    rest = asked[len(methods) - methods[::-1].index("GET") :]  # what comes after the last look
    looked = [one for line in asked if line["method"] == "GET" for one in parse_qs(line["query"])["id"]]
    assert ("GET", 20, 17) == (compared["method"], methods.count("PATCH"), len(rest))
    assert sorted(begun) == sorted(looked)


@pytest.mark.parametrize(
    ("fault", "why", "outcomes"),
    [
        ("lie-drop-field=id:10002", "it is rejected", {"updated": 2, "rejected": 1, "unsent": 17}),
        ("stale-read=id:10002", None, {"updated": 3, "unsent": 17}),
        ("approval=id:10002", None, {"updated": 3, "unsent": 17}),
    ],
)
def test_canary_fails(job: JobFixture, fault: str, why: str | None, outcomes: dict[str, int], shows: Any) -> None:
    """When one of the first few does not hold, the rest is not sent, and the row is named."""
    job.sandbox.set_faults(fault)
    closing = job.update(job.sheet(names(20)), canary=3)
    found = {name: count for name, count in summary(closing.folder)["outcomes"].items() if count}
    shown = why or 'name: the API accepted the change, but still shows "Bolt Holdings, Inc." instead of "New 1"'
    assert outcomes == found
    assert (
        f"The first 3 changes were sent to try, and row 3 did not hold: {shown}. Nothing else was sent."
        == closing.stopped
    )
    assert (1, 3) == (closing.summary.exit_code, len(job.writes()))


def test_canary_that_shows_the_key(job: JobFixture, shows: Any) -> None:
    """Why the first few did not hold never carries the key, though the record shows it."""
    key = job.sandbox.environment()["DUALENTRY_API_KEY"]
    job.sandbox.edit("dualentry", 10002, {"name": f"was {key}"})
    job.sandbox.set_faults("stale-read=id:10002")
    stopped = job.update(job.sheet(names(20)), canary=3).stopped
    assert (True, False) == ("still shows" in stopped, key in stopped)


@pytest.fixture
def shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look once: the sandbox's reads lag behind for two."""
    monkeypatch.setattr(write, "LOOKS", (0.0,))


def fail_canary(job: JobFixture) -> tuple[Path, Path]:
    """Let the second of the first two changes be refused; return the sheet and the run's folder."""
    job.sandbox.set_faults("success-false=id:10002")
    sheet = job.sheet(names(6))
    closing = job.update(sheet, canary=2)
    assert 1 == closing.summary.exit_code
    job.sandbox.set_faults()
    return sheet, closing.folder


@pytest.mark.parametrize("canary", [None, 2])
def test_failed_canary_in_a_pipeline(job: JobFixture, canary: int | None) -> None:
    """Nobody looked: the same command is refused until --new, with --canary or without; nothing else is sent."""
    sheet, folder = fail_canary(job)
    for _ in range(2):
        with pytest.raises(UsageError) as caught:
            job.update(sheet, canary=canary)
        expected = (
            f"{folder}: The first 2 changes were sent to try, and row 3 did not hold: it is rejected. Nothing else was "
            "sent. Look at these records; then begin anew, which compares all rows:  --new"
        )
        assert (expected, 2) == (str(caught.value), len(job.writes()))
    closing = job.update(sheet, canary=canary, new=True)
    assert (0, ["unchanged"] + ["updated"] * 5) == (closing.summary.exit_code, [one for one, _ in told(closing)])


def test_failed_canary_on_a_terminal(job: JobFixture) -> None:
    """A person is asked, with no as the default; who says yes goes on, with the next changes as the canary."""
    sheet, folder = fail_canary(job)
    job.reporter = FakeReporter(can_ask=True)
    with pytest.raises(Declined):
        job.update(sheet, canary=2)
    assert (["Go on with the other rows?"], 2) == (job.reporter.questions, len(job.writes()))
    job.reporter = FakeReporter(answers=[True, False], can_ask=True)
    with pytest.raises(Declined):  # to the second question: nothing was sent, so the first is asked again
        job.update(sheet, canary=2)
    job.reporter = FakeReporter(answers=[True, True], can_ask=True)
    closing = job.update(sheet, canary=2)
    assert (folder, 1) == (closing.folder, len(job.reporter.questions))
    assert ["updated", "rejected", "updated", "updated", "updated", "updated"] == [one for one, _ in told(closing)]


def test_results_of_a_failed_canary(job: JobFixture) -> None:
    """Files that are made again say the same."""
    _, folder = fail_canary(job)
    assert 1 == run_results(folder, job.reporter.note, job.environment).summary.exit_code


def test_canary_that_is_the_whole_sheet(job: JobFixture, shows: Any) -> None:
    """Where no row is left, a canary that does not show is no success either."""
    job.sandbox.set_faults("stale-read=id:10002")
    closing = job.update(job.sheet(names(3)), canary=3)
    assert (1, ["updated"] * 3) == (closing.summary.exit_code, [one for one, _ in told(closing)])


def test_canary_left_to_retry(job: JobFixture) -> None:
    """What only transient trouble left open ends the run, and is among the first again: nobody need look."""
    job.sandbox.set_faults("500=id:10002")
    sheet = job.sheet(names(6))
    closing = job.update(sheet, canary=2, max_attempts=1)
    stopped = "The first 2 changes were sent to try, and row 3 did not hold: it is failed. Nothing else was sent."
    assert (3, stopped) == (closing.summary.exit_code, closing.stopped)
    closing = job.update(sheet, canary=1, max_attempts=1)
    assert {"10001", "10002"} == {written for _, written, _ in job.writes()}
    job.sandbox.set_faults()
    assert [("updated", "")] * 6 == told(job.update(sheet, canary=2))


def test_canary_passes_over_what_is_refused_here(job: JobFixture) -> None:
    """What is never sent tries nothing: the next changes take its place."""
    for number in (10001, 10002):
        job.sandbox.edit("dualentry", number, {"full_address": None})
    job.sandbox.set_faults("success-false=id:10004")
    rows = [f"{10001 + n},Berlin" for n in range(6)]
    closing = job.update(job.sheet("\n".join(["id,full_address.city", *rows, ""])), canary=2)
    assert ["invalid", "invalid", "updated", "rejected"] == [one for one, _ in told(closing)][:4]
    assert (1, 2) == (closing.summary.exit_code, len(job.writes()))


def test_failed_canary_of_an_undo(job: JobFixture) -> None:
    """An undo that did not hold is refused in a pipeline, too, and says where it asks."""
    closing = job.update(job.sheet(names(4)))
    job.sandbox.set_faults("success-false=id:10002")
    settings = Settings(max_per_second=500.0, yes=True, canary=2, base_url=job.sandbox.url)
    assert 1 == run_undo(closing.folder, settings, job.reporter, job.environment).summary.exit_code
    with pytest.raises(UsageError, match=r"run the same command on a terminal, where it asks whether to go on\.$"):
        run_undo(closing.folder, settings, job.reporter, job.environment)


def test_canary_that_was_killed(job: JobFixture) -> None:
    """A canary that ended before it was known whether it held is judged by what the API refused of it."""
    sheet, folder = fail_canary(job)
    with Journal.open(folder / "journal.sqlite") as journal:  # as after kill -9 a moment earlier
        journal.put_meta({"canary_failure": ""})
    with pytest.raises(UsageError, match="row 3 did not hold: it is rejected"):
        job.update(sheet, canary=2)


def test_canary_by_answer(job: JobFixture) -> None:
    """Who answers with c sends the first ten first."""
    job.reporter = FakeReporter(answers=[CANARY], can_ask=True)
    job.sandbox.set_faults("success-false=id:10001")
    closing = job.update(job.sheet(names(20)))
    assert 10 == len(job.writes())
    assert "did not hold" in closing.stopped


def test_canary_larger_than_the_sheet(job: JobFixture) -> None:
    """A canary may be the whole sheet."""
    closing = job.update(job.sheet(names(2)), canary=10)
    assert [("updated", ""), ("updated", "")] == told(closing)
