"""Ctrl-C, SIGTERM, SIGHUP, screens that are gone, and the question on a terminal."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from batch import outputs
from batch.engine.shutdown import LEFT
from batch.own_files import INPUT
from batch.run import begin_or_resume
from batch.validation.file_changes import FileChanges
from tests.little_api import little_api
from tests.shell import DUALENTRY, Api, Ended, Shell, assert_balanced, outcomes, summary, until, update

SLOWLY = ["--max-per-second", "25", "--grace", "0.3"]


@pytest.fixture
def signal_when() -> Iterator[Callable[[Callable[[], bool], signal.Signals], None]]:
    """Raises a signal in this process as soon as a moment has come."""
    is_over = threading.Event()

    def arm(when: Callable[[], bool], number: signal.Signals) -> None:
        def look() -> None:
            while not is_over.wait(0.02):
                if when():
                    os.kill(os.getpid(), number)
                    break

        threading.Thread(target=look, daemon=True).start()

    yield arm
    is_over.set()


ENDINGS = [
    (signal.SIGINT, 130, "Interrupted"),
    (signal.SIGTERM, 143, "Terminated"),
    (signal.SIGHUP, 143, "Terminated"),
]
SignalWhen = Callable[[Callable[[], bool], signal.Signals], None]


@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
def test_signal_while_sending(
    shell: Shell, api: Api, signal_when: SignalWhen, number: signal.Signals, code: int, word: str
) -> None:
    """It stops taking rows, gives what hangs its grace, writes the results, and the same command goes on."""
    sheet = shell.sheet(api.names(30))
    api.sandbox.set_faults("hang-after=nth:3")
    signal_when(lambda: len(api.writes()) >= 4, number)
    ended = shell.here(*update(api, sheet, *SLOWLY, "--max-at-once", 2))
    folder = shell.only_run()
    told = summary(folder)
    assert (code, code, f"{word}.") == (ended.code, told["exit_code"], told["stopped"]["message"])
    waits = "answers to what was sent are waited for up to 0.3 s"
    assert f"{word}: no further change is sent, and {waits} (a second time: leave at once)." in ended.err.splitlines()
    assert f"Stopped: {word}." in ended.err.splitlines()
    assert_balanced(folder)
    assert (1, len(api.applied()) - 1) == (told["outcomes"]["unknown"], told["outcomes"]["updated"])
    api.sandbox.set_faults()
    assert 0 == shell.here(*update(api, sheet)).code
    hung = ["unchanged"]  # what the first start did not learn, the second one finds, whoever wrote it
    assert [*["updated"] * 2, *hung, *["updated"] * 27] == outcomes(folder)
    assert 30 == len(api.applied()) == len(set(api.applied()))


@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
def test_signal_before_sending(
    shell: Shell, api: Api, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int, word: str
) -> None:
    """While rows are still being validated nothing was sent; the books are written, and the same command goes on."""

    def surveying(self: FileChanges, keep: object) -> None:
        os.kill(os.getpid(), number)

    sheet = shell.sheet(api.names(2))
    with monkeypatch.context() as patch:
        patch.setattr(FileChanges, "validate_all", surveying)
        ended = shell.here(*update(api, sheet, "--json"))
    assert (code, code, f"{word}.") == (ended.code, ended.json["exit_code"], ended.json["stopped"]["message"])
    assert ["unsent"] * 2 == outcomes(shell.only_run())
    assert [] == api.lines()
    assert 0 == shell.here(*update(api, sheet)).code
    assert ["updated"] * 2 == outcomes(shell.only_run())


@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
def test_signal_while_reading_the_input(
    shell: Shell, api: Api, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int, word: str
) -> None:
    """Before a run has begun nothing is left behind."""

    def reading(*_: object) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr(begin_or_resume, "read_input", reading)
    ended = shell.here(*update(api, shell.sheet(api.names(2))))
    message = f"{word}. Nothing was sent."
    assert (code, "", message) == (ended.code, ended.out, ended.err.strip())
    assert [] == shell.runs()
    assert not (shell.folder / "sheet.batch").exists()


def test_handlers_are_put_back(shell: Shell, api: Api) -> None:
    """A run leaves the signal handlers of its process as it found them."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(one) for one in numbers]
    assert 0 == shell.here(*update(api, shell.sheet(api.names(1)))).code
    assert before == [signal.getsignal(one) for one in numbers]


