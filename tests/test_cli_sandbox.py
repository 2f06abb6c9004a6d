"""`batch sandbox`: the imitated APIs by hand."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.shell import DUALENTRY, Ended, Shell, outcomes, until


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_by_hand(offline: Shell, number: signal.Signals) -> None:
    """It says where it is and what opens it, serves a run of another process, and stops when told to."""
    process = offline.start("sandbox", "--limits", "off", "--ledger", "ledger.jsonl")
    assert process.stdout is not None
    hello = json.loads(process.stdout.readline())
    sheet = offline.sheet("id,name\n10001,New\n")
    ended = offline.here("update", sheet, "-e", DUALENTRY, "--base-url", hello["url"], env=hello["dualentry"]["env"])
    assert (0, ["updated"]) == (ended.code, outcomes(offline.only_run()))
    lines = [json.loads(line) for line in (offline.folder / "ledger.jsonl").read_text().splitlines()]
    assert [("GET", False), ("PATCH", True)] == [(line["method"], line["applied"]) for line in lines]
    process.send_signal(number)
    assert 0 == process.wait(10)


def test_wrong_switch(offline: Shell) -> None:
    """A wrong switch is exit code 2."""
    message = "batch sandbox: --limits none: choose one of documented, fast, off\n"
    assert Ended(2, "", message) == offline.here("sandbox", "--limits", "none")


def test_help(offline: Shell) -> None:
    """Help lists the switches and every kind of fault."""
    ended = offline.here("sandbox", "--help")
    assert (0, "") == (ended.code, ended.err)
    assert ended.out.startswith("usage: batch sandbox [-h] [--port PORT]")
    assert "  hang-after      applied, and the answer never comes" in ended.out.splitlines()


def test_ledger_is_private(offline: Shell) -> None:
    """The ledger carries what was sent: 0600."""
    process = offline.start("sandbox", "--ledger", "ledger.jsonl", "--until-stdin-closes", stdin=-1)
    assert process.stdout is not None
    process.stdout.readline()
    assert 0o600 == (offline.folder / Path("ledger.jsonl")).stat().st_mode & 0o777
    assert process.stdin is not None
    process.stdin.close()
    assert 0 == process.wait(10)
    process.stdin = None


# -- the one that stays ------------------------------------------------------------------------------------------------


@pytest.fixture
def standing(offline: Shell) -> Iterator[Shell]:
    """A shell in which the sandbox that stays runs."""
    started = offline.run("sandbox", "start")
    assert 0 == started.code, started.err
    yield offline
    offline.run("sandbox", "stop")


def kept_in(shell: Shell) -> Path:
    return Path(shell.environment["XDG_STATE_HOME"]) / "batch" / "sandbox"


def address(shell: Shell) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((kept_in(shell) / "address.json").read_text())
    return found


def update(shell: Shell, text: str = "id,name\n10001,New\n", *more: object) -> Ended:
    return shell.here("update", shell.sheet(text), "-e", DUALENTRY, "--sandbox", *more)


def kill(shell: Shell) -> None:
    """End it as a crash or the end of the computer would."""
    os.kill(address(shell)["pid"], signal.SIGKILL)
    until(lambda: "does not run any more" in update(shell).err)


def test_start_and_stop(standing: Shell) -> None:
    """A start says where it is and what uses it; a second one says the same; what is stopped is gone."""
    url = address(standing)["url"]
    again = standing.here("sandbox", "start")
    said = (
        f"Your sandbox runs already, at {url}.\n"
        "--sandbox sends to it, and what you change there stays.\n"
        f"Try:   batch pull -e {DUALENTRY} -o customers.xlsx --sandbox\n"
        "Stop:  batch sandbox stop\n"
    )
    assert (0, said) == (again.code, again.err)
    sent = update(standing)
    assert f"1 row -> DualEntry customers at {url} (your sandbox), key …" in sent.err
    assert "  Nothing real is changed: this is your sandbox.\n" in sent.err
    stopped = standing.here("sandbox", "stop")
    said = (
        "Your sandbox is stopped. Its records are kept.\n"
        "Go on with them:  batch sandbox start\n"
        "Begin with new ones:  batch sandbox start --new\n"
    )
    assert (0, said) == (stopped.code, stopped.err)
    assert (2, "No sandbox was started. To start one:  batch sandbox start\n") == (
        standing.here("sandbox", "stop").code, standing.here("sandbox", "stop").err,
    )  # fmt: skip
    other = update(standing).err
    assert "(sandbox), key …" in other
    assert other.startswith(
        "Your sandbox is stopped, so this goes to another one, with other records, which ends with this command. "
        "To go on with yours:  batch sandbox start\n"
    )


def test_rehearsal(standing: Shell) -> None:
    """Pull, edit, update, undo and update again meet the same records, also after a stop and a start."""
    pulled = standing.here("pull", "-o", "now.csv", "-e", DUALENTRY, "--sandbox", "--where", "unique_id=C-10002")
    assert 0 == pulled.code, pulled.err
    text = (standing.folder / "now.csv").read_text(encoding="utf-8-sig").replace('"Bolt Holdings, Inc."', "Bolt AG", 1)
    assert ["updated"] == outcomes_of(standing, update(standing, text))
    assert ["unchanged"] == outcomes_of(standing, update(standing, text, "--new"))
    assert [0, 0] == [standing.run("sandbox", verb).code for verb in ("stop", "start")]
    first = str(standing.runs()[0].relative_to(standing.folder))
    unnamed = standing.here("undo", first)
    assert (2, f"{first}: this run went to your sandbox. Say that it is meant:  --sandbox\n") == (
        unnamed.code, unnamed.err,
    )  # fmt: skip
    assert f"  Take it back:  batch undo {first} --sandbox\n" in standing.here("runs", "sheet.csv").out
    taken_back = standing.here("undo", first, "--sandbox")
    assert (0, True) == (taken_back.code, "  reversed          1\n" in taken_back.err), taken_back.err
    assert ["updated"] == outcomes_of(standing, update(standing, text, "--new"))


def test_undo_of_a_file(offline: Shell) -> None:
    """Of a file's runs those of the sandbox that is meant are listed: not of one that is gone, nor sent elsewhere."""
    assert 0 == update(offline).code
    none = "sheet.csv: no run of this file changed anything that is not taken back yet.\n"
    assert (2, none) == (offline.here("undo", "sheet.csv").code, offline.here("undo", "sheet.csv").err)
    try:
        assert 0 == offline.run("sandbox", "start").code
        assert none == offline.here("undo", "sheet.csv", "--sandbox").err
        assert 0 == update(offline).code
        newest = max(offline.runs(), key=lambda run: run.name)
        found = offline.here("undo", "sheet.csv", "--sandbox")
        assert (2, f"sheet.csv: name the run to take back:  {newest}\n") == (found.code, found.err)
        there = (
            "sheet.csv: what can be taken back of this file went to your sandbox. Say that it is meant:  --sandbox\n"
        )
        assert there == offline.here("undo", "sheet.csv").err
    finally:
        offline.run("sandbox", "stop")


