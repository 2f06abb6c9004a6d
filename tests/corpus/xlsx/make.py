"""Makes the workbooks of this folder again: with openpyxl, and re-saved by LibreOffice where the damage survives that.

    python tests/corpus/xlsx/make.py            (needs soffice on the path)

What tests expect stands beside each workbook in a .txt, which this does not touch.
"""

import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path

import openpyxl
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.utils.datetime import CALENDAR_MAC_1904
from openpyxl.workbook import Workbook
from openpyxl.worksheet.worksheet import Worksheet

HERE = Path(__file__).parent
Build = Callable[[Workbook, Worksheet], None]
CASES: dict[str, Build] = {}
NOT_RESAVED = {"formulas-not-calculated"}
"""LibreOffice repairs these when it saves them."""


def case(build: Build) -> Build:
    """Register a workbook under its function's name."""
    CASES[build.__name__.replace("_", "-")] = build
    return build


def fill(sheet: Worksheet, *rows: list[object]) -> None:
    """Append rows."""
    for row in rows:
        sheet.append(row)


@case
def ordinary(book: Workbook, sheet: Worksheet) -> None:
    sheet.title = "Customers"
    fill(
        sheet,
        ["id", "name", "phone", "limit", "active", "since"],
        [10042, "Müller GmbH", "+49 30 1234", 1200.5, True, date(2026, 3, 4)],
        [10043, "Bolt & Söhne <Nord>", "00123", 0.1, False, datetime(2026, 3, 4, 12, 30)],
        [10044, None, " 555-0199 ", -3, None, None],
        [10045, "日本 🍣", "line\nbreak", 1e-7, True, datetime(2026, 3, 4, 23, 59, 59, 250_000)],
    )


@case
def ids_numbers_and_texts(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["Customer No", "name"], [123, "Acme"], ["00124", "Bolt"], [125, "Cedar"], ["A-7", "Dorn"])


@case
def ids_shown_with_zeros(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "name"], [123, "Acme"], [12345, "Bolt"], [0, "Cedar"])
    for row in (2, 3, 4):
        sheet.cell(row, 1).number_format = "00000"


@case
def postal_codes_with_extensions(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "zip", "phone"], ["1", 501, 5551234], ["2", 5011234, 4155551234], ["3", 941031234, 30123456])
    for row in (2, 3, 4):
        sheet.cell(row, 2).number_format = "[<=99999]00000;00000-0000"
        sheet.cell(row, 3).number_format = "[<=9999999]###-####;(###) ###-####"


@case
def long_numbers(book: Workbook, sheet: Worksheet) -> None:
    fill(
        sheet,
        ["id", "iban", "name"],
        [1, 123456789012345, "fifteen digits"],
        [2, 1234567890123456, "sixteen digits"],
        [3, 1.23e17, "as Excel shows it"],
        [4, "1.23E+17", "as text"],
        [5, "12345678901234567890", "text"],
        [6, 0.1 + 0.2, "seventeen significant digits"],
        [7, -1e300, "huge"],
    )


@case
def dates(book: Workbook, sheet: Worksheet) -> None:
    fill(
        sheet,
        ["id", "when", "what"],
        [1, date(2026, 3, 4), "date"],
        [2, "2026-03-04", "text"],
        [3, "04.03.2026", "text of another habit"],
        [4, time(12, 30), "time"],
        [5, timedelta(hours=36), "duration"],
        [6, datetime(2026, 3, 4, 0, 0, 1), "a second past midnight"],
        [7, date(1900, 3, 1), "first day that all agree on"],
        [8, 60, "29 February 1900"],
        [9, 0.5, "half of day 0"],
        [10, -1, "negative"],
        [11, 2958466, "year 10000"],
        [12, -0.25, "negative time"],
    )
    for row in (9, 10, 11, 12):
        sheet.cell(row, 2).number_format = "yyyy-mm-dd"
    sheet["B13"].number_format = "[h]:mm"


@case
def dates_of_1904(book: Workbook, sheet: Worksheet) -> None:
    book.epoch = CALENDAR_MAC_1904
    fill(sheet, ["id", "since"], [1, date(2026, 3, 4)], [2, datetime(1904, 1, 2, 6, 0)], [3, -1])
    sheet["B4"].number_format = "yyyy-mm-dd"


@case
def formats_that_show_something_else(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "discount", "limit", "weight", "thousands"], [1, 0.25, 1200, 5, 12000], [2, 0.125, 0.5, 7, 500])
    for row in (2, 3):
        for column, code in enumerate(("0.0%", "#,##0.00 [$€-407]", '0.0" kg"', "#,##0,"), 2):
            sheet.cell(row, column).number_format = code


@case
def errors(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "name", "phone"], [1, "#N/A", "1"], [2, "#REF!", "2"], [3, "#DIV/0!", "3"], ["#N/A", "x", "4"])
    sheet["B2"], sheet["B4"], sheet["A5"] = "=NA()", "=1/0", "=NA()"


@case
def formulas(book: Workbook, sheet: Worksheet) -> None:
    fill(
        sheet,
        ["id", "name", "total"],
        [1, '="A"&"cme"', "=A2*2.5"],
        [2, '=""', "=A3*2.5"],
        [3, "=TRUE()", "=TODAY()*0"],
    )


@case
def formulas_not_calculated(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "name", "total"], [1, '="A"&"cme"', "=A2*2"], [2, "Bolt", 4])


@case
def hidden_rows(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "name"], *[[number, f"Name {number}"] for number in range(1, 10)])
    for row in (3, 4, 9):
        sheet.row_dimensions[row].hidden = True


