"""NDJSON (a JSON object a line) -> rows of text, in two passes: one finds the columns, the other reads the cells.

An object inside an object becomes one column for each of its members (`address.city`), a list of texts one text
(`a; b`). A value without a faithful text is refused by name.

Promises numbers digit by digit as they stand, null and what is missing as a blank cell, and each line as it stood
beside the texts, so that the failures file has the original values. A line that is no JSON object is an `InputError`:
programs write these files, so it is damaged, and nothing of it is read.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from batch.sources.input import Input, InputFile
from batch.sources.options import ReadOptions
from batch.sources.parquet import NO_ITEMS, SEPARATOR, empty_lists_note, without_text
from batch.sources.staging import Rows, rows_at_once, staged_schema, write_frames

FIRST_ROW = 1
"""A row has the number of its line."""
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


def iter_lines(file: InputFile) -> Iterator[Line]:
    """Yield the lines of a file that are not blank; raises InputError for one that is no object."""
    with file.content.open("rb") as content:
        number = 0
        while data := content.readline(MAX_LINE + 1):
            number += 1
            if len(data) > MAX_LINE:
                raise InputError(f"{file.name}, line {number}: it has more than {MAX_LINE >> 20} MB: this is no table.")
            try:
                text = data.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                members = decode(text) if text else None
            except UnicodeDecodeError:
                raise InputError(f"{file.name}, line {number}: it is not UTF-8, as JSON must be.") from None
            except ValueError as error:
                why = f"{error.msg}, character {error.colno}" if isinstance(error, JSONDecodeError) else str(error)
                raise InputError(f"{file.name}, line {number}: it is no JSON ({why}): is the file complete?") from None
            if members is not None:
                if not isinstance(members, dict):
                    raise InputError(f'{file.name}, line {number}: it is no object, such as {{"id": 1}}.')
                yield Line(number, text, members)


def _find_headers(input: Input, options: ReadOptions) -> list[str]:
    """Return the columns in the order in which they come first; raises InputError for one that no field can take."""
    has_value: dict[str, bool] = {}
    refused: dict[str, str] = {}
    seen: set[tuple[tuple[str, ...], tuple[type, ...]]] = set()
    for file in input.files:
        for line in iter_lines(file):
            shape = tuple(line.members), tuple(map(type, line.members.values()))
            if shape in seen:  # as nearly all are; it says nothing new
                continue
            if len(seen) < MAX_SHAPES and not {dict, list} & set(shape[1]):
                seen.add(shape)
            for header, value in _iter_cells(line.members, file, line):
                if header not in has_value and len(has_value) == MAX_COLUMNS:
                    raise InputError(f"{file.name}, line {line.number}: there are more than {MAX_COLUMNS:,} columns.")
                has_value[header] = value is not None or has_value.get(header, False)
                if type(value) is list and header not in refused and not _has_text(value):
                    where = f'{file.name}, line {line.number}, column "{header}"'
                    refused[header] = "" if options.is_left_out(header) else without_text(where, NO_ITEMS, header)
    if any(refused.values()):
        raise InputError("\n".join(filter(None, refused.values())))
    for file in input.files:
        has_value |= dict.fromkeys(file.partition, True)
    parents = {header[: dot.start()] for header in has_value for dot in re.finditer(r"\.", header)}
    return [header for header, is_filled in has_value.items() if is_filled or header not in parents]


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
        self._places = {header: at for at, header in enumerate(headers)}

    def iter_frames(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of all files, numbered through."""
        most = rows_at_once(len(self._headers))
        next_row = FIRST_ROW
        for file in self._files:
            shift = next_row - FIRST_ROW
            self.parts.append(FilePart(file.name, next_row, shift))
            rows: list[tuple[Any, ...]] = []
            for line in iter_lines(file):
                rows.append(self._row(line, file, shift))
                next_row = line.number + shift + 1
                if len(rows) == most:
                    yield self._frame(rows)
                    rows = []
            yield self._frame(rows)

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
        names = [cell_column(at) for at in range(len(self._headers))]
        schema = {ROW: pl.UInt32(), **dict.fromkeys((*names, READ_ERRORS, original_column(0)), pl.String())}
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
