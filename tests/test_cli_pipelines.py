"""What pipelines ask for: inputs without rows, events, figures, a command at the end, exit codes of plans."""

import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from filelock import FileLock

from tests.little_api import Said, little_api
from tests.schemas import held
from tests.shell import DUALENTRY, Api, Ended, Shell, results, summary, until, update

EMPTY = "id,name\n"


def events(ended: Ended | bytes) -> list[dict[str, Any]]:
    """The events on standard error: every line is one."""
    text = ended.decode() if isinstance(ended, bytes) else ended.err
    return [held(json.loads(line), "log") for line in text.splitlines()]


# -- inputs without rows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "plan", "update"])
def test_no_rows(shell: Shell, api: Api, command: str) -> None:
    """An input without rows is done with: exit code 0, all counts 0, nothing asked; unless it must have some."""
    sheet, where = shell.sheet(EMPTY), ["--base-url", api.sandbox.url]
    words = [command, sheet, "-e", DUALENTRY, *where]
    told = shell.here(*words, "--json").json
    assert (0, "finished", 0, 0) == (told["exit_code"], told["state"], told["rows"], sum(told["outcomes"].values()))
    refused = shell.here(*words, "--require-rows")
    assert (2, "sheet.csv has a header but no rows, and --require-rows is set.\n") == (refused.code, refused.err)
    assert [] == api.writes()


def test_results_of_no_rows(shell: Shell, api: Api) -> None:
    """Its results are a header, and there is no failures file."""
    assert 0 == shell.here(*update(api, shell.sheet(EMPTY))).code
    folder = shell.only_run()
    assert ([], False) == (results(folder), (folder / "failures.csv").exists())


def test_parquet_results_of_no_rows(shell: Shell, api: Api) -> None:
    """So are those of a Parquet file, which has the columns of any other."""
    pl.DataFrame(schema={"id": pl.Int64, "name": pl.String}).write_parquet(shell.folder / "sheet.parquet")
    ended = shell.here(*update(api, "sheet.parquet"))
    made = pl.read_parquet(shell.only_run() / "results.parquet")
    assert (0, 0, "code") == (ended.code, made.height, made.columns[-1]), ended.err


def test_no_ids(shell: Shell, api: Api) -> None:
    """A file of ids without any is a mistake: it would stand for all records."""
    ended = shell.here(
        "pull", "-e", DUALENTRY, "-o", "x.csv", "--ids", shell.sheet("id\n"), "--base-url", api.sandbox.url
    )
    assert (2, True) == (ended.code, "has a header but no rows" in ended.err)


# -- plans ----------------------------------------------------------------------------------------------------------


def test_detailed_exitcode(shell: Shell, api: Api) -> None:
    """10 where something would change and all is well, 0 where nothing would; what is wrong with rows wins."""
    where = ["-e", DUALENTRY, "--base-url", api.sandbox.url, "--detailed-exitcode"]
    name = api.sandbox.record("dualentry", 10001)["name"]
    change, same = shell.sheet("id,name\n10001,Other\n"), shell.sheet(f'id,name\n10001,"{name}"\n', "same.csv")
    broken = shell.sheet("id,name,phone\n10001,Other,\n10002,,no phone\n", "broken.csv")
    found = [shell.here("plan", sheet, *where, "--json") for sheet in (change, same, broken)]
    assert [10, 0, 1] == [one.code for one in found] == [one.json["exit_code"] for one in found]


def test_max_age(shell: Shell, api: Api) -> None:
    """A plan that was made too long ago is refused, as it says itself, whatever became of its file."""
    sheet, where = shell.sheet("id,name\n10001,Other\n"), ["--base-url", api.sandbox.url]
    made = shell.here("plan", sheet, "-e", DUALENTRY, *where, "--json").json["run"]
    time.sleep(1.1)
    os.utime(Path(made, "plan.json"))
    words = update(api, sheet, "--plan", made)
    old = shell.here(*words, "--max-age", "1s")
    assert (2, True, []) == (
        old.code,
        "this plan was made " in old.err and "--max-age allows 1 s" in old.err,
        api.writes(),
    )
    assert 0 == shell.here(*words, "--max-age", "2d").code


# -- events ---------------------------------------------------------------------------------------------------------


