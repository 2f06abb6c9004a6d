"""LibreOffice as a person uses it: open a workbook, type into cells, save it. For tests marked `long`."""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from batch.model import REASONS_SHEET

SOFFICE = shutil.which("soffice")
LIBRARY = (
    '<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE library:library PUBLIC '
    '"-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "library.dtd"><library:library '
    'xmlns:library="http://openoffice.org/2000/library" library:name="Standard" library:readonly="false" '
    'library:passwordprotected="false"><library:element library:name="Module1"/></library:library>'
)
MODULE = (
    '<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE script:module PUBLIC '
    '"-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "module.dtd"><script:module '
    'xmlns:script="http://openoffice.org/2000/script" script:name="Module1" script:language="StarBasic">'
    "{}</script:module>"
)

DISPATCH = 'hand.executeDispatch(window, ".uno:{}", "", 0, {}())'


FILTERS = {".xlsx": "Calc MS Excel 2007 XML", ".csv": "Text - txt - csv (StarCalc)"}


def type_into(source: Path, target: Path, cells: Mapping[str, str], folder: Path) -> None:
    """Open `source`, type into cells of its first sheet, and save it as `target` (.xlsx)."""
    work_in(source, target, typing(cells), folder)


def save_as(kind: str, source: Path, folder: Path) -> Path:
    """Open a workbook and save it as of another kind (`xlsx`, `pdf`) into `folder`; gives its place."""
    _run(folder / "libreoffice", "--convert-to", kind, "--outdir", str(folder), str(source))
    return folder / source.with_suffix(f".{kind}").name


def print_out(source: Path, folder: Path) -> list[tuple[int, int]]:
    """Print a workbook as PDF into `folder`; gives the width and height of each page, in points."""
    printed = save_as("pdf", source, folder).read_bytes()
    pages = re.findall(rb"/Type/Page\b[^>]*?/MediaBox\[0 0 (\d+)\S* (\d+)", printed, re.DOTALL)
    return [(int(width), int(height)) for width, height in pages]


def typing(cells: Mapping[str, str]) -> list[str]:
    """Return the steps that type into cells."""
    return [
        f'place(0).Value = "{name}"\n{DISPATCH.format("GoToCell", "place")}\n'
        f'text(0).Value = "{value.replace(chr(34), 2 * chr(34))}"\n{DISPATCH.format("EnterString", "text")}'
        for name, value in cells.items()
    ]


def sorting(table: str, column: int) -> list[str]:
    """Return the steps that sort a table with a header (`A1:F9`) by a column (0 = A), the last first."""
    return [
        f"sort(0).Field = {column}",
        "sort(0).IsAscending = False",
        'by(0).Name = "SortFields"',
        "by(0).Value = sort()",
        'by(1).Name = "ContainsHeader"',
        "by(1).Value = True",
        f'sheet.getCellRangeByName("{table}").sort(by())',
    ]


def copying(row: str, place: str) -> list[str]:
    """Return the steps that copy a row (`A3:F3`) to where `place` is its first cell."""
    target, source = f'sheet.getCellRangeByName("{place}")', f'sheet.getCellRangeByName("{row}")'
    return [f"sheet.copyRange({target}.getCellAddress(), {source}.getRangeAddress())"]


def deleting(column: int) -> list[str]:
    """Return the steps that delete a column (0 = A)."""
    return [f"sheet.getColumns().removeByIndex({column}, 1)"]


def work_in(source: Path, target: Path, steps: Sequence[str], folder: Path) -> None:
    """Open `source`, do the steps in its first sheet with rows, and save it as `target` (.xlsx or .csv)."""
    lines = "\n".join(steps)
    program = f"""Sub Main
        Dim place(0) As New com.sun.star.beans.PropertyValue
        place(0).Name = "ToPoint"
        Dim text(0) As New com.sun.star.beans.PropertyValue
        text(0).Name = "StringName"
        Dim sort(0) As New com.sun.star.table.TableSortField
        Dim by(1) As New com.sun.star.beans.PropertyValue
        Dim kind(1) As New com.sun.star.beans.PropertyValue
        kind(0).Name = "FilterName"
        kind(0).Value = "{FILTERS[target.suffix]}"
        kind(1).Name = "FilterOptions"
        kind(1).Value = "44,34,76,1,,0,false,true,false"
        book = StarDesktop.loadComponentFromURL("{source.as_uri()}", "_blank", 0, Array())
        window = book.CurrentController.Frame
        sheet = book.getSheets().getByIndex(0)
        If sheet.Name = "{REASONS_SHEET}" Then sheet = book.getSheets().getByIndex(1)
        book.CurrentController.setActiveSheet(sheet)
        hand = createUnoService("com.sun.star.frame.DispatchHelper")
        {lines}
        book.storeToURL("{target.as_uri()}", kind())
        book.close(True)
    End Sub"""
    profile = folder / "libreoffice"
    _run(profile, "--terminate_after_init")  # makes the profile
    standard = profile / "user" / "basic" / "Standard"
    standard.mkdir(parents=True, exist_ok=True)
    (standard / "script.xlb").write_text(LIBRARY, encoding="utf-8")
    (standard / "Module1.xba").write_text(MODULE.format(escape(program)), encoding="utf-8")
    _run(profile, "macro:///Standard.Module1.Main")


def _run(profile: Path, *arguments: str) -> None:
    command = [str(SOFFICE), f"-env:UserInstallation={profile.as_uri()}", "--headless", "--norestore", *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
