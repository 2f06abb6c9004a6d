"""What the journal answers: row results, intents and counts, read while it is being written."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import groupby
from types import NoneType
from typing import Any
from uuid import UUID

from batch.exact_json import decode
from batch.journal.database import ReadConnection
from batch.model import NEEDS_RETRY, Intent, Outcome, Problem, RowResult, State

INTENT = "change, number, id, key, fields, before, body, name, replaced_whole, read"
RESULT = "row, id, outcome, state, status, attempts, shown, problems"
ATTEMPTS = """
    (SELECT sum(attempts) FROM intent a WHERE a.change = i.change AND a.number = i.number),
    (SELECT coalesce(sum(attempts), 0) FROM intent a WHERE a.change = i.change AND a.number < i.number)
"""
"""The attempts of an intent, and those of the intents of the same change before it."""
APPLIED = """
    (SELECT change, max(place) AS place FROM intent WHERE body IS NOT NULL GROUP BY change) AS last
    JOIN intent ON intent.place = last.place
    JOIN result ON result.row = last.change AND result.outcome = 'updated'
"""
"""The newest intent of every change that was applied."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run cost in all of its parts."""

    requests: int
    """Calls, each however often it was attempted."""
    attempts: int
    """HTTP exchanges."""
    throttled: int
    """Answers of 429."""
    is_exact: bool
    """False where a part was cut off: it cannot be more than this."""


@dataclass(frozen=True, slots=True)
class AttemptsOverTime:
    """The attempts of a run over its time, in pieces of the same length."""

    began: float
    """In seconds since 1970."""
    seconds: float
    """Of a piece, at least 1."""
    attempts: list[int]
    throttled: list[int]
    """Those of them that were answered with 429."""
    asked: float = 0.0
    """Seconds of it in which a person was asked."""


