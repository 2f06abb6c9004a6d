"""The index of runs (sqlite3, in the state folder): what this user ran, where it lies, and how each part of it ended.

Promises: no value of a cell, no key and no address with a secret is in it; what it says of a folder is believed of this
folder alone, with the digest of its intents and results as they were when the part ended. Where the index cannot be
opened or written, the run goes on, and counts as one that is not in it. What was only found in a folder, which somebody
else may have put there, is marked so: it can be listed, and counts as not in the index.
"""

import json
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batch.addresses import is_address
from batch.credentials import Company
from batch.errors import BatchError
from batch.input_names import STDIN, is_read_once, joined, split
from batch.journal import Journal, OutOfTimeError
from batch.model import Outcome
from batch.run.locks import is_held, state_folder
from batch.run.metadata import RunMetadata
from batch.shard import Shard
from batch.summary import State

FILE = "runs.sqlite"
CLOCKS_APART = 60.0
"""Seconds by which the clocks of two machines may differ."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS run(
    run_id TEXT PRIMARY KEY, folder TEXT NOT NULL, command TEXT NOT NULL, input TEXT NOT NULL, sha256 TEXT NOT NULL,
    identity TEXT NOT NULL, endpoint TEXT NOT NULL, host TEXT NOT NULL, company TEXT, fingerprint TEXT NOT NULL,
    mapping TEXT NOT NULL, parent_run TEXT, undoes TEXT, started REAL NOT NULL, wrote INTEGER, ended REAL,
    rows INTEGER NOT NULL, counts TEXT NOT NULL, state TEXT NOT NULL, digest TEXT, is_found INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS run_identity ON run(identity);
CREATE INDEX IF NOT EXISTS run_parent ON run(parent_run);
"""


@dataclass(frozen=True, slots=True)
class IndexedRun:
    """What the index knows of a run; times are in seconds since 1970."""

    run_id: str
    folder: Path
    command: str
    input: str
    sha256: str
    identity: str
    endpoint: str
    host: str
    company: Company
    mapping: str
    """A digest of what the settings make of its rows, apart from the input."""
    parent_run: str | None
    undoes: str | None
    """The run that it takes back."""
    started: float
    wrote: int | None
    """The order, among all runs, in which it last began, or ended, writing."""
    ended: float | None
    """The orderly end of its last part."""
    rows: int
    counts: Mapping[Outcome, int]
    state: State
    digest: str | None
    """Of its intents and results at the orderly end of its last part; None while it goes on, or when it was cut off."""
    is_found: bool

    def is_at(self, folder: Path) -> bool:
        """Whether this is what the index knows of `folder`, from starts of this user."""
        return not self.is_found and self.state != "purged" and self.folder == folder.resolve()


def add(metadata: RunMetadata, folder: Path, *, is_found: bool = False) -> None:
    """Note that a start begins or goes on with a run."""
    values = {
        "run_id": metadata.run_id, "folder": str(folder.resolve()), "command": metadata.command,
        "input": place_of(metadata.input), "sha256": metadata.staged.sha256, "identity": metadata.identity,
        "endpoint": metadata.endpoint, "host": metadata.host, "company": metadata.company,
        "fingerprint": metadata.fingerprint, "mapping": metadata.mapping, "parent_run": metadata.parent_run,
        "undoes": metadata.undoes_run, "started": time.time(), "rows": metadata.staged.rows, "counts": "{}",
        "state": "unfinished" if is_found else "running", "is_found": is_found,
    }  # fmt: skip
    names = ", ".join(values)
    again = (
        "folder = excluded.folder, state = excluded.state, digest = NULL, is_found = max(is_found, excluded.is_found)"
    )
    _write(
        f"INSERT INTO run({names}) VALUES ({', '.join('?' * len(values))}) "  # noqa: S608 - only columns
        f"ON CONFLICT(run_id) DO UPDATE SET {again}",
        list(values.values()),
    )


