"""One call, as often as it takes: slot and token for every attempt, classification, backoff, and the reasons to stop.

Promises: one attempt is one HTTP exchange, and each is seen by the limiter, the quota and the breaker; backoff holds no
slot; a 401 is met with one new log-in for all workers; a reason that ends the run requests shutdown instead of
raising.
"""

import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from batch.endpoints.base import Account, Endpoint
from batch.engine.last_tries import LastTries
from batch.engine.record_leases import RecordLeases
from batch.engine.shutdown import Shutdown
from batch.errors import StopCause, StoppedError
from batch.http import ApiRequest, ApiResponse, FailureKind, RequestFailure, Session
from batch.model import minutes, visible
from batch.ratelimit import MemoryStore, RateLimiter, Turn, Wait
from batch.retry import (
    Action,
    Body,
    BreakerState,
    CircuitBreaker,
    Classification,
    RetryPolicy,
    RetryQuota,
    Rules,
    backoff,
    classify,
)

Count = Callable[[str], None]
"""Adds one to a counter of the journal."""
Reserve = Callable[[], Awaitable[None]]
"""Takes a number for a read or log-in before it leaves."""
RefusalOf = Literal["run", "record", "nothing"]
"""What a 401 or 403 may be about: it ends the run, or a 403 may be this record's own, or whoever asked finds out."""
CANCELLED: Final = RequestFailure("unknown", "batch was ended before an answer came", FailureKind.TOTAL_TIMEOUT)
NOT_ANSWERED: Final = classify(None, {}, None, delivered="unknown")
"""What is known of an attempt from the moment that its bytes may leave."""
NOT_SENT: Final = Classification(Action.RETRY, "it was not sent", is_rate=True)
FINAL = frozenset({Action.SUCCEED, Action.REJECT})
PARTLY_ANSWERED = frozenset({FailureKind.HALF_ANSWER, FailureKind.GARBLED})
HELD_UP: Final = 1.0
"""Seconds between the start of an attempt and its leaving after which it is asked again whether it may leave."""
TOLD: Final = 10.0
"""Seconds. Longer waits are told, one at a time."""
SILENCE: Final = 15.0
"""Seconds after which, and after each of which, it is told that nothing was ever answered."""
KEY_REFUSED = frozenset({401, 403})
REFUSED = KEY_REFUSED | {407}
"""Statuses that refuse whoever asks; 407 is a proxy's, and from an API it means the same."""
MAY_BE_OWN = REFUSED - {401}
"""Refusals that may be about one row alone."""
READ_MAY_BE_OWN = MAY_BE_OWN | {301, 302, 307, 308}
"""Where one record is read, a redirect may be about that one, such as a customer that was merged into another."""
REFUSED_IN_A_ROW = 3
TIMEOUTS = frozenset(
    {FailureKind.READ_TIMEOUT, FailureKind.WRITE_TIMEOUT, FailureKind.CONNECT_TIMEOUT, FailureKind.TOTAL_TIMEOUT}
)


class Call(Protocol):
    """What is asked of the API, as its maker sees it: the request of each attempt is made just before it leaves."""

    @property
    def request(self) -> ApiRequest:
        """The request of the next attempt, as it is now."""

    @property
    def rules(self) -> Rules:
        """How its answers are classified."""

    def is_ready(self, now: float, paused_until: float) -> bool:
        """Return whether the next attempt, whose turn it is, may leave as it is, the last pause having ended then."""

    @property
    def turn(self) -> Turn:
        """When its first attempt is let in, among others that wait."""

    @property
    def must_look(self) -> bool:
        """Whether to make it ready before it waits for its turn."""

    async def make_ready(self) -> bool:
        """See to it; false: nothing is to be sent any more."""

    async def write_down(self, number: int) -> None:
        """Write down that attempt `number` is about to leave."""

    def leaves(self) -> None:
        """Note that the attempt that was written down leaves now."""

    def answered(self, classification: Classification) -> None:
        """Note what came of it."""

    async def let_go(self) -> None:
        """End what it held for the attempt that was answered, before anything is waited for."""


