"""Two starts at the same moment, with one key, that overlay the same records: what either changed stays, and is told.

They run in one event loop on one virtual clock, over one store of limits and leases, as two processes of a key do; only
what they do before and after that is done in threads. Each changes another part of records that are written whole.
"""

import os
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.commands.update import update as run_update
from batch.ratelimit import MemoryStore
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import FakeReporter
from tests.resilience.memory_api import DEEDS, ENVIRONMENT, FAULTS, MemoryApi
from tests.shell import DUALENTRY, VAYU, assert_balanced, results
from tests.virtual import run_on_virtual_clock

pytestmark = pytest.mark.long
JOB = ContextVar("JOB", default=0)
ROWS = 4
FIELDS = {DUALENTRY: ("full_address.city", "full_address.postal_code"), VAYU: ("name", "legalName")}
"""What each of the two sets: parts of what these APIs take as a whole."""
PACE: dict[str, Any] = {"yes": True, "max_at_once": 2, "max_per_second": 20.0}
HONEST = [one for one in FAULTS if one not in DEEDS]
faults = st.lists(st.sampled_from(HONEST), max_size=12)


class Dice:
    """Jitter that is the same every time."""

    @staticmethod
    def Random() -> random.Random:
        return random.Random(0)  # noqa: S311 - jitter, no secret


class SharedApi(MemoryApi):
    """Knows whose request it answers."""

    @property
    def command(self) -> int:
        """The job that asks."""
        return JOB.get()

    @command.setter
    def command(self, value: int) -> None:
        """Leave it to whoever asks."""

    def transport_of(self, job: int) -> httpx.AsyncBaseTransport:
        """What a job sends by."""

        async def answer(request: httpx.Request) -> httpx.Response:
            JOB.set(job)  # of the task that asks, which is that job's own
            return await self.answer(request)

        return httpx.MockTransport(answer)


@dataclass
class Together:
    """Does jobs in threads, but for what they do in an event loop: of all of them that is done in one."""

    _asked: "queue.Queue[_Asked | None]" = field(default_factory=queue.Queue)

    def run(self, jobs: Sequence[Callable[[Callable[..., Any]], Any]]) -> list[Any]:
        """Do these jobs, each of which is given what it runs by, and return what they return."""
        found: list[Any] = [None] * len(jobs)

        def do(number: int) -> None:
            try:
                found[number] = jobs[number](partial(self._ask, number))
            except BaseException as error:
                found[number] = error
            finally:
                self._asked.put(None)

        threads = [threading.Thread(target=do, args=(number,), daemon=True) for number in range(len(jobs))]
        for thread in threads:
            thread.start()
        working = len(threads)
        while working:
            waiting = list[_Asked]()
            while len(waiting) < working:
                asked = self._asked.get(timeout=60)
                working -= asked is None
                waiting += [asked] if asked else []
            if waiting:
                waiting.sort(key=lambda one: one.number)  # whoever was ready first
                try:
                    run_on_virtual_clock(_all_of, waiting)
                finally:
                    for one in waiting:
                        one.is_done.set()
        for thread in threads:
            thread.join()
        for result in found:
            if isinstance(result, BaseException):
                raise result
        return found

    def _ask(self, number: int, function: Callable[..., Any], *arguments: Any) -> Any:
        asked = _Asked(number, partial(function, *arguments))
        self._asked.put(asked)
        asked.is_done.wait()
        if asked.error is not None:
            raise asked.error
        return asked.result


@dataclass
class _Asked:
    number: int
    work: Callable[[], Any]
    is_done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None

    async def do(self) -> None:
        try:
            self.result = await self.work()
        except BaseException as error:
            self.error = error
            if not isinstance(error, Exception):
                raise


async def _all_of(waiting: Sequence[_Asked]) -> None:
    async with anyio.create_task_group() as tasks:
        for one in waiting:
            tasks.start_soon(one.do)


def ids_of(endpoint: str) -> list[str]:
    """The records that both change."""
    first = 10_001 if endpoint == DUALENTRY else 0x65F000000000000000000001
    return [str(first + one) if endpoint == DUALENTRY else f"{first + one:024x}" for one in range(ROWS)]


def value_of(shown: Any, name: str) -> Any:
    """A field of a record, or of a part of it."""
    for one in name.split("."):
        shown = shown[one]
    return shown


