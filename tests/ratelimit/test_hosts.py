"""The simulation of many keys on many hosts: a small one, how like the real limiter it is, and what the report says."""

import re

import anyio
import pytest
from trio.testing import MockClock

from batch.ratelimit import Bucket, Limits, RatePolicy
from tests.ratelimit.test_shared import Process, processes
from tests.simulation.hosts import KINDS, REPORT, KeyCase, KeyWorld, Kind, cases, simulate, simulate_all

pytestmark = pytest.mark.anyio
FAST = Kind("fast", Limits(total=Bucket(20, 100)), Bucket(20, 100), 1, 1)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run on a clock that jumps to the next thing that happens."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def test_few_keys_take_hardly_longer_than_their_limits_ask_for() -> None:
    """All rows of all keys are answered, without a 429 where the limits are documented, in little more than the bound.

    The longest of these keys has a minute; what processes need to begin and to end is more of that than of an hour.
    """
    figures = simulate_all(5, 4, 3_000)
    documented = [one for one in figures if one.kind.startswith("documented")]
    assert 0 == sum(one.refused for one in documented)
    assert max(one.ended for one in figures) <= 1.05 * max(one.bound for one in figures)
    assert all(one.bound < one.seconds for one in documented)


def test_all_rows_are_spread_over_processes_and_hosts() -> None:
    """The keys have all of the rows between them, and no two processes of a key are on one host."""
    found = [*cases(100, 10, 200_000)]
    assert abs(sum(one.rows for one in found) - 200_000) < 100
    assert all(len({host for _, host in one.shards}) == len(one.shards) for one in found)
    assert {one.kind for one in found} == {*KINDS}


async def test_simulated_processes_are_as_fast_as_real_limiters() -> None:
    """Three limiters over a store that suspends need as long for the same rows as three simulated processes."""
    each, many = 100, processes(3, FAST.limits)

    async def work(process: Process) -> None:
        async def slot() -> None:
            while len(process.starts) < each:
                await process.attempt()

        async with anyio.create_task_group() as tasks:
            for _ in range(process.slots):
                tasks.start_soon(slot)

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for process in many:
            tasks.start_soon(work, process)
    real = anyio.current_time() - began
    simulated = simulate(KeyCase(1, FAST, tuple((each, host) for host in range(3))))
    assert abs(simulated.seconds - real) <= 0.1 * simulated.bound


def test_policy_that_permits_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is simulated depends on the policy: where that permits each start at once, the API refuses most of them."""
    monkeypatch.setattr(RatePolicy, "earliest", lambda self, state, now, route: now)
    world = KeyWorld(KeyCase(1, FAST, ((100, 0), (100, 1))))
    world.run()
    assert world.refused > 50


def test_report_shows_what_is_asked_for() -> None:
    """All keys together take at most 1.05 times the bound, and documented limits are never overrun, as reported."""
    text = REPORT.read_text(encoding="utf-8")
    ratio = re.search(r"([\d.]+) times the [\d,]+ s of the key", text)
    assert ratio is not None
    assert float(ratio[1]) <= 1.05
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| documented")]
    assert ["0.000"] * 2 == [cells[7] for cells in rows]
