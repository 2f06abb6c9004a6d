"""One call, as often as it takes: slot and token for every attempt, verdict, backoff, and the reasons to stop.

Promises: one attempt is one HTTP exchange, and each is seen by the gate, the quota and the breaker; backoff holds no
slot; a 401 is met with one new log-in for all workers; a reason that ends the run puts up the stop sign instead of
raising.
"""

import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import anyio

from batch.endpoints.base import Account, Endpoint
from batch.engine.shutdown import StopSign
from batch.errors import StoppedError
from batch.http import Call, Kind, Lost, Reply, Session
from batch.model import visible
from batch.ratelimit import Gate
from batch.retry import Body, Breaker, Health, Judgement, RetryPolicy, RetryQuota, Rules, Verdict, backoff, judge

Count = Callable[[str], None]
"""Adds one to a tally of the journal."""
BeforeAttempt = Callable[[int], Awaitable[None]]
BeforeRetry = Callable[[], Awaitable[bool]]
"""Looks whether an attempt without an answer was applied after all; true ends the attempts."""
CUT_SHORT: Final = Lost("maybe", "batch was ended before an answer came", Kind.TOTAL_TIMEOUT)
NOT_ANSWERED: Final = judge(None, {}, None, sent="maybe")
"""What is known of an attempt from the moment that its bytes may leave."""
NEVER: Final = Judgement(Verdict.AGAIN, "it was not sent", is_rate=True)
FINAL = frozenset({Verdict.DONE, Verdict.REFUSED})
TIMEOUTS = frozenset({Kind.READ_TIMEOUT, Kind.WRITE_TIMEOUT, Kind.CONNECT_TIMEOUT, Kind.TOTAL_TIMEOUT})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call after `attempts` attempts: the last reply (or loss) and its judgement.

    `is_cut`: the run stopped before the attempts were used up. `is_settled`: reading back showed that it was applied.
    `is_in_doubt`: one of the attempts, not only the last, may have been applied although nobody said so.
    `has_arrived`: one of them came as far as the API itself, which then failed.
    """

    reply: Reply | Lost | None
    judgement: Judgement
    attempts: int
    is_cut: bool = False
    is_settled: bool = False
    is_in_doubt: bool = False
    has_arrived: bool = False

    @property
    def status(self) -> int | None:
        """The last HTTP status, None when no answer came."""
        return self.reply.status if self.reply is not None else None

    @property
    def cause(self) -> str:
        """Why it did not work, in plain words."""
        return self.reply.cause if isinstance(self.reply, Lost) else self.judgement.cause


@dataclass(slots=True)
class Caller:
    """Makes attempts against one API for all workers of a run."""

    session: Session
    gate: Gate
    endpoint: Endpoint
    account: Account
    stop: StopSign
    count: Count
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    quota: RetryQuota = field(default_factory=RetryQuota)
    breaker: Breaker = field(default_factory=Breaker)
    rng: random.Random = field(default_factory=random.Random)
    on_rest: Callable[[], None] = lambda: None
    """Is told when a change begins to wait for something else than the gate, so that others can go on meanwhile."""
    _probe: anyio.Lock = field(default_factory=anyio.Lock)

    async def ask(self, call: Call) -> Answer:
        """Make a call that changes nothing (a read), with retries; a stop verdict puts up the stop sign."""
        return await self.attempt_all(call, rules=self.endpoint.rules)

    async def log_in(self, call: Call) -> Reply | Lost:
        """Make a call of the account's own, without its headers."""
        answer = await self.attempt_all(call, rules=Rules(), is_own=True)
        return answer.reply or Lost("no", "the run stopped before it", Kind.UNREACHABLE)

    async def rest(self, seconds: float) -> None:
        """Wait without a slot."""
        self.on_rest()
        await anyio.sleep(seconds)

    async def attempt_all(
        self,
        call: Call,
        *,
        rules: Rules,
        is_own: bool = False,
        before_attempt: BeforeAttempt | None = None,
        before_retry: BeforeRetry | None = None,
    ) -> Answer:
        """Attempt `call` until it is done, refused, stopped, or the attempts are used up."""
        run = _Attempts(self, call, rules, is_own, before_attempt, before_retry)
        await run.to_the_end()
        return run.answer()


