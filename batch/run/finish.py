"""The end of a run: results, failures and summary, made from the journal.

Promises: they can always be made again; the books balance or it is said that they do not; the exit code says what the
next step is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch import outputs, sources
from batch.endpoints.base import Endpoint
from batch.errors import ExitCode, JournalError
from batch.exit_code import exit_code
from batch.files import write_private
from batch.journal import Journal
from batch.model import Outcome, Staged
from batch.run.folder import JOURNAL, SUMMARY
from batch.run.recovery import resolve_in_doubt
from batch.summary import Reason, Summary, check_totals, group_reasons


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What is told at the end."""

    summary: Summary
    reasons: tuple[Reason, ...]
    left_out: int
    """Problems whose reasons were too many to be grouped."""
    folder: Path
    notes: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    """Options that the same command needs again."""
    next: tuple[str, ...] = ()
    """Options that a run on the failures file needs."""
    undoes: str | None = None
    """The run that was taken back, None when it was no undo."""

    @property
    def failures(self) -> str | None:
        """The failures file, None when there is none."""
        return self.summary.files.get("failures")


def close(
    folder: Path,
    journal: Journal,
    staged: Staged,
    endpoint: type[Endpoint] | None,
    *,
    stopped: str | None = None,
    forced: ExitCode | None = None,
) -> FinishedRun:
    """Write the files of the run in `folder`, and reckon its summary; `forced` is an exit code that wins.

    `endpoint` is the run's, None where it is not known any more: then two ids are the same when they are equal.
    """
    meta = journal.meta()
    is_keyed = "--key" in meta.get("again", ())  # keys are exact, whatever ids are
    ignore_case = endpoint is not None and endpoint.ids_ignore_case and not is_keyed
    resolve_in_doubt(journal, staged, meta["id_column"], ignore_case=ignore_case)
    try:
        wanted = outputs.Wanted(id_column=meta["id_column"])
        written = outputs.write(folder, staged, sources.iter_frames(staged), journal.row_results, wanted)
        check_totals(staged.rows, written.outcomes, journal.outcomes())
        files = _paths(folder, written.files) | {"journal": str((folder / JOURNAL).resolve())}
        code = forced if forced is not None else exit_code(written.outcomes)
        summary = _summary(meta, journal, staged, written.outcomes, files=files, stopped=stopped, code=code)
        write_private(folder / SUMMARY, json.dumps(summary.as_dict(), indent=2, ensure_ascii=False) + "\n")
        journal.put_meta({"exit_code": int(code), "stopped": stopped})
    except OSError as error:
        raise cannot_write(folder, error) from error
    reasons, left_out = group_reasons(journal.iter_troubled())
    again, following = tuple(meta.get("again", ())), tuple(meta.get("next", ()))
    return FinishedRun(summary, tuple(reasons), left_out, folder, written.notes, again, following, meta.get("undoes"))


def cannot_write(folder: Path, error: OSError) -> JournalError:
    """Say that the results files could not be written, and that nothing is lost."""
    return JournalError(
        f"{folder}: the results files cannot be written ({error.strerror}). The journal has everything. "
        f"Make room, then run the same command again, or:  batch results {folder}"
    )


def _paths(folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    return {name: str((folder / file).resolve()) for name, file in files.items()}


def _summary(
    meta: Mapping[str, Any],
    journal: Journal,
    staged: Staged,
    outcomes: Mapping[Outcome, int],
    **known: Any,
) -> Summary:
    counters = journal.counters()
    return Summary(
        run_id=meta["run_id"],
        endpoint=meta["endpoint"],
        input=meta["input"],
        input_sha256=staged.sha256,
        started=meta["started"],
        seconds=meta["seconds"],
        rows=staged.rows,
        outcomes=outcomes,
        requests=counters.get("requests", 0),
        attempts=counters.get("attempts", 0),
        throttled=counters.get("throttled", 0),
        stopped=known["stopped"],
        exit_code=int(known["code"]),
        files=known["files"],
    )
