"""The failures workbook looks as the input does: widths, header, fonts, fills, and what a person noted."""

import datetime
import shutil
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from openpyxl.comments import Comment
from openpyxl.styles import Font, PatternFill

from batch.model import CellStyle
from batch.sources import excel
from batch.sources.excel.looks import read_looks
from tests.job_fixture import JobFixture, told
from tests.libreoffice import SOFFICE, save_as

HEADERS = ("id", "name", "phone", "full_address.postal_code", "Since", "Limit")
OPTIONS: Any = {"map": {"Since": "", "Limit": ""}}
WRONG = '"ext. 5" has letters in it (use digits, spaces and + - . ( ) only)'


def by_xlsxwriter(path: Path) -> None:
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet("Kunden")
        head = book.add_format({"bold": True, "font_color": "#FFFFFF", "bg_color": "#1F4E78", "text_wrap": True})
        yellow, italic = book.add_format({"bg_color": "#FFFF00"}), book.add_format({"italic": True})
        zeros, date = book.add_format({"num_format": "@"}), book.add_format({"num_format": "dd.mm.yyyy"})
        euro = book.add_format({"num_format": '#,##0.00 "€"', "bold": True, "font_color": "#C00000"})
        sheet.write_row(0, 0, HEADERS, head)
        sheet.set_column(1, 1, 42)
        for row in (1, 2):
            sheet.write_number(row, 0, 10_000 + row)
            sheet.write_string(row, 1, f"Kunde {row}", yellow if row == 1 else italic)
            sheet.write_string(row, 2, "ext. 5", yellow)
            sheet.write_string(row, 3, "00501", zeros)
            sheet.write_datetime(row, 4, datetime.datetime(2026, 3, row), date)
            sheet.write_number(row, 5, 1200.5, euro)
        sheet.write_comment("B2", "with Mr Weber", {"author": "Anna"})
        sheet.write_comment("C2", "call him", {"author": "Anna"})


def by_openpyxl(path: Path) -> None:
    by_xlsxwriter(path)
    book = openpyxl.load_workbook(path)
    sheet: Any = book["Kunden"]
    sheet["B2"].fill = PatternFill("solid", fgColor="FFFFFF00")
    sheet["B3"].font = Font(italic=True)
    sheet["C2"].comment = Comment("call him", "Anna")
    book.save(path)


def by_libreoffice(path: Path) -> None:
    made = path.with_name("made") / path.name
    made.parent.mkdir()
    by_xlsxwriter(made)
    saved_by_libreoffice(made, path.parent)
    shutil.rmtree(made.parent)


def saved_by_libreoffice(path: Path, folder: Path) -> Path:
    return save_as("xlsx", path, folder)


def look(cell: Any) -> tuple[Any, ...]:
    fill = cell.fill.fgColor.rgb if cell.fill.fill_type == "solid" else None
    colour = cell.font.color.rgb if cell.font.color is not None and cell.font.color.type == "rgb" else None
    return cell.value, fill, colour if colour != "FF000000" else None, bool(cell.font.b), bool(cell.font.i)


def notes(sheet: Any) -> dict[str, str]:
    return {cell.coordinate: cell.comment.text for row in sheet.iter_rows() for cell in row if cell.comment}


LIBREOFFICE = pytest.param(
    by_libreoffice,
    marks=[pytest.mark.long, pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")],
)


@pytest.mark.parametrize("write", [by_xlsxwriter, by_openpyxl, LIBREOFFICE])
def test_looks_as_the_input(job: JobFixture, write: Any) -> None:
    """Order, widths, header, fonts, fills, number formats and comments are kept; the bad one is marked all the same.

    A second round keeps them as well, and takes none of the notes for a comment; corrected, it is sent.
    """
    source = job.folder / "sheet.xlsx"
    write(source)
    wanted = openpyxl.load_workbook(source)["Kunden"]
    for _ in range(2):
        done = job.update(source, **OPTIONS)
        source = done.folder / "failures.xlsx"
        sheet: Any = openpyxl.load_workbook(source)["Kunden"]
        assert list(HEADERS) == [cell.value for cell in sheet[1]][:6]
        assert wanted.column_dimensions["B"].width == pytest.approx(sheet.column_dimensions["B"].width, abs=0.1)
        for name in ("A1", "B2", "B3", "D2", "F2"):
            assert look(wanted[name]) == look(sheet[name]), name
        assert ("ext. 5", "FFFFC7CE", "FF9C0006") == look(sheet["C2"])[:3]
        formats = ("D2", "E2", "F2")
        assert [wanted[one].number_format for one in formats] == [sheet[one].number_format for one in formats]
        noted = {"B2": "Your comment: with Mr Weber", "C2": f"{WRONG}\nYour comment: call him", "C3": WRONG}
        assert noted == notes(sheet)
        if write is by_libreoffice:  # which drops who wrote a comment
            source = saved_by_libreoffice(source, job.folder / "saved")
    book = openpyxl.load_workbook(source)
    for name in ("C2", "C3"):
        book["Kunden"][name] = "555"
    book.save(source)
    assert [("updated", ""), ("updated", "")] == told(job.update(source, **OPTIONS))
    assert "00501" == job.record(10_001)["full_address"]["postal_code"]


def test_large_input_is_plain(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large workbook the look is not kept, and the failures are in a plain one."""
    monkeypatch.setattr(excel, "MAX_WITH_LOOKS", 1_000)
    by_xlsxwriter(job.folder / "sheet.xlsx")
    done = job.update(job.folder / "sheet.xlsx", **OPTIONS)
    sheet: Any = openpyxl.load_workbook(done.folder / "failures.xlsx")["Kunden"]
    assert ("FFDDEBF7", None) == (look(sheet["A1"])[1], look(sheet["B2"])[1])
    assert {"C2": WRONG, "C3": WRONG} == notes(sheet)


STYLES = (
    b'<styleSheet><fonts><font><sz val="11"/><name val="Calibri"/></font>'
    b'<font><b/><color theme="4" tint="-0.5"/></font><font><color indexed="10"/><u/><strike/></font></fonts>'
    b'<fills><fill><patternFill patternType="none"/></fill>'
    b'<fill><patternFill patternType="solid"><fgColor theme="4"/></patternFill></fill></fills><cellXfs><xf/>'
    b'<xf fontId="1" fillId="1"/><xf fontId="2" fillId="9"/><xf fontId="7"/></cellXfs></styleSheet>'
)
THEME = b'<theme><e><clrScheme><accent1><srgbClr val="4472C4"/></accent1></clrScheme></e></theme>'


def test_colours() -> None:
    """Colours of the theme, made darker, and those with a number are known; what leads nowhere is left out."""
    assert (
        CellStyle(),
        CellStyle(bold=True, colour="#203864", fill="#4472C4"),
        CellStyle(underline=True, strikeout=True, colour="#FF0000"),
        CellStyle(),
    ) == read_looks(STYLES, THEME)
    assert "" == read_looks(STYLES, None)[1].fill
    assert () == read_looks(b"<styleSheet>", None)