class JournalQueries:
    """The queries that a journal answers."""

    def __init__(self, reader: ReadConnection) -> None:
        self._reader = reader
        self.believed = frozenset(Outcome) - NEEDS_RETRY
        """Outcomes of earlier parts that nothing is left to do about; those of this part count in any case."""
        self.since = 0.0
        """When this part began, in seconds since 1970."""

    def ended_at(self, until: float) -> AbstractContextManager[None]:
        """Have what is read meanwhile raise OutOfTimeError once it is `until` on the monotonic clock."""
        return self._reader.ended_at(until)

    def row_results(self, first: int, last: int) -> dict[int, RowResult]:
        """Return the results of rows `first` to `last`; a row without one is unsent."""
        query = f"SELECT {RESULT} FROM result WHERE row BETWEEN ? AND ?"  # noqa: S608 - only columns
        return {row_result.row: row_result for row_result in self._reader.rows(query, (first, last), _row_result)}

    def iter_troubled(self) -> Iterator[RowResult]:
        """Yield the results with a problem or an outcome other than updated and unchanged, in order of the rows."""
        query = f"SELECT {RESULT} FROM result WHERE problems IS NOT NULL OR outcome NOT IN ('updated', 'unchanged')"  # noqa: S608 - only columns
        yield from self._reader.rows(f"{query} ORDER BY row", read=_row_result)

    def ids(self, outcomes: Collection[Outcome]) -> set[str]:
        """Return the ids of rows with these outcomes."""
        query = f"SELECT DISTINCT id FROM result WHERE outcome IN ({_listed(outcomes)})"  # noqa: S608 - only words
        return {one for (one,) in self._reader.rows(query)}

    def iter_told(self) -> Iterator[RowResult]:
        """Yield the results that say something, in order of the rows."""
        query = f"SELECT {RESULT} FROM result WHERE problems IS NOT NULL OR shown IS NOT NULL"  # noqa: S608 - only columns
        yield from self._reader.rows(f"{query} ORDER BY row", read=_row_result)

    def final_rows(self, first: int, last: int) -> set[int]:
        """Return the rows from `first` to `last` for which this run has nothing left to do."""
        query = f"SELECT row FROM result WHERE row BETWEEN ? AND ? AND {self._is_final()}"  # noqa: S608 - only words
        return {row for (row,) in self._reader.rows(query, (first, last))}

    def rows_of_changes(self, changes: Sequence[int], outcome: Outcome) -> set[int]:
        """Return the rows of these changes that have an outcome."""
        query = "SELECT row FROM result WHERE change IN (SELECT value FROM json_each(?)) AND outcome = ?"
        return {row for (row,) in self._reader.rows(query, (json.dumps(list(changes)), outcome.value))}

    def _is_final(self) -> str:
        believed, all_ = (_listed(one) for one in (self.believed, frozenset(Outcome) - NEEDS_RETRY))
        in_time = f"(outcome IN ({believed}) OR outcome IN ({all_}) AND time >= {self.since!r})"
        return f"(state <> '{State.CONFIRMED}' AND {in_time})"

    def count_final_changes(self) -> int:
        """Count the changes, and the rows of none, for which this run has nothing left to do."""
        return self._reader.count(f"SELECT count(DISTINCT change) FROM result WHERE {self._is_final()}")  # noqa: S608 - only words

    def count_changes(self, outcome: Outcome) -> int:
        """Count the changes with an outcome."""
        return self._reader.count(f"SELECT count(DISTINCT change) FROM result WHERE outcome = '{outcome.value}'")  # noqa: S608 - only words

    def count_older(self, moment: float) -> int:
        """Count the rows that are done by what was said before a moment (in seconds since 1970)."""
        return self._reader.count(f"SELECT count(*) FROM result WHERE {_is_older(moment)}")  # noqa: S608 - only words

    def older_rows(self, first: int, last: int, moment: float) -> set[int]:
        """Return the rows from `first` to `last` that are done by what was said before a moment."""
        query = f"SELECT row FROM result WHERE row BETWEEN ? AND ? AND {_is_older(moment)}"  # noqa: S608 - only words
        return {row for (row,) in self._reader.rows(query, (first, last))}

    def intent(self, change: int) -> Intent | None:
        """Return the newest intent of a change."""
        query = f"SELECT {INTENT}, {ATTEMPTS} FROM intent i WHERE change = ? AND body IS NOT NULL"  # noqa: S608 - only columns
        found: Intent | None = self._reader.one(f"{query} ORDER BY place DESC LIMIT 1", (change,), _intent)
        result = self.row_results(change, change).get(change) if found else None
        if found is None or result is None:
            return found
        is_known = result.outcome not in NEEDS_RETRY or any(one.code == "no_longer_so" for one in result.problems)
        # a 2xx that did not carry it out: the same key would bring the same answer for ever
        is_known |= result.outcome is Outcome.FAILED and result.status is not None and 200 <= result.status < 300
        return replace(found, is_settled=is_known and result.attempts >= found.made)

    def intent_of_row(self, row: int) -> Intent | None:
        """Return the newest intent of the change that a row with a result belongs to."""
        found = self._reader.one("SELECT change FROM result WHERE row = ?", (row,))
        return self.intent(int(found[0])) if found and found[0] is not None else None

    def iter_intents(self) -> Iterator[tuple[list[Intent], RowResult | None]]:
        """Yield every change in order: its intents, the oldest first, and its result (None: it has none yet).

        Intents of which nothing left are not among them, but for those of a plan, of which nothing ever leaves.
        """
        results = ", ".join(f"r.{name}" for name in RESULT.split(", "))
        query = (
            f"SELECT {', '.join(f'i.{name}' for name in INTENT.split(', '))}, {ATTEMPTS}, {results} FROM intent i "  # noqa: S608 - only columns
            "LEFT JOIN result r ON r.row = i.change WHERE i.body IS NOT NULL ORDER BY i.change, i.place"
        )
        for _, group in groupby(self._reader.rows(query, read=_intent_and_row_result), lambda pair: pair[0].change):
            pairs = list(group)
            intents = {intent.number: intent for intent, _ in pairs}.values()
            yield [intent for intent in intents if intent.attempts] or list(intents)[-1:], pairs[0][1]

    def has_intents(self) -> bool:
        """Return whether there is any intent, so that something may have been sent."""
        return self._reader.one("SELECT 1 FROM intent LIMIT 1") is not None

    def outcomes(self) -> dict[Outcome, int]:
        """Count the rows that have a result, by outcome."""
        query = "SELECT outcome, count(*) FROM result GROUP BY outcome"
        return dict(self._reader.rows(query, read=lambda row: (Outcome(row[0]), int(row[1]))))

    def count_parts(self) -> int:
        """Return how many starts have gone on with this run."""
        return self._reader.count("SELECT coalesce(max(number), 0) FROM part")

    def in_doubt(self) -> dict[int, tuple[str, int]]:
        """Return the changes whose last attempt has no result yet: number -> (id, attempts)."""
        marks = ", ".join(f"'{outcome.value}'" for outcome in sorted(NEEDS_RETRY))
        query = (
            "SELECT change, max(id), sum(attempts) AS made FROM intent GROUP BY change HAVING made > "  # noqa: S608 - only words
            "coalesce((SELECT attempts FROM result WHERE row = intent.change), 0) AND "
            f"coalesce((SELECT outcome FROM result WHERE row = intent.change), 'unsent') IN ({marks})"
        )
        return dict(self._reader.rows(query, read=_doubt))

    def count_since(self, moment: float) -> int:
        """Count the rows that got their result since then, in seconds since 1970."""
        (found,) = self._reader.one("SELECT count(*) FROM result WHERE time >= ?", (moment,)) or (0,)
        return int(found)

    def count_told(self, *codes: str) -> int:
        """Count the rows that say a problem of one of these codes."""
        marks = ", ".join("?" * len(codes))
        told = f"EXISTS (SELECT 1 FROM json_each(problems) WHERE json_extract(value, '$[5]') IN ({marks}))"  # noqa: S608 - only marks
        query = f"SELECT count(*) FROM result WHERE problems IS NOT NULL AND {told}"  # noqa: S608 - only words
        (found,) = self._reader.one(query, codes) or (0,)
        return int(found)

    def count_not_found(self) -> int:
        """Count the rows whose record does not exist."""
        return self._reader.count("SELECT count(*) FROM result WHERE outcome = 'rejected' AND status = 404")

    def counters(self) -> Counts:
        """Count what all parts cost; of one that was cut off the most that it can be."""
        query = """
            SELECT sum(max(requests, iif(is_orderly, 0, reserved + coalesce(calls, 0)))),
                sum(max(part.attempts, iif(is_orderly, 0, reserved + coalesce(writes, 0)))),
                sum(throttled), min(is_orderly OR NOT (reserved OR coalesce(writes, 0)))
            FROM part LEFT JOIN (
                SELECT part, count(DISTINCT change || ' ' || number) AS calls, sum(attempts) AS writes
                FROM intent GROUP BY part
            ) ON part = part.number
        """
        found: Counts = self._reader.one(query, read=_counts)
        return found

    def file_digests(self) -> dict[str, str]:
        """Return the digests of the files that were made from the journal, as they were written."""
        return dict(self._reader.rows("SELECT name, digest FROM file"))

    def hidden_texts(self) -> dict[str, str]:
        """Return what is shown of the texts with a secret in them, as `credentials.hidden_texts` does."""
        return dict(self._reader.rows("SELECT digest, shown FROM hidden"))

    def attempts_over_time(self, most: int, asked: Sequence[tuple[float, float]] = ()) -> AttemptsOverTime | None:
        """Count the attempts of all calls, and the answers of 429, in up to `most` pieces of the time that they took.

        `asked`: from when to when a person was asked.
        Gives None where that is too short, or no record of it was kept, as in journals of 0.1.
        """
        (first, last) = self._reader.one("SELECT min(at), max(at) FROM second") or (None, None)
        if not isinstance(first, int) or not isinstance(last, int) or last - first < 1:
            return None
        pieces = min(most, last - first + 1)
        waited = _overlap(first, last + 1, asked)
        found = AttemptsOverTime(first, (last - first + 1) / pieces, [0] * pieces, [0] * pieces, waited)
        query = "SELECT (at - ?) * ? / ? AS piece, sum(attempts), sum(throttled) FROM second GROUP BY piece"
        for piece, attempts, throttled in self._reader.rows(query, (first, pieces, last - first + 1)):
            found.attempts[piece], found.throttled[piece] = attempts, throttled
        return found

    def longest_gaps(self, most: int, asked: Sequence[tuple[float, float]] = ()) -> list[tuple[float, float]]:
        """Return the longest times without a result within a part: when each began, and its seconds.

        `asked`: from when to when a person was asked, which does not count.
        """
        query = """
            SELECT since, seconds FROM (
                SELECT lag(time) OVER (ORDER BY time) AS since, time - lag(time) OVER (ORDER BY time) AS seconds
                FROM result WHERE attempts > 0
            ) WHERE seconds >= 1
                AND NOT EXISTS (SELECT 1 FROM part WHERE started > since AND started < since + seconds)
            ORDER BY seconds DESC LIMIT ?
        """
        gaps = self._reader.rows(query, (most + len(asked),))
        left = [(since, seconds - _overlap(since, since + seconds, asked)) for since, seconds in gaps]
        return sorted((one for one in left if one[1] >= 1), key=lambda one: one[1], reverse=True)[:most]

    def changed_fields(self) -> dict[str, tuple[int, int]]:
        """Count the cells of changes that were applied, by field, and those of them that were emptied."""
        query = f"""
            SELECT field.key, count(*), sum(field.type = 'null' OR field.value IN ('', '[]'))
            FROM {APPLIED}, json_each(intent.fields) AS field
            GROUP BY field.key ORDER BY count(*) DESC, field.key
        """  # noqa: S608 - only words
        return {str(name): (int(count), int(clears)) for name, count, clears in self._reader.rows(query)}

    def count_by_fields(self) -> list[tuple[tuple[str, ...], int]]:
        """Count the changes that were applied, or in a plan would be, by the names of all their fields."""
        query = f"""
            SELECT (SELECT json_group_array(key) FROM json_each(intent.fields)) AS names, count(*)
            FROM {APPLIED} GROUP BY names
        """  # noqa: S608 - only words
        return list(self._reader.rows(query, read=lambda row: (tuple(map(str, json.loads(row[0]))), int(row[1]))))

    def digest(self) -> str:
        """Return a digest of all intents and results in their order."""
        found = hashlib.sha256()
        for query in ("SELECT * FROM intent ORDER BY place", "SELECT * FROM result ORDER BY row"):
            for row in self._reader.rows(query):
                found.update(repr(row).encode())
        return found.hexdigest()


