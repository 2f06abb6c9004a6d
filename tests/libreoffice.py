"""LibreOffice as a person uses it: open a workbook, type into cells, save it. For tests marked `long`."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

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


def type_into(source: Path, target: Path, cells: Mapping[str, str], folder: Path) -> None:
    """Open `source`, type into cells of its first sheet, and save it as `target` (.xlsx)."""
    typed = "\n".join(
        f'place(0).Value = "{name}"\n{DISPATCH.format("GoToCell", "place")}\n'
        f'text(0).Value = "{value.replace(chr(34), 2 * chr(34))}"\n{DISPATCH.format("EnterString", "text")}'
        for name, value in cells.items()
    )
    program = f"""Sub Main
        Dim place(0) As New com.sun.star.beans.PropertyValue
        place(0).Name = "ToPoint"
        Dim text(0) As New com.sun.star.beans.PropertyValue
        text(0).Name = "StringName"
        Dim kind(0) As New com.sun.star.beans.PropertyValue
        kind(0).Name = "FilterName"
        kind(0).Value = "Calc MS Excel 2007 XML"
        book = StarDesktop.loadComponentFromURL("{source.as_uri()}", "_blank", 0, Array())
        window = book.CurrentController.Frame
        hand = createUnoService("com.sun.star.frame.DispatchHelper")
        {typed}
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
