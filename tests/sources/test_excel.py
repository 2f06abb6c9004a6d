"""Reading XLSX: any form of it that is right gives the same rows, and what is wrong or dangerous is refused."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from batch.errors import InputError
from batch.model import Staged, looks_blank
from batch.sources import ReadOptions
from batch.sources.excel import scan
from batch.sources.excel.layout import Area, RowsRemover, read_layout
from batch.sources.excel.package import open_package
from batch.sources.excel.shared_strings import read_texts
from batch.sources.excel.values import number_text
from batch.sources.excel.workbook import read_workbook
from tests.sources.workbooks import MAIN, PARTS, SHEET, STRINGS, make_book, rows, sheet_xml, staged

CORPUS = Path(__file__).parents[1] / "corpus" / "xlsx"
BOOKS = sorted({path.name for path in CORPUS.glob("*.xlsx")} - {"password.xlsx", "rich-text.xlsx"})
ACME = '<row r="2"><c r="A2"><v>7</v></c><c r="B2" t="s"><v>2</v></c></row>'
DAMAGED = "customers.xlsx: the file is damaged. Open it in Excel or LibreOffice, save it, and run again."
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>'


def refusal(path: Path, options: ReadOptions | None = None, folder: Path | None = None) -> str:
    """Give the message with which a workbook is refused."""
    with pytest.raises(InputError) as caught:
        staged(path, options, folder)
    return str(caught.value)


def pieces(text: str, size: int) -> Iterator[bytes]:
    """Cut text into pieces of so many bytes."""
    data = text.encode()
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize("book", BOOKS)
def test_both_scanners_see_the_same_cells(book: str) -> None:
    """What openpyxl and LibreOffice write is read by the fast scanner, and exactly as the slow one reads it."""
    package = open_package(CORPUS / book, book)
    with package.archive:
        for sheet in read_workbook(package).sheets:
            fast = pl.concat([pl.DataFrame(schema=scan.SCHEMA), *scan.iter_plain(package.iter_bytes(sheet.part))])
            slow = pl.concat([pl.DataFrame(schema=scan.SCHEMA), *scan.iter_any(package.iter_bytes(sheet.part))])
            assert_frame_equal(slow, fast)


@pytest.mark.parametrize(
    "sheet",
    [
        sheet_xml(ACME),
        sheet_xml(ACME).replace("><", ">\n  <"),
        sheet_xml(ACME).replace("<", "<x:").replace("<x:/", "</x:").replace("xmlns=", "xmlns:x="),
        sheet_xml('<row><c><v>7</v></c><c t="inlineStr"><is><t>Acme</t></is></c></row>'),
        sheet_xml('<row r="2"><c r="A2"><v>7</v></c><c t="inlineStr" r="B2"><is><t>Acme</t></is></c></row>'),
        sheet_xml(ACME + "<!-- </sheetData> -->"),
        sheet_xml('<row r="2"><c r="A2"><v>7</v></c><c r="B2" t="str"><v><![CDATA[Acme]]></v></c></row>'),
        sheet_xml(
            '<row r="2"><c r="A2"><f t="shared" si="0"/><v>7</v></c><c r="B2" t="str"><f>x</f><v>Acme</v></c></row>'
        ),
        sheet_xml(
            '<row r="2"><c r="A2" s="0"><v>7.0</v></c><c r="B2" t="inlineStr"><is><r><t>Ac</t></r><rPh><t>aku</t></rPh>'
            "<r><rPr><b/></rPr><t>me</t></r></is></c></row>"
        ),
    ],
)
def test_forms_of_xml(sheet: str, tmp_path: Path) -> None:
    """Prefixes, comments, missing references, line breaks between tags, rich and inline text make no difference."""
    assert rows(staged(make_book(tmp_path, sheet))) == [(2, "7", "Acme")]


def test_utf16_xml(tmp_path: Path) -> None:
    """A sheet in UTF-16, which no program writes but every program reads."""
    sheet = ('<?xml version="1.0" encoding="UTF-16"?>' + sheet_xml(ACME)).encode("utf-16")
    assert rows(staged(make_book(tmp_path, sheet))) == [(2, "7", "Acme")]


def test_iso_dates_in_cells(tmp_path: Path) -> None:
    """The strict form of XLSX stores dates as text, which is used as it is."""
    sheet = sheet_xml('<row r="2"><c r="A2"><v>1</v></c><c r="B2" s="1" t="d"><v>2026-03-04</v></c></row>')
    assert rows(staged(make_book(tmp_path, sheet))) == [(2, "1", "2026-03-04")]


def test_escapes(tmp_path: Path) -> None:
    """Entities and Excel's own spelling of control characters become the characters that they stand for."""
    strings = PARTS[STRINGS].replace("Acme", "&lt;a&#38;b&#x20AC;_x000D__x005F_x0041_")
    assert rows(staged(make_book(tmp_path, sheet_xml(ACME), {STRINGS: strings}))) == [(2, "7", "<a&b€\r_x0041_")]


