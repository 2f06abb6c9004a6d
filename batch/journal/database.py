"""The SQLite file of a journal.

Promises: it is opened in WAL mode with every commit synced, checked before it is believed, complete or absent, and
reading it changes nothing.
"""

import json
import math
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from batch.errors import JournalError
from batch.model import NEEDS_RETRY, State
from batch.open_databases import note_closed, note_open, unless_open_here

OPEN = "is_open"
"""Kept in the main file while newer parts may be in the -wal file beside it, so that losing that one is noticed."""
START_OVER = "Keep the folder, and start over with --new; records that were changed already then come out as unchanged."


class Transaction:
    """BEGIN … COMMIT, with every error of SQLite or the disk raised as JournalError."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self._path = db, path

    def __enter__(self) -> None:
        self._run("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._run("COMMIT")
        finally:
            with suppress(sqlite3.Error):  # of what went wrong, the first is what counts
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
        f"{path}: the record of this run cannot be written ({error}), so nothing more is sent. "
        "Make room or give access, then run the same command again."
    )


_NO_DAMAGE = frozenset({
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
})  # fmt: skip
"""What SQLite says, in the last byte of its codes, where the disk takes nothing or somebody holds the file."""
_NO_DAMAGE_IO = frozenset({
    sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_NOMEM,
    sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP, sqlite3.SQLITE_IOERR_LOCK,
})  # fmt: skip


def unusable(path: Path, error: object) -> JournalError:
    """Return the error that says that the journal is damaged, or why else it cannot be used, and how to go on."""
    code = error.sqlite_errorcode if isinstance(error, sqlite3.Error) and hasattr(error, "sqlite_errorcode") else 0
    if code & 0xFF in _NO_DAMAGE or code in _NO_DAMAGE_IO:
        return JournalError(
            f"{path}: the record of this run is whole, and cannot be opened ({error}). Make room or give access, then "
            "run the same command again."
        )
    return JournalError(f"{path}: the record of this run is damaged ({error}). {START_OVER}")


STEPS = 50_000
"""Steps of SQLite's machine, some milliseconds, after which a query looks at the clock."""


class OutOfTimeError(Exception):
    """What was to be read or written would not be ready in time."""


