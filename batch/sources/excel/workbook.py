"""What stands in a workbook beside its cells: its sheets, its number formats, and from when it counts its days."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from batch.sources.excel.markup import MarkupError, elements, is_true, local
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


def read_workbook(package: Package) -> Workbook:
    """Read everything but the sheets themselves."""
    try:
        main = _target(package, "", "officeDocument") or "xl/workbook.xml"
        described = elements(package.read(main), {"sheet", "workbookPr", "calcPr"})
        targets = dict(_targets(package, main))
        strings = next((part for kind, part in targets.values() if kind == "sharedStrings"), None)
        styles = next((part for kind, part in targets.values() if kind == "styles"), None)
        formats = read_formats(package.read(styles)) if styles and package.has(styles) else ()
    except MarkupError as error:
        raise package.damaged() from error
    settings = {path[-1]: attributes for path, attributes in described if path[-1] in ("workbookPr", "calcPr")}
    return Workbook(
        sheets=tuple(_sheets(described, targets)),
        formats=formats or ("General",),
        strings=strings if strings and package.has(strings) else None,
        is_1904=is_true(settings.get("workbookPr", {}).get("date1904")),
        is_uncalculated=is_true(settings.get("calcPr", {}).get("fullCalcOnLoad")),
    )


def _sheets(
    described: list[tuple[tuple[str, ...], dict[str, str]]], targets: dict[str, tuple[str, str]]
) -> Iterator[Sheet]:
    for path, attributes in described:
        if path[-1] == "sheet":
            kind, part = targets.get(attributes.get("id", ""), ("", ""))
            if kind == "worksheet":
                yield Sheet(attributes.get("name", ""), part, attributes.get("state", "visible") != "visible")


def _target(package: Package, part: str, kind: str) -> str | None:
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
            codes[_number(attributes.get("numFmtId"))] = attributes.get("formatCode", "General")
        elif path[-2:] == ("cellXfs", "xf"):
            found.append(_number(attributes.get("numFmtId")))
    return tuple(codes.get(one, "General") for one in found)


def _number(text: str | None) -> int:
    return int(text) if text and re.fullmatch(r"\d{1,6}", text) else 0
