"""Hostile bytes in whatever is parsed: tables, workbooks, replies, settings and journals.

    RESILIENCE_SECONDS=600 ./run.sh test tests/resilience/test_fuzz.py -m long

Promises: no bug (exit code 4), no traceback, no hang, no growth.
"""

import gc
import io
import os
import random
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from batch.commands.undo import undo
from batch.commands.update import update
from batch.errors import BatchError
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import FakeReporter
from tests.resilience.memory_api import ENVIRONMENT, MemoryApi
from tests.shell import DUALENTRY, VAYU, Api, Ended, Shell, assert_balanced
from tests.virtual import run_on_virtual_clock

CORPUS = Path(__file__).parents[1] / "corpus"
SECONDS = float(os.environ.get("RESILIENCE_SECONDS", "60"))
QUICK = 1.5
HANGS_AFTER = 60
GROWTH = 150_000
"""KiB that memory may grow by once it has run for a fifth of its time."""
FIRST = int(os.environ.get("RESILIENCE_SEED", "0"))
SPICES = [
    b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b'"', b",", b";", b"\t", b"\r", b"\n", b"\r\n", b"=1+1", b"'",
    b"<clear>", b"9" * 400, b"-0", b"NaN", b"1e999", b"[" * 2000, b'{"a":' * 1000, b"\xed\xa0\x80", b"\xf0\x9f\x98\x80",
    "\u202e\u0000\u2028".encode(), b"id", b"name", b"custom_fields.", b"contacts.1.", b"batch_row", b"A" * 70_000,
]  # fmt: skip


def spoilt(data: bytes, dice: random.Random) -> bytes:
    """Data with a few pieces flipped, cut out, doubled, or put in."""
    made = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        place, length = dice.randint(0, len(made)), dice.choice((1, 1, 2, 8, 64, 512))
        match dice.randrange(5):
            case 0:
                made[place : place + length] = dice.randbytes(len(made[place : place + length]))
            case 1:
                del made[place : place + length]
            case 2:
                made[place:place] = made[place : place + length]
            case 3:
                made[place:place] = dice.choice(SPICES)
            case 4:
                del made[place:]
        made = made[:2_000_000]
    return bytes(made)


@contextmanager
def no_hang() -> Iterator[None]:
    """End what takes too long."""

    def give_up(*_: Any) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(HANGS_AFTER)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(attack: Callable[[random.Random], None], seconds: float, first: int = 0) -> int:
    """Attack with one seed after the other, as long as told; gives how often."""
    began, number, settled = time.monotonic(), first, 0
    while time.monotonic() - began < seconds:
        try:
            with no_hang():
                attack(random.Random(number))  # noqa: S311 - no secret
        except BaseException as error:
            error.add_note(f"seed {number}")
            raise
        number += 1
        if not number % 200:
            gc.collect()  # garbage that awaits its collection is no growth: a run of batch ends with its process
        if not settled and time.monotonic() - began > seconds / 5:
            settled = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - settled
    assert seconds <= QUICK or grown < GROWTH
    return number - first


def assert_honest(ended: Ended, codes: set[int]) -> None:
    """It ended in one of these ways, without a traceback."""
    assert ended.code in codes, (ended.code, ended.err)
    assert "Traceback" not in ended.err + ended.out


Attack = Callable[[Shell], Callable[[random.Random], None]]


def tables(shell: Shell) -> Callable[[random.Random], None]:
    """CSV files."""
    corpus = [path.read_bytes() for path in sorted((CORPUS / "csv").iterdir()) if path.is_file()]
    corpus.append(b"id,name,phone,custom_fields.Tier\n10001,Bolt,+44 20,Gold\n10002,<clear>,,\n")

    def attack(dice: random.Random) -> None:
        (shell.folder / "x.csv").write_bytes(spoilt(dice.choice(corpus), dice))
        assert_honest(shell.here("check", "x.csv", "-e", dice.choice([DUALENTRY, VAYU]), "--quiet"), {0, 1, 2})

    return attack


