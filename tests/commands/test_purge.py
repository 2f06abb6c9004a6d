"""`purge`: a run is removed, and nothing but a run."""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

import batch
from batch.cli.messages import removal, removals
from batch.commands import purge as commands
from batch.commands.purge import PurgeOlder, PurgePreview
from tests.job_fixture import FakeReporter
from tests.shell import DUALENTRY, Api, Ended, Shell, iter_files


def purge(shell: Shell, folder: Path, *options: str) -> Ended:
    """Purge without a terminal."""
    return shell.here("purge", folder.relative_to(shell.folder), *options)


@pytest.fixture
def run(shell: Shell, api: Api) -> Path:
    """The folder of a finished run."""
    shell.here("update", shell.sheet(api.names(2)), "-e", DUALENTRY, *api.options)
    return shell.only_run()


def test_removes(shell: Shell, run: Path) -> None:
    """All of a run is gone, with the folder around it; the input stays."""
    ended = purge(shell, run, "--yes")
    expected = "Removed sheet.batch/{time} (5 files).\n"
    assert (0, expected) == (ended.code, shell.tell(ended.err))
    assert [shell.folder / "sheet.csv"] == list(iter_files(shell.folder))


def test_is_forgotten(shell: Shell, api: Api, run: Path) -> None:
    """The same command after it is a new run, and finds the records as the first one left them."""
    purge(shell, run, "--yes")
    ended = shell.here("update", "sheet.csv", "-e", DUALENTRY, *api.options, "--json")
    assert 2 == ended.json["outcomes"]["unchanged"]


def test_copy_is_not_believed(shell: Shell, api: Api) -> None:
    """A copy of a purged run, put back, is neither gone on with nor undone without a word."""
    ids = api.ids(2)
    sheet = shell.sheet("id,name\n" + "".join(f"{one},New\n" for one in ids))
    api.sandbox.set_faults(f"503=id:{ids[1]}")
    command = ["update", sheet, "-e", DUALENTRY, *api.options, "--max-attempts", 1]
    assert 3 == shell.here(*command).code
    api.sandbox.set_faults()
    folder = shell.only_run()
    shutil.copytree(folder, shell.folder / "copy")
    assert 0 == purge(shell, folder, "--yes").code
    folder.parent.mkdir()
    (shell.folder / "copy").rename(folder)
    refused = shell.here("undo", folder, "--yes", *api.options)
    assert (2, True) == (refused.code, "this computer does not know this run" in refused.err)
    assert 0 == shell.here(*command).code
    assert 2 == len(shell.runs())


def test_other_runs_stay(shell: Shell, api: Api, run: Path) -> None:
    """Other runs on the same input stay."""
    shell.here("update", "sheet.csv", "-e", DUALENTRY, *api.options, "--new")
    other = shell.runs()[1]
    assert 0 == purge(shell, run, "--yes").code
    assert [other] == shell.runs()


def test_undo_goes_too(shell: Shell, api: Api, run: Path) -> None:
    """A run goes with its undo and the undo of that, wherever they are; undos of other runs stay."""
    shell.here("update", shell.sheet(api.names(2), "other.csv"), "-e", DUALENTRY, *api.options, "--out", "sheet.batch")
    other = shell.runs()[1]
    assert 0 == shell.here("undo", other, *api.options[:2], "--yes").code
    assert 0 == shell.here("undo", run, *api.options[:2], "--yes", "--out", "elsewhere").code
    assert 0 == shell.here("undo", "elsewhere/latest", *api.options[:2], "--yes").code
    ended = purge(shell, run, "--yes")
    assert (0, "Removed sheet.batch/{time} (19 files).\n") == (ended.code, shell.tell(ended.err))
    assert [other, shell.runs()[1]] == shell.runs()
    assert ([], 2) == (shell.runs("elsewhere"), len(shell.runs()))


def test_undo_goes_too_when_moved(shell: Shell, api: Api, run: Path) -> None:
    """A run and its undo belong together, also when the folder around them was moved."""
    assert 0 == shell.here("undo", run, *api.options[:2], "--yes").code
    run.parent.rename(shell.folder / "moved")
    assert 0 == purge(shell, shell.folder / "moved" / run.name, "--yes").code
    assert [] == list((shell.folder / "moved").iterdir())


