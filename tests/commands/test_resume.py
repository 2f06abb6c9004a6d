"""Nothing lost, nothing twice: every way a run can break off, judged by the sandbox's ledger."""

import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from batch.journal.journal import BLOCK
from tests.shell import DUALENTRY, VAYU, Api, Shell, assert_balanced, outcomes, summary, until, update

SLOWLY = ["--max-per-second", "25"]


def killed_after(shell: Shell, api: Api, command: list[object], writes: int) -> Path:
    """Start a run, kill -9 it once it has written so much; gives its folder."""
    process = shell.start(*command)
    until(lambda: len(api.writes()) >= writes, process)
    process.kill()
    process.communicate()
    assert -signal.SIGKILL == process.returncode
    return shell.runs()[-1]


@pytest.mark.parametrize("writes", [1, 15])
def test_killed_and_resumed(shell: Shell, api: Api, writes: int) -> None:
    """After kill -9 the same command finishes the same run; no row is lost, and none is applied twice."""
    sheet = shell.sheet(api.names(20))
    folder = killed_after(shell, api, update(api, sheet, *SLOWLY, "--max-at-once", 1), writes)
    assert not (folder / "results.csv").exists()
    ended = shell.here(*update(api, sheet))
    assert (0, folder) == (ended.code, shell.only_run())
    assert f"resuming sheet.batch/{folder.name}" in ended.err
    assert_done(folder, 20)
    assert 20 == len(set(api.applied())) == len(api.applied())
    assert_balanced(folder)


def assert_done(folder: Path, rows: int) -> None:
    """All rows are done, and at most the one that was in flight at the kill is not known to be this run's work."""
    found = Counter(outcomes(folder))
    assert (rows, True) == (found["updated"] + found["unchanged"], found["unchanged"] <= 1)


def test_one_key_for_a_change(shell: Shell, api: Api) -> None:
    """What was in flight when the run was killed goes again with the same idempotency key."""
    sheet = shell.sheet(api.names(6))
    api.sandbox.set_faults("hang-before=nth:1,2,3")
    killed_after(shell, api, update(api, sheet, "--max-at-once", 3), 3)
    first = {line["id"]: line["key"] for line in api.writes()}
    api.sandbox.set_faults()
    assert 0 == shell.here(*update(api, sheet)).code
    again = {line["id"]: line["key"] for line in api.writes()[3:] if line["id"] in first}
    assert first == again
    assert 3 == len(first) == len(set(first.values()))


def test_applied_without_an_answer(shell: Shell, api: Api) -> None:
    """What was applied, but not answered, when the run was killed is found by reading and not sent again."""
    sheet = shell.sheet(api.names(4))
    api.sandbox.set_faults("hang-after=nth:2")
    folder = killed_after(shell, api, update(api, sheet, "--max-at-once", 1, "--no-compare"), 2)
    api.sandbox.set_faults()
    assert 0 == shell.here(*update(api, sheet)).code
    assert ["updated", "unchanged", "updated", "updated"] == outcomes(folder)  # who wrote the second, nobody knows
    assert [1] * 4 == list(Counter(api.applied()).values())


def test_recorded_outcomes_stay(shell: Shell, api: Api) -> None:
    """A change with a recorded outcome is not sent again, though somebody else has changed the record since."""
    sheet = shell.sheet(api.names(12))
    killed_after(shell, api, update(api, sheet, *SLOWLY, "--max-at-once", 1), 10)
    first = api.written()[0]
    api.sandbox.edit("dualentry", first, {"name": "Somebody else's"})
    assert 0 == shell.here(*update(api, sheet)).code
    assert 1 == api.written().count(first)
    assert "Somebody else's" == api.sandbox.record("dualentry", first)["name"]


def test_vayu(shell: Shell, api: Api) -> None:
    """Without idempotency keys it holds as well."""
    sheet = shell.sheet(api.names(10, VAYU))
    folder = killed_after(shell, api, update(api, sheet, *SLOWLY, "--max-at-once", 1, endpoint=VAYU), 4)
    assert 0 == shell.here(*update(api, sheet, endpoint=VAYU)).code
    assert_done(folder, 10)
    assert 10 == len(api.applied()) == len(set(api.applied()))


