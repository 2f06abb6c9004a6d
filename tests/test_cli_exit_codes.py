"""Every exit code, and what a person and a pipeline are told with it."""

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from batch.errors import ExitCode
from tests.little_api import Asked, Said, little_api
from tests.shell import (
    DUALENTRY,
    OUTCOMES,
    SUMMARY_KEYS,
    VAYU,
    Api,
    Shell,
    assert_balanced,
    outcomes,
    results,
    summary,
    until,
    update,
)


def mixed(api: Api) -> str:
    """Rows for five outcomes: the second record has its value already; the last but one is refused by a fault."""
    ids = api.ids(4)
    api.sandbox.edit("dualentry", ids[1], {"name": "Same"})
    api.sandbox.set_faults(f"503=id:{ids[3]}")
    return f"id,name\n{ids[0]},New\n{ids[1]},Same\nx,Bad\n999999999,Nobody\n{ids[3]},Later\n"


# -- 0, 1, 3 --------------------------------------------------------------------------------------------------------


def test_0(shell: Shell, api: Api) -> None:
    """0: every row is updated or unchanged; there is no failures file."""
    ids = api.ids(2)
    api.sandbox.edit("dualentry", ids[1], {"name": "Same"})
    ended = shell.here(*update(api, shell.sheet(f"id,name\n{ids[0]},New\n{ids[1]},Same\n"), "--json"))
    assert (0, 0) == (ended.code, ended.json["exit_code"])
    assert ["updated", "unchanged"] == outcomes(shell.only_run())
    assert "failures" not in ended.json["files"]
    assert not list(shell.only_run().glob("failures*"))


def test_1(shell: Shell, api: Api) -> None:
    """1: finished, and some rows are invalid or rejected."""
    sheet = shell.sheet(api.names(1) + "x,Bad\n")
    ended = shell.here(*update(api, sheet, "--json"))
    assert (1, 1, None) == (ended.code, ended.json["exit_code"], ended.json["stopped"])


def test_3_wins_over_1(shell: Shell, api: Api) -> None:
    """3: rows are left to retry, also when others are to be fixed."""
    ended = shell.here(*update(api, shell.sheet(mixed(api)), "--json", "--max-attempts", 1))
    assert (3, 3) == (ended.code, ended.json["exit_code"])
    assert ["updated", "unchanged", "invalid", "rejected", "failed"] == outcomes(shell.only_run())


# -- 2 --------------------------------------------------------------------------------------------------------------


def test_2_leaves_nothing(offline: Shell) -> None:
    """2: could not start; nothing was sent, nothing is left behind, and why is on stdout in a line, too."""
    ended = offline.here("update", offline.sheet("id,Tset\n1,2\n"), "-e", DUALENTRY, "--sandbox", "--json")
    assert (2, 2, "headers") == (ended.code, ended.json["exit_code"], ended.json["stopped"]["reason"])
    assert ["sheet.csv"] == [path.name for path in offline.folder.iterdir()]


