"""What each command shows: pages of lines, and the JSON of `--json`.

A line is (text, style): a style is an outcome, "stop" or "clear", and only underlines what the words say.
Promises: a person reads top to bottom and knows what happened and what to do next; what does not fit is in the file
that is named.
"""

import math
import os
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from batch.addresses import is_address
from batch.cli.messages import (
    SHOWN_REASONS,
    cost,
    is_worth_telling,
    of_company,
    plural,
    reason_of,
    reasons,
    stays,
    table,
    took,
    update_command,
)  # fmt: skip
from batch.endpoints import ENDPOINTS
from batch.endpoints.base import Endpoint
from batch.errors import ExitCode
from batch.files import shown_path
from batch.input_names import STDIN, is_pattern, is_read_once, short_name, split
from batch.logins import Login
from batch.machine import utc_text
from batch.mappings import BESIDE, SavedMapping
from batch.model import (
    NEEDS_EDIT,
    NEEDS_RETRY,
    Column,
    Field,
    Outcome,
    command,
    command_line,
    first_few,
    minutes,
    named,
    shorten,
    visible,
)
from batch.outputs.failures import is_pulled
from batch.outputs.plan import CLEARED, Line
from batch.provenance import SEEN
from batch.run.finish import FinishedRun
from batch.run.target import SANDBOX, SANDBOXES, Environment, find_endpoint
from batch.summary import SCHEMA_VERSION, Head, Reason, Summary, named_counts, shown_counts

if TYPE_CHECKING:  # each start shows what one command found, and the others need not be imported
    from batch.commands.check import Checked
    from batch.commands.login import LoggedIn
    from batch.commands.plan import PlanMade, PlanSummary
    from batch.commands.pull import Pulled
    from batch.commands.purge import PurgeOlder, PurgePreview
    from batch.commands.runs import ListedRun, NewestRuns, Sheet
    from batch.commands.status import Status
    from batch.commands.template import TemplateMade

Styled = tuple[str, str]
NEXT = {
    Outcome.INVALID: "fix and run again",
    Outcome.REJECTED: "fix and run again",
    Outcome.FAILED: "run again as it is",
    Outcome.UNKNOWN: "run again as it is",
    Outcome.UNSENT: "run again as it is",
}
MENDED_FIRST = (ExitCode.COULD_NOT_START, ExitCode.KEY_REFUSED)
"""Codes after which the same command ends in the same way unless somebody changes something."""
UNDONE = {
    Outcome.UPDATED: ("reversed", ""),
    Outcome.UNCHANGED: ("as before", ""),
    Outcome.INVALID: ("not sent", "look at these by hand"),
    Outcome.REJECTED: ("kept", "look at these by hand"),
}
"""What the outcomes of an undo are called."""
RUN_STYLES = {"finished": Outcome.UPDATED.value, "to fix": Outcome.REJECTED.value, "unfinished": Outcome.FAILED.value}
RUN_OPTIONS = ("--as", "--base-url", "--company", "--token-file")
"""What a command on a run's folder needs, since it is not taken from that."""
SHOWN_CELLS = 30
SHOWN_IDS = 10
EXAMPLE = 24
WIDTHS = (34, 30, 30)


# -- check ------------------------------------------------------------------------------------------------------------


def check_page(found: "Checked", width: int) -> Iterator[str]:
    """Yield what a check found, column by column (examples as far as `width` goes) and reason by reason."""
    changes, summary = found.changes, found.summary
    staged = changes.staged
    sheet = f', sheet "{visible(staged.style.sheet)}"' if staged.style else ""
    shape = f"{plural(summary.rows, 'row')}, {plural(len(staged.headers), 'column')}"
    yield f"{visible(staged.name)}{sheet}: {shape}"
    yield from (f"  {visible(text)}" for text in changes.notes)
    yield ""
    yield from (shorten(line, width) for line in _columns(found))
    yield ""
    invalid = summary.outcomes.get(Outcome.INVALID, 0)
    yield f"  {plural(summary.rows - invalid, 'row')} ready · {plural(invalid, 'row')} invalid"
    if found.reasons:
        yield ""
        for one in found.reasons[:SHOWN_REASONS]:
            yield f"  {reason_of(one, 16)}"
        more = len(found.reasons) - SHOWN_REASONS + found.left_out
        if more > 0:
            yield f"  … and {plural(more, 'other reason')}"
    yield ""
    yield from map(visible, found.notes)
    failures, others = summary.files.failures, summary.rows - invalid
    if failures:
        which = "the row with a problem," if invalid == 1 else f"the {invalid:,} rows with problems, each"
        yield f"Nothing was sent. Only {which} with its reason: {shown_path(failures)}"
    else:
        yield "Nothing was sent."
    yield from _uploaded(summary)
    if others:
        row = "row" if others == 1 else f"{others:,} rows"
        which = f"the other {row}" if failures else f"the {row}"
        yield f"To send {which}:  {update_command(summary.input, summary.endpoint, found.again)}"


