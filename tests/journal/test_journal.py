"""What happened, on disk: before it leaves, before it counts, and whole or refused."""

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from batch.errors import FolderError, JournalError
from batch.journal import Journal, open_for_reading, peek
from batch.journal.database import connect_read_only, unusable
from batch.journal.journal import BLOCK
from batch.journal.queries import Counts
from batch.model import Intent, Outcome, Problem, RowResult, State
from batch.own_files import is_own
from tests.worded import worded

UPDATED, UNCHANGED, INVALID, REJECTED, FAILED, UNKNOWN, UNSENT = Outcome
START_OVER = "Keep the folder, and start over with --new; records that were changed already then come out as unchanged."
LOST = (
    "its newest part is missing or cut short (the file journal.sqlite-wal, which was beside it when the run was cut "
    "off), so what was sent last is not known. Put that file back. If it is lost: k" + START_OVER[1:]
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with Journal.create(path, {"run_id": "r"}) as made:
        yield made


TAKEN = """
import fcntl, sys
path, at, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(path, "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, at)
"""
"""What another process does before it takes a database for one that nobody uses (os_unix.c of SQLite)."""


def test_looking_into_a_journal_that_is_open_here_leaves_its_locks(path: Path, journal: Journal) -> None:
    """Who looks into a run that another thread of this process does takes no lock from it, on which others rely."""
    add(journal, intent())
    peek(path)
    assert is_own(path.parent)
    with open_for_reading(path):
        pass
    for name, at, length in ((f"{path}-shm", 128, 1), (str(path), 0x40000002, 510)):
        words = [sys.executable, "-I", "-S", "-c", TAKEN, name, str(at), str(length)]
        found = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (1, True) == (found.returncode, "BlockingIOError" in found.stderr), name


def intent(change: int = 2, attempts: int = 1, **changed: Any) -> Intent:
    given = {"fields": {"name": "Zoë", "phone": None}, "before": {"name": "x"}, "body": {"name": "Zoë", "phone": None}}
    return Intent(change, str(change), f"00000000-0000-4000-8000-{change:012}", attempts, **{**given, **changed})


def add(journal: Journal, one: Intent) -> None:
    """Write as if an attempt of this intent was about to leave."""
    journal._waiting.intents.append((one, min(one.attempts, 1), one.attempts <= 1))


def test_what_is_taken_in_is_of_one_moment(
    path: Path, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a journal whose run goes on, no result is taken in without its intent."""

    @contextmanager
    def while_it_goes_on(of: Path) -> Iterator[sqlite3.Connection]:
        def go_on(statement: str) -> None:
            if "FROM result" in statement and not journal.counts:
                add(journal, intent())
                journal.record_rows([row_result(2)])
                journal.flush()

        with connect_read_only(of) as db:
            db.set_trace_callback(go_on)
            yield db

    journal.flush()
    monkeypatch.setattr("batch.journal.journal.connect_read_only", while_it_goes_on)
    with Journal.create(tmp_path / "merged.sqlite", {"run_id": "m"}) as merged:
        merged.take_in(path)
        assert ({UPDATED: 1}, {}, False) == (journal.outcomes(), merged.outcomes(), merged.has_intents())


def row_result(row: int, outcome: Outcome = UPDATED, *problems: Problem, **known: Any) -> RowResult:
    return RowResult(row, str(row), outcome, problems=problems, **known)


def ask(path: Path, question: str) -> list[Any]:
    """What another connection sees."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(question).fetchall()


def refused(path: Path) -> str:
    with pytest.raises(JournalError) as caught:
        Journal.open(path)
    return str(caught.value)


def cut_off(folder: Path, *, changes: int = 50) -> Path:
    """A journal whose process was killed in the middle: its newest part is in the -wal file beside it."""
    program = (
        "import os, sys; from pathlib import Path; from batch.journal import Journal; from batch.model import *\n"
        "journal = Journal.create(Path(sys.argv[1]), {'run_id': 'r'})\n"
        "for row in range(2, 2 + int(sys.argv[2])): journal.record_rows([RowResult(row, str(row), Outcome.UPDATED)])\n"
        "os._exit(9)"
    )
    path = folder / "journal.sqlite"
    done = subprocess.run([sys.executable, "-c", program, str(path), str(changes)], check=False)
    assert 9 == done.returncode
    return path


# -- making and opening ---------------------------------------------------------------------------------------------


def test_pragmas(journal: Journal, path: Path) -> None:
    """The journal is in WAL mode, and every commit is synced; the file is for this user only."""
    assert [("wal",)] == ask(path, "PRAGMA journal_mode")
    assert 2 == journal._db.execute("PRAGMA synchronous").fetchone()[0]
    assert 0o600 == path.stat().st_mode & 0o777


def test_all_in_one_file(path: Path) -> None:
    """A closed journal is one file, and has everything in it."""
    with Journal.create(path, {"run_id": "r"}) as journal:
        journal.record_rows([row_result(2)])
        assert ["journal.sqlite", "journal.sqlite-shm", "journal.sqlite-wal"] == sorted(os.listdir(path.parent))
    assert ["journal.sqlite"] == os.listdir(path.parent)
    with Journal.open(path) as journal:
        assert ("r", {2: row_result(2)}) == (journal.meta()["run_id"], journal.row_results(0, 9))


def test_closing_twice(path: Path) -> None:
    """A journal may be closed before the end of its `with`."""
    with Journal.create(path, {}) as journal:
        journal.close()
    with Journal.open(path) as journal:
        assert {} == journal.outcomes()


def test_meta(journal: Journal, path: Path) -> None:
    """What is known of the run as a whole is on disk at once, and can be added to."""
    journal.put_meta({"seconds": 1.5, "stopped": None})
    journal.put_meta({"seconds": 2.5})
    assert [("seconds", "2.5"), ("stopped", "null")] == ask(path, "SELECT * FROM meta WHERE key LIKE 's%' ORDER BY key")
    assert ("r", 2.5) == (journal.meta()["run_id"], journal.meta()["seconds"])


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_never_over_another(path: Path, tmp_path: Path, kind: str) -> None:
    """A journal is never made over another file, nor through a link."""
    target = tmp_path / "target"
    if kind != "dangling":
        target.write_text("mine")
    path.symlink_to(target) if kind != "file" else target.rename(path)
    with pytest.raises(FolderError) as caught:
        Journal.create(path, {})
    assert f"{path}: the record of this run cannot be made (there is one already)." == str(caught.value)
    assert "mine" == path.read_text() if kind != "dangling" else not target.exists()


def test_no_files_to_open(path: Path) -> None:
    """Where no more files can be opened, that is said, and not that the disk is full."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most[0], 512), most[1]))
        with suppress(OSError):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        os.close(opened.pop())  # the file itself can be opened, and its log cannot
        with pytest.raises(FolderError) as caught:
            Journal.create(path, {})
    finally:
        for one in opened:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert str(caught.value).endswith("On this machine this process may open no more files (ulimit -n).")


def test_no_folder(tmp_path: Path) -> None:
    """A journal that cannot be made is a folder that cannot be used."""
    path = tmp_path / "missing" / "journal.sqlite"
    with pytest.raises(FolderError) as caught:
        Journal.create(path, {})
    assert f"{path}: the record of this run cannot be made (no such file or directory)." == str(caught.value)


def test_half_made_journal_is_made_again(path: Path) -> None:
    """What a crash while making it left behind is in nobody's way."""
    for end in ("", "-wal", "-shm"):
        (path.parent / f".journal.sqlite.part{end}").write_bytes(b"half")
    with Journal.create(path, {"run_id": "r"}) as journal:
        assert "r" == journal.meta()["run_id"]
    assert ["journal.sqlite"] == os.listdir(path.parent)


def test_no_journal(path: Path) -> None:
    """A missing journal, a link and a folder are no journal."""
    missing = refused(path)
    path.mkdir()
    assert [f"{path}: there is no record of a run."] * 2 == [missing, refused(path)]


def test_other_version(path: Path) -> None:
    """A journal of another version is refused, and left as it is."""
    with Journal.create(path, {"version": 99}):
        pass
    before = path.read_bytes()
    assert f"{path}: this record of a run was written by another version of batch (99)." == refused(path)
    assert before == path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"SQLite format 3\0" + b"\0" * 5000])
