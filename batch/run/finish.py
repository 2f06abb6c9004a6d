"""The end of a run: results, failures and summary, made from the journal.

Promises: they can always be made again; the counts balance or it is said that they do not; the exit code says what the
next step is.
"""

import math
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TypeVar

import polars as pl

from batch import outputs, sources
from batch.conditions import KEPT, FieldChange, PlannedChange
from batch.credentials import hide_known
from batch.documents import NOT_KNOWN
from batch.endpoints.base import MISSING, Endpoint
from batch.errors import ExitCode, JournalError, StopCause
from batch.exit_code import exit_code
from batch.files import os_reason, remove, shown_path, written_earlier
from batch.journal import Journal, JournalQueries, OutOfTimeError
from batch.machine import now_text
from batch.model import NEEDS_RETRY, Outcome, Problem, RowResult, Staged, command, command_line
from batch.outputs.plan import Line, iter_lines
from batch.own_files import JOURNAL, REPORT
from batch.provenance import seen_text
from batch.run.erase import erase
from batch.run.metadata import RunMetadata
from batch.run.read_input import kept_columns
from batch.run.recovery import ignores_case, resolve_in_doubt
from batch.run.report import write_report_of_run
from batch.run.rounds import AllRounds, OpenRun, all_rounds
from batch.run.summary_file import failures_in, paths_in, write_summary
from batch.run.target import SANDBOX, SANDBOXES
from batch.run.undo import can_be_put_back
from batch.run.upload import Upload
from batch.summary import (
    SPELLINGS,
    Files,
    Outcomes,
    Reason,
    RunningSummary,
    State,
    Stopped,
    Summary,
    check_totals,
    group_reasons,
    state_of,
)

T = TypeVar("T")
INTERRUPTED = (
    "The last start was cut off before its end: by a second Ctrl-C, a kill, a full disk, or a machine that went down."
)


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
    until: float = math.inf
    """Until when, on the monotonic clock, the results files may be written: after a signal there is not much time."""
    at: str = ""
    """When that was, ISO 8601 in UTC; "": now."""
    is_hurried: bool = False
    """Nobody waits for the results files: a signal came while they were written."""

    @property
    def word(self) -> str:
        """The stable word for why it stopped."""
        if self.reason:
            return self.reason
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
    rounds: AllRounds | None = None
    """All rounds of its sheet together; None where it is the only one."""
    failures_later: str | None = None
    """The failures file of a later round that took its rows over, where people are to go on with that."""

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
        return self.failures_later or self.summary.files.failures


def finish_run(
    folder: Path, journal: Journal, metadata: RunMetadata, endpoint: type[Endpoint] | None, end: End,
    done_later: Mapping[int, str] | None = None, *, upload: Upload | None = None, with_report: bool = True,
) -> FinishedRun:  # fmt: skip
    """Write the files of the run in `folder`, and sum it up; raises JournalError when the disk refuses.

    `upload` says where the files go, too. After a signal the journal is brought to its end first, and the results files
    are written and uploaded as long as `end.until` allows; else the summary says what is to be done.

    `endpoint` is the run's, None where it is not known any more: then two ids are the same when they are equal.
    """
    staged = metadata.staged
    resolve_in_doubt(journal, staged, metadata.id_column, ignore_case=ignores_case(metadata, endpoint))
    try:
        totals = _Totals(
            folder, journal, metadata, end, journal.count_older(metadata.look_since), endpoint, upload, with_report,
            all_rounds(OpenRun(journal, metadata)),
        )  # fmt: skip
        if not end.is_hurried and end.until == math.inf:
            return _write_files(totals, endpoint, done_later or {})
        unwritten = totals.sum_up_unwritten()  # whatever comes, that stands
        if not end.is_hurried:
            with suppress(OutOfTimeError):
                return _write_files(totals, endpoint, done_later or {})
        if upload is not None:
            upload.tell_stopped(folder, unwritten.summary)
        return unwritten
    except OSError as error:
        raise cannot_write(folder, error) from error


NO_DATA = "Its values are not kept (--no-keep-data), so it cannot be undone."


