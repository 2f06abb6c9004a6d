"""`--key`: the customer's own number -> the one record that has it, which is at the same time its current record.

Promises: exact, whatever the API's filter ignores; none and two are said, never guessed, in the same words however many
numbers are asked for; as few requests as possible: one for each number, or all records by pages where that is fewer, or
where a look-up may show only one of two. That no record has a number is said only where a filter that has found others
finds none, or where a complete walk over all pages shows none and (for the first five such numbers) a request for it
alone agrees. A filter that is ignored or cut is not used any more. What pages brought is kept on disk, not in memory,
in a file without a name that is gone when the run ends, however it ends.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import anyio
from anyio.lowlevel import checkpoint

from batch.endpoints.base import Endpoint, Record
from batch.engine.pages import Pages, UnreadError, read
from batch.engine.retry_loop import ApiClient
from batch.exact_json import decode, encode
from batch.http import ApiRequest, ApiResponse
from batch.http.url import is_exact
from batch.model import Outcome, Problem, shorten, visible
from batch.problems import Values
from batch.retry import Action

ASKED_ALONE = 5
"""So many numbers that no page shows are asked for alone before the pages are believed."""
FRESH_SECONDS = 60.0
"""How long a record that pages brought may lie before it is read again, should it have to be written."""
KEYS_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class LookupStrategy:
    """How the records are found: all records in `pages` pages, or (None) one request for each of `keys` keys.

    `spent` requests were needed to choose. `known_key`: a key that a record was seen to have, "" where none was.
    """

    keys: int
    pages: int | None = None
    spent: int = 0
    known_key: str = ""

    @property
    def reads(self) -> int:
        """Requests that finding takes."""
        return self.spent + (self.keys if self.pages is None else self.pages)


async def choose_strategy(client: ApiClient, keys: int, key_field: str) -> LookupStrategy:
    """Read the first page to learn what costs less; raises UnreadError when the run stops, or only pages would do."""
    endpoint = client.endpoint
    if endpoint.lists_by_key and (keys < 3 or not endpoint.page_size):  # reading a page would cost as much
        return LookupStrategy(keys)
    pages = Pages(client)
    try:
        known_key = _known_key(endpoint, key_field, await pages.pull())
    except UnreadError:
        if client.shutdown.requested or not endpoint.lists_by_key:
            raise
        return LookupStrategy(keys, spent=1)
    if pages.is_done:
        return LookupStrategy(keys, 1, 1, known_key)
    wanted = None if pages.total is None else endpoint.pages_in(pages.total)
    if not endpoint.lists_by_key:
        return LookupStrategy(keys, wanted or 2, 1, known_key)  # at least two, where the list does not say
    return LookupStrategy(keys, wanted if wanted is not None and wanted < keys else None, 1, known_key)


def _known_key(endpoint: Endpoint, key_field: str, records: Iterable[Record]) -> str:
    """Return a key that one of `records` has, "" where none has."""
    values = (endpoint.value(one, key_field) for one in records)
    return next((one for one in values if isinstance(one, str) and one.strip()), "")


@dataclass(frozen=True, slots=True)
class Match:
    """The one record with a key, and when it was read; `is_old` when it should be read again before it is written."""

    id: str
    record: Record
    read_at: float
    is_old: bool = False


@dataclass(frozen=True, slots=True)
class NoMatch:
    """Why there is not one record: the outcome and the problem (None: the run stops, so nothing is said).

    `status`: what a request for this key alone got. `is_absent`: what was looked through has no such key.
    """

    outcome: Outcome | None
    problem: Problem | None = None
    status: int | None = None
    is_absent: bool = False


class KeyLookup:
    """Finds records by `key_field`; `keys` yields the keys that will be asked for."""

    def __init__(
        self, client: ApiClient, key_field: str, strategy: LookupStrategy, keys: Callable[[], Iterator[str]]
    ) -> None:
        self._client, self.key_field, self._keys = client, key_field, keys
        self._pages = Pages(client) if strategy.pages is not None or not client.endpoint.lists_by_key else None
        self._most_pages = strategy.keys
        self._kept: _Kept | None = None
        self._reading, self._asking = anyio.Lock(), anyio.Lock()
        self._known_key = strategy.known_key
        self._has_found = self._is_misled = self._is_short = self._must_walk = False
        self._agreed = 0

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint whose records are sought."""
        return self._client.endpoint

    @property
    def goes_by_pages(self) -> bool:
        """Whether all records are read at once, so that finding one more costs nothing."""
        return self._pages is not None

    async def find(self, key: str, record_id: str = "") -> Match | NoMatch:
        """Find the one record whose key is exactly `key`, and its id `record_id` where that is given."""
        try:
            if self._pages is not None:
                await self._read_pages(self._pages)
            if self._pages is not None and self._kept is not None:
                found = await self._find_on_pages(key, record_id, self._pages, self._kept)
            else:
                found = await self._look_up(key, record_id)
        except UnreadError as error:
            found = self._unread(error)
        if isinstance(found, NoMatch) and found.problem is not None and not found.problem.field:
            return replace(found, problem=replace(found.problem, field=self.key_field, seen=key))
        return found

    # -- one by one ---------------------------------------------------------------------------------------------

    async def _look_up(self, key: str, record_id: str) -> Match | NoMatch:
        if self._request(key) is None:
            return NoMatch(Outcome.INVALID, Problem("key_unaddressable", {"field": self.key_field}))
        asked = await self._ask(key)
        if asked is None:
            return await self._walk(key, record_id)
        records, status = asked
        self._has_found |= bool(records)
        if records or self._has_found or await self._is_proven():
            return self._only(key, record_id, self._dated(records), status)
        return await self._walk(key, record_id)

    async def _ask(self, key: str) -> tuple[list[Record], int] | None:
        """Ask for the records with one key; None when the answer shows that the filter does not work."""
        request = self._request(key)
        assert request is not None  # noqa: S101 - whoever asks has looked
        try:
            response, records = await read(self._client, request)
        except UnreadError as error:
            said = error.answer.response
            if isinstance(said, ApiResponse) and said.status == 404 and self.endpoint.is_own_error(said):
                return [], 404
            raise
        total, values = self.endpoint.total(response), [self.endpoint.value(one, self.key_field) for one in records]
        is_cut = self.endpoint.next_cursor(response, "") is not None or (total or 0) > len(records)
        if is_cut or not all(isinstance(one, str) and _folded(one) == _folded(key) for one in values):
            self._is_misled = True
            return None
        return records, response.status

    async def _is_proven(self) -> bool:
        """Whether the filter finds the record of a key that one is known to have."""
        async with self._asking:
            if not (self._has_found or self._is_misled):
                if not self._known_key and self.endpoint.page_size:
                    self._known_key = _known_key(self.endpoint, self.key_field, await Pages(self._client).pull())
                if self._known_key and self._request(self._known_key) is not None:
                    asked = await self._ask(self._known_key)
                    self._has_found = asked is not None and bool(asked[0])
                    self._is_misled = not self._has_found
            return self._has_found

    def _dated(self, records: Sequence[Record]) -> list[tuple[str, Record, float]]:
        """Give records that were read just now, as `_Kept` does."""
        now = anyio.current_time()
        return [(self.endpoint.record_id(one), one, now) for one in records]

    def _request(self, key: str) -> ApiRequest | None:
        try:
            request = self.endpoint.find_request(self.key_field, key)
        except ValueError:
            return None
        return request if is_exact(request.path) else None

    def _only(
        self, key: str, record_id: str, found: Sequence[tuple[str, Record, float]], status: int | None
    ) -> Match | NoMatch:
        """Keep the record whose key it is; where several have it, the id may say which one."""
        values: Values = {"noun": self.endpoint.noun, "field": self.key_field, "plural": self.endpoint.plural}
        same = [one for one in found if self.endpoint.value(one[1], self.key_field) == key]
        if not same:
            return NoMatch(Outcome.INVALID, self._nobody(key, [record for _, record, _ in found]), status, True)
        named = [
            one for one in same if not record_id or self.endpoint.id_key(one[0]) == self.endpoint.id_key(record_id)
        ]
        values = {**values, "ids": ", ".join(one for one, _, _ in same[:5])}
        match named:
            case [(found_id, record, read_at)]:
                return Match(found_id, record, read_at, is_old=anyio.current_time() - read_at > FRESH_SECONDS)
            case []:
                problem = Problem("id_of_other_key", values, "id", seen=record_id)
                return NoMatch(Outcome.INVALID, problem, status)
        return NoMatch(Outcome.INVALID, Problem("key_ambiguous", {**values, "count": len(same)}), status)

    def _nobody(self, key: str, records: Sequence[Record]) -> Problem:
        values = {"noun": self.endpoint.noun, "field": self.key_field}
        for one in records:
            spelt = self.endpoint.value(one, self.key_field)
            if isinstance(spelt, str) and _folded(spelt) == _folded(key):
                near = shorten(visible(spelt), 64)
                return Problem("key_spelt_otherwise", {**values, "near": near, "id": self.endpoint.record_id(one)})
        return Problem("key_unknown", values)

    def _unread(self, error: UnreadError) -> NoMatch:
        answer = error.answer
        status = None if self._pages is not None else answer.status
        match answer.classification.action:
            case Action.REJECT:
                said = (
                    self.endpoint.parse_error(answer.response.redacted)
                    if isinstance(answer.response, ApiResponse)
                    else [("", str(error))]
                )
                problem = Problem("lookup_failed", {"cause": visible(said[0][1])[:500]})
                return NoMatch(Outcome.FAILED, problem, status)
            case Action.ABORT:
                return NoMatch(None)
        if answer.is_cut or self._client.shutdown.requested:
            return NoMatch(None)
        return NoMatch(Outcome.FAILED, Problem("lookup_failed", {"cause": str(error)}), status)

    # -- by pages -----------------------------------------------------------------------------------------------

    async def _walk(self, key: str, record_id: str) -> Match | NoMatch:
        """Go over to pages, since asking for one key alone does not tell."""
        if not self.endpoint.page_size:
            return self._unsure()
        self._must_walk = True
        self._pages = self._pages or Pages(self._client)
        return await self.find(key, record_id)

    async def _find_on_pages(self, key: str, record_id: str, pages: Pages, kept: "_Kept") -> Match | NoMatch:
        found = self._only(key, record_id, kept.records(key), None)
        if not (isinstance(found, NoMatch) and found.is_absent):
            return found
        if not pages.is_complete and self._may_give_up:
            self._give_up_pages()
            return await self._look_up(key, record_id)
        async with self._asking:
            if self._is_misled or self._is_short or not pages.is_complete:
                return self._unsure()
            if self._agreed >= ASKED_ALONE or self._request(key) is None:
                return found
            asked = await self._ask(key)
            if asked is None:
                return self._unsure()
            alone = self._only(key, record_id, self._dated(asked[0]), asked[1])
            if isinstance(alone, NoMatch) and alone.is_absent:
                self._agreed += 1
                return replace(found, status=asked[1])
        if not self._may_give_up:
            self._is_short = True  # are the pages, whatever they say
            return self._unsure()
        self._has_found = True
        self._give_up_pages()
        return alone

    def _unsure(self) -> NoMatch:
        if self._is_misled:
            return NoMatch(Outcome.FAILED, Problem("key_not_narrowed", {"field": self.key_field}))
        values: Values = {"noun": self.endpoint.noun, "field": self.key_field}
        return NoMatch(Outcome.FAILED, Problem("key_unsure", values))

    async def _read_pages(self, pages: Pages) -> None:
        """Read all pages, once, whoever comes first; go over to single requests when that has become cheaper."""
        if self._kept is not None and pages.is_done:
            return
        async with self._reading:
            if self._pages is None:
                return
            if self._kept is None:
                self._kept = _Kept()
                await self._kept.want(self._keys())
            while not pages.is_done:
                try:
                    self._keep(self._kept, await pages.pull())
                except UnreadError as error:
                    if error.answer.classification.action is Action.REJECT and self._may_give_up:
                        return self._give_up_pages()
                    raise
                if pages.count >= self._most_pages and not pages.is_done and self._may_give_up:
                    return self._give_up_pages()

    @property
    def _may_give_up(self) -> bool:
        """Whether records may as well be asked for one by one."""
        return self.endpoint.lists_by_key and not self._must_walk

    def _give_up_pages(self) -> None:
        self._pages = self._kept = None

    def _keep(self, kept: "_Kept", records: Sequence[Record]) -> None:
        keyed = [(self.endpoint.value(one, self.key_field), self.endpoint.record_id(one), one) for one in records]
        kept.add([(key, record_id, one) for key, record_id, one in keyed if isinstance(key, str)])


