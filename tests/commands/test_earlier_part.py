"""What an earlier part of a run left in its folder: never taken for current, and never written over once edited."""

import json
import signal
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import openpyxl
import polars as pl
import pytest
from filelock import FileLock

from batch.errors import Declined
from batch.run.finish import INTERRUPTED
from tests.job_fixture import FakeReporter, JobFixture
from tests.shell import Api, Shell, assert_balanced, outcomes, summary, until, update


def broken_off(shell: Shell, api: Api, rows: int = 3) -> tuple[Path, Path]:
    """A run that refused one row and left the last one; gives its sheet and its folder."""
    ids = api.ids(rows)
    sheet = shell.sheet("id,name\n" + "".join(f"{one},New {one}\n" for one in ids))
    api.sandbox.set_faults(f"422=id:{ids[0]}", f"503=id:{ids[-1]}")
    assert 3 == shell.here(*update(api, sheet, "--max-attempts", 1)).code
    api.sandbox.set_faults()
    return sheet, shell.only_run()


# -- failures files that somebody edited ----------------------------------------------------------------------------


def test_edited_failures_file_is_kept(shell: Shell, api: Api) -> None:
    """Corrections saved in the failures file stay when cron resumes; what is new is beside it, and both are named."""
    sheet, run = broken_off(shell, api)
    failures = run / "failures.csv"
    failures.write_text(edited := failures.read_text().replace("New", "Corrected"))
    ended = shell.here(*update(api, sheet))
    assert (1, edited) == (ended.code, failures.read_text())
    assert {"failures": f"{run}/failures-2.csv", "failures_edited": f"{run}/failures.csv"} == {
        name: path for name, path in summary(run)["files"].items() if "failures" in name
    }
    note = (
        "failures.csv was changed since it was written, so it stays as it is. "
        "The rows that still need something are in failures-2.csv, too."
    )
    assert note in ended.err.splitlines()
    assert ["rejected"] == pl.read_csv(run / "failures-2.csv")["batch_outcome"].to_list()


def test_each_edited_file_is_kept(shell: Shell, api: Api) -> None:
    """So is the second one once it was edited, and a copy under a name of ours; what nobody touched is replaced."""
    _, run = broken_off(shell, api)
    shell.here("results", run)
    assert ["failures.csv"] == sorted(path.name for path in run.glob("failures*"))
    (run / "failures.csv").write_text("one")
    shell.here("results", run)
    shell.here("results", run)
    assert ["failures-2.csv", "failures.csv"] == sorted(path.name for path in run.glob("failures*"))
    (run / "failures-2.csv").write_text("two")
    (run / "failures-3.csv").write_text("three")
    ended = shell.here("results", run, "--json")
    assert ["one", "two", "three"] == [(run / f"failures{n}.csv").read_text() for n in ("", "-2", "-3")]
    assert f"{run}/failures-4.csv" == ended.json["files"]["failures"]
    assert ["failures_edited", "failures_edited_2", "failures_edited_3"] == [
        name for name in ended.json["files"] if "edited" in name
    ]
    assert "failures-2.csv and failures-3.csv and failures.csv were changed" in ended.err


def test_edited_file_when_nothing_is_left(shell: Shell, api: Api) -> None:
    """It stays when every row is through, too; one that nobody touched is removed."""
    sheet = shell.sheet(api.names(2))
    api.sandbox.set_faults("503=1")
    shell.here(*update(api, sheet, "--max-attempts", 1))
    run = shell.only_run()
    (run / "failures.csv").write_text("mine")
    api.sandbox.set_faults()
    ended = shell.here(*update(api, sheet))
    assert (0, "mine") == (ended.code, (run / "failures.csv").read_text())
    assert "failures.csv was changed since it was written, so it stays as it is." in ended.err.splitlines()
    assert ["failures.csv"] == [path.name for path in run.glob("failures*")]


def test_workbook(shell: Shell, api: Api) -> None:
    """A workbook that was only opened and closed is ours; one that was saved is not."""
    pl.DataFrame({"id": api.ids(1), "phone": ["ext. 5"]}).write_excel(shell.folder / "sheet.xlsx")
    assert 1 == shell.here(*update(api, "sheet.xlsx")).code
    failures = shell.only_run() / "failures.xlsx"
    openpyxl.load_workbook(failures)
    shell.here("results", failures.parent)
    assert ["failures.xlsx"] == [path.name for path in failures.parent.glob("failures*")]
    openpyxl.load_workbook(failures).save(failures)
    shell.here("results", failures.parent)
    assert 2 == len(list(failures.parent.glob("failures*")))


def test_killed_while_files_are_written(shell: Shell, api: Api) -> None:
    """A file as it was before, or as it was about to be: neither counts as edited after a crash between the two."""
    _, run = broken_off(shell, api)
    before = (run / "failures.csv").read_bytes()
    ids = [line.split(",")[0] for line in before.decode().splitlines()[1:]]
    api.sandbox.edit("dualentry", ids[-1], {"name": f"New {ids[-1]}"})
    shell.here(*update(api, "sheet.csv"))
    assert before != (run / "failures.csv").read_bytes()
    (run / "failures.csv").write_bytes(before)
    shell.here("results", run)
    assert ["failures.csv"] == [path.name for path in run.glob("failures*")]


