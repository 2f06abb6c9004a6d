"""Ids that occur more than once: found in little memory, and validated after all others."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from batch.model import ROW, Staged, cell_column
from batch.validation.row_validator import RowValidator, ValidatedRows

ReadRows = Callable[[Sequence[int]], pl.DataFrame]
"""Reads the rows with these numbers (in order) from the staged input."""
GROUP_ROWS = 5_000
"""Rows with duplicate ids that are validated together."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The rows whose id occurs more than once, grouped."""

    groups: tuple[tuple[int, ...], ...]
    rows: frozenset[int]


def id_cells(index: int, *, ignore_case: bool) -> pl.Expr:
    """Return the ids or keys in column `index`, so spelt that the same ones are equal."""
    ids = pl.col(cell_column(index)).str.strip_chars()
    return ids.str.to_lowercase() if ignore_case else ids


def find_duplicates(staged: Staged, id_index: int, *, ignore_case: bool) -> Duplicates:
    """Find the rows whose ids occur more than once, spaces around them aside.

    Two passes over the id column: 8 bytes a row to find hashes that occur twice, then only those rows' ids.
    """
    ids = (
        pl.scan_parquet(staged.path)
        .select(pl.col(ROW), id_cells(id_index, ignore_case=ignore_case).alias("id"))
        .filter(pl.col("id").is_not_null() & (pl.col("id") != ""))
    )
    hashes = ids.select(pl.col("id").hash()).collect(engine="streaming").to_series().sort()
    twice = hashes.filter(hashes == hashes.shift(1)).unique()
    if not len(twice):
        return Duplicates((), frozenset())
    found = ids.filter(pl.col("id").hash().is_in(twice.implode())).collect(engine="streaming").sort(ROW)
    groups = found.group_by("id", maintain_order=True).agg(ROW).filter(pl.col(ROW).list.len() > 1)[ROW].to_list()
    return Duplicates(tuple(map(tuple, groups)), frozenset(row for group in groups for row in group))


def iter_validated(
    frames: Iterable[pl.DataFrame], validator: RowValidator, duplicates: Duplicates, read_rows: ReadRows
) -> Iterator[ValidatedRows]:
    """Yield all rows, validated: those with a unique id in order of the file, then the ids that occur twice."""
    repeated = pl.Series(sorted(duplicates.rows), dtype=pl.UInt32)
    for frame in frames:
        single = frame.filter(~pl.col(ROW).is_in(repeated.implode())) if len(repeated) else frame
        if len(single):
            yield validator.validate(single)
    waiting: list[int] = []
    for group in duplicates.groups:
        waiting += group
        if len(waiting) >= GROUP_ROWS:
            yield validator.validate_duplicates(read_rows(sorted(waiting)))
            waiting = []
    if waiting:
        yield validator.validate_duplicates(read_rows(sorted(waiting)))
