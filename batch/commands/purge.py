"""`purge`: a run and its files are removed, with all the personal data in them; and so are its undos.

Promises: only folders that hold runs, checks or plans and nothing else are removed, all after one question, and only
while nobody works in them; no link is followed but ours to a run beside it; the journal goes last, so that a removal
that was cut off can be done again. Of a folder of runs, what is not finished is kept unless that is asked for.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batch.addresses import is_address
from batch.engine.reporter import Reporter
from batch.errors import BusyError, FolderError, JournalError
from batch.files import os_reason
from batch.journal import peek
from batch.own_files import FILE, JOURNAL, LOCK, LOCK_HOLDER, PART, PLAN, SUMMARY, is_own, remove_empty
from batch.run import index
from batch.run.folder import ExistingRun, begun_at, list_runs, look_into, no_run
from batch.run.latest import target_of
from batch.run.locks import run_held
from batch.run.named_run import named_run
from batch.shard import is_shard_folder

Ask = Callable[["PurgePreview"], bool]


@dataclass(frozen=True, slots=True)
class PurgePreview:
    """What is about to be removed. `rows` and `left` (rows to retry, or not sent) are None where nobody can tell."""

    folder: Path
    files: int
    others: int = 0
    """Folders that go with it: its undos, and the runs that 0.1 put into it."""
    input: str | None = None
    undoes: Path | None = None
    """The folder of the run that it took back, where it is an undo."""
    rows: int | None = None
    left: int | None = None


@dataclass(frozen=True, slots=True)
class PurgeOlder:
    """Which runs of a folder of runs are about to be removed, or were, and which old ones stay, and why."""

    parent: Path
    removed: tuple[PurgePreview, ...]
    kept: tuple[tuple[Path, str], ...]
    failed: tuple[tuple[Path, str], ...] = ()
    """Old ones that cannot be removed until somebody does something."""

    @property
    def files(self) -> int:
        """All files of those that are removed."""
        return sum(one.files for one in self.removed)


def purge(folder: Path, reporter: Reporter, ask: Ask) -> PurgePreview | None:
    """Remove the run in `folder` if `ask` says so, else None; raises FolderError or BusyError when it must stay."""
    if len(Path(target_of(folder)).parts) > 1:
        raise FolderError(f"{folder}: this is a link to {target_of(folder)}. Name the folder itself.")
    return _purge(named_run(folder, reporter, (JOURNAL, SUMMARY, PLAN), "Nothing was removed."), ask)


def purge_older(
    parent: Path, seconds: float, ask: Callable[[PurgeOlder], bool], *, unfinished: bool = False
) -> PurgeOlder | None:  # fmt: skip
    """Remove what got no further for `seconds`, of the runs, checks and plans in `parent`, if `ask` says so.

    None: it said no. What is held is kept; so is what is not finished, or waits for approval at the API, unless
    `unfinished`. Raises FolderError where `parent` is no folder around runs.
    """
    if not parent.is_dir() or is_own(parent):
        what = (
            "this is a run. --older-than takes the folder around runs" if is_own(parent) else "there is no such folder"
        )
        raise FolderError(f"{parent}: {what}.")
    found = _Old(time.time() - seconds, unfinished)
    places = [parent, *(one for one in sorted(parent.iterdir()) if one.is_dir() and is_shard_folder(one.name))]
    for one in reversed([run for place in places for run in list_runs(place)]):
        found.look(one)
    preview = PurgeOlder(parent, tuple(found.removed), tuple(found.kept), tuple(found.failed))
    if preview.removed and not ask(preview):
        return None
    removed = [done for one in preview.removed if (done := found.remove(one.folder)) is not None]
    return PurgeOlder(parent, tuple(removed), tuple(found.kept), tuple(found.failed))


@dataclass(slots=True)
class _Old:
    """Sorts the runs of a folder of runs."""

    before: float
    """What got further after this moment, in seconds since 1970, is young."""
    unfinished: bool
    removed: list[PurgePreview] = field(default_factory=list)
    kept: list[tuple[Path, str]] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    _seen: set[Path] = field(default_factory=set)

    def look(self, folder: Path) -> None:
        """Put a run among those that are removed, or those that stay, with its undos."""
        if folder in self._seen:
            return
        try:
            tops = _check(folder)
            if max(map(_last, tops)) > self.before:
                return
            self._seen |= set(tops)
            runs = [one for one in map(_existing, tops) if one is not None]
            reason = "" if self.unfinished else next(filter(None, map(_why_kept, runs)), "")
            with ExitStack() as stack:
                for one in _iter_runs(tops):
                    stack.enter_context(run_held(one))
                preview = _look(tops)
        except BusyError as error:
            self.kept.append((folder, str(error)))
        except FolderError as error:
            self.failed.append((folder, str(error)))
        else:
            if reason:
                self.kept.append((folder, reason))
            else:
                self.removed.append(preview)

    def remove(self, folder: Path) -> PurgePreview | None:
        """Remove a run; None where it must stay after all, or went with another."""
        try:
            return _purge(folder, lambda preview: True) if folder.exists() else None
        except BusyError as error:
            self.kept.append((folder, str(error)))
        except FolderError as error:
            self.failed.append((folder, str(error)))
        return None


def _last(folder: Path) -> float:
    """Return when a run got further last; of what has no journal that says it, when it was made."""
    existing = _existing(folder)
    return (existing.last if existing is not None else 0.0) or begun_at(folder)


def _existing(folder: Path) -> ExistingRun | None:
    with suppress(FolderError):  # damaged
        return look_into(folder)
    return None


def _why_kept(run: ExistingRun) -> str:
    """Say why a run is not to be removed unasked; "" where nothing speaks against it."""
    known = index.get(run.run_id)
    is_over = run.is_undone or (known is not None and known.is_at(run.folder) and known.state == "superseded")
    if not run.is_finished and not is_over:
        return "it is not finished: the same command goes on with it"
    if run.pending and not run.is_undone:
        rows = "1 row waits" if run.pending == 1 else f"{run.pending:,} rows wait"
        return f"{rows} for approval at the API"
    return ""


def _purge(folder: Path, ask: Ask) -> PurgePreview | None:
    with ExitStack() as stack:
        tops = _check(folder)
        for one in _iter_runs(tops):
            stack.enter_context(run_held(one))
        preview = _look(tops)
        if not ask(preview):
            return None
        tops = _check(folder)  # the answer may have taken a while
        names = [(str(_meta(one).get("run_id", "")), one.resolve()) for one in _iter_runs(tops)]
        try:
            for one in reversed(tops):
                _remove(one)
            for run_id, place in names:
                index.mark_purged(run_id, place)
        except OSError as error:
            raise FolderError(
                f"{error.filename or folder}: it cannot be removed ({os_reason(error).lower()})."
            ) from error
    for one in reversed(tops):
        with suppress(OSError):  # not empty: somebody came
            one.rmdir()
            _clear_parent(one.absolute().parent)
    return preview


def _clear_parent(parent: Path) -> None:
    """Remove the links to runs that are gone, and the folder that batch made around them when it is empty."""
    for path in [one for one in parent.iterdir() if target_of(one)]:
        if not path.exists():
            path.unlink()
    remove_empty(parent)


def _check(folder: Path) -> list[Path]:
    """List the folder and those of its undos; raises FolderError unless all that is in them is ours."""
    if folder.is_symlink():
        raise FolderError(f"{folder}: this is a link. Name the folder itself.")
    if not folder.is_dir():
        raise no_run(folder) if is_address(str(folder)) else FolderError(f"{folder}: there is no such folder.")
    try:
        found = _with_undos(folder)
        foreign = next((path for one in _iter_runs(found) for path in one.iterdir() if not _is_ours(path)), None)
    except OSError as error:
        raise FolderError(f"{folder}: it cannot be read ({os_reason(error).lower()}).") from error
    if not any((folder / name).is_file() for name in (JOURNAL, SUMMARY, PLAN)):
        raise FolderError(f"{folder}: there is no run in this folder (no {JOURNAL}), so nothing was removed.")
    if foreign is not None:
        raise FolderError(f"{foreign}: this is not one of batch's own files. Move it away first; nothing was removed.")
    return found


def _with_undos(folder: Path) -> list[Path]:
    """List the folder of a run and those of its undos, which lie beside it or where it says, and of theirs."""
    found = [folder]
    for run in found:  # which grows meanwhile
        undone = _meta(run).get("undone")
        places = [one for one in list_runs(run.absolute().parent) if one.name.startswith("undo-")]
        for one in (*places, *([Path(undone)] if isinstance(undone, str) else [])):
            is_new = one.resolve() not in {other.resolve() for other in found}
            if is_new and is_own(one) and _takes_back(one, run.resolve()):
                found.append(one)
    return found


def _takes_back(undo: Path, run: Path) -> bool:
    """Whether `undo` is that of `run`, also where both were moved."""
    undoes = _meta(undo).get("undoes")
    if not isinstance(undoes, str):
        return False
    return Path(undoes) == run or (Path(undoes).name == run.name and not Path(undoes).exists())


def _meta(folder: Path) -> dict[str, Any]:
    try:
        return dict(peek(folder / JOURNAL).meta)
    except JournalError:  # damaged, or there is none
        return {}


def _iter_runs(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield folders of runs, and those inside of them: 0.1 put undos there, and the runs of failures files."""
    for folder in folders:
        yield folder
        inside = [one for one in sorted(folder.iterdir()) if one.is_dir() and not one.is_symlink()]
        for one in inside:
            if one.suffix == ".batch":
                yield from _iter_runs(path for path in sorted(one.iterdir()) if is_own(path) and not path.is_symlink())
        yield from _iter_runs(one for one in inside if one.name.startswith("undo-"))


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir():
        return FILE.fullmatch(path.name) is not None
    if path.suffix == ".batch":
        return all(target_of(one) or (is_own(one) and not one.is_symlink()) for one in path.iterdir())
    return path.name.startswith("undo-") or PART.fullmatch(path.name) is not None


def _look(folders: list[Path]) -> PurgePreview:
    everything = [path for one in folders for path in one.rglob("*")]
    files = sum(1 for path in everything if path.name not in (LOCK, LOCK_HOLDER) and not path.is_dir())
    folder, others = folders[0], len(list(_iter_runs(folders))) - 1
    try:
        seen = peek(folder / JOURNAL)
        rows, undoes = int(seen.meta["staged"]["rows"]), seen.meta.get("undoes")
        taken_back = Path(undoes) if isinstance(undoes, str) else None
        return PurgePreview(folder, files, others, str(seen.meta["input"]), taken_back, rows, rows - seen.final)
    except (JournalError, KeyError, TypeError, ValueError):  # damaged, or a check or a plan: it can go all the same
        return PurgePreview(folder, files, others)


def _remove(folder: Path) -> None:
    """Remove what is in the folder, the journal last, and undos before the run that they took back."""
    for path in sorted(folder.iterdir(), key=lambda one: (one.name.startswith(JOURNAL), one.name)):
        if path.is_dir() and not path.is_symlink():
            _remove(path)
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
