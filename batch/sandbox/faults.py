"""Which request meets which fault: by chance from a seed, by its number, or by the record it is about.

The numbers of `nth` count from 1: for a fault of writes the PATCHes and PUTs, for a status all requests of both APIs.
At most one fault strikes a request; the first one asked for wins. Chances are drawn for every request in the order of
arrival, so the same seed and order give the same faults.
"""

from random import Random
from typing import Final

from batch.sandbox.exchange import Call
from batch.sandbox.options import FAULT_KINDS, FaultSpec, parse_fault

BARE_429: Final = "429-bare"


class _Plan:
    """One kind of fault, and what it has to remember."""

    def __init__(self, spec: FaultSpec, random: Random) -> None:
        self.spec = spec
        self.for_writes_only = spec.kind in FAULT_KINDS and spec.kind != BARE_429
        self._random = random
        self._spent: set[str] = set()

    def strikes(self, number: int, record: str) -> bool:
        if record in self.spec.ids and record not in self._spent:
            if self.spec.once:
                self._spent.add(record)
            return True
        return number in self.spec.nth or (self.spec.chance > 0 and self._random.random() < self.spec.chance)


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
        self._requests = 0
        self._writes = 0

    def draw(self, call: Call) -> str | None:
        """The fault that the next request meets."""
        self._requests += 1
        self._writes += call.is_write
        record = call.record or ""
        struck = [plan.spec.kind for plan in self._plans if self._strikes(plan, record, is_write=call.is_write)]
        return struck[0] if struck else None

    def _strikes(self, plan: _Plan, record: str, *, is_write: bool) -> bool:
        if plan.for_writes_only:
            return is_write and plan.strikes(self._writes, record)
        return plan.strikes(self._requests, record)