def workbooks(shell: Shell) -> Callable[[random.Random], None]:
    """Workbooks: bytes of the archive, or of what is in it."""
    corpus = [path.read_bytes() for path in sorted((CORPUS / "xlsx").glob("*.xlsx"))]

    def attack(dice: random.Random) -> None:
        data = dice.choice(corpus)
        made = spoilt_member(data, dice) if dice.random() < 0.8 else spoilt(data, dice)
        (shell.folder / "x.xlsx").write_bytes(made)
        assert_honest(shell.here("check", "x.xlsx", "-e", DUALENTRY, "--quiet"), {0, 1, 2})

    return attack


def spoilt_member(data: bytes, dice: random.Random) -> bytes:
    """A workbook of which one part is spoilt."""
    made = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
            victim = dice.choice(old.namelist())
            for name in old.namelist():
                new.writestr(name, spoilt(old.read(name), dice) if name == victim else old.read(name))
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError):  # some of the corpus are no archives
        return spoilt(data, dice)
    return made.getvalue()


def settings_files(shell: Shell) -> Callable[[random.Random], None]:
    """`batch.toml`."""
    shell.sheet("Cust#,name\n10001,Bolt\n")
    toml = b"""endpoint = "dualentry.customers"
max_per_second = 2.0
max_at_once = 4
max_failures = "5%"
compare = true
[map]
"Cust#" = "id"
"Notes" = ""
[vayu.customers]
sparse = true
"""

    def attack(dice: random.Random) -> None:
        (shell.folder / "batch.toml").write_bytes(spoilt(toml, dice))
        assert_honest(shell.here("check", "sheet.csv", "-e", DUALENTRY, "--quiet"), {0, 1, 2})

    return attack


BODIES = [
    b'{"id":10001,"name":"Bolt","unique_id":"C-1","phone":"1","custom_fields":[],"approval_status":null}',
    b'{"items":[{"id":10001,"name":"Bolt","custom_fields":[{"field":{"id":1},"value":null}]}],"count":1}',
    b'{"success":false,"errors":{"name":["too long"],"__all__":["no"]}}',
    b'{"data":{"_id":"65f000000000000000000001","name":"Bolt","contacts":[{"email":"a@b.c"}],"customFields":{"a":1}}}',
    b'{"access_token":"x","expires_in":3600,"accessToken":"y"}',
    b"<html>Welcome</html>",
    b"null",
]
STATUSES = [200, 200, 200, 200, 201, 204, 206, 302, 304, 400, 404, 409, 418, 422, 429, 500, 503, 599]
HEADERS = [
    ("Retry-After", "1"), ("Retry-After", "-1"), ("Retry-After", "9" * 40),
    ("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"),
    ("X-RateLimit-Limit", "nan"), ("X-RateLimit-Remaining", "-5"), ("X-RateLimit-Reset", "1e400"),
    ("RateLimit", '"a";r=0;t=99999999999'), ("RateLimit-Policy", '"a";q=1;w=0'), ("Content-Type", "text/\u00e9"),
    ("Content-Type", "application/json; charset=utf-77"), ("Location", "http://[::"), ("Set-Cookie", "a=b; expires=x"),
]  # fmt: skip


def replies(shell: Shell) -> Callable[[random.Random], None]:
    """Answers: statuses, headers and bodies."""
    shell.sheet("id,name\n10001,Bolt\n10002,Nut\n")
    shell.sheet("id,name,custom_fields.Tier\n65f000000000000000000001,Bolt,a\n", "vayu.csv")

    def attack(dice: random.Random) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            status = dice.choice(STATUSES)
            body = dice.choice(BODIES)
            body = spoilt(body, dice) if dice.random() < 0.6 else body
            headers = [pair for pair in HEADERS if dice.random() < 0.15]
            encoded = [(name.encode(), value.encode("utf-8")) for name, value in headers]
            return httpx.Response(status, headers=encoded, content=body)

        sheet, endpoint = dice.choice([("sheet.csv", DUALENTRY), ("vayu.csv", VAYU)])
        given = Settings(
            input=str(shell.folder / sheet), endpoint=endpoint, yes=True, max_per_second=100.0, new=True,
            compare=dice.random() < 0.7,
        )  # fmt: skip
        environment = Environment(ENVIRONMENT, run_on_virtual_clock, lambda: httpx.MockTransport(answer))
        try:
            folder = update(given, FakeReporter(), environment).folder
        except BatchError:
            return
        assert_balanced(folder)
        shutil.rmtree(folder)

    return attack


