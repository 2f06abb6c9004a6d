"""All records by pages, one after the other: the one place that walks over them.

Promises: each record once and none lost, whatever is added to the list or removed from it meanwhile; a walk comes to an
end, and says whether it showed all. Of the records that were walked over, those that rows ask for are kept, on disk and
not in memory, in a file without a name that is gone when the run ends, however it ends. Where the API has no other
lists, what pages show is held against one record that is read by itself, before it is believed that they show all.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import anyio
from anyio.lowlevel import checkpoint

from batch.endpoints.base import Endpoint, Record, UnreadableReplyError, same_value
from batch.engine.record_reader import RecordReader
from batch.engine.retry_loop import Answer, ApiClient, RefusalOf
from batch.exact_json import decode, encode
from batch.http import ApiRequest, ApiResponse
from batch.retry import Action

FRESH_SECONDS = 60.0
"""How long a record that pages brought may lie before it is read again, should it have to be written."""
RECORDS_OF_A_READ = 100
"""A page of so many records weighs as much as one request for a record: pages are long, and come one after another."""
NAMES_AT_ONCE = 5_000
REMEMBERED_PAGES = 4
MOST_OLD_PAGES = 5
"""After so many pages in a row that show nothing new the list leads nowhere, whatever it says of its end."""
MOST_SLIPS = 2
"""So often a page is read again that does not join the one before; then the list itself has a gap, or ends there."""


class UnreadError(Exception):
    """The API was asked and did not give what was wanted; `answer` is its last word, `str()` says why."""

    def __init__(self, answer: Answer, why: str = "") -> None:
        super().__init__(why or answer.cause)
        self.answer = answer


@dataclass(slots=True)
class Pages:
    """Pulls the pages one after the other; after an UnreadError the same page can be asked for again."""

    client: ApiClient
    where: Mapping[str, str] = field(default_factory=dict)
    refusal_of: RefusalOf = "run"
    total: int | None = None
    """How many records there are, as the API says."""
    count: int = 0
    """Pages that were read."""
    is_done: bool = False
    _seen: int = 0
    _last_total: int | None = None
    _cursor: str = ""
    _slips: int = 0
    _old_pages: int = 0
    _head: frozenset[str] = frozenset()
    """The ids on the first page."""
    _is_torn: bool = False
    _passed: set[str] = field(default_factory=set)
    _first: tuple[list[Record], float] | None = None
    _recent: deque[frozenset[str]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_PAGES))

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint whose records these are."""
        return self.client.endpoint

    @property
    def is_complete(self) -> bool:
        """Whether all pages were read, and showed as many records as there are in all, where the API says that."""
        return self.is_done and not self._is_torn and (self._last_total is None or self._seen >= self._last_total)

    async def count_if_cheaper(self, reads: int) -> int | None:
        """Return how many pages there are where these cost less than `reads` requests for records; else None.

        It reads the first page to learn that, unless these are so few that it is not worth it; raises UnreadError.
        """
        if not self.endpoint.page_size or reads <= 2 * self.weight:
            return None
        records = await self.pull()
        self._first = records, anyio.current_time()
        if self.is_done:
            return 1
        if self.total is None or not records:
            return None
        pages = self.endpoint.pages_in(self.total)
        if len(records) < self.endpoint.page_size:  # the API gives shorter ones
            pages = -(-self.total // len(records))
        return pages if pages * self.weight < reads else None

    @property
    def weight(self) -> int:
        """How many requests for a record a page costs as much as."""
        return max(1, self.endpoint.page_size // RECORDS_OF_A_READ)

    @property
    def first(self) -> Sequence[Record]:
        """The first page, if it was read to count them and is not pulled yet."""
        return self._first[0] if self._first is not None else ()

    @property
    def is_through(self) -> bool:
        """Whether nothing is left to be pulled."""
        return self.is_done and self._first is None

    def from_the_first(self) -> "Pages":
        """Return these, if nothing but the first page was read, and not long ago; else others that begin anew."""
        is_young = self._first is not None and anyio.current_time() - self._first[1] <= FRESH_SECONDS
        return self if is_young else Pages(self.client, self.where, self.refusal_of)

    async def pull(self) -> list[Record]:
        """Read the next page; raises UnreadError. Gives what was not on the pages before, which may be nothing."""
        if self._first is not None:
            records, self._first = self._first[0], None
            return records
        request = self.endpoint.page_request(self._cursor, self.where)
        response, records = await read(self.client, request, self.refusal_of)
        self.count += 1
        self._last_total = self.endpoint.total(response)
        self.total = self._last_total if self.total is None else self.total
        known = frozenset().union(*self._recent)
        ids = [self.endpoint.record_id(one) for one in records]
        fresh = [one for one, record_id in zip(records, ids, strict=True) if record_id not in known]
        back = self.endpoint.rewind(self._cursor)
        if back is not None and len(fresh) == len(records):  # it should have begun with the end of the one before
            if self._slips < MOST_SLIPS:
                self._slips, self._cursor = self._slips + 1, back
                return []
            self._is_torn = True  # records may be missing between the two
        self._slips = 0 if fresh else self._slips
        self._recent.append(frozenset(ids))
        self._seen += len(fresh)
        self._old_pages = 0 if fresh else self._old_pages + 1
        following = self.endpoint.next_cursor(response, self._cursor)
        is_round = following in self._passed or (self._head and self._head <= frozenset(ids))
        is_round = is_round and following is not None and self.endpoint.rewind(following) is None
        if is_round or (following is not None and self._old_pages >= MOST_OLD_PAGES):
            following, self._is_torn = None, True  # it goes round in a circle, or nowhere
        self._head = self._head if self.count > 1 else frozenset(ids)
        self._passed.add(self._cursor)
        self.is_done, self._cursor = following is None, following or self._cursor
        return fresh


async def read(
    client: ApiClient, request: ApiRequest, refusal_of: RefusalOf = "run"
) -> tuple[ApiResponse, list[Record]]:
    """Make a call that reads records; raises UnreadError when none can be read out of the answer."""
    answer = await client.read(request, refusal_of=refusal_of)
    if answer.classification.action is not Action.SUCCEED or not isinstance(answer.response, ApiResponse):
        raise UnreadError(answer)
    try:
        return answer.response, client.endpoint.parse_records(answer.response)
    except UnreadableReplyError as error:
        raise UnreadError(answer, str(error)) from None


class Listing:
    """The records that rows ask for, as all pages show them; they are read once, by whoever comes first.

    `name` says under which name a record is asked for, `wanted` yields the names that will be. Where records may be
    asked for one by one as well, pages that cost more than `reads` such requests are of no use.
    """

    def __init__(
        self,
        pages: Pages,
        name: Callable[[Record], str | None],
        wanted: Callable[[], Iterator[str]],
        reads: int,
        reader: RecordReader,
    ) -> None:
        self.pages, self._name, self._wanted, self._reads = pages, name, wanted, reads
        self._reader = reader
        self._kept: _Kept | None = None
        self._lock = anyio.Lock()
        self._is_read = self._is_given_up = False
        self.is_whole = True
        """Whether pages show as much of a record as its own read does, as far as that matters."""

    def give_up(self) -> None:
        """Ask for records one by one from now on."""
        self._is_given_up, self._kept = True, None

    async def read(self, *, may_give_up: bool) -> bool:
        """Read all pages, unless that was done; false where records are to be asked for one by one.

        That may be where the pages cannot be read, or are too many; elsewhere raises UnreadError.
        """
        await checkpoint()
        if self._is_read or self._is_given_up:
            return not self._is_given_up
        async with self._lock:
            try:
                if not (self._is_read or self._is_given_up):
                    await self._read(may_give_up=may_give_up)
            except UnreadError as error:
                if error.answer.is_cut or self.pages.client.shutdown.requested or not may_give_up:
                    raise
                self.give_up()
        return not self._is_given_up

    async def _read(self, *, may_give_up: bool) -> None:
        if self._kept is None:
            self._kept, self.pages = _Kept(), self.pages.from_the_first()
            await self._kept.want(self._wanted())
        while not self._is_read:
            records = await self.pages.pull()
            named = [(self._name(one), self.pages.endpoint.record_id(one), one) for one in records]
            self._kept.add([(name, record_id, one) for name, record_id, one in named if name is not None])
            if self.pages.is_through:
                await self._find_out_if_whole(self._kept)
                self._is_read = True
            elif self.pages.count * self.pages.weight >= self._reads and may_give_up:
                self.give_up()
                return

    async def _find_out_if_whole(self, kept: "_Kept") -> None:
        """Hold the longest record against its own read, where nothing says that lists show what a write depends on."""
        listed, endpoint = kept.longest(), self.pages.endpoint
        if endpoint.ids_per_read > 1 or listed is None:
            return
        alone = await self._reader.read_alone(endpoint.record_id(listed))
        shown = endpoint.excerpt(alone) if isinstance(alone, Mapping) else {"id": ""}
        names = endpoint.excerpt(listed).keys() | shown.keys()
        self.is_whole = all(same_value(shown.get(name), listed.get(name)) for name in names)

    def records(self, name: str) -> list[tuple[str, Record, float]]:
        """Give (id, record, when it was read) of all records that are asked for under this name."""
        return self._kept.records(name) if self._kept is not None else []


class _Kept:
    """The records with a wanted name, in a private file without a name of its own (SQLite's `""`)."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("CREATE TABLE wanted(name TEXT PRIMARY KEY) WITHOUT ROWID")
        columns = "name TEXT, id TEXT, record TEXT NOT NULL, read_at REAL, PRIMARY KEY(name, id)"
        self._db.execute(f"CREATE TABLE kept({columns}) WITHOUT ROWID")

    async def want(self, names: Iterator[str]) -> None:
        """Note the names of which records are to be kept."""
        while some := [(name,) for name in islice(names, NAMES_AT_ONCE)]:
            self._write("INSERT OR IGNORE INTO wanted VALUES (?)", some)
            await checkpoint()

    def add(self, records: Sequence[tuple[str, str, Record]]) -> None:
        """Keep those of `records` (name, id, record) whose name is wanted."""
        now = anyio.current_time()
        rows = [(name, record_id, encode(record), now) for name, record_id, record in records if self._is_wanted(name)]
        self._write("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", rows)

    def _is_wanted(self, name: str) -> bool:
        return self._db.execute("SELECT 1 FROM wanted WHERE name = ?", (name,)).fetchone() is not None

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany(statement, rows)
        self._db.execute("COMMIT")

    def longest(self) -> Record | None:
        """Give the record that takes the most room, None where there is none."""
        rows = self._db.execute("SELECT record FROM kept ORDER BY length(record) DESC LIMIT 1")
        return next((decode(text) for (text,) in rows), None)

    def records(self, name: str) -> list[tuple[str, Record, float]]:
        """Give (id, record, when it was read) of all records with this name, in order of ids."""
        rows = self._db.execute("SELECT id, record, read_at FROM kept WHERE name = ? ORDER BY id", (name,))
        return [(record_id, decode(text), read_at) for record_id, text, read_at in rows]
