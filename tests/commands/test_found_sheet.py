"""The sheet of a workbook: offered where the first one does not fit and just one other does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from batch.commands.check import check
from batch.commands.plan import plan
from batch.commands.update import update
from batch.errors import Declined, HeaderError, UsageError
from batch.run.match_headers import HOW
from batch.run.target import Environment
from tests.job_fixture import FakeReporter, JobFixture, told

COVER: list[list[Any]] = [["Bericht", "Erstellt von"], ["2026", "Ana"]]
CUSTOMERS: list[list[Any]] = [["Stand 1.3."], ["ID", "Kundenname"], [10001, "Acme"]]
ODD = 'kunden.xlsx: sheet "Deckblatt", the first, does not fit DualEntry customers. Sheet "Kunden A" fits.'
INSTEAD = f"{ODD} Say which one is meant:  --sheet 'Kunden A'    --sheet Deckblatt"


def write(job: JobFixture, **sheets: list[list[Any]]) -> Path:
    """Write a workbook with these sheets, in whose names `_` is a blank."""
    path = job.folder / "kunden.xlsx"
    with xlsxwriter.Workbook(path) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name.replace("_", " "))
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return path


def test_offered(job: JobFixture) -> None:
    """Who says yes has it read; the same command, and the one with --sheet that is shown, go on with the run."""
    path = write(job, Deckblatt=COVER, Kunden_A=CUSTOMERS)
    job.reporter.can_ask = True
    job.reporter.answers = [True, True, True]
    job.sandbox.set_faults("500=id:10001")
    first = job.update(path, max_attempts=1)
    assert (['Read sheet "Kunden A"?'], ["failed"]) == (job.reporter.questions, [one for one, _ in told(first)])
    assert ODD in job.reporter.notes
    assert "Kunden A" == first.again[first.again.index("--sheet") + 1]
    job.sandbox.set_faults()
    again = update(replace(job.settings(path), sheet="Kunden A"), job.reporter, job.environment)
    assert (first.folder, ["updated"]) == (again.folder, [one for one, _ in told(again)])


def test_declined(job: JobFixture) -> None:
    """Who says no leaves nothing behind."""
    path = write(job, Deckblatt=COVER, Kunden_A=CUSTOMERS)
    job.reporter.can_ask = True
    job.reporter.answers = [False]
    with pytest.raises(Declined):
        job.update(path)
    assert [] == list(path.with_suffix(".batch").glob("2*"))


def test_pipeline(job: JobFixture) -> None:
    """Where nobody can be asked, and in `check`, the option is named; either sheet can be."""
    path = write(job, Deckblatt=COVER, Kunden_A=CUSTOMERS)
    for start in (
        lambda: job.update(path),
        lambda: plan(job.settings(path), FakeReporter(), job.environment),
        lambda: check(job.settings(path), FakeReporter(), job.environment),
    ):
        with pytest.raises(UsageError) as caught:
            start()
        assert INSTEAD == str(caught.value)
    assert 1 == check(replace(job.settings(path), sheet="Kunden A"), FakeReporter(), job.environment).summary.rows
    with pytest.raises(HeaderError, match="Bericht"):
        check(replace(job.settings(path), sheet="Deckblatt"), FakeReporter(), job.environment)


def test_offered_by_own_number(job: JobFixture) -> None:
    """A sheet that names a number of the sender's own fits where no sheet names the id."""
    own = [["Kd-Nr", "Kundenname"], ["C-1", "Acme"]]
    with pytest.raises(UsageError) as caught:
        job.update(write(job, Deckblatt=COVER, Kunden_A=own))
    assert INSTEAD == str(caught.value)
    with pytest.raises(UsageError) as caught:
        job.update(write(job, Deckblatt=COVER, Kunden_A=CUSTOMERS, Kunden_B=own))
    assert INSTEAD == str(caught.value)
    with pytest.raises(HeaderError, match="--key unique_id"):
        job.update(write(job, Kunden_B=own, Deckblatt=COVER))


def test_remembered(job: JobFixture) -> None:
    """Next month's file with the same headers in a sheet of that name is read without a question."""
    environment = Environment({**job.sandbox.environment(), "XDG_CONFIG_HOME": str(job.folder)})
    own = [["Kd-Nr", "Kundenname"], ["C-1", "Acme"]]
    reporter = FakeReporter(can_ask=True, answers=[True, True, ""])
    for expected in (3, 3):
        update(job.settings(write(job, Deckblatt=COVER, Kunden_A=own)), reporter, environment)
        assert expected == len(reporter.questions)
    assert 'kunden.xlsx: sheet "Kunden A" is read, as the mapping "kunden" has it.' in reporter.notes
    reporter.answers = [False]
    with pytest.raises(Declined):
        update(job.settings(write(job, Deckblatt=COVER, Kunden_A=CUSTOMERS)), reporter, environment)


@pytest.mark.parametrize("sheets", [{"Kunden_A": CUSTOMERS, "Kunden_B": CUSTOMERS}, {"Kunden_A": CUSTOMERS}])
def test_first_sheet_that_fits_is_read(job: JobFixture, sheets: dict[str, list[list[Any]]]) -> None:
    """Where the first one fits nothing is asked."""
    job.reporter.can_ask = True
    assert (1, []) == (job.update(write(job, **sheets)).summary.rows, job.reporter.questions)


@pytest.mark.parametrize(
    "sheets", [{"Deckblatt": COVER}, {"Deckblatt": COVER, "Mehr": COVER}, {"A": COVER, "B": CUSTOMERS, "C": CUSTOMERS}]
)
def test_nothing_is_offered_where_it_is_not_certain(job: JobFixture, sheets: dict[str, list[list[Any]]]) -> None:
    """Where no other sheet fits, or two of them, the first one's headers are told, or asked about."""
    with pytest.raises(HeaderError, match="Bericht"):
        job.update(write(job, **sheets))
    job.reporter.can_ask = True
    with pytest.raises(Declined):
        job.update(write(job, **sheets))
    assert [HOW] == job.reporter.questions
