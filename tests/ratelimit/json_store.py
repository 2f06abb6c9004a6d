"""A store as those outside of this process will be: it keeps JSON, suspends, and repeats steps that lost a race."""

import json
import math

import anyio

from batch.ratelimit import LimiterState, MemoryStore, Step, StoreLostError
from batch.ratelimit.state import Answer


class JsonStore(MemoryStore):
    """Compare and swap on texts. Every transaction takes `seconds`, half of them before it takes effect.

    With `ahead` it is one that several processes share. `offset`: by how much its clock is ahead of anyio's.
    """

    def __init__(self, seconds: float = 0.0, *, ahead: float = 0.0, offset: float = 0.0) -> None:
        super().__init__()
        self.ahead, self.offset = ahead, offset
        self._seconds = seconds
        self.texts: dict[str, str] = {}
        self.transactions = 0
        self.is_lost = False
        self.since = -math.inf
        """When it began, on anyio's clock."""

    def now(self, key: str) -> float:
        return anyio.current_time() + self.offset

    def began(self, key: str) -> float:
        return self.since + self.offset

    def revision(self, key: str) -> int:
        self._check()
        state = _decode(self.texts.get(key))
        return state.revision if state else 0

    def _check(self) -> None:
        if self.is_lost:
            raise StoreLostError("the store is gone")

    async def transact(self, key: str, step: Step[Answer]) -> tuple[LimiterState, Answer]:
        await anyio.sleep(self._seconds / 2)
        self.transactions += 1
        while True:
            self._check()
            now, before = self.now(key), self.texts.get(key)
            step(_decode(before), now)  # a step that lost its race leaves nothing behind
            state, answer = step(_decode(before), now)
            await anyio.lowlevel.checkpoint()
            if self.texts.get(key) == before:
                break
        self.texts[key] = json.dumps(state.as_json(), allow_nan=False)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self._seconds / 2)
        return state, answer


def _decode(text: str | None) -> LimiterState | None:
    return None if text is None else LimiterState.from_json(json.loads(text))
