"""Parquet -> rows of text, in one streaming pass; several files with one schema are one table.

A struct becomes one column for each of its fields (`address.city`), a list of texts one text (`a; b`). A type
without a faithful text is refused by name (`InputError`); such a value makes its row invalid (`read_errors`).

Promises the value as it is stored, null as a blank cell, and the typed columns beside the text (`o0` …) wherever text
alone could not give them back, so that the failures file has the original types.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import polars as pl

from batch.errors import InputError
from batch.model import READ_ERRORS, ROW, FilePart, Staged, cell_column, map_option, original_column, shorten
from batch.problems import sentence
from batch.sources.input import Input, InputFile
from batch.sources.options import ReadOptions
from batch.sources.staging import Rows, rows_at_once, staged_schema, write_frames

SEPARATOR = "; "
DATE_TIME = "%Y-%m-%dT%H:%M:%S%.f"
LAST_EXACT: dict[type[pl.DataType] | pl.DataType, int] = {pl.Float64: 2**53, pl.Float32: 2**24}
"""Whole numbers below these are exact in a column of the type; beyond, an id may have been rounded."""


@dataclass(frozen=True, slots=True)
class TextColumn:
    """One column of text that comes out of a typed column."""

    index: int
    header: str
    value: pl.Expr
    dtype: pl.DataType
    top: str
    """The column of the file that it comes from."""
    has_text: bool = True
    """False of one that no field can take, which is left out on purpose: its cells count as blank."""

    @property
    def key(self) -> str:
        return cell_column(self.index)


def flatten(schema: Mapping[str, pl.DataType], name: str, is_left_out: Callable[[str], bool]) -> list[TextColumn]:
    """Return the text columns of a file called `name`; raise `InputError` for types that have no text.

    What is left out on purpose may be of any type.
    """
    found: list[TextColumn] = []
    refused: list[str] = []
    for top, dtype in schema.items():
        for header, value, inner in _iter_flat(top, pl.col(top), dtype):
            why = _without_text(inner)
            found.append(TextColumn(len(found), header, value, inner, top, has_text=not why))
            if why and not is_left_out(header):
                refused.append(without_text(f'{name}, column "{header}"', why, header))
    if refused:
        raise InputError("\n".join(refused))
    return found


def without_text(where: str, why: str, header: str) -> str:
    """Say that a column has no text that a field could take, and how it is left out."""
    return f"{where}: it holds {why}, which no field can take. To leave it out:  {map_option(header, '')}"


def _iter_flat(header: str, value: pl.Expr, dtype: pl.DataType) -> Iterator[tuple[str, pl.Expr, pl.DataType]]:
    if not isinstance(dtype, pl.Struct):
        yield header, value, dtype
        return
    for field in dtype.fields:
        inner = field.dtype if isinstance(field.dtype, pl.DataType) else field.dtype()
        yield from _iter_flat(f"{header}.{field.name}", value.struct.field(field.name), inner)


NO_ITEMS = "lists of something other than texts or whole numbers"


def _without_text(dtype: pl.DataType) -> str:
    """Say why the values of a type have no faithful text; "" where they have."""
    item = list_item(dtype)
    if isinstance(dtype, pl.Binary | pl.Object):
        return "binary data"
    if isinstance(dtype, pl.BaseExtension):
        return f"values of a kind of their own ({dtype.ext_name()})"
    is_listed = item is None or isinstance(item, pl.String | pl.Categorical | pl.Enum) or item.is_integer()
    return "" if is_listed else NO_ITEMS


def list_item(dtype: pl.DataType) -> pl.DataType | None:
    """Return the type of a list's items; None for other types."""
    if isinstance(dtype, pl.List | pl.Array):
        return dtype.inner if isinstance(dtype.inner, pl.DataType) else dtype.inner()
    return None


@dataclass(frozen=True, slots=True)
class ColumnStats:
    """What is true of every value of a column, so that its text can be the plain one."""

    is_whole: bool = False
    """Floats, whose numbers are all whole and exact: `10042`, not `10042.0`. NaN and infinity are no numbers."""
    is_midnight: bool = False
    """Points in time without a zone, all at midnight: dates."""
    empty_lists: int = 0
    has_blank_text: bool = False


def stats_query(column: TextColumn) -> pl.Expr | None:
    """Return the query that counts values, and those that break the pattern; None for a type without a pattern."""
    value, dtype = column.value, column.dtype
    if not column.has_text:
        return None
    limit = LAST_EXACT.get(dtype.base_type())
    if limit is not None:
        is_number = value.is_finite()
        return pl.struct(
            values=is_number.sum(), exceptions=(is_number & ((value != value.floor()) | (value.abs() >= limit))).sum()
        )
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
        exceptions = value != value.dt.truncate("1d")
    elif list_item(dtype) is not None:
        exceptions = _items(column).list.len() == 0
    elif isinstance(dtype, pl.String):
        exceptions = value.str.strip_chars() == ""
    else:
        return None
    return pl.struct(values=value.count(), exceptions=exceptions.sum())


def stats_from(column: TextColumn, answers: pl.Series) -> ColumnStats:
    """Return what the answers for all slices of the column say together."""
    has_values = answers.struct.field("values").sum() > 0
    exceptions = int(answers.struct.field("exceptions").sum())
    return ColumnStats(
        is_whole=column.dtype.is_float() and has_values and not exceptions,
        is_midnight=isinstance(column.dtype, pl.Datetime) and has_values and not exceptions,
        empty_lists=exceptions if list_item(column.dtype) is not None else 0,
        has_blank_text=isinstance(column.dtype, pl.String) and exceptions > 0,
    )


def _items(column: TextColumn) -> pl.Expr:
    return column.value.arr.to_list() if isinstance(column.dtype, pl.Array) else column.value


