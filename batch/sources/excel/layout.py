"""What a sheet's XML says outside of its rows: hidden columns, merged cells, and which scanner can read the rows."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from batch.model import column_letters
from batch.sources.excel.markup import MarkupError, is_true, is_utf8, parse, whole_number
from batch.sources.excel.package import Package
from batch.sources.excel.workbook import Sheet

LAST_ROW = 1_048_576
LAST_COLUMN = 16_384
MAX_MERGED = 10_000
_MAX_AROUND = 64 << 20
_END = b"</sheetData>"


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of cells, all numbers counted from 1 and within it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def name(self) -> str:
        """The area as Excel names it: `B2:C5`."""
        return f"{column_letters(self.left)}{self.top}:{column_letters(self.right)}{self.bottom}"

    @property
    def is_many(self) -> bool:
        """More than one cell."""
        return self.top < self.bottom or self.left < self.right


@dataclass(slots=True)
class Layout:
    """What a sheet says outside of its rows."""

    is_plain: bool = True
    """The XML has the form that all spreadsheet programs write, so the fast scanner can read it."""
    hidden_columns: list[tuple[int, int]] = field(default_factory=list)
    widths: list[tuple[int, int, float]] = field(default_factory=list)
    """First and last column, and how wide they are, where the sheet says it."""
    merged: list[Area] = field(default_factory=list)
    """The first `MAX_MERGED` of them."""
    merged_count: int = 0
    last_row: int = 0
    """The last row that the sheet says it has; it need not be true."""


def read_layout(pieces: Iterable[bytes]) -> Layout:
    """Read a sheet's layout from its whole XML; raise `MarkupError` when it cannot be read."""
    layout = Layout()

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "col" and is_true(attributes.get("hidden")) and len(layout.hidden_columns) < LAST_COLUMN:
            layout.hidden_columns.append((whole_number(attributes.get("min")), whole_number(attributes.get("max"))))
        if name == "col" and len(layout.widths) < LAST_COLUMN:
            span = whole_number(attributes.get("min")), whole_number(attributes.get("max"))
            if re.fullmatch(r"\d{1,3}(\.\d+)?", attributes.get("width", "")):
                layout.widths.append((*span, float(attributes["width"])))
        elif name == "mergeCell":
            layout.merged_count += 1
            if layout.merged_count <= MAX_MERGED:
                layout.merged.append(read_area(attributes.get("ref", "")))
        elif name == "dimension" and attributes.get("ref"):
            layout.last_row = read_area(attributes["ref"]).bottom

    parse(pieces, start=start)
    return layout


def read_area(reference: str) -> Area:
    """Read `B2:C5` or `B2`."""
    match = re.fullmatch(r"\$?([A-Z]{1,3})\$?(\d{1,10})(?::\$?([A-Z]{1,3})\$?(\d{1,10}))?", reference.upper())
    if match is None:
        raise MarkupError(f"no area: {reference}")
    left, top, right, bottom = match.groups()
    return Area(int(top), column_number(left), int(bottom or top), column_number(right or left))


def column_number(letters: str) -> int:
    """Return the number of column `letters` (A = 1)."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


class RowsRemover:
    """Takes a sheet's XML piece by piece and keeps what stands before and after its rows.

    Merged cells are listed after the rows, which are 99 % of a sheet: so this is a first pass, as fast as inflating.
    """

    def __init__(self) -> None:
        self.is_plain = True
        """Nothing so far needs the slow scanner."""
        self._kept = bytearray()
        self._rest = b""
        self._state: Literal["before", "rows", "after"] = "before"

    def take(self, piece: bytes) -> None:
        """Read the next piece."""
        if self._state == "rows":
            self._find_end(piece)
            return
        self._kept += piece
        if self._state == "before":
            self._find_rows()
        if len(self._kept) > _MAX_AROUND:
            raise MarkupError("too much beside the rows")

    def _find_rows(self) -> None:
        match = re.search(rb"<sheetData\s*>", self._kept)
        if match is not None:
            rows = bytes(self._kept[match.end() :])
            del self._kept[match.start() :]
            self._state = "rows"
            self._find_end(rows)
        if b"<!" in self._kept or not is_utf8(self._kept) or re.search(rb"<\w+:sheetData", self._kept):
            self.is_plain = False

    def _find_end(self, piece: bytes) -> None:
        rows = self._rest + piece
        end = rows.find(_END)
        if end >= 0:
            self._kept += rows[end + len(_END) :]
            self._state = "after"
        self._rest = rows[1 - len(_END) :]

    @property
    def kept(self) -> bytes:
        """The XML without its rows."""
        return bytes(self._kept)


def read_sheet_layout(package: Package, sheet: Sheet) -> Layout:
    """Read the layout of a sheet before its cells, within the limits on what may be unpacked."""
    remover = RowsRemover()
    for piece in package.iter_bytes(sheet.part):
        remover.take(piece)
        if not remover.is_plain:
            return parse_sheet_layout(package, sheet)
    try:
        return read_layout([remover.kept])
    except MarkupError:  # what looked like the end of the rows may have stood in a comment
        return parse_sheet_layout(package, sheet)


def parse_sheet_layout(package: Package, sheet: Sheet) -> Layout:
    """Read the layout of a sheet in any form of XML."""
    layout = read_layout(package.iter_bytes(sheet.part))
    layout.is_plain = False
    return layout