def test_no_database(path: Path, content: bytes) -> None:
    """A file that is no journal is refused in words, with the way out."""
    path.write_bytes(content)
    message = refused(path)
    assert message.startswith(f"{path}: the record of this run is damaged (")
    assert message.endswith(f"). {START_OVER}")


def changed_by_hand(path: Path, *statements: str) -> None:
    """Another program's hand in the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE result RENAME COLUMN status TO code",
        "DROP INDEX intent_change",
        "CREATE TRIGGER meddle AFTER INSERT ON result BEGIN DELETE FROM result; END",
        "CREATE TABLE more(x)",
    ],
)
def test_tables_that_are_not_its_own(path: Path, statement: str) -> None:
    """Tables that differ from a journal's in anything make no journal, sound as the file may be."""
    with Journal.create(path, {"run_id": "r"}):
        pass
    changed_by_hand(path, statement)
    assert (
        f"{path}: the record of this run is damaged (its tables are not those of such a record). {START_OVER}"
        == refused(path)
    )


@pytest.mark.parametrize(
    "value", ["'x'", "''", "X'ff'", "7", "'00000000-0000-4000-8000-00000000000\n2'", "'Authorization: x'"]
)
def test_key_that_is_none(path: Path, value: str) -> None:
    """What is no key must not become a header."""
    with Journal.create(path, {"run_id": "r"}) as journal:
        add(journal, intent())
        journal.flush()
    changed_by_hand(path, f"UPDATE intent SET key = {value}")  # noqa: S608 - ours
    with Journal.open(path) as journal, pytest.raises(JournalError, match="the record of this run is damaged"):
        journal.intent(2)


