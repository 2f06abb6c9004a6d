"""What a run found out about an API's real limit, kept for the next run.

Kept per origin and *fingerprint* of the credential; the credential itself never comes near this file. Promises: a file
that is missing, damaged or unwritable costs what was learned, never the run; what no run has found again within a day
is forgotten, since a limit that others used up for an hour is no limit of the API's.
"""

import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from batch.files import write_private

KEPT_KEYS = 200
LARGEST_FILE = 1_000_000
KEPT_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Learned:
    """The ceiling that was found, in attempts per second, and the API's window in seconds if it has a long one.

    `at` is when that was found (seconds since 1970), None for what this run has found.
    """

    per_second: float | None = None
    window: float | None = None
    at: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name, value in (("per_second", self.per_second), ("window", self.window)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a number greater than 0, not {value}")

    def as_dict(self) -> dict[str, float]:
        """Return it as JSON can hold it."""
        pairs = (("per_second", self.per_second), ("window", self.window), ("at", self.at))
        return {name: value for name, value in pairs if value is not None}

    @classmethod
    def from_dict(cls, raw: object) -> "Learned":
        """Read what `as_dict` made; whatever does not fit counts as not learned."""
        if not isinstance(raw, Mapping):
            return cls()
        return cls(_positive(raw.get("per_second")), _positive(raw.get("window")), _positive(raw.get("at"), 1e12))

    def is_current(self, now: float) -> bool:
        """Return whether it was found within the last day."""
        return self.at is not None and now - KEPT_SECONDS < self.at <= now


def load_learned(path: Path, key: str) -> Learned:
    """Return what was learned under this key (origin and credential fingerprint) within the last day, or nothing."""
    found = Learned.from_dict(_read(path).get(key))
    return found if found.is_current(time.time()) else Learned()


def save_learned(path: Path, key: str, learned: Learned) -> None:
    """Keep it under this key beside the others; the oldest keys give way. An unwritable place is no error."""
    everything = _read(path)
    before, now = Learned.from_dict(everything.pop(key, None)), time.time()
    if learned != Learned():
        is_older = learned == before and before.is_current(now)  # nothing was found: that does not make it newer
        everything[key] = replace(learned, at=before.at if is_older else now).as_dict()
    newest = dict(list(everything.items())[-KEPT_KEYS:])
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, json.dumps(newest, indent=1))


def _positive(value: object, below: float = 1e9) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < below else None


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            raw = json.loads(file.read(LARGEST_FILE))
    except (OSError, ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) else {}
