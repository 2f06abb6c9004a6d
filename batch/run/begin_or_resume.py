"""The beginning of a run: hold the input, find the run to resume or read the input into a new folder.

Promises: a run that could not begin leaves no folder behind. A run folder is a record, not an authority: a run is
resumed on the rows as they are read now, and what it says of records is looked at again unless the index knows it, it
ended a few minutes ago, and nobody of ours wrote since. A folder that cannot be gone on with blocks nothing.
"""

import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from batch import sources
from batch.credentials import Company
from batch.endpoints.base import CustomField
from batch.errors import AlreadyFinished, BatchError, BusyError, FolderError, SettingsError, UsageError
from batch.journal import VERSION, Journal
from batch.machine import now_text, user_name
from batch.model import ROW, Columns, Outcome, Staged, minutes
from batch.own_files import INPUT, JOURNAL, PLAN, remove_empty
from batch.run import index
from batch.run.approval import planned_by
from batch.run.cleanup import remove_unbegun, scratch_for
from batch.run.consent import Person, require_consent
from batch.run.folder import (
    ExistingRun,
    identity,
    iter_unfinished,
    look_into,
    new_folder,
    no_run,
    open_held_run,
    peek_metadata,
    runs_of,
)
from batch.run.journal_copies import JournalCopies
from batch.run.locks import held, input_locks, run_held, shared
from batch.run.match_headers import settle_headers
from batch.run.metadata import RunMetadata, definitions_of
from batch.run.plan_file import PlanFile, about, check_about
from batch.run.plan_list import check_lists
from batch.run.read_input import kept_columns, match_input, read_input, stage_input
from batch.run.summary_file import read_summary, set_state
from batch.run.target import Environment, Target
from batch.settings import Settings, as_options, listed_columns
from batch.shard import Shard
from batch.sources import Input
from batch.validation.file_changes import ChangeSource


@dataclass(slots=True)
class Run:
    """A run that is open: its folder, its journal, where its changes come from, and what it knows of itself."""

    folder: Path
    journal: Journal
    changes: ChangeSource
    metadata: RunMetadata = field(repr=False)
    is_resumed: bool
    plan: PlanFile | None = None
    is_trusted: bool = True
    """What it says, it says for this user, as the index knows."""
    replaces: Sequence[tuple[str, Path]] = ()
    """Unfinished runs, by id and folder, whose rows this one takes over as soon as it sends."""

    @property
    def staged(self) -> Staged:
        """The input as it was read."""
        return self.changes.staged

    def keep(self, **values: Any) -> None:
        """Change what the run knows of itself, in memory and in the journal."""
        self.metadata = self.metadata.model_copy(update=values)
        self.journal.put_meta(self.metadata.as_meta(values))

    def keep_formats(self, formats: Mapping[str, str]) -> None:
        """Read numbers and dates as a person said, whenever this run is resumed and in its failures file."""
        said = [part for name, value in formats.items() for part in (f"--{name.replace('_', '-')}", value)]
        self.keep(formats=dict(formats), options_next=(*self.metadata.options_next, *said))

    def supersede(self) -> None:
        """Mark the runs whose rows this one takes over: not before it goes on, since a person may say no."""
        for run_id, folder in self.replaces:
            _supersede(run_id, folder)
        self.replaces = ()

    def learn_definitions(self, definitions: Sequence[CustomField]) -> None:
        """Type custom fields by the organisation's definitions, now and whenever this run is resumed."""
        self.keep(definitions=definitions_of(definitions), has_definitions=True)
        self.changes = self.changes.with_definitions(definitions)


LOOK_AFTER = 900.0
"""Seconds for which what an earlier part said of records is believed without looking at them."""