USAGE = {
    "unknown endpoint": (
        ["update", "sheet.csv", "-e", "dualentry.customer"],
        (
            '--endpoint "dualentry.customer": there is nothing of this name. Did you mean dualentry.customers? '
            "See:  batch endpoints\n"
        ),
    ),
    "no endpoint": (
        ["update", "sheet.csv"],
        "Which records? Name them with -e, such as -e dualentry.customers. See: batch endpoints\n",
    ),
    "no credentials": (
        ["update", "sheet.csv", "-e", DUALENTRY],
        (
            "There is no key yet. To set one up:  batch login -e dualentry.customers\n"
            "(Or set the environment variable DUALENTRY_API_KEY, or name a file that holds it: --token-file.)\n"
            "To try things out without one:  --sandbox\n"
        ),
    ),
    "no credentials of vayu": (
        ["update", "sheet.csv", "-e", VAYU],
        (
            "There is no key yet. To set one up:  batch login -e vayu.customers\n"
            "(Or set the environment variable VAYU_API_TOKEN, or name a file that holds it: --token-file.)\n"
            "To try things out without one:  --sandbox\n"
        ),
    ),
    "no input": (
        ["check", "nobody.csv", "-e", DUALENTRY],
        "nobody.csv does not exist: check the name and the folder.\n",
    ),
    "a wrong map": (
        ["check", "sheet.csv", "-e", DUALENTRY, "--map", "Name"],
        '--map "Name": write it as "HEADER=FIELD", or "HEADER=" to leave a column out.\n',
    ),
    "two places": (
        ["update", "sheet.csv", "-e", DUALENTRY, "--sandbox", "--base-url", "https://x.example"],
        "--sandbox and --base-url: name one of them.\n",
    ),
    "a wrong number": (
        ["update", "sheet.csv", "-e", DUALENTRY, "--sandbox", "--max-failures", "lots"],
        "--max-failures 'lots': it should be a number of rows (50) or a share of them (5%).\n",
    ),
    "a blank clear token": (
        ["check", "sheet.csv", "-e", DUALENTRY, "--clear-token", " "],
        "--clear-token ' ': it must not be blank, or every blank cell would clear its field.\n",
    ),
    "no run folder": (
        ["results", "."],
        ".: there is no run in this folder (no journal.sqlite).\n",
    ),
    "token file": (
        ["update", "sheet.csv", "-e", DUALENTRY, "--token-file", "nobody"],
        "--token-file nobody: no such file or directory.\n",
    ),
}


@pytest.mark.parametrize("case", USAGE)
def test_2_messages(offline: Shell, case: str) -> None:
    """Each says what was seen and what to do."""
    command, message = USAGE[case]
    offline.sheet("id,name\n10001,New\n")
    ended = offline.here(*command)
    said = ended.err.removeprefix("Error: ")
    assert (2, "") == (ended.code, ended.out)
    assert said.endswith(message), said
    assert ["sheet.csv"] == [path.name for path in offline.folder.iterdir()]


HEADERS = {
    "unknown": (
        "id,Phnoe,Name\n1,2,3\n",
        """sheet.csv: the headers do not fit dualentry.customers.
  "Phnoe" names no field.  To leave it out:  --map "Phnoe="  Nearest: phone.  If it is that:  --map "Phnoe=phone"
Nothing was sent.
All of it at once, if that is right:  batch update sheet.csv -e dualentry.customers --sandbox --map "Phnoe=phone"
""",
    ),
    "no id": (
        "Cust#,Name\n1,2\n",
        """sheet.csv: the headers do not fit dualentry.customers.
  "Cust#" names no field.  To leave it out:  --map "Cust#="
No column is the customer's id. Columns: Name, Cust#.
If "Cust#" is it:  --map "Cust#=id"
(if it is your own number, not the API's:  --key unique_id --map "Cust#=unique_id")
Nothing was sent.
All of it at once, if that is right:  batch update sheet.csv -e dualentry.customers --sandbox --map "Cust#=id"
""",
    ),
}


@pytest.mark.parametrize("case", HEADERS)
def test_2_headers(offline: Shell, case: str) -> None:
    """A header that names no field, or none that is the id, stops everything, and names the nearest fields."""
    text, message = HEADERS[case]
    ended = offline.here("update", offline.sheet(text), "-e", DUALENTRY, "--sandbox")
    assert (2, "", message) == (ended.code, ended.out, ended.err)
    assert ["sheet.csv"] == [path.name for path in offline.folder.iterdir()]


def test_2_not_what_its_name_says(offline: Shell) -> None:
    """A file that is not what its name says."""
    sheet = offline.sheet("", "sheet.xlsx")
    (offline.folder / sheet).write_bytes(b"%PDF-1.7 \x00\x01")
    ended = offline.here("check", sheet, "-e", DUALENTRY)
    message = "sheet.xlsx is a PDF: ask its sender for the spreadsheet it was made from.\n"
    assert (2, "", message) == (ended.code, ended.out, ended.err)


def test_2_unknown_option(offline: Shell) -> None:
    """An unknown option is named, with the nearest."""
    ended = offline.here("update", "sheet.csv", "--max-fialures", "3")
    assert (2, "") == (ended.code, ended.out)
    assert "Error: No such option '--max-fialures'. (Did you mean one of: " in ended.err
    assert "'--max-failures'" in ended.err