@given(size=st.integers(1, 400))
def test_pieces_may_end_anywhere(size: int) -> None:
    """However the XML comes out of the archive, the cells, texts and merged cells are the same."""
    text = sheet_xml(ACME + ACME.replace("2", "3"), tail='<mergeCells><mergeCell ref="A2:B3"/></mergeCells>')
    frame = RowsRemover()
    for piece in pieces(text, size):
        frame.take(piece)
    assert [Area(2, 1, 3, 2)] == read_layout([frame.kept]).merged
    assert 6 == sum(map(len, scan.iter_plain(pieces(text, size))))
    assert ["id", "name", "Acme"] == read_texts(lambda: pieces(PARTS[STRINGS], size)).to_list()


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\ufffe\uffff"), min_size=1).filter(
    lambda text: not looks_blank(text) and not (text.startswith("<r>") and text.endswith("</r>"))
)
CELLS = st.one_of(st.none(), TEXTS, st.booleans(), st.integers(-(10**14), 10**14))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(table=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=5), shared=st.booleans())
def test_any_table(table: list[list[object]], shared: bool, tmp_path: Path) -> None:
    """What xlsxwriter is given comes back as text, each in its row; only blank rows are left out."""
    book = xlsxwriter.Workbook(tmp_path / "customers.xlsx", {"constant_memory": not shared})
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, ["id", "b", "c"])
    for number, cells in enumerate([[0, "x", "y"], *table], 1):
        for column, cell in enumerate(cells):
            if isinstance(cell, str):
                sheet.write_string(number, column, cell)
            else:
                sheet.write(number, column, cell)
    book.close()
    expected = [[None if one is None else in_words(one) for one in cells] for cells in table]
    assert [(3 + at, *cells) for at, cells in enumerate(expected) if any(cells)] == rows(
        staged(tmp_path / "customers.xlsx")
    )[1:]


