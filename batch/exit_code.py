"""The one decision about exit codes: what the next step is after a job, or after what ended it."""

import signal
from collections.abc import Mapping
from typing import Final

from batch.errors import BatchError, ExitCode, StopCause, Terminated
from batch.machine import machine_reason
from batch.model import NEEDS_EDIT, NEEDS_RETRY, Outcome

SIGNALS: Final = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
"""The signals that end a run, and the codes that they end it with."""
if hasattr(signal, "SIGHUP"):  # the terminal is gone
    SIGNALS[signal.SIGHUP] = ExitCode.TERMINATED


def reason_of_signal(code: ExitCode) -> str:
    """Return the stable word for the signal that a code tells of."""
    return "terminated" if code is ExitCode.TERMINATED else "interrupted"


def exit_code(
    outcomes: Mapping[Outcome, int],
    *,
    signalled: ExitCode | None = None,
    is_refused: bool = False,
    is_unwritten: bool = False,
    cause: StopCause = StopCause.TROUBLE,
    has_written: bool = False,
) -> ExitCode:
    """Return the code of a job that came to its end.

    `signalled` is the code of the signal that ended it, `is_refused`: nothing was sent on purpose, `is_unwritten`: the
    journal could not be written any more, `cause`: why it stopped, `has_written`: a write of this start was accepted.
    Rows to retry win over rows to fix.
    """
    if is_unwritten:
        return ExitCode.RUN_AGAIN
    if is_refused:
        return ExitCode.COULD_NOT_START
    if signalled is not None:
        return signalled
    if cause is StopCause.CANARY:
        return ExitCode.FIX_ROWS
    if cause is StopCause.TAKEN:
        return ExitCode.BUSY
    if any(outcomes.get(outcome) for outcome in NEEDS_RETRY):
        return _code_of_stop(cause, may_have_written=has_written or bool(outcomes.get(Outcome.UNKNOWN)))
    if any(outcomes.get(outcome) for outcome in NEEDS_EDIT):
        return ExitCode.FIX_ROWS
    return ExitCode.OK


def _code_of_stop(cause: StopCause, *, may_have_written: bool) -> ExitCode:
    """Return the code of a job that left rows: a scheduler tries again only where that can help.

    That nothing was accepted is said only where that is known.
    """
    if cause.may_pass:
        return ExitCode.RUN_AGAIN
    if not may_have_written:
        return ExitCode.COULD_NOT_START
    return ExitCode.KEY_REFUSED if cause is StopCause.CREDENTIALS else ExitCode.RUN_AGAIN


def exit_code_of_plan(outcomes: Mapping[Outcome, int], *, is_detailed: bool) -> ExitCode:
    """Return the code of a plan: where all is well, whether something would change, if that is wanted."""
    code = exit_code(outcomes)
    would_change = is_detailed and outcomes.get(Outcome.UPDATED, 0) > 0
    return ExitCode.WOULD_CHANGE if code is ExitCode.OK and would_change else code


def exit_code_not_uploaded(code: int) -> ExitCode:
    """Return the code of a job that ended with `code`, and whose files could not be uploaded: the same command can."""
    is_over = code in (ExitCode.OK, ExitCode.FIX_ROWS, ExitCode.WOULD_CHANGE)
    return ExitCode.RUN_AGAIN if is_over else ExitCode(code)


def exit_code_of_error(error: BaseException) -> ExitCode:
    """Return the code of a job that an error ended."""
    match error:
        case Terminated():
            return ExitCode.TERMINATED
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case BatchError():
            return error.exit_code
    return ExitCode.BUG if machine_reason(error) is None else ExitCode.COULD_NOT_START