def _columns(found: "Checked") -> Iterator[str]:
    columns = [one for one in found.changes.columns.all if one.role != "empty"]
    width = min(40, max((len(visible(one.header)) for one in columns), default=0))
    target = min(40, max((len(one.target) for one in columns), default=0))
    clears = {one: f"  {plural(count, 'clear')}" for one, count in found.changes.clears.items() if count}
    room = max(map(len, clears.values()), default=0)
    for one in columns:
        header = shorten(visible(one.header), 40).ljust(width)
        if one.role == "reserved":
            yield f"  {header}    {_own_use(one.header)} (a column of batch's own)"
        elif not one.target:
            yield f'  {header}    ignored (--map "{visible(one.header)}=")'
        else:
            contents = _contents(found, one, clears.get(one.target, "").ljust(room))
            yield f"  {header} -> {one.target.ljust(target)}  {contents}".rstrip()


def _own_use(header: str) -> str:
    if is_pulled(header):
        return "what was pulled, to notice what others changed"
    is_seen = header.strip().casefold() == SEEN
    return "what the run of this failures file saw, to notice what was changed since" if is_seen else "ignored"


def _contents(found: "Checked", column: Column, clears: str) -> str:
    count = found.changes.counts.get(column.index)
    if count is None:
        return ""
    examples = "" if column.role == "id" else " · ".join(shorten(visible(text), EXAMPLE) for text in count.examples)
    return f"{plural(count.values, 'value'):>12}{clears}   {examples}"


# -- plan -------------------------------------------------------------------------------------------------------------


def plan_page(made: "PlanMade") -> Iterator[Styled]:
    """Yield what a plan comes to: first the counts and the cost, then cell by cell as far as a screen goes."""
    summary, endpoint = made.summary, made.endpoint
    to_send = f"     to send: {cost(made.cost)}" if is_worth_telling(made.cost) else ""
    yield f"{' · '.join(_counts(summary))}{to_send}", ""
    if summary.company:
        yield f"  for {visible(summary.company)}", ""
    yield from ((f"  {visible(text)}", "") for text in made.notes)
    yield from ((f"  clears: {name} on {plural(count, endpoint.noun, endpoint.plural)}", "clear")
                for name, count in summary.clears.items())  # fmt: skip
    for one in made.excesses:
        yield f"  {one}: an update of this needs --max-clears 100%, or somebody to ask", "clear"
    yield from ((f"  {line}", "") for line in _not_empty(summary.not_empty))
    if made.lines:
        yield "", ""
        yield from _plan_cells(made)
    if made.reasons:
        yield "", ""
        yield from ((line, "") for line in reasons(made.reasons, made.left_out))
    yield "", ""
    which = "The cell" if summary.cells == 1 else f"All {plural(summary.cells, 'cell')}"
    which = which if summary.cells else "No cell would change; the plan"
    yield f"Nothing was sent. {which}: {_plan_file(summary)}", ""
    yield from ((line, "") for line in _uploaded(summary))
    if summary.cells:
        plan = ("--plan", shown_path(str(made.folder)), *made.again)
        yield f"To do exactly this:  {update_command(summary.input, summary.endpoint, plan)}", ""


def _counts(summary: "PlanSummary") -> Iterator[str]:
    for outcome in Outcome:
        count = summary.outcomes.get(outcome, 0)
        count -= summary.not_found if outcome is Outcome.REJECTED else 0
        if count or outcome in (Outcome.UPDATED, Outcome.UNCHANGED):
            word = "to update" if outcome is Outcome.UPDATED else outcome.value  # nothing was, as yet
            yield f"{word.capitalize()} {count:,}"
    if summary.not_found:
        yield f"Not found {summary.not_found:,}"


