"""`undo`: put back what a run changed, as far as nobody changed it since.

Promises: a run of its own, beside the run that it takes back (or in --out), with its own journal (so an undo can be
undone) and its own results; a field that is not as the run left it is kept, and named; no record is ever made or
deleted. From its first request on, the run that is taken back counts as undone: the same input is sent again by a new
run.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batch.addresses import is_address, shown
from batch.commands.runs import rounds
from batch.commands.update import Update
from batch.endpoints.base import Endpoint
from batch.engine.api_session import ApiSession
from batch.engine.context import RunContext
from batch.engine.reporter import Reporter
from batch.errors import BusyError, Declined, FolderError, InputError, UsageError, sending_nothing
from batch.files import shown_path
from batch.journal import Journal
from batch.machine import now_text, user_name
from batch.model import Outcome
from batch.own_files import JOURNAL, UNDO_LIST, UNDO_SHEET, is_own
from batch.run import index
from batch.run.begin_or_resume import Run, check_company_name, discard, hold_input, new_run_id
from batch.run.cleanup import scratch
from batch.run.consent import require_consent
from batch.run.finish import FinishedRun
from batch.run.folder import check_run, iter_unfinished, new_folder, open_held_run, parent_of, read_metadata
from batch.run.latest import latest_links
from batch.run.locks import run_held
from batch.run.metadata import RunMetadata
from batch.run.named_run import named_run
from batch.run.plan_file import UNDO, PlanFile, PlanWriter
from batch.run.summary_file import set_state
from batch.run.target import STANDING, Environment, Target, address_of_run, make_target, with_login
from batch.run.undo import FIRST_ROW, PlanChanges, iter_undo_changes, undo_columns, write_sheet
from batch.settings import Settings, as_options
from batch.summary import shown_counts


@dataclass(frozen=True, slots=True)
class _Source:
    """The run that is taken back."""

    folder: Path
    journal: Journal
    metadata: RunMetadata


def undo(path: str | os.PathLike[str], settings: Settings, reporter: Reporter, environment: Environment) -> FinishedRun:
    """Take back the run in the folder `path`, or one of the file or address; raises BatchError when it cannot begin."""
    argument = os.fspath(path)
    with sending_nothing():
        folder = (
            _run_of_file(argument, reporter, is_sandbox=settings.sandbox)
            if is_address(argument) or Path(argument).is_file()
            else named_run(Path(argument), reporter, (JOURNAL,))
        )
    with ExitStack() as stack:
        source = _open_source(folder, stack)
        parent = parent_of(str(folder / JOURNAL), settings.parent)
        latest = stack.enter_context(latest_links(parent, source.metadata.input, reporter.note))
        upload = stack.enter_context(environment.uploading(settings, reporter.note))
        settings = _settings(source, settings, environment)
        settings = with_login(settings, environment, reporter)
        target = make_target(settings, environment, stack, reporter.note)
        target = replace(target, endpoint=target.endpoint.defined(source.metadata.custom_fields))
        sha256 = source.metadata.staged.sha256
        check_company_name(target.company, reporter)
        if not settings.trust_folder and (odd := _odd(source, target)):
            instead = "To undo it all the same:  --trust-folder"
            require_consent(reporter, f"{folder}: {odd}. What is put back is what this folder says.", instead)
        hold_input(sha256, settings.endpoint, target, parent, stack)
        run = _begin_or_resume(source, parent, settings, target, stack, reporter.note)
        latest.point_to(run.folder)
        count = len(run.plan or ())
        reporter.note(f"Taking back {shown_path(str(folder))}: {count:,} change{'' if count == 1 else 's'}.")
        context = RunContext(
            ApiSession(target, settings.pace, environment),
            run.journal,
            run.metadata.run_id,
            run.changes,
            reporter,
            run.plan,
        )

        def mark() -> None:
            _mark(source, run)
            for part in source.metadata.parts:
                with ExitStack() as opened:
                    if is_own(place := folder.resolve() / part):
                        _mark(_open(place, opened), run)

        end = Update(run, context, settings, upload, before_sending=mark).carry_out()
        latest.settle(end.summary.exit_code, end.folder)
        return end


def _mark(source: _Source, run: Run) -> None:
    source.journal.put_meta({"undone": str(run.folder.resolve())})
    index.mark(source.metadata.run_id, "undone")
    set_state(source.folder, "undone")


def _run_of_file(argument: str, reporter: Reporter, *, is_sandbox: bool) -> Path:
    """Return the run of a file that is to be taken back; which of several, a person says."""
    path = shown(argument)
    listed = [one for sheet in rounds(argument) for one in sheet.rounds]
    to_undo = [one for one in reversed(listed) if one.is_to_undo]
    changed = [one for one in to_undo if (one.run.host == STANDING) == is_sandbox]
    if to_undo and not changed:
        other = "did not go to your sandbox. Leave out" if is_sandbox else "went to your sandbox. Say that it is meant:"
        raise UsageError(f"{path}: what can be taken back of this file {other}  --sandbox")
    if not changed:
        raise UsageError(f"{path}: no run of this file changed anything that is not taken back yet.")
    names = [
        f"{one.started_text}  {shown_counts(one.run.counts)}  {shown_path(str(one.run.folder))}"
        + ("  (its undo is not finished)" if one.is_undo_begun else "")
        for one in changed
    ]
    if not reporter.can_ask:
        raise UsageError(f"{path}: name the run to take back:  {', '.join(str(one.run.folder) for one in changed)}")
    others = "; taking back one leaves what the others changed" if changed[1:] else ""
    reporter.note(f"Runs of {path}, the newest first{others}:")
    chosen = reporter.choose("Take back which one? (Enter: none)", names)
    if chosen is None:
        raise Declined("Nothing was sent.")
    return changed[chosen].run.folder


def _open_source(folder: Path, stack: ExitStack) -> _Source:
    source = _open(folder, stack)
    if not source.journal.has_intents():
        raise _nothing_to_undo(folder)
    if source.metadata.is_erased:
        raise UsageError(
            f"{folder}: this run kept no values (--no-keep-data), so that it is not known what its records showed "
            "before, and it cannot be undone."
        )
    return source


def _open(folder: Path, stack: ExitStack) -> _Source:
    check_run(folder)
    stack.enter_context(run_held(folder))
    journal = stack.enter_context(Journal.open(folder / JOURNAL))
    return _Source(folder, journal, read_metadata(folder, journal))


def _odd(source: _Source, target: Target) -> str:
    """Say why the values that the folder holds are not to be believed without a question, "" where they are."""
    known = index.get(source.metadata.run_id)
    if not source.metadata.owner.is_same(target.company):
        return (
            "this run was made with another key" if not target.company.name else "this run was made for another company"
        )
    if known is None or not known.is_at(source.folder):
        return "this computer does not know this run"
    if known.digest is None:
        return "this run did not come to an orderly end, so it cannot be told whether somebody changed its record"
    if known.digest != source.journal.digest():
        return "the record of this run is not as the run left it"
    return ""


def _settings(source: _Source, settings: Settings, environment: Environment) -> Settings:
    """Add the run's endpoint, which cannot be chosen; raises UsageError where its host is gone, or must be named."""
    known = source.metadata
    fixed: dict[str, Any] = {
        "endpoint": known.endpoint,
        "base_url": address_of_run(source.folder, known, settings, environment, "to undo"),
        "endpoint_options": known.own_options,
    }
    return replace(settings, **fixed, compare=True, key=None, plan=None, map={})


