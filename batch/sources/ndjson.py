"""NDJSON (a JSON object a line) -> rows of text, in two passes: one finds the columns, the other reads the cells.

An object inside an object becomes one column for each of its members (`address.city`), a list of texts one text
(`a; b`). A value without a faithful text is refused by name.

Promises numbers digit by digit as they stand, null and what is missing as a blank cell, and each line as it stood
beside the texts, so that the failures file has the original values. A line that is no JSON object is an `InputError`:
programs write these files, so it is damaged, and nothing of it is read.
"""

import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import polars as pl

from batch.errors import InputError
from batch.exact_json import HALF, REPEATED, Number, base_key, decode
from batch.model import (
    READ_ERRORS,
    ROW,
    FilePart,
    Problem,
    Staged,
    cell_column,
    original_column,
    read_errors_text,
)
from batch.sources.flat_lines import TEXT, FlatLines, Shape
from batch.sources.input import Input, InputFile
from batch.sources.options import ReadOptions
from batch.sources.parquet import NO_ITEMS, SEPARATOR, empty_lists_note, without_text
from batch.sources.staging import Rows, rows_at_once, staged_schema, write_frames

FIRST_ROW = 1
"""A row has the number of its line."""
BLOCK = 4 << 20
"""Bytes that are read at once."""
MAX_LINE = 16 << 20
MAX_COLUMNS = 4_096
MAX_SHAPES = 10_000
"""Shapes of objects that are known again, so that they are looked through once."""
WHOLE = re.compile(r"-?\d+")


class NoText(Exception):
    """A value has no text that a field could take."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file, and the object in it."""

    number: int
    text: str
    members: Mapping[str, Any]


MEMBERS = operator.attrgetter("members")


def stage(input: Input, folder: Path, options: ReadOptions) -> Staged:
    """Read NDJSON files once into `folder/input.parquet`."""
    headers = _find_headers(input, options)
    cells = _Cells(input.files, headers)
    rows = Rows(len(headers), FIRST_ROW, options.limit)
    schema = staged_schema(len(headers), {original_column(0): pl.String()})
    path = write_frames(rows.iter_tidy(cells.iter_frames()), schema, folder)
    empty = [empty_lists_note(header, count) for header, count in cells.empty_lists.items()]
    return Staged(
        path=path, name=input.name, format="ndjson", headers=tuple(headers), rows=rows.kept, sha256=input.sha256,
        notes=(*empty, *filter(None, [rows.note()])), files=tuple(cells.parts) if input.is_many else (),
    )  # fmt: skip


def iter_blocks(file: InputFile) -> Iterator[pl.DataFrame]:
    """Yield the lines of a file that are not blank, many at a time, as ROW and TEXT; raises InputError."""
    with file.content.open("rb") as content:
        number, rest = FIRST_ROW, b""
        while data := content.read(BLOCK):
            lines, end, rest = (rest + data).rpartition(b"\n")
            if end:
                yield _block(file, number, lines)
                number += lines.count(b"\n") + 1
            if len(rest) > MAX_LINE:
                break
        if rest:
            yield _block(file, number, rest)


def _block(file: InputFile, first: int, lines: bytes) -> pl.DataFrame:
    try:
        text = lines.decode("utf-8-sig" if first == FIRST_ROW else "utf-8")
    except UnicodeDecodeError as error:
        number = first + error.object[: error.start].count(b"\n")
        raise InputError(f"{file.name}, line {number}: it is not UTF-8, as JSON must be.") from None
    block = pl.DataFrame({TEXT: [text]}).select(pl.col(TEXT).str.split("\n").explode()).with_row_index(ROW, first)
    if len(lines) > MAX_LINE:
        for number in block.filter(pl.col(TEXT).str.len_bytes() > MAX_LINE)[ROW].head(1):
            raise InputError(f"{file.name}, line {number}: it has more than {MAX_LINE >> 20} MB: this is no table.")
    return block.with_columns(pl.col(TEXT).str.strip_chars()).filter(pl.col(TEXT) != "")


