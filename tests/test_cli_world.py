"""The world around: locales, machines and networks that are not as one would wish."""

import json
import os
import time
from pathlib import Path

import pytest

from batch.credentials import fingerprint
from tests.shell import DUALENTRY, Api, Shell
from tests.test_terminal import on_terminal

WHY = "the system does not say why"


# -- encodings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "plan", "update"])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_poor_encoding(shell: Shell, api: Api, command: str, encoding: str) -> None:
    """Output never fails for an encoding: what it lacks is escaped, and JSON stays JSON."""
    sheet = shell.sheet(f"id,name\n{api.ids(1)[0]},Łódź\nx,y\n", "Müller Łódź.csv")
    options = [] if command == "check" else api.options
    given = [command, sheet, "-e", DUALENTRY, *options]
    env = {"LC_ALL": "C", "PYTHONIOENCODING": encoding}
    process = shell.start(*given, env=env)
    shown = b"".join(process.communicate())
    assert (1, True) == (process.returncode, "Müller Łódź".encode(encoding, "backslashreplace") in shown), shown
    process = shell.start(*given, "--json", env=env)
    found = json.loads(process.communicate()[0].decode(encoding))
    assert (1, True) == (process.returncode, "Müller Łódź.csv" in json.dumps(found, ensure_ascii=False))


def test_poor_terminal(shell: Shell, api: Api) -> None:
    """Questions and the progress bar need no more letters than the terminal has."""
    sheet = shell.sheet(f"id,name\n{api.ids(1)[0]},Łódź\n", "Müller.csv")
    command = ["update", sheet, "-e", DUALENTRY, "--base-url", api.url, "--max-per-second", "1"]
    ended = on_terminal(shell, command, [(b"[y/N]: ", b"y\n")], LC_ALL="C", PYTHONIOENCODING="ascii")
    assert (0, True, False) == (ended.code, "M\\xfcller.batch" in ended.err, "\\u2501" in ended.err), ended.err


@pytest.mark.parametrize("command", ["check", "update"])
def test_undecodable_name(shell: Shell, api: Api, command: str) -> None:
    """A name that is no text is refused with its bytes escaped, and what to do."""
    (shell.folder / os.fsdecode(b"M\xfcller.csv")).write_text("id,name\n1000,A\n")
    options = [] if command == "check" else [*api.options]
    ended = shell.run(command, os.fsdecode(b"M\xfcller.csv"), "-e", DUALENTRY, *options)
    assert (2, "") == (ended.code, ended.out)
    assert ended.err == (
        "M\\udcfcller.csv: the file system spells names as utf-8 here, and this one, or that of a folder above it, is "
        "something else. Rename it, or set PYTHONUTF8=1.\n"
    )


# -- what the system says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError(28, "No space left on device"), "No space left on device"), (OSError("full"), "full"), (OSError(), WHY)],
)
def test_reason(shell: Shell, api: Api, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str) -> None:
    """What the disk refuses is told with a reason, also where the error has no number and no text."""

    def refuse(*given: object) -> None:
        raise error

    monkeypatch.setattr("batch.commands.plan.write_plan", refuse)
    ended = shell.here("plan", shell.sheet(api.names(1)), "-e", DUALENTRY, *api.options)
    assert (2, True) == (ended.code, f"the plan cannot be written ({said}). Make room" in ended.err), ended.err


# -- a pace below the documented one --------------------------------------------------------------------------------


def test_slower_than_documented(shell: Shell, api: Api) -> None:
    """The start says that it goes slower than documented, and why."""
    sheet = shell.sheet(api.names(1))
    command = ["-e", DUALENTRY, "--base-url", api.url, "--yes"]
    ended = shell.here("update", sheet, *command, "--max-per-second", "2")
    said = "goes at 2/s at most, slower than the 5 requests/s that are documented: --max-per-second"
    assert f"\n  {said}\n" in ended.err, ended.err
    key = fingerprint(api.url, {"DUALENTRY_API_KEY": shell.environment["DUALENTRY_API_KEY"]})
    limits = Path(shell.environment["XDG_STATE_HOME"], "batch", "limits.json")
    limits.write_text(json.dumps({key: {"per_second": 0.314, "at": time.time() - 60}}))
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time.time() - 60))
    said = "begins with 0.31/s, slower than the 5 requests/s that are documented: the API refused more on "
    ended = shell.here("update", sheet, *command, "--new")
    assert f"\n  {said}{when}; that is forgotten after 24 h\n" in ended.err, ended.err
    assert f"This {said}" in shell.here("plan", sheet, *command).err