def test_a_journal_of_before_there_was_a_report(path: Path, journal: Journal) -> None:
    """Without the table of attempts by the second it is read as one of which nothing was kept, and gone on with."""
    journal.close()
    changed_by_hand(path, "DROP TABLE second")
    with Journal.open(path) as opened:
        assert opened.attempts_over_time(10) is None
        opened.begin_part()
        opened.count("attempts")
        opened.flush()
    with Journal.open(path) as opened:
        assert 2 == opened.count_parts()


# -- cut off and damaged --------------------------------------------------------------------------------------------


def test_killed(tmp_path: Path) -> None:
    """What was committed before a kill is all there."""
    with Journal.open(cut_off(tmp_path)) as journal:
        assert ({UPDATED: 50}, Counter({UPDATED: 50})) == (journal.outcomes(), journal.counts)


def test_killed_and_newest_part_lost(tmp_path: Path) -> None:
    """Without the -wal file of a killed run, what was sent last is not known: refused, each time, until it is back."""
    path = cut_off(tmp_path)
    wal = tmp_path / "journal.sqlite-wal"
    content = wal.read_bytes()
    wal.unlink()
    assert [f"{path}: {LOST}"] * 2 == [refused(path), refused(path)]
    wal.write_bytes(b"")
    assert f"{path}: {LOST}" == refused(path)
    wal.write_bytes(content)
    with Journal.open(path) as journal:
        assert {UPDATED: 50} == journal.outcomes()


