"""The library to be awaited: the functions of `batch.library`, on asyncio and trio.

Promises: the event loop of the caller goes on meanwhile, since each job has a thread with a loop of its own; a job
whose scope is cancelled ends as with Ctrl-C, with the files of what was done by then, before the cancellation goes on;
`on_progress` is called in the caller's event loop.
"""

import os
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar, Unpack

import anyio
from anyio import from_thread, to_thread
from anyio.lowlevel import EventLoopToken, checkpoint_if_cancelled, current_token

from batch import library
from batch.commands.plan import PlanSummary
from batch.commands.pull import PullSummary
from batch.commands.purge import PurgeOlder, PurgePreview
from batch.commands.runs import ListedRun
from batch.commands.status import Status
from batch.commands.template import TemplateMade
from batch.library import jobs
from batch.library.jobs import Call, Job, perform
from batch.library.options import (
    CheckOptions,
    OnProgress,
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
ROWS_AT_ONCE = 1_000


async def check(input: Source, *, endpoint: str, **options: Unpack[CheckOptions]) -> Summary:
    """Do what `batch.check` does."""
    return await _awaited(partial(jobs.check, input, endpoint, options))


async def plan(input: Source, *, endpoint: str, **options: Unpack[PlanOptions]) -> PlanSummary:
    """Do what `batch.plan` does."""
    return await _awaited(partial(jobs.plan, input, endpoint, options))


async def update(input: Source, *, endpoint: str, **options: Unpack[UpdateOptions]) -> Summary:
    """Do what `batch.update` does."""
    return await _awaited(partial(jobs.update, input, endpoint, options))


async def undo(run: Run, **options: Unpack[UndoOptions]) -> Summary:
    """Do what `batch.undo` does."""
    return await _awaited(partial(jobs.undo, run, options))


async def resume(run: Run, **options: Unpack[ResumeOptions]) -> Summary:
    """Do what `batch.resume` does."""
    return await _awaited(partial(jobs.resume, run, options))


async def pull(output: str | os.PathLike[str], *, endpoint: str, **options: Unpack[PullOptions]) -> PullSummary:
    """Do what `batch.pull` does."""
    return await _awaited(partial(jobs.pull, output, endpoint, options))


async def template(
    output: str | os.PathLike[str], *, endpoint: str, **options: Unpack[TemplateOptions]
) -> TemplateMade:
    """Do what `batch.template` does."""
    return await _awaited(partial(jobs.template, output, endpoint, options))


async def results(run: Run) -> AsyncIterator[RowResult]:
    """Yield what `batch.results` yields."""
    rows = await to_thread.run_sync(library.results, run)
    while some := await to_thread.run_sync(lambda: list(islice(rows, ROWS_AT_ONCE))):
        for one in some:
            yield one


async def write_results(run: Run, *, results_xlsx: bool = False, keep: Sequence[str] = ()) -> Summary:
    """Do what `batch.write_results` does."""
    return await _awaited(partial(jobs.write_results, run, results_xlsx, keep))


async def runs(path: str | os.PathLike[str] | None = None) -> list[ListedRun]:
    """Do what `batch.runs` does."""
    return await to_thread.run_sync(library.runs, path)


async def status(run: Run) -> Status:
    """Do what `batch.status` does."""
    return await to_thread.run_sync(library.status, run)


async def purge(run: Run) -> PurgePreview:
    """Do what `batch.purge` does."""
    return await _awaited(partial(jobs.purge, run))


async def purge_older(
    parent: str | os.PathLike[str], *, older_than: float | str, unfinished: bool = False
) -> PurgeOlder:  # fmt: skip
    """Do what `batch.purge_older` does."""
    return await _awaited(partial(jobs.purge_older, parent, older_than, unfinished))


async def _awaited(job: Job[T]) -> T:
    """Do a job in a thread of its own; a cancellation ends the job first."""
    call = Call(called_back=partial(_in_loop, current_token()))
    async with anyio.create_task_group() as around:
        around.start_soon(_stop_when_cancelled, call)
        found = error = None
        try:
            found = await to_thread.run_sync(perform, job, call, limiter=anyio.CapacityLimiter(1))
        except Exception as raised:  # it comes alone, not in a group
            error = raised
        around.cancel_scope.cancel()
    await checkpoint_if_cancelled()  # the job may be what used up the cancellation
    if error is not None:
        raise error
    return found  # type: ignore[return-value]  # there is one where there is no error


async def _stop_when_cancelled(call: Call) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        call.stop.set()


def _in_loop(token: EventLoopToken, on_progress: OnProgress) -> OnProgress:
    """Return what calls back in the event loop of the caller."""
    return lambda progress: from_thread.run_sync(on_progress, progress, token=token)
