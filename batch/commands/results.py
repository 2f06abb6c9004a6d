"""`results`: make the results files of a run again from its journal."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from batch.run.cleanup import remove_parts
from batch.run.finish import FinishedRun, close
from batch.run.folder import check_run, open_run
from batch.run.locks import held
from batch.run.target import Environment


def results(folder: Path, note: Callable[[str], None], environment: Environment) -> FinishedRun:
    """Make the results files of the run in `folder` again from its journal."""
    with ExitStack() as stack:
        check_run(folder)  # a folder that holds no run is left as it is, without a lock
        stack.enter_context(held(folder / ".lock", "this run folder", folder))
        remove_parts(folder)
        journal, meta, staged = open_run(folder)
        stack.enter_context(journal)
        if not meta.get("is_surveyed"):
            note("This run was stopped before all rows were validated; run the same command again to go on.")
        endpoint = environment.endpoints.get(meta["endpoint"])
        return close(folder, journal, staged, endpoint, stopped=meta.get("stopped"))
