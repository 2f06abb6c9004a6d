"""The page of a plan: what would change, cell by cell, as far as a screen goes.

Promises: the counts and the cost come first; clears are counted and stand out; what does not fit is in the file that is
named.
"""

from collections.abc import Iterator, Sequence

import click

from batch.cli import messages
from batch.cli.console import Screen
from batch.commands.plan import PlanMade, PlanSummary
from batch.engine.retry_loop import minutes
from batch.model import Outcome, shorten, visible
from batch.outputs.plan import Line

SHOWN_CELLS = 30
CLEARED = "(cleared)"
CLEAR_STYLE = "red"
WIDTHS = (34, 26, 30)


def show_plan(screen: Screen, made: PlanMade) -> None:
    """Show a plan: on stdout, since it is what was asked for."""
    if screen.settings.quiet:
        return
    for line, style in page(made):
        colour = style if style and not messages.is_colourless() else None
        click.secho(line, fg=colour)


def page(made: PlanMade) -> Iterator[tuple[str, str]]:
    """Say what a plan comes to, as (line, colour) pairs."""
    summary, endpoint = made.summary, made.endpoint
    yield f"{' · '.join(_counts(summary))}     {_cost(summary)}", ""
    yield from ((f"  clears: {name} on {messages.plural(count, endpoint.noun, endpoint.plural)}", CLEAR_STYLE)
                for name, count in summary.clears.items())  # fmt: skip
    for one in made.excesses:
        yield f"  {one}: an update of this needs --max-clears 100%, or somebody to ask", CLEAR_STYLE
    if made.lines:
        yield "", ""
        yield from _cells(made)
    if made.reasons:
        yield "", ""
        yield from ((line, "") for line in messages.reasons(made.reasons, made.left_out))
    yield "", ""
    which = "The cell" if summary.cells == 1 else f"All {messages.plural(summary.cells, 'cell')}"
    yield f"Nothing was written to the API. {which}: {_file(summary)}", ""
    if summary.cells:
        plan = ("--plan", messages.shown_path(str(made.folder)), *made.again)
        yield f"To do exactly this:  {messages.update_command(summary.input, summary.endpoint, plan)}", ""


def _counts(summary: PlanSummary) -> Iterator[str]:
    for outcome in Outcome:
        count = summary.outcomes.get(outcome, 0)
        count -= summary.not_found if outcome is Outcome.REJECTED else 0
        if count or outcome in (Outcome.UPDATED, Outcome.UNCHANGED):
            yield f"{outcome.value.capitalize()} {count:,}"
    if summary.not_found:
        yield f"Not found {summary.not_found:,}"


def _cost(summary: PlanSummary) -> str:
    cost = summary.cost
    writes, reads = messages.plural(cost.writes, "write"), messages.plural(cost.reads, "read")
    return f"{writes}{_about(cost.write_seconds)}; {reads}{_about(cost.read_seconds)}"


def _about(seconds: float | None) -> str:
    return f", about {minutes(seconds)}" if seconds is not None and seconds >= 1 else ""


def _cells(made: PlanMade) -> Iterator[tuple[str, str]]:
    if made.summary.cells > SHOWN_CELLS:
        for name, count in sorted(made.by_field.items(), key=lambda one: -one[1]):
            yield f"  {visible(name):<30} {messages.plural(count, 'cell')}", ""
        yield "", ""
    shown = made.lines[:SHOWN_CELLS]
    rows = [("row", made.endpoint.noun, "field", "now", "will be"), *_table(shown)]
    styles = ["", *(CLEAR_STYLE if line.is_clear else "" for line in shown)]
    yield from zip((f"  {line}" for line in messages.table(rows)), styles, strict=True)
    if made.summary.cells > len(shown):
        yield f"  …  {made.summary.cells - len(shown):,} more in {_file(made.summary)}", ""


def _table(lines: Sequence[Line]) -> Iterator[tuple[str, str, str, str, str]]:
    last = None
    for line in lines:
        who = shorten(visible(f"{line.id} {line.name}".rstrip()), WIDTHS[0])
        is_same = line.row == last
        last = line.row
        before, after = (shorten(visible(text), WIDTHS[2]) for text in (line.before, line.after))
        row = ("", "") if is_same else (str(line.row), who)
        yield *row, shorten(visible(line.field), WIDTHS[1]), before or "(empty)", CLEARED if line.is_clear else after


def _file(summary: PlanSummary) -> str:
    return messages.shown_path(summary.files["cells"])
