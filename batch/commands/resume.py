"""`resume`: go on with a run from its own rows, where the input was moved or is gone.

Promises: what the folder says of the rows is taken without a question only where the index knows the run; records are
looked at as by any resumed run; company and addresses (of the API, and of the results) come from this start.
"""

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from batch.addresses import is_address
from batch.commands.update import carry_out
from batch.engine.reporter import Reporter
from batch.errors import UsageError
from batch.files import shown_path
from batch.model import command, command_line
from batch.own_files import JOURNAL
from batch.run.begin_or_resume import resume_named
from batch.run.finish import FinishedRun
from batch.run.folder import look_into, peek_metadata
from batch.run.latest import latest_links
from batch.run.metadata import RunMetadata
from batch.run.named_run import named_run
from batch.run.target import Environment, address_of_run, make_target, with_login
from batch.settings import COMMAND_LINE, Layer, Settings, merge_layers


def resume(folder: Path, settings: Settings, reporter: Reporter, environment: Environment) -> FinishedRun:
    """Go on with the run in `folder`; raises BatchError when that could not begin."""
    folder = named_run(folder, reporter, (JOURNAL,))
    known = peek_metadata(folder)
    _check_unfinished(folder, known)
    settings = _settings(folder, known, _with_place(folder, known, settings), environment)
    links = latest_links(folder.parent, known.input, reporter.note)
    with links as latest, environment.uploading(settings, reporter.note) as upload, ExitStack() as stack:
        settings = with_login(settings, environment, reporter)
        target = make_target(settings, environment, stack, reporter.note)
        if not known.owner.is_same(target.company):
            begun = f'for "{known.company}"' if known.company else "with another key"
            raise UsageError(f"{folder}: this run was begun {begun}. Use that one to go on with it.")
        run = resume_named(folder, settings, target, stack, reporter)
        latest.point_to(folder)
        end = carry_out(run, target, settings, reporter, environment, upload)
        latest.settle(end.summary.exit_code, end.folder)
        return end


def _check_unfinished(folder: Path, known: RunMetadata) -> None:
    """Raise UsageError where nothing is left to do in a run, or another command does it."""
    found = look_into(folder)
    if known.undoes is not None:
        raise UsageError(f"{folder}: this is an undo. To go on with it:  {command()} undo {known.undoes}")
    if known.parts:
        own = command_line("resume", shown_path(os.path.normpath(folder / known.parts[0])))
        raise UsageError(
            f"{folder}: this is put together of the runs of shards, which would not have what it sends. Run the same "
            f"submit again, or go on with each shard's own run, such as:  {own}"
        )
    if found is not None and found.is_undone:
        raise UsageError(f"{folder}: this run was taken back (undo). To send its rows again, give its input to update.")
    if found is None or found.is_finished:
        raise UsageError(f"{folder}: this run is finished: no row is left to go on with.")


def _with_place(folder: Path, known: RunMetadata, settings: Settings) -> Settings:
    """Return the settings with where the results go; no address is taken from a folder. Raises UsageError, too."""
    parent = folder.absolute().parent
    is_named = settings.out is not None and settings.sources.get("out") in (COMMAND_LINE, "")
    if settings.uploads:
        return replace(settings, work_dir=parent)
    if is_named and Path(str(settings.out)).resolve() != parent.resolve():
        raise UsageError(
            f"--out {settings.out}: a run is gone on with in its own folder, {folder}. Leave the option out, or name "
            f"an address for the results, such as s3://bucket/runs."
        )
    went_to = known.option_again("--out") or ""
    if is_address(went_to) and not is_named:
        raise UsageError(
            f"{folder}: the results of this run went to {went_to}, and an address is not taken from a folder. Name it:"
            f"  --out {went_to}    To leave them here alone:  --out {shown_path(str(parent))}"
        )
    return replace(settings, out=None)


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
