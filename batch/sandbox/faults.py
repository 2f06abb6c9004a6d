"""Which fault a request meets.

A fault strikes by chance from a seed, by the request's number, or by its record; only requests that it is for are drawn
and numbered (from 1). At most one strikes; the first one asked for wins. Chances are drawn for every request in the
order of arrival, so the same seed and order give the same faults.
"""

from dataclasses import dataclass, field
from random import Random

from batch.sandbox.api import Call
from batch.sandbox.options import FaultSpec, Requests, parse_fault


class Faults:
    """The faults of one sandbox; raises `OptionError` for a fault that there is not."""

    def __init__(self, specs: tuple[str, ...], seed: int) -> None:
        self._seed = seed
        self.plan(specs)

    def plan(self, specs: tuple[str, ...]) -> None:
        """From now on these faults and no others, as if nothing had been asked yet."""
        self._plans = [
            _Plan(parse_fault(spec), Random(f"{self._seed} {spec}"))  # noqa: S311 - no secret
            for spec in specs
        ]

    def draw(self, call: Call) -> str | None:
        """The fault that the next request meets."""
        struck = [plan.spec.kind for plan in self._plans if is_for(call, plan.spec.requests) and plan.strikes(call)]
        return struck[0] if struck else None


def is_for(call: Call, requests: Requests) -> bool:
    """Whether a fault of these requests may strike this one."""
    match requests:
        case "writes":
            return call.is_write
        case "reads":
            return call.method == "GET"
        case "lists":
            return call.method == "GET" and call.record is None
        case "logins":
            return call.method == "POST"
        case "all":
            return True


@dataclass(slots=True)
class _Plan:
    spec: FaultSpec
    dice: Random
    spent: set[str] = field(default_factory=set)
    """The records that it has struck once."""
    seen: int = 0

    def strikes(self, call: Call) -> bool:
        self.seen += 1
        record = call.record or ""
        if record in self.spec.ids and record not in self.spent:
            self.spent |= {record} if self.spec.once else set()
            return True
        return self.seen in self.spec.nth or (self.spec.chance > 0 and self.dice.random() < self.spec.chance)
