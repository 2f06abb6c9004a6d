"""Files that are complete or absent: written beside under another name, synced, renamed, readable by this user only."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from batch.errors import FolderError


class NewFile:
    """A file in the making. `made` is the temporary file to fill; `keep` puts it at `path`, `discard` removes it.

    A link at either place is never followed: the temporary file is created new, and renaming replaces a link itself.
    Raises `OSError`; what that means depends on how far the job is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made = path.with_name(f".{path.name}.part")
        self.discard()  # left by a crash: nobody else writes in a run folder, which is locked
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(self.made, flags, 0o600))

    @property
    def parts(self) -> Path:
        """A folder beside for parts of the file, if its writer needs one; removed by `keep` and `discard`."""
        return self.made.with_name(f"{self.made.name}s")

    def keep(self) -> None:
        """Sync the file, put it in its place, and sync the folder."""
        _sync(self.made, os.O_RDWR)
        self.made.replace(self.path)
        self.discard()
        if os.name == "posix":
            _sync(self.path.parent, os.O_RDONLY)

    def discard(self) -> None:
        """Remove what is temporary, if anything is left of it."""
        self.made.unlink(missing_ok=True)
        shutil.rmtree(self.parts, ignore_errors=True)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def free_path(folder: Path, stem: str, ending: str) -> tuple[Path, str]:
    """Name the file to write, and what to say when it is another one because somebody has the usual one open."""
    usual = path = folder / f"{stem}{ending}"
    number = 1
    while _is_open(path):
        number += 1
        path = folder / f"{stem}-{number}{ending}"
    if path == usual:
        return path, ""
    return path, f"{usual.name} is open in a spreadsheet program, so {path.name} was written instead."


def _is_open(path: Path) -> bool:
    """Tell whether Excel (`~$name`) or LibreOffice (`.~lock.name#`) has left its mark beside the file."""
    return any(path.with_name(mark).exists() for mark in (f"~${path.name}", f".~lock.{path.name}#"))


def remove(folder: Path, stem: str, endings: Iterable[str], but: str | None) -> None:
    """Remove the files of earlier times, except one, and those that are open."""
    ours = re.compile(rf"{re.escape(stem)}(-\d+)?({'|'.join(map(re.escape, endings))})")
    for path in folder.iterdir():
        if ours.fullmatch(path.name) and path.name != but and not _is_open(path):
            path.unlink()


def write_private(path: Path, text: str) -> None:
    """Write a small file for this user only, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)  # left by a crash of another process with this number
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def make_private(folder: Path) -> None:
    """Make `folder` (0700) unless it is there; raises FolderError when it cannot be used."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "no permission to write")
    except OSError as error:
        raise unusable_folder(folder, error) from None


def unusable_folder(folder: Path, error: OSError) -> FolderError:
    why = (error.strerror or "it cannot be made").lower()
    return FolderError(f"{folder}: results cannot be written there ({why}). Name another place with --out.")
