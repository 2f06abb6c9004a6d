"""Where an imitated API keeps its records: the samples, and over them only what was changed.

A record that nobody wrote is made from its number whenever it is read. What was written is an *overlay*, a dictionary
of the fields that differ from the sample; overlays are replaced, never changed in place, so a stored answer may hold on
to one. Listing and paging are computed, so their cost does not depend on how many records there are.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, Final

from batch.sandbox.samples import Samples

Overlay = dict[str, Any]
_NOTHING: Final[Overlay] = {}


class Records:
    """`count` records, numbered from 1; `searchable` fields can be found by value, ignoring case."""

    def __init__(self, samples: Samples, count: int, searchable: Sequence[str]) -> None:
        self.count = count
        self._samples = samples
        self._searchable = searchable
        self._overlays: dict[int, Overlay] = {}  # the one that was written last is last
        self._stale: dict[int, tuple[Overlay, int]] = {}
        self._written_to: dict[tuple[str, str], set[int]] = {}

    def overlay(self, number: int) -> Overlay:
        """What is true of a record now."""
        return self._overlays.get(number, _NOTHING)

    def overlay_for_reading(self, number: int) -> Overlay:
        """What a read is shown, which may lag behind; counts as one read."""
        lagging = self._stale.get(number)
        if lagging is None:
            return self.overlay(number)
        before, reads_left = lagging
        if reads_left <= 1:
            del self._stale[number]
        else:
            self._stale[number] = (before, reads_left - 1)
        return before

    def record(self, number: int, overlay: Overlay | None = None) -> dict[str, Any]:
        """The whole record, as of `overlay` or as of now; a new dictionary."""
        return self._samples.record(number) | (self.overlay(number) if overlay is None else overlay)

    def write(self, number: int, changes: Overlay, *, stale_reads: int = 0) -> Overlay:
        """Apply `changes`; the next `stale_reads` reads are shown the record as it was."""
        before = self._overlays.pop(number, _NOTHING)
        sample = self._samples.record(number)
        merged = before | changes
        after = {name: value for name, value in merged.items() if name not in sample or value != sample[name]}
        self._overlays[number] = after
        if stale_reads:
            self._stale[number] = (before, stale_reads)
        for field in self._searchable:
            if isinstance(after.get(field), str):
                self._written_to.setdefault((field, after[field].casefold()), set()).add(number)
        return after

    def without_one(self, number: int, changes: Overlay) -> Overlay:
        """What of `changes` makes a difference, less the last of it."""
        now = self.record(number)
        differing = [name for name, value in changes.items() if now.get(name) != value]
        return {name: changes[name] for name in differing[:-1]}

    def find(self, field: str, value: str) -> list[int]:
        """The numbers of the records with this value in a searchable field, ignoring case, in their order."""
        folded = value.casefold()
        maybe = {*self._samples.locate(field, folded, self.count), *self._written_to.get((field, folded), ())}
        return sorted(number for number in maybe if self._folded(number, field) == folded)

    def page(self, ordering: str, offset: int, limit: int) -> list[int]:
        """The numbers on one page; `ordering` is a field, `id` or `updated_at`, with `-` for descending."""
        positions = range(offset, min(offset + limit, self.count))
        descending = ordering.startswith("-")
        if descending:
            positions = range(self.count - 1 - offset, self.count - 1 - offset - len(positions), -1)
        field = ordering.removeprefix("-")
        if field == "id":
            return [position + 1 for position in positions]
        if field == "updated_at":
            return self._by_last_write(positions)
        ordered = self.ordered(range(1, self.count + 1), field)
        return [ordered[position] for position in positions]

    def ordered(self, numbers: Iterable[int], ordering: str) -> list[int]:
        """Sort a few numbers in memory."""
        field = ordering.removeprefix("-")
        descending = ordering.startswith("-")
        if field == "id":
            return sorted(numbers, reverse=descending)
        if field == "updated_at":
            places = {number: place for place, number in enumerate(self._overlays, start=self.count + 1)}
            return sorted(numbers, key=lambda number: places.get(number, number), reverse=descending)
        return sorted(numbers, key=lambda number: self._folded(number, field), reverse=descending)

    def forget(self) -> None:
        """Make every record what it was at the beginning."""
        for written in (self._overlays, self._stale, self._written_to):
            written.clear()

    def dump(self) -> dict[str, Overlay]:
        """All overlays, oldest write first."""
        return {str(number): overlay for number, overlay in self._overlays.items()}

    def load(self, overlays: dict[str, Overlay]) -> None:
        """Put back what `dump` gave."""
        for number, overlay in overlays.items():
            self.write(int(number), overlay)

    def _folded(self, number: int, field: str) -> str:
        return str(self.record(number)[field] or "").casefold()

    def _by_last_write(self, positions: Sequence[int]) -> list[int]:
        """Untouched records in their order, then the touched ones in the order of their last write."""
        touched = sorted(self._overlays)
        untouched = self.count - len(touched)
        by_write = list(self._overlays)
        return [
            _nth_missing(touched, position) if position < untouched else by_write[position - untouched]
            for position in positions
        ]


def _nth_missing(present: Sequence[int], n: int) -> int:
    """The n-th (from 0) of 1, 2, 3 … that is not in the ascending `present`."""
    return n + 1 + bisect_right(range(len(present)), n, key=lambda place: present[place] - 1 - place)
