"""All that the limiter remembers of one key, and how a store keeps it: as JSON, without loss.

Promise: `LimiterState.from_json(state.as_json())` decides from then on as `state` would.
"""

import math
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from batch.ratelimit.adaptive import AdaptiveRate
from batch.ratelimit.buckets import FixedRate
from batch.ratelimit.headers import HeaderBudget
from batch.ratelimit.learned import Learned


@dataclass(slots=True)
class RouteState:
    """What is known of one method and path: when its bucket is full again, and what headers leave it."""

    full_at: float = -math.inf
    budget: HeaderBudget = field(default_factory=HeaderBudget)
    queue: dict[str, float] = field(default_factory=dict)
    """The processes that were sent away, in the order of their turns; until when each turn is kept."""


@dataclass(slots=True)
class Sharer:
    """One of the processes that use a key: when it last asked for a start, and the --max-per-second that it has."""

    asked: float
    max_per_second: float | None


@dataclass(slots=True)
class RunLease:
    """Which process does a run, of those that may have been started for it."""

    holder: str
    epoch: int
    """Counts its processes: one whose epoch is over sends nothing any more."""
    until: float
    """When it ends, unless the process asks for a start, or says that it is there, before that."""
    seed: str
    """What its idempotency keys are made of, whichever process sends; "" once nothing is left to send."""


@dataclass(slots=True)
class LimiterState:
    """All that the policy remembers of one key. Times are seconds of the store's clock."""

    adaptive: AdaptiveRate
    fixed_rate: FixedRate | None
    is_documented: bool
    """Whether the documented buckets are in force."""
    total_full_at: float = -math.inf
    paused_until: float = -math.inf
    throttled: int = 0
    routes: dict[str, RouteState] = field(default_factory=dict)
    sharers: dict[str, Sharer] = field(default_factory=dict)
    """The processes that use the key, where several may."""
    revision: int = 0
    """It changes when starts that are booked, and not made yet, are void."""
    origin: int = 0
    """A number of its own for each state that began from nothing, as when a store has lost it."""
    runs: dict[str, RunLease] = field(default_factory=dict)
    """The runs that several processes may be started for, by name."""
    emptied: float = -math.inf
    """When all buckets counted as empty last, since the store may have lost what was taken from them before."""

    def as_json(self) -> dict[str, Any]:
        """Return the state as a value that JSON can hold."""
        encoded: dict[str, Any] = _encode(self)
        return encoded

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "LimiterState":
        """Read what `as_json` returned."""
        state: LimiterState = _decode(cls, raw)
        return state

    @property
    def blocked_since(self) -> float | None:
        """Return since when only single probes go out because the API refuses everything, or None."""
        return self.adaptive.exhausted.since

    def learned(self) -> Learned:
        """Return what is worth keeping for the next run."""
        return self.adaptive.learned()


Answer = TypeVar("Answer")
Step = Callable[[LimiterState | None, float], tuple[LimiterState, Answer]]
"""A pure change of one key's state (None: the key is new) at the time that the store's clock shows."""


_NUMBERS = {float: "d", int: "q"}
"""How `array` calls what the lists of a state hold."""


def _encode(value: Any) -> Any:
    """Make JSON of a tree of dataclasses; JSON has no infinity, so that is written as text."""
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else str(value)
    if kind is dict:
        return {name: _encode(one) for name, one in value.items()}
    if not is_dataclass(kind):
        return value
    return {
        name: _encode(getattr(value, name)) if letter is None else _packed(letter, getattr(value, name))
        for name, letter in _letters(kind).items()
    }


def _packed(letter: str, numbers: list[Any]) -> str:
    """Write the hundreds of numbers of an `EventLog` in less than the millisecond that JSON itself would take."""
    return b64encode(array(letter, numbers)).decode()


def _decode(kind: Any, raw: Any) -> Any:
    """Build a `kind` from what `_encode` made of one."""
    return _decoder(kind)(raw)


@cache
def _letters(kind: Any) -> dict[str, str | None]:
    """Return the fields of a dataclass; of those that are lists, what they hold."""
    return {one.name: _NUMBERS[get_args(one.type)[0]] if get_origin(one.type) is list else None for one in fields(kind)}


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    """Return what reads a `kind`: a state is read for every step, so that its types are looked at once."""
    if kind is float:
        return float
    if get_origin(kind) is list:
        letter = _NUMBERS[get_args(kind)[0]]
        return lambda raw: array(letter, b64decode(raw)).tolist()
    if isinstance(kind, UnionType):  # all of them are `… | None`
        some = _decoder(get_args(kind)[0])
        return lambda raw: None if raw is None else some(raw)
    if get_origin(kind) is dict:
        one = _decoder(get_args(kind)[1])
        return lambda raw: {name: one(value) for name, value in raw.items()}
    if is_dataclass(kind):
        types: dict[str, Any] = {one.name: one.type for one in fields(kind)}
        parts = [(name, _decoder(part)) for name, part in types.items()]
        return lambda raw: kind(**{name: read(raw[name]) for name, read in parts if name in raw})  # type: ignore[operator]  # a class
    return lambda raw: raw