def finish_without_data(
    finished: FinishedRun, journal: Journal, metadata: RunMetadata, endpoint: type[Endpoint] | None, end: End,
    done_later: Mapping[int, str] | None = None,
) -> FinishedRun:  # fmt: skip
    """Remove the values of a finished run that is to keep none, if nothing of it is left to retry, and sum it up anew.

    Its failures file stays, which a person needs. Raises JournalError when the disk refuses.
    """
    is_over = finished.state in ("finished", "to fix") and "results" in finished.summary.files
    if metadata.keeps_data or not is_over:
        return finished
    try:
        erased = erase(finished.folder, journal, metadata)
    except OSError as error:
        raise cannot_write(finished.folder, error) from error
    again = finish_run(finished.folder, journal, erased, endpoint, end, done_later, with_report=False)
    return replace(again, notes=(*finished.notes, NO_DATA))


def _write_files(
    totals: "_Totals", endpoint: type[Endpoint] | None, done_later: Mapping[int, str]
) -> FinishedRun:  # fmt: skip
    """Write the results files, and the summary with all that is in them; raises OutOfTimeError before it is late."""
    folder, journal, metadata, end = totals.folder, totals.journal, totals.metadata, totals.end
    is_known = journal.meta().get("version") != 1  # 0.1 did not write down what it wrote
    known = outputs.KnownFiles(journal.file_digests(), journal.put_file) if is_known else None
    seen = _Seen(journal, endpoint() if endpoint and metadata.is_compared else None)
    has_workbook = metadata.has_workbook and not metadata.is_erased
    wanted = outputs.Wanted(
        id_column=metadata.id_column, known=known, run=metadata.run_id, seen=seen.text, done_later=done_later,
        kept=kept_columns(metadata.staged, metadata.keep),
        record_id=_record_id if _says_record_id(metadata) else None,
        workbook=_about_run(totals) if has_workbook else None,
        failures=failures_in(folder) if metadata.is_erased else None,
    )  # fmt: skip
    frames = _TimedFrames(metadata, end.until)
    with journal.ended_at(end.until):
        written = outputs.write(folder, metadata.staged, frames.read, RunResults(journal, metadata).read, wanted)
        check_totals(metadata.staged.rows, written.outcomes, journal.outcomes())
        troubled = (one for one in journal.iter_troubled() if one.row not in done_later)
        reasons, left_out = group_reasons(_in_time(troubled, end.until))
    return totals.sum_up(written, reasons, left_out)


@dataclass(slots=True)
class _TimedFrames:
    """The rows of an input for the results files, as long as there is time."""

    metadata: RunMetadata
    until: float
    _passes: int = 0

    def read(self) -> Iterator[pl.DataFrame]:
        """Yield all rows once; raises OutOfTimeError where the files could not be ready in time."""
        self._passes += 1
        staged, began = self.metadata.staged, time.monotonic()
        yield from _in_time(sources.iter_frames(staged), self.until)
        # to close a workbook takes about as long as to fill it; the second pass over a CSV file fills one
        if staged.format == "xlsx" or self.metadata.has_workbook or self._passes > 1:
            _check_time(self.until, beside=time.monotonic() - began)


def _in_time(items: Iterable[T], until: float) -> Iterator[T]:
    for item in items:
        _check_time(until)
        yield item


def _check_time(until: float, *, beside: float = 0.0) -> None:
    if time.monotonic() + beside > until:
        raise OutOfTimeError


