"""Writes a cell into a worksheet as it was in the input, from its text and its origin.

`origin` is what the XLSX reader kept beside the text (`batch/sources/excel/values.py`): null for plain text, else a
letter, the number of the cell's format, and what the text does not say.
"""

import re
from collections.abc import Sequence
from typing import Any

import xlsxwriter
from xlsxwriter.exceptions import FileCreateError
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from batch.model import CellStyle

TEXT_FORMAT = "@"
MAX_TEXT = 32_767
"""UTF-16 units that a cell holds."""
NO_VALUE = "#N/A"
"""Stands in a cell whose value is not known: it is not blank, and no reader takes it for a value."""
LINE = 15.0
"""Height of a line of text, in points; a row that has several is given its height, which LibreOffice does not find."""
MAX_LINES = 27
"""Lines in the highest row that a spreadsheet program allows."""
BAD = {"bg_color": "#FFC7CE", "font_color": "#9C0006"}

_ERRORS = {
    "#DIV/0!": "=1/0", "#N/A": "=NA()", "#NAME?": "=#NAME?", "#NULL!": "=#NULL!", "#NUM!": "=#NUM!",
    "#REF!": "=#REF!", "#VALUE!": "=#VALUE!",
}  # fmt: skip
_NUMBER_STARTS = frozenset("0123456789 +-.,$€£(")
_NUMBER_LIKE = re.compile(r"[\s+\-.,$€£(]*\d[\d\s.,:/\-+%eE()]*")


class ExactSheet(Worksheet):  # type: ignore[misc]  # xlsxwriter has no types
    """A worksheet that writes texts as nothing but text, and numbers to their last bit.

    xlsxwriter itself takes a text such as `<r>…</r>` for markup of its own, and gives numbers 16 digits, which is one
    too few.
    """

    def write_string(self, row: int, col: int, string: str, cell_format: Format | None = None) -> int:
        """Write a text; one that looks like markup in three parts, which are nothing but text."""
        if string.startswith("<r>") and string.endswith("</r>"):
            parts = ["<", "r>", string[3:], *([cell_format] if cell_format else [])]
            return int(super().write_rich_string(row, col, *parts))
        return int(super().write_string(row, col, string, cell_format))

    def write_number(self, row: int, col: int, number: float, cell_format: Format | None = None) -> int:
        """Write a number."""
        return int(super().write_number(row, col, _Exact(number), cell_format))


class _Exact(float):
    """A number that is written with as many digits as it has, whatever format is asked for."""

    def __format__(self, spec: str) -> str:
        return str(int(self)) if self.is_integer() and abs(self) < 1e15 else repr(float(self))


_PLAIN = CellStyle()


class CellWriter:
    """Writes cells of one worksheet, each format made once."""

    def __init__(
        self, book: xlsxwriter.Workbook, sheet: Worksheet, codes: Sequence[str], looks: Sequence[CellStyle] = ()
    ) -> None:
        self._book, self._sheet = book, sheet
        self._styles = list(zip(codes, looks or (CellStyle(),) * len(codes), strict=True))
        self._formats: dict[tuple[str, CellStyle, bool], Format | None] = {("General", CellStyle(), False): None}
        self._plain: dict[str | None, tuple[str, tuple[str, CellStyle], str]] = {}

    def write(self, row: int, column: int, text: str | None, origin: str | None, *, is_bad: bool) -> bool:
        """Write a cell; return whether its value had to be left out, so that `NO_VALUE` stands in its place."""
        letter, (code, look), raw = self._plain.get(origin) or self._parsed_origin(origin)
        if letter == "s":
            return self._write_text(row, column, text, code, look, is_bad=is_bad)
        style = self._formats.get((code, look, is_bad)) or self.style(code, look, is_bad=is_bad)
        if letter in "nd":
            self._sheet.write_number(row, column, float(raw or text or ""), style)
        elif letter == "b":
            self._sheet.write_boolean(row, column, text == "true", style)
        else:
            self._write_error(row, column, raw, style)
            return raw not in _ERRORS
        return False

    def _parsed_origin(self, origin: str | None) -> tuple[str, tuple[str, CellStyle], str]:
        """Return letter, format code with look, and raw value; one without raw value is cached, as it comes again."""
        if origin is None:
            parsed = ("s", self._styles[0], "")
        else:
            number, _, raw = origin[1:].partition(":")
            parsed = (origin[0], self._styles[int(number)], raw)
        if not parsed[2]:
            self._plain[origin] = parsed
        return parsed

    def _write_text(self, row: int, column: int, text: str | None, code: str, look: CellStyle, *, is_bad: bool) -> bool:
        if not text:
            if is_bad:
                self._sheet.write_blank(row, column, None, self.style(code, look, is_bad=True))
            return False
        if is_unwritable(text):
            self._write_error(row, column, NO_VALUE, self.style(code, look, is_bad=is_bad))
            return True
        if text[0] in _NUMBER_STARTS and code == "General" and _NUMBER_LIKE.fullmatch(text):
            code = TEXT_FORMAT  # or whoever corrects a digit of 00123 gets a number, and loses its zeros
        self._sheet.write_string(
            row, column, text, self._formats.get((code, look, is_bad)) or self.style(code, look, is_bad=is_bad)
        )
        return False

    def _write_error(self, row: int, column: int, error: str, style: Format | None) -> None:
        known = error if error in _ERRORS else NO_VALUE
        self._sheet.write_formula(row, column, _ERRORS[known], style, known)

    def style(self, code: str, look: CellStyle = _PLAIN, *, is_bad: bool) -> Format | None:
        """Return the format for the code of a number format and a look, marked as bad or not."""
        key = (code, look, is_bad)
        if key not in self._formats:
            marked = BAD if is_bad else {}
            self._formats[key] = self._book.add_format(look_properties(look) | {"num_format": code} | marked)
        return self._formats[key]


def close_book(book: xlsxwriter.Workbook) -> None:
    """Write a workbook to its file; raises OSError, which xlsxwriter makes an error of its own of."""
    try:
        book.close()
    except FileCreateError as error:
        raise error.args[0] from error


def look_properties(look: CellStyle) -> dict[str, Any]:
    """Return a look as xlsxwriter calls it. Lines are not wrapped: no row is given the height for it."""
    known = {
        "font_name": look.font, "font_size": look.size, "bold": look.bold, "italic": look.italic,
        "underline": int(look.underline), "font_strikeout": look.strikeout, "font_color": look.colour,
        "bg_color": look.fill,
    }  # fmt: skip
    return {name: value for name, value in known.items() if value}


def is_unwritable(text: str) -> bool:
    """Return whether a workbook cannot hold a text: too long, or with characters that XML cannot express."""
    is_long = len(text) > MAX_TEXT // 2 and len(text.encode("utf-16-le")) > 2 * MAX_TEXT
    return is_long or "\ufffe" in text or "\uffff" in text


def lines_of(text: str, width: int) -> int:
    """Estimate how many lines a text takes in a column of this width, which is counted in digits."""
    if len(text) * 1.05 <= width and "\n" not in text:  # as most are, of a million
        return 1
    return sum(1 + int((max(len(line), 1) - 1) * 1.05) // width for line in text.splitlines() or [""])
