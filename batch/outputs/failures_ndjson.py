"""Failures as NDJSON: each line as it stood, with the members that batch adds.

Promises: values are written as they were, numbers digit by digit; what an earlier failures file added is replaced.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from batch.exact_json import HALF, decode, encode
from batch.model import Staged, original_column
from batch.outputs.failures import FailedRow, added_columns, is_added
from batch.outputs.failures_parquet import NUMBERS

_HALF = re.compile(f"{HALF}([0-9a-f]{{4}})")
"""Half of a character, as it is held in memory."""


class NdjsonFailures:
    """Appends lines as rows come."""

    def __init__(self, path: Path, staged: Staged) -> None:
        self._path = path
        self._added = added_columns(staged)

    def add(self, frame: pl.DataFrame, rows: Sequence[FailedRow]) -> None:
        """Append rows and what is said of them."""
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            for text, row in zip(frame[original_column(0)].to_list(), rows, strict=True):
                kept = {key: value for key, value in decode(text).items() if not is_added(key)}
                said = {
                    name: int(cell) if name in NUMBERS else cell or None
                    for name, cell in zip(self._added, row.texts, strict=True)
                }
                file.write(_HALF.sub(r"\\u\1", encode(kept | said)) + "\n")

    def finish(self) -> None:
        """Nothing is left to write."""
