"""What a sending run holds in memory, and the event loops in which it talks to the API.

Promises: there is one endpoint in a run, with the organisation's custom fields once they are known; the journal's
writer, the signals and the progress live exactly as long as the sending; nothing that one row does ends the others.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio

from batch import diff
from batch.credentials import hidden_texts
from batch.endpoints.base import CustomField, Endpoint, Record
from batch.engine.api_session import ApiSession, fetch_definitions
from batch.engine.record_reader import FirstIds, RecordReader
from batch.engine.reporter import Meter, Reporter
from batch.engine.retry_loop import ApiClient
from batch.engine.shutdown import Shutdown, ended_by_signals, stop_on_cancel, stop_on_signals
from batch.errors import JournalError
from batch.journal import Journal
from batch.model import Change, Intent, Outcome, Problem, RowResult, State
from batch.run.locks import host_name
from batch.run.plan_file import PlanFile
from batch.run.record_memory import RecordMemory
from batch.run.rescue import LOOK_SECONDS, FolderWatch, rescue, sentence
from batch.validation.file_changes import ChangeSource

NOTHING: Mapping[str, Any] = {}
WINDOW = 10_000
"""Rows that are looked up in the journal at once when a run is resumed."""
TOLD_AFTER = 1.0
"""Seconds that a run may be claimed for without a word."""


@dataclass(slots=True)
class RunContext:
    """What every part of a sending run works with; `client` is there while the connection is open."""

    api: ApiSession
    journal: Journal
    run_id: str
    changes: ChangeSource
    reporter: Reporter
    plan: PlanFile | None = None
    """What is to be done, where that was written down before: nothing else is done then."""
    is_compared: bool = True
    """What the record has already is not sent."""
    shutdown: Shutdown = field(default_factory=Shutdown)
    is_trusted: bool = True
    """What an earlier part of this run wrote down, it wrote for this user, as the index of runs knows."""
    later_run: str = ""
    """When another run on the same failures file ended; "" where none is known."""
    overwrites: bool = False
    """What another hand changed, although the sheet expects something else, is written over."""
    only_empty: bool = False
    """A field is written only where its record has none."""
    without_reading: str = ""
    """The options with which the same could be sent without reading; "" where it could not."""
    key_seed: str = field(init=False)
    """What idempotency keys are made of, and who holds records: of a shard the same for all processes that do it."""
    own_seed: str = field(init=False)
    """What the keys of all but the first intents of a change are made of: no other process has it."""
    keys_may_be_used: bool = False
    """Another process may have sent requests with idempotency keys of this run, of which its record does not know."""
    meter: Meter = field(init=False)
    watch: FolderWatch | None = None
    """What notices that the run folder is not there any more; None where there is none."""
    connection: ApiClient | None = None
    """The client, once it was needed."""
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)
    reader: RecordReader = field(init=False)
    """What reads records by their ids; what it learns of the API's lists holds for the whole start."""

    memory: RecordMemory = field(init=False)
    """What earlier runs learned of the records."""
    first_ids: FirstIds = field(init=False)
    """What became of the first ids."""

    def __post_init__(self) -> None:
        """Measure from the beginning."""
        target, self.key_seed, self.own_seed = self.api.target, self.run_id, self.run_id
        self.shutdown.is_cancelled = self.api.environment.is_cancelled
        self.shutdown.grace_seconds = self.api.pace.grace
        self.memory = RecordMemory(target.fingerprint("records"), target.endpoint.name)
        self.first_ids = FirstIds(is_settled=self.plan is not None and self.plan.is_undo)  # what it wrote was there
        self.meter = Meter(self.journal, self.changes.rows, self.shutdown)
        self.reader = RecordReader(
            lambda: self.client,
            self.endpoint.ids_per_read,
            must_read=self.is_compared or self.endpoint.needs_full_body,
            without_reading=self.without_reading,
        )

    def measure_anew(self) -> None:
        """Measure another stretch of the run, but count on."""
        requests = self.meter.requests
        self.meter = Meter(self.journal, self.changes.rows, self.shutdown)
        self.meter.requests = requests

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint, with the organisation's custom fields once they are known."""
        return self.changes.endpoint

    @property
    def rereads(self) -> bool:
        """Whether a record on a page is read by itself before its change is sent: then it is young, and whole."""
        return self.endpoint.ids_per_read == 1 and (self.is_compared or self.endpoint.needs_full_body)

    def iter_open(self) -> Iterator[Change]:
        """Yield the changes that have no final outcome yet."""
        final: set[int] = set()
        seen_to = 0
        for change in self.changes.iter_changes():
            if change.number > seen_to or change.number < seen_to - WINDOW:
                seen_to = change.number + WINDOW
                final = self.journal.final_rows(change.number, seen_to)
            if change.number not in final:
                yield change

    @property
    def verify_within(self) -> float:
        """Seconds for which a record is looked at that does not show a change that the API confirmed."""
        return self.api.pace.verify_within

    @property
    def client(self) -> ApiClient:
        """The client of the open connection."""
        assert self.connection is not None  # noqa: S101 - for the type checker: whoever asks has connected
        return self.connection

    async def connect(self) -> ApiClient:
        """Open the way to the API, unless it is open: a start has one client, and so one log-in."""
        if self.connection is None:
            self.connection = await self._open.enter_async_context(
                self.api.open_client(
                    self.endpoint, self.shutdown, self._count, self.reporter.note, self.journal.reserve_read
                )
            )
        self.connection.endpoint = self.endpoint
        return self.connection

    async def fetch_custom_fields(self) -> list[CustomField] | None:
        """Read the organisation's custom fields, None where no column needs them; raises StoppedError."""
        if not any(self.endpoint.is_custom(one.target) for one in self.changes.columns.with_fields):
            return None
        client = await self.connect()
        return await ended_by_signals(client.shutdown, lambda: fetch_definitions(client, self.reporter.note))

    async def claim_run(self, name: str) -> int | None:
        """Do the run of this name in the place of all processes before; return its epoch, 0 where nobody can share it.

        None where another one does it now. From then on nothing leaves of which it is not certain that no other process
        has claimed the run since.
        """
        client = await self.connect()
        with self.shutdown.waiting() as scope:
            async with anyio.create_task_group() as around:
                around.start_soon(self._tell_of_claim)
                fingerprint = self.api.target.fingerprint(f"run {name}")
                found = await client.limiter.claim(fingerprint, host_name(), self.run_id)
                around.cancel_scope.cancel()
        if scope.cancelled_caught:
            raise self.shutdown.as_error()
        client.session.may_leave = client.limiter.may_leave
        self._open.enter_context(client.limiter.kept_when_held_up(self.api.open_store_again))
        if found is None:
            return None
        self.key_seed = found
        self.keys_may_be_used = found != self.run_id
        return client.limiter.epoch

    async def _tell_of_claim(self) -> None:
        """Tell the progress where the claim of a run takes long: what it waits for is to be seen."""
        await anyio.sleep(TOLD_AFTER)
        await Meter(self.journal, self.changes.rows, self.shutdown).report(self.reporter, self.client)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Close at the end what `connect` opens."""
        async with self._open:
            try:
                yield
            finally:
                self.connection = None
                self.memory.close()

    def _count(self, name: str) -> None:
        self.meter.count(name)

    @asynccontextmanager
    async def attended(self, *, sends: bool = True) -> AsyncIterator[None]:
        """Write the journal, watch the signals and tell the progress meanwhile; what does not send ends at once."""
        async with anyio.create_task_group() as around:
            around.start_soon(self._write_journal)
            around.start_soon(self._watch_folder)
            around.start_soon(partial(stop_on_signals, self.shutdown, self.reporter, sends=sends))
            around.start_soon(stop_on_cancel, self.shutdown, self.reporter)
            around.start_soon(self.meter.report, self.reporter, self.client)
            around.start_soon(self.client.leases.keep_renewed)
            around.start_soon(self.client.limiter.keep_run)
            yield
            around.cancel_scope.cancel()

    async def _watch_folder(self) -> None:
        """End the run when its folder is gone, and put what is known elsewhere: what is in flight may take a while."""
        if self.watch is None:
            return
        while True:
            lost = self.watch.lost()
            if lost is not None:
                break
            await anyio.sleep(LOOK_SECONDS)
        self.shutdown.request(sentence(lost))
        with suppress(JournalError):  # it is tried again at the end
            rescue(self.watch, self.journal)

    async def _write_journal(self) -> None:
        in_thread = self.api.environment.transport is None  # a given transport may run on a virtual clock
        await self.journal.run_writer(self._stop_unwritten, in_thread=in_thread)

    def _stop_unwritten(self, error: JournalError) -> None:
        self.shutdown.request(str(error))
        self.shutdown.cancel_in_flight()

    def shows(
        self, change: Change, fields: Mapping[str, Any], record: Record, sent: Intent | None = None
    ) -> diff.Shown:
        """Say whether, and how, the record of a change shows the values in `fields`; `sent` is what this run sent."""
        return diff.shows(self.endpoint, fields, record, self.known_spellings(change, sent))

    def known_spellings(self, change: Change, sent: Intent | None = None, *, is_confirmed: bool = False) -> diff.Known:
        """Return what knows the spellings of a record: those of earlier runs, and what was not there before `sent`.

        `is_confirmed`: the API took what was sent, so that its spelling is believed where nobody saw what was before.
        """
        record_id, before = self.endpoint.id_key(change.id), (sent.before if sent else None) or {}

        def is_known(name: str, asked: Any, shown: Any) -> bool:
            is_sent = sent is not None and sent.fields.get(name) == asked
            is_new = not self.endpoint.is_same(name, before[name], shown) if name in before else is_confirmed
            return (is_sent and is_new) or self.memory.knows_spelling(record_id, name, asked, shown)

        return is_known

    def settle(
        self, change: Change, outcome: Outcome, problems: Sequence[Problem], status: int | None = None,
        attempts: int = 0, state: State = State.FINAL, shown: Mapping[str, Any] = NOTHING,
    ) -> Outcome:  # fmt: skip
        """Journal the outcome of every row of a change, its problems with the row's own cells; return the outcome.

        `shown`: what the API showed for fields of the change that it does not show to the letter; spellings among them
        are remembered.
        """
        hide = self.client.session.redaction.hide  # a record may show what was sent with the request
        shown = {name: value for name, value in shown.items() if hide(str(value)) == str(value)}
        for name, value in shown.items():
            if name in change.fields and self.endpoint.is_spelling(name, change.fields[name], value):
                self.memory.remember_spelling(self.endpoint.id_key(change.id), name, change.fields[name], value)
        results = []
        for row in change.rows:
            located = tuple(self.changes.locate(row, one).with_texts(hide) for one in problems)
            results.append(RowResult(row, change.id, outcome, status, attempts, located, state, shown))
        self.journal.record(change.number, results)
        return outcome

    async def write_intent(self, intent: Intent, *, is_changed: bool = False) -> None:
        """Journal an intent, and what may be shown of it; raises JournalError."""
        values = (intent.id, intent.name, intent.fields, intent.before)
        hidden = hidden_texts(values, self.client.session.redaction.hide)
        await self.journal.write_intent(intent, is_changed=is_changed, hidden=hidden)

    def record_again(self, change: Change, state: State = State.FINAL) -> None:
        """Journal again what an earlier part said of a change, which still holds."""
        found = (self.journal.row_results(row, row).get(row) for row in change.rows)
        self.journal.record(change.number, [_still(one, state) for one in found if one is not None])


def _still(known: RowResult, state: State) -> RowResult:
    """Return what is known of a row as it is now: what shows awaits approval no more."""
    said = tuple(one for one in known.problems if state is State.PENDING or one.code != "pending")
    return replace(known, state=state, problems=said)