def test_nested(shell: Shell, run: Path) -> None:
    """What 0.1 put into a run folder, undos and the runs of its failures file, goes with it."""
    for name in ("undo-20260101-000000", "failures.batch/20260101-000000", "failures.batch/20260102-000000"):
        shutil.copytree(run, run / name, ignore=shutil.ignore_patterns("undo-*", "failures.batch"))
    (run / "failures.batch" / "latest").symlink_to("20260102-000000")
    ended = purge(shell, run, "--yes")
    assert (0, "Removed sheet.batch/{time} (20 files).\n") == (ended.code, shell.tell(ended.err))
    assert not run.parent.exists()


def test_others_in_a_nested_folder(shell: Shell, run: Path) -> None:
    """Somebody's folder that is only called like one of ours is not removed."""
    (run / "mine.batch" / "20260101-000000").mkdir(parents=True)
    (run / "mine.batch" / "20260101-000000" / "letter.txt").write_text("mine")
    assert 2 == purge(shell, run, "--yes").code
    assert (run / "journal.sqlite").exists()


def test_undo_alone(shell: Shell, api: Api, run: Path) -> None:
    """An undo is a run, too, and can be removed alone."""
    shell.here("undo", run, *api.options[:2], "--yes")
    (undone,) = run.parent.glob("undo-*")
    assert 0 == purge(shell, undone, "--yes").code
    assert (run / "journal.sqlite").exists()


