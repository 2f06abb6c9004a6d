"""The memory of spellings (sqlite3, in the state folder): what an API shows for values that it normalises.

Promises: no value, no id and no key is in it, only keyed hashes of endpoint, host, company, record, field, what was
asked and what was shown, each with the day on which it was seen last; 90 days later it is forgotten. Where the file
cannot be used nothing is known, the run goes on, and each spelling is learned anew.
"""

import hashlib
import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from batch.errors import BatchError
from batch.exact_json import encode_ascii
from batch.run.locks import state_folder

FILE = "records.sqlite"
SCHEMA = "CREATE TABLE IF NOT EXISTS spelling(hash BLOB PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID"
DAYS_KEPT = 90
AT_ONCE = 1_000
"""What is learned is written down so many at a time, and the rest at the end."""
UNUSABLE = (sqlite3.Error, BatchError, OSError)


@dataclass(slots=True)
class RecordMemory:
    """What is known of one endpoint for one owner: a name for host and company that gives neither away."""

    owner: str = field(repr=False)
    endpoint: str
    _db: sqlite3.Connection | None = field(init=False, default=None)
    _learned: set[bytes] = field(init=False, default_factory=set)
    """What was seen today, and is not written down yet."""

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

    def close(self) -> None:
        """Write down what was learned; what is asked later opens the file again."""
        self._keep()
        if self._db is not None:
            self._db.close()
            self._db = None

    def _hash(self, *what: Any) -> bytes:
        text = encode_ascii([self.endpoint, *what])
        return hashlib.blake2b(text.encode(), key=bytes.fromhex(self.owner), digest_size=16).digest()

    def _learn(self, key: bytes) -> None:
        self._learned.add(key)
        if not len(self._learned) % AT_ONCE:
            self._keep()

    def _keep(self) -> None:
        """Write down what was learned, and forget what is too old; what cannot be written, this run alone knows."""
        if not self._learned:
            return
        today = _today()
        with suppress(*UNUSABLE), self._connected() as db:
            db.execute("DELETE FROM spelling WHERE day < ?", [today - DAYS_KEPT])
            db.executemany("INSERT OR REPLACE INTO spelling VALUES (?, ?)", [(key, today) for key in self._learned])
            self._learned.clear()

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            path = state_folder() / FILE
            is_new = not path.exists()
            db = sqlite3.connect(path, timeout=5)
            if is_new:
                path.chmod(0o600)
            db.execute(SCHEMA)
            self._db = db
        return self._db


def _today() -> int:
    return int(time.time() // 86_400)