def test_killed_and_newest_part_cut(tmp_path: Path) -> None:
    """A -wal file that is shorter than the -shm file beside it says is refused at any length, each time."""
    path = cut_off(tmp_path)
    wal = tmp_path / "journal.sqlite-wal"
    content = wal.read_bytes()
    for length in (1, 31, 32, 33, 5_000, len(content) // 2, len(content) - 4_120, len(content) - 1):
        wal.write_bytes(content[:length])
        assert [f"{path}: {LOST}"] * 2 == [refused(path), refused(path)], length
    wal.write_bytes(content)
    with Journal.open(path) as journal:
        assert {UPDATED: 50} == journal.outcomes()


def test_looking_does_not_touch(tmp_path: Path) -> None:
    """Looking into a killed run leaves its files as they are, so that it can still be opened."""
    path = cut_off(tmp_path)
    files = {name: (tmp_path / name).read_bytes() for name in ("journal.sqlite", "journal.sqlite-wal")}
    found = peek(path)
    assert ("r", 50) == (found.meta["run_id"], found.final)
    assert files == {name: (tmp_path / name).read_bytes() for name in files}
    with Journal.open(path) as journal:
        assert {UPDATED: 50} == journal.outcomes()


def test_looking_into_a_run_that_goes_on(journal: Journal, path: Path) -> None:
    """Looking into a run does not disturb it."""
    journal.record_rows([row_result(2), row_result(3, FAILED)])
    assert 1 == peek(path).final
    journal.record_rows([row_result(3)])
    assert 2 == peek(path).final


def test_looking_into_a_closed_run(path: Path) -> None:
    """Looking into a run that ended leaves nothing behind."""
    with Journal.create(path, {"run_id": "r"}) as journal:
        journal.record_rows([row_result(2)])
    assert 1 == peek(path).final
    assert ["journal.sqlite"] == os.listdir(path.parent)


def test_looking_where_nothing_is(path: Path) -> None:
    """A file that is no journal is said to be none."""
    path.write_bytes(b"no database" * 999)
    with pytest.raises(JournalError) as caught:
        peek(path)
    expected = (
        f"{path}: the record of an earlier run cannot be read (file is not a database). "
        "Move that folder away to start over, or name another one with --out."
    )
    assert expected == str(caught.value)


FILES = ("journal.sqlite", "journal.sqlite-wal")


class Pieces:
    """The files of a killed run, which hypothesis then spoils."""

    def __init__(self, path: Path) -> None:
        self.files = {name: (path.parent / name).read_bytes() for name in FILES}

    def row_results(self, name: str, content: bytes) -> dict[int, RowResult] | None:
        """What a journal with this content in one of its files tells; None when it is refused in words."""
        with tempfile.TemporaryDirectory() as folder:
            for one, data in {**self.files, name: content}.items():
                (Path(folder) / one).write_bytes(data)
            try:
                with Journal.open(Path(folder) / "journal.sqlite") as journal:
                    return journal.row_results(0, 10_000)
            except JournalError:
                return None


@pytest.fixture(scope="module")
def pieces() -> Iterator[Pieces]:
    with tempfile.TemporaryDirectory() as folder:
        yield Pieces(cut_off(Path(folder), changes=120))


@settings(deadline=None, max_examples=60)
@given(share=st.floats(0, 1), name=st.sampled_from(FILES))
def test_cut_at_any_byte(pieces: Pieces, share: float, name: str) -> None:
    """Cut at any byte, a journal tells the first so many rows, without a gap and as they were, or is refused."""
    length = int(len(pieces.files[name]) * share)
    found = pieces.row_results(name, pieces.files[name][:length])
    assert found is None or {row: row_result(row) for row in range(2, 2 + len(found))} == found
    assert found is None or (length >= 512 if name == "journal.sqlite" else length > 0)


@settings(deadline=None, max_examples=60)
@given(place=st.floats(0, 0.999999), flip=st.integers(1, 255), name=st.sampled_from(FILES))
def test_any_byte_flipped(pieces: Pieces, place: float, flip: int, name: str) -> None:
    """A journal with any byte flipped opens or is refused in words; nothing else comes of it."""
    content = bytearray(pieces.files[name])
    content[int(len(content) * place)] ^= flip
    found = pieces.row_results(name, bytes(content))
    assert found is None or len(found) <= 120


FULL = """
import resource, sys
from pathlib import Path
from batch.errors import JournalError
from batch.journal import Journal
from batch.model import RowResult, Outcome, Problem
journal = Journal.create(Path(sys.argv[1]), {})
journal.record_rows([RowResult(2, "2", Outcome.UPDATED)])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    for row in range(3, 10_000):
        journal.record_rows([RowResult(row, str(row), Outcome.REJECTED, problems=(Problem("", text="x" * 5000),))])
except JournalError as error:
    first = str(error)
counted = sum(journal.counts.values())
for more in (
    lambda: journal.record_rows([RowResult(9, "9", Outcome.UPDATED)]),
    lambda: journal.put_meta({"a": "x" * 500_000})):
    try:
        more()
    except JournalError:
        pass
print(first)
print(counted, journal.error is not None)
journal.close()
"""


def test_full_disk(path: Path) -> None:
    """A disk that takes no more stops the journal in words; what it counted before is what it has on disk."""
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    message, counts = done.stdout.splitlines()
    counted, has_error = counts.split()
    assert message.startswith(f"{path}: the record of this run cannot be written (")
    assert message.endswith("), so nothing more is sent. Make room or give access, then run the same command again.")
    assert "True" == has_error
    with Journal.open(path) as journal:
        assert int(counted) == sum(journal.outcomes().values())


def test_full_disk_is_no_damage(path: Path) -> None:
    """A record that cannot be opened, since the disk is full, is not called damaged, nor given up."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE one(text)")
        db.execute("PRAGMA max_page_count=2")
        with pytest.raises(sqlite3.OperationalError) as caught:
            db.execute("INSERT INTO one VALUES (?)", ("x" * 100_000,))
    assert str(unusable(path, caught.value)) == (
        f"{path}: the record of this run is whole, and cannot be opened (database or disk is full). Make room or give "
        "access, then run the same command again."
    )


# -- while sending --------------------------------------------------------------------------------------------------


class Statements:
    """Remembers the statements that a journal makes."""

    def __init__(self, journal: Journal) -> None:
        self.seen: list[str] = []
        journal._db.set_trace_callback(self.seen.append)

    @property
    def commits(self) -> int:
        return self.seen.count("COMMIT")


@pytest.mark.anyio
async def test_intent_is_on_disk_first(journal: Journal, path: Path) -> None:
    """`write_intent` comes back when another connection can read the intent, not before."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.run_writer, pytest.fail)
        assert [] == ask(path, "SELECT * FROM intent")
        await journal.write_intent(intent())
        (row,) = ask(path, "SELECT change, id, key, attempts, fields, before, body FROM intent")
        body = '{"name":"Zoë","phone":null}'
        assert (2, "2", "00000000-0000-4000-8000-000000000002", 1, body, '{"name":"x"}', body) == row
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_group_commit(journal: Journal, path: Path) -> None:
    """Whatever waits at one moment goes to the disk in one commit."""
    statements = Statements(journal)
    async with anyio.create_task_group() as around:
        around.start_soon(journal.run_writer, pytest.fail)
        async with anyio.create_task_group() as workers:
            for number in range(2, 102):
                workers.start_soon(journal.write_intent, intent(number))
            journal.record(200, [row_result(200), row_result(201)])
            journal.count("attempts", 3)
        around.cancel_scope.cancel()
    assert (1, [(100,)]) == (statements.commits, ask(path, "SELECT count(*) FROM intent"))
    assert (100, {200, 201}) == (journal.counters().attempts, set(journal.row_results(0, 999)))


def test_group_commit_beside_the_network(path: Path) -> None:
    """While the disk is busy in a thread, the next group gathers, and nobody waits for long."""
    with Journal.create(path, {}) as journal:
        statements = Statements(journal)

        async def work(first: int) -> None:
            for number in range(first, first + 20):
                await journal.write_intent(intent(number))

        async def main() -> None:
            async with anyio.create_task_group() as around:
                around.start_soon(lambda: journal.run_writer(pytest.fail, in_thread=True))
                async with anyio.create_task_group() as workers:
                    for first in range(2, 1000, 20):
                        workers.start_soon(work, first)
                around.cancel_scope.cancel()

        anyio.run(main)
        changes = ask(path, "SELECT count(DISTINCT change) FROM intent")
        assert ([(1000,)], True) == (changes, statements.commits <= 2 * 20 + 2)


@pytest.mark.anyio
async def test_counted_after_commit(journal: Journal) -> None:
    """A fate counts when it is on disk, not when it is said."""
    journal.record(2, [row_result(2), row_result(3)])
    assert (Counter(), {}) == (journal.counts, journal.row_results(0, 9))
    journal.flush()
    assert (Counter({UPDATED: 2}), {2, 3}) == (journal.counts, set(journal.row_results(0, 9)))


class Refusing(sqlite3.Connection):
    """A connection whose commits the disk refuses."""

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(statement, *values)


def refuse(journal: Journal) -> None:
    """From now on the disk refuses."""
    journal._db.close()
    journal._db = sqlite3.connect(journal.path, isolation_level=None, check_same_thread=False, factory=Refusing)


@pytest.mark.anyio
async def test_disk_refuses(journal: Journal, path: Path) -> None:
    """When the disk refuses, whoever waits is told, nothing is counted, and nothing more is taken."""
    refuse(journal)
    said: list[JournalError] = []
    message = (
        f"{path}: the record of this run cannot be written (disk I/O error), so nothing more is sent. "
        "Make room or give access, then run the same command again."
    )

    async def wait(number: int) -> None:
        with pytest.raises(JournalError) as caught:
            await journal.write_intent(intent(number))
        assert message == str(caught.value)

    journal.record(9, [row_result(9)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.run_writer, said.append)
        for number in range(2, 12):
            tasks.start_soon(wait, number)
    await wait(99)
    assert ([message], Counter()) == ([str(error) for error in said], journal.counts)
    assert [] == ask(path, "SELECT * FROM intent") + ask(path, "SELECT * FROM result")


def test_disk_refuses_while_the_next_group_gathers(journal: Journal) -> None:
    """Who came while the disk was busy with a group that it then refuses is told, too, and never waits for ever."""
    refuse(journal)
    late: list[str] = []

    async def come_late() -> None:
        with pytest.raises(JournalError):
            await journal.write_intent(intent(3))
        late.append("told")

    async def main() -> None:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                commit = journal._commit

                def slow(batch: Any) -> None:
                    anyio.from_thread.run(begin)
                    commit(batch)

                async def begin() -> None:
                    tasks.start_soon(come_late)
                    await anyio.sleep(0.05)

                journal._commit = slow  # type: ignore[method-assign]  # only to know when the disk is busy
                journal.record(2, [row_result(2)])
                await journal.run_writer(lambda error: None, in_thread=True)

    anyio.run(main)
    assert ["told"] == late


def test_bug_while_writing(path: Path) -> None:
    """Whatever ends a commit, nobody waits for the next one, or goes on as though it were written."""
    said: list[str] = []

    def buggy(_: Any) -> None:
        raise ZeroDivisionError

    async def begin(journal: Journal, number: int) -> None:
        with anyio.CancelScope(shield=True), pytest.raises(JournalError) as caught:
            await journal.write_intent(intent(number))
        said.append(str(caught.value))
        if number < 4:
            await begin(journal, number + 2)

    async def main() -> None:
        with Journal.create(path, {}) as journal:
            journal._commit = buggy  # type: ignore[method-assign]  # a bug
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(journal.run_writer, pytest.fail)
                tasks.start_soon(begin, journal, 2)
                tasks.start_soon(begin, journal, 3)

    with pytest.raises(ExceptionGroup) as caught:
        anyio.run(main)
    assert ZeroDivisionError is type(caught.value.exceptions[0])
    assert [f"{path}: the record of this run was not written (ZeroDivisionError())."] * 4 == said


def test_intent_again(path: Path) -> None:
    """Attempts add up; what a later part sends is kept beside what was begun with."""
    with Journal.create(path, {}) as journal:
        for attempts in (1, 2):
            add(journal, intent(attempts=attempts))
            journal.flush()
    with Journal.open(path) as journal:
        add(journal, intent(body={"name": "Zoe"}, before={"name": "Zoë"}, number=2, spent=2))
        journal.flush()
        (found,) = journal.iter_intents()
        last = journal.intent(2)
    assert ([(2, {"name": "x"}), (1, {"name": "Zoë"})], None) == ([(i.attempts, i.before) for i in found[0]], found[1])
    assert {"name": "Zoe"} == last.body  # type: ignore[union-attr]  # it is there


JSON = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.lists(st.text(), max_size=2)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(), JSON), st.none() | st.dictionaries(st.text(), JSON), st.none() | st.uuids().map(str))
def test_any_intent(fields: Any, before: Any, key: str | None) -> None:
    """An intent comes back as it went in."""
    one = Intent(2, "42", key, 1, fields, before, fields, "Bolt", {"full_address": before})
    with tempfile.TemporaryDirectory() as folder, Journal.create(Path(folder) / "j", {}) as journal:
        add(journal, one)
        journal.flush()
        assert (one, None) == (journal.intent(2), journal.intent(3))


