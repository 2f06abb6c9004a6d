"""The library: what the commands do, as functions, for pipelines and notebooks.

    import batch

    summary = batch.update("customers.parquet", endpoint="dualentry.customers", credentials={"DUALENTRY_API_KEY": key})
    summary.exit_code, summary.outcomes.updated, summary.files.failures

Promises: options are those of the commands, by the same names and with the same defaults; neither `BATCH_…` variables
nor settings files are read but the one that `settings` names, and no keyring unless `login` is given. Nothing is
printed (what a person should know goes to the logger "batch"), nothing is asked, no signal handler is set, and there is
no state of the process, so that two jobs at once are right. What is wrong with the job is a `BatchError` with
`exit_code`, `reason` and `hint`; what is wrong with a row is in the results. Each function does its work in a thread of
its own, so that it can be called where an event loop runs. `batch.aio` has the same functions to be awaited.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from functools import partial
from threading import Thread
from typing import Any, TypeVar, Unpack

from batch.commands import results as results_command
from batch.commands import runs as runs_command
from batch.commands import schema as schema_command
from batch.commands import status as status_command
from batch.commands.plan import PlanSummary
from batch.commands.pull import PullSummary
from batch.commands.purge import PurgeOlder, PurgePreview
from batch.commands.runs import ListedRun
from batch.commands.status import Status
from batch.commands.template import TemplateMade
from batch.library import jobs
from batch.library.jobs import Call, Job, folder_of, perform
from batch.library.options import (
    CheckOptions,
    PlanOptions,
    PullOptions,
    ResumeOptions,
    Run,
    Source,
    TemplateOptions,
    UndoOptions,
    UpdateOptions,
)
from batch.model import RowResult
from batch.summary import Summary

T = TypeVar("T")
LOOK_SECONDS = 0.5
"""How long an exception that another thread raises in the caller's waits at most: it is not seen during a wait."""


def check(input: Source, *, endpoint: str, **options: Unpack[CheckOptions]) -> Summary:
    """Validate every row of the input; no network, no key. Raises BatchError where it cannot be read."""
    return _in_thread(partial(jobs.check, input, endpoint, options))


def plan(input: Source, *, endpoint: str, **options: Unpack[PlanOptions]) -> PlanSummary:
    """Find out what an update would change, cell by cell; nothing is written to the API.

    The plan is in the folder `summary.run`, which `update(…, plan=…)` carries out exactly. Raises BatchError.
    """
    return _in_thread(partial(jobs.plan, input, endpoint, options))


def update(input: Source, *, endpoint: str, **options: Unpack[UpdateOptions]) -> Summary:
    """Send what the input changes, and say what became of every row.

    The same call goes on with a run that was not finished. Times are in seconds. Raises BatchError where the job could
    not begin, and CancelledError where it was cancelled before it did; whatever ends it later is in the summary.
    """
    return _in_thread(partial(jobs.update, input, endpoint, options))


def update_unless_finished(
    input: Source, *, endpoint: str, since: float, **options: Unpack[UpdateOptions]
) -> Summary:  # fmt: skip
    """Do what `update` does; raises AlreadyFinished where the newest run of the same input has finished since then.

    `since` is in seconds since 1970.
    """
    return _in_thread(partial(jobs.update, input, endpoint, options, finished_since=since))


def undo(run: Run, **options: Unpack[UndoOptions]) -> Summary:
    """Put back what a run changed, where nobody changed it since; by its folder or its summary. Raises BatchError."""
    return _in_thread(partial(jobs.undo, run, options))


def resume(run: Run, **options: Unpack[ResumeOptions]) -> Summary:
    """Go on with a run from the rows that it keeps, where its input was moved. Raises BatchError."""
    return _in_thread(partial(jobs.resume, run, options))


def pull(output: str | os.PathLike[str], *, endpoint: str, **options: Unpack[PullOptions]) -> PullSummary:
    """Write the current records as a .csv, .xlsx or .parquet to edit. Raises BatchError."""
    return _in_thread(partial(jobs.pull, output, endpoint, options))


def template(output: str | os.PathLike[str], *, endpoint: str, **options: Unpack[TemplateOptions]) -> TemplateMade:
    """Write an empty .xlsx or .csv with the headers of an endpoint. Raises BatchError."""
    return _in_thread(partial(jobs.template, output, endpoint, options))


def results(run: Run) -> Iterator[RowResult]:
    """Yield what became of each row of a run, in their order, also while it goes on; nothing is written.

    A row that was not sent yet is *unsent*. Raises BatchError where there is no run.
    """
    return results_command.iter_results(folder_of(run))


def write_results(run: Run, *, results_xlsx: bool = False, keep: Sequence[str] = ()) -> Summary:
    """Make the results files of a run again from its journal. Raises BatchError where there is none, or it goes on."""
    return _in_thread(partial(jobs.write_results, run, results_xlsx, keep))


def runs(path: str | os.PathLike[str] | None = None) -> list[ListedRun]:
    """List the runs of this user, the newest first; of a file or a run folder all rounds, the oldest first."""
    if path is None:
        return list(runs_command.newest_runs(None).runs)
    return [one for sheet in runs_command.rounds(path) for one in sheet.rounds]


def status(run: Run) -> Status:
    """Look how far a run is, without a lock: counts, rate and time left. Raises BatchError where there is none."""
    return status_command.status(folder_of(run))


def schema(document: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a document that the commands print, and functions give by `as_dict`.

    "summary", "plan", "pull", "status", "log" (an event of `--log-format json`), or "results" (a line of the results).
    Raises UsageError.
    """
    return schema_command.schema(document)


def purge(run: Run) -> PurgePreview:
    """Remove a run and its undos: journal, results and all. Raises BatchError where it must stay."""
    return _in_thread(partial(jobs.purge, run))


def purge_older(
    parent: str | os.PathLike[str], *, older_than: float | str, unfinished: bool = False
) -> PurgeOlder:  # fmt: skip
    """Remove the runs, checks and plans in a folder of runs that got no further for `older_than` (seconds, or "30d").

    What is held stays; so does what is not finished or waits for approval at the API, unless `unfinished`. Raises
    BatchError where this is no folder of runs, and SettingsError where the time makes no sense.
    """
    return _in_thread(partial(jobs.purge_older, parent, older_than, unfinished))


def _in_thread(job: Job[T]) -> T:
    """Do a job in a thread of its own, and wait for it.

    What is raised here meanwhile, by Ctrl-C or by a time limit of whoever calls, ends the job as Ctrl-C ends the
    command's, and goes on then: no job is left behind that sends while its caller believes that it is over.
    """
    call, done = Call(), Future[T]()

    def work() -> None:
        try:
            done.set_result(perform(job, call))
        except BaseException as error:
            done.set_exception(error)

    Thread(target=work, name="batch").start()
    try:
        while not done.done():
            wait([done], LOOK_SECONDS)
    except BaseException:
        call.stop.set()
        wait([done])  # not by joining the thread, which Python takes for ended when a wait for it was broken off
        raise
    return done.result()