@dataclass(frozen=True, slots=True)
class _Totals:
    """Sums up a run, with its files or without them."""

    folder: Path
    journal: Journal
    metadata: RunMetadata
    end: End
    not_looked_at: int
    endpoint: type[Endpoint] | None
    upload: Upload | None
    """Where the files go, too."""
    with_report: bool
    rounds: AllRounds | None

    def sum_up_unwritten(self) -> FinishedRun:
        """Sum up the run by its journal alone, and write down that it ended and that its files are to be made."""
        outcomes = dict.fromkeys(Outcome, 0) | dict(self.journal.outcomes())
        outcomes[Outcome.UNSENT] += self.metadata.staged.rows - sum(outcomes.values())
        return self.sum_up(outputs.Written({}, outcomes), (), 0, is_unwritten=True)

    def sum_up(
        self, written: outputs.Written, reasons: tuple[Reason, ...], left_out: int, *, is_unwritten: bool = False
    ) -> FinishedRun:
        """Sum up the run, and write that down; `is_unwritten`: without its results files."""
        folder, journal, metadata, end = self.folder, self.journal, self.metadata, self.end
        journal.end_part()
        notes = [*written.notes, *_say_unseen(self.not_looked_at)]
        summary = self._summary(written, reasons, is_unwritten=is_unwritten)
        if self.with_report and metadata.keeps_data and not is_unwritten:
            try:
                report = self._write_report(summary, written)
                summary = replace(summary, files=Files(summary.files | paths_in(folder, {"report": report})))
            except OutOfTimeError:
                again = command_line("report", shown_path(str(folder.resolve())))
                notes.append(f"There was no time left for {REPORT}: {again} makes it.")
        upload, can_undo = None if is_unwritten else self.upload, self._can_undo()
        summary = write_summary(folder, summary, upload, keeps_code=bool(metadata.canary_failure), until=end.until)
        has_failed = self.upload is not None and (is_unwritten or self.upload.has_failed)
        journal.put_meta({
            "exit_code": summary.exit_code, "stopped": end.stopped, "finished": summary.finished,
            "stop_reason": end.word if end.stopped else None, "not_uploaded": has_failed,
        })  # fmt: skip
        return FinishedRun(
            summary, left_out, folder, tuple(notes), metadata.options_again, metadata.options_next, metadata.undoes,
            end.is_refused, written.done_later, can_undo, self.rounds,
        )  # fmt: skip

    def _summary(self, written: outputs.Written, reasons: tuple[Reason, ...], *, is_unwritten: bool) -> Summary:
        """Return the summary, but for the report and what becomes of uploading."""
        folder, journal, metadata, end = self.folder, self.journal, self.metadata, self.end
        left = Counter(written.outcomes) - written.done_later + Counter({Outcome.UNSENT: self.not_looked_at})
        code = self._exit_code(left)
        counters = journal.counters()
        told = {} if is_unwritten else {name: journal.count_told(code) for name, code in SPELLINGS.items()}
        state: State = state_of(left, is_left=any(left.get(outcome) for outcome in NEEDS_RETRY))
        return replace(
            _begun(folder, journal, metadata, is_resumed=journal.count_parts() > 1),
            outcomes=Outcomes(written.outcomes),
            earlier={one: min(metadata.earlier.get(one.value, 0), count) for one, count in written.outcomes.items()},
            not_looked_at=self.not_looked_at, requests=counters.requests, attempts=counters.attempts,
            throttled=counters.throttled, is_exact=counters.is_exact, finished=end.at or now_text(),
            state="undone" if metadata.undone else state, stopped=self._stopped(code, is_unwritten=is_unwritten),
            retry_after=end.retry_after, exit_code=int(code),
            files=paths_in(folder, {**written.files, "journal": JOURNAL}),
            reasons=reasons, spellings=dict.fromkeys(SPELLINGS, 0) | told, left_out=metadata.staged.left_out,
            not_empty=0 if is_unwritten else journal.count_told(*KEPT),
        )  # fmt: skip

    def _exit_code(self, left: Mapping[Outcome, int]) -> ExitCode:
        """Return the exit code of a run that leaves these rows."""
        end = self.end
        cause = StopCause.CANARY if self.metadata.canary_failure else end.cause
        return exit_code(
            left, signalled=end.signalled, is_refused=end.is_refused, is_unwritten=end.is_unwritten, cause=cause,
            has_written=end.has_written,
        )  # fmt: skip

    def _stopped(self, code: ExitCode, *, is_unwritten: bool) -> Stopped | None:
        """Return why the run ended before its last row; None where it did not."""
        stopped = self.end.stopped
        if stopped is None:
            return None
        if stopped and is_unwritten:
            later = " The same command uploads them." if self.upload is not None and self.upload.is_wanted else ""
            stopped = f"{stopped} {unwritten_files(self.folder)}{later}"
        return Stopped(self.end.word, stopped, code.hint)

    def _write_report(self, summary: Summary, written: outputs.Written) -> str:
        """Write the report, and return its name; raises OutOfTimeError."""
        facts = facts_of_run(self.folder, self.metadata, self.endpoint, self.end.stopped, self.rounds)
        with self.journal.ended_at(self.end.until):
            return write_report_of_run(
                self.folder, self.journal, self.metadata, self.endpoint, facts=facts,
                outcomes=summary.outcomes, reasons=summary.reasons, files=written.files,
                spent={name: getattr(summary, name) for name in ("requests", "attempts", "throttled", "seconds")},
            )  # fmt: skip

    def _can_undo(self) -> bool:
        """Whether something of the run was or may have been applied; where there is no time to look, it may have."""
        if self.metadata.host == SANDBOX or self.metadata.is_erased:
            return False
        try:
            with self.journal.ended_at(self.end.until):
                return any(can_be_put_back(intents[-1], found) for intents, found in self.journal.iter_intents())
        except OutOfTimeError:
            return True


