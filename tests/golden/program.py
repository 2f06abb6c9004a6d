"""The one place that knows how the program is entered: its command line in this process, with an API in memory.

Whoever renames `batch.run.target.Environment` or `batch.cli.main` adapts this file (and `tests/shell.py`), and nothing
recorded.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from batch.run import target
from batch.sandbox.options import SandboxOptions
from tests.resilience.memory_api import ENVIRONMENT, MemoryApi
from tests.sandbox.control import ControlledSandbox
from tests.shell import Ended, Shell
from tests.virtual import run_on_virtual_clock

WIDTH = {"COLUMNS": "100"}
SharedSandbox = ControlledSandbox


class Api(MemoryApi):
    """An API in memory whose records are as they were when the case was recorded."""

    def __init__(self, endpoint: str, state: Mapping[str, Any]) -> None:
        super().__init__(endpoint)
        self.api.records.load(dict(state))

    def state(self) -> dict[str, Any]:
        """What makes another one with the same records."""
        return self.api.records.dump()


def run(folder: Path, *arguments: str, api: MemoryApi | None = None, env: Mapping[str, str] = {}) -> Ended:
    """Run `batch ARGUMENTS` in `folder`; with `api`, every address is answered by it, and waiting takes no time."""
    shell = Shell(folder, WIDTH | (ENVIRONMENT if api else {}) | dict(env))
    with _worlds_of(api) if api else nullcontext():
        return shell.here(*arguments)


def run_as_process(folder: Path, *arguments: str) -> Ended:
    """Run `batch ARGUMENTS` as a process of its own."""
    return Shell(folder, dict(WIDTH)).run(*arguments, cold=True)


def _worlds_of(api: MemoryApi) -> Any:
    made = target.Environment
    return mock.patch.object(
        target, "Environment", lambda variables, **more: made(variables, run_on_virtual_clock, api.transport, **more)
    )


def start_sandbox() -> SharedSandbox:
    """Start a sandbox for the screens that need one which is still there after a run."""
    return ControlledSandbox(SandboxOptions(limits="off"))
