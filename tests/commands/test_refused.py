"""What is refused here, by looking at the record: *invalid*, in every command, and never sent."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from batch import sources
from batch.commands.plan import plan
from batch.commands.update import update
from batch.settings import Settings
from tests.job_fixture import (
    DUALENTRY,
    VAYU,
    VAYU_1,
    VAYU_2,
    FakeReporter,
    JobFixture,
    results,
    told,
)
from tests.virtual import Lists

NO_ADDRESS = {"full_address": None}
CASES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "a contact too far": (
        VAYU, f"id,contacts.9.email\n{VAYU_1},a@b.example\n", {"contacts": []},
        'column "contacts.9.email": would leave a gap: the customer has 0 contacts',
    ),
    "parts of no address": (
        DUALENTRY, "id,full_address.city\n10001,Berlin\n", NO_ADDRESS,
        'column "full_address.city": needs full_address.street, full_address.postal_code in the same row',
    ),
    "too large": (
        VAYU, f"id,legalName\n{VAYU_1},{'x' * 300_000}\n", {}, "makes a request of 293 KB (Vayu takes at most 256 KB)",
    ),
}  # fmt: skip
"""Endpoint, sheet, the record's values, and what is said."""


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request: pytest.FixtureRequest, job: JobFixture) -> tuple[str, str, str]:
    """Endpoint, sheet and message of a case, with the record as it needs it."""
    endpoint, sheet, values, message = request.param
    job.sandbox.edit(endpoint.partition(".")[0], VAYU_1 if endpoint == VAYU else "10001", values)
    return endpoint, sheet, message


def test_invalid(job: JobFixture, case: tuple[str, str, str]) -> None:
    """What does not fit the record is invalid, without an attempt, in an update and in a plan."""
    endpoint, text, message = case
    sheet = job.sheet(text)
    made = plan(job.settings(sheet, endpoint), job.reporter, job.environment)
    closing = job.update(sheet, endpoint)
    (row,) = results(closing.folder)
    assert ("invalid", "0", []) == (row["outcome"], row["attempts"], job.writes())
    assert message in (row["message"] or "")
    assert {"invalid": 1} == {outcome: count for outcome, count in made.summary.outcomes.items() if count}
    assert 1 == closing.summary.exit_code == made.summary.exit_code


def test_what_is_left_of_a_resumed_run(job: JobFixture) -> None:
    """What was refused while sending is no change that is left."""
    job.sandbox.edit("dualentry", 10001, NO_ADDRESS)
    job.sandbox.set_faults("500=id:10002")
    sheet = job.sheet("id,full_address.city\n10001,Berlin\n10002,Celle\n")
    first = job.update(sheet, max_attempts=1)
    assert ["invalid", "failed"] == [outcome for outcome, _ in told(first)]
    job.sandbox.set_faults()
    assert ["invalid", "updated"] == [outcome for outcome, _ in told(job.update(sheet))]
    assert [2, 1] == [preflight.to_send for preflight in job.reporter.asked]


def test_what_an_earlier_part_sent(job: JobFixture) -> None:
    """*Invalid* says that nothing was ever sent, so what an earlier part sent is rejected, with its attempts."""
    sheet = job.sheet("id,full_address.city\n10001,Berlin\n")
    job.sandbox.set_faults("500=id:10001")
    assert ["failed"] == [outcome for outcome, _ in told(job.update(sheet, max_attempts=1))]
    job.sandbox.set_faults()
    job.sandbox.edit("dualentry", 10001, NO_ADDRESS)
    (row,) = results(job.update(sheet).folder)
    assert ("rejected", "1") == (row["outcome"], row["attempts"])


# -- --invalid abort ------------------------------------------------------------------------------------------------