def _overlap(since: float, until: float, others: Iterable[tuple[float, float]]) -> float:
    """Return how many seconds of a time lie in others, of which no two have any in common."""
    return sum(max(0.0, min(until, end) - max(since, start)) for start, end in others)


def _is_older(moment: float) -> str:
    return f"outcome IN ({_listed({Outcome.UPDATED, Outcome.UNCHANGED})}) AND time < {moment!r}"


def _listed(outcomes: Iterable[Outcome]) -> str:
    return ", ".join(f"'{outcome.value}'" for outcome in sorted(outcomes))


def _counts(row: Sequence[Any]) -> Counts:
    requests, attempts, throttled = (int(one or 0) for one in row[:3])
    return Counts(requests, attempts, throttled, bool(row[3]))


def _doubt(row: Sequence[Any]) -> tuple[int, tuple[str, int]]:
    change, record_id, attempts = row
    _check(((change, int), (record_id, str), (attempts, int)))
    return change, (record_id, attempts)


def _row_result(row: Sequence[Any]) -> RowResult:
    number, record_id, outcome, state, status, attempts, shown, problems = row
    _check(((record_id, str), (attempts, int), (status, (int, NoneType))))
    if problems is None and shown is None:  # as most are, of a million
        return RowResult(number, record_id, Outcome(outcome), status, attempts, state=State(state))
    found = tuple(_problem(*one) for one in json.loads(problems or "[]"))
    values = decode(shown or "{}")
    _check(((values, dict),))
    return RowResult(number, record_id, Outcome(outcome), status, attempts, found, State(state), values)


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
    change, number, record_id, key, fields, before, body, name, replaced_whole, read, attempts, spent = row
    _check(((change, int), (number, int), (record_id, str), (key, (str, NoneType)), (attempts, int), (name, str)))
    values = (decode(fields), decode(before or "null"), decode(body))
    known_key = None if key is None else str(UUID(key))  # a header; what else it may be, must not leave
    found = Intent(change, record_id, known_key, attempts, *values, name, decode(replaced_whole), number, spent, read)
    _check(((found.fields, dict), (found.before, (dict, NoneType)), (found.body, dict), (found.replaced_whole, dict)))
    _check(((spent, int), (read, (float, NoneType))))
    return found


def _check(pairs: Iterable[tuple[object, Any]]) -> None:
    """Raise ValueError unless each value has its type: SQLite accepts any value in any column."""
    for value, kind in pairs:
        if not isinstance(value, kind):
            raise ValueError(f"{kind} was expected")
        if isinstance(value, int) and not 0 <= value < 2**31:
            raise ValueError("a count was expected")


def _intent_and_row_result(row: Sequence[Any]) -> tuple[Intent, RowResult | None]:
    width = len(INTENT.split(", ")) + 2
    return _intent(row[:width]), None if row[width] is None else _row_result(row[width:])
