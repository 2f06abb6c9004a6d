"""A sheet's cells -> its header, the rows of the table below it as frames of `input.parquet`, and notes about them.

Promises that every cell with a value comes out in its own row and column, or the table is refused afterwards. The
header is the row with the most names of fields; what stands above it is told. Where no row has any, a title is refused
with the row that seems to be the header, and merged cells in the header always are: nobody should have to guess which
column a value stands in.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from batch.errors import InputError, TitleError
from batch.model import (
    COMMENTS,
    READ_ERRORS,
    RESERVED_PREFIX,
    ROW,
    Problem,
    cell_column,
    column_letters,
    first_few,
    original_column,
    read_errors_text,
    shorten,
)
from batch.sources.excel.comments import Comment
from batch.sources.excel.layout import Area
from batch.sources.excel.workbook import counted
from batch.sources.header_row import LOOK_AHEAD, find_header_row
from batch.sources.options import ReadOptions

SHOWN = 5
"""How many items a message lists."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header's row, and its texts from column `left` on (1 = A)."""

    row: int
    left: int
    texts: tuple[str, ...]
    above: tuple[str, ...] = ()
    """What stands above it."""
    formats: tuple[int, ...] = ()
    """The format of each header (`SheetStyle.formats`)."""

    @property
    def right(self) -> int:
        """The last column."""
        return self.left + len(self.texts) - 1

    def widened(self, left: int, right: int) -> "Header":
        """Return the same header with unnamed columns, so that it reaches from `left` to `right`."""
        before, after = max(self.left - left, 0), max(right - self.right, 0)
        texts, formats = ("",) * before + self.texts + ("",) * after, (0,) * before + self.formats + (0,) * after
        return replace(self, left=self.left - before, texts=texts, formats=formats)

    def column(self, column: int) -> str:
        """Name a column for a message: `column "Phone" (F)`."""
        text = self.texts[column - self.left].strip()
        return (
            f'column "{shorten(text, 60)}" ({column_letters(column)})' if text else f"column {column_letters(column)}"
        )


def find_header(cells: pl.DataFrame, merged: Sequence[Area], where: str, options: ReadOptions) -> Header:
    """Return the header in the first `cells` that have anything in them; raise `InputError` when it is not clear."""
    first, row = int(cells["row"][0]), options.header_row
    if row is None:
        rows = cells.group_by("row", maintain_order=True).agg("text").head(LOOK_AHEAD)
        row = find_header_row(rows.iter_rows(), options.is_known)
    found = cells.filter(pl.col("row") == row)
    if not len(found):
        raise InputError(f"{where}: there is nothing in row {row}, which --header-row says is the header.")
    texts = dict(zip(found["column"].to_list(), found["text"].to_list(), strict=True))
    left, right = min(texts), max(texts)
    if options.header_row is None and row == first:
        if len(texts) > 1:
            _refuse_merged(row, left, right, texts, merged, where)
        _refuse_title(cells, row, texts, where)
    _refuse_merged(row, left, right, texts, merged, where)
    above = tuple(cells.filter(pl.col("row") < row)["text"].to_list())
    formats = dict(zip(found["column"].to_list(), map(_format_number, found["origin"].to_list()), strict=True))
    columns = range(left, right + 1)
    return Header(
        row, left, tuple(texts.get(one, "") for one in columns), above, tuple(formats.get(one, 0) for one in columns)
    )


def _format_number(origin: str | None) -> int:
    return int(origin[1:].partition(":")[0]) if origin else 0


def _refuse_title(cells: pl.DataFrame, row: int, texts: dict[int, str], where: str) -> None:
    """Refuse a first row of one cell, or of less than half the cells of a later one that has nothing but texts."""
    is_text = pl.col("origin").is_null() | pl.col("origin").str.starts_with("s")
    below = (
        cells.filter(pl.col("row") > row).group_by("row", maintain_order=True).agg("text", is_text.all().alias("ok"))
    )
    likely = below.head(LOOK_AHEAD).filter(
        pl.col("text").list.len() >= 2 * len(texts), pl.col("ok") | pl.lit(len(texts) == 1)
    )
    if not len(likely):
        return
    stands = ", ".join(f'{column_letters(column)}{row} "{shorten(text, 60)}"' for column, text in texts.items())
    raise TitleError(
        f"{where}: row {row} has only {stands}, and is no header. "
        f"The header seems to be in row {likely['row'][0]}: {_listed(likely['text'][0].to_list())}.",
        int(likely["row"][0]),
    )