def test_abort(job: JobFixture, case: tuple[str, str, str]) -> None:
    """What only the record makes invalid is found before anything is sent, and before the question."""
    endpoint, text, _ = case
    other = VAYU_2 if endpoint == VAYU else "10002"
    header, row = text.splitlines()
    sheet = job.sheet(f"{header},name\n{other},,New\n{row},\n")
    closing = job.update(sheet, endpoint, invalid="abort")
    assert ["unsent", "invalid"] == [outcome for outcome, _ in told(closing)]
    stopped = "1 row is invalid and --invalid abort is set, so nothing was sent."
    assert (2, stopped, [], []) == (
        closing.summary.exit_code, closing.stopped, job.writes(), job.reporter.asked,
    )  # fmt: skip
    again = job.update(sheet, endpoint, invalid="abort")
    assert f"{stopped} To look at the records again:  --new" == again.stopped


def test_abort_sends_where_nothing_is_invalid(job: JobFixture) -> None:
    """When every record was looked at, what differs is asked about and sent; each request was counted."""
    same = job.record(10002)["name"]
    sheet = job.sheet(f'id,name\n10001,New\n10002,"{same}"\n')
    closing = job.update(sheet, invalid="abort")
    assert [("updated", ""), ("unchanged", "")] == told(closing)
    assert ([1], 0) == ([preflight.to_send for preflight in job.reporter.asked], closing.summary.exit_code)
    assert len(job.ledger()) == closing.summary.requests == job.reporter.asked[0].cost.whole.requests == 3


def test_abort_reads_the_input_once_more(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look at the records, the rows are read once more, and not again to count what is left."""
    passes, iter_frames = [], sources.iter_frames
    monkeypatch.setattr(sources, "iter_frames", lambda staged: passes.append(staged) or iter_frames(staged))
    sheet = job.sheet("id,name\n10001,New\n10002,New\n")
    counts = []
    for invalid in ("skip", "abort"):
        passes.clear()
        job.update(sheet, invalid=invalid, new=True)
        counts.append(len(passes))
        job.sandbox.reset()
    assert counts[0] + 1 == counts[1]


def test_abort_where_records_cannot_be_read(job: JobFixture) -> None:
    """What stops the look ends the run before the question; nothing was sent."""
    job.sandbox.set_faults("401=1")
    closing = job.update(job.sheet("id,name\n10001,New\n"), invalid="abort")
    assert ([("unsent", "")], 2, []) == (told(closing), closing.summary.exit_code, job.reporter.asked)


def test_abort_where_a_record_could_not_be_read(job: JobFixture) -> None:
    """What transient trouble kept from being read is no result yet, and is read again."""
    job.sandbox.set_faults("500=nth:1")
    closing = job.update(job.sheet("id,name\n10001,New\n"), invalid="abort", max_attempts=1)
    assert ([("updated", "")], [{}]) == (told(closing), [preflight.done for preflight in job.reporter.asked])


def test_abort_where_nothing_differs(job: JobFixture) -> None:
    """When the look shows that nothing is to be sent, nobody is asked."""
    same = job.record(10002)["name"]
    closing = job.update(job.sheet(f'id,name\n10002,"{same}"\n'), invalid="abort")
    assert ([("unchanged", "")], 0, []) == (told(closing), closing.summary.exit_code, job.reporter.asked)


def test_abort_in_the_middle(job: JobFixture) -> None:
    """A run of which something was sent goes on, whatever is found invalid then."""
    job.sandbox.set_faults("500=id:10002")
    sheet = job.sheet("id,full_address.city\n10001,Berlin\n10002,Celle\n")
    job.update(sheet, invalid="abort", max_attempts=1)
    job.sandbox.set_faults()
    assert ["updated", "updated"] == [outcome for outcome, _ in told(job.update(sheet, invalid="abort"))]


class Unlisted(Lists):
    """An API that does not let its customers be listed."""

    def _list(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(422, json={"success": False, "errors": {"__all__": ["no lists"]}})


def test_abort_where_lists_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are read one by one then, in both readings; the second one asks for no list any more."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    api, reporter, sheet = Unlisted(range(1, 3)), FakeReporter(), tmp_path / "sheet.csv"
    sheet.write_text("id,name\n1,New\n2,N 2\n", encoding="utf-8")
    settings = Settings(input=str(sheet), endpoint=DUALENTRY, invalid="abort")
    assert [("updated", ""), ("unchanged", "")] == told(update(settings, reporter, api.environment()))
    assert [] == reporter.notes
