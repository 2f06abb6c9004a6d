"""Commands and options: the only room that knows click and prints.

    __init__.py   the commands                options.py   the options, and what settings they make
    screen.py     before, while and after     views.py     check, endpoints: what they show
    pulled.py     pull: what it shows       plans.py     plan: what it shows
    purged.py     purge: what it asks       ending.py    every way to end

Promises: stdout carries what was asked for, stderr everything else; a question is asked only on a terminal and never
with `--yes`; every way to end goes through one boundary that maps it to an exit code; no traceback, no secret.
Starting is cheap: what reads files or talks HTTP is imported by the commands that need it.
"""

import os
import sys
from typing import Any, NoReturn

import click

from batch import __version__
from batch.cli.entrypoint import exit_code_of
from batch.cli.options import (
    connection_options,
    endpoint_option,
    input_options,
    pull_options,
    run_options,
    silent_options,
    template_options,
    to_settings,
    to_undo_settings,
    to_where,
    undo_options,
    yes_option,
)
from batch.errors import BatchError, ExitCode

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="batch")
def batch() -> None:
    """Change thousands of customer records from a spreadsheet, and know what happened to every row.

    INPUT is a CSV, XLSX or Parquet file, "-" for CSV on standard input, or a folder or pattern of Parquet files.
    Results go to a run folder beside the input; what needs fixing or another try is in its failures file, which is
    the next input as it is.
    """


@batch.command(short_help="Validate every row; no network.")
@silent_options
@input_options
def check(**values: Any) -> None:
    """Validate every row of INPUT, and show what each column is taken for. Nothing is sent, no key is needed."""
    from batch.cli import views
    from batch.cli.console import Screen
    from batch.commands.check import check as run_check
    from batch.run.target import Environment

    settings = to_settings(values)
    screen = Screen(settings)
    checked = run_check(settings, Environment(os.environ))
    if settings.json_output:
        click.echo(views.as_json(checked.summary))
    else:
        views.show_check(screen, checked)
    sys.exit(checked.summary.exit_code)


@batch.command(short_help="Send what INPUT changes.")
@input_options
@run_options
def update(**values: Any) -> None:
    """Validate INPUT, show what will happen, ask, send, and write down what became of every row.

    The same command again goes on where it stopped.
    """
    from batch.cli import views
    from batch.cli.console import Screen
    from batch.commands.update import Declined
    from batch.commands.update import update as run_update
    from batch.run.target import Environment

    settings = to_settings(values)
    screen = Screen(settings)
    try:
        closing = run_update(settings, screen, Environment(os.environ))
    except Declined:
        raise BatchError("Nothing was sent.") from None
    finally:
        screen.leave()
    views.tell_closing(screen, closing)
    sys.exit(closing.summary.exit_code)


@batch.command(short_help="What INPUT would change; writes nothing to the API.")
@silent_options
@input_options
@connection_options
def plan(**values: Any) -> None:
    """Show what an update of INPUT would change, cell by cell, old and new. Nothing is written to the API.

    The plan is in a folder beside the input: a sheet for whoever approves it, and plan.json, which
    `update INPUT --plan FOLDER` carries out exactly.
    """
    from batch.cli import plans, views
    from batch.cli.console import Screen
    from batch.commands.plan import plan as run_plan
    from batch.run.target import Environment

    settings = to_settings(values)
    screen = Screen(settings)
    try:
        made = run_plan(settings, screen, Environment(os.environ))
    finally:
        screen.leave()
    if settings.json_output:
        click.echo(views.as_json(made.summary))
    else:
        plans.show_plan(screen, made)
    sys.exit(made.summary.exit_code)


@batch.command(short_help="The current records as a spreadsheet to edit.")
@pull_options
def pull(output: str, where: tuple[str, ...], ids: str | None, force: bool, **values: Any) -> None:
    """Write the current records into FILE, with the headers that update takes: edit it, and update sends what differs.

    A cell that is left blank changes nothing; what cannot be written into a cell is left blank, and told.
    """
    from pathlib import Path

    from batch.cli import pulled
    from batch.commands.pull import Wanted
    from batch.commands.pull import pull as run_pull
    from batch.run.target import Environment

    settings = to_settings(values)
    screen = pulled.PullScreen(settings)
    wanted = Wanted(Path(output), to_where(where), Path(ids) if ids else None, force)
    found = run_pull(settings, wanted, screen, Environment(os.environ))
    if settings.json_output:
        click.echo(pulled.as_json(found, settings.endpoint))
    for line in pulled.lines(found, settings):
        screen.say(line)
    sys.exit(ExitCode.FIX_ROWS if found.missing else ExitCode.OK)


