"""Change thousands of customer records from a spreadsheet, and know what happened to every row.

The library: `check`, `plan`, `update`, `undo`, `resume`, `pull`, `template`, `results`, `write_results`, `runs`,
`status`, `schema` and `purge` do what the commands of these names do; `batch.aio` has the same, to be awaited. See
`batch/library/README.md`. To import this package is cheap: what a name needs is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from batch import aio
    from batch.commands.plan import PlanSummary
    from batch.commands.pull import PullSummary
    from batch.commands.status import Status
    from batch.engine.reporter import Progress
    from batch.errors import (
        BatchError,
        BusyError,
        CancelledError,
        CredentialError,
        FolderError,
        HeaderError,
        InputError,
        JournalError,
        MachineError,
        SettingsError,
        StoppedError,
        UsageError,
    )
    from batch.library import (
        check,
        plan,
        pull,
        purge,
        purge_older,
        results,
        resume,
        runs,
        schema,
        status,
        template,
        undo,
        update,
        write_results,
    )
    from batch.model import Outcome, Problem, RowResult
    from batch.settings import Settings
    from batch.summary import Summary

_MODULES = {
    "batch": ("aio",),
    "batch.commands.plan": ("PlanSummary",),
    "batch.commands.pull": ("PullSummary",),
    "batch.commands.status": ("Status",),
    "batch.engine.reporter": ("Progress",),
    "batch.errors": (
        "BatchError", "BusyError", "CancelledError", "CredentialError", "FolderError", "HeaderError", "InputError",
        "JournalError", "MachineError", "SettingsError", "StoppedError", "UsageError",
    ),
    "batch.library": (
        "check", "plan", "pull", "purge", "purge_older", "results", "resume", "runs", "schema", "status", "template",
        "undo", "update", "write_results",
    ),
    "batch.model": ("Outcome", "Problem", "RowResult"),
    "batch.settings": ("Settings",),
    "batch.summary": ("Summary",),
}  # fmt: skip
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "BatchError", "BusyError", "CancelledError", "CredentialError", "FolderError", "HeaderError", "InputError",
    "JournalError", "MachineError", "Outcome", "PlanSummary", "Problem", "Progress", "PullSummary", "RowResult",
    "Settings", "SettingsError", "Status", "StoppedError", "Summary", "UsageError", "aio", "check", "plan", "pull",
    "purge", "purge_older", "results", "resume", "runs", "schema", "status", "template", "undo",
    "update", "write_results",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a name of the library when it is first used."""
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'batch' has no attribute {name!r}")
    return import_module(f"batch.{name}") if module == "batch" else getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
