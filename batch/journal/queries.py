"""What the journal answers: row results, intents and counts, read while it is being written.

Tables and columns have the names of version 1: `fate` holds row results, `tally` counters, `wholes` what a write
replaces whole.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from types import NoneType
from typing import Any
from uuid import UUID

from batch.journal.database import ReadConnection
from batch.model import NEEDS_RETRY, Intent, Outcome, Problem, RowResult

INTENT = "number, id, key, attempts, fields, before, body, name, wholes"
RESULT = "row, id, outcome, status, attempts, problems"


class JournalQueries:
    """The querys that a journal answers."""

    def __init__(self, reader: ReadConnection) -> None:
        self._reader = reader

    def row_results(self, first: int, last: int) -> dict[int, RowResult]:
        """Return the results of rows `first` to `last`; a row without one is unsent."""
        query = f"SELECT {RESULT} FROM fate WHERE row BETWEEN ? AND ?"  # noqa: S608 - only columns
        return {row_result.row: row_result for row_result in self._reader.rows(query, (first, last), _row_result)}

    def iter_troubled(self) -> Iterator[RowResult]:
        """Yield the results with a problem or an outcome other than updated and unchanged, in order of the rows."""
        query = f"SELECT {RESULT} FROM fate WHERE problems IS NOT NULL OR outcome NOT IN ('updated', 'unchanged')"  # noqa: S608 - only columns
        yield from self._reader.rows(f"{query} ORDER BY row", read=_row_result)

    def final_rows(self, first: int, last: int) -> set[int]:
        """Return the rows from `first` to `last` for which this run has nothing left to do."""
        marks = ", ".join("?" * len(NEEDS_RETRY))
        query = f"SELECT row FROM fate WHERE row BETWEEN ? AND ? AND outcome NOT IN ({marks})"  # noqa: S608 - only marks
        return {row for (row,) in self._reader.rows(query, (first, last, *NEEDS_RETRY))}

    def intent(self, number: int) -> Intent | None:
        """Return the intent of change `number` from an earlier part of this run."""
        query = f"SELECT {INTENT} FROM intent WHERE number = ?"  # noqa: S608 - only columns
        found: Intent | None = self._reader.one(query, (number,), _intent)
        return found

    def iter_intents(self) -> Iterator[tuple[list[Intent], RowResult | None]]:
        """Yield every change in order: its intents, the oldest first, and its result (None: it has none yet)."""
        columns = ", ".join(
            [*(f"i.{name}" for name in INTENT.split(", ")), *(f"f.{name}" for name in RESULT.split(", "))]
        )
        query = f"SELECT {columns} FROM intent i LEFT JOIN fate f ON f.row = i.number ORDER BY i.number"  # noqa: S608 - only columns
        for intent, row_result in self._reader.rows(query, read=_intent_and_row_result):
            yield [*self._earlier_intents(intent.number), intent], row_result

    def _earlier_intents(self, number: int) -> Iterator[Intent]:
        query = f"SELECT {INTENT} FROM earlier WHERE number = ? ORDER BY place"  # noqa: S608 - only columns
        return self._reader.rows(query, (number,), _intent)

    def has_intents(self) -> bool:
        """Return whether there is any intent, so that something may have been sent."""
        return self._reader.one("SELECT 1 FROM intent LIMIT 1") is not None

    def outcomes(self) -> dict[Outcome, int]:
        """Count the rows that have a result, by outcome."""
        query = "SELECT outcome, count(*) FROM fate GROUP BY outcome"
        return dict(self._reader.rows(query, read=lambda row: (Outcome(row[0]), int(row[1]))))

    def count_intents(self) -> int:
        """Count the changes that have an intent."""
        return self._reader.count("SELECT count(*) FROM intent")

    def in_doubt(self) -> dict[int, tuple[str, int]]:
        """Return the changes whose last attempt has no result yet: number -> (id, attempts)."""
        marks = ", ".join(f"'{outcome.value}'" for outcome in sorted(NEEDS_RETRY))
        query = (
            "SELECT i.number, i.id, i.attempts FROM intent i LEFT JOIN fate f ON f.row = i.number "  # noqa: S608 - only words
            f"WHERE i.attempts > coalesce(f.attempts, 0) AND coalesce(f.outcome, 'unsent') IN ({marks})"
        )
        return {number: (record_id, attempts) for number, record_id, attempts in self._reader.rows(query)}

    def count_not_found(self) -> int:
        """Count the rows whose record does not exist."""
        return self._reader.count("SELECT count(*) FROM fate WHERE outcome = 'rejected' AND status = 404")

    def counters(self) -> dict[str, int]:
        """Return the counters (requests, attempts, throttled)."""
        return dict(self._reader.rows("SELECT name, count FROM tally", read=lambda row: (row[0], int(row[1]))))


def _row_result(row: Sequence[Any]) -> RowResult:
    number, record_id, outcome, status, attempts, problems = row
    _check(((record_id, str), (attempts, int), (status, (int, NoneType))))
    if problems is None:  # as most are, of a million
        return RowResult(number, record_id, Outcome(outcome), status, attempts)
    found = tuple(_problem(*one) for one in json.loads(problems))
    return RowResult(number, record_id, Outcome(outcome), status, attempts, found)


def _problem(
    text: Any, field: Any = "", header: Any = "", cell: Any = "", seen: Any = "", code: Any = "", values: Any = None
) -> Problem:
    """Read a problem, also of 0.1, which wrote down no code and values."""
    values = dict(values or {})
    _check((one, (str, NoneType)) for one in (text, field, header, cell, seen, code))
    if not all(isinstance(one, str | int | float | NoneType) for one in values.values()):
        raise ValueError("a value in a sentence is a single one")
    return Problem.restored(text, code, values, field=field, header=header, cell=cell, seen=seen)


def _intent(row: Sequence[Any]) -> Intent:
    number, record_id, key, attempts, fields, before, body, name, replaced_whole = row
    _check(((record_id, str), (key, (str, NoneType)), (attempts, int), (name, str)))
    read = (json.loads(fields), json.loads(before or "null"), json.loads(body))
    known_key = None if key is None else str(UUID(key))  # a header; what else it may be, must not leave
    found = Intent(number, record_id, known_key, attempts, *read, name, json.loads(replaced_whole))
    _check(((found.fields, dict), (found.before, (dict, NoneType)), (found.body, dict), (found.replaced_whole, dict)))
    return found


def _check(pairs: Iterable[tuple[object, Any]]) -> None:
    """Raise ValueError unless each value has its type: SQLite accepts any value in any column."""
    for value, kind in pairs:
        if not isinstance(value, kind):
            raise ValueError(f"{kind} was expected")
        if isinstance(value, int) and not 0 <= value < 2**31:
            raise ValueError("a count was expected")


def _intent_and_row_result(row: Sequence[Any]) -> tuple[Intent, RowResult | None]:
    width = len(INTENT.split(", "))
    return _intent(row[:width]), None if row[width] is None else _row_result(row[width:])
