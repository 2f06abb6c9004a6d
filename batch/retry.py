"""What a reply means and whether to try again: classification, backoff, and the two things that stop a hopeless run.

Pure: time is passed in, nothing here sleeps or sends. The rules are those of "Retries and giving up" in
`batch/ratelimit/README.md`.

A dead API costs a bounded number of requests, whatever the number of rows: `CircuitBreaker` lets at most `in_a_row`
(20) attempts fail for one transient cause, or `any_cause` (100) for mixed ones, then at most what was in flight
(`max_at_once`), then one probe: 20 + max_at_once + 1 requests (100 + max_at_once + 1 when causes alternate). Reads and
writes have one each: a good read after each failed write must not hide that no write works.
`RetryQuota` bounds the retries of an API that is half dead: at most 500 / 5 = 100 of them (50 after time-outs) beyond
one for every five rows that succeed at once, until nothing else is left to send.
"""

import math
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from batch.ratelimit import RateHint, is_about_rate, read_rate_headers

Delivered = Literal["no", "unknown", "answered"]
"""What is known of an attempt: it never left, it may have been applied, or a reply came."""


class Body(Enum):
    """Bodies that are no JSON value, for `classify`."""

    EMPTY = "empty"
    NOT_JSON = "not JSON"


class Action(Enum):
    """What to do about a reply."""

    SUCCEED = "succeed"
    REJECT = "reject"
    RETRY = "retry"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Rules:
    """How one API differs: `idempotent_keys` if it has an Idempotency-Key."""

    idempotent_keys: bool = False


@dataclass(frozen=True, slots=True)
class Classification:
    """What to do about a reply, and why.

    `wait` is the API's Retry-After in seconds. `is_rate`: it speaks
    about rate, not about this row; the rate limiter deals with it, and it counts neither against the retry quota nor
    for the breaker. `is_in_doubt`: the API may have applied the change although nobody said so. `has_arrived`: it came
    as far as the API, which then failed, or said what it does not say of a change, perhaps after the deed.
    """

    action: Action
    cause: str
    wait: float | None = None
    is_rate: bool = False
    is_in_doubt: bool = False
    has_arrived: bool = False


SUCCEED: Final = Classification(Action.SUCCEED, "done")
TRANSIENT: Final = {
    408: "the API gave up waiting for the request (408)",
    425: "the API was not ready for the request (425)",
    429: "too many requests (429)",
    500: "the API failed (500)",
    502: "the API's gateway failed (502)",
    503: "the API is unavailable (503)",
    504: "the API did not answer its gateway in time (504)",
}
NOT_TAKEN: Final = frozenset({413, 429})
"""What an API says instead of doing anything."""
STOPPING: Final = {
    401: "the API does not accept the key (401)",
    403: "the API does not permit this with the key (403)",
    407: "the API asks for a login, as only a proxy should (407)",
    511: "the network asks for a login first (511)",
}
FINAL_5XX: Final = frozenset({501, 505, 506, 510})
MOVED: Final = frozenset({301, 307, 308})
"""Redirects that are made instead of doing anything; others are made after the deed, too."""
REFUSING: Final = FINAL_5XX | {400, 402, *range(404, 418), 421, 422, 423, 424, 426, 428, 431, 451}
"""What says that a request is not carried out (RFC 9110 and the registry of status codes); of others nobody knows."""
NO_REPLY: Final = {"no": "the API cannot be reached", "unknown": "no answer came", "answered": "the answer broke off"}
OF_A_FAILURE: Final = frozenset({"success", "error", "errors", "message", "detail", "code", "type", "status", "title"})
"""What answers of failures are made of; one that has more, such as the record, may have come after the deed."""
REFUSALS: Final = {
    404: "not found (404)",
    409: "it conflicts with something at the API (409)",
    413: "too large for the API (413)",
    501: "the API cannot do this (501)",
}


