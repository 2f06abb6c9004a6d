"""What is said, as lines of text: pure, so that every word can be tested.

Promises: a person reads top to bottom and knows what will happen, what happened, and what to do next.
"""

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from batch.commands.check import Checked
from batch.engine.progress import Preflight, Progress
from batch.engine.retry_loop import minutes
from batch.errors import ExitCode
from batch.model import NEEDS_EDIT, NEEDS_RETRY, Column, Outcome, shorten, visible
from batch.run.finish import FinishedRun
from batch.settings import Settings
from batch.summary import Reason

NEXT = {
    Outcome.INVALID: "fix and run again",
    Outcome.REJECTED: "fix and run again",
    Outcome.FAILED: "run again as it is",
    Outcome.UNKNOWN: "run again as it is",
    Outcome.UNSENT: "run again as it is",
}
DONE = (Outcome.UPDATED, Outcome.UNCHANGED)
UNDONE = {
    Outcome.UPDATED: ("reversed", ""),
    Outcome.UNCHANGED: ("as before", ""),
    Outcome.REJECTED: ("kept", "look at these by hand"),
}
"""What the outcomes of an undo are called."""
SHOWN_REASONS = 12
WIDTH = 24


def command() -> str:
    """How the program was called."""
    return os.environ.get("BATCH_COMMAND", "batch")