@case
def hidden_by_filter(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "tier"], [1, "Gold"], [2, "Silver"], [3, "Gold"])
    sheet.auto_filter.ref = "A1:B4"
    sheet.auto_filter.add_filter_column(1, ["Gold"])
    sheet.row_dimensions[3].hidden = True


@case
def hidden_columns_and_sheets(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "name", "Internal note"], [1, "Acme", "late payer"])
    sheet.column_dimensions["C"].hidden = True
    secret = book.create_sheet("Prices")
    secret["A1"] = 5
    secret.sheet_state = "hidden"
    book.create_sheet("Empty").sheet_state = "hidden"


@case
def merged_cells(book: Workbook, sheet: Worksheet) -> None:
    fill(
        sheet, ["id", "name", "tier"], [1, "Acme", "Gold"], [2, "Bolt", None], [3, "Cedar", None], [4, "Dorn", "Silver"]
    )
    sheet.merge_cells("C2:C4")
    sheet.append([5, "Wide", None])
    sheet.merge_cells("B6:C6")


@case
def merged_and_blank(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "name", "tier"], [1, "Acme", None], [2, "Bolt", None])
    sheet.merge_cells("C2:C3")


@case
def merged_header(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "Address", None, None], [None, "Street", "City", "Code"], [1, "Main St 5", "Bonn", "53111"])
    sheet.merge_cells("B1:D1")
    sheet.merge_cells("A1:A2")


@case
def title_above_header(book: Workbook, sheet: Worksheet) -> None:
    fill(
        sheet, ["Customers as of 4 March 2026"], [], ["id", "name", "phone", "city", "street", "tier"], [1, "Acme", "5"]
    )
    sheet.merge_cells("A1:F1")


@case
def several_sheets(book: Workbook, sheet: Worksheet) -> None:
    sheet.title = "Cover"
    for name, number in (("March", 1), ("April", 2)):
        fill(book.create_sheet(name), ["id", "name"], [number, name])


@case
def blank_rows(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, [], ["id", "name"], [], [1, "Acme"], [None, "  "], [], [2, "Bolt"], [], [])
    sheet["A40"].number_format = "0.00"


@case
def not_at_the_corner(book: Workbook, sheet: Worksheet) -> None:
    for row, values in enumerate((["id", "name", "tier"], [1, "Acme", "Gold"], [2, "#N/A", "Silver"]), 4):
        for column, value in enumerate(values, 3):
            sheet.cell(row, column).value = value
    sheet["D6"] = "=NA()"


@case
def stray_cells(book: Workbook, sheet: Worksheet) -> None:
    for row, values in enumerate((["id", None, "name"], [1, "between", "Acme"], [2, None, "Bolt"]), 1):
        for column, value in enumerate(values, 2):
            sheet.cell(row, column).value = value
    sheet["A3"], sheet["F3"] = "call them", "late"


@case
def stray_cell_far_away(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "name"], [1, "Acme"])
    sheet["XFD3"] = "?"


@case
def headers_duplicate_and_empty(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "name", "name", None, 2026, "Ｎａｍｅ", " phone\xa0"], [1, "a", "b", "c", "d", "e", "f"])


@case
def header_only(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "name"])


@case
def nothing(book: Workbook, sheet: Worksheet) -> None:
    sheet["C3"].number_format = "0.00"


@case
def rich_text(book: Workbook, sheet: Worksheet) -> None:
    bold = TextBlock(InlineFont(b=True), "Acme")
    fill(
        sheet, ["id", "name"], [1, CellRichText([bold, " Holdings, ", TextBlock(InlineFont(i=True), "Inc.")])], [2, "x"]
    )


@case
def odd_texts(book: Workbook, sheet: Worksheet) -> None:
    texts = [
        "=1+1",
        "-5",
        "+44 20",
        "'x",
        "@a",
        "tab\there",
        " both ends ",
        "<r>no markup</r>",
        "&amp;",
        "_x0041_",
        "NULL",
    ]
    fill(sheet, ["id", "text"])
    for number, text in enumerate(texts, 1):
        sheet.append([number, text])
        sheet.cell(number + 1, 2).data_type = "s"


@case
def very_long_text(book: Workbook, sheet: Worksheet) -> None:
    fill(sheet, ["id", "text"], [1, "x" * 32_767])


@case
def only_a_hidden_sheet_has_data(book: Workbook, sheet: Worksheet) -> None:
    secret = book.create_sheet("Data")
    fill(secret, ["id"], [1])
    secret.sheet_state = "hidden"


def resave(source: Path, target: Path, filter_name: str) -> None:
    """Let LibreOffice open and save a file."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["soffice", "--headless", "--convert-to", filter_name, "--outdir", folder, str(source)]
        subprocess.run(command, check=True, capture_output=True)  # our own files
        shutil.move(next(Path(folder).iterdir()), target)


def make_binary_workbook(path: Path) -> None:
    """A stand-in for .xlsb, which none of these programs writes: what tells it apart, and no more."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.bin", b"\x83\x01\x00")


def main() -> None:
    """Make all workbooks."""
    for name, build in CASES.items():
        book = openpyxl.Workbook()
        build(book, book.worksheets[0])
        path = HERE / f"{name}.xlsx"
        book.save(path)
        if name not in NOT_RESAVED:
            resave(path, HERE / f"{name}--libreoffice.xlsx", "xlsx:Calc MS Excel 2007 XML")
    resave(HERE / "ordinary.xlsx", HERE / "excel-97.xls", "xls")
    resave(HERE / "ordinary.xlsx", HERE / "opendocument.ods", "ods")
    make_binary_workbook(HERE / "binary.xlsb")


if __name__ == "__main__":
    main()
