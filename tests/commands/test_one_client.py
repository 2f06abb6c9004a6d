"""One client and one log-in a start, whatever it asks the API for; by the sandbox's ledger."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from batch.commands.plan import plan
from batch.commands.pull import Wanted, pull
from batch.commands.undo import undo
from batch.commands.update import update
from batch.http.transport import HttpTransport
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import VAYU, VAYU_1, VAYU_2, JobFixture, told

SHEETS = {
    "custom fields": (f"id,customFields.Region\n{VAYU_1},North\n{VAYU_2},South\n", {}),
    "key": ("externalId,name\nV-1,New 1\nV-2,New 2\n", {"key": "externalId"}),
    "both": ("externalId,customFields.Region\nV-1,North\nV-2,South\n", {"key": "externalId"}),
    "both, all looked at first": (
        "externalId,customFields.Region\nV-1,North\nV-2,South\n", {"key": "externalId", "invalid": "abort"},
    ),
}  # fmt: skip


def log_ins(job: JobFixture) -> int:
    """How often clients logged in since the last time that this was asked."""
    asked = Counter(line["path"] for line in job.ledger())
    job.began = job.sandbox.ledger_size()
    return asked["/login"]


@pytest.fixture
def transports(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts the transports that were made."""
    made: list[Any] = []
    init = HttpTransport.__init__
    monkeypatch.setattr(HttpTransport, "__init__", lambda *given, **named: (made.append(1), init(*given, **named))[1])
    return lambda: len(made)


@pytest.mark.parametrize("case", SHEETS)
def test_update_plan_undo(job: JobFixture, transports: Callable[[], int], case: str) -> None:
    """A plan, the update by it, an update, and what takes it back: each logs in once, over one client."""
    text, options = SHEETS[case]
    sheet = job.sheet(text)
    plan_options = {name: value for name, value in options.items() if name != "invalid"}
    made = plan(job.settings(sheet, VAYU, **plan_options), job.reporter, job.environment)
    assert (1, 1) == (log_ins(job), transports())
    done = job.update(sheet, VAYU, plan=made.folder, **plan_options)
    assert (1, 2) == (log_ins(job), transports())
    assert ["updated"] * 2 == [outcome for outcome, _ in told(done)]
    undo(done.folder, Settings(max_per_second=500.0, yes=True, base_url=job.sandbox.url), job.reporter, job.environment)
    assert (1, 3) == (log_ins(job), transports())
    assert ["updated"] * 2 == [outcome for outcome, _ in told(job.update(sheet, VAYU, **options))]
    assert (1, 4) == (log_ins(job), transports())


def test_resume(job: JobFixture, transports: Callable[[], int]) -> None:
    """A start that goes on with a run logs in once, too."""
    text, options = SHEETS["both"]
    sheet = job.sheet(text)
    job.sandbox.set_faults("500@writes=1")
    job.update(sheet, VAYU, max_attempts=1, **options)
    job.sandbox.set_faults()
    assert (1, 1) == (log_ins(job), transports())
    assert ["updated"] * 2 == [outcome for outcome, _ in told(job.update(sheet, VAYU, **options))]
    assert (1, 2) == (log_ins(job), transports())


def test_pull(job: JobFixture, tmp_path: Path) -> None:
    """A pull reads definitions and records after one log-in."""
    listener = SimpleNamespace(note=print, cost=print, pulled=lambda count, total: None)
    settings = Settings(endpoint=VAYU, base_url=job.sandbox.url, max_per_second=500.0)
    pull(settings, Wanted(tmp_path / "pulled.csv"), listener, job.environment)
    assert 1 == log_ins(job)


def test_transport_of_ones_own(job: JobFixture) -> None:
    """A transport that is given with the environment, such as httpx.MockTransport, carries all requests of a run."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        record = {"id": 10001, "name": "Old"} | json.loads(request.content or b"{}")
        return httpx.Response(200, json=record if request.method == "PATCH" else {"items": [record], "count": 1})

    environment = Environment(job.environment.variables, transport=lambda: httpx.MockTransport(answer))
    settings = job.settings(job.sheet("id,name\n10001,New\n"))
    assert [("updated", "")] == told(update(settings, job.reporter, environment))
    assert (["GET", "PATCH"], []) == (asked, job.ledger())


def test_nothing_to_ask(job: JobFixture, transports: Callable[[], int]) -> None:
    """Where nothing is asked, no way to the API is opened."""
    job.update(job.sheet("id,name\nnone,New\n"), VAYU)
    assert (0, 0) == (log_ins(job), transports())