def begin_or_resume(
    settings: Settings, target: Target, stack: ExitStack, person: Person, environment: Environment
) -> Run:
    """Resume the run on this input that has rows to retry, or begin a new one; the locks are let go by `stack`."""
    parent = runs_of(settings.input, settings.parent, settings.part)
    with scratch_for(settings.input, parent) as temporary:
        source = environment.open_input(settings, temporary, person.note)
        settings = settle_headers(source, settings, target.endpoint, person, environment.mappings, verb="update")
        plan = _open_plan(settings, source.sha256, target, stack, person)
        wanted = identity(
            settings.identity(), source.sha256, settings.endpoint, target.host, plan=plan.checksum if plan else None
        )
        check_company_name(target.company, person)
        hold_input(source.sha256, settings.endpoint, target, parent, stack, settings.part)
        if environment.finished_since is not None and not settings.new:
            since = max(environment.finished_since, time.time() - settings.resume_within)
            _let_finished_stand(parent, wanted, since, target.company)
        sources.check_room(source, parent)
        remove_unbegun(parent)
        if (copies := environment.journal_copies(settings, wanted, target.company, person.note)) and not settings.new:
            _take_copy(copies, source, parent, wanted, settings, target, person)
        replaced: list[tuple[str, Path]] = []
        if settings.new:
            replaced += [(one.run_id, one.folder) for one in iter_unfinished(parent, wanted, target.company)]
        for found in () if settings.new else iter_unfinished(parent, wanted, target.company, person.note):
            resuming = _Resuming(found, settings, target, plan, stack, person)
            run = resuming.resume(source)
            replaced += [(found.run_id, found.folder)] if resuming.begins_anew else []
            if run is not None:
                run.replaces = [*replaced, *_older_of_input(run.metadata, person.note)]
                return run
        folder = new_folder(parent)
        try:
            run = _begin(folder, source, settings, target, wanted, plan, stack)
        except BaseException:  # whatever it is, such as a full disk: nothing was begun
            discard(folder)
            raise
        run.replaces = [*replaced, *_older_of_input(run.metadata, person.note)]
        return run


def _let_finished_stand(parent: Path, wanted: str, since: float, company: Company) -> None:
    """Raise AlreadyFinished where the newest run of this identity and company has finished since, and stands."""
    own = [one for one in index.with_identity(wanted) if one.folder.parent == parent.resolve()]
    newest = next((one for one in own if one.company.is_same(company) and one.is_at(one.folder)), None)
    if newest is None or newest.state not in ("finished", "to fix"):
        return
    with suppress(FolderError):
        found, told = look_into(newest.folder), read_summary(newest.folder).get("run_id")
        if found is None or not found.run_id == newest.run_id == told or found.is_undone:
            return
        if found.is_finished and found.last >= since:
            raise AlreadyFinished(found.folder)


def _take_copy(
    copies: JournalCopies, source: Input, parent: Path, wanted: str, settings: Settings, target: Target, person: Person
) -> None:
    """Put the copy of the record that another machine left into a folder here, where it is newer than what is here."""
    folder = new_folder(parent)
    is_taken = False
    try:
        if not copies.fetch(folder / JOURNAL):
            return
        found = look_into(folder)
        own = (wanted, VERSION, False, False)
        if found is None or (found.identity, found.version, found.is_finished, found.is_undone) != own:
            return
        if any(
            one.last >= found.last for one in iter_unfinished(parent, wanted, target.company) if one.folder != folder
        ):
            return
        stage_input(source, folder, settings, target.endpoint)
        index.add_copied(peek_metadata(folder), folder, found.last)
        person.note(f"Goes on from the copy of {_moment(found.last)} in {copies.place}.")
        is_taken = True
    except FolderError as error:
        if not (folder / JOURNAL).exists():  # it could not be told whether there is one
            raise
        person.note(f"{copies.place}: the copy of this run cannot be read, and a new run compares every row: {error}")
    finally:
        if not is_taken:
            discard(folder)