def _reader(file: InputFile) -> Callable[[int, str], Line]:
    """Return what reads a line of a file by its number and text; raises InputError for one that is no object."""

    def read(number: int, text: str) -> Line:
        try:
            members = decode(text)
        except ValueError as error:
            why = f"{error.msg}, character {error.colno}" if isinstance(error, JSONDecodeError) else str(error)
            raise InputError(f"{file.name}, line {number}: it is no JSON ({why}): is the file complete?") from None
        if not isinstance(members, dict):
            raise InputError(f'{file.name}, line {number}: it is no object, such as {{"id": 1}}.')
        return Line(number, text, members)

    return read


def _find_headers(input: Input, options: ReadOptions) -> list[str]:
    """Return the columns in the order in which they come first; raises InputError for one that no field can take."""
    flat = FlatLines()
    headers = _Headers(input, options)
    headers.read(flat)
    if headers.parents & {key for one in flat.shapes for key in one.keys}:  # whether those have a value is to be known
        headers = _Headers(input, options)
        headers.read(None)
    return headers.listed()


class _Headers:
    """Finds the columns of all files."""

    def __init__(self, input: Input, options: ReadOptions) -> None:
        self._input, self._options = input, options
        self._has_value: dict[str, bool] = {}
        self._refused: dict[str, str] = {}
        self._seen: set[tuple[tuple[str, ...], tuple[type, ...]]] = set()

    def read(self, flat: FlatLines | None) -> None:
        """Look through all lines; of those that `flat` knows nothing is new but whether a column has a value."""
        for file in self._input.files:
            read = _reader(file)
            for block in iter_blocks(file):
                if flat is None:
                    lines = [read(*one) for one in block.iter_rows()]
                else:
                    _, lines = flat.sort(block, read, MEMBERS)
                for line in lines:
                    self._look_at(file, line)
        for file in self._input.files:
            self._has_value |= dict.fromkeys(file.partition, True)

    def _look_at(self, file: InputFile, line: Line) -> None:
        shape = tuple(line.members), tuple(map(type, line.members.values()))
        if shape in self._seen:  # it says nothing new
            return
        if len(self._seen) < MAX_SHAPES and not {dict, list} & set(shape[1]):
            self._seen.add(shape)
        for header, value in _iter_cells(line.members, file, line):
            if header not in self._has_value and len(self._has_value) == MAX_COLUMNS:
                raise InputError(f"{file.name}, line {line.number}: there are more than {MAX_COLUMNS:,} columns.")
            self._has_value[header] = value is not None or self._has_value.get(header, False)
            if type(value) is list and header not in self._refused and not _has_text(value):
                where = f'{file.name}, line {line.number}, column "{header}"'
                is_left_out = self._options.is_left_out(header)
                self._refused[header] = "" if is_left_out else without_text(where, NO_ITEMS, header)

    @property
    def parents(self) -> set[str]:
        """What stands before a dot in the name of another column."""
        return {header[: dot.start()] for header in self._has_value for dot in re.finditer(r"\.", header)}

    def listed(self) -> list[str]:
        """Return the columns; raises InputError for those that no field can take."""
        if any(self._refused.values()):
            raise InputError("\n".join(filter(None, self._refused.values())))
        parents = self.parents
        return [header for header, is_filled in self._has_value.items() if is_filled or header not in parents]


def _has_text(value: Sequence[Any]) -> bool:
    """Return whether a list has a faithful text."""
    try:
        _items(value)
    except NoText:
        return False
    return True