def is_colourless() -> bool:
    """Whether colours are not wanted (no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def plural(count: int, noun: str, several: str = "") -> str:
    """Spell a count: `1 row`, `2,000 rows`."""
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


def took(seconds: float) -> str:
    """Spell how long something took; short times with a decimal."""
    return f"{seconds:.1f} s" if seconds < 10 else minutes(seconds)


# -- before ---------------------------------------------------------------------------------------------------------


def preflight(about: Preflight, settings: Settings) -> Iterator[str]:
    """Say what is about to happen."""
    survey, endpoint = about.survey, about.endpoint
    kind = f" ({about.host_kind})" if about.host_kind else " (not an address of the API's maker)"
    yield f"{plural(survey.staged.rows, 'row')} -> {endpoint.method} {about.host}{kind}, key {about.credential}"
    for text in survey.notes:
        yield f"  {visible(text)}"
    if about.is_resumed:
        done = " · ".join(f"{outcome} {n:,}" for outcome, n in about.done.items() if n)
        yield f"  resuming {about.folder}" + (f": {done}" if done else "")
    used = ", ".join(f"{visible(c.header)} -> {c.target}" for c in survey.columns.all if c.target)
    yield f"  columns: {shorten(used, 300)}"
    ignored = [c.header for c in survey.columns.all if c.role == "ignored"]
    if ignored:
        yield f"  ignored: {shorten(', '.join(map(visible, ignored)), 200)}"
    sealed = about.done.get(Outcome.INVALID, 0)
    changes = plural(about.to_send, "change")
    sends = (
        f"{plural(about.reads, 'read')}, then what differs of {changes} is sent"
        if about.reads
        else f"{changes} to send"
    )
    behind = "stays behind" if sealed == 1 else "stay behind"
    yield f"  {sends}" + (f"; {plural(sealed, 'invalid row')} {behind}" if sealed else "")
    for column in survey.columns.fields:
        clears = survey.counts[column.index].clears if column.index in survey.counts else 0
        if clears:
            yield f"  clears: {column.target} on {plural(clears, 'row')}"
    yield from _blanked(about, settings)
    yield from (f"  {one}" for one in about.excesses)
    if about.seconds is not None and not settings.sandbox:
        yield f"  at this API's limit: at most {minutes(about.seconds)}"
    if settings.sandbox:
        yield "  This is a sandbox: an imitation of the API with sample records. Nothing real is changed."


def _blanked(about: Preflight, settings: Settings) -> Iterator[str]:
    """Warn that an object which is replaced whole loses the parts that the sheet leaves out."""
    if settings.compare or about.endpoint.needs_full_body:
        return
    targets = [column.target for column in about.survey.columns.fields]
    for whole in about.endpoint.replaced_whole:
        if any(target.startswith(whole + ".") for target in targets):
            yield f"  without comparing, the parts of {whole} that a row leaves out are blanked"


# -- while ----------------------------------------------------------------------------------------------------------


def progress(now: Progress) -> str:
    """Say where a run is, in one line."""
    parts = [f"{outcome} {now.counts[outcome]:,}" for outcome in Outcome if now.counts.get(outcome)]
    text = " · ".join(parts) + f"   {now.per_second:,.1f}/s"
    if now.throttled:
        text += f"   throttled {now.throttled:,}"
    if now.is_stopping:
        return text + "   stopping"
    if now.paused > 1:
        return text + f"   the API asks to wait {minutes(now.paused)}"
    return text + (f"   {minutes(now.eta)} left" if now.eta is not None else "")


# -- after ----------------------------------------------------------------------------------------------------------


def closing(end: FinishedRun) -> Iterator[tuple[str, str]]:
    """Say what happened and what to do next, as (line, style) pairs."""
    summary = end.summary
    if summary.stopped:
        yield from _stopped(end)
    yield f"{plural(summary.rows, 'row')} in {took(summary.seconds)}", ""
    for outcome in Outcome:
        count = summary.outcomes.get(outcome, 0)
        if count:
            word, step = (UNDONE if end.undoes else {}).get(outcome, (outcome.value, NEXT.get(outcome, "")))
            if outcome is Outcome.UNSENT and summary.exit_code == ExitCode.COULD_NOT_START:
                step = "goes with the corrected rows"
            yield f"  {word:<10}{count:>9,}   {step}".rstrip(), outcome.value
    yield from ((line, "") for line in reasons(end.reasons, end.left_out))
    for text in end.notes:
        yield visible(text), ""
    yield from ((line, "") for line in _next_steps(end))


def _stopped(end: FinishedRun) -> Iterator[tuple[str, str]]:
    summary = end.summary
    yield f"Stopped: {visible(summary.stopped or '')}", "stop"
    if summary.exit_code != ExitCode.COULD_NOT_START:
        left = sum(summary.outcomes.get(outcome, 0) for outcome in NEEDS_RETRY)
        yield f"Done: {summary.rows - left:,} of {plural(summary.rows, 'row')}. Left: {left:,}. Nothing is lost.", ""


def reasons(grouped: Sequence[Reason], left_out: int = 0) -> Iterator[str]:
    """List grouped reasons with their rows."""
    grouped = sorted(grouped, key=lambda one: one.outcome in DONE)
    shown = grouped[:SHOWN_REASONS]
    if shown:
        yield "Reasons"
    for one in shown:
        field, reason = visible(one.field or "-"), visible(shorten(one.reason, 160))
        yield f"  {one.outcome.value:<9} {field:<20} {reason}   {rows_of(one)}"
    more = len(grouped) - len(shown) + left_out
    if more > 0:
        yield f"  … and {plural(more, 'other reason')}; each row has its own in the failures file"


def rows_of(one: Reason) -> str:
    """List the rows of a reason: `9 rows: 17, 23, … (F17: "ext. 5")`."""
    listed = ", ".join(map(str, one.rows)) + (", …" if one.count > len(one.rows) else "")
    count = "row" if one.count == 1 else f"{one.count:,} rows:"
    return f"{count} {listed}" + (f" ({visible(one.example)})" if one.example else "")


def _next_steps(end: FinishedRun) -> Iterator[str]:
    summary = end.summary
    to_fix = sum(summary.outcomes.get(outcome, 0) for outcome in NEEDS_EDIT)
    to_retry = sum(summary.outcomes.get(outcome, 0) for outcome in NEEDS_RETRY)
    if end.undoes:
        yield from _steps_after_undo(end, to_retry)
        return
    goes_on = bool(to_retry) and summary.exit_code != ExitCode.COULD_NOT_START
    if goes_on:
        yield f"Go on with the same command:  {update_command(summary.input, summary.endpoint, end.again)}"
    if end.failures and to_fix:
        after = ", when the rest is through" if goes_on else ""
        yield f"{plural(to_fix, 'row')} to fix{after}:  {shown_path(end.failures)}"
    if end.failures and not goes_on:
        # what an approver has not seen is planned anew
        verb = "plan" if "--plan" in end.again else "update"
        yield f"Then:  {update_command(shown_path(end.failures), summary.endpoint, end.next, verb=verb)}"
    if "results" in summary.files:
        yield f"Every row:  {shown_path(summary.files['results'])}"
    if summary.outcomes.get(Outcome.UPDATED) and "--sandbox" not in end.again:
        yield f"Take it back:  {shlex.join([command(), 'undo', shown_path(str(end.folder))])}"


def _steps_after_undo(end: FinishedRun, to_retry: int) -> Iterator[str]:
    if to_retry:
        yield f"Go on with the same command:  {shlex.join([command(), 'undo', shown_path(end.undoes or '')])}"
    if "results" in end.summary.files:
        yield f"Every row:  {shown_path(end.summary.files['results'])}"
    if end.summary.outcomes.get(Outcome.UPDATED):
        yield f"Undo the undo:  {shlex.join([command(), 'undo', shown_path(str(end.folder))])}"


def update_command(path: str, endpoint: str, options: Sequence[str], *, verb: str = "update") -> str:
    """Spell an update (or plan) command to paste."""
    return shlex.join([command(), verb, path, "-e", endpoint, *options])


def shown_path(path: str) -> str:
    """Show a path from the current folder where that is shorter."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path