# -- reading --------------------------------------------------------------------------------------------------------

WRONG = worded("has letters", "phone", "Phone", "F17", "ext. 5")


def test_fates(journal: Journal) -> None:
    """Fates come back as they went in; a row without one is unsent."""
    rows = [
        row_result(2, status=200, attempts=3),
        row_result(4, INVALID, WRONG, worded("x")),
        row_result(900, REJECTED, status=422),
    ]
    journal.record_rows(rows)
    assert {row.row: row for row in rows[:2]} == journal.row_results(2, 10)
    assert {UPDATED: 1, INVALID: 1, REJECTED: 1} == journal.outcomes()


def test_latest_fate_counts(journal: Journal) -> None:
    """A row that failed and was sent again has its newest fate alone."""
    journal.record_rows([row_result(2, FAILED, worded("x"))])
    journal.record_rows([row_result(2)])
    assert ({2: row_result(2)}, {UPDATED: 1}) == (journal.row_results(0, 9), journal.outcomes())


def test_troubled(journal: Journal) -> None:
    """Those with a word to say, or not done, come in order of the rows."""
    journal.record_rows(
        [
            row_result(5, FAILED),
            row_result(3, UPDATED, worded("updated, awaiting approval")),
            row_result(2),
            row_result(4, INVALID, WRONG),
        ]
    )
    assert [3, 4, 5] == [one.row for one in journal.iter_troubled()]