@pytest.mark.parametrize("what", ["link", "dangling", "folder"])
def test_other_things_of_that_name(shell: Shell, api: Api, what: str) -> None:
    """A link or a folder of that name is not ours, and nothing is written through it."""
    sheet, run = broken_off(shell, api)
    (run / "failures.csv").unlink()
    other = shell.folder / "precious.txt"
    if what == "folder":
        (run / "failures.csv").mkdir()
    else:
        (run / "failures.csv").symlink_to(other)
    if what == "link":
        other.write_text("mine")
    assert 1 == shell.here(*update(api, sheet)).code
    assert {"failures.csv", "failures-2.csv"} == {path.name for path in run.glob("failures*")}
    assert what != "link" or "mine" == other.read_text()


# -- results and summary --------------------------------------------------------------------------------------------


def test_running(shell: Shell, api: Api) -> None:
    """While a run goes on its summary says so, with process, host and time; results of before are gone; after a kill
    both stay as they are until the next start."""
    sheet, run = broken_off(shell, api)
    assert ("unfinished", 3) == (summary(run)["state"], summary(run)["exit_code"])
    began = len(api.writes())
    api.sandbox.set_faults("hang-before=nth:1")
    process = shell.start(*update(api, sheet))
    until(lambda: len(api.writes()) > began, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    told = summary(run)
    assert ("running", process.pid, None, 3) == (told["state"], told["process"], told["exit_code"], told["rows"])
    assert {"host", "since", "run_id", "input", "input_sha256"} <= told.keys()
    assert not (run / "results.csv").exists()
    api.sandbox.set_faults()
    for _ in range(2):  # however often they are made
        ended = shell.here("results", run, "--json")
        assert ("unfinished", "killed", said := INTERRUPTED) == (
            ended.json["state"], ended.json["stopped"]["reason"], ended.json["stopped"]["message"]
        )  # fmt: skip
        assert f"Stopped: {said}" in ended.err
    assert 1 == shell.here(*update(api, sheet)).code
    assert ("to fix", None) == (summary(run)["state"], summary(run)["stopped"])
    assert_balanced(run)
    assert ["rejected", "updated", "updated"] == outcomes(run)


def test_figures_of_both_parts(shell: Shell, api: Api) -> None:
    """The figures of a resumed run say which rows were done before, on screen and in the summary, and later as well."""
    sheet, run = broken_off(shell, api, rows=5)
    assert {} == summary(run)["earlier"]
    ended = shell.here(*update(api, sheet))
    assert {"updated": 3, "rejected": 1} == summary(run)["earlier"]
    for said in (ended.err, shell.here("results", run).err):
        assert "  updated           4   3 of them before this start" in said.splitlines()
        assert "  rejected          1   fix and run again, before this start" in said.splitlines()
    assert {"updated": 3, "rejected": 1} == summary(run)["earlier"]


def test_declined(job: JobFixture) -> None:
    """A resumed start that ends with exit code 2 leaves the files of the run as it is by then."""
    sheet = job.sheet("id,name\n10001,New 1\n10002,New 2\n")
    job.sandbox.set_faults("503=id:10002")
    folder = job.update(sheet, max_attempts=1).folder
    job.sandbox.set_faults()
    job.reporter = FakeReporter(answers=[False])
    with pytest.raises(Declined):
        job.update(sheet)
    told = json.loads((folder / "summary.json").read_text())
    assert ("unfinished", 2, {"updated": 1, "failed": 1}) == (
        told["state"], told["exit_code"], {name: n for name, n in told["outcomes"].items() if n}
    )  # fmt: skip
    assert_balanced(folder)
    job.reporter = FakeReporter()
    assert (folder, 0) == ((ended := job.update(sheet)).folder, ended.summary.exit_code)


def test_refused(shell: Shell, api: Api) -> None:
    """So does one that is refused before it asks anything of the API, and the summary says why."""
    ids = api.ids(12)
    sheet = shell.sheet("id,name,phone\n" + "".join(f"{one},New {one},<clear>\n" for one in ids))
    api.sandbox.set_faults(f"503=id:{ids[-1]}")
    assert 3 == shell.here(*update(api, sheet, "--max-attempts", 1, "--max-clears", "100%")).code
    api.sandbox.set_faults()
    run = shell.only_run()
    assert 11 == outcomes(run).count("updated")
    ended = shell.here(*update(api, sheet))
    assert (2, 2) == (ended.code, summary(run)["exit_code"])
    assert summary(run)["stopped"]["message"] in ended.err
    assert 11 == summary(run)["outcomes"]["updated"] == outcomes(run).count("updated")


@pytest.mark.parametrize("why", ["key", "room", "held", "address"])
def test_untouched(shell: Shell, api: Api, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Settings, credentials, room and locks are looked at before a run folder: its files stay as they were."""
    sheet, run = broken_off(shell, api)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.suffix not in (".lock", "")}
    with monkeypatch.context() as patch, ExitStack() as stack:
        if why == "room":
            patch.setattr("batch.machine.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
        if why == "held":
            stack.enter_context(FileLock(run / ".lock"))
        env = {"DUALENTRY_API_KEY": ""} if why == "key" else {}
        address = ["--base-url", "http://api.example.com"] if why == "address" else []
        ended = shell.here(*update(api, sheet, *address), env=env)
    assert ended.code == (0 if why == "held" else 2)  # then a new run does what is left
    assert before == {path.name: path.read_bytes() for path in run.iterdir() if path.suffix not in (".lock", "")}


def test_disk_of_the_summary(shell: Shell, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even that can be written, nothing is sent, and the same command goes on later."""
    sheet, _ = broken_off(shell, api)
    sent = len(api.writes())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("batch.run.summary_file.write_private", full)
        ended = shell.here(*update(api, sheet))
    assert (3, sent) == (ended.code, len(api.writes()))
    assert "the results files cannot be written (No space left on device)" in ended.err
    assert 1 == shell.here(*update(api, sheet)).code
