"""`update`: validate, ask, send, and write down what became of every row; and the same for an undo.

Promises: nothing leaves before the question is answered (or need not be asked); where there is somebody to ask, what
differs is known by then, and is not read again but for a last look before a write; who says no leaves nothing behind; a
run that began ends with its files written, whatever stopped it.
"""

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import anyio

from batch.endpoints.base import is_blank
from batch.engine.api_session import ApiSession
from batch.engine.compared import ComparedChanges, iter_written
from batch.engine.context import RunContext
from batch.engine.estimate import Sent, estimate
from batch.engine.execute import Executor
from batch.engine.guards import Canary, ClearLimit, check_company, check_compared, check_found
from batch.engine.lookup import Lookup, LookupStrategy, find_strategy, make_lookup
from batch.engine.prepare import ChangePreparer
from batch.engine.reporter import CANARY, CANARY_CHANGES, Compared, Estimate, Preflight, Reporter, Tried
from batch.engine.shutdown import ended_by_signals
from batch.engine.write import ChangeWriter, RefusalFinder
from batch.errors import (
    NOTHING_SENT,
    AlreadyFinished,
    BatchError,
    BusyError,
    Declined,
    ExitCode,
    StoppedError,
    Terminated,
    UsageError,
    sending_nothing,
)
from batch.exit_code import exit_code_of_error
from batch.journal import Journal
from batch.machine import first_of, machine_reason
from batch.model import NEEDS_RETRY, Outcome, RowResult, command
from batch.own_files import PLAN, PLAN_LISTS
from batch.retry import FailureLimit
from batch.run import index
from batch.run.approval import is_approval, open_approval, settings_of_plan
from batch.run.begin_or_resume import Run, begin_or_resume, check_left_behind, check_store, discard, new_run_id
from batch.run.consent import require_consent
from batch.run.finish import End, FinishedRun, begin_files, finish_run, finish_without_data
from batch.run.folder import open_run, runs_of
from batch.run.journal_copies import JournalCopies
from batch.run.latest import fixed_name, latest_links, without_links
from batch.run.match_headers import validate_asking
from batch.run.metadata import RunMetadata
from batch.run.named_run import named_run
from batch.run.plan_list import lists_of
from batch.run.rescue import FolderWatch, rescue, sentence
from batch.run.rounds import last_write_after
from batch.run.target import Environment, Target, make_target, with_login
from batch.run.upload import Upload
from batch.settings import Settings
from batch.summary import group_reasons

FILES_SECONDS = 2.0
"""The results files get so long after a signal, also where what was in flight took all of the grace."""


def update(settings: Settings, reporter: Reporter, environment: Environment) -> FinishedRun:
    """Send what the input changes; raises BatchError when the job could not begin, Declined when a person said no."""
    check_left_behind(settings, keeps_data=settings.keep_data, keep=settings.keep)
    check_store(settings)
    settings = _with_plan(settings, reporter)
    settings = replace(settings, input=fixed_name(settings.input))
    parent = runs_of(settings.input, settings.parent, settings.part)
    links = latest_links(parent, settings.input, reporter.note)
    results = environment.uploading(settings, reporter.note)
    with links as latest, results as upload, ExitStack() as stack:
        if settings.plan is not None:
            settings = replace(settings, plan=named_run(settings.plan, reporter, (PLAN,)))
        with sending_nothing():
            settings = with_login(settings, environment, reporter)
            target = make_target(settings, environment, stack, reporter.note)
            try:
                run = begin_or_resume(settings, target, stack, reporter, environment)
            except AlreadyFinished as before:
                latest.point_to(before.folder)
                raise
        latest.point_to(run.folder)
        if settings.plan is not None and not lists_of(settings.plan):
            reporter.note(f"{settings.plan}: {NO_LIST}")
        if settings.plan is not None and not settings.keep_data:
            reporter.note(f"{settings.plan}: this plan has values, and stays (to remove it: {command()} purge).")
        end = carry_out(run, target, settings, reporter, environment, upload)
        latest.settle(end.summary.exit_code, end.folder)
        return end


def _with_plan(settings: Settings, reporter: Reporter) -> Settings:
    """Return the settings with the folder of their plan, unpacked where a colleague sent it as one file."""
    if settings.plan is None:
        return settings
    plan = without_links(settings.plan)
    if not is_approval(plan):
        return replace(settings, plan=plan)
    opened = open_approval(plan, plan.with_name(plan.name[: -len(".zip")]))
    reporter.note(f"This plan was made by {opened.about.text}")
    return replace(settings, **settings_of_plan(opened), input=settings.input or str(opened.input))


