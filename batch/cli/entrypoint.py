"""Every way to end, as an exit code; and streams that never end a run.

Promises: what nobody expected is exit code 4 and says where, without a traceback; a screen or pipe that is gone
(`| head`, a closed terminal, `2>&-`) never stops what is under way nor changes its exit code; SIGTERM and SIGHUP end it
like Ctrl-C.
"""

import io
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import click

from batch.errors import BatchError, ExitCode, Terminated, UnmatchedError
from batch.exit_code import exit_code_of_error
from batch.files import os_reason
from batch.machine import check_memory, first_of, machine_reason
from batch.model import command, visible

PACKAGE = Path(__file__).resolve().parents[1]
TERMINATING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def exit_code_of(run: Callable[[], object]) -> int:
    """Run the command line to its end, say what stopped it, and give the exit code."""
    with _streams(), _signals():
        try:
            check_memory()
            run()
        except SystemExit as done:
            return done.code if isinstance(done.code, int) else int(ExitCode.OK)
        except BaseException as error:
            return _explained(error)
        return int(ExitCode.OK)


def _explained(error: BaseException) -> int:
    error = first_of(error)
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case KeyboardInterrupt() | click.Abort():
            cause = error.__context__ if isinstance(error.__context__, Terminated) else error  # click hides the signal
            code = exit_code_of_error(cause if isinstance(cause, Terminated) else KeyboardInterrupt())
            word = "Terminated" if code is ExitCode.TERMINATED else "Interrupted"
            return _fail(f"{word}. Nothing more was sent; run the same command again to go on.", code)
        case click.ClickException():
            error.show()
            return int(ExitCode.COULD_NOT_START)
        case UnmatchedError() if error.options:
            words = shlex.join([command(), *sys.argv[1:]])
            return _fail(
                f"{error}\nAll of it at once, if that is right:  {' '.join([words, *error.options])}",
                exit_code_of_error(error),
            )
        case BatchError():
            return _fail(str(error), exit_code_of_error(error))
    reason = machine_reason(error)
    return _bug(error) if reason is None else _fail(f"{reason}.", exit_code_of_error(error))


def _fail(message: str, code: ExitCode) -> int:
    from batch.cli.console import fitted  # here, since most commands do not fail

    click.echo(fitted("\n".join(map(visible, message.split("\n"))), sys.stderr), err=True)
    return int(code)


def _bug(error: BaseException) -> int:
    """Say that it is our fault; the traceback (file names and lines only) goes to who asks for it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if PACKAGE in Path(frame.filename).parents] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "an unknown place"
    text = f"This is a bug in batch (at {where}). Please report it with your command."
    if os.environ.get("BATCH_DEBUG"):
        text += "".join(f"\n  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    return _fail(text, exit_code_of_error(error))


class _Lenient:
    """A stream to a person or a pipe that may be gone, or lack letters: what cannot be written any more is dropped.

    What its encoding does not have is escaped; click, which would write UTF-8 to an ASCII stream, finds no `buffer`.
    """

    __slots__ = ("_is_wanted", "_stream")  # so click cannot keep it for ever in what it remembers by weak references

    def __init__(self, stream: Any, *, is_wanted: bool = False) -> None:
        self._stream, self._is_wanted = stream, is_wanted
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
                click.echo(f"Standard output cannot be written: {os_reason(error)}.", err=True)
            with suppress(OSError):  # what is in the buffer goes nowhere, instead of failing again at the exit
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _streams() -> Iterator[None]:
    """Make stdout and stderr lenient, and let no file take the place of a stream that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    before = sys.stdin, sys.stdout, sys.stderr
    with open(os.devnull, "r+", encoding="utf-8") as nowhere:
        sys.stdin = before[0] or nowhere
        sys.stdout, sys.stderr = _Lenient(before[1] or nowhere, is_wanted=True), _Lenient(before[2] or nowhere)
        try:
            yield
            sys.stdout.flush()
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


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
