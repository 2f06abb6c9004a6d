"""`results.xlsx`: what is in it for whom, and that it can always be made again."""

import gc
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from openpyxl.utils.escape import unescape

from batch.commands.results import results
from batch.errors import InputError
from batch.model import Outcome, Problem, RowResult
from batch.outputs import printed
from batch.outputs.plan import Line
from batch.outputs.results_xlsx import ResultsWorkbook
from tests.job_fixture import JobFixture, summary
from tests.libreoffice import SOFFICE, print_out

Cells = list[tuple[Any, ...]]


def workbook(job: JobFixture, *rows: tuple[str, ...]) -> Path:
    """A workbook with a text in every cell."""
    path = job.folder / "sheet.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet("Kunden")
        for at, row in enumerate(rows):
            for column, text in enumerate(row):
                sheet.write_string(at, column, text)
    return path


def rows_of(path: Path, sheet: str) -> Cells:
    return list(openpyxl.load_workbook(path)[sheet].iter_rows(min_row=2, values_only=True))


THREE = (("id", "Kunde", "phone"), ("10001", "=Bolt()", "00123"), ("10002", "", "ext. 5"), ("10003", "", "<clear>"))


def test_of_a_workbook(job: JobFixture) -> None:
    """Old and new of every cell under the sheet's own headers as text, and what is to be fixed, with what to do."""
    done = job.update(workbook(job, *THREE), map={"Kunde": "name"}, company="Acme")
    path = done.folder / "results.xlsx"
    assert str(path.resolve()) == summary(done.folder)["files"]["results_xlsx"]
    assert [
        (2, "10001", "Acme Holdings, Inc.", "Kunde", "Acme Holdings, Inc.", "=Bolt()", "updated"),
        (2, "10001", "Acme Holdings, Inc.", "phone", "555-0001", "00123", "updated"),
        (4, "10003", "Cobalt Holdings, Inc.", "phone", "555-0003", "(emptied)", "updated"),
    ] == rows_of(path, "Changes")
    wrong = '"ext. 5" has letters in it (use digits, spaces and + - . ( ) only)'
    assert [(3, "10002", "invalid", "phone", wrong, "Correct the cell. Nothing of the row was sent.")] == rows_of(
        path, "To fix"
    )
    book = openpyxl.load_workbook(path)
    assert ["Summary", "Changes", "To fix"] == book.sheetnames
    assert {"s", "n"} == {cell.data_type for sheet in book.worksheets for row in sheet.iter_rows() for cell in row}
    said = {row[0]: row[1] for row in book["Summary"].iter_rows(values_only=True)}
    assert ("Acme", "sheet.xlsx, sheet Kunden") == (said["Company"], said["Sheet"])
    assert [2, 0, 1, 0, 0, 0, 0, 3] == [said[one] for one in (*(one.value for one in Outcome), "All rows")]


def test_made_again(job: JobFixture) -> None:
    """`results` makes it again from the journal, the same cells; of a CSV input only where it is asked for."""
    done = job.update(job.sheet("id,name\n10001,Bolt\n"))
    assert not (done.folder / "results.xlsx").exists()
    results(done.folder, job.reporter, job.environment, results_xlsx=True)
    assert [(2, "10001", "Acme Holdings, Inc.", "name", "Acme Holdings, Inc.", "Bolt", "updated")] == rows_of(
        done.folder / "results.xlsx", "Changes"
    )
    other = job.update(job.sheet("id,name\n10002,Cole\n", "other.csv"), results_xlsx=True)
    before = rows_of(other.folder / "results.xlsx", "Changes")
    (other.folder / "results.xlsx").unlink()
    results(other.folder, job.reporter, job.environment)
    assert before == rows_of(other.folder / "results.xlsx", "Changes")


