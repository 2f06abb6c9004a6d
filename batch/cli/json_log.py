"""`--log-format json`: what happens, as one line of JSON an event on standard error.

Promises: names and fields of events stay as README.md lists them; no value of a row and no secret is in any; there is
no bar and no question.
"""

import json
import time
from typing import Literal

import click

from batch.cli.console import LINE_SECONDS, Console
from batch.documents import as_json
from batch.engine.reporter import Cost, Preflight, Progress
from batch.events import Finished, Moment, Note, Paused, ProgressMade, Reading, Resumed, RunStarted, RunStopped
from batch.model import visible
from batch.run.finish import FinishedRun
from batch.run.target import SANDBOXES
from batch.summary import Outcomes

LOOK_SECONDS = 1.0
"""How often it is seen whether the API makes everybody wait."""


class JsonConsole(Console):
    """The reporter of a run that tells events instead of sentences."""

    def __init__(self, command: str, *, yes: bool = False, canary: int | None = None, compare: bool = True) -> None:
        """Tell everything, and ask nothing."""
        super().__init__(quiet=False, yes=yes, canary=canary, compare=compare)
        self._command = command
        self.can_ask, self.interval = False, LOOK_SECONDS
        self._is_paused = False

    def note(self, text: str) -> None:
        """Tell something that a person should know."""
        event(Note(message=visible(text)))

    def say(self, text: str, style: str = "") -> None:
        """Tell a line of a page."""
        event(Note(message=visible(text.strip())))

    def cost(self, cost: Cost) -> None:
        """Tell what reading takes."""
        event(Reading(requests=cost.requests, seconds=cost.seconds))

    def confirm(self, preflight: Preflight) -> bool | Literal["canary"]:
        """Tell that the run starts."""
        whole = preflight.cost.whole
        event(RunStarted(
            command=self._command, endpoint=preflight.endpoint.name, host=preflight.host,
            company=preflight.company, sandbox=preflight.host_kind in SANDBOXES, run=str(preflight.folder.resolve()),
            to_send=preflight.to_send, requests=whole.requests, seconds=whole.seconds,
        ))  # fmt: skip
        self._last_line = time.monotonic()
        self.run = preflight.folder
        return True

    def progress(self, progress: Progress) -> None:
        """Tell the progress, and when a wait for the API begins and ends."""
        if bool(progress.paused) != self._is_paused:
            self._is_paused = bool(progress.paused)
            if self._is_paused:
                event(Paused(seconds=progress.paused, cause=progress.why))
            else:
                event(Resumed())
        if self._is_time(LINE_SECONDS - 0.5):
            event(ProgressMade(
                rows=progress.rows, done=progress.done, per_second=progress.per_second,
                throttled=progress.throttled, time_left=progress.eta, outcomes=Outcomes(progress.counts),
            ))  # fmt: skip


def tell_end(end: FinishedRun) -> None:
    """Tell why a run stopped, and how it finished."""
    summary = end.summary
    if summary.stopped is not None:
        event(RunStopped(reason=summary.stopped.reason, message=summary.stopped.message))
    event(Finished(
        exit_code=summary.exit_code, state=summary.state, seconds=summary.seconds, outcomes=summary.outcomes,
        requests=summary.requests, attempts=summary.attempts,
        throttled=summary.throttled, run=str(end.folder.resolve()),
    ))  # fmt: skip


def event(happened: Moment) -> None:
    """Write one event."""
    click.echo(json.dumps(as_json(happened)), err=True)
