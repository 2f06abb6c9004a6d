"""Which sheet is read, and how its cells are pulled from it.

Promises that no sheet with data is passed over in silence; our own second sheets and hidden lists do not count.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from batch.model import RESERVED_SHEETS
from batch.sources.excel.layout import Frame, Layout, read_layout
from batch.sources.excel.markup import MarkupError, is_utf8
from batch.sources.excel.package import Package
from batch.sources.excel.scan import CHUNK, iter_any, iter_plain
from batch.sources.excel.workbook import Sheet, Workbook

_MARKS = (b"<v>", b"<v ", b"<is>", b"<f>", b"<f ", b":v>", b":is>", b":f>")
PEEK = 64 << 10


@dataclass(frozen=True, slots=True)
class SelectedSheet:
    """The sheet to read, and what to tell about the others."""

    sheet: Sheet
    notes: tuple[str, ...]


def select_sheet(package: Package, workbook: Workbook, wanted: str | None) -> SelectedSheet:
    """Take the sheet `wanted`, else the first visible one with data."""
    if not workbook.sheets:
        raise package.refusal("there is no sheet with cells in this workbook.")
    if wanted is not None:
        return SelectedSheet(_named(package, workbook.sheets, wanted), ())
    theirs = [sheet for sheet in workbook.sheets if sheet.name not in RESERVED_SHEETS] or list(workbook.sheets)
    visible = [sheet for sheet in theirs if not sheet.is_hidden]
    filled = [sheet for sheet in visible if _has_data(package, sheet)]
    hidden = [sheet for sheet in theirs if sheet.is_hidden and _has_data(package, sheet)]
    if not filled:
        where = f" Hidden sheets with data: {quoted(hidden)}; choose one with --sheet." if hidden else ""
        raise package.refusal(f"no sheet has anything in it.{where}")
    notes = []
    if len(filled) > 1:
        notes.append(
            f'Only sheet "{filled[0].name}" is read. Also with data: {quoted(filled[1:])}; choose one with --sheet.'
        )
    if hidden:
        notes.append(f"Hidden and not read: {counted(len(hidden), 'sheet')}, {quoted(hidden)}.")
    return SelectedSheet(filled[0], tuple(notes))


def _named(package: Package, sheets: tuple[Sheet, ...], wanted: str) -> Sheet:
    for same in (str, str.casefold, lambda name: name.strip().casefold()):
        found = [sheet for sheet in sheets if same(sheet.name) == same(wanted)]
        if len(found) == 1:
            return found[0]
    raise package.refusal(f'there is no sheet "{wanted}". Its sheets: {quoted(sheets)}.')


def _has_data(package: Package, sheet: Sheet) -> bool:
    before = b""
    for piece in package.iter_bytes(sheet.part, size=PEEK):
        if not is_utf8(before + piece) or any(mark in before + piece for mark in _MARKS):
            return True
        before = piece[-5:]
    return False


def survey(package: Package, sheet: Sheet) -> Layout:
    """Read the layout of a sheet before its cells, within the limits on what may be unpacked."""
    frame = Frame()
    for piece in package.iter_bytes(sheet.part):
        frame.take(piece)
        if not frame.is_plain:
            return survey_slowly(package, sheet)
    try:
        return read_layout(frame.pieces())
    except MarkupError:  # what looked like the end of the rows may have stood in a comment
        return survey_slowly(package, sheet)


def survey_slowly(package: Package, sheet: Sheet) -> Layout:
    """Read the layout of a sheet in any form of XML."""
    layout = read_layout(package.iter_bytes(sheet.part))
    layout.is_plain = False
    return layout


def iter_cells(package: Package, sheet: Sheet, layout: Layout) -> Iterator[pl.DataFrame]:
    """Pull the cells of `sheet`; raise `NeedsXmlParser` when it turns out that only the slow scanner can read them."""
    pieces = package.iter_bytes(sheet.part, size=CHUNK)
    return iter_plain(pieces) if layout.is_plain else iter_any(pieces)


def quoted(sheets: list[Sheet] | tuple[Sheet, ...], limit: int = 10) -> str:
    """List sheets for a message."""
    names = [f'"{sheet.name}"' for sheet in sheets[:limit]]
    return ", ".join(names) + (f" and {len(sheets) - limit} more" if len(sheets) > limit else "")


def counted(number: int, noun: str) -> str:
    """Write `1 sheet`, `2,000 sheets`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
