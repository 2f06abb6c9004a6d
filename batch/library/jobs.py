"""The jobs as both `batch` and `batch.aio` do them: settings, the world around, and what ends them.

Promises: of the process's variables and files nothing counts but what the call gives; what ends a job is a BatchError.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any, Literal, TypeVar

import httpx

from batch.commands import check as check_command
from batch.commands import plan as plan_command
from batch.commands import pull as pull_command
from batch.commands import purge as purge_command
from batch.commands import results as results_command
from batch.commands import resume as resume_command
from batch.commands import template as template_command
from batch.commands import undo as undo_command
from batch.commands import update as update_command
from batch.commands.plan import PlanSummary
from batch.commands.pull import PullSummary
from batch.commands.purge import PurgeOlder, PurgePreview
from batch.commands.template import TemplateMade
from batch.credentials import FILE_SUFFIX
from batch.endpoints import ENDPOINTS
from batch.engine.reporter import Cost, Preflight, Progress, Tried
from batch.errors import BatchError, CancelledError, ExitCode, InputError, MachineError, SettingsError
from batch.input_names import joined
from batch.library.options import (
    Access,
    CheckOptions,
    Credentials,
    EventLike,
    OnProgress,
    PlanOptions,
    PullOptions,
    ResumeOptions,
    Run,
    Source,
    TemplateOptions,
    UndoOptions,
    UpdateOptions,
)
from batch.machine import check_memory, first_of, machine_reason
from batch.run.consent import Nobody
from batch.run.target import Environment
from batch.settings import INPUT, SETTINGS, Layer, Settings, SettingsFiles, duration, merge_layers, read_files
from batch.summary import Summary

T = TypeVar("T")
FRAME = "frame"
NOT_TAKEN = (
    "as_login", "detailed_exitcode", "json_output", "log_format", "metrics_file", "on_finish", "output", "quiet", "yes",
)  # fmt: skip
"""Settings of a command line: a login is named with `login`, and nothing is printed or asked."""
PROGRESS_SECONDS = 1.0

log = logging.getLogger("batch")
log.addHandler(logging.NullHandler())


@dataclass(slots=True)
class Call:
    """What holds for one call: what ends it, and how its caller is called back."""

    stop: Event = field(default_factory=Event)
    called_back: Callable[[OnProgress], OnProgress] = lambda on_progress: on_progress
    """Gives what may be called in the thread of the job in place of `on_progress`."""


Job = Callable[[Call], T]


def check(input: Source, endpoint: str, options: CheckOptions, call: Call) -> Summary:
    """Do what `check` says."""
    job = _Job.of_input("check", input, endpoint, options, call)
    return check_command.check(job.settings, job.reporter, job.environment).summary


def plan(input: Source, endpoint: str, options: PlanOptions, call: Call) -> PlanSummary:
    """Do what `plan` says."""
    job = _Job.of_input("plan", input, endpoint, options, call)
    return plan_command.plan(job.settings, job.reporter, job.environment).summary


def update(
    input: Source, endpoint: str, options: UpdateOptions, call: Call, *, finished_since: float | None = None
) -> Summary:  # fmt: skip
    """Do what `update` says; raises AlreadyFinished where a run that has finished stands, if that is wanted."""
    job = _Job.of_input("update", input, endpoint, options, call)
    environment = replace(job.environment, finished_since=finished_since)
    return update_command.update(job.settings, job.reporter, environment).summary


def undo(run: Run, options: UndoOptions, call: Call) -> Summary:
    """Do what `undo` says."""
    job = _Job.of("undo", {}, options, call)
    return undo_command.undo(str(folder_of(run)), job.settings, job.reporter, job.environment).summary


def resume(run: Run, options: ResumeOptions, call: Call) -> Summary:
    """Do what `resume` says."""
    job = _Job.of("resume", {}, options, call)
    return resume_command.resume(folder_of(run), job.settings, job.reporter, job.environment).summary


def pull(output: str | os.PathLike[str], endpoint: str, options: PullOptions, call: Call) -> PullSummary:
    """Do what `pull` says."""
    options = options.copy()
    where, ids = options.pop("where", ()), options.pop("ids", None)
    pairs = tuple(where.items()) if isinstance(where, Mapping) else tuple((name, value) for name, value in where)
    wanted = pull_command.Wanted(Path(output), pairs, Path(ids) if ids else None, options.pop("force", False))
    job = _Job.of("pull", {"endpoint": endpoint}, options, call)
    return pull_command.pull(job.settings, wanted, job.reporter, job.environment).summary


def template(
    output: str | os.PathLike[str], endpoint: str, options: TemplateOptions, call: Call
) -> TemplateMade:  # fmt: skip
    """Do what `template` says."""
    options = options.copy()
    may_replace = options.pop("force", False)
    job = _Job.of("template", {"endpoint": endpoint}, options, call)
    path = Path(output)
    return template_command.make_template(path, job.settings, job.environment, job.reporter, may_replace=may_replace)


def write_results(run: Run, results_xlsx: bool, keep: Sequence[str], call: Call) -> Summary:
    """Do what `results` says."""
    reporter, environment = _Reporter(None), _environment({})
    return results_command.results(folder_of(run), reporter, environment, results_xlsx=results_xlsx, keep=keep).summary


def purge(run: Run, call: Call) -> PurgePreview:
    """Do what `purge` says."""
    removed = purge_command.purge(folder_of(run), _Reporter(None), lambda preview: True)
    assert removed is not None  # noqa: S101 - for the type checker: the answer is yes
    return removed


def purge_older(parent: str | os.PathLike[str], older_than: float | str, unfinished: bool, call: Call) -> PurgeOlder:
    """Do what `purge_older` says."""
    try:
        seconds = float(duration(older_than))
    except ValueError as error:
        raise SettingsError(f"older_than {older_than}: {error}.") from None
    removed = purge_command.purge_older(Path(parent), seconds, lambda preview: True, unfinished=unfinished)
    assert removed is not None  # noqa: S101 - for the type checker: the answer is yes
    return removed


def folder_of(run: Run) -> Path:
    """Return the folder of a run."""
    return Path(run.run if isinstance(run, Summary) else run)


@dataclass(frozen=True, slots=True)
class _Job:
    """What a command is given."""

    settings: Settings
    reporter: "_Reporter"
    environment: Environment

    @classmethod
    def of(cls, command: str, fixed: Mapping[str, Any], options: Any, call: Call) -> "_Job":
        """Make it of options as they were given."""
        values = dict(options)
        access: dict[str, Any] = {name: values.pop(name) for name in Access.__annotations__ if name in values}
        on_progress: OnProgress | None = access.get("on_progress")
        settings = _settings(command, {**values, **fixed}, access)
        cancel: EventLike | None = access.get("cancel")
        environment = replace(
            _environment(access),
            is_cancelled=lambda: call.stop.is_set() or (cancel is not None and cancel.is_set()),
        )
        environment.check_cancelled()
        return cls(settings, _Reporter(on_progress and call.called_back(on_progress)), environment)

    @classmethod
    def of_input(cls, command: str, input: Source, endpoint: str, options: Any, call: Call) -> "_Job":
        """Make it of an input, which may be a table."""
        values = dict(options)
        name = values.pop("name", FRAME)
        if isinstance(input, str | os.PathLike | Sequence):
            paths = [input] if isinstance(input, str | os.PathLike) else input
            if not paths:
                raise InputError("No file was named.")
            return cls.of(
                command, {"input": joined([os.fspath(one) for one in paths]), "endpoint": endpoint}, values, call
            )
        job = cls.of(command, {"input": name, "endpoint": endpoint}, values, call)
        return replace(job, environment=replace(job.environment, frames={name: input}))


@dataclass(slots=True)
class _Reporter(Nobody):
    """Whoever called: is told the progress, and asked nothing."""

    on_progress: OnProgress | None
    interval: float | None = None
    """Seconds between two calls of `progress`."""

    def __post_init__(self) -> None:
        """Tell the progress where somebody wants to know it."""
        self.interval = PROGRESS_SECONDS if self.on_progress is not None else None

    def note(self, text: str) -> None:
        """Log what a person should know."""
        log.info("%s", text)

    def cost(self, cost: Cost) -> None:
        """Leave it."""

    def confirm(self, preflight: Preflight) -> bool | Literal["canary"]:
        """Say yes: whoever calls means it."""
        return True

    def confirm_rest(self, tried: Tried) -> bool:
        """Say yes."""
        return True

    def progress(self, progress: Progress) -> None:
        """Hand it on."""
        if self.on_progress is not None:
            self.on_progress(progress)

    def pulled(self, count: int, total: int | None) -> None:
        """Leave it."""

    def leave_at_once(self, code: ExitCode, why: str) -> None:
        """Leave it."""


def _settings(command: str, values: Mapping[str, Any], access: Mapping[str, Any]) -> Settings:
    """Make the settings of what was given, and of the file that was named; raises SettingsError, TypeError."""
    own_options = {one.name for kind in ENDPOINTS.values() for one in kind.options}
    for name in values:
        if name not in own_options and not _is_taken(name, command):
            raise TypeError(f"{command}() got an unexpected keyword argument {name!r}")
    values = {name: value for name, value in values.items() if value is not None}
    own = {name: value for name, value in values.items() if name in own_options}
    given = {name: value for name, value in values.items() if name not in own_options}
    if access.get("login"):
        given["as_login"] = access["login"]
    layers = [Layer("", given | ({"endpoint_options": own} if own else {}))]
    if access.get("settings"):
        environment = Environment({})
        files = SettingsFiles(Path(access["settings"]), (), None)
        rates = environment.documented_rates
        layers += read_files(
            files, given.get("endpoint"), environment.endpoint_options, lambda name: rates.get(name, 0.0)
        )
    return merge_layers(layers)


def _is_taken(name: str, command: str) -> bool:
    """Whether a function takes a setting; those that take an input take all of `update`, as the commands do."""
    if name in ("input", "endpoint"):
        return True
    commands = SETTINGS[name].commands if name in SETTINGS and name not in NOT_TAKEN else ()
    return command in commands or (command in INPUT and "update" in commands)


def _environment(access: Mapping[str, Any]) -> Environment:
    """Return the world as the caller describes it: of the process's variables the credentials alone count."""
    credentials: Credentials | None = access.get("credentials")
    names = {one.name + end for kind in ENDPOINTS.values() for one in kind.variables for end in ("", FILE_SUFFIX)}
    found = {name: os.environ[name] for name in names if name in os.environ} if credentials is None else credentials
    values = dict(found() if callable(found) else found)
    config = {"XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME", "")}  # of logins and mappings that are named
    transport: httpx.AsyncBaseTransport | None = access.get("transport")
    return Environment(
        config | values,
        transport=None if transport is None else lambda: transport,
        fetch_credentials=found if callable(found) else None,
        uses_logins=False,
    )


def perform(job: Job[T], call: Call) -> T:
    """Do a job in this thread; what this machine lacks, and a job that was cancelled, are BatchErrors."""
    check_memory()
    try:
        return job(call)
    except BaseException as error:
        cause = first_of(error)
        if isinstance(cause, KeyboardInterrupt):
            raise CancelledError("It was cancelled before it began. Nothing was sent.") from None
        reason = machine_reason(cause)
        if isinstance(cause, BatchError) or reason is None:
            raise cause from cause.__cause__
        raise MachineError(f"{reason}.") from error
