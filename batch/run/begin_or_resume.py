"""The beginning of a run: hold the input, find the run to resume or read the input into a new folder.

Promises: a run that could not begin leaves no folder behind; a resumed run works on the rows as they were read the
first time, whatever has become of the input's file.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batch import __version__, sources
from batch.endpoints.base import CustomField, Endpoint
from batch.errors import FolderError, UsageError
from batch.files import make_private
from batch.journal import Journal
from batch.model import Staged
from batch.run.cleanup import remove_parts, remove_unbegun, scratch
from batch.run.folder import (
    INPUT,
    JOURNAL,
    PLAN,
    find_unfinished,
    identity,
    look_into_out,
    new_folder,
    open_run,
    parent_of,
)
from batch.run.locks import held, input_lock
from batch.run.metadata import staged_as_meta
from batch.run.plan_file import PlanFile, about, check_about
from batch.run.target import Target
from batch.settings import Settings, as_options
from batch.sources import Input, ReadOptions
from batch.validation.file_changes import FileChanges, match_file

Note = Callable[[str], None]


@dataclass(slots=True)
class Run:
    """A run that is open: its folder, journal, staged input and survey."""

    folder: Path
    journal: Journal
    survey: FileChanges
    meta: dict[str, Any] = field(repr=False)
    is_resumed: bool
    planned: PlanFile | None = None

    @property
    def staged(self) -> Staged:
        """The input as it was read."""
        return self.survey.staged

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do about any row."""
        return sum(self.journal.counts.values()) >= self.staged.rows and self.meta.get("exit_code") is not None

    def keep(self, **values: Any) -> None:
        """Add to what the journal knows of the run as a whole."""
        self.meta |= values
        self.journal.put_meta(values)

    def learn_definitions(self, definitions: list[CustomField], settings: Settings) -> None:
        """Type custom fields by the organisation's definitions, now and whenever this run is resumed."""
        self.keep(definitions=[[one.name, one.kind, one.id, list(one.options)] for one in definitions])
        endpoint = self.survey.endpoint.defined(definitions)
        self.survey = match_file(self.staged, endpoint, settings, reads_before_write=self.survey.reads_before_write)


def begin_or_resume(settings: Settings, target: Target, stack: ExitStack, note: Note) -> Run:
    """Resume the run on this input that has rows to retry, or begin a new one; the locks are let go by `stack`."""
    with scratch() as spool:
        source = sources.open_input(settings.input, spool)
        plan = _open_plan(settings, source.sha256, target, stack)
        wanted = identity(settings, source.sha256, target.host, plan=plan.checksum if plan else None)
        lock = input_lock(source.sha256, settings.endpoint, target.host)
        folder_to_be = settings.out or parent_of(settings.input)
        stack.enter_context(held(lock, "this input", folder_to_be))
        if settings.out is None:
            remove_unbegun(folder_to_be)
        folder = _find(settings, wanted)
        if folder is not None:
            run = _resume(folder, settings, target.endpoint, stack)
        else:
            run = _begin(source, settings, target, wanted, stack)
        run.planned = plan
        return run


def _open_plan(settings: Settings, sha256: str, target: Target, stack: ExitStack) -> PlanFile | None:
    """Open the plan to be carried out; raises UsageError unless it is for just this."""
    if settings.plan is None:
        return None
    if not settings.compare:
        raise UsageError("--plan and --no-compare: a plan is held against the current records. Leave one of them out.")
    folder = settings.plan
    plan = PlanFile(folder if folder.is_file() else folder / PLAN)
    stack.callback(plan.close)
    check_about(plan, about(settings, sha256, target.host))
    return plan


def _find(settings: Settings, wanted: str) -> Path | None:
    if settings.out is not None:
        found = look_into_out(settings.out, wanted, settings.input)
        if found is not None and settings.new:
            raise FolderError(f"--out {settings.out}: there is a run in it. With --new, name another folder.")
        return found.folder if found else None
    return None if settings.new else find_unfinished(parent_of(settings.input), wanted)


def _resume(folder: Path, settings: Settings, endpoint: Endpoint, stack: ExitStack) -> Run:
    stack.enter_context(held(folder / ".lock", "this run folder", folder))
    remove_parts(folder)
    journal, meta, staged = open_run(folder)
    stack.enter_context(journal)
    definitions = [
        CustomField(name, kind, number, tuple(options)) for name, kind, number, options in meta["definitions"]
    ]
    survey = match_file(
        staged, endpoint.defined(definitions), settings, reads_before_write=reads_before_write(settings, endpoint)
    )
    return Run(folder, journal, survey, meta, is_resumed=True)


def _begin(source: Input, settings: Settings, target: Target, wanted: str, stack: ExitStack) -> Run:
    with _new_folder(settings) as folder:
        stack.enter_context(held(folder / ".lock", "this run folder", folder))
        survey = read_input(source, folder, settings, target.endpoint)
        meta = {
            "identity": wanted,
            "run_id": f"{folder.resolve().name}-{wanted[:8]}",
            "batch": __version__,
            "command": "update",
            "endpoint": settings.endpoint,
            "sparse": settings.sparse,
            "host": target.host,
            "base_url": target.base_url,
            "input": settings.input,
            "map": settings.map,
            "again": as_options(settings, for_same_input=True),
            "next": as_options(settings, for_same_input=False),
            "staged": staged_as_meta(survey.staged),
            "id_column": survey.columns.id.index,
            "started": now_text(),
            "seconds": 0.0,
            "definitions": [],
            "is_surveyed": False,
        }
        journal = stack.enter_context(Journal.create(folder / JOURNAL, meta))
    return Run(folder, journal, survey, meta, is_resumed=False)


def reads_before_write(settings: Settings, endpoint: Endpoint) -> bool:
    """Whether current records will be read before writing, so that nested values may be given in part."""
    return settings.compare or endpoint.needs_full_body or settings.key is not None


def read_input(source: Input, folder: Path, settings: Settings, endpoint: Endpoint) -> FileChanges:
    """Read the input into `folder` and match its headers."""
    options = ReadOptions(settings.sheet, settings.delimiter, settings.encoding, settings.hidden, settings.limit)
    staged = sources.stage(source, folder, options)
    return match_file(staged, endpoint, settings, reads_before_write=reads_before_write(settings, endpoint))


@contextmanager
def _new_folder(settings: Settings) -> Iterator[Path]:
    """Make the run folder, and remove it again when the run cannot begin."""
    if settings.out is not None:
        is_reserved = not settings.out.exists()
        make_private(settings.out)
        folder = settings.out
    else:
        is_reserved = True
        folder = new_folder(parent_of(settings.input))
    try:
        yield folder
    except BaseException:  # whatever it is, such as a full disk: nothing was begun
        discard(folder, is_reserved=is_reserved)
        raise


def discard(folder: Path, *, is_reserved: bool = True) -> None:
    """Remove a folder in which nothing was begun; of a folder that was there before, only our files."""
    for name in (JOURNAL, JOURNAL + "-wal", JOURNAL + "-shm", INPUT, ".lock", ".holder"):
        (folder / name).unlink(missing_ok=True)
    if is_reserved:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.parent.suffix == ".batch":
            with suppress(OSError):  # other runs are in it
                folder.parent.rmdir()


def now_text() -> str:
    """The time now, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
