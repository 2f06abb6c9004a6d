"""The sandbox's APIs without sockets, on a virtual clock: two companies, every fault, and all that was ever there."""

from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import trio

from batch.sandbox.api import EDIT, Answer, Call, parsed
from batch.sandbox.dualentry import DualEntry
from batch.sandbox.options import VAYU_CLIENT_ID, SandboxOptions
from batch.sandbox.vayu import Vayu
from tests.sandbox.control import KEY
from tests.shell import DUALENTRY

KEYS = (KEY, "sandbox-key-of-another")
"""Of the companies, each with records of its own."""
ENVIRONMENTS = [{"DUALENTRY_API_KEY": key, "VAYU_API_TOKEN": key, "VAYU_CLIENT_ID": VAYU_CLIENT_ID} for key in KEYS]
ENVIRONMENT = ENVIRONMENTS[0]
OTHER = 0
"""The number of the start that another hand is."""
GATEWAY = {"429": {}, "429-after": {"Retry-After": "7"}, "429-long": {"Retry-After": "9999"}, "500": {}, "503": {}}
GATEWAY |= {"503-after": {"Retry-After": "3"}, "422": {}, "401": {}, "407": {}, "413-after": {"Retry-After": "4"}}
GATEWAY |= {"429-list": {"Retry-After": "2, 5"}}
"""Answers of something before the API, which never sees the request."""
BEFORE = ("refused", "timeout-before", "drop-before")
AFTER = ("timeout-after", "drop-after", "half", "garbage", "empty", "500-after", "sleep")
"""What becomes of an answer after the deed; `sleep`: the machine sleeps for an hour before it arrives."""
DEEDS = ("lie-other", "lie-drop-field", "success-false")
"""What the imitated API itself does with a write; of a read `lie-other` shows another record."""
FAULTS = ("ok", *GATEWAY, *BEFORE, *AFTER, *DEEDS)
WAYS: dict[str, dict[str, Any]] = {
    "": {}, "lists are cut": {"max_page": 2}, "only the last filter counts": {"filters": "last"},
    "filters are ignored": {"filters": "ignored"}, "reads lag": {"read_lag": 8.0},
    "nothing is left for a day": {"rate_headers": "empty"}, "everything is left": {"rate_headers": "full"},
    "rates make no sense": {"rate_headers": "garbled"},
}  # fmt: skip
"""How the imitated API is, for a whole start."""


@dataclass(frozen=True, slots=True)
class Line:
    """One write that reached the API or its gateway."""

    id: str
    key: str | None
    body: Any
    status: int | None
    applied: bool
    command: int
    """Which start of the program sent it."""
    was: str
    """The name that the record had before."""
    company: int
    """Whose key it came with."""
    at: int
    """The moment, counted from the beginning."""
    time: float
    """On the virtual clock of the start."""


@dataclass(frozen=True, slots=True)
class Value:
    """A name that a record had from a moment on, and the start that gave it (or `OTHER`)."""

    name: str
    command: int
    at: int