def resume_named(folder: Path, settings: Settings, target: Target, stack: ExitStack, person: Person) -> Run:
    """Go on with the run in `folder` from its own rows; raises UsageError where that cannot be."""
    found = look_into(folder)
    if found is None:
        raise no_run(folder)
    plan = _open_plan(settings, found.sha256, target, stack, person)
    check_company_name(target.company, person)
    hold_input(found.sha256, settings.endpoint, target, folder.parent, stack, found.shard)
    run = _Resuming(found, settings, target, plan, stack, person, is_named=True).resume(None)
    assert run is not None  # noqa: S101 - one that is named is resumed, or it is said why not
    return run


def check_company_name(company: Company, person: Person) -> None:
    """Ask where a key was used under another name before."""
    other = index.other_name(company)
    if other is not None:
        require_consent(
            person,
            f'This key was used for "{other}" until now, and --company names "{company.name}".',
            f'Give --company "{other}", or go on once at a terminal: after that the key is known by the new name.',
        )


def hold_input(
    sha256: str, endpoint: str, target: Target, parent: Path, stack: ExitStack, shard: Shard | None = None
) -> None:
    """Hold the input, or a shard, for the company, by its key and by its name, in this order; raises BusyError."""
    locks = input_locks(sha256, endpoint, target.host, target.owners, parent, shard)
    if shard is not None:
        for lock in locks.shared:
            stack.enter_context(shared(lock, "this input", shard.count))
    for lock in locks.own:
        stack.enter_context(held(lock, "this input" if shard is None else f"shard {shard} of this input", parent))


def _open_plan(settings: Settings, sha256: str, target: Target, stack: ExitStack, person: Person) -> PlanFile | None:
    """Open the plan to be carried out; raises UsageError unless it is for just this."""
    if settings.plan is None:
        return None
    if not settings.compare:
        raise UsageError("--plan and --no-compare: a plan is held against the current records. Leave one of them out.")
    folder = settings.plan
    plan = PlanFile(folder if folder.is_file() else folder / PLAN)
    stack.callback(plan.close)
    _check_age(plan, settings.max_age)
    check_about(plan, about(settings.identity(), sha256, settings.endpoint, target.host, target.company))
    check_lists(plan, target.endpoint, settings.clear_token)
    if not (settings.other_company or plan.company is None or plan.company.is_same(target.company)):
        made = f'for "{plan.company.name}"' if plan.company.name else "with another key"
        require_consent(person, f"{plan.path}: this plan was made {made}.", "To carry it out here:  --other-company")
    return plan


def _check_age(plan: PlanFile, most: float | None) -> None:
    """Raise UsageError where a plan is older than --max-age allows; one that does not say when it was made, too."""
    if most is None:
        return
    try:
        age = time.time() - datetime.fromisoformat(str(plan.about.get("made"))).timestamp()
    except ValueError:
        said = "this plan does not say when it was made, which --max-age needs"
        raise UsageError(f"{plan.path}: {said}. Nothing was sent. Plan again.") from None
    if age > most:
        said = f"this plan was made {minutes(age)} ago, and --max-age allows {minutes(most)}"
        raise UsageError(f"{plan.path}: {said}. Nothing was sent. Plan again.")


