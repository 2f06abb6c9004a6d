"""What a person sees and is asked before and while a run goes on; how pages are printed.

Promises: a question only on a terminal and never with `--yes`; on a terminal a progress bar, elsewhere a line every
10 s; foreign text has its control characters made visible; colours only underline what the words say (NO_COLOR).
"""

import math
import os
import re
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TextIO, TypeVar

import click

from batch.cli import messages
from batch.cli.progress_bar import BEGIN_LINE, ProgressBar
from batch.conditions import PlannedChange
from batch.engine.reporter import CANARY, CANARY_CHANGES, Cost, Preflight, Progress, Tried
from batch.errors import ExitCode, UsageError
from batch.files import shown_path
from batch.model import Outcome, command, command_line, visible
from batch.run.begin_or_resume import headers_of
from batch.summary import Reason

if TYPE_CHECKING:
    from batch.commands.purge import PurgeOlder, PurgePreview

Answer = TypeVar("Answer")
NONE_OF_THEM = ("n", "no", "none", "q", "quit")
SHORTEST_WORD = 3
"""Letters of an option's beginning that are taken for it."""
LINE_SECONDS = 10.0
BAR_SECONDS = 0.2
STYLES: dict[str, str] = {
    Outcome.UPDATED: "green", Outcome.UNCHANGED: "bright_black", Outcome.INVALID: "yellow",
    Outcome.REJECTED: "yellow", Outcome.FAILED: "red", Outcome.UNKNOWN: "red", Outcome.UNSENT: "red",
    "stop": "red", "clear": "red",
}  # fmt: skip


