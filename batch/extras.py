"""Extras: packages that few people need, installed when they are first needed.

Promises: nothing is installed before a line says so, and nothing but what a lock file pins with its hashes; where
`run.sh` did not start this program, nothing is installed, and the error has the command that does it here. That command
names what is needed and never `batch` itself, which an index of packages may take for somebody else's.
"""

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

from batch.errors import UsageError

SETUP = "BATCH_SETUP"
"""The variable in which `run.sh` names itself."""
SOURCES = Path(__file__).resolve().parents[1]
"""Where a checkout has its pyproject.toml."""


class ExtraError(UsageError):
    """An extra is not there, and could not be installed."""


def ensure_extra(name: str, module: str, what: str, note: Callable[[str], None]) -> None:
    """Install the extra `name` unless its `module` is there; `what` names what needs it. Raises ExtraError."""
    if find_spec(module) is not None:
        return
    script = os.environ.get(SETUP)
    if not script:
        raise ExtraError(f"What {what} needs is not installed. Install it:  {install_command(name)}")
    note(f"Installing what {what} needs, once …")
    done = subprocess.run(  # noqa: S603 - the script that started this program
        [script, "extra", name], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    importlib.invalidate_caches()
    if find_spec(module) is None:
        said = done.stderr.strip().splitlines()
        raise ExtraError(f"What {what} needs could not be installed. {said[-1] if said else ''}".rstrip())


def install_command(name: str) -> str:
    """Return the command that installs the extra `name` for the Python that runs this program."""
    try:
        needs = requires("batch") or []
    except PackageNotFoundError:  # run from its sources, which something else than run.sh made importable
        needs = []
    marked = re.compile(rf"\s*(?:;|and)\s*extra == ['\"]{re.escape(name)}['\"]$")
    wanted = [marked.sub("", one) for one in needs if marked.search(one)]
    has_pip = find_spec("pip") is not None  # pipx lends its own; what uv made has none
    installer = (
        [sys.executable, "-m", "pip", "install"] if has_pip else ["uv", "pip", "install", "--python", sys.executable]
    )
    return shlex.join([*installer, *(wanted or [f"{SOURCES}[{name}]"])])
