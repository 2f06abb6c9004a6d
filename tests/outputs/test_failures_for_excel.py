"""CSV files for people: what Excel would change in a failures file is in a workbook beside it, too."""

from pathlib import Path

import openpyxl
import polars as pl
import pytest

from batch.commands.check import check
from batch.commands.plan import plan
from batch.outputs.failures_csv import SPOILT
from batch.run.finish import FinishedRun
from tests.job_fixture import FakeReporter, JobFixture, summary, told

HEADER = "id,phone,full_address.postal_code\n"
ZEROS = HEADER + "10001,ext. 5,00501\n10002,555-0109,\n"


def names(done: FinishedRun) -> dict[str, str]:
    return {name: Path(one).name for name, one in summary(done.folder)["files"].items() if "failures" in name}


@pytest.mark.parametrize(
    ("text", "is_changed"),
    [
        ("00501", True), ("-007", True), ("+491234", True), ("1234567890123456", True), ("1E5", True), ("3-4", True),
        ("3/4/2026", True), ("2026-04-03", True), ("MAR1", True), ("1-mar", True), ("1 March 2026", True),
        ("03.04.", True), ("8:30", True), ("12-2026", True), ("0", False), ("0.5", False), ("123456789012345", False),
        ("555-0102", False), ("+49 30 1234", False), ("March", False), ("Decker 12", False), ("A-12", False),
    ],
)  # fmt: skip
def test_what_excel_changes(text: str, is_changed: bool) -> None:
    """Zeros in front, a plus, more than 15 digits, exponents, dates and times are changed; other texts are not."""
    assert is_changed == pl.Series([text]).str.contains(SPOILT)[0]


def test_workbook_beside(job: JobFixture) -> None:
    """The workbook has the rows of the CSV as text, is named first, and is the next input as it is."""
    done = job.update(job.sheet(ZEROS))
    assert {"failures": "failures.csv", "failures_xlsx": "failures.xlsx"} == names(done)
    assert str(done.folder.resolve() / "failures.xlsx") == done.failures
    said = "Excel would change cells of failures.csv, such as 00501: failures.xlsx has the same rows as text."
    assert said in done.notes
    book = openpyxl.load_workbook(done.folder / "failures.xlsx")
    listed = list(book.worksheets[1].iter_rows(values_only=True))
    frame = pl.read_csv(done.folder / "failures.csv", infer_schema=False)
    assert tuple(frame.columns) == listed[0]
    assert [str(one) for one in frame.row(0)] == [str(one) for one in listed[1]]
    assert ["@", "@"] == [book.worksheets[1][name].number_format for name in ("A2", "C2")]
    book.worksheets[1]["B2"] = "555-0199"
    book.save(done.folder / "failures.xlsx")
    again = job.update(done.folder / "failures.xlsx")
    assert [("updated", "")] == told(again)
    assert "00501" == job.record(10001)["full_address"]["postal_code"]


def test_semicolons(job: JobFixture) -> None:
    """--excel-csv writes the failures with semicolons and a mark, whatever the input has; it is the next input."""
    done = job.update(job.sheet("id,name,phone\n10001,Größe,ext. 5\n10002,a,b,c\n"), excel_csv=True)
    data = (done.folder / "failures.csv").read_bytes()
    assert data.startswith("\ufeffid;name;phone;batch_row;".encode())
    (done.folder / "failures.csv").write_bytes(data.replace(b"ext. 5;", b"555;", 1))
    outcomes = [one for one, _ in told(job.update(done.folder / "failures.csv"))]
    assert (["updated", "invalid"], "Größe") == (outcomes, job.record(10001)["name"])


def test_none_where_nothing_is_changed(job: JobFixture) -> None:
    """A file in which Excel changes nothing, and one with a malformed row, are in the input's format alone."""
    assert {"failures": "failures.csv"} == names(job.update(job.sheet("id,phone\n10001,ext. 5\n")))
    malformed = job.sheet(ZEROS + "10003,555,1,2,3\n", "malformed.csv")
    assert {"failures": "failures.csv"} == names(job.update(malformed))


def test_check(job: JobFixture) -> None:
    """A check writes it, too."""
    files = check(job.settings(job.sheet(ZEROS)), FakeReporter(), job.environment).summary.files
    assert ["failures.csv", "failures.xlsx"] == [Path(files[name]).name for name in ("failures", "failures_xlsx")]


@pytest.mark.parametrize("is_excel", [False, True])
def test_plan(job: JobFixture, is_excel: bool) -> None:
    """A plan's list has a mark that Excel knows UTF-8 by, and semicolons where they are wanted; it is read back."""
    sheet = job.sheet("id,name\n10001,Größe; Söhne\n")
    made = plan(job.settings(sheet, excel_csv=is_excel), job.reporter, job.environment)
    text = (made.folder / "plan.csv").read_bytes().decode()
    mark = ";" if is_excel else ","
    assert text.startswith("\ufeff" + mark.join(("row", "id", "name", "field", "before", "after")) + "\n")
    assert [("updated", "")] == told(job.update(sheet, plan=made.folder))
    assert "Größe; Söhne" == job.record(10001)["name"]
