"""A run folder is a record, not an authority: what it says is looked at again unless this computer knows it."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import polars as pl
import pytest

from tests.shell import DUALENTRY, VAYU, Api, Shell, assert_balanced, outcomes, results, summary, update

BOTH = pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])


def sheet(shell: Shell, ids: list[str], value: str = "New", name: str = "sheet.csv") -> Path:
    return shell.sheet("id,name\n" + "".join(f"{one},{value}\n" for one in ids), name)


def break_last(api: Api, ids: list[str]) -> None:
    """Let the API fail for all but the first two."""
    api.sandbox.set_faults(f"500=id:{','.join(ids[2:])}")


def unfinished(shell: Shell, api: Api, path: Path, *options: object) -> Path:
    """A run of six rows whose last four failed."""
    lines = (shell.folder / path).read_text().splitlines()[1:]
    break_last(api, [line.partition(",")[0] for line in lines])
    command = update(api, path, "--max-attempts", 1, "--max-at-once", 1, *options)
    assert 3 == shell.here(*command).code
    api.sandbox.set_faults()
    return shell.runs()[-1]


def state(shell: Shell) -> Path:
    return Path(shell.environment["XDG_STATE_HOME"]) / "batch"


def forget(shell: Shell) -> None:
    """As if the folder came from another computer."""
    (state(shell) / "runs.sqlite").unlink()


def age(shell: Shell, folder: Path, seconds: float) -> None:
    """As if the run had got so far long ago."""
    with closing(sqlite3.connect(folder / "journal.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE result SET time = time - ?", [seconds])
        db.execute("UPDATE part SET started = started - ?, ended = ended - ?", [seconds, seconds])


def change_journal(folder: Path, statement: str) -> None:
    """As if somebody had written something else into the record of the run."""
    with closing(sqlite3.connect(folder / "journal.sqlite", isolation_level=None)) as db:
        db.execute(statement)


def change_rows(folder: Path, **cells: str) -> None:
    """As if somebody had put other rows into the run folder."""
    path = folder / "input.parquet"
    frame = pl.read_parquet(path)
    frame.with_columns(pl.lit(value).alias(name) for name, value in cells.items()).write_parquet(path)


# -- resuming -------------------------------------------------------------------------------------------------------


def test_rows_of_a_folder_are_not_believed(shell: Shell, api: Api) -> None:
    """Rows that somebody put into the folder are not sent: the run is passed over, and a new one begins."""
    ids = api.ids(6)
    path = sheet(shell, ids)
    folder = unfinished(shell, api, path)
    change_rows(folder, c1="Forged")
    ended = shell.here(*update(api, path))
    assert 0 == ended.code
    assert f"sheet.batch/{folder.name}: this run is passed over: the rows in it are not those of the input" in ended.err
    assert {"New"} == {api.sandbox.record("dualentry", one)["name"] for one in ids}
    assert 2 == len(shell.runs())


@BOTH
def test_what_changed_since_is_sent_again(shell: Shell, api: Api, endpoint: str) -> None:
    """Day 1 file A stopped, day 2 file B ran, day 3 file A again: B's values are not called A's."""
    kind = endpoint.partition(".")[0]
    ids = api.ids(6, endpoint)
    a = sheet(shell, ids, "A", "a.csv")
    break_last(api, ids)
    assert 3 == shell.here(*update(api, a, "--max-attempts", 1, "--max-at-once", 1, endpoint=endpoint)).code
    api.sandbox.set_faults()
    assert 0 == shell.here(*update(api, sheet(shell, ids, "B", "b.csv"), endpoint=endpoint)).code
    assert 0 == shell.here(*update(api, a, endpoint=endpoint)).code
    folder = shell.only_run("a.batch")
    assert {"A"} == {api.sandbox.record(kind, one)["name"] for one in ids}
    assert ["updated"] * 6 == outcomes(folder)
    assert_balanced(folder)


def test_nothing_is_looked_at_when_nothing_can_have_changed(shell: Shell, api: Api) -> None:
    """A run that stopped a moment ago, which this computer knows, and after which nothing of ours wrote, goes on."""
    ids = api.ids(6)
    path = sheet(shell, ids)
    unfinished(shell, api, path)
    before = len(api.lines())
    assert 0 == shell.here(*update(api, path)).code
    reads = [line for line in api.lines()[before:] if line["method"] == "GET"]
    asked = {one for line in reads for one in ids if one in str(line)}
    assert asked <= set(ids[2:])


@pytest.mark.parametrize("why", ["old", "unknown", "moved"])
def test_it_looks(shell: Shell, api: Api, why: str) -> None:
    """What an earlier part said is looked at when it is old, or its folder is not known: an edit is seen."""
    ids = api.ids(6)
    path = sheet(shell, ids)
    folder = unfinished(shell, api, path)
    match why:
        case "old":
            age(shell, folder, 1000)
        case "unknown":
            forget(shell)
        case "moved":
            shutil.copytree(folder, shell.folder / "other.batch" / folder.name)
            shutil.rmtree(folder.parent)
            path = Path(shutil.move(shell.folder / path, shell.folder / "other.csv")).relative_to(shell.folder)
    api.sandbox.edit("dualentry", ids[0], {"name": "Theirs"})
    ended = shell.here(*update(api, path))
    assert 0 == ended.code
    assert {"New"} == {api.sandbox.record("dualentry", one)["name"] for one in ids}
    (resumed,) = shell.runs("other.batch" if why == "moved" else "sheet.batch")
    assert ["updated"] * 6 == outcomes(resumed)
    assert ids[0] in api.written()[-5:]
    assert_balanced(resumed)


def test_rejected_is_kept_by_a_known_run_only(shell: Shell, api: Api) -> None:
    """What the API refused is not sent again by a run that this computer knows; elsewhere it is an ordinary row."""
    ids = api.ids(6)
    path = sheet(shell, ids)
    api.sandbox.set_faults(f"422=id:{ids[0]}", f"500=id:{','.join(ids[2:])}")
    command = update(api, path, "--max-attempts", 1, "--max-at-once", 1)
    assert 3 == shell.here(*command).code
    break_last(api, ids)
    assert 3 == shell.here(*command).code
    assert "rejected" == outcomes(shell.only_run())[0]
    forget(shell)
    api.sandbox.set_faults()
    assert 0 == shell.here(*command).code
    assert ["updated"] * 6 == outcomes(shell.only_run())


def test_results_of_rows_that_are_not_there(shell: Shell, api: Api) -> None:
    """Results of rows that the sheet does not have are dropped from a folder that is not known."""
    path = sheet(shell, api.ids(6))
    folder = unfinished(shell, api, path)
    forget(shell)
    change_journal(folder, "INSERT INTO result VALUES (99, 99, '1', 'updated', 'final', 200, 1, 0, NULL, NULL)")
    assert 0 == shell.here(*update(api, path)).code
    assert_balanced(shell.only_run())


@pytest.mark.parametrize("time", ["9e9", "9e999", "'x'"])
def test_results_from_the_future(shell: Shell, api: Api, time: str) -> None:
    """What says that it came after the start, since its clock was wrong or somebody wrote it, is looked at as well."""
    ids = api.ids(6)
    path = sheet(shell, ids)
    folder = unfinished(shell, api, path)
    forget(shell)
    change_journal(folder, f"UPDATE result SET outcome = 'updated', time = {time} WHERE row <> 4")  # noqa: S608 - of this test
    assert 0 == shell.here(*update(api, path)).code
    assert {"New"} == {api.sandbox.record("dualentry", one)["name"] for one in ids}


@pytest.mark.parametrize("damage", ["journal", "input", "version", "locked"])
def test_a_folder_never_blocks(shell: Shell, api: Api, damage: str) -> None:
    """A run that cannot be gone on with is passed over with a line, and the rows are sent by a new one."""
    path = sheet(shell, api.ids(6))
    folder = unfinished(shell, api, path)
    match damage:
        case "journal":
            (folder / "journal.sqlite").write_bytes(b"x" * 9999)
        case "input":
            (folder / "input.parquet").unlink()
        case "version":
            change_journal(folder, "UPDATE meta SET value = '99' WHERE key = 'version'")
        case "locked":
            (folder / ".lock").unlink(missing_ok=True)
            (folder / ".lock").mkdir()
    ended = shell.here(*update(api, path))
    assert (0, 2) == (ended.code, len(shell.runs()))
    assert ["updated" if one < 2 else "unchanged" for one in (2, 2, 0, 0, 0, 0)] == outcomes(shell.runs()[-1])
    assert f"sheet.batch/{folder.name}: this run " in ended.err


def test_old_run_is_begun_anew(shell: Shell, api: Api) -> None:
    """A run that got no further for a day is begun anew, which is said; --resume-within says how long."""
    path = sheet(shell, api.ids(6))
    folder = unfinished(shell, api, path)
    age(shell, folder, 90_000)
    again = shell.here(*update(api, path, "--resume-within", "2d", "--max-attempts", 1))
    assert (0, 1) == (again.code, len(shell.runs()))
    other = sheet(shell, api.ids(6))
    folder = unfinished(shell, api, other)
    age(shell, folder, 90_000)
    ended = shell.here(*update(api, other))
    assert (0, 3) == (ended.code, len(shell.runs()))
    assert "(--resume-within), so a new run begins, which compares every row." in ended.err


@pytest.mark.long
def test_another_pipe_takes_no_place(shell: Shell, api: Api) -> None:
    """What is piped lies nowhere, so that other rows that are piped later take nobody's place."""
    ids, command = api.ids(4), update(api, "-", "--out", "runs", "--max-attempts", 1)
    api.sandbox.set_faults(f"500=id:{ids[0]}")
    assert 3 == shell.run(*command, stdin=f"id,name\n{ids[0]},A\n{ids[1]},B\n".encode()).code
    api.sandbox.set_faults()
    assert 0 == shell.run(*command, stdin=f"id,name\n{ids[2]},C\n{ids[3]},D\n".encode()).code
    assert ["finished", "unfinished"] == [one["state"] for one in shell.here("runs", "--json").json["runs"]]


