"""Which fault a request meets.

A fault strikes by chance from a seed, by the request's number (from 1: for a fault of writes of the PATCHes and PUTs,
for a status of all requests of both APIs), or by its record. At most one strikes; the first one asked for wins. Chances
are drawn for every request in the order of arrival, so the same seed and order give the same faults.
"""

from random import Random
from typing import Final

from batch.sandbox.api import Call
from batch.sandbox.options import FAULT_KINDS, FaultSpec, parse_fault

BARE_429: Final = "429-bare"


class Faults:
    """The faults of one sandbox; raises `OptionError` for a fault that there is not."""

    def __init__(self, specs: tuple[str, ...], seed: int) -> None:
        self._seed = seed
        self.plan(specs)

    def plan(self, specs: tuple[str, ...]) -> None:
        """From now on these faults and no others, as if nothing had been asked yet."""
        self._plans = [
            (parse_fault(spec), Random(f"{self._seed} {spec}"), set[str]())  # noqa: S311 - no secret
            for spec in specs
        ]
        """Each fault with its dice, and the records that it has struck once."""
        self._requests = 0
        self._writes = 0

    def draw(self, call: Call) -> str | None:
        """The fault that the next request meets."""
        self._requests += 1
        self._writes += call.is_write
        struck = [spec.kind for spec, dice, spent in self._plans if self._strikes(call, spec, dice, spent)]
        return struck[0] if struck else None

    def _strikes(self, call: Call, spec: FaultSpec, dice: Random, spent: set[str]) -> bool:
        is_of_writes = spec.kind in FAULT_KINDS and spec.kind != BARE_429
        if is_of_writes and not call.is_write:
            return False
        record = call.record or ""
        if record in spec.ids and record not in spent:
            spent |= {record} if spec.once else set()
            return True
        number = self._writes if is_of_writes else self._requests
        return number in spec.nth or (spec.chance > 0 and dice.random() < spec.chance)