def place_of(argument: str) -> str:
    """Return what tells an input from others, wherever one is: "-" is that of all that is read once."""
    if is_address(argument):
        return argument
    return STDIN if is_read_once(argument) else joined([os.path.abspath(one) for one in split(argument)])


def add_copied(metadata: RunMetadata, folder: Path, last: float) -> None:
    """Note that a run goes on here from the copy of its record that was made at `last` (seconds since 1970)."""
    add(metadata, folder)
    before = "SELECT coalesce(max(wrote), 0) FROM run WHERE ended < ?"
    _write(f"UPDATE run SET wrote = ({before}) WHERE run_id = ?", [last - CLOCKS_APART, metadata.run_id])  # noqa: S608 - only columns


def begin_writes(run_id: str) -> None:
    """Note that a run begins to write now, and which others cannot do so any more, since their processes are gone."""
    for one in _read("WHERE state = 'running' AND wrote NOT NULL AND run_id <> ?", [run_id]):
        if not is_held(one.folder):
            mark(one.run_id, "unfinished")
    note_writes(run_id)


def note_writes(run_id: str) -> None:
    """Note that a run writes, or ends writing, now."""
    _write("UPDATE run SET wrote = (SELECT coalesce(max(wrote), 0) + 1 FROM run) WHERE run_id = ?", [run_id])


def end_part(metadata: RunMetadata, journal: Journal, state: State, until: float = math.inf) -> None:
    """Note the orderly end of a part: what became of the rows, and the digest by which the journal is known again.

    `until`, on the monotonic clock, a digest may be made; without one an undo asks first.
    """
    counts, digest = {outcome.value: count for outcome, count in journal.outcomes().items()}, None
    with suppress(OutOfTimeError), journal.ended_at(until):
        digest = journal.digest()
    values = [time.time(), json.dumps(counts), state, digest, metadata.run_id]
    _write("UPDATE run SET ended = ?, counts = ?, state = ?, digest = ? WHERE run_id = ?", values)


def mark(run_id: str, state: State) -> None:
    """Note what became of a run otherwise than by its own end."""
    _write("UPDATE run SET state = ? WHERE run_id = ?", [state, run_id])


def mark_purged(run_id: str, folder: Path) -> None:
    """Note that a run was purged there: when it wrote is still known, and no folder is taken for it any more."""
    condition = "WHERE run_id = ? AND folder = ?"
    _write(f"UPDATE run SET state = 'purged', digest = NULL {condition}", [run_id, str(folder.resolve())])  # noqa: S608 - only columns


def remove(run_id: str) -> None:
    """Forget a run of which nothing is left, since it was refused before anything of it was sent."""
    _write("DELETE FROM run WHERE run_id = ?", [run_id])


def get(run_id: str) -> IndexedRun | None:
    """Return what is known of a run."""
    return next(iter(_read("WHERE run_id = ?", [run_id])), None)


def knows(run_id: str, folder: Path) -> bool:
    """Whether what lies in `folder` is a run of this user's starts."""
    known = get(run_id)
    return known is not None and known.is_at(folder)


def all_runs() -> list[IndexedRun]:
    """List all runs, the newest first."""
    return _read("ORDER BY started DESC", [])


def undone_and_undos() -> list[IndexedRun]:
    """List the runs that were taken back, and those that take back and began to write, the newest first."""
    return _read("WHERE state = 'undone' OR (undoes NOT NULL AND wrote NOT NULL) ORDER BY started DESC", [])


def with_identity(identity: str) -> list[IndexedRun]:
    """List the runs of one input and meaning, the newest first."""
    return _read("WHERE identity = ? ORDER BY started DESC", [identity])


def newest_undo(run_id: str) -> IndexedRun | None:
    """Return the newest undo of a run that began to write, None where there is none."""
    return next(iter(_read("WHERE undoes = ? AND wrote NOT NULL ORDER BY started DESC", [run_id])), None)


def rounds_after(run_id: str) -> list[IndexedRun]:
    """List the runs of the failures files of a run, and of theirs, the oldest first."""
    tree = "WITH RECURSIVE later(id) AS (VALUES (?) UNION SELECT run_id FROM run JOIN later ON parent_run = later.id)"
    return _read("WHERE run_id IN (SELECT id FROM later) AND run_id <> ? ORDER BY started", [run_id, run_id], tree)