class ReadConnection:
    """A separate connection for reading, so that reading never waits for a commit; each query sees a snapshot."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self._path = db, path

    def rows(self, query: str, values: Sequence[Any] = (), read: Callable[[Any], Any] = tuple) -> Iterator[Any]:
        """Yield `read(row)` for each row of the result; raises JournalError when a row cannot be read."""
        try:
            for row in self._db.execute(query, values):
                yield read(row)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise OutOfTimeError from None
            raise JournalError(
                f"{self._path}: the record of this run cannot be read any more ({error}). Run the same command again."
            ) from error
        except (ValueError, TypeError, RecursionError) as error:
            raise unusable(self._path, "what it holds makes no sense") from error

    def one(self, query: str, values: Sequence[Any] = (), read: Callable[[Any], Any] = tuple) -> Any:
        """Return the first row of the result, None when there is none."""
        return next(self.rows(query, values, read), None)

    def count(self, query: str) -> int:
        """Return the number that is the result."""
        return int(next(self.rows(query, read=lambda row: int(row[0]))))

    @contextmanager
    def ended_at(self, until: float) -> Iterator[None]:
        """Have queries raise OutOfTimeError once it is `until` on the monotonic clock."""
        if until == math.inf:
            yield
            return
        self._db.set_progress_handler(lambda: time.monotonic() > until, STEPS)
        try:
            yield
        finally:
            self._db.set_progress_handler(None, STEPS)

    def copy_to(self, path: Path) -> None:
        """Copy the whole database, as it is at this moment."""
        try:
            with closing(_opened(path)) as target:
                self._db.backup(target)
        except sqlite3.Error as error:
            raise JournalError(f"{path}: the record of this run cannot be copied there ({error}).") from error

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


class _Connection(sqlite3.Connection):
    """A connection that others of this process know of (`unless_open_here`)."""

    noted: str | None = None

    def close(self) -> None:
        super().close()
        noted, self.noted = self.noted, None
        if noted is not None:
            note_closed(noted)


def _opened(path: Path, address: str = "", **options: Any) -> _Connection:
    """Open the database at `path`, by its address where it has one."""
    noted = note_open(path)
    try:
        found: _Connection = sqlite3.connect(address or path, factory=_Connection, **options)
    except BaseException:
        note_closed(noted)
        raise
    found.noted = noted
    return found


def connect(path: Path, views: str = "") -> sqlite3.Connection:
    """Return a connection in WAL mode that syncs every commit (both settings are read back), with these views."""
    connection = None
    try:
        connection = _opened(path, isolation_level=None, check_same_thread=False, timeout=5)
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        connection.execute("PRAGMA synchronous=FULL")
        synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
        connection.executescript(views)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise unusable(path, error) from error
    if mode != "wal" or synchronous != 2:  # an I/O error can make the switch fail without an error (SQLite, WAL)
        connection.close()
        raise JournalError(
            f"{path}: this disk does not let the record of this run be kept safely (WAL). Use --out on another one."
        )
    return connection


def fill(path: Path, schema: str, meta: Mapping[str, Any]) -> None:
    """Create the tables of a journal at `path`, and close it, so that all of it is in that one file."""
    with closing(connect(path)) as db, Transaction(db, path):
        for statement in schema.split(";"):
            db.execute(statement)
        db.executemany("INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(value)) for key, value in meta.items()])


def copy(source: "ReadConnection", path: Path) -> None:
    """Copy a journal that is open, which may have no name any more, to `path`, as one that is closed and whole."""
    source.copy_to(path)
    _close_copy(path)


def copy_from(journal: Path, path: Path) -> None:
    """Copy the journal of a run that goes on to `path`, as it is at this moment; in a thread of its own, if wanted."""
    try:
        with connect_read_only(journal) as source, closing(_opened(path)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        raise JournalError(f"{path}: the record of this run cannot be copied there ({error}).") from error
    _close_copy(path)


def _close_copy(path: Path) -> None:
    with closing(connect(path)) as db, Transaction(db, path):
        db.execute("UPDATE meta SET value = ? WHERE key = ?", (json.dumps(False), OPEN))


def has_wal(path: Path) -> bool:
    """Return whether there is anything in the -wal file, which SQLite keeps beside the journal while it is open."""
    wal = Path(f"{path}-wal")
    return wal.exists() and wal.stat().st_size > 0


def _is_wal_cut(path: Path) -> bool:
    """Return whether the -wal file lacks what the -shm file, which a kill leaves beside it, says that it holds.

    SQLite itself takes a shorter one for an older one. (The formats: sqlite.org/walformat.html.)
    """
    with unless_open_here(path) as may_read:
        if not may_read:
            return False
        try:
            with Path(f"{path}-shm").open("rb") as shm:
                index = shm.read(96)  # two copies of the header, so that a torn one is seen
            with Path(f"{path}-wal").open("rb") as wal:
                head, size = wal.read(32), os.fstat(wal.fileno()).st_size
        except OSError:
            return False
    if len(index) < 96 or index[:48] != index[48:] or not index[12]:
        return False
    page, frames = struct.unpack_from("=HI", index, 14)
    page = 65_536 if page == 1 else page
    is_same_wal = len(head) < 32 or head[16:24] == index[32:40]
    return is_same_wal and frames > 0 and size < 32 + frames * (24 + page)


@contextmanager
def connect_read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """Connect without changing any file: the run may be going on in another process, or have been cut off."""
    # of the two, only a read-only connection leaves the -wal file in its place when it is the last one to close
    mode = "ro" if has_wal(path) else "rw"
    address = f"file:{quote(str(path.resolve()))}?mode={mode}"
    with closing(_opened(path, address, uri=True, check_same_thread=False)) as db:
        yield db


@contextmanager
def kept_beside(path: Path) -> Iterator[None]:
    """Keep the -wal file while the connections to a journal are closed: the last one to close would remove it."""
    with suppress(sqlite3.Error), connect_read_only(path) as db:
        _read_meta(db)
        yield


def _read_meta(db: sqlite3.Connection) -> dict[str, Any]:
    return {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM meta")}


def check(path: Path) -> dict[str, Any]:
    """Return the metadata of the run; raises JournalError when the journal is damaged or not whole."""
    _refuse_cut_part(path)  # before SQLite opens it, which would make the -shm file anew
    is_newer_beside = has_wal(path)
    try:
        with connect_read_only(path) as db:
            found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            meta = _read_meta(db)
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
        raise unusable(path, error) from error
    if found != "ok":
        raise unusable(path, " ".join(found.split()))
    _refuse_lost_part(path, meta, is_newer_beside)
    return meta


def check_tables(path: Path, schema: str, optional: Sequence[str] = ()) -> None:
    """Raise JournalError unless the tables are still those of `schema`: a flipped bit there breaks no page.

    `optional`: the statements of it that may be missing.
    """
    wanted = {" ".join(statement.split()) for statement in schema.split(";")} - {""}
    try:
        with connect_read_only(path) as db:
            found = {
                " ".join(str(sql).split()) for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql <> ''")
            }
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    if not wanted - set(optional) <= found <= wanted:
        raise unusable(path, "its tables are not those of such a record")


@dataclass(frozen=True, slots=True)
class Peek:
    """What can be seen of a run without opening its journal."""

    meta: dict[str, Any]
    final: int
    """How many of its rows have an outcome that nothing is left to do about."""
    last: float
    """When it last got an outcome, or began; seconds since 1970, 0 where 0.1 wrote the journal."""
    pending: int = 0
    """How many of its rows wait until somebody approves them at the API."""

    @property
    def version(self) -> int:
        """The version of the journal."""
        return int(self.meta.get("version", 0))


def peek(path: Path) -> Peek:
    """Look into the journal of a run, which may be going on; raises JournalError."""
    _refuse_cut_part(path)  # before SQLite opens it, which would make the -shm file anew
    is_newer_beside = has_wal(path)
    marks = ", ".join(f"'{outcome.value}'" for outcome in sorted(NEEDS_RETRY))
    try:
        with connect_read_only(path) as db:
            meta = _read_meta(db)
            is_old = meta.get("version") == 1
            table = "fate" if is_old else "result"
            (final,) = db.execute(f"SELECT count(*) FROM {table} WHERE outcome NOT IN ({marks})").fetchone()  # noqa: S608 - only words
            latest = "SELECT max(coalesce((SELECT max(time) FROM result), 0), max(started)) FROM part"
            last = 0.0 if is_old else float(db.execute(latest).fetchone()[0] or 0)
            waiting = f"SELECT count(*) FROM result WHERE state = '{State.PENDING}'"  # noqa: S608 - only words
            pending = 0 if is_old else int(db.execute(waiting).fetchone()[0])
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
        raise JournalError(
            f"{path}: the record of an earlier run cannot be read ({error}). "
            "Move that folder away to start over, or name another one with --out."
        ) from error
    _refuse_lost_part(path, meta, is_newer_beside)
    return Peek(meta, int(final), last, pending)


def _refuse_cut_part(path: Path) -> None:
    if _is_wal_cut(path):
        raise _incomplete(path)


def _refuse_lost_part(path: Path, meta: Mapping[str, Any], is_newer_beside: bool) -> None:
    if meta.get(OPEN) and not is_newer_beside:
        raise _incomplete(path)


def _incomplete(path: Path) -> JournalError:
    return JournalError(
        f"{path}: its newest part is missing or cut short (the file {path.name}-wal, which was beside it when the run "
        f"was cut off), so what was sent last is not known. Put that file back. If it is lost: "
        f"{START_OVER[:1].lower()}{START_OVER[1:]}"
    )
