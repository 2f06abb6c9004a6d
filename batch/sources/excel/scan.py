"""A sheet's XML -> its cells as they are written, in frames of some ten thousand.

There are two scanners, and what they give is the same. The fast one cuts the XML at `<c r="` and takes the pieces apart
with one regular expression inside polars: it reads the form that Excel, LibreOffice and all known libraries write, five
times as fast as expat called from Python. Every byte of a piece must fit that expression: whatever does not raises
`NeedsXmlParser`, and the sheet is read again by the slow one, which understands all XML.
"""

import re
from collections.abc import Iterable, Iterator

import polars as pl

from batch.sources.excel.layout import LAST_ROW, Layout, column_number
from batch.sources.excel.markup import MarkupError, MarkupReader, NeedsXmlParser, is_true, whole_number
from batch.sources.excel.package import Package
from batch.sources.excel.shared_strings import LETTERS, unescape_entities, with_plain_line_ends
from batch.sources.excel.workbook import Sheet

SCHEMA: dict[str, type[pl.DataType]] = {
    "row": pl.UInt32, "column": pl.UInt16, "style": pl.UInt32, "type": pl.String, "formula": pl.String,
    "value": pl.String, "is_hidden": pl.Boolean,
}  # fmt: skip
"""A cell: where it is, its style's index, its type (`n s str inlineStr b e d`), and the texts of its formula and value
(null = there is none). Cells with neither are left out."""

CHUNK = 1 << 20
"""Bytes of XML at once. Taking them apart needs twenty times as much: 4 MB takes 80 MB more, and 20 % less work."""
_MAX_ROW = 64 << 20
_CELLS_AT_ONCE = 100_000

_ATTRIBUTES = r'(?: (?:s="(?P<style>[0-9]{1,6})"|t="(?P<type>[a-zA-Z]{1,9})"|(?:cm|vm|ph)="[0-9a-z]*"))*'
_INLINE = rf'is><t(?: xml:space="preserve")?>(?P<inline>{LETTERS}+)</t></is>'
_ROWS = r"(?:[ \t\n]|<(?:/row|row(?: [^<>]*)?)>)*$"
_CELL = (
    rf'^(?P<letters>[A-Z]{{1,3}})(?P<row>[1-9][0-9]{{0,8}})"{_ATTRIBUTES}'
    rf"(?:/>|><(?:(?P<formula>f(?: [^<>]*)?>[^<]*</f>)<)?(?:v(?:/|>(?P<value>{LETTERS}+)</v)><)?"
    rf"(?:{_INLINE}<)?/c>){_ROWS}"
)
"""One byte ahead always tells where to go on, so that Rust's "one-pass" engine takes it: three times as fast."""
_RARER_CELL = (
    rf'^(?P<letters>[A-Z]{{1,3}})(?P<row>[1-9][0-9]{{0,8}})"{_ATTRIBUTES}\s*(?:/>|>\s*'
    r"(?:<(?P<formula>f(?: [^<>]*)?(?:/>|>[^<]*</f>))\s*)?"
    rf'(?:<v(?: xml:space="preserve")?>(?P<value>{LETTERS}+)</v>\s*|<v\s*/>\s*|<v></v>\s*)?'
    rf"(?:<{_INLINE}\s*)?</c>){_ROWS}"
)
"""Formulas that are shared with other cells, and spaces and line breaks in and between the tags."""
_BETWEEN = re.compile(r"\s*(?:(?:</row>|<row(?: [^<>]*)?>)\s*)*")
_START = re.compile(rb"<sheetData\s*(/?)>")
_ROW = re.compile(r"<row [^<>]*>")
_HIDDEN_ROW = re.compile(rb'<row [^<>]*\bhidden="(?:1|true)"[^<>]*(?<!/)>.*?</row>', re.DOTALL)
_NUMBER = re.compile(r' r="(\d{1,9})"')


def iter_plain(pieces: Iterable[bytes], *, only_hidden: bool = False) -> Iterator[pl.DataFrame]:
    """Scan a sheet in plain form; raise `NeedsXmlParser` when it is not.

    `only_hidden`: rows that are plainly shown are passed over unread (50,000 rows: 0.1 s instead of 0.3 s).
    """
    for rows in _iter_rows(pieces):
        if only_hidden:
            rows = _hidden_alone(rows)
            if not rows:
                continue
        try:
            text = rows.decode()
        except UnicodeDecodeError as error:
            raise NeedsXmlParser from error
        yield _check_order(_scan(with_plain_line_ends(text)))


