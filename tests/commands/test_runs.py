"""`runs`: every run, what became of it by now, and the command for the next step."""

import math
import re
import shlex
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import openpyxl
import pytest

from batch.cli.views import closing_page, rounds_page, runs_page
from batch.commands.results import results
from batch.commands.runs import NewestRuns, newest_runs, rounds
from batch.commands.undo import undo
from batch.errors import Declined, UsageError
from batch.files import shown_path
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from tests.job_fixture import FakeReporter, JobFixture
from tests.shell import DUALENTRY, Api, Shell


@pytest.fixture(autouse=True)
def own_state(shell: Shell) -> None:
    """Let no other test's runs be known."""
    shell.environment["XDG_STATE_HOME"] = str(shell.folder / "state")


def first_round(shell: Shell, api: Api) -> Path:
    """Send three rows, of which one is not valid; return the failures file, corrected."""
    ids = api.ids(3)
    sheet = shell.sheet(f"id,name\n{ids[0]},A\n{ids[1]},B\nx!,C\n")
    assert 1 == shell.here("update", sheet, "-e", DUALENTRY, *api.options).code
    failures = shell.only_run() / "failures.csv"
    failures.write_text(failures.read_text().replace("x!", str(ids[2])))
    return failures


def test_none(offline: Shell) -> None:
    """Where nothing was run it says how to begin."""
    offline.environment["XDG_STATE_HOME"] = str(offline.folder / "state")
    ended = offline.here("runs")
    assert (0, True, "") == (ended.code, "No run is known here yet." in ended.out, ended.err)


def test_next_steps(shell: Shell, api: Api) -> None:
    """The printed commands do what they say, until nothing is left; a later round is counted in the first."""
    failures = first_round(shell, api)
    page = shell.here("runs").out
    assert "  to fix: 2 updated, 1 invalid\n" in page
    again = step(page, "Then")
    assert [str(failures.relative_to(shell.folder))] == [one for one in again if one.endswith("failures.csv")]
    assert 0 == shell.here(*again, *api.options).code
    page = shell.here("runs").out
    assert "Then" not in page
    assert ["finished: 1 updated", "finished: 2 updated, 1 invalid; 1 of them done in later rounds"] == states(page)
    assert 0 == shell.here(*step(page, "Take it back"), "--yes").code  # the newest is the first one that is named
    page = shell.here("runs", "sheet.csv").out
    assert ["to fix", "undone", "finished"] == [one.partition(":")[0] for one in states(page)]
    assert page.endswith("sheet.csv: 2 of 3 rows done, in 2 rounds, 1 taken back\n")


def test_all_rounds_together(job: JobFixture) -> None:
    """What is said at the end of a round, by `results` and in their workbook is about all rounds, and stays true."""
    sheet = job.sheet("id,name\n10001,A\nx!,B\ny!,C\n")
    first = job.update(sheet, results_xlsx=True)
    assert (None, "") == (first.rounds, fact(first))
    second = next_round(job, first, "x!", "10002")
    assert "All rounds of sheet.csv: 2 of 3 rows done, in 2 rounds" in lines_of(second)
    assert "sheet.csv: 2 of 3 rows done, in 2 rounds" == fact(second)
    told = results(first.folder, job.reporter, job.environment)
    assert "  invalid           2   fix and run again, 1 of them done in later rounds" in lines_of(told)
    assert [(1, (4,))] == [(one.count, tuple(one.rows)) for one in told.summary.reasons]
    assert (second.failures, second.next) == (told.failures, told.next)
    assert "sheet.csv: 2 of 3 rows done, in 2 rounds" == fact(told)
    third = next_round(job, second, "y!", "10003")
    assert "All rounds of sheet.csv: 3 of 3 rows done, in 3 rounds" in lines_of(third)
    told = results(first.folder, job.reporter, job.environment)
    assert "  invalid           2   all done in later rounds" in lines_of(told)
    assert (0, None, ()) == (told.summary.exit_code, told.failures, told.summary.reasons)


