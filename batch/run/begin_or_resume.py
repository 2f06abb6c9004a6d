"""The beginning of a run: hold the input, find the run to resume or read the input into a new folder.

Promises: a run that could not begin leaves no folder behind; a resumed run works on the rows as they were read the
first time, whatever has become of the input's file.
"""

import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batch import sources
from batch.endpoints.base import CustomField, Endpoint
from batch.errors import UsageError
from batch.journal import Journal
from batch.model import Staged
from batch.own_files import JOURNAL, PLAN
from batch.run.cleanup import remove_parts, remove_unbegun, scratch
from batch.run.folder import find_unfinished, identity, new_folder, open_run, parent_of
from batch.run.locks import held, input_locks
from batch.run.metadata import RunMetadata, definitions_of
from batch.run.plan_file import PlanFile, about, check_about
from batch.run.plan_list import check_lists
from batch.run.target import Target
from batch.settings import Settings, as_options
from batch.sources import Input, ReadOptions
from batch.validation.file_changes import ChangeSource, FileChanges, match_file


@dataclass(slots=True)
class Run:
    """A run that is open: its folder, its journal, where its changes come from, and what it knows of itself."""

    folder: Path
    journal: Journal
    changes: ChangeSource
    metadata: RunMetadata = field(repr=False)
    is_resumed: bool
    plan: PlanFile | None = None

    @property
    def staged(self) -> Staged:
        """The input as it was read."""
        return self.changes.staged

    def keep(self, **values: Any) -> None:
        """Change what the run knows of itself, in memory and in the journal."""
        self.metadata = self.metadata.model_copy(update=values)
        self.journal.put_meta(self.metadata.as_meta(values))

    def learn_definitions(self, definitions: Sequence[CustomField]) -> None:
        """Type custom fields by the organisation's definitions, now and whenever this run is resumed."""
        self.keep(definitions=definitions_of(definitions), has_definitions=True)
        self.changes = self.changes.with_definitions(definitions)


def begin_or_resume(settings: Settings, target: Target, stack: ExitStack, note: Callable[[str], None]) -> Run:
    """Resume the run on this input that has rows to retry, or begin a new one; the locks are let go by `stack`."""
    with scratch() as temporary:
        source = sources.open_input(settings.input, temporary)
        plan = _open_plan(settings, source.sha256, target, stack)
        wanted = identity(
            settings.identity(), source.sha256, settings.endpoint, target.host, plan=plan.checksum if plan else None
        )
        parent = parent_of(settings.input, settings.out)
        for lock in input_locks(source.sha256, settings.endpoint, target.host, target.owners):
            stack.enter_context(held(lock, "this input", parent))
        sources.check_room(source, parent)
        remove_unbegun(parent)
        folder = None if settings.new else find_unfinished(parent, wanted, target.company, note)
        if folder is not None:
            return _resume(folder, settings, target.endpoint, plan, stack)
        folder = new_folder(parent)
        try:
            return _begin(folder, source, settings, target, wanted, plan, stack)
        except BaseException:  # whatever it is, such as a full disk: nothing was begun
            discard(folder)
            raise


def _open_plan(settings: Settings, sha256: str, target: Target, stack: ExitStack) -> PlanFile | None:
    """Open the plan to be carried out; raises UsageError unless it is for just this."""
    if settings.plan is None:
        return None
    if not settings.compare:
        raise UsageError("--plan and --no-compare: a plan is held against the current records. Leave one of them out.")
    folder = settings.plan
    plan = PlanFile(folder if folder.is_file() else folder / PLAN)
    stack.callback(plan.close)
    check_about(plan, about(settings.identity(), sha256, settings.endpoint, target.host))
    check_lists(plan, target.endpoint, settings.clear_token)
    return plan


def _resume(folder: Path, settings: Settings, endpoint: Endpoint, plan: PlanFile | None, stack: ExitStack) -> Run:
    stack.enter_context(held(folder / ".lock", "this run folder", folder))
    remove_parts(folder)
    journal, metadata = open_run(folder)
    stack.enter_context(journal)
    journal.begin_part()
    reads = reads_before_write(settings, endpoint)
    changes = match_file(
        metadata.staged, endpoint.defined(metadata.custom_fields), settings.parsing, reads_before_write=reads
    )
    return Run(folder, journal, changes, metadata, True, plan)


def _begin(
    folder: Path,
    source: Input,
    settings: Settings,
    target: Target,
    wanted: str,
    plan: PlanFile | None,
    stack: ExitStack,
) -> Run:
    stack.enter_context(held(folder / ".lock", "this run folder", folder))
    changes = read_input(source, folder, settings, target.endpoint)
    metadata = RunMetadata(
        identity=wanted, run_id=new_run_id(), parent_run=changes.parent_run, command="update",
        endpoint=settings.endpoint, endpoint_options=dict(settings.endpoint_options), host=target.host,
        base_url=target.base_url, company=target.company.name, fingerprint=target.company.fingerprint,
        input=settings.input, map=settings.map,
        options_again=tuple(as_options(settings, for_same_input=True)),
        options_next=tuple(as_options(settings, for_same_input=False)), staged=changes.staged,
        id_column=changes.columns.id.index, started=now_text(), seconds=0.0, definitions=(), is_validated=False,
    )  # fmt: skip
    journal = stack.enter_context(Journal.create(folder / JOURNAL, metadata.as_meta()))
    return Run(folder, journal, changes, metadata, False, plan)


def reads_before_write(settings: Settings, endpoint: Endpoint) -> bool:
    """Whether current records will be read before writing, so that nested values may be given in part."""
    return settings.compare or endpoint.needs_full_body or settings.key is not None


def read_input(source: Input, folder: Path, settings: Settings, endpoint: Endpoint) -> FileChanges:
    """Read the input into `folder` and match its headers."""
    options = ReadOptions(settings.sheet, settings.delimiter, settings.encoding, settings.hidden, settings.limit)
    staged = sources.stage(source, folder, options)
    return match_file(staged, endpoint, settings.parsing, reads_before_write=reads_before_write(settings, endpoint))


def discard(folder: Path) -> None:
    """Remove a folder in which nothing was begun."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.suffix == ".batch":
        with suppress(OSError):  # other runs are in it
            folder.parent.rmdir()


def new_run_id() -> str:
    """Make the name of a run: 128 random bits."""
    return secrets.token_hex(16)


def now_text() -> str:
    """The time now, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
