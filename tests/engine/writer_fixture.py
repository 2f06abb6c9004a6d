"""A `ChangeWriter` over an API in memory, on whatever clock the test has: what it sent, and what it wrote down."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import httpx

from batch.endpoints.base import Endpoint, Record, StaticAccount
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.engine.context import RunContext
from batch.engine.prepare import ChangePreparer, PreparedChange
from batch.engine.retry_loop import ApiClient, Health
from batch.engine.shutdown import Shutdown
from batch.engine.write import ChangeWriter
from batch.errors import JournalError
from batch.http import Session
from batch.model import Change, Intent, Outcome, Problem, RowResult, State
from batch.ratelimit import RateLimiter, RatePolicy
from batch.retry import CircuitBreaker, RetryPolicy
from batch.run.record_memory import RecordMemory

DUALENTRY = DualEntryCustomers()
JITTER = random.Random(7)  # noqa: S311 - no secret
Script = Callable[[httpx.Request, int], Any]


@dataclass
class Api:
    """Answers each request as the script says: a response, an error to raise, or seconds and one of these."""

    script: Script
    seconds: float = 0.08
    asked: list[tuple[float, httpx.Request]] = field(default_factory=list)
    in_flight: int = 0
    peak: int = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((anyio.current_time(), request))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            said = self.script(request, len(self.asked))
            seconds, said = said if isinstance(said, tuple) else (self.seconds, said)
            await anyio.sleep(seconds)
            if isinstance(said, Exception):
                raise said
            assert isinstance(said, httpx.Response)
            return said
        finally:
            self.in_flight -= 1

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.asked]

    @property
    def gaps(self) -> list[float]:
        return [
            round(after - before - self.seconds, 6) for before, after in zip(self.times, self.times[1:], strict=False)
        ]

    @property
    def keys(self) -> list[str | None]:
        return [request.headers.get("Idempotency-Key") for _, request in self.asked]


@dataclass
class FakeJournal:
    """What the writer wrote down, in order."""

    intents: list[Intent] = field(default_factory=list)
    row_results: dict[int, RowResult] = field(default_factory=dict)
    error: JournalError | None = None
    seconds: float = 0.001
    is_resumed: bool = False

    async def write_intent(self, intent: Intent, *, is_changed: bool = False, hidden: Mapping[str, str]) -> None:
        await anyio.sleep(self.seconds)
        if self.error:
            raise self.error
        self.intents.append(intent)

    def revert_attempt(self, intent: Intent, attempts: int) -> None:
        self.intents.append(replace(intent, attempts=self.intents[-1].attempts - attempts))

    def record(self, number: int, row_results: Sequence[RowResult]) -> None:
        for row_result in row_results:
            known = self.row_results.get(row_result.row)
            assert known is None or known.state is State.CONFIRMED
            self.row_results[row_result.row] = row_result

    def told(self) -> dict[int, tuple[Outcome, list[str]]]:
        return {
            row: (row_result.outcome, [one.message for one in row_result.problems])
            for row, row_result in self.row_results.items()
        }


@dataclass
class FakeContext:
    """What a writer uses of a run's context."""

    client: ApiClient
    journal: FakeJournal
    read: Callable[[ApiClient, str], Awaitable[Record | None]] | None = None
    run_id: str = "0" * 32
    key_seed: str = "0" * 32
    own_seed: str = "0" * 32
    keys_may_be_used: bool = False
    is_compared: bool = True
    plan: None = None
    only_empty: bool = False
    overwrites: bool = False
    verify_within: float = 60.0

    @property
    def shutdown(self) -> Shutdown:
        return self.client.shutdown

    @property
    def endpoint(self) -> Endpoint:
        return self.client.endpoint

    @property
    def reader(self) -> "FakeContext":
        return self

    def at_stop(self) -> "FakeContext":
        return replace(self, read=None)

    async def read_back(self, wanted: Mapping[str, Iterable[str]]) -> dict[str, Record]:
        found = {one: await self.read(self.client, one) if self.read else None for one in wanted}
        return {one: record for one, record in found.items() if record is not None}

    @property
    def changes(self) -> "FakeContext":
        return self

    def locate(self, _row: int, problem: Problem) -> Problem:
        return problem

    @property
    def memory(self) -> RecordMemory:
        return RecordMemory("00", "test")

    settle = RunContext.settle
    write_intent = RunContext.write_intent
    shows = RunContext.shows
    known_spellings = RunContext.known_spellings


@dataclass
class WriterFixture:
    """A `ChangeWriter` with all that it needs, over an API in memory."""

    api: Api
    journal: FakeJournal
    shutdown: Shutdown
    writer: ChangeWriter
    counts: Counter[str]

    async def send(self, *numbers: int, **known: Any) -> list[Outcome]:
        """Send a change of the name for each number, all at once."""
        outcomes: dict[int, Outcome] = {}

        async def one(number: int) -> None:
            outcomes[number] = await self.writer.send(prepared(number, **known))

        async with anyio.create_task_group() as tasks:
            for number in numbers:
                tasks.start_soon(one, number)
        return [outcomes[number] for number in numbers]

    async def send_all(self, numbers: Sequence[int], *, workers: int) -> Counter[Outcome]:
        """Send a change for each number, by so many workers."""
        left, outcomes = iter(numbers), Counter[Outcome]()

        async def work() -> None:
            for number in left:
                outcomes[await self.writer.send(prepared(number))] += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(workers):
                tasks.start_soon(work)
        return outcomes


def prepared(number: int = 2, **known: Any) -> PreparedChange:
    record_id = known.pop("id", str(number))
    return PreparedChange(Change((number,), record_id, {"name": "New"}), {"name": "New"}, **known)


@asynccontextmanager
async def writer_fixture(
    script: Script, *, endpoint: Endpoint = DUALENTRY, **options: Any
) -> AsyncIterator[WriterFixture]:
    api, journal, shutdown, counts = Api(script), FakeJournal(), Shutdown(), Counter[str]()
    policy = RetryPolicy(options.pop("max_attempts", 6), options.pop("max_wait", 300.0))
    max_at_once = options.pop("max_at_once", 16)
    read: Callable[[ApiClient, str], Awaitable[Record | None]] | None = options.pop("read_back", None)
    async with Session("https://test", transport=httpx.MockTransport(options.pop("answer", api.answer))) as session:
        client = ApiClient(
            session=session,
            limiter=RateLimiter(RatePolicy(options.pop("limits", None)), max_at_once, rng=JITTER),
            endpoint=endpoint,
            account=options.pop("account", StaticAccount({"X-API-KEY": "k"})),
            shutdown=shutdown,
            count=lambda name: counts.update([name]),
            policy=policy,
            writes=Health(options.pop("breaker", CircuitBreaker())),
            rng=JITTER,
        )
        within = options.pop("verify_within", 60.0)
        context: Any = FakeContext(client, journal, read, verify_within=within)  # all that it uses
        writer = ChangeWriter(context, ChangePreparer(context))
        assert not options
        yield WriterFixture(api, journal, shutdown, writer, counts)
