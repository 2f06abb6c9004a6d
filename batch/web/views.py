"""What the templates show: values and phrases for people, made of what the commands give.

Promises: nothing is decided here; text of a sheet or of an API is plain text, with what cannot be seen made visible.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from batch.commands.check import Checked
from batch.commands.columns import ShownColumn, ShownColumns
from batch.commands.runs import ListedRun, local_text
from batch.engine.reporter import Progress
from batch.errors import CancelledError, UsageError
from batch.input_names import short_name
from batch.model import NEEDS_EDIT, NEEDS_RETRY, Outcome, first_few, minutes, named, shorten, visible
from batch.outputs.plan import Line
from batch.outputs.report import bar
from batch.run import index
from batch.run.index import IndexedRun
from batch.run.target import SANDBOXES, STANDING, Environment, kind_of_host, make_endpoint
from batch.summary import Files, Reason
from batch.web.accounts import LOGIN, OWN, TYPED, Account
from batch.web.task import Question, Task
from batch.web.uploads import KeptUpload
from batch.web.work import STEPS, Work

LONG: Final = 60
"""Characters of a cell that are shown at once; the whole is there on hover and focus."""
STEP_NAMES: Final = dict(zip(STEPS, ("File", "Columns", "Problems", "Changes", "Send", "Result"), strict=True))
_FOLDERS = re.compile(r"(?<![\w:/])/(?:[^/\s:]+/)+(?=[^/\s:])|[^\s:]*batch/runs/(?:[^/\s:]+/)*(?=[^/\s:])")
"""The folders of a path, which tell nothing to whoever chose a file in a browser."""
LEAVE_OUT: Final = "leave this column out"
"""What the choice is called that is no field; nothing at all stands for nothing chosen."""
_MAPPED = re.compile(r'--map "([^"=]*)=([^"]*)"')
_COMMAND = re.compile(r"[^.:\n]*:  (?:--|\./|batch |/|-e )[^\n]*|\s*\(--[a-z-]+[^)]*\)")


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a sheet goes, on every step: a word, and a colour for it."""

    word: str
    style: str
    """`sandbox`, `test`, `production` or `other`."""
    text: str


def mark_of(account: Account, company: str) -> Mark:
    """Say where an account is, and whose."""
    if account.kind == "sandbox":
        return _mark("sandbox", "", "nothing real is changed")
    return _mark(account.host_kind, company, _host(account.address))


def mark_of_run(listed: ListedRun) -> Mark:
    """Say where a run went."""
    run = listed.run
    if run.host in SANDBOXES:
        return _mark("sandbox", "", "nothing real was changed")
    endpoint = Environment({}).endpoints.get(run.endpoint)
    kind = kind_of_host(run.host, endpoint()) if endpoint is not None else ""
    return _mark(kind, run.company.name or "", _host(run.host))


def _mark(kind: str, company: str, text: str) -> Mark:
    words = {"sandbox": "SANDBOX", "production": "PRODUCTION", "test system": "TEST SYSTEM"}
    styles = {"sandbox": "sandbox", "production": "production", "test system": "test"}
    said = " · ".join(filter(None, (visible(company), text)))
    return Mark(words.get(kind, "OTHER ADDRESS"), styles.get(kind, "other"), said)


def _host(address: str) -> str:
    return urlsplit(address).netloc or address


@dataclass(frozen=True, slots=True)
class Step:
    """A step as the head of each page shows it."""

    number: int
    name: str
    is_here: bool
    path: str
    """Where it is seen again; "" where it is not to be reached."""


def steps(work: Work | None, here: str) -> list[Step]:
    """List the six steps, those that were taken with a way back."""
    reached = {"file": "/"}
    if work is not None and not work.is_busy:
        known: dict[str, Any] = {
            "columns": work.columns, "problems": work.checked, "changes": work.opened, "send": work.opened,
            "result": work.end,
        }  # fmt: skip
        allowed = ("changes", "result") if work.is_sent else STEPS
        reached |= {
            step: f"/w/{work.id}/{step}" for step, found in known.items() if found is not None and step in allowed
        }
    return [
        Step(number, STEP_NAMES[step], step == here, "" if step == here else reached.get(step, ""))
        for number, step in enumerate(STEPS, 1)
    ]