class _Attempts:
    """The attempts of one call; `answer()` gives what is known by now, at any time."""

    def __init__(
        self,
        caller: Caller,
        call: Call,
        rules: Rules,
        is_own: bool,
        before_attempt: BeforeAttempt | None,
        before_retry: BeforeRetry | None,
    ) -> None:
        self._caller, self._call, self._rules, self._is_own = caller, call, rules, is_own
        self._before_attempt, self._before_retry = before_attempt, before_retry
        self._has_renewed = self._is_settled = self.is_cut = False
        self._headers: Mapping[str, str] | None = None
        self._reply: Reply | Lost | None = None
        self._judgement = NEVER
        self._number = self._written = 0
        self._is_in_doubt = self._has_arrived = False

    def answer(self) -> Answer:
        is_in_doubt = self._is_in_doubt or self._judgement.is_unknown
        return Answer(
            self._reply, self._judgement, self._number, self.is_cut, self._is_settled, is_in_doubt, self._has_arrived
        )

    async def to_the_end(self) -> None:
        """Attempt until that is over; only who has to wait needs a scope for the stop sign, which costs as much."""
        if await self._is_over_at_once():
            return
        with self._caller.stop.waiting() as scope:
            await self._go_on()
        self.is_cut |= scope.cancelled_caught

    async def _is_over_at_once(self) -> bool:
        """Make the first attempt if it need not wait; false when anything is to be waited for."""
        caller = self._caller
        if caller.stop.is_up or not await self._is_known() or not self._is_way_free():
            return False
        await self._has_passed_gate(is_probe=False)
        return self._judgement.verdict in FINAL and await self._is_over()

    def _is_way_free(self) -> bool:
        caller = self._caller
        return not caller.stop.is_up and caller.breaker.health is Health.GOING and caller.gate.is_open(self._call.route)

    async def _go_on(self) -> None:
        if self._number and await self._is_over():
            return
        while await self._is_known():
            while not await self._has_attempted():
                pass
            if await self._is_over():
                return
        self.is_cut = True

    async def _is_known(self) -> bool:
        """Get the account's headers; false when that stops the run."""
        try:
            self._headers = {} if self._is_own else await self._caller.account.headers(self._caller.log_in)
        except StoppedError as error:
            self._caller.stop.put_up(str(error))
            return False
        return True

    async def _has_attempted(self) -> bool:
        """Make the next attempt, alone while the breaker has the run paused; false when that changed meanwhile."""
        caller = self._caller
        if caller.breaker.health is Health.GOING:
            return await self._has_passed_gate(is_probe=False)
        async with caller._probe:
            if caller.breaker.health is not Health.PAUSED:
                return False  # another one's probe has told
            await anyio.sleep_until(caller.breaker.paused_until)
            return await self._has_passed_gate(is_probe=True)

    async def _has_passed_gate(self, *, is_probe: bool) -> bool:
        caller, number = self._caller, self._number + 1
        self._stop_if_paused_too_long()
        async with caller.gate.attempt(self._call.route, number > 1) as entered:
            with caller.stop.in_flight():
                started = await self._ready_at(entered, number, is_probe)
                if started is None:
                    caller.gate.withdrawn(entered)
                    return False
                caller.count("attempts")
                if number == 1:
                    caller.count("requests")
                self._number, self._reply, self._judgement = number, CUT_SHORT, NOT_ANSWERED
                self._note(await caller.session.exchange(self._call, self._headers), started)
        return True

    async def _ready_at(self, entered: float, number: int, is_probe: bool) -> float | None:
        """See that the attempt is written down, and give the time; None: it must not leave, now or any more."""
        now = entered
        if self._before_attempt is not None and self._written < number and self._may_leave(entered, now, is_probe):
            await self._before_attempt(number)
            self._written, now = number, anyio.current_time()
        return now if self._may_leave(entered, now, is_probe) else None

    def _may_leave(self, entered: float, now: float, is_probe: bool) -> bool:
        """Look whether a pause, a blockade or a stop began while this one waited, for the gate or for the disk."""
        caller, pacer = self._caller, self._caller.gate.pacer
        is_going = is_probe or caller.breaker.health is Health.GOING
        is_blocked = pacer.blocked_since is not None and pacer.blocked_since > entered
        return is_going and not caller.stop.is_up and not is_blocked and pacer.paused_until <= now

    def _note(self, reply: Reply | Lost, started: float) -> None:
        caller = self._caller
        headers = reply.headers if isinstance(reply, Reply) else {}
        caller.gate.answered(self._call.route, started, reply.status, headers)
        rules = self._rules.for_repeat() if self._number > 1 else self._rules
        self._reply, self._judgement = reply, (judgement := _judge(reply, rules))
        self._is_in_doubt |= judgement.is_unknown
        self._has_arrived |= isinstance(reply, Reply) and judgement.verdict is Verdict.AGAIN and not judgement.is_rate
        if reply.status == 429:
            caller.count("throttled")
        if judgement.verdict is not Verdict.AGAIN or judgement.is_rate:
            caller.breaker.answered()
        elif caller.breaker.failed(anyio.current_time(), started, judgement.cause) is Health.STOPPED:
            caller.stop.put_up(f"The API does not work at the moment: {self.answer().cause}, time after time.")

    async def _is_over(self) -> bool:
        judgement = self._judgement
        match judgement.verdict:
            case Verdict.DONE:
                if self._number == 1:
                    self._caller.quota.earn()
                return True
            case Verdict.REFUSED:
                return True
            case Verdict.STOP:
                return not await self._could_renew()
            case Verdict.AGAIN:
                return await self._gives_up(judgement)

    async def _could_renew(self) -> bool:
        """Log in again after the first 401; whatever else says stop, stops the run."""
        if self.answer().status == 401 and not self._has_renewed and not self._is_own:
            self._has_renewed = True
            try:
                if await self._caller.account.renew(self._caller.log_in, self._headers or {}):
                    return True
            except StoppedError as error:
                self._caller.stop.put_up(str(error))
        if not self._is_own:
            self._caller.stop.put_up(stop_reason(self.answer(), self._caller.endpoint))
        return False

    async def _gives_up(self, judgement: Judgement) -> bool:
        caller = self._caller
        if self._is_too_long(judgement.wait):
            return True
        if judgement.is_unknown and self._before_retry is not None and await self._before_retry():
            self._is_settled = True
            return True
        if self._number >= caller.policy.max_attempts:
            return True
        is_timeout = isinstance(self._reply, Lost) and self._reply.kind in TIMEOUTS
        if not judgement.is_rate and not caller.quota.spend(is_timeout=is_timeout):
            return True
        if judgement.wait is None:
            await caller.rest(backoff(caller.policy, self._number, caller.rng))
        elif not judgement.is_rate:  # what speaks about rate pauses everybody, at the gate
            await caller.rest(judgement.wait)
        return False

    def _is_too_long(self, wait: float | None) -> bool:
        policy = self._caller.policy
        if wait is None or wait <= policy.max_wait:
            return False
        asked = f"The API asks to wait {minutes(wait)} (Retry-After)"
        self._caller.stop.put_up(f"{asked}, longer than --max-wait {policy.max_wait:g}.")
        return True

    def _stop_if_paused_too_long(self) -> None:
        pacer, max_wait = self._caller.gate.pacer, self._caller.policy.max_wait
        if math.isinf(pacer.paused_until) and pacer.blocked_since is None:
            return
        now = anyio.current_time()
        self._is_too_long(pacer.paused_until - now)
        if pacer.blocked_since is not None and now - pacer.blocked_since > max_wait:
            since = minutes(now - pacer.blocked_since)
            self._caller.stop.put_up(
                f"The API has let nothing through for {since}, longer than --max-wait {max_wait:g}."
            )