def _begin_or_resume(
    source: _Source, parent: Path, settings: Settings, target: Target, stack: ExitStack, note: Callable[[str], None]
) -> Run:  # fmt: skip
    """Resume the undo that was not finished, or begin one."""
    with scratch() as temporary:
        checksum = _write_list(temporary / UNDO_LIST, source, target.endpoint)
    for found in iter_unfinished(parent, checksum, target.company, note):
        try:
            return _resume(found.folder, checksum, target, stack)
        except (FolderError, BusyError, InputError) as error:
            note(f"{found.folder}: this undo is passed over: {error}")
    folder = new_folder(parent, prefix="undo-")
    try:
        return _begin(folder, source, settings, target, stack)
    except BaseException:
        discard(folder)
        raise


def _write_list(path: Path, source: _Source, endpoint: Endpoint) -> str:
    """Write down what is to be put back, and return the checksum: the same journal gives the same one."""
    about = {"kind": UNDO, "run_id": source.metadata.run_id, "endpoint": endpoint.name, "host": source.metadata.host}
    return PlanWriter(path, about).write_all(iter_undo_changes(source.journal, endpoint, FIRST_ROW))


def _nothing_to_undo(folder: Path) -> UsageError:
    return UsageError(f"{folder}: this run changed nothing, so there is nothing to undo.")


