"""The Idempotency-Key layer: one key, one write; who asks again gets the first answer.

An answer is kept as the function that makes it, so that a million keys fit in memory.
"""

from dataclasses import dataclass

from batch.sandbox.exchange import Answer, Call

MAX_KEY_LENGTH = 255


@dataclass(slots=True)
class _Entry:
    fingerprint: int
    answer: Answer | None = None


class KeyReusedError(Exception):
    """The key came with another method, path or body before."""


class KeyInUseError(Exception):
    """The first request with this key is still running."""


class IdempotencyKeys:
    """What is known about each key."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def begin(self, key: str, call: Call) -> Answer | None:
        """Claim the key, or return the answer to replay; raises `KeyReusedError`, `KeyInUseError`."""
        fingerprint = hash((call.method, call.path, call.body))
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(fingerprint)
            return None
        if entry.fingerprint != fingerprint:
            raise KeyReusedError
        if entry.answer is None:
            raise KeyInUseError
        return entry.answer

    def finish(self, key: str, answer: Answer) -> None:
        """Keep the answer for whoever asks again."""
        self._entries[key].answer = answer