def test_a_round_taken_back(job: JobFixture) -> None:
    """What was taken back is not done, until its undo is taken back."""
    first = job.update(job.sheet("id,name\n10001,A\nx!,B\n"))
    second = next_round(job, first, "x!", "10002")
    undone = undo(second.folder, job.settings(second.folder), job.reporter, job.environment)
    assert "All rounds of sheet.csv: 1 of 2 rows done, in 2 rounds, 1 taken back" in lines_of(undone)
    told = results(first.folder, job.reporter, job.environment)
    assert (1, {}) == (told.summary.exit_code, dict(told.done_later))
    redone = undo(undone.folder, job.settings(undone.folder), job.reporter, job.environment)
    assert "All rounds of sheet.csv: 2 of 2 rows done, in 2 rounds" in lines_of(redone)
    assert ["finished", "finished", "undone", "finished"] == [one.state for one in rounds(first.folder)[0].rounds]


def test_a_row_kept_by_an_undo(job: JobFixture) -> None:
    """What an undo keeps, since somebody changed it, was not taken back: of a first round and of a later one."""
    first = job.update(job.sheet("id,name\n10001,A\n10002,B\n10003,C\nx!,D\ny!,E\n"))
    text = Path(str(first.failures)).read_text().replace("x!", "10004").replace("y!", "10005")
    second = job.update(job.sheet(text, "second.csv"))
    for number in (10_002, 10_005):
        job.sandbox.edit("dualentry", number, {"name": "By another hand"})
    undone = undo(second.folder, job.settings(second.folder), job.reporter, job.environment)
    assert "All rounds of sheet.csv: 4 of 5 rows done, in 2 rounds, 1 taken back" in lines_of(undone)
    undone = undo(first.folder, job.settings(first.folder), job.reporter, job.environment)
    assert "All rounds of sheet.csv: 2 of 5 rows done, in 2 rounds, 3 taken back" in lines_of(undone)
    assert "2 of 5 rows done, in 2 rounds, 3 taken back" == rounds(first.folder)[0].together.text


def test_an_undo_that_is_not_finished(job: JobFixture) -> None:
    """What an undo did not come to was not taken back; the file offers its run again, and the command is whole."""
    before = job.record(10_002)["name"]
    sheet = job.sheet("id,name\n10001,A\n10002,B\n")
    first = job.update(sheet)
    job.sandbox.set_faults("503=id:10002")
    begun = undo(first.folder, job.settings(first.folder, max_attempts=1), job.reporter, job.environment)
    job.sandbox.set_faults()
    (sheet_rounds,) = rounds(sheet)
    assert "1 of 2 rows done, in 1 round, 1 taken back" == sheet_rounds.together.text
    (again,) = (line for line in lines_of(begun) if line.startswith("Go on with the same command:"))
    assert f"undo {shown_path(str(first.folder))} --base-url {job.sandbox.url}" in again
    assert any(again.partition(":  ")[2] in line for line, _ in rounds_page([sheet_rounds]))
    job.reporter.can_ask, job.reporter.answers = True, [0, True]
    ended = undo(sheet, job.settings(sheet), job.reporter, job.environment)
    assert (begun.folder, 0) == (ended.folder, ended.summary.exit_code)
    assert "(its undo is not finished)" in job.reporter.questions[-1]
    assert before == job.record(10_002)["name"]
    assert not any(one.is_to_undo for one in rounds(sheet)[0].rounds)


def next_round(job: JobFixture, before: FinishedRun, wrong: str, right: str) -> FinishedRun:
    """Correct an id in the failures file of a round, and send that."""
    text = Path(str(before.failures)).read_text()
    return job.update(job.sheet(text.replace(wrong, right), f"{right}.csv"), results_xlsx=True)


def lines_of(ended: FinishedRun) -> list[str]:
    return [line for line, _ in closing_page(ended)]


def fact(ended: FinishedRun) -> str:
    """What the workbook of the results says of all rounds."""
    rows = openpyxl.load_workbook(ended.folder / "results.xlsx")["Summary"].iter_rows(values_only=True)
    return str(next((row[1] for row in rows if row[0] == "All rounds"), ""))


def states(page: str) -> list[str]:
    return [line.strip() for line in page.splitlines() if line.startswith("  ") and line.strip()[:4] in WORDS]


WORDS = {"fini", "to f", "undo", "unfi", "supe", "runn"}


