"""*updated* is said only of what was proven: every way an answer can lie, end to end, by the sandbox's ledger."""

from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from batch.commands.update import update
from batch.engine import api_session
from batch.http import Session, Timeouts
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import DUALENTRY, VAYU, VAYU_1, FakeReporter, JobFixture, told
from tests.virtual import Lists

APPLIED_AFTER_ALL = "no answer came, but reading back showed that it was applied"


@pytest.fixture
def is_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = Timeouts(connect=1.0, read=0.3, total=5.0)
    monkeypatch.setattr(api_session, "Session", lambda url, **given: Session(url, **given | {"timeouts": patience}))


def test_dropped_field(job: JobFixture) -> None:
    """A 200 whose answer shows that a field was dropped is rejected, with both values."""
    job.sandbox.set_faults("lie-drop-field=id:10001")
    closing = job.update(job.sheet("id,name,phone\n10001,Bolt,123\n"))
    expected = 'column "phone": the API accepted the change, but still shows "555-0001" instead of "123"'
    assert [("rejected", f"{expected}; changed all the same: name")] == told(closing)
    assert 1 == closing.summary.exit_code


def test_dropped_address(job: JobFixture) -> None:
    """A 200 whose answer does not show the address at all is held against a read."""
    job.sandbox.set_faults("lie-drop-field=id:10002")
    closing = job.update(job.sheet("id,full_address.city\n10002,Berlin\n"))
    expected = 'column "full_address.city": the API accepted the change, but still shows "Bonn" instead of "Berlin"'
    assert [("rejected", expected)] == told(closing)


def test_address_that_lags(job: JobFixture) -> None:
    """Reads that lag behind a write are looked at again before anything is called dropped."""
    job.sandbox.set_faults("stale-read=id:10002")
    closing = job.update(job.sheet("id,full_address.city\n10002,Berlin\n"))
    assert [("updated", "")] == told(closing)
    assert 1 == len(job.writes())


@pytest.mark.parametrize(("endpoint", "record"), [(DUALENTRY, "10001"), (VAYU, VAYU_1)])
def test_other_record(job: JobFixture, endpoint: str, record: str) -> None:
    """An answer with another record says nothing about this one: the record tells."""
    job.sandbox.set_faults(f"lie-other=id:{record}")
    closing = job.update(job.sheet(f"id,name\n{record},Bolt\n"), endpoint)
    said = "the answer (200) does not show the customer, but reading back showed that it was applied"
    assert [("updated", said)] == told(closing)
    assert 1 == len(job.writes())


@pytest.mark.parametrize(("endpoint", "record"), [(DUALENTRY, "10001"), (VAYU, VAYU_1)])
def test_success_false(job: JobFixture, endpoint: str, record: str) -> None:
    """A 200 that says `success: false` is rejected, in the API's own words."""
    job.sandbox.set_faults(f"success-false=id:{record}")
    closing = job.update(job.sheet(f"id,name\n{record},Bolt\n"), endpoint)
    assert [("rejected", "The customer could not be saved")] == told(closing)
    assert "Bolt" != job.record(record, endpoint)["name"]


def test_approval(job: JobFixture) -> None:
    """What waits for approval is updated, and says that it waits."""
    job.sandbox.set_faults("approval=id:10001")
    closing = job.update(job.sheet("id,name\n10001,Bolt\n"))
    assert [("updated", "updated, awaiting approval (pending)")] == told(closing)


def test_stale_read(job: JobFixture) -> None:
    """The answer proves the change, whatever reads show for a while."""
    job.sandbox.set_faults("stale-read=id:10001")
    closing = job.update(job.sheet("id,name\n10001,Bolt\n"))
    assert [("updated", "")] == told(closing)


@pytest.mark.parametrize("fault", ["drop-after", "hang-after", "half", "garbage"])
@pytest.mark.parametrize(("endpoint", "record"), [(DUALENTRY, "10001"), (VAYU, VAYU_1)])
def test_applied_without_answer(job: JobFixture, is_impatient: None, endpoint: str, record: str, fault: str) -> None:
    """A change that was applied without an answer is found by reading, and sent once."""
    job.sandbox.set_faults(f"{fault}=id:{record}")
    closing = job.update(job.sheet(f"id,name\n{record},Bolt\n"), endpoint)
    garbage = "the answer (200) did not come from the API: it is not JSON, but reading back showed that it was applied"
    assert [("updated", garbage if fault == "garbage" else APPLIED_AFTER_ALL)] == told(closing)
    assert 1 == len(job.writes())


@pytest.mark.parametrize("fault", ["drop-before", "hang-before"])
def test_not_applied(job: JobFixture, is_impatient: None, fault: str) -> None:
    """A change that never arrived is seen to be missing, and sent again with the same key."""
    job.sandbox.set_faults(f"{fault}=once:10001")
    closing = job.update(job.sheet("id,name\n10001,Bolt\n"))
    assert [("updated", "")] == told(closing)
    keys = {line["key"] for line in job.ledger() if line["method"] == "PATCH"}
    assert (2, 1) == (len(job.writes()), len(keys))


