"""The application without its server: a whole job in one process, on the virtual clock."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from batch.commands.update import update
from batch.run.target import Environment
from batch.sandbox.options import SandboxOptions
from batch.settings import Settings
from tests.job_fixture import DUALENTRY, VAYU, VAYU_1, FakeReporter, results
from tests.sandbox.control import KEY
from tests.sandbox.in_process import InProcessSandbox
from tests.virtual import run_on_virtual_clock

CREDENTIALS = {"DUALENTRY_API_KEY": KEY, "VAYU_API_TOKEN": KEY, "VAYU_CLIENT_ID": "sandbox-client"}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_a_job_with_every_fault_of_the_wire(tmp_path: Path, endpoint: str) -> None:
    """Cut, dropped and hanging answers reach the program as its transport would tell them; it heals all of them."""
    first, field = (10001, "phone") if endpoint == DUALENTRY else (int(VAYU_1, 16), "legalName")
    ids = [f"{first + one:x}" if endpoint == VAYU else first + one for one in range(12)]
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"id,{field}\n" + "".join(f"{one},777\n" for one in ids))
    faults = ("drop-before=nth:1", "hang-before=nth:2", "drop-after=nth:3", "hang-after=nth:4", "half=nth:5")
    sandbox = InProcessSandbox(SandboxOptions(keys=(KEY,), records=20, faults=faults))
    environment = Environment(CREDENTIALS, run_on_virtual_clock, lambda: sandbox)
    done = update(Settings(input=str(sheet), endpoint=endpoint, yes=True), FakeReporter(), environment)
    assert ["updated"] * 12 == [row["outcome"] for row in results(done.folder)]


def test_limits_pass_on_the_clock_of_the_test(tmp_path: Path) -> None:
    """DualEntry's 10 + 1/s for PATCHes: 40 of them take half a minute of the virtual clock, and none is refused."""
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("id,phone\n" + "".join(f"{10001 + one},777\n" for one in range(40)))
    sandbox = InProcessSandbox(SandboxOptions(keys=(KEY,), records=50))
    seconds: list[float] = []

    def on_virtual_clock(function: Callable[..., Any], *arguments: Any) -> Any:
        async def timed() -> Any:
            began = trio.current_time()
            done = await function(*arguments)
            seconds.append(trio.current_time() - began)
            return done

        return run_on_virtual_clock(timed)

    environment = Environment(CREDENTIALS, on_virtual_clock, lambda: sandbox)
    update(Settings(input=str(sheet), endpoint=DUALENTRY, yes=True), FakeReporter(), environment)
    counts = sandbox.sandbox.counts.shown()["requests"]["dualentry"]
    assert (40, None) == (counts["PATCH 200"], counts.get("PATCH 429"))
    assert 29 < sum(seconds) < 60