def in_words(value: object) -> str:
    """Write a value as it is read."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_lose_nothing(number: float) -> None:
    """The text of a number is that number, without exponent and without `.0`."""
    text = number_text(number)
    assert (number, False, False) == (float(text), "e" in text, text.endswith(".0"))


def test_hidden_rows_can_be_read(tmp_path: Path) -> None:
    """With `--hidden include` hidden rows are rows like others, and it is said which they are."""
    found = staged(CORPUS / "hidden-rows.xlsx", ReadOptions(hidden="include"), tmp_path)
    assert ([2, 3, 4, 5, 6, 7, 8, 9, 10], ("3 hidden rows were read too: 3, 4, 9.",)) == (numbers(found), found.notes)


def test_hidden_rows_can_be_left_out(tmp_path: Path) -> None:
    """With `--hidden skip` hidden rows are not there, and it is said which they were."""
    found = staged(CORPUS / "hidden-rows.xlsx", ReadOptions(hidden="skip"), tmp_path)
    assert ([2, 5, 6, 7, 8, 10], ("3 hidden rows were left out: 3, 4, 9.",)) == (numbers(found), found.notes)


def test_shown_rows_are_passed_over() -> None:
    """Who looks for hidden rows gets these alone, and all of a stretch in which the word stands elsewhere."""
    shown = "".join(f'<row r="{row}"><c r="A{row}"><v>1</v></c></row>' for row in (1, 3))
    empty = '<row r="2" hidden="1"/>'
    hidden = '<row r="4" spans="1:1" hidden="1"><c r="A4"><v>4</v></c></row>'
    text = '<row r="5"><c r="A5" t="inlineStr"><is><t>hidden</t></is></c></row>'

    def found(*parts: str) -> list[int]:
        sheet = f"<worksheet><sheetData>{''.join(parts)}</sheetData></worksheet>"
        cells = scan.iter_plain(pieces(sheet, 10_000), only_hidden=True)
        return [row for frame in cells for row in frame["row"]]

    assert [] == found(shown)
    assert [4] == found(shown, hidden)
    assert [1, 3, 4, 5] == found(shown, hidden, text)
    assert [1, 3, 4] == found(shown, empty, hidden)


def numbers(found: Staged) -> list[int]:
    """Give the numbers of the rows."""
    return pl.read_parquet(found.path)["row"].to_list()


def test_limit(tmp_path: Path) -> None:
    """With `--limit` only the first rows are read."""
    assert [2, 3] == numbers(staged(CORPUS / "ordinary.xlsx", ReadOptions(limit=2), tmp_path))


@pytest.mark.parametrize("name", ["April", "april", " APRIL "])
def test_sheet_by_name(name: str, tmp_path: Path) -> None:
    """`--sheet` finds a sheet by its name, also when case or spaces differ, and then nothing is said of the others."""
    found = staged(CORPUS / "several-sheets.xlsx", ReadOptions(sheet=name), tmp_path)
    assert ([(2, "2", "April")], ()) == (rows(found), found.notes)


def test_no_such_sheet(tmp_path: Path) -> None:
    """A sheet that is not there is refused with the list of those that are."""
    assert refusal(CORPUS / "several-sheets.xlsx", ReadOptions(sheet="May"), tmp_path) == (
        'several-sheets.xlsx: there is no sheet "May". Its sheets: "Cover", "March", "April".'
    )


def test_a_hidden_sheet_can_be_chosen(tmp_path: Path) -> None:
    """A hidden sheet is read when it is named."""
    found = staged(CORPUS / "only-a-hidden-sheet-has-data.xlsx", ReadOptions(sheet="Data"), tmp_path)
    assert rows(found) == [(2, "1")]


def test_zip_bomb(tmp_path: Path) -> None:
    """A part that grows a thousand times is refused before it is in memory."""
    path = make_book(tmp_path, sheet_xml("<row/>" * 7_000_000))
    tracemalloc.start()
    message = refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (
        "customers.xlsx: it unpacks to more than 200 times its size, as only a file made to do harm does; "
        "nothing of it was read."
    ) == message
    assert peak < 20_000_000


def test_more_than_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of texts, which has to be in memory, has a limit of its own."""
    monkeypatch.setattr("batch.sources.excel.MAX_STRINGS", 1 << 20)
    strings = f'<sst xmlns="{MAIN}"><si><t>{"x" * 2_000_000}</t></si></sst>'
    assert refusal(make_book(tmp_path, sheet_xml(ACME), {STRINGS: strings})) == (
        "customers.xlsx: it unpacks to more than 1 MB, which is more than a table of records needs; "
        "nothing of it was read. Copy the rows that you need into a new workbook."
    )


def test_declared_rows(tmp_path: Path) -> None:
    """A sheet that says it has two million rows is refused before any is read."""
    assert refusal(make_book(tmp_path, sheet_xml(ACME, head='<dimension ref="A1:B2000000"/>'))) == (
        'customers.xlsx, sheet "Rows": it says that it has 2,000,000 rows, and no sheet has more than 1,048,576. '
        "The file is damaged, or made to do harm; nothing of it was read."
    )


def test_too_many_merged_cells(tmp_path: Path) -> None:
    """Merged cells by the thousand are refused as a whole."""
    merged = "".join(f'<mergeCell ref="B{row}:C{row}"/>' for row in range(2, 10_003))
    assert refusal(make_book(tmp_path, sheet_xml(ACME, tail=f"<mergeCells>{merged}</mergeCells>"))) == (
        'customers.xlsx, sheet "Rows": it has 10,001 merged cells. Unmerge them (select all, then '
        "Home > Merge & Center > Unmerge Cells), fill in what is meant, save the file, and run again."
    )


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/styles.xml", STRINGS, SHEET])
def test_entities_are_refused(part: str, tmp_path: Path) -> None:
    """A document type with entities, which could grow without end or read files, is refused in every part."""
    text = {**PARTS, SHEET: sheet_xml(ACME)}[part]
    assert DAMAGED == refusal(make_book(tmp_path, sheet_xml(ACME), {part: BOMB + text}))


