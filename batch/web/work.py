"""A sheet on its way through the six steps, and all sheets that are open.

Promises: each step is one call of what the command line calls; what is sent is the plan that was shown, and it is sent
once, whatever windows there are; a run that began goes on without any window.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

from batch.commands.changes import OpenPlan
from batch.commands.check import Checked, check
from batch.commands.columns import ShownColumns, keep_mapping, show_columns, with_targets
from batch.commands.plan import PlanMade, plan
from batch.commands.resume import resume
from batch.commands.undo import undo
from batch.commands.update import update
from batch.engine.reporter import CANARY
from batch.errors import BatchError, CancelledError, ExitCode, UsageError
from batch.machine import now_text, user_name
from batch.model import Outcome
from batch.run.approval import (
    ENDING,
    MOST_CHARACTERS,
    Approval,
    OpenedApproval,
    open_approval,
    settings_of_plan,
    write_approval,
)
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.settings import Settings
from batch.web.accounts import Account, Chosen, begin_sandbox, own_settings
from batch.web.task import Task, WebReporter

MOST_OPEN: Final = 100
"""Sheets that are kept open: beyond that those are closed that were opened first, and at which nothing goes on."""
STEPS: Final = ("file", "columns", "problems", "changes", "send", "result")
STEP_OF: Final = {
    "columns": "columns", "check": "problems", "plan": "changes", "update": "send", "undo": "send", "resume": "send",
}  # fmt: skip
"""The step at which a task is shown."""


@dataclass(slots=True)
class Work:
    """A sheet that is open, or a run that is taken back or gone on with."""

    id: str
    name: str
    """Of the file, as it was uploaded."""
    chosen: Chosen = field(repr=False)
    settings: Settings
    around: Environment = field(repr=False)
    task: Task | None = None
    columns: ShownColumns | None = None
    checked: Checked | None = None
    plan: PlanMade | None = None
    opened: OpenPlan | None = None
    """The plan to be looked through and sent."""
    approval: OpenedApproval | None = None
    """Where a colleague sent the plan as one file: what was in it."""
    end: FinishedRun | None = None
    run_folder: Path | None = None
    """Of an undo or a resumed run: the run that it is about."""
    run_id: str = ""
    """Of the same."""
    is_sent: bool = False
    remembered: str | None = None
    """The name under which what the columns stand for was remembered, for what is answered of them later."""
    others: "Work | None" = None
    """The sheet of which this one has the corrected rows: its other rows are sent by themselves."""
    on_sandbox_start: Callable[[], None] = lambda: None
    lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def account(self) -> Account:
        """Whose records are changed."""
        return self.chosen.account

    @property
    def company(self) -> str:
        """Its name, where it has one here."""
        return self.settings.as_login or self.settings.company or ""

    @property
    def environment(self) -> Environment:
        """The world around its commands."""
        return self.chosen.environment(self.around)

    @property
    def is_busy(self) -> bool:
        """Whether a command goes on."""
        return self.task is not None and not self.task.is_over

    @property
    def step(self) -> str:
        """The step that it is at."""
        if self.task is not None and (self.is_busy or self.task.error is not None):
            return STEP_OF[self.task.name]
        if self.end is not None:
            return "result"
        if self.is_sent:
            return "send"
        known = {"changes": self.opened, "problems": self.checked}
        return next((step for step, found in known.items() if found is not None), "columns")

    @property
    def ready(self) -> int:
        """The rows that are ready to be compared and sent."""
        return self.checked.summary.outcomes[Outcome.UNSENT] if self.checked is not None else 0

    # -- the steps ----------------------------------------------------------------------------------------------

    def look_at_columns(self) -> None:
        """Read the headers."""
        self._begin("columns", lambda person, world: show_columns(self.settings, person, world), self._keep_columns)

    def match(self, targets: Mapping[str, str], changes: Mapping[str, Any], *, remember_as: str | None) -> None:
        """Take what was said of the columns, look again, and where all are known validate every row.

        `changes` are other settings of how the file, its numbers and its dates are read; `remember_as`: the name under
        which what the headers stand for is remembered, "" for the file's own, None for not at all.
        """

        def work(person: WebReporter, world: Environment) -> tuple[ShownColumns, Checked | None]:
            found = show_columns(settings, person, world)
            if not found.is_settled:
                return found, None
            if remember_as is not None:
                self.remembered = keep_mapping(found.settings, remember_as, world)
            self.columns, self.settings = found, found.settings
            # what can be read in two ways is asked by a form of the page, which nothing waits for
            return found, check(found.settings, replace(person, can_ask=False), world)

        with self.lock:
            self._check_open()
            self.settings = settings = replace(with_targets(self.settings, targets), **changes)
            self._begin("check", work, self._keep_matched)

    def read_as(self, formats: Mapping[str, Any]) -> None:
        """Take how numbers or dates are meant, add it to the mapping that is remembered, and validate again."""
        self.match({}, formats, remember_as=self.remembered or self.settings.mapping)

    def compare(self, *, only_empty: bool) -> None:
        """Find out what would change, with `only_empty` of fields that have no value yet alone."""
        with self.lock:
            self._check_open()
            self.settings = replace(self.settings, only_empty=only_empty)
            self._begin("plan", lambda person, world: plan(self.settings, person, world), self._keep_plan)

    def send(self, checksum: str, how: Literal["all", "first"]) -> None:
        """Send the plan that was shown; raises UsageError where that was done, or it is another one."""
        with self.lock:
            self._check_open()
            if self.opened is None:
                raise UsageError("There is nothing to send yet: compare first.")
            if not secrets.compare_digest(checksum.encode(), self.opened.checksum.encode()):
                raise UsageError(
                    "These are not the changes that were shown: they were compared anew. Look at them again."
                )
            self.is_sent = True
            settings = replace(self.settings, plan=self.opened.folder, yes=True)
            sends: Any = CANARY if how == "first" else True
            self._begin(
                "update", lambda person, world: update(settings, replace(person, sends=sends), world), self._keep_end
            )

    def save_for_approval(self, remark: str) -> Path:
        """Write the plan as one file for a colleague, and return where it is; raises UsageError."""
        if self.plan is None:
            raise UsageError("There is no plan of yours to save here.")
        stem = Path(self.name).stem
        path = self.plan.folder / f"{stem}{ENDING}"
        about = Approval(user_name(), now_text(), remark[:MOST_CHARACTERS])
        write_approval(path, self.plan.folder, Path(self.settings.input), about)
        return path

    def take_back(self) -> None:
        """Put back what a run changed: it is shown and asked about first."""
        folder = self.run_folder
        assert folder is not None  # noqa: S101 - for the type checker: such a work has one
        settings = replace(self.settings, yes=False)
        self.is_sent = True
        self._begin("undo", lambda person, world: undo(folder, settings, person, world), self._keep_end)

    def go_on(self) -> None:
        """Go on with a run that was not finished."""
        folder = self.run_folder
        assert folder is not None  # noqa: S101 - as above
        settings = replace(self.settings, yes=True)
        self.is_sent = True
        self._begin(
            "resume", lambda person, world: resume(folder, settings, replace(person, sends=True), world), self._keep_end
        )

    def _check_open(self) -> None:
        """Raise UsageError where it was sent, or something goes on."""
        if self.is_sent:
            raise UsageError("This was sent already, and is not sent twice.")
        if self.is_busy:
            raise UsageError("Something goes on with this sheet in another window. Wait for it, or stop it.")

    def _begin(self, name: str, job: Callable[[WebReporter, Environment], Any], keep: Callable[[Any], None]) -> None:
        """Begin a command where none goes on, and keep what it gives."""
        task = Task(name)

        def work(person: WebReporter) -> Any:
            if self.account.kind == "sandbox" and name not in ("columns", "check") and begin_sandbox():
                self.on_sandbox_start()
            return job(person, replace(self.environment, is_cancelled=task.call.stop.is_set))

        def then(done: Task) -> None:
            if done.error is None:
                keep(done.result)
            elif name == "update" and isinstance(done.error, BatchError):
                is_unsent = isinstance(done.error, CancelledError) or done.error.exit_code is ExitCode.COULD_NOT_START
                self.is_sent = not is_unsent

        self.task = task
        task.start(work, then)

    def _keep_columns(self, found: ShownColumns) -> None:
        self.columns, self.settings = found, found.settings
        self.checked = None
        self._forget_plan()

    def _keep_matched(self, found: tuple[ShownColumns, Checked | None]) -> None:
        self._keep_columns(found[0])
        self.checked = found[1]

    def _keep_plan(self, found: PlanMade) -> None:
        self._forget_plan()
        self.plan, self.opened = found, OpenPlan(found.folder, found.headers)

    def _forget_plan(self) -> None:
        if self.opened is not None:
            self.opened.close()
        self.plan = self.opened = None

    def _keep_end(self, found: FinishedRun) -> None:
        self.end = found

    def close(self) -> None:
        """Let go of its files."""
        self._forget_plan()


@dataclass(slots=True)
class Desk:
    """All sheets that are open, by their names in addresses."""

    environment: Environment
    runs: Path
    works: dict[str, Work] = field(default_factory=dict)
    has_started_sandbox: bool = False
    is_closing: bool = False

    def open_file(self, path: Path, name: str, folder: Path, chosen: Chosen, others: Work | None = None) -> Work:
        """Open a sheet that was uploaded, and look at its headers."""
        given = {"input": str(path), "endpoint": chosen.account.endpoint, "out": folder, **chosen.given}
        work = self._add(name, chosen, chosen.settle(own_settings(given, self.environment)))
        work.others = others
        work.look_at_columns()
        return work

    def open_run(self, folder: Path, run_id: str, name: str, chosen: Chosen, given: Mapping[str, Any]) -> Work:
        """Open a run, to take it back or to go on with it."""
        settings = own_settings({"endpoint": chosen.account.endpoint, **chosen.given, **given}, self.environment)
        work = self._add(name, chosen, chosen.settle(settings))
        work.run_folder, work.run_id = folder, run_id
        return work

    def open_approval(self, path: Path, name: str, folder: Path, chosen: Chosen) -> Work:
        """Open a plan that a colleague sent as one file; raises UsageError where it is for other records."""
        opened = open_approval(path, path.with_suffix(""))
        if opened.endpoint != chosen.account.endpoint:
            raise UsageError(
                f"{name}: this plan is for {opened.endpoint}. Choose whose records of that are to be changed."
            )
        given = {"endpoint": chosen.account.endpoint, "out": folder, **chosen.given}
        settings = replace(
            chosen.settle(own_settings(given, self.environment)), **settings_of_plan(opened), input=str(opened.input)
        )
        plan = OpenPlan(opened.plan, {})
        work = self._add(opened.input.name, chosen, settings)
        work.approval, work.opened = opened, plan
        return work

    def _add(self, name: str, chosen: Chosen, settings: Settings) -> Work:
        work = Work(secrets.token_hex(6), name, chosen, settings, self.environment, on_sandbox_start=self._note_sandbox)
        self.works[work.id] = work
        over = [one for one in list(self.works.values()) if not one.is_busy]
        for one in over[: max(0, len(self.works) - MOST_OPEN)]:
            del self.works[one.id]
            one.close()
        return work

    def _note_sandbox(self) -> None:
        self.has_started_sandbox = True

    def work_of(self, run: Path) -> Work | None:
        """Return the open sheet whose run is in a folder."""
        return next((one for one in list(self.works.values()) if one.end is not None and one.end.folder == run), None)

    def close(self, seconds: float) -> bool:
        """End all that goes on as Ctrl-C does, wait, and let go of all files; False where something does not end."""
        self.is_closing = True
        busy = [one.task for one in list(self.works.values()) if one.task is not None and one.is_busy]
        for task in busy:
            task.stop()
        are_over = [task.wait(seconds) for task in busy]
        for one in list(self.works.values()):
            one.close()
        return all(are_over)
