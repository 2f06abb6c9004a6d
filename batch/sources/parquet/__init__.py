"""Parquet -> rows of text, in one streaming pass; several files with one schema are one table.

Promises the value as it is stored, null as a blank cell, and the typed columns beside the text (`o0` …) wherever text
alone could not give them back, so that the failures file has the original types.
"""

import json
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import polars as pl

from batch.errors import InputError
from batch.model import DAMAGE, ROW, Staged, cell_column, original_column, shorten
from batch.sources.input import Input, ReadOptions
from batch.sources.parquet.leaves import Habits, Leaf, damage, habit_questions, leaves, text
from batch.sources.staging import write_lazy

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
    found = leaves(schema, input.name)
    lazy = pl.scan_parquet(list(input.paths), glob=False, hive_partitioning=False)
    habits = _habits(lazy, found)
    path = write_lazy(_staged(lazy, found, habits, options.limit), 2 * len(found), folder)
    rows, last = pl.scan_parquet(path, glob=False).select(pl.len(), pl.col(ROW).max().alias("last")).collect().row(0)
    if not rows:
        raise InputError(f"{input.name} has columns but no rows.")
    return Staged(
        path=path,
        name=input.name,
        format="parquet",
        headers=tuple(leaf.header for leaf in found),
        rows=rows,
        sha256=input.sha256,
        notes=(*_notes(found, habits), *_blank_note(last - FIRST_ROW + 1 - rows)),
    )


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


def _habits(lazy: pl.LazyFrame, found: Sequence[Leaf]) -> list[Habits]:
    """Ask all values of each column, in one streaming pass."""
    questions = [question for leaf in found for question in habit_questions(leaf)]
    answers = lazy.select(questions).collect(engine="streaming").row(0)
    return [Habits(*(answer or False for answer in answers[at : at + 4])) for at in range(0, len(answers), 4)]


def _staged(lazy: pl.LazyFrame, found: Sequence[Leaf], habits: Sequence[Habits], limit: int | None) -> pl.LazyFrame:
    keys = [cell_column(leaf.index) for leaf in found]
    cells = [text(leaf, habit) for leaf, habit in zip(found, habits, strict=True)]
    shown = lazy.with_row_index(ROW, FIRST_ROW).select(pl.col(ROW), *cells, _damage(found), *_originals(found, habits))
    blanked = shown.with_columns(pl.when(pl.col(keys).str.strip_chars() != "").then(pl.col(keys)).name.keep())
    kept = blanked.filter(~pl.all_horizontal(pl.col(*keys, DAMAGE).is_null()))
    return kept if limit is None else kept.head(limit)


def _damage(found: Sequence[Leaf]) -> pl.Expr:
    items = [item for item in map(damage, found) if item is not None]
    if not items:
        return pl.lit(None, pl.String).alias(DAMAGE)
    joined = pl.concat_str(items, separator=",", ignore_nulls=True)
    is_damaged = reduce(lambda one, other: one | other, (item.is_not_null() for item in items))
    return pl.when(is_damaged).then(pl.format("[{}]", joined)).alias(DAMAGE)


def _originals(found: Sequence[Leaf], habits: Sequence[Habits]) -> list[pl.Expr]:
    """The typed columns: of a struct one, at the index of its first field; a text only where blank is not null."""
    kept: dict[str, pl.Expr] = {}
    for leaf, habit in zip(found, habits, strict=True):
        if leaf.top not in kept and (not isinstance(leaf.dtype, pl.String) or leaf.header != leaf.top):
            kept[leaf.top] = pl.col(leaf.top).alias(original_column(leaf.index))
        elif habit.has_blank_text and leaf.top not in kept:
            kept[leaf.top] = pl.col(leaf.top).alias(original_column(leaf.index))
    return list(kept.values())


def _notes(found: Sequence[Leaf], habits: Sequence[Habits]) -> list[str]:
    notes = []
    for leaf, habit in zip(found, habits, strict=True):
        column = f"Column {json.dumps(leaf.header, ensure_ascii=False)}"
        if habit.is_whole:
            notes.append(f"{column} holds decimal numbers ({leaf.dtype}) that are all whole: read as 1, not 1.0.")
        if habit.is_midnight:
            notes.append(f"{column} holds points in time that are all at midnight: read as dates.")
        if habit.empty_lists:
            notes.append(f"{column} has {habit.empty_lists:,} empty lists: read as blank, which changes nothing.")
    return notes


def _blank_note(blank: int) -> list[str]:
    if not blank:
        return []
    return ["1 blank row was left out." if blank == 1 else f"{blank:,} blank rows were left out."]