def plain(text: str) -> str:
    """Return a message without the options, commands and folders that it names for people at a terminal."""
    lines = [" ".join(_COMMAND.sub("", _FOLDERS.sub("", visible(line))).split()) for line in text.splitlines()]
    return "\n".join(_MAPPED.sub(r'"\1" taken for "\2"', line) for line in lines if line)


def error_of(work: Work, name: str) -> str:
    """Say why the last command of a sheet did not come to its end, where it was this one."""
    task = work.task
    if task is None or task.name != name or not task.is_over:
        return ""
    return "It was stopped." if isinstance(task.error, CancelledError) else plain(task.said)


# -- 1 File ---------------------------------------------------------------------------------------------------------


def default_account(accounts: Sequence[Account]) -> str:
    """Choose what is chosen before anybody chooses: the only company, else the sandbox."""
    logins = [one for one in accounts if one.kind in (LOGIN, OWN)]
    if len(logins) == 1:
        return logins[0].value
    return accounts[0].value if accounts else ""


STATES: Final = {
    "running": "goes on", "finished": "finished", "to fix": "rows to fix", "unfinished": "not finished",
    "undone": "taken back", "superseded": "followed by a later run", "purged": "removed",
}  # fmt: skip


def name_of(listed: ListedRun) -> str:
    """Name the sheet of a run; of one that takes another back, the sheet of that."""
    run: IndexedRun | None = listed.run
    while run is not None and run.undoes and (before := index.get(run.undoes)) is not None:
        run = before
    return short_name((run or listed.run).input)


def counts_of(listed: ListedRun) -> Counter[Outcome]:
    """Count the rows of a run by outcome; those that nothing is known of were not sent."""
    counts = Counter(listed.run.counts)
    counts[Outcome.UNSENT] += max(0, listed.run.rows - counts.total())
    return counts


def run_line(listed: ListedRun) -> dict[str, Any]:
    """Return what the list of runs shows of one."""
    run, counts = listed.run, counts_of(listed) if listed.state != "running" else Counter(listed.run.counts)
    return {
        "id": run.run_id, "file": visible(name_of(listed)), "when": listed.started_text, "state": listed.state,
        "said": STATES.get(listed.state, listed.state), "mark": mark_of_run(listed), "rows": run.rows,
        "counts": [(one.value, count) for one in Outcome if (count := counts[one])],
        "command": "taking back" if run.undoes else "", "is_there": listed.metadata is not None,
    }  # fmt: skip


def kept_line(one: KeptUpload) -> dict[str, str]:
    """Return what the list of sheets that were not sent shows of one."""
    return {"place": one.place, "name": visible(one.path.name), "when": local_text(one.when)}


def accounts_for(listed: ListedRun, accounts: Sequence[Account]) -> list[Account]:
    """Return the accounts that may open the records of a run: of its endpoint, at its address."""
    run = listed.run
    kinds = ("sandbox",) if run.host == STANDING else (LOGIN, OWN, TYPED)
    of = [one for one in accounts if one.endpoint == run.endpoint and one.kind in kinds]
    fitting = [one for one in of if one.kind == "sandbox" or one.address.rstrip("/") == run.host.rstrip("/")]
    return sorted(fitting, key=lambda one: one.name != (run.company.name or one.name))


def settings_of_run(listed: ListedRun) -> dict[str, Any]:
    """Return the plan that a run carries out, which going on with it needs, too."""
    again = listed.metadata.options_again if listed.metadata is not None else ()
    plans = [Path(value) for option, value in pairwise(again) if option == "--plan"]
    return {"plan": plans[0]} if plans else {}