def test_2_unknown_command(offline: Shell) -> None:
    """So is an unknown command."""
    ended = offline.here("updaet", "sheet.csv")
    assert (2, "") == (ended.code, ended.out)
    assert "No such command 'updaet'." in ended.err


def test_2_file_without_command(offline: Shell) -> None:
    """And a file where a command should stand, such as one that was dragged there."""
    ended = offline.here("my", offline.sheet("id,name\n10001,A\n", "my sheet.csv").name.removeprefix("my "))
    assert (2, "") == (ended.code, ended.out)
    assert "Error: Say what is to be done with this file:  batch check 'my sheet.csv'" in ended.err.splitlines()


def test_2_invalid_abort(shell: Shell, api: Api) -> None:
    """--invalid abort sends nothing while a row is invalid; corrected in the failures file, everything goes."""
    (one,) = api.ids(1)
    sheet = shell.sheet(f"id,name,phone\n{one},New,1\n{one[::-1]}x,Bad,2\n")
    ended = shell.here(*update(api, sheet, "--invalid", "abort"))
    folder = shell.only_run()
    assert (2, ["unsent", "invalid"], []) == (ended.code, outcomes(folder), api.lines())
    assert "Stopped: 1 row is invalid and --invalid abort is set, so nothing was sent." in ended.err.splitlines()
    assert not any("same command" in line for line in ended.err.splitlines())
    assert "  unsent            1   goes with the corrected rows" in ended.err.splitlines()
    failures = folder / "failures.csv"
    assert shell.tell(ended.err).count("batch update sheet.batch/{time}/failures.csv -e dualentry.customers") == 1
    failures.write_text(failures.read_text().replace(f"{one[::-1]}x", api.ids(1)[0]))
    assert 0 == shell.here(*update(api, failures, "--invalid", "abort")).code
    assert 2 == len(api.applied())


# -- 3: what stops a run --------------------------------------------------------------------------------------------


def test_3_max_wait(shell: Shell, api: Api) -> None:
    """An API that asks for more patience than --max-wait ends the run, which goes on later with the same command."""

    def busy(asked: Asked) -> Said:
        if asked.is_write:
            return Said(429, {}, {"Retry-After": "3600"})
        return Said(200, {"items": [{"id": 10001, "name": "Old"}], "count": 1})

    with little_api(busy) as little:
        ended = shell.here("update", shell.sheet("id,name\n10001,New\n"), "-e", DUALENTRY, *little.options, "--json")
    assert (3, ["unsent"]) == (ended.code, outcomes(shell.only_run()))
    assert "The API asks to wait 60 min (Retry-After), longer than --max-wait 300." == ended.json["stopped"]["message"]
    assert ("max-wait", 3600) == (ended.json["stopped"]["reason"], ended.json["retry_after"])
    assert 1 == ended.json["throttled"]
    assert_balanced(shell.only_run())


def test_3_max_failures(shell: Shell, api: Api) -> None:
    """--max-failures ends the run after so many rejections; the rest is unsent."""
    sheet = shell.sheet(api.names(60))
    api.sandbox.set_faults("422=1")
    ended = shell.here(*update(api, sheet, "--no-compare", "--max-failures", "3", "--max-at-once", 1, "--json"))
    assert (3, "4 changes were rejected, more than --max-failures allows.") == (
        ended.code,
        ended.json["stopped"]["message"],
    )
    assert 4 <= ended.json["outcomes"]["rejected"] < 60
    assert_balanced(shell.only_run())


def test_3_unreachable(shell: Shell, api: Api) -> None:
    """An API that is not there costs a bounded number of attempts."""
    sheet = shell.sheet("id,name\n" + "".join(f"{10001 + one},New\n" for one in range(300)))
    with little_api(lambda _: Said()) as little:
        options = little.options
    ended = shell.here("update", sheet, "-e", DUALENTRY, *options, "--max-attempts", 1, "--json")
    assert 3 == ended.code
    assert {"failed", "unsent"} >= set(outcomes(shell.only_run()))
    assert ended.json["attempts"] < 60


