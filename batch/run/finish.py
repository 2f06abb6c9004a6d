"""The end of a run: results, failures and summary, made from the journal.

Promises: they can always be made again; the counts balance or it is said that they do not; the exit code says what the
next step is.
"""

import json
import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from batch import outputs, sources
from batch.conditions import FieldChange, PlannedChange
from batch.endpoints.base import MISSING, Endpoint
from batch.errors import ExitCode, JournalError, StopCause
from batch.exit_code import exit_code
from batch.files import os_reason, remove, write_private, written_earlier
from batch.journal import Journal, JournalQueries
from batch.machine import now_text
from batch.model import NEEDS_RETRY, Outcome, Problem, RowResult, Staged, command
from batch.outputs.plan import Line, iter_lines
from batch.outputs.report import REPORT
from batch.own_files import JOURNAL, SUMMARY
from batch.provenance import seen_text
from batch.run.metadata import RunMetadata
from batch.run.recovery import resolve_in_doubt
from batch.run.report import write_report_of_run
from batch.run.target import SANDBOX, SANDBOXES
from batch.run.undo import can_be_put_back
from batch.summary import SPELLINGS, Files, Outcomes, State, Stopped, Summary, check_totals, group_reasons, state_of

INTERRUPTED = "The last start was cut off before its end: by a second Ctrl-C, a kill, or a machine that went down."


