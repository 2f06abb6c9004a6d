"""Text -> frames of rows: the regular lines at once with polars, the others one by one with care.

Both ways give the same result: a line goes the fast way only if it is a whole record by itself, of the right width,
with nothing doubtful in it.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from batch.errors import InputError
from batch.model import DAMAGE, ROW, cell_column
from batch.sources.csv.record import MAX_RECORD, Record, UnfinishedError, judge, read_record
from batch.sources.csv.text import TextPieces
from batch.sources.staging import staged_schema

DIRTY_BYTES = re.compile(rb"\xc2[\x80-\x9f]|\xef\xbf\xbd|\x00")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the header says of every row: the delimiter, the number of cells, and where the first row is."""

    name: str
    delimiter: str
    width: int
    first_row: int


class Records:
    """Pulls frames of `row`, `c0` …, `damage` from text that begins after the header."""

    def __init__(self, pending: str, pieces: TextPieces, shape: Shape) -> None:
        self._pending = pending
        self._pieces = pieces
        self._shape = shape
        self._next_row = shape.first_row
        self._schema = staged_schema(shape.width)

    def iter_frames(self) -> Iterator[pl.DataFrame]:
        """Yield the rows, about a megabyte of text at a time; blank lines are left out but counted in the numbers."""
        is_end = False
        while not is_end:
            self._pending += self._pieces.read(len(self._pending))
            is_end = self._pieces.is_at_end
            block = self._take_block(is_end=is_end)
            if block:
                yield self._frame(block, is_end=is_end)

    def _take_block(self, *, is_end: bool) -> str:
        """Take the whole lines that are there. A CR at the end may be half of a CR LF, so its line waits."""
        if is_end:
            block, self._pending = self._pending.removesuffix("\x1a"), ""
            return block
        stop = len(self._pending) - self._pending.endswith("\r")
        cut = max(self._pending.rfind("\n", 0, stop), self._pending.rfind("\r", 0, stop)) + 1
        if not cut and len(self._pending) > 2 * MAX_RECORD:
            raise InputError(
                f"{self._shape.name}, row {self._next_row}: a line of more than {2 * MAX_RECORD:,} characters: "
                "this is no table of rows."
            )
        block, self._pending = self._pending[:cut], self._pending[cut:]
        return block

    def _frame(self, block: str, *, is_end: bool) -> pl.DataFrame:
        plain = block.replace("\r\n", "\n").replace("\r", "\n") if "\r" in block else block
        data = plain.encode()
        if self._may_be_regular(plain, data):
            # The sum is right, so a line that is too short means one that is too long, and at that polars raises.
            with contextlib.suppress(pl.exceptions.ComputeError):
                return self._number(self._parse(data))
        return self._mixed(block, plain, is_end=is_end)

    def _may_be_regular(self, plain: str, data: bytes) -> bool:
        """Tell by counting whether the lines are as many cells as they should be, with nothing special in them."""
        lines = data.count(b"\n") + (not data.endswith(b"\n"))
        return (
            b'"' not in data
            and b"\0" not in data
            and b"\n\n" not in data
            and not data.startswith(b"\n")
            and plain.count(self._shape.delimiter) == lines * (self._shape.width - 1)
            and (plain.isascii() or not DIRTY_BYTES.search(data))
        )

    def _parse(self, data: bytes) -> pl.DataFrame:
        """Let polars read lines that are all regular."""
        schema = {cell_column(index): pl.String for index in range(self._shape.width)}
        return pl.read_csv(
            data,
            has_header=False,
            schema=schema,
            separator=self._shape.delimiter,
            infer_schema=False,
            truncate_ragged_lines=False,
            raise_if_empty=False,
            glob=False,
        )

    def _number(self, frame: pl.DataFrame) -> pl.DataFrame:
        numbers = pl.int_range(self._next_row, self._next_row + frame.height, dtype=pl.UInt32, eager=True)
        self._next_row += frame.height
        return self._complete(frame, numbers)

    def _complete(self, frame: pl.DataFrame, numbers: pl.Series) -> pl.DataFrame:
        damage = pl.lit(None, pl.String).alias(DAMAGE)
        return frame.with_columns(numbers.alias(ROW), damage).select(list(self._schema))

    def _mixed(self, block: str, plain: str, *, is_end: bool) -> pl.DataFrame:
        """Read a block in which some lines need care."""
        lines = pl.Series("line", [plain.removesuffix("\n")]).str.split("\n").explode().to_frame().with_row_index("at")
        lines = lines.with_columns(good=_is_regular(self._shape), blank=pl.col("line") == "")
        doubtful = lines.filter(~pl.col("good") & ~pl.col("blank"))["at"].to_list()
        records, stop = self._read_doubtful(block, doubtful, lines.height, is_end=is_end)
        swallowed = [at + n for at, record in records for n in range(1, record.lines)]
        lines = lines.head(stop).with_columns(swallowed=pl.col("at").is_in(swallowed))
        lines = lines.with_columns(number=self._next_row + pl.col("at") - pl.col("swallowed").cum_sum()).filter(
            ~pl.col("swallowed")
        )
        self._next_row += lines.height
        good = lines.filter("good")
        parsed = self._parse(good["line"].str.join("\n").item().encode() if good.height else b"")
        return pl.concat([self._complete(parsed, good["number"]), self._doubtful_frame(records, lines)]).sort(ROW)

    def _read_doubtful(
        self, block: str, doubtful: list[int], height: int, *, is_end: bool
    ) -> tuple[list[tuple[int, Record]], int]:
        """Read the records that begin at doubtful lines; return them and where an unfinished one begins."""
        found: list[tuple[int, Record]] = []
        if not doubtful:
            return found, height
        lines = split_lines(block)
        after = 0
        for at in doubtful:
            if at < after:
                continue
            try:
                record = read_record(lines, at, self._shape.delimiter, is_end=is_end)
            except UnfinishedError:
                self._pending = "".join(lines[at:]) + self._pending
                return found, at
            after = at + record.lines
            found.append((at, judge(record, lines[at:after], self._shape.width, self._shape.delimiter)))
        return found, height

    def _doubtful_frame(self, records: list[tuple[int, Record]], lines: pl.DataFrame) -> pl.DataFrame:
        width = self._shape.width
        numbers = dict(lines.filter(~pl.col("good"), ~pl.col("blank")).select("at", "number").iter_rows())
        rows = [
            (numbers[at], *record.cells[:width], *[None] * (width - len(record.cells)), record.damage_text)
            for at, record in records
        ]
        return pl.DataFrame(rows, schema=self._schema, orient="row")


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