@dataclass(slots=True)
class _Resuming:
    """A run that may be gone on with, and how far it is believed."""

    found: ExistingRun
    settings: Settings
    target: Target
    plan: PlanFile | None
    stack: ExitStack
    person: Person
    is_named: bool = False
    """Somebody named its folder."""

    def resume(self, source: Input | None) -> Run | None:
        """Open the run, its rows read again from `source` (None: its own are taken); None where it is passed over."""
        is_known = index.knows(self.found.run_id, self.found.folder)
        if self.begins_anew:
            self._say_anew()
            return None
        with ExitStack() as opened:
            try:
                journal, metadata = open_held_run(self.found.folder, opened)
            except (FolderError, BusyError) as error:
                self._pass_over(error)
                return None
            staged = self._read_again(source) if source is not None else metadata.staged
            if staged is None or staged.headers != metadata.staged.headers:
                self._pass_over(UsageError("the rows in it are not those of the input"))
                return None
            self._require_consent(metadata, is_known=is_known)
            self.stack.enter_context(opened.pop_all())
        return self._open(journal, metadata, staged, is_trusted=is_known or not self.settings.compare)

    @property
    def _is_old(self) -> bool:
        return not self.is_named and time.time() - self.found.last > self.settings.resume_within

    @property
    def begins_anew(self) -> bool:
        """Whether it is too old to go on with, where a new run compares every row."""
        return self._is_old and self.settings.compare

    def _say_anew(self) -> None:
        """Say that it is too old to go on with, where a new run compares every row."""
        self.person.note(
            f"{self.found.folder}: this run is not finished, but it got no further since {_moment(self.found.last)} "
            "(--resume-within), so a new run begins, which compares every row."
        )

    def _require_consent(self, metadata: RunMetadata, *, is_known: bool) -> None:
        """Ask where what it says would be taken for true and nothing of it can be looked at, or its rows are sent."""
        found, compare = self.found, self.settings.compare
        if not is_known and (self.is_named or not compare):
            why = "this computer does not know it"
        elif compare:
            return
        elif self._is_old:
            why = f"it got no further since {_moment(found.last)}"
        elif index.has_later_writes(metadata):
            why = "another run wrote for the same company since, or may have"
        elif metadata.look_since:
            why = "its last start was to look at its records again, and did not look at all of them"
        else:
            return
        if self.settings.trust_folder:
            return
        goes_on = "its rows are sent from this folder" if self.is_named else "what it says was sent is not sent again"
        require_consent(
            self.person,
            f"{found.folder}: this run is not finished, and {why}. Going on, {goes_on}.",
            "To go on with it:  --trust-folder" + ("" if self.is_named else "    To send everything again:  --new"),
        )

    def _pass_over(self, error: Exception) -> None:
        if self.is_named:
            raise error
        self.person.note(f"{self.found.folder}: this run is passed over: {error}")

    def _read_again(self, source: Input) -> Staged | None:
        """Read the input anew; None when the rows of the folder are others."""
        place = self.found.folder / INPUT
        fresh = place.with_name(f".{INPUT}.parts")
        fresh.mkdir(mode=0o700)
        try:
            staged = stage_input(source, fresh, self.settings, self.target.endpoint)
            if not sources.have_same_rows(staged.path, place):
                return None
            staged.path.replace(place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return replace(staged, path=place)

    def _open(self, journal: Journal, metadata: RunMetadata, staged: Staged, *, is_trusted: bool) -> Run:
        settings, age = self.settings, time.time() - self.found.last
        changes = match_input(staged, settings, self.target.endpoint)
        formats = metadata.formats if is_trusted or self.is_named else {}  # which a person has answered
        changes.read_as(formats)
        keep = listed_columns(settings.keep) or metadata.keep
        kept_columns(staged, keep)
        keeps_data = settings.keep_data and metadata.keeps_data
        check_left_behind(settings, keeps_data=keeps_data, keep=keep)
        run = Run(self.found.folder, journal, changes, metadata, True, self.plan, is_trusted)
        is_fresh = is_trusted and 0 <= age < LOOK_AFTER and not index.has_later_writes(metadata)
        looks = settings.compare and (metadata.look_since > 0 or not is_fresh)
        believed = {Outcome.REJECTED, Outcome.INVALID} if is_trusted else set[Outcome]()
        believed |= set() if looks else {Outcome.UPDATED, Outcome.UNCHANGED}
        rows = None if is_trusted else pl.read_parquet(staged.path, columns=[ROW])[ROW]
        journal.believe(believed, rows, reads=settings.compare)
        journal.begin_part()
        run.keep(
            staged=staged, id_column=changes.columns.id.index, input=settings.input, base_url=self.target.base_url,
            company=self.target.company.name or metadata.company, definitions=(), has_definitions=False,
            is_validated=False, clears_are_meant=False, canary_held=False,
            look_since=journal.since if looks else 0.0,
            canary_begun=metadata.canary_begun and not metadata.canary_held, headers=headers_of(changes.columns),
            results_xlsx=settings.results_xlsx or metadata.results_xlsx, keep=keep,
            keeps_data=keeps_data, users=tuple(dict.fromkeys((*metadata.users, user_name()))),
            **_options(settings),
        )  # fmt: skip
        run.keep_formats(formats)
        return run


def check_left_behind(settings: Settings, *, keeps_data: bool, keep: Sequence[str]) -> None:
    """Raise SettingsError where a run that keeps no values would leave some elsewhere."""
    if not keeps_data and (keep or settings.uploads or settings.store):
        other = "--keep" if keep else f"--store {settings.store}" if settings.store else f"--out {settings.out}"
        raise SettingsError(f"--no-keep-data leaves no values behind, and {other} would: leave one of them out.")


def check_store(settings: Settings) -> None:
    """Raise SettingsError where nobody could go on from the copies of the record."""
    if settings.store is not None and not settings.compare:
        said = "where another machine goes on, it reads what the last copy does not know"
        raise SettingsError(f"--store and --no-compare: {said}. Leave one of them out.")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else "an unknown time"


def _older_of_input(metadata: RunMetadata, note: Callable[[str], None]) -> list[tuple[str, Path]]:
    """Find unfinished runs of the same file as it was before, and say so."""
    found = index.older_of_input(metadata)
    for one in found:
        why = f"that run was not finished, and {metadata.input} has changed since"
        note(f"{one.folder}: {why}: this run takes its place.")
    return [(one.run_id, one.folder) for one in found]


def _supersede(run_id: str, folder: Path) -> None:
    """Mark a run whose rows another one takes over, also in its summary."""
    index.mark(run_id, "superseded")
    with suppress(BatchError, OSError, ValueError), run_held(folder):
        set_state(folder, "superseded")


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "options_again": tuple(as_options(settings, for_same_input=True)),
        "options_next": tuple(as_options(settings, for_same_input=False)),
    }


