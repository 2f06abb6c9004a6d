"""The sandbox's APIs without sockets, on a virtual clock: two companies, every fault, and all that was ever there."""

import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs

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
GATEWAY |= {"429-list": {"Retry-After": "2, 5"}, "429-past": {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}}
"""Answers of something before the API, which never sees the request."""
BEFORE = ("refused", "timeout-before", "drop-before")
AFTER = ("timeout-after", "drop-after", "half", "garbage", "empty", "500-after", "queued", "success-true", "sleep")
AFTER += ("303-after", "499-after", "part", "listed")
"""What becomes of an answer after the deed; `sleep`: the machine sleeps for an hour before it arrives; `part`: of a
record there is the id alone; `listed`: it stands in a list, as the answer to another request would."""
OF_ONE = ("part", "listed")
"""What befalls the answer about one record: that there is a part of it, or that it stands in a list."""
NOTHING = "(nothing of it)"
"""What a part of a record shows of its name."""
DEEDS = ("lie-other", "lie-drop-field", "success-false", "approval", "stale-read")
"""What the imitated API itself does with a write; of a read `lie-other` shows another record."""
FAULTS = ("ok", *GATEWAY, *BEFORE, *AFTER, *DEEDS)
SPELLS, LAG = "names are kept in lower case", {"read_lag": 8.0}
WAYS: dict[str, dict[str, Any]] = {
    "": {}, "lists are cut": {"max_page": 2}, "only the last filter counts": {"filters": "last"},
    "filters are ignored": {"filters": "ignored"}, "reads lag": LAG,
    "nothing is left for a day": {"rate_headers": "empty"}, "everything is left": {"rate_headers": "full"},
    "rates make no sense": {"rate_headers": "garbled"}, SPELLS: {},
    f"{SPELLS}, and reads lag": LAG, "lists are cut, and reads lag": LAG | {"max_page": 2},
    f"only the last filter counts, {SPELLS}, and nothing is left": {"filters": "last", "rate_headers": "empty"},
    "all of it": LAG | {"max_page": 3, "filters": "ignored", "rate_headers": "garbled"},
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
    shown: str | None
    """The name that the record had when this start was shown it last, which need not be the one that it has."""
    waits: bool
    """It was taken, and waits for approval."""


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
    folds: bool = False
    """The ledger has names as they are compared, whatever their spelling."""
    spells: bool = False
    """Names are kept in lower case."""
    now: int = 0
    """How many exchanges and edits there were."""
    hosts: set[str] = field(default_factory=set)
    statuses: list[int | None] = field(default_factory=list)
    """What the last start was answered."""
    exchanges: Counter[int] = field(default_factory=Counter)
    """How many there were in each start."""
    touched: dict[tuple[int, str], int] = field(default_factory=dict)
    """Of which moment this start was shown a record last, by company and id: of what came later it cannot know."""
    known: dict[tuple[int, int, str], int] = field(default_factory=dict)
    """The same of each start, by its number, company and id."""
    read: dict[tuple[int, str], int] = field(default_factory=dict)
    """When this start last read a record, by company and id."""
    shown: dict[tuple[int, int, str], list[str]] = field(default_factory=dict)
    """The names that answers showed, by start, company and id."""
    _history: dict[tuple[int, str], list[Value]] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)
    """What this start has read, and was accepted: what is repeated to find out about a refusal."""
    _checks: int = 0
    """Refusals after which a read may be repeated, to find out whether the key is still accepted."""

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
        self.command, self.spells = self.command + 1, SPELLS in way
        self.writes, self.reads, self.moment = deque(writes), deque(reads), moment
        self.statuses.clear()
        self._asked.clear()
        self._checks = 0
        self.touched.clear()
        self.read.clear()

    def transport(self) -> httpx.AsyncBaseTransport:
        """What a session sends by."""
        return httpx.MockTransport(self.answer)

    def edit(self, record_id: str, name: str, company: int = 0) -> None:
        """Give a record another name by another hand."""
        self.history(record_id, company)
        self.now += 1
        self.apis[company].edit(Call(0, EDIT, "", "", {}, b'{"name": "%s"}' % name.encode()), record_id)
        self._note(record_id, company, OTHER)

    def approve(self, record_id: str, company: int, *, granted: bool) -> None:
        """Apply or drop a change that waits for approval, if there is one."""
        self.history(record_id, company)
        self.now += 1
        api = self.apis[company]
        assert isinstance(api, DualEntry)
        api.approve(Call(0, EDIT, "", "", {}, b""), record_id, granted=granted)
        self._note(record_id, company, OTHER)

    def name(self, record_id: str, company: int = 0) -> str:
        """The name that a record has."""
        record = self.apis[company].true_record(record_id)
        return str(record["name"]) if record else ""

    def history(self, record_id: str, company: int = 0) -> list[Value]:
        """Every name that a record ever had, `plain`, in their order."""
        return self._history.setdefault((company, record_id), [Value(plain(self.name(record_id, company)), OTHER, 0)])

    def _note(self, record_id: str, company: int, command: int) -> None:
        name, values = plain(self.name(record_id, company)), self.history(record_id, company)
        if name != values[-1].name:
            values.append(Value(name, command, self.now))

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, or fail it as planned."""
        raw = request.extensions.get("target", request.url.raw_path).decode("ascii")
        path, _, query = raw.partition("?")
        call = Call(0, request.method, path, query, request.headers, await request.aread())
        if self.spells and call.is_write:
            body = parsed(call.body)
            call.body = json.dumps(body | {"name": body["name"].lower()}).encode()
        self.hosts.add(request.url.host)
        company = next((number for number, one in enumerate(self.apis) if one.is_opened_by(call)), 0)
        call.record = self.api.record_in(call)
        faults = self.writes if call.is_write else self.reads
        fault = faults.popleft() if faults and path != "/login" else "ok"
        fault = "ok" if fault in (*DEEDS[1:], "303-after") and not call.is_write else fault
        fault = "ok" if fault in OF_ONE and call.record is None else fault
        self.moment()
        self.now += 1
        was = self.history(call.record or "", company)[-1].name
        answer = self._done(call, fault, self.apis[company])
        status = answer.status if answer else None
        self.statuses.append(303 if fault == "303-after" else status)
        self.exchanges[self.command] += 1
        if call.is_write:
            key, body = request.headers.get("Idempotency-Key"), parsed(request.content)
            if self.folds:
                body["name"] = plain(body["name"])
            about = (self.command, was, company, self.now, anyio.current_time(), self._last_shown(call.record, company))
            waits = fault == "approval" and status == 200 and not call.applied
            self.ledger.append(Line(call.record or "", key, body, status, call.applied, *about, waits))
            self._note(call.record or "", company, self.command)
        at = self.now
        self.moment()
        response = await self._delivered(call, answer, fault)
        is_check = self._is_check(raw, status, is_write=call.is_write)
        shows = fault in ("ok", "sleep", *DEEDS) or (fault == "listed" and not call.is_write)
        if answer is not None and shows and not is_check:
            named = parse_qs(query).get("id")
            for one, name in _shown(answer):
                if call.record not in (None, one) or (named and one not in named):
                    continue  # an answer about another record is none, and nothing is concluded from it
                self._note_shown(one, name, company, at)
                self.read |= {(company, one): at} if not call.is_write else {}
        if answer is not None and fault == "part" and not call.is_write:
            for one, _ in _shown(answer):
                self.shown.setdefault((self.command, company, one), []).append(NOTHING)
        return response

    def _is_check(self, path: str, status: int | None, *, is_write: bool) -> bool:
        """Whether an answer is wanted for its status alone: of a read that is repeated after a refusal."""
        self._checks += status in (403, 407)
        is_check = not is_write and path in self._asked and self._checks > 0
        self._checks -= is_check
        self._asked |= {path} if status == 200 and not is_write else set()
        return is_check

    def _note_shown(self, record_id: str, name: str, company: int, at: int) -> None:
        """Keep what was shown of a record, and of which moment that was true at the latest."""
        self.shown.setdefault((self.command, company, record_id), []).append(name)
        values = self.history(record_id, company)
        last = max((number for number, one in enumerate(values) if one.name == name), default=None)
        if last is not None:
            until = at if last + 1 == len(values) else min(at, values[last + 1].at - 1)
            until = max(until, self.touched.get((company, record_id), 0))
            self.touched[company, record_id] = self.known[self.command, company, record_id] = until

    def _last_shown(self, record_id: str | None, company: int) -> str | None:
        return self.shown.get((self.command, company, record_id or ""), [None])[-1]

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
            case "queued":
                return httpx.Response(202, json={"status": "queued"}, headers=headers)
            case "success-true":
                return httpx.Response(200, json={"success": True}, headers=headers)
            case "500-after" | "303-after" | "499-after":
                location = {"Location": "/elsewhere/"} if fault == "303-after" else {}
                return httpx.Response(int(fault[:3]), content=b"{}", headers=headers | location)
            case "part" | "listed" if answer.status == 200:
                return httpx.Response(200, json=_spoilt(parsed(body), fault), headers=headers)
            case "half":
                return httpx.Response(answer.status, stream=_Half(body), headers=headers)
        return httpx.Response(answer.status, content=body, headers=headers)


def _spoilt(shown: Any, fault: str) -> Any:
    """An answer about one record with its id alone, or as a page of one."""
    if fault == "listed":
        return {"customers": [shown["customer"]]} if "customer" in shown else {"items": [shown], "count": 1}
    return {"customer": {"id": shown["customer"]["id"]}} if "customer" in shown else {"id": shown["id"]}


def _shown(answer: Answer) -> Iterator[tuple[str, str]]:
    """The ids and names of the records that an answer shows, of a list or of one."""
    found = parsed(answer.rendered()) if answer.status == 200 else {}
    for one in found.get("items", found.get("customers", [found.get("customer", found)])):
        if "id" in one and "name" in one:
            yield str(one["id"]), plain(str(one["name"]))


def plain(name: str) -> str:
    """Return a name so that its spellings are one."""
    return name.lower()


class _Half(httpx.AsyncByteStream):
    """The first half of an answer."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body[: len(self._body) // 2]
        raise httpx.ReadError("")
