"""The changes of a plan, a page at a time, for whoever looks through them before they are sent.

Promises: they are read from the plan file, whose checksum was checked when it was opened, so what is shown is what is
sent; memory does not grow with what is shown: 16 bytes a change, and 8 for each that a search finds.
"""

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final, Self

from batch.conditions import PlannedChange
from batch.outputs.plan import CLEARED, Line, iter_lines
from batch.own_files import PLAN
from batch.run.plan_file import PlanFile

CHANGES_A_PAGE: Final = 50


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """Some of the changes, each as the lines of its cells."""

    changes: tuple[tuple[Line, ...], ...]
    number: int
    """Of this page, from 1."""
    pages: int
    found: int
    """Changes that fit what was looked for."""
    in_all: int


@dataclass(frozen=True, slots=True)
class PlanTotals:
    """What a plan does; cells and those that are emptied, by field."""

    writes: int
    by_field: Mapping[str, int]
    clears: Mapping[str, int]


@dataclass(slots=True)
class OpenPlan:
    """A plan that is looked through, by several threads at once; `close` when done."""

    plan: PlanFile
    headers: Mapping[str, str]
    """The header of each field, where it is not the field's own name: it is searched, too."""
    _lock: Lock = field(default_factory=Lock, repr=False)
    _searched: "tuple[str, array[int]]" = ("", array("Q"))
    """What was looked for last, and where it is."""

    @classmethod
    def open(cls, folder: Path, headers: Mapping[str, str]) -> Self:
        """Open the plan in a folder; raises InputError where it is not what was written."""
        return cls(PlanFile(folder / PLAN), headers)

    @property
    def checksum(self) -> str:
        """Of the file."""
        return self.plan.checksum

    def totals(self) -> PlanTotals:
        """Count what the plan does."""
        with self._lock:
            cells: Counter[str] = Counter()
            clears: Counter[str] = Counter()
            for change in self.plan:
                for line in iter_lines([change], CLEARED):
                    cells[line.field] += 1
                    clears[line.field] += line.is_clear
            return PlanTotals(len(self.plan), dict(cells.most_common()), {one: n for one, n in clears.items() if n})

    def page(self, text: str = "", number: int = 1) -> ChangesPage:
        """Return a page of the changes that have `text` in them; of pages that there are not, the nearest."""
        with self._lock:
            wanted = " ".join(text.split()).casefold()
            places = self._places(wanted)
            found = len(self.plan) if places is None else len(places)
            pages = max(1, -(-found // CHANGES_A_PAGE))
            number = min(max(1, number), pages)
            some = range((number - 1) * CHANGES_A_PAGE, min(found, number * CHANGES_A_PAGE))
            changes = (self.plan.at(place if places is None else places[place]) for place in some)
            shown = tuple(tuple(iter_lines([one], CLEARED)) for one in changes)
            return ChangesPage(shown, number, pages, found, len(self.plan))

    def _places(self, wanted: str) -> "array[int] | None":
        """Return where the changes are that have this in them; None: all of them."""
        if not wanted:
            return None
        if self._searched[0] != wanted:
            likely = (
                self.plan.iter_places_with(wanted)
                if wanted not in " ".join(self.headers.values()).casefold()
                else (range(len(self.plan)))
            )
            found = array("Q", (place for place in likely if self._has(self.plan.at(place), wanted)))
            self._searched = wanted, found
        return self._searched[1]

    def _has(self, change: PlannedChange, wanted: str) -> bool:
        return any(
            wanted in " ".join(text.split()).casefold()
            for line in iter_lines([change], CLEARED)
            for text in (
                str(line.row), line.id, line.name, line.field, self.headers.get(line.field, ""), line.before, line.after
            )
        )  # fmt: skip

    def close(self) -> None:
        """Close the file."""
        self.plan.close()