def unwritten_files(folder: Path) -> str:
    """Say that the results files are still to be made."""
    again = command_line("results", shown_path(str(folder.resolve())))
    return f"The results files were not written yet: {again} makes them."


NOT_FOUND = frozenset({"lookup_failed", "key_not_narrowed", "key_unsure", "nothing_set", "not_edited"})
"""Problems of rows whose record was not looked up, or not found."""


def _says_record_id(metadata: RunMetadata) -> bool:
    """Whether the results name the record that a key stands for; those in CSV have further columns on request only."""
    return metadata.is_keyed and (metadata.staged.format == "parquet" or bool(metadata.keep))


def _record_id(row_result: RowResult) -> str | None:
    """Return the id of the record that a row's key stands for; None where that is not known."""
    is_unknown = row_result.outcome in (Outcome.INVALID, Outcome.UNSENT)
    is_unknown |= any(one.code in NOT_FOUND for one in row_result.problems)
    return None if is_unknown else row_result.id


def _about_run(totals: _Totals) -> outputs.AboutRun:
    """Return what the workbook of the results says beside them."""
    metadata = totals.metadata
    facts = facts_of_run(totals.folder, metadata, totals.endpoint, totals.end.stopped, totals.rounds)
    return outputs.AboutRun(metadata.title, facts, _iter_cells(totals.journal, metadata))


def facts_of_run(
    folder: Path, metadata: RunMetadata, endpoint: type[Endpoint] | None, stopped: str | None,
    rounds: AllRounds | None,
) -> dict[str, str]:  # fmt: skip
    """Say what is told to people of a run, by what each fact is called."""
    facts = shown_facts(
        metadata.staged,
        went_to=f"{endpoint.title if endpoint else metadata.endpoint} ({metadata.host})",
        company=metadata.company,
        started=metadata.started,
        users=metadata.users,
        folder=folder,
        stopped=stopped,
        planned_by=metadata.planned_by,
    )
    return facts | ({"All rounds": f"{rounds.name}: {rounds.text}"} if rounds else {})


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
    hide = hide_known(journal.hidden_texts())
    for intents, result in journal.iter_intents():
        last, steps = intents[-1], dict[str, FieldChange]()
        for intent in intents:
            for name, value in intent.fields.items():
                found = (intent.before or {}).get(name, MISSING)
                steps[name] = FieldChange(name, steps[name].expected if name in steps else found, value)
        outcome = result.outcome if result else Outcome.UNKNOWN
        done = PlannedChange(last.change, last.id, last.name, tuple(steps.values()))
        for line in iter_lines([done.as_shown(hide)], ""):
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
        sandbox=is_sandbox, shard=metadata.shard, parent_run=metadata.parent_run, state="running",
        started=metadata.started,
        seconds=metadata.seconds, files=paths_in(folder, {"journal": JOURNAL}),
        input_sha256=metadata.staged.sha256, users=metadata.users, planned_by=metadata.planned_by,
        mapping=metadata.mapped,
        rows=metadata.staged.rows, all_rows=metadata.staged.all_rows if metadata.shard else None,
        outcomes=Outcomes(journal.counts), exit_code=NOT_KNOWN, limiter=metadata.limiter,
    )  # fmt: skip


def begin_files(folder: Path, journal: Journal, metadata: RunMetadata, *, is_resumed: bool) -> None:
    """Write that the run goes on, and remove the results of an earlier part: until its end nothing looks current.

    Raises JournalError when the disk refuses.
    """
    begun = _begun(folder, journal, metadata, is_resumed=is_resumed)
    known_so_far = {one.name: getattr(begun, one.name) for one in fields(begun)}
    running = RunningSummary(**known_so_far, process=os.getpid(), process_host=socket.gethostname(), since=now_text())
    known = outputs.KnownFiles(journal.file_digests(), journal.put_file)
    try:
        write_summary(folder, running)
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


def cannot_write(folder: Path, error: OSError) -> JournalError:
    """Say that the results files could not be written, and that nothing is lost."""
    return JournalError(
        f"{folder}: the results files cannot be written ({os_reason(error)}). The record of this run has everything. "
        f"Make room, then run the same command again, or:  {command()} results {folder}"
    )