def step(page: str, name: str) -> list[str]:
    """The words of the first printed command of this name, without the program."""
    (command, *_) = (line.partition(":  ")[2] for line in page.splitlines() if line.strip().startswith(name + ":"))
    return shlex.split(command)[1:]


def test_superseded(shell: Shell, api: Api) -> None:
    """What a later round took over is to be fixed there."""
    failures = first_round(shell, api)
    failures.write_text(re.sub(r"(?m)^\d+,", "999999999,", failures.read_text()))
    assert 1 == shell.here("update", failures.relative_to(shell.folder), "-e", DUALENTRY, *api.options).code
    page = shell.here("runs").out
    assert ["to fix", "superseded"] == [one.partition(":")[0] for one in states(page)]
    assert 1 == page.count("Then:")


def test_sent_again(shell: Shell, api: Api) -> None:
    """A sheet that is sent anew, as it was or corrected in its place, is to be fixed by its newest run alone."""
    first_round(shell, api)
    again = ["update", "sheet.csv", "-e", DUALENTRY, *api.options]
    assert 1 == shell.here(*again).code
    page = shell.here("runs").out
    assert ["to fix", "superseded"] == [one.partition(":")[0] for one in states(page)]
    few = shell.here(*again, "--limit", "1")
    assert (0, ["finished", "to fix", "superseded"]) == (
        few.code, [one.partition(":")[0] for one in states(shell.here("runs").out)],
    )  # fmt: skip
    shell.sheet((shell.folder / "sheet.csv").read_text().replace("x!", str(*api.ids(1))))
    assert 0 == shell.here(*again).code
    page = shell.here("runs").out
    assert ["finished", "finished", "superseded", "superseded"] == [one.partition(":")[0] for one in states(page)]
    assert 0 == page.count("To fix:")
    assert 0 == shell.here("undo", shell.runs()[-1], *api.options[:2], "--yes").code
    page = shell.here("runs").out
    assert ["finished", "undone", "finished", "to fix", "superseded"] == [one.partition(":")[0] for one in states(page)]


def test_other_records_at_the_same_place(shell: Shell, api: Api) -> None:
    """What is to be fixed of one sheet stays so when another one with other records takes its place, or its pipe."""
    ids = api.ids(6)
    for some in (ids[:3], ids[3:]):
        shell.sheet(f"id,name\n{some[0]},A\n{some[1]},B\nx!,C\n")
        assert 1 == shell.here("update", "sheet.csv", "-e", DUALENTRY, *api.options).code
    assert ["to fix", "to fix"] == [one.partition(":")[0] for one in states(shell.here("runs").out)]


def test_undo_of_itself(shell: Shell, api: Api) -> None:
    """A run that says of itself that it takes itself back, as another's folder may, is shown all the same."""
    first_round(shell, api)
    with closing(sqlite3.connect(Path(shell.environment["XDG_STATE_HOME"], "batch", "runs.sqlite"))) as db, db:
        db.execute("UPDATE run SET undoes = run_id")
    assert 0 == shell.here("runs").code


def test_cut_off(shell: Shell, api: Api) -> None:
    """A run that was killed is unfinished; its command goes on with it."""
    sheet = shell.sheet(api.names(3))
    api.sandbox.set_faults("hang-before=1")
    process = shell.start("update", sheet, "-e", DUALENTRY, *api.options)
    while not api.lines():
        time.sleep(0.05)
    assert ["running"] == [one.partition(":")[0] for one in states(shell.here("runs").out)]
    process.kill()
    process.wait()
    api.sandbox.set_faults()
    page = shell.here("runs").out
    assert ["unfinished"] == [one.partition(":")[0] for one in states(page)]
    assert 0 == shell.here(*step(page, "Go on"), "--yes").code
    assert ["finished"] == [one.partition(":")[0] for one in states(shell.here("runs").out)]


def test_from_elsewhere(shell: Shell, api: Api) -> None:
    """A file is the same one from whatever folder it is named, and by its failures file and run folder."""
    failures = first_round(shell, api)
    by_name = shell.here("runs", "sheet.csv", "--json").json
    elsewhere = shell.folder / "elsewhere"
    elsewhere.mkdir()
    for path in (shell.folder / "sheet.csv", failures, failures.parent, failures.parent.parent / "latest"):
        assert by_name == shell.here("runs", path, "--json").json
    ended = shell.here("runs", "other.csv")
    assert (2, True) == (ended.code, ended.err.startswith("other.csv: no run of this file is known here."))


