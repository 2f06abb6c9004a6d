"""What the functions of the library take, by their names and types: the options of the commands, and who asks."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, TypedDict

import httpx

from batch.engine.reporter import Progress
from batch.sources import Table
from batch.summary import Summary

Path = str | os.PathLike[str]
Source = Path | Sequence[Path] | Table
"""A path, a folder, a pattern or an address (URL) as the commands take them, several paths, or a table in memory."""
Run = str | os.PathLike[str] | Summary
"""A run folder, or the summary of the run."""
Credentials = Mapping[str, str] | Callable[[], Mapping[str, str]]
"""Values by the names of the endpoint's environment variables, or what gives them: once for each job, and again where
the API does not accept them any more."""
OnProgress = Callable[[Progress], object]


class EventLike(Protocol):
    """Says whether something has happened, as the events of threading, asyncio, trio and anyio do."""

    def is_set(self) -> bool:
        """Whether it has."""


class Access(TypedDict, total=False):
    """Who asks, and how; for every function that asks the API."""

    credentials: Credentials
    """Default: the environment variables of the endpoint, as for the commands."""
    login: str
    """The company whose key is taken, of those that have a login (`--as`)."""
    transport: httpx.AsyncBaseTransport
    """What carries the requests instead of real sockets; it is used by an event loop of the job's own."""
    on_progress: OnProgress
    """Is called about once a second, in the thread of the job (of `batch.aio`: in the caller's event loop)."""
    cancel: EventLike
    """Ends the job when it is set, as Ctrl-C does: with the files of what was done by then."""
    settings: str | os.PathLike[str]
    """A file of settings, such as a batch.toml."""


class Addressed(Access, total=False):
    """Where to."""

    base_url: str
    sandbox: bool
    token_file: str | os.PathLike[str]
    token_command: str
    allow_http: str


class Paced(Addressed, total=False):
    """How fast; times are in seconds."""

    max_at_once: int
    max_per_second: float
    limiter: str
    max_attempts: int
    max_wait: float
    read_timeout: float


class Reading(TypedDict, total=False):
    """What the input means."""

    name: str
    """What a table in memory is called, instead of "frame"."""
    out: str | os.PathLike[str]
    work_dir: str | os.PathLike[str]
    storage_option: Mapping[str, str]
    map: Mapping[str, str]
    columns: Sequence[str]
    mapping: str
    sheet: str
    header_row: int
    delimiter: str
    encoding: str
    hidden: Literal["include", "skip"]
    decimal: Literal[".", ","]
    date_format: Literal["iso", "dmy", "mdy"]
    clear_token: str
    as_shown: Sequence[str]
    limit: int
    key: str
    compare: bool
    require_rows: bool
    shard: str
    excel_csv: bool
    sparse: bool


class CheckOptions(Reading, total=False):
    """The options of `check`."""

    settings: str | os.PathLike[str]


class Sending(Paced, total=False):
    """What holds for everything that writes to the API."""

    report: bool
    results_xlsx: bool
    verify_within: float
    max_failures: str | int
    canary: int
    grace: float
    trust_folder: bool


class PlanOptions(Paced, Reading, total=False):
    """The options of `plan`."""

    report: bool
    overwrite: bool
    only_empty: bool
    other_company: bool
    none_found: bool
    company: str
    max_clears: str | int


class UpdateOptions(PlanOptions, Sending, total=False):
    """The options of `update`."""

    store: str | os.PathLike[str]
    keep: Sequence[str]
    invalid: Literal["skip", "abort"]
    keep_data: bool
    plan: str | os.PathLike[str]
    max_age: float | str
    new: bool
    resume_within: float | str


class UndoOptions(Sending, total=False):
    """The options of `undo`."""

    out: str | os.PathLike[str]
    work_dir: str | os.PathLike[str]
    storage_option: Mapping[str, str]
    max_clears: str | int
    company: str


class ResumeOptions(Sending, total=False):
    """The options of `resume`."""

    out: str
    storage_option: Mapping[str, str]
    keep: Sequence[str]
    compare: bool
    other_company: bool
    none_found: bool
    invalid: Literal["skip", "abort"]
    keep_data: bool
    plan: str | os.PathLike[str]
    company: str


class PullOptions(Paced, total=False):
    """The options of `pull`."""

    company: str
    where: Mapping[str, str] | Sequence[tuple[str, str]]
    ids: str | os.PathLike[str]
    force: bool
    excel_csv: bool


class TemplateOptions(Addressed, total=False):
    """The options of `template`."""

    limiter: str
    force: bool
    excel_csv: bool