def outcomes_of(shell: Shell, ended: Ended) -> list[str]:
    assert 0 == ended.code, ended.err
    return outcomes(max(shell.runs(), key=lambda run: run.stat().st_mtime_ns))


def test_resume(offline: Shell) -> None:
    """A run that could not finish goes on in the sandbox that was started anew, and its done rows stay done."""
    text = "id,name\n10001,One\n10002,Two\n"
    try:
        assert 0 == offline.run("sandbox", "start", "--fault", "500@writes=id:10002").code
        assert (3, ["updated", "failed"]) == (
            update(offline, text, "--max-attempts", 1).code, outcomes(offline.only_run()),
        )  # fmt: skip
        assert [0, 0] == [offline.run("sandbox", verb).code for verb in ("stop", "start")]
        ended = update(offline, text)
        assert (0, ["updated", "updated"]) == (ended.code, outcomes(offline.only_run())), ended.err
    finally:
        offline.run("sandbox", "stop")


def test_crash(standing: Shell) -> None:
    """One that was killed is noticed, nothing is sent elsewhere instead, and a start goes on with its records."""
    assert 0 == update(standing).code
    until(lambda: "New" in records(standing))
    kill(standing)
    refused = update(standing)
    assert (2, (
        "Your sandbox does not run any more: it ended by itself, or the computer was restarted. Its records are kept.\n"
        "To go on with it:  batch sandbox start\n"
        "To do without it:  batch sandbox stop\n"
    )) == (refused.code, refused.err)  # fmt: skip
    before = address(standing)
    assert 0 == standing.run("sandbox", "start").code
    assert (before["url"], before["key"]) == (address(standing)["url"], address(standing)["key"])
    assert "  unchanged         1\n" in update(standing, "id,name\n10001,New\n", "--new").err
    kill(standing)
    assert "Your sandbox had ended by itself. Its records are kept.\n" in standing.here("sandbox", "stop").err
    assert "(sandbox), key …" in update(standing).err


