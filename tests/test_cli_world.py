"""The world around: locales, machines and networks that are not as one would wish."""

import errno
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from xlsxwriter.exceptions import FileCreateError

from batch import machine
from batch.commands.update import update
from batch.credentials import fingerprint
from batch.errors import UsageError
from batch.http.failures import Timeouts, explain
from batch.machine import OUT_OF_MEMORY, machine_reason
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import FakeReporter
from tests.little_api import Asked, Said, little_api
from tests.shell import DUALENTRY, ROOT, Api, Shell, outcomes
from tests.test_terminal import on_terminal
from tests.virtual import KEY, Lists, run_on_virtual_clock

WHY = "the system does not say why"


# -- encodings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "plan", "update"])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_poor_encoding(shell: Shell, api: Api, command: str, encoding: str) -> None:
    """Output never fails for an encoding: what it lacks is escaped, and JSON stays JSON."""
    sheet = shell.sheet(f"id,name\n{api.ids(1)[0]},Łódź\nx,y\n", "Müller Łódź.csv")
    options = [] if command == "check" else api.options
    given = [command, sheet, "-e", DUALENTRY, *options]
    ended = shell.here(*given, encoding=encoding)
    written = "Müller Łódź".encode(encoding, "backslashreplace").decode(encoding)
    assert (1, True) == (ended.code, written in ended.out + ended.err), ended
    ended = shell.here(*given, "--json", encoding=encoding)
    assert (1, True) == (ended.code, "Müller Łódź.csv" in json.dumps(ended.json, ensure_ascii=False))


def test_poor_encoding_of_a_process(shell: Shell, api: Api) -> None:
    """The same where the system gives the encoding."""
    sheet = shell.sheet(f"id,name\n{api.ids(1)[0]},Łódź\nx,y\n", "Müller Łódź.csv")
    env = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    process = shell.start("update", sheet, "-e", DUALENTRY, *api.options, "--json", env=env)
    out, err = process.communicate()
    assert (1, True) == (process.returncode, "Müller Łódź".encode("ascii", "backslashreplace") in err), err
    assert "Müller Łódź.csv" in json.dumps(json.loads(out.decode("ascii")), ensure_ascii=False)


def test_poor_terminal(shell: Shell, api: Api) -> None:
    """Questions and the progress bar need no more letters than the terminal has."""
    sheet = shell.sheet(f"id,name\n{api.ids(1)[0]},Łódź\n", "Müller.csv")
    command = ["update", sheet, "-e", DUALENTRY, "--base-url", api.url, "--max-per-second", "1"]
    ended = on_terminal(shell, command, [(b"[y/N/l list]: ", b"y\n")], LC_ALL="C", PYTHONIOENCODING="ascii")
    assert (0, True, False) == (ended.code, "M\\xfcller.batch" in ended.err, "\\u2501" in ended.err), ended.err


@pytest.mark.parametrize("command", ["check", "update"])
def test_undecodable_name(shell: Shell, api: Api, command: str) -> None:
    """A name that is no text is refused with its bytes escaped, and what to do."""
    (shell.folder / os.fsdecode(b"M\xfcller.csv")).write_text("id,name\n1000,A\n")
    options = [] if command == "check" else [*api.options]
    ended = shell.run(command, os.fsdecode(b"M\xfcller.csv"), "-e", DUALENTRY, *options, cold=True)
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

    def refuse(*given: object, **named: object) -> None:
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
    key = fingerprint(api.url, shell.environment["DUALENTRY_API_KEY"], "limits")
    limits = Path(shell.environment["XDG_STATE_HOME"], "batch", "limits.json")
    limits.write_text(json.dumps({key: {"per_second": 0.314, "at": time.time() - 60}}))
    for shared in limits.parent.glob("limiter-*"):  # what one start asked for holds for all of the next minute
        shared.unlink()
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time.time() - 60))
    said = "begins with 0.31/s, slower than the 5 requests/s that are documented: the API refused more on "
    ended = shell.here("update", sheet, *command, "--new")
    assert f"\n  {said}{when}; that is forgotten after 24 h\n" in ended.err, ended.err
    assert f"This {said}" in shell.here("plan", sheet, *command).err


# -- credentials ----------------------------------------------------------------------------------------------------