def test_killed_before_the_first_write(shell: Shell, api: Api) -> None:
    """Killed while the first record is being read, it starts all the same."""
    sheet = shell.sheet(api.names(3))
    process = shell.start(*update(api, sheet, "--max-per-second", "1", "--max-at-once", 1))
    until(api.lines, process)
    process.kill()
    process.communicate()
    assert 0 == shell.here(*update(api, sheet)).code
    assert 3 == len(api.applied())
    assert 1 == len(shell.runs())


# -- what is the same run -------------------------------------------------------------------------------------------


def broken(shell: Shell, api: Api, sheet: Path, *options: object) -> Path:
    """A run that ends with rows left to retry."""
    api.sandbox.set_faults("503=1")
    ended = shell.here(*update(api, sheet, "--max-attempts", 1, *options))
    assert 3 == ended.code, ended.err
    api.sandbox.set_faults()
    return shell.runs()[-1]


def test_resumed_run_is_said(shell: Shell, api: Api) -> None:
    """Failed rows are taken up by the same command, and it says so."""
    sheet = shell.sheet(api.names(3))
    folder = broken(shell, api, sheet)
    assert {"failed"} <= set(outcomes(folder)) <= {"failed", "unsent"}
    ended = shell.here(*update(api, sheet))
    assert (0, [folder]) == (ended.code, shell.runs())
    assert ["updated"] * 3 == outcomes(folder)
    assert f"resuming sheet.batch/{folder.name}" in ended.err
    assert not (folder / "failures.csv").exists()


def test_new_starts_over(shell: Shell, api: Api) -> None:
    """--new begins another run in another folder, and leaves the first as it is."""
    sheet = shell.sheet(api.names(2))
    folder = broken(shell, api, sheet)
    before = (folder / "results.csv").read_bytes()
    assert 0 == shell.here(*update(api, sheet, "--new")).code
    assert [folder.name, "updated"] == [shell.runs()[0].name, outcomes(shell.runs()[1])[0]]
    assert before == (folder / "results.csv").read_bytes()


def test_finished_run_is_not_resumed(shell: Shell, api: Api) -> None:
    """After a finished run the same command is a new run, and finds nothing to change."""
    sheet = shell.sheet(api.names(2))
    assert 0 == shell.here(*update(api, sheet)).code
    assert 0 == shell.here(*update(api, sheet)).code
    first, second = shell.runs()
    assert (["updated"] * 2, ["unchanged"] * 2) == (outcomes(first), outcomes(second))
    assert 2 == len(api.writes())


def test_rejected_is_final(shell: Shell, api: Api) -> None:
    """Rejected and invalid rows are final within a run: the same command does not send them again to that run."""
    (good,) = api.ids(1)
    sheet = shell.sheet(f"id,name\n{good},New\n99999999,Nobody\nx,Bad id\n")
    folder = broken(shell, api, sheet)
    assert 1 == shell.here(*update(api, sheet)).code
    assert ["updated", "rejected", "invalid"] == outcomes(folder)
    assert [folder] == shell.runs()


@pytest.mark.parametrize(
    "other",
    [["--map", "name=email"], ["--clear-token", "-"], ["--limit", "1"]],
    ids=lambda options: options[0],
)
def test_other_meaning_is_another_run(shell: Shell, api: Api, other: list[str]) -> None:
    """Another mapping, clear token or number of rows is another run."""
    sheet = shell.sheet("id,name\n" + "".join(f"{one},a{one}@b.example\n" for one in api.ids(2)))
    broken(shell, api, sheet)
    ended = shell.here(*update(api, sheet, *other))
    assert (0, 2) == (ended.code, len(shell.runs()))
    assert "resuming" not in ended.err


def test_edited_input_is_another_run(shell: Shell, api: Api) -> None:
    """Other bytes are another run."""
    text = api.names(2)
    sheet = shell.sheet(text)
    broken(shell, api, sheet)
    shell.sheet(text + f"{api.ids(1)[0]},One more\n")
    ended = shell.here(*update(api, sheet))
    assert (0, 2) == (ended.code, len(shell.runs()))
    assert ["updated"] * 3 == outcomes(shell.runs()[1])