@pytest.mark.parametrize(
    "sheet",
    [
        sheet_xml('<row r="2"><c r="A2" t="s"><v>99</v></c></row>'),
        sheet_xml('<row r="2"><c r="A2" t="x"><v>1</v></c></row>'),
        sheet_xml('<row r="2"><c r="A2" s="9"><v>1</v></c></row>'),
        sheet_xml('<row r="3"><c r="A3"><v>1</v></c></row><row r="2"><c r="A2"><v>1</v></c></row>'),
        sheet_xml('<row r="2"><c r="B2"><v>1</v></c><c r="A2"><v>1</v></c></row>'),
        sheet_xml('<row r="2"><c r="A2"><v>1</v></c><c r="A2"><v>2</v></c></row>'),
        sheet_xml('<row r="2000000"><c r="A2000000"><v>1</v></c></row>'),
        sheet_xml('<row r="2"><c r="A2" t="str"><v>&nbsp;</v></c></row>'),
        sheet_xml(ACME)[:-20],
        sheet_xml(ACME).replace("</row></sheetData>", "</sheetData>"),
        sheet_xml(ACME, tail='<mergeCells><mergeCell ref="?"/></mergeCells>'),
    ],
)
def test_damaged_sheets(sheet: str, tmp_path: Path) -> None:
    """A sheet whose cells do not fit together is refused, not guessed at."""
    assert DAMAGED == refusal(make_book(tmp_path, sheet))


def test_a_missing_sheet(tmp_path: Path) -> None:
    """A workbook whose list of sheets leads nowhere is damaged."""
    part = "xl/_rels/workbook.xml.rels"
    assert DAMAGED == refusal(make_book(tmp_path, sheet_xml(ACME), {part: PARTS[part].replace("sheet1", "sheet2")}))


def test_a_flipped_bit(tmp_path: Path) -> None:
    """A file that changed on its way is noticed by its checksums."""
    path = make_book(tmp_path, sheet_xml(ACME * 1))
    data = bytearray(path.read_bytes())
    data[data.index(b"sheet1.xml") + 40] ^= 1
    path.write_bytes(data)
    assert DAMAGED == refusal(path)


def spoilt_name(path: Path, *, is_listed: bool) -> Path:
    """Break the name of the sheet's part where the archive lists it, or where the part itself begins."""
    data, name = bytearray(path.read_bytes()), SHEET.encode()
    at = data.rindex(name) if is_listed else data.index(name)
    flags = at - (46 - 8 if is_listed else 30 - 6)
    data[flags + 1] |= 0x08  # the name is said to be UTF-8
    data[at] = 0xFF
    path.write_bytes(data)
    return path


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A part whose name is no text is damage, wherever the name stands."""
    listed = "customers.xlsx is a damaged or incomplete ZIP archive or workbook: copy or download it again."
    assert listed == refusal(spoilt_name(make_book(tmp_path, sheet_xml(ACME)), is_listed=True))
    assert DAMAGED == refusal(spoilt_name(make_book(tmp_path, sheet_xml(ACME)), is_listed=False))


def test_cells_under_a_merged_one_in_another_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merged cells are found as such also when their rows are not read together."""
    monkeypatch.setattr("batch.sources.excel.scan.CHUNK", 64)
    path = make_book(
        tmp_path,
        sheet_xml(
            ACME + ACME.replace('2"', '3"').replace(' t="s"><v>2</v', "><v></v"),
            tail='<mergeCells><mergeCell ref="B2:B3"/></mergeCells>',
        ),
    )
    frame = pl.read_parquet(staged(path).path)
    reason = "lies in merged cells, and only their first cell has a value (unmerge them, and fill in what is meant)"
    assert frame["damage"].to_list() == [None, f'[[1,"","{reason}","merged",{{}}]]']


def test_the_strict_form(tmp_path: Path) -> None:
    """Excel's "Strict Open XML" has other names for everything, and is read the same."""
    old, new = "http://schemas.openxmlformats.org/", "http://purl.oclc.org/ooxml/"
    parts = {name: text.replace(f"{old}officeDocument/2006", f"{new}officeDocument") for name, text in PARTS.items()}
    parts = {name: text.replace(f"{old}spreadsheetml/2006", f"{new}spreadsheetml") for name, text in parts.items()}
    assert rows(staged(make_book(tmp_path, sheet_xml(ACME), parts))) == [(2, "7", "Acme")]
    assert new in parts["xl/workbook.xml"]


def test_two_parts_of_one_name(tmp_path: Path) -> None:
    """An archive with two sheets of one name is refused: programs differ in which of them they show."""
    path = make_book(tmp_path, sheet_xml(ACME), {SHEET.upper(): sheet_xml(ACME.replace("7", "8"))})
    assert refusal(path) == DAMAGED
