"""`results`: make the results files of a run again from its journal, or just read them from it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from batch import sources
from batch.commands.runs import round_to_fix
from batch.commands.status import is_going_on
from batch.engine.reporter import Reporter
from batch.errors import UsageError
from batch.journal import open_for_reading
from batch.model import ROW, Outcome, RowResult, cell_column
from batch.own_files import JOURNAL
from batch.run.finish import INTERRUPTED, End, FinishedRun, RunResults, finish_run, finish_without_data
from batch.run.folder import open_held_run, peek_metadata
from batch.run.latest import without_links
from batch.run.metadata import RunMetadata
from batch.run.named_run import named_run
from batch.run.recovery import results_in_doubt
from batch.run.rounds import done_later
from batch.run.summary_file import read_summary
from batch.run.target import Environment
from batch.settings import listed_columns


def iter_results(folder: Path) -> Iterator[RowResult]:
    """Yield what became of each row of the run in `folder`, in their order, also while it goes on; nothing is written.

    Raises FolderError or JournalError, at once, where there is none.
    """
    folder = without_links(folder)
    return _iter_results(folder, peek_metadata(folder))


def _iter_results(folder: Path, metadata: RunMetadata) -> Iterator[RowResult]:
    is_running = is_going_on(read_summary(folder))
    with open_for_reading(folder / JOURNAL) as journal:
        found = results_in_doubt(journal, metadata.staged, metadata.id_column, ignore_case=False)
        in_doubt = {one.row: replace(one, problems=()) if is_running else one for _, one in found}
        results = RunResults(journal, metadata)
        for frame in sources.iter_frames(metadata.staged):
            rows = frame[ROW].to_list()
            ids = frame[cell_column(metadata.id_column)].fill_null("").to_list()
            known = results.read(rows[0], rows[-1]) if rows else {}
            for row, record_id in zip(rows, ids, strict=True):
                yield in_doubt.get(row) or known.get(row) or RowResult(row, record_id, Outcome.UNSENT)


def results(
    folder: Path, reporter: Reporter, environment: Environment, *, results_xlsx: bool = False, keep: Sequence[str] = ()
) -> FinishedRun:
    """Make the results files of the run in `folder` again; raises FolderError when there is none.

    `keep`: columns of the input that the results carry along, if not those that the run was begun with.
    """
    folder = named_run(folder, reporter, (JOURNAL,), "Nothing was done.")
    with ExitStack() as stack:
        journal, metadata = open_held_run(folder, stack)
        if keep and not metadata.keeps_data:
            raise UsageError(
                f"{folder}: this run keeps no values (--no-keep-data), so its results cannot carry columns of the "
                "input along. Leave --keep out."
            )
        metadata = metadata.model_copy(
            update={
                "results_xlsx": metadata.results_xlsx or results_xlsx, "keep": listed_columns(keep) or metadata.keep,
            }
        )  # fmt: skip
        if not metadata.is_validated:
            reporter.note("This run was stopped before all rows were validated; run the same command again to go on.")
        later = done_later(metadata.run_id)
        if later:
            rows, last = "1 row is" if len(later) == 1 else f"{len(later):,} rows are", max(later.values())
            when = f"{last.replace('T', ' ').removesuffix('Z')} UTC"
            reporter.note(f"{rows} done since, in later rounds on the failures file (the last at {when}).")
        kind = environment.endpoints.get(metadata.endpoint)
        is_cut = metadata.exit_code is None
        end = (
            End(INTERRUPTED, reason="killed")
            if is_cut
            else End(metadata.stopped, reason=metadata.stop_reason or "", at=metadata.finished or "")
        )
        finished = finish_run(folder, journal, metadata, kind, end, later)
        finished = finish_without_data(finished, journal, metadata, kind, end, later)
        taken_over = round_to_fix(metadata.run_id)
        if taken_over is None or taken_over.metadata is None:
            return finished
        return replace(
            finished, failures_later=str(taken_over.failures), next=taken_over.metadata.options_next
        )  # fmt: skip
