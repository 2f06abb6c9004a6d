"""Private files that are complete or absent: written under a temporary name, synced, renamed, mode 0600.

Promises: this is the one place that does it, for results, plans, templates, journals, summaries and learned limits.
"""

import hashlib
import os
import re
import shutil
import sys
import threading
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from batch.addresses import is_address, named
from batch.errors import FolderError, SettingsError, UsageError


class NewFile:
    """A file that is being written: fill the temporary file `made`, then call `keep`; `discard` removes what is left.

    A link at either place is never followed: the temporary file is created new, and renaming replaces a link itself.
    `is_shared`: other processes and threads may write the same file at this moment, so the temporary name is this
    thread's own; otherwise the folder is locked, and a temporary file that is there was left by a crash.
    Raises `OSError`; what that means depends on how far the job is.
    """

    def __init__(self, path: Path, *, is_shared: bool = False) -> None:
        self.path = path
        mark = f".{threading.get_native_id()}" if is_shared else ""
        self.made = path.with_name(f".{path.name}{mark}.part")
        self.discard()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(self.made, flags, 0o600))

    @property
    def parts(self) -> Path:
        """The folder for parts of the file, if its writer needs one; `keep` and `discard` remove it."""
        return self.made.with_name(f"{self.made.name}s")

    def keep(self) -> None:
        """Sync the file, put it in its place, and sync the folder."""
        _sync(self.made, os.O_RDWR)
        self.made.replace(self.path)
        self.discard()
        if os.name == "posix":
            _sync(self.path.parent, os.O_RDONLY)

    def discard(self) -> None:
        """Remove the temporary file and folder, if they are there."""
        self.made.unlink(missing_ok=True)
        shutil.rmtree(self.parts, ignore_errors=True)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def free_path(folder: Path, stem: str, ending: str, kept: Collection[Path] = ()) -> tuple[Path, str]:
    """Return the file to write, and a note when it is not the usual one because somebody has that one open.

    `kept`: files that are not to be written over, either.
    """
    usual = path = folder / f"{stem}{ending}"
    number = 1
    while path in kept or _is_open(path):
        number += 1
        path = folder / f"{stem}-{number}{ending}"
    if path == usual or usual in kept:
        return path, ""
    return path, f"{usual.name} is open in a spreadsheet program, so {path.name} was written instead."


def _is_open(path: Path) -> bool:
    """Return whether Excel (`~$name`) or LibreOffice (`.~lock.name#`) has left its lock file beside it."""
    return any(path.with_name(mark).exists() for mark in (f"~${path.name}", f".~lock.{path.name}#"))


def written_earlier(folder: Path, stem: str, endings: Iterable[str]) -> list[Path]:
    """List the files that earlier parts wrote, or that somebody gave such a name."""
    written = re.compile(rf"{re.escape(stem)}(-\d+)?({'|'.join(map(re.escape, endings))})")
    return sorted(path for path in folder.iterdir() if written.fullmatch(path.name))


def remove(paths: Iterable[Path]) -> None:
    """Remove files, except those that are open."""
    for path in paths:
        if not _is_open(path):
            path.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_private(path: Path, text: str) -> None:
    """Write a small file for this user only, whole or not at all; raises `OSError`."""
    file = NewFile(path, is_shared=True)
    try:
        # What is no letter of a path, JSON spells with a backslash, too.
        file.made.write_text(text, encoding="utf-8", errors="backslashreplace")
        file.keep()
    finally:
        file.discard()


def check_name(path: Path) -> None:
    """Raise UsageError where `path` is an address, or a name on its way is no text: polars can open no such file."""
    if is_address(str(path)):
        raise UsageError(f"{named(path)}: this is an address, and a file or folder of this machine is meant here.")
    if "\0" in str(path):
        return  # which whoever opens it tells
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{path}: the file system spells names as {sys.getfilesystemencoding()} here, and this one, or that of a "
            "folder above it, is something else. Rename it, or set PYTHONUTF8=1."
        ) from None


def check_new_file(path: Path, endings: Sequence[str], *, force: bool) -> None:
    """Raise UsageError unless a file may be written at `path`."""
    check_name(path)
    if path.suffix.lower() not in endings:
        raise SettingsError(f"{path}: its name must end in {' or '.join(endings)}, which says what to write.")
    if not path.parent.is_dir():
        raise SettingsError(f"{path}: there is no folder {path.parent}.")
    if path.is_dir():
        raise SettingsError(f"{path} is a folder. Name a file.")
    if (path.exists() or path.is_symlink()) and not force:
        raise SettingsError(f"{path} is there already. Name another file, or use --force to write over it.")


def make_private(folder: Path) -> None:
    """Make `folder` (0700) unless it exists; raises UsageError when it cannot be used."""
    check_name(folder)
    try:
        make_writable(folder)
    except OSError as error:
        raise unusable_folder(folder, error) from None


def make_writable(folder: Path) -> None:
    """Make `folder` (0700) unless it exists; raises OSError where nothing can be written there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(13, "no permission to write")


def unusable_folder(folder: Path, error: OSError) -> FolderError:
    return FolderError(
        f"{folder}: results cannot be written there ({os_reason(error).lower()}). Name another place with --out."
    )


def os_reason(error: OSError) -> str:
    """Return what the system said; some errors have no such text, then their own."""
    return error.strerror or str(error) or "the system does not say why"


def shown_path(path: str) -> str:
    """Show a path from the current folder where that is shorter."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path
