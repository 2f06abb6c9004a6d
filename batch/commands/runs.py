"""`runs`: what this user ran, from the index, the newest first; or all rounds of one sheet, the oldest first.

Promises: nothing is read but the index and the folders that it names; nothing is changed; what became of a run is said
as it is now: one that nobody holds any more was cut off, and what later rounds did is counted.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from batch.addresses import is_address, shown
from batch.errors import BatchError, BusyError, FolderError, UsageError
from batch.journal import open_for_reading
from batch.model import NEEDS_EDIT, NEEDS_RETRY, Outcome, command
from batch.own_files import JOURNAL
from batch.run import index
from batch.run.folder import peek_metadata, run_around
from batch.run.index import IndexedRun
from batch.run.latest import without_links
from batch.run.locks import run_held
from batch.run.metadata import RunMetadata
from batch.run.recovery import outcomes_of_cut_off
from batch.run.rounds import DONE, AllRounds, LaterRounds, first_round, later_rounds, sum_up, taken_back
from batch.run.summary_file import read_summary
from batch.run.target import SANDBOX
from batch.summary import Files, State

ALL: Final = frozenset(Outcome)


def local_text(moment: float) -> str:
    """Spell a moment, in seconds since 1970, in local time."""
    return datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M")


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run of the index, and what is seen of it now."""

    run: IndexedRun
    state: State
    metadata: RunMetadata | None
    """None where its folder is not there any more, or cannot be read."""
    failures: Path | None
    """The file of the rows that need something."""
    later: LaterRounds
    """What later rounds did to its rows."""
    is_undo_begun: bool = False
    """Whether it was begun to be taken back, and is not wholly."""
    undone_input: str = ""
    """What the run was given that it takes back; "" where it is no undo, or that is not known."""

    @property
    def done(self) -> int:
        """The rows that are done by now, in this run and later rounds."""
        return sum_up(self.run, self.run.counts, self.later, 1).done

    @property
    def started_text(self) -> str:
        """When it began, in local time."""
        return local_text(self.run.started)

    @property
    def is_to_undo(self) -> bool:
        """Whether it changed something that can be put back, and is not, or not wholly."""
        is_gone = self.run.host == SANDBOX  # ended with its run
        is_back = self.state == "undone" and not self.is_undo_begun
        return (
            bool(self.run.counts.get(Outcome.UPDATED))
            and not (is_back or is_gone or self.state == "purged" or self.run.undoes is not None)
            and self.metadata is not None
            and (not self.metadata.is_erased)
        )


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rounds of one input, the oldest first: its run, those on the failures file of that, …, and their undos."""

    first: ListedRun
    rounds: Sequence[ListedRun]

    @property
    def together(self) -> AllRounds:
        """How much of it is done."""
        sent = sum(one.run.undoes is None for one in self.rounds)
        return sum_up(self.first.run, self.first.run.counts, self.first.later, sent)


@dataclass(frozen=True, slots=True)
class NewestRuns:
    """The newest runs, the newest first, and how many older ones there are."""

    runs: Sequence[ListedRun]
    older: int


def newest_runs(most: int | None) -> NewestRuns:
    """Return the newest runs that are known, at most so many."""
    known = index.all_runs()
    shown = known[:most]
    return NewestRuns([look(one) for one in shown], len(known) - len(shown))


def look(run: IndexedRun) -> ListedRun:
    """See what is to be seen of a run now."""
    metadata = failures = None
    if run.state != "purged":
        with suppress(FolderError):
            metadata = peek_metadata(run.folder)
    if metadata is not None and metadata.run_id != run.run_id:
        metadata = None  # another run lies there now
    if metadata is not None:
        failures = _failures(run.folder)
    if run.state == "running" and not _is_held(run.folder):
        run = replace(run, state="unfinished")
    if run.state in ("unfinished", "superseded") and run.digest is None:  # it was cut off
        run = replace(run, counts=_counts(run, metadata))
    needed = sum(run.counts.get(one, 0) for one in (*NEEDS_EDIT, *NEEDS_RETRY))
    later = later_rounds(run.run_id) if needed else LaterRounds()
    state, back = run.state, taken_back()
    if state == "undone" and run.run_id not in back:
        state = "to fix" if needed else "finished"  # its undo was taken back
    if state in ("to fix", "unfinished") and metadata is not None and needed:
        nexts = [one for one in index.rounds_after(run.run_id) if one.parent_run == run.run_id]
        nexts = [one for one in nexts if one.run_id not in back]
        if len(later.done) == needed:
            state = "finished"
        elif any(one.rows >= needed for one in nexts) or (state == "to fix" and _was_sent_again(run, back)):
            state = "superseded"
    undone = index.get(run.undoes) if run.undoes else None
    seen = {run.run_id}
    while undone is not None and undone.undoes and undone.run_id not in seen:  # an undo of an undo
        seen.add(undone.run_id)
        undone = index.get(undone.undoes)
    is_undo_begun = state == "undone" and _is_undo_begun(run)
    return ListedRun(run, state, metadata, failures, later, is_undo_begun, undone.input if undone else "")


def _was_sent_again(run: IndexedRun, back: Collection[str]) -> bool:
    """Whether all of a sheet was sent anew, as it was or corrected in its place: its failures are not the latest.

    A sheet with other records may lie at the same place by now.
    """
    if run.undoes is not None:
        return False
    later = [
        one
        for one in index.later_of_input(run)
        if (one.wrote is not None or one.ended is not None)
        and one.rows >= run.rows
        and one.run_id not in back
        and one.folder.parent.name == run.folder.parent.name  # else it is another shard
    ]
    if not later or any(one.sha256 == run.sha256 for one in later):
        return bool(later)
    done = _ids(run, DONE)
    return bool(done) and any(done <= _ids(one, ALL) for one in later)


def _ids(run: IndexedRun, outcomes: Collection[Outcome]) -> set[str]:
    """Return the ids of a run's rows with these outcomes, as far as its record can be read."""
    with suppress(BatchError, OSError), open_for_reading(run.folder / JOURNAL) as journal:
        return journal.ids(outcomes)
    return set()


