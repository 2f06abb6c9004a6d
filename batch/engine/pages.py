"""All records by pages, one after the other: the one place that walks over them.

Promises: each record once and none lost, whatever is added to the list or removed from it meanwhile; a walk comes to an
end, and says whether it showed all.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from batch.endpoints.base import Endpoint, Record, UnreadableReplyError
from batch.engine.retry_loop import Answer, ApiClient
from batch.http import ApiRequest, ApiResponse
from batch.retry import Action

REMEMBERED_PAGES = 4
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
    total: int | None = None
    """How many records there are, as the API says."""
    count: int = 0
    """Pages that were read."""
    is_done: bool = False
    _seen: int = 0
    _last_total: int | None = None
    _cursor: str = ""
    _slips: int = 0
    _is_torn: bool = False
    _recent: deque[frozenset[str]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_PAGES))

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint whose records these are."""
        return self.client.endpoint

    @property
    def is_complete(self) -> bool:
        """Whether all pages were read, and showed as many records as there are in all, where the API says that."""
        return self.is_done and not self._is_torn and (self._last_total is None or self._seen >= self._last_total)

    async def pull(self) -> list[Record]:
        """Read the next page; raises UnreadError. Gives what was not on the pages before, which may be nothing."""
        response, records = await read(self.client, self.endpoint.page_request(self._cursor, self.where))
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
        following = self.endpoint.next_cursor(response, self._cursor)
        self.is_done, self._cursor = following is None, following or self._cursor
        return fresh


async def read(client: ApiClient, request: ApiRequest) -> tuple[ApiResponse, list[Record]]:
    """Make a call that reads records; raises UnreadError when none can be read out of the answer."""
    answer = await client.read(request)
    if answer.classification.action is not Action.SUCCEED or not isinstance(answer.response, ApiResponse):
        raise UnreadError(answer)
    try:
        return answer.response, client.endpoint.parse_records(answer.response)
    except UnreadableReplyError as error:
        raise UnreadError(answer, str(error)) from None