def test_second_signal(shell: Shell, api: Api) -> None:
    """A second Ctrl-C leaves at once, with the journal intact."""
    sheet = shell.sheet(api.names(3))
    api.sandbox.set_faults("hang-after=nth:2")
    process = shell.start(*update(api, sheet, "--max-at-once", 1))
    until(lambda: len(api.writes()) >= 2, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    lines = iter(process.stderr.readline, b"")
    assert any(b"a second time: leave at once" in line for line in lines)
    process.send_signal(signal.SIGINT)
    assert 130 == process.wait(5)
    run = shell.only_run()
    far = f"How far it got:  batch status sheet.batch/{run.name}"
    assert [LEFT, far] == [line.decode().rstrip("\n") for line in lines]
    assert not (run / "results.csv").exists()
    assert "  1 updated, 1 unknown, 1 unsent" in shell.here("status", run).out.splitlines()
    assert "  unfinished: 1 updated, 1 unknown, 1 unsent" in shell.here("runs").out.splitlines()
    assert "sheet.csv: 1 of 3 rows done, in 1 round" in shell.here("runs", sheet).out.splitlines()
    assert str(run.relative_to(shell.folder)) in shell.here("undo", sheet).err
    kept = (run / INPUT).rename(run / "kept")  # its copy of the rows is not needed for that
    assert "  1 updated, 1 unknown, 1 unsent" in shell.here("status", run).out.splitlines()
    kept.rename(run / INPUT)
    api.sandbox.set_faults()
    assert 0 == shell.here(*update(api, sheet)).code
    assert ["updated", "unchanged", "updated"] == outcomes(shell.only_run())
    assert 3 == len(api.applied())
    assert "sheet.csv: 3 of 3 rows done, in 1 round" in shell.here("runs", sheet).out.splitlines()


@pytest.mark.parametrize("is_second", [False, True], ids=["first", "second"])
def test_signal_while_files_are_written(
    shell: Shell, api: Api, signal_when: SignalWhen, monkeypatch: pytest.MonkeyPatch, is_second: bool
) -> None:
    """Ctrl-C while the results files are written: what became of the rows is told, and what makes the files."""
    sheet = shell.sheet(api.names(4))
    writes = outputs.write

    def write(*arguments: Any, **more: Any) -> Any:
        monkeypatch.setattr(outputs, "write", writes)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(outputs, "write", write)
    if is_second:
        signal_when(lambda: len(api.writes()) >= 1, signal.SIGINT)
    ended = shell.here(*update(api, sheet, *(("--max-per-second", 4) if is_second else ())))
    run = shell.only_run()
    again = f"batch results sheet.batch/{run.name}"
    told = summary(run)
    done, left = told["outcomes"]["updated"], told["outcomes"]["unsent"]
    assert (130, 130, 4, is_second) == (ended.code, told["exit_code"], done + left, left > 0)
    assert f"Stopped: Interrupted. The results files were not written yet: {again} makes them." in ended.err
    assert f"Done: {done} of 4 rows. Left: {left}. Nothing is lost." in ended.err.splitlines()
    assert f"Take it back:  batch undo sheet.batch/{run.name} --base-url {api.url}" in ended.err.splitlines()
    assert (3 if is_second else 0, done) == (shell.here("results", run).code, outcomes(run).count("updated"))


def test_ignored_hangup(shell: Shell, api: Api, signal_when: SignalWhen) -> None:
    """Under nohup, which ignores SIGHUP, a run goes on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal_when(lambda: bool(api.writes()), signal.SIGHUP)
    ended = shell.here(*update(api, shell.sheet(api.names(5)), *SLOWLY))
    signal.signal(signal.SIGHUP, before)
    assert (0, ["updated"] * 5) == (ended.code, outcomes(shell.only_run()))


# -- screens and pipes that are gone --------------------------------------------------------------------------------


def test_screen_is_gone(shell: Shell, api: Api) -> None:
    """A pipe that was closed (`2>&1 | head -1`) stops nothing and changes no exit code."""
    sheet = shell.sheet(api.names(5) + "x,Bad id\n")
    reads, writes = os.pipe()
    os.close(reads)
    process = shell.start(*update(api, sheet, "--json"), stdout=writes, stderr=writes)
    os.close(writes)
    assert 1 == process.wait(30)
    assert ["updated"] * 5 + ["invalid"] == outcomes(shell.only_run())
    assert_balanced(shell.only_run())


def test_no_streams_at_all(shell: Shell, api: Api) -> None:
    """Closed streams (`<&- >&- 2>&-`) stop nothing, and no file of ours takes their place."""
    sheet = shell.sheet(api.names(3))
    arguments = " ".join(map(str, update(api, sheet, "--json")))
    closed = ["bash", "-c", f"exec {sys.executable} -P -m batch {arguments} <&- >&- 2>&-"]
    ended = subprocess.run(closed, cwd=shell.folder, env=shell.environment, timeout=60, check=False)
    assert (0, ["updated"] * 3) == (ended.returncode, outcomes(shell.only_run()))


def test_full_standard_output(shell: Shell, api: Api) -> None:
    """Standard output that takes no more is said; a run's exit code stays, but not the 0 of what only prints."""
    said, sheet = "Standard output cannot be written: No space left on device.\n", shell.sheet(api.names(1))
    bad = shell.sheet(api.names(1) + "x,Bad id\n", "bad.csv")
    words: list[tuple[int, list[object]]] = [
        (1, ["check", bad, "-e", DUALENTRY]),
        (2, ["schema", "summary"]),
        (0, [*update(api, sheet, "--json", "--quiet")]),
    ]
    with open("/dev/full", "wb") as full:
        for code, one in words:
            process = shell.start(*one, stdout=full)
            _, err = process.communicate(timeout=60)
            assert (code, said) == (process.returncode, err.decode())


# -- surroundings ---------------------------------------------------------------------------------------------------


def test_empty_environment(shell: Shell, api: Api) -> None:
    """Without HOME, terminal or locale, as from cron, it works."""
    sheet = shell.sheet("id,name\n" + f"{api.ids(1)[0]},Größe\n")
    kept = {name: shell.environment[name] for name in ("PATH", "PYTHONPATH", "DUALENTRY_API_KEY")}
    command = [sys.executable, "-P", "-m", "batch", *map(str, update(api, sheet))]
    ended = subprocess.run(command, cwd=shell.folder, env=kept, capture_output=True, timeout=60, check=False)
    assert (0, b"") == (ended.returncode, ended.stdout)
    assert ["updated"] == outcomes(shell.only_run())
    assert "Größe" == api.writes()[0]["body"]["name"]


@pytest.fixture
def read_only_folder(offline: Shell) -> Iterator[Path]:
    """A folder that the program may read and not write; the superuser lays down the powers for it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "state").mkdir(mode=0o777)
        (folder / "state").chmod(0o777)
        (folder / "data").mkdir()
        shutil.copy(offline.folder / offline.sheet("id,name\n10001,A\nx,Bad id\n"), folder / "data")
        offline.environment["XDG_STATE_HOME"] = str(folder / "state")
        offline.folder = folder / "data"
        folder.chmod(0o755)
        (folder / "data").chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        yield folder / "data"
        if is_root:
            os.seteuid(0)
        (folder / "data").chmod(0o755)


def test_read_only_folder(shell: Shell, api: Api, read_only_folder: Path) -> None:
    """Where no run folder can be made nothing is sent, and another place is proposed."""
    ended = shell.here(*update(api, Path("sheet.csv")))
    message = "sheet.batch: results cannot be written there (permission denied). Name another place with --out.\n"
    assert (2, "", message) == (ended.code, ended.out, ended.err)


def test_check_in_a_read_only_folder(shell: Shell, read_only_folder: Path) -> None:
    """A check is of use there all the same: its failures file is elsewhere."""
    ended = shell.here("check", "sheet.csv", "-e", DUALENTRY, "--json")
    failures = Path(ended.json["files"]["failures"])
    assert (1, 0o600) == (ended.code, failures.stat().st_mode & 0o777)
    assert 2 == len(failures.read_text().splitlines())
    shutil.rmtree(failures.parent)


# -- the question ---------------------------------------------------------------------------------------------------


def on_terminal(
    shell: Shell, command: list[object], answer: bytes | signal.Signals | None, at: bytes = b"[y/N/l list]: ",
    **env: str,
) -> Ended:  # fmt: skip
    """Run on a terminal, and answer the question (or what `at` is) when it comes."""
    master, slave = pty.openpty()
    process = shell.start(*command, stdin=slave, stderr=slave, env={"TERM": "xterm", "COLUMNS": "1000", **env})
    os.close(slave)
    said = b""
    with suppress(OSError):  # EIO: the other side is closed
        while select.select([master], [], [], 30.0)[0] and (data := os.read(master, 4096)):
            said += data
            if at in said and answer:
                if isinstance(answer, bytes):
                    os.write(master, answer)
                else:
                    time.sleep(0.3)  # a signal between the prompt and the read of the answer would wait for the answer
                    process.send_signal(answer)
                answer = None
    os.close(master)
    out, _ = process.communicate(timeout=30)
    return Ended(process.returncode, out.decode(), said.decode().replace("\r\n", "\n"))


def asking(api: Api, sheet: Path) -> list[object]:
    return [one for one in update(api, sheet) if one != "--yes"]


def test_no(shell: Shell, api: Api) -> None:
    """On a terminal it asks; "n" sends nothing and leaves nothing behind."""
    sheet = shell.sheet(api.names(2))
    ended = on_terminal(shell, asking(api, sheet), b"n\n")
    expected = """2 rows -> DualEntry customers at {url} (not an address of the API's maker), key …
  columns: id, name
2 of 2 customers will change (2 cells)
Send? [y/N/l list]: n
Nothing was sent.
"""
    assert (2, "", expected) == (ended.code, ended.out, shell.tell(ended.err).rpartition("\x1b[2K")[2])
    assert [] == api.writes()
    assert ["sheet.csv"] == [path.name for path in shell.folder.iterdir()]


@pytest.mark.parametrize("column", ["name", "custom_fields.Account Manager"])
def test_interrupted_at_the_question(shell: Shell, api: Api, column: str) -> None:
    """Ctrl-C at the question is a no, also where a connection is open, with the exit code of an interruption."""
    ended = on_terminal(shell, asking(api, shell.sheet(api.names(2).replace("name", column))), signal.SIGINT)
    assert 130 == ended.code
    assert "Interrupted. Nothing was sent." == ended.err.splitlines()[-1]
    assert ["sheet.csv"] == [path.name for path in shell.folder.iterdir()]


@pytest.mark.parametrize("is_coloured", [True, False])
def test_yes(shell: Shell, api: Api, is_coloured: bool) -> None:
    """ "y" sends; colours are there unless NO_COLOR says otherwise."""
    ended = on_terminal(shell, asking(api, shell.sheet(api.names(2))), b"y\n", NO_COLOR="" if is_coloured else "1")
    assert (0, ["updated"] * 2) == (ended.code, outcomes(shell.only_run()))
    assert is_coloured == bool(re.search(r"\x1b\[[0-9;]*m", ended.err))
    assert "  updated           2" in re.sub(r"\x1b\[[0-9;]*m", "", ended.err)


def test_yes_is_not_asked(shell: Shell, api: Api) -> None:
    """With --yes a terminal is not asked either."""
    ended = on_terminal(shell, update(api, shell.sheet(api.names(1))), None)
    assert (0, False) == (ended.code, "Send?" in ended.err)


def test_no_terminal_is_not_asked(shell: Shell, api: Api) -> None:
    """Where there is no terminal nobody is asked."""
    ended = shell.here(*asking(api, shell.sheet(api.names(1))))
    assert (0, False) == (ended.code, "Send?" in ended.err)
    assert 1 == len(api.applied())


@pytest.mark.parametrize(("number", "code", "word"), ENDINGS[:2])
def test_signal_while_the_api_is_asked_before_sending(
    shell: Shell, api: Api, signal_when: SignalWhen, number: signal.Signals, code: int, word: str
) -> None:
    """While custom fields are being asked for, and nothing comes, it ends at once, with the books written."""
    with little_api(lambda _: None) as little:
        signal_when(lambda: bool(little.asked), number)
        sheet = shell.sheet("id,custom_fields.Tier\n10001,Gold\n")
        ended = shell.here("update", sheet, "-e", DUALENTRY, *little.options, "--json")
    assert (code, f"{word}.") == (ended.code, ended.json["stopped"]["message"])
    assert ["unsent"] == outcomes(shell.only_run())
    assert not [one for one in little.asked if one.is_write]
    assert [] == little.given_up