def refusing(status: int, *, after: int) -> Callable[[Asked], Said]:
    """DualEntry whose key is not accepted any more after so many writes."""
    written: list[str] = []

    def script(asked: Asked) -> Said:
        if len(written) >= after:
            return Said(status, {"success": False, "errors": {}})
        if not asked.is_write:
            ids = re.findall(r"id=(\d+)", asked.path)
            return Said(200, {"items": [{"id": int(one), "name": "Old"} for one in ids], "count": len(ids)})
        written.append(asked.path)
        return Said(200, {"id": int(asked.path.split("/")[-2]), "name": "New"})

    return script


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("after", "code"), [(0, 2), (3, 6)])
def test_6_key_in_the_middle(shell: Shell, status: int, after: int, code: int) -> None:
    """A key that is refused after an accepted write ends with 6, before one with 2; the rest is unsent either way."""
    sheet = shell.sheet("id,name\n" + "".join(f"{number},New\n" for number in range(1, 9)))
    with little_api(refusing(status, after=after)) as little:
        ended = shell.here("update", sheet, "-e", DUALENTRY, *little.options, "--max-at-once", 1)
    found = outcomes(shell.only_run())
    assert (code, ["updated"] * after, {"unsent"}) == (ended.code, found[:after], set(found[after:]))
    assert ("run again when that is put right", True) == (
        ended.err.partition("unsent")[2].splitlines()[0][-32:],
        "When that is put right, the same command:  batch update" in ended.err,
    )


def forbidding(*ids: int, status: int = 403) -> Callable[[Asked], Said]:
    """DualEntry with customers that are locked."""
    accept = refusing(status, after=1000)

    def script(asked: Asked) -> Said:
        is_locked = asked.is_write and int(asked.path.split("/")[-2]) in ids
        return Said(status, {"success": False, "errors": {"__all__": ["locked"]}}) if is_locked else accept(asked)

    return script


@pytest.mark.parametrize(
    ("locked", "expected", "code"),
    [((3, 4, 6), "uurrurUU", 1), ((3, 4, 5), "uurrrsss", 6), ((1, 2, 3), "rrrsssss", 2)],
)
def test_403_of_one_row(shell: Shell, locked: tuple[int, ...], expected: str, code: int) -> None:
    """A locked customer is rejected, and the run goes on; three in a row without an accepted write stop it."""
    sheet = shell.sheet("id,name\n" + "".join(f"{number},New\n" for number in range(1, 9)))
    with little_api(forbidding(*locked)) as little:
        ended = shell.here("update", sheet, "-e", DUALENTRY, *little.options, "--max-at-once", 1)
    words = {"u": "updated", "r": "rejected", "s": "unsent"}
    assert (code, [words[one] for one in expected.lower()]) == (ended.code, outcomes(shell.only_run()))


def test_407_of_the_api(shell: Shell) -> None:
    """A 407 that comes as the API's answer is about its row, and is not called a proxy's."""
    sheet = shell.sheet("id,name\n" + "".join(f"{number},New\n" for number in range(1, 5)))
    with little_api(forbidding(2, status=407)) as little:
        ended = shell.here("update", sheet, "-e", DUALENTRY, *little.options, "--max-at-once", 1)
    assert (1, ["updated", "rejected", "updated", "updated"]) == (ended.code, outcomes(shell.only_run()))
    assert "the proxy" not in ended.err


# -- what cannot heal by itself -------------------------------------------------------------------------------------


def failing(error: Exception, *, after: int = 0) -> tuple[Environment, list[httpx.Request]]:
    """A world in which each request after the first few fails like this."""
    lists, asked = Lists(range(1, 9)), list[httpx.Request]()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) <= after:
            return lists.answer(request)
        raise httpx.ConnectError("no connection") from error

    return Environment(KEY, run_on_virtual_clock, lambda: httpx.MockTransport(answer)), asked


NO_NAME = socket.gaierror(socket.EAI_NONAME, "not known")
LATER = socket.gaierror(socket.EAI_AGAIN, "try again")


def untrusted() -> Exception:
    error = ssl.SSLCertVerificationError("certificate")
    error.verify_message, error.verify_code = "certificate has expired", 10
    return error