def _listed(texts: Sequence[str]) -> str:
    return first_few((f'"{shorten(text, 40)}"' for text in texts[:SHOWN]), len(texts))


def _refuse_merged(row: int, left: int, right: int, texts: dict[int, str], merged: Sequence[Area], where: str) -> None:
    found = [
        area
        for area in sorted(merged, key=lambda area: (area.top, area.left))
        if area.top <= row <= area.bottom and area.left <= right and area.right >= left and area.is_many
    ]
    if found:
        shown = ", ".join(f'{area.name} ("{shorten(texts.get(area.left, ""), 40)}")' for area in found[:SHOWN])
        raise InputError(
            f"{where}: the header in row {row} has merged cells: {shown}{', …' if len(found) > SHOWN else ''}. "
            "Unmerge them, give every column a header of its own, save the file, and run again."
        )


_BROKEN = ("row", "column", "text", "origin", "code")


class Table:
    """Turns cells into rows, and keeps what the notes need: hidden rows, stray cells, the columns with values."""

    def __init__(
        self, header: Header, merged: Iterable[Area], *, skips_hidden: bool, comments: Mapping[tuple[int, int], Comment]
    ) -> None:
        self.header = header
        self.left, self.right = header.left, header.right
        """The columns that have a value in any row."""
        self.stray = ""
        """The first cell outside of the header's columns, as Excel names it."""
        self.hidden_rows: list[int] = []
        self._skips_hidden = skips_hidden
        self._comments: dict[int, dict[int, str]] = defaultdict(dict)
        is_failures_file = any(text.strip().casefold() == "batch_row" for text in header.texts)
        for (row, column), comment in comments.items():
            if comment.is_signed or not is_failures_file:
                self._comments[row][column - header.left] = comment.text
        self._has_comments = bool(comments)
        self._merged = sorted(
            (area for area in merged if area.is_many and area.bottom > header.row), key=lambda a: a.top
        )
        self._filled: set[Area] = set()

    def iter_rows(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Turn frames of cells into frames of rows; blank rows do not come out."""
        for frame in frames:
            cells = frame.filter(pl.col("row") > self.header.row)
            cells = self._without_hidden(cells)
            if len(cells):
                self._note_extent(cells)
                yield self._rows(self._cover(cells))

    def _without_hidden(self, cells: pl.DataFrame) -> pl.DataFrame:
        if not cells["is_hidden"].any():
            return cells
        self.hidden_rows += cells.filter("is_hidden")["row"].unique(maintain_order=True).to_list()
        return cells.filter(~pl.col("is_hidden")) if self._skips_hidden else cells

    def _note_extent(self, cells: pl.DataFrame) -> None:
        outside = cells.filter(~pl.col("column").is_between(self.header.left, self.header.right))
        if len(outside):
            row, column = outside.select("row", "column").row(0)
            self.stray = self.stray or f"{column_letters(column)}{row}"
            self.left = min(self.left, *outside["column"].unique().to_list())
            self.right = max(self.right, *outside["column"].unique().to_list())

    def _cover(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Add the cells that lie under merged ones with a value: they look filled, and are blank in the file."""
        first, last = int(cells["row"][0]), int(cells["row"][-1])
        here = [area for area in self._merged if area.top <= last and area.bottom >= first]
        if not here:
            return cells
        rows = cells["row"].unique(maintain_order=True)
        places = set(zip(cells["row"].to_list(), cells["column"].to_list(), strict=True))
        covered = []
        for area in here:
            if (area.top, area.left) in places:
                self._filled.add(area)
            if area in self._filled:
                inside = rows.filter(rows.is_between(area.top, area.bottom)).to_list()
                columns = range(max(area.left, self.header.left), min(area.right, self.header.right) + 1)
                covered += [(row, column) for row in inside for column in columns]
                covered = [place for place in covered if place != (area.top, area.left)]
        extra = pl.DataFrame(covered, schema={"row": pl.UInt32, "column": pl.UInt16}, orient="row").unique()
        extra = extra.with_columns(
            is_hidden=False, text=pl.lit(None, dtype=pl.String), origin=pl.lit("m0:"), code=pl.lit("merged")
        )
        kept = cells.join(extra, on=["row", "column"], how="anti")
        return pl.concat([kept, extra.select(kept.columns)]).sort("row", "column")

    def _rows(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Return the cells as rows: `row c0 … cN read_errors o0 … oN`."""
        numbers = cells["row"].unique(maintain_order=True)
        by_column = cells.with_columns(cells["row"].rle_id().alias("at")).partition_by("column", as_dict=True)
        texts, origins = [], []
        for index in range(len(self.header.texts)):
            part = by_column.get((self.header.left + index,))
            texts.append(_spread(part, "text", len(numbers)).alias(cell_column(index)))
            origins.append(_spread(part, "origin", len(numbers)).alias(original_column(index)))
        comments = [self._comments_of(numbers)] if self._has_comments else []
        return pl.DataFrame([numbers.alias(ROW), *texts, self._read_errors(cells, numbers), *origins, *comments])

    def _comments_of(self, numbers: pl.Series) -> pl.Series:
        found = [self._comments.get(row) for row in numbers.to_list()]
        texts = [json.dumps(one, ensure_ascii=False) if one else None for one in found]
        return pl.Series(COMMENTS, texts, dtype=pl.String)

    def _read_errors(self, cells: pl.DataFrame, numbers: pl.Series) -> pl.Series:
        broken = cells.filter(pl.col("code").is_not_null())
        by_row: dict[int, list[tuple[int | None, Problem]]] = defaultdict(list)
        for row, column, text, origin, code in broken.select(_BROKEN).iter_rows():
            seen = "" if origin[0] in "dm" else shorten(text, 200)  # the number behind a date is not what is seen
            by_row[row].append((column - self.header.left, Problem(code, seen=seen)))
        if not by_row:
            return pl.Series(READ_ERRORS, [None], dtype=pl.String).new_from_index(0, len(numbers))
        found = {row: read_errors_text(one) for row, one in by_row.items()}
        return pl.Series(READ_ERRORS, [found.get(row) for row in numbers.to_list()], dtype=pl.String)


def _spread(part: pl.DataFrame | None, name: str, length: int) -> pl.Series:
    """Put the cells of one column where their rows are."""
    if part is None:
        return pl.Series([None], dtype=pl.String).new_from_index(0, length)
    if len(part) == length:
        return part[name]
    places = pl.Series([None], dtype=pl.UInt32).new_from_index(0, length)
    return part[name].gather(places.scatter(part["at"], pl.arange(len(part), dtype=pl.UInt32, eager=True)))


def iter_column_notes(header: Header, counts: Mapping[tuple[int, str], int]) -> Iterator[str]:
    """Yield the notes about the values of each column; `counts` is `Values.counts`."""
    for column in range(header.left, header.right + 1):
        found = {what: number for (one, what), number in counts.items() if one == column}
        name = header.column(column)
        name = name[0].upper() + name[1:]
        if number := found.get("percent"):
            yield f"{name}: {counted(number, 'percentage')} taken as stored (25% is 0.25)."
        if number := found.get("currency"):
            yield f"{name}: {counted(number, 'amount')} taken as stored, without the currency sign."
        if number := found.get("words"):
            yield f"{name}: {counted(number, 'number')} taken as stored, without what the cell's format adds to them."
        if number := found.get("formula"):
            yield f"{name}: {counted(number, 'formula')}, taken with the result that is stored in the file."
        if found.get("numbers") and found.get("zeros"):
            yield (
                f"{name} has numbers and texts mixed: {counted(found['numbers'], 'number')}, and "
                f"{counted(found['zeros'], 'text')} beginning with 0. "
                "If the numbers began with 0 too, Excel has dropped it: compare them."
            )


def hidden_columns_note(header: Header, hidden: Sequence[tuple[int, int]]) -> str:
    """Return the note about hidden columns; "" when there are none."""
    names = [
        header.column(column)
        for column in range(header.left, header.right + 1)
        if any(first <= column <= last for first, last in hidden)
        and not header.texts[column - header.left].casefold().startswith(RESERVED_PREFIX)  # hidden by ourselves
    ]
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"Hidden, but read like the others: {', '.join(names[:SHOWN])}{more}."


def hidden_rows_note(rows: Sequence[int], selected: str | None) -> str:
    """Return the note about hidden rows; "" when there are none."""
    was = "was" if len(rows) == 1 else "were"
    what = f"{was} left out" if selected == "skip" else f"{was} read too"
    return f"{counted(len(rows), 'hidden row')} {what}: {listed(rows)}." if rows else ""


def totals_note(rows: Sequence[int]) -> str:
    """Return the note about rows of totals; "" when there are none."""
    are = "1 row of totals was left out" if len(rows) == 1 else f"{len(rows):,} rows of totals were left out"
    return f"{are}, without an id and with a word such as Total: {listed(rows)}." if rows else ""


def listed(rows: Sequence[int]) -> str:
    """List rows for a message: `5, 9, 12, …`."""
    return first_few(rows[:SHOWN], len(rows))