def _is_undo_begun(run: IndexedRun) -> bool:
    """Whether the newest undo of a run is not finished."""
    undo = index.newest_undo(run.run_id)
    return undo is not None and look(undo).state == "unfinished"


def round_to_fix(run_id: str) -> ListedRun | None:
    """Return the newest later round with rows to fix, where it took over what was left of a run."""
    run = index.get(run_id)
    if run is None or look(run).state != "superseded":
        return None
    later = [look(one) for one in reversed(index.rounds_after(run_id))]
    return next((one for one in later if one.state == "to fix" and one.failures is not None), None)


def rounds(sent: str | os.PathLike[str]) -> list[Sheet]:
    """Return the rounds of an input, failures file or run folder, for each time that it was sent anew."""
    argument, path = os.fspath(sent), Path(sent)
    is_remote = is_address(argument)
    folder = None if is_remote else run_around(without_links(path.parent if path.is_file() else path))
    known = {one.run_id: one for one in index.all_runs()}
    place = index.place_of(shown(argument))
    own = [one for one in known.values() if one.folder == folder or (folder is None and one.input == place)]
    if not own:
        raise UsageError(f"{shown(argument)}: no run of this file is known here. All that are known:  {command()} runs")
    firsts = {one.run_id: one for one in (first_round(one, known) for one in own)}
    return [_sheet(one, known) for one in sorted(firsts.values(), key=lambda one: one.started)]


def _sheet(first: IndexedRun, known: dict[str, IndexedRun]) -> Sheet:
    some = [one for one in known.values() if first_round(one, known).run_id == first.run_id]
    looked = [look(one) for one in sorted(some, key=lambda one: one.started)]
    return Sheet(next(one for one in looked if one.run.run_id == first.run_id), looked)


def _counts(run: IndexedRun, metadata: RunMetadata | None) -> Mapping[Outcome, int]:
    """Count the rows of a run that was cut off by its record, since its end told the index nothing."""
    with suppress(BatchError, OSError):
        if metadata is not None:
            with open_for_reading(run.folder / JOURNAL) as journal:
                return outcomes_of_cut_off(journal, metadata)
    return run.counts


def _is_held(folder: Path) -> bool:
    try:
        with run_held(folder):
            return False
    except BusyError:
        return True
    except (BatchError, OSError):
        return False


def _failures(folder: Path) -> Path | None:
    """Find the failures file of a run."""
    with suppress(OSError, ValueError, TypeError):
        found = Files(read_summary(folder).get("files") or {}).failures
        path = folder / Path(found or "").name
        return path if found and path.is_file() else None
    return None