def _plan_cells(made: "PlanMade") -> Iterator[Styled]:
    if made.summary.cells > SHOWN_CELLS:
        for name, count in sorted(made.by_field.items(), key=lambda one: -one[1]):
            yield f"  {named(name, made.headers.get(name, '')):<30} {plural(count, 'cell')}", ""
        yield "", ""
    shown = made.lines[:SHOWN_CELLS]
    rows = [("row", made.endpoint.noun, "field", "now", "will be"), *_plan_rows(shown, made.headers)]
    styles = ["", *("clear" if line.is_clear else "" for line in shown)]
    yield from zip((f"  {line}" for line in table(rows)), styles, strict=True)
    if made.summary.cells > len(shown):
        yield f"  …  {made.summary.cells - len(shown):,} more in {_plan_file(made.summary)}", ""


def _plan_rows(lines: Sequence[Line], headers: Mapping[str, str]) -> Iterator[tuple[str, str, str, str, str]]:
    last = None
    for line in lines:
        who = shorten(visible(f"{line.id} {line.name}".rstrip()), WIDTHS[0])
        is_same = line.row == last
        last = line.row
        before, after = (shorten(visible(text), WIDTHS[2]) for text in (line.before, line.after))
        row = ("", "") if is_same else (str(line.row), who)
        field = shorten(named(line.field, headers.get(line.field, "")), WIDTHS[1])
        yield *row, field, before or "(empty)", CLEARED if line.is_clear else after


def _plan_file(summary: "PlanSummary") -> str:
    return shown_path(summary.files["cells"])


# -- update, undo, results --------------------------------------------------------------------------------------------


SPELLINGS = {
    "made": "they count as updated",
    "kept": "they were sent, and it kept its spelling",
    "known": "they were not sent again",
}
"""What is said of what the API spells its own way (`batch.summary.SPELLINGS`)."""


def _rows_done(summary: Summary) -> str:
    """Say how many rows there were, of a shard also how many all have."""
    if not summary.shard:
        return plural(summary.rows, "row")
    number, _, count = summary.shard.partition("/")
    return f"Shard {number} of {count}: {summary.rows:,} of {plural(summary.all_rows or 0, 'row')}"


def closing_page(end: FinishedRun, told: Collection[Reason] = ()) -> Iterator[Styled]:
    """Yield what happened and what to do next; reasons that were `told` before the question stand above it."""
    summary = end.summary
    above = {one.outcome for one in summary.reasons if one in told}
    if summary.stopped:
        yield from _stopped(end)
    yield f"{_rows_done(summary)}{of_company(summary.company)} in {took(summary.seconds)}", ""
    for outcome in Outcome:
        count = summary.outcomes.get(outcome, 0)
        if count:
            word, step = (UNDONE if end.undoes else {}).get(outcome, (outcome.value, NEXT.get(outcome, "")))
            if outcome is Outcome.UNSENT and end.is_refused:
                step = "goes with the corrected rows"
            elif summary.exit_code in MENDED_FIRST and outcome in NEEDS_RETRY:
                step = "run again when that is put right"
            elif summary.exit_code == ExitCode.FIX_ROWS and outcome in NEEDS_RETRY:
                step = "waits until somebody has looked"
            before, later = summary.earlier.get(outcome, 0), end.done_later.get(outcome, 0)
            shares = _share(later, count, "done in later rounds"), _share(before, count, "before this start")
            said = ", ".join(filter(None, ["" if later == count else step, *shares]))
            said += " (reasons above)" if outcome in above else ""
            yield f"  {word:<10}{count:>9,}   {said}".rstrip(), outcome.value
    yield from ((line, "") for line in reasons([one for one in summary.reasons if one not in told], end.left_out))
    for name, said in SPELLINGS.items():
        if count := summary.spellings[name]:
            yield f"{plural(count, 'row')} with values that the API spells its own way: {said}", ""
    yield from ((line, "") for line in _not_empty(summary.not_empty))
    if end.rounds:
        yield f"All rounds of {visible(end.rounds.name)}: {end.rounds.text}", ""
    for text in end.notes:
        yield visible(text), ""
    yield from ((line, "") for line in _next_steps(end))


