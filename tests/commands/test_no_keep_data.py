"""`--no-keep-data`: a run that is over keeps no values but those of its failures file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import openpyxl
import polars as pl
import pytest

import batch
from batch.cli import messages
from batch.cli.views import closing_page
from batch.commands.plan import plan as run_plan
from batch.commands.results import results as run_results
from batch.commands.runs import newest_runs
from batch.commands.undo import undo as run_undo
from batch.errors import SettingsError, UsageError
from batch.run import finish
from batch.run.finish import FinishedRun
from tests.job_fixture import FakeReporter, JobFixture, summary, told

VALUES = ("Zebulon", "Quixote", "+31 20 7770001", "no phone at all", "Wanted")


def sheet(job: JobFixture, *, with_bad: bool = True) -> Path:
    """One row of each kind: updated, unchanged, invalid, refused by the API, and held to what it shows."""
    job.sandbox.edit("dualentry", 10001, {"name": "Zebulon", "phone": "+31 20 7770001"})
    job.sandbox.edit("dualentry", 10002, {"name": "Quixote"})
    bad = "10003,,no phone at all,\n10004,Wanted,,Else\n" if with_bad else ""
    return job.sheet(f"id,name,phone,name (now)\n10001,Wanted,,\n10002,Quixote,,\n{bad}")


def holding(folder: Path, values: tuple[str, ...] = VALUES) -> Iterator[tuple[str, str]]:
    """The files below a folder that hold a value, in whatever form: names and values."""
    for path in sorted(one for one in folder.rglob("*") if one.is_file() and not one.is_symlink()):
        texts = [path.read_bytes()]
        if path.suffix == ".parquet":
            texts.append(repr(pl.read_parquet(path).to_dicts()).encode())
        if path.suffix == ".xlsx":
            with ZipFile(path) as book:
                texts += [book.read(name) for name in book.namelist()]
        yield from ((path.name, one) for one in values if any(one.encode() in text for text in texts))


def test_nothing_is_kept(job: JobFixture) -> None:
    """No value is in the run folder but in the failures file, none in the state folder, and the counts are right."""
    closing = job.update(sheet(job), keep_data=False, results_xlsx=True)
    assert {"failures.csv"} == {name for name, _ in holding(closing.folder)}
    assert [] == list(holding(job.folder / "state"))
    assert ["updated", "unchanged", "invalid", "rejected"] == [one for one, _ in told(closing)]
    assert not {"results.xlsx", "undo.json"} & {one.name for one in closing.folder.iterdir()}
    messages_of = [message for _, message in told(closing)]
    assert messages_of[2:] == [
        'column "phone": has letters in it (use digits, spaces and + - . ( ) only)',
        'column "name (now)": it is … now, where this row expects …',
    ]
    known = summary(closing.folder)
    assert (1, "to fix", 4) == (known["exit_code"], known["state"], known["rows"])
    assert ["failures", "journal", "results"] == sorted(known["files"])
    assert "no phone at all" in (closing.folder / "failures.csv").read_text()
    assert finish.NO_DATA in [text for text, _ in closing_page(closing)]


def test_without_the_option(job: JobFixture) -> None:
    """What the other test looks for is there without the option: it can fail."""
    closing = job.update(sheet(job), results_xlsx=True)
    found = {name for name, _ in holding(closing.folder)}
    assert {"failures.csv", "input.parquet", "journal.sqlite", "results.csv", "results.xlsx"} <= found


def test_is_said_before_and_when_it_is_tried(job: JobFixture) -> None:
    """That it cannot be undone is said before anything is sent, and when somebody tries."""
    closing = job.update(sheet(job, with_bad=False), keep_data=False)
    (asked,) = job.reporter.asked
    said = "  keeps no values when nothing is left to retry (--no-keep-data): it cannot be undone then"
    assert said in list(messages.preflight(asked, compare=True))
    with pytest.raises(UsageError, match="this run kept no values"):
        run_undo(closing.folder, job.settings(job.folder / "sheet.csv"), job.reporter, job.environment)
    assert (False, [False]) == (closing.can_undo, [one.is_to_undo for one in newest_runs(None).runs])


def test_results_again(job: JobFixture) -> None:
    """Results can be made and read again, and the failures file stays as it is."""
    closing = job.update(sheet(job), keep_data=False)
    failures = (closing.folder / "failures.csv").read_bytes()
    before = told(closing)
    again = run_results(closing.folder, job.reporter, job.environment)
    assert (before, failures) == (told(again), (closing.folder / "failures.csv").read_bytes())
    assert ["10001", "10002", "10003", "10004"] == [one.id for one in batch.results(closing.folder)]


def test_no_columns_are_carried_along_again(job: JobFixture) -> None:
    """Results that are made again cannot have columns of the input, which are gone: they would all look blank."""
    closing = job.update(sheet(job), keep_data=False)
    with pytest.raises(UsageError) as caught:
        run_results(closing.folder, job.reporter, job.environment, keep=["name"])
    assert str(caught.value).endswith("cannot carry columns of the input along. Leave --keep out.")


def test_failures_file_is_an_input(job: JobFixture) -> None:
    """The failures file is the next input; its run is a later round of the first."""
    closing = job.update(sheet(job), keep_data=False)
    path = Path(closing.summary.files["failures"])
    path.write_text(path.read_text().replace("no phone at all", "+31 20 7770009"))
    job.update(path, keep_data=False)
    (first,) = (one for one in newest_runs(None).runs if one.run.folder == closing.folder.resolve())
    assert 1 == len(first.later.done)


def test_rows_to_retry(job: JobFixture) -> None:
    """While something is left to retry all is kept; the same command goes on, and removes it then."""
    job.sandbox.set_faults("503=id:10001")
    first = job.update(sheet(job, with_bad=False), keep_data=False, max_attempts=1)
    job.sandbox.set_faults()
    assert (3, True) == (first.summary.exit_code, bool(list(holding(first.folder))))
    again = job.update(job.folder / "sheet.csv", keep_data=False)
    assert (first.folder, []) == (again.folder, list(holding(again.folder)))
    assert 0 == again.summary.exit_code


def test_cut_off(job: JobFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the removal was cut off, `results` goes on with it, and no failures file is made of what is left."""

    def cut(metadata: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("batch.run.erase._erase_rows", cut)
        with pytest.raises(KeyboardInterrupt):
            job.update(sheet(job), keep_data=False)
    (folder,) = (one for one in (job.folder / "sheet.batch").iterdir() if one.is_dir() and not one.is_symlink())
    failures = (folder / "failures.csv").read_bytes()
    run_results(folder, job.reporter, job.environment)
    assert {"failures.csv"} == {name for name, _ in holding(folder)}
    assert failures == (folder / "failures.csv").read_bytes()


def test_workbook(job: JobFixture) -> None:
    """Of a workbook no results.xlsx stays, and the failures workbook does."""
    book = openpyxl.Workbook()
    for row in (["id", "name", "phone"], ["10001", "Wanted", None], ["10003", None, "no phone at all"]):
        book.active.append(row)  # type: ignore[union-attr]  # there is a sheet
    book.save(job.folder / "sheet.xlsx")
    closing = job.update(job.folder / "sheet.xlsx", keep_data=False)
    assert {"failures.xlsx"} == {name for name, _ in holding(closing.folder)}


def finished(closing: FinishedRun) -> str:
    return closing.state


def test_plan_that_was_carried_out(job: JobFixture) -> None:
    """A run by a plan keeps nothing; the plan's own folder stays, and is named."""
    path = sheet(job, with_bad=False)
    made = run_plan(job.settings(path), FakeReporter(), job.environment)
    closing = job.update(path, plan=made.folder, keep_data=False)
    assert ([], "finished") == (list(holding(closing.folder)), finished(closing))
    assert any(f"{made.folder.name}: this plan has values, and stays" in text for text in job.reporter.notes)


def test_what_would_keep_values_is_refused(job: JobFixture) -> None:
    """Columns that are carried along, and files elsewhere, are values that stay."""
    sheet = job.sheet("id,name\n10001,New\n")
    for given in ({"keep": ("name",)}, {"out": "s3://bucket/runs"}):
        with pytest.raises(SettingsError, match="leave one of them out"):
            job.update(sheet, keep_data=False, **given)