def test_what_is_about_to_go(shell: Shell, api: Api, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question names the sheet of a run, and the run that an undo took back."""
    shell.here("undo", run, *api.options[:2], "--yes")
    (undone,) = run.parent.glob("undo-*")
    monkeypatch.chdir(shell.folder)
    asked: list[PurgePreview] = []
    for folder in (run, undone):
        assert not commands.purge(folder.relative_to(shell.folder), FakeReporter(), lambda one: bool(asked.append(one)))
    names = [f"sheet.batch/{one.name}" for one in (run, undone)]
    told = [removal(one)[0] for one in asked]
    assert [
        f"{names[0]}: a run of sheet.csv, 2 rows ({asked[0].files} files)",
        f"{names[1]}: an undo of {names[0]}, 2 rows ({asked[1].files} files)",
    ] == told
    older = list(removals(PurgeOlder(run.parent, tuple(asked), ())))
    assert [
        f"  {names[0]} of sheet.csv, 2 rows ({asked[0].files} files)",
        f"  {names[1]}, the undo of {names[0]}, 2 rows ({asked[1].files} files)",
    ] == older[:2]


def test_nobody_to_ask(shell: Shell, run: Path) -> None:
    """Without a terminal it wants to be told --yes."""
    ended = purge(shell, run)
    expected = "There is no terminal to ask on, so nothing was removed. To remove it unasked: --yes\n"
    assert (2, expected) == (ended.code, ended.err)
    assert (run / "results.csv").exists()


def test_check(shell: Shell) -> None:
    """What a check left can be removed, too."""
    shell.here("check", shell.sheet("id,name\nx,y\n"), "-e", DUALENTRY)
    assert 0 == purge(shell, shell.only_run(), "--yes").code


def test_damaged(shell: Shell, run: Path) -> None:
    """A run whose journal is damaged can be removed all the same."""
    (run / "journal.sqlite").write_bytes(b"damaged")
    assert 0 == purge(shell, run, "--yes").code
    assert not run.exists()


def test_interrupted(shell: Shell, run: Path) -> None:
    """A removal that was cut off can be done again, as long as the journal is there."""
    for name in ("input.parquet", "results.csv", "summary.json"):
        (run / name).unlink()
    assert 0 == purge(shell, run, "--yes").code
    assert not run.exists()


# -- what is left alone ---------------------------------------------------------------------------------------------


def test_no_run(shell: Shell) -> None:
    """A folder without a run is left alone."""
    (shell.folder / "mine").mkdir()
    (shell.folder / "mine" / "results.csv").write_text("mine")
    ended = purge(shell, shell.folder / "mine", "--yes")
    expected = "mine: there is no run in this folder (no journal.sqlite), so nothing was removed.\n"
    assert (2, expected) == (ended.code, ended.err)
    assert "mine" == (shell.folder / "mine" / "results.csv").read_text()


@pytest.mark.parametrize("name", ["notes.txt", "~$failures.xlsx", "folder/x", "undo-1/x"])
def test_other_files(shell: Shell, run: Path, name: str) -> None:
    """A folder that holds anything else is left alone, and so is everything in it."""
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("mine")
    before = list(iter_files(run))
    ended = purge(shell, run, "--yes")
    shown = "folder" if name.startswith("folder") else name
    why = "this is not one of batch's own files. Move it away first; nothing was removed.\n"
    assert (2, f"sheet.batch/{{time}}/{shown}: {why}") == (ended.code, shell.tell(ended.err))
    assert before == list(iter_files(run))


def test_link(shell: Shell, run: Path) -> None:
    """A link to a run is not followed, but for those to the latest run, which go with it."""
    (shell.folder / "link").symlink_to(run)
    ended = purge(shell, shell.folder / "link", "--yes")
    assert (2, "link: this is a link. Name the folder itself.\n") == (ended.code, ended.err)
    assert (run / "journal.sqlite").exists()
    (shell.folder / "latest").symlink_to(f"sheet.batch/{run.name}")
    ended = purge(shell, shell.folder / "latest", "--yes")
    said = "latest: this is a link to sheet.batch/{time}. Name the folder itself.\n"
    assert (2, said, True) == (ended.code, shell.tell(ended.err), (run / "journal.sqlite").exists())
    ended = purge(shell, shell.folder / "sheet.batch" / "latest", "--yes")
    assert (0, "Removed sheet.batch/{time} (5 files).\n") == (ended.code, shell.tell(ended.err))
    assert not run.parent.exists()


def test_folder_of_runs(shell: Shell, api: Api, run: Path) -> None:
    """Given the folder around runs, --yes does not say which: the newest is named, and nothing removed."""
    shell.here("update", "sheet.csv", "-e", DUALENTRY, *api.options)
    newest = shell.runs()[1].name
    said = f"sheet.batch: this is a folder of runs, and the newest in it is sheet.batch/{newest}. "
    assert Ended(2, "", said + "Name that one, or another one.\n") == purge(shell, run.parent, "--yes")
    assert 2 == len(shell.runs())


def test_links_inside(shell: Shell, run: Path) -> None:
    """Of links in the folder only the links go."""
    kept = shell.folder / "kept.csv"
    kept.write_text("mine")
    (run / "results.csv").unlink()
    (run / "results.csv").symlink_to(kept)
    (run / "undo-1").symlink_to(shell.folder)
    assert 2 == purge(shell, run, "--yes").code
    (run / "undo-1").unlink()
    assert 0 == purge(shell, run, "--yes").code
    assert "mine" == kept.read_text()


@pytest.mark.parametrize("where", [".", "undo"])
def test_in_use(shell: Shell, api: Api, run: Path, where: str) -> None:
    """A run that goes on, or is being taken back, is left alone."""
    if where == "undo":
        shell.here("undo", run, *api.options[:2], "--yes")
        where = f"../{next(run.parent.glob('undo-*')).name}"
    with FileLock(run / where / ".lock"):
        ended = purge(shell, run, "--yes")
    assert (5, "Another run holds this run folder. Wait for it, or stop it first.\n") == (ended.code, ended.err)
    assert (run / "journal.sqlite").exists()


def test_not_there(shell: Shell) -> None:
    """A folder that is not there is said."""
    ended = purge(shell, shell.folder / "nowhere", "--yes")
    assert (2, "nowhere: there is no such folder.\n") == (ended.code, ended.err)


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may remove everything")
def test_not_permitted(shell: Shell, run: Path) -> None:
    """What cannot be removed is said."""
    run.chmod(0o500)
    assert 2 == purge(shell, run, "--yes").code
    run.chmod(0o700)


# -- old ones -------------------------------------------------------------------------------------------------------

FOREIGN = "this is not one of batch's own files. Move it away first; nothing was removed."


def age(folder: Path, days: float) -> None:
    """Have a run got no further for so many days."""
    then = time.time() - days * 86_400
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db, db:
        db.execute("UPDATE part SET started = ?", (then,))
        db.execute("UPDATE result SET time = ?", (then,))


def old(shell: Shell, *options: str) -> Ended:
    """Purge what is older than 30 days in `runs`."""
    return shell.here("purge", "runs", "--older-than", "30d", *options)


@pytest.fixture
def runs(shell: Shell, api: Api) -> dict[str, Path]:
    """A folder of runs: what became of them, and where they are by now."""
    ids = api.ids(5)
    words: dict[str, tuple[list[object], str]] = {
        "young": (["update"], ids[0]), "old": (["update"], ids[1]), "left": (["update"], ids[2]),
        "held": (["update"], ids[3]), "foreign": (["update"], ids[4]), "check": (["check"], ids[0]),
        "plan": (["plan"], ids[0]),
    }  # fmt: skip
    found = {}
    for days, (name, ((command,), one)) in enumerate(words.items(), 40):
        api.sandbox.set_faults(*([f"503=id:{ids[2]}"] if name == "left" else []))
        sheet = shell.sheet(f"id,name\n{one},New {name}\n", f"{name}.csv")
        more = [] if command == "check" else ["--max-attempts", 1, *api.options]
        before = set(shell.runs("runs"))
        shell.here(command, sheet, "-e", DUALENTRY, "--out", "runs", *more)
        (folder,) = set(shell.runs("runs")) - before
        if name in ("check", "plan"):
            then = datetime.now(UTC) - timedelta(days=days)
            folder.rename(folder.with_name(f"{name}-{then.strftime('%Y%m%d-%H%M%S')}"))
        elif name != "young":
            age(folder, days)
        (moved,) = set(shell.runs("runs")) - before
        found[name] = moved
    api.sandbox.set_faults()
    (found["foreign"] / "letter.txt").write_text("mine")
    return found


def test_old_ones(shell: Shell, runs: dict[str, Path]) -> None:
    """What got no further for so long goes; what is young, held, unfinished or not all ours stays, and is said."""
    refused = old(shell)
    assert (2, True) == (refused.code, "so nothing was removed. To remove it unasked: --yes" in refused.err)
    assert set(shell.runs("runs")) == set(runs.values())
    with FileLock(runs["held"] / ".lock"):
        ended = old(shell, "--yes")
    assert {runs[one] for one in ("young", "left", "held", "foreign")} == set(shell.runs("runs"))
    names = {one: f"runs/{folder.name}" for one, folder in runs.items()}
    expected = [
        "Removed 3 runs of runs (9 files).",
        f"  kept: {names['foreign']}: {names['foreign']}/letter.txt: {FOREIGN}",
        f"  kept: {names['left']}: it is not finished: the same command goes on with it",
        f"  kept: {names['held']}: Another run holds this run folder. Wait for it, or stop it first.",
        "To remove what is not finished or waits for approval, too:  --unfinished",
    ]
    assert (2, expected) == (ended.code, ended.err.splitlines())
    (runs["foreign"] / "letter.txt").unlink()
    assert 0 == old(shell, "--yes", "--unfinished").code
    assert [runs["young"]] == shell.runs("runs")
    assert (0, "Nothing in runs is older than 30d, so nothing was removed.\n") == (
        (again := old(shell, "--yes")).code, again.err,
    )  # fmt: skip


def test_old_one_of_which_rows_wait(shell: Shell, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of which a row waits for approval at the API is kept; the library says the same."""
    with closing(sqlite3.connect(runs["old"] / "journal.sqlite")) as db, db:
        db.execute("UPDATE result SET state = 'pending'")
    monkeypatch.setenv("XDG_STATE_HOME", str(shell.folder.parent / "state"))
    done = batch.purge_older(shell.folder / "runs", older_than=30 * 86_400.0)
    assert (runs["old"], "1 row waits for approval at the API") in done.kept
    assert (True, 3) == (runs["old"].exists(), len(done.removed))
    assert "purged" in {one.state for one in batch.runs() if one.run.folder == runs["held"]}
    again = batch.purge_older(shell.folder / "runs", older_than="30d", unfinished=True)
    assert {runs["old"], runs["left"]} == {one.folder for one in again.removed}
    with pytest.raises(batch.SettingsError, match="older_than 30x: it should be a time such as 90s, 30m, 24h or 7d"):
        batch.purge_older(shell.folder / "runs", older_than="30x")


def test_young_undo(shell: Shell, api: Api, run: Path) -> None:
    """A run stays as long as its undo is young: both go together."""
    assert 0 == shell.here("undo", run, *api.options[:2], "--yes").code
    age(run, 40)
    ended = shell.here("purge", "sheet.batch", "--older-than", "30d", "--yes")
    assert (0, 2) == (ended.code, len(shell.runs()))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "--older-than", "30d"], "nowhere: there is no such folder."),
        (["{run}", "--older-than", "1d"], "{run}: this is a run. --older-than takes the folder around runs."),
        (["sheet.batch", "--older-than", "month"], "--older-than month: it should be a time such as 90s"),
        (["{run}", "--unfinished"], "--unfinished goes with --older-than; a run that is named is removed as it is."),
    ],
)  # fmt: skip
def test_words_that_fit_nothing(shell: Shell, run: Path, words: list[str], said: str) -> None:
    """What makes no sense is refused, and nothing is removed."""
    name = f"sheet.batch/{run.name}"
    ended = shell.here("purge", *(one.format(run=name) for one in words), "--yes")
    assert (2, True, True) == (ended.code, said.format(run=name) in ended.err, run.exists())
