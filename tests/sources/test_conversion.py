"""`.ods` and `.xls`: read cell by cell, with what cannot be seen asked about; what is in them is in `corpus/xlsx`."""

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import openpyxl
import pytest

from batch.errors import InputError
from batch.extras import install_command
from batch.sources import ReadOptions, iter_frames, open_input, stage
from batch.sources.excel import conversion
from tests.shell import DUALENTRY, Api, Shell, outcomes
from tests.test_terminal import SEND, on_terminal

CORPUS = Path(__file__).parents[1] / "corpus" / "xlsx"
SPACES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{space}:1.0"'
    for name, space in (("office", "office"), ("table", "table"), ("text", "text"))
)


def text(said: str) -> str:
    """A cell with a text."""
    return f'<table:table-cell office:value-type="string"><text:p>{said}</text:p></table:table-cell>'


def number(said: object) -> str:
    """A cell with a number."""
    return f'<table:table-cell office:value-type="float" office:value="{said}"><text:p>x</text:p></table:table-cell>'


def ods(path: Path, *rows: str, names: Sequence[str] = ("Kunden",)) -> Path:
    """Write an .ods with the same rows on each of its sheets."""
    table = "".join(
        one if one.startswith("<table:table-row") else f"<table:table-row>{one}</table:table-row>" for one in rows
    )
    sheets = "".join(f'<table:table table:name="{one}">{table}</table:table>' for one in names)
    body = f"<office:body><office:spreadsheet>{sheets}</office:spreadsheet></office:body>"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr(
            "content.xml", f'<?xml version="1.0"?><office:document-content {SPACES}>{body}</office:document-content>'
        )
    return path


def rows(path: Path, folder: Path) -> list[tuple[object, ...]]:
    """Stage it; gives the texts of its rows."""
    staged = stage(open_input(str(path), folder), folder, ReadOptions())
    assert staged.style is not None
    assert not staged.style.has_formats
    width = len(staged.headers)
    return [row[: width + 1] for frame in iter_frames(staged) for row in frame.rows()]


def test_rows(tmp_path: Path) -> None:
    """Rows keep their numbers, blank and repeated ones too, and texts their letters."""
    odd = "&lt;clear&gt; _x0041_ ü\U0001f363"
    found = rows(
        ods(
            tmp_path / "a.ods", text("id") + text("name"), number(1) + text(odd), "", number("2.5E3") + text("00123"),
            f'<table:table-row table:number-rows-repeated="1048570">{"<table:table-cell/>"}</table:table-row>',
        ),
        tmp_path,
    )  # fmt: skip
    assert [(2, "1", "<clear> _x0041_ ü\U0001f363"), (4, "2500", "00123")] == found


def test_place(tmp_path: Path) -> None:
    """A table that does not begin in A1 is named by the rows and columns that its sheet shows."""
    empty = "<table:table-cell/>"
    path = ods(tmp_path / "a.ods", "", "", empty + text("id") + text("name"), empty + number(1) + text("x"))
    assert [(4, "1", "x")] == rows(path, tmp_path)
    staged = stage(open_input(str(path), tmp_path), tmp_path, ReadOptions())
    assert "C4" == staged.cell(4, 1)


@pytest.mark.parametrize("name", ["excel-97.xls", "opendocument.ods"])
def test_as_the_other_format(name: str, tmp_path: Path) -> None:
    """LibreOffice's .ods and .xls of a workbook say what its .xlsx says, but for how booleans are kept."""
    (tmp_path / "other").mkdir()
    other = stage(open_input(str(CORPUS / "ordinary.xlsx"), tmp_path / "other"), tmp_path / "other", ReadOptions())
    expected = [row[: len(other.headers) + 1] for frame in iter_frames(other) for row in frame.rows()]
    booleans = {"1": "true", "0": "false"}
    found = [(*row[:5], booleans.get(str(row[5]), row[5]), *row[6:]) for row in rows(CORPUS / name, tmp_path)]
    assert expected == found


