"""What each stage of `update` costs by itself: processor time per row, in this process, without the others."""

import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import anyio

from batch import outputs, sources
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.http import Session
from batch.journal import Journal
from batch.model import Change, Intent, Outcome, RowResult
from batch.settings import Settings
from batch.sources import ReadOptions
from batch.validation.file_changes import FileChanges, match_file

WORKERS = 64
ENDPOINT = DualEntryCustomers()


def measure(sheet: Path, rows: int, url: str) -> dict[str, float]:
    """Return the microseconds of processor time per row of each stage, in their order."""
    costs: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        costs[name] = (time.process_time() - began) / rows * 1e6

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with stage("read"):
            staged = sources.stage(sources.open_input(str(sheet), folder), folder, ReadOptions())
        with stage("validate"):
            survey = match_file(staged, ENDPOINT, Settings(input=str(sheet)).parsing, reads_before_write=False)
            changes = _validated(survey)
        with stage("send"):
            anyio.run(_send, changes, url)
        with Journal.create(folder / "journal.sqlite", {}) as journal:
            with stage("journal"):
                anyio.run(_write, journal, changes)
            with stage("results"):
                wanted = outputs.Wanted(id_column=0)
                outputs.write(folder, staged, partial(sources.iter_frames, staged), journal.row_results, wanted)
    return costs


def _validated(survey: FileChanges) -> list[Change]:
    survey.validate_all(lambda row_results: None)
    return list(survey.iter_changes())


async def _send(changes: Sequence[Change], url: str) -> None:
    """Send all of them as nothing but exchanges: no journal, no limits, no retries."""
    async with Session(url, max_at_once=WORKERS) as session:

        async def send(change: Change) -> None:
            body = ENDPOINT.body(change.fields, None)
            await session.exchange(ENDPOINT.write_request(change.id, body, str(uuid.uuid4())), {"X-API-KEY": "k" * 20})

        await _for_each(changes, send)


async def _write(journal: Journal, changes: Sequence[Change]) -> None:
    """Write the intent and the result of all of them."""
    async with _writing(journal):

        async def write(change: Change) -> None:
            await journal.write_intent(
                Intent(change.number, change.id, "k" * 36, 1, change.fields, None, change.fields)
            )
            journal.count("requests")
            journal.count("attempts")
            journal.record(change.number, [RowResult(row, change.id, Outcome.UPDATED, 200, 1) for row in change.rows])

        await _for_each(changes, write)
        journal.flush()


@asynccontextmanager
async def _writing(journal: Journal) -> AsyncIterator[None]:
    async def run_writer() -> None:
        await journal.run_writer(lambda error: None, in_thread=True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_writer)
        yield
        tasks.cancel_scope.cancel()


async def _for_each(changes: Sequence[Change], do: Callable[[Change], object]) -> None:
    rest = iter(changes)

    async def work() -> None:
        for change in rest:
            await do(change)  # type: ignore[misc]  # `object` keeps the signature short

    async with anyio.create_task_group() as workers:
        for _ in range(WORKERS):
            workers.start_soon(work)