def test_final_rows(journal: Journal) -> None:
    """Failed, unknown and unsent rows are taken up again; the others are final."""
    journal.record_rows([row_result(row, outcome) for row, outcome in enumerate(Outcome, 2)])
    assert ({2, 3, 4, 5}, {3}) == (journal.final_rows(0, 99), journal.final_rows(3, 3))


def test_counts_of_a_resumed_run(path: Path) -> None:
    """A resumed run begins with the rows that are final; the others count when they are settled anew."""
    with Journal.create(path, {}) as journal:
        journal.record_rows(
            [row_result(2), row_result(3, FAILED), row_result(4, UNKNOWN), row_result(5, INVALID, WRONG)]
        )
    with Journal.open(path) as journal:
        assert Counter({UPDATED: 1, INVALID: 1}) == journal.counts


def test_tallies_add_up(journal: Journal) -> None:
    """Tallies go on from part to part of a run."""
    journal.count("attempts", 2)
    journal.flush()
    journal.count("attempts")
    journal.count("throttled")
    journal.flush()
    assert Counts(0, 3, 1, is_exact=True) == journal.counters()


@pytest.mark.anyio
async def test_reads_are_reserved_first(journal: Journal, path: Path) -> None:
    """A read may leave when its number is on disk; until the part ends in order, the numbers reserved are counted."""
    await journal.reserve_read()
    assert [(BLOCK,)] == ask(path, "SELECT reserved FROM part")
    assert Counts(BLOCK, BLOCK, 0, is_exact=False) == journal.counters()
    for _ in range(BLOCK):
        await journal.reserve_read()
    assert [(2 * BLOCK,)] == ask(path, "SELECT reserved FROM part")
    journal.count("requests")
    journal.count("attempts")
    journal.end_part()
    assert Counts(1, 1, 0, is_exact=True) == journal.counters()


