"""Waiting and giving up, whole jobs on the virtual clock: what ends a wait, and what a row is told of it."""

from pathlib import Path

import anyio
import httpx
import pytest

from batch.commands.update import update as run_update
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import VAYU, FakeReporter
from tests.resilience.memory_api import ENVIRONMENT, MemoryApi
from tests.virtual import run_on_virtual_clock


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_log_in_that_is_asked_to_wait(tmp_path: Path) -> None:
    """A log-in's Retry-After of 1 s costs 1 s, and not the rate of all that follows."""
    api, times = MemoryApi(VAYU), list[float]()
    api.begin((), (), lambda: None)

    async def answer(request: httpx.Request) -> httpx.Response:
        times.append(anyio.current_time())
        if len(times) == 1:
            return httpx.Response(429, headers={"Retry-After": "1"}, json={})
        return await api.answer(request)

    sheet = tmp_path / "sheet.csv"
    sheet.write_text("id,name\n" + "".join(f"{0x65F000000000000000000001 + n:024x},New\n" for n in range(40)))
    environment = Environment(ENVIRONMENT, run_on_virtual_clock, lambda: httpx.MockTransport(answer))
    given = Settings(input=str(sheet), endpoint=VAYU, base_url="https://api.test", yes=True)
    assert 0 == run_update(given, FakeReporter(), environment).summary.exit_code
    assert 1 <= times[-1] - times[0] <= 2
