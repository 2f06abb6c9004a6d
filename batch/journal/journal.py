"""The journal while a run goes on: one writer with group commit, and reading on a connection of its own.

Promises: `write_intent` returns when the intent is on disk; a result counts when it is on disk; after a first error
nothing is written any more.
"""

import errno
import json
import sqlite3
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
from batch.files import NewFile, os_reason
from batch.journal.database import (
    OPEN,
    ReadConnection,
    Transaction,
    check,
    check_tables,
    connect,
    copy,
    damaged,
    fill,
    kept_beside,
)
from batch.journal.queries import INTENT, JournalQueries
from batch.model import NEEDS_RETRY, Intent, Outcome, Problem, RowResult

VERSION = 1
SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE intent(
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, key TEXT, attempts INTEGER NOT NULL,
    fields TEXT NOT NULL, before TEXT, body TEXT NOT NULL, name TEXT NOT NULL, wholes TEXT NOT NULL
);
CREATE TABLE earlier(
    place INTEGER PRIMARY KEY, number INTEGER NOT NULL, id TEXT NOT NULL, key TEXT, attempts INTEGER NOT NULL,
    fields TEXT NOT NULL, before TEXT, body TEXT NOT NULL, name TEXT NOT NULL, wholes TEXT NOT NULL
);
CREATE INDEX earlier_number ON earlier(number);
CREATE TABLE fate(
    row INTEGER PRIMARY KEY, number INTEGER NOT NULL, id TEXT NOT NULL, outcome TEXT NOT NULL, status INTEGER,
    attempts INTEGER NOT NULL, problems TEXT
);
CREATE TABLE tally(name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(slots=True)
class _Batch:
    """What one commit writes."""

    intents: list[Intent] = field(default_factory=list)
    row_results: list[tuple[int, RowResult]] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)


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
        self._is_resumed = False
        """There are intents of an earlier part of the run."""
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
            return cls._opened(path)
        except OSError as error:
            raise FolderError(f"{path}: the journal cannot be made ({os_reason(error).lower()}).") from error
        except JournalError as error:
            why = f"{path}: the journal cannot be made ({error.__cause__}). Is there room on the disk?"
            raise FolderError(why if error.__cause__ else str(error)) from error

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing journal after checking that it is whole; raises JournalError."""
        if path.is_symlink() or not path.is_file():
            raise JournalError(f"{path}: there is no journal.")
        meta = check(path)
        if meta.get("version") != VERSION:
            raise JournalError(f"{path}: this journal was written by another version of batch ({meta.get('version')}).")
        check_tables(path, SCHEMA)
        return cls._opened(path)

    @classmethod
    def _opened(cls, path: Path) -> Self:
        """Connect, and mark in the main file that newer parts may be in the -wal file from now on."""
        with ExitStack() as stack:
            journal = cls(
                stack.enter_context(closing(connect(path))), stack.enter_context(closing(ReadConnection(path))), path
            )
            try:
                journal.put_meta({OPEN: True})
                journal._db.execute("PRAGMA wal_checkpoint(FULL)")
                journal._recount()
                journal._is_resumed = journal.has_intents()
            except sqlite3.Error as error:
                raise damaged(path, error) from error
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

    # -- meta ---------------------------------------------------------------------------------------------------

    def meta(self) -> dict[str, Any]:
        """Return the metadata of the run."""
        return dict(self._reader.rows("SELECT key, value FROM meta", read=lambda row: (row[0], json.loads(row[1]))))

    def put_meta(self, values: Mapping[str, Any]) -> None:
        """Add to the metadata of the run, at once."""
        with self._transaction():
            rows = [(key, json.dumps(value)) for key, value in values.items()]
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    # -- writing while sending ----------------------------------------------------------------------------------

    async def write_intent(self, intent: Intent) -> None:
        """Write `intent` and return when it is on disk; raises JournalError when it cannot be written."""
        if self.error is None:
            self._waiting.intents.append(intent)
            self._wake.set()
            await self._written.wait()
        if self.error is not None:
            raise self.error

    def revert_attempt(self, intent: Intent) -> None:
        """Write with the next commit that no attempt was made after those that `intent` counts."""
        self._waiting.intents.append(intent)
        self._wake.set()

    def record(self, number: int, row_results: Sequence[RowResult]) -> None:
        """Write the row results of change `number` with the next commit; they count from then on."""
        self._waiting.row_results += [(number, row_result) for row_result in row_results]
        self._wake.set()

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter (requests, attempts, throttled) with the next commit."""
        self._waiting.tally[name] += by

    async def run_writer(self, on_error: Callable[[JournalError], None], *, in_thread: bool = False) -> None:
        """Commit everything that waits in one transaction, again and again, until cancelled or until the disk refuses.

        `in_thread`: wait for the disk in a thread, so that the next group gathers meanwhile. (Not on trio's virtual
        clock, which does not know of threads.)
        """
        while self.error is None:
            await self._wake.wait()
            await checkpoint()  # whoever is about to write joins this commit
            try:
                with self._taken() as batch:
                    if in_thread:
                        with anyio.CancelScope(shield=True):  # what was taken must be written, also when the run ends
                            await anyio.to_thread.run_sync(self._commit, batch)
                    else:
                        self._commit(batch)
            except JournalError as error:
                on_error(error)

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
            bug = JournalError(f"{self.path}: the journal was not written ({error!r}).")
            self.error = error if isinstance(error, JournalError) else bug
            self._written.set()  # who came while the disk was busy waits for a commit that never comes
            raise
        else:
            if self.error is None:
                self.counts.update(row_result.outcome for _, row_result in batch.row_results)
        finally:
            written.set()

    def _commit(self, batch: "_Batch") -> None:
        with self._transaction():
            self._write_intents(batch.intents)
            self._write_results(batch.row_results)
            self._db.executemany(
                "INSERT INTO tally VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET count = count + excluded.count",
                list(batch.tally.items()),
            )

    def record_rows(self, row_results: Iterable[RowResult]) -> None:
        """Write results at once, of rows that belong to no change (such as invalid ones)."""
        self._waiting.row_results += [(row_result.row, row_result) for row_result in row_results]
        self.flush()

    def record_of_changes(self, row_results: Iterable[tuple[int, RowResult]]) -> None:
        """Write results of changes at once: (number of the change, result)."""
        self._waiting.row_results += row_results
        self.flush()

    def _write_intents(self, intents: Sequence[Intent]) -> None:
        rows = [
            (
                i.number, i.id, i.key, i.attempts, *map(_text, (i.fields, i.before, i.body)), i.name,
                _text(i.replaced_whole),
            )
            for i in intents
        ]  # fmt: skip
        if self._is_resumed:
            self._keep_earlier(rows)
        self._db.executemany("INSERT OR REPLACE INTO intent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _keep_earlier(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Keep the old intent where a resumed run sends another body: what the record was before that stays known."""
        self._db.executemany(
            f"INSERT INTO earlier({INTENT}) SELECT {INTENT} FROM intent WHERE number = ? AND body <> ?",  # noqa: S608 - only columns
            [(row[0], row[6]) for row in rows],
        )
        # the result belongs to the other body then: attempts are counted from the beginning
        self._db.executemany(
            "UPDATE fate SET attempts = 0 WHERE row = ? "
            "AND EXISTS (SELECT 1 FROM intent i WHERE i.number = fate.row AND i.body <> ?)",
            [(row[0], row[6]) for row in rows if row[3] == 1],
        )

    def _write_results(self, row_results: Sequence[tuple[int, RowResult]]) -> None:
        rows = [
            (f.row, number, f.id, f.outcome.value, f.status, f.attempts, _problems_text(f.problems))
            for number, f in row_results
        ]
        self._db.executemany("INSERT OR REPLACE INTO fate VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _transaction(self) -> Transaction:
        return Transaction(self._db, self.path)

    def _recount(self) -> None:
        self.counts = Counter({o: n for o, n in self.outcomes().items() if o not in NEEDS_RETRY})


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _text(value: Any) -> str | None:
    return None if value is None else _encode(value)


def _problems_text(problems: Sequence[Problem]) -> str | None:
    said = [[p.reason, p.field, p.header, p.cell, p.seen, p.code, p.values] for p in problems]
    return _text(said) if said else None
