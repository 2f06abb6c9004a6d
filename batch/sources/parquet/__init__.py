"""Parquet -> rows of text, in one streaming pass; several files with one schema are one table.

Promises the value as it is stored, null as a blank cell, and the typed columns beside the text (`o0` …) wherever text
alone could not give them back, so that the failures file has the original types.
"""

import json
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path

import polars as pl

from batch.errors import InputError
from batch.model import READ_ERRORS, ROW, Staged, original_column, shorten
from batch.sources.input import Input, ReadOptions
from batch.sources.parquet.flatten import ColumnStats, TextColumn, flatten, read_errors, stats_from, stats_query, text
from batch.sources.staging import Rows, rows_at_once, staged_schema, write_frames

SLICES_AT_ONCE = 10
"""Larger slices than are written, because each one opens its row group anew."""
FIRST_ROW = 2
"""As if the column names were the first line of a spreadsheet."""
Schema = dict[str, pl.DataType]


def stage(input: Input, folder: Path, options: ReadOptions) -> Staged:
    """Read Parquet files once into `folder/input.parquet`."""
    try:
        return _stage(input, folder, options)
    except pl.exceptions.PolarsError as error:
        reason = shorten(str(error).splitlines()[0], 120)
        raise InputError(f"{input.name} is damaged or not complete, or uses what cannot be read ({reason}).") from None


def _stage(input: Input, folder: Path, options: ReadOptions) -> Staged:
    schema = _common_schema(input)
    found = flatten(schema, input.name)
    table = _Table(input.paths, len(found))
    stats = _stats(table, found)
    cells = [text(column, stat) for column, stat in zip(found, stats, strict=True)]
    originals = _originals(found, stats)
    rows = Rows(len(found), FIRST_ROW, options.limit)
    staged_as = staged_schema(len(found), {expr.meta.output_name(): schema[top] for top, expr in originals.items()})
    frames = table.iter_frames([pl.col(ROW), *cells, _read_errors(found), *originals.values()])
    path = write_frames(rows.iter_tidy(frames), staged_as, folder)
    if not rows.kept:
        path.unlink()
        raise InputError(f"{input.name} has columns but no rows.")
    return Staged(
        path=path,
        name=input.name,
        format="parquet",
        headers=tuple(column.header for column in found),
        rows=rows.kept,
        sha256=input.sha256,
        notes=(*_notes(found, stats), *filter(None, [rows.note])),
    )


class _Table:
    """The rows of all files, pulled in slices: a streaming scan reads ahead, and holds several row groups at once."""

    def __init__(self, paths: Sequence[Path], columns: int) -> None:
        self._files = [pl.scan_parquet(path, glob=False, hive_partitioning=False) for path in paths]
        self._step = SLICES_AT_ONCE * rows_at_once(columns)

    def iter_frames(self, columns: Sequence[pl.Expr]) -> Iterator[pl.DataFrame]:
        """Yield these columns of the rows; `row` is the number of each."""
        row = FIRST_ROW
        for file in self._files:
            height = file.select(pl.len()).collect().item()
            for offset in range(0, height, self._step):
                part = file.slice(offset, self._step).with_row_index(ROW, row)
                frame = part.select(columns).collect()
                row += frame.height
                yield frame


def _common_schema(input: Input) -> Schema:
    """Return the schema that all files have, or raise `InputError` naming the first file and column that differ."""
    first = dict(pl.read_parquet_schema(input.paths[0]))
    for path in input.paths[1:]:
        other = dict(pl.read_parquet_schema(path))
        for column in [*first, *(column for column in other if column not in first)]:
            if first.get(column) != other.get(column):
                raise InputError(
                    f'{input.name}: the files differ. Column "{column}" is {_kind(other.get(column))} in {path.name}, '
                    f"but {_kind(first.get(column))} in {input.paths[0].name}: give them as separate inputs."
                )
        if list(first) != list(other):
            raise InputError(
                f"{input.name}: the columns of {path.name} are in another order than in {input.paths[0].name}: "
                "give them as separate inputs."
            )
    return first


def _kind(dtype: pl.DataType | None) -> str:
    return "missing" if dtype is None else f"of type {dtype}"


def _stats(table: _Table, found: Sequence[TextColumn]) -> list[ColumnStats]:
    """Return the stats of each column, in one pass over those columns that have any."""
    questions = {column.index: question for column in found if (question := stats_query(column)) is not None}
    asked = [question.alias(str(index)) for index, question in questions.items()]
    frames = list(table.iter_frames(asked)) if asked else []
    if not frames:
        return [ColumnStats()] * len(found)
    answers = pl.concat(frames)
    return [
        stats_from(column, answers[str(column.index)]) if column.index in questions else ColumnStats()
        for column in found
    ]


def _read_errors(found: Sequence[TextColumn]) -> pl.Expr:
    items = [item for item in map(read_errors, found) if item is not None]
    if not items:
        return pl.lit(None, pl.String).alias(READ_ERRORS)
    joined = pl.concat_str(items, separator=",", ignore_nulls=True)
    has_errors = reduce(lambda one, other: one | other, (item.is_not_null() for item in items))
    return pl.when(has_errors).then(pl.format("[{}]", joined)).alias(READ_ERRORS)


def _originals(found: Sequence[TextColumn], stats: Sequence[ColumnStats]) -> dict[str, pl.Expr]:
    """Return the typed columns: one for a struct (at its first field); texts only where blank is not null."""
    kept: dict[str, pl.Expr] = {}
    for column, stat in zip(found, stats, strict=True):
        is_text = isinstance(column.dtype, pl.String) and column.header == column.top and not stat.has_blank_text
        if column.top not in kept and not is_text:
            kept[column.top] = pl.col(column.top).alias(original_column(column.index))
    return kept


def _notes(found: Sequence[TextColumn], stats: Sequence[ColumnStats]) -> list[str]:
    notes = []
    for column, stat in zip(found, stats, strict=True):
        name = f"Column {json.dumps(column.header, ensure_ascii=False)}"
        if stat.is_whole:
            notes.append(f"{name} holds decimal numbers ({column.dtype}) that are all whole: read as 1, not 1.0.")
        if stat.is_midnight:
            notes.append(f"{name} holds points in time that are all at midnight: read as dates.")
        if stat.empty_lists:
            lists = "an empty list" if stat.empty_lists == 1 else f"{stat.empty_lists:,} empty lists"
            notes.append(f"{name} has {lists}: read as blank, which changes nothing.")
    return notes