def test_lost_folder(shell: Shell, api: Api) -> None:
    """A run whose folder was deleted stays in the list, without a command that could not work."""
    folder = first_round(shell, api).parent
    shutil.rmtree(folder)
    page = shell.here("runs").out
    assert (True, False) == ("its folder is not there any more" in page, "Then:" in page)
    listed = shell.here("runs", "--json").json["runs"]
    assert [(3, 2, None)] == [(one["rows"], one["outcomes"]["updated"], one["failures"]) for one in listed]


def test_newest_twenty(shell: Shell, api: Api) -> None:
    """Only the newest are shown, unless all are asked for."""
    for number in range(21):
        shell.here("update", shell.sheet("id,name\nx!,A\n", f"{number}.csv"), "-e", DUALENTRY, *api.options)
    shown = shell.here("runs").out
    assert (True, True, False) == ("20.csv" in shown, "1 older:" in shown, "\n0.csv" in shown or " 0.csv" in shown)
    assert " 0.csv" in shell.here("runs", "--all").out


def test_fits_a_screen(job: JobFixture) -> None:
    """On a terminal the newest are shown as far as there is room, at least one; the others are counted."""
    for name in ("a.csv", "b.csv", "c.csv"):
        job.update(job.sheet(f"id,name\n10001,New {name}\n", name))
    undo(job.folder / "c.csv", replace(job.settings(job.folder / "c.csv"), yes=True), *_asking(job))
    found = NewestRuns(newest_runs(4).runs, 7)

    def names(room: float) -> list[str]:
        lines = [text for text, _ in runs_page(found, room, lambda text: 2)]
        return [one.split("  ")[1] for one in lines if not one.startswith(" ")]

    assert ["undo of c.csv", "batch runs --all"] == names(0)
    assert ["undo of c.csv", "c.csv", "batch runs --all"] == names(10)
    assert ["undo of c.csv", "c.csv", "b.csv", "a.csv", "batch runs --all"] == names(math.inf)
    assert "8 older:  batch runs --all" == list(runs_page(found, 16, lambda text: 2))[-1][0]


def _asking(job: JobFixture) -> tuple[FakeReporter, Environment]:
    return FakeReporter(can_ask=True, answers=[0]), job.environment


def test_undo_of_a_file(job: JobFixture) -> None:
    """A person says which run of a file is taken back; a pipeline names it."""
    ids = [10_001, 10_002]
    before = [job.record(one)["name"] for one in ids]
    for one in ids:
        assert 0 == job.update(job.sheet(f"id,name\n{one},New {one}\n")).summary.exit_code
    sheet = job.folder / "sheet.csv"
    given = job.settings(sheet)
    with pytest.raises(UsageError, match="name the run to take back"):
        undo(sheet, given, job.reporter, job.environment)
    job.reporter.can_ask, job.reporter.answers = True, [None]
    with pytest.raises(Declined):
        undo(sheet, given, job.reporter, job.environment)
    job.reporter.answers = [1]  # the older one
    assert 0 == undo(sheet, given, job.reporter, job.environment).summary.exit_code
    assert [before[0], f"New {ids[1]}"] == [job.record(one)["name"] for one in ids]
    listed = job.reporter.questions[-1].splitlines()
    assert (2, True) == (len(listed) - 1, "1 updated" in listed[1])
    job.reporter.answers = [0]
    undone = undo(sheet, given, job.reporter, job.environment)
    assert 0 == undone.summary.exit_code
    with pytest.raises(UsageError, match="not taken back yet"):
        undo(sheet, given, job.reporter, job.environment)
    assert 0 == undo(undone.folder, given, job.reporter, job.environment).summary.exit_code
    assert [before[0], f"New {ids[1]}"] == [job.record(one)["name"] for one in ids]
    job.reporter.answers = [0]  # it stands again, and is offered again
    assert 0 == undo(sheet, given, job.reporter, job.environment).summary.exit_code
    assert before == [job.record(one)["name"] for one in ids]