def test_edited(job: JobFixture) -> None:
    """A workbook in which somebody wrote stays, and the new one lies beside it."""
    done = job.update(workbook(job, *THREE), map={"Kunde": "name"})
    path = done.folder / "results.xlsx"
    book = openpyxl.load_workbook(path)
    book["Summary"]["A30"] = "seen: Anna"
    book.save(path)
    again = results(done.folder, job.reporter, job.environment)
    files = {name: Path(one).name for name, one in again.summary.files.items()}
    assert ("results-2.xlsx", "results.xlsx") == (files["results_xlsx"], files["results_xlsx_edited"])
    assert "seen: Anna" == openpyxl.load_workbook(path)["Summary"]["A30"].value
    assert (
        "results.xlsx was changed since it was written, so it stays as it is. What is so now is in results-2.xlsx, too."
        in again.notes
    )


def test_is_no_input(job: JobFixture) -> None:
    """It has ids and names in it, and is refused as an input all the same."""
    done = job.update(workbook(job, *THREE), map={"Kunde": "name"})
    for name in ("results.xlsx", "results.csv"):
        with pytest.raises(InputError, match="says what became of the rows of a run: give its failures file"):
            job.update(done.folder / name)


def made(path: Path, count: int) -> Path:
    book = ResultsWorkbook(path, path.with_name("parts"), "Changes")
    lines = ((Line(row, str(row), "Name", "name", "a\nb", "c"), Outcome.UPDATED) for row in range(2, count + 2))
    book.add(["1"], [RowResult(2, "1", Outcome.INVALID, problems=(Problem("", text="no"),))], [0])
    book.finish({}, {Outcome.UPDATED: count}, lines)
    return path


def test_longer_than_a_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sheet does not hold goes on in the next one, and nothing is lost."""
    monkeypatch.setattr(printed, "MAX_ROWS", 3)
    path = made(tmp_path / "results.xlsx", 7)
    names = openpyxl.load_workbook(path).sheetnames
    assert ["Summary", "Changes", "To fix", "Changes 2", "Changes 3"] == names
    assert list(range(2, 9)) == [row[0] for name in names if "Changes" in name for row in rows_of(path, name)]


ODD = (" spaces ", "<b>&amp;</b>", "_x0041_", "two\nlines", "=1+1", "00123", "", "شركة", "bell\x07", "<r>rich</r>")


def test_any_text(tmp_path: Path) -> None:
    """A cell has the very text that it is about, with spaces at its ends that no program drops."""
    path = tmp_path / "results.xlsx"
    book = ResultsWorkbook(path, path.with_name("parts"), "Changes")
    book.finish({}, {}, ((Line(2, "1", text, "name", text, text), Outcome.UPDATED) for text in ODD))
    assert list(ODD) == [unescape(row[5]) for row in rows_of(path, "Changes")]
    with zipfile.ZipFile(path) as archive:
        sheet = archive.read("xl/worksheets/sheet2.xml").decode()
    assert 3 == sheet.count('<t xml:space="preserve"> spaces </t>') == sheet.count("preserve")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_refused_by_the_disk(tmp_path: Path) -> None:
    """What the disk refuses is told as such, and is no bug of batch."""
    path = tmp_path / "results.xlsx"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        made(path, 3)
    gc.collect()  # xlsxwriter leaves its temporary files open, which is told here and not in another test


def test_memory(tmp_path: Path) -> None:
    """Ten times the lines, of several lines of text each, take no more memory."""
    peaks = []
    for count in (300, 3_000):
        tracemalloc.start()
        made(tmp_path / f"{count}.xlsx", count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000


@pytest.mark.long
@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")
def test_printed_by_libreoffice(tmp_path: Path) -> None:
    """LibreOffice prints it: every page across, the summary on the first, the header on each page of a list."""
    made(tmp_path / "results.xlsx", 100)
    printed = print_out(tmp_path / "results.xlsx", tmp_path)
    assert len(printed) >= 5
    assert {(841, 595)} == set(printed)
