"""What a crash leaves behind, and who removes it: the next run.

Promises: only folders and files that are surely ours, that nobody holds, and that no run needs are removed; a link is
never followed. They hold personal data, as the input does.
"""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from batch.addresses import is_address
from batch.errors import FolderError
from batch.files import make_private
from batch.own_files import INPUT, LOCK, LOCK_HOLDER, NAME, PART, UNDO_LIST, UNDO_SHEET

PREFIX = "batch-tmp-"
GRACE = 60.0
"""Seconds for which a folder is left alone: it may be one that is being made and not yet locked."""
_UNBEGUN = frozenset({LOCK, LOCK_HOLDER, INPUT, UNDO_LIST, UNDO_SHEET})
"""All that is in a run folder before there is a journal, but for beginnings of files."""


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """Give a folder (0700) for what is needed no longer than this job; those of jobs that crashed are removed.

    `parent`: where runs go, whose disk is to hold it, instead of that for temporary files, which may be memory.
    """
    is_new = parent is not None and not parent.exists()
    place = _usable(parent) or Path(tempfile.gettempdir())
    with suppress(OSError):
        for folder in place.glob(f"{PREFIX}*"):
            _remove_if_left(folder)
    try:
        with _locked_folder(place) as folder:
            yield folder
    finally:
        if is_new and place == parent:
            with suppress(OSError):  # runs are in it by now
                place.rmdir()


def scratch_for(argument: str, parent: Path) -> AbstractContextManager[Path]:
    """Give such a folder for the copies of an input: those of an address lie on the disk where runs go."""
    return scratch(parent if is_address(argument) else None)


def _usable(parent: Path | None) -> Path | None:
    """Return the folder, made where it is not there; None where it cannot be used, which whoever writes there says."""
    with suppress(FolderError):
        if parent is not None:
            make_private(parent)
        return parent
    return None


@contextmanager
def _locked_folder(parent: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True) as name:
        lock = FileLock(Path(name) / LOCK, timeout=0, mode=0o600)
        with suppress(OSError, Timeout, NotImplementedError):  # then nobody can take it, and nobody removes the folder
            lock.acquire()
        try:
            yield Path(name)
        finally:
            lock.release()


def remove_unbegun(parent: Path) -> None:
    """Remove the folders in `parent` whose run crashed before it had a journal, so that nothing can go on with it."""
    with suppress(OSError):
        for folder in [one for one in parent.iterdir() if NAME.fullmatch(one.name) and not one.is_symlink()]:
            if _is_unbegun(folder):
                _remove_if_left(folder)


def _is_unbegun(folder: Path) -> bool:
    with suppress(OSError):
        return all(one.name in _UNBEGUN or PART.fullmatch(one.name) for one in folder.iterdir())
    return False


def remove_parts(folder: Path) -> None:
    """Remove the files that a crash left half written in a run folder, which is locked by now."""
    with suppress(OSError):
        for path in folder.iterdir():
            if not PART.fullmatch(path.name):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _remove_if_left(folder: Path) -> None:
    """Remove a folder of ours whose lock its process let go, which the operating system sees to."""
    if not _is_old_and_ours(folder) or not (folder / LOCK).is_file():
        return
    lock = FileLock(folder / LOCK, timeout=0, mode=0o600)
    with suppress(Timeout, OSError, NotImplementedError), lock:
        shutil.rmtree(folder, ignore_errors=True)


def _is_old_and_ours(folder: Path) -> bool:
    with suppress(OSError):
        found = folder.lstat()
        is_reserved = not hasattr(os, "getuid") or found.st_uid == os.getuid()
        return stat.S_ISDIR(found.st_mode) and is_reserved and time.time() - found.st_mtime > GRACE
    return False
