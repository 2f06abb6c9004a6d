"""The time left that a run shows."""

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from batch.cli import messages
from batch.engine.reporter import Meter, Progress
from batch.model import Outcome
from tests.job_fixture import FakeReporter
from tests.virtual import run_on_virtual_clock

ROWS, BURST = 1_000, 10


class Journal:
    """A burst of rows is done at once, and then one a second, as DualEntry permits."""

    @property
    def counts(self) -> dict[Outcome, int]:
        now = anyio.current_time()
        return {Outcome.UPDATED: BURST + int(now) if now else 0}


def etas(
    expected: float | None, seen: list[Progress] | None = None, pause: tuple[float, float] = (0.0, 0.0)
) -> list[float | None]:
    """Return the time left at each second."""
    seen = [] if seen is None else seen
    reporter = FakeReporter(interval=1.0)
    reporter.progress = seen.append  # type: ignore[method-assign]  # it is a fake

    async def run() -> None:
        sign: Any = SimpleNamespace(requested=False)
        wait = SimpleNamespace(until=pause[1], cause="the API asks for it")

        def wait_now() -> Any:
            return wait if pause[0] <= anyio.current_time() < pause[1] else None

        client: Any = SimpleNamespace(wait=wait_now, limiter=SimpleNamespace(throttled=0))
        journal: Any = Journal()
        meter = Meter(journal, ROWS, sign)
        meter.expected = expected
        with anyio.move_on_after(40.5):
            await meter.report(reporter, client)

    run_on_virtual_clock(run)
    return [one.eta for one in seen]


def test_estimate_goes_first() -> None:
    """While the burst at the beginning makes the recent rate too fast, the estimate says what is left."""
    seen = etas(990.0)
    assert (990.0, 985.0, pytest.approx(960.0)) == (seen[0], seen[5], seen[30])


def test_without_estimate() -> None:
    """Where the whole is not known, the recent rate is all there is."""
    seen = etas(None)
    assert (None, pytest.approx(985 / 3), pytest.approx(960.0)) == (seen[0], seen[5], seen[30])


def test_wait_is_shown() -> None:
    """While everybody waits, the line of the progress says for how long, and why."""
    now = Progress(10, 3, {Outcome.UPDATED: 3}, 0.5, 1, 42.0, "the API asks for it", None, False)
    assert "updated 3   0.5/s   throttled 1   waiting 42 s: the API asks for it" == messages.progress(now)


def test_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done before, such as what has the values already, is not counted, nor is it of the time left."""
    monkeypatch.setattr(Journal, "counts", property(lambda self: {Outcome.UNCHANGED: 700, Outcome.UPDATED: now()}))
    seen: list[Progress] = []

    def now() -> int:
        return int(anyio.current_time())

    etas(300.0, seen)
    assert (300, 0, 300, 30) == (seen[0].rows, seen[0].done, seen[30].rows, seen[30].done)
    assert pytest.approx(270.0, rel=0.15) == seen[30].eta


def test_pause() -> None:
    """A pause stops the estimate; afterwards it goes on from where it was."""
    seen: list[Progress] = []
    etas(990.0, seen, pause=(10.5, 20.5))
    assert [None] * 10 == [one.eta for one in seen[11:21]]
    assert pytest.approx(970.0, rel=0.02) == seen[30].eta


def test_slower_than_the_limits() -> None:
    """Where it goes much slower than the limits permit, the recent rate tells."""
    assert pytest.approx(960.0) == etas(300.0)[30]
