"""A job's way to its API: session, limits, retries and account, and the organisation's custom fields.

Promises: whatever asks the API, for whatever job, goes by the same limits and retries.
"""

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from batch.endpoints.base import Account, CustomField, Endpoint
from batch.engine.record_leases import RecordLeases
from batch.engine.renewed_account import RenewedAccount
from batch.engine.retry_loop import ApiClient, Reserve
from batch.engine.shutdown import Shutdown
from batch.errors import StopCause
from batch.http import ApiRequest, ApiResponse, Session, Timeouts
from batch.model import minutes
from batch.ratelimit import (
    Bucket,
    Learned,
    LimiterListener,
    LimiterStore,
    Limits,
    MemoryStore,
    RateLimiter,
    RatePolicy,
    StoreLostError,
    load_learned,
    save_learned,
)
from batch.retry import Action, RetryPolicy
from batch.run.limiter_store import open_store
from batch.run.locks import state_folder
from batch.run.target import Environment, Target
from batch.settings import Pace

MAX_PAGES = 100
LASTING_SECONDS = 5.0
"""For so long somebody may be at it whose help it needs: a disk that is full, a password."""
TAKEN = (
    "Another start does this run by now, since this one was not heard of for too long: it sends nothing any more. "
    "What it did is in its record, and the other one goes on."
)


@dataclass(frozen=True, slots=True)
class ApiSession:
    """What it takes to talk to the API of one target, under one set of settings."""

    target: Target
    pace: Pace
    environment: Environment

    @asynccontextmanager
    async def open_client(
        self,
        endpoint: Endpoint,
        shutdown: Shutdown,
        count: Callable[[str], None],
        note: Callable[[str], None],
        reserve: Reserve = checkpoint_if_cancelled,
    ) -> AsyncIterator[ApiClient]:
        """Open connections, and give what makes requests over them with what was learned about the API's limits."""
        transport = self.environment.transport() if self.environment.transport else None
        timeouts, redaction = Timeouts.for_reads(self.pace.read_timeout), self.target.redaction()
        async with Session(
            self.target.base_url, transport=transport, timeouts=timeouts, max_at_once=self.pace.max_at_once,
            redaction=redaction,
        ) as session:  # fmt: skip
            rate = RatePolicy(self.limits, max_per_second=self.pace.max_per_second, learned=self._learned())
            store, key = self._open_store(note), self.target.fingerprint("limits")
            listener = SharedLimits(note, shutdown, self.pace.max_wait)
            limiter = RateLimiter(rate, self.pace.max_at_once, store, key, listener=listener)
            try:
                yield ApiClient(
                    session=session,
                    limiter=limiter,
                    endpoint=endpoint,
                    account=self._account(endpoint),
                    shutdown=shutdown,
                    count=count,
                    reserve=reserve,
                    note=note,
                    policy=RetryPolicy(max_attempts=self.pace.max_attempts, max_wait=self.pace.max_wait),
                    rng=random.Random(),  # noqa: S311 - jitter, no secret
                    leases=RecordLeases(store, key, limiter.lose, note),
                )
            finally:
                await limiter.close()
                store.close()

    def _open_store(self, note: Callable[[str], None]) -> LimiterStore:
        """Open what the limits are kept in; a virtual clock is nobody else's, and so are limits on it."""
        return open_store(self.pace.limiter, note) if self.environment.is_in_real_time else MemoryStore()

    def open_store_again(self) -> LimiterStore:
        """Open the store once more, for another thread; what there is to say of it was said."""
        return self._open_store(lambda text: None)

    def _account(self, endpoint: Endpoint) -> Account:
        fetch = self.target.fetch_again
        if fetch is None:
            return endpoint.account(self.target.credentials)
        in_thread = self.environment.transport is None  # a given transport may run on a virtual clock
        return RenewedAccount(endpoint.account, self.target.credentials, fetch, in_thread=in_thread)

    @property
    def limits(self) -> Limits:
        """The documented limits; a sandbox that was started for this run has the same, but faster."""
        documented, factor = self.target.endpoint.limits, self.target.limits_factor
        if factor == 1:
            return documented
        return Limits(*(_faster(bucket, factor) for bucket in (documented.total, documented.per_route)))

    def _learned(self) -> Learned:
        return load_learned(state_folder() / "limits.json", self.target.fingerprint("limits"))

    def slower(self) -> str:
        """Say why it goes slower than documented, if it does."""
        documented = self.limits.total or self.limits.per_route
        asked, found = self.pace.max_per_second, self._learned()
        if documented is None:
            return ""
        whose = "are documented" if self.target.limits_factor == 1 else "this sandbox lets through"
        than = f"slower than the {documented.per_second:g} requests/s that {whose}"
        if found.per_second is not None and found.at and found.per_second < (asked or documented.per_second):
            when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(found.at))
            why = f"the API refused more on {when}; that is forgotten after 24 h"
            return f"begins with {found.per_second:.2g}/s, {than}: {why}"
        if asked is not None and asked < documented.per_second:
            return f"goes at {asked:g}/s at most, {than}: --max-per-second"
        return ""

    def note_slower(self, note: Callable[[str], None]) -> None:
        """Tell why it goes slower than documented, if it does."""
        if said := self.slower():
            note(f"This {said}.")

    def keep_learned(self, limiter: RateLimiter) -> None:
        """Keep what was found out about the API's limits for the next job."""
        save_learned(state_folder() / "limits.json", self.target.fingerprint("limits"), limiter.learned())


