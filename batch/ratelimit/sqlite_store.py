"""The limiter's state in a file that all processes of one user on one host share (sqlite3).

Promises: the event loop is never kept waiting for another process: a lock that is held is tried again after a moment;
what a process that ended held is free at once; a damaged file is put aside, and one that was deleted or replaced is
noticed at the next transaction, so that no two processes go by different files; no key, id or value of a cell is in it,
only keyed hashes. The clock is that of the host, which all processes share; over a restart the wall clock bridges.

The file holds what is true for minutes: it is not synced, and what a power cut takes of it is put aside as damaged.
"""

import errno
import hashlib
import math
import os
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
from filelock import FileLock
from pydantic_core import from_json, to_json

from batch.errors import BatchError
from batch.ratelimit.state import Answer, LimiterState, Step
from batch.ratelimit.store import (
    LEASE_SECONDS,
    WRITES_KEPT,
    LeasedRecord,
    Reach,
    RecordStep,
    StoreClock,
    StoreLostError,
)

VERSION: Final = 2
"""Of the tables and of what is in them; the file of another version is another file."""
SCHEMA = """
    CREATE TABLE IF NOT EXISTS limiter(
        key TEXT PRIMARY KEY, state BLOB NOT NULL, revision INTEGER NOT NULL, base REAL NOT NULL, last REAL NOT NULL,
        wall REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS record(
        id INTEGER PRIMARY KEY, name INTEGER NOT NULL UNIQUE, key INTEGER NOT NULL, holder TEXT NOT NULL,
        epoch INTEGER NOT NULL, until REAL NOT NULL, writer TEXT NOT NULL, written REAL NOT NULL, wall REAL NOT NULL
    );
"""
"""Records lie in the order of their first leases: a page is written as a whole, and so a transaction changes few pages.
"""
READ = "SELECT name, holder, epoch, until, writer, written FROM record WHERE name IN (%s)"
WRITE = """
    INSERT INTO record(name, key, holder, epoch, until, writer, written, wall) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT(name) DO UPDATE SET holder = excluded.holder, epoch = excluded.epoch, until = excluded.until,
        writer = excluded.writer, written = excluded.written, wall = excluded.wall
"""
BUSY_SECONDS: Final = 5.0
"""A lock is held for a fraction of a millisecond; after this time whoever holds it is frozen, or the disk."""
OPEN_SECONDS: Final = 10.0
"""It may take longer to open it, where many begin at the same time on a busy machine."""
FIRST_PAUSE, LONGEST_PAUSE = 0.0005, 0.02
DAYS_KEPT: Final = 7
CLEAN_EVERY: Final = 1_000
"""Some records of a key that nobody needs to know of are deleted with the first step, and after so many more."""
LOOKED_THROUGH: Final = 2 * CLEAN_EVERY
"""Records that are looked through for that each time, which takes less than 1 ms: the first time from a random one on,
then from where the last time ended.
"""
VARIABLES: Final = 500
"""Records that are read with one statement; SQLite before 3.32 takes 999 variables."""
FRESH: Final = 0.001
"""Seconds for which a revision counts that was read: a request needs longer than that to leave."""
NO_FILE: Final = 0
"""The inode of a file that is not there."""
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
MAKE_ROOM: Final = "The disk takes no more there. Make room"

Result = TypeVar("Result")


