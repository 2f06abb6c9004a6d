"""`resume`: go on with a run from its own rows, where the input was moved or is gone.

Promises: what the folder says of the rows is taken without a question only where the index knows the run; records are
looked at as by any resumed run; company and address come from this start.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from batch.commands.update import carry_out
from batch.engine.reporter import Reporter
from batch.errors import UsageError
from batch.model import command
from batch.own_files import JOURNAL
from batch.run.begin_or_resume import resume_named
from batch.run.finish import FinishedRun
from batch.run.folder import look_into, peek_metadata
from batch.run.latest import latest_links
from batch.run.metadata import RunMetadata
from batch.run.named_run import named_run
from batch.run.target import Environment, address_of_run, make_target, with_login
from batch.settings import Layer, Settings, merge_layers


def resume(folder: Path, settings: Settings, reporter: Reporter, environment: Environment) -> FinishedRun:
    """Go on with the run in `folder`; raises BatchError when that could not begin."""
    folder = named_run(folder, reporter, (JOURNAL,))
    known = peek_metadata(folder)
    _check_unfinished(folder, known)
    settings = _settings(folder, known, settings, environment)
    with latest_links(folder.parent, known.input, reporter.note) as latest, ExitStack() as stack:
        settings = with_login(settings, environment, reporter)
        target = make_target(settings, environment, stack, reporter.note)
        if not known.owner.is_same(target.company):
            begun = f'for "{known.company}"' if known.company else "with another key"
            raise UsageError(f"{folder}: this run was begun {begun}. Use that one to go on with it.")
        run = resume_named(folder, settings, target, stack, reporter)
        latest.point_to(folder)
        end = carry_out(run, target, settings, reporter, environment)
        latest.settle(end.summary.exit_code, end.folder)
        return end


def _check_unfinished(folder: Path, known: RunMetadata) -> None:
    """Raise UsageError where nothing is left to do in a run, or another command does it."""
    found = look_into(folder)
    if known.undoes is not None:
        raise UsageError(f"{folder}: this is an undo. To go on with it:  {command()} undo {known.undoes}")
    if found is not None and found.is_undone:
        raise UsageError(f"{folder}: this run was taken back (undo). To send its rows again, give its input to update.")
    if found is None or found.is_finished:
        raise UsageError(f"{folder}: this run is finished: no row is left to go on with.")


def _settings(folder: Path, known: RunMetadata, settings: Settings, environment: Environment) -> Settings:
    """Add what the run knows of its rows; raises UsageError where its address must be named."""
    meaning = merge_layers([Layer(f"{folder / JOURNAL}", known.meaning)])
    return replace(
        settings,
        input=known.input,
        endpoint=known.endpoint,
        endpoint_options=known.own_options,
        base_url=address_of_run(folder, known, settings, environment, "to go on with"),
        **{name: getattr(meaning, name) for name in known.meaning},
    )
