"""Hidden rows of a workbook: a person is asked what is to become of them, a pipeline says it."""

from pathlib import Path

import pytest
import xlsxwriter

from batch.errors import Declined, InputError
from tests.job_fixture import JobFixture, told


def write(job: JobFixture, *hidden: int) -> Path:
    """Write a workbook with a title, a header in row 2 and three customers, some of whose rows are hidden."""
    path = job.folder / "kunden.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("Kunden")
        rows = [["Stand 1.3.", ""], ["id", "name"], ["10001", "A"], ["10002", "B"], ["10003", "C"]]
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
        for one in hidden:
            sheet.set_row(one - 1, options={"hidden": True})
    return path


@pytest.mark.parametrize(("answer", "value", "rows"), [(0, "skip", 2), (1, "include", 3)])
def test_asked(job: JobFixture, answer: int, value: str, rows: int) -> None:
    """The answer is what --hidden would say, which is told; with it the same run is gone on with."""
    path = write(job, 4)
    job.sandbox.set_faults("500=id:10001")
    job.reporter.can_ask, job.reporter.answers = True, [answer, True]
    first = job.update(path, max_attempts=1)
    job.sandbox.set_faults()
    assert 'kunden.xlsx, sheet "Kunden": 1 row is hidden, by a filter or by hand: 4.' in job.reporter.notes
    assert f"In a script:  --hidden {value}" in job.reporter.notes
    assert rows == len(told(first))
    assert value == first.again[first.again.index("--hidden") + 1]
    job.reporter.can_ask = False
    again = job.update(path, hidden=value)
    assert (first.folder, ["updated"] * rows) == (again.folder, [one for one, _ in told(again)])


def test_neither(job: JobFixture) -> None:
    """Who gives no answer has sent nothing; where nobody can be asked, both options are named."""
    path = write(job, 4)
    with pytest.raises(InputError, match="--hidden include reads them too, --hidden skip leaves them out"):
        job.update(path)
    job.reporter.can_ask = True
    with pytest.raises(Declined, match="Nothing was sent"):
        job.update(path)
    assert [] == job.writes()


def test_above_the_header(job: JobFixture) -> None:
    """A hidden title is no row, so nothing is asked."""
    path = write(job, 1)
    job.reporter.can_ask = True
    assert ["updated"] * 3 == [one for one, _ in told(job.update(path))]
    assert [] == job.reporter.questions
