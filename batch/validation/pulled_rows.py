"""The rows of a sheet that `pull` or a failures file wrote: which cells were edited, and what their records must show.

Promises: a cell that says what was pulled sets nothing, whatever has become of the record; of any other cell of the row
it is known what the record showed. A row without its pulled cells is like a row of any other sheet.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import polars as pl

from batch.endpoints.base import MISSING, Endpoint, is_blank
from batch.endpoints.cell_types import as_text
from batch.model import Column, Columns, Condition, cell_column
from batch.provenance import SEEN, PulledRow, SeenRow, pulled_place, read_pulled, read_seen

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class PulledFrame:
    """What some rows of an input were pulled as, by their place in the frame, and the places that cannot be read."""

    rows: Mapping[int, PulledRow]
    damaged: tuple[int, ...] = ()
    seen: Mapping[int, SeenRow] = field(default_factory=dict)
    """What the run of a failures file saw."""
    seen_damaged: tuple[int, ...] = ()


class PulledRows:
    """Reads what was pulled beside the rows of one input."""

    def __init__(self, columns: Columns, endpoint: Endpoint) -> None:
        places = {pulled_place(one.header): one for one in columns.all if one.role == "reserved"}
        self.columns = [places[place] for place in sorted(filter(None, places))] if 1 in places else []
        """The columns that hold it, in order; without the first of them nothing is known."""
        reserved = (one for one in columns.all if one.role == "reserved")
        self.seen = next((one for one in reserved if one.header.strip().casefold() == SEEN), None)
        """The column with what the run of a failures file saw."""
        self._endpoint = endpoint

    def read(self, frame: pl.DataFrame) -> PulledFrame:
        """Read what some rows were pulled as, and what was seen of them."""
        rows, damaged = self._read(frame, self.columns, read_pulled)
        seen, seen_damaged = self._read(frame, [self.seen] if self.seen else [], _read_seen)
        return PulledFrame(rows, tuple(damaged), seen, tuple(seen_damaged))

    def _read(
        self, frame: pl.DataFrame, columns: Sequence[Column], read: Callable[[Sequence[str | None]], Found | None]
    ) -> tuple[dict[int, Found], list[int]]:
        rows, damaged = dict[int, Found](), list[int]()
        cells = frame.select(cell_column(one.index) for one in columns)
        for place, texts in enumerate(cells.iter_rows()) if columns else ():
            try:
                found = read(texts)
            except (ValueError, RecursionError):
                damaged.append(place)
                continue
            if found is not None:
                rows[place] = found
        return rows, damaged

    def iter_unedited(self, frame: pl.DataFrame, pulled: PulledFrame, column: Column) -> Iterator[int]:
        """Yield the places whose cell has the text that was pulled."""
        cells = frame[cell_column(column.index)].to_list() if pulled.rows else []
        for place, row in pulled.rows.items():
            if cells[place] is not None and cells[place] == as_text(self._endpoint.value(row.record, column.target)):
                yield place

    def is_as_pulled(self, pulled: PulledFrame, place: int, name: str, value: Any) -> bool:
        """Return whether a cell means the value that was pulled, however it is written."""
        row = pulled.rows.get(place)
        known = MISSING if row is None else self._endpoint.value(row.record, name)
        return known is not MISSING and not is_blank(known) and self._endpoint.is_same(name, value, known)

    def iter_conditions(
        self, pulled: PulledFrame, place: int, row_id: str, fields: Iterable[str]
    ) -> Iterator[Condition]:
        """Yield what a row's record must show before some of its fields are written."""
        row, seen = pulled.rows.get(place), pulled.seen.get(place)
        for unit in dict.fromkeys(map(self._endpoint.unit, fields)):
            known = MISSING if row is None else self._endpoint.value(row.record, unit)
            if seen is not None and seen.id == row_id and unit in seen.seen:  # later than it was pulled
                own = (one[unit] for one in (seen.sent, seen.shown) if unit in one)
                yield Condition(unit, (seen.seen[unit], *own), "seen")
            elif known is not MISSING:
                yield Condition(unit, (known,), "pulled")


def _read_seen(cells: Sequence[str | None]) -> SeenRow | None:
    (text,) = cells
    return read_seen(text) if text is not None else None
