"""What is said before and during a run, and the phrases that pages share: pure, so that every word can be tested."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from batch.conditions import PlannedChange
from batch.engine.reporter import Compared, Cost, Preflight, Progress, Tried
from batch.files import shown_path
from batch.model import Column, Outcome, command_line, first_few, minutes, named, shorten, visible
from batch.outputs.plan import CLEARED, Line, iter_lines
from batch.run.target import SANDBOX, STANDING
from batch.summary import SHOWN_ROWS, Reason

if TYPE_CHECKING:
    from batch.commands.purge import PurgeOlder, PurgePreview

DONE = (Outcome.UPDATED, Outcome.UNCHANGED)
SHOWN_REASONS = 12
FEW_REQUESTS, SHORT_SECONDS = 10, 10.0
"""What is worth telling before it is begun."""
FIELD, NARROWEST = 40, 8
"""How wide the name of a field may be at most, and a value at least."""
UNBROKEN = 1000
"""The columns of a page that is no screen."""
NOTHING_REAL = "Nothing real is changed: this is a sandbox with sample records."
NOTHING_REAL_STANDING = "Nothing real is changed: this is your sandbox."


def is_colourless() -> bool:
    """Tell whether colours are not wanted (no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def plural(count: int, noun: str, several: str = "") -> str:
    """Spell a count: `1 row`, `2,000 rows`."""
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


def of_company(name: str | None) -> str:
    """Say whose it is, where the company has a name."""
    return f' of "{visible(name)}"' if name else ""


def took(seconds: float) -> str:
    """Spell how long something took; short times with a decimal."""
    return f"{seconds:.1f} s" if seconds < 10 else minutes(seconds)


# -- before and while -----------------------------------------------------------------------------------------------


def preflight(about: Preflight, *, compare: bool) -> Iterator[str]:
    """Yield what is about to happen."""
    changes, endpoint = about.changes, about.endpoint
    kind = f" ({about.host_kind})" if about.host_kind else " (not an address of the API's maker)"
    key = f"key {about.credential}{of_company(about.company)}"
    yield f"{plural(changes.staged.rows, 'row')} -> {endpoint.title} at {about.host}{kind}, {key}"
    for text in changes.notes:
        yield f"  {visible(text)}"
    if about.is_resumed:
        done = " · ".join(f"{outcome} {n:,}" for outcome, n in about.done.items() if n)
        yield f"  resuming {about.folder}" + (f": {done}" if done else "")
    used = ", ".join(_column(c) for c in changes.columns.all if c.target)
    yield f"  columns: {shorten(used, 300)}"
    ignored = [c.header for c in changes.columns.all if c.role == "ignored"]
    if ignored:
        yield f"  ignored: {shorten(', '.join(map(visible, ignored)), 200)}"
    if about.compared is None:
        yield from (f"  {line}" for line in _costs(about))
    if invalid := about.done.get(Outcome.INVALID, 0):
        yield f"  {plural(invalid, 'invalid row')} {'stays' if invalid == 1 else 'stay'} behind"
    for name, clears in about.clears.items():
        yield f"  clears: {name} on {plural(clears, endpoint.noun, endpoint.plural)}"
    if not compare:
        yield from _blanked(about)
    yield from (f"  {one}" for one in about.excesses)
    if not about.keeps_data:
        yield "  keeps no values when nothing is left to retry (--no-keep-data): it cannot be undone then"
    if about.slower:
        yield f"  {about.slower}"
    if about.host_kind in (SANDBOX, STANDING):
        yield f"  {NOTHING_REAL if about.host_kind == SANDBOX else NOTHING_REAL_STANDING}"
    if about.compared is not None:
        yield from reasons(about.compared.reasons, about.compared.left_out)
        yield _differs(about, about.compared)


def _column(one: Column) -> str:
    """Say what a column stands for; one that is called as its field is said once."""
    header = visible(one.header)
    return header if header.casefold() == one.target.casefold() else f"{header} -> {one.target}"


def _differs(about: Preflight, found: Compared) -> str:
    """Say what will change, and what will not."""
    writes, unread, endpoint = about.cost.writes, about.to_send - about.cost.writes, about.endpoint
    those = plural(found.in_all, endpoint.noun, endpoint.plural)
    parts = [f"{writes:,} of {those} will change ({plural(found.cells, 'cell')})"]
    if found.unchanged:
        have = "has" if found.unchanged == 1 else "have"
        parts.append(f"{found.unchanged:,} already {have} these values")
    if found.unset:
        parts.append(f"{plural(found.unset, 'row')} {'asks' if found.unset == 1 else 'ask'} for nothing")
    if unread:
        parts.append(f"{unread:,} could not be read, and {'is' if unread == 1 else 'are'} tried again")
    time = _time(about.cost.whole.seconds)
    return " · ".join([*parts, *([f"about {time}"] if time else [])])


def cells(changes: Iterable[PlannedChange], headers: Mapping[str, str], width: int) -> Iterator[str]:
    """Yield a line for each record, and for each of its cells that changes: the column, old and new.

    No line is wider than the screen; a single cell stands beside its record where both fit.
    """
    yield "  row  who, and what changes"
    for row, group in groupby(iter_lines(changes, CLEARED), lambda line: line.row):
        lines = list(group)
        who = f"{row:>5}  {visible(f'{lines[0].id} {lines[0].name}'.rstrip())}"
        beside = f"{who}  {_cell(lines[0], headers, UNBROKEN)}"
        if len(lines) == 1 and len(beside) <= width:
            yield beside
            continue
        yield shorten(who, width)
        for line in lines:
            yield f"{'':<7}{_cell(line, headers, width - 7)}"


def _cell(line: Line, headers: Mapping[str, str], width: int) -> str:
    start = f"{shorten(named(line.field, headers.get(line.field, '')), FIELD)}: "
    room = max(2 * NARROWEST, width - len(start) - len(" -> "))
    before, after = visible(line.before) or "(empty)", visible(line.after)
    before = shorten(before, max(room // 2, room - len(after)))
    return f"{start}{before} -> {shorten(after, room - len(before))}"


def tried(found: Tried, headers: Mapping[str, str], width: int) -> Iterator[str]:
    """Say of the first changes that they hold, and show them."""
    count = len(found.changes)
    kind = found.endpoint.noun if count == 1 else found.endpoint.plural
    yield f"Sent, read back, and as asked: the first {plural(count, kind, kind)}."
    yield from cells(found.changes, headers, width)


def _costs(about: Preflight) -> Iterator[str]:
    """Yield what it will take: one figure for comparing and the most for sending, or one where all of it is known."""
    estimate, changes = about.cost, plural(about.to_send, "change")
    if estimate.is_known:
        sent = changes if estimate.writes == about.to_send else f"{estimate.writes:,} of {changes}"
        yield f"to send {sent}: {cost(estimate.whole)}"
        return
    yield f"to compare {changes}: {cost(estimate.comparing)}"
    rest = estimate.whole.requests - estimate.comparing.requests
    time = _time(estimate.whole.seconds)
    yield f"to send what differs: up to {plural(rest, 'request')}" + (
        f", up to {time} with the comparing" if time else ""
    )


def is_worth_telling(one: Cost) -> bool:
    """Whether somebody would wait for it; what takes less is begun without telling what it takes."""
    return one.requests >= FEW_REQUESTS if one.seconds is None else one.seconds >= SHORT_SECONDS


def cost(one: Cost) -> str:
    """Spell requests and the time they take at the limits, where that is a second or more."""
    time = _time(one.seconds)
    return f"about {plural(one.requests, 'request')}" + (f", about {time}" if time else "")


def _time(seconds: float | None) -> str:
    return minutes(seconds) if seconds is not None and seconds >= 1 else ""


def _blanked(about: Preflight) -> Iterator[str]:
    """Warn that an object which is replaced whole loses the parts that the sheet leaves out."""
    if about.endpoint.needs_full_body:
        return
    targets = [column.target for column in about.changes.columns.fields]
    for whole in about.endpoint.replaced_whole:
        if any(target.startswith(whole + ".") for target in targets):
            yield f"  without comparing, the parts of {whole} that a row leaves out are blanked"


def removal(preview: "PurgePreview") -> list[str]:
    """Return what is about to be removed, as lines."""
    kind = "an undo" if preview.undoes else "a run"
    lines = [f"{shown_path(str(preview.folder))}: {kind}{_of_what(preview)} ({plural(preview.files, 'file')})"]
    if preview.others:
        go = "folder goes" if preview.others == 1 else "folders go"
        lines.append(f"  {preview.others:,} other {go} with it: its undos, and runs inside of it.")
    if preview.left:
        lines.append(f"  {plural(preview.left, 'row')} of it are still to be sent or sent again.")
    return [*lines, "  Records at the API stay as they are; the run cannot be undone or gone on with after that."]


def _of_what(preview: "PurgePreview") -> str:
    """Say what was sent, or taken back, and how many rows."""
    if not (preview.input and preview.rows):
        return ""
    what = shown_path(str(preview.undoes)) if preview.undoes else visible(preview.input)
    return f" of {what}, {plural(preview.rows, 'row')}"


SHOWN_RUNS = 20


def removals(preview: "PurgeOlder") -> Iterator[str]:
    """Yield which runs are about to be removed, and which old ones stay."""
    for one in preview.removed[:SHOWN_RUNS]:
        kind = ", the undo" if one.undoes else ""
        yield f"  {shown_path(str(one.folder))}{kind}{_of_what(one)} ({plural(one.files, 'file')})"
    if len(preview.removed) > SHOWN_RUNS:
        yield f"  … and {len(preview.removed) - SHOWN_RUNS:,} more"
    yield from stays(preview)
    yield "  Records at the API stay as they are; what is removed can be neither undone nor gone on with after that."


def stays(done: "PurgeOlder") -> Iterator[str]:
    """Yield which old runs stay, and why."""
    for folder, why in (*done.failed, *done.kept):
        yield f"  kept: {shown_path(str(folder))}: {visible(why.removeprefix(f'{folder}: '))}"


def progress(now: Progress) -> str:
    """Return where a run is, in one line."""
    parts = [f"{now.word(outcome)} {now.counts[outcome]:,}" for outcome in Outcome if now.counts.get(outcome)]
    text = " · ".join(parts) + f"   {now.per_second:,.1f}/s"
    if now.throttled:
        text += f"   throttled {now.throttled:,}"
    if now.is_stopping:
        return text + "   stopping"
    if now.paused > 1:
        return text + f"   waiting {minutes(now.paused)}: {now.why}"
    return text + (f"   {minutes(now.eta)} left" if now.eta is not None else "")


# -- phrases --------------------------------------------------------------------------------------------------------


def reasons(grouped: Sequence[Reason], left_out: int = 0) -> Iterator[str]:
    """List grouped reasons with their rows."""
    shown = shown_reasons(grouped)
    if shown:
        yield "Reasons"
    for one in shown:
        yield f"  {one.outcome.value:<9} {'' if one.field else ' '}{reason_of(one, 20)}"
    more = len(grouped) - len(shown) + left_out
    if more > 0:
        yield f"  … and {plural(more, 'other reason')}; each row has its own in the failures file"


def shown_reasons(grouped: Sequence[Reason]) -> list[Reason]:
    """Return the reasons that a page has room for: first those of rows that need something."""
    return sorted(grouped, key=lambda one: one.outcome in DONE)[:SHOWN_REASONS]


def reason_of(one: Reason, width: int) -> str:
    """Say a reason, behind its field where it has one, with its rows; one that names all its rows has said them."""
    field = f"{named(one.field, one.header):<{width}} " if one.field else ""
    told = visible(shorten(one.reason, 160))
    names_all = one.count == len(one.rows) and all(re.search(rf"\brow {row}\b", told) for row in one.rows)
    return f"{field}{told}" if names_all and one.rows else f"{field}{told}   {rows_of(one)}"


def rows_of(one: Reason) -> str:
    """List the rows of a reason: `9 rows: 17, 23, … (F17: "ext. 5")`."""
    count = "row" if one.count == 1 else f"{one.count:,} rows:"
    example = f" ({visible(one.example)})" if one.example else ""
    return f"{count} {first_few(one.rows[:SHOWN_ROWS], one.count)}{example}"


def update_command(path: str, endpoint: str, options: Sequence[str], *, verb: str = "update") -> str:
    """Spell an update (or plan) command to paste."""
    return command_line(verb, path, "-e", endpoint, *options)


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Align rows of text into columns."""
    listed = [[*row] for row in rows]
    widths = [max((len(row[i]) for row in listed), default=0) for i in range(max(map(len, listed), default=0))]
    for row in listed:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
