"""The job: every stage, in order.

    target.py    where to send, and as whom           survey.py   the look over the whole input
    runs.py      run folders and locks                reading.py  current records: what differs
    opening.py   begin a run or resume one            live.py     streams of changes, many at once
    finding.py   --key: own number -> record          keyed.py    the reading, where rows have no id
    sending.py   one event loop: signals, progress    closing.py  results, failures, summary
    watch.py     what is told while it goes on

Promises: the order of truth (intent on disk, bytes leave, outcome on disk, counted); an exception from here is a job's
problem and says what to do; every run that began ends with its files written, whatever stopped it.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from batch.errors import ExitCode, StoppedError
from batch.job import runs
from batch.job.checking import Checked, check
from batch.job.closing import Closing, close
from batch.job.opening import Run, discard, open_run
from batch.job.sending import Sending
from batch.job.target import World, make_endpoint, make_target
from batch.job.watch import Preflight, Progress, Watcher
from batch.model import Outcome
from batch.report import seconds_at_limits
from batch.settings import Settings

__all__ = [
    "Checked",
    "Closing",
    "Declined",
    "Preflight",
    "Progress",
    "Watcher",
    "World",
    "check",
    "make_endpoint",
    "results",
    "update",
]


class Declined(Exception):
    """The person said no; nothing was sent, and nothing is left behind."""


def update(settings: Settings, watcher: Watcher, world: World) -> Closing:
    """The main job: read, validate, ask, send, write down. Raises BatchError when it could not begin."""
    with ExitStack() as stack:
        target = make_target(settings, world, stack, watcher.note)
        run = open_run(settings, target, stack, watcher.note)
        if run.is_finished:
            watcher.note(f"This run is finished: {run.folder}. To start over:  --new")
            return close(run.folder, run.journal, run.staged, stopped=run.meta.get("stopped"))
        sending = Sending(run, target, settings, watcher, world)
        began = time.monotonic()
        try:
            stopped, forced = _look_and_send(sending)
        finally:
            run.keep(seconds=run.meta["seconds"] + time.monotonic() - began)
        return close(run.folder, run.journal, run.staged, stopped=stopped, forced=forced)


def _look_and_send(sending: Sending) -> tuple[str | None, ExitCode | None]:
    """Survey the input, ask, and send; gives why it stopped, and the exit code where the outcomes do not say it."""
    run, settings, world = sending.run, sending.settings, sending.world
    run.keep(exit_code=None)
    try:
        _survey(sending)
    except StoppedError as error:
        return str(error), None
    invalid = run.journal.counts[Outcome.INVALID]
    if invalid and settings.invalid == "abort" and not run.journal.has_intents():
        stopped = f"{invalid} rows are invalid and --invalid abort is set, so nothing was sent."
        return stopped, ExitCode.COULD_NOT_START
    to_send = run.survey.changes - _changes_done(run)
    if to_send <= 0:
        return None, None
    if settings.key is not None:
        try:
            world.run(sending.choose_way, to_send)
        except StoppedError as error:
            return str(error), None
    if not sending.watcher.confirm(_preflight(sending, to_send)):
        if not run.is_resumed:
            run.journal.close()
            discard(run.folder)
        raise Declined
    world.run(sending.send)
    if run.journal.error is not None:
        return str(run.journal.error), ExitCode.RUN_AGAIN
    return sending.stop.reason or None, sending.signalled


def _survey(sending: Sending) -> None:
    run = sending.run
    has_custom = any(one.field and one.field.name.startswith("custom") for one in run.survey.columns.fields)
    if has_custom and not run.meta.get("has_definitions"):
        run.learn_definitions(sending.world.run(sending.fetch_definitions), sending.settings)
        run.keep(has_definitions=True)
    run.survey.look((lambda fates: None) if run.meta["is_surveyed"] else run.journal.record)
    run.keep(is_surveyed=True)


def _changes_done(run: Run) -> int:
    """Count the changes of a resumed run that are final; a change of several rows counts once."""
    return run.journal.count_final_changes()


def _preflight(sending: Sending, to_send: int) -> Preflight:
    run, settings, endpoint = sending.run, sending.settings, sending.endpoint
    reads_of = endpoint.records_per_read if settings.compare or endpoint.writes_whole else 0
    reads = sending.way.reads if sending.way else -(-to_send // reads_of) if reads_of else 0
    return Preflight(
        survey=run.survey,
        endpoint=endpoint,
        host=sending.target.base_url,
        host_kind=sending.target.kind,
        credential=sending.target.shown_credential,
        folder=run.folder,
        to_send=to_send,
        reads=reads,
        seconds=_seconds(sending, to_send, reads),
        is_resumed=run.is_resumed,
        done=dict(run.journal.counts),
    )


def _seconds(sending: Sending, writes: int, reads: int) -> float | None:
    """Reckon the time at the limits: each route in its own bucket, everything in the common one."""
    own = sending.settings.max_per_second
    if own is not None:
        return (writes + reads) / own
    total, per_route = sending.limits.total, sending.limits.per_route
    times = [seconds_at_limits(writes + reads, [(total.burst, total.per_second)])] if total else []
    if per_route:
        times.append(seconds_at_limits(max(writes, reads), [(per_route.burst, per_route.per_second)]))
    return max(times, default=None)


def results(folder: Path, note: Callable[[str], None]) -> Closing:
    """Make the results files of the run in `folder` again from its journal."""
    with ExitStack() as stack:
        stack.enter_context(runs.held(folder / ".lock", "this run folder", folder))
        journal, meta, staged = runs.open_run(folder)
        stack.enter_context(journal)
        if not meta.get("is_surveyed"):
            note("This run was stopped before all rows were validated; run the same command again to go on.")
        return close(folder, journal, staged, stopped=meta.get("stopped"))