# -- check ----------------------------------------------------------------------------------------------------------


def checked(found: Checked) -> Iterator[str]:
    """Say what a check found, column by column and reason by reason."""
    survey, summary = found.survey, found.summary
    staged = survey.staged
    sheet = f', sheet "{visible(staged.style.sheet)}"' if staged.style else ""
    shape = f"{plural(summary.rows, 'row')}, {plural(len(staged.headers), 'column')}"
    yield f"{visible(staged.name)}{sheet}: {shape}"
    yield from (f"  {visible(text)}" for text in survey.notes)
    yield ""
    yield from _columns(found)
    yield ""
    invalid = summary.outcomes.get(Outcome.INVALID, 0)
    yield f"  {plural(summary.rows - invalid, 'row')} ready · {plural(invalid, 'row')} invalid"
    if found.reasons:
        yield ""
        for one in found.reasons[:SHOWN_REASONS]:
            yield f"  {visible(one.field or '-'):<16} {visible(shorten(one.reason, 160))}   {rows_of(one)}"
        more = len(found.reasons) - SHOWN_REASONS + found.left_out
        if more > 0:
            yield f"  … and {plural(more, 'other reason')}"
    yield ""
    failures = summary.files.get("failures")
    if failures:
        which = (
            "The invalid row, with its reason"
            if invalid == 1
            else f"The {invalid:,} invalid rows, each with its reason"
        )
        yield f"Nothing was sent. {which}: {shown_path(failures)}"
    else:
        yield "Nothing was sent."
    yield from map(visible, found.notes)


def _columns(found: Checked) -> Iterator[str]:
    columns = [one for one in found.survey.columns.all if one.role != "empty"]
    width = min(40, max((len(visible(one.header)) for one in columns), default=0))
    target = min(40, max((len(one.target) for one in columns), default=0))
    for one in columns:
        header = shorten(visible(one.header), 40).ljust(width)
        if one.role == "ours":
            yield f"  {header}    ignored (a column of batch's own)"
        elif not one.target:
            yield f'  {header}    ignored (--map "{visible(one.header)}=")'
        else:
            yield f"  {header} -> {one.target.ljust(target)}  {_contents(found, one)}".rstrip()


def _contents(found: Checked, column: Column) -> str:
    count = found.survey.counts.get(column.index)
    if count is None:
        return ""
    clears = f"  {plural(count.clears, 'clear')}" if count.clears else ""
    examples = " · ".join(shorten(visible(text), WIDTH) for text in count.examples) if column.role != "id" else ""
    return f"{plural(count.values, 'value'):>12}{clears:<12}   {examples}"


# -- endpoints ------------------------------------------------------------------------------------------------------


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Align rows of text into columns."""
    listed = [[*row] for row in rows]
    widths = [max((len(row[i]) for row in listed), default=0) for i in range(max(map(len, listed), default=0))]
    for row in listed:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
