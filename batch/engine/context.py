"""One event loop's worth of a run: open the connection, send, watch the signals, tell the progress.

Promises: SIGINT and SIGTERM stop taking rows, give what is in flight 20 s, and end with everything written down; a
second one ends the process at once, with the journal intact.
"""

import math
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio

from batch import diff
from batch.endpoints.base import CustomField, Endpoint
from batch.engine.api_session import ApiSession, fetch_definitions
from batch.engine.execute import Canary, Executor
from batch.engine.keyed import KeyedPreparer
from batch.engine.lookup import KeyLookup, LookupStrategy, choose_strategy
from batch.engine.prepare import ChangePreparer
from batch.engine.progress import Progress, Reporter
from batch.engine.records import UnreadError
from batch.engine.retry_loop import ApiClient
from batch.engine.shutdown import Shutdown
from batch.engine.write import ChangeWriter, PlanRecorder
from batch.errors import ExitCode, JournalError, StoppedError
from batch.http import Session
from batch.ratelimit import Limits, RateLimiter
from batch.retry import FailureLimit
from batch.run.begin_or_resume import Run
from batch.run.target import Environment, Target
from batch.settings import Settings

GRACE = 20.0
"""Seconds that attempts in flight are given after the first signal."""
RATE_SECONDS = 10.0
LEFT = "Left at once, without results files. Nothing is lost: the same command goes on, and looks first what was done."
SIGNALS = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
if hasattr(signal, "SIGHUP"):  # the terminal is gone
    SIGNALS[signal.SIGHUP] = ExitCode.TERMINATED