def _share(rows: int, count: int, what: str) -> str:
    """Say of how many of the rows something is true; "" where it is of none."""
    which = "" if count == 1 else "all " if rows == count else f"{rows:,} of them "
    return f"{which}{what}" if rows else ""


def _not_empty(rows: int) -> Iterator[str]:
    if rows:
        has = "its record has" if rows == 1 else "their records have"
        yield f"{plural(rows, 'row')} with cells that are left alone, since {has} other values already (--only-empty)"


def _stopped(end: FinishedRun) -> Iterator[Styled]:
    summary = end.summary
    yield f"Stopped: {visible(end.stopped)}", "stop"
    if not end.is_refused:
        done = f"{summary.rows - summary.left:,} of {plural(summary.rows, 'row')}"
        yield f"Done: {done}. Left: {summary.left:,}. Nothing is lost.", ""


def _next_steps(end: FinishedRun) -> Iterator[str]:
    summary = end.summary
    left = {outcome: count - end.done_later.get(outcome, 0) for outcome, count in summary.outcomes.items()}
    to_fix = sum(left.get(outcome, 0) for outcome in NEEDS_EDIT)
    to_retry = sum(left.get(outcome, 0) for outcome in NEEDS_RETRY) + summary.not_looked_at
    if end.undoes:
        yield from _steps_after_undo(end, to_retry)
        return
    goes_on = bool(to_retry) and not end.is_refused
    if goes_on and not _is_there(summary.input):
        yield f"{visible(summary.input)} is not here any more. With the rows that the run keeps it goes on:"
        yield f"  {_resume_command(str(end.folder), end.next, end.again)}"
    elif goes_on:
        yield f"{_go_on(summary)}:  {update_command(summary.input, summary.endpoint, end.again)}"
        if summary.exit_code == ExitCode.FIX_ROWS:
            yield f"Or compare all rows anew:  {update_command(summary.input, summary.endpoint, (*end.again, '--new'))}"
    if end.failures and to_fix:
        after = ", when the rest is through" if goes_on else ""
        yield f"{plural(to_fix, 'row')} to fix{after}:  {shown_path(end.failures)}"
    if end.failures and not goes_on:
        # what an approver has not seen is planned anew
        verb = "plan" if "--plan" in end.again else "update"
        yield f"Then:  {update_command(shown_path(end.failures), summary.endpoint, end.next, verb=verb)}"
    if summary.stopped is not None and summary.stopped.reason == "upload":
        yield f"To upload the results:  {update_command(summary.input, summary.endpoint, end.again)}"
    yield from _results_files(summary)
    if end.can_undo:
        yield f"Take it back:  {_run_command('undo', end)}"


def _results_files(summary: Summary) -> Iterator[str]:
    if not summary.rows:
        yield "Nothing was sent."
    if "results_xlsx" in summary.files and summary.rows:
        yield f"To read and print:  {shown_path(summary.files['results_xlsx'])}"
    if "results" in summary.files and summary.rows:
        yield f"Every row:  {shown_path(summary.files['results'])}"
    if summary.uploaded:
        yield from _uploaded(summary)


def _uploaded(summary: Head) -> Iterator[str]:
    """Say where the same files are at the address of --out, or why they are not there."""
    if summary.stopped is not None and summary.stopped.reason == "upload":
        yield visible(summary.stopped.message)
    if summary.uploaded:
        yield f"Uploaded to:  {visible(summary.uploaded['summary'].rpartition('/')[0])}/"


def _is_there(path: str) -> bool:
    """Whether an input can be read again, as far as that can be known."""
    if is_read_once(path) or is_address(path):
        return path == STDIN or is_address(path)
    return all(os.path.exists(one) or is_pattern(one) for one in split(path))


def _run_command(verb: str, end: FinishedRun) -> str:
    """Spell a command that takes the run's folder; address and company are not taken from that."""
    return command_line(verb, shown_path(str(end.folder)), *_run_options(end.next))


def _resume_command(folder: str, options: Sequence[str], again: Sequence[str]) -> str:
    """Spell the command that goes on with a run by its folder; the address of its results is not taken from that."""
    places = [
        part for name, value in pairwise(again) if name == "--out" and is_address(value) for part in (name, value)
    ]
    return command_line("resume", shown_path(folder), *_run_options(options), *places)


