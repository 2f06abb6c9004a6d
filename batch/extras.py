"""Extras: packages that few people need, installed when they are first needed.

Promises: nothing is installed before a line says so, and nothing but what a lock file pins with its hashes; where
`run.sh` did not start this program, nothing is installed, and the error says how it is done.
"""

import importlib
import os
import subprocess
from collections.abc import Callable
from importlib.util import find_spec

from batch.errors import UsageError

SETUP = "BATCH_SETUP"
"""The variable in which `run.sh` names itself."""


class ExtraError(UsageError):
    """An extra is not there, and could not be installed."""


def ensure_extra(name: str, module: str, what: str, note: Callable[[str], None]) -> None:
    """Install the extra `name` unless its `module` is there; `what` names what needs it. Raises ExtraError."""
    if find_spec(module) is not None:
        return
    script = os.environ.get(SETUP)
    if not script:
        raise ExtraError(f"What {what} needs is not installed. Install it:  pip install 'batch[{name}]'")
    note(f"Installing what {what} needs, once …")
    done = subprocess.run(  # noqa: S603 - the script that started this program
        [script, "extra", name], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    importlib.invalidate_caches()
    if find_spec(module) is None:
        said = done.stderr.strip().splitlines()
        raise ExtraError(f"What {what} needs could not be installed. {said[-1] if said else ''}".rstrip())
