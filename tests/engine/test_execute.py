"""The streams of changes, whole jobs on the virtual clock: who works when, and how far reading goes ahead."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from batch.commands.update import update as run_update
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import DUALENTRY, FakeReporter
from tests.virtual import KEY, Lists, run_on_virtual_clock

Answer = Callable[[httpx.Request], Any]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def update(tmp_path: Path, rows: int, environment: Environment, **options: Any) -> FinishedRun:
    """Change the names of so many customers."""
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("id,name\n" + "".join(f"{n},New {n}\n" for n in range(1, rows + 1)))
    given = {"base_url": "https://api.test", "max_per_second": 1e5, "yes": True} | options
    return run_update(Settings(input=str(sheet), endpoint=DUALENTRY, **given), FakeReporter(), environment)


def answering(answer: Answer) -> Environment:
    """A world in which every request gets this answer."""

    async def handle(request: httpx.Request) -> httpx.Response:
        found = answer(request)
        return found if isinstance(found, httpx.Response) else await found

    return Environment(KEY, run_on_virtual_clock, lambda: httpx.MockTransport(handle))


def test_resting_frees_the_worker(tmp_path: Path) -> None:
    """With one slot, a change that backs off lets all the others go by."""
    order: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        number = request.url.path.split("/")[-2]
        order.append(number)
        return httpx.Response(500 if order == ["1"] else 200, json={"id": number, "name": f"New {number}"})

    closing = update(tmp_path, 4, answering(answer), compare=False, max_at_once=1)
    assert (["1", "2", "3", "4", "1"], 0) == (order, closing.summary.exit_code)


@pytest.mark.looks
def test_looking_for_long_frees_the_worker(tmp_path: Path) -> None:
    """With one slot, a change whose record shows it late lets all the others go by, and is updated all the same."""
    api, written = Lists(range(1, 31)), dict[int, float]()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method != "PATCH":
            if written and trio.current_time() > written[1] + 15:
                api.records[1]["name"] = "New 1"
            return api.answer(request)
        number = int(request.url.path.split("/")[-2])
        written[number] = trio.current_time()
        return api.answer(request) if number > 1 else httpx.Response(200, json=api.records[1])

    closing = update(tmp_path, 30, answering(answer), max_at_once=1)
    assert ({"updated": 30}, 30) == ({k: v for k, v in closing.summary.outcomes.items() if v}, len(written))
    assert max(written.values()) < written[1] + 15


def test_as_many_at_once_as_there_are_slots(tmp_path: Path) -> None:
    """Every slot is used, also by rows that one read brought, and never more than there are."""
    api, inside, most = Lists(range(1, 61)), 0, 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await trio.sleep(0.1)
        inside -= 1
        return api.answer(request)

    closing = update(tmp_path, 60, answering(answer), max_at_once=16)
    assert (16, 0) == (most, closing.summary.exit_code)


def test_reading_goes_ahead_only_so_far(tmp_path: Path) -> None:
    """However slow the writes are, no more than a few reads are ahead of them, and all rows come to their end."""
    api, ahead = Lists(range(1, 601)), []

    def answer(request: httpx.Request) -> httpx.Response:
        written = sum(one.method == "PATCH" for _, one in api.asked)
        ahead.append(100 * len(api.lists()) - written)
        return api.answer(request)

    closing = update(tmp_path, 600, answering(answer), max_at_once=4)
    assert (0, 600) == (closing.summary.exit_code, closing.summary.outcomes["updated"])
    assert max(ahead) <= 100 * 2 + 100 + 4


def test_stop_ends_the_reading(tmp_path: Path) -> None:
    """After a reason to stop nothing more is read, and every other row is unsent."""
    api = Lists(range(1, 601))

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={}) if request.method == "PATCH" else api.answer(request)

    closing = update(tmp_path, 600, answering(answer), max_at_once=2)
    assert (2, 600) == (closing.summary.exit_code, closing.summary.outcomes["unsent"])
    assert len(api.lists()) <= 3
