"""`update`: survey, question, sending, files; and the same for every other job that sends.

Promises: nothing leaves before the question is answered (or need not be asked); who says no leaves nothing behind; a
run that began ends with its files written, whatever stopped it.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from batch.engine.context import RunContext
from batch.engine.estimate import estimate
from batch.engine.garbage import rare_collection
from batch.engine.guards import ClearLimit
from batch.engine.progress import CANARY, CANARY_CHANGES, Preflight, Reporter
from batch.errors import BatchError, ExitCode, StoppedError, Terminated, UsageError
from batch.model import Outcome
from batch.run.begin_or_resume import Run, begin_or_resume, discard
from batch.run.finish import FinishedRun, close
from batch.run.target import Environment, make_target
from batch.settings import Settings

Ended = tuple[str | None, ExitCode | None]
"""Why a run stopped before its end, and the exit code where the outcomes do not say it."""


class Declined(Exception):
    """The person said no; nothing was sent, and nothing is left behind."""


def update(settings: Settings, reporter: Reporter, environment: Environment) -> FinishedRun:
    """The main job: read, validate, ask, send, write down. Raises BatchError when it could not begin."""
    with ExitStack() as stack:
        target = make_target(settings, environment, stack, reporter.note)
        run = begin_or_resume(settings, target, stack, reporter.note)
        if run.is_finished:
            reporter.note(f"This run is finished: {run.folder}. To start over, name another folder with --out.")
            return close(run.folder, run.journal, run.staged, type(target.endpoint), stopped=run.meta.get("stopped"))
        return carry_out(RunContext(run, target, settings, reporter, environment))


def carry_out(sending: RunContext) -> FinishedRun:
    """Bring an open run to its end, and write its files."""
    run, began = sending.run, time.monotonic()
    try:
        stopped, forced = _look_and_send(sending)
    finally:
        if run.journal.path.exists():  # else it was discarded
            run.keep(seconds=run.meta["seconds"] + time.monotonic() - began - sending.asking)
    return close(run.folder, run.journal, run.staged, type(sending.endpoint), stopped=stopped, forced=forced)


def _look_and_send(sending: RunContext) -> Ended:
    run, settings, environment = sending.run, sending.settings, sending.environment
    run.keep(exit_code=None)
    try:
        with _gone_if_refused(run, UsageError):
            sending.survey()
    except (StoppedError, KeyboardInterrupt) as error:
        return _ended_by(error)
    invalid = run.journal.counts[Outcome.INVALID]
    if invalid and settings.invalid == "abort" and not run.journal.has_intents():
        are = "1 row is" if invalid == 1 else f"{invalid:,} rows are"
        stopped = f"{are} invalid and --invalid abort is set, so nothing was sent."
        return stopped, ExitCode.COULD_NOT_START
    to_send = run.survey.change_count - run.journal.count_final_changes()
    if to_send <= 0:
        return None, None
    if settings.key is not None:
        if settings.invalid == "abort":
            sending.reporter.note(FOUND_WHILE_SENDING.format(noun=sending.endpoint.noun))
        try:
            environment.run(sending.choose_strategy, to_send)
        except (StoppedError, KeyboardInterrupt) as error:
            return _ended_by(error)
    _ask(sending, to_send)
    sending.before_sending()
    with rare_collection():
        environment.run(sending.send)
    if run.journal.error is not None:
        return str(run.journal.error), ExitCode.RUN_AGAIN
    return sending.shutdown.reason or None, sending.signalled


def _ended_by(error: StoppedError | KeyboardInterrupt) -> Ended:
    match error:
        case StoppedError():
            return str(error), None
        case Terminated():
            return "Terminated.", ExitCode.TERMINATED
    return "Interrupted.", ExitCode.INTERRUPTED


FOUND_WHILE_SENDING = (
    "With --key, a number that no {noun} has is found out while sending: --invalid abort does not stop for it, "
    "and only its row is left out. To know before:  batch plan"
)


def _ask(sending: RunContext, to_send: int) -> None:
    """Ask whether to send; raises Declined, or what forbids it, with nothing left behind."""
    run = sending.run
    with _gone_if_refused(run, Declined, BatchError, KeyboardInterrupt):
        excesses = _excesses(sending)
        about, began = _preflight(sending, to_send, excesses), time.monotonic()
        answer = sending.reporter.confirm(about)
        sending.asking = time.monotonic() - began
        if not answer:
            raise Declined
        run.keep(clears_are_meant=bool(excesses) or bool(run.meta.get("clears_are_meant")))
        if not run.meta.get("canary_held"):
            sending.canary = CANARY_CHANGES if answer == CANARY else sending.settings.canary or 0


@contextmanager
def _gone_if_refused(run: Run, *parse_error: type[BaseException]) -> Iterator[None]:
    """Leave nothing behind of a run that is refused before anything of it was sent."""
    try:
        yield
    except parse_error:
        if not run.is_resumed:
            run.journal.close()
            discard(run.folder)
        raise


def _excesses(sending: RunContext) -> tuple[str, ...]:
    """Name the fields that would be cleared too often; raises TooManyClearsError where nobody can be asked."""
    run, settings = sending.run, sending.settings
    limit = ClearLimit.from_settings(settings)
    takes_back = run.planned is not None and run.planned.is_undo  # what was empty becomes empty again
    if run.meta.get("clears_are_meant") or (takes_back and limit.is_default):
        return ()
    excesses = tuple(limit.iter_excesses(run.survey))
    if excesses and not sending.reporter.can_ask:
        raise limit.refusal(excesses)
    return excesses


def _preflight(sending: RunContext, to_send: int, excesses: tuple[str, ...]) -> Preflight:
    run, target, cost = sending.run, sending.target, estimate(sending, to_send)
    return Preflight(
        survey=run.survey,
        endpoint=sending.endpoint,
        host=target.base_url,
        host_kind=target.kind,
        credential=target.shown_credential,
        folder=run.folder,
        to_send=to_send,
        reads=cost.reads,
        seconds=cost.seconds,
        is_resumed=run.is_resumed,
        done=dict(run.journal.counts),
        excesses=excesses,
    )
