"""The text after the header -> frames of rows: polars reads regular lines at once, `read_record` reads the others.

Promises that both readers give the same result. A line goes to polars only if it is a whole record by itself, of the
right width, with nothing doubtful in it; everything else (quoted line breaks, stray quotation marks, lost letters, rows
of another width) is read record by record, and what cannot be trusted becomes an entry in `read_errors`.

In this order below: one record read with care, then the blocks of text, then `CsvRows`, which shares the lines out.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from batch.errors import InputError
from batch.model import READ_ERRORS, ROW, Problem, cell_column, read_errors_text
from batch.sources.csv.encoding import TextPieces
from batch.sources.staging import staged_schema

BLOCK = 1 << 20
"""Characters that are read at once."""
WIDE = 200
"""Columns; beyond, lines are so long that larger blocks are worth it."""
MAX_LINE = 16 << 20
MAX_RECORD = 12 << 20
"""Characters; a quoted cell that runs on for longer has lost its closing mark."""
UNREADABLE = re.compile("[\x00\x80-\x9f\ufffd]")
CONTROL_BYTES = re.compile(rb"\xc2[\x80-\x9f]")
SURROGATES = re.compile("[\ud800-\udfff]")

ReadError = tuple[int | None, Problem]
"""Column index, or None for the whole row, and why it cannot be trusted."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the header says of every row: the delimiter, the number of cells, and where the first row is."""

    name: str
    delimiter: str
    width: int
    first_row: int


@dataclass(slots=True)
class Record:
    """The cells of one record, the lines it takes, and what is wrong with it."""

    cells: list[str]
    lines: int = 1
    read_errors: list[ReadError] = field(default_factory=list)
    inside: list[int] | None = None
    """For each line but the first, the index of the quoted cell in which it begins; None if that is not known."""

    @property
    def is_blank(self) -> bool:
        return not any(map(str.strip, self.cells))

    @property
    def read_errors_text(self) -> str | None:
        return read_errors_text(self.read_errors) if self.read_errors else None


class UnfinishedError(Exception):
    """The text ended inside a quoted cell; more of it may close the cell."""


def read_record(lines: Sequence[str], start: int, delimiter: str, *, is_end: bool) -> Record:
    """Read the record that begins at `lines[start]` (each with its line end).

    Raises `UnfinishedError` when the lines end inside a quoted cell, unless they end the file.
    """
    return _read_with_csv_module(lines, start, delimiter) or _read_carefully(lines, start, delimiter, is_end=is_end)


def _read_with_csv_module(lines: Sequence[str], start: int, delimiter: str) -> Record | None:
    """Read a record with Python's `csv`, if that is sure to give the same as `_read_carefully`; else return None.

    It is lenient only with a quotation mark inside a cell that does not begin with one, so such cells are left alone.
    """
    reader = csv.reader(map(lines.__getitem__, range(start, len(lines))), delimiter=delimiter, strict=True)
    try:
        cells = next(reader)
    except (csv.Error, StopIteration):
        return None
    if '"' in "".join(cells):
        return None
    return Record(cells or [""], reader.line_num)


def _read_carefully(lines: Sequence[str], start: int, delimiter: str, *, is_end: bool) -> Record:
    scan = _Scan(delimiter)
    for number in range(start, len(lines)):
        match scan.take(lines[number]):
            case "done":
                return Record(scan.cells, number - start + 1, scan.read_errors, scan.inside)
            case "broken":
                return _broken(lines[start], delimiter, "quote_in_row")
        if scan.size > MAX_RECORD:
            return _broken(lines[start], delimiter, "quote_not_closed")
    if not is_end:
        raise UnfinishedError
    return _broken(lines[start], delimiter, "quote_not_closed")


def _broken(line: str, delimiter: str, code: str) -> Record:
    text = line.rstrip("\r\n")
    return Record(text.split(delimiter), 1, [(None, Problem(code, seen=text))])


class _Scan:
    """Takes a record line by line; linear in its characters."""

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        self.cells: list[str] = []
        self.read_errors: list[ReadError] = []
        self.inside: list[int] = []
        self.size = 0
        self._open: list[str] | None = None

    def take(self, line: str) -> str:
        """Read one more line: "done" with the record, "open" for a further line, or "broken"."""
        self.size += len(line)
        if self._open is not None:
            self.inside.append(len(self.cells))
        content = line[: len(line) - _end_length(line)]
        position = 0
        while True:
            if self._open is not None:
                closed = self._take_quoted(line, position)
                if closed is None:
                    return "open"
                position = closed
            elif content.startswith('"', position):
                self._open = []
                position += 1
                continue
            else:
                position = self._take_plain(content, position)
            if position >= len(content):
                return "done"
            if content[position] != self.delimiter:
                return "broken"
            position += 1

    def _take_quoted(self, line: str, position: int) -> int | None:
        """Read on in a quoted cell; return where it closed, or None if the line ends first."""
        assert self._open is not None  # noqa: S101 -- for the type checker: only called inside a quoted cell
        while (mark := line.find('"', position)) >= 0:
            if not line.startswith('"', mark + 1):
                self._open.append(line[position:mark])
                self.cells.append("".join(self._open))
                self._open = None
                return mark + 1
            self._open.append(line[position : mark + 1])
            position = mark + 2
        self._open.append(line[position:])
        return None

    def _take_plain(self, content: str, position: int) -> int:
        end = content.find(self.delimiter, position)
        end = len(content) if end < 0 else end
        cell = content[position:end]
        if '"' in cell:
            self.read_errors.append((len(self.cells), Problem("quote_in_cell", seen=cell)))
        self.cells.append(cell)
        return end


def _end_length(line: str) -> int:
    return 2 if line.endswith("\r\n") else 1 if line.endswith(("\n", "\r")) else 0


