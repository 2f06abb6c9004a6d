"""What cells look like, for the failures workbook: their fonts and fills.

Promises: what is odd in it is left out, and never refuses a workbook; a workbook with more looks than a person makes
has none.
"""

import colorsys
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from batch.model import CellStyle, shorten
from batch.sources.excel.markup import MarkupError, elements, is_true, whole_number

MAX_LOOKS = 2_000
"""Looks of cells in one workbook."""
THEME = ("lt1", "dk1", "lt2", "dk2", *(f"accent{number}" for number in range(1, 7)), "hlink", "folHlink")
"""The colours of a theme, as cells count them."""
_BASE = "000000 FFFFFF FF0000 00FF00 0000FF FFFF00 FF00FF 00FFFF"
INDEXED = (
    f"{_BASE} {_BASE} 800000 008000 000080 808000 800080 008080 C0C0C0 808080 9999FF 993366 FFFFCC CCFFFF "
    "660066 FF8080 0066CC CCCCFF 000080 FF00FF FFFF00 00FFFF 800080 800000 008080 0000FF 00CCFF CCFFFF "
    "CCFFCC FFFF99 99CCFF FF99CC CC99FF FFCC99 3366FF 33CCCC 99CC00 FFCC00 FF9900 FF6600 666699 969696 "
    "003366 339966 003300 333300 993300 993366 333399 333333"
).split()
"""The colours that every program knows by number (ECMA-376 part 1, 18.8.27)."""

Attributes = Mapping[str, str]


def read_looks(styles: bytes, theme: bytes | None) -> tuple[CellStyle, ...]:
    """Return the look of each cell style, but for what all cells have that have no style of their own."""
    try:
        colours = _theme_colours(theme) if theme else {}
        found = _read_styles(styles, colours)
    except MarkupError:
        return ()
    if len(set(found)) > MAX_LOOKS:
        return ()
    return tuple(_without(one, found[0]) for one in found)


def _without(look: CellStyle, usual: CellStyle) -> CellStyle:
    """Return a look without the font that all cells have."""
    return replace(
        look,
        font="" if look.font == usual.font else look.font,
        size=0.0 if look.size == usual.size else look.size,
        colour="" if look.colour == usual.colour else look.colour,
    )


@dataclass(slots=True)
class _Styles:
    fonts: list[CellStyle] = field(default_factory=list)
    fills: list[str] = field(default_factory=list)
    looks: list[CellStyle] = field(default_factory=list)


_FONT = ("name", "sz", "b", "i", "u", "strike", "color")


def _read_styles(styles: bytes, colours: Mapping[str, str]) -> list[CellStyle]:
    found, is_solid = _Styles(), False
    for path, attributes in elements(styles, {"font", "fill", "xf", "alignment", "patternFill", "fgColor", *_FONT}):
        match path[1:]:
            case ("fonts", "font"):
                found.fonts.append(CellStyle())
            case ("fonts", "font", name):
                found.fonts[-1] = _with_font(found.fonts[-1], name, attributes, colours)
            case ("fills", "fill"):
                found.fills.append("")
            case ("fills", "fill", "patternFill"):
                is_solid = attributes.get("patternType") == "solid"
            case ("fills", "fill", "patternFill", "fgColor") if is_solid:
                found.fills[-1] = _colour(attributes, colours)
            case ("cellXfs", "xf"):
                font, fill = whole_number(attributes.get("fontId")), whole_number(attributes.get("fillId"))
                look = found.fonts[font] if font < len(found.fonts) else CellStyle()
                found.looks.append(replace(look, fill=found.fills[fill] if fill < len(found.fills) else ""))
            case ("cellXfs", "xf", "alignment"):
                found.looks[-1] = replace(found.looks[-1], wraps=is_true(attributes.get("wrapText")))
    return found.looks or [CellStyle()]


def _with_font(look: CellStyle, name: str, attributes: Attributes, colours: Mapping[str, str]) -> CellStyle:
    value = attributes.get("val", "")
    match name:
        case "name":
            return replace(look, font=shorten(value, 31))
        case "sz" if re.fullmatch(r"\d{1,3}(\.\d{1,3})?", value):
            return replace(look, size=float(value))
        case "b":
            return replace(look, bold=value not in ("0", "false"))
        case "i":
            return replace(look, italic=value not in ("0", "false"))
        case "u":
            return replace(look, underline=value != "none")
        case "strike":
            return replace(look, strikeout=value not in ("0", "false"))
        case "color":
            return replace(look, colour=_colour(attributes, colours))
    return look


def _colour(attributes: Attributes, colours: Mapping[str, str]) -> str:
    """Return a colour as `#RRGGBB`, "" where it is the usual one or is not known."""
    number = whole_number(attributes.get("indexed"), len(INDEXED))
    theme = whole_number(attributes.get("theme"), len(THEME))
    if "rgb" in attributes:
        colour = attributes["rgb"][-6:].upper()
    elif theme < len(THEME):
        colour = colours.get(THEME[theme], "")
    else:
        colour = INDEXED[number] if number < len(INDEXED) else ""
    if not re.fullmatch("[0-9A-F]{6}", colour):
        return ""
    tint = attributes.get("tint", "0")
    return "#" + (_tinted(colour, float(tint)) if re.fullmatch(r"-?[01](\.\d+)?", tint) else colour)


def _tinted(colour: str, tint: float) -> str:
    """Return a colour made darker (below 0) or lighter, as ECMA-376 part 1, 18.8.19 says."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    light = light * (1 + max(tint, -1)) if tint < 0 else light + (1 - light) * min(tint, 1)
    return "".join(f"{round(255 * one):02X}" for one in colorsys.hls_to_rgb(hue, light, saturation))


def _theme_colours(theme: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, attributes in elements(theme, {"srgbClr", "sysClr"}):
        if len(path) > 2 and path[-3] == "clrScheme":
            found[path[-2]] = attributes.get("lastClr", attributes.get("val", "")).upper()
    return found