def _run_options(options: Sequence[str]) -> list[str]:
    """Return of a run's options those that a command on its folder needs."""
    needed = [part for name, value in pairwise(options) if name in RUN_OPTIONS for part in (name, value)]
    return [*needed, *(one for one in options if one == "--sandbox")]


def _go_on(summary: Summary) -> str:
    """Say when the same command goes on."""
    if summary.exit_code in MENDED_FIRST:
        return "When that is put right, the same command"
    if summary.exit_code == ExitCode.FIX_ROWS:  # rows are left all the same: a canary did not hold
        return "When you have looked at that, the same command on a terminal asks whether to go on"
    return "Go on with the same command"


def _steps_after_undo(end: FinishedRun, to_retry: int) -> Iterator[str]:
    if to_retry:
        again = command_line("undo", shown_path(end.undoes or ""), *_run_options(end.next), *end.again)
        yield f"{_go_on(end.summary)}:  {again}"
    yield from _results_files(end.summary)
    if end.can_undo:
        yield f"Undo the undo:  {_run_command('undo', end)}"


# -- runs -------------------------------------------------------------------------------------------------------------


def runs_page(
    found: "NewestRuns", room: float = math.inf, height: Callable[[str], int] = lambda text: 1
) -> Iterator[Styled]:  # fmt: skip
    """Yield the newest runs, and what to do next for each: as many as there is `room` for, by the `height` of a line.

    The newest one is shown in any case, and those that are not are counted.
    """
    if not found.runs:
        yield f"No run is known here yet. To begin one:  {command()} update FILE", ""
    shown = 0
    for one in found.runs:
        lines = list(_run_lines(one))
        room -= sum(height(text) for text, _ in lines)
        if shown and room < 0:
            break
        shown += 1
        yield from lines
    if older := found.older + len(found.runs) - shown:
        yield f"{older:,} older:  {command()} runs --all", ""


def rounds_page(sheets: "Sequence[Sheet]") -> Iterator[Styled]:
    """Yield all rounds of a file, and how much of it is done."""
    for sheet in sheets:
        for one in sheet.rounds:
            yield from _run_lines(one)
        name = shown_path(visible(sheet.first.run.input)) + _of_shard(sheet.first)
        yield f"{name}: {sheet.together.text}", ""


def _run_lines(one: "ListedRun") -> Iterator[Styled]:
    run = one.run
    kind = ENDPOINTS.get(run.endpoint)
    what = [kind.title if kind else run.endpoint, run.company.name or "", run.host if run.host in SANDBOXES else ""]
    undo = f"undo of {visible(short_name(one.undone_input))}" if one.undone_input else "undo"
    name = (undo if run.undoes else visible(short_name(run.input))) + _of_shard(one)
    yield f"{one.started_text}  {name}  ({', '.join(filter(None, map(visible, what)))})", ""
    later = f"; {len(one.later.done):,} of them done in later rounds" if one.later.done else ""
    yield f"  {one.state}: {shown_counts(run.counts) or plural(run.rows, 'row')}{later}", RUN_STYLES.get(one.state, "")
    yield from ((f"  {line}", "") for line in _next_of_run(one))


def _of_shard(one: "ListedRun") -> str:
    return f", shard {one.metadata.shard}" if one.metadata is not None and one.metadata.shard else ""


def _next_of_run(one: "ListedRun") -> Iterator[str]:
    """Say what to do next for a run."""
    run, known = one.run, one.metadata
    folder = shown_path(str(run.folder))
    if known is None:
        yield f"its folder is not there any more: {folder}" if run.state != "purged" else "its files were removed"
        return
    owned = _run_options(known.options_next)
    match one.state:
        case "unfinished" if known.undoes:
            yield f"Go on:  {command_line('undo', shown_path(known.undoes), *owned, *known.options_again)}"
        case "unfinished" if known.parts:
            yield "Go on:  the same submit"
        case "unfinished" if _is_there(known.input):
            yield f"Go on:  {update_command(shown_path(known.input), run.endpoint, known.options_again)}"
        case "unfinished":
            yield f"Go on:  {_resume_command(str(run.folder), known.options_next, known.options_again)}"
        case "to fix" if one.failures is not None and not known.undoes:
            yield f"To fix:  {shown_path(str(one.failures))}"
            yield f"Then:  {update_command(shown_path(str(one.failures)), run.endpoint, known.options_next)}"
        case "finished" if run.counts.get(Outcome.UPDATED) and run.host != SANDBOX:
            verb = "Undo the undo" if known.undoes else "Take it back"
            yield f"{verb}:  {command_line('undo', folder, *owned)}"


