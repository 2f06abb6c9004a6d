"""Typed Parquet columns -> text of the value as it is stored, or the reason why a type or value has no text.

A struct becomes one column for each of its fields (`address.city`), a list of texts one text (`a; b`). A type
without a faithful text is refused by name (`InputError`); such a value makes its row invalid (`read_errors`).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from batch.errors import InputError
from batch.model import cell_column

SEPARATOR = "; "
DATE_TIME = "%Y-%m-%dT%H:%M:%S%.f"
NOT_A_NUMBER = "is no number (leave the cell null, or give a number)"
BAD_ITEM = "is a list with an empty item or one with a semicolon in it, which separates items (change the item)"
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

    @property
    def key(self) -> str:
        return cell_column(self.index)


def flatten(schema: Mapping[str, pl.DataType], name: str) -> list[TextColumn]:
    """Return the text columns of a file called `name`; raise `InputError` for a type that has no text."""
    found: list[TextColumn] = []
    for top, dtype in schema.items():
        for header, value, inner in _iter_flat(top, pl.col(top), dtype):
            _refuse(header, inner, name)
            found.append(TextColumn(len(found), header, value, inner, top))
    return found


def _iter_flat(header: str, value: pl.Expr, dtype: pl.DataType) -> Iterator[tuple[str, pl.Expr, pl.DataType]]:
    if not isinstance(dtype, pl.Struct):
        yield header, value, dtype
        return
    for field in dtype.fields:
        inner = field.dtype if isinstance(field.dtype, pl.DataType) else field.dtype()
        yield from _iter_flat(f"{header}.{field.name}", value.struct.field(field.name), inner)


def _refuse(header: str, dtype: pl.DataType, name: str) -> None:
    item = list_item(dtype)
    if isinstance(dtype, pl.Binary | pl.Object):
        what = "holds binary data"
    elif item is not None and not (isinstance(item, pl.String | pl.Categorical | pl.Enum) or item.is_integer()):
        what = "holds lists of something other than texts or whole numbers"
    else:
        return
    raise InputError(f'{name}, column "{header}": it {what}, which no field can take. Save the file without it.')


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
    if column.dtype.is_float():
        bad, reason = ~column.value.is_finite(), NOT_A_NUMBER
    elif list_item(column.dtype) is not None:
        item = pl.element().cast(pl.String)
        doubtful = item.is_null() | item.str.contains(";", literal=True) | (item.str.strip_chars() == "")
        bad, reason = _items(column).list.eval(doubtful).list.any(), BAD_ITEM
    else:
        return None
    seen = pl.struct(text=text(column, ColumnStats())).struct.json_encode()
    seen = seen.str.strip_prefix('{"text":').str.strip_suffix("}")
    return pl.when(bad).then(pl.format("[{},{},{}]", column.index, seen, pl.lit(json.dumps(reason))))
