"""`results`: make the results files of a run again from its journal."""

from contextlib import ExitStack
from pathlib import Path

from batch.engine.reporter import Reporter
from batch.own_files import JOURNAL
from batch.run.finish import INTERRUPTED, End, FinishedRun, finish_run
from batch.run.folder import open_held_run
from batch.run.named_run import named_run
from batch.run.rounds import done_later
from batch.run.target import Environment


def results(folder: Path, reporter: Reporter, environment: Environment, *, results_xlsx: bool = False) -> FinishedRun:
    """Make the results files of the run in `folder` again; raises FolderError when there is none."""
    folder = named_run(folder, reporter, (JOURNAL,), "Nothing was done.")
    with ExitStack() as stack:
        journal, metadata = open_held_run(folder, stack)
        metadata = metadata.model_copy(update={"results_xlsx": metadata.results_xlsx or results_xlsx})
        if not metadata.is_validated:
            reporter.note("This run was stopped before all rows were validated; run the same command again to go on.")
        later = done_later(metadata.run_id)
        if later:
            rows = "1 row is" if len(later) == 1 else f"{len(later):,} rows are"
            reporter.note(
                f"{rows} through since, in later runs on the failures file (the last at {max(later.values())})."
            )
        kind = environment.endpoints.get(metadata.endpoint)
        stopped = INTERRUPTED if metadata.exit_code is None else metadata.stopped
        return finish_run(folder, journal, metadata, kind, End(stopped), later)