def _iter_rows(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a sheet into stretches of whole rows."""
    rest, is_started = b"", False
    for piece in pieces:
        rest += piece
        if not is_started:
            match = _START.search(rest)
            if match is None:
                continue
            if match[1]:
                return
            rest, is_started = rest[match.end() :], True
        cut = rest.rfind(b"</row>") + 6
        if cut > 5:
            yield rest[:cut]
            rest = rest[cut:]
        elif len(rest) > _MAX_ROW:
            raise MarkupError("a row is too long")
    if not is_started or b"<c " in rest.partition(b"</sheetData>")[0]:
        raise NeedsXmlParser


def _hidden_alone(rows: bytes) -> bytes:
    """Return the hidden rows of a stretch; all of it where the word stands elsewhere, too, such as in a text."""
    hidden = _HIDDEN_ROW.findall(rows)
    return b"".join(hidden) if len(hidden) == rows.count(b"hidden") else rows


def _scan(text: str) -> pl.DataFrame:
    parts = pl.Series("parts", [text]).str.split('<c r="').explode()
    if not _BETWEEN.fullmatch(parts[0]):
        raise NeedsXmlParser
    found = _take_apart(parts.slice(1)).filter(pl.any_horizontal(pl.col("formula", "value", "inline").is_not_null()))
    if not len(found):
        return pl.DataFrame(schema=SCHEMA)
    letters = found["letters"].unique()
    columns = letters.map_elements(column_number, return_dtype=pl.UInt16)
    frame = found.select(
        pl.col("row").cast(pl.UInt32),
        pl.col("letters").replace_strict(letters, columns, return_dtype=pl.UInt16).alias("column"),
        pl.col("style").cast(pl.UInt32).fill_null(0),
        pl.col("type").fill_null("n"),
        pl.col("formula").str.replace("^f[^<>]*>", "").str.strip_suffix("</f>"),
        pl.coalesce("value", "inline").alias("value"),
    )
    if "&" in text:
        frame = frame.with_columns(unescape_entities(frame[one]) for one in ("formula", "value"))
    return frame.with_columns(pl.col("row").is_in(_hidden_rows(text)).alias("is_hidden"))


def _take_apart(parts: pl.Series) -> pl.DataFrame:
    found = parts.str.extract_groups(_CELL).struct.unnest()
    rarer = found["letters"].is_null()
    if rarer.any():
        again = parts.filter(rarer).str.extract_groups(_RARER_CELL).struct.unnest()
        if again["letters"].null_count():
            raise NeedsXmlParser
        at = rarer.arg_true()
        found = found.with_columns(found[name].scatter(at, again[name]) for name in again.columns)
    return found


def _hidden_rows(text: str) -> list[int]:
    if 'hidden="1"' not in text and 'hidden="true"' not in text:
        return []
    hidden = [one for one in _ROW.findall(text) if ' hidden="1"' in one or ' hidden="true"' in one]
    numbers = [_NUMBER.search(one) for one in hidden]
    if not all(numbers):
        raise NeedsXmlParser
    return [int(one[1]) for one in numbers if one]


def _check_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame`; raise `MarkupError` unless its cells are in order, once each, and within a sheet."""
    if len(frame) and int(frame["row"][-1]) > LAST_ROW:
        raise MarkupError(f"row {frame['row'][-1]:,}: a sheet ends at row {LAST_ROW:,}")
    place = frame["row"].cast(pl.Int64) * 20_000 + frame["column"]
    if not (place.diff().drop_nulls() > 0).all():
        raise MarkupError("cells out of order")
    return frame


def iter_any(pieces: Iterable[bytes]) -> Iterator[pl.DataFrame]:
    """Scan a sheet written in any form of XML."""
    scanner = _ExpatScanner()
    for piece in pieces:
        scanner.reader.feed(piece)
        if scanner.complete >= _CELLS_AT_ONCE:
            yield scanner.take()
    scanner.reader.feed(b"", is_last=True)
    yield scanner.take()


class _ExpatScanner:
    """Collects the cells of a sheet as expat meets them."""

    def __init__(self) -> None:
        self.reader = MarkupReader(start=self._start, end=self._end, text=self._take_text)
        self.complete = 0
        self._cells: list[tuple[int, int, int, str, str | None, str | None, bool]] = []
        self._row = self._column = self._style = 0
        self._is_hidden = self._is_phonetic = False
        self._type = "n"
        self._texts: dict[str, str] = {}
        self._open = ""

    def take(self) -> pl.DataFrame:
        """Return the rows that are complete."""
        done, self._cells = self._cells[: self.complete], self._cells[self.complete :]
        self.complete = 0
        return _check_order(pl.DataFrame(done, schema=SCHEMA, orient="row"))

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            self._row = whole_number(attributes.get("r"), self._row + 1)
            self._column = 0
            self._is_hidden = is_true(attributes.get("hidden"))
        elif name == "c":
            self._start_cell(attributes)
        elif name in ("v", "f") or (name == "t" and not self._is_phonetic):
            self._open = "v" if name == "t" else name
            self._texts.setdefault(self._open, "")
        elif name == "rPh":
            self._is_phonetic = True

    def _start_cell(self, attributes: dict[str, str]) -> None:
        match = re.fullmatch(r"([A-Z]{1,3})(\d{1,9})", attributes.get("r", ""))
        self._column = column_number(match[1]) if match else self._column + 1
        if match and int(match[2]) != self._row:
            raise MarkupError("a cell outside of its row")
        self._style = whole_number(attributes.get("s"), 0)
        self._type = attributes.get("t", "n")
        self._texts = {}

    def _take_text(self, text: str) -> None:
        if self._open:
            self._texts[self._open] += text

    def _end(self, name: str) -> None:
        if name in ("v", "f", "t"):
            self._open = ""
        elif name == "rPh":
            self._is_phonetic = False
        elif name == "c" and self._texts:
            formula, value = self._texts.get("f"), self._texts.get("v") or None
            cell = (self._row, self._column, self._style, self._type, formula, value, self._is_hidden)
            self._cells.append(cell)
        elif name == "row":
            self.complete = len(self._cells)


def iter_cells(package: Package, sheet: Sheet, layout: Layout, *, only_hidden: bool = False) -> Iterator[pl.DataFrame]:
    """Yield the cells of `sheet`; raise `NeedsXmlParser` when only the slow scanner can read them.

    `only_hidden`: those of hidden rows are enough.
    """
    pieces = package.iter_bytes(sheet.part, size=CHUNK)
    return iter_plain(pieces, only_hidden=only_hidden) if layout.is_plain else iter_any(pieces)