def test_has_intents(journal: Journal, path: Path) -> None:
    """Whether anything was ever about to be sent is known."""
    before = journal.has_intents()
    add(journal, intent())
    journal.flush()
    changes = ask(path, "SELECT count(DISTINCT change) FROM intent")
    assert (False, True, [(1,)]) == (before, journal.has_intents(), changes)


def test_reading_from_a_disk_that_fails(journal: Journal, path: Path) -> None:
    """A journal that cannot be read any more says so in words."""
    journal.record_rows([row_result(row) for row in range(2, 2000)])
    journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.truncate(8192)
    with pytest.raises(JournalError) as caught:
        journal.row_results(0, 9999)
    assert str(caught.value).startswith(f"{path}: the record of this run cannot be read any more (")
    assert str(caught.value).endswith("). Run the same command again.")


def test_moved_folder(path: Path, tmp_path: Path) -> None:
    """A run folder may be moved, also to a place with odd characters."""
    with Journal.create(path, {"run_id": "r"}):
        pass
    other = tmp_path / "a ?#% ü" / "journal.sqlite"
    other.parent.mkdir()
    shutil.move(path, other)
    assert "r" == peek(other).meta["run_id"]
    with Journal.open(other) as journal:
        assert "r" == json.loads(json.dumps(journal.meta()))["run_id"]