@dataclass(slots=True)
class Read:
    """A call that changes nothing, and is always ready."""

    request: ApiRequest
    rules: Rules
    reserve: Reserve
    turn: Turn = Turn.FRESH
    must_look: bool = False
    _written: int = 0

    def is_ready(self, now: float, paused_until: float) -> bool:
        """Say yes: it is the same at any time."""
        return True

    async def make_ready(self) -> bool:
        """Say yes, too."""
        return True

    async def write_down(self, number: int) -> None:
        """Take a number for the attempt, once."""
        if self._written < number:
            await self.reserve()
            self._written = number

    def leaves(self) -> None:
        """Let it."""

    def answered(self, classification: Classification) -> None:
        """Leave it to whoever asked."""

    async def let_go(self) -> None:
        """Do nothing: it held nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call after `attempts` attempts: the last response or failure, and its classification.

    `is_cut`: the run stopped before the attempts were used up. `is_settled`: the call had nothing to send any more.
    `is_in_doubt`: one of the attempts, not only the last, may have been applied although nobody said so.
    `has_arrived`: one of them came as far as the API itself, which then failed.
    `is_unpaid`: the last attempt failed when the retries of the whole run were used up.
    """

    response: ApiResponse | RequestFailure | None
    classification: Classification
    attempts: int
    is_cut: bool = False
    is_settled: bool = False
    is_in_doubt: bool = False
    has_arrived: bool = False
    is_unpaid: bool = False

    @property
    def status(self) -> int | None:
        """The last HTTP status, None when no answer came."""
        return self.response.status if self.response is not None else None

    @property
    def cause(self) -> str:
        """Why it did not work, in plain words."""
        cause = self.response.cause if isinstance(self.response, RequestFailure) else self.classification.cause
        return f"{cause}, and the retries of the whole run were used up" if self.is_unpaid else cause


@dataclass(slots=True)
class Health:
    """How attempts of one kind fare: their breaker, and who makes its probe."""

    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    probe: anyio.Lock = field(default_factory=anyio.Lock)
    refused_in_a_row: int = 0
    """Records that were refused by themselves since the last one that was not."""


