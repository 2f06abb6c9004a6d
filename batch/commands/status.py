"""`status`: how far a run is that another process does, or how it ended.

Promises: nothing is locked, changed or waited for; a run whose process is gone is not called running.
"""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from batch.documents import NOT_KNOWN, Rate, Tenths
from batch.journal import open_for_reading
from batch.model import NEEDS_RETRY, Outcome
from batch.own_files import JOURNAL
from batch.run.folder import peek_metadata
from batch.run.latest import without_links
from batch.run.recovery import outcomes_of_cut_off
from batch.run.summary_file import read_summary
from batch.run.target import SANDBOXES
from batch.summary import Files, Head, Outcomes, OutcomesInJson, State, state_of

ENDS: Mapping[Any, State] = {one: one for one in get_args(State) if one != "running"}
RECENT_SECONDS = 30.0
"""The rate is that of so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Head):
    """How far a run is; `as_dict` is what `--json` prints."""

    rows: int
    outcomes: OutcomesInJson
    per_second: Rate
    """Rows that got an outcome, of late; 0 where it does not go on."""
    time_left: Tenths
    """Seconds, at this rate; None where that cannot be told."""
    is_ended: bool
    """Its last start came to its end; else there is no exit code."""


def status(folder: Path) -> Status:
    """Look how far the run in `folder` is; raises FolderError or JournalError where there is none."""
    folder = without_links(folder)
    known, now = peek_metadata(folder), time.time()
    written = read_summary(folder)
    is_running = is_going_on(written)
    with open_for_reading(folder / JOURNAL) as journal:
        counts = Outcomes(journal.outcomes() if is_running else outcomes_of_cut_off(journal, known))
        recent = journal.count_since(now - RECENT_SECONDS) if is_running else 0
    rows = known.staged.rows
    counts[Outcome.UNSENT] += rows - counts.total()
    left = sum(counts[one] for one in NEEDS_RETRY)
    said, is_ended = written.get("state"), known.exit_code is not None
    state: State = "running" if is_running else state_of(counts, is_left=bool(left) or not is_ended)
    if said in ENDS:  # those of 0.1 are other words
        state = ENDS[said]
    return Status(
        command="status", run_id=known.run_id, run=str(folder.resolve()), endpoint=known.endpoint, host=known.base_url,
        input=known.input, company=known.company, sandbox=known.host in SANDBOXES, shard=known.shard,
        parent_run=known.parent_run,
        state=state, started=known.started, finished=written.get("finished") or "", seconds=known.seconds,
        exit_code=NOT_KNOWN if known.exit_code is None else known.exit_code,
        files=Files(written.get("files") or {}), rows=rows, outcomes=counts,
        is_ended=is_ended, per_second=recent / RECENT_SECONDS,
        time_left=left * RECENT_SECONDS / recent if recent else None,
    )  # fmt: skip


def is_going_on(summary: Mapping[str, Any]) -> bool:
    """Whether the process is there that a summary calls running; of another machine's process it is believed."""
    if summary.get("state") != "running":
        return False
    process = summary.get("process")
    if summary.get("process_host") != socket.gethostname() or not isinstance(process, int):
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True