def _begin(
    folder: Path,
    source: Input,
    settings: Settings,
    target: Target,
    wanted: str,
    plan: PlanFile | None,
    stack: ExitStack,
) -> Run:
    stack.enter_context(run_held(folder))
    changes = read_input(source, folder, settings, target.endpoint)
    kept_columns(changes.staged, listed_columns(settings.keep))
    metadata = RunMetadata(
        identity=wanted, run_id=new_run_id(), parent_run=changes.parent_run, command="update",
        endpoint=settings.endpoint, endpoint_options=dict(settings.endpoint_options), host=target.host,
        base_url=target.base_url, company=target.company.name, fingerprint=target.company.fingerprint,
        input=settings.input, map=settings.map, meaning=settings.identity(), **_options(settings),
        shard=settings.shard,
        staged=changes.staged, id_column=changes.columns.id.index, started=now_text(), seconds=0.0, definitions=(),
        is_validated=False, users=(user_name(),), headers=headers_of(changes.columns),
        planned_by=planned_by(plan.path) if plan else "",
        results_xlsx=settings.results_xlsx, keep=listed_columns(settings.keep), keeps_data=settings.keep_data,
    )  # fmt: skip
    journal = stack.enter_context(Journal.create(folder / JOURNAL, metadata.as_meta()))
    return Run(folder, journal, changes, metadata, False, plan)


def headers_of(columns: Columns) -> dict[str, str]:
    """Return the header of each field, where it is not the field's own name."""
    return {one.target: one.header for one in columns.fields if one.target != one.header}


def discard(folder: Path) -> None:
    """Remove a folder in which nothing was begun."""
    shutil.rmtree(folder, ignore_errors=True)
    remove_empty(folder.parent)


def new_run_id() -> str:
    """Make the name of a run: 128 random bits."""
    return secrets.token_hex(16)
