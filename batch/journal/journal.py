"""The journal while a run goes on: one writer with group commit, and reading on a connection of its own.

Promises: `write_intent` returns when the intent is on disk; a result counts when it is on disk; after a first error
nothing is written any more.
"""

import errno
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from batch.errors import FolderError, JournalError
from batch.exact_json import encode
from batch.files import NewFile, os_reason
from batch.journal import version_1
from batch.journal.database import (
    OPEN,
    ReadConnection,
    Transaction,
    check,
    check_tables,
    connect,
    connect_read_only,
    copy,
    fill,
    kept_beside,
    peek,
    unusable,
)
from batch.journal.queries import JournalQueries
from batch.machine import out_of_files
from batch.model import Intent, Outcome, Problem, RowResult, State

VERSION = 2
SECOND = "CREATE TABLE second(at INTEGER PRIMARY KEY, attempts INTEGER NOT NULL, throttled INTEGER NOT NULL)"
HIDDEN = "CREATE TABLE hidden(digest TEXT PRIMARY KEY, shown TEXT NOT NULL) WITHOUT ROWID"
"""What is shown of texts with a secret in them (`credentials.hidden_texts`)."""
LATER = (SECOND, HIDDEN)
"""The tables that a journal may lack: those that were begun before anything was made of these."""
SCHEMA = f"""
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE part(
    number INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, is_orderly INTEGER NOT NULL,
    requests INTEGER NOT NULL, attempts INTEGER NOT NULL, throttled INTEGER NOT NULL, reserved INTEGER NOT NULL
);
CREATE TABLE intent(
    place INTEGER PRIMARY KEY, change INTEGER NOT NULL, number INTEGER NOT NULL, part INTEGER NOT NULL,
    attempts INTEGER NOT NULL, id TEXT, key TEXT, fields TEXT, before TEXT, body TEXT, name TEXT, replaced_whole TEXT,
    read REAL
);
CREATE INDEX intent_change ON intent(change);
CREATE TABLE result(
    row INTEGER PRIMARY KEY, change INTEGER NOT NULL, id TEXT NOT NULL, outcome TEXT NOT NULL, state TEXT NOT NULL,
    status INTEGER, attempts INTEGER NOT NULL, time REAL NOT NULL, shown TEXT, problems TEXT
);
{SECOND};
{HIDDEN};
CREATE TABLE file(name TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;
"""
NONE_HIDDEN: Mapping[str, str] = {}
ERASED_AT_ONCE = 10_000
BLOCK = 32
"""Reads and log-ins whose numbers are reserved at once: so many more than were made may be counted after a kill."""
COUNTERS = ("requests", "attempts", "throttled", "reserved")
TIMED = ("attempts", "throttled")
"""Counters that are also kept by the second, so that it is known when the API was asked, and when it said 429."""


@dataclass(slots=True)
class _Batch:
    """What one commit writes."""

    intents: list[tuple[Intent, int, bool]] = field(default_factory=list)
    """Each with how many attempts more (or less) it has, and whether all of it is written, or the attempts alone."""
    hidden: dict[str, str] = field(default_factory=dict)
    row_results: list[tuple[int, RowResult]] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    seconds: Counter[tuple[int, str]] = field(default_factory=Counter)
    """What was counted in each second since 1970."""


