"""A store as those outside of this process will be: it keeps JSON, suspends, and repeats steps that lost a race."""

import json

import anyio

from batch.ratelimit import LimiterState, Step
from batch.ratelimit.policy import Answer


class JsonStore:
    """Compare and swap on texts. Every transaction takes `seconds`, half of them before it takes effect."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._texts: dict[str, str] = {}

    async def transact(self, key: str, step: Step[Answer]) -> tuple[LimiterState, Answer]:
        await anyio.sleep(self._seconds / 2)
        while True:
            now, before = anyio.current_time(), self._texts.get(key)
            step(_decode(before), now)  # a step that lost its race leaves nothing behind
            state, answer = step(_decode(before), now)
            await anyio.lowlevel.checkpoint()
            if self._texts.get(key) == before:
                break
        self._texts[key] = json.dumps(state.as_json(), allow_nan=False)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self._seconds / 2)
        return state, answer


def _decode(text: str | None) -> LimiterState | None:
    return None if text is None else LimiterState.from_json(json.loads(text))
