"""TODO."""

from collections.abc import Mapping

from batch.errors import ExitCode
from batch.model import NEEDS_EDIT, NEEDS_RETRY, Outcome


def exit_code(outcomes: Mapping[Outcome, int]) -> ExitCode:
    """Say what the next step is; rows to retry win over rows to fix."""
    if any(outcomes.get(outcome) for outcome in NEEDS_RETRY):
        return ExitCode.RUN_AGAIN
    if any(outcomes.get(outcome) for outcome in NEEDS_EDIT):
        return ExitCode.FIX_ROWS
    return ExitCode.OK