@batch.command(short_help="Put back what a run changed.")
@click.argument("run_folder", type=click.Path(file_okay=False))
@undo_options
def undo(run_folder: str, **values: Any) -> None:
    """Put back what the run in RUN_FOLDER changed, where nobody changed it since; endpoint and host are the run's.

    A field that is not as the run left it is kept, and named. An undo is a run of its own, in a folder inside of
    RUN_FOLDER, and can be undone.
    """
    from pathlib import Path

    from batch.cli import views
    from batch.cli.console import Screen
    from batch.commands.undo import undo as run_undo
    from batch.commands.update import Declined
    from batch.run.target import Environment

    settings = to_undo_settings(values)
    screen = Screen(settings)
    try:
        closing = run_undo(Path(run_folder), settings, screen, Environment(os.environ))
    except Declined:
        raise BatchError("Nothing was sent.") from None
    finally:
        screen.leave()
    views.tell_closing(screen, closing)
    sys.exit(closing.summary.exit_code)


@batch.command(short_help="Make the results files again.")
@click.argument("run_folder", type=click.Path(file_okay=False))
@click.option("--json", "json_output", is_flag=True, help="The summary as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="Errors only.")
def results(run_folder: str, json_output: bool, quiet: bool) -> None:
    """Make the results files of RUN_FOLDER again from its journal, and show the summary."""
    from pathlib import Path

    from batch.cli import views
    from batch.cli.console import Screen
    from batch.commands.results import results as run_results
    from batch.run.target import Environment
    from batch.settings import Settings

    screen = Screen(Settings(json_output=json_output, quiet=quiet))
    closing = run_results(Path(run_folder), screen.note, Environment(os.environ))
    if json_output:
        click.echo(views.as_json(closing.summary))
    views.show_closing(screen, closing)
    sys.exit(closing.summary.exit_code)


@batch.command(short_help="Remove a run and its files.")
@click.argument("run_folder", type=click.Path())
@yes_option
def purge(run_folder: str, yes: bool) -> None:
    """Remove the run in RUN_FOLDER: journal, results and all; the records at the API stay as they are.

    It cannot be undone after that, nor gone on with. A folder with other files in it, or in use, is left alone.
    """
    from pathlib import Path

    from batch.cli import purged
    from batch.commands.purge import purge as run_purge

    preview = run_purge(Path(run_folder), purged.Question(yes))
    click.echo(purged.said(preview), err=True)
    sys.exit(ExitCode.OK if preview else ExitCode.COULD_NOT_START)


@batch.command(short_help="What there is, and its fields.")
@click.argument("name", required=False)
@click.option("--json", "json_output", is_flag=True, help="As JSON on stdout.")
def endpoints(name: str | None, json_output: bool) -> None:
    """List the endpoints, or show the fields of endpoint NAME: types, limits, labels."""
    from batch.cli import views
    from batch.run.target import Environment

    click.echo(views.endpoints_page(name, Environment(os.environ), as_json=json_output))


@batch.command(short_help="An empty spreadsheet with the right headers.")
@endpoint_option
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The .xlsx or .csv to write.")
@template_options
@click.option("--force", is_flag=True, help="Write over an existing file.")
def template(output: str, force: bool, **values: Any) -> None:
    """Write an empty spreadsheet with the headers of an endpoint.

    With a key (or --sandbox), the organisation's custom fields are columns too.
    """
    from pathlib import Path

    from batch.cli import views
    from batch.run.target import Environment

    made = views.make_template(Path(output), to_settings(values), Environment(os.environ), may_replace=force)
    click.echo(made, err=True)


@batch.command(
    short_help="The imitated APIs on a loopback port.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Serve both imitated APIs on 127.0.0.1 until stopped; --help shows the switches."""
    from batch.sandbox.__main__ import main as serve

    sys.exit(serve(list(arguments)))


def main() -> NoReturn:
    """Run the command line."""
    name = os.environ.get("BATCH_COMMAND", "batch")
    sys.exit(exit_code_of(lambda: batch.main(standalone_mode=False, prog_name=name)))