def _iter_cells(members: Mapping[str, Any], file: InputFile, line: Line, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in members.items():
        if key.endswith(REPEATED):
            raise InputError(f'{file.name}, line {line.number}: "{prefix}{base_key(key)}" is in it twice.')
        if isinstance(value, dict) and value:
            yield from _iter_cells(value, file, line, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", None if value == {} else value


class _Cells:
    """Reads the cells of all files under their headers."""

    def __init__(self, files: Sequence[InputFile], headers: Sequence[str]) -> None:
        self.empty_lists: Counter[str] = Counter()
        self.parts: list[FilePart] = []
        """The files that were begun."""
        self._files, self._headers = files, headers
        self._names = [cell_column(at) for at in range(len(headers))]
        self._places = {header: at for at, header in enumerate(headers)}

    def iter_frames(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of all files, numbered through."""
        most = rows_at_once(len(self._headers))
        next_row = FIRST_ROW
        flat = FlatLines({header for file in self._files for header in file.partition})
        for file in self._files:
            shift = next_row - FIRST_ROW
            self.parts.append(FilePart(file.name, next_row, shift))
            read = _reader(file)
            for block in iter_blocks(file):
                alike, others = flat.sort(block, read, MEMBERS)
                frames = [self._flat_frame(shape, lines, file, shift) for shape, lines in alike]
                if others or not frames:
                    frames.append(self._frame([self._row(line, file, shift) for line in others]))
                frame = frames[0] if len(frames) == 1 else pl.concat(frames).sort(ROW)
                yield from frame.iter_slices(most)
                next_row = max([next_row, *(int(one) + shift + 1 for one in block[ROW].tail(1))])

    def _flat_frame(self, shape: Shape, lines: pl.DataFrame, file: InputFile, shift: int) -> pl.DataFrame:
        """Return the rows of lines that are alike."""
        texts = dict(zip(shape.keys, shape.texts(lines), strict=True))
        constant = {header: value and self._text(header, value)[0] for header, value in file.partition.items()}
        cells = [
            texts[header].alias(name) if header in texts else pl.lit(constant.get(header), pl.String()).alias(name)
            for header, name in zip(self._headers, self._names, strict=True)
        ]
        return lines.select(
            (pl.col(ROW) + shift).cast(pl.UInt32()), *cells, pl.lit(None, pl.String()).alias(READ_ERRORS),
            pl.col(TEXT).alias(original_column(0)),
        )  # fmt: skip

    def _row(self, line: Line, file: InputFile, shift: int) -> tuple[Any, ...]:
        cells: list[str | None] = [None] * len(self._headers)
        errors: list[tuple[int | None, Problem]] = []
        seen: set[str] = set()
        for header, value in (*_iter_cells(line.members, file, line), *file.partition.items()):
            if header in seen:
                raise InputError(f'{file.name}, line {line.number}: it has two values for column "{header}".')
            seen.add(header)
            at = self._places.get(header)
            if value is None or at is None:
                continue
            cells[at], code = self._text(header, value)
            if code:
                errors.append((at, Problem(code, seen=cells[at] or "")))
        return line.number + shift, *cells, read_errors_text(errors) if errors else None, line.text

    def _text(self, header: str, value: Any) -> tuple[str | None, str]:
        """Return the text of a value, and the code of what is wrong with it."""
        if isinstance(value, str):
            return value, "lost_character" if HALF in value else ""
        if isinstance(value, list):
            self.empty_lists[header] += not value
            try:
                items = _items(value)
            except NoText:  # of a column that is left out
                return None, ""
            is_plain = all(item is not None and ";" not in item and item.strip() for item in items)
            return SEPARATOR.join(item or "" for item in items) or None, "" if is_plain else "item_ambiguous"
        return ("true" if value else "false") if isinstance(value, bool) else str(value), ""

    def _frame(self, rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
        schema = {ROW: pl.UInt32(), **dict.fromkeys((*self._names, READ_ERRORS, original_column(0)), pl.String())}
        return pl.DataFrame(rows, schema=schema, orient="row")


def _items(value: Sequence[Any]) -> list[str | None]:
    """Return the texts of a list's items; raises NoText where one is neither a text, nor a whole number, nor null."""
    return [None if item is None else _item(item) for item in value]


def _item(item: Any) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, int | Number) and not isinstance(item, bool) and WHOLE.fullmatch(str(item)):
        return str(item)
    raise NoText
