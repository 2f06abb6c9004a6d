"""`submit` on the screen: what is about to be done, how far all jobs are, and what became of them."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from batch.cli.console import Console
from batch.cli.messages import NOTHING_REAL, plural, took, update_command
from batch.cli.views import Styled
from batch.distributed.manifest import Manifest, read_manifest
from batch.errors import BatchError, Declined, ExitCode
from batch.exit_code import SIGNALS
from batch.files import shown_path
from batch.model import NEEDS_EDIT, NEEDS_RETRY, Outcome, command_line, visible
from batch.run.folder import peek_metadata
from batch.run.target import Environment

if TYPE_CHECKING:
    from batch.distributed.submit import JobProgress
    from batch.distributed.summary import JobSummary, SubmitSummary

LINE_SECONDS: Final = 10.0
SCREEN_SECONDS: Final = 0.5
DONE: Final = frozenset(Outcome) - frozenset(NEEDS_RETRY)


def run_submit(
    path: Path, scheduler: str | None, workers: int | None, console: Console, environment: Environment, *,
    sandbox: bool,
) -> "SubmitSummary":  # fmt: skip
    """Ask, do all jobs of the manifest at `path`, and show what became of them; raises BatchError."""
    manifest = read_manifest(path, environment)
    for line in _about(manifest, scheduler, sandbox=sandbox):
        console.say(line)
    if console.can_ask and not console.ask("Send?"):
        raise Declined("Nothing was sent.")
    from batch.distributed.submit import Submission, submit  # here, since it takes a second to load

    with _stopping(console) as signalled:
        board = _Board(console)
        found = submit(
            Submission(
                manifest, scheduler, workers, sandbox=sandbox, progress=board.show, note=console.note,
                stopped_by=signalled,
            )
        )  # fmt: skip
    options = [*(["--scheduler", scheduler] if scheduler else []), *(["--workers", str(workers)] if workers else [])]
    console.tell(submit_page(found, options))
    return found


def _about(manifest: Manifest, scheduler: str | None, *, sandbox: bool) -> Iterator[str]:
    shards = sum(one.shards for one in manifest.jobs)
    where = f"on {scheduler}" if scheduler else "on this machine"
    yield f"{plural(len(manifest.jobs), 'job')} in {plural(shards, 'shard')}, {where}"
    wide = max(len(one.name) for one in manifest.jobs)
    for one in manifest.jobs:
        source = visible(shown_path(str(one.options["input"])))
        in_shards = f", {one.shards} shards" if one.shards > 1 else ""
        yield f"  {one.name:<{wide}}  {source} -> {one.options['endpoint']}{in_shards}"
    if sandbox:
        yield f"  {NOTHING_REAL}"


@contextmanager
def _stopping(console: Console) -> Iterator[Callable[[], int | None]]:
    """Yield what says which signal came; the second one ends this process at once."""
    got: list[ExitCode] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if got:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        got.append(SIGNALS[signal.Signals(number)])
        console.note(
            "Stopping all jobs: no further change is sent, and answers are waited for (a second time: leave at once)."
        )

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {one: signal.signal(one, stop) for one in SIGNALS if signal.getsignal(one) is not signal.SIG_IGN}
    try:
        yield lambda: got[0] if got else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Board:
    """How far all jobs are: on a terminal a line for each, elsewhere one line for all every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console, self._last, self._began = console, 0.0, time.monotonic()
        self._shown: list[str] = []

    def show(self, jobs: Sequence["JobProgress"]) -> None:
        now, is_terminal = time.monotonic(), self._console.is_terminal
        is_over = all(one.ended == one.job.shards for one in jobs)
        if now - self._last < (SCREEN_SECONDS if is_terminal else LINE_SECONDS) and not (is_terminal and is_over):
            return
        self._last = now
        if is_terminal:
            lines = [_line(one) for one in jobs]
            if lines != self._shown:
                self._shown = lines
                self._console.board(lines)
        elif now - self._began >= LINE_SECONDS:
            rows, done = sum(one.rows for one in jobs), sum(_done(one) for one in jobs)
            over = sum(one.ended == one.job.shards for one in jobs)
            waits = "".join(f"; {one.job.name} waits: {one.waits}" for one in jobs if one.waits)
            if rows or waits:
                self._console.say(f"{done:,} of {rows:,} rows, {over} of {plural(len(jobs), 'job')} over{waits}")


def _done(one: "JobProgress") -> int:
    return sum(count for name, count in one.counts.items() if name in DONE)


def _line(one: "JobProgress") -> str:
    shards = f"{one.ended}/{one.job.shards} shards over, " if one.job.shards > 1 else ""
    told = [f"{name} {count:,}" for name, count in one.counts.items() if count and name != Outcome.UNSENT]
    told = [f"waiting: {one.waits}"] if one.waits else told
    return f"  {one.job.name:<20.20}  {shards}{_done(one):,}/{one.rows:,} rows   {' · '.join(told)}".rstrip()


def submit_page(found: "SubmitSummary", options: Sequence[str]) -> Iterator[Styled]:
    """Yield what became of each job, and of all of them, and what to do next; `options`: those of the same command."""
    for one in found.jobs:
        yield from _job_lines(one, is_gone=found.sandbox)
    yield f"{plural(len(found.jobs), 'job')}, {plural(found.rows, 'row')} in {took(found.seconds)}", ""
    for outcome in Outcome:
        if count := found.outcomes.get(outcome, 0):
            yield f"  {outcome.value:<10}{count:>9,}", outcome.value
    left = [one for one in found.jobs if one.exit_code not in (ExitCode.OK, ExitCode.FIX_ROWS)]
    for code in () if found.sandbox else sorted({one.exit_code for one in left}):
        names = ", ".join(one.name for one in left if one.exit_code == code)
        yield f"{names}: {ExitCode(code).hint}", ""
    again = command_line("submit", shown_path(found.input), *options)
    if found.sandbox:
        yield f"That was a sandbox, which is gone. To send it for real:  {again}", ""
    elif left:
        yield f"The same command:  {again}", ""


def _job_lines(one: "JobSummary", *, is_gone: bool) -> Iterator[Styled]:
    rows = "its rows are not known" if one.rows is None else plural(one.rows, "row")
    told = ", ".join(f"{one.outcomes[name]:,} {name.value}" for name in Outcome if one.outcomes.get(name))
    style = "" if one.exit_code in (ExitCode.OK, ExitCode.FIX_ROWS) else "stop"
    yield f"{one.name}: {one.state}, {rows}{': ' if told else ''}{told}", style
    if one.files.results:
        yield f"  Every row:  {shown_path(one.files.results)}", ""
    if not one.files.failures:
        return
    if any(one.outcomes.get(name) for name in NEEDS_EDIT):
        yield f"  To fix:  {shown_path(one.files.failures)}", ""
    if one.exit_code == ExitCode.FIX_ROWS and not is_gone:
        again = _options_next(Path(one.files.failures).parent)
        yield f"  Then:  {update_command(shown_path(one.files.failures), one.endpoint, again)}", ""


def _options_next(folder: Path) -> Sequence[str]:
    """Return what a run on the failures file in `folder` needs, as far as its run can be read from here."""
    with suppress(BatchError):
        return peek_metadata(folder).options_next
    return []
