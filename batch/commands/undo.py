"""`undo`: put back what a run changed, as far as nobody changed it since.

Promises: a run of its own, beside the run that it takes back, with its own journal (so an undo can be undone) and its
own results; a field that is not as the run left it is kept, and named; no record is ever made or deleted. From its
first request on, the run that is taken back counts as undone: the same input is sent again by a new run.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batch import __version__, sources
from batch.commands.update import carry_out
from batch.endpoints.base import CustomField, Endpoint
from batch.engine.context import RunContext
from batch.engine.progress import Reporter
from batch.errors import FolderError, SettingsError, UsageError
from batch.journal import Journal
from batch.model import Staged
from batch.run.begin_or_resume import Run, discard, now_text
from batch.run.cleanup import remove_parts, scratch
from batch.run.finish import FinishedRun
from batch.run.folder import JOURNAL, find_unfinished, new_folder, open_run, read_meta
from batch.run.locks import held, input_lock
from batch.run.metadata import staged_as_meta
from batch.run.plan_file import UNDO, PlanFile, PlanWriter
from batch.run.target import SANDBOX, Environment, Target, make_target
from batch.run.undo_plan import iter_undo_changes
from batch.run.undo_sheet import FILE, FIRST_ROW, PlanChanges, undo_columns, write_sheet
from batch.settings import Settings, as_options
from batch.sources import ReadOptions

LIST = "undo.json"


@dataclass(frozen=True, slots=True)
class _Source:
    """The run that is taken back."""

    folder: Path
    journal: Journal
    meta: dict[str, Any]

    def endpoint(self, plain: Endpoint) -> Endpoint:
        """Give the endpoint with the custom fields as that run knew them."""
        known = self.meta["definitions"]
        return plain.defined([CustomField(name, kind, number, tuple(options)) for name, kind, number, options in known])


def undo(folder: Path, settings: Settings, reporter: Reporter, environment: Environment) -> FinishedRun:
    """Take back the run in `folder`; raises BatchError when that could not begin."""
    with ExitStack() as stack:
        source = _open_source(folder, stack)
        settings = _settings(source, settings)
        target = make_target(settings, environment, stack, reporter.note)
        target = replace(target, endpoint=source.endpoint(target.endpoint))
        lock = input_lock(source.meta["staged"]["sha256"], settings.endpoint, source.meta["host"])
        stack.enter_context(held(lock, "this input", folder))
        run = _open_run(source, settings, target, stack)
        reporter.note(f"Taking back {folder}: {len(run.planned or ()):,} changes were or may have been applied.")
        sending = RunContext(run, target, _for_sheet(settings, run), reporter, environment)
        sending.before_sending = lambda: source.journal.put_meta({"undone": str(run.folder.resolve())})
        return carry_out(sending)


def _open_source(folder: Path, stack: ExitStack) -> _Source:
    if not (folder / JOURNAL).is_file():
        raise FolderError(f"{folder}: there is no run in this folder (no {JOURNAL}).")
    stack.enter_context(held(folder / ".lock", "this run folder", folder))
    journal = stack.enter_context(Journal.open(folder / JOURNAL))
    if not journal.has_intents():
        raise UsageError(f"{folder}: this run changed nothing, so there is nothing to undo.")
    meta, _ = read_meta(folder, journal)
    return _Source(folder, journal, meta)


def _settings(source: _Source, settings: Settings) -> Settings:
    """Add the run's endpoint and host, which cannot be chosen; raises UsageError where they are gone."""
    meta, base_url = source.meta, settings.base_url
    if settings.sandbox or (meta["host"] == SANDBOX and not base_url):
        raise UsageError(
            f"{source.folder}: this run went to a sandbox that was started for it and ended with it, "
            "so there is nothing left to undo."
            if meta["host"] == SANDBOX
            else f"{source.folder}: this run went to {meta['base_url']}, so it cannot be undone in a sandbox."
        )
    if base_url and meta["host"] != SANDBOX and base_url.rstrip("/") != meta["base_url"].rstrip("/"):
        raise SettingsError(f"--base-url {base_url}: this run went to {meta['base_url']}. Leave the option out.")
    known = {
        "endpoint": meta["endpoint"],
        "base_url": base_url or meta["base_url"],
        "sparse": meta.get("sparse", False),
    }
    return replace(settings, **known, compare=True, key=None, plan=None, map={})


