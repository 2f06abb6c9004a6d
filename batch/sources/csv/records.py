"""Blocks of lines -> frames of rows: the regular lines at once with polars, the others one by one with care.

Both ways give the same result: a line goes the fast way only if it is a whole record by itself, of the right width,
with nothing doubtful in it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from batch.errors import InputError
from batch.model import DAMAGE, ROW, cell_column
from batch.sources.csv.blocks import BLOCK, Blocks
from batch.sources.csv.record import Record, UnfinishedError, judge, read_record
from batch.sources.csv.text import TextPieces
from batch.sources.staging import staged_schema

CONTROL_BYTES = re.compile(rb"\xc2[\x80-\x9f]")
WIDE = 200
"""Columns; beyond, lines are so long that larger blocks are worth it."""
SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the header says of every row: the delimiter, the number of cells, and where the first row is."""

    name: str
    delimiter: str
    width: int
    first_row: int


@dataclass(frozen=True, slots=True)
class _Found:
    """The records that begin at doubtful lines of a block, and the line where an unfinished one begins."""

    records: list[tuple[int, Record]]
    stop: int


class Records:
    """Pulls frames of `row`, `c0` …, `damage` from text that begins after the header."""

    def __init__(self, pending: str, pieces: TextPieces, shape: Shape, block: int = BLOCK) -> None:
        self._blocks = Blocks(pending, pieces, block * (4 if shape.width > WIDE else 1))
        self._shape = shape
        self._next_row = shape.first_row
        self._schema = staged_schema(shape.width)
        self._is_regular = _is_regular(shape)

    def iter_frames(self) -> Iterator[pl.DataFrame]:
        """Yield the rows, about a megabyte of text at a time; blank lines are left out but counted in the numbers."""
        try:
            while block := self._blocks.take():
                yield self._long_record(block) if self._blocks.has_grown else self._frame(block)
        except InputError as error:
            raise InputError(f"{self._shape.name}, row {self._next_row} {error}") from None

    def _frame(self, block: str) -> pl.DataFrame:
        plain = block.replace("\r\n", "\n").replace("\r", "\n") if "\r" in block else block
        try:
            data = plain.encode()
        except UnicodeEncodeError:
            return self._frame(SURROGATES.sub("\ufffd", block))
        if self._may_be_regular(plain, data):
            frame = self._parse(data)
            if frame is not None:
                return self._number(frame)
        return self._mixed(block, plain)

    def _may_be_regular(self, plain: str, data: bytes) -> bool:
        """Tell by counting whether the lines are as many cells as they should be, with nothing special in them."""
        lines = data.count(b"\n") + (not data.endswith(b"\n"))
        return (
            b'"' not in data
            and b"\0" not in data
            and b"\n\n" not in data
            and not data.startswith(b"\n")
            and plain.count(self._shape.delimiter) == lines * (self._shape.width - 1)
            and (plain.isascii() or (b"\xef\xbf\xbd" not in data and not CONTROL_BYTES.search(data)))
        )

    def _parse(self, data: bytes) -> pl.DataFrame | None:
        """Let polars read lines; None if they are not all regular.

        Their sum being right, a line that is too short means one that is too long, and at that polars raises.
        """
        try:
            return pl.read_csv(
                data,
                has_header=False,
                schema={cell_column(index): pl.String for index in range(self._shape.width)},
                separator=self._shape.delimiter,
                infer_schema=False,
                truncate_ragged_lines=False,
                raise_if_empty=False,
                glob=False,
            )
        except (pl.exceptions.ComputeError, pl.exceptions.SchemaError):
            return None

    def _number(self, frame: pl.DataFrame) -> pl.DataFrame:
        numbers = pl.int_range(self._next_row, self._next_row + frame.height, dtype=pl.UInt32, eager=True)
        self._next_row += frame.height
        return self._complete(frame, numbers)

    def _complete(self, frame: pl.DataFrame, numbers: pl.Series) -> pl.DataFrame:
        damage = pl.Series(DAMAGE, [None], dtype=pl.String).new_from_index(0, frame.height)
        return pl.DataFrame([numbers.alias(ROW), *frame.get_columns(), damage])

    def _mixed(self, block: str, plain: str) -> pl.DataFrame:
        """Read a block in which some lines need care."""
        lines = pl.Series("line", [plain.removesuffix("\n")]).str.split("\n").explode().to_frame().with_row_index("at")
        lines = lines.with_columns(good=self._is_regular, blank=pl.col("line") == "")
        doubtful = lines.filter(~pl.col("good") & ~pl.col("blank"))["at"].to_list()
        found = self._read_doubtful(block, doubtful) if doubtful else _Found([], lines.height)
        swallowed = [at + more for at, record in found.records for more in range(1, record.lines)]
        lines = (
            lines.head(found.stop).filter(~pl.col("at").is_in(swallowed)).drop("at").with_row_index(ROW, self._next_row)
        )
        self._next_row += lines.height
        good = lines.filter("good")
        parsed = self._parse(good["line"].str.join("\n").item().encode() if good.height else b"")
        assert parsed is not None  # noqa: S101 -- every good line has the right width, so polars cannot refuse one
        numbers = lines.filter(~pl.col("good") & ~pl.col("blank"))[ROW]
        doubted = self._records_frame([record for _, record in found.records], numbers)
        return pl.concat([self._complete(parsed, good[ROW]), doubted]).sort(ROW)

    def _read_doubtful(self, block: str, doubtful: list[int]) -> _Found:
        """Read the records that begin at doubtful lines; put an unfinished one back, with all that follows it."""
        lines = split_lines(block)
        found: list[tuple[int, Record]] = []
        after = 0
        for at in doubtful:
            if at < after:
                continue
            try:
                record = self._read_record(lines, at)
            except UnfinishedError:
                rest = "".join(lines[at:])
                if at:
                    self._blocks.put_back(rest)
                else:
                    self._blocks.grow(rest)
                return _Found(found, at)
            after = at + record.lines
            found.append((at, record))
        return _Found(found, len(lines))

    def _read_record(self, lines: list[str], at: int) -> Record:
        record = read_record(lines, at, self._shape.delimiter, is_end=self._blocks.is_at_end)
        return judge(record, lines[at : at + record.lines], self._shape.width, self._shape.delimiter)

    def _long_record(self, block: str) -> pl.DataFrame:
        """Read the first record of a block that has grown for it, and put the rest back."""
        lines = split_lines(block)
        try:
            record = self._read_record(lines, 0)
        except UnfinishedError:
            self._blocks.grow(block)
            return pl.DataFrame(schema=self._schema)
        self._blocks.put_back("".join(lines[record.lines :]))
        self._next_row += 1
        return self._records_frame([record], pl.Series([self._next_row - 1]))

    def _records_frame(self, records: list[Record], numbers: pl.Series) -> pl.DataFrame:
        width = self._shape.width
        columns = zip(*(_fit(record.cells, width) for record in records), strict=True) if records else [()] * width
        series = [
            numbers.cast(pl.UInt32).alias(ROW),
            *(pl.Series(cell_column(index), cells, dtype=pl.String) for index, cells in enumerate(columns)),
            pl.Series(DAMAGE, [record.damage_text for record in records], dtype=pl.String),
        ]
        return pl.DataFrame(series)


def _fit(cells: list[str], width: int) -> list[str | None]:
    return [*cells[:width], *[None] * (width - len(cells))]


def split_lines(text: str) -> list[str]:
    """Split at LF, CR and CR LF only (`str.splitlines` knows many more), keeping them."""
    return [line.decode() for line in text.encode().splitlines(keepends=True)]


def _is_regular(shape: Shape) -> pl.Expr:
    """Tell of each `line` whether it is one record of the right width by itself, with nothing doubtful in it."""
    line = pl.col("line")
    mark = f"\\x{{{ord(shape.delimiter):x}}}"
    cell = f'(?:"(?:[^"]|"")*"|[^"{mark}]*)'
    outside = line.str.replace_all('"[^"]*"', "").str.count_matches(shape.delimiter, literal=True)
    has_quotes = line.str.contains('"', literal=True)
    is_well_formed = line.str.contains(f"^{cell}(?:{mark}{cell})*$")
    return (
        (~has_quotes | is_well_formed)
        & (outside == shape.width - 1)
        & ~line.str.contains("[\x00\u0080-\u009f\ufffd]")
        & (line != "")
    )