def runs_values(runs: "Iterable[ListedRun]") -> dict[str, Any]:
    """Return runs as `runs --json` prints them."""
    return {"schema_version": SCHEMA_VERSION, "runs": [_run_values(one) for one in runs]}


def _run_values(one: "ListedRun") -> dict[str, Any]:
    run = one.run
    return {
        "run_id": run.run_id, "folder": str(run.folder), "command": run.command, "input": run.input,
        "endpoint": run.endpoint, "host": run.host, "company": run.company.name, "parent_run": run.parent_run,
        "undoes": run.undoes, "started": utc_text(run.started), "ended": run.ended and utc_text(run.ended),
        "rows": run.rows,
        "outcomes": named_counts(run.counts), "done": one.done,
        "state": one.state, "failures": str(one.failures) if one.failures else None,
    }  # fmt: skip


def status_page(found: "Status") -> Iterator[str]:
    """Yield how far a run is."""
    done = found.rows - sum(found.outcomes[one] for one in NEEDS_RETRY)
    yield f"{visible(found.input)}{of_company(found.company)}: {found.state}, {done:,} of {plural(found.rows, 'row')}"
    if counts := shown_counts(found.outcomes):
        yield f"  {counts}"
    if found.state == "running":
        left = "" if found.time_left is None else f", about {minutes(found.time_left)} left"
        yield f"  {found.per_second:.3g} rows/s of late{left}"
    yield f"  {shown_path(found.run)}"


# -- pull, purge ------------------------------------------------------------------------------------------------------


def pull_page(found: "Pulled", endpoint: str, options: Sequence[str]) -> Iterator[str]:
    """Yield what was pulled, what was left out, and the next command, with the options that it needs."""
    path = shown_path(str(found.path))
    yield f"{path}: {plural(found.records, 'record')}, {plural(len(found.columns), 'column')}"
    if found.company:
        yield f"  of {visible(found.company)}"
    if found.hidden:
        are = "is" if len(found.hidden) == 1 else "are"
        yield f"  left out: {', '.join(found.hidden)}, which {are} not shown when records are listed"
    for column, left in found.left.items():
        ids = first_few(left.ids, left.count)
        yield (
            f"  {visible(column)}: {plural(left.count, 'value')} cannot stand in a cell and "
            f"{'is' if left.count == 1 else 'are'} left blank, which changes nothing (id {ids})"
        )
    if found.missing:
        ids = first_few(found.missing[:SHOWN_IDS], len(found.missing))
        have = "has" if len(found.missing) == 1 else "have"
        yield f"  {plural(len(found.missing), 'id')} of the file {have} no record: {ids}"
    if found.records and found.path.suffix.lower() == ".csv":
        yield "  to edit it in Excel or LibreOffice, pull an .xlsx: in a CSV file they turn 00123 into 123"
    if found.records:
        yield f"Edit it, then:  {command_line('plan', path, '-e', endpoint, *options)}"


def purge_page(preview: "PurgePreview | None") -> str:
    """Return what was removed; None: nothing was."""
    if preview is None:
        return "Nothing was removed."
    return f"Removed {shown_path(str(preview.folder))} ({plural(preview.files, 'file')})."


def purge_older_page(done: "PurgeOlder | None", older_than: str) -> Iterator[str]:
    """Yield which runs were removed, and which old ones were kept; None: the person said no."""
    if done is None:
        yield "Nothing was removed."
        return
    if done.removed:
        runs, files = plural(len(done.removed), "run"), plural(done.files, "file")
        yield f"Removed {runs} of {shown_path(str(done.parent))} ({files})."
    else:
        older = "else " if done.kept or done.failed else ""
        yield f"Nothing {older}in {shown_path(str(done.parent))} is older than {older_than}, so nothing was removed."
    yield from stays(done)
    if done.kept:
        yield "To remove what is not finished or waits for approval, too:  --unfinished"


# -- login, logout, logins ---------------------------------------------------------------------------------------------


