"""`plan`: what an update would change, cell by cell, and nothing written to the API.

Promises: everything up to the sending is what `update` does, by the same code; no request that writes is ever made; a
plan is complete or absent; an update never takes its folder for a run.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batch import sources
from batch.endpoints.base import MISSING, Endpoint
from batch.engine.context import RunContext
from batch.engine.estimate import Estimate, estimate
from batch.engine.guards import ClearLimit
from batch.engine.progress import Reporter
from batch.errors import FolderError, SettingsError, StoppedError
from batch.exit_code import exit_code
from batch.files import make_private
from batch.journal import Journal
from batch.model import Outcome
from batch.outputs.plan import Line, as_cell, write_plan
from batch.run.begin_or_resume import Run, now_text, read_input
from batch.run.cleanup import scratch
from batch.run.folder import JOURNAL, PLAN, look_into_out, new_folder, parent_of
from batch.run.plan_file import FieldChange, PlannedChange, PlanWriter, about
from batch.run.target import Environment, make_target
from batch.settings import Settings, as_options
from batch.summary import Reason, group_reasons

SHOWN = 200
"""Lines that are kept for the screen."""


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a plan comes to; `as_dict` is what `--json` prints."""

    endpoint: str
    host: str
    input: str
    input_sha256: str
    started: str
    seconds: float
    rows: int
    outcomes: dict[Outcome, int]
    """As they would be."""
    not_found: int
    cells: int
    clears: dict[str, int]
    cost: Estimate
    exit_code: int
    files: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Spell it as JSON."""
        return {
            "endpoint": self.endpoint,
            "host": self.host,
            "input": self.input,
            "input_sha256": self.input_sha256,
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "rows": self.rows,
            "outcomes": {outcome.value: self.outcomes.get(outcome, 0) for outcome in Outcome},
            "not_found": self.not_found,
            "cells": self.cells,
            "clears": self.clears,
            "writes": self.cost.writes,
            "write_seconds": self.cost.write_seconds,
            "reads": self.cost.reads,
            "read_seconds": self.cost.read_seconds,
            "exit_code": self.exit_code,
            "files": self.files,
        }


@dataclass(frozen=True, slots=True)
class PlanMade:
    """A plan and what is told of it. `lines` are the first; `by_field` counts cells by field."""

    summary: PlanSummary
    lines: tuple[Line, ...]
    by_field: dict[str, int]
    reasons: tuple[Reason, ...]
    left_out: int
    folder: Path
    again: tuple[str, ...]
    """Options that an update by this plan needs, too."""
    endpoint: Endpoint
    excesses: tuple[str, ...]
    """Fields that would be cleared on more rows than --max-clears allows."""


def plan(settings: Settings, reporter: Reporter, environment: Environment) -> PlanMade:
    """Read, validate, compare, and write down what would be sent. Raises BatchError when there is no telling."""
    if not settings.compare:
        raise SettingsError("A plan says what differs, so it cannot be made with --no-compare.")
    began, started = time.monotonic(), now_text()
    with ExitStack() as stack:
        target = make_target(settings, environment, stack, reporter.note)
        spool = stack.enter_context(scratch())
        source = sources.open_input(settings.input, spool)
        survey = read_input(source, spool, settings, target.endpoint)
        journal = stack.enter_context(Journal.create(spool / JOURNAL, {}))
        run = Run(spool, journal, survey, {"is_surveyed": False}, is_resumed=False)
        sending = RunContext(run, target, settings, reporter, environment, is_plan=True)
        _look(sending)
        return _write(sending, started, began)


def _look(sending: RunContext) -> None:
    """Do all that an update does before it sends; raises StoppedError when it did not come to the end."""
    sending.survey()
    if sending.run.survey.change_count:
        if sending.settings.key is not None:
            sending.environment.run(sending.choose_strategy, sending.run.survey.change_count)
        sending.environment.run(sending.send)
    if sending.run.journal.error is not None:
        raise sending.run.journal.error
    if sending.shutdown.requested:
        raise _Unfinished.because(sending)


class _Unfinished(StoppedError):
    """The plan is not complete, so there is none."""

    @classmethod
    def because(cls, sending: RunContext) -> "_Unfinished":
        error = cls(
            f"{sending.shutdown.reason} There is no plan, since not all rows were looked at. Nothing was written."
        )
        if sending.signalled is not None:
            error.exit_code = sending.signalled  # type: ignore[misc]  # this one ended by a signal
        return error


# -- writing it down ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Telling:
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


def _write(sending: RunContext, started: str, began: float) -> PlanMade:
    run, settings = sending.run, sending.settings
    folder, telling = _new_folder(settings), _Telling()
    book = folder / f"plan{'.xlsx' if run.staged.format == 'xlsx' else '.csv'}"
    try:
        write_plan(book, map(telling.add, _iter_lines(run.journal, settings.clear_token)))
        _write_plan_file(folder / PLAN, sending)
    except OSError as error:
        if settings.out is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise FolderError(
            f"{folder}: the plan cannot be written ({error.strerror}). Make room, and plan again."
        ) from error
    reasons, left_out = group_reasons(run.journal.iter_troubled())
    files = {"plan": str((folder / PLAN).resolve()), "cells": str(book.resolve())}
    summary = _summary(sending, telling, files, (started, time.monotonic() - began))
    excesses = tuple(ClearLimit.from_settings(settings).iter_excesses(run.survey))
    lines, by_field = tuple(telling.first), dict(telling.by_field)
    return PlanMade(
        summary, lines, by_field, tuple(reasons), left_out, folder, _again(settings), sending.endpoint, excesses
    )


def _again(settings: Settings) -> tuple[str, ...]:
    """Give the options to carry the plan out with: not --out, which names the plan's own folder."""
    return tuple(as_options(settings.model_copy(update={"out": None}), for_same_input=True))


