"""`batch sandbox`: the imitated APIs by hand."""

import json
import signal
from pathlib import Path

import pytest

from tests.shell import DUALENTRY, Ended, Shell, outcomes


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