def carry_out(
    run: Run, target: Target, settings: Settings, reporter: Reporter, environment: Environment,
    upload: Upload | None = None,
) -> FinishedRun:  # fmt: skip
    """Bring an open run of an input to its end."""
    has_conditions = run.changes.conditions_in or settings.only_empty
    must_read = run.plan is not None or run.changes.columns.key_field is not None or has_conditions
    context = RunContext(
        ApiSession(target, settings.pace, environment), run.journal, run.metadata.run_id, run.changes, reporter,
        run.plan, settings.compare, later_run=_later_run(run.metadata), overwrites=settings.overwrite,
        only_empty=settings.only_empty,
        is_trusted=run.is_trusted, without_reading="" if must_read else target.endpoint.without_reading,
    )  # fmt: skip
    context.first_ids.is_settled = settings.none_found or run.journal.has_intents()
    copies = environment.journal_copies(settings, run.metadata.identity, target.company, reporter.note)
    return Update(run, context, settings, upload or Upload(), copies).carry_out()


def _later_run(metadata: RunMetadata) -> str:
    """Return when another run on the failures file that this one is for ended; "" where none is known."""
    parent = metadata.parent_run
    return last_write_after(parent, but=metadata.run_id) if parent else ""


@dataclass(slots=True)
class Update:
    """An open run on its way to its end; `carry_out` names its stages in order."""

    run: Run
    context: RunContext
    settings: Settings
    upload: Upload = field(default_factory=Upload)
    """Where its files go beside its folder."""
    copies: JournalCopies | None = None
    """Where copies of its record go."""
    is_still_ours: bool = True
    """No other process has claimed the run, as far as is known at the end: its copies are this one's to write."""
    before_sending: Callable[[], None] = lambda: None
    """Is called once it is certain that something will be sent."""
    strategy: LookupStrategy | None = None
    """How records are found by key, once that is known."""
    to_send: int = 0
    """Changes without a final outcome."""
    canary: int = 0
    """How many changes are sent and verified before all others; 0: none."""
    compared: ComparedChanges | None = None
    """What differs, where that is found out before the question."""
    asks_again: bool = False
    """Somebody is asked once more when the canary held."""
    unset: int = 0
    """Rows of which no cell asks for anything."""
    asking: float = 0.0
    """Seconds that a person took to answer; they are not the run's."""
    is_discarded: bool = False

    def carry_out(self) -> FinishedRun:
        """Bring the run to its end, and write its files."""
        run, began = self.run, time.monotonic()
        with FolderWatch(run.folder, run.metadata.run_id) as watch:
            self.context.watch = watch
            if run.is_resumed:
                run.keep(
                    earlier={outcome.value: count for outcome, count in run.journal.counts.items()}, exit_code=None
                )
            begin_files(run.folder, run.journal, run.metadata, is_resumed=run.is_resumed)
            index.add(run.metadata, run.folder, is_found=not run.is_trusted)
            try:
                try:
                    end = self.context.api.environment.run(self._send_changes)
                except BaseException as error:
                    end = self._as_end(error, watch)
                finally:
                    if not self.is_discarded:
                        run.keep(seconds=run.metadata.seconds + time.monotonic() - began - self.asking)
            except BaseException as error:
                self._write_files_after_error(error)
                raise
            finished = self._finish(end, watch)
            if self.copies is not None and self.is_still_ours:
                self.copies.end(self.run.journal.path)
        return self._without_data(finished, end)

    @property
    def hide(self) -> Callable[[str], str]:
        """What takes the credentials out of a text that is shown or written to a file."""
        return self.context.api.target.redaction().hide

    def _without_data(self, finished: FinishedRun, end: End) -> FinishedRun:
        """Remove the values of a run that is over, where none are to be kept; of one whose folder is there still."""
        run = self.run
        if run.metadata.keeps_data or finished.folder != run.folder:
            return finished
        finished = finish_without_data(finished, run.journal, run.metadata, type(self.context.endpoint), end)
        index.end_part(run.metadata, run.journal, finished.state)
        return finished

    def _finish(self, end: End, watch: FolderWatch) -> FinishedRun:
        """Write the run's files; where its folder is gone, in another one, together with all that is known."""
        run = self.run
        if watch.lost() is None:
            try:
                finished = self._write_files(run.folder, run.journal, run.metadata, end)
            except Exception:
                if watch.lost() is None:
                    raise
            else:
                if watch.lost() is None:
                    return finished
        if run.journal.error is None:
            run.journal.flush()
        stopped, folder = sentence(watch.lost()), rescue(watch, run.journal)
        journal, metadata = open_run(folder)
        with journal:
            end = replace(end, stopped=f"{stopped} All that is known:  {folder}", is_unwritten=True)
            index.add(metadata, folder, is_found=not run.is_trusted)
            return self._write_files(folder, journal, metadata, end)

    def _write_files(self, folder: Path, journal: Journal, metadata: RunMetadata, end: End) -> FinishedRun:
        """Write the run's files, and note in the index how this part ended."""
        finish = partial(
            finish_run, folder, journal, metadata, type(self.context.endpoint), upload=self.upload,
            with_report=self.settings.report,
        )  # fmt: skip
        try:
            finished = finish(end)
        except KeyboardInterrupt as error:  # what became of the rows is told all the same
            end = replace(end if end.stopped else _interrupted(error), is_hurried=True)
            finished = finish(end)
        index.end_part(metadata, journal, finished.state, end.until + FILES_SECONDS)
        return finished

    def _write_files_after_error(self, error: BaseException) -> None:
        """Write the files of a start that an error ends, as far as the disk takes them: an earlier part had some."""
        if self.is_discarded or (self.context.watch is not None and self.context.watch.lost() is not None):
            return
        run, cause = self.run, first_of(error)
        stopped = run.metadata.stopped if isinstance(cause, Declined) else _reason(cause)
        end = End(
            stopped, signalled=exit_code_of_error(cause), reason=cause.reason if isinstance(cause, BatchError) else ""
        )
        with suppress(BatchError, OSError):  # what ended it is told
            self._write_files(run.folder, run.journal, run.metadata, end)

    def _as_end(self, error: BaseException, watch: FolderWatch) -> End:
        """Return the end of a run whose folder is gone; raises any other error."""
        if isinstance(error, Exception) and not self.is_discarded and watch.lost() is not None:
            return End()
        stopped = self._as_stop(error)
        if stopped is None:
            raise error
        raise stopped from error

    def _as_stop(self, error: BaseException) -> StoppedError | None:
        """Say of what this machine lacked while changes were sent that the same command goes on."""
        reason = machine_reason(first_of(error))
        if reason is None or not self.context.shutdown.heard.attempts:
            return None
        return StoppedError(
            f"{reason}. The run stopped; what was done is in the record of this run: the same command goes on."
        )

    async def _send_changes(self) -> End:
        """Go through the stages, over one connection; what takes long without awaiting has the event loop to itself."""
        async with self.context.connected():
            try:
                return await self._go_through_stages()
            finally:
                client, counts = self.context.connection, self.run.journal.counts
                if client is not None:
                    self.is_still_ours = client.limiter.may_leave()
                if client is not None and not self.is_discarded:
                    self.run.keep(limiter=client.leases.store.reach)
                    if counts.total() >= self.run.changes.rows and not any(counts[one] for one in NEEDS_RETRY):
                        client.limiter.done()

    async def _go_through_stages(self) -> End:
        self.ask_about_canary()
        try:
            end = await self._prepare()
        except StoppedError as error:
            self._journal_invalid_rows()
            return _interrupted(error)
        except KeyboardInterrupt as error:
            if self.is_discarded:
                raise
            if self.context.reporter.can_ask and not self.run.is_resumed:  # who is still to be asked wants none of it
                with self._discarded_on(KeyboardInterrupt):
                    raise
            until = time.monotonic() + max(self.settings.grace, FILES_SECONDS)
            return replace(_interrupted(error), until=until)
        if end is not None:
            return end
        self.confirm()
        return await self._send_confirmed()

    async def _prepare(self) -> End | None:
        """Find out what is to be sent; return the end of the run where that is nothing, None where there is."""
        with self._discarded_on(UsageError, Declined, BusyError):
            await self.claim_run()
            await self.upload.begin(self.run.folder, self.run.metadata.run_id)
            if self.copies is not None:
                await self.copies.begin(self.run.journal.path)
            check_compared(self.context)
            await self.learn_custom_fields()
            self.validate()
            check_company(self.context, self.run.metadata.parent_run, is_meant=self.settings.other_company)
        self.count_left()
        end = self._end_without_sending()
        if end is not None:
            return end
        with self._discarded_on(UsageError):
            await self.context.connect()
            await self.choose_strategy()
        asks = self.context.reporter.can_ask and self.context.is_compared and not self.run.is_resumed
        if asks:
            self.compared = ComparedChanges(self.context.endpoint, self.hide)
        if not asks and (self.settings.invalid != "abort" or self.run.journal.has_intents()):
            return None
        await self.compare()
        if self.context.shutdown.requested or self.run.journal.error is not None:
            return self._end_of_comparing()
        return self._end_without_sending()

    async def _send_confirmed(self) -> End:
        """Send what was asked about; where the first few are to be looked at, ask about the others after them."""
        self.before_sending()
        self.run.supersede()
        index.begin_writes(self.run.metadata.run_id)
        await self._go_through(self._send)
        if self.asks_again and self.run.metadata.canary_held:
            self.to_send = sum(1 for _ in self.context.iter_open())
            if self.to_send and not self.confirm_rest():
                return End(ONLY_TRIED.format(count=self.to_send, are="is" if self.to_send == 1 else "are"))
            self.canary, self.asks_again = 0, False
            self.context.measure_anew()
            await self._go_through(self._send)
        index.note_writes(self.run.metadata.run_id)
        return self._end_of_sending()

    # -- the stages ---------------------------------------------------------------------------------------------

    async def claim_run(self) -> None:
        """See that no other process does the same run, here or on another host; raises BusyError, StoppedError.

        One that was not heard of for half a minute is waited for no longer, and sends nothing any more. Without a store
        that hosts share, the lock of an input that is done as a whole says the same.
        """
        run, epoch = self.run.metadata, 0
        if run.shard is not None or self.settings.limiter is not None:
            found = await ended_by_signals(self.context.shutdown, partial(self.context.claim_run, run.identity))
            if found is None:
                what = "this run" if run.shard is None else f"shard {run.shard} of this input"
                raise BusyError(f"Another start does {what}. Wait for it, or stop it first.")
            epoch = found
        self._learn_of_others(epoch)

    def _learn_of_others(self, epoch: int) -> None:
        """Find out whether other processes may have done a part of this run that its record lacks.

        None did where each start's claim was the one after that of the start before, and no copies of the record exist.
        """
        run, own_seed = self.run.metadata, self.run.metadata.own_seed
        is_next = epoch == (run.claim_epoch + 1 if run.claim_epoch else 0)
        has_copies = run.has_copies or self.copies is not None
        if self.run.is_resumed and (has_copies or own_seed or not is_next):
            self.context.keys_may_be_used, own_seed = True, new_run_id()
        self.context.own_seed = own_seed or run.run_id
        if epoch or has_copies or own_seed:  # before the first copy is made, so that each copy has it
            self.run.keep(claim_epoch=epoch or run.claim_epoch, has_copies=has_copies, own_seed=own_seed)

    def ask_about_canary(self) -> None:
        """Ask whether to go on after a canary that did not hold; raises UsageError where nobody can be asked."""
        run = self.run
        failure = run.metadata.canary_failure or self._unjudged_canary()
        if failure:
            instead = TO_BE_ASKED if run.metadata.undoes else TO_BEGIN_ANEW
            require_consent(self.context.reporter, f"{run.folder}: {failure}", instead, "Go on with the other rows?")

    def _unjudged_canary(self) -> str:
        """Say which change the API refused of a canary that ended before it was known whether it held."""
        known = self.run.metadata
        if known.canary_begun and not known.canary_held:
            for found in self.run.journal.iter_troubled():
                if found.outcome is Outcome.REJECTED and found.attempts:
                    return f"The first changes were sent to try, and row {found.row} did not hold: it is rejected."
        return ""

    async def learn_custom_fields(self) -> None:
        """Read the organisation's custom fields where a column needs them; raises StoppedError."""
        if self.run.metadata.has_definitions:
            return
        definitions = await self.context.fetch_custom_fields()
        if definitions is not None:
            self.run.learn_definitions(definitions)
            self.context.changes = self.run.changes

    def validate(self) -> None:
        """Validate all rows, and journal those that are not sent."""
        run = self.run
        settings = replace(self.settings, map=run.metadata.map)
        mappings = self.context.api.environment.mappings
        answered = validate_asking(run.changes, self._journal_unsent, self.context.reporter, settings, mappings)
        if answered:
            run.keep_formats(answered)
        run.keep(is_validated=True)

    def _journal_unsent(self, row_results: Sequence[RowResult]) -> None:
        """Journal rows that make no change; what an earlier part did to a row stays."""
        self.context.api.environment.check_cancelled()
        journal = self.run.journal
        self.unset += sum(one.outcome is Outcome.UNCHANGED for one in row_results)
        if self.run.is_resumed and row_results:
            final = journal.final_rows(row_results[0].row, row_results[-1].row)
            row_results = [one for one in row_results if one.row not in final]
        journal.record_rows(row_results)

    def _end_with_nothing_to_send(self) -> End:
        """Say how the input was read, since no question comes that would, and end."""
        for text in self.run.changes.notes:
            self.context.reporter.note(f"  {text}")
        self.run.supersede()
        return End()

    def count_left(self) -> None:
        """Count the changes that have no final outcome yet; in a fresh run these are all."""
        run = self.run
        is_fresh = not run.is_resumed
        self.to_send = run.changes.change_count if is_fresh else sum(1 for _ in self.context.iter_open())

    async def choose_strategy(self) -> None:
        """Find out how the records are found by the fewest requests; raises StoppedError."""
        self.strategy = await find_strategy(self.context, self.to_send)

    async def compare(self) -> None:
        """Read every record before anything is sent: for --invalid abort, or to know what is asked about."""
        context, before = self.context, self.run.journal.count_final_changes()
        reading = estimate(context, self.strategy, self.to_send, sent=Sent(0), spent=context.meter.requests).whole
        context.meter.expected = reading.seconds
        context.reporter.cost(reading)
        await self._go_through(self._compare)
        for outcome in NEEDS_RETRY:  # what could not be read is taken up again
            context.journal.counts.pop(outcome, None)
        context.measure_anew()
        self.to_send -= context.journal.count_final_changes() - before

    async def _compare(self) -> None:
        """Prepare every change as for sending; those that fit their record are left as they are."""
        context = self.context
        client = await context.connect()
        async with context.attended(sends=False):
            preparer = ChangePreparer(context, self._lookup(), self.compared)
            limit = self._failure_limit() if self.compared is not None else None
            await Executor(context, preparer, RefusalFinder(context, self.compared), limit).send_all()
        if self.run.journal.error is None:
            self.run.journal.flush()
            context.api.keep_learned(client.limiter)

    def confirm(self) -> None:
        """Ask whether to send; raises Declined, or what forbids it, with nothing left behind."""
        run, reporter = self.run, self.context.reporter
        with self._discarded_on(Declined, BatchError, KeyboardInterrupt):
            excesses = self._excessive_clears()
            about = self._preflight(excesses)
            with self._asking():
                answer = reporter.confirm(about)
            if not answer:
                raise Declined("Nothing was sent.")
            self.context.meter.expected = about.cost.whole.seconds if about.cost.is_known else None
            if not run.metadata.canary_held:
                self.canary = CANARY_CHANGES if answer == CANARY else self.settings.canary or 0
                self.asks_again = answer == CANARY
            run.keep(
                clears_are_meant=bool(excesses) or run.metadata.clears_are_meant,
                canary_begun=bool(self.canary),
                canary_failure="",
            )

    def confirm_rest(self) -> bool:
        """Show the first changes, which hold, and ask whether to send the others."""
        context = self.context
        written = islice(iter_written(self.run.journal, context.endpoint), CANARY_CHANGES)
        tried = (one.as_shown() for one in written)
        with self._asking():
            return context.reporter.confirm_rest(
                Tried(tuple(tried), self.to_send, context.endpoint, self.run.changes.columns)
            )

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Keep when a person is asked: that is no time of the run."""
        began, since = time.monotonic(), time.time()
        try:
            yield
        finally:
            self.asking += time.monotonic() - began
            self.run.keep(asked=(*self.run.metadata.asked, (since, max(since, time.time()))))

    def _lookup(self) -> Lookup | None:
        return make_lookup(self.context, self.strategy)

    def _failure_limit(self) -> FailureLimit | None:
        return FailureLimit.parse(self.settings.max_failures) if self.settings.max_failures else None

    async def _send(self) -> None:
        """Send every change that has no final outcome yet, or the first few."""
        context, run = self.context, self.run
        client = await context.connect()
        async with context.attended(), self._copied(client.limiter.may_leave):
            preparer = ChangePreparer(context, self._lookup(), self.compared)
            writer = ChangeWriter(context, preparer)
            canary = Canary(self.canary, writer.verify) if self.canary else None
            most = self.canary if self.asks_again else None
            await Executor(context, preparer, writer, self._failure_limit(), canary, most).send_all()
        if preparer.unlisted:
            context.reporter.note(
                f"Of {preparer.unlisted:,} {context.endpoint.plural} that an earlier start changed, not every field "
                "can be seen in a list."
            )
        if run.journal.error is None:
            run.journal.flush()
            if run.metadata.look_since and not run.journal.count_older(run.metadata.look_since):
                run.keep(look_since=0.0)
            if canary is not None:
                run.keep(canary_held=canary.has_held, canary_failure=canary.failure)
            context.api.keep_learned(client.limiter)

    @asynccontextmanager
    async def _copied(self, may_write: Callable[[], bool]) -> AsyncIterator[None]:
        """Copy the record of the run meanwhile, where that is wanted."""
        if self.copies is None:
            yield
            return
        async with anyio.create_task_group() as around:
            around.start_soon(self.copies.keep, self.run.journal.path, may_write)
            yield
            around.cancel_scope.cancel()

    def _journal_invalid_rows(self) -> None:
        """Where the run ends before it knew the custom fields: what is invalid without them is so in any case."""
        if not self.run.metadata.is_validated:
            self.run.changes.validate_all(self._journal_unsent)

    async def _go_through(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what talks to the API; where no record has any of the first ids, ask whether to go on with the others."""
        context = self.context
        await work()
        if context.first_ids.are_odd and not context.shutdown.requested and self.run.journal.error is None:
            with self._discarded_on(UsageError, Declined, KeyboardInterrupt):
                check_found(context)
            await work()

    # -- how it ends --------------------------------------------------------------------------------------------

    def _end_without_sending(self) -> End | None:
        """Return the end of a run of which nothing is sent: invalid rows forbid it, or there is nothing to send."""
        journal = self.run.journal
        if self.settings.invalid == "abort" and journal.counts[Outcome.INVALID] > 0 and not journal.has_intents():
            return self._end_unsent()
        return None if self.to_send else self._end_with_nothing_to_send()

    def _end_unsent(self) -> End:
        invalid = self.run.journal.counts[Outcome.INVALID]
        are = "1 row is" if invalid == 1 else f"{invalid:,} rows are"
        stopped = f"{are} invalid and --invalid abort is set, so nothing was sent."
        if self.run.is_resumed:  # what was invalid for its record stays so in this run
            stopped += " To look at the records again:  --new"
        return End(stopped, is_refused=True)

    def _end_of_comparing(self) -> End:
        """End a run that stopped before anything was sent; one that a person stops leaves nothing behind."""
        signalled = self.context.shutdown.signalled
        if self.compared is not None and signalled is not None:
            with self._discarded_on(KeyboardInterrupt):
                raise KeyboardInterrupt if signalled is ExitCode.INTERRUPTED else Terminated
        return self._end_of_sending()

    def _end_of_sending(self) -> End:
        if self.run.journal.error is not None:
            return End(str(self.run.journal.error), is_unwritten=True)
        shutdown = self.context.shutdown
        return End(
            shutdown.reason or None,
            shutdown.signalled,
            cause=shutdown.cause,
            has_written=shutdown.heard.has_written,
            retry_after=shutdown.retry_after,
            until=math.inf if shutdown.signalled is None else time.monotonic() + max(shutdown.grace, FILES_SECONDS),
        )

    @contextmanager
    def _discarded_on(self, *refusals: type[BaseException]) -> Iterator[None]:
        """Leave nothing behind of a run that is refused before anything of it was sent."""
        try:
            yield
        except refusals as error:
            if not self.run.is_resumed:
                self.is_discarded = True
                self.run.journal.close()
                discard(self.run.folder)
                index.remove(self.run.metadata.run_id)
                error.add_note(NOTHING_SENT)
            raise

    # -- before the question ------------------------------------------------------------------------------------

    def _excessive_clears(self) -> tuple[str, ...]:
        """Name the fields that would be cleared too often; raises TooManyClearsError where nobody can be asked."""
        run = self.run
        limit = ClearLimit.from_option(self.settings.max_clears)
        takes_back = run.plan is not None and run.plan.is_undo  # what was empty becomes empty again
        if run.metadata.clears_are_meant or self.settings.only_empty or (takes_back and limit.is_default):
            return ()
        excesses = tuple(limit.iter_excesses(run.changes))
        if excesses and not self.context.reporter.can_ask:
            raise limit.refusal(excesses)
        return excesses

    def _clears(self) -> dict[str, int]:
        """Count the records in which each field would be emptied; in a resumed run without what is through."""
        if self.compared is not None:
            return Counter(step.field for one in self.compared for step in one.steps if is_blank(step.wanted))
        found = {
            name: clears for name, clears in self.run.changes.clears.items() if clears and not self.settings.only_empty
        }
        if self.run.is_resumed and found:
            left: Counter[str] = Counter()
            for change in self.context.iter_open():
                left.update(name for name in found if name in change.fields and is_blank(change.fields[name]))
            return {name: left[name] for name in found if left[name]}
        return found

    def _preflight(self, excesses: tuple[str, ...]) -> Preflight:
        run, target = self.run, self.context.api.target
        return Preflight(
            changes=run.changes,
            endpoint=self.context.endpoint,
            host=target.base_url,
            host_kind=target.kind,
            credential=target.shown_credential,
            company=target.company_name,
            folder=run.folder,
            to_send=self.to_send,
            cost=self._estimate(),
            is_resumed=run.is_resumed,
            done=dict(run.journal.counts),
            excesses=excesses,
            clears=self._clears(),
            slower=self.context.api.slower(),
            compared=self._compared(),
            keeps_data=run.metadata.keeps_data,
        )

    def _compared(self) -> Compared | None:
        """Sum up what comparing found, where that is known."""
        if self.compared is None:
            return None
        run, journal = self.run, self.run.journal
        reasons, left_out = group_reasons(journal.iter_troubled())
        return Compared(
            self.compared,
            run.changes.change_count,
            sum(len(one.steps) for one in self.compared),
            journal.count_changes(Outcome.UNCHANGED) - self.unset,
            self.unset,
            tuple(one for one in reasons if one.outcome is not Outcome.UNCHANGED),
            left_out,
        )

    def _estimate(self) -> Estimate:
        """Estimate what sending will take; of what was compared, and of a plan, it is known which are written."""
        run, sent = self.run, None
        if self.compared is not None:
            fields = ([step.field for step in one.steps] for one in self.compared)
            sent = Sent.counted(self.context.endpoint, fields)
            sent = replace(sent, completed=sent.writes)  # each record is looked at once more
            read = self.to_send - sent.writes + (sent.writes if self.context.endpoint.ids_per_read == 1 else 0)
            return estimate(self.context, None, read, sent=sent, canary=self.canary, spent=0)
        if run.plan is not None:
            sent = Sent.counted(
                self.context.endpoint, ([step.field for step in one.steps if step.problem is None] for one in run.plan)
            )
            sent = sent.scaled(self.to_send / max(1, run.changes.change_count))  # of a resumed run
        canary = 0 if run.metadata.canary_held else self.settings.canary or 0
        return estimate(
            self.context, self.strategy, self.to_send, sent=sent, canary=canary, spent=self.context.meter.requests
        )


TO_BEGIN_ANEW = "Look at these records; then begin anew, which compares all rows:  --new"
TO_BE_ASKED = "Look at these records, and run the same command on a terminal, where it asks whether to go on."
ONLY_TRIED = "The first changes hold, and {count:,} {are} left, as you answered."
NO_LIST = (
    f"there is no {' or '.join(PLAN_LISTS)} any more, so the plan is carried out as it was made, "
    "whatever was done to a list elsewhere."
)


def _interrupted(error: StoppedError | KeyboardInterrupt) -> End:
    if isinstance(error, StoppedError):
        return End(str(error), cause=error.cause, retry_after=error.retry_after)
    return End(_reason(error), exit_code_of_error(error))


def _reason(error: BaseException) -> str:
    """Say in words what ended a start."""
    match error:
        case Terminated():
            return "Terminated."
        case KeyboardInterrupt():
            return "Interrupted."
        case BatchError():
            return str(error)
    return machine_reason(error) or "A bug in batch ended it."
