"""The runs of all shards of an input as one: its journal, results, failures, report and summary.

Promises: it is made of the records of the runs alone, which stay as they are, and can be made again; it is there whole,
or not at all, and takes the place of nothing but itself; it is a run like any other to `results`, `report`, `undo` and
`runs`; its counts are held against its rows as those of every run are.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path

import polars as pl

from batch.endpoints.base import Endpoint
from batch.errors import ExitCode, FolderError, JournalError
from batch.files import make_private
from batch.journal import Journal, open_for_reading
from batch.model import ROW
from batch.outputs import KnownFiles, is_edited
from batch.own_files import INPUT, JOURNAL
from batch.run import index
from batch.run.finish import End, FinishedRun, finish_run
from batch.run.folder import open_held_run, peek_metadata
from batch.run.locks import held, is_held
from batch.run.metadata import RunMetadata

MERGED = "merged"
"""What the folder is called, beside those of the shards."""


def merge_runs(folders: Sequence[Path], parent: Path, endpoint: type[Endpoint]) -> FinishedRun:
    """Put the runs in `folders` together in `parent/merged`; raises FolderError.

    It takes the place of what was made of the same runs before. Where anything else is there, these runs were taken
    back since, or somebody changed a file of theirs, that stays, and the next place is `merged-2`.
    """
    make_private(parent)
    made = parent / f".{MERGED}.part"
    with held(parent / f".{MERGED}.lock", "the results of these shards", parent / MERGED):
        shutil.rmtree(made, ignore_errors=True)  # what a crash left
        made.mkdir(mode=0o700)
        try:
            metadata = _merged(made, folders)
            with Journal.create(made / JOURNAL, metadata.as_meta()) as journal:
                for one in folders:
                    journal.take_in(one / JOURNAL)
            folder = next(one for one in _places(parent) if _is_free(one, metadata.run_id))
            if folder.exists():
                shutil.rmtree(folder)
            made.rename(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        with ExitStack() as stack:
            journal, metadata = open_held_run(folder, stack)
            index.add(metadata, folder)
            finished = finish_run(folder, journal, metadata, endpoint, End())
            index.end_part(metadata, journal, finished.state)
    return finished


def find_merged(folders: Sequence[Path], parent: Path) -> Path | None:
    """Return where these finished runs were put together before, with results and all; raises FolderError."""
    run_id = _run_id([peek_metadata(one) for one in folders])
    found = (one for one in takewhile(os.path.lexists, _places(parent)) if _is_of(one, run_id))
    return next((one for one in found if peek_metadata(one).exit_code in (ExitCode.OK, ExitCode.FIX_ROWS)), None)


def _places(parent: Path) -> Iterator[Path]:
    yield parent / MERGED
    yield from (parent / f"{MERGED}-{number}" for number in count(2))


def _is_free(place: Path, run_id: str) -> bool:
    """Return whether a run may lie at `place`: nothing is there, or what was made of the same runs, as it was made."""
    return not os.path.lexists(place) or (_is_of(place, run_id) and not _is_edited(place))


def _is_edited(place: Path) -> bool:
    with suppress(JournalError), open_for_reading(place / JOURNAL) as journal:
        known = KnownFiles(journal.file_digests(), lambda name, digest: None)
        return any(is_edited(place / name, known) for name in known.digests if os.path.lexists(place / name))
    return True


def _is_of(place: Path, run_id: str) -> bool:
    """Return whether what is at `place` is this run, which was not taken back, and which nobody uses now."""
    with suppress(FolderError):
        known = peek_metadata(place)
        return known.run_id == run_id and not known.undone and not is_held(place)
    return False


def _run_id(parts: Sequence[RunMetadata]) -> str:
    names = " ".join(sorted(one.run_id for one in parts))
    return hashlib.sha256(f"merged {names}".encode()).hexdigest()[:32]


def _merged(folder: Path, folders: Sequence[Path]) -> RunMetadata:
    """Return what the runs know of themselves together, and put their rows into `folder`."""
    parts = [peek_metadata(one) for one in folders]
    first = parts[0]
    if {(one.staged.sha256, one.staged.headers, one.endpoint, one.host) for one in parts} != {
        (first.staged.sha256, first.staged.headers, first.endpoint, first.host)
    }:
        raise FolderError(f"{folder.parent}: the runs in it are of several inputs. Name another folder with out.")
    rows = pl.concat([pl.scan_parquet(one.staged.path, glob=False) for one in parts]).sort(ROW)
    rows.sink_parquet(folder / INPUT)
    (folder / INPUT).chmod(0o600)
    staged = replace(
        first.staged, path=folder / INPUT, rows=sum(one.staged.rows for one in parts), all_rows=0,
        telling=tuple(sorted({cell for one in parts for cell in one.staged.telling})),
    )  # fmt: skip
    meaning = {name: value for name, value in first.meaning.items() if name != "shard"}
    options = list(first.options_again)
    if "--shard" in options:
        del options[options.index("--shard") : options.index("--shard") + 2]
    told = {"meaning": meaning, "options_again": tuple(options), "staged": staged, "shard": None}
    return first.model_copy(
        update={
            **told, "run_id": _run_id(parts),
            "identity": hashlib.sha256(f"merged {first.identity}".encode()).hexdigest(),
            "started": min(one.started for one in parts), "seconds": max(one.seconds for one in parts),
            "earlier": {}, "stopped": None, "stop_reason": None, "finished": None, "exit_code": None,
            "look_since": 0.0, "undone": None, "parts": tuple(os.path.relpath(one, folder) for one in folders),
        }
    )  # fmt: skip