def login_page(made: "LoggedIn") -> Iterator[Styled]:
    """Yield where the key is kept, and what can be done now."""
    login = made.login
    is_kept = f'The key {login.shown} of "{visible(login.name)}" is kept in'
    if login.kept == "file":
        why = f" ({visible(made.no_keyring)})" if made.no_keyring else ""
        yield f"{is_kept} a file that only you can read{why}:", ""
        yield f"  {made.path}", ""
    else:
        yield f"{is_kept} the keyring of this system.", ""
    if login.kept == "keyring":
        yield "It is asked on a terminal only. For cron and scripts, log in with --store file.", ""
    address = ["--base-url", login.base_url] if made.has_own_address else []
    words = ["pull", "-e", made.endpoint, "-o", "customers.xlsx", *address, "--as", login.name]
    yield "Next, the current records as a spreadsheet:", ""
    yield f"  {command_line(*words)}", ""


def logout_page(login: Login, where: str) -> Iterator[Styled]:
    """Yield what was forgotten, and what was not."""
    yield f'The key {login.shown} of "{visible(login.name)}" is forgotten here.', ""
    yield f"It still opens the records. To end that, revoke it{f' {where}' if where else ' at the API'}.", ""


def mappings_page(mappings: Sequence[SavedMapping], width: int) -> Iterator[str]:
    """Yield what is remembered, a line for each mapping that is no longer than `width`, as far as names permit."""
    if not mappings:
        yield "Nothing is remembered. On a terminal, headers that are not known are asked about, and remembered then."
        return
    rows = [("NAME", "FOR", "HEADERS", "SINCE")]
    beside = max(len(visible(one.name)) + len(one.endpoint) + len(one.saved.isoformat()) for one in mappings)
    room = min(60, max(len("HEADERS"), width - beside - 3 * len("  ")))
    rows += [
        (visible(one.name), one.endpoint, shorten(visible(", ".join(one.map)), room), one.saved.isoformat())
        for one in mappings
    ]
    yield from table(rows)


def mapping_page(mapping: SavedMapping) -> Iterator[str]:
    """Yield what each header stands for, and what else is remembered."""
    yield f'"{visible(mapping.name)}", for {mapping.endpoint}, remembered on {mapping.saved}'
    yield from table([(visible(header), "->", target or "left out") for header, target in mapping.map.items()])
    beside = {name: getattr(mapping, name) for name in BESIDE if getattr(mapping, name) is not None} | mapping.formats
    for name, value in beside.items():
        yield f"--{name.replace('_', '-')} {value}"


def forgotten_page(mapping: SavedMapping) -> Iterator[str]:
    """Yield what was forgotten."""
    yield f'The mapping "{visible(mapping.name)}" is forgotten. Runs that were made with it stay as they are.'


def logins_page(logins: Sequence[Login]) -> Iterator[str]:
    """Yield the companies in a line each."""
    if not logins:
        yield f"No key is set up. To set one up:  {command()} login -e dualentry.customers"
        return
    rows = [("COMPANY", "API", "ADDRESS", "KEY", "KEPT IN")]
    rows += [(visible(one.name), one.api, one.base_url, one.shown, one.kept) for one in logins]
    yield from table(rows)


# -- sandbox start, sandbox stop ---------------------------------------------------------------------------------------


def sandbox_start_page(url: str, *, is_new: bool) -> Iterator[Styled]:
    """Yield where the sandbox that stays is, what uses it, and what ends it."""
    yield f"Your sandbox {'runs now' if is_new else 'runs already'}, at {url}.", ""
    yield "--sandbox sends to it, and what you change there stays.", ""
    yield f"Try:   {command()} pull -e dualentry.customers -o customers.xlsx --sandbox", ""
    yield f"Stop:  {command()} sandbox stop", ""


def sandbox_stop_page(*, was_running: bool) -> Iterator[Styled]:
    """Yield that it has ended, and how to begin again."""
    yield f"Your sandbox {'is stopped' if was_running else 'had ended by itself'}. Its records are kept.", ""
    yield f"Go on with them:  {command()} sandbox start", ""
    yield f"Begin with new ones:  {command()} sandbox start --new", ""


# -- endpoints, template ----------------------------------------------------------------------------------------------