# -- 4 --------------------------------------------------------------------------------------------------------------


def test_4_books(shell: Shell, api: Api) -> None:
    """4: books that do not balance; here a row's outcome was taken out of the journal while results were written."""
    assert 0 == shell.here(*update(api, shell.sheet(api.names(2)), "--out", "runs")).code
    with closing(sqlite3.connect(shell.only_run("runs") / "journal.sqlite")) as db, db:
        db.execute("INSERT INTO result VALUES (99, 99, '1', 'updated', 'final', 200, 1, 0, NULL, NULL)")
    ended = shell.here("results", "runs/latest", "--json")
    assert (4, 4, "bug") == (ended.code, ended.json["exit_code"], ended.json["stopped"]["reason"])
    assert ended.err.startswith(
        "This is a bug in batch: 2 rows, but the outcomes add up to 2, and the record of this run says "
    )
    assert ended.err.endswith("Please report it.\n")


def test_4_bug(shell: Shell, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """4: what nobody expected is called a bug, without class names or a traceback."""

    def fails(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("batch.run.finish.exit_code", fails)
    ended = shell.here(*update(api, shell.sheet(api.names(1)), "--metrics-file", "x.prom", "--json"))
    bug, where = ended.err.splitlines()[-2:]
    assert bug.startswith("This is a bug in batch (at finish.py:")
    assert bug.endswith("). Please report it with your command.")
    assert where.endswith(f"in the record of this run: {shell.only_run().relative_to(shell.folder)}")
    told = ended.json
    assert (4, 4, "bug", "unfinished") == (ended.code, told["exit_code"], told["stopped"]["reason"], told["state"])
    assert (str(shell.only_run()), 1, 1) == (told["run"], told["rows"], told["outcomes"]["updated"])
    assert 'outcome="updated"} 1\n' in (shell.folder / "x.prom").read_text()
    assert "Traceback" not in ended.err
    assert "ZeroDivision" not in ended.err


# -- 5 --------------------------------------------------------------------------------------------------------------


def test_5(shell: Shell, api: Api) -> None:
    """5: a second start of one input, by whatever path, names the first; kill -9 frees it."""
    sheet = shell.sheet(api.names(3))
    (shell.folder / "link.csv").symlink_to(shell.folder / sheet)
    (shell.folder / "elsewhere").symlink_to(shell.folder, target_is_directory=True)
    api.sandbox.set_faults("hang-before=nth:1")
    first = shell.start(*update(api, sheet, "--max-at-once", 1))
    until(api.writes, first)
    for path in (sheet, Path("link.csv"), Path("elsewhere/sheet.csv"), shell.folder / sheet):
        second = shell.here(*update(api, path))
        expected = (
            f"Another run holds this input: process {first.pid}, {shell.folder}/sheet.batch. "
            "Wait for it, or stop it first.\n"
        )
        assert (5, "", expected) == (second.code, second.out, second.err)
    held = shell.here("results", shell.only_run())
    assert (5, f"Another run holds this run folder: process {first.pid}") == (held.code, held.err.partition(",")[0])
    assert [] == shell.runs("link.batch")
    first.send_signal(signal.SIGKILL)
    first.wait()
    api.sandbox.set_faults()
    assert 0 == shell.here(*update(api, sheet)).code
    assert [1, 1, 1] == [api.applied().count(one) for one in set(api.applied())]


def test_other_inputs_are_not_held(shell: Shell, api: Api) -> None:
    """Another input is no neighbour."""
    api.sandbox.set_faults("hang-before=nth:1")
    first = shell.start(*update(api, shell.sheet(api.names(1))))
    until(api.writes, first)
    api.sandbox.set_faults()
    assert 0 == shell.here(*update(api, shell.sheet(api.names(1), "other.csv"))).code


# -- what is written ------------------------------------------------------------------------------------------------


def test_json_alone(shell: Shell, api: Api) -> None:
    """With --json stdout is the summary object and nothing else, the same as in summary.json."""
    ended = shell.here(*update(api, shell.sheet(mixed(api)), "--json", "--max-attempts", 1))
    folder = shell.only_run()
    assert summary(folder) == json.loads(ended.out)
    told = ended.json
    assert SUMMARY_KEYS == list(told)
    assert OUTCOMES == list(told["outcomes"])
    assert (
        dict.fromkeys(("updated", "unchanged", "invalid", "rejected", "failed"), 1)
        | {
            "unknown": 0,
            "unsent": 0,
        }
        == told["outcomes"]
    )
    assert all(Path(path).is_file() for path in told["files"].values())
    assert {"results", "failures", "journal"} <= set(told["files"])
    assert (DUALENTRY, "sheet.csv", 5, None) == tuple(told[k] for k in ("endpoint", "input", "rows", "stopped"))


def test_attempts_agree_with_the_ledger(shell: Shell, api: Api) -> None:
    """`attempts` is the number of HTTP exchanges, `throttled` that of the 429s among them."""
    sheet = shell.sheet(api.names(6))
    api.sandbox.set_faults("503=nth:3", "429-bare=nth:5")
    ended = shell.here(*update(api, sheet, "--json"))
    assert (0, len(api.lines()), 1) == (ended.code, ended.json["attempts"], ended.json["throttled"])
    assert ended.json["attempts"] - 2 == ended.json["requests"]


def test_results_columns(shell: Shell, api: Api) -> None:
    """results.csv has a line for every row, in input order, with these columns."""
    shell.here(*update(api, shell.sheet(mixed(api)), "--max-attempts", 1))
    lines = results(shell.only_run())
    assert ["row", "id", "outcome", "status", "attempts", "field", "message"] == list(lines[0])
    assert ["2", "3", "4", "5", "6"] == [line["row"] for line in lines]
    assert ["200", None, None, "404", "503"] == [line["status"] for line in lines]
    assert ["1", "0", "0", "0", "1"] == [line["attempts"] for line in lines]
    assert_balanced(shell.only_run())


def test_failures_columns(shell: Shell, api: Api) -> None:
    """failures.csv has the original columns untouched and in order, then ours."""
    text = 'Note, ID ,name,E-Mail\n"a, b",x, Spaces  kept ,00123\n'
    ended = shell.here("check", shell.sheet(text), "-e", DUALENTRY, "--map", "Note=", "--json")
    lines = Path(ended.json["files"]["failures"]).read_text().splitlines()
    assert text.splitlines()[0] + ",batch_row,batch_outcome,batch_field,batch_message,batch_run,batch_seen" == lines[0]
    assert lines[1].startswith(text.splitlines()[1] + ",2,invalid,id,")


def test_parquet_in_parquet_out(shell: Shell, api: Api) -> None:
    """Parquet input has its results and failures as Parquet."""
    frame = pl.DataFrame({"id": [int(api.ids(1)[0]), 999_999_999], "name": ["New", "Nobody"]})
    frame.write_parquet(shell.folder / "sheet.parquet")
    ended = shell.here(*update(api, Path("sheet.parquet"), "--json"))
    assert 1 == ended.code
    assert ["results.parquet", "failures.parquet"] == [
        Path(ended.json["files"][name]).name for name in ("results", "failures")
    ]
    kept = pl.read_parquet(ended.json["files"]["failures"])
    assert (frame.columns, frame.dtypes) == (kept.columns[:2], kept.dtypes[:2])


@pytest.mark.parametrize("code", [0, 1, 3])
def test_quiet(shell: Shell, api: Api, code: int) -> None:
    """--quiet says nothing but errors."""
    sheet = shell.sheet(api.names(1) + ("x,Bad\n" if code == 1 else ""))
    api.sandbox.set_faults(*(["503=1"] if code == 3 else []))
    ended = shell.here(*update(api, sheet, "--quiet", "--max-attempts", 1))
    assert (code, "", "") == (ended.code, ended.out, ended.err)


def test_quiet_stop(shell: Shell) -> None:
    """What stops a run is an error, and said."""
    with little_api(lambda _: Said(403, {"success": False, "errors": {}})) as little:
        command = ["update", shell.sheet("id,name\n10001,New\n"), "-e", DUALENTRY, *little.options]
        ended = shell.here(*command, "--quiet")
    assert (2, "", 1) == (ended.code, ended.out, len(ended.err.splitlines()))
    assert ended.err.startswith("Stopped: ")


def test_limit(shell: Shell, api: Api) -> None:
    """--limit takes the first rows only, and says that there are others."""
    sheet = shell.sheet(api.names(5))
    ended = shell.here(*update(api, sheet, "--limit", 2, "--json"))
    assert "Only the first 2 rows were read (--limit); what is behind that is in no count." in ended.err
    assert (0, 2, 2) == (ended.code, ended.json["rows"], len(api.applied()))
    assert ["2", "3"] == [line["row"] for line in results(shell.only_run())]


def test_partial_address(shell: Shell, api: Api) -> None:
    """Part of an address is completed from the record, or invalid without reading it; never blanked."""
    (one,) = api.ids(1)
    before = api.sandbox.record("dualentry", one)["full_address"]
    sheet = shell.sheet(f"id,full_address.city\n{one},Elsewhere\n")
    refused = shell.here(*update(api, sheet, "--no-compare"))
    assert (1, ["invalid"], []) == (refused.code, outcomes(shell.only_run()), api.lines())
    assert 0 == shell.here(*update(api, sheet)).code
    assert {**before, "city": "Elsewhere"} == api.sandbox.record("dualentry", one)["full_address"]


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_compare(shell: Shell, api: Api, endpoint: str) -> None:
    """What is the same already is not sent; with --no-compare it is."""
    sheet = shell.sheet(api.names(2, endpoint))
    assert 0 == shell.here(*update(api, sheet, endpoint=endpoint)).code
    again = shell.here(*update(api, sheet, "--json", endpoint=endpoint))
    assert (0, 2, 2) == (again.code, again.json["outcomes"]["unchanged"], len(api.writes()))
    blind = shell.here(*update(api, sheet, "--json", "--no-compare", endpoint=endpoint))
    assert (0, 2, 4) == (blind.code, blind.json["outcomes"]["updated"], len(api.writes()))


def test_every_code_is_known() -> None:
    """The contract's codes, each tested here, in test_cli_world.py or in test_signals.py."""
    assert {0, 1, 2, 3, 4, 5, 6, 10, 130, 143} == set(map(int, ExitCode))


def test_help_and_version(offline: Shell) -> None:
    """--help and --version are what was asked for: stdout, exit 0."""
    shown, version = offline.here("--help"), offline.here("--version")
    assert (0, "", True) == (shown.code, shown.err, shown.out.startswith("Usage: batch [OPTIONS] COMMAND"))
    assert (0, "", True) == (version.code, version.err, version.out.startswith("batch, version "))


def test_no_command(offline: Shell) -> None:
    """Without a command it shows what there is, and is not a success."""
    ended = offline.here()
    assert (2, True) == (ended.code, "Commands:" in ended.out + ended.err)


def test_process_exit_code(shell: Shell, api: Api) -> None:
    """What the boundary says is what the process ends with."""
    ended = shell.run("check", shell.sheet("id,name\nx,y\n"), "-e", DUALENTRY, cold=True)
    assert 1 == ended.code


@pytest.mark.parametrize(
    ("verb", "missing", "example"),
    [
        ("update", "INPUT", "customers.xlsx -e dualentry.customers"),
        ("check", "INPUT", "customers.xlsx -e dualentry.customers"),
        ("undo", "RUN_FOLDER", "customers.batch/latest"),
    ],
)
def test_missing_argument(offline: Shell, verb: str, missing: str, example: str) -> None:
    """Of what is missing on a command line it is said what may stand there."""
    ended = offline.here(verb)
    said = f"Error: Missing argument '{missing}'. Such as:  batch {verb} {example}"
    assert (2, said) == (ended.code, ended.err.splitlines()[-1].replace("'INPUT...'", "'INPUT'"))
