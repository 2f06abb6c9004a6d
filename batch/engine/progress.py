"""What a job tells whoever watches it: a person at a terminal, a log, a test."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from batch.endpoints.base import Endpoint
from batch.model import Outcome
from batch.validation.file_changes import FileChanges


@dataclass(frozen=True, slots=True)
class Preflight:
    """What is about to happen; times are seconds at the limits, None when no limit is known."""

    survey: FileChanges
    endpoint: Endpoint
    host: str
    host_kind: str
    """"production", "test system", "sandbox", or "" for an address that is not the maker's."""
    credential: str
    """The credential as it may be shown: its last four characters."""
    folder: Path
    to_send: int
    reads: int
    seconds: float | None
    is_resumed: bool
    done: Mapping[Outcome, int]
    excesses: tuple[str, ...] = ()
    """Fields that would be cleared on more rows than --max-clears allows: only who is asked may send them."""


CANARY: Final = "canary"
"""The answer "the first few, then the rest if they held"."""
CANARY_CHANGES: Final = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a run. `per_second` is the recent rate of attempts; `eta` seconds, None when it cannot be told."""

    rows: int
    counts: Mapping[Outcome, int]
    per_second: float
    throttled: int
    paused: float
    """Seconds that the API still keeps everybody waiting."""
    eta: float | None
    is_stopping: bool


class Reporter(Protocol):
    """Is told what happens, and asked before anything is sent."""

    interval: float | None
    """Seconds between two calls of `progress`; None for none."""

    def note(self, text: str) -> None:
        """Something the person should know: a whole sentence."""

    can_ask: bool
    """Whether there is somebody to answer."""

    def confirm(self, preflight: Preflight) -> bool | Literal["canary"]:
        """Show what is about to happen, and ask where there is somebody to ask; false = do not send."""

    def progress(self, progress: Progress) -> None:
        """A moment of the run."""

    def leave(self) -> None:
        """The process ends now: give the terminal back."""
