"""What a person sees before and while a run goes on.

Promises: a question only on a terminal and never with `--yes`; on a terminal a progress bar, elsewhere a line every
10 s; foreign text has its control characters made visible; colours only underline what the words say (NO_COLOR).
"""

import signal
import sys
import time
from typing import Any, Literal

import click

from batch.cli import messages
from batch.engine.progress import CANARY, CANARY_CHANGES, Preflight, Progress
from batch.model import Outcome, visible
from batch.settings import Settings

LINE_SECONDS = 10.0
BAR_SECONDS = 0.2
STYLES = {
    Outcome.UPDATED: "green", Outcome.UNCHANGED: "bright_black", Outcome.INVALID: "yellow",
    Outcome.REJECTED: "yellow", Outcome.FAILED: "red", Outcome.UNKNOWN: "red", Outcome.UNSENT: "red",
}  # fmt: skip


class Screen:
    """The watcher at standard error."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.is_terminal = sys.stderr.isatty()
        self.can_ask = self.is_terminal and not settings.yes and sys.stdin.isatty()
        self.interval: float | None = None if settings.quiet else BAR_SECONDS if self.is_terminal else LINE_SECONDS
        self._bar: Any = None
        self._last_line = time.monotonic()

    def say(self, text: str = "", *, style: str | None = None, is_error: bool = False) -> None:
        """Write a line to standard error; with --quiet only an error."""
        if is_error or not self.settings.quiet:
            self._pause_bar()
            click.echo(click.style(text, fg=style) if style and not messages.is_colourless() else text, err=True)

    def note(self, text: str) -> None:
        """Something the person should know."""
        self.say(visible(text))

    # -- before -------------------------------------------------------------------------------------------------

    def confirm(self, preflight: Preflight) -> bool | Literal["canary"]:
        """Show what is about to happen, and ask where there is somebody to ask."""
        if self.can_ask or not self.settings.quiet:
            for line in messages.preflight(preflight, self.settings):
                click.echo(line, err=True)
        self._last_line = time.monotonic()
        if not self.can_ask:
            return True
        signal.siginterrupt(signal.SIGINT, True)  # else polars' handler lets Ctrl-C wait for the answer
        try:
            answer = self._ask(preflight)
        except click.Abort as error:
            pressed = error.__context__
            raise pressed if isinstance(pressed, KeyboardInterrupt) else KeyboardInterrupt from None
        return answer

    def _ask(self, preflight: Preflight) -> bool | Literal["canary"]:
        """Ask; first for cells that would be emptied, and of a new input offer to send only a few at first."""
        if preflight.excesses:
            question = "More cells than usual would be emptied (--max-clears). Is that meant?"
            if not click.confirm(question, default=False, err=True):
                return False
        if preflight.is_resumed or self.settings.canary is not None or preflight.to_send <= CANARY_CHANGES:
            return click.confirm("Send?", default=False, err=True)
        question = f"Send? [y/N/c = the first {CANARY_CHANGES}, verify them, then the rest]"
        while True:
            letter = click.prompt(question, default="n", show_default=False, err=True).strip().casefold()
            if letter in ("c", "canary"):
                return CANARY
            if letter in ("y", "yes", "n", "no"):
                return bool(letter.startswith("y"))

    # -- while --------------------------------------------------------------------------------------------------

    def progress(self, progress: Progress) -> None:
        """Show a moment of the run."""
        if self.is_terminal:
            self._draw(progress)
            return
        if time.monotonic() - self._last_line >= LINE_SECONDS - 0.5:
            self._last_line = time.monotonic()
            click.echo(f"{sum(progress.counts.values())}/{progress.rows}  {messages.progress(progress)}", err=True)

    def _draw(self, progress: Progress) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bars

            columns = (BarColumn(bar_width=28), MofNCompleteColumn(), TextColumn("{task.fields[words]}", markup=False))
            self._bar = Bars(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
            self._bar.add_task("rows", total=progress.rows, words="")
            self._bar.start()
        (task,) = self._bar.task_ids
        self._bar.update(task, completed=sum(progress.counts.values()), words=messages.progress(progress), refresh=True)

    def _pause_bar(self) -> None:
        """Take the bar away before something else is written; the next moment draws it again."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def leave(self) -> None:
        """Give the terminal back."""
        self._pause_bar()