def _new_folder(settings: Settings) -> Path:
    if settings.out is None:
        return new_folder(parent_of(settings.input), prefix="plan-")
    look_into_out(settings.out, "", settings.input)
    make_private(settings.out)
    return settings.out


def _iter_lines(journal: Journal, clear_token: str) -> Iterator[Line]:
    for intents, row_result in journal.iter_intents():
        intent, before = intents[-1], intents[-1].before or {}
        if row_result is None or row_result.outcome is not Outcome.UPDATED:
            continue
        for name, value in intent.fields.items():
            was, will = as_cell(before.get(name)), as_cell(value, clear_token)
            yield Line(intent.number, intent.id, intent.name, name, was, will, is_clear=value is None)


def _write_plan_file(path: Path, sending: RunContext) -> None:
    writer = PlanWriter(path, about(sending.settings, sending.run.staged.sha256, sending.target.host))
    try:
        for intents, _fate in sending.run.journal.iter_intents():
            intent, before = intents[-1], intents[-1].before or {}
            steps = [FieldChange(name, before.get(name, MISSING), value) for name, value in intent.fields.items()]
            writer.add(PlannedChange(intent.number, intent.id, intent.name, tuple(steps)))
        writer.finish()
    except BaseException:
        writer.discard()
        raise


def _summary(sending: RunContext, telling: _Telling, files: dict[str, str], spent: tuple[str, float]) -> PlanSummary:
    run, outcomes = sending.run, sending.run.journal.outcomes()
    return PlanSummary(
        endpoint=sending.settings.endpoint,
        host=sending.target.base_url,
        input=sending.settings.input,
        input_sha256=run.staged.sha256,
        started=spent[0],
        seconds=spent[1],
        rows=run.staged.rows,
        outcomes=outcomes,
        not_found=run.journal.count_not_found(),
        cells=telling.by_field.total(),
        clears={name: count for name, count in telling.clears.items() if count},
        cost=estimate(sending, run.journal.count_intents(), run.survey.change_count),
        exit_code=int(exit_code(outcomes)),
        files=files,
    )