@pytest.mark.parametrize(
    ("error", "after", "code", "tries"),
    [(NO_NAME, 0, 2, 1), (untrusted(), 0, 2, 1), (LATER, 0, 3, 6), (NO_NAME, 2, 3, 6), (untrusted(), 2, 3, 6)],
    ids=["name", "certificate", "later", "name-in-the-middle", "certificate-in-the-middle"],
)
def test_what_cannot_heal(tmp_path: Path, error: Exception, after: int, code: int, tries: int) -> None:
    """Before the first answer it ends at once with 2; in the middle, and where it may pass, it is tried again: 3."""
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"id,name\n1,{tmp_path.name}\n2,New\n")  # else it goes on with the run of another case
    environment, asked = failing(error, after=after)
    settings = Settings(input=str(sheet), endpoint=DUALENTRY, yes=True, max_at_once=1)
    ended = update(settings, FakeReporter(), environment)
    assert (code, tries) == (ended.summary.exit_code, len(asked) - after)
    assert (code == 2) == ended.stopped.startswith("The API cannot be reached: ")


@pytest.mark.parametrize("status", [403, 407])
def test_proxy_says_no(status: int) -> None:
    """A proxy's 403 or 407 lasts; that it is not there may pass."""
    refused = explain(httpx.ProxyError(f"{status} No"), Timeouts(), None)
    assert (True, False) == (refused.is_lasting, explain(httpx.ProxyError("502 No"), Timeouts(), None).is_lasting)


# -- silence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "notes", "seconds"), [({}, 3, 60.0), ({"read_timeout": 20.0}, 1, 20.0)])
def test_port_that_never_answers(tmp_path: Path, options: dict[str, Any], notes: int, seconds: float) -> None:
    """After 15 s of silence it is told, and the first time-out without a byte of any answer ends the run."""
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("id,name\n1,New\n2,New\n")
    asked: list[float] = []

    async def never(request: httpx.Request) -> httpx.Response:
        asked.append(trio.current_time())
        with trio.move_on_after(request.extensions["timeout"]["read"]):
            await trio.sleep_forever()
        asked.append(trio.current_time())
        raise httpx.ReadTimeout("no answer")

    environment = Environment(KEY, run_on_virtual_clock, lambda: httpx.MockTransport(never))
    reporter = FakeReporter()
    ended = update(Settings(input=str(sheet), endpoint=DUALENTRY, yes=True, **options), reporter, environment)
    said = [f"Nothing was answered yet, to 1 request in {number} s." for number in (15, 30, 45)]
    assert (3, said[:notes], [seconds]) == (ended.summary.exit_code, reporter.notes[:notes], [asked[-1] - asked[0]])
    assert len(asked) == 2
    assert ended.stopped == (
        f"The API took a request and answered nothing: no answer within {seconds:g} s (--read-timeout)."
    )


# -- limits of the machine ------------------------------------------------------------------------------------------


class PanicException(BaseException):
    """As polars raises it: no Exception."""


LACKS = {
    "memory": (MemoryError(), f"On this machine {OUT_OF_MEMORY}."),
    "panic": (
        PanicException("oh"),
        "polars, which reads and writes tables here, gave up, as it does without",
    ),
    "threads": (RuntimeError("can't start new thread"), "On this machine no more threads can be started"),
    "files": (OSError(errno.EMFILE, "x"), "On this machine this process may open no more files (ulimit -n)."),
    "module": (ModuleNotFoundError("x", name="orjson"), "The module orjson is missing: install batch anew"),
    "temporary": (
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/']"),
        "No folder for temporary files can be written here: name one, such as TMPDIR=/data/tmp.",
    ),
    "workbook": (FileCreateError(OSError(errno.ENOSPC, "x")), "The disk: "),
}


