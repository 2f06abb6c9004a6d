"""Workbooks made by hand for tests: the least that is one, with any XML in its parts."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from batch.model import Staged
from batch.sources import ReadOptions, open_input, stage

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
STRINGS = "xl/sharedStrings.xml"
SHEET = "xl/worksheets/sheet1.xml"
PARTS = {
    "[Content_Types].xml": "<Types/>",
    "_rels/.rels": f'<Relationships xmlns="{PACKAGE}"><Relationship Id="r1" Type="{RELATIONS}/officeDocument" '
    'Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets>'
    '<sheet name="Rows" sheetId="1" r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}">'
    f'<Relationship Id="r1" Type="{RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="r2" Type="{RELATIONS}/styles" Target="styles.xml"/>'
    f'<Relationship Id="r3" Type="{RELATIONS}/sharedStrings" Target="sharedStrings.xml"/></Relationships>',
    "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><cellXfs count="2">'
    f'<xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>',
    STRINGS: f'<sst xmlns="{MAIN}"><si><t>id</t></si><si><t>name</t></si><si><t>Acme</t></si></sst>',
}
HEADER = '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'


def sheet_xml(rows: str, *, head: str = "", tail: str = "") -> str:
    """Give the XML of a sheet with a header `id`, `name` and these rows."""
    return f'<worksheet xmlns="{MAIN}">{head}<sheetData>{HEADER}{rows}</sheetData>{tail}</worksheet>'


def make_book(folder: Path, sheet: str | bytes, parts: Mapping[str, str] | None = None) -> Path:
    """Write `customers.xlsx` with this sheet; `parts` replaces some of `PARTS`."""
    path = folder / "customers.xlsx"
    contents = {**PARTS, SHEET: sheet, **(parts or {})}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in contents.items():
            archive.writestr(name, text)
    return path


def staged(path: Path, options: ReadOptions | None = None, folder: Path | None = None) -> Staged:
    """Stage a workbook into `folder`, else into the folder it lies in."""
    folder = folder or path.parent
    return stage(open_input(str(path), folder), folder, options or ReadOptions())


def rows(staged: Staged) -> list[tuple[object, ...]]:
    """Give the rows of `input.parquet`: their numbers and texts."""
    names = [f"c{index}" for index in range(len(staged.headers))]
    return pl.read_parquet(staged.path).select("row", *names).rows()
