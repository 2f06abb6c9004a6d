"""Records by their ids: in lists as long as the API takes them, else one by one; the one place that reads them.

Promises: what a list does not show is not absent: only the record's own 404, in the API's own words, says so. A list
that is refused or cannot be read is halved, down to single records; transient trouble has had its own tries before.
Lists become shorter where the API does not serve them (two of a size in a row halve it, ten good ones double it), and
are not asked for any more where they show other records than asked. Where lists work, nothing more is asked than the
lists. Several tasks may read at once.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from batch import diff
from batch.endpoints.base import Endpoint, Record, UnreadableReplyError
from batch.engine.retry_loop import FINAL, REFUSED, Answer, ApiClient, RefusalOf, stop_reason
from batch.errors import StopCause
from batch.http import ApiResponse, RequestFailure
from batch.model import Problem, visible
from batch.ratelimit import Turn
from batch.retry import Action

READS_REFUSED: Final = REFUSED | {405}
"""What an API says to a key that may not read."""
GOOD_LISTS: Final = 10
"""So many good lists in a row make the next ones twice as long."""
FIRST_IDS: Final = 100
"""Where so many ids of a run are absent, and none is not, they are hardly meant for this company."""
FAILED_LISTS: Final = 2
"""So many failed lists of one length in a row make the next ones half as long."""


class ReadAlone(dict[str, Any]):
    """A record as the answer to its own read shows it, which shows what a list may leave out."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The API said of this one record that it is not there."""

    status: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Nothing is known of the record: why, as `problems`, and the `status` of its own read, where it had one.

    `is_refused`: the API said no, so that it stays so. `is_stopped`: the run stops, so that it was not read to the end.
    """

    problems: tuple[Problem, ...] = ()
    status: int | None = None
    is_refused: bool = False
    is_stopped: bool = False


ReadResult: TypeAlias = Record | Absent | Unreadable


@dataclass(slots=True)
class FirstIds:
    """The first ids of a run: where no record has any of them, the sheet may be of another company."""

    absent: int = 0
    is_settled: bool = False
    """A record was found, or it is known that these ids are meant."""

    @property
    def are_odd(self) -> bool:
        """Whether somebody has to be asked before more of them are read."""
        return not self.is_settled and self.absent >= FIRST_IDS


class ListSize:
    """How many records a list may be asked for; 0: records are read one by one."""

    def __init__(self, most: int) -> None:
        self.now = self._most = most if most > 1 else 0
        self._good = 0
        self._failed: Counter[int] = Counter()

    def succeeded(self, count: int) -> None:
        """Note a list of `count` records, or (0) a record by itself, that could be read."""
        for smaller in [one for one in self._failed if one <= count]:
            del self._failed[smaller]
        if count == self.now < self._most:
            self._good += 1
            if self._good == GOOD_LISTS:
                self.now, self._good = min(self._most, max(1, 2 * self.now)), 0

    def failed(self, count: int) -> None:
        """Note a list of `count` records that was refused, or could not be read."""
        self._good = 0
        self._failed[count] += 1
        if self._failed[count] >= FAILED_LISTS and count <= self.now:
            self.now = count // 2
            self._failed.clear()

    def limit(self, count: int) -> None:
        """Ask for no more than `count` from now on: the API was seen to show no more; 0: its lists are of no use."""
        self._most = min(self._most, count)
        self.now, self._good = min(self.now, self._most), 0


class RecordReader:
    """Reads records by their ids, in lists of at most `size`, through the client that `client` gives.

    A run that `must_read` ends where all of its first reads are refused; `without_reading`: the options that help then.
    `is_at_stop`: read once more, although the run ends.
    """

    def __init__(
        self,
        client: Callable[[], ApiClient],
        size: int,
        *,
        must_read: bool = True,
        without_reading: str = "",
        is_at_stop: bool = False,
    ) -> None:
        self._client, self._must_read, self._without_reading = client, must_read, without_reading
        self._is_at_stop = is_at_stop
        self.size = ListSize(size)
        self._is_let_in = False

    def at_stop(self) -> "RecordReader":
        """Return a reader for the last looks of a run that ends."""
        return RecordReader(self._client, max(1, self.size.now), must_read=False, is_at_stop=True)

    @property
    def client(self) -> ApiClient:
        """What makes the requests."""
        return self._client()

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint whose records are read."""
        return self.client.endpoint

    async def read_many(self, ids: Sequence[str], turn: Turn = Turn.FRESH) -> dict[str, ReadResult]:
        """Read the records with these ids; each id has its result."""
        found: dict[str, ReadResult] = {}
        groups = deque([list(ids)])
        while groups:
            group, size = groups.popleft(), self.size.now
            if size and len(group) > size:
                groups.extendleft(reversed([group[start : start + size] for start in range(0, len(group), size)]))
            elif size:
                groups.extendleft(reversed(await self._read_list(group, found, turn)))
            else:
                await self._read_each(group, found, turn)
        return found

    async def read_alone(self, record_id: str, listed: Record | None = None, turn: Turn = Turn.FRESH) -> ReadResult:
        """Read one record by its own request, and lay what that shows over what a list showed of it."""
        found = await self._read_one(record_id, turn)
        return ReadAlone({**listed, **found}) if listed and isinstance(found, Mapping) else found

    async def read_back(self, wanted: Mapping[str, Iterable[str]]) -> dict[str, Record]:
        """Read records again, each with its fields if anything shows them; what cannot be read is left out."""
        found: dict[str, Record] = {}
        for record_id, record in (await self.read_many(list(wanted), Turn.LOOK)).items():
            if isinstance(record, Mapping):
                lacks = self.lacks(record, wanted[record_id])
                more = await self.read_alone(record_id, record, Turn.LOOK) if lacks else record
                found[record_id] = more if isinstance(more, Mapping) else record
        return found

    def lacks(self, record: Record, names: Iterable[str]) -> bool:
        """Whether a list left out fields that reading the record alone may show."""
        is_listed = self.endpoint.ids_per_read > 1 and not isinstance(record, ReadAlone)
        return is_listed and bool(diff.hidden(self.endpoint, names, record))

    # -- lists --------------------------------------------------------------------------------------------------

    async def _read_list(self, ids: list[str], found: dict[str, ReadResult], turn: Turn) -> list[list[str]]:
        """Read a list of records into `found`; return what is to be read otherwise, in groups."""
        answer = await self.client.read(
            self.endpoint.read_request(ids), refusal_of="nothing", is_at_stop=self._is_at_stop, turn=turn
        )
        response = answer.response
        if self._is_ended(answer):
            found |= dict.fromkeys(ids, Unreadable(is_stopped=True))
            return []
        if answer.classification.action is Action.SUCCEED and isinstance(response, ApiResponse):
            try:
                records = self.endpoint.parse_records(response)
            except UnreadableReplyError:
                pass
            else:
                await self._take(ids, records, self.endpoint.total(response), found, turn)
                return [left] if (left := [one for one in ids if one not in found]) else []
        elif answer.classification.is_rate or (isinstance(response, RequestFailure) and response.delivered == "no"):
            found |= dict.fromkeys(ids, self._unreadable(answer, is_own=False))  # a shorter list fares no better
            return []
        self.size.failed(len(ids))
        if answer.status in READS_REFUSED or len(ids) == 1:  # a record by itself tells whether it is about lists
            await self._read_each(ids[:1], found, turn)
            ids = ids[1:]
        half = len(ids) // 2
        return [one for one in (ids[:half], ids[half:]) if one]

    async def _take(
        self,
        ids: list[str],
        records: Sequence[Record],
        total: int | None,
        found: dict[str, ReadResult],
        turn: Turn,
    ) -> None:
        """Take what a list shows of the records that were asked for, and find out what becomes of the others."""
        self._is_let_in = True
        key = self.endpoint.id_key
        shown: dict[str, Record] = {}
        unlike: set[str] = set()
        for one in records:
            name = key(self.endpoint.record_id(one))
            if shown.setdefault(name, one) != one:
                unlike.add(name)  # the list shows it twice, and not the same
        known = {one: shown[key(one)] for one in ids if key(one) in shown and key(one) not in unlike}
        found |= known
        missing = [one for one in ids if one not in known]
        if shown.keys() - {key(one) for one in ids} or (total is not None and total > len(ids)):
            self.size.limit(0)  # the filter is ignored
        elif missing and total is not None and total > len(shown):
            self.size.limit(len(known))  # the list is cut
        else:
            self.size.succeeded(len(ids))
            await self._read_each(missing, found, turn)
            if 2 * sum(isinstance(found[one], Mapping) for one in missing) > len(ids):
                self.size.limit(len(known))  # the list is cut, or the filter takes some of the ids alone

    # -- single records -----------------------------------------------------------------------------------------

    async def _read_each(self, ids: Iterable[str], found: dict[str, ReadResult], turn: Turn) -> None:
        for one in ids:
            found[one] = await self._read_one(one, turn)
            if not self.size.now and not isinstance(found[one], Unreadable):
                self.size.succeeded(0)

    async def _read_one(self, record_id: str, turn: Turn) -> ReadResult:
        is_let_in, endpoint = self._is_let_in, self.endpoint
        request = endpoint.read_one_request(record_id)
        refusal_of: RefusalOf = "record" if is_let_in else "nothing"
        answer = await self.client.read(request, refusal_of=refusal_of, is_at_stop=self._is_at_stop, turn=turn)
        response, action = answer.response, answer.classification.action
        if self._is_ended(answer):
            return Unreadable(is_stopped=True)
        if action is Action.SUCCEED and isinstance(response, ApiResponse):
            self._is_let_in = True
            return self._only(response, record_id)
        if answer.status == 404 and isinstance(response, ApiResponse) and endpoint.is_own_error(response):
            self._is_let_in = True
            return Absent(404)
        if answer.status in READS_REFUSED and self._must_read and not self._is_let_in:
            self._stop(answer)
            return Unreadable(is_stopped=True)
        return self._unreadable(answer, is_own=True)

    def _only(self, response: ApiResponse, record_id: str) -> Record | Unreadable:
        """Find the record with this id in the answer to its own read."""
        endpoint = self.endpoint
        try:
            records = endpoint.parse_records(response)
        except UnreadableReplyError as error:
            return Unreadable((Problem("unread", {"cause": str(error)}),), response.status)
        wanted = endpoint.id_key(record_id)
        record = next((one for one in records if endpoint.id_key(endpoint.record_id(one)) == wanted), None)
        if record is None:
            response.distrust_connection()
            return Unreadable((Problem("other_record_read"),), response.status)
        return ReadAlone(record)

    # -- what is not read ---------------------------------------------------------------------------------------

    def _is_ended(self, answer: Answer) -> bool:
        """Whether the run stops, so that an answer says nothing of the records."""
        if answer.classification.action in FINAL:
            return False
        is_abort = answer.classification.action is Action.ABORT and answer.status not in REFUSED
        return answer.is_cut or is_abort or self.client.shutdown.requested

    def _stop(self, answer: Answer) -> None:
        """End a run whose first reads are all refused: the key comes first, then what does without reading."""
        more = f" If it may write, but not read:  {self._without_reading}" if self._without_reading else ""
        self.client.shutdown.request(stop_reason(answer, self.endpoint) + more, StopCause.CREDENTIALS)

    def _unreadable(self, answer: Answer, *, is_own: bool) -> Unreadable:
        said = [("", answer.cause)]
        is_redirect = answer.status is not None and answer.status // 100 == 3  # which has no reasons of its own
        if (
            not is_redirect
            and answer.classification.action is not Action.RETRY
            and isinstance(answer.response, ApiResponse)
        ):
            said = self.endpoint.parse_error(answer.response.redacted)
        problems = tuple(Problem("unread", {"cause": visible(text)[:500]}, name) for name, text in said[:3])
        is_refused = answer.classification.action is not Action.RETRY
        return Unreadable(problems, answer.status if is_own else None, is_refused)