def records(shell: Shell) -> str:
    path = kept_in(shell) / "records.json"
    return path.read_text() if path.exists() else ""


def test_port_that_is_taken(standing: Shell) -> None:
    """Where somebody else has its port by now it takes another one, and its runs are its runs all the same."""
    assert 0 == update(standing).code
    run, url = str(standing.only_run().relative_to(standing.folder)), address(standing)["url"]
    assert 0 == standing.run("sandbox", "stop").code
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))):
        assert 0 == standing.run("sandbox", "start").code
    assert url != address(standing)["url"]
    taken_back = standing.here("undo", run, "--sandbox")
    assert (0, True) == (taken_back.code, "  reversed          1\n" in taken_back.err), taken_back.err


def test_new_records(standing: Shell) -> None:
    """With --new the records are as at first, and the key is another one, so that no earlier run is gone on with."""
    assert 0 == update(standing).code
    run, key = str(standing.only_run().relative_to(standing.folder)), address(standing)["key"]
    assert [0, 0] == [standing.run("sandbox", *words).code for words in (["stop"], ["start", "--new"])]
    assert key != address(standing)["key"]
    other = standing.here("undo", run, "--sandbox")
    assert (2, True) == (other.code, "another company" in other.err or "another key" in other.err), other.err
    assert "  updated           1\n" in update(standing).err


def test_stop_ends_nothing_else(standing: Shell) -> None:
    """What answers at its address and does not know the key is left alone; so is one that hangs."""
    (kept_in(standing) / "address.json").write_text(json.dumps(address(standing) | {"key": "another"}))
    ended = standing.here("sandbox", "stop")
    url = address(standing)["url"]
    said = f"What answers at {url} is not the sandbox that was started, or hangs. It was left alone.\n"
    assert (2, said) == (ended.code, ended.err)
    key = json.loads((kept_in(standing) / "kept.json").read_text())["key"]
    (kept_in(standing) / "address.json").write_text(json.dumps(address(standing) | {"key": key}))


def test_files_are_private(standing: Shell) -> None:
    """Nobody else may read where it is and what opens it."""
    assert {0o600} == {path.stat().st_mode & 0o777 for path in kept_in(standing).iterdir()}
    assert 0o700 == kept_in(standing).stat().st_mode & 0o777


def test_switches_of_start(offline: Shell) -> None:
    """What the sandbox keeps by itself cannot be named, and a wrong switch starts nothing."""
    ended = offline.here("sandbox", "start", "--state", "x")
    said = "batch sandbox: start: it keeps the records of one company by itself. Leave out --state, name one --key\n"
    assert (2, said) == (ended.code, ended.err)
    assert (2, False) == (offline.here("sandbox", "start", "--limits", "x").code, kept_in(offline).exists())


def test_records_of_a_sandbox_are_no_company(offline: Shell) -> None:
    """Whatever name is given, another sandbox has other records, so that no run goes on in it because of the name."""
    assert update(offline, "id,name\n10001,One\n", "--company", "acme", "--json").json["company"] is None
