"""What an earlier part of a run left in its folder: never taken for current, and never written over once edited."""

from pathlib import Path

import openpyxl
import polars as pl
import pytest

from tests.job_fixture import job, shared_sandbox
from tests.shell import DUALENTRY, Api, Shell, summary

__all__ = ["job", "shared_sandbox"]


def update(api: Api, sheet: object, *options: object) -> list[object]:
    return ["update", sheet, "-e", DUALENTRY, *api.options, *options]


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
