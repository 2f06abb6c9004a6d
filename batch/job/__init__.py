"""The job: every stage, in order.

    target.py    where to send, and as whom           survey.py   the look over the whole input
    runs.py      run folders and locks                reading.py  current records: what differs
    opening.py   begin a run or resume one            live.py     streams of changes, many at once
    finding.py   --key: own number -> record          keyed.py    the reading, where rows have no id
    sending.py   one event loop: signals, progress    closing.py  results, failures, summary
    watch.py     what is told while it goes on        updating.py all of that: survey, question, sending, files
    cost.py      requests and time, told before       planned.py  what is to be done, written down and sealed
    purging.py   a run is removed             leftovers.py  what a crash left is removed
    disks.py     no run on a network file system     garbage.py  fewer searches for garbage while sending
    pulling.py   records -> a table, with choosing.py (which), fetching.py and paging.py (how), rendering.py (as cells)

Promises: the order of truth (intent on disk, bytes leave, outcome on disk, counted); an exception from here is a job's
problem and says what to do; every run that began ends with its files written, whatever stopped it.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from batch.job import runs
from batch.job.checking import Checked, check
from batch.job.closing import Closing, close
from batch.job.leftovers import remove_parts
from batch.job.planning import PlanMade, plan
from batch.job.pulling import Wanted, pull
from batch.job.purging import Doomed, purge
from batch.job.target import World, make_endpoint
from batch.job.templating import template_columns, write_template
from batch.job.undoing import undo
from batch.job.updating import Declined, update
from batch.job.watch import Preflight, Progress, Watcher

__all__ = [
    "Checked",
    "Closing",
    "Declined",
    "Doomed",
    "PlanMade",
    "Preflight",
    "Progress",
    "Wanted",
    "Watcher",
    "World",
    "check",
    "make_endpoint",
    "plan",
    "pull",
    "purge",
    "results",
    "template_columns",
    "undo",
    "update",
    "write_template",
]


def results(folder: Path, note: Callable[[str], None]) -> Closing:
    """Make the results files of the run in `folder` again from its journal."""
    with ExitStack() as stack:
        runs.check_run(folder)  # a folder that holds no run is left as it is, without a lock
        stack.enter_context(runs.held(folder / ".lock", "this run folder", folder))
        remove_parts(folder)
        journal, meta, staged = runs.open_run(folder)
        stack.enter_context(journal)
        if not meta.get("is_surveyed"):
            note("This run was stopped before all rows were validated; run the same command again to go on.")
        return close(folder, journal, staged, stopped=meta.get("stopped"))