@dataclass(slots=True)
class RunContext:
    """A run that sends: what it sends to, and how it ended."""

    run: Run
    target: Target
    settings: Settings
    reporter: Reporter
    environment: Environment
    shutdown: Shutdown = field(default_factory=Shutdown)
    strategy: LookupStrategy | None = None
    """How records are found by key, once that is known."""
    is_plan: bool = False
    """Everything but the sending: what would be sent is only written down."""
    before_sending: Callable[[], None] = lambda: None
    """Called once it is certain that something will be sent."""
    asking: float = 0.0
    """Seconds that a person took to answer; they are not the run's."""
    canary: int = 0
    """How many changes are to be sent and verified before all others; 0 = none."""
    signalled: ExitCode | None = None
    _made: int = 0

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint, with the organisation's custom fields once they are known."""
        return self.run.survey.endpoint

    def survey(self) -> None:
        """Look over all rows, with the organisation's custom fields known where they matter; raises StoppedError."""
        run = self.run
        has_custom = any(self.endpoint.is_custom(one.target) for one in run.survey.columns.fields)
        if has_custom and not run.meta.get("has_definitions"):
            run.learn_definitions(self.environment.run(self.fetch_definitions), self.settings)
            run.keep(has_definitions=True)
        run.survey.validate_all((lambda row_results: None) if run.meta["is_surveyed"] else run.journal.record_rows)
        run.keep(is_surveyed=True)

    async def fetch_definitions(self) -> list[CustomField]:
        """Read the organisation's custom fields; raises StoppedError when the API cannot be asked at all."""
        async with self._session() as session:
            return await fetch_definitions(self._client(session), self.reporter.note)

    async def choose_strategy(self, to_find: int) -> None:
        """Learn how the records of `to_find` changes are found by key; raises StoppedError when the run stops."""
        async with self._session() as session:
            try:
                self.strategy = await choose_strategy(self._client(session), to_find)
            except UnreadError as error:
                reason = f"The {self.endpoint.plural} could not be read: {error}."
                raise StoppedError(self.shutdown.reason or reason) from None

    async def send(self) -> None:
        """Send every change that has no final outcome yet."""
        async with self._session() as session, anyio.create_task_group() as around:
            client = self._client(session)
            around.start_soon(self._keep_journal)
            around.start_soon(self._watch_signals)
            around.start_soon(self._tell_progress, client.limiter)
            live = self._live(client)
            await live.send_all()
            around.cancel_scope.cancel()
        if self.run.journal.error is None:
            self.run.journal.flush()
            if live.canary is not None and live.canary.has_held:
                self.run.keep(canary_held=True)
            self.connection.keep_learned(client.limiter.policy)

    # -- the parts ----------------------------------------------------------------------------------------------

    @property
    def connection(self) -> ApiSession:
        """The way to the API."""
        return ApiSession(self.target, self.settings, self.environment, self.shutdown, self._count)

    def _session(self) -> Session:
        return self.connection.session()

    def _client(self, session: Session) -> ApiClient:
        return self.connection.client(session, self.endpoint)

    def _live(self, client: ApiClient) -> Executor:
        journal, survey = self.run.journal, self.run.survey
        preparer = self._preparer(client)
        text = self.settings.max_failures
        limit = FailureLimit.parse(text) if text else None
        if self.is_plan:
            planner = PlanRecorder(client, self.endpoint, journal, survey.locate)
            return Executor(survey.iter_changes, preparer, planner, journal, self.shutdown)
        sender = self._sender(client, preparer)
        canary = Canary(self.canary, sender.verify) if self.canary else None
        return Executor(survey.iter_changes, preparer, sender, journal, self.shutdown, limit, canary)

    def _sender(self, client: ApiClient, preparer: ChangePreparer) -> ChangeWriter:
        return ChangeWriter(
            client,
            self.endpoint,
            self.run.journal,
            self.run.survey.locate,
            lambda record_id, fields, record: diff.unproven(self.endpoint, record_id, fields, record),
            lambda fields, before, record: diff.neither(self.endpoint, fields, before, record),
            preparer.read_back,
        )

    def _preparer(self, client: ApiClient) -> ChangePreparer:
        survey = self.run.survey
        compares, note = self.settings.compare, self.reporter.note
        known = (client, self.endpoint, self.run.journal, compares, note, self.run.planned)
        if self.settings.key is None:
            return ChangePreparer(*known)
        strategy = self.strategy or LookupStrategy(survey.change_count)
        lookup = KeyLookup(client, self.settings.key, strategy, lambda: (change.id for change in survey.iter_changes()))
        return KeyedPreparer(*known, lookup, survey.locate)

    @property
    def limits(self) -> Limits:
        """The limits that apply to this run."""
        return self.connection.limits

    # -- around the sending -------------------------------------------------------------------------------------

    async def _keep_journal(self) -> None:
        in_thread = self.environment.transport is None  # tests with a transport of their own run on a virtual clock
        await self.run.journal.run_writer(self._journal_failed, in_thread=in_thread)

    def _journal_failed(self, error: JournalError) -> None:
        self.shutdown.request(str(error))
        self.shutdown.cancel_in_flight()

    async def _watch_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        before = {one: handler for one in SIGNALS if (handler := signal.getsignal(one)) is not signal.SIG_IGN}  # nohup
        try:
            await self._receive_signals(*before)
        finally:
            for number, handler in before.items():  # asyncio leaves the default ones
                signal.signal(number, handler)

    async def _receive_signals(self, *numbers: signal.Signals) -> None:
        with anyio.open_signal_receiver(*numbers) as received:
            async with anyio.create_task_group() as timer:
                async for number in received:
                    if self.signalled is not None:
                        try:
                            self.reporter.note(LEFT)
                            self.reporter.leave()
                        finally:  # whatever became of the screen
                            os._exit(SIGNALS[number])
                    self._signal(number)
                    timer.start_soon(self._cancel_in_flight_later)

    def _signal(self, number: signal.Signals) -> None:
        self.signalled = SIGNALS[number]
        word = "Interrupted" if number == signal.SIGINT else "Terminated"
        self.shutdown.request(f"{word}.")
        self.reporter.note(f"{word}: what is in flight gets up to {GRACE:.0f} s (a second time: leave at once).")

    async def _cancel_in_flight_later(self) -> None:
        await anyio.sleep(GRACE)
        self.shutdown.cancel_in_flight()

    async def _tell_progress(self, limiter: RateLimiter) -> None:
        interval = self.reporter.interval
        if interval is None:
            return
        moments: deque[tuple[float, int, int]] = deque()
        while True:
            now, done = anyio.current_time(), sum(self.run.journal.counts.values())
            moments.append((now, self._made, done))
            while now - moments[0][0] > RATE_SECONDS and len(moments) > 2:
                moments.popleft()
            self.reporter.progress(self._progress(limiter, moments))
            await anyio.sleep(interval)

    def _progress(self, limiter: RateLimiter, moments: Sequence[tuple[float, int, int]]) -> Progress:
        (then, made_then, done_then), (now, made, done) = moments[0], moments[-1]
        seconds = max(now - then, 1e-9)
        per_second = (made - made_then) / seconds if now > then else 0.0
        rows_per_second = (done - done_then) / seconds
        rows = self.run.staged.rows
        paused = limiter.policy.paused_until - now
        return Progress(
            rows=rows,
            counts=dict(self.run.journal.counts),
            per_second=per_second,
            throttled=limiter.policy.throttled,
            paused=paused if math.isfinite(paused) and paused > 0 else 0.0,
            eta=(rows - done) / rows_per_second if rows_per_second > 0 else None,
            is_stopping=self.shutdown.requested,
        )

    def _count(self, name: str) -> None:
        self.run.journal.count(name)
        self._made += name == "attempts"