def test_other_limits_are_the_same_run(shell: Shell, api: Api) -> None:
    """Limits, attempts, patience and the like may differ."""
    sheet = shell.sheet(api.names(2))
    broken(shell, api, sheet, "--max-at-once", 3)
    others = ["--max-at-once", 2, "--max-attempts", 3, "--max-wait", 9, "--invalid", "abort", "--no-compare", "--json"]
    assert 0 == shell.here(*update(api, sheet, *others)).code
    assert 1 == len(shell.runs())


def test_same_bytes_elsewhere(shell: Shell, api: Api) -> None:
    """A copy of the input goes on with the run that is not finished, wherever that lies."""
    sheet = shell.sheet(api.names(1))
    broken(shell, api, sheet)
    shutil.copy(shell.folder / sheet, shell.folder / "copy.csv")
    assert 0 == shell.here(*update(api, Path("copy.csv"))).code
    assert (["updated"], []) == (outcomes(shell.only_run()), shell.runs("copy.batch"))


def test_moved_run_folder(shell: Shell, api: Api) -> None:
    """Input and run folder may be moved together between two parts of a run."""
    sheet = shell.sheet(api.names(2))
    broken(shell, api, sheet)
    moved = shell.folder / "elsewhere"
    moved.mkdir()
    for name in ("sheet.csv", "sheet.batch"):
        (shell.folder / name).rename(moved / name)
    assert 0 == shell.here(*update(api, Path("elsewhere/sheet.csv"))).code
    (folder,) = shell.runs("elsewhere/sheet.batch")
    assert ["updated"] * 2 == outcomes(folder)


# -- the input during the run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_deleted", [True, False])
def test_input_may_change_during_the_run(shell: Shell, api: Api, is_deleted: bool) -> None:
    """The rows are those that were read at the start, whatever becomes of the file."""
    sheet = shell.sheet(api.names(12))
    process = shell.start(*update(api, sheet, *SLOWLY))
    until(api.writes, process)
    if is_deleted:
        (shell.folder / sheet).unlink()
    else:
        shell.sheet("id,name\n" + "".join(f"{line['id']},Edited\n" for line in api.writes()))
    _, err = process.communicate(timeout=30)
    assert 0 == process.returncode, err
    assert ["updated"] * 12 == outcomes(shell.only_run())
    assert not any("Edited" in str(line["body"]) for line in api.writes())


def test_standard_input(shell: Shell, api: Api) -> None:
    """An input from standard input is resumed when the same bytes come again."""
    text = api.names(3)
    api.sandbox.set_faults("503=1")
    first = shell.run(*update(api, Path("-"), "--max-attempts", 1), stdin=text.encode())
    api.sandbox.set_faults()
    second = shell.run(*update(api, Path("-")), stdin=text.encode())
    assert (3, 0) == (first.code, second.code)
    assert ["updated"] * 3 == outcomes(shell.only_run("stdin.batch"))
    assert "-" == summary(shell.only_run("stdin.batch"))["input"]


# -- --out ----------------------------------------------------------------------------------------------------------


def test_out_is_where_runs_go(shell: Shell, api: Api) -> None:
    """The same command after a finished run is a new run beside it, which looks at the records again."""
    sheet = shell.sheet(api.names(2))
    first = shell.here(*update(api, sheet, "--out", "runs"))
    api.sandbox.edit("dualentry", api.written()[0], {"name": "Drifted"})
    second = shell.here(*update(api, sheet, "--out", "runs"))
    assert (0, 0) == (first.code, second.code)
    assert [["updated"] * 2, ["updated", "unchanged"]] == [outcomes(one) for one in shell.runs("runs")]


def test_out_is_resumed(shell: Shell, api: Api) -> None:
    """A run in --out that has rows to retry is gone on with."""
    sheet = shell.sheet(api.names(2))
    api.sandbox.set_faults("503=1")
    assert 3 == shell.here(*update(api, sheet, "--out", "runs", "--max-attempts", 1)).code
    api.sandbox.set_faults()
    assert 0 == shell.here(*update(api, sheet, "--out", "runs")).code
    assert ["updated"] * 2 == outcomes(shell.only_run("runs"))


