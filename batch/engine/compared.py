"""What was read before the question: the changes that their records do not show yet, with these records.

Promises: sending goes by it without reading again, but for a last look at each record before its write; memory does
not grow with it, and nothing of it is left behind.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from batch.conditions import FieldChange, PlannedChange, expected_units
from batch.endpoints.base import MISSING, Endpoint, Record
from batch.exact_json import decode, encode
from batch.journal import Journal
from batch.model import Change, Outcome

COLUMNS = "change INTEGER PRIMARY KEY, id TEXT, name TEXT, fields TEXT, before TEXT, record TEXT, read_at REAL"


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as it was read before the question, and when, on anyio's clock."""

    id: str
    record: Record
    read_at: float


class ComparedChanges:
    """Changes to be sent, in a private file without a name of its own (SQLite's `""`)."""

    def __init__(self, endpoint: Endpoint, hide: Callable[[str], str]) -> None:
        """Take what hides secrets from whoever goes through the changes, to show them."""
        self._endpoint, self._hide = endpoint, hide
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute(f"CREATE TABLE kept({COLUMNS})")

    def __len__(self) -> int:
        (count,) = self._db.execute("SELECT count(*) FROM kept").fetchone()
        return int(count)

    def add(
        self, change: Change, fields: Mapping[str, Any], before: Mapping[str, Any], record: Record, read_at: float
    ) -> None:
        """Keep a change that can be sent: which fields of it, what they were, and the record."""
        texts = (encode(one) for one in (fields, before, record))
        values = (change.number, change.id, self._endpoint.record_name(record), *texts, read_at)
        self._db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def get(self, number: int) -> Seen | None:
        """Return the record of change `number`, None where it is not to be sent or could not be read."""
        found = self._db.execute("SELECT id, record, read_at FROM kept WHERE change = ?", (number,)).fetchone()
        return Seen(found[0], decode(found[1]), found[2]) if found else None

    def __iter__(self) -> Iterator[PlannedChange]:
        with closing(self._db.execute("SELECT change, id, name, fields, before FROM kept ORDER BY change")) as found:
            for number, record_id, name, fields, before in found:
                planned = PlannedChange(number, record_id, name, _steps(decode(fields), decode(before)))
                yield planned.as_shown(self._hide)


def iter_written(journal: Journal, endpoint: Endpoint) -> Iterator[PlannedChange]:
    """Yield the changes that were written, or in a plan would be, with what was there before."""
    hidden = journal.hidden_texts()
    for intents, result in journal.iter_intents():
        if result is not None and result.outcome is Outcome.UPDATED:
            last = intents[-1]
            units = expected_units(endpoint, last.fields, last.replaced_whole)
            steps = _steps(last.fields, last.before or {})
            yield PlannedChange(last.change, last.id, last.name, steps, units=units).with_hidden(hidden)


def _steps(fields: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    return tuple(FieldChange(name, before.get(name, MISSING), value) for name, value in fields.items())