@dataclass(slots=True)
class ApiClient:
    """Makes attempts against one API for all workers of a run."""

    session: Session
    limiter: RateLimiter
    endpoint: Endpoint
    account: Account
    shutdown: Shutdown
    count: Count
    note: Callable[[str], None] = lambda text: None
    """Is told what the person should know."""
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    quota: RetryQuota = field(default_factory=RetryQuota)
    reads: Health = field(default_factory=Health)
    """Of reads and log-ins; writes are counted apart, since each that fails may be followed by a read that does not."""
    writes: Health = field(default_factory=Health)
    rng: random.Random = field(default_factory=random.Random)
    reserve: Reserve = checkpoint_if_cancelled
    on_wait: Callable[[], None] = lambda: None
    """Is told when a change begins to wait for something else than the limiter, so that others can go on meanwhile."""
    step_aside: Callable[[], None] = lambda: None
    """Is told when a change begins to wait for long: its worker is replaced."""
    last_tries: LastTries | None = None
    """Where retries are made that the quota does not pay for; None: nowhere."""
    leases: RecordLeases = field(default_factory=lambda: RecordLeases(MemoryStore(), ""))
    """Where records are leased, so that they have one writer."""
    _is_watched: bool = False
    _told_until: float = -math.inf

    def work_for(
        self,
        on_wait: Callable[[], None] = lambda: None,
        step_aside: Callable[[], None] = lambda: None,
        last_tries: LastTries | None = None,
    ) -> None:
        """Tell these workers from now on when a change begins to wait; without any, nobody."""
        self.on_wait, self.step_aside, self.last_tries = on_wait, step_aside, last_tries

    def wait(self) -> Wait | None:
        """Return the longest of the waits that hold everybody up, or all reads or writes, None when there is none."""
        breakers = [one.breaker for one in (self.reads, self.writes)]
        paused = [one for one in breakers if one.is_paused(anyio.current_time())]
        waits = [Wait(one.paused_until, f"the API does not work at the moment ({one.cause})") for one in paused]
        return max(filter(None, [*waits, self.limiter.wait(), self.leases.wait()]), default=None)

    def tell_wait(self, wait: Wait | None) -> None:
        """Tell of a wait that takes long, unless one that was told of is not over yet."""
        now = anyio.current_time()
        if wait is not None and wait.until - now > TOLD and now >= self._told_until:
            self._told_until = wait.until
            self.note(f"Waiting {minutes(wait.until - now)}: {wait.cause}.")

    async def read(
        self,
        request: ApiRequest,
        *,
        refusal_of: RefusalOf = "run",
        is_at_stop: bool = False,
        turn: Turn = Turn.FRESH,
    ) -> Answer:
        """Make a call that changes nothing (a read), with retries; ABORT requests shutdown, where it may."""
        call = Read(request, self.endpoint.rules, self.reserve, turn)
        return await self.execute(call, refusal_of=refusal_of, is_at_stop=is_at_stop)

    async def log_in(self, request: ApiRequest) -> ApiResponse | RequestFailure:
        """Make a call of the account's own, without its headers."""
        answer = await self.execute(Read(request, Rules(), self.reserve, Turn.AHEAD), is_log_in=True, refusal_of="run")
        if answer.classification.action is Action.ABORT and answer.status not in KEY_REFUSED:
            raise StoppedError(stop_reason(answer, self.endpoint), StopCause.SET_UP)
        return answer.response or RequestFailure("no", "the run stopped before it", FailureKind.UNREACHABLE)

    async def exchange(self, request: ApiRequest, headers: Mapping[str, str] | None) -> ApiResponse | RequestFailure:
        """Make one exchange; while nothing was ever answered, tell so every now and then."""
        if self.shutdown.heard.is_answered or self._is_watched:
            return await self.session.exchange(request, headers)
        self._is_watched = True
        error: Exception | None = None
        try:
            async with anyio.create_task_group() as watch:
                watch.start_soon(self._tell_silence)
                try:
                    found = await self.session.exchange(request, headers)
                except Exception as raised:
                    error = raised
                watch.cancel_scope.cancel()
        finally:
            self._is_watched = False
        if error is not None:
            raise error
        return found

    async def _tell_silence(self) -> None:
        heard = self.shutdown.heard
        while not heard.is_answered:
            await anyio.sleep_until(heard.since + SILENCE * (1 + (anyio.current_time() - heard.since) // SILENCE))
            if not heard.is_answered:
                requests = "1 request" if heard.attempts == 1 else f"{heard.attempts:,} requests"
                self.note(f"Nothing was answered yet, to {requests} in {minutes(anyio.current_time() - heard.since)}.")

    async def sleep_without_slot(self, seconds: float, cause: str = "") -> None:
        """Wait without a slot, and tell why if it takes long."""
        self.on_wait()
        self.tell_wait(Wait(anyio.current_time() + seconds, cause) if cause else None)
        await anyio.sleep(seconds)

    async def execute(
        self,
        call: Call,
        *,
        is_log_in: bool = False,
        refusal_of: RefusalOf = "record",
        is_at_stop: bool = False,
    ) -> Answer:
        """Attempt `call` until it is done, refused, stopped, or the attempts are used up.

        `is_log_in`: without the account's headers. `is_at_stop`: one attempt, also when the run is to end.
        """
        run = RetryLoop(self, call, is_log_in, refusal_of, is_at_stop)
        breaker = run.health.breaker
        breaker.asks(anyio.current_time())
        try:
            await run.run()
        finally:
            breaker.rests(anyio.current_time())
        return run.answer()


class RetryLoop:
    """The attempts of one call; `answer()` gives what is known by now, at any time."""

    def __init__(self, client: ApiClient, call: Call, is_log_in: bool, refusal_of: RefusalOf, is_at_stop: bool) -> None:
        self._client, self._call = client, call
        self._is_log_in, self._refusal_of, self._is_at_stop = is_log_in, refusal_of, is_at_stop
        self._has_renewed = self._is_settled = self.is_cut = False
        self._headers: Mapping[str, str] | None = None
        self._response: ApiResponse | RequestFailure | None = None
        self._classification = NOT_SENT
        self._number = 0
        self._started = -math.inf
        self._is_unready = self._is_again = False
        is_write = call.request.method != "GET"
        self.health = client.writes if is_write and not is_log_in else client.reads
        self._turn = Turn.AHEAD if is_at_stop else call.turn
        self._is_in_doubt = self._has_arrived = self._is_unpaid = False

    def answer(self) -> Answer:
        is_in_doubt = self._is_in_doubt or self._classification.is_in_doubt
        return Answer(
            self._response, self._classification, self._number, self.is_cut, self._is_settled, is_in_doubt,
            self._has_arrived, self._is_unpaid,
        )  # fmt: skip

    async def run(self) -> None:
        """Attempt until that is over; only who has to wait needs a scope for shutdown, which costs as much."""
        if self._is_at_stop:
            await self._send_at_stop()
            return
        if await self._try_fast_path():
            return
        with self._client.shutdown.waiting() as scope:
            await self._go_on()
        self.is_cut |= scope.cancelled_caught

    async def _send_at_stop(self) -> None:
        """Make one attempt unless the API has to be left alone."""
        client = self._client
        is_paused = client.limiter.paused_until > anyio.current_time() or client.limiter.blocked_since is not None
        is_paused |= client.limiter.is_lost
        if not is_paused and self.health.breaker.state is BreakerState.CLOSED and await self._authenticate():
            await self._send_once(is_probe=False)

    async def _try_fast_path(self) -> bool:
        """Make the first attempt if it need not wait; false when anything is to be waited for."""
        client = self._client
        if client.shutdown.requested or not await self._authenticate() or not self._is_way_free():
            return False
        has_left = await self._send_once(is_probe=False, may_wait=False)
        return has_left and self._classification.action in FINAL and await self._handle()

    def _is_way_free(self) -> bool:
        client = self._client
        return (
            not client.shutdown.requested
            and self.health.breaker.state is BreakerState.CLOSED
            and client.limiter.is_open(self._call.request.route)
        )

    def _is_ready(self, now: float) -> bool:
        client = self._client
        return self._call.is_ready(now, max(client.limiter.paused_until, self.health.breaker.paused_until))

    async def _go_on(self) -> None:
        if self._number and await self._handle():
            return
        while await self._authenticate():
            if self._is_unready or self._call.must_look:
                if not await self._call.make_ready():
                    self._is_settled = True
                    return
                self._is_unready = False
            elif await self._attempt() and await self._handle():
                return
        self.is_cut = True

    async def _authenticate(self) -> bool:
        """Get the account's headers; false when that stops the run."""
        try:
            self._headers = {} if self._is_log_in else await self._client.account.headers(self._client.log_in)
        except StoppedError as error:
            self._client.shutdown.request(str(error), error.cause)
            return False
        return True

    async def _attempt(self) -> bool:
        """Make the next attempt, alone while the breaker has the run paused; false when that changed meanwhile."""
        self._client.tell_wait(self._client.wait())
        breaker = self.health.breaker
        if breaker.state is BreakerState.CLOSED:
            return await self._send_once(is_probe=False)
        async with self.health.probe:
            if breaker.state is not BreakerState.HALF_OPEN:
                return False  # another one's probe has told
            await anyio.sleep_until(breaker.paused_until)
            return await self._send_once(is_probe=True)

    async def _send_once(self, *, is_probe: bool, may_wait: bool = True) -> bool:
        client, number = self._client, self._number + 1
        route, turn = self._call.request.route, Turn.AHEAD if number > 1 else self._turn
        async with client.limiter.attempt(
            route, turn, self._is_ready, is_again=self._is_again, may_wait=may_wait
        ) as entered:
            if entered is None:
                self._is_unready = self._is_again = not self._is_ready(anyio.current_time())
                return False
            with client.shutdown.in_flight():
                started = await self._ready_at(entered, number, is_probe)
                if started is None:
                    await client.limiter.withdrawn(entered)
                    return False
                client.shutdown.heard.asked(started)
                client.count("attempts")
                if number == 1:
                    client.count("requests")
                self._number, self._response, self._classification = number, CANCELLED, NOT_ANSWERED
                self._started, self._is_unpaid, self._is_again = started, False, False
                self._call.leaves()
                response = await client.exchange(self._call.request, self._headers)
                self._note(response, started)  # first, since a store that is shared may be cancelled
                headers = response.headers if isinstance(response, ApiResponse) else {}
                await client.limiter.answered(route, started, response.status, headers, is_log_in=self._is_log_in)
        await self._call.let_go()
        return True

    async def _ready_at(self, entered: float, number: int, is_probe: bool) -> float | None:
        """Write the attempt down, and return the time; None where it must not leave, now or any more."""
        now = entered
        if self._may_leave(entered, now, is_probe):
            await self._call.write_down(number)
            now = anyio.current_time()
            if now - entered > HELD_UP and not self._is_ready(now):  # this process was frozen, or its disk was
                self._is_unready = self._is_again = True
                return None
        return now if self._may_leave(entered, now, is_probe) else None

    def _may_leave(self, entered: float, now: float, is_probe: bool) -> bool:
        """Return whether no pause, used-up quota or stop began while this one waited for the limiter or the disk."""
        client, limiter = self._client, self._client.limiter
        is_going = is_probe or self.health.breaker.state is BreakerState.CLOSED
        is_blocked = limiter.blocked_since is not None and limiter.blocked_since > entered
        is_stopped = client.shutdown.requested and not self._is_at_stop
        return is_going and not is_stopped and not is_blocked and limiter.paused_until <= now

    def _note(self, response: ApiResponse | RequestFailure, started: float) -> None:
        client = self._client
        classification = _classify_reply(response, self._call.rules)
        if isinstance(response, RequestFailure):
            is_hopeless = response.is_lasting and not client.shutdown.heard.is_answered
            if is_hopeless or response.kind is FailureKind.MACHINE:
                classification = replace(classification, action=Action.ABORT)
        self._response, self._classification = response, classification
        self._call.answered(classification)
        self._hear(response, classification)
        self._is_in_doubt |= classification.is_in_doubt
        self._has_arrived |= classification.has_arrived
        if response.status == 429:
            client.count("throttled")
        breaker = self.health.breaker
        if classification.action is not Action.RETRY:
            breaker.answered()
        elif classification.is_rate:
            breaker.refused(anyio.current_time())  # the limiter deals with it; whether the API works, it does not say
        elif breaker.failed(anyio.current_time(), started, classification.cause) is BreakerState.OPEN:
            client.shutdown.request(f"The API does not work at the moment: {self.answer().cause}, time after time.")

    def _hear(self, response: ApiResponse | RequestFailure, classification: Classification) -> None:
        """Note what this start has heard from the API."""
        heard, action = self._client.shutdown.heard, classification.action
        if isinstance(response, RequestFailure):
            heard.is_answered |= response.status is not None or response.kind in PARTLY_ANSWERED
            if response.kind is FailureKind.READ_TIMEOUT and not heard.is_answered:
                requests = "a request" if heard.attempts == 1 else f"{heard.attempts:,} requests"
                self._client.shutdown.request(
                    f"The API took {requests} and answered nothing: {response.cause} (--read-timeout)."
                )
        elif action is not Action.ABORT or response.status in KEY_REFUSED:
            heard.is_answered = True
        if action is not Action.SUCCEED or self._is_log_in:
            return
        if self._call.request.method == "GET":
            heard.accepted_read = self._call.request
        else:
            heard.has_written = True
        if self._refusal_of == "record":
            self.health.refused_in_a_row = 0

    async def _handle(self) -> bool:
        classification = self._classification
        match classification.action:
            case Action.SUCCEED:
                if self._number == 1 and self.health is self._client.writes:
                    self._client.quota.earn()
                return True
            case Action.REJECT:
                return True
            case Action.ABORT:
                return await self._reject_own_refusal() or not await self._reauthenticate()
            case Action.RETRY:
                return await self._backoff_or_give_up(classification)

    async def _reauthenticate(self) -> bool:
        """Log in again after the first 401; whatever else says stop, stops the run."""
        if self.answer().status == 401 and not self._has_renewed and not self._is_log_in:
            self._has_renewed = True
            try:
                if await self._client.account.renew(self._client.log_in, self._headers or {}):
                    return True
            except StoppedError as error:
                self._client.shutdown.request(str(error), error.cause)
        if not (self._is_log_in or (self._refusal_of == "nothing" and self.answer().status in REFUSED)):
            self._stop()
        return False

    def _stop(self) -> None:
        cause = StopCause.CREDENTIALS if self.answer().status in KEY_REFUSED else StopCause.SET_UP
        self._client.shutdown.request(stop_reason(self.answer(), self._client.endpoint), cause)

    async def _reject_own_refusal(self) -> bool:
        """Reject the row where the refusal is its own: others are still accepted. Three in a row stop the run."""
        client, known = self._client, self._client.shutdown.heard.accepted_read
        may_be_own = self._refusal_of == "record"
        statuses = READ_MAY_BE_OWN if self._call.request.method == "GET" else MAY_BE_OWN
        if self.answer().status not in statuses or known is None or not may_be_own:
            return False
        check = await client.read(known)
        if check.classification.action is not Action.SUCCEED:
            return False
        self.health.refused_in_a_row += 1
        if self.health.refused_in_a_row >= REFUSED_IN_A_ROW:
            self._stop()
        self._classification = Classification(Action.REJECT, self._classification.cause)
        return True

    async def _backoff_or_give_up(self, classification: Classification) -> bool:
        client = self._client
        if self._stop_if_wait_is_too_long(classification):
            return True
        if self._number >= client.policy.max_attempts:
            return True
        is_unpaid = not (classification.is_rate or self._pay_for_retry())
        if is_unpaid and not self._step_aside():
            return True
        if classification.wait is None:
            await client.sleep_without_slot(backoff(client.policy, self._number, client.rng))
        elif not classification.is_rate:  # what speaks about rate pauses everybody, in the limiter
            await client.sleep_without_slot(classification.wait, "the API asks for it (Retry-After)")
        if is_unpaid and client.last_tries is not None:
            self.health.breaker.rests(anyio.current_time())
            try:
                await client.last_tries.wait_for_turn()
            finally:
                self.health.breaker.asks(anyio.current_time())
        return False

    def _pay_for_retry(self) -> bool:
        """Pay for a retry of a write. Reads change nothing and have no quota: the breaker bounds what they cost."""
        is_timeout = isinstance(self._response, RequestFailure) and self._response.kind in TIMEOUTS
        return self.health is not self._client.writes or self._client.quota.spend(is_timeout=is_timeout)

    def _step_aside(self) -> bool:
        """Wait for the last tries, at the end; false where there are none."""
        self._is_unpaid = True
        self._client.step_aside()
        return self._client.last_tries is not None

    def _stop_if_wait_is_too_long(self, classification: Classification) -> bool:
        """Stop the run for one wait, or a time without any accepted request, that is longer than --max-wait."""
        client, policy, headers = self._client, self._client.policy, getattr(self._response, "headers", {})
        refused_for = self._started - self.health.breaker.refused_since  # a machine may have slept since
        asked = None
        if classification.wait is not None and classification.wait > policy.max_wait:
            header = "Retry-After" if "retry-after" in headers else "its rate headers"
            said = f"The API asks to wait {minutes(classification.wait)} ({header})"
            asked = classification.wait
        elif policy.is_given_up(refused_for, is_rate=classification.is_rate):
            said = f"The API has let nothing through for {minutes(refused_for)}"
        else:
            return False
        said = f"{said}, longer than --max-wait {policy.max_wait:g}."
        client.shutdown.request(said, StopCause.WAIT, retry_after=asked)
        return True


def _classify_reply(response: ApiResponse | RequestFailure, rules: Rules) -> Classification:
    if isinstance(response, RequestFailure):
        return classify(None, {}, None, delivered=response.delivered, rules=rules)
    body = response.json if response.json is not None else (Body.NOT_JSON if response.body.strip() else Body.EMPTY)
    if response.body.strip() == b"null":
        body = None
    return classify(response.status, response.headers, body, delivered="answered", rules=rules)


def stop_reason(answer: Answer, endpoint: Endpoint) -> str:
    """Say why the API ended the run, with its own words and where the key comes from."""
    said = ""
    if isinstance(answer.response, ApiResponse) and answer.status in (401, 403, 405):
        said = "; ".join(visible(message) for _, message in endpoint.parse_error(answer.response.redacted)[:2])
        said = f' and says: "{said}"' if said else ""
        names = " and ".join(variable.name for variable in endpoint.variables)
        said += f". Check {names}: the key may be wrong, expired, or not permitted to do this"
    cause = answer.classification.cause
    if isinstance(answer.response, RequestFailure) and answer.response.kind is FailureKind.MACHINE:
        return f"{answer.cause}, so no connection can be made."
    if isinstance(answer.response, RequestFailure):
        return f"{cause[:1].upper()}{cause[1:]}: {answer.cause}."
    return f"{cause[:1].upper()}{cause[1:]}{said}."
