"""The figures of "know before you write": 10,000 rows at DualEntry's documented limits, on a virtual clock."""

import json
from pathlib import Path

import httpx
import pytest
import trio

from batch.commands.update import update
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import FakeReporter, told
from tests.virtual import KEY, run_on_virtual_clock

ROWS = 10_000
DIFFERING = ROWS * 3 // 100


class Records:
    """DualEntry's customers in memory, within the documented limits or it is a failure; remembers when it was asked."""

    def __init__(self) -> None:
        self.names = {number: f"N {number}" for number in range(1, ROWS + 1)}
        self.asked: list[tuple[float, str]] = []

    def environment(self) -> Environment:
        return Environment(KEY, run_on_virtual_clock, lambda: httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((trio.current_time(), request.method))
        if request.method == "PATCH":
            number = int(request.url.path.split("/")[-2])
            self.names[number] = json.loads(request.content)["name"]
            return httpx.Response(200, json=self._record(number))
        items = [self._record(int(number)) for number in request.url.params.get_list("id")]
        return httpx.Response(200, json={"items": items, "count": len(items)})

    def _record(self, number: int) -> dict[str, object]:
        return {"id": number, "name": self.names[number]}

    def times(self, method: str) -> list[float]:
        return [at for at, one in self.asked if one == method]

    @property
    def seconds(self) -> float:
        return self.asked[-1][0] - self.asked[0][0]


def send(folder: Path, api: Records, *, compare: bool) -> FinishedRun:
    every = ROWS // DIFFERING
    lines = [f"{n},{'New' if n % every == 0 and n // every <= DIFFERING else 'N'} {n}" for n in range(1, ROWS + 1)]
    sheet = folder / "sheet.csv"
    sheet.write_text("\n".join(["id,name", *lines, ""]))
    settings = Settings(input=str(sheet), endpoint="dualentry.customers", compare=compare, yes=True)
    return update(settings, FakeReporter(), api.environment())


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Records, FinishedRun]:
    api = Records()
    return api, send(tmp_path_factory.mktemp("compared"), api, compare=True)


def test_only_what_differs(compared: tuple[Records, FinishedRun]) -> None:
    """A sheet of 10,000 rows of which 3 % differ takes 100 reads and 300 writes."""
    api, closing = compared
    assert (ROWS // 100, DIFFERING) == (len(api.times("GET")), len(api.times("PATCH")))
    assert DIFFERING == [outcome for outcome, _ in told(closing)].count("updated")


def test_a_twentieth_of_the_time(compared: tuple[Records, FinishedRun]) -> None:
    """It takes at most a twentieth of what sending all takes at the documented limit: 10 at once, then 1 a second."""
    api, _ = compared
    assert api.seconds <= (ROWS - 10) / 1.0 / 20


def test_reading_beside_sending(compared: tuple[Records, FinishedRun]) -> None:
    """The first write leaves long before the last read."""
    api, _ = compared
    assert api.times("PATCH")[0] < 0.1 * api.times("GET")[-1]


@pytest.mark.long
def test_sending_all(tmp_path: Path, compared: tuple[Records, FinishedRun]) -> None:
    """The twentieth holds against a run that really sends all."""
    api = Records()
    send(tmp_path, api, compare=False)
    assert ROWS == len(api.times("PATCH"))
    assert compared[0].seconds <= api.seconds / 20
