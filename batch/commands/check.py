"""`check`: validate every row of the input, and write the invalid ones as a file; no network.

Promises: nothing is sent and no run is begun: an update of the same input is not held up by it. Only a file with the
invalid rows is left behind, and nothing at all when there are none.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from batch import outputs, sources
from batch.errors import FolderError
from batch.exit_code import exit_code
from batch.journal import Journal
from batch.machine import now_text
from batch.model import Outcome
from batch.own_files import JOURNAL
from batch.run.begin_or_resume import discard, headers_of
from batch.run.cleanup import scratch, scratch_for
from batch.run.consent import Person
from batch.run.finish import cannot_write
from batch.run.folder import new_folder, runs_of
from batch.run.latest import fixed_name, latest_links
from batch.run.match_headers import settle_headers, validate_asking, with_answers
from batch.run.read_input import read_input
from batch.run.summary_file import paths_in, write_summary
from batch.run.target import Environment, make_endpoint
from batch.settings import Settings, as_options
from batch.summary import Files, Outcomes, Reason, Summary, group_reasons, state_of
from batch.validation.file_changes import FileChanges


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found."""

    changes: FileChanges
    summary: Summary
    reasons: tuple[Reason, ...]
    left_out: int
    again: tuple[str, ...]
    """Options that an update of the same input needs, too."""
    notes: tuple[str, ...] = ()


def check(settings: Settings, person: Person, environment: Environment) -> Checked:
    """Validate every row; raises InputError or HeaderError when there is no telling."""
    settings, notes = replace(settings, input=fixed_name(settings.input)), list[str]()
    parent = runs_of(settings.input, settings.parent, settings.part)
    began, started = time.monotonic(), now_text()
    links = latest_links(parent, settings.input, notes.append)
    results = environment.uploading(settings, person.note)
    with links as latest, results as upload, scratch() as temporary, scratch_for(settings.input, parent) as copies:
        endpoint = make_endpoint(settings, environment)
        source = environment.open_input(settings, copies, person.note)
        settings = settle_headers(source, settings, endpoint, person, environment.mappings, verb="check")
        changes = read_input(source, temporary, settings, endpoint)
        with Journal.create(temporary / JOURNAL, {}) as journal:
            answered = validate_asking(changes, journal.record_rows, person, settings, environment.mappings)
            settings = with_answers(settings, answered)
            counts = Counter(journal.counts)
            is_kept = bool(counts[Outcome.INVALID]) or settings.out is not None
            folder = _new_folder(parent, settings) if is_kept else None
            files = Files()
            if folder and counts[Outcome.INVALID]:
                files = _write(folder, changes, journal, notes.append)
            reasons, left_out = group_reasons(journal.iter_troubled())
        summary = _summary(settings, changes, counts, files, started, time.monotonic() - began, reasons, folder)
        if folder is None:
            latest.restore()
        else:
            summary = write_summary(folder, summary, upload)
            latest.point_to(folder)
    shown = tuple(one for one in reasons if one.outcome is Outcome.INVALID)
    again = tuple(as_options(settings, for_same_input=True))
    return Checked(changes, summary, shown, left_out, again, tuple(notes))


def _write(folder: Path, changes: FileChanges, journal: Journal, note: Callable[[str], None]) -> Files:
    wanted = outputs.Wanted(id_column=changes.columns.id.index, only=frozenset({Outcome.INVALID}), with_results=False)
    try:
        written = outputs.write(
            folder, changes.staged, partial(sources.iter_frames, changes.staged), journal.row_results, wanted
        )
    except OSError as error:
        discard(folder)
        raise cannot_write(folder, error) from error
    for text in written.notes:
        note(text)
    return paths_in(folder, written.files)


def _new_folder(parent: Path, settings: Settings) -> Path:
    try:
        return new_folder(parent, prefix="check-")
    except FolderError:
        if settings.out is None:  # a check of a file on a read-only disk is still of use
            return Path(tempfile.mkdtemp(prefix="batch-check-"))
        raise


def _summary(
    settings: Settings, changes: FileChanges, counts: Counter[Outcome], files: Files,
    started: str, seconds: float, reasons: tuple[Reason, ...], folder: Path | None,
) -> Summary:  # fmt: skip
    """A check sends nothing: what is not invalid counts as unsent, or as unchanged where there is nothing to set."""
    staged = changes.staged
    headers = {header: name for name, header in headers_of(changes.columns).items()}
    outcomes = {Outcome.INVALID: counts[Outcome.INVALID], Outcome.UNCHANGED: counts[Outcome.UNCHANGED]}
    outcomes[Outcome.UNSENT] = staged.rows - sum(outcomes.values())
    return Summary(
        command="check", run="" if folder is None else str(folder.resolve()), endpoint=settings.endpoint,
        company=settings.as_login or settings.company, shard=settings.shard,
        parent_run=changes.parent_run, input=settings.input,
        input_sha256=staged.sha256, mapping=headers | settings.map, started=started, finished=now_text(),
        seconds=seconds, rows=staged.rows,
        all_rows=staged.all_rows if settings.shard else None, outcomes=Outcomes(outcomes),
        state=state_of(outcomes, is_left=False),
        exit_code=int(exit_code({Outcome.INVALID: counts[Outcome.INVALID]})), files=files, reasons=reasons,
        left_out=staged.left_out,
    )  # fmt: skip