def test_hidden_field_not_applied(job: JobFixture) -> None:
    """A field that lists do not show is never taken for applied because nothing says otherwise."""
    job.sandbox.set_faults("drop-before=once:10001")
    closing = job.update(job.sheet("id,address\n10001,Elsewhere 1\n"))
    assert [("updated", "")] == told(closing)
    assert "Elsewhere 1" == job.record(10001)["address"]
    assert 2 == len(job.writes())


class Meanwhile(httpx.AsyncBaseTransport):
    """Loses every write, and lets another hand write something at that moment."""

    def __init__(self, job: JobFixture, body: dict[str, str]) -> None:
        self._office, self._body = job, body
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            self._office.sandbox.edit("dualentry", 10001, self._body)
            raise httpx.ReadTimeout("lost")
        return await self._inner.handle_async_request(request)

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self._inner.__aexit__(*exception)


class Secretive(Meanwhile):
    """Loses every write, and refuses to show a single record from then on."""

    has_lost = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.has_lost |= request.method == "PATCH"
        if request.method == "GET" and request.url.path.endswith("/10001/") and self.has_lost:
            return httpx.Response(400, json={"success": False, "errors": {"__all__": ["no"]}})
        return await super().handle_async_request(request)


def test_hidden_field_unseen(job: JobFixture) -> None:
    """A field that nothing shows is unknown after a write without an answer: never updated, never not applied."""
    environment = Environment(job.sandbox.environment(), transport=lambda: Secretive(job, {}))
    settings = job.settings(job.sheet("id,address\n10001,Elsewhere\n"), max_attempts=1)
    closing = update(settings, job.reporter, environment)
    assert [("unknown", "no answer within 60 s: it may have been applied or not")] == told(closing)


def test_hidden_field_unchanged(job: JobFixture) -> None:
    """A field that lists do not show is read alone, and not sent when it is the same."""
    address = job.record(10001)["address"]
    closing = job.update(job.sheet(f'id,address\n10001,"{address}"\n'))
    assert [("unchanged", "")] == told(closing)
    assert [] == job.writes()


def test_neither(job: JobFixture) -> None:
    """Without an answer, and with another hand's value in its place, the outcome is unknown, with all values."""
    environment = Environment(job.sandbox.environment(), transport=lambda: Meanwhile(job, {"phone": "777"}))
    settings = job.settings(job.sheet("id,phone\n10001,123\n"), max_attempts=1)
    closing = update(settings, job.reporter, environment)
    reason = (
        'column "phone": the record now shows "777": it was "555-0001", '
        'and "123" was sent (somebody else may have changed it)'
    )
    assert [("unknown", reason)] == told(closing)
    assert 3 == closing.summary.exit_code


class Redirecting(Lists):
    """Answers a write with a redirect, after the deed or instead of it."""

    is_applied = True

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET" or self.is_applied:
            found = super().answer(request)
        return found if request.method == "GET" else httpx.Response(303, headers={"Location": "/elsewhere/"})


@pytest.mark.parametrize(
    ("is_applied", "expected"),
    [
        (True, ("updated", "but reading back showed that it was applied")),
        (False, ("failed", "and the record does not show it so far")),
    ],
)
def test_redirected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_applied: bool, expected: tuple[str, str]
) -> None:
    """A redirect ends the run, but nothing that it was said of is unsent unseen: some redirect after the deed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "sheet.csv").write_text("id,name\n1,New\n2,New\n")
    api = Redirecting(range(1, 4))
    api.is_applied = is_applied
    given = Settings(input=str(tmp_path / "sheet.csv"), endpoint=DUALENTRY, yes=True, max_at_once=1)
    closing = update(given, FakeReporter(), api.environment())
    said = "the API answers with a redirect (303), which is never followed"
    assert [(expected[0], f"{said}, {expected[1]}"), ("unsent", "")] == told(closing)


class Forgetful(Lists):
    """Takes the first write without an answer, and gives no records then; later it refuses what it was asked."""

    starts = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH" and self.starts == 1:
            super().answer(request)
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        if request.method == "PATCH" or self.starts == 1:
            return httpx.Response(422, json={"success": False, "errors": {"name": ["not now"]}})
        return super().answer(request)


def test_found_by_a_later_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only a later start finds may be anybody's: it is unchanged, and undo leaves it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "sheet.csv").write_text("id,name\n1,New\n")
    api, found = Forgetful(range(1, 4)), []
    given = Settings(
        input=str(tmp_path / "sheet.csv"),
        endpoint=DUALENTRY,
        yes=True,
        compare=False,
        max_attempts=1,
        trust_folder=True,
    )
    for api.starts in (1, 2):
        closing = update(given, FakeReporter(), api.environment())
        found += told(closing)
    lost = "the connection was dropped before an answer came"
    later = f"at an earlier start: {lost}; the record has the value now, whoever wrote it"
    assert [("unknown", f"{lost}: it may have been applied or not"), ("unchanged", later)] == found
