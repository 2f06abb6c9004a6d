"""The rows of a sheet that `pull` wrote: which cells still say what was pulled, and what their records must show.

Promises: a cell that says what was pulled sets nothing, whatever has become of the record; of any other cell of the row
it is known what the record showed. A row without its pulled cells is like a row of any other sheet.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from batch.endpoints.base import MISSING, Endpoint, is_blank
from batch.endpoints.cell_types import as_text
from batch.model import Column, Columns, Condition, cell_column
from batch.provenance import PulledRow, pulled_place, read_pulled


@dataclass(frozen=True, slots=True)
class PulledFrame:
    """What some rows of an input were pulled as, by their place in the frame, and the places that cannot be read."""

    rows: Mapping[int, PulledRow]
    damaged: tuple[int, ...] = ()


class PulledRows:
    """Reads what was pulled beside the rows of one input."""

    def __init__(self, columns: Columns, endpoint: Endpoint) -> None:
        places = {pulled_place(one.header): one for one in columns.all if one.role == "reserved"}
        self.columns = [places[place] for place in sorted(filter(None, places))] if 1 in places else []
        """The columns that hold it, in order; without the first of them nothing is known."""
        self._endpoint = endpoint

    def read(self, frame: pl.DataFrame) -> PulledFrame:
        """Read what some rows were pulled as."""
        if not self.columns:
            return PulledFrame({})
        rows, damaged = {}, []
        cells = frame.select(cell_column(one.index) for one in self.columns)
        for place, texts in enumerate(cells.iter_rows()):
            try:
                found = read_pulled(texts)
            except (ValueError, RecursionError):
                damaged.append(place)
                continue
            if found is not None:
                rows[place] = found
        return PulledFrame(rows, tuple(damaged))

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

    def iter_conditions(self, row: PulledRow, fields: Iterable[str]) -> Iterator[Condition]:
        """Yield what the record must show before some of its fields are written."""
        for unit in dict.fromkeys(map(self._endpoint.unit, fields)):
            known = self._endpoint.value(row.record, unit)
            if known is not MISSING:
                yield Condition(unit, (known,), "pulled")
