"""The one line of `--json`, whatever the exit code; all documents begin alike."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from jsonschema import Draft202012Validator

import batch
from batch.commands.schema import DOCUMENTS
from batch.outputs.results import SCHEMA as CSV_LINE
from tests.schemas import held
from tests.shell import DUALENTRY, SUMMARY_KEYS, Api, Ended, Shell, summary, until, update

HEAD = SUMMARY_KEYS[: SUMMARY_KEYS.index("uploaded") + 1]


def line_of(ended: Ended) -> dict[str, Any]:
    """The one line, read."""
    assert 1 == ended.out.count("\n"), ended.out
    found: dict[str, Any] = json.loads(ended.out)
    is_begun = found["command"] in ("plan", "pull", "status") and found["stopped"] is None
    held(found, found["command"] if is_begun else "summary")
    assert HEAD == list(found)[: len(HEAD)]
    assert (1, ended.code) == (found["schema_version"], found["exit_code"])
    return found


def test_all_that_ask_the_api(shell: Shell, api: Api) -> None:
    """plan, update, undo, pull, check, results and status print a line each, and all begin alike."""
    sheet, where = shell.sheet(api.names(2)), [str(one) for one in api.options]
    words: list[list[Any]] = [
        ["check", sheet, "-e", DUALENTRY], ["plan", sheet, "-e", DUALENTRY, *where],
        ["update", sheet, "-e", DUALENTRY, *where], ["results", "{run}"], ["status", "{run}"],
        ["undo", "{run}", *where],
        ["pull", "-e", DUALENTRY, "-o", "now.csv", "--base-url", api.sandbox.url, "--ids", sheet],
    ]  # fmt: skip
    found, run = {}, ""
    for one in words:
        told = line_of(shell.here(*(part.format(run=run) if isinstance(part, str) else part for part in one), "--json"))
        found[told["command"]] = told
        run = run or (told["run"] if told["command"] == "update" else "")
    assert ["check", "plan", "update", "status", "undo", "pull"] == list(found)  # `results` tells of the update
    assert dict.fromkeys(found, ("finished", None)) == {
        name: (one["state"], one["stopped"]) for name, one in found.items()
    }
    assert (None, False, True) == (
        found["check"]["host"],
        found["check"]["sandbox"],
        found["update"]["host"] is not None,
    )
    assert summary(Path(run))["state"] == "undone"


STARTS: dict[str, tuple[list[str], str, str]] = {
    "a wrong option": (["update", "x.csv", "--nothing"], "update", "usage"),
    "no endpoint": (["update", "x.csv"], "update", "usage"),
    "a wrong command": (["updaet", "x.csv"], "", "usage"),
    "a wrong value": (["update", "x.csv", "-e", DUALENTRY, "--max-attempts", "0"], "update", "settings"),
    "no key": (["update", "x.csv", "-e", DUALENTRY], "update", "credentials"),
    "no file": (["check", "missing.csv", "-e", DUALENTRY], "check", "input"),
    "no header": (["check", "x.csv", "-e", DUALENTRY], "check", "headers"),
    "no run": (["results", "nowhere"], "results", "folder"),
    "no run to look at": (["status", "nowhere"], "status", "folder"),
    "no list": (["runs", "nowhere.csv"], "runs", "usage"),
}


@pytest.mark.parametrize("name", STARTS)
def test_start_that_fails(offline: Shell, name: str) -> None:
    """What cannot begin says so in one line: which command, a word that never changes, a sentence, the next step."""
    offline.sheet("id,Tset\n1,2\n", "x.csv")
    words, command, reason = STARTS[name]
    ended = offline.here(*words, "--json")
    told = line_of(ended)
    assert (2, command or None, reason) == (ended.code, told["command"], told["stopped"]["reason"])
    assert "Put that right, and run the same command again." == told["stopped"]["hint"]
    assert told["stopped"]["message"].split("\n")[0][:20] in ended.err
    assert (None, None, None, 0) == (told["run"], told["state"], told["rows"], sum(told["outcomes"].values()))


def test_variable(offline: Shell) -> None:
    """BATCH_JSON is the same as --json; without either nothing is on standard output."""
    assert (
        "input"
        == line_of(offline.here("check", "no.csv", "-e", DUALENTRY, env={"BATCH_JSON": "1"}))["stopped"]["reason"]
    )
    assert "" == offline.here("check", "no.csv", "-e", DUALENTRY).out


def test_what_is_known_is_said(shell: Shell, api: Api) -> None:
    """A start that fails says what its settings say: endpoint, input, company."""
    told = line_of(shell.here(*update(api, "no.csv", "--company", "Acme", "--json")))
    assert (DUALENTRY, "no.csv", "Acme") == (told["endpoint"], told["input"], told["company"])


def test_busy_interrupted_and_status(shell: Shell, api: Api) -> None:
    """A second start is busy, one that is interrupted says so; meanwhile the folder says how far it is."""
    sheet = shell.sheet(api.names(30))
    api.sandbox.behave(latency=0.1)
    words = update(api, sheet, "--max-at-once", 1, "--no-compare")
    process = shell.start(*words, "--json")
    until(lambda: len(api.writes()) > 3, process)
    busy = line_of(shell.here(*words, "--json"))
    assert (5, "busy") == (busy["exit_code"], busy["stopped"]["reason"])
    running = shell.here("status", shell.only_run(), "--json").json
    assert ("running", None, 30) == (running["state"], running["exit_code"], sum(running["outcomes"].values()))
    assert "running" in shell.here("status", shell.only_run()).out
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate()
    told = json.loads(out)
    assert (143, "terminated", "unfinished") == (told["exit_code"], told["stopped"]["reason"], told["state"])
    assert "Run the same command again: it goes on with the rows that are left." == told["stopped"]["hint"]
    api.sandbox.behave(latency=0.0)
    again = line_of(shell.here(*words, "--json"))
    assert (0, True, told["run_id"]) == (again["exit_code"], again["resumed"], again["run_id"])


def test_interrupted_before_it_begins(shell: Shell, api: Api) -> None:
    """Ctrl-C while the input comes prints the line, and nothing but events on standard error."""
    os.mkfifo(shell.folder / "pipe.csv")
    process = shell.start(*update(api, "pipe.csv", "--json", "--log-format", "json"))
    with (shell.folder / "pipe.csv").open("wb"):  # once it has opened it
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    told = line_of(Ended(process.returncode, out.decode(), err.decode()))
    assert (130, "interrupted", None) == (told["exit_code"], told["stopped"]["reason"], told["run"])
    assert ["failed"] == [json.loads(line)["event"] for line in err.splitlines()], err


def test_left_at_once(shell: Shell, api: Api) -> None:
    """A second signal leaves at once, with the line all the same."""
    api.sandbox.set_faults("hang-before=1.0")
    process = shell.start(*update(api, shell.sheet(api.names(1)), "--json", "--log-format", "json", "--no-compare"))
    until(lambda: len(api.writes()) > 0, process)
    process.terminate()
    assert process.stderr is not None
    while b"Terminated: no further change is sent" not in process.stderr.readline():
        pass
    process.terminate()
    out, err = process.communicate(timeout=60)
    told = line_of(Ended(process.returncode, out.decode(), err.decode()))
    assert (143, "terminated") == (told["exit_code"], told["stopped"]["reason"])
    assert told["stopped"]["message"].startswith("Left at once, without results files. What was sent last")
    assert (str(shell.only_run()), "unfinished", None) == (told["run"], told["state"], told["rows"])
    assert {"note"} == {json.loads(line)["event"] for line in err.splitlines()}


def test_killed(shell: Shell, api: Api) -> None:
    """A run whose process was killed is no longer called running, although its folder says so."""
    sheet = shell.sheet(api.names(30))
    api.sandbox.behave(latency=0.1)
    process = shell.start(*update(api, sheet, "--max-at-once", 1, "--no-compare"))
    until(lambda: len(api.writes()) > 3, process)
    process.kill()
    process.wait()
    assert "running" == summary(shell.only_run())["state"]
    told = shell.here("status", shell.only_run(), "--json").json
    assert ("unfinished", 0, None) == (told["state"], told["per_second"], told["time_left"])
    assert (None, False) == (told["exit_code"], told["is_ended"])


def test_list_in_a_line(offline: Shell) -> None:
    """What lists is a line, too."""
    for words in (["runs"], ["endpoints"], ["endpoints", DUALENTRY]):
        assert 1 == offline.here(*words, "--json").out.count("\n")


def test_wanted_by_a_settings_file(offline: Shell) -> None:
    """What a settings file or a variable says of --json and of the job holds also where the start fails later."""
    (offline.folder / "own.toml").write_text("json = true\ncompany = 'Acme'\n", encoding="utf-8")
    words = ["update", "none.csv", "-e", DUALENTRY]
    told = line_of(offline.here(*words, "--config", "own.toml"))
    assert ("credentials", DUALENTRY, "none.csv", "Acme") == (
        told["stopped"]["reason"], told["endpoint"], told["input"], told["company"],
    )  # fmt: skip
    key = {"DUALENTRY_API_KEY": "k" * 20, "BATCH_JSON": "1"}
    assert "input" == line_of(offline.here(*words, env=key))["stopped"]["reason"]


def test_words_that_make_no_sense(offline: Shell) -> None:
    """Where the words make no sense, those that do are told all the same."""
    told = line_of(offline.here("update", "-e", DUALENTRY, "none.csv", "--nothing", "--max-attempts", "x", "--json"))
    assert ("usage", DUALENTRY, "none.csv") == (told["stopped"]["reason"], told["endpoint"], told["input"])


def test_schemas(offline: Shell) -> None:
    """Each document has a schema, by the name that the library takes, too; another name is refused."""
    for name in DOCUMENTS:
        told = offline.here("schema", name).json
        assert ("https://json-schema.org/draft/2020-12/schema", batch.schema(name)) == (told["$schema"], told)
        Draft202012Validator.check_schema(told)
    assert SUMMARY_KEYS == batch.schema("summary")["required"]
    assert 2 == offline.here("schema", "nothing").code
    with pytest.raises(
        batch.UsageError, match=r"nothing: there is no schema of this name\. There are: summary, plan, "
    ):
        batch.schema("nothing")


def test_schema_of_results(shell: Shell, api: Api) -> None:
    """The lines of both kinds of results are what the schema says, in its order."""
    (one,) = api.ids(1)
    frame = pl.DataFrame({"id": [one, "10002"], "name": ["New", None], "phone": [None, "no phone"]})
    frame.write_parquet(shell.folder / "sheet.parquet")
    frame.write_csv(shell.folder / "sheet.csv")
    wanted = batch.schema("results")
    for suffix in ("parquet", "csv"):
        told = shell.here(*update(api, f"sheet.{suffix}", "--json", "--new", "--out", suffix)).json
        path = Path(told["files"]["results"])
        lines = pl.read_parquet(path) if suffix == "parquet" else pl.read_csv(path, schema=CSV_LINE)
        assert list(wanted["properties"])[: len(lines.columns)] == lines.columns
        outcomes = ["unchanged" if suffix == "csv" else "updated", "invalid"]
        for line, outcome in zip(lines.to_dicts(), outcomes, strict=True):
            texts = {name: line[name] or "" for name in ("field", "message")} | (
                {"code": ""} if suffix == "csv" else {}
            )
            assert outcome == held(line | texts, "results")["outcome"]
