"""What happened, on disk (sqlite3): the run's record, written as it happens.

Promises: an intent is on disk before its bytes leave, an outcome before it is counted. One writer, group commit (all
that waits goes into one transaction), WAL with `synchronous=FULL`, both pragmas read back. Everything else — results,
failures, summary — can be made again from it. No credential is ever in it.
"""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from batch.errors import JournalError
from batch.model import NEEDS_RETRY, Fate, Intent, Outcome, Problem

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
INTENT = "number, id, key, attempts, fields, before, body, name, wholes"


@dataclass(slots=True)
class _Batch:
    """What one commit writes."""

    intents: list[Intent] = field(default_factory=list)
    fates: list[tuple[int, Fate]] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)


class Journal:
    """The journal of one run, open until the end of `with`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._db = connection
        self._reader = _connect(path)
        self._waiting = _Batch()
        self._wake = anyio.Event()
        self._written = anyio.Event()
        self.error: JournalError | None = None
        self.counts: Counter[Outcome] = Counter()
        """Rows by outcome, counted after their commit; rows to retry count once they are settled anew."""

    # -- opening ------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, meta: Mapping[str, Any]) -> Self:
        """Make a new journal (0600); raises JournalError when that cannot be done safely."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        journal = cls(_connect(path), path)
        with journal._transaction():
            for statement in SCHEMA.split(";"):
                journal._db.execute(statement)
        journal.put_meta({"version": VERSION, **meta})
        return journal

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing journal after checking that it is whole."""
        if path.is_symlink() or not path.is_file():
            raise JournalError(f"{path}: there is no journal.")
        try:
            journal = cls(_connect(path), path)
            found = journal._db.execute("PRAGMA quick_check(1)").fetchone()[0]
            version = journal.meta().get("version")
        except sqlite3.Error as error:
            raise JournalError(f"{path}: the journal is damaged ({error}). {START_OVER}") from error
        if found != "ok":
            raise JournalError(f"{path}: the journal is damaged ({found}). {START_OVER}")
        if version != VERSION:
            raise JournalError(f"{path}: this journal was written by another version of batch ({version}).")
        journal._recount()
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was committed is in it."""
        self._reader.close()
        self._db.close()

    # -- meta ---------------------------------------------------------------------------------------------------

    def meta(self) -> dict[str, Any]:
        """Read what is known of the run as a whole."""
        return {key: json.loads(value) for key, value in self._db.execute("SELECT key, value FROM meta")}

    def put_meta(self, values: Mapping[str, Any]) -> None:
        """Add to what is known of the run, at once."""
        with self._transaction():
            rows = [(key, json.dumps(value)) for key, value in values.items()]
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    # -- writing while sending ----------------------------------------------------------------------------------

    async def intend(self, intent: Intent) -> None:
        """Write `intent` and come back when it is on disk; raises JournalError when it cannot be."""
        if self.error is None:
            self._waiting.intents.append(intent)
            self._wake.set()
            await self._written.wait()
        if self.error is not None:
            raise self.error

    def settle(self, number: int, fates: Sequence[Fate]) -> None:
        """Write the fates of change `number` with the next commit; they count from then on."""
        self._waiting.fates += [(number, fate) for fate in fates]
        self._wake.set()

    def count(self, name: str, by: int = 1) -> None:
        """Add to a tally (requests, attempts, throttled) with the next commit."""
        self._waiting.tally[name] += by

    async def keep_writing(self, on_error: Callable[[JournalError], None], *, in_thread: bool = False) -> None:
        """Commit whatever waits, all of it together, until cancelled or until the disk refuses.

        `in_thread`: wait for the disk in a thread, so that the next group gathers meanwhile. (Not on trio's virtual
        clock, which does not know of threads.)
        """
        while self.error is None:
            await self._wake.wait()
            await checkpoint()  # whoever is about to write joins this commit
            batch, written = self._take_waiting()
            try:
                if in_thread:
                    with anyio.CancelScope(shield=True):  # what was taken must be written, also when the run ends now
                        await anyio.to_thread.run_sync(self._commit, batch)
                else:
                    self._commit(batch)
                self._count(batch)
            except JournalError as error:
                self.error = error
                on_error(error)
            finally:
                written.set()

    def flush(self) -> None:
        """Commit everything that waits now; after a first JournalError nothing is written any more."""
        batch, written = self._take_waiting()
        try:
            if self.error is None:
                self._commit(batch)
                self._count(batch)
        except JournalError as error:
            self.error = error
            raise
        finally:
            written.set()

    def _take_waiting(self) -> "tuple[_Batch, anyio.Event]":
        self._wake = anyio.Event()
        written, self._written = self._written, anyio.Event()
        batch, self._waiting = self._waiting, _Batch()
        return batch, written

    def _commit(self, batch: "_Batch") -> None:
        with self._transaction():
            self._write_intents(batch.intents)
            self._write_fates(batch.fates)
            self._db.executemany(
                "INSERT INTO tally VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET count = count + excluded.count",
                list(batch.tally.items()),
            )

    def _count(self, batch: "_Batch") -> None:
        self.counts.update(fate.outcome for _, fate in batch.fates)

    def record(self, fates: Iterable[Fate]) -> None:
        """Write fates at once, of rows that are no change's (invalid ones and the like)."""
        self._waiting.fates += [(fate.row, fate) for fate in fates]
        self.flush()

    def _write_intents(self, intents: Sequence[Intent]) -> None:
        rows = [
            (i.number, i.id, i.key, i.attempts, *map(_text, (i.fields, i.before, i.body)), i.name, _text(i.wholes))
            for i in intents
        ]
        # a resumed run may send something else than it began with: what the record was before that stays known
        self._db.executemany(
            f"INSERT INTO earlier({INTENT}) SELECT {INTENT} FROM intent WHERE number = ? AND body <> ?",  # noqa: S608 - only columns
            [(row[0], row[6]) for row in rows],
        )
        self._db.executemany("INSERT OR REPLACE INTO intent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _write_fates(self, fates: Sequence[tuple[int, Fate]]) -> None:
        rows = [
            (f.row, number, f.id, f.outcome.value, f.status, f.attempts, _problems_text(f.problems))
            for number, f in fates
        ]
        self._db.executemany("INSERT OR REPLACE INTO fate VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db, self.path)

    # -- reading ------------------------------------------------------------------------------------------------

    def fates(self, first: int, last: int) -> dict[int, Fate]:
        """Read the fates of rows `first` to `last`; a row without one is unsent."""
        rows = self._reader.execute(
            "SELECT row, id, outcome, status, attempts, problems FROM fate WHERE row BETWEEN ? AND ?", (first, last)
        )
        return {row[0]: _fate(row) for row in rows}

    def iter_troubled(self) -> Iterator[Fate]:
        """Yield the fates that carry a problem or are not done, in order of the rows."""
        rows = self._reader.execute(
            "SELECT row, id, outcome, status, attempts, problems FROM fate "
            "WHERE problems IS NOT NULL OR outcome NOT IN ('updated', 'unchanged') ORDER BY row"
        )
        yield from map(_fate, rows)

    def final_rows(self, first: int, last: int) -> set[int]:
        """List the rows between `first` and `last` that nothing more is to be done about in this run."""
        marks = ", ".join("?" * len(NEEDS_RETRY))
        rows = self._reader.execute(
            f"SELECT row FROM fate WHERE row BETWEEN ? AND ? AND outcome NOT IN ({marks})",  # noqa: S608 - only marks
            (first, last, *NEEDS_RETRY),
        )
        return {row for (row,) in rows}

    def intent(self, number: int) -> Intent | None:
        """Read the intent of change `number`, from an earlier part of this run."""
        row = self._reader.execute(
            f"SELECT {INTENT} FROM intent WHERE number = ?",  # noqa: S608 - only columns
            (number,),
        ).fetchone()
        return _intent(row) if row else None

    def iter_intents(self) -> Iterator[tuple[list[Intent], Fate | None]]:
        """Yield every change in order: its intents, the oldest first, and its fate (None: it has none yet)."""
        columns = ", ".join(f"i.{name}" for name in INTENT.split(", "))
        rows = self._reader.execute(
            f"SELECT {columns}, f.row, f.id, f.outcome, f.status, f.attempts, f.problems FROM intent i "  # noqa: S608 - only columns
            "LEFT JOIN fate f ON f.row = i.number ORDER BY i.number"
        )
        for row in rows:
            fate = None if row[9] is None else _fate(row[9:])
            yield [*self._earlier_intents(row[0]), _intent(row[:9])], fate

    def _earlier_intents(self, number: int) -> list[Intent]:
        rows = self._reader.execute(
            f"SELECT {INTENT} FROM earlier WHERE number = ? ORDER BY place",  # noqa: S608 - only columns
            (number,),
        )
        return [_intent(row) for row in rows]

    def has_intents(self) -> bool:
        """Whether anything was ever about to be sent."""
        return self._reader.execute("SELECT 1 FROM intent LIMIT 1").fetchone() is not None

    def outcomes(self) -> dict[Outcome, int]:
        """Count the rows that have a fate, by outcome."""
        rows = self._reader.execute("SELECT outcome, count(*) FROM fate GROUP BY outcome")
        return {Outcome(outcome): count for outcome, count in rows}

    def count_final_changes(self) -> int:
        """Count the changes that nothing more is to be done about; rows that never were a change do not count."""
        (count,) = self._reader.execute(
            "SELECT count(DISTINCT number) FROM fate WHERE outcome IN ('updated', 'unchanged', 'rejected') "
            "AND NOT (outcome = 'unchanged' AND problems IS NOT NULL) "
            "OR (outcome = 'invalid' AND status IS NOT NULL)"  # its key led to no record, or to two
        ).fetchone()
        return int(count)

    def count_intents(self) -> int:
        """Count the changes that were ever about to be sent."""
        (count,) = self._reader.execute("SELECT count(*) FROM intent").fetchone()
        return int(count)

    def count_not_found(self) -> int:
        """Count the rows whose record is not there."""
        (count,) = self._reader.execute(
            "SELECT count(*) FROM fate WHERE outcome = 'rejected' AND status = 404"
        ).fetchone()
        return int(count)

    def tallies(self) -> dict[str, int]:
        """Read the tallies."""
        return dict(self._reader.execute("SELECT name, count FROM tally"))

    def _recount(self) -> None:
        self.counts = Counter({o: n for o, n in self.outcomes().items() if o not in NEEDS_RETRY})


START_OVER = "Keep the folder, and start over with --new; records that were changed already then come out as unchanged."


class _Transaction:
    """BEGIN … COMMIT, with every error of the disk as a JournalError."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self._path = db, path

    def __enter__(self) -> None:
        self._run("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._run("COMMIT")
            return
        if self._db.in_transaction:
            self._db.rollback()
        if isinstance(error, sqlite3.Error):
            raise _cannot_write(self._path, error) from error

    def _run(self, statement: str) -> None:
        try:
            self._db.execute(statement)
        except sqlite3.Error as error:
            raise _cannot_write(self._path, error) from error


def _cannot_write(path: Path, error: sqlite3.Error) -> JournalError:
    return JournalError(
        f"{path}: the journal cannot be written ({error}), so sending stopped. "
        "Make room or give access, then run the same command again."
    )


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        connection.execute("PRAGMA synchronous=FULL")
        synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise JournalError(f"{path}: the journal cannot be opened ({error}). {START_OVER}") from error
    if mode != "wal" or synchronous != 2:  # an I/O error can make the switch fail without an error (SQLite, WAL)
        connection.close()
        raise JournalError(
            f"{path}: this disk does not let the journal be kept safely (WAL). Use --out on another one."
        )
    return connection


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _text(value: Any) -> str | None:
    return None if value is None else _encode(value)


def _problems_text(problems: Sequence[Problem]) -> str | None:
    return _text([[p.reason, p.field, p.header, p.cell, p.seen] for p in problems]) if problems else None


def _fate(row: Sequence[Any]) -> Fate:
    number, record_id, outcome, status, attempts, problems = row
    found = tuple(Problem(*one) for one in json.loads(problems)) if problems else ()
    return Fate(number, record_id, Outcome(outcome), status, attempts, found)


def _intent(row: Sequence[Any]) -> Intent:
    number, record_id, key, attempts, fields, before, body, name, wholes = row
    read = (json.loads(fields), json.loads(before or "null"), json.loads(body))
    return Intent(number, record_id, key, attempts, *read, name, json.loads(wholes))