@dataclass(slots=True)
class SharedLimits(LimiterListener):
    """Tells a job what its share in limits means to it, and ends it when they could not be asked for too long."""

    note: Callable[[str], None]
    shutdown: Shutdown
    max_wait: float
    _told: set[str] = field(default_factory=set)

    def shared(self, processes: int, held_at: float | None) -> None:
        """Say that others use the key, and what that changes; each thing once."""
        if processes > 1:
            self._tell("Another run uses the same key at the moment: they share its limits.")
        if held_at:
            self._tell(f"Another run with this key has --max-per-second {held_at:g}: that holds for all of them.")
        elif held_at is not None:
            self._tell("Another run with this key keeps to the documented limits: they hold for all of them.")

    def paused(self, seconds: float) -> None:
        """Stop the run where the API asked another one with the key to wait longer than --max-wait."""
        if seconds > self.max_wait:
            said = f"The API asks to wait {minutes(seconds)}, as another run with this key was told"
            self.shutdown.request(
                f"{said}, longer than --max-wait {self.max_wait:g}.", StopCause.WAIT, retry_after=seconds
            )

    def emptied(self, seconds: float) -> None:
        """Say why it begins without the burst that is documented."""
        self._tell(
            "What was sent with this key a moment ago is not known, since the limits that other runs share are kept "
            f"anew: for {max(1, round(seconds))} s it goes at the steady rate, without a burst."
        )

    def lost(self, since: float, error: StoreLostError) -> None:
        """Say that nothing is sent, and stop the run after --max-wait; soon where only somebody's hand helps."""
        self._tell(f"Nothing is sent while the limits that other runs share cannot be asked: {error}.")
        waiting = anyio.current_time() - since
        if error.to_do and waiting >= min(LASTING_SECONDS, self.max_wait):
            self.shutdown.request(
                f"The limits that other runs share cannot be used: {error}. {error.to_do}, "
                "and run the same command again: what was done is recorded.",
                StopCause.SET_UP,
            )
        elif waiting >= self.max_wait:
            waited = f"for {minutes(self.max_wait)} (--max-wait)"
            self.shutdown.request(
                f"The limits that other runs share could not be asked {waited}: {error}.", StopCause.WAIT
            )

    def taken(self) -> None:
        """End the run: another process does it."""
        self.shutdown.request(TAKEN, StopCause.TAKEN)

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.note(text)


def _faster(bucket: Bucket | None, factor: float) -> Bucket | None:
    return bucket and Bucket(bucket.burst, bucket.per_second * factor)


async def fetch_definitions(client: ApiClient, note: Callable[[str], None]) -> list[CustomField]:
    """Read the organisation's custom fields; raises StoppedError when the API cannot be asked at all."""
    found: list[CustomField] = []
    if not client.endpoint.has_custom_fields:
        return found
    last: ApiRequest | None = None
    listed, page = 0, b""
    for _ in range(MAX_PAGES):
        request = client.endpoint.definitions_request(listed)
        if request == last:  # there is one page
            break
        last, answer = request, await client.read(request)
        if client.shutdown.requested or answer.classification.action is Action.RETRY:
            raise client.shutdown.as_error(f"The custom fields could not be read: {answer.cause}.")
        if not isinstance(answer.response, ApiResponse) or answer.classification.action is not Action.SUCCEED:
            note(f"The custom fields could not be read ({answer.cause}): their values go as text.")
            return []  # some of them would make the others none of yours
        if not client.endpoint.lists_definitions(answer.response):
            raise client.shutdown.as_error(
                f"The custom fields could not be read: the answer ({answer.status}) does not list them."
            )
        size = client.endpoint.count_definitions(answer.response)
        if not size or answer.response.body == page:  # the end, or an API that begins anew each time
            break
        listed, page = listed + size, answer.response.body  # a page may be shorter than was asked for
        found += [one for one in client.endpoint.parse_definitions(answer.response) if one not in found]
    return found
