"""One CSV file, or several that make one table: columns are put together by name, and rows numbered through.

Promises: files whose headers are not the same are refused by name; that they stand in another order does not matter. No
more than one file is open at a time.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from batch.errors import InputError
from batch.model import READ_ERRORS, ROW, CsvDialect, FilePart, cell_column, shorten
from batch.sources.csv.encoding import Encoding, TextPieces, find_encoding
from batch.sources.csv.failures_file import FailuresFile, OtherFile, is_guarded
from batch.sources.csv.header import Head, read_head
from batch.sources.csv.rows import CsvRows, Shape
from batch.sources.input import Input, InputFile
from batch.sources.options import ReadOptions

MIXED = "utf-8-sig"
"""How the failures of files in several encodings are written: a spreadsheet program knows it by its mark."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file whose header was read."""

    file: InputFile
    encoding: Encoding
    head: Head
    """Without the text that follows it."""

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers, and then the columns that the names of its folders hold."""
        return (*self.head.headers, *self.file.partition)

    @property
    def named(self) -> list[str]:
        """The headers without spaces around them, and without empty ones at the end."""
        names = [one.strip() for one in self.headers]
        while names and not names[-1]:
            names.pop()
        return names

    @property
    def is_guarded(self) -> bool:
        """Whether texts in it have guards in front that batch put there."""
        return is_guarded(self.head.headers, self.file.path)

    @property
    def dialect(self) -> CsvDialect:
        """How it is written."""
        head = self.head
        return CsvDialect(self.encoding.codec, head.delimiter, head.line_end, head.quoting, head.has_sep_line)


def look_into(file: InputFile, options: ReadOptions) -> Table:
    """Read the header of a file."""
    encoding = find_encoding(file.content, file.name, options.encoding)
    pieces = TextPieces(file.content, encoding)
    head = read_head(pieces.read(), file.name, options)
    pieces.close()
    return Table(file, encoding, replace(head, rest=""))


class Tables:
    """All files of an input as one table, which has the columns of the first."""

    def __init__(self, input: Input, tables: Sequence[Table], options: ReadOptions) -> None:
        """Put the columns together; raises InputError where they are others."""
        first = tables[0]
        self.width = len(first.named) + max(len(one.headers) - len(one.named) for one in tables)
        self.headers = (*first.headers, *[""] * (self.width - len(first.headers)))
        self.first_row = first.head.first_row
        self.is_guarded = first.is_guarded
        """Whether its headers have guards in front."""
        self.dialect = _common_dialect(tables)
        self.parts: list[FilePart] = []
        """The files that were begun."""
        self._tables, self._options, self._is_many = tables, options, input.is_many
        self._orders = [_order(first, one, input.name, self.width) for one in tables]
        self._readers: list[_Reader] = []

    @property
    def head_notes(self) -> list[str]:
        """What is to be told of how the files are written."""
        notes = [(one.file.name, note) for one in self._tables for note in (one.encoding.note, *one.head.notes)]
        return _grouped(notes, is_many=self._is_many)

    @property
    def row_notes(self) -> list[str]:
        """What is to be told of the rows that were read."""
        return _grouped([(one.table.file.name, one.note) for one in self._readers], is_many=self._is_many)

    def iter_frames(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of all files, numbered through."""
        next_row = self.first_row
        for table, order in zip(self._tables, self._orders, strict=True):
            shift = next_row - table.head.first_row
            is_foreign = (table.named, table.head.delimiter) != (self._tables[0].named, self.dialect.delimiter)
            self.parts.append(FilePart(table.file.name, next_row, shift, is_foreign))
            reader = _Reader(table, self._options)
            self._readers.append(reader)
            for frame in reader.iter_frames():
                if frame.height:
                    next_row = int(frame[ROW][-1]) + shift + 1
                yield _placed(frame, order, shift) if order is not None or shift else frame