def classify(
    status: int | None, headers: Mapping[str, str], body_json: object, *, delivered: Delivered,
    rules: Rules = Rules(), now_epoch: float | None = None,
) -> Classification:  # fmt: skip
    """Classify one attempt. `status` is None when no whole answer came; `body_json` is the parsed body or a `Body`."""
    if status is None:
        return Classification(Action.RETRY, NO_REPLY[delivered], is_in_doubt=delivered != "no")
    if 200 <= status < 300:
        return _classify_success(status, body_json)
    if 300 <= status < 400:
        cause = f"the API answers with a redirect ({status}), which is never followed"
        return Classification(Action.ABORT, cause, has_arrived=status not in MOVED)
    hint = read_rate_headers(headers, time.time() if now_epoch is None else now_epoch)
    if status in STOPPING:
        return Classification(Action.ABORT, STOPPING[status], hint.retry_after)
    if status == 409 and rules.idempotent_keys:
        return _classify_conflict(hint)
    if _is_transient(status) or (status == 413 and hint.retry_after is not None):
        cause = TRANSIENT.get(status) or REFUSALS.get(status, f"the API or its gateway failed ({status})")
        wait = hint.wait if status == 429 else hint.retry_after
        has_arrived = status not in NOT_TAKEN
        is_in_doubt = has_arrived and not rules.idempotent_keys  # with a key, repeating applies it once
        return Classification(Action.RETRY, cause, wait, is_about_rate(status, hint), is_in_doubt, has_arrived)
    cause = REFUSALS.get(status, f"the API refused it ({status})")
    return Classification(Action.REJECT, cause, has_arrived=status not in REFUSING)


def _is_transient(status: int) -> bool:
    # Beyond the RFC's codes, 5xx such as 520-529 are what gateways say when the API behind them does not answer.
    return status in TRANSIENT or status < 200 or (status >= 500 and status not in FINAL_5XX)


def _classify_success(status: int, body: object) -> Classification:
    if body is Body.NOT_JSON:
        cause = f"the answer ({status}) did not come from the API: it is not JSON"
        return Classification(Action.RETRY, cause, is_in_doubt=True)
    if isinstance(body, dict) and (_says_no(body.get("success")) or body.get("errors") or body.get("error")):
        cause = f"the API answered {status}, but says that it failed"
        return Classification(Action.REJECT, cause, has_arrived=not body.keys() <= OF_A_FAILURE)
    return SUCCEED


def _says_no(success: object) -> bool:
    return str(success).casefold() in ("false", "0")


