"""Which request meets which fault: by chance from a seed, or by its number.

The numbers of `nth` count from 1: for a fault of writes the PATCHes and PUTs, for a status all requests of
both APIs. At most one fault strikes a request; the first one asked for wins. Chances are drawn for every request in the
order of arrival, so the same seed and order give the same faults.
"""

from random import Random
from typing import Final

from batch.sandbox.options import FAULT_KINDS, FaultSpec, parse_fault

BARE_429: Final = "429-bare"


class Faults:
    """The faults of one sandbox."""

    def __init__(self, specs: tuple[str, ...], seed: int) -> None:
        self._plans = [(parse_fault(spec), Random(f"{seed} {spec}")) for spec in specs]  # noqa: S311 - no secret
        self._requests = 0
        self._writes = 0

    def draw(self, *, is_write: bool) -> str | None:
        """The fault that the next request meets."""
        self._requests += 1
        self._writes += is_write
        struck = [plan.kind for plan, random in self._plans if self._strikes(plan, random, is_write=is_write)]
        return struck[0] if struck else None

    def _strikes(self, plan: FaultSpec, random: Random, *, is_write: bool) -> bool:
        for_writes = plan.kind in FAULT_KINDS and plan.kind != BARE_429
        if for_writes and not is_write:
            return False
        number = self._writes if for_writes else self._requests
        return number in plan.nth or (plan.chance > 0 and random.random() < plan.chance)
