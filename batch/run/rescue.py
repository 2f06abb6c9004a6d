"""A run folder that is deleted, moved or replaced while its run goes on: noticed, and what is known is kept elsewhere.

Promises: names are looked at, since SQLite goes on writing to a file that has none any more; what the journal holds and
the rows of the input go to a folder in the state folder (else in the temporary one), and that is a run folder, too.
"""

import os
import re
import shutil
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from batch.errors import BatchError, FolderError, JournalError
from batch.files import NewFile, os_reason
from batch.journal import Journal
from batch.own_files import INPUT, JOURNAL
from batch.run.locks import state_folder

LOOK_SECONDS = 1.0
"""How often a run looks whether its files are still there."""
_FILES = (JOURNAL, f"{JOURNAL}-wal", INPUT)


class FolderWatch:
    """Knows the files of a run as they were when it was opened; the input stays open, so that its rows can be kept."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self.folder, self.run_id = folder, run_id
        self._files = {folder / name: _identity(folder / name) for name in _FILES}
        self._input = (folder / INPUT).open("rb")
        self.rescued: Path | None = None
        """Where what is known was put."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._input.close()

    def lost(self) -> Path | None:
        """Return the folder, or the file of it, that is not what it was, None where all is well."""
        for path, known in self._files.items():
            if known is not None and _identity(path) != known:
                return path if self.folder.is_dir() else self.folder
        return None

    def copy_input(self, path: Path) -> None:
        """Write the rows of the input once more; raises OSError."""
        file = NewFile(path)
        try:
            self._input.seek(0)
            with file.made.open("wb") as copy:
                shutil.copyfileobj(self._input, copy)
            file.keep()
        finally:
            file.discard()


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of its name, None where there is none that can be reached."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def rescue(watch: FolderWatch, journal: Journal) -> Path:
    """Write down elsewhere what is known by now, and return the folder; raises JournalError where no disk takes it.

    What an earlier call wrote there is replaced.
    """
    reasons = []
    for make_place in (partial(_place_in_state, watch.run_id), _place_in_temporary_folder):
        try:
            folder = watch.rescued or make_place()
            watch.copy_input(folder / INPUT)
            journal.copy_to(folder / JOURNAL)
        except (OSError, BatchError) as error:
            watch.rescued = None
            reasons.append(os_reason(error) if isinstance(error, OSError) else str(error))
        else:
            watch.rescued = folder
            return folder
    raise JournalError(f"{sentence(watch.lost())} What is known can be written nowhere else: {'; '.join(reasons)}.")


def sentence(lost: Path | None) -> str:
    """Say what is not there any more."""
    return f"{lost}: it was deleted, moved or replaced while the run went on."


def _place_in_state(run_id: str) -> Path:
    parent = state_folder() / "rescue"
    parent.mkdir(mode=0o700, exist_ok=True)
    name = re.sub(r"[^\w-]", "_", run_id)  # which is what a journal says, and that may be anybody's
    for number in range(1, 1000):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):  # of another start with the same run, or a copy of it
            folder.mkdir(mode=0o700)
            return folder
    raise FolderError(f"{parent}: there are too many folders of this run.")


def _place_in_temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="batch-rescue-"))
