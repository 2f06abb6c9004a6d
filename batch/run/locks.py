"""TODO."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from batch.errors import BusyError
from batch.files import unusable_folder, write_private
from batch.network_fs import check_local
from batch.state import state_folder


@contextmanager
def held(path: Path, what: str, folder: Path) -> Iterator[None]:
    """Hold the lock at `path` while the run in `folder` goes on; raises BusyError that names who holds it.

    Raises FolderError when the folder is on a network file system: whatever needs a lock needs a journal, too.
    """
    check_local(folder)
    holder = path.with_suffix(".holder")
    lock = FileLock(path, timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(f"Another run holds {what}{_holder(holder)}. Wait for it, or stop it first.") from None
    except OSError as error:
        raise unusable_folder(path.parent, error) from None
    try:
        write_private(holder, json.dumps({"pid": os.getpid(), "folder": str(folder.resolve())}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return f": process {known['pid']}, {known['folder']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def input_lock(sha256: str, endpoint: str, host: str) -> Path:
    """Name the lock of an input, the same by whatever path the input or the folder is reached."""
    key = hashlib.sha256(f"{sha256} {endpoint} {host}".encode()).hexdigest()[:32]
    folder = state_folder() / "locks"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{key}.lock"