def test_damaged(tmp_path: Path) -> None:
    """What cannot be read is refused in one sentence."""
    path = ods(tmp_path / "a.ods", text("id"), number(1))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", "<office:document-content")
    with pytest.raises(InputError, match=r"^a\.ods: .* save it as \.xlsx"):
        open_input(str(path), tmp_path)


def test_names_of_sheets(tmp_path: Path) -> None:
    """Sheets that an .xlsx cannot tell apart are named as the reason."""
    names = ["Customers of the northern regions " + one for one in "AB"]
    path = ods(tmp_path / "a.ods", text("id"), number(1), names=names)
    with pytest.raises(InputError, match=r"^a\.ods: Sheetname 'Customers of the northern regio'"):
        open_input(str(path), tmp_path)


def test_long_text(tmp_path: Path) -> None:
    """A text that is cut off nowhere else is not cut off here."""
    path = ods(tmp_path / "a.ods", text("id") + text("name"), number(1) + text("x" * 32_768))
    with pytest.raises(InputError, match="the cell in row 2, column 2 has 32,768 letters"):
        open_input(str(path), tmp_path)


def test_made_to_do_harm(tmp_path: Path) -> None:
    """A few bytes that stand for millions of cells are refused."""
    cell = number(1).replace("<table:table-cell", '<table:table-cell table:number-columns-repeated="16384"')
    path = ods(
        tmp_path / "a.ods", text("id"),
        f'<table:table-row table:number-rows-repeated="1048575">{cell}</table:table-row>',
    )  # fmt: skip
    with pytest.raises(InputError, match=r"^a\.ods: it cannot be read \(Cell limit exceeded"):
        open_input(str(path), tmp_path)


def test_asked_about(shell: Shell, api: Api) -> None:
    """What cannot be seen is asked about once; a pipeline says it by an option; numbers in text fields stay behind."""
    one, other = api.ids(2)
    table = (text("id") + text("phone"), number(one) + text("0228 1"), number(other) + number(228))
    ods(shell.folder / "sheet.ods", *table)
    words = ["update", "sheet.ods", "-e", DUALENTRY, *api.options]
    refused = shell.here(*words)
    assert (2, []) == (refused.code, api.writes())
    assert f"sheet.ods: {conversion.UNSEEN}. To read it all the same:  --hidden include\n" in refused.err
    assert 2 == shell.here(*words, "--hidden", "skip").code
    asked = on_terminal(
        shell, [one for one in words if one != "--yes"], [(b"give that.) [y/N]: ", b"y\n"), (SEND, b"y\n")]
    )
    assert (1, ["updated", "invalid"]) == (asked.code, outcomes(shell.only_run())), asked.err
    (failures,) = shell.only_run().glob("failures.*")
    book = openpyxl.load_workbook(failures)
    assert [int(other), 228] == [cell.value for cell in book.worksheets[1][2][:2]]
    assert "is stored as a number, and how it is shown cannot be seen in this kind of file" in asked.err
    book.worksheets[1]["B2"].value = "0228"
    book.save(failures)
    assert 0 == shell.here("update", failures, "-e", DUALENTRY, *api.options).code
    assert [{"phone": "0228 1"}, {"phone": "0228"}] == [line["body"] for line in api.writes()]


def test_not_installed(offline: Shell, tmp_path: Path) -> None:
    """Without run.sh a sentence says what to install."""
    shutil.copy(CORPUS / "opendocument.ods", offline.folder / "sheet.ods")
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['python_calamine'] = None\n")
    offline.environment["PYTHONPATH"] += f":{tmp_path}"
    ended = offline.run("check", "sheet.ods", "-e", DUALENTRY)
    said = f"What reading sheet.ods needs is not installed. Install it:  {install_command('ods')}"
    assert (2, said.split()) == (ended.code, ended.err.split())
