"""The state folder: what outlives runs, such as locks and learned limits.

Promises: it is on a disk of this machine, private to this user, and never a folder that somebody else has made.
"""

import os
import stat
import tempfile
from pathlib import Path

from batch.errors import FolderError
from batch.files import unusable_folder
from batch.network_fs import kind_of


def state_folder() -> Path:
    """Return the folder for what outlives runs, made if it is not there; raises FolderError."""
    given = os.environ.get("XDG_STATE_HOME", "")
    try:
        home = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
        folder = home / "batch"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK) and kind_of(folder) is None:  # a lock across a network may hold nobody
            return folder
    except (OSError, RuntimeError):  # Path.home() raises RuntimeError for a user without an entry
        pass
    return _temporary_state()


def _temporary_state() -> Path:
    """Return a state folder in the temporary folder; raises FolderError when somebody else made it."""
    owner = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()) / f"batch-{owner if owner is not None else 'user'}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise unusable_folder(folder, error) from None
    if not stat.S_ISDIR(found.st_mode) or owner not in (None, found.st_uid):
        raise FolderError(
            f"{folder}: somebody else has put this here, so no lock can be kept in it. "
            "Set XDG_STATE_HOME to a folder of yours."
        )
    return folder