def test_events(shell: Shell, api: Api) -> None:
    """With --log-format json every line on standard error is an event, and standard output is left to --json."""
    (one,) = api.ids(1)
    sheet = shell.sheet(f"id,name,phone\n{one},New {one},\n10002,,s3cret words\n")
    ended = shell.here(*update(api, sheet, "--log-format", "json"))
    told = events(ended)
    started, finished = told[0], told[-1]
    assert ("run.started", "finished", "") == (started["event"], finished["event"], ended.out)
    assert ("update", DUALENTRY, api.sandbox.url, 1) == tuple(
        started[name] for name in ("command", "endpoint", "host", "to_send")
    )
    assert (1, "to fix", 1, 1) == (
        finished["exit_code"], finished["state"], finished["outcomes"]["updated"], finished["outcomes"]["invalid"],
    )  # fmt: skip
    assert "s3cret" not in ended.err


def test_events_of_a_start_that_fails(offline: Shell) -> None:
    """What cannot begin is an event, too, also where a word makes no sense."""
    for words, reason in (
        (["check", "none.csv", "-e", DUALENTRY], "input"), (["update", "none.csv", "-e", DUALENTRY], "credentials"),
        (["update", "none.csv", "--nothing"], "usage"),
    ):  # fmt: skip
        told = events(offline.here(*words, env={"BATCH_LOG_FORMAT": "json"}))
        assert [("failed", reason, 2)] == [(one["event"], one["reason"], one["exit_code"]) for one in told]


def test_events_of_a_stop(shell: Shell, api: Api) -> None:
    """A pause of the API, and what stops a run, are events."""
    api.sandbox.set_faults("429=nth:1")
    api.sandbox.behave(latency=0.1)
    process = shell.start(
        *update(api, shell.sheet(api.names(40)), "--max-at-once", 1, "--no-compare", "--log-format", "json")
    )
    until(lambda: len(api.applied()) > 20, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    names = [one["event"] for one in events(err)]
    assert ["stopped", "finished"] == names[-2:]
    assert {"paused", "resumed"} <= set(names)
    stopped = events(err)[-2]
    assert ("interrupted", 130) == (stopped["reason"], process.returncode)


# -- at the end -----------------------------------------------------------------------------------------------------


def test_metrics(shell: Shell, api: Api) -> None:
    """The figures are whole, for everybody to read, and keep the last success while none is newer."""
    path, before = shell.folder / "x.prom", time.time()
    assert 0 == shell.here(*update(api, shell.sheet(api.names(2)), "--metrics-file", path)).code
    text = path.read_text()
    (last,) = (line for line in text.splitlines() if line.startswith("batch_last_success_timestamp_seconds{"))
    assert (True, 0o644) == (float(last.split()[-1]) >= int(before), path.stat().st_mode & 0o777)
    assert f'batch_rows{{endpoint="{DUALENTRY}",input="sheet.csv",outcome="updated"}} 2' in text
    assert f'batch_exit_code{{endpoint="{DUALENTRY}",input="sheet.csv"}} 0' in text
    bad = shell.sheet("id,phone\n10001,no phone\n")
    assert 1 == shell.here(*update(api, bad, "--metrics-file", path)).code
    later = path.read_text()
    assert last in later
    assert f'batch_exit_code{{endpoint="{DUALENTRY}",input="sheet.csv"}} 1' in later


def test_metrics_that_cannot_be_written(shell: Shell, api: Api) -> None:
    """Where they cannot be written, that is said, and changes nothing else."""
    ended = shell.here(*update(api, shell.sheet(api.names(1)), "--quiet", "--metrics-file", "no/such/x.prom"))
    assert (0, "--metrics-file no/such/x.prom: it cannot be written (no such file or directory).\n") == (
        ended.code, ended.err,
    )  # fmt: skip


def test_on_finish(shell: Shell, api: Api) -> None:
    """The command gets the summary on its standard input, whatever the exit code."""
    code = 'import sys; open("got.json", "w").write(sys.stdin.read())'
    command = f"{sys.executable} -c '{code}'"
    for sheet, expected in ((api.names(1), 0), ("id,phone\n10001,no phone\n", 1)):
        assert expected == shell.here(*update(api, shell.sheet(sheet), "--on-finish", command, "--new")).code
        got = json.loads((shell.folder / "got.json").read_text())
        assert (expected, got) == (got["exit_code"], summary(Path(got["run"])))


WRITER = f'{sys.executable} -c \'import sys; open("got.json", "a").write(sys.stdin.read())\''


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["--nothing"], 2, "usage"), (["--max-attempts", "0"], 2, "settings"), (["--map", "x=y"], 2, "headers"),
        ([], 5, "busy"),
    ],
)  # fmt: skip
def test_start_that_cannot_begin_is_told(shell: Shell, api: Api, words: list[str], code: int, reason: str) -> None:
    """A start that fails or is busy is told to --metrics-file and --on-finish, once; the last success stays known."""
    path, sheet = shell.folder / "x.prom", shell.sheet(api.names(1))
    given = update(api, sheet, "--metrics-file", path, "--new")
    assert 0 == shell.here(*given).code
    before = path.read_text().splitlines()
    with ExitStack() as locks:
        for one in (shell.folder.parent / "state" / "batch" / "locks").glob("*.lock") if code == 5 else ():
            locks.enter_context(FileLock(one))
        ended = shell.here(*given, "--on-finish", WRITER, "--json", *words)
    got = (shell.folder / "got.json").read_text()
    assert (code, 1, json.loads(got)) == (ended.code, got.count("\n"), ended.json)
    assert (code, reason) == (ended.json["exit_code"], ended.json["stopped"]["reason"])
    after = path.read_text().splitlines()
    labels = f'endpoint="{DUALENTRY}",input="sheet.csv"'
    assert before[:4] == after[:4]
    assert f"batch_exit_code{{{labels}}} {code}" == after[-1]


