"""`plan`: what an update would change, cell by cell, and nothing written to the API.

Promises: everything up to the sending is what `update` does, by the same code; no request that writes is ever made; a
plan is complete or absent; an update never takes its folder for a run.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from pathlib import Path

from batch import sources
from batch.conditions import KEPT
from batch.documents import document_text
from batch.endpoints.base import Endpoint
from batch.engine.api_session import ApiSession
from batch.engine.compared import iter_written
from batch.engine.context import RunContext
from batch.engine.estimate import Sent, estimate
from batch.engine.execute import Executor
from batch.engine.guards import ClearLimit, check_company, check_found
from batch.engine.lookup import LookupStrategy, find_strategy, make_lookup
from batch.engine.prepare import ChangePreparer
from batch.engine.reporter import Cost, Estimate, Reporter
from batch.engine.shutdown import Shutdown
from batch.engine.write import PlanRecorder
from batch.errors import FolderError, SettingsError, StoppedError
from batch.exit_code import exit_code_of_plan
from batch.files import os_reason
from batch.input_names import short_name
from batch.journal import Journal
from batch.machine import now_text, user_name
from batch.model import ROW, Outcome, RowResult, cell_column, with_header
from batch.outputs.plan import AboutPlan, Line, iter_lines, write_plan
from batch.outputs.report import Report, write_report
from batch.own_files import JOURNAL, PLAN, REPORT
from batch.run.begin_or_resume import discard, headers_of, new_run_id
from batch.run.cleanup import scratch, scratch_for
from batch.run.finish import shown_facts
from batch.run.folder import new_folder, runs_of
from batch.run.latest import fixed_name, latest_links
from batch.run.match_headers import settle_headers, validate_asking, with_answers
from batch.run.plan_file import PlanWriter, about
from batch.run.read_input import read_input
from batch.run.summary_file import paths_in, upload_files, with_places
from batch.run.target import SANDBOXES, Environment, make_target, with_login
from batch.run.upload import Upload
from batch.settings import Settings, as_options
from batch.summary import Head, Outcomes, OutcomesInJson, Reason, group_reasons

SHOWN = 200
"""Lines that are kept for the screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary(Head):
    """What a plan comes to; `as_dict` is what `--json` prints."""

    input_sha256: str
    rows: int
    outcomes: OutcomesInJson
    """As they would be."""
    not_found: int
    not_empty: int
    """Rows of which something is not written, since the record has another value (--only-empty)."""
    cells: int
    clears: dict[str, int]
    writes: int
    """Requests of an update by this plan that change something."""
    reads: int
    requests: int
    """All of it."""
    estimated_seconds: float | None
    """What they take at the API's limits; None where it has none."""


@dataclass(frozen=True, slots=True)
class PlanMade:
    """A plan and what is told of it. `lines` are the first; `by_field` counts cells by field."""

    summary: PlanSummary
    cost: Cost
    """Of an update by this plan."""
    lines: tuple[Line, ...]
    by_field: dict[str, int]
    reasons: tuple[Reason, ...]
    left_out: int
    folder: Path
    again: tuple[str, ...]
    """Options that an update by this plan needs, too."""
    endpoint: Endpoint
    headers: dict[str, str]
    """The header of each field, where it is not the field's own name."""
    excesses: tuple[str, ...]
    """Fields that would be cleared on more records than --max-clears allows."""
    notes: tuple[str, ...]
    """What the person should know about how the input was read."""


def plan(settings: Settings, reporter: Reporter, environment: Environment) -> PlanMade:
    """Read, validate, compare, and write down what would be sent. Raises BatchError when there is no telling."""
    if not settings.compare:
        raise SettingsError("A plan says what differs, so it cannot be made with --no-compare.")
    settings = replace(settings, input=fixed_name(settings.input))
    parent = runs_of(settings.input, settings.parent, settings.part)
    began, started = time.monotonic(), now_text()
    links = latest_links(parent, settings.input, reporter.note)
    results = environment.uploading(settings, reporter.note)
    with links as latest, results as upload, ExitStack() as stack:
        settings = with_login(settings, environment, reporter)
        target = make_target(settings, environment, stack, reporter.note)
        discard(new_folder(parent, prefix="plan-"))  # whether there can be one is known before anything is read
        temporary = stack.enter_context(scratch())
        copies = stack.enter_context(scratch_for(settings.input, parent))
        source = environment.open_input(settings, copies, reporter.note)
        settings = settle_headers(source, settings, target.endpoint, reporter, environment.mappings, verb="plan")
        changes = read_input(source, temporary, settings, target.endpoint)
        journal = stack.enter_context(Journal.create(temporary / JOURNAL, {}))
        api = ApiSession(target, settings.pace, environment)
        context = RunContext(
            api, journal, new_run_id(), changes, reporter, overwrites=settings.overwrite, only_empty=settings.only_empty
        )
        context.meter.is_plan = True
        context.api.note_slower(reporter.note)
        cost, answered = environment.run(_compare, context, settings, changes.parent_run)
        settings = with_answers(settings, answered)
        made = _write(context, settings, new_folder(parent, prefix="plan-"), cost, (started, began), changes.parent_run)
        latest.point_to(made.folder)
        return replace(made, summary=_uploaded(made, upload))


