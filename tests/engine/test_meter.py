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


def etas(expected: float | None) -> list[float | None]:
    """Return the time left at each second."""
    seen: list[Progress] = []
    reporter = FakeReporter(interval=1.0)
    reporter.progress = seen.append  # type: ignore[method-assign]  # it is a fake

    async def run() -> None:
        sign: Any = SimpleNamespace(requested=False)
        client: Any = SimpleNamespace(wait=lambda: None, limiter=SimpleNamespace(throttled=0))
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
    now = Progress(10, {Outcome.UPDATED: 3}, 0.5, 1, 42.0, "the API asks for it", None, False)
    assert "updated 3   0.5/s   throttled 1   waiting 42 s: the API asks for it" == messages.progress(now)