@dataclass
class Pair:
    """Two sheets for the same records, and one API."""

    folder: Path
    endpoint: str
    api: SharedApi = field(init=False)
    earlier: Counter[int] = field(default_factory=Counter)
    """The exchanges of each job's earlier starts."""

    def __post_init__(self) -> None:
        self.api = SharedApi(self.endpoint)
        for job, name in enumerate(FIELDS[self.endpoint]):
            order = ids_of(self.endpoint)[:: -1 if job else 1]
            lines = [f"{one},{self.wanted(job, one)}" for one in order]
            (self.folder / f"{job}.csv").write_text("\n".join([f"id,{name}", *lines]) + "\n")

    def wanted(self, job: int, record_id: str) -> str:
        """What a job sets in a record."""
        return f"N{job}-{record_id[-2:]}"

    def start(self, job: int, run: Callable[..., Any]) -> FinishedRun:
        """Start one of the two."""
        about = Settings(input=str(self.folder / f"{job}.csv"), endpoint=self.endpoint, **PACE)
        world = Environment(ENVIRONMENT, run, partial(self.api.transport_of, job))
        return run_update(about, FakeReporter(), world)

    def judge(self, job: int, ended: FinishedRun) -> list[str]:
        """Hold what a job said against the ledger and the records; return the outcomes of its rows."""
        assert_balanced(ended.folder)
        made = self.api.exchanges[job] - (0 if ended.summary.resumed else self.earlier[job])
        assert (True, made) == (ended.summary.is_exact, ended.summary.attempts)
        self.earlier[job] = self.api.exchanges[job]
        name, outcomes = FIELDS[self.endpoint][job], []
        for line in results(ended.folder):
            wanted = self.wanted(job, line["id"])
            mine = [one for one in self.api.ledger if (one.id, one.command) == (line["id"], job)]
            applied = [one for one in mine if one.applied]
            assert len(applied) <= 1, f"applied twice: {applied}"
            assert all(value_of(one.body, name) == wanted for one in mine), f"sent, but not in the sheet: {mine}"
            has_it = wanted == value_of(self.api.api.true_record(line["id"]), name)
            if applied:
                assert has_it, f"an update of ours is lost: {line}, {self.api.ledger}"
            if line["outcome"] in ("updated", "unchanged"):
                assert has_it, f"called {line['outcome']}: {line}, {mine}"
            elif line["outcome"] != "unknown":
                assert not has_it, f"called {line['outcome']}, but applied: {line}, {mine}"
            outcomes.append(line["outcome"])
        return outcomes


def judge_pair(folder: Path, endpoint: str, writes: Sequence[str], reads: Sequence[str]) -> None:
    """Let two starts meet these faults at the same moment, and then do what they left, one after the other."""
    store = MemoryStore()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setattr("batch.engine.api_session.MemoryStore", lambda: store)
        patch.setattr("batch.engine.api_session.random", Dice)
        patch.setattr("batch.engine.shutdown._may_receive", lambda: False)  # two at once would put back the wrong one
        pair = Pair(folder, endpoint)
        pair.api.begin(writes, reads, lambda: None)
        ended = Together().run([partial(pair.start, job) for job in (0, 1)])
        assert writes or reads or {0, 1} == {one.command for one in pair.api.ledger}
        found = [pair.judge(job, one) for job, one in enumerate(ended)]
        pair.api.begin((), (), lambda: None)
        for job in (0, 1):
            if not set(found[job]) <= {"updated", "unchanged"}:
                store.__init__()  # type: ignore[misc]  # the clock begins anew
                assert {"updated", "unchanged", "rejected"} >= set(
                    pair.judge(job, pair.start(job, run_on_virtual_clock))
                )


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_two_at_once(tmp_path: Path, endpoint: str) -> None:
    """Without any fault, nothing of either is lost though each writes whole what the other changes a part of."""
    judge_pair(tmp_path, endpoint, (), ())


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_two_at_once_with_faults(tmp_path_factory: pytest.TempPathFactory, endpoint: str) -> None:
    """Whatever the API does to either of them, nothing is lost, applied twice, or told as it is not."""
    seconds = float(os.environ.get("RESILIENCE_SECONDS", "30"))
    until, count = time.monotonic() + seconds, 0

    @settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(faults, faults)
    def judge(writes: list[str], reads: list[str]) -> None:
        nonlocal count
        count += 1
        judge_pair(tmp_path_factory.mktemp("pair"), endpoint, writes, reads)

    while time.monotonic() < until:
        judge()
    print(f"{endpoint}: {count} pairs of starts")  # noqa: T201 - so that it is known how often it was tried