def _folded(key: str) -> str:
    """Fold away what a person overlooks: case, and spaces around it."""
    return key.strip().casefold()


class _Kept:
    """The records with a wanted key, however it is spelt, in a private file without a name (SQLite's `""`)."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("CREATE TABLE wanted(key TEXT PRIMARY KEY) WITHOUT ROWID")
        columns = "key TEXT, id TEXT, record TEXT NOT NULL, read_at REAL, PRIMARY KEY(key, id)"
        self._db.execute(f"CREATE TABLE kept({columns}) WITHOUT ROWID")

    async def want(self, keys: Iterator[str]) -> None:
        """Note the keys whose records are to be kept."""
        while some := [(_folded(key),) for key in islice(keys, KEYS_AT_ONCE)]:
            self._write("INSERT OR IGNORE INTO wanted VALUES (?)", some)
            await checkpoint()

    def add(self, records: Sequence[tuple[str, str, Record]]) -> None:
        """Keep those of `records` (key, id, record) whose key is wanted."""
        folded = [(_folded(key), record_id, record) for key, record_id, record in records]
        now = anyio.current_time()
        rows = [(key, record_id, encode(record), now) for key, record_id, record in folded if self._is_wanted(key)]
        self._write("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", rows)

    def _is_wanted(self, key: str) -> bool:
        return self._db.execute("SELECT 1 FROM wanted WHERE key = ?", (key,)).fetchone() is not None

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany(statement, rows)
        self._db.execute("COMMIT")

    def records(self, key: str) -> list[tuple[str, Record, float]]:
        """Give (id, record, when it was read) of all records with this key, however it is spelt, in order of ids."""
        rows = self._db.execute("SELECT id, record, read_at FROM kept WHERE key = ? ORDER BY id", (_folded(key),))
        return [(record_id, decode(text), read_at) for record_id, text, read_at in rows]