@pytest.mark.parametrize("case", LACKS)
def test_machine_lacks_something(shell: Shell, api: Api, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """What the machine lacks is no bug: before sending it ends with 2, while sending with 3."""
    error, said = LACKS[case]

    def fail(*given: object, **named: object) -> None:
        raise error

    command = ["update", shell.sheet(api.names(2)), "-e", DUALENTRY, *api.options]
    with monkeypatch.context() as patch:
        patch.setattr("batch.commands.update.estimate", fail)
        ended = shell.here(*command)
    assert (2, True) == (ended.code, ended.err.splitlines()[-1].startswith(said)), ended.err
    monkeypatch.setattr("batch.engine.write.ChangeWriter._conclude_success", fail)
    ended = shell.here(*command, "--no-compare")
    assert (3, True) == (ended.code, said.rstrip(".") in ended.err), ended.err
    assert "the same command goes on" in ended.err


def test_module_missing_beside_run_sh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What run.sh installed is installed anew by it."""
    monkeypatch.setenv("BATCH_SETUP", "./run.sh")
    said = machine_reason(ModuleNotFoundError("x", name="orjson"))
    assert "The module orjson is missing: remove the folder .venv, and the next start sets it up anew" == said


def test_too_many_open_files(tmp_path: Path) -> None:
    """Where no connection can be made for want of descriptors, the run stops, and no row has failed."""
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("id,name\n1,New\n2,New\n")
    environment, asked = failing(OSError(errno.EMFILE, "Too many open files"), after=2)
    settings = Settings(input=str(sheet), endpoint=DUALENTRY, yes=True, max_at_once=1)
    summary = update(settings, FakeReporter(), environment).summary
    assert (3, 3, 1) == (summary.exit_code, len(asked), summary.outcomes["unsent"])
    assert summary.stopped is not None
    assert summary.stopped.message == (
        "On this machine this process may open no more files (ulimit -n), so no connection can be made."
    )


def test_too_little_memory(offline: Shell) -> None:
    """With less address space than its libraries reserve it refuses to start: they would end it without a word."""
    command = f"ulimit -v 1000000; exec {sys.executable} -P -m batch check sheet.csv -e {DUALENTRY}"
    offline.sheet("id,name\n1,A\n")
    around: dict[str, Any] = {"cwd": offline.folder, "env": offline.environment, "capture_output": True, "text": True}
    ended = subprocess.run(["/bin/bash", "-c", command], check=False, **around)
    said = "Only 976 MB of address space are allowed here (ulimit -v), and batch needs 1,536. "
    assert (2, "", f"{said}Nothing was done.\n") == (ended.returncode, ended.stdout, ended.stderr)


def test_cgroup_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's limit counts as well."""
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    machine.check_memory()
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        (tmp_path / name).write_text(f"{100 << 20}\n")
    with pytest.raises(UsageError, match=r"^Only 100 MB of memory are allowed here"):
        machine.check_memory()


def test_too_little_disk(shell: Shell, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """With less room than the input needs nothing starts, and nothing is left behind."""
    usage = shutil.disk_usage(shell.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
    ended = shell.here("update", shell.sheet(api.names(2)), "-e", DUALENTRY, *api.options)
    assert (2, True, []) == (ended.code, "Make room, or name another place with --out." in ended.err, shell.runs())


# -- messages that are true at that moment --------------------------------------------------------------------------


def test_commands_as_it_was_started(offline: Shell) -> None:
    """A command to paste begins with the name by which the program was started."""
    env = {"BATCH_COMMAND": "./run.sh"}
    sheet = offline.sheet("id,name\n1,A\n")
    assert "See: ./run.sh endpoints" in offline.here("check", sheet, env=env).err
    assert "See:  ./run.sh endpoints" in offline.here("check", sheet, "-e", "nothing", env=env).err
    missing = offline.here("update", sheet, "-e", DUALENTRY, "--sandbox", "--plan", "none", env=env)
    assert "Make one:  ./run.sh plan INPUT -e ENDPOINT" in missing.err


def test_no_command_is_spelt_out() -> None:
    """No text names the program but by `command()`."""
    words = "endpoints|plan|update|results|undo|purge|check|pull|template|sandbox"
    found = re.compile(rf"(?<!`)\bbatch ({words})\b(?!`)")
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "batch").rglob("*.py")}
    sandbox = "sandbox/__main__.py"
    assert [] == [str(path) for path, text in texts.items() if found.search(text) and not str(path).endswith(sandbox)]


def test_resumed_clears(shell: Shell, api: Api) -> None:
    """A resumed run announces the clears that are left, not those that are through."""
    ids = api.ids(4)
    sheet = shell.sheet("id,phone\n" + "".join(f"{one},<clear>\n" for one in ids))
    api.sandbox.set_faults(f"500=id:{ids[3]}")
    command = ["update", sheet, "-e", DUALENTRY, *api.options, "--max-attempts", 1]
    first = shell.here(*command)
    api.sandbox.set_faults()
    second = shell.here(*command)
    assert ("  clears: phone on 4 customers" in first.err, "  clears: phone on 1 customer\n" in second.err) == (
        True,
        True,
    )


def test_invalid_rows_after_a_wrong_key(shell: Shell) -> None:
    """Rows that are invalid are so, too, where the key was refused before the rows were looked at."""
    sheet = shell.sheet("id,phone,custom_fields.Tier\n1,+49 30 1,Gold\n2,ext. 5,Gold\n")
    with little_api(lambda _: Said(401, {})) as little:
        ended = shell.here("update", sheet, "-e", DUALENTRY, *little.options)
    assert (2, ["unsent", "invalid"]) == (ended.code, outcomes(shell.only_run()))