def _classify_conflict(hint: RateHint) -> Classification:
    """Classify a 409 of the idempotency layer: with Retry-After, the first attempt is still being processed."""
    if hint.retry_after is not None:
        cause = "the API is still busy with the first try of this change (409)"
        return Classification(Action.RETRY, cause, hint.retry_after, is_in_doubt=True)
    return Classification(Action.REJECT, REFUSALS[409])


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and after what time to try again, in seconds.

    `max_wait` is the longest single wait that an API may ask for, and the longest time without an accepted request.
    """

    max_attempts: int = 6
    max_wait: float = 300.0
    base: float = 0.5
    cap: float = 30.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        for name, value in (("max_wait", self.max_wait), ("base", self.base), ("cap", self.cap)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be 0 or more seconds, not {value}")

    def is_given_up(self, refused_for: float, *, is_rate: bool) -> bool:
        """Return whether nothing was accepted for so long that the run stops; trouble that may pass gets one `cap`."""
        return refused_for > (self.max_wait if is_rate else max(self.max_wait, self.cap))


def backoff(policy: RetryPolicy, attempt: int, rng: random.Random) -> float:
    """Return the seconds to wait after failed attempt number `attempt` (from 1): full jitter."""
    doublings = min(attempt - 1, 60)
    return rng.uniform(0.0, min(policy.cap, policy.base * 2.0**doublings))


class RetryQuota:
    """Bound the retries of writes in a whole run: without tokens there are none until first tries succeed again.

    Who is not paid for gets the rest of its tries at the end of the run (`engine/last_tries.py`).

    A full quota of 500 pays for 100 retries (50 after time-outs); five rows that succeed at once pay for one more.
    """

    SIZE: Final = 500
    RETRY: Final = 5
    AFTER_TIMEOUT: Final = 10

    def __init__(self) -> None:
        self.tokens = self.SIZE

    def spend(self, *, is_timeout: bool = False) -> bool:
        """Pay for one retry; false where not enough is left: its row waits for the last tries, at the end."""
        cost = self.AFTER_TIMEOUT if is_timeout else self.RETRY
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def earn(self) -> None:
        """Give one token back for a row that succeeded at the first try."""
        self.tokens = min(self.SIZE, self.tokens + 1)


class BreakerState(Enum):
    """What the breaker thinks of the API."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class CircuitBreaker:
    """Stop a run whose attempts all fail for one cause: pause, probe once, stop if the probe fails too.

    Judged by cause, not by count: rejections count as answers, and what is about rate, which the rate limiter deals
    with, counts neither way.
    On `HALF_OPEN` start nothing before `paused_until`, and then one attempt alone.
    """

    def __init__(self, *, in_a_row: int = 20, any_cause: int = 100, pause: float = 15.0) -> None:
        self._in_a_row = in_a_row
        self._any_cause = any_cause
        self._pause = pause
        self._same = self._failed = 0
        self.cause = ""
        self.paused_until = -math.inf
        self.refused_since = math.inf
        """Since when no attempt was answered properly, without the time when none was asked for; infinite while the
        last one was."""
        self._asking = 0
        self._idle_since = -math.inf
        self.state = BreakerState.CLOSED

    def is_paused(self, now: float) -> bool:
        """Return whether no attempt may start before `paused_until`."""
        return self.state is BreakerState.HALF_OPEN and now < self.paused_until

    def answered(self) -> BreakerState:
        """Count an attempt that the API answered properly, be it with a rejection."""
        self.refused_since = math.inf
        if self.state is not BreakerState.OPEN:
            self._same = self._failed = 0
            self.state = BreakerState.CLOSED
        return self.state

    def asks(self, now: float) -> None:
        """Count one more call that wants an answer."""
        if not self._asking and self.refused_since < math.inf:
            self.refused_since += now - self._idle_since
        self._asking += 1

    def rests(self, now: float) -> None:
        """Count one less: it is through, or waits for its turn at the end of the run."""
        self._asking -= 1
        self._idle_since = now

    def refused(self, now: float) -> None:
        """Note an attempt that was refused for rate: it says nothing of the API but that time goes by."""
        self.refused_since = min(self.refused_since, now)

    def failed(self, now: float, started: float, cause: str) -> BreakerState:
        """Count an attempt that failed for a transient cause."""
        self.refused_since = min(self.refused_since, now)
        match self.state:
            case BreakerState.CLOSED:
                self._count(now, cause)
            case BreakerState.HALF_OPEN if started >= self.paused_until:
                self.state, self.cause = BreakerState.OPEN, cause
            case _:
                pass  # it was in flight when the pause began, and says nothing new
        return self.state

    def _count(self, now: float, cause: str) -> None:
        self._same = self._same + 1 if cause == self.cause else 1
        self._failed += 1
        self.cause = cause
        if self._same >= self._in_a_row or self._failed >= self._any_cause:
            self.state = BreakerState.HALF_OPEN
            self.paused_until = now + self._pause


SHARE_FROM: Final = 50
"""A share is taken of at least so many rows, or the first rejection would be 100 %."""


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """`--max-failures N|N%`: how many rejections a run may have, as a count or as a share of what was answered."""

    count: int | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if (self.count is None) == (self.share is None):
            raise ValueError("give a count or a share")
        if self.count is not None and self.count < 0:
            raise ValueError(f"the count must be 0 or more, not {self.count}")
        if self.share is not None and not 0 <= self.share <= 1:
            raise ValueError(f"the share must be between 0 % and 100 %, not {self.share:.0%}")

    @classmethod
    def parse(cls, text: str) -> "FailureLimit":
        """Read `50` or `5%`; ValueError otherwise."""
        found = re.fullmatch(r"(\d{1,9})|(\d{1,3}(?:\.\d{1,6})?)\s*%", text.strip(), re.ASCII)
        if found is None:
            raise ValueError(f"{text!r} is neither a number of rows (50) nor a share of them (5%)")
        count, share = found.groups()
        return cls(count=int(count)) if count is not None else cls(share=float(share) / 100)

    def is_exceeded(self, rejected: int, answered: int) -> bool:
        """Return whether so many rejections among so many answered rows are too many."""
        if self.share is None:
            return rejected > (self.count or 0)
        return rejected > self.share * max(answered, SHARE_FROM)
