"""All records, page by page: for `--key` with many keys, and for `pull`.

Promises: a record comes once, also when pages shift while they are read, and none is lost when a page slips because
records before it were removed; nothing but the ids of the last pages is kept.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from batch.endpoints.base import Endpoint, Record, UnreadableReplyError
from batch.retry import Verdict
from batch.sender import Answer, Caller
from batch.transport import Call, Reply

REMEMBERED_PAGES = 4


class UnreadError(Exception):
    """The API was asked and did not give what was wanted; `answer` is its last word, `str()` says why."""

    def __init__(self, answer: Answer, why: str = "") -> None:
        super().__init__(why or answer.cause)
        self.answer = answer


@dataclass(slots=True)
class Pages:
    """Pulls the pages one after the other; after an UnreadError the same page can be asked for again."""

    caller: Caller
    where: Mapping[str, str] = field(default_factory=dict)
    total: int | None = None
    """How many records there are, as the API says."""
    count: int = 0
    """Pages that were read."""
    is_done: bool = False
    _cursor: str = ""
    _recent: deque[frozenset[str]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_PAGES))

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint whose records these are."""
        return self.caller.endpoint

    async def pull(self) -> list[Record]:
        """Read the next page; raises UnreadError. Gives what was not on the pages before, which may be nothing."""
        reply, records = await read(self.caller, self.endpoint.page(self._cursor, self.where))
        self.count += 1
        self.total = self.endpoint.total(reply) if self.total is None else self.total
        known = frozenset().union(*self._recent)
        ids = [self.endpoint.record_id(one) for one in records]
        fresh = [one for one, record_id in zip(records, ids, strict=True) if record_id not in known]
        back = self.endpoint.step_back(self._cursor)
        if back is not None and len(fresh) == len(records):  # it should have begun with the end of the one before
            self._cursor = back
            return []
        self._recent.append(frozenset(ids))
        following = self.endpoint.next_cursor(reply, self._cursor)
        self.is_done, self._cursor = following is None, following or self._cursor
        return fresh


async def read(caller: Caller, call: Call) -> tuple[Reply, list[Record]]:
    """Make a call that reads records; raises UnreadError when none can be read out of the answer."""
    answer = await caller.ask(call)
    if answer.judgement.verdict is not Verdict.DONE or not isinstance(answer.reply, Reply):
        raise UnreadError(answer)
    try:
        return answer.reply, caller.endpoint.records(answer.reply)
    except UnreadableReplyError as error:
        raise UnreadError(answer, str(error)) from None