def test_another_file_takes_its_place(shell: Shell, api: Api) -> None:
    """A start with other bytes at the same path supersedes the run that was not finished: it is never resumed."""
    ids = api.ids(6)
    path = sheet(shell, ids, "A")
    first = unfinished(shell, api, path)
    ended = shell.here(*update(api, sheet(shell, ids, "B")))
    assert (
        f"{first}: that run was not finished, and sheet.csv has changed since: this run takes its place." in ended.err
    )
    assert "superseded" == summary(first)["state"]
    sheet(shell, ids, "A")
    assert 0 == shell.here(*update(api, path)).code
    assert 3 == len(shell.runs())


def test_new_takes_its_place(shell: Shell, api: Api) -> None:
    """`--new` begins anew with all rows: what was not finished is superseded, and no command goes on with it."""
    path = sheet(shell, api.ids(6))
    first = unfinished(shell, api, path)
    assert 0 == shell.here(*update(api, path, "--new")).code
    assert "superseded" == summary(first)["state"]
    page = shell.here("runs", path).out
    assert (1, 0) == (page.count("  superseded: "), page.count("Go on:"))


def test_start_that_sends_nothing_takes_no_place(shell: Shell, api: Api) -> None:
    """A start that is refused or declined leaves the unfinished run as it is: nobody else does its rows."""
    ids = api.ids(12)
    path = sheet(shell, ids, "A")
    first = unfinished(shell, api, path)
    (shell.folder / path).write_text("\n".join(["id,phone", *(f"{one},<clear>" for one in ids)]))
    assert 2 == shell.here(*update(api, path, "--max-clears", 0)).code
    assert "unfinished" == summary(first)["state"]
    sheet(shell, ids, "A")
    assert "superseded" not in shell.here("runs", path).out
    age(shell, first, 90_000)
    assert 2 == shell.here(*update(api, path, "--max-failures", "x")).code
    assert "unfinished" == summary(first)["state"]
    assert 0 == shell.here(*update(api, path, "--resume-within", "2d")).code
    assert [first] == shell.runs()


