"""One record of CSV, read with care: the slow way, for what is not plainly regular.

The grammar is RFC 4180 with any line end. What breaks it never costs more than its own row: a quotation mark that has
no partner makes the line it stands on invalid, and reading goes on with the next line.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring

MAX_RECORD = 12 << 20
"""Characters; a quoted cell that runs on for longer has lost its closing mark."""
STRAY_IN_CELL = 'has a quotation mark in it, but does not begin with one (write "" for it, and " around the cell)'
STRAY_IN_ROW = 'has a quotation mark too many or too few (write "" for one inside a text, and " around the text)'
NEVER_CLOSED = "has a quotation mark that opens a cell and is never closed (close it or delete it)"
SWALLOWS = "has a quoted cell that runs on into lines which look like rows (is its closing quotation mark missing?)"
NUL = "has a NUL character in it (type it again)"
LOST = "has a character that could not be read (type the cell again; if many are like this, try another --encoding)"
CONTROL = "has a character that is none in this encoding (type the cell again, or try another --encoding)"
DIRT = re.compile("[\x00\x80-\x9f\ufffd]")

Damage = tuple[int | None, str, str]
"""Column index or None for the whole row, what was seen, and why it cannot be trusted."""


@dataclass(slots=True)
class Record:
    """The cells of one record, the lines it takes, and what is wrong with it."""

    cells: list[str]
    lines: int = 1
    damage: list[Damage] = field(default_factory=list)
    inside: list[int] | None = None
    """For each line but the first, the index of the quoted cell in which it begins; None if that was not looked at."""

    @property
    def is_blank(self) -> bool:
        return not any(map(str.strip, self.cells))

    @property
    def damage_text(self) -> str | None:
        return damage_text(self.damage) if self.damage else None


def damage_text(damage: Sequence[Damage]) -> str:
    """Write damage as the JSON of the column `damage`."""
    return "[" + ",".join(map(_one_damage, damage)) + "]"


def _one_damage(damage: Damage) -> str:
    index, seen, reason = damage
    return f"[{'null' if index is None else index},{encode_basestring(seen)},{encode_basestring(reason)}]"


class UnfinishedError(Exception):
    """The text ended inside a quoted cell; more of it may close the cell."""


def read_record(lines: Sequence[str], start: int, delimiter: str, *, is_end: bool) -> Record:
    """Read the record that begins at `lines[start]` (each with its line end).

    Raises `UnfinishedError` when the lines end inside a quoted cell, unless they end the file.
    """
    return _read_plainly(lines, start, delimiter) or _read_carefully(lines, start, delimiter, is_end=is_end)


def _read_plainly(lines: Sequence[str], start: int, delimiter: str) -> Record | None:
    """Read a record with Python's reader, if that is sure to give the same; else None.

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
                return Record(scan.cells, number - start + 1, scan.damage, scan.inside)
            case "broken":
                return _broken(lines[start], delimiter, STRAY_IN_ROW)
        if scan.size > MAX_RECORD:
            return _broken(lines[start], delimiter, NEVER_CLOSED)
    if not is_end:
        raise UnfinishedError
    return _broken(lines[start], delimiter, NEVER_CLOSED)


def _broken(line: str, delimiter: str, reason: str) -> Record:
    text = line.rstrip("\r\n")
    return Record(text.split(delimiter), 1, [(None, text, reason)])


class _Scan:
    """Takes a record line by line; linear in its characters."""

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        self.cells: list[str] = []
        self.damage: list[Damage] = []
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
            self.damage.append((len(self.cells), cell, STRAY_IN_CELL))
        self.cells.append(cell)
        return end


def _end_length(line: str) -> int:
    return 2 if line.endswith("\r\n") else 1 if line.endswith(("\n", "\r")) else 0


def judge(record: Record, lines: Sequence[str], width: int, delimiter: str) -> Record:
    """Add what is wrong with a whole record: its width, rows it swallowed, letters that were lost."""
    if record.is_blank or any(index is None for index, _, _ in record.damage):
        return record
    raw = "".join(lines)
    raw = raw[: len(raw) - _end_length(raw)]
    if len(lines) > 1 and width > 1 and _swallows_rows(record, lines, width, delimiter):
        record.damage = [(None, raw, SWALLOWS)]
    elif len(record.cells) != width:
        record.damage = [(None, raw, NUL if "\x00" in raw else ragged(len(record.cells), width))]
    elif DIRT.search(raw):
        record.damage += [(i, cell, _dirt(cell)) for i, cell in enumerate(record.cells) if DIRT.search(cell)]
    return record


def _swallows_rows(record: Record, lines: Sequence[str], width: int, delimiter: str) -> bool:
    """Tell whether a line inside a quoted cell could be a row: of its width, and beginning like this one.

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


def _dirt(cell: str) -> str:
    return NUL if "\x00" in cell else LOST if "\ufffd" in cell else CONTROL


def ragged(cells: int, width: int) -> str:
    """Say that a row has another number of cells than the header."""
    seen = f"has {cells} {'cell' if cells == 1 else 'cells'} where the header has {width}"
    if cells > width:
        return f"{seen} (a delimiter inside a text needs quotation marks around the text)"
    return f"{seen} (add the delimiters of its blank cells; a text with line breaks needs quotation marks around it)"
