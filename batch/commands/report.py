"""`report`: make the report of a run again, over all rounds of its sheet.

Promises: it is made from the record of the run; nothing else in the folder is touched, and nothing is asked of an API.
"""

from contextlib import ExitStack
from pathlib import Path

from batch.commands.runs import ListedRun, rounds
from batch.engine.reporter import Reporter
from batch.errors import UsageError
from batch.input_names import short_name
from batch.model import Outcome
from batch.outputs.report import Round
from batch.own_files import JOURNAL
from batch.run.finish import cannot_write, facts_of_run
from batch.run.folder import open_held_run
from batch.run.named_run import named_run
from batch.run.report import write_report_of_run
from batch.run.rounds import OpenRun, all_rounds
from batch.run.summary_file import read_summary
from batch.run.target import Environment
from batch.summary import Files, Outcomes, group_reasons


def report(folder: Path, reporter: Reporter, environment: Environment) -> Path:
    """Make the report of the run in `folder`, and return where it is; raises FolderError when there is none."""
    folder = named_run(folder, reporter, (JOURNAL,), "Nothing was done.")
    with ExitStack() as stack:
        journal, metadata = open_held_run(folder, stack)
        kind, counters = environment.endpoints.get(metadata.endpoint), journal.counters()
        files = Files(read_summary(folder).get("files") or {})
        outcomes = Outcomes(journal.outcomes())
        outcomes[Outcome.UNSENT] += metadata.staged.rows - outcomes.total()
        reasons, _ = group_reasons(journal.iter_troubled())
        together = all_rounds(OpenRun(journal, metadata))
        try:
            name = write_report_of_run(
                folder, journal, metadata, kind,
                facts=facts_of_run(folder, metadata, kind, metadata.stopped, together),
                outcomes=outcomes, reasons=reasons, files=files, rounds=_rounds(folder),
                spent={
                    "requests": counters.requests, "attempts": counters.attempts, "throttled": counters.throttled,
                    "seconds": metadata.seconds,
                },
            )  # fmt: skip
        except OSError as error:
            raise cannot_write(folder, error) from error
    return folder / name


def _rounds(folder: Path) -> list[Round]:
    """Return all runs on the sheet, none where there is this one alone or the index does not know it."""
    try:
        listed = [one for sheet in rounds(folder) for one in sheet.rounds]
    except UsageError:
        return []
    return [_round(one) for one in listed] if len(listed) > 1 else []


def _round(one: ListedRun) -> Round:
    name = "taking back" if one.run.undoes else short_name(one.run.input)
    done = f", {len(one.later.done):,} done in later rounds" if one.later.done else ""
    return Round(one.started_text, name, one.run.counts, one.state + done)