class Console:
    """The reporter of a run at standard error; leaving it gives the terminal back."""

    def __init__(
        self, *, quiet: bool = False, yes: bool = False, canary: int | None = None, compare: bool = True
    ) -> None:
        self._quiet, self._yes, self._canary, self._compare = quiet, yes, canary, compare
        self.is_terminal = sys.stderr.isatty()
        self.can_ask = self.is_terminal and not yes and sys.stdin.isatty()
        self.interval: float | None = None if quiet else BAR_SECONDS if self.is_terminal else LINE_SECONDS
        self._unsaid: list[tuple[str, str]] = []
        """What --quiet kept back; a question shows it, since it may be about that."""
        self._bar: ProgressBar | None = None
        self._board = 0
        """How many lines of a board are above the cursor."""
        self._last_line = time.monotonic()
        self.told: Sequence[Reason] = ()
        """The reasons that were shown before the question."""
        self.at_leaving: Callable[[ExitCode, str], None] | None = None
        """Tells programs, too, that the process ends at once."""
        self.run: Path | None = None
        """The folder of the run that this start sends for; None before it sends."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.leave()

    @property
    def width(self) -> int:
        """How many columns a line of a page may have; a file may have any."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else messages.UNBROKEN

    @property
    def room(self) -> float:
        """How many lines a page may have, beside the command, a last line and the prompt, so that all of it is seen."""
        return shutil.get_terminal_size().lines - 3 if sys.stdout.isatty() else math.inf

    def height(self, text: str) -> int:
        """How many lines of the screen a line of a page takes."""
        width = self.width
        return sum(max(1, math.ceil(len(line) / width)) for line in fitted(text, sys.stdout).split("\n"))

    def show(self, page: Iterable[tuple[str, str]]) -> None:
        """Write a page of styled lines to standard output, since it is what was asked for."""
        if not self._quiet:
            for text, style in page:
                click.echo(_coloured(fitted(text, sys.stdout), style))

    def tell(self, page: Iterable[tuple[str, str]]) -> None:
        """Write a page of styled lines to standard error."""
        for text, style in page:
            self.say(text, style)

    def say(self, text: str, style: str = "") -> None:
        """Write a line to standard error; with --quiet only what stopped the run."""
        if style != "stop" and self._quiet:
            self._unsaid += [(text, style)] if self.can_ask else []
        else:
            self._write(text, style)

    def _write(self, text: str, style: str) -> None:
        self.leave()
        self._board = 0
        click.echo(_coloured(fitted(text, sys.stderr), style), err=True)

    def _write_unsaid(self) -> None:
        for text, style in self._unsaid:
            self._write(text, style)
        self._unsaid.clear()

    def _prompt(self, question: str, default: str = "", *, is_hidden: bool = False) -> str:
        self._write_unsaid()
        about: dict[str, Any] = {"default": default, "show_default": bool(default), "hide_input": is_hidden}
        return str(_answered(lambda: click.prompt(fitted(question, sys.stderr), err=True, **about)))

    def note(self, text: str) -> None:
        """Write something that the person should know."""
        self.say(visible(text))

    # -- before -------------------------------------------------------------------------------------------------

    def confirm(self, preflight: Preflight) -> bool | Literal["canary"]:
        """Show what is about to happen, and ask where there is somebody to ask."""
        self.leave()
        if self.can_ask or not self._quiet:
            for line in messages.preflight(preflight, compare=self._compare):
                click.echo(fitted(line, sys.stderr), err=True)
            self.told = messages.shown_reasons(preflight.compared.reasons) if preflight.compared else ()
        self._last_line = time.monotonic()
        answer = not self.can_ask or _answered(lambda: self._ask(preflight))
        self.run = preflight.folder if answer else None
        return answer

    def ask(self, question: str) -> bool:
        """Ask about what is odd; the default is no."""
        self._write_unsaid()
        return _answered(lambda: _consents(question))

    def choose(self, question: str, options: Sequence[str]) -> int | None:
        """Ask which of the options is meant, by its number, or its first word as far as it is clear; Enter is none."""
        for number, text in enumerate(options, 1):
            self.say(f"{number:>4}  {visible(text)}")
        words = [text.split("  ")[0].casefold() for text in options]
        while said := self._prompt(question).strip():
            if said.isascii() and said.isdigit() and 1 <= int(said) <= len(options):
                return int(said) - 1
            if said.casefold() in words:
                return words.index(said.casefold())
            begun = [at for at, word in enumerate(words) if word.startswith(said.casefold()) and not said.isdigit()]
            if len(begun) == 1 and len(said) >= SHORTEST_WORD:
                return begun[0]
            if said.casefold() in NONE_OF_THEM:
                return None
            self.say(f"Please answer with a number from 1 to {len(options)}, or press Enter for none of them.")
        return None

    def ask_text(self, question: str, default: str = "") -> str:
        """Ask for a line of text; Enter alone gives the default."""
        return self._prompt(question, default)

    def ask_hidden(self, question: str) -> str:
        """Ask for a line that is not shown while it is typed or pasted."""
        return self._prompt(question, is_hidden=True)

    def _ask(self, preflight: Preflight) -> bool | Literal["canary"]:
        """Ask; first for cells that would be emptied, and of a new input offer to send only a few at first."""
        if preflight.excesses:
            question = "More cells than usual would be emptied (--max-clears). Is that meant?"
            if not _consents(question):
                return False
        offers_few = not preflight.is_resumed and self._canary is None and preflight.to_send > CANARY_CHANGES
        letters = {"l": "list"} if preflight.compared else {}
        letters |= {"c": f"first {CANARY_CHANGES}"} if offers_few else {}
        while (letter := self._letter("Send?", letters)) == "l" and preflight.compared:
            self._list(preflight.compared.changes, headers_of(preflight.changes.columns))
        return CANARY if letter == "c" else letter == "y"

    def confirm_rest(self, tried: Tried) -> bool:
        """Show the first few changes, which were sent and hold, and ask about the others."""
        self.leave()
        for line in messages.tried(tried, headers_of(tried.columns), shutil.get_terminal_size().columns):
            click.echo(line, err=True)
        left = f"the other {tried.left:,}" if tried.left > 1 else "the last one"
        return _answered(lambda: _consents(f"Send {left}?"))

    def _letter(self, question: str, others: Mapping[str, str]) -> str:
        """Ask for a letter: y, n (also with Enter), or one of `others`, each with what it means."""
        offered = "".join(f"/{letter} {meaning}" for letter, meaning in others.items())
        _drop_typed_ahead()
        while True:
            said = click.prompt(f"{question} [y/N{offered}]", default="n", show_default=False, err=True)
            word = said.strip().casefold()
            if word in ("y", "yes", "n", "no", *others):
                return word[0]

    def _list(self, changes: Iterable[PlannedChange], headers: Mapping[str, str]) -> None:
        """Show changes cell by cell, as many as fit on the screen at a time."""
        size = shutil.get_terminal_size()
        lines = messages.cells(changes, headers, size.columns)
        shown = list(islice(lines, size.lines - 2))
        while shown:
            click.echo("\n".join(shown), err=True)
            shown = list(islice(lines, size.lines - 2))
            if shown and click.prompt("Enter: more, q: enough", default="", show_default=False, err=True).strip():
                break

    def confirm_purge(self, preview: "PurgePreview") -> bool:
        """Show what is about to be removed, and ask; raises UsageError where there is nobody to ask."""
        return self._confirm_removal(messages.removal(preview), "Remove it?")

    def confirm_purge_older(self, preview: "PurgeOlder") -> bool:
        """Show which runs are about to be removed, and ask; raises UsageError where there is nobody to ask."""
        return self._confirm_removal(messages.removals(preview), f"Remove {'them' if preview.removed[1:] else 'it'}?")

    def _confirm_removal(self, lines: Iterable[str], question: str) -> bool:
        if self._yes:
            return True
        if not self.can_ask:
            raise UsageError("There is no terminal to ask on, so nothing was removed. To remove it unasked: --yes")
        for line in lines:
            click.echo(fitted(line, sys.stderr), err=True)
        return _consents(question)

    def cost(self, cost: Cost) -> None:
        """Show what reading takes, where that is worth telling."""
        if messages.is_worth_telling(cost):
            self.say(f"Reading takes {messages.cost(cost)}.")

    # -- while --------------------------------------------------------------------------------------------------

    def pulled(self, count: int, total: int | None) -> None:
        """Show how far a pull is, now and then."""
        if self._is_time(LINE_SECONDS):
            self.say(f"{count:,}" + (f" of {total:,}" if total is not None else "") + " records")

    def progress(self, progress: Progress) -> None:
        """Show how far a run is."""
        if self.is_terminal and os.environ.get("TERM") != "dumb":
            self._bar = self._bar or ProgressBar(progress.rows)
            self._bar.draw(progress)
        elif self._is_time(LINE_SECONDS - 0.5):
            click.echo(f"{progress.done}/{progress.rows}  {messages.progress(progress)}", err=True)

    def _is_time(self, seconds: float) -> bool:
        """Tell whether the last line is so long ago; if so, the next one is due after as long again."""
        now = time.monotonic()
        is_due = now - self._last_line >= seconds
        self._last_line = now if is_due else self._last_line
        return is_due

    def board(self, lines: Sequence[str]) -> None:
        """Show these lines in the place of those before, until something else is written; on a terminal alone."""
        if self._quiet:
            return
        up = f"\x1b[{self._board}A\x1b[J" if self._board else ""
        width = shutil.get_terminal_size().columns - 1
        click.echo(up + "\n".join(visible(one)[:width] for one in lines), err=True)
        self._board = len(lines)

    def leave(self) -> None:
        """Take the progress bar away and give the terminal back; the next progress draws it again."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def leave_at_once(self, code: ExitCode, why: str) -> None:
        """Say why the process ends at once, with this exit code."""
        if self.is_terminal and self._bar is None and not self._quiet:
            click.echo(BEGIN_LINE, nl=False, err=True)  # over what the terminal wrote at Ctrl-C
        self.note(why)
        if self.run is not None:
            self.note(f"How far it got:  {command_line('status', shown_path(str(self.run)))}")
        self.leave()
        if self.at_leaving is not None:
            self.at_leaving(code, why)


def _consents(question: str) -> bool:
    """Ask for a yes; what was typed before the question was to be seen is none."""
    _drop_typed_ahead()
    return click.confirm(fitted(question, sys.stderr, beside=len(" [y/N]: ")), default=False, err=True)


def _drop_typed_ahead() -> None:
    """Forget what was typed or pasted before a question, and is not read yet."""
    try:
        import termios
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError, termios.error):  # it is no terminal
        termios.tcflush(sys.stdin, termios.TCIFLUSH)


def _answered(ask: Callable[[], Answer]) -> Answer:
    """Return the answer; Ctrl-C raises KeyboardInterrupt."""
    signal.siginterrupt(signal.SIGINT, True)  # else polars' handler lets Ctrl-C wait for the answer
    try:
        return ask()
    except click.Abort as error:
        click.echo(err=True)  # the question stands on its line
        pressed = error.__context__
        raise pressed if isinstance(pressed, KeyboardInterrupt) else KeyboardInterrupt from None


def fitted(text: str, file: TextIO, beside: int = 0) -> str:
    """Break lines at their words where the terminal is too narrow; a command at the end of one stays whole.

    `beside`: characters that come behind the text on its line.
    """
    if not file.isatty():
        return text
    return "\n".join(_broken(line, shutil.get_terminal_size().columns - beside) for line in text.split("\n"))


_OPTION = re.compile(r'--[a-z-]+ (?:"[^"]*"|\'[^\']*\'|[^ ",;]+)')
_KEPT = "\x00"
"""Stands for a space at which no line is broken; what is shown has none, since control characters are made visible."""


def _broken(line: str, width: int) -> str:
    """Break a line, but no option in it; a command that it ends with comes on a line of its own, to be copied."""
    said, before, after = line.partition(f"{command()} ")
    if len(line) <= width or (before and not said.strip()):
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    said = _OPTION.sub(lambda found: found[0].replace(" ", _KEPT), said)
    lines = textwrap.wrap(said, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join([*(one.replace(_KEPT, " ") for one in lines), *([f"{indent}{before}{after}"] if before else [])])


def _coloured(text: str, style: str) -> str:
    colour = STYLES.get(style)
    return click.style(text, fg=colour) if colour and not messages.is_colourless() else text
