"""An empty spreadsheet to fill in: the right headers, each with a note, drop-downs where there is a list to choose.

Promises that batch reads what is filled in without a complaint: codes keep their zeros, because the cells are text
before anybody types; dates become dates, because their cells are; lists and explanations are on sheets that are never
taken for data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from batch.endpoints.base import Endpoint
from batch.model import CHOICES_SHEET, GUIDE_SHEET, Field, command, shorten
from batch.outputs.failures_xlsx.cells import TEXT_FORMAT
from batch.outputs.tables import SHEET, write_table

MAX_INLINE = 255
"""Characters of a list that Excel takes in a drop-down itself; longer ones stand in a sheet."""
LAST_ROW = 1_048_575
DATE_FORMAT = "yyyy-mm-dd"
FORMATS = {"text": TEXT_FORMAT, "date": DATE_FORMAT, "number": "General"}
NARROWEST, WIDEST = 14, 40
GUIDE_WIDTHS = (50, 50, 26, 60)
HEAD = {"bold": True, "bottom": 1, "bg_color": "#DDEBF7", "valign": "top"}


@dataclass(frozen=True, slots=True)
class TemplateColumn:
    """A column to fill in. `form` is what its cells are before anything is typed; `note` what may stand in them."""

    header: str
    note: str = ""
    choices: tuple[str, ...] = ()
    form: Literal["text", "number", "date"] = "text"
    takes_many: bool = False
    """Several of `choices`, as `a; b`: the drop-down helps with the first."""
    is_id: bool = False
    is_clearable: bool = False


def template_column(field: Field) -> TemplateColumn:
    """Return the template column of a field."""
    kind = field.kind.lower()
    choices = field.choices or (("true", "false") if kind == "boolean" else ())
    form: Literal["text", "number", "date"] = "text"
    if not choices and kind in ("number", "currency", "date"):
        form = "date" if kind == "date" else "number"
    is_many = kind == "multi_select"
    if not choices:
        note = field.form or field.limits
    elif is_many:
        note = "one or several of the list, with semicolons between them"
    else:
        note = "true or false" if kind == "boolean" else "one of the list"
    return TemplateColumn(
        field.name, note, choices, form, takes_many=is_many, is_id=kind == "id", is_clearable=field.nullable
    )


def write_template(
    path: Path, ending: str, columns: Sequence[TemplateColumn], endpoint: Endpoint, *, clear: str = "<clear>",
    delimiter: str = ",",
) -> None:  # fmt: skip
    """Fill the empty file at `path` with a template, `.xlsx` or `.csv` (the header alone); raises OSError."""
    if ending != ".xlsx":
        write_table(path, path.parent, ending, [column.header for column in columns], lambda: (), delimiter=delimiter)
        return
    with xlsxwriter.Workbook(str(path), {"strings_to_urls": False}) as book:
        sheet = book.add_worksheet(SHEET)
        page = book.add_worksheet(GUIDE_SHEET)
        lists = _Lists(book)
        head = book.add_format(HEAD)
        formats = {form: book.add_format({"num_format": code}) for form, code in FORMATS.items()}
        for at, column in enumerate(columns):
            _write_column(sheet, at, column, head, formats[column.form], clear)
            _add_choices(sheet, at, column, lists, clear)
        sheet.freeze_panes(1, 1)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        _write_guide(book, page, columns, list(_explained(endpoint, clear)), clear)


def _write_column(sheet: Worksheet, at: int, column: TemplateColumn, head: Format, cells: Format, clear: str) -> None:
    sheet.write_string(0, at, column.header, head)
    sheet.set_column(at, at, min(max(len(column.header) + 4, NARROWEST), WIDEST), cells)
    note = "\n".join(_note_lines(column, clear))
    height = 25 + 15 * sum(1 + len(line) // 38 for line in note.splitlines())
    sheet.write_comment(0, at, note, {"author": "batch", "width": 260, "height": height, "font_size": 9})


def _note_lines(column: TemplateColumn, clear: str) -> Iterator[str]:
    yield column.header
    if column.note:
        yield column.note[0].upper() + column.note[1:] + "."
    if column.is_id:
        yield "Says which record the row changes. Every row needs it."
    else:
        yield "Blank: the field stays as it is."
        yield f"{clear}: the field is emptied." if column.is_clearable else "This field cannot be emptied."


def _add_choices(sheet: Worksheet, at: int, column: TemplateColumn, lists: "_Lists", clear: str) -> None:
    if not column.choices:
        return
    choices = [*column.choices, *([clear] if column.is_clearable else [])]
    is_short = len(",".join(choices)) <= MAX_INLINE and not any("," in one for one in choices)
    options = {
        "validate": "list", "source": choices if is_short else lists.add(choices),
        "show_error": not column.takes_many, "error_type": "warning", "error_title": "Not in the list",
        "error_message": "This value is not in the list, and will be refused.",
    }  # fmt: skip
    sheet.data_validation(1, at, LAST_ROW, at, options)


class _Lists:
    """The hidden sheet with the lists that are too long to stand in a drop-down itself."""

    def __init__(self, book: xlsxwriter.Workbook) -> None:
        self._book = book
        self._sheet: Worksheet | None = None
        self._used = 0

    def add(self, choices: Sequence[str]) -> str:
        """Write a list, and return the formula that refers to it."""
        if self._sheet is None:
            self._sheet = self._book.add_worksheet(CHOICES_SHEET)
            self._sheet.hide()
        for row, choice in enumerate(choices):
            self._sheet.write_string(row, self._used, choice)
        column = xlsxwriter.utility.xl_col_to_name(self._used, col_abs=True)
        self._used += 1
        return f"={CHOICES_SHEET}!{column}$1:{column}${len(choices)}"


def _explained(endpoint: Endpoint, clear: str) -> Iterator[str]:
    yield (
        f"One row for each {endpoint.noun}. The column id says which one; the other columns say what is to be changed."
    )
    yield "A blank cell leaves its field as it is. You may delete columns that you do not need."
    yield f"{clear} in a cell empties the field, where the table below says that it may be emptied."
    yield "Numbers such as 00123 keep their zeros here, because the cells are text. When you paste, paste values only."
    if endpoint.has_custom_fields:
        yield "A custom field has a column of its own, custom_fields.Name or customFields.Name, named as in the system."
    yield f"Save as .xlsx, then check the file before anything is sent:  {command()} check FILE -e ENDPOINT"


def _write_guide(
    book: xlsxwriter.Workbook, page: Worksheet, columns: Sequence[TemplateColumn], guide: Sequence[str], clear: str
) -> None:
    title = book.add_format({"bold": True, "font_size": 14})
    head, wrap = book.add_format(HEAD), book.add_format({"text_wrap": True, "valign": "top"})
    for at, width in enumerate(GUIDE_WIDTHS):
        page.set_column(at, at, width)
    page.write_string(0, 0, GUIDE_SHEET, title)
    for line, text in enumerate(guide, 2):
        page.write_string(line, 0, text)
    first = len(guide) + 3
    for at, text in enumerate(("Column", "What may stand in it", f"May be emptied ({clear})", "List")):
        page.write_string(first, at, text, head)
    for line, column in enumerate(columns, first + 1):
        emptied = "" if column.is_id else "yes" if column.is_clearable else "no"
        texts = (column.header, column.note, emptied, shorten(", ".join(column.choices), 1_000))
        for at, text in enumerate(texts):
            page.write_string(line, at, text, wrap)
        lines = max(1 + int(len(text) * 1.1) // width for text, width in zip(texts, GUIDE_WIDTHS, strict=True))
        page.set_row(line, 15 * lines)  # LibreOffice does not find the height by itself
    page.hide_gridlines(2)
    page.set_landscape()
    page.fit_to_pages(1, 0)