class Journal(JournalQueries):
    """The journal of one run, open until the end of `with`."""

    def __init__(self, connection: sqlite3.Connection, reader: ReadConnection, path: Path) -> None:
        super().__init__(reader)
        self.path = path
        self._db = connection
        self._is_closed = False
        self._waiting = _Batch()
        self._wake = anyio.Event()
        self._written = anyio.Event()
        self._is_written_for_us = False
        """The writer runs, so that whoever waits need not write."""
        self._part = 0
        self._has_begun_part = False
        self._reserved = 0
        """Reads and log-ins that may be made before the next block is reserved."""
        self.error: JournalError | None = None
        self.counts: Counter[Outcome] = Counter()
        """Rows by outcome, counted after their commit; rows to retry count once they are settled anew."""

    # -- opening ------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, meta: Mapping[str, Any]) -> Self:
        """Create a journal (0600); raises FolderError when that cannot be done safely: nothing was sent yet."""
        try:
            if path.exists() or path.is_symlink():
                raise FileExistsError(errno.EEXIST, "there is one already")
            file = NewFile(path)
            for end in ("-wal", "-shm"):
                Path(f"{file.made}{end}").unlink(missing_ok=True)  # left by a crash
            fill(file.made, SCHEMA, {"version": VERSION, OPEN: False, **meta})
            file.keep()
            journal = cls._opened(path, VERSION)
            journal.begin_part()
            return journal
        except OSError as error:
            raise FolderError(f"{path}: the record of this run cannot be made ({os_reason(error).lower()}).") from error
        except JournalError as error:
            hint = f"{lack}." if (lack := out_of_files()) else "Is there room on the disk?"
            why = f"{path}: the record of this run cannot be made ({error.__cause__}). {hint}"
            raise FolderError(why if error.__cause__ else str(error)) from error

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing journal after checking that it is whole; raises JournalError."""
        if path.is_symlink() or not path.is_file():
            raise JournalError(f"{path}: there is no record of a run.")
        meta = check(path)
        version = meta.get("version")
        if version not in (VERSION, 1):
            raise JournalError(f"{path}: this record of a run was written by another version of batch ({version}).")
        check_tables(path, *((SCHEMA, LATER) if version == VERSION else (version_1.SCHEMA,)))
        return cls._opened(path, version)

    @classmethod
    def _opened(cls, path: Path, version: int) -> Self:
        """Connect, and mark in the main file that newer parts may be in the -wal file from now on."""
        with ExitStack() as stack:
            views = version_1.VIEWS if version == 1 else ""
            db = stack.enter_context(closing(connect(path, views)))
            journal = cls(db, stack.enter_context(closing(ReadConnection(connect(path, views), path))), path)
            try:
                journal.put_meta({OPEN: True})
                for table in LATER if version == VERSION else ():
                    db.execute(table.replace("TABLE", "TABLE IF NOT EXISTS", 1))
                db.execute("PRAGMA wal_checkpoint(FULL)")
                journal._recount()
                journal._part = journal.count_parts()
            except sqlite3.Error as error:
                raise unusable(path, error) from error
            stack.pop_all()  # all is well: it stays open
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was committed is in it, and in it alone where the disk takes that."""
        if self._is_closed:
            return
        self._is_closed = True
        with ExitStack() as stack:
            try:
                self.end_part()
                self.put_meta({OPEN: False})
            except JournalError:  # so it counts as open, and the newest part must stay beside it
                stack.enter_context(kept_beside(self.path))
            self._reader.close()
            self._db.close()

    def copy_to(self, path: Path) -> None:
        """Copy what was committed by now to `path`, also where the journal has no name any more; raises OSError."""
        file = NewFile(path)
        try:
            copy(self._reader, file.made)
            file.keep()
        finally:
            file.discard()

    # -- parts --------------------------------------------------------------------------------------------------

    def begin_part(self) -> None:
        """Write that another start goes on with this run: what is counted from now on is counted for it."""
        with self._transaction():
            self._part += 1
            self.since = time.time()
            values = (self._part, self.since)
            self._db.execute("INSERT INTO part VALUES (?, ?, NULL, 0, 0, 0, 0, 0)", values)
            # a clock that was set back, or a folder of somebody else: nothing of an earlier part counts as of this one
            strange = "typeof(time) <> 'real' OR time >= ?"
            self._db.execute(f"UPDATE result SET time = 0 WHERE {strange}", (self.since,))  # noqa: S608 - only words
        self._has_begun_part = True

    @property
    def is_resumed(self) -> bool:
        """Whether there was an earlier part."""
        return self._part > 1

    def believe(
        self, outcomes: Iterable[Outcome], rows: Iterable[int] | None = None, *, reads: bool = True
    ) -> None:  # fmt: skip
        """Take only these outcomes of earlier parts as settled; results of other rows than `rows` are removed.

        Where this part `reads` no records, what the API has confirmed is settled, too: no more will be known.
        """
        self.believed = frozenset(outcomes)
        if not reads:
            with self._transaction():
                states = (State.FINAL, State.CONFIRMED)
                self._db.execute("UPDATE result SET state = ? WHERE state = ?", states)
        if rows is not None:
            known = set(rows)
            strange = [(row,) for (row,) in self._reader.rows("SELECT row FROM result") if row not in known]
            with self._transaction():
                self._db.executemany("DELETE FROM result WHERE row = ?", strange)
        self._recount()

    def end_part(self) -> None:
        """Write the exact counts of this part; of one that is cut off before, they are the most that it can be."""
        if self._has_begun_part and self.error is None:
            self._has_begun_part = False
            self.flush()
            with self._transaction():
                self._db.execute(
                    "UPDATE part SET ended = ?, is_orderly = 1 WHERE number = ?", (time.time(), self._part)
                )

    def take_in(self, path: Path) -> None:
        """Add all parts, intents and results of the journal at `path`, which has other rows; raises JournalError."""
        parts = "number + ?, started, ended, is_orderly, requests, attempts, throttled, reserved"
        intents = f"change, number, part + ?, attempts, {WHOLE}"
        with connect_read_only(path) as other, self._transaction():
            other.execute("BEGIN")  # all as of one moment, also where its run goes on
            self._db.executemany(
                f"INSERT INTO part VALUES ({', '.join('?' * 8)})",  # noqa: S608 - only marks
                other.execute(f"SELECT {parts} FROM part", (self._part,)),  # noqa: S608 - only columns
            )
            self._db.executemany(
                f"INSERT INTO intent(change, number, part, attempts, {WHOLE}) VALUES ({', '.join('?' * 12)})",  # noqa: S608 - only columns
                other.execute(f"SELECT {intents} FROM intent ORDER BY place", (self._part,)),  # noqa: S608 - only columns
            )
            if other.execute("SELECT 1 FROM sqlite_master WHERE name = 'hidden'").fetchone():
                known = other.execute("SELECT digest, shown FROM hidden")
                self._db.executemany("INSERT OR REPLACE INTO hidden VALUES (?, ?)", known)
            self._db.executemany(
                f"INSERT INTO result VALUES ({', '.join('?' * 10)})",  # noqa: S608 - only marks
                other.execute(f"SELECT {RESULT} FROM result"),  # noqa: S608 - only columns
            )
        self._part = self.count_parts()
        self._recount()

    def erase_values(self, erased: Callable[[RowResult], RowResult]) -> None:
        """Remove what was sent and seen, put `erased` results in the place of those that say something, and tidy up.

        Pages that are not used any more are overwritten, and the -wal file is emptied. Raises JournalError.
        """
        results = list[tuple[str | None, int]]()
        self._db.execute("PRAGMA secure_delete=ON")
        with self._transaction():
            self._db.execute(
                "UPDATE intent SET key = NULL, fields = '{}', before = NULL, body = '{}', name = '', "
                "replaced_whole = '{}' WHERE fields IS NOT NULL"
            )
            self._db.execute("DELETE FROM hidden")
            for found in self.iter_told():
                results.append((_problems_text(erased(found).problems), found.row))
                if len(results) >= ERASED_AT_ONCE:
                    self._replace_problems(results)
            self._replace_problems(results)
        try:
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: the values in it cannot be removed ({error}). Make room.") from error

    def _replace_problems(self, results: list[tuple[str | None, int]]) -> None:
        self._db.executemany("UPDATE result SET shown = NULL, problems = ? WHERE row = ?", results)
        results.clear()

    # -- meta ---------------------------------------------------------------------------------------------------

    def meta(self) -> dict[str, Any]:
        """Return the metadata of the run."""
        return dict(self._reader.rows("SELECT key, value FROM meta", read=lambda row: (row[0], json.loads(row[1]))))

    def put_meta(self, values: Mapping[str, Any]) -> None:
        """Add to the metadata of the run, at once."""
        with self._transaction():
            rows = [(key, json.dumps(value)) for key, value in values.items()]
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def put_file(self, name: str, digest: str) -> None:
        """Keep the digest of a file as it was written, so that it is known whether somebody changed it since."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO file VALUES (?, ?)", (name, digest))

    # -- writing while sending ----------------------------------------------------------------------------------

    async def write_intent(
        self, intent: Intent, *, is_changed: bool = False, hidden: Mapping[str, str] = NONE_HIDDEN
    ) -> None:
        """Write that an attempt of `intent` is about to leave; raises JournalError when it cannot be written.

        `is_changed`: it says something else than before its earlier attempts, so that all of it is written again.
        `hidden`: what is shown of its texts that have a secret in them.
        """
        if self.error is None:
            self._waiting.hidden.update(hidden)
            self._waiting.intents.append((intent, min(intent.attempts, 1), is_changed or intent.attempts <= 1))
            self._wake.set()
            await self._written.wait()
        if self.error is not None:
            raise self.error

    def revert_attempt(self, intent: Intent, attempts: int) -> None:
        """Write with the next commit that the last so many attempts of `intent` never left."""
        self._waiting.intents.append((intent, -attempts, False))
        self._wake.set()

    async def reserve_read(self) -> None:
        """Take a number for a read or log-in that is about to leave; the block of the number is on disk by then.

        Raises JournalError where it cannot be written, unless the writer runs, which tells of it.
        """
        while self.error is None and self._reserved <= 0:
            if not self._waiting.counters["reserved"]:
                self._waiting.counters["reserved"] = BLOCK
            if self._is_written_for_us:
                self._wake.set()
                await self._written.wait()  # whoever writes has requested shutdown where the disk refuses
            else:
                self.flush()
        self._reserved -= 1

    def record(self, number: int, row_results: Sequence[RowResult]) -> None:
        """Write the row results of change `number` with the next commit; they count from then on."""
        self._waiting.row_results += [(number, row_result) for row_result in row_results]
        self._wake.set()

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter (requests, attempts, throttled) with the next commit."""
        self._waiting.counters[name] += by
        if name in TIMED:
            self._waiting.seconds[int(max(time.time(), self.since)), name] += by  # also where the clock was set back

    async def run_writer(self, on_error: Callable[[JournalError], None], *, in_thread: bool = False) -> None:
        """Commit everything that waits in one transaction, again and again, until cancelled or until the disk refuses.

        `in_thread`: wait for the disk in a thread, so that the next group gathers meanwhile. (Not on trio's virtual
        clock, which does not know of threads.)
        """
        self._is_written_for_us = True
        try:
            while self.error is None:
                await self._wake.wait()
                await checkpoint()  # whoever is about to write joins this commit
                try:
                    with self._taken() as batch:
                        if in_thread:
                            with anyio.CancelScope(shield=True):  # what was taken must be written, also at the end
                                await anyio.to_thread.run_sync(self._commit, batch)
                        else:
                            self._commit(batch)
                except JournalError as error:
                    on_error(error)
        finally:
            self._is_written_for_us = False

    def flush(self) -> None:
        """Commit everything that waits now; after a first JournalError nothing is written any more."""
        with self._taken() as batch:
            if self.error is None:
                self._commit(batch)

    @contextmanager
    def _taken(self) -> Iterator["_Batch"]:
        """Yield what waits, and wake the tasks that wait for it; after a failed commit nothing is written any more."""
        self._wake = anyio.Event()
        written, self._written = self._written, anyio.Event()
        batch, self._waiting = self._waiting, _Batch()
        try:
            yield batch
        except BaseException as error:
            bug = JournalError(f"{self.path}: the record of this run was not written ({error!r}).")
            self.error = error if isinstance(error, JournalError) else bug
            self._written.set()  # who came while the disk was busy waits for a commit that never comes
            raise
        else:
            if self.error is None:
                settled = (one for _, one in batch.row_results if one.state is not State.CONFIRMED)
                self.counts.update(one.outcome for one in settled)
                self._reserved += batch.counters["reserved"]
        finally:
            written.set()

    def _commit(self, batch: "_Batch") -> None:
        with self._transaction():
            if batch.intents:  # of a journal of version 1 there are none, and none can be added
                self._write_intents(batch.intents)
            if batch.hidden:
                self._db.executemany("INSERT OR REPLACE INTO hidden VALUES (?, ?)", batch.hidden.items())
            self._write_results(batch.row_results)
            if batch.counters:
                values = [batch.counters[name] for name in COUNTERS]
                added = ", ".join(f"{name} = {name} + ?" for name in COUNTERS)
                self._db.execute(f"UPDATE part SET {added} WHERE number = ?", (*values, self._part))  # noqa: S608 - only columns
            if batch.seconds:
                self._db.executemany(
                    "INSERT INTO second VALUES (?, ?, ?) ON CONFLICT(at) DO UPDATE SET "
                    "attempts = attempts + excluded.attempts, throttled = throttled + excluded.throttled",
                    [(at, *(batch.seconds[at, name] for name in TIMED)) for at in {at for at, _ in batch.seconds}],
                )

    def record_rows(self, row_results: Iterable[RowResult]) -> None:
        """Write results at once, of rows that belong to no change (such as invalid ones)."""
        self._waiting.row_results += [(row_result.row, row_result) for row_result in row_results]
        self.flush()

    def record_of_changes(self, row_results: Iterable[tuple[int, RowResult]]) -> None:
        """Write results of changes at once: (number of the change, result)."""
        self._waiting.row_results += row_results
        self.flush()

    def _write_intents(self, intents: Sequence[tuple[Intent, int, bool]]) -> None:
        """Append a row for each attempt; the first of an intent has all of it, and one that says more than before."""
        self._db.executemany(
            f"INSERT INTO intent(change, number, part, attempts, {WHOLE}) VALUES ({', '.join('?' * 12)})",  # noqa: S608 - only columns
            [
                (i.change, i.number, self._part, more, *(_whole(i) if is_whole else NOTHING))
                for i, more, is_whole in intents
            ],
        )

    def _write_results(self, row_results: Sequence[tuple[int, RowResult]]) -> None:
        now = max(time.time(), self.since)  # also where the clock was set back
        rows = [
            (
                f.row, number, f.id, f.outcome.value, f.state, f.status, f.attempts, now,
                _text(f.shown) if f.shown else None, _problems_text(f.problems),
            )
            for number, f in row_results
        ]  # fmt: skip
        self._db.executemany("INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _transaction(self) -> Transaction:
        return Transaction(self._db, self.path)

    def _recount(self) -> None:
        self.counts = Counter({o: n for o, n in self.outcomes().items() if o in self.believed})


RESULT = "row, change, id, outcome, state, status, attempts, time, shown, problems"
WHOLE = "id, key, fields, before, body, name, replaced_whole, read"
NOTHING = (None,) * 8


@contextmanager
def open_for_reading(path: Path) -> Iterator[JournalQueries]:
    """Open the journal of a run that may be going on in another process; raises JournalError. Nothing is changed."""
    version = peek(path).version
    with connect_read_only(path) as db:
        db.executescript(version_1.VIEWS if version == 1 else "")
        yield JournalQueries(ReadConnection(db, path))


def _whole(intent: Intent) -> tuple[Any, ...]:
    texts = map(_text, (intent.fields, intent.before, intent.body))
    return (intent.id, intent.key, *texts, intent.name, _text(intent.replaced_whole), intent.read)


def _text(value: Any) -> str | None:
    return None if value is None else encode(value)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # made once: it is slow


def _problems_text(problems: Sequence[Problem]) -> str | None:
    said = [[p.reason, p.field, p.header, p.cell, p.seen, p.code, p.values] for p in problems]
    return _encode(said) if said else None