class SqliteStore:
    """The states and leases in `limiter-N.sqlite` of a folder; raises StoreLostError where it cannot be made."""

    reach: Reach = "host"
    ahead = LEASE_SECONDS

    def __init__(self, folder: Callable[[], Path], *, ahead: float = LEASE_SECONDS) -> None:
        """Take what names the folder, which is asked again when that is gone."""
        self.ahead = ahead
        self._folder = folder
        self._rng = random.Random()  # noqa: S311 - so that those who wait do not wake together
        self._path, self._log = Path(), ""
        self._db: sqlite3.Connection | None = None
        self._opened = NO_FILE, NO_FILE
        self._clocks: dict[str, StoreClock] = {}
        self._revisions: dict[str, tuple[int, float]] = {}
        """The revisions that were read, and when."""
        self._until_cleaned = 0
        self._cleaned_to: int | None = None
        """The last record that was looked through."""
        self._replaced = 0.0
        """When the file was made in the place of one that was there before; seconds since 1970, 0 for never."""
        self._retried(self._connected)

    # -- what `LimiterStore` promises ---------------------------------------------------------------------------

    def now(self, key: str) -> float:
        """Return the host's time, as all processes of the key count it."""
        return time.monotonic() + (self._clocks[key].base if key in self._clocks else 0.0)

    def revision(self, key: str) -> int:
        """Return the revision of a state as it was within the last millisecond.

        It is -1 where somebody keeps the file from being read for a moment.
        """
        revision, read = self._revisions.get(key, (0, -math.inf))
        if time.monotonic() - read < FRESH:
            return revision
        try:
            db = self._db or self._connected()  # whether it is still the file of this name, each transaction looks
            found = db.execute("SELECT revision FROM limiter WHERE key = ?", [key]).fetchone()
        except (sqlite3.Error, OSError) as error:
            if _code(error) in _BUSY:
                return -1
            raise self._lost(error) from None
        return self._saw(key, found[0]) if found else -1

    def began(self, key: str) -> float:
        """Return when the file took the place of one that is gone; -inf where it is the first of its folder."""
        if not self._replaced:
            return -math.inf
        return self.now(key) - max(0.0, time.time() - self._replaced)  # a clock that was set back tells of no future

    async def transact(self, key: str, step: Step[Answer]) -> tuple[LimiterState, Answer]:
        """Run `step` with the file locked for writing."""

        def change(db: sqlite3.Connection) -> tuple[LimiterState, Answer]:
            clock = self._clock(db, key)
            found = db.execute("SELECT state FROM limiter WHERE key = ?", [key]).fetchone()
            state, answer = step(LimiterState.from_json(from_json(found[0])) if found else None, clock.last)
            row = [key, to_json(state.as_json()), state.revision, clock.base, clock.last, clock.wall]
            db.execute("INSERT OR REPLACE INTO limiter VALUES (?, ?, ?, ?, ?, ?)", row)
            return state, answer

        state, answer = await self._changed(change)
        self._saw(key, state.revision)
        return state, answer

    async def on_records(self, key: str, steps: Sequence[tuple[str, RecordStep]]) -> list[Any]:
        """Run steps on records with the file locked for writing, all of them at once."""

        def change(db: sqlite3.Connection) -> list[Any]:
            now = self._clock(db, key).last
            names = [_hashed(key, record) for record, _ in steps]
            records = {name: LeasedRecord() for name in names}
            for at in range(0, len(names), VARIABLES):
                part = names[at : at + VARIABLES]
                for name, *kept in db.execute(READ % ", ".join("?" * len(part)), part):
                    records[name] = LeasedRecord(*kept)
            found = [step(records[name], now) for name, (_, step) in zip(names, steps, strict=True)]
            owner, wall = _hashed(key), time.time()
            rows = [
                (name, owner, one.holder, one.epoch, one.until, one.writer, one.written, wall)
                for name, one in records.items()
            ]
            db.executemany(WRITE, rows)
            self._until_cleaned -= len(steps)
            if self._until_cleaned < 0:
                self._clean(db, key, now)
            return found

        return await self._changed(change)

    def close(self) -> None:
        """Close the file."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    # -- what is read and written -------------------------------------------------------------------------------

    def _clock(self, db: sqlite3.Connection, key: str) -> StoreClock:
        """Return the key's clock as it is now, by which its state and its records go."""
        found = db.execute("SELECT revision, base, last, wall FROM limiter WHERE key = ?", [key]).fetchone()
        clock = self._clocks.get(key, StoreClock())
        if found:
            self._saw(key, found[0])
            clock = StoreClock(*found[1:])
        self._clocks[key] = clock.at(time.monotonic(), time.time())
        return self._clocks[key]

    def _saw(self, key: str, revision: int) -> int:
        self._revisions[key] = revision, time.monotonic()
        return revision

    def _clean(self, db: sqlite3.Connection, key: str, now: float) -> None:
        over = now - WRITES_KEPT  # not by the wall clock, which goes on while a laptop sleeps
        if (begin := self._cleaned_to) is None:
            bounds = "SELECT ifnull((SELECT min(id) FROM record), 1), ifnull((SELECT max(id) FROM record), 1)"
            first, last = db.execute(bounds).fetchone()
            begin = first - 1 + self._rng.randrange(max(1, last - first + 2 - LOOKED_THROUGH))
        following = "SELECT max(id) FROM (SELECT id FROM record WHERE id > ? ORDER BY id LIMIT ?)"
        (end,) = db.execute(following, [begin, LOOKED_THROUGH]).fetchone()
        delete = "DELETE FROM record WHERE id > ? AND id <= ? AND key = ? AND until < ? AND written < ?"
        db.execute(delete, [begin, end, _hashed(key), over, over])
        self._cleaned_to, self._until_cleaned = end or 0, CLEAN_EVERY

    # -- the file -----------------------------------------------------------------------------------------------

    async def _changed(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        """Make a change as a whole, as soon as no other process makes one."""
        began, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return self._change(change)
            except (sqlite3.Error, OSError) as error:
                if _code(error) in _BUSY and time.monotonic() - began < BUSY_SECONDS:
                    pass
                elif _code(error) in _DAMAGED:
                    self._put_aside()
                else:
                    raise self._lost(error) from None
            await anyio.sleep(pause * self._rng.uniform(0.5, 1.5))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _change(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        db = self._connected()
        db.execute("BEGIN IMMEDIATE")
        try:
            found = change(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            raise
        if NO_FILE in self._opened:
            self._opened = self._opened[0], _inode(self._log)  # that is there from the first change on
        return found

    def _connected(self) -> sqlite3.Connection:
        """Open the file, and again where it is not the one any more that has this name."""
        if self._db is not None and self._opened == self._inodes() and self._opened[0] != NO_FILE:
            return self._db
        self.close()
        try:
            folder = self._folder()
        except BatchError as error:
            raise StoreLostError(str(error)) from None
        self._path = folder / f"limiter-{VERSION}.sqlite"
        self._log = f"{self._path}-wal"
        self._replaced = self._made()
        db = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=OFF")
            db.executescript(SCHEMA)
            unused = time.time() - DAYS_KEPT * 86_400
            db.execute("DELETE FROM limiter WHERE wall < ?", [unused])
            db.execute("DELETE FROM record WHERE wall < ?", [unused])
        except BaseException:
            db.close()
            raise
        self._db, self._opened = db, self._inodes()
        return db

    def _made(self) -> float:
        """Make the file where it is not there; return when it was made in the place of another one, 0 for never.

        A second file, which is empty, remembers that there was one; its time says when it was made anew.
        """
        witness = self._path.with_suffix(".made")
        is_first = not any(self._path.parent.glob("limiter-*.made"))  # of any version
        is_new = _create(self._path)
        if _create(witness):
            os.utime(witness, (0, 0) if is_first else None)
        elif is_new:
            os.utime(witness)
        return witness.stat().st_mtime

    def _inodes(self) -> tuple[int, int]:
        """Return which files have the names now: the database and its log, which is there while it is open."""
        return _inode(self._path), _inode(self._log)

    def _retried(self, attempt: Callable[[], object]) -> None:
        """Try to open the file for a while; it is done once, before anything is sent.

        A file whose log was deleted under it cannot be read until those who have it open have noticed that.
        """
        until = time.monotonic() + OPEN_SECONDS
        while True:
            try:
                attempt()
                return
            except (sqlite3.Error, OSError) as error:
                if _code(error) in _DAMAGED:
                    self._put_aside()
                elif _is_full(error) or _code(error) not in {*_BUSY, sqlite3.SQLITE_IOERR} or time.monotonic() > until:
                    raise self._lost(error) from None
            time.sleep(self._rng.uniform(0.001, 0.02))

    def _put_aside(self) -> None:
        """Give a damaged file another name, unless another process did that already."""
        with suppress(OSError), FileLock(f"{self._path}.lock", timeout=BUSY_SECONDS, mode=0o600):
            self.close()
            try:
                with closing(sqlite3.connect(self._path, timeout=1)) as db:
                    is_sound = db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            except sqlite3.Error:
                is_sound = False
            if not is_sound:
                os.replace(self._path, f"{self._path}.damaged")
                for end in ("-wal", "-shm"):
                    Path(f"{self._path}{end}").unlink(missing_ok=True)

    def _lost(self, error: Exception) -> StoreLostError:
        if isinstance(error, OSError):
            why = error.strerror or str(error)
        elif _code(error) in _BUSY:
            why = "another process keeps it locked"
        else:
            why = str(error)
        to_do = MAKE_ROOM if _is_full(error) else ""
        return StoreLostError(f"{self._path}: {why}", is_in_use=_code(error) in _BUSY, to_do=to_do)


def _hashed(*names: str) -> int:
    """Return the number that stands for names in the file; two names hardly ever share one."""
    return int.from_bytes(hashlib.blake2b("\0".join(names).encode(), digest_size=8).digest(), "big", signed=True)


def _inode(path: str | Path) -> int:
    """Return which file has a name now."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return NO_FILE


def _create(path: Path) -> bool:
    """Create an empty file; return whether it was not there."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


def _is_full(error: Exception) -> bool:
    """Return whether the disk, or what this user may have of it, takes no more."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "sqlite_errorcode", 0) in _FULL


def _code(error: Exception) -> int:
    """Return SQLite's own number of an error, without what it says beside."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
