"""Write the workbooks of the walks anew, by LibreOffice: `python -m tests.walks.sheets`."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import openpyxl
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.worksheet.worksheet import Worksheet

from batch.sandbox.records import FIRST_DUALENTRY_ID, DualEntrySamples
from tests.libreoffice import SOFFICE, save_as

SHEETS = Path(__file__).parent / "sheets"
OWN_HEADERS = (
    "Satz", "Firmierung", "Tel. Zentrale", "Strasse u. Hausnummer", "PLZ", "Ort", "Ländercode", "Sachbearbeiter",
)  # fmt: skip


def german(sheet: Worksheet, month: str, phones: Sequence[str]) -> None:
    """A title, a date, a group header over eight headers of the sender's own, subtotals and a total."""
    sheet.title = "Kunden"
    sheet["A1"], sheet["A2"] = "Müller Handels-GmbH — Debitorenliste", f"Stand: {month}"
    sheet["A1"].font = Font(bold=True, size=14)
    sheet["A4"], sheet["D4"] = "Kunde", "Anschrift"
    sheet.merge_cells("A4:C4")
    sheet.merge_cells("D4:G4")
    for column, header in enumerate(OWN_HEADERS, 1):
        cell = sheet.cell(5, column, header)
        cell.font, cell.fill = Font(bold=True), PatternFill("solid", fgColor="DDDDDD")
        cell.alignment = Alignment(horizontal="center")
    for number, phone in enumerate(phones):
        street, city, code = ("Lindenweg 4", "Bonn", "53111") if number % 2 else ("Hafenstraße 12", "Hamburg", "20457")
        cells = (FIRST_DUALENTRY_ID + number, f"Kunde {number + 1} GmbH", phone, street, code, city, "DE", "Weber")
        for column, cell_value in enumerate(cells, 1):
            sheet.cell(6 + number, column, cell_value)
    end = 6 + len(phones)
    for row, word in ((end, "Zwischensumme"), (end + 1, "Summe")):
        sheet.cell(row, 2, word)
        sheet.cell(row, 8, len(phones))


def quarter(sheet: Worksheet) -> None:
    """400 customers, of whom three have another phone than their record."""
    sheet.title = "Customers"
    sheet.append(["Customer ID", "Name", "Phone Number"])
    for number in range(1, 401):
        record = DualEntrySamples().record(number)
        phone = f"555-99{number:02}" if number in (7, 70, 77) else record["phone"]
        sheet.append([FIRST_DUALENTRY_ID - 1 + number, record["name"], phone])


def zips(sheet: Worksheet) -> None:
    """Postal codes that are numbers, shown with their zeros."""
    sheet.title = "Addresses"
    sheet.append(["Customer ID", "Street", "City", "Postal Code", "Country Code"])
    for number, code in enumerate((2108, 501, 6010, 97201)):
        sheet.append([FIRST_DUALENTRY_ID + number, f"{number + 1} Harbour Road", "Boston", code, "US"])
        sheet.cell(number + 2, 4).number_format = "00000"


def problems(sheet: Worksheet) -> None:
    """A phone and an e-mail that cannot be, one customer twice, and one that is not there."""
    sheet.title = "Customers"
    sheet.append(["Customer ID", "Name", "E-mail", "Phone Number"])
    for cells in (
        (10001, "Acme Renamed", "ap@acme.example", "555-0199"),
        (10002, "Bolt Renamed", "ap.bolt.example", "555-0200"),
        (10003, "Cobalt Renamed", "ap@cobalt.example", "call me"),
        (10004, "Delta Renamed", "ap@delta.example", "555-0204"),
        (10004, "Delta Foods", "ap@delta.example", "555-0204"),
        (999999, "Nobody", "nobody@nobody.example", "555-0299"),
        (10005, "Ember Renamed", "ap@ember.example", "555-0205"),
    ):
        sheet.append(cells)


def small(sheet: Worksheet) -> None:
    """Two customers."""
    sheet.title = "Customers"
    sheet.append(["Customer ID", "Name"])
    sheet.append([10001, "Acme Renamed"])
    sheet.append([10002, "Bolt Renamed"])


OCTOBER = ("0228 100-1", "0228 100-2", "040 200-3", "040 200-4", "0228 100-5", "040 200-6")
MADE: dict[str, Callable[[Worksheet], None]] = {
    "Kunden Oktober.xlsx": lambda sheet: german(sheet, "31.10.2026", OCTOBER),
    "Kunden November.xlsx": lambda sheet: german(sheet, "30.11.2026", ("0228 999-1", *OCTOBER[1:])),
    "quarter.xlsx": quarter,
    "addresses.xlsx": zips,
    "problems.xlsx": problems,
    "small.xlsx": small,
}


def main() -> None:
    """Make each with openpyxl, and let LibreOffice open and save it."""
    assert SOFFICE is not None, "LibreOffice is not installed"
    SHEETS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, fill in MADE.items():
            book = openpyxl.Workbook()
            fill(book.worksheets[0])
            for letter in "ABCDEFGH":
                book.worksheets[0].column_dimensions[letter].width = 18
            book.save(folder / file)
            (folder / "saved").mkdir(exist_ok=True)
            shutil.copy(save_as("xlsx", folder / file, folder / "saved"), SHEETS)


if __name__ == "__main__":
    main()
