"""`--key`: the customer's own number -> the one record that has it, which is at the same time its current record.

Promises: exact, whatever the API's filter ignores; none and two are said, never guessed, in the same words however many
numbers are asked for; as few requests as possible: one for each number, or all records by pages where that is fewer, or
where a look-up may show only one of two. That no record has a number is said only where a filter that has found others
finds none, or where a complete walk over all pages shows none and (for the first five such numbers) a request for it
alone agrees. A filter that is ignored or cut is not used any more.

By id, where the API lists records by pages but not by their ids, pages are read where they cost less, too. They say at
most that a record has the values already; whatever they do not show, or show otherwise, is read by itself.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import anyio

from batch.endpoints.base import Endpoint, Record
from batch.engine.context import RunContext
from batch.engine.pages import FRESH_SECONDS, Listing, Pages, UnreadError, read
from batch.engine.record_reader import RecordReader
from batch.engine.retry_loop import ApiClient
from batch.engine.shutdown import ended_by_signals
from batch.errors import UsageError
from batch.http import ApiRequest, ApiResponse
from batch.http.url import is_exact
from batch.model import Outcome, Problem, shorten, visible
from batch.problems import Values
from batch.retry import Action

ALL = 1 << 62
ASKED_ALONE = 5
"""So many numbers that no page shows are asked for alone before the pages are believed."""
NOT_LISTED = (
    "The {plural} cannot be listed ({cause}), so it cannot be told whether two of them have the same number. "
    'Nothing was sent. Leave out --key, and give the API\'s ids in a column "id".'
)


@dataclass(frozen=True, slots=True)
class LookupStrategy:
    """How `count` records are found: all records in `pages` pages, or (None) one by one.

    `by_key`: by their own numbers, not by their ids. `spent` requests were needed to choose, of which `walk` has the
    first page. `known_key`: a key that a record was seen to have, "" where none was.
    """

    count: int
    pages: int | None = None
    spent: int = 0
    known_key: str = ""
    by_key: bool = True
    walk: Pages | None = None


async def choose_strategy(client: ApiClient, count: int, key_field: str | None) -> LookupStrategy:
    """Read the first page where that tells what costs less; raises UnreadError when the run stops, or pages must do."""
    endpoint, by_key = client.endpoint, key_field is not None
    if key_field is not None and not endpoint.lists_by_key:
        walk = Pages(client)
        pages = await walk.count_if_cheaper(ALL) or 2  # at least two, where the list does not say
        return LookupStrategy(count, pages, 1, _known_key(endpoint, key_field, walk.first), walk=walk)
    walk, cheaper = Pages(client, refusal_of="run" if by_key else "nothing"), None
    try:
        cheaper = await walk.count_if_cheaper(count)
    except UnreadError:
        if client.shutdown.requested:
            raise
        return LookupStrategy(count, spent=1, by_key=by_key)
    known_key = _known_key(endpoint, key_field, walk.first) if key_field is not None else ""
    return LookupStrategy(count, cheaper, walk.count, known_key, by_key, walk)


def _known_key(endpoint: Endpoint, key_field: str, records: Iterable[Record]) -> str:
    """Return a key that one of `records` has, "" where none has."""
    values = (endpoint.value(one, key_field) for one in records)
    return next((one for one in values if isinstance(one, str) and one.strip()), "")


@dataclass(frozen=True, slots=True)
class Match:
    """The one record with a key, and when it was read; `is_old` when it should be read again before it is written.

    `is_whole`: false where a page may not show all of it, so that it tells its id alone.
    """

    id: str
    record: Record
    read_at: float
    is_old: bool = False
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class NoMatch:
    """Why there is not one record: the outcome and the problem (None: the run stops, so nothing is said).

    `status`: what a request for this key alone got. `is_absent`: what was looked through has no such key.
    """

    outcome: Outcome | None
    problem: Problem | None = None
    status: int | None = None
    is_absent: bool = False


class Lookup(Protocol):
    """Finds the records of changes before anything is read by its id."""

    @property
    def goes_by_pages(self) -> bool:
        """Whether all records are read at once, so that finding one more costs nothing."""

    async def find(self, name: str, record_id: str = "") -> Match | NoMatch | None:
        """Find the one record that a change names, and its id `record_id` where that is given; None: read it by id."""


class IdLookup:
    """Finds records by their ids on pages; `ids` yields those that will be asked for."""

    goes_by_pages = True

    def __init__(
        self, client: ApiClient, strategy: LookupStrategy, ids: Callable[[], Iterator[str]], reader: RecordReader
    ) -> None:
        self._endpoint = endpoint = client.endpoint
        self._listing = Listing(
            strategy.walk or Pages(client, refusal_of="nothing"),
            lambda record: endpoint.id_key(endpoint.record_id(record)),
            lambda: map(endpoint.id_key, ids()),
            strategy.count,
            reader,
        )

    async def find(self, name: str, record_id: str = "") -> Match | NoMatch | None:
        """Find the record with the id `name` on the pages; None where it is not on them, or they are of no use."""
        try:
            if not await self._listing.read(may_give_up=True) or not self._listing.is_whole:
                return None
        except UnreadError:
            return NoMatch(None)
        match self._listing.records(self._endpoint.id_key(name)):
            case [(_, record, read_at)]:
                return Match(name, record, read_at, is_old=anyio.current_time() - read_at > FRESH_SECONDS)
        return None


class KeyLookup:
    """Finds records by `key_field`; `keys` yields the keys that will be asked for."""

    def __init__(
        self,
        client: ApiClient,
        key_field: str,
        strategy: LookupStrategy,
        keys: Callable[[], Iterator[str]],
        reader: RecordReader,
    ) -> None:
        self._client, self.key_field, self._keys, self._reader = client, key_field, keys, reader
        self._reads = strategy.count
        by_pages = strategy.pages is not None or not client.endpoint.lists_by_key
        self._listing = self._list(strategy.walk) if by_pages else None
        self._asking = anyio.Lock()
        self._known_key = strategy.known_key
        self._has_found = self._is_misled = self._is_short = self._must_walk = False
        self._agreed = 0

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint whose records are sought."""
        return self._client.endpoint

    @property
    def goes_by_pages(self) -> bool:
        """Whether all records are read at once."""
        return self._listing is not None

    def _list(self, pages: Pages | None = None) -> Listing:
        def name(record: Record) -> str | None:
            key = self.endpoint.value(record, self.key_field)
            return _folded(key) if isinstance(key, str) else None

        pages, wanted = pages or Pages(self._client), (lambda: map(_folded, self._keys()))
        return Listing(pages, name, wanted, self._reads, self._reader)

    async def find(self, key: str, record_id: str = "") -> Match | NoMatch:
        """Find the one record whose key is exactly `key`, and its id `record_id` where that is given."""
        try:
            listing = self._listing
            if listing is not None and await listing.read(may_give_up=self._may_give_up):
                found = await self._find_on_pages(key, record_id, listing)
            else:
                self._listing = None if self._listing is listing else self._listing
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
        status = None if self._listing is not None else answer.status
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
        self._listing = self._listing or self._list()
        return await self.find(key, record_id)

    async def _find_on_pages(self, key: str, record_id: str, listing: Listing) -> Match | NoMatch:
        found, pages = self._only(key, record_id, listing.records(_folded(key)), None), listing.pages
        if isinstance(found, Match):
            return replace(found, is_whole=listing.is_whole)
        if not found.is_absent:
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

    @property
    def _may_give_up(self) -> bool:
        """Whether records may as well be asked for one by one."""
        return self.endpoint.lists_by_key and not self._must_walk

    def _give_up_pages(self) -> None:
        if self._listing is not None:
            self._listing.give_up()
        self._listing = None