def _begin(folder: Path, source: _Source, settings: Settings, target: Target, stack: ExitStack) -> Run:
    stack.enter_context(run_held(folder))
    checksum = _write_list(folder / UNDO_LIST, source, target.endpoint)
    plan = _open_list(folder, stack)
    if not len(plan):
        raise _nothing_to_undo(source.folder)
    staged = write_sheet(folder, plan, target.endpoint)
    changes = PlanChanges(staged, undo_columns(staged.headers, target.endpoint), target.endpoint, plan)
    sheet = str(folder / UNDO_SHEET)
    metadata = RunMetadata(
        identity=checksum, run_id=new_run_id(), command="undo",
        undoes=str(source.folder.resolve()), undoes_run=source.metadata.run_id, endpoint=settings.endpoint,
        endpoint_options=dict(settings.endpoint_options), host=target.host, base_url=target.base_url,
        company=target.company.name, fingerprint=target.company.fingerprint, input=sheet,
        options_again=tuple(_places(settings)),
        options_next=tuple(as_options(replace(settings, input=sheet), for_same_input=False)), staged=staged,
        id_column=0, started=now_text(), seconds=0.0, definitions=source.metadata.definitions, has_definitions=True,
        is_validated=False, users=(user_name(),), results_xlsx=settings.results_xlsx,
    )  # fmt: skip
    journal = stack.enter_context(Journal.create(folder / JOURNAL, metadata.as_meta()))
    return Run(folder, journal, changes, metadata, False, plan)


def _places(settings: Settings) -> Iterator[str]:
    """Yield the options that say where the undo goes."""
    for option, place in (("--out", settings.out), ("--work-dir", settings.work_dir)):
        if place is not None:
            yield from (option, str(place))


def _resume(folder: Path, checksum: str, target: Target, stack: ExitStack) -> Run:
    """Resume an undo, every record read anew; raises InputError where its list is not what the run's record gives."""
    with ExitStack() as opened:
        journal, metadata = open_held_run(folder, opened)
        plan = _open_list(folder, opened)
        if plan.checksum != checksum:
            raise InputError(f"{UNDO_LIST} is not the list of what its run changed")
        stack.enter_context(opened.pop_all())
    is_trusted = index.knows(metadata.run_id, folder)
    journal.believe({Outcome.REJECTED} if is_trusted else (), None if is_trusted else [one.row for one in plan])
    journal.begin_part()
    columns = undo_columns(metadata.staged.headers, target.endpoint)
    changes = PlanChanges(metadata.staged, columns, target.endpoint, plan)
    run = Run(folder, journal, changes, metadata, True, plan, is_trusted)
    users = tuple(dict.fromkeys((*metadata.users, user_name())))
    run.keep(users=users, clears_are_meant=False, base_url=target.base_url, look_since=journal.since)
    return run


def _open_list(folder: Path, stack: ExitStack) -> PlanFile:
    plan = PlanFile(folder / UNDO_LIST)
    stack.callback(plan.close)
    return plan
