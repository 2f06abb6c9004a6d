"""What is asked on a terminal, beside the plain question: cells that would be emptied, and the canary."""

import io
import os
import pty
import select
import shutil
from contextlib import suppress
from typing import Any

import pytest

from batch.cli.console import fitted
from tests.shell import DUALENTRY, Api, Ended, Shell, until

SEND = b"[y/N/l list]: "
FEW = b"[y/N/l list/c first 10]: "
MEANT = b"Is that meant? [y/N]: "


def on_terminal(
    shell: Shell, command: list[object], answers: list[tuple[bytes, bytes]], *, ahead: bytes = b"", **env: str
) -> Ended:
    """Run on a terminal, and give each answer when its question comes; `ahead` is typed before there is any."""
    master, slave = pty.openpty()
    os.write(master, ahead)
    around: dict[str, Any] = {"stdin": slave, "stdout": slave, "stderr": slave, "start_new_session": True}
    process = shell.start(
        *command, env={"TERM": "xterm", "COLUMNS": "1000", **env}, **around
    )  # of its own: a key is asked for on /dev/tty
    os.close(slave)
    said = b""
    with suppress(OSError):  # EIO: the other side is closed
        while select.select([master], [], [], 30.0)[0] and (data := os.read(master, 4096)):
            said += data
            if answers and said.endswith(answers[0][0]):
                os.write(master, answers.pop(0)[1])
    os.close(master)
    until(lambda: process.poll() is not None)
    return Ended(process.returncode, "", said.decode().replace("\r\n", "\n"))


def update(api: Api, sheet: object, *more: object) -> list[object]:
    return ["update", sheet, "-e", DUALENTRY, "--base-url", api.url, "--max-per-second", "2000", *more]


def clearing(api: Api) -> str:
    return "id,phone\n" + "".join(f"{one},<clear>\n" for one in api.ids(12))


def test_canary_is_offered(shell: Shell, api: Api) -> None:
    """For a new input of more than ten changes, "c" sends ten, stops when one does not hold, and asks the next time."""
    ids = api.ids(12)
    api.sandbox.set_faults(f"success-false=id:{ids[4]}")
    sheet = shell.sheet("id,name\n" + "".join(f"{one},New\n" for one in ids))
    ended = on_terminal(shell, update(api, sheet), [(FEW, b"c\n")])
    assert "Send? [y/N/l list/c first 10]: c" in ended.err
    assert (
        "Stopped: The first 10 changes were sent to try, and row 6 did not hold: it is rejected. "
        "Nothing else was sent." in ended.err
    )
    assert (1, 10) == (ended.code, len(api.writes()))
    assert "2   waits until somebody has looked" in ended.err
    assert "When you have looked at that, the same command on a terminal asks whether to go on:  " in ended.err
    assert f"Or compare all rows anew:  batch update {sheet} -e {DUALENTRY}" in ended.err
    again = on_terminal(
        shell, update(api, sheet), [(b"Go on with the other rows? [y/N]: ", b"y\n"), (b"Send? [y/N]: ", b"y\n")]
    )
    assert (1, 12) == (again.code, len(api.writes()))
    assert "row 6 did not hold: it is rejected." in again.err


@pytest.mark.parametrize(("answer", "code", "writes"), [(b"y\n", 0, 12), (b"n\n", 2, 0), (b"\n", 2, 0)])
def test_whole_is_offered(shell: Shell, api: Api, answer: bytes, code: int, writes: int) -> None:
    """Any other answer means what it means without a canary."""
    ended = on_terminal(shell, update(api, shell.sheet(api.names(12))), [(FEW, answer)])
    assert (code, writes) == (ended.code, len(api.writes()))


def test_typed_ahead(shell: Shell, api: Api) -> None:
    """What was typed before the question was to be seen is no answer to it."""
    ended = on_terminal(shell, update(api, shell.sheet(api.names(1))), [(SEND, b"n\n")], ahead=b"y\ny\n")
    assert (2, []) == (ended.code, api.writes()), ended.err
    assert "Send? [y/N/l list]: n" in ended.err


def test_clears_are_asked_about(shell: Shell, api: Api) -> None:
    """Many clears are shown and asked about first."""
    answers = [(MEANT, b"y\n"), (SEND, b"y\n")]
    ended = on_terminal(shell, update(api, shell.sheet(clearing(api)), "--canary", "0"), answers)
    assert "  phone would be cleared on 12 of 12 customers (100%)\n" in ended.err
    assert (0, 12) == (ended.code, len(api.writes()))


