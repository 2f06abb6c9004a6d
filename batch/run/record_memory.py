"""What is remembered of records from run to run (sqlite3, in the state folder).

What an API shows for values that it normalises; what a record was asked to become while a change of it awaits approval.

Promises: no value, no id and no key is in it, only keyed hashes of endpoint, host, company, record, field, what was
asked and what was shown, each with the day on which it was seen last; 90 days later it is forgotten. Where the file
cannot be used nothing is known, the run goes on, and everything is learned anew: such changes are sent.
"""

import hashlib
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from batch.errors import BatchError
from batch.exact_json import encode_ascii
from batch.run.locks import state_folder

FILE = "records.sqlite"
SCHEMA = """
    CREATE TABLE IF NOT EXISTS spelling(hash BLOB PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS waiting(record BLOB PRIMARY KEY, asked BLOB NOT NULL, day INTEGER NOT NULL);
"""
DAYS_KEPT = 90
HASH_SIZE = 16
AT_ONCE = 1_000
"""Spellings are written down so many at a time, and the rest at the end."""
UNUSABLE = (sqlite3.Error, BatchError, OSError)


@dataclass(slots=True)
class RecordMemory:
    """What is known of one endpoint for one owner: a name for host and company that gives neither away."""

    owner: str = field(repr=False)
    endpoint: str
    _db: sqlite3.Connection | None = field(init=False, default=None)
    _learned: set[bytes] = field(init=False, default_factory=set)
    """Spellings that were seen today, and are not written down yet."""
    _waiting: dict[bytes, bytes] | None = field(init=False, default=None)
    """By record, the hashes of what it was asked to become; None: not read yet."""
    _changed: set[bytes] = field(init=False, default_factory=set)
    """The records of which that is not written down yet."""

    # -- spellings ----------------------------------------------------------------------------------------------

    def knows_spelling(self, record_id: str, name: str, asked: Any, shown: Any) -> bool:
        """Whether the API was seen to show just this where that was asked; it is remembered for longer then."""
        key, found = self._hash(record_id, name, asked, shown), None
        with suppress(*UNUSABLE):
            found = self._connected().execute("SELECT day FROM spelling WHERE hash = ?", [key]).fetchone()
        if found is None or not _today() - DAYS_KEPT <= found[0]:
            return key in self._learned
        if found[0] < _today():
            self._learn(key)
        return True

    def remember_spelling(self, record_id: str, name: str, asked: Any, shown: Any) -> None:
        """Remember that the API shows `shown` where `asked` was sent."""
        self._learn(self._hash(record_id, name, asked, shown))

    def _learn(self, key: bytes) -> None:
        self._learned.add(key)
        if not len(self._learned) % AT_ONCE:
            self._keep()

    # -- what awaits approval -----------------------------------------------------------------------------------

    def knows_request(self, record_id: str, asked: Mapping[str, Any]) -> bool:
        """Whether the newest change of a record that awaits approval asked for all this; it is kept for longer then."""
        record = self._hash(record_id)
        known = self._requests().get(record, b"")
        hashes = {known[at : at + HASH_SIZE] for at in range(0, len(known), HASH_SIZE)}
        if not hashes.issuperset(self._hash(record_id, *one) for one in asked.items()):
            return False
        self._changed.add(record)
        return True

    def remember_request(self, record_id: str, asked: Mapping[str, Any]) -> None:
        """Remember that a change of a record awaits approval, in place of any that was before."""
        record = self._hash(record_id)
        self._requests()[record] = b"".join(self._hash(record_id, *one) for one in asked.items())
        self._changed.add(record)

    def forget_request(self, record_id: str) -> None:
        """Forget what was asked of a record of which no change awaits approval any more."""
        requests = self._requests()
        if requests and requests.pop(record := self._hash(record_id), b""):
            self._changed.add(record)

    def _requests(self) -> dict[bytes, bytes]:
        if self._waiting is None:
            self._waiting = {}
            with suppress(*UNUSABLE):
                query = "SELECT record, asked FROM waiting WHERE day >= ?"
                self._waiting.update(self._connected().execute(query, [_today() - DAYS_KEPT]).fetchall())
        return self._waiting

    # -- its file -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write down what was learned; what is asked later opens the file again."""
        self._keep()
        if self._db is not None:
            self._db.close()
            self._db = None

    def _hash(self, *what: Any) -> bytes:
        text = encode_ascii([self.endpoint, *what])
        return hashlib.blake2b(text.encode(), key=bytes.fromhex(self.owner), digest_size=HASH_SIZE).digest()

    def _keep(self) -> None:
        """Write down what was learned, and forget what is too old; what cannot be written, this run alone knows."""
        if not (self._learned or self._changed):
            return
        today, waiting = _today(), self._waiting or {}
        with suppress(*UNUSABLE), self._connected() as db:
            db.execute("DELETE FROM spelling WHERE day < ?", [today - DAYS_KEPT])
            db.executemany("INSERT OR REPLACE INTO spelling VALUES (?, ?)", [(key, today) for key in self._learned])
            db.execute("DELETE FROM waiting WHERE day < ?", [today - DAYS_KEPT])
            db.executemany("DELETE FROM waiting WHERE record = ?", [(one,) for one in self._changed])
            rows = [(one, waiting[one], today) for one in self._changed if one in waiting]
            db.executemany("INSERT INTO waiting VALUES (?, ?, ?)", rows)
            self._learned.clear()
            self._changed.clear()

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            path = state_folder() / FILE
            is_new = not path.exists()
            db = sqlite3.connect(path, timeout=5)
            if is_new:
                path.chmod(0o600)
            db.executescript(SCHEMA)
            self._db = db
        return self._db


def _today() -> int:
    return int(time.time() // 86_400)