@dataclass(frozen=True, slots=True)
class End:
    """Why a run stopped before its end, and what the exit code is made of beside the outcomes."""

    stopped: str | None = None
    signalled: ExitCode | None = None
    is_refused: bool = False
    is_unwritten: bool = False
    cause: StopCause = StopCause.TROUBLE
    has_written: bool = False
    """A write of this start was accepted."""
    retry_after: float | None = None
    """Seconds that the API asked to wait, where the run stopped for that."""

    reason: str = ""
    """The stable word for why it stopped, where nothing else tells it."""
    at: str = ""
    """When that was, ISO 8601 in UTC; "": now."""

    @property
    def word(self) -> str:
        """The stable word for why it stopped."""
        if self.reason:
            return self.reason
        if self.stopped == INTERRUPTED:
            return "killed"
        if self.is_unwritten:
            return "journal"
        if self.is_refused:
            return "invalid"
        return self.signalled.name.lower().replace("_", "-") if self.signalled is not None else self.cause.value


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What is told at the end."""

    summary: Summary
    left_out: int
    """Rows whose reasons were too many to be told apart."""
    folder: Path
    notes: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    """Options that the same command needs again."""
    next: tuple[str, ...] = ()
    """Options that a run on the failures file needs."""
    undoes: str | None = None
    """The run that was taken back, None when it was no undo."""
    is_refused: bool = False
    """Nothing was sent on purpose, because of invalid rows."""
    done_later: Mapping[Outcome, int] = field(default_factory=dict)
    """Of the rows that still needed something, those that are through by now, in later runs."""
    can_undo: bool = False
    """Something of it was or may have been applied."""

    @property
    def stopped(self) -> str:
        """Why it ended before its last row, as a sentence; "" where it did not."""
        return self.summary.stopped.message if self.summary.stopped else ""

    @property
    def state(self) -> State:
        """What became of it."""
        return self.summary.state or "finished"

    @property
    def failures(self) -> str | None:
        """The failures file that people are to take, None when there is none."""
        return self.summary.files.failures


def finish_run(
    folder: Path, journal: Journal, metadata: RunMetadata, endpoint: type[Endpoint] | None, end: End,
    done_later: Mapping[int, str] | None = None, *, with_report: bool = True,
) -> FinishedRun:  # fmt: skip
    """Write the files of the run in `folder`, and sum it up; raises JournalError when the disk refuses.

    `endpoint` is the run's, None where it is not known any more: then two ids are the same when they are equal.
    """
    staged = metadata.staged
    # keys are exact, whatever ids are
    ignore_case = endpoint is not None and endpoint.ids_ignore_case and not metadata.is_keyed
    resolve_in_doubt(journal, staged, metadata.id_column, ignore_case=ignore_case)
    try:
        is_known = journal.meta().get("version") != 1  # 0.1 did not write down what it wrote
        known = outputs.KnownFiles(journal.file_digests(), journal.put_file) if is_known else None
        seen = _Seen(journal, endpoint() if endpoint and metadata.is_compared else None)
        wanted = outputs.Wanted(
            id_column=metadata.id_column, known=known, run=metadata.run_id, seen=seen.text, done_later=done_later or {},
            workbook=_about_run(folder, journal, metadata, endpoint, end) if metadata.has_workbook else None,
        )  # fmt: skip
        results = RunResults(journal, metadata)
        written = outputs.write(folder, staged, partial(sources.iter_frames, staged), results.read, wanted)
        check_totals(staged.rows, written.outcomes, journal.outcomes())
        not_looked_at = journal.count_older(metadata.look_since)
        left = Counter(written.outcomes) - written.done_later + Counter({Outcome.UNSENT: not_looked_at})
        code = exit_code(
            left,
            signalled=end.signalled,
            is_refused=end.is_refused,
            is_unwritten=end.is_unwritten,
            cause=StopCause.CANARY if metadata.canary_failure else end.cause,
            has_written=end.has_written,
        )
        journal.end_part()
        counters = journal.counters()
        reasons, left_out = group_reasons(journal.iter_troubled())
        finished = end.at or now_text()
        is_left = any(left.get(outcome) for outcome in NEEDS_RETRY)
        summary = replace(
            _begun(folder, journal, metadata, is_resumed=journal.count_parts() > 1),
            outcomes=Outcomes(written.outcomes),
            earlier={one: min(metadata.earlier.get(one.value, 0), count) for one, count in written.outcomes.items()},
            not_looked_at=not_looked_at, requests=counters.requests, attempts=counters.attempts,
            throttled=counters.throttled, is_exact=counters.is_exact, finished=finished,
            state="undone" if metadata.undone else state_of(left, is_left=is_left),
            stopped=None if end.stopped is None else Stopped(end.word, end.stopped, code.hint),
            retry_after=end.retry_after, exit_code=int(code),
            files=paths_in(folder, {**written.files, "journal": JOURNAL}),
            reasons=reasons, spellings={name: journal.count_told(code) for name, code in SPELLINGS.items()},
            left_out=staged.left_out,
        )  # fmt: skip
        if with_report:
            report = write_report_of_run(
                folder, journal, metadata, endpoint, facts=facts_of_run(folder, metadata, endpoint, end.stopped),
                outcomes=summary.outcomes, reasons=reasons, files=written.files,
                spent={name: getattr(summary, name) for name in ("requests", "attempts", "throttled", "seconds")},
            )  # fmt: skip
            summary = replace(summary, files=Files(summary.files | paths_in(folder, {"report": report})))
        can_undo = metadata.host != SANDBOX and any(
            can_be_put_back(intents[-1], result) for intents, result in journal.iter_intents()
        )
        write_summary(folder, summary)
        word = end.word if end.stopped else None
        journal.put_meta({"exit_code": int(code), "stopped": end.stopped, "stop_reason": word, "finished": finished})
    except OSError as error:
        raise cannot_write(folder, error) from error
    return FinishedRun(
        summary,
        left_out,
        folder,
        (*written.notes, *_say_unseen(not_looked_at)),
        metadata.options_again,
        metadata.options_next,
        metadata.undoes,
        end.is_refused,
        written.done_later,
        can_undo,
    )


def _about_run(
    folder: Path, journal: Journal, metadata: RunMetadata, endpoint: type[Endpoint] | None, end: End
) -> outputs.AboutRun:
    """Return what the workbook of the results says beside them."""
    name = Path(metadata.undoes or metadata.input).name
    facts = facts_of_run(folder, metadata, endpoint, end.stopped)
    title = f"Taking back {name}" if metadata.undoes else f"Changes from {name}"
    return outputs.AboutRun(title, facts, _iter_cells(journal, metadata))


def facts_of_run(
    folder: Path, metadata: RunMetadata, endpoint: type[Endpoint] | None, stopped: str | None
) -> dict[str, str]:
    """Say what is told to people of a run, by what each fact is called."""
    return shown_facts(
        metadata.staged,
        went_to=f"{endpoint.title if endpoint else metadata.endpoint} ({metadata.host})",
        company=metadata.company,
        started=metadata.started,
        users=metadata.users,
        folder=folder,
        stopped=stopped,
        planned_by=metadata.planned_by,
    )


def shown_facts(
    staged: Staged, *, went_to: str, company: str | None, started: str, users: Sequence[str], folder: Path,
    stopped: str | None = None, planned_by: str = "",
) -> dict[str, str]:  # fmt: skip
    """Say what a workbook for people tells of a run or a plan, by what each fact is called."""
    facts = {
        "For": went_to,
        "Company": company or "",
        "When": f"{started.replace('T', ' ').removesuffix('Z')} UTC",
        "By": ", ".join(filter(None, users)),
        "Planned by": planned_by,
        "Sheet": f"{staged.name}, sheet {staged.style.sheet}" if staged.style else staged.name,
        "Left out": f"rows of totals: {', '.join(map(str, staged.left_out))}" if staged.left_out else "",
        "Stopped": stopped or "",
        "Record": str(folder.resolve()),
    }
    return {name: text for name, text in facts.items() if text}


def _iter_cells(journal: Journal, metadata: RunMetadata) -> Iterator[tuple[Line, Outcome]]:
    """Yield the cells that were or may have been sent: from what the run found first to what it wanted last."""
    for intents, result in journal.iter_intents():
        last, steps = intents[-1], dict[str, FieldChange]()
        for intent in intents:
            for name, value in intent.fields.items():
                found = (intent.before or {}).get(name, MISSING)
                steps[name] = FieldChange(name, steps[name].expected if name in steps else found, value)
        outcome = result.outcome if result else Outcome.UNKNOWN
        for line in iter_lines([PlannedChange(last.change, last.id, last.name, tuple(steps.values()))], ""):
            yield replace(line, field=metadata.headers.get(line.field, line.field)), outcome


def _say_unseen(rows: int) -> Iterator[str]:
    """Say how many rows are told as they were left."""
    if rows:
        are, them = ("1 row is", "it") if rows == 1 else (f"{rows:,} rows are", "them")
        yield f"{are} told as an earlier start left {them}: the last start was to look at {them} again, and did not."


def _begun(folder: Path, journal: Journal, metadata: RunMetadata, *, is_resumed: bool) -> Summary:
    """Return the summary of a run that goes on, as far as it has come."""
    is_sandbox = metadata.host in SANDBOXES
    return Summary(
        command=metadata.command or "update", run_id=metadata.run_id, run=str(folder.resolve()), resumed=is_resumed,
        endpoint=metadata.endpoint, host=metadata.base_url, input=metadata.input, company=metadata.company,
        sandbox=is_sandbox, parent_run=metadata.parent_run, state="running", started=metadata.started,
        seconds=metadata.seconds, files=paths_in(folder, {"journal": JOURNAL}),
        input_sha256=metadata.staged.sha256, planned_by=metadata.planned_by, mapping=metadata.mapped,
        rows=metadata.staged.rows, outcomes=Outcomes(journal.counts),
    )  # fmt: skip


def begin_files(folder: Path, journal: Journal, metadata: RunMetadata, *, is_resumed: bool) -> None:
    """Write that the run goes on, and remove the results of an earlier part: until its end nothing looks current.

    Raises JournalError when the disk refuses.
    """
    begun = _begun(folder, journal, metadata, is_resumed=is_resumed)
    since = {"process": os.getpid(), "process_host": socket.gethostname(), "since": now_text()}
    known = outputs.KnownFiles(journal.file_digests(), journal.put_file)
    try:
        _write_json(folder / SUMMARY, begun.as_dict() | {"exit_code": None} | since)
        earlier = written_earlier(folder, "results", (".csv", ".parquet", ".xlsx"))
        remove([folder / REPORT])
        remove(one for one in earlier if one.suffix != ".xlsx" or not outputs.is_edited(one, known))
    except OSError as error:
        raise cannot_write(folder, error) from error


@dataclass(frozen=True, slots=True)
class RunResults:
    """The results of rows as they are told: of what the last start was to look at and did not, that is said."""

    journal: JournalQueries
    metadata: RunMetadata

    def read(self, first: int, last: int) -> dict[int, RowResult]:
        """Return the results of the rows from `first` to `last`."""
        found = self.journal.row_results(first, last)
        for row in self.journal.older_rows(first, last, self.metadata.look_since) if self.metadata.look_since else ():
            found[row] = replace(found[row], problems=(*found[row].problems, Problem("not_looked_at")))
        return found


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a run saw of its records before it changed them."""

    journal: Journal
    endpoint: Endpoint | None
    """None where nothing is to be said of it."""

    def text(self, row: int, record_id: str) -> str:
        """Spell for a failures file what was seen of a row."""
        intent = self.journal.intent_of_row(row) if self.endpoint else None
        if not (self.endpoint and intent):
            return ""
        return seen_text(self.endpoint, record_id, intent, self.journal.row_results(row, row)[row].shown)


def set_state(folder: Path, state: State) -> None:
    """Say in the summary of a run what became of it since; one that cannot be read or written is left as it is."""
    known = read_summary(folder)
    with suppress(OSError):
        if known:
            _write_json(folder / SUMMARY, {**known, "state": state})


def read_summary(folder: Path) -> Mapping[str, Any]:
    """Return the summary of a run as it was written last; empty where there is none."""
    with suppress(OSError, ValueError):
        found = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def write_summary(folder: Path, summary: Summary) -> None:
    """Write `summary.json`."""
    _write_json(folder / SUMMARY, summary.as_dict())


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_private(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def cannot_write(folder: Path, error: OSError) -> JournalError:
    """Say that the results files could not be written, and that nothing is lost."""
    return JournalError(
        f"{folder}: the results files cannot be written ({os_reason(error)}). The record of this run has everything. "
        f"Make room, then run the same command again, or:  {command()} results {folder}"
    )


def paths_in(folder: Path, files: Mapping[str, str]) -> Files:
    """Return where the files of a run are, by what they are."""
    return Files({name: str((folder / file).resolve()) for name, file in files.items()})