def older_of_input(metadata: RunMetadata) -> list[IndexedRun]:
    """List unfinished runs of the same path, endpoint, host and meaning, but of other bytes; what is piped has none."""
    place = place_of(metadata.input)
    if place == STDIN:
        return []
    condition = (
        "WHERE input = ? AND endpoint = ? AND host = ? AND mapping = ? AND sha256 <> ? "
        "AND state IN ('running', 'unfinished')"
    )
    values = [place, metadata.endpoint, metadata.host, metadata.mapping, metadata.staged.sha256]
    return [one for one in _read(condition, values) if one.company.is_same(metadata.owner)]


def later_of_input(run: IndexedRun) -> list[IndexedRun]:
    """List runs that began later with the same path, endpoint, host, company and meaning, whatever its bytes were."""
    condition = (
        "WHERE input = ? AND endpoint = ? AND host = ? AND mapping = ? AND command = ? AND started > ? AND is_found = 0"
    )
    found = _read(condition, [run.input, run.endpoint, run.host, run.mapping, run.command, run.started])
    return [one for one in found if one.company.is_same(run.company)]


def has_later_writes(metadata: RunMetadata) -> bool:
    """Whether another run wrote for this endpoint, host and company since this one did, or may do so now.

    Those of other shards of the same input have other records.
    """
    condition = (
        "WHERE endpoint = ? AND host = ? AND run_id <> ? AND "
        "(wrote > coalesce((SELECT wrote FROM run WHERE run_id = ?), 0) OR wrote NOT NULL AND state = 'running')"
    )
    found = _read(condition, [metadata.endpoint, metadata.host, metadata.run_id, metadata.run_id])
    return any(one.company.is_same(metadata.owner) and not _is_other_shard(one, metadata) for one in found)


def _is_other_shard(one: IndexedRun, metadata: RunMetadata) -> bool:
    own = Shard.parse(metadata.shard) if metadata.shard else None
    if own is None or (one.sha256, one.command) != (metadata.staged.sha256, metadata.command):
        return False
    others = {replace(own, number=number).folder for number in range(1, own.count + 1) if number != own.number}
    return one.folder.parent.name in others


def other_name(company: Company) -> str | None:
    """Return the name under which a key was used last, where that is another one than is given now."""
    if not (company.name and company.fingerprint):
        return None
    found = _read("WHERE fingerprint = ? AND company IS NOT NULL ORDER BY started DESC LIMIT 1", [company.fingerprint])
    return next((one.company.name for one in found if one.company.name != company.name), None)


def _read(condition: str, values: Sequence[Any], before: str = "") -> list[IndexedRun]:
    try:
        with _connected() as db:
            return [_run(row) for row in db.execute(f"{before} SELECT * FROM run {condition}", values)]  # noqa: S608 - only conditions
    except (sqlite3.Error, BatchError, OSError, ValueError, TypeError):
        return []


def _write(statement: str, values: Sequence[Any]) -> None:
    with suppress(sqlite3.Error, BatchError, OSError), _connected() as db:
        db.execute(statement, values)


@contextmanager
def _connected() -> Iterator[sqlite3.Connection]:
    path = state_folder() / FILE
    is_new = not path.exists()
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as db:
        db.row_factory = sqlite3.Row
        if is_new:
            path.chmod(0o600)
        db.executescript(SCHEMA)
        yield db


def _run(row: sqlite3.Row) -> IndexedRun:
    counts = {Outcome(name): int(count) for name, count in json.loads(row["counts"]).items()}
    other = {"folder", "company", "fingerprint", "counts", "is_found"}
    plain = {name: row[name] for name in set(row.keys()) - other}
    return IndexedRun(
        **plain, folder=Path(row["folder"]), company=Company(row["fingerprint"], row["company"]), counts=counts,
        is_found=bool(row["is_found"]),
    )  # fmt: skip