# -- 2 Columns ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """What a column may stand for."""

    value: str
    text: str


def field_choices(columns: ShownColumns, environment: Environment) -> dict[str, Any]:
    """Return what can be chosen for the columns of a sheet."""
    endpoint = make_endpoint(columns.settings, environment)
    title = endpoint.title.split()[0]
    fields = [Choice(LEAVE_OUT, ""), Choice("id", f"which {endpoint.noun} it is, at {title}")]
    fields += [Choice(one.name, one.labels[0] if one.labels else "") for one in endpoint.columns()]
    prefixes = [name.removesuffix("NAME") for name, _ in endpoint.dynamic_fields if name.endswith(".NAME")]
    keys = [
        Choice("", f"the id of {title}"),
        *(Choice(name, f"your own number: {name}") for name in endpoint.key_fields),
    ]
    return {
        "fields": fields, "custom": prefixes[0] if prefixes and endpoint.has_custom_fields else "", "keys": keys,
        "noun": endpoint.noun, "now": columns.settings.key or "",
    }  # fmt: skip


def column_choice(one: ShownColumn) -> str:
    """Return what is chosen for a column."""
    if one.column is None:
        return ""
    return LEAVE_OUT if one.column.role == "ignored" else one.target


def suggestions(one: ShownColumn, fields: Mapping[str, Any]) -> list[Choice]:
    """Return what a column that nobody knows may stand for, the likeliest first; none: any of the fields."""
    if one.column is not None or not one.header:
        return []
    own = [Choice(fields["custom"] + one.header, "a custom field of your own")] if fields["custom"] else []
    near = [choice for name in one.nearest for choice in fields["fields"] if choice.value == name]
    return [*near, *own, *(choice for choice in fields["fields"] if choice not in near)]


