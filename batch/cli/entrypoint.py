"""Every way to end, as an exit code; and streams that never end a run.

Promises: what nobody expected is exit code 4 and says where, without a traceback; a screen or pipe that is gone
(`| head`, a closed terminal, `2>&-`) never stops what is under way nor changes its exit code, but for a full disk under
what a command only prints; SIGTERM and SIGHUP end it like Ctrl-C.
"""

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import click

from batch.addresses import shown_words
from batch.errors import NOTHING_SENT, BatchError, ExitCode, Terminated, UnmatchedError
from batch.exit_code import exit_code_of_error, reason_of_signal
from batch.files import os_reason
from batch.machine import check_memory, first_of, machine_reason
from batch.model import command_line, visible

PACKAGE = Path(__file__).resolve().parents[1]
TERMINATING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

EXAMPLES = {"INPUT": "customers.xlsx -e dualentry.customers", "RUN_FOLDER": "customers.batch/latest"}
"""What may stand where an argument is missing, by what its help calls it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What ended a command."""

    code: ExitCode
    reason: str
    """A stable word."""
    message: str


Tell = Callable[[Failure, Callable[[], None]], None]
"""Tells what ended a command; its second argument says it to people."""


def exit_code_of(
    run: Callable[[], object], tell: Tell = lambda failure, tell_people: tell_people(), *, sends: bool = True,
    only_prints: bool = False,
) -> int:  # fmt: skip
    """Run the command line to its end, have `tell` say what stopped it, and give the exit code.

    `sends`: whether it is a command that may have sent something when it is interrupted. `only_prints`: what it prints
    is all that it does, so that a disk without room for it is a failure.
    """
    with _streams() as out, _signals():
        code = _code_of(run, tell, sends=sends)
    return int(ExitCode.COULD_NOT_START) if only_prints and out.is_lost and code == ExitCode.OK else code


def _code_of(run: Callable[[], object], tell: Tell, *, sends: bool) -> int:
    try:
        check_memory()
        run()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(ExitCode.OK)
    except BaseException as error:
        error = _with_example(first_of(error))
        if isinstance(error, click.exceptions.Exit):
            return error.exit_code
        failure = _explained(error, sends=sends)
        said = failure.message if not isinstance(error, click.ClickException) else error
        with suppress(KeyboardInterrupt):  # it is ending already
            tell(failure, lambda: _tell(said))
        return int(failure.code)
    return int(ExitCode.OK)


def _with_example(error: BaseException) -> BaseException:
    """Say of an argument that is missing what may stand there."""
    match error:
        case click.MissingParameter(param=click.Argument() as missing, ctx=click.Context() as context):
            example = EXAMPLES.get(missing.make_metavar(context).rstrip("."))
            said = f"Such as:  {context.command_path} {example}"
            return click.MissingParameter(said, context, missing) if example else error
    return error


def _explained(error: BaseException, *, sends: bool) -> Failure:
    match error:
        case KeyboardInterrupt() | click.Abort():
            cause = error.__context__ if isinstance(error.__context__, Terminated) else error  # click hides the signal
            code = exit_code_of_error(cause if isinstance(cause, Terminated) else KeyboardInterrupt())
            word = reason_of_signal(code)
            has_begun = sends and NOTHING_SENT not in getattr(error, "__notes__", ())
            left = "Nothing more was sent; run the same command again to go on." if has_begun else NOTHING_SENT
            return Failure(code, word, f"{word.capitalize()}. {left}")
        case click.ClickException():
            return Failure(ExitCode.COULD_NOT_START, "usage", error.format_message())
        case UnmatchedError() if error.options:
            words = command_line(*shown_words(sys.argv[1:]))
            message = f"{error}\nAll of it at once, if that is right:  {' '.join([words, *error.options])}"
            return Failure(exit_code_of_error(error), error.reason, message)
        case BatchError():
            return Failure(exit_code_of_error(error), error.reason, str(error))
    machine = machine_reason(error)
    if machine is None:
        return Failure(exit_code_of_error(error), "bug", _bug(error))
    return Failure(exit_code_of_error(error), "machine", f"{machine}.")


def _tell(said: str | click.ClickException) -> None:
    """Say on standard error what ended a command."""
    if isinstance(said, click.ClickException):
        said.show()
        return
    from batch.cli.console import fitted  # here, since most commands do not fail

    click.echo(fitted("\n".join(map(visible, said.split("\n"))), sys.stderr), err=True)


def _bug(error: BaseException) -> str:
    """Say that it is our fault; the traceback (file names and lines only) goes to who asks for it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if PACKAGE in Path(frame.filename).parents] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "an unknown place"
    text = f"This is a bug in batch (at {where}). Please report it with your command."
    if os.environ.get("BATCH_DEBUG"):
        text += "".join(f"\n  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    return text


class _Lenient:
    """A stream to a person or a pipe that may be gone, or lack letters: what cannot be written any more is dropped.

    What its encoding does not have is escaped; click, which would write UTF-8 to an ASCII stream, finds no `buffer`.
    """

    __slots__ = ("_is_wanted", "_stream", "is_lost")  # so click cannot keep it in what it remembers by weak references

    def __init__(self, stream: Any, *, is_wanted: bool = False) -> None:
        self._stream, self._is_wanted = stream, is_wanted
        self.is_lost = False
        """Something that was asked for could not be written, for another reason than that nobody reads it any more."""
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    @property
    def buffer(self) -> None:
        return None

    def write(self, text: Any) -> int:
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._is_wanted and not isinstance(error, BrokenPipeError):
                self.is_lost = True
                click.echo(f"Standard output cannot be written: {os_reason(error)}.", err=True)
            with suppress(OSError):  # what is in the buffer goes nowhere, instead of failing again at the exit
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _streams() -> Iterator[_Lenient]:
    """Make stdout and stderr lenient, and let no file take the place of a stream that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    before = sys.stdin, sys.stdout, sys.stderr
    with open(os.devnull, "r+", encoding="utf-8") as nowhere:
        sys.stdin = before[0] or nowhere
        out = _Lenient(before[1] or nowhere, is_wanted=True)
        sys.stdout, sys.stderr = out, _Lenient(before[2] or nowhere)
        try:
            yield out
            out.flush()
        finally:
            sys.stdin, sys.stdout, sys.stderr = before


@contextmanager
def _signals() -> Iterator[None]:
    """Meet SIGTERM and SIGHUP; the sending, which has more to bring to an end, takes them over while it goes on."""
    is_main = threading.current_thread() is threading.main_thread()
    ours = [one for one in TERMINATING if is_main and signal.getsignal(one) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def heed_interrupts() -> None:
    """Have Ctrl-C end a wait for a pipe, too: polars' handler would have it go on."""
    if hasattr(signal, "siginterrupt"):  # not on Windows
        signal.siginterrupt(signal.SIGINT, True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no further signal cut off what says how a command ended."""
    is_main = threading.current_thread() is threading.main_thread()
    ours = [one for one in (signal.SIGINT, *TERMINATING) if is_main and signal.getsignal(one) is not None]
    before = {one: signal.signal(one, signal.SIG_IGN) for one in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