def test_when_the_api_was_asked(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts and answers of 429 are kept by the second, in all parts, and add up to what was counted."""
    began = int(journal.since) + 1
    for at, attempts, throttled in ((0.0, 2, 0), (0.9, 1, 1), (7.5, 4, 2), (19.0, 1, 0), (-9e9, 1, 0)):
        monkeypatch.setattr("batch.journal.journal.time.time", lambda at=at: began + at)
        for name, count in (("attempts", attempts), ("throttled", throttled), ("requests", attempts)):
            for _ in range(count):
                journal.count(name)
        journal.flush()
    found = journal.attempts_over_time(3)
    assert found is not None
    assert (began - 1, 7.0, [4, 4, 1], [1, 2, 0]) == (found.began, found.seconds, found.attempts, found.throttled)
    counters = journal.counters()
    assert (counters.attempts, counters.throttled) == (sum(found.attempts), sum(found.throttled))
    finer = journal.attempts_over_time(1000)
    assert finer is not None
    assert (21, 1.0) == (len(finer.attempts), finer.seconds)


def test_a_run_without_time(journal: Journal) -> None:
    """Of a run that took no time there is nothing to draw."""
    assert journal.attempts_over_time(100) is None
    journal.count("attempts")
    journal.flush()
    assert journal.attempts_over_time(100) is None


def test_confirmed_rows_of_an_earlier_part(journal: Journal) -> None:
    """They are looked at where this part reads records, and settled where it does not."""
    journal.record_rows([replace(row_result(2, UPDATED), state=State.CONFIRMED), row_result(3, UPDATED)])
    journal.believe({UPDATED})
    assert {3} == journal.final_rows(0, 99)
    journal.believe({UPDATED}, reads=False)
    assert {2, 3} == journal.final_rows(0, 99)