def read_columns(work: Work, form: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return what a form says of columns: what headers stand for, and other settings.

    Raises UsageError where the box of a known column was emptied, which says neither a field nor to leave it out.
    """
    targets: dict[str, str] = {}
    for place, one in enumerate(work.columns.columns if work.columns is not None else ()):
        before = column_choice(one)
        said = form.get(f"c{place}", before).strip()
        if before and not said:
            raise UsageError(f"{one.header}: choose the field that this column stands for, or “{LEAVE_OUT}”.")
        if said != before:
            targets[one.header] = "" if said.casefold() in (LEAVE_OUT, "-") else said
    changes: dict[str, Any] = {"key": form.get("key") or None}
    if work.columns is not None and form.get("sheet") in work.columns.sheets and form["sheet"] != work.columns.sheet:
        changes |= {"sheet": form["sheet"], "header_row": None}
    if (row := form.get("header_row", "")).isdecimal() and 0 < int(row) < 1_000_000:
        changes["header_row"] = int(row)
    return targets, changes


# -- 3 Problems -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that need the same repair."""

    column: str
    reason: str
    count: int
    where: str
    """The first rows, by their numbers."""
    cells: tuple[str, ...]
    more: int
    """Cells that are not shown."""
    setting: str = ""
    """What settles all of them at once: `date_format` or `decimal`."""


def problem_groups(checked: Checked) -> list[Group]:
    """Group the rows that need a correction by what is to be done."""
    return [_group(one) for one in checked.reasons]


def _group(one: Reason) -> Group:
    setting = {"date_ambiguous": "date_format", "number_ambiguous": "decimal"}.get(one.code, "")
    cells = tuple(f"row {row}: {visible(cell)}" if cell.startswith('"') else visible(cell) for row, cell in one.cells)
    where = f"{'Row' if one.count == 1 else 'Rows'} " + first_few(one.rows, one.count)
    return Group(
        named(one.field, one.header), plain(one.reason), one.count, where, cells, one.count - len(cells), setting
    )


# -- 4 Changes ------------------------------------------------------------------------------------------------------


def plan_view(work: Work) -> dict[str, Any]:
    """Return what is said of a plan beside its cells."""
    assert work.opened is not None  # noqa: S101 - for the type checker: whoever shows a plan has one
    endpoint = make_endpoint(work.settings, work.environment)
    opened = work.opened
    view: dict[str, Any] = {
        "noun": endpoint.noun, "plural": endpoint.plural, "host": _where(work), "writes": len(opened),
        "cells": opened.cells.total(), "clears": {name: count for name, count in opened.clears.items() if count},
        "unchanged": 0, "not_found": 0, "not_empty": 0, "behind": 0,
        "excesses": [], "reasons": [], "headers": opened.headers, "cost": "",
        "by": work.approval.about.text if work.approval is not None else "",
    }  # fmt: skip
    if work.plan is None:
        return view
    made, summary = work.plan, work.plan.summary
    requests, time = made.cost.requests, time_text(made.cost.seconds)
    return view | {
        "unchanged": summary.outcomes[Outcome.UNCHANGED],
        "not_found": summary.not_found, "not_empty": summary.not_empty,
        "behind": sum(summary.outcomes[one] for one in (*NEEDS_EDIT, *NEEDS_RETRY)),
        "cost": ", ".join(filter(None, (_count(requests, "request"), time))),
        "excesses": [plain(one) for one in made.excesses],
        "reasons": [_group(one) for one in made.reasons if one.outcome in NEEDS_EDIT],
    }  # fmt: skip


def _where(work: Work) -> str:
    return "the sandbox" if work.account.kind == "sandbox" else _host(work.account.address)


def time_text(seconds: float | None) -> str:
    """Spell how long something takes, where that is a second or more."""
    return f"about {minutes(seconds)}" if seconds is not None and seconds >= 1 else ""


# -- 5 Send ---------------------------------------------------------------------------------------------------------

DOING: Final = {
    "columns": "Reading the columns", "check": "Checking every row", "plan": "Comparing with the records",
    "update": "Sending", "undo": "Taking back", "resume": "Going on",
}  # fmt: skip


SENDS: Final = ("update", "undo", "resume")


def task_view(task: Task) -> dict[str, Any]:
    """Return what is shown of a command that goes on."""
    now, question = task.progress, task.question
    view: dict[str, Any] = {
        "doing": DOING[task.name] if now or task.name not in SENDS else "Getting ready",
        "said": plain(task.said), "notes": list(filter(None, map(plain, task.notes[-8:]))),
        "is_stopping": task.is_stopping, "is_over": task.is_over, "question": question,
        "can_stop": task.name not in ("columns", "check"), "counts": [], "rows": 0, "done": 0, "rate": "", "left": "",
        "paused": "", "cost": "", "about": [plain(one) for one in question.about if plain(one)] if question else [],
    }  # fmt: skip
    if task.cost is not None and (text := time_text(task.cost.seconds)):
        view["cost"] = f"Reading takes {text}."
    if now is not None:
        left = max(0, now.rows - now.done)  # what nothing is known of yet
        counted = Counter(now.counts) + Counter({Outcome.UNSENT: left})
        view |= {
            "rows": counted.total(), "done": counted.total() - counted[Outcome.UNSENT],
            "rate": f"{now.per_second:,.1f} a second",
            "counts": [(one.value, _left_word(now) if one is Outcome.UNSENT else now.word(one), counted[one])
                       for one in Outcome],
            "left": f"{minutes(now.eta)} left" if now.eta is not None and not now.is_stopping else "",
            "paused": f"The API asks to wait: {minutes(now.paused)}, {now.why}" if now.paused > 1 else "",
            "is_stopping": now.is_stopping or task.is_stopping,
        }  # fmt: skip
    return view


def _left_word(now: Progress) -> str:
    return "to compare" if now.is_plan else Outcome.UNSENT.value


def read_answer(question: Question | None, form: Mapping[str, str], canary: str) -> Any:
    """Return what a form answers to a question."""
    said = form.get("answer", "")
    if question is None:
        return None
    if question.options:
        return int(said) if said.isdecimal() else None
    if question.is_text:
        return said
    return canary if said == canary else said == "yes"


# -- 6 Result -------------------------------------------------------------------------------------------------------

TO_DO: Final = {
    "updated": "", "unchanged": "", "invalid": "To correct.", "rejected": "To correct.", "failed": "To try again.",
    "unknown": "To try again.", "unsent": "To try again.",
}  # fmt: skip
STOPPED: Final = "It was stopped before its end."
MEANS: Final = {
    "updated": "The API confirmed the change.", "unchanged": "It has these values, or the row asks for nothing.",
    "invalid": "A cell is wrong, or does not fit its record; nothing was sent.",
    "rejected": "The API refused it, or somebody else changed the record.",
    "failed": "There was trouble with the API or the network.",
    "unknown": "It was sent, and it is not known whether it arrived.",
    "unsent": "It was not sent yet.",
}  # fmt: skip


def run_view(listed: ListedRun, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of a run that ended, by what it wrote down of itself."""
    run, counts = listed.run, counts_of(listed)
    reasons = [one for one in summary.get("reasons") or () if isinstance(one, dict)]
    return {
        "id": run.run_id, "state": listed.state, "said": STATES.get(listed.state, listed.state), "rows": run.rows,
        "counts": [
            {"name": one.value, "count": counts.get(one, 0), "todo": TO_DO[one.value], "means": MEANS[one.value]}
            for one in Outcome
        ],
        "reasons": [
            {"outcome": str(one.get("outcome", "")), "field": visible(str(one.get("field", ""))),
             "text": plain(str(one.get("message", ""))), "count": int(one.get("count", 0)),
             "rows": f"{'row' if one.get('count') == 1 else 'rows'} "
             + first_few(one.get("rows") or (), int(one.get("count", 0)))}
            for one in reasons
        ],
        "stopped": _stopped(summary), "took": minutes(float(summary.get("seconds") or 0)),
        "to_fix": sum(counts.get(one, 0) for one in NEEDS_EDIT), "left": sum(counts.get(one, 0) for one in NEEDS_RETRY),
        "later": len(listed.later.done), "files": files_of(listed, summary), "is_undo": run.undoes is not None,
        "can_undo": listed.is_to_undo,
        "can_go_on": listed.state == "unfinished" and listed.metadata is not None and run.undoes is None,
        "endpoint": run.endpoint, "when": listed.started_text, "is_there": listed.metadata is not None,
        "slices": bar(counts),
    }  # fmt: skip


FILES: Final = ("failures", "results_xlsx", "results", "report")


def _stopped(summary: Mapping[str, Any]) -> str:
    known = summary.get("stopped") or {}
    return STOPPED if known.get("reason") == "interrupted" else plain(str(known.get("message", "")))


def files_of(listed: ListedRun, summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of a run that may be saved, by what they are; they lie in its folder and nowhere else."""
    files = summary.get("files")
    named = Files(files if isinstance(files, dict) else {})
    found = {}
    for what in FILES:
        name = Path(str((named.failures if what == "failures" else named.get(what)) or "")).name
        path = listed.run.folder / name
        if name and path.is_file() and not path.is_symlink():
            found[what] = str(path)
    return found


# -- text -----------------------------------------------------------------------------------------------------------


def _number(value: Any) -> str:
    return f"{value:,}"


def _cell(text: str) -> dict[str, Any]:
    """Return a cell's text, and whether it is too long to be shown at once."""
    shown = visible(text)
    return {"short": shorten(shown, LONG), "whole": shown if len(shown) > LONG else ""}


def _named(line: Line, headers: Mapping[str, str]) -> str:
    return named(line.field, headers.get(line.field, ""))


def _count(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "number": _number, "cell": _cell, "named": _named, "count": _count, "visible": visible, "choice": column_choice,
    "suggestions": suggestions, "plain": plain,
}  # fmt: skip