def _for_sheet(settings: Settings, run: Run) -> Settings:
    return replace(settings, input=str(run.folder / FILE))


# -- the run --------------------------------------------------------------------------------------------------------


def _open_run(source: _Source, settings: Settings, target: Target, stack: ExitStack) -> Run:
    """Resume the undo that was not finished, or begin one."""
    with scratch() as spool:
        checksum = _write_list(spool / LIST, source, target.endpoint)
    found = find_unfinished(source.folder, checksum)
    if found is not None:
        return _resume(found, settings, target.endpoint, stack)
    folder = new_folder(source.folder, prefix="undo-")
    try:
        return _begin(folder, source, settings, target, stack)
    except BaseException:
        discard(folder)
        raise


def _write_list(path: Path, source: _Source, endpoint: Endpoint) -> str:
    """Write down what is to be put back, and give the seal: the same journal gives the same one."""
    about = {"kind": UNDO, "run_id": source.meta["run_id"], "endpoint": endpoint.name, "host": source.meta["host"]}
    writer = PlanWriter(path, about)
    try:
        for planned in iter_undo_changes(source.journal, endpoint, FIRST_ROW):
            writer.add(planned)
        return writer.finish()
    except BaseException:
        writer.discard()
        raise


def _begin(folder: Path, source: _Source, settings: Settings, target: Target, stack: ExitStack) -> Run:
    stack.enter_context(held(folder / ".lock", "this run folder", folder))
    checksum = _write_list(folder / LIST, source, target.endpoint)
    plan = _open_list(folder, stack)
    if not len(plan):
        raise UsageError(f"{source.folder}: this run changed nothing, so there is nothing to undo.")
    write_sheet(folder / FILE, plan, target.endpoint)
    sheet = str(folder / FILE)
    staged = sources.stage(sources.open_input(sheet, folder), folder, ReadOptions(delimiter=",", encoding="utf-8"))
    meta = {
        "identity": checksum,
        "run_id": f"{source.meta['run_id']}-{folder.name}",
        "batch": __version__,
        "command": "undo",
        "undoes": str(source.folder.resolve()),
        "endpoint": settings.endpoint,
        "sparse": settings.sparse,
        "host": target.host,
        "base_url": target.base_url,
        "input": sheet,
        "map": {},
        "again": [],
        "next": as_options(replace(settings, input=sheet), for_same_input=False),
        "staged": staged_as_meta(staged),
        "id_column": 0,
        "started": now_text(),
        "seconds": 0.0,
        "definitions": source.meta["definitions"],
        "has_definitions": True,
        "is_surveyed": False,
    }
    journal = stack.enter_context(Journal.create(folder / JOURNAL, meta))
    return _run(folder, journal, meta, _survey(staged, plan, settings, target.endpoint), is_resumed=False)


def _resume(folder: Path, settings: Settings, endpoint: Endpoint, stack: ExitStack) -> Run:
    stack.enter_context(held(folder / ".lock", "this run folder", folder))
    remove_parts(folder)
    journal, meta, staged = open_run(folder)
    stack.enter_context(journal)
    survey = _survey(staged, _open_list(folder, stack), settings, endpoint)
    return _run(folder, journal, meta, survey, is_resumed=True)


def _open_list(folder: Path, stack: ExitStack) -> PlanFile:
    plan = PlanFile(folder / LIST)
    stack.callback(plan.close)
    return plan


def _survey(staged: Staged, plan: PlanFile, settings: Settings, endpoint: Endpoint) -> PlanChanges:
    columns = undo_columns(staged.headers, endpoint)
    return PlanChanges(staged, columns, endpoint, settings, reads_before_write=True, plan=plan)


def _run(folder: Path, journal: Journal, meta: dict[str, Any], survey: PlanChanges, *, is_resumed: bool) -> Run:
    return Run(folder, journal, survey, meta, is_resumed, planned=survey.plan)
