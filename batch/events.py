"""The events of `--log-format json`: what happens, as one document each.

Promises: names and fields stay as `batch/cli/README.md` lists them; no value of a row and no secret is in any.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from batch.documents import CONFIG, Rate, Seconds, Tenths
from batch.machine import now_text
from batch.summary import OutcomesInJson, State


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened."""

    __pydantic_config__: ClassVar[ConfigDict] = CONFIG

    time: str = field(default_factory=now_text, init=False)
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Moment):
    """Something is about to be sent."""

    event: Literal["run.started"] = "run.started"
    command: str
    endpoint: str
    host: str
    company: str | None
    sandbox: bool
    run: str
    to_send: int
    requests: int
    seconds: float | None
    """What it will take, as far as that can be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Moment):
    """Records are about to be read before it is known what differs."""

    event: Literal["reading"] = "reading"
    requests: int
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressMade(Moment):
    """How far a run is."""

    event: Literal["progress"] = "progress"
    rows: int
    done: int
    per_second: Rate
    throttled: int
    time_left: Tenths
    outcomes: OutcomesInJson


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Moment):
    """The API makes everybody wait."""

    event: Literal["paused"] = "paused"
    seconds: Tenths
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Moment):
    """The wait is over."""

    event: Literal["resumed"] = "resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Moment):
    """What a person should know."""

    event: Literal["note"] = "note"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopped(Moment):
    """A run ended before its last row."""

    event: Literal["stopped"] = "stopped"
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Moment):
    """A run ended."""

    event: Literal["finished"] = "finished"
    exit_code: int
    state: State | None
    seconds: Seconds
    outcomes: OutcomesInJson
    requests: int
    attempts: int
    throttled: int
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Moment):
    """A command could not begin."""

    event: Literal["failed"] = "failed"
    reason: str
    message: str
    exit_code: int


Event = Annotated[
    RunStarted | Reading | ProgressMade | Paused | Resumed | Note | RunStopped | Finished | Failed,
    Field(discriminator="event"),
]
