"""Templates: what is filled in under their headers is read as it was meant, and nothing else in them is read."""

from pathlib import Path

import openpyxl
import pytest

from batch.endpoints import DualEntryCustomers
from batch.model import Field
from batch.outputs.template import TemplateColumn, template_column, write_template
from tests.libreoffice import SOFFICE, type_into
from tests.sources.workbooks import rows, staged

SEVERAL = "one or several of the list, with semicolons between them"
TIERS = tuple(f"Tier number {number} of the organisation" for number in range(20))
COLUMNS = (
    TemplateColumn("id", "a whole number", is_id=True),
    TemplateColumn("name", "text"),
    TemplateColumn("dueDays", "one of the list", ("15_DAYS", "30_DAYS"), is_clearable=True),
    TemplateColumn("custom_fields.Tier", "one of the list", TIERS),
    TemplateColumn("custom_fields.City", "one of the list", ("Rome, Italy", "Bonn"), is_clearable=True),
    TemplateColumn("custom_fields.Since", "a date", form="date", is_clearable=True),
    TemplateColumn("custom_fields.Score", "a number", form="number", is_clearable=True),
)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A template with columns of every kind."""
    path = tmp_path / "template.xlsx"
    path.touch()
    write_template(path, ".xlsx", COLUMNS, DualEntryCustomers())
    return path


def test_headers_and_notes(template: Path) -> None:
    """Each header has a note that says what may stand below it, what blank means, and whether it may be cleared."""
    sheet = openpyxl.load_workbook(template).worksheets[0]
    notes = [cell.comment.text for cell in sheet[1]]
    assert [one.header for one in COLUMNS] == [cell.value for cell in sheet[1]]
    assert [
        "id\nA whole number.\nSays which record the row changes. Every row needs it.",
        "name\nText.\nBlank: the field stays as it is.\nThis field cannot be emptied.",
        "dueDays\nOne of the list.\nBlank: the field stays as it is.\n<clear>: the field is emptied.",
    ] == notes[:3]


def test_cells_are_text_before_anybody_types(template: Path) -> None:
    """Every column is text to its end, so that zeros survive; but dates and numbers are what they are."""
    sheet = openpyxl.load_workbook(template).worksheets[0]
    formats = [sheet.column_dimensions[letter].number_format for letter in "AFG"]
    grouped = [(one.min, one.max) for one in sheet.column_dimensions.values() if one.number_format == "@"]
    assert (["@", "yyyy-mm-dd", "General"], {1, 2, 3, 4, 5}) == (
        formats,
        {column for first, last in grouped for column in range(first, last + 1)},
    )


def test_drop_downs(template: Path) -> None:
    """Lists drop down in all rows; the long ones, and those with commas, come from a hidden sheet."""
    book = openpyxl.load_workbook(template)
    lists = {str(one.sqref): one.formula1 for one in book.worksheets[0].data_validations.dataValidation}
    hidden = [[cell for cell in column if cell] for column in book["batch_choices"].iter_cols(values_only=True)]
    assert {
        "C2:C1048576": '"15_DAYS,30_DAYS,<clear>"',
        "D2:D1048576": "batch_choices!$A$1:$A$20",
        "E2:E1048576": "batch_choices!$B$1:$B$3",
    } == lists
    assert ("hidden", [[*TIERS], ["Rome, Italy", "Bonn", "<clear>"]]) == (book["batch_choices"].sheet_state, hidden)


def test_the_page_that_explains(template: Path) -> None:
    """The second sheet explains blank and clear, and lists the columns."""
    page = openpyxl.load_workbook(template)["How to fill this in"]
    assert [
        ["How to fill this in"],
        [],
        ["One row for each customer. The column id says which one; the other columns say what is to be changed."],
        ["A blank cell leaves its field as it is. You may delete columns that you do not need."],
        ["<clear> in a cell empties the field, where the table below says that it may be emptied."],
        ["Numbers such as 00123 keep their zeros here, because the cells are text. When you paste, paste values only."],
        ["A custom field has a column of its own, custom_fields.Name or customFields.Name, named as in the system."],
        ["Save as .xlsx, then check the file before anything is sent:  batch check FILE -e ENDPOINT"],
        [],
        ["Column", "What may stand in it", "May be emptied (<clear>)", "List"],
        ["id", "a whole number"],
        ["name", "text", "no"],
        ["dueDays", "one of the list", "yes", "15_DAYS, 30_DAYS"],
    ] == [[cell for cell in row if cell] for row in page.values][:13]


def test_another_clear_token(tmp_path: Path) -> None:
    """What clears a field is called as the person calls it."""
    path = tmp_path / "template.xlsx"
    write_template(path, ".xlsx", COLUMNS[2:3], DualEntryCustomers(), clear="-")
    sheet = openpyxl.load_workbook(path).worksheets[0]
    note = "dueDays\nOne of the list.\nBlank: the field stays as it is.\n-: the field is emptied."
    assert (note, '"15_DAYS,30_DAYS,-"') == (
        sheet["A1"].comment.text,
        sheet.data_validations.dataValidation[0].formula1,
    )


def test_filled_in(template: Path) -> None:
    """Filled in, it is read without a word about its other sheets."""
    book = openpyxl.load_workbook(template)
    book.worksheets[0].append(["00123", "Acme"])
    book.save(template)
    found = staged(template)
    assert ([(2, "00123", "Acme")], ()) == ([row[:3] for row in rows(found)], found.notes)


def test_csv(tmp_path: Path) -> None:
    """As CSV it is the header alone."""
    path = tmp_path / "template.csv"
    write_template(path, ".csv", COLUMNS[:3], DualEntryCustomers())
    assert path.read_bytes() == b"\xef\xbb\xbfid,name,dueDays\r\n"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (
            Field("id", str, nullable=False, limits="24 letters", kind="id"),
            TemplateColumn("id", "24 letters", is_id=True),
        ),
        (Field("phone", str, form="use digits", limits="32"), TemplateColumn("phone", "use digits", is_clearable=True)),
        (Field("a", str, nullable=False, kind="boolean"), TemplateColumn("a", "true or false", ("true", "false"))),
        (
            Field("b", str, choices=("x",), kind="number"),
            TemplateColumn("b", "one of the list", ("x",), is_clearable=True),
        ),
        (
            Field("m", str, choices=("x", "y", "z"), kind="multi_select"),
            TemplateColumn("m", SEVERAL, ("x", "y", "z"), takes_many=True, is_clearable=True),
        ),
        (Field("c", str, kind="date"), TemplateColumn("c", form="date", is_clearable=True)),
        (Field("d", str, kind="Number"), TemplateColumn("d", form="number", is_clearable=True)),
    ],
)
def test_columns_of_fields(field: Field, expected: TemplateColumn) -> None:
    """A field's limits, lists and kind make its column."""
    assert expected == template_column(field)


@pytest.mark.long
@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")
def test_filled_in_with_libreoffice(template: Path, tmp_path: Path) -> None:
    """What a person types into LibreOffice arrives as typed: zeros, formula-like texts, dates, numbers."""
    typed = {"A2": "00123", "B2": "=1+1", "C2": "30_DAYS", "D2": TIERS[3], "E2": "<clear>"}
    typed |= {"F2": "2026-03-04", "G2": "1.50"}
    type_into(template, tmp_path / "filled.xlsx", typed, tmp_path)
    found = staged(tmp_path / "filled.xlsx")
    row = (2, "00123", "=1+1", "30_DAYS", TIERS[3], "<clear>", "2026-03-04", "1.5")
    assert ([row], ()) == (rows(found), found.notes)
