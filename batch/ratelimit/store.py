"""Where the state of rate limiters is kept: behind one method, so that processes and hosts can share a limit.

`tests/ratelimit/store_conformance.py` is what every store has to pass.
"""

from typing import Protocol

import anyio

from batch.ratelimit.policy import Answer, LimiterState, Step


class LimiterStore(Protocol):
    """Keeps one `LimiterState` for each key.

    Promises of every store: steps on one key take effect one after the other, each on what the last one returned; keys
    have nothing to do with each other; `now` is the store's own clock and never goes back; a step that may have to run
    again (after a lost compare-and-swap) gets a fresh copy of the stored state each time. When `transact` is cancelled,
    the step took effect as a whole or not at all.
    """

    async def transact(self, key: str, step: Step[Answer]) -> tuple[LimiterState, Answer]:
        """Run `step` on the state of `key`, keep the state that it returns, and return both; only look at the state."""
        ...


class MemoryStore:
    """The state as live objects of this process, on anyio's clock. It never suspends, and so needs no lock."""

    def __init__(self) -> None:
        self._states: dict[str, LimiterState] = {}

    async def transact(self, key: str, step: Step[Answer]) -> tuple[LimiterState, Answer]:
        """Run `step` on the state itself; nothing is copied."""
        state, answer = step(self._states.get(key), anyio.current_time())
        self._states[key] = state
        return state, answer