def endpoints_page(name: str | None, environment: Environment, width: int) -> str:
    """Return all endpoints in a line each, or one with its fields, none of its lines wider than `width`."""
    if name is None:
        listed = [kind() for kind in environment.endpoints.values()]
        return "\n".join(table([(e.name, e.title, e.base_url) for e in listed]))
    return "\n".join(_endpoint_page(find_endpoint(name, environment)(), width))


def endpoints_values(name: str | None, environment: Environment) -> list[dict[str, Any]] | dict[str, Any]:
    """Return the same as `endpoints --json` prints it."""
    if name is None:
        return [_summary_of(kind()) for kind in environment.endpoints.values()]
    endpoint = find_endpoint(name, environment)()
    fields = [_field_as_dict(field) for field in endpoint.fields]
    return _summary_of(endpoint) | {"fields": fields, "families": dict(endpoint.dynamic_fields)}


def _summary_of(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "name": endpoint.name, "title": endpoint.title, "method": endpoint.method, "base_url": endpoint.base_url,
        "credentials": {one.name: one.what for one in endpoint.variables},
        "id": {"form": endpoint.id_form, "labels": list(endpoint.id_labels)},
    }  # fmt: skip


def _field_as_dict(field: Field) -> dict[str, Any]:
    return {
        "name": field.name, "kind": field.kind, "limits": field.limits, "clear": field.nullable,
        "choices": list(field.choices), "labels": list(field.labels), "spaces": "trimmed" if field.trims else "kept",
    }  # fmt: skip


def _endpoint_page(endpoint: Endpoint, width: int) -> Iterator[str]:
    yield f"{endpoint.name}: {endpoint.title} at {endpoint.base_url}"
    yield ""
    rows = [("FIELD", "CLEAR", "SPACES", "LIMITS", "ALSO CALLED")]
    rows += [("id", "", "trimmed", endpoint.id_form, shorten(", ".join(endpoint.id_labels), 60))]
    rows += [_field_row(field) for field in endpoint.fields]
    rows += [(name, "yes", "", meaning, "") for name, meaning in endpoint.dynamic_fields]
    listed = [f"  {line}" for line in table(rows)]
    if max(map(len, listed)) <= width:
        yield from (*listed, "")
        yield "CLEAR: whether <clear> may empty it. SPACES: whether spaces around a value are trimmed or kept."
    else:
        yield from (*_narrow(rows[1:], width), "")
        yield "<clear> empties a field, where nothing else is said. Spaces around a value are trimmed."
    limits = "; ".join(_limits(endpoint)) or "not known, so they are found out"
    yield f"Limits: {limits} (--max-per-second for others)"
    if endpoint.variables:
        yield "Credentials: " + "; ".join(f"{one.name} = {one.what}" for one in endpoint.variables)
    if endpoint.key_fields:
        yield "Records can also be found by: " + ", ".join(f"--key {one}" for one in endpoint.key_fields)


def _narrow(rows: Sequence[tuple[str, str, str, str, str]], width: int) -> Iterator[str]:
    """Yield fields where their table is too wide: a line for each, and below it what else is to be known of it."""
    room = max(len(name) for name, *_ in rows) + 4
    for name, clear, _, limits, labels in rows:
        about = textwrap.wrap(f"{limits}, never empty" if clear == "no" else limits, max(20, width - room))
        about += [shorten(f"also: {labels}", max(20, width - room))] if labels else []
        yield f"  {name.ljust(room - 2)}{about[0]}"
        yield from (f"{'':<{room}}{line}" for line in about[1:])


def _field_row(field: Field) -> tuple[str, str, str, str, str]:
    limits = ", ".join(field.choices) if field.choices else field.limits
    clear, spaces = "yes" if field.nullable else "no", "trimmed" if field.trims else "kept"
    return field.name, clear, spaces, limits, shorten(", ".join(field.labels), 60)


def _limits(endpoint: Endpoint) -> Iterator[str]:
    for what, bucket in (("in all", endpoint.limits.total), ("for each kind of request", endpoint.limits.per_route)):
        if bucket:
            yield f"{bucket.per_second:g} a second after the first {bucket.burst} {what}"


def template_page(made: "TemplateMade") -> Iterator[Styled]:
    """Yield where the template is, and what to do with it."""
    yield from ((visible(text), "") for text in made.notes)
    path = shown_path(str(made.path))
    yield f"{path}: {made.columns} columns. Fill it in, then:  {command_line('check', path, '-e', made.endpoint)}", ""