def _judge(reply: Reply | Lost, rules: Rules) -> Judgement:
    if isinstance(reply, Lost):
        return judge(None, {}, None, sent=reply.sent, rules=rules)
    body = reply.json if reply.json is not None else (Body.NOT_JSON if reply.body.strip() else Body.EMPTY)
    if reply.body.strip() == b"null":
        body = None
    return judge(reply.status, reply.headers, body, sent="answered", rules=rules)


def stop_reason(answer: Answer, endpoint: Endpoint) -> str:
    """Say why the API ended the run, with its own words and where the key comes from."""
    said = ""
    if isinstance(answer.reply, Reply) and answer.status in (401, 403):
        said = "; ".join(visible(message) for _, message in endpoint.refusals(answer.reply)[:2])
        said = f' and says: "{said}"' if said else ""
        names = " and ".join(variable.name for variable in endpoint.variables)
        said += f". Check {names}: the key may be wrong, expired, or not permitted to do this"
    cause = answer.judgement.cause
    return f"{cause[:1].upper()}{cause[1:]}{said}."


def minutes(seconds: float) -> str:
    """Spell a time as people do: 42 s, 42 min, 2 h 47 min."""
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    whole = round(seconds / 60)
    return f"{whole} min" if whole < 120 else f"{whole // 60} h {whole % 60} min"
