"""What a job tells whoever watches it, a person at a terminal, a log or a test, and how fast it goes on."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

import anyio

from batch.conditions import PlannedChange
from batch.endpoints.base import Endpoint
from batch.engine.retry_loop import ApiClient
from batch.engine.shutdown import Shutdown
from batch.errors import ExitCode
from batch.journal import Journal
from batch.model import Columns, Outcome
from batch.run.consent import Person
from batch.summary import Reason
from batch.validation.file_changes import ChangeSource


@dataclass(frozen=True, slots=True)
class Cost:
    """Requests, and the seconds that they take at the limits (None: no limit is known)."""

    requests: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a job, from its first request on. Reading and writing go on at the same time."""

    writes: int
    reads: int
    comparing: Cost
    """Finding out what differs; its part of `whole`."""
    whole: Cost
    is_known: bool
    """False: `writes` and `whole` are the most that it can be, since it is not known yet what differs."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What comparing all records found before the question. Counts are of changes, but for `cells`."""

    changes: Iterable[PlannedChange]
    """What differs, in the order of the rows."""
    in_all: int
    cells: int
    unchanged: int
    unset: int
    """Rows of which no cell asks for anything, so that their records were not looked at."""
    reasons: tuple[Reason, ...]
    """What stays behind, and why."""
    left_out: int


@dataclass(frozen=True, slots=True)
class Tried:
    """The first few changes, which hold, and how many are left."""

    changes: tuple[PlannedChange, ...]
    left: int
    endpoint: Endpoint
    columns: Columns


@dataclass(frozen=True, slots=True)
class Preflight:
    """What is about to happen."""

    changes: ChangeSource
    endpoint: Endpoint
    host: str
    host_kind: str
    """"production", "test system", "sandbox", or "" for an address that is not the maker's."""
    credential: str
    """The credential as it may be shown: its last four characters."""
    company: str | None
    folder: Path
    to_send: int
    cost: Estimate
    is_resumed: bool
    done: Mapping[Outcome, int]
    excesses: tuple[str, ...] = ()
    """Fields that would be cleared on more records than --max-clears allows: only who is asked may send them."""
    clears: Mapping[str, int] = field(default_factory=dict)
    """In how many records each field would be emptied, of those that are still to be sent."""
    slower: str = ""
    """Why it goes slower than documented, if it does."""
    keeps_data: bool = True
    """False: when it is over, its values are removed, and it cannot be undone."""
    compared: Compared | None = None
    """What differs, where that was found out before the question."""


CANARY: Final = "canary"
"""The answer "the first few, and ask again if they hold"."""
CANARY_CHANGES: Final = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a run. `per_second` is the recent rate of attempts; `eta` seconds, None when it cannot be told.

    `rows` were left to do when this stretch of the run began, and `done` of them are.
    """

    rows: int
    done: int
    counts: Mapping[Outcome, int]
    per_second: float
    throttled: int
    paused: float
    """Seconds that everybody still waits for the API."""
    why: str
    """Why, as a phrase."""
    eta: float | None
    is_stopping: bool
    is_plan: bool = False
    """The counts are of what would become of rows: nothing is written."""

    def word(self, outcome: Outcome) -> str:
        """Return what rows with an outcome are called."""
        return "to update" if self.is_plan and outcome is Outcome.UPDATED else outcome.value


class Reporter(Person, Protocol):
    """Is told what happens, and asked before anything is sent."""

    interval: float | None
    """Seconds between two calls of `progress`; None for none."""

    def cost(self, cost: Cost) -> None:
        """What it takes to read what is asked for, before it is read."""

    def confirm(self, preflight: Preflight) -> bool | Literal["canary"]:
        """Show what is about to happen, and ask where there is somebody to ask; false = do not send."""

    def confirm_rest(self, tried: Tried) -> bool:
        """Show the first few changes, which were sent and hold, and ask about the others; false = do not send."""

    def progress(self, progress: Progress) -> None:
        """A moment of the run."""

    def leave_at_once(self, code: ExitCode, why: str) -> None:
        """The process ends now, with this exit code: say why, and give the terminal back."""


RATE_SECONDS = 10.0
"""The recent rate is that of so many seconds."""
SLOWER = 1.25
"""The recent rate is believed where it makes the rest so much longer than the limits do."""


class Meter:
    """Measures how fast a run goes on."""

    def __init__(self, journal: Journal, rows: int, shutdown: Shutdown) -> None:
        self._journal, self._rows, self._shutdown = journal, rows, shutdown
        self._moments: deque[tuple[float, int, int]] = deque()
        self._attempts = 0
        self._before: int | None = None
        """Rows that were done before this stretch of the run."""
        self._last, self._paused = 0.0, 0.0
        self.looked_at = 0
        """Rows that are through with this stretch, and have no outcome yet."""
        self.expected: float | None = None
        """Seconds that the sending takes as a whole, where that is known."""
        self._began = math.inf
        self.requests = 0
        """Requests that this process made, each however often it was attempted."""
        self.is_plan = False
        """Nothing is written."""

    def count(self, name: str) -> None:
        """Add one to a counter of the journal."""
        self._journal.count(name)
        self._attempts += name == "attempts"
        self.requests += name == "requests"

    async def report(self, reporter: Reporter, client: ApiClient) -> None:
        """Tell the progress every `reporter.interval` seconds, for ever."""
        if reporter.interval is None:
            return
        while True:
            reporter.progress(self._progress(anyio.current_time(), client))
            await anyio.sleep(reporter.interval)

    def _progress(self, now: float, client: ApiClient) -> Progress:
        in_all = sum(self._journal.counts.values())
        self._before = in_all if self._before is None else min(self._before, in_all)
        made, done, rows = self._attempts, in_all - self._before + self.looked_at, self._rows - self._before
        wait = client.wait()
        if wait is not None:  # what is slow because of it says nothing of the rate afterwards
            self._moments.clear()
            self._paused += now - self._last if self._last else 0.0
        self._last = now
        self._moments.append((now, made, done))
        while now - self._moments[0][0] > RATE_SECONDS and len(self._moments) > 2:
            self._moments.popleft()
        then, made_then, done_then = self._moments[0]
        seconds = max(now - then, 1e-9)
        rows_per_second = (done - done_then) / seconds
        self._began = min(self._began, now)
        at_this_rate = (rows - done) / rows_per_second if rows_per_second > 0 else None
        return Progress(
            rows=rows,
            done=done,
            counts=dict(self._journal.counts),
            per_second=(made - made_then) / seconds if now > then else 0.0,
            throttled=client.limiter.throttled,
            paused=wait.until - now if wait is not None else 0.0,
            why=wait.cause if wait is not None else "",
            eta=self._time_left(now, at_this_rate) if wait is None else None,
            is_stopping=self._shutdown.requested,
            is_plan=self.is_plan,
        )

    def _time_left(self, now: float, at_this_rate: float | None) -> float | None:
        """Believe the estimate, which knows the limits, unless it goes slower than that; pauses are no part of it."""
        left = (self.expected or 0.0) - (now - self._began - self._paused)
        is_slower = at_this_rate is not None and at_this_rate > SLOWER * left + RATE_SECONDS
        return at_this_rate if is_slower or left <= 0 else left