@dataclass
class MemoryApi:
    """One of the imitated APIs; `faults` are met in turn, by writes and by reads, and none when there are no more."""

    endpoint: str
    writes: deque[str] = field(default_factory=deque)
    reads: deque[str] = field(default_factory=deque)
    ledger: list[Line] = field(default_factory=list)
    command: int = 0
    moment: Callable[[], None] = lambda: None
    """Is told before and after every deed: a moment at which the program may be killed."""
    now: int = 0
    """How many exchanges and edits there were."""
    hosts: set[str] = field(default_factory=set)
    statuses: list[int | None] = field(default_factory=list)
    """What the last start was answered."""
    exchanges: Counter[int] = field(default_factory=Counter)
    """How many there were in each start."""
    touched: dict[tuple[int, str], int] = field(default_factory=dict)
    """When each record was last shown to this start, by company and id: of what came later it cannot know."""
    _history: dict[tuple[int, str], list[Value]] = field(default_factory=dict)
    _began: int = 0
    """The moment at which the start began: what a read shows that lags is that old at most."""

    def __post_init__(self) -> None:
        self.options = SandboxOptions(records=50, limits="off")
        kind = DualEntry if self.endpoint == DUALENTRY else Vayu
        self.apis: list[DualEntry | Vayu] = [kind(self.options, key) for key in KEYS]

    @property
    def api(self) -> DualEntry | Vayu:
        """The first company's."""
        return self.apis[0]

    def begin(self, writes: Sequence[str], reads: Sequence[str], moment: Callable[[], None], way: str = "") -> None:
        """Expect another start of the program, with these faults, from an API that is like this."""
        for api in self.apis:
            api.options = replace(self.options, **WAYS[way])
            api.records.settle()
        self.command, self._began = self.command + 1, self.now
        self.writes, self.reads, self.moment = deque(writes), deque(reads), moment
        self.statuses.clear()
        self.touched.clear()

    def transport(self) -> httpx.AsyncBaseTransport:
        """What a session sends by."""
        return httpx.MockTransport(self.answer)

    def edit(self, record_id: str, name: str, company: int = 0) -> None:
        """Give a record another name by another hand."""
        self.history(record_id, company)
        self.now += 1
        self.apis[company].edit(Call(0, EDIT, "", "", {}, b'{"name": "%s"}' % name.encode()), record_id)
        self._note(record_id, company, OTHER)

    def name(self, record_id: str, company: int = 0) -> str:
        """The name that a record has."""
        record = self.apis[company].true_record(record_id)
        return str(record["name"]) if record else ""

    def history(self, record_id: str, company: int = 0) -> list[Value]:
        """Every name that a record ever had, in their order."""
        return self._history.setdefault((company, record_id), [Value(self.name(record_id, company), OTHER, 0)])

    def _note(self, record_id: str, company: int, command: int) -> None:
        name, values = self.name(record_id, company), self.history(record_id, company)
        if name != values[-1].name:
            values.append(Value(name, command, self.now))

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, or fail it as planned."""
        raw = request.extensions.get("target", request.url.raw_path).decode("ascii")
        path, _, query = raw.partition("?")
        call = Call(0, request.method, path, query, request.headers, await request.aread())
        self.hosts.add(request.url.host)
        company = next((number for number, one in enumerate(self.apis) if one.is_opened_by(call)), 0)
        call.record = self.api.record_in(call)
        faults = self.writes if call.is_write else self.reads
        fault = faults.popleft() if faults and path != "/login" else "ok"
        fault = "ok" if fault in DEEDS[1:] and not call.is_write else fault
        self.moment()
        self.now += 1
        was = self.history(call.record or "", company)[-1].name
        answer = self._done(call, fault, self.apis[company])
        status = answer.status if answer else None
        self.statuses.append(status)
        self.exchanges[self.command] += 1
        if call.is_write:
            key, body = request.headers.get("Idempotency-Key"), parsed(call.body)
            about = (self.command, was, company, self.now, anyio.current_time())
            self.ledger.append(Line(call.record or "", key, body, status, call.applied, *about))
            self._note(call.record or "", company, self.command)
        at = self.now
        self.moment()
        response = await self._delivered(call, answer, fault)
        is_true = fault in ("ok", "sleep") or (fault == "lie-other" and call.record is None)
        if answer is not None and is_true and (call.applied or not call.is_write):
            lags = not call.is_write and self.apis[company].options.read_lag
            self.touched |= {(company, one): self._began if lags else at for one in _shown(call, answer)}
        return response

    def _done(self, call: Call, fault: str, api: DualEntry | Vayu) -> Answer | None:
        if fault in BEFORE:
            return None
        if fault in GATEWAY:
            answer = api.failed(int(fault[:3]))
            answer.headers = dict(GATEWAY[fault])
            return answer
        opened = api.open(call, anyio.current_time())
        return opened if isinstance(opened, Answer) else opened(fault if fault in DEEDS else None)

    async def _delivered(self, call: Call, answer: Answer | None, fault: str) -> httpx.Response:
        await anyio.sleep(0.05)
        if fault == "refused":
            raise httpx.ConnectError("refused") from ConnectionRefusedError()
        if fault.startswith("timeout"):
            await anyio.sleep(60)
            raise httpx.ReadTimeout("")
        if answer is None or fault == "drop-after":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        if fault == "sleep":
            trio.lowlevel.current_clock().jump(3600)  # type: ignore[attr-defined]  # it is a MockClock
            await anyio.lowlevel.checkpoint()
        body, headers = answer.rendered(), call.reply_headers | answer.headers
        match fault:
            case "garbage":
                return httpx.Response(200, content=b"<html>Welcome</html>", headers={"Content-Type": "text/html"})
            case "empty":
                return httpx.Response(answer.status, content=b"", headers=headers)
            case "500-after":
                return httpx.Response(500, content=b"{}", headers=headers)
            case "half":
                return httpx.Response(answer.status, stream=_Half(body), headers=headers)
        return httpx.Response(answer.status, content=body, headers=headers)


def _shown(call: Call, answer: Answer) -> Iterator[str]:
    """The ids of the records that an answer shows, of a list or of one."""
    if answer.status != 200 or call.record is not None:
        yield from [call.record] if call.record else []
        return
    found = parsed(answer.rendered())
    for one in found.get("items", found.get("customers", ())):
        yield str(one["id"])


class _Half(httpx.AsyncByteStream):
    """The first half of an answer."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body[: len(self._body) // 2]
        raise httpx.ReadError("")