def test_out_is_shared(shell: Shell, api: Api) -> None:
    """Several inputs share one folder, in which anything else may be, too: none goes on with another's run."""
    (shell.folder / "mine" / "closed").mkdir(parents=True)
    (shell.folder / "mine" / "letter.txt").write_text("Dear …")
    (shell.folder / "mine" / "journal").mkdir(mode=0o000)
    api.sandbox.set_faults("503=1")
    for name in ("one.csv", "two.csv"):
        assert 3 == shell.here(*update(api, shell.sheet(api.names(1), name), "--out", "mine", "--max-attempts", 1)).code
    api.sandbox.set_faults()
    for name in ("one.csv", "two.csv"):
        assert 0 == shell.here(*update(api, name, "--out", "mine")).code
    runs = [one for one in shell.runs("mine") if one.name.startswith("2")]
    assert [["updated"], ["updated"]] == [outcomes(one) for one in runs]
    assert "Dear …" == (shell.folder / "mine" / "letter.txt").read_text()


def test_out_that_is_a_run(shell: Shell, api: Api) -> None:
    """The folder of one run, as 0.1 took it, is refused, and the one around it named; so is a link to it."""
    sheet = shell.sheet(api.names(1))
    shell.here(*update(api, sheet, "--out", "."))
    (run,) = shell.folder.glob("2*")
    run.rename(shell.folder / "run")
    (shell.folder / "link").symlink_to("run")
    sent = len(api.lines())
    for out in ("run", "run/", "link"):
        ended = shell.here(*update(api, sheet, "--out", out))
        shown = out.rstrip("/")
        message = (
            f"--out {shown}: this is the folder of one run, and --out names the folder in which runs lie beside each "
            "other, such as the one around it: --out .\n"
        )
        assert (2, message) == (ended.code, ended.err)
    assert sent == len(api.lines())


# -- the failures file is the next input ----------------------------------------------------------------------------


def test_failures_file_unedited(shell: Shell, api: Api) -> None:
    """The failures file of a run, as it is, is the next input, and only its rows are sent."""
    ids = api.ids(5)
    sheet = shell.sheet("id,name,Note\n" + "".join(f'{one},"New, {one}",n\n' for one in ids))
    api.sandbox.set_faults(f"422=id:{ids[1]},{ids[3]}")
    assert 1 == shell.here(*update(api, sheet, "--map", "Note=")).code
    api.sandbox.set_faults()
    sent = len(api.writes())
    failures = shell.only_run() / "failures.csv"
    ended = shell.here(*update(api, failures, "--map", "Note="))
    assert (0, [ids[1], ids[3]]) == (ended.code, sorted(api.written()[sent:]))
    assert ["updated"] * 2 == outcomes(shell.runs()[1])


def test_failures_file_corrected(shell: Shell, api: Api) -> None:
    """With one cell corrected that row is sent, and the one that was not stays behind."""
    ids = api.ids(3)
    sheet = shell.sheet(f"id,phone\n{ids[0]},123\n{ids[1]},ext. 5\n{ids[2]},ext. 6\n")
    assert 1 == shell.here(*update(api, sheet)).code
    failures = shell.only_run() / "failures.csv"
    failures.write_text(failures.read_text().replace("ext. 5", "555", 1))
    assert 1 == shell.here(*update(api, failures)).code
    assert [ids[0], ids[1]] == api.written()
    assert ["updated", "invalid"] == outcomes(shell.runs()[1])


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_counts_after_a_kill(shell: Shell, api: Api, endpoint: str) -> None:
    """After kill -9 the summary says that it counts the most that it can be, and never less than was made."""
    sheet = shell.sheet(api.names(20, endpoint))
    folder = killed_after(shell, api, update(api, sheet, *SLOWLY, endpoint=endpoint), 5)
    made = len(api.lines())
    assert 3 == shell.here("results", folder).code
    told = summary(folder)
    assert (False, True) == (told["is_exact"], made <= told["attempts"] <= made + BLOCK + 4)
    assert 0 == shell.here(*update(api, sheet, endpoint=endpoint)).code
    after = summary(folder)
    assert (False, True) == (after["is_exact"], len(api.lines()) <= after["attempts"])


def test_counts_are_exact(shell: Shell, api: Api) -> None:
    """Without a kill every request is counted once, also over several parts of a run."""
    sheet = shell.sheet(api.names(6))
    broken(shell, api, sheet)
    assert 0 == shell.here(*update(api, sheet)).code
    told = summary(shell.only_run())
    assert (True, len(api.lines())) == (told["is_exact"], told["attempts"])
