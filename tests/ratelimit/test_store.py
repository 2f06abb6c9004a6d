"""Every store passes the conformance suite: the one in memory, and the tests' own that keeps JSON."""

import anyio
import pytest
from trio.testing import MockClock

from batch.ratelimit import LimiterState, LimiterStore, MemoryStore
from tests.ratelimit.json_store import JsonStore
from tests.ratelimit.store_conformance import POLICY, StoreConformance


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run on a clock that jumps to the next thing that happens."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class TestMemoryStore(StoreConformance):
    """The store of one process."""

    def make(self) -> LimiterStore:
        return MemoryStore()

    async def test_clock_is_that_of_the_event_loop(self) -> None:
        """Steps get anyio's time, so that a whole job runs on a virtual clock."""
        await anyio.sleep(1000)

        def tell(state: LimiterState | None, now: float) -> tuple[LimiterState, float]:
            return state or POLICY.new_state(), now

        assert (await MemoryStore().transact("key", tell))[1] == anyio.current_time()


class TestJsonStore(StoreConformance):
    """A store that suspends, copies and repeats."""

    def make(self) -> LimiterStore:
        return JsonStore()


class TestSlowJsonStore(StoreConformance):
    """The same, when it is far away."""

    def make(self) -> LimiterStore:
        return JsonStore(seconds=0.01)