def test_undo_that_cannot_begin_is_told(shell: Shell, api: Api) -> None:
    """The figures keep their labels where a start does not know what it is for."""
    path = shell.folder / "x.prom"
    assert 0 == shell.here(*update(api, shell.sheet(api.names(1)), "--metrics-file", path)).code
    before = path.read_text().splitlines()
    ended = shell.here("undo", "nowhere", *api.options, "--metrics-file", path, "--on-finish", "false")
    assert 2 == ended.code
    assert "--on-finish false: it ended with exit code 1." == ended.err.splitlines()[-1]
    assert [*before[:5], before[5].removesuffix("0") + "2"] == path.read_text().splitlines()


def test_plan_tells_nobody(shell: Shell, api: Api) -> None:
    """A command that only looks takes the options of an update, and leaves its figures alone."""
    words = ["plan", "none.csv", "-e", DUALENTRY, "--metrics-file", "x.prom", "--on-finish", WRITER]
    assert 2 == shell.here(*words, *api.options).code
    assert [] == list(shell.folder.iterdir())


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-program", "it cannot be run (no such file or directory)."),
        ("false", "it ended with exit code 1."),
        ("'", "it cannot be run (No closing quotation)."),
    ],
)
def test_on_finish_that_fails(shell: Shell, api: Api, command: str, said: str) -> None:
    """What goes wrong there is said, and changes nothing."""
    ended = shell.here(*update(api, shell.sheet(api.names(1)), "--quiet", "--on-finish", command))
    assert (0, f"--on-finish {command}: {said}\n") == (ended.code, ended.err)


def test_grace(shell: Shell, api: Api) -> None:
    """What is in flight gets as long as --grace says."""
    api.sandbox.set_faults("hang-after=nth:1")
    process = shell.start(*update(api, shell.sheet(api.names(1)), "--no-compare", "--grace", "0.5"))
    until(lambda: len(api.writes()) > 0, process)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert (143, True) == (process.returncode, "are waited for up to 0.5 s" in err.decode())
    assert time.monotonic() - began < 15


# -- a stand-in for the API -----------------------------------------------------------------------------------------


def test_allow_http(shell: Shell) -> None:
    """A host may be named that is asked without encryption, which is said; the maker's own never."""
    with little_api(lambda asked: Said(200, {"items": [], "count": 0})) as stand_in:
        port = stand_in.url.rpartition(":")[2]
        host = next((name for name in (os.uname().nodename,) if name not in ("localhost", "")), "")
        words = ["plan", shell.sheet("id,name\n1,X\n"), "-e", DUALENTRY, "--base-url", f"http://{host}:{port}"]
        assert 2 == shell.here(*words).code
        ended = shell.here(*words, "--allow-http", host, "--max-attempts", 1)
    assert f"The key goes to http://{host}:{port} without encryption (--allow-http)." in ended.err
    own = shell.here(*words, "--allow-http", "api.dualentry.com")
    assert (2, True) == (own.code, "this is the maker's own host" in own.err)