def test_new_run_ends_the_older_one(shell: Shell, api: Api) -> None:
    """After --new the unfinished run is never gone on with."""
    path = sheet(shell, api.ids(6))
    unfinished(shell, api, path)
    assert 0 == shell.here(*update(api, path, "--new")).code
    assert 0 == shell.here(*update(api, path)).code
    assert 3 == len(shell.runs())


def test_undo_of_a_folder_that_was_gone_on_with(shell: Shell, api: Api) -> None:
    """A run that came from elsewhere stays one: what it says was before is not written back without a word."""
    path = sheet(shell, api.ids(6))
    folder = unfinished(shell, api, path)
    forget(shell)
    change_journal(folder, """UPDATE intent SET before = replace(before, ':"', ':"Evil ')""")
    assert 0 == shell.here(*update(api, path)).code
    refused = undo(shell, api, folder)
    assert (2, True) == (refused.code, "this computer does not know this run" in refused.err)


@pytest.mark.parametrize("why", ["key refused", "no answer", "interrupted"])
def test_start_that_could_not_look(shell: Shell, api: Api, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """A start that ends before it looked says so in the rows, in the summary and on screen, and is not finished."""
    ids = api.ids(4)
    path = sheet(shell, ids)
    folder = unfinished(shell, api, path)
    age(shell, folder, 1000)
    with monkeypatch.context() as patch:
        if why == "interrupted":
            patch.setattr("batch.commands.update.Update.count_left", Mock(side_effect=KeyboardInterrupt))
        api.sandbox.set_faults("401=1" if why == "key refused" else "503=1")
        ended = shell.here(*update(api, path, "--max-attempts", 1))
    api.sandbox.set_faults()
    assert {"key refused": 2, "no answer": 3, "interrupted": 130}[why] == ended.code
    left = "as an earlier start left it, and not looked at again since"
    assert [("updated", left)] * 2 == [(one["outcome"], one["message"]) for one in results(folder)[:2]]
    assert left not in str(results(folder)[2:])
    said = "2 rows are told as an earlier start left them: the last start was to look at them again, and did not."
    again = shell.here("results", folder)
    assert all(said in one.err.splitlines() for one in (ended, again))
    assert (2, 3) == (summary(folder)["not_looked_at"], again.code)
    refused = shell.here(*update(api, path, "--no-compare"))
    assert (2, True) == (refused.code, "was to look at its records again" in refused.err)
    assert 0 == shell.here(*update(api, path)).code
    assert (0, False) == (summary(folder)["not_looked_at"], left in str(results(folder)))


def test_rows_that_could_not_be_looked_at(shell: Shell, api: Api) -> None:
    """A run of which only the look is left is not finished: the same command looks."""
    ids = api.ids(3, VAYU)
    command = update(api, sheet(shell, ids), "--max-attempts", 1, endpoint=VAYU)
    api.sandbox.set_faults(f"500=id:{ids[2]}")
    assert 3 == shell.here(*command).code
    age(shell, folder := shell.only_run(), 1000)
    api.sandbox.set_faults(f"503=id:{ids[0]}")
    ended = shell.here(*command)
    assert (3, 1, ["updated"] * 3) == (ended.code, summary(folder)["not_looked_at"], outcomes(folder))
    assert "Go on with the same command:  " in ended.err
    api.sandbox.set_faults()
    assert (0, folder) == (shell.here(*command).code, shell.only_run())
    assert 0 == summary(folder)["not_looked_at"]


# -- where nothing can be looked at ---------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["old", "unknown", "another run"])
def test_without_comparing(shell: Shell, api: Api, why: str) -> None:
    """With --no-compare an unfinished run that is old, not known, or older than what another run wrote, is neither
    believed nor begun anew by itself."""
    ids = api.ids(6)
    path = sheet(shell, ids)
    folder = unfinished(shell, api, path, "--no-compare")
    match why:
        case "old":
            age(shell, folder, 90_000)
        case "unknown":
            forget(shell)
        case "another run":
            assert 0 == shell.here(*update(api, sheet(shell, ids[:1], "Other", "other.csv"))).code
    before, written = len(api.lines()), len(api.applied())
    refused = shell.here(*update(api, path, "--no-compare"))
    assert (2, before) == (refused.code, len(api.lines()))
    assert all(option in refused.err for option in ("--trust-folder", "--new"))
    assert ("another run wrote for the same company since" in refused.err) == (why == "another run")
    assert 0 == shell.here(*update(api, path, "--no-compare", "--trust-folder")).code
    assert ["updated"] * 6 == outcomes(folder)
    assert sorted(ids[2:]) == sorted(api.applied()[written:])


def test_rows_come_before_the_question(shell: Shell, api: Api) -> None:
    """Nobody is asked about a folder that has other rows than the input: it is passed over with a line."""
    ids = api.ids(6)
    path = sheet(shell, ids)
    folder = unfinished(shell, api, path, "--no-compare")
    forget(shell)
    change_rows(folder, c1="Forged")
    ended = shell.here(*update(api, path, "--no-compare"))
    assert (0, 2) == (ended.code, len(shell.runs()))
    assert "this run is passed over: the rows in it are not those of the input" in ended.err


# -- undo -----------------------------------------------------------------------------------------------------------


def undo(shell: Shell, api: Api, folder: Path, *options: object) -> Any:
    return shell.here("undo", folder, "--yes", *api.options, *options)


@pytest.mark.parametrize("why", ["unknown", "changed", "moved"])
def test_undo_asks(shell: Shell, api: Api, why: str) -> None:
    """Undo believes the values of a run that this computer knows as the run left it, and of no other without a word."""
    ids = api.ids(3)
    assert 0 == shell.here(*update(api, sheet(shell, ids))).code
    folder = shell.only_run()
    match why:
        case "unknown":
            forget(shell)
        case "changed":
            change_journal(folder, """UPDATE intent SET before = replace(before, ':"', ':"Evil ')""")
        case "moved":
            folder = Path(shutil.move(folder, shell.folder / "elsewhere"))
    refused = undo(shell, api, folder)
    assert (2, True) == (refused.code, "--trust-folder" in refused.err)
    assert {"New"} == {api.sandbox.record("dualentry", one)["name"] for one in ids}
    assert 0 == undo(shell, api, folder, "--trust-folder").code


def test_no_address_from_a_folder(shell: Shell, api: Api) -> None:
    """The key goes to no address that a folder names."""
    assert 0 == shell.here(*update(api, sheet(shell, api.ids(3)))).code
    before = len(api.lines())
    refused = shell.here("undo", shell.only_run(), "--yes")
    assert (2, before) == (refused.code, len(api.lines()))
    assert "which is not the maker's own address, and an address is not taken from a folder." in refused.err


# -- resume ---------------------------------------------------------------------------------------------------------


def test_resume_without_the_input(shell: Shell, api: Api) -> None:
    """A run whose input is gone goes on from its own rows, also when it is old."""
    ids = api.ids(6)
    path = sheet(shell, ids)
    folder = unfinished(shell, api, path)
    here = folder.relative_to(shell.folder)
    age(shell, folder, 90_000)
    (shell.folder / path).unlink()
    said = shell.here("results", folder).err
    assert (
        f"sheet.csv is not here any more. With the rows that the run keeps it goes on:\n  batch resume {here}" in said
    )
    ended = shell.here("resume", folder, "--yes", *api.options)
    assert (0, ["updated"] * 6) == (ended.code, outcomes(folder))
    assert_balanced(folder)
    again = shell.here("resume", folder, "--yes", *api.options)
    assert (2, True) == (again.code, "this run is finished" in again.err)


def test_resume_of_an_unknown_folder(shell: Shell, api: Api) -> None:
    """The rows of a folder that is not known are not sent without a word."""
    folder = unfinished(shell, api, sheet(shell, api.ids(6)))
    forget(shell)
    before = len(api.writes())
    refused = shell.here("resume", folder, "--yes", *api.options)
    assert (2, before) == (refused.code, len(api.writes()))
    assert f"{folder}: this run is not finished, and this computer does not know it." in refused.err
    assert 0 == shell.here("resume", folder, "--yes", "--trust-folder", *api.options).code
    assert ["updated"] * 6 == outcomes(folder)


def test_resume_keeps_what_cells_mean(shell: Shell, api: Api) -> None:
    """Headers, key and clear token are those of the run."""
    ids = api.ids(6)
    path = shell.sheet("Nr,Name\n" + "".join(f"{one},New\n" for one in ids))
    break_last(api, ids)
    mapped = ["--map", "Nr=id", "--map", "Name=name", "--max-attempts", 1, "--max-at-once", 1]
    assert 3 == shell.here(*update(api, path, *mapped)).code
    api.sandbox.set_faults()
    assert 0 == shell.here("resume", shell.only_run(), "--yes", *api.options).code
    assert ["updated"] * 6 == outcomes(shell.only_run())


@BOTH
def test_plan_that_another_run_wrote_over(shell: Shell, api: Api, endpoint: str) -> None:
    """A plan that is gone on with after another run wrote does not call its own rows *updated* any more."""
    kind = endpoint.partition(".")[0]
    ids = api.ids(6, endpoint)
    path = sheet(shell, ids, "Planned")
    assert 0 == shell.here("plan", path, "-e", endpoint, *api.options).code
    (plan,) = shell.runs("sheet.batch")
    planned = update(api, path, "--plan", plan, endpoint=endpoint)
    break_last(api, ids)
    assert 3 == shell.here(*planned, "--max-attempts", 1, "--max-at-once", 1).code
    api.sandbox.set_faults()
    assert 0 == shell.here(*update(api, sheet(shell, ids[:2], "Other", "other.csv"), endpoint=endpoint)).code
    ended = shell.here(*planned)
    found = outcomes(shell.folder / "sheet.batch" / "latest")
    assert (1, ["rejected"] * 2 + ["updated"] * 4) == (ended.code, found)
    assert {"Other"} == {api.sandbox.record(kind, one)["name"] for one in ids[:2]}


def test_what_was_confirmed_is_not_sent_again_unseen(shell: Shell, api: Api) -> None:
    """Where a run goes on without reading, what the API has confirmed is done, though nobody looked at it."""
    ids = api.ids(2)
    sheet = shell.sheet("id,name\n" + "".join(f"{one},New\n" for one in ids))
    api.sandbox.set_faults(f"503=id:{ids[1]}")
    assert 3 == shell.here(*update(api, sheet, "--max-attempts", 1)).code
    api.sandbox.set_faults()
    with closing(sqlite3.connect(shell.only_run() / "journal.sqlite", isolation_level=None)) as db:
        assert 1 == db.execute("UPDATE result SET state = 'confirmed' WHERE outcome = 'updated'").rowcount
    before = len(api.writes())
    assert 0 == shell.here(*update(api, sheet, "--no-compare", "--trust-folder")).code
    assert [ids[1]] == [line["id"] for line in api.writes()[before:]]
    assert ["updated"] * 2 == outcomes(shell.only_run())