def text(column: TextColumn, stats: ColumnStats) -> pl.Expr:
    """Return the text of a column's values; null stays null."""
    value, dtype = column.value, column.dtype
    if not column.has_text:
        return pl.lit(None, pl.String).alias(column.key)
    if stats.is_whole:
        whole = value.cast(pl.Int64, strict=False).cast(pl.String)
        value = pl.when(value.is_finite()).then(whole).otherwise(value.cast(pl.String))
    elif isinstance(dtype, pl.Datetime):
        zone = "%:z" if dtype.time_zone else ""
        value = value.dt.to_string("%Y-%m-%d" if stats.is_midnight else DATE_TIME + zone)
    elif isinstance(dtype, pl.Duration | pl.Time):
        value = value.dt.to_string("iso")
    elif list_item(dtype) is not None:
        value = _items(column).list.eval(pl.element().cast(pl.String)).list.join(SEPARATOR)
    else:
        value = value.cast(pl.String)
    return value.alias(column.key)


def read_errors(column: TextColumn) -> pl.Expr | None:
    """Return an item of the JSON in `read_errors` where a value cannot be trusted; None if any value can."""
    if not column.has_text:
        return None
    if column.dtype.is_float():
        bad, code = ~column.value.is_finite(), "number_not_finite"
    elif list_item(column.dtype) is not None:
        item = pl.element().cast(pl.String)
        doubtful = item.is_null() | item.str.contains(";", literal=True) | (item.str.strip_chars() == "")
        bad, code = _items(column).list.eval(doubtful).list.any(), "item_ambiguous"
    else:
        return None
    seen = pl.struct(text=text(column, ColumnStats())).struct.json_encode()
    seen = seen.str.strip_prefix('{"text":').str.strip_suffix("}")
    said = json.dumps([sentence(code, {}), code, {}])[1:-1]
    return pl.when(bad).then(pl.format("[{},{},{}]", column.index, seen, pl.lit(said)))


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
    found = flatten(schema, input.name, options.is_left_out)
    table = _Table(input.files, schema, len(found))
    stats = _stats(table, found)
    cells = [text(column, stat) for column, stat in zip(found, stats, strict=True)]
    originals = _originals(found, stats)
    rows = Rows(len(found), FIRST_ROW, options.limit)
    staged_as = staged_schema(len(found), {expr.meta.output_name(): schema[top] for top, expr in originals.items()})
    frames = table.iter_frames([pl.col(ROW), *cells, _read_errors(found), *originals.values()])
    path = write_frames(rows.iter_tidy(frames), staged_as, folder)
    return Staged(
        path=path, name=input.name, format="parquet", headers=tuple(column.header for column in found),
        rows=rows.kept, sha256=input.sha256, notes=(*_notes(found, stats), *filter(None, [rows.note()])),
        files=tuple(table.parts) if input.is_many else (),
    )  # fmt: skip


class _Table:
    """The rows of all files, pulled in slices: a streaming scan reads ahead, and holds several row groups at once."""

    def __init__(self, files: Sequence[InputFile], schema: Schema, columns: int) -> None:
        self._files = [(file, _scan(file, schema)) for file in files]
        self._step = SLICES_AT_ONCE * rows_at_once(columns)
        self.parts: list[FilePart] = []
        """The files that were begun when the rows were pulled last."""

    def iter_frames(self, columns: Sequence[pl.Expr]) -> Iterator[pl.DataFrame]:
        """Yield these columns of the rows; `row` is the number of each."""
        row, self.parts = FIRST_ROW, []
        for file, table in self._files:
            self.parts.append(FilePart(file.name, row, row - FIRST_ROW))
            height = table.select(pl.len()).collect().item()
            for offset in range(0, height, self._step):
                part = table.slice(offset, self._step).with_row_index(ROW, row)
                frame = part.select(columns).collect()
                row += frame.height
                yield frame


def _scan(file: InputFile, schema: Schema) -> pl.LazyFrame:
    """Open a file, with the columns that the names of its folders hold, in the order of the schema."""
    table = pl.scan_parquet(file.content, glob=False, hive_partitioning=False)
    more = [pl.lit(value, pl.String).alias(name) for name, value in file.partition.items()]
    return (table.with_columns(more) if more else table).select(list(schema))


def _common_schema(input: Input) -> Schema:
    """Return the schema of all files, in the order of the first; raise `InputError` naming where one differs."""
    first, *others = ((file, _schema(file, input.name)) for file in input.files)
    for file, other in others:
        for column in [*first[1], *(column for column in other if column not in first[1])]:
            if first[1].get(column) != other.get(column):
                raise InputError(
                    f'{input.name}: the files differ. Column "{column}" is {_kind(other.get(column))} in {file.name}, '
                    f"but {_kind(first[1].get(column))} in {first[0].name}: give them as separate inputs."
                )
    return first[1]


def _schema(file: InputFile, name: str) -> Schema:
    found = dict(pl.read_parquet_schema(file.content))
    twice = next((column for column in file.partition if column in found), None)
    if twice is not None:
        raise InputError(
            f'{name}: column "{twice}" is in {file.name}, and the name of its folder has one, too: which one is meant? '
            "Give the files themselves, or write them without it."
        )
    return found | dict.fromkeys(file.partition, pl.String())


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
            notes.append(empty_lists_note(column.header, stat.empty_lists))
    return notes


def empty_lists_note(header: str, count: int) -> str:
    """Say how many empty lists a column has."""
    lists = "an empty list" if count == 1 else f"{count:,} empty lists"
    return f"Column {json.dumps(header, ensure_ascii=False)} has {lists}: read as blank, which changes nothing."