def _uploaded(made: PlanMade, upload: Upload) -> PlanSummary:
    """Upload the files of a plan, and return its summary as it is then."""
    summary = with_places(made.folder, made.summary, upload)
    text = document_text(summary.as_dict())
    return upload_files(made.folder, summary, text, upload)


async def _compare(
    context: RunContext, settings: Settings, parent_run: str | None
) -> tuple[Estimate, dict[str, str]]:  # fmt: skip
    """Do all that an update does before it sends; raises StoppedError.

    Returns what sending would cost, and how a person said that numbers and dates are meant.
    """
    async with context.connected():
        return await _compare_all(context, settings, parent_run)


async def _compare_all(
    context: RunContext, settings: Settings, parent_run: str | None
) -> tuple[Estimate, dict[str, str]]:  # fmt: skip
    definitions = await context.fetch_custom_fields()
    if definitions is not None:
        context.changes = context.changes.with_definitions(definitions)
    reporter, mappings = context.reporter, context.api.environment.mappings
    answered = validate_asking(context.changes, context.journal.record_rows, reporter, settings, mappings)
    check_company(context, parent_run, is_meant=settings.other_company)
    count, strategy = context.changes.change_count, None
    spent = context.meter.requests
    if count:
        strategy = await find_strategy(context, count)
        spent = context.meter.requests
        reading = estimate(context, strategy, count, sent=Sent(0), spent=spent).whole
        context.meter.expected = reading.seconds
        context.reporter.cost(reading)
        context.first_ids.is_settled = settings.none_found
        await _journal_changes(context, strategy)
        if context.first_ids.are_odd and not context.shutdown.requested and context.journal.error is None:
            check_found(context)
            await _journal_changes(context, strategy)
    if context.journal.error is not None:
        raise context.journal.error
    if context.shutdown.requested:
        raise _Unfinished.because(context.shutdown)
    by_fields = context.journal.count_by_fields()
    sent = Sent.counted(context.endpoint, chain.from_iterable(repeat(names, count) for names, count in by_fields))
    sent = replace(sent, completed=sent.writes)  # whoever carries the plan out holds each record against it
    return estimate(context, strategy, count, sent=sent, spent=spent), answered


async def _journal_changes(context: RunContext, strategy: LookupStrategy | None) -> None:
    """Journal what every change would do to its record."""
    client = await context.connect()
    async with context.attended(sends=False):
        preparer = ChangePreparer(context, make_lookup(context, strategy))
        await Executor(context, preparer, PlanRecorder(context)).send_all()
    if context.journal.error is None:
        context.journal.flush()
        context.api.keep_learned(client.limiter)


class _Unfinished(StoppedError):
    """The plan is not complete, so there is none."""

    @classmethod
    def because(cls, shutdown: Shutdown) -> "_Unfinished":
        said = "There is no plan, since not all rows were looked at. Nothing was written."
        error = cls(f"{shutdown.reason} {said}", shutdown.cause)
        if shutdown.signalled is not None:
            error.exit_code = shutdown.signalled
        return error


@dataclass(slots=True)
class _Cells:
    """What is said of the cells as they go by into a file."""

    first: list[Line] = field(default_factory=list)
    by_field: Counter[str] = field(default_factory=Counter)
    clears: Counter[str] = field(default_factory=Counter)

    def add(self, line: Line) -> Line:
        if len(self.first) < SHOWN:
            self.first.append(line)
        self.by_field[line.field] += 1
        self.clears[line.field] += line.is_clear
        return line


