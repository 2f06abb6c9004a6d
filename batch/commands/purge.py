"""`purge`: a run and its files are removed, with all the personal data in them.

Promises: only a folder that holds a run, a check or a plan and nothing else is removed, and only while nobody works in
it; a link is never followed; the journal goes last, so that a removal that was cut off can be done again.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from batch.errors import FolderError, JournalError
from batch.files import os_reason
from batch.journal import peek
from batch.run.folder import FILE, JOURNAL, PART, SUMMARY
from batch.run.locks import held

Ask = Callable[["PurgePreview"], bool]


@dataclass(frozen=True, slots=True)
class PurgePreview:
    """What is about to be removed. `rows` and `left` (rows to retry, or not sent) are None where nobody can tell."""

    folder: Path
    files: int
    input: str | None = None
    rows: int | None = None
    left: int | None = None


def purge(folder: Path, ask: Ask) -> PurgePreview | None:
    """Remove the run in `folder` if `ask` says so, else None; raises FolderError or BusyError when it must stay."""
    with ExitStack() as stack:
        for one in _check(folder):
            stack.enter_context(held(one / ".lock", "this run folder", one))
        preview = _look(folder)
        if not ask(preview):
            return None
        _check(folder)  # the answer may have taken a while
        try:
            _remove(folder)
        except OSError as error:
            raise FolderError(
                f"{error.filename or folder}: it cannot be removed ({os_reason(error).lower()})."
            ) from error
    with suppress(OSError):  # not empty: other runs are in it, or somebody came
        folder.rmdir()
        if folder.absolute().parent.suffix == ".batch":
            folder.absolute().parent.rmdir()
    return preview


def _check(folder: Path) -> list[Path]:
    """List the folder and those of its undos; raises FolderError unless all that is in them is ours."""
    if folder.is_symlink():
        raise FolderError(f"{folder}: this is a link. Name the folder itself.")
    if not folder.is_dir():
        raise FolderError(f"{folder}: there is no such folder.")
    try:
        found = [folder, *_iter_undos(folder)]
        foreign = next((path for one in found for path in one.iterdir() if not _is_ours(path)), None)
    except OSError as error:
        raise FolderError(f"{folder}: it cannot be read ({os_reason(error).lower()}).") from error
    if not any((folder / name).is_file() for name in (JOURNAL, SUMMARY, "plan.json")):
        raise FolderError(f"{folder}: there is no run in this folder (no {JOURNAL}), so nothing was removed.")
    if foreign is not None:
        raise FolderError(f"{foreign}: this is not one of batch's own files. Move it away first; nothing was removed.")
    return found


def _iter_undos(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("undo-") and path.is_dir() and not path.is_symlink():
            yield path
            yield from _iter_undos(path)


def _is_ours(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        return path.name.startswith("undo-") or PART.fullmatch(path.name) is not None
    return FILE.fullmatch(path.name) is not None


def _look(folder: Path) -> PurgePreview:
    files = sum(1 for path in folder.rglob("*") if path.name not in (".lock", ".lock.holder") and not path.is_dir())
    try:
        seen = peek(folder / JOURNAL)
        rows = int(seen.meta["staged"]["rows"])
        return PurgePreview(folder, files, str(seen.meta["input"]), rows, rows - seen.final)
    except (JournalError, KeyError, TypeError, ValueError):  # damaged, or a check or a plan: it can go all the same
        return PurgePreview(folder, files)


def _remove(folder: Path) -> None:
    """Remove what is in the folder, the journal last, and undos before the run that they took back."""
    for path in sorted(folder.iterdir(), key=lambda one: (one.name.startswith(JOURNAL), one.name)):
        if path.is_dir() and not path.is_symlink():
            _remove(path)
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
