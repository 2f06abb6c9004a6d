"""The results file: one line for every input row, `row,id,outcome,status,attempts,field,message`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import polars as pl

from batch.guard import guarded
from batch.model import Fate
from batch.results.failures import field_text, message_text, on_one_line
from batch.results.parquet import ParquetParts

SCHEMA = {
    "row": pl.UInt32,
    "id": pl.String,
    "outcome": pl.String,
    "status": pl.UInt16,
    "attempts": pl.UInt32,
    "field": pl.String,
    "message": pl.String,
}


class LinesWriter(Protocol):
    """Takes the rows' ids as they stand in the input, and their fates, in order."""

    def add(self, ids: Sequence[str], fates: Sequence[Fate]) -> None: ...

    def finish(self) -> None: ...


def _lines(ids: Sequence[str], fates: Sequence[Fate]) -> pl.DataFrame:
    columns: dict[str, Iterator[object] | list[object]] = {
        "row": [fate.row for fate in fates],
        "id": list(ids),
        "outcome": [fate.outcome.value for fate in fates],
        "status": [fate.status for fate in fates],
        "attempts": [fate.attempts for fate in fates],
        "field": [field_text(fate) for fate in fates],
        "message": [message_text(fate) for fate in fates],
    }
    return pl.DataFrame(columns, schema=SCHEMA)


class CsvLines:
    """UTF-8, commas; ids and messages that look like formulas are made safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_text(",".join(SCHEMA) + "\n", encoding="utf-8")

    def add(self, ids: Sequence[str], fates: Sequence[Fate]) -> None:
        lines = _lines(ids, fates).with_columns(
            guarded(on_one_line(pl.col("id", "field", "message").replace("", None)))
        )
        with self._path.open("ab") as file:
            lines.write_csv(file, include_header=False)

    def finish(self) -> None:
        """Nothing is left to write."""


class ParquetLines:
    """The same lines as columns with types; texts as they are."""

    def __init__(self, path: Path) -> None:
        self._parts = ParquetParts(path)

    def add(self, ids: Sequence[str], fates: Sequence[Fate]) -> None:
        self._parts.add(_lines(ids, fates))

    def finish(self) -> None:
        self._parts.finish()