def _write(
    context: RunContext, settings: Settings, folder: Path, cost: Estimate, times: tuple[str, float],
    parent_run: str | None,
) -> PlanMade:  # fmt: skip
    """Write the files of a plan, and sum it up; `times`: when it began, as text and on the monotonic clock."""
    journal, (started, began) = context.journal, times
    try:
        cells, table = _write_changes(context, settings, folder, started)
    except OSError as error:
        discard(folder)
        raise _cannot_write(folder, error) from error
    reasons, left_out = group_reasons(journal.iter_troubled())
    outcomes, files = Outcomes(journal.outcomes()), {"plan": PLAN, "cells": table}
    if settings.report:
        files["report"] = _write_report(context, settings, folder, started, cells, outcomes, reasons, files)
    summary = PlanSummary(
        command="plan", run=str(folder.resolve()), endpoint=settings.endpoint, host=context.api.target.base_url,
        company=context.api.target.company_name, sandbox=context.api.target.kind in SANDBOXES,
        shard=settings.shard, parent_run=parent_run, state="finished", finished=now_text(), input=settings.input,
        input_sha256=context.changes.staged.sha256, started=started, seconds=time.monotonic() - began,
        rows=context.changes.rows, outcomes=outcomes,
        not_found=journal.count_not_found(), not_empty=journal.count_told(*KEPT),
        cells=cells.by_field.total(), clears={name: count for name, count in cells.clears.items() if count},
        writes=cost.writes, reads=cost.reads, requests=cost.whole.requests, estimated_seconds=cost.whole.seconds,
        exit_code=int(exit_code_of_plan(outcomes, is_detailed=settings.detailed_exitcode)),
        files=paths_in(folder, files),
    )  # fmt: skip
    limit = ClearLimit.from_option(settings.max_clears)
    excesses = () if settings.only_empty else tuple(limit.iter_excesses(context.changes))
    again = as_options(settings, for_same_input=True)
    return PlanMade(
        summary, cost.whole, tuple(cells.first), dict(cells.by_field), reasons, left_out, folder, tuple(again),
        context.endpoint, headers_of(context.changes.columns), excesses, context.changes.notes,
    )  # fmt: skip


def _write_changes(context: RunContext, settings: Settings, folder: Path, started: str) -> tuple[_Cells, str]:
    """Write the changes for the program, and the list of their cells for people; return that and its name."""
    cells, target, staged = _Cells(), context.api.target, context.changes.staged
    table = f"plan{'.xlsx' if staged.format == 'xlsx' else '.csv'}"
    meant_for = about(settings.identity(), staged.sha256, settings.endpoint, target.host, target.company)
    with PlanWriter(folder / PLAN, meant_for) as writer:
        planned = map(writer.add, iter_written(context.journal, context.endpoint))
        lines = iter_lines((one.as_shown() for one in planned), settings.clear_token)
        said = _about_table(context, settings, folder, started)
        write_plan(folder / table, map(cells.add, lines), said, delimiter=settings.csv_delimiter)
        writer.finish()
    return cells, table


def _write_report(
    context: RunContext, settings: Settings, folder: Path, started: str, cells: _Cells, outcomes: Outcomes,
    reasons: Sequence[Reason], files: Mapping[str, str],
) -> str:  # fmt: skip
    """Write what would change as a page to print or send, and return its name."""
    about, headers = _about_table(context, settings, folder, started), headers_of(context.changes.columns)
    fields = {
        with_header(name, headers.get(name, "")): (count, cells.clears[name])
        for name, count in cells.by_field.most_common()
    }
    report = Report(
        about.title, about.facts, outcomes, is_plan=True, reasons=reasons, fields=fields, lines=cells.first,
        more_lines=cells.by_field.total() - len(cells.first), files={"every cell": files["cells"]},
    )  # fmt: skip
    try:
        write_report(folder / REPORT, report)
    except OSError as error:
        discard(folder)
        raise _cannot_write(folder, error) from error
    return REPORT


def _cannot_write(folder: Path, error: OSError) -> FolderError:
    return FolderError(f"{folder}: the plan cannot be written ({os_reason(error)}). Make room, and plan again.")


def _about_table(context: RunContext, settings: Settings, folder: Path, started: str) -> AboutPlan:
    """Return what the list says beside its lines, where it is a workbook."""
    changes, target = context.changes, context.api.target
    facts = shown_facts(
        changes.staged,
        went_to=f"{context.endpoint.title} ({target.host})",
        company=target.company.name,
        started=started,
        users=(user_name(),),
        folder=folder,
    )
    return AboutPlan(
        f"Plan for {short_name(settings.input)}", facts, headers_of(changes.columns), context.journal.outcomes(),
        _iter_not_sent(context),
    )  # fmt: skip


def _iter_not_sent(context: RunContext) -> Iterator[tuple[str, RowResult]]:
    """Yield the rows of which nothing is sent, each with its id."""
    changes = context.changes
    for frame in sources.iter_frames(changes.staged):
        rows, ids = frame[ROW].to_list(), frame[cell_column(changes.columns.id.index)].fill_null("").to_list()
        found = context.journal.row_results(rows[0], rows[-1]) if rows else {}
        for row, record_id in zip(rows, ids, strict=True):
            result = found.get(row)
            if result is not None and result.outcome is not Outcome.UPDATED:
                yield record_id, result
