"""A plan as Markdown for a pull request: `plan --output md`.

Promises: it fits into one comment; what is left out is counted. Every text that is not ours stands in a code span, so
that it can neither break the table nor be taken for a link, a mention, HTML or markup.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from batch.cli.messages import cost, plural, update_command
from batch.commands.plan import PlanMade
from batch.files import shown_path
from batch.model import Outcome, first_few, shorten, visible, with_header
from batch.outputs.plan import CLEARED

MOST_BYTES: Final = 50_000
"""A comment may have 65,536 characters at GitHub, and more elsewhere."""
MOST_REASONS: Final = 20
WIDEST: Final = 120
"""Characters of a text that is shown."""


def plan_page(made: PlanMade) -> Iterator[str]:
    """Yield the lines of what a plan comes to: counts, cells, what is not sent and why, and what carries it out."""
    summary = made.summary
    company = f" of {code(summary.company)}" if summary.company else ""
    yield f"### Plan for {code(summary.input)}: {made.endpoint.title}{company}"
    yield ""
    counts = {outcome.value: summary.outcomes[outcome] for outcome in Outcome}
    counts[Outcome.REJECTED.value] -= summary.not_found
    counts = {"to update": counts.pop(Outcome.UPDATED.value), **counts, "not found": summary.not_found}
    shown = [(name, count) for name, count in counts.items() if count or name in ("to update", "unchanged")]
    yield from _table([name for name, _ in shown], [[f"{count:,}" for _, count in shown]])
    yield ""
    yield f"Nothing was written to the API. To send: {cost(made.cost)}."
    for name, count in summary.clears.items():
        yield f"**Empties** {code(name)} on {plural(count, made.endpoint.noun, made.endpoint.plural)}."
    if summary.not_empty:
        yield f"{plural(summary.not_empty, 'row')} with cells that are left alone (`--only-empty`)."
    for one in made.excesses:
        yield f"**{code(one)}**: an update of this needs `--max-clears 100%`, or somebody to ask."
    yield from _cells(made)
    yield from _reasons(made)
    if summary.cells:
        plan = ("--plan", shown_path(str(made.folder)), *made.again)
        yield ""
        yield f"To do exactly this: {code(update_command(summary.input, summary.endpoint, plan), None)}"


def _cells(made: PlanMade) -> Iterator[str]:
    rows, size = list[list[str]](), 0
    for line in made.lines:
        who = " ".join(code(one) for one in (line.id, line.name) if one)
        before = code(line.before) if line.before else "(empty)"
        after = CLEARED if line.is_clear else code(line.after)
        rows.append(
            [str(line.row), who, code(with_header(line.field, made.headers.get(line.field, ""))), before, after]
        )
        size += sum(len(cell.encode()) + 3 for cell in rows[-1])
        if size > MOST_BYTES:
            rows.pop()
            break
    if rows:
        yield ""
        yield from _table(["row", made.endpoint.noun, "field", "now", "will be"], rows)
    left = made.summary.cells - len(rows)
    if left:
        yield ""
        yield f"… and {plural(left, 'other cell')}, all in {code(shown_path(made.summary.files['cells']))}."


def _reasons(made: PlanMade) -> Iterator[str]:
    if not made.reasons:
        return
    yield ""
    rows = []
    for one in made.reasons[:MOST_REASONS]:
        rows_text = first_few(one.rows[:5], one.count)
        field = code(one.header or one.field) if one.header or one.field else ""
        rows.append([one.outcome.value, field, code(one.reason), f"{one.count:,}", rows_text])
    yield from _table(["outcome", "field", "reason", "how many", "rows"], rows)
    more = len(made.reasons) - len(rows) + made.left_out
    if more:
        yield ""
        yield f"… and {plural(more, 'other reason')}."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for cells in rows:
        yield f"| {' | '.join(cells)} |"


def code(text: str, most: int | None = WIDEST) -> str:
    """Return a text as a code span that may stand in a table, "" for an empty one.

    A pipe is escaped, as tables want it in code, too. After a backslash it could still be taken for the end of the
    cell, so there it is spelt `\\x7c`.
    """
    if not text:
        return ""
    text = visible(text)
    text = text if most is None else shorten(text, most)
    text = re.sub(r"(?<=\\)\|", r"\\x7c", text).replace("|", r"\|")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    needs_room = text[:1] in ("`", " ") or text[-1:] in ("`", " ") or not text.strip()
    room = " " if needs_room else ""
    return f"{fence}{room}{text}{room}{fence}"