def journals(shell: Shell) -> Callable[[random.Random], None]:
    """Journals of runs that were broken off: told of, gone on with, taken back."""
    api = MemoryApi(DUALENTRY)
    shell.sheet("id,name\n" + "".join(f"{10001 + n},Bolt {n}\n" for n in range(20)))
    given = Settings(
        input=str(shell.folder / "sheet.csv"), endpoint=DUALENTRY, yes=True, max_attempts=1, max_per_second=1000.0
    )
    environment = Environment(ENVIRONMENT, run_on_virtual_clock, api.transport)
    api.writes.extend(["ok", "500", "422", "ok", "429-after", "503", "refused", "timeout-after", "500-after"] * 2)
    whole = update(given, FakeReporter(), environment).folder
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}

    def attack(dice: random.Random) -> None:
        data = before["journal.sqlite"]
        what = dice.choice([update, undo])
        spoiler = dice.choice([spoilt, flipped, flipped, retyped])
        put_back(whole, before | {"journal.sqlite": spoiler(data, dice)})
        assert_honest(shell.here("results", whole, "--quiet"), {0, 1, 2, 3})
        put_back(whole, before | {"journal.sqlite": spoiler(data, dice)})
        with only_in_words():
            if what is update:
                assert_balanced(update(given, FakeReporter(), environment).folder)
            else:
                assert_balanced(undo(whole, Settings(yes=True), FakeReporter(), environment).folder)
        assert_honest(shell.here("purge", whole), {2})

    return attack


@contextmanager
def only_in_words() -> Iterator[None]:
    """Let pass what has a message for the person at the screen, alone or out of a task group."""
    try:
        yield
    except* BatchError:
        pass


def put_back(folder: Path, files: dict[str, bytes]) -> None:
    """Make a run folder, and the one around it, what they were, but for these files."""
    shutil.rmtree(folder.parent)
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def retyped(data: bytes, dice: random.Random) -> bytes:
    """A journal whose values are of another kind here and there, and which is sound as a file of SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        path.write_bytes(data)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            table, names = dice.choice(list(COLUMNS.items()))
            value = dice.choice([None, "", "x", "[]", "{}", "null", "7", "[[]]", '{"a": 1}', '["a"]', b"\xff", -1, 1.5])
            with suppress(sqlite3.IntegrityError):
                where = {"meta": f"key = '{dice.choice(METAS)}'", "part": "true", "file": "true"}.get(
                    table, "rowid % 2"
                )
                db.execute(f"UPDATE {table} SET {dice.choice(names)} = ? WHERE {where}", [value])  # noqa: S608 - ours
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()


COLUMNS = {
    "meta": ["value"],
    "part": ["number", "started", "ended", "is_orderly", "requests", "attempts", "throttled", "reserved"],
    "intent": ["change", "number", "part", "id", "key", "attempts", "fields", "before", "body", "name", "read"],
    "result": ["change", "id", "outcome", "state", "status", "attempts", "time", "shown", "problems"],
    "file": ["digest"],
}
METAS = (
    "version", "is_open", "identity", "run_id", "batch_version", "command", "endpoint", "endpoint_options", "host",
    "base_url", "input", "map", "options_again", "options_next", "staged", "id_column", "started", "seconds",
    "definitions", "is_validated", "exit_code", "stopped",
)  # fmt: skip


def flipped(data: bytes, dice: random.Random) -> bytes:
    """Data with a single bit the other way."""
    made = bytearray(data)
    made[dice.randrange(len(made))] ^= 1 << dice.randrange(8)
    return bytes(made)


ALL: list[Attack] = [tables, workbooks, settings_files, replies, journals]


@pytest.mark.parametrize("what", ALL)
def test_fuzz(shell: Shell, api: Api, what: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hostile inputs of each kind end honestly."""
    monkeypatch.setenv("XDG_STATE_HOME", str(shell.folder.parent / "state"))
    assert fuzz(what(shell), QUICK) > 0


@pytest.mark.long
@pytest.mark.parametrize("what", ALL)
def test_fuzz_for_long(shell: Shell, api: Api, what: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    """So do very many."""
    monkeypatch.setenv("XDG_STATE_HOME", str(shell.folder.parent / "state"))
    count = fuzz(what(shell), SECONDS, FIRST)
    print(f"| fuzz {what.__name__} | {count} |")  # noqa: T201 - the table of results