def check_record(record: Record, lines: Sequence[str], width: int, delimiter: str) -> Record:
    """Return the record with the errors that concern it as a whole: width, swallowed rows, lost letters."""
    if record.is_blank or any(index is None for index, _ in record.read_errors):
        return record
    raw = "".join(lines)
    raw = raw[: len(raw) - _end_length(raw)]
    if len(lines) > 1 and width > 1 and _swallows_rows(record, lines, width, delimiter):
        record.read_errors = [(None, Problem("rows_swallowed", seen=raw))]
    elif len(record.cells) != width:
        code = "cells_too_many" if len(record.cells) > width else "cells_missing"
        ragged = Problem(code, {"cells": len(record.cells), "width": width}, seen=raw)
        record.read_errors = [(None, Problem("nul_character", seen=raw) if "\x00" in raw else ragged)]
    elif UNREADABLE.search(raw):
        record.read_errors += [
            (i, Problem(_unreadable(cell), seen=cell)) for i, cell in enumerate(record.cells) if UNREADABLE.search(cell)
        ]
    return record


def _swallows_rows(record: Record, lines: Sequence[str], width: int, delimiter: str) -> bool:
    """Return whether a line inside a quoted cell could be a row: of its width, and beginning like this one.

    The first cell may go on over lines: what then follows on its last line is the rest of the row.
    """
    alike = [at for at in range(1, len(lines)) if lines[at].count(delimiter) == width - 1]
    if not alike:
        return False
    inside = record.inside
    if inside is None:
        inside = _read_carefully(lines, 0, delimiter, is_end=True).inside or []
    shape = _shape(record.cells[0])
    return any(inside[at - 1] and shape and _shape(lines[at].partition(delimiter)[0]) == shape for at in alike)


def _shape(text: str) -> str:
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", text.strip().strip('"')))


def _unreadable(cell: str) -> str:
    return "nul_character" if "\x00" in cell else "lost_character" if "\ufffd" in cell else "control_character"


class Blocks:
    """Cuts the text after the header into blocks of whole lines; the caller puts back what it could not use."""

    def __init__(self, pending: str, pieces: TextPieces, size: int) -> None:
        self._pending = pending
        self._pieces = pieces
        self._usual = self._size = size

    @property
    def is_at_end(self) -> bool:
        """Nothing follows the block that was taken last."""
        return self._pieces.is_at_end and not self._pending

    @property
    def has_grown(self) -> bool:
        """The block was made larger because one long record begins it."""
        return self._size > self._usual

    def take(self) -> str:
        """Return the next block; "" at the end of the text."""
        while True:
            if len(self._pending) < self._size:
                self._pending += self._pieces.read(self._size - len(self._pending))
            if self._pieces.is_at_end and len(self._pending) <= self._size:
                block, self._pending = self._pending.removesuffix("\x1a"), ""
                return block
            if cut := self._find_cut():
                block, self._pending = self._pending[:cut], self._pending[cut:]
                return block
            self.grow("")

    def _find_cut(self) -> int:
        """Find the last line end that fits. A CR at the end of what was read may be half of a CR LF, so it waits."""
        stop = min(self._size, len(self._pending) - self._pending.endswith("\r"))
        cut = max(self._pending.rfind("\n", 0, stop), self._pending.rfind("\r", 0, stop)) + 1
        return cut + (cut > 0 and self._pending[cut - 1 : cut + 1] == "\r\n")

    def put_back(self, text: str) -> None:
        """Put back unused text as the beginning of the next block, which has the usual size."""
        self._pending = text + self._pending
        self._size = self._usual

    def grow(self, text: str) -> None:
        """Put back a block in which not even one record ends, and make the next one twice as large."""
        self._pending = text + self._pending
        self._size *= 2
        if len(self._pending) > MAX_LINE:
            raise InputError(f"has a line of more than {MAX_LINE:,} characters: this is no table of rows.")


@dataclass(frozen=True, slots=True)
class _Found:
    """The records that begin at doubtful lines of a block, and the line where an unfinished one begins."""

    records: list[tuple[int, Record]]
    stop: int


class CsvRows:
    """Pulls frames of `row`, `c0` …, `read_errors` from text that begins after the header."""

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
        """Return whether, by counting, the lines have the right number of cells and nothing special in them."""
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
        """Read lines with polars; return None if they are not all regular.

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
        return self._with_number(frame, numbers)

    def _with_number(self, frame: pl.DataFrame, numbers: pl.Series) -> pl.DataFrame:
        read_errors = pl.Series(READ_ERRORS, [None], dtype=pl.String).new_from_index(0, frame.height)
        return pl.DataFrame([numbers.alias(ROW), *frame.get_columns(), read_errors])

    def _mixed(self, block: str, plain: str) -> pl.DataFrame:
        """Read a block in which some lines are not regular."""
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
        return pl.concat([self._with_number(parsed, good[ROW]), doubted]).sort(ROW)

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
        return check_record(record, lines[at : at + record.lines], self._shape.width, self._shape.delimiter)

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
            pl.Series(READ_ERRORS, [record.read_errors_text for record in records], dtype=pl.String),
        ]
        return pl.DataFrame(series)


def _fit(cells: list[str], width: int) -> list[str | None]:
    return [*cells[:width], *[None] * (width - len(cells))]


def split_lines(text: str) -> list[str]:
    """Split at LF, CR and CR LF only (`str.splitlines` knows many more), keeping them."""
    return [line.decode() for line in text.encode().splitlines(keepends=True)]


def _is_regular(shape: Shape) -> pl.Expr:
    """Return for each `line` whether it is one record of the right width by itself, with nothing doubtful in it."""
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
