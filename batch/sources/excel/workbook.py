"""The workbook around its cells: its sheets, its number formats, its date system, and which sheet is read.

Promises that no sheet with data is passed over in silence; the sheets that batch itself adds do not count.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from batch.model import RESERVED_SHEETS, CellStyle
from batch.sources.excel.looks import read_looks
from batch.sources.excel.markup import MarkupError, elements, is_true, is_utf8, local, whole_number
from batch.sources.excel.package import Package, resolve


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet of cells (charts are left out)."""

    name: str
    part: str
    is_hidden: bool


@dataclass(frozen=True, slots=True)
class Workbook:
    """The list of sheets and what all of them share."""

    sheets: tuple[Sheet, ...]
    formats: tuple[str, ...]
    """The number format of each cell style, by the style's index."""
    strings: str | None
    """The part with the texts, if there is one."""
    looks: tuple[CellStyle, ...] = ()
    """What cells of each style look like; none where that is not wanted or not known."""
    is_1904: bool = False
    is_uncalculated: bool = False
    """The program that wrote it did not calculate its formulas; what is stored with them means nothing."""


# ECMA-376 part 1, 18.8.30: the formats that every program knows by number.
_BUILT_IN = {
    0: "General", 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 5: "$#,##0", 6: "$#,##0", 7: "$#,##0.00",
    8: "$#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?", 13: "# ??/??", 14: "yyyy-mm-dd",
    15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss",
    22: "yyyy-mm-dd h:mm", 37: "#,##0", 38: "#,##0", 39: "#,##0.00", 40: "#,##0.00", 41: "#,##0", 42: "$#,##0",
    43: "#,##0.00", 44: "$#,##0.00", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "##0.0E+0", 49: "@",
}  # fmt: skip
_BUILT_IN |= dict.fromkeys([*range(27, 37), *range(50, 59)], "yyyy-mm-dd")  # dates of East Asian Excels


def read_workbook(package: Package, *, with_looks: bool = False) -> Workbook:
    """Read everything except the sheets themselves; what cells look like only where it is wanted."""
    try:
        main = target_of(package, "", "officeDocument") or "xl/workbook.xml"
        described = elements(package.read(main), {"sheet", "workbookPr", "calcPr"})
        targets = dict(_targets(package, main))
        strings = next((part for kind, part in targets.values() if kind == "sharedStrings"), None)
        styles = next((part for kind, part in targets.values() if kind == "styles"), None)
        theme = next((part for kind, part in targets.values() if kind == "theme"), None)
        has_styles = styles is not None and package.has(styles)
        formats = read_formats(package.read(styles)) if styles and has_styles else ()
        looks = _looks(package, styles, theme) if styles and has_styles and with_looks else ()
    except MarkupError as error:
        raise package.damaged() from error
    settings = {path[-1]: attributes for path, attributes in described if path[-1] in ("workbookPr", "calcPr")}
    return Workbook(
        sheets=tuple(_sheets(described, targets)), formats=formats or ("General",),
        looks=looks if len(looks) == len(formats) else (),
        strings=strings if strings and package.has(strings) else None,
        is_1904=is_true(settings.get("workbookPr", {}).get("date1904")),
        is_uncalculated=is_true(settings.get("calcPr", {}).get("fullCalcOnLoad")),
    )  # fmt: skip


def _looks(package: Package, styles: str, theme: str | None) -> tuple[CellStyle, ...]:
    return read_looks(package.read(styles), package.read(theme) if theme and package.has(theme) else None)


def _sheets(
    described: list[tuple[tuple[str, ...], dict[str, str]]], targets: dict[str, tuple[str, str]]
) -> Iterator[Sheet]:
    for path, attributes in described:
        if path[-1] == "sheet":
            kind, part = targets.get(attributes.get("id", ""), ("", ""))
            if kind == "worksheet":
                yield Sheet(attributes.get("name", ""), part, attributes.get("state", "visible") != "visible")


def target_of(package: Package, part: str, kind: str) -> str | None:
    """Return the part of this kind that `part` refers to."""
    return next((target for one, target in dict(_targets(package, part)).values() if one == kind), None)


def _targets(package: Package, part: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each relationship of `part`: its id, and the kind and path of the part that it leads to."""
    folder, _, file = part.rpartition("/")
    relations = f"{folder}/_rels/{file}.rels".lstrip("/")
    if not package.has(relations):
        return
    for _, attributes in elements(package.read(relations), {"Relationship"}):
        if attributes.get("Target") and attributes.get("TargetMode") != "External":
            kind = attributes.get("Type", "").rpartition("/")[2]
            yield attributes.get("Id", ""), (local(kind), resolve(part, attributes["Target"]))


def read_formats(styles: bytes) -> tuple[str, ...]:
    """Read the number format of each cell style from the styles part."""
    codes = dict(_BUILT_IN)
    found = []
    for path, attributes in elements(styles, {"numFmt", "xf"}):
        if path[-2:] == ("numFmts", "numFmt"):
            codes[whole_number(attributes.get("numFmtId"))] = attributes.get("formatCode", "General")
        elif path[-2:] == ("cellXfs", "xf"):
            found.append(whole_number(attributes.get("numFmtId")))
    return tuple(codes.get(one, "General") for one in found)


_MARKS = (b"<v>", b"<v ", b"<is>", b"<f>", b"<f ", b":v>", b":is>", b":f>")
PEEK = 64 << 10


@dataclass(frozen=True, slots=True)
class SelectedSheet:
    """The sheet that is read, and what the user is told about the others."""

    sheet: Sheet
    notes: tuple[str, ...]
    others: tuple[Sheet, ...] = ()
    """Visible sheets with data that come after it."""


def select_sheet(package: Package, workbook: Workbook, wanted: str | None) -> SelectedSheet:
    """Return the sheet called `wanted`, else the first visible sheet with data."""
    if not workbook.sheets:
        raise package.refusal("there is no sheet with cells in this workbook.")
    if wanted is not None:
        return SelectedSheet(_named(package, workbook.sheets, wanted), ())
    candidates = [sheet for sheet in workbook.sheets if sheet.name not in RESERVED_SHEETS] or list(workbook.sheets)
    visible = [sheet for sheet in candidates if not sheet.is_hidden]
    filled = [sheet for sheet in visible if _has_data(package, sheet)]
    hidden = [sheet for sheet in candidates if sheet.is_hidden and _has_data(package, sheet)]
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
    return SelectedSheet(filled[0], tuple(notes), tuple(filled[1:]))


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


def quoted(sheets: list[Sheet] | tuple[Sheet, ...], limit: int = 10) -> str:
    """List sheets for a message."""
    names = [f'"{sheet.name}"' for sheet in sheets[:limit]]
    return ", ".join(names) + (f" and {len(sheets) - limit} more" if len(sheets) > limit else "")


def counted(number: int, noun: str) -> str:
    """Write `1 sheet`, `2,000 sheets`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