def test_clears_are_declined(shell: Shell, api: Api) -> None:
    """Who says that the clears are not meant is not asked any further, and nothing is sent."""
    ended = on_terminal(shell, update(api, shell.sheet(clearing(api))), [(MEANT, b"n\n")])
    assert (2, [], []) == (ended.code, api.writes(), shell.runs())


def test_clears_with_yes(shell: Shell, api: Api) -> None:
    """--yes does not answer for cells that would be emptied by mistake."""
    ended = on_terminal(shell, update(api, shell.sheet(clearing(api)), "--yes"), [])
    assert ended.err.endswith(
        "phone would be cleared on 12 of 12 customers (100%).\n"
        "That is more than --max-clears 20% allows, so nothing was sent. If it is meant:  --max-clears 100%\n"
    )
    assert (2, []) == (ended.code, api.writes())


@pytest.mark.parametrize(("no_colour", "is_red"), [("", True), ("1", False)])
def test_clears_of_a_plan_are_red(shell: Shell, api: Api, no_colour: str, is_red: bool) -> None:
    """On a terminal the cells that would be emptied have a colour of their own, unless NO_COLOR says no."""
    sheet = shell.sheet(f"id,name,phone\n{api.ids(1)[0]},New,<clear>\n")
    command: list[object] = ["plan", sheet, "-e", DUALENTRY, "--base-url", api.url]
    ended = on_terminal(shell, command, [], NO_COLOR=no_colour)
    red = [line for line in ended.err.splitlines() if line.startswith("\x1b[31m")]
    assert (2 if is_red else 0) == len(red)
    assert is_red == ("\x1b[31m" in ended.err)


def test_lines_break_at_words(shell: Shell, api: Api) -> None:
    """On a narrow terminal no word is cut, and a command to copy stays one line."""
    sheet = shell.sheet("id,name\n" + "".join(f"99999{one:03},New\n" for one in range(40)))
    ended = on_terminal(shell, [*update(api, sheet), "--yes"], [], COLUMNS="60")
    wide = [line for line in ended.err.splitlines() if len(line) > 60]
    assert (True, True) == (bool(wide), all("batch " in line for line in wide))
    assert (
        "  rejected  id                   there is no customer with\n    this id   40 rows: 2, 3, 4, 5, 6, …\n"
        in ended.err
    )


def test_list(shell: Shell, api: Api) -> None:
    """With l it shows old and new, a screen at a time, and asks again; no line is wider than the screen."""
    sheet = shell.sheet("Customer ID,Customer Name\n" + "".join(f"{one},New {one} Company\n" for one in api.ids(30)))
    answers = [(FEW, b"l\n"), *[(b"q: enough: ", b"\n")] * 2, (FEW, b"l\n"), (b"q: enough: ", b"q\n"), (FEW, b"n\n")]
    ended = on_terminal(shell, update(api, sheet), answers, COLUMNS="80", LINES="24")
    assert (2, []) == (ended.code, api.writes())
    lines = ended.err.rpartition("\x1b[2K")[2].splitlines()
    assert 30 + 10 == sum(" -> New" in line for line in lines)
    assert "30 of 30 customers will change (30 cells)" in lines
    assert (True, True) == ("name (Customer Name)" not in ended.err, max(map(len, lines)) <= 80)


def test_reasons_once(shell: Shell, api: Api) -> None:
    """A reason that stands above the question is not said below it again, but that it stands there."""
    number = api.ids(1)[0]
    sheet = shell.sheet(f"id,name\n{number},New\nx!,A\n99999999,B\n")
    ended = on_terminal(shell, update(api, sheet), [(SEND, b"y\n")])
    above, _, below = ended.err.partition("Send?")
    assert (1, 1, 0) == (above.count("Reasons\n"), above.count("there is no customer"), below.count("Reasons\n"))
    for line in ("  invalid           1   fix", "  rejected          1   fix"):
        assert f"{line} and run again (reasons above)\n" in below


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_line_breaks_in_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line breaks at its words, but an option stays whole, so that it can be copied."""
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((60, 24)))
    line = '  "Acount Manager" is no field.  If it is that:  --map "Acount Manager=custom_fields.Account Manager"'
    assert [
        '  "Acount Manager" is no field.  If it is that:',
        '    --map "Acount Manager=custom_fields.Account Manager"',
    ] == fitted(line, _Screen()).splitlines()
