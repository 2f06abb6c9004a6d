"""Everything that can stop a job, and the exit code that each asks for.

    BatchError
    ├── UsageError (2)          could not start; nothing was sent
    │   ├── InputError          the file cannot be read as a table
    │   │   ├── TitleError      its first row is a title
    │   │   └── NotationError   a column of numbers or dates can be read in two ways
    │   ├── HeaderError         two headers name one field, or what they name does not fit
    │   │   └── UnmatchedError  a header names no field, or none the id
    │   ├── SettingsError       an option, variable or batch.toml
    │   ├── CredentialError     no credential, or one that must not be used like this
    │   ├── FolderError         the run folder cannot be used
    │   ├── MachineError        this machine lacks what the job needs
    │   └── Declined            a person said no
    ├── StoppedError (3, 2)     the run ended before the last row; the rest is unsent
    ├── BusyError (5)           another run holds this input
    ├── JournalError (3)        the journal cannot be written; sending stopped
    ├── AlreadyFinished (0)     a run of this input has finished, and is to stand
    ├── CancelledError (130)    a caller of the library ended it before it began
    └── CountMismatchError (4)  the counts do not balance: a bug in batch

What is wrong with a *row* is never an exception; it is a `Problem` (see `model.py`).
Terminated, a KeyboardInterrupt, ends a run like Ctrl-C where nothing is in flight (143).
Messages are whole sentences for the person at the screen: where, what was seen, what to do.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum, IntEnum
from pathlib import Path
from typing import Final

NOTHING_SENT: Final = "Nothing was sent."
"""The note of an interruption before anything was begun."""


class ExitCode(IntEnum):
    """What the next step is: one code for each."""

    OK = 0
    FIX_ROWS = 1
    COULD_NOT_START = 2
    RUN_AGAIN = 3
    BUG = 4
    BUSY = 5
    KEY_REFUSED = 6
    WOULD_CHANGE = 10
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def hint(self) -> str:
        """The next step, as a sentence; "" where there is none."""
        return _HINTS.get(self, "")


_HINTS = {
    ExitCode.FIX_ROWS: "Fix the rows of the failures file, and run the same command on that file.",
    ExitCode.COULD_NOT_START: "Put that right, and run the same command again.",
    ExitCode.RUN_AGAIN: "Run the same command again: it goes on with the rows that are left.",
    ExitCode.BUG: "Report it; what was done is in the record of the run.",
    ExitCode.BUSY: "Wait until the other run has ended, and run the same command again.",
    ExitCode.KEY_REFUSED: "Set the right key, and run the same command again: it goes on.",
    ExitCode.INTERRUPTED: "Run the same command again: it goes on with the rows that are left.",
    ExitCode.TERMINATED: "Run the same command again: it goes on with the rows that are left.",
}


class StopCause(Enum):
    """What ended a run before its last row, by the word for it in the summary."""

    TROUBLE = "trouble"
    WAIT = "max-wait"
    """The API asked for a longer wait, or let nothing through for so long."""
    FAILURES = "max-failures"
    CREDENTIALS = "credentials"
    """The API does not accept them."""
    SET_UP = "set-up"
    """It stays until somebody changes something."""
    TAKEN = "taken"
    """Another process does the run by now."""
    CANARY = "canary"
    """The first changes did not hold: somebody has to look at them."""

    @property
    def may_pass(self) -> bool:
        """Whether the same command may do better."""
        return self not in (StopCause.CREDENTIALS, StopCause.SET_UP, StopCause.CANARY)


class BatchError(Exception):
    """The root; `str()` of it is what the person reads."""

    exit_code: ExitCode = ExitCode.COULD_NOT_START
    reason: str = "usage"
    """A stable word for what it is about."""

    @property
    def hint(self) -> str:
        """The next step, as a sentence."""
        return self.exit_code.hint


class UsageError(BatchError):
    """The job could not start, and nothing was sent."""


class InputError(UsageError):
    """The input cannot be read as a table."""

    reason = "input"


class TitleError(InputError):
    """The first row is a title, and a later one looks like the header."""

    reason = "header-row"

    def __init__(self, message: str, row: int) -> None:
        """Keep which row looks like the header."""
        super().__init__(f"{message} If it is:  --header-row {row}")
        self.seen, self.row = message, row


class NotationError(InputError):
    """A column of numbers or dates can be read in two ways, and none of its cells tells which."""

    def __init__(self, message: str, *, setting: str, where: str, seen: str, readings: Mapping[str, str]) -> None:
        """Keep the setting that decides, and by each of its values what the cell that was seen would mean."""
        super().__init__(message)
        self.setting, self.where, self.seen, self.readings = setting, where, seen, readings


class HeaderError(UsageError):
    """A header names no field, or two headers name the same one."""

    reason = "headers"


class UnmatchedError(HeaderError):
    """Headers name no field, or none of them the id, so that somebody has to say what they stand for."""

    def __init__(
        self, message: str, *, unmatched: Sequence[str], taken: Collection[str], lacks_id: bool, options: Sequence[str]
    ) -> None:
        """Keep what is wrong for whoever can ask; `options` settle it with the nearest fields."""
        super().__init__(message)
        self.unmatched, self.taken, self.lacks_id, self.options = unmatched, taken, lacks_id, options


class SettingsError(UsageError):
    """An option, an environment variable or a line of batch.toml makes no sense."""

    reason = "settings"


class CredentialError(UsageError):
    """A credential is missing, or must not be used like this."""

    reason = "credentials"


class FolderError(UsageError):
    """The run folder cannot be used."""

    reason = "folder"


class MachineError(UsageError):
    """This machine lacks what the job needs: memory, disk, open files, modules."""

    reason = "machine"


class Declined(UsageError):
    """The person said no; nothing was sent, and nothing is left behind."""

    reason = "declined"


class StoppedError(BatchError):
    """The run ended before its last row; what was not sent is unsent. The code depends on the cause."""

    exit_code = ExitCode.RUN_AGAIN

    def __init__(self, message: str, cause: StopCause = StopCause.TROUBLE, *, retry_after: float | None = None) -> None:
        """Keep the cause, and how many seconds the API asked to wait."""
        super().__init__(message)
        self.cause, self.reason, self.retry_after = cause, cause.value, retry_after
        if not cause.may_pass:  # a run that sends ends in other ways
            self.exit_code = ExitCode.COULD_NOT_START


class BusyError(BatchError):
    """Another run holds this input."""

    exit_code = ExitCode.BUSY
    reason = "busy"


class AlreadyFinished(BatchError):
    """A run of this input has finished, and whoever started this one wants it to stand."""

    exit_code = ExitCode.OK
    reason = "finished"

    def __init__(self, folder: Path) -> None:
        """Keep the folder of the run."""
        super().__init__(f"{folder}: this run has finished. Nothing was sent.")
        self.folder = folder


class Terminated(KeyboardInterrupt):
    """The process is asked to end (SIGTERM, SIGHUP) at a moment at which nothing is in flight."""


class JournalError(BatchError):
    """The journal cannot be written or read any more; nothing more was sent."""

    exit_code = ExitCode.RUN_AGAIN
    reason = "journal"


class CancelledError(BatchError):
    """A caller of the library ended the job before it began; nothing was sent."""

    exit_code = ExitCode.INTERRUPTED
    reason = "interrupted"


class CountMismatchError(BatchError):
    """The seven outcomes do not add up to the rows: a bug."""

    exit_code = ExitCode.BUG
    reason = "bug"


@contextmanager
def sending_nothing() -> Iterator[None]:
    """Note on an interruption that nothing was sent until then, for whoever tells of it."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note(NOTHING_SENT)
        raise