def _folded(key: str) -> str:
    """Fold away what a person overlooks: case, and spaces around it."""
    return key.strip().casefold()


async def find_strategy(context: RunContext, count: int) -> LookupStrategy | None:
    """Find out how the records of `count` changes are found by the fewest requests; raises StoppedError.

    None: they are read by their ids, in lists or one by one, as the API has it.
    """
    key_field = context.changes.columns.key_field
    if key_field is None and not context.rereads:
        return None
    client = await context.connect()
    try:
        return await ended_by_signals(client.shutdown, lambda: choose_strategy(client, count, key_field))
    except UnreadError as error:
        if error.answer.classification.action is Action.REJECT and not context.shutdown.requested:
            raise UsageError(NOT_LISTED.format(plural=context.endpoint.plural, cause=error)) from None
        raise context.shutdown.as_error(f"The {context.endpoint.plural} could not be read: {error}.") from None


def make_lookup(context: RunContext, strategy: LookupStrategy | None) -> Lookup | None:
    """Make what finds the records of changes by key or on pages, None where they are read by their ids."""
    key_field = context.changes.columns.key_field
    if strategy is None or (key_field is None and strategy.pages is None):
        return None

    def names() -> Iterator[str]:
        return (one.id for one in context.iter_open())

    if key_field is None:
        return IdLookup(context.client, strategy, names, context.reader)
    return KeyLookup(context.client, key_field, strategy, names, context.reader)