class _Reader:
    """Reads the rows of one file, as they are numbered in it."""

    def __init__(self, table: Table, options: ReadOptions) -> None:
        self.table, self._options = table, options
        self._kind = FailuresFile(table.head.headers, table.head.delimiter) if table.is_guarded else OtherFile()

    @property
    def note(self) -> str:
        """What is to be told of its rows."""
        return self._kind.note

    def iter_frames(self) -> Iterator[pl.DataFrame]:
        """Yield its rows, with the columns that the names of its folders hold."""
        file = self.table.file
        pieces = TextPieces(file.content, self.table.encoding)
        head = read_head(pieces.read(), file.name, self._options)
        width = len(head.headers)
        frames = CsvRows(head.rest, pieces, Shape(file.name, head.delimiter, width, head.first_row)).iter_frames()
        frames = self._kind.iter_restored(frames)
        more = [
            pl.lit(value, pl.String).alias(cell_column(at)) for at, value in enumerate(file.partition.values(), width)
        ]
        for frame in frames:
            yield frame.with_columns(more).select(pl.exclude(READ_ERRORS), READ_ERRORS) if more else frame


def _common_dialect(tables: Sequence[Table]) -> CsvDialect:
    """Return how the failures are written: as the first file, in an encoding that can write all of them."""
    dialect = tables[0].dialect
    is_mixed = len({one.dialect.encoding for one in tables}) > 1
    return replace(dialect, encoding=MIXED) if is_mixed else dialect


def _order(first: Table, other: Table, name: str, width: int) -> list[int | None] | None:
    """Return where the columns of the first file stand in another one; None where they are the same.

    Raises InputError where one of them has a column that the other has not.
    """
    ours, theirs = Counter(first.named), Counter(other.named)
    for one, counts, found, others in ((first, ours, other, theirs), (other, theirs, first, ours)):
        missing = next((header for header in one.named if counts[header] > others[header]), None)
        if missing is not None:
            raise InputError(
                f'{name}: the files differ. Column "{shorten(missing, 60)}" of {one.file.name} is missing in '
                f"{found.file.name}: give them as separate inputs."
            )
    named = list(range(len(first.named)))
    if first.named != other.named:
        twice = next((header for header, count in ours.items() if count > 1), None)
        if twice is not None:
            raise InputError(
                f"{name}: the columns of {other.file.name} stand in another order than in {first.file.name}, and "
                f'"{shorten(twice, 60)}" is there more than once: give them as separate inputs.'
            )
        named = [other.named.index(header) for header in first.named]
    without_name = range(len(named), len(other.headers))
    order = [*named, *without_name, *[None] * (width - len(other.headers))]
    return None if order == list(range(width)) else order


def _placed(frame: pl.DataFrame, order: Sequence[int | None] | None, shift: int) -> pl.DataFrame:
    """Put the cells of a frame under the columns of the first file, and number its rows through."""
    number = (pl.col(ROW).cast(pl.Int64) + shift).cast(pl.UInt32)
    if order is None:
        return frame.with_columns(number)
    cells = [
        (pl.lit(None, pl.String) if at is None else pl.col(cell_column(at))).alias(cell_column(place))
        for place, at in enumerate(order)
    ]
    places = {at: place for place, at in enumerate(order) if at is not None}
    errors = [_with_places(text, places) for text in frame[READ_ERRORS].to_list()]
    return frame.select(number, *cells, pl.Series(READ_ERRORS, errors, dtype=pl.String))


def _with_places(read_errors: str | None, places: Mapping[int, int]) -> str | None:
    """Name the columns of read errors by where they stand in the first file."""
    if read_errors is None:
        return None
    found = [[None if at is None else places.get(at), *rest] for at, *rest in json.loads(read_errors)]
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _grouped(notes: Iterable[tuple[str, str]], *, is_many: bool) -> list[str]:
    """Say each note once, of several files with the names of those that it is about."""
    by_note: dict[str, list[str]] = {}
    for name, note in notes:
        if note:
            by_note.setdefault(note, []).append(name)
    if not is_many:
        return list(by_note)
    return [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {note}"
        for note, names in by_note.items()
    ]
