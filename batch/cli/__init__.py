"""Commands and options: the only package that knows click and prints.

    __init__.py     the commands                          messages.py     before and while a run goes on; phrases
    options.py      options -> settings                   views.py        what each command shows
    console.py      questions and printing                progress_bar.py how far a run is
    entrypoint.py   every way to end, as an exit code     submit.py       how far many jobs are
    greeting.py     what `batch` alone says on a terminal markdown.py     a plan as a table for reviews
    completion.py   what a shell offers                   json_line.py    --json
    typed_words.py  words that mail programs changed      json_log.py     --log-format json
    on_finish.py    --on-finish                           metrics.py      --metrics-file

Promises: stdout carries what was asked for, stderr everything else; a question is asked only on a terminal and never
with `--yes`; every way to end goes through one boundary that maps it to an exit code; no traceback, no secret.
Starting is cheap: what reads files or talks HTTP is imported by the commands that need it.
"""

import gc
import math
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from batch import __version__
from batch.addresses import is_address
from batch.cli.completion import complete, complete_endpoint
from batch.cli.entrypoint import Failure, exit_code_of, heed_interrupts, undisturbed
from batch.cli.json_line import JsonLine
from batch.cli.options import NoEndpointError, setting_options, to_known, to_run_settings, to_settings, to_where
from batch.cli.typed_words import meant
from batch.errors import BatchError, ExitCode, SettingsError
from batch.exit_code import reason_of_signal
from batch.model import command, command_line
from batch.settings import SENDING, duration
from batch.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batch.cli.console import Console
    from batch.run.finish import FinishedRun
    from batch.run.target import Environment
    from batch.settings import Settings
    from batch.summary import Summary

SHOWN_RUNS = 20
PRINTING = ("check", "plan", "endpoints", "runs", "schema", "status")
"""Commands of which what they print is what they are for."""
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Start(click.Command):
    """A command that begins a run: where its words make no sense, no link leads to an earlier run any more."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the words; what is right of wrong ones tells where the links are."""
        words = list(args)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError:
            known = to_known(self, words)
            told = {"out": known.out, "work_dir": known.work_dir, "shard": known.shard}
            _forget_latest({"input": known.input, **told})
            raise


class Commands(click.Group):
    """All commands; a file where one is wanted, such as one that was dragged there, is told what is missing."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:  # fmt: skip
        """Return the command that is named, and the words behind it."""
        if args[0] not in self.commands and os.path.isfile(args[0]):
            raise click.UsageError(f"Say what is to be done with this file:  {command_line('check', args[0])}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands, context_settings=CONTEXT, invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]..."
)
@click.version_option(__version__, prog_name="batch")
@click.pass_context
def batch(context: click.Context) -> None:
    """Change thousands of customer records from a spreadsheet, and know what happened to every row.

    INPUT is a CSV, XLSX, NDJSON, Parquet or Arrow file, several of a kind, a folder or pattern of them, the address
    (s3://, gs://, az://, https://) of any of these, or "-" for standard input. Results go to a run folder beside the
    input; what needs fixing or another try is in its failures file, which is the next input as it is.
    """
    if context.invoked_subcommand is not None:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        click.echo(context.get_help(), err=True)
        sys.exit(ExitCode.COULD_NOT_START)
    from batch.cli.console import Console
    from batch.cli.greeting import greet

    sys.exit(greet(Console(), _environment(), _run_command))


def _run_command(words: Sequence[str]) -> int:
    line = JsonLine()
    verb = next((one for one in words if one in batch.commands), "")

    def tell(failure: Failure, tell_people: Callable[[], None]) -> None:
        """Tell people and programs why a command could not."""
        known = line.settings or to_known(update, words[1:])
        tells_others = verb in SENDING and not line.is_told and (known.metrics_file or known.on_finish)
        with undisturbed():
            if known.json_output or tells_others:  # else its document is not worth the imports
                end = line.failure(verb, known, failure.code, failure.reason, failure.message)
            if known.json_output:
                line.show(end.as_dict())
            if known.log_format == "json":
                from batch.cli.json_log import event
                from batch.events import Failed

                event(Failed(reason=failure.reason, message=failure.message, exit_code=int(failure.code)))
            else:
                tell_people()
                if failure.code is ExitCode.BUG and line.console is not None and line.console.run is not None:
                    click.echo(f"What was done is in the record of this run: {line.console.run}", err=True)
        if tells_others:
            _tell_others(end, known, line)

    def run() -> None:
        with batch.make_context(command(), list(words), obj=line) as context:  # `main` says more at Ctrl-C
            batch.invoke(context)

    return exit_code_of(run, tell, sends=verb in (*SENDING, "submit"), only_prints=verb in PRINTING)


@batch.command(short_help="Validate every row; no network.", cls=Start)
@setting_options("check")
def check(**values: Any) -> None:
    """Validate every row of INPUT, and show what each column is taken for. Nothing is sent, no key is needed."""
    from batch.cli import views
    from batch.commands.check import check as run_check

    environment = _environment()
    settings = _settings(values, environment)
    console = _console(settings)
    found = run_check(settings, console, environment)
    if settings.json_output:
        _json_line().show(found.summary.as_dict())
    else:
        console.show((line, "") for line in views.check_page(found, console.width))
    sys.exit(found.summary.exit_code)


@batch.command(short_help="Send what INPUT changes.", cls=Start)
@setting_options("update")
def update(**values: Any) -> None:
    """Validate INPUT, show what will happen, ask, send, and write down what became of every row.

    The same command again goes on where it stopped.
    """
    from batch.commands.update import update as run_update

    plan = str(values.get("plan") or "")
    if not values["input"] and not plan.casefold().endswith(".zip"):
        missing = next(one for one in update.params if one.name == "input")
        raise click.MissingParameter(ctx=click.get_current_context(), param=missing)
    environment = _environment()
    settings = _settings(values, environment)
    with _console(settings) as console:
        end = run_update(settings, console, environment)
    _finish(end, console, settings)


@batch.command(short_help="Do many jobs at once.")
@click.argument("manifest", type=click.Path(dir_okay=False), metavar="JOBS.toml")
@click.option("--scheduler", metavar="tcp://HOST:PORT", help="A Dask cluster; default: one is started for this.")
@click.option(
    "--workers", type=click.IntRange(1, 256), metavar="N", help="Worker processes of the one that is started."
)
@click.option("--sandbox", is_flag=True, help="Send to an imitation of the API, each job as a company of its own.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="Errors only.")
def submit(
    manifest: str, scheduler: str | None, workers: int | None, sandbox: bool, yes: bool, as_json: bool, quiet: bool
) -> None:
    """Do all jobs of JOBS.toml at the same time, each in as many shards as it says, and put their results together.

    The same command again goes on with what is left. Ctrl-C stops all of them in order.
    """
    from batch.cli.console import Console
    from batch.cli.submit import run_submit
    from batch.extras import ensure_extra

    with Console(quiet=quiet, yes=yes) as console:
        ensure_extra("cluster", "distributed", "many jobs at once", console.note)
        found = run_submit(Path(manifest), scheduler, workers, console, _environment(), sandbox=sandbox)
        if as_json:
            _json_line().show(found.as_dict())
        sys.exit(found.exit_code)


@batch.command(short_help="What INPUT would change; writes nothing to the API.", cls=Start)
@setting_options("plan")
def plan(**values: Any) -> None:
    """Show what an update of INPUT would change, cell by cell, old and new. Nothing is written to the API.

    The plan is in a folder beside the input: a sheet for whoever approves it, and plan.json, which
    `update INPUT --plan FOLDER` carries out exactly.
    """
    from batch.cli import views
    from batch.commands.plan import plan as run_plan

    environment = _environment()
    settings = _settings(values, environment)
    if settings.json_output and settings.output == "md":
        raise SettingsError("--json and --output md: both are for standard output. Leave one of them out.")
    with _console(settings) as console:
        made = run_plan(settings, console, environment)
    if settings.json_output:
        _json_line().show(made.summary.as_dict())
    elif settings.output == "md":
        from batch.cli import markdown

        click.echo("\n".join(markdown.plan_page(made)))
    else:
        console.show(views.plan_page(made))
    sys.exit(made.summary.exit_code)


@batch.command(short_help="The current records as a spreadsheet to edit.")
@setting_options("pull", only=["endpoint"])
@click.option(
    "-o", "--output", required=True, type=click.Path(), metavar="FILE", help="The .csv, .xlsx or .parquet to write."
)
@click.option(
    "--where",
    metavar="FIELD=VALUE",
    multiple=True,
    help='Only records with this value; "FIELD=" for those where it is empty. Repeatable.',
)
@click.option("--ids", type=click.Path(), metavar="FILE", help="Only the ids of this file.")
@click.option("--force", is_flag=True, help="Write over an existing file.")
@setting_options("pull", without=["endpoint"], last=["json_output", "quiet"])
def pull(output: str, where: tuple[str, ...], ids: str | None, force: bool, **values: Any) -> None:
    """Write the current records into FILE, with the headers that update takes: edit it, and update sends what differs.

    A cell that is left blank changes nothing; what cannot be written into a cell is left blank, and told.
    """
    from dataclasses import replace

    from batch.cli import views
    from batch.commands.pull import Wanted
    from batch.commands.pull import pull as run_pull
    from batch.settings import as_options

    environment = _environment()
    settings = _settings(values, environment)
    console = _console(settings)
    wanted = Wanted(Path(output), to_where(where), Path(ids) if ids else None, force)
    found = run_pull(settings, wanted, console, environment)
    if settings.json_output:
        _json_line().show(found.summary.as_dict())
    options = as_options(replace(settings, map={}), for_same_input=False)
    console.tell((line, "") for line in views.pull_page(found, settings.endpoint, options))
    sys.exit(found.exit_code)


@batch.command(short_help="Put back what a run changed.")
@click.argument("path", type=click.Path(), metavar="RUN_FOLDER")
@setting_options("undo", last=["max_failures", "canary", "yes", "json_output", "quiet"])
def undo(path: str, **values: Any) -> None:
    """Put back what the run in RUN_FOLDER changed, where nobody changed it since; endpoint and host are the run's.

    Instead of RUN_FOLDER, a file that was sent: its runs are listed, and which one is meant is asked.

    A field that is not as the run left it is kept, and named. An undo is a run of its own, in a folder beside
    RUN_FOLDER, and can be undone.
    """
    from batch.commands.undo import undo as run_undo

    environment = _environment()
    settings = _run_settings(values, environment)
    with _console(settings) as console:
        end = run_undo(path, settings, console, environment)
    _finish(end, console, settings)


@batch.command(short_help="Go on with a run whose input was moved.")
@click.argument("run_folder", type=click.Path(file_okay=False))
@setting_options("resume", last=["max_failures", "canary", "yes", "json_output", "quiet"])
def resume(run_folder: str, **values: Any) -> None:
    """Go on with the unfinished run in RUN_FOLDER from the rows that it keeps, without its input.

    While the input is where it was, the same update command goes on, and reads it again.
    """
    from batch.commands.resume import resume as run_resume

    environment = _environment()
    settings = _run_settings(values, environment)
    with _console(settings) as console:
        end = run_resume(Path(run_folder), settings, console, environment)
    _finish(end, console, settings)


def _environment() -> "Environment":
    from batch.run.target import Environment

    heed_interrupts()
    return Environment(os.environ, has_terminal=sys.stderr.isatty())


def _settings(values: dict[str, Any], environment: "Environment") -> "Settings":
    """Merge what is given; where that makes no sense, no link leads to an earlier run any more."""
    try:
        settings = _merged(values, environment)
        _json_line().settings = settings
        return settings
    except (BatchError, click.UsageError):
        _forget_latest(values)
        raise


def _merged(values: dict[str, Any], environment: "Environment") -> "Settings":
    """Merge what is given; on a terminal whose records are meant is asked where nothing says it."""
    known = environment.endpoint_options, environment.documented_rates
    try:
        return to_settings(values, *known)
    except NoEndpointError:
        from batch.cli.console import Console
        from batch.cli.greeting import ask_endpoint

        console = Console(yes=bool(values.get("yes")))
        is_asked = console.can_ask and values.get("log_format") != "json"
        kind = ask_endpoint("Which records are meant?", console, environment) if is_asked else None
        if kind is None:
            raise
        return to_settings({**values, "endpoint": kind.name}, *known)


def _run_settings(values: dict[str, Any], environment: "Environment") -> "Settings":
    settings = to_run_settings(values, environment.endpoint_options, environment.documented_rates)
    _json_line().settings = settings
    return settings


def _json_line() -> JsonLine:
    """Return what prints the one line of --json of this start."""
    return click.get_current_context().find_object(JsonLine) or JsonLine()


def _forget_latest(values: dict[str, Any]) -> None:
    if values.get("input"):
        from batch.run.latest import forget_latest

        out = values.get("work_dir") if is_address(values.get("out") or "") else values.get("out")
        with suppress(ValueError):  # no shard: there was nothing of it
            shard = Shard.parse(values["shard"]) if values.get("shard") else None
            forget_latest(values["input"], Path(out) if out else None, shard)


def _console(settings: "Settings") -> "Console":
    from batch.cli.console import Console

    context = click.get_current_context(silent=True)
    name = (context and context.info_name) or ""
    console: Console
    if settings.log_format == "json":
        from batch.cli.json_log import JsonConsole

        console = JsonConsole(name, yes=settings.yes, canary=settings.canary, compare=settings.compare)
    else:
        console = Console(quiet=settings.quiet, yes=settings.yes, canary=settings.canary, compare=settings.compare)
    line = _json_line() if context is not None else JsonLine()
    line.console = line.console or console
    if settings.json_output:

        def print_line(code: ExitCode, why: str) -> None:
            line.show(line.failure(name, settings, code, reason_of_signal(code), why, has_time=False).as_dict())

        console.at_leaving = print_line
    return console


def _finish(end: "FinishedRun", console: "Console", settings: "Settings") -> NoReturn:
    """Show how a run ended, tell others, and end with its exit code."""
    _show_end(end, console, as_json=settings.json_output, as_events=settings.log_format == "json")
    _tell_others(end.summary, settings, _json_line())
    sys.exit(end.summary.exit_code)


def _tell_others(summary: "Summary", settings: "Settings", line: JsonLine) -> None:
    """Tell whom --metrics-file and --on-finish name how a start ended, once."""
    line.is_told = True

    def say(text: str) -> None:
        with _console(settings) as console:
            console.say(text, "stop")

    if settings.metrics_file is not None:
        from batch.cli.metrics import write_metrics

        write_metrics(settings.metrics_file, summary, say)
    if settings.on_finish is not None:
        from batch.cli.on_finish import run_on_finish

        run_on_finish(settings.on_finish, summary, say)


def _show_end(end: "FinishedRun", console: "Console", *, as_json: bool, as_events: bool) -> None:
    if as_json:
        _json_line().show(end.summary.as_dict())
    if as_events:
        from batch.cli.json_log import tell_end

        tell_end(end)
    else:
        from batch.cli import views

        console.tell(views.closing_page(end, console.told))


@batch.command(short_help="Make the results files again.")
@click.argument("run_folder", type=click.Path(file_okay=False))
@setting_options("results")
def results(
    run_folder: str, results_xlsx: bool | None, keep: tuple[str, ...], json_output: bool | None, quiet: bool | None
) -> None:
    """Make the results files of RUN_FOLDER again from its journal, and show the summary."""
    from batch.cli.console import Console
    from batch.commands.results import results as run_results

    console = Console(quiet=bool(quiet))
    end = run_results(Path(run_folder), console, _environment(), results_xlsx=bool(results_xlsx), keep=keep)
    _show_end(end, console, as_json=bool(json_output), as_events=False)
    sys.exit(end.summary.exit_code)


@batch.command(short_help="Make the report of a run again.")
@click.argument("run_folder", type=click.Path(file_okay=False))
def report(run_folder: str) -> None:
    """Make the report.html of RUN_FOLDER again from its journal, with all rounds of its sheet."""
    from batch.cli.console import Console
    from batch.commands.report import report as make_report

    click.echo(make_report(Path(run_folder), Console(), _environment()))


@batch.command(short_help="What was run, and what to do next.")
@click.argument("path", required=False, type=click.Path(), metavar="[FILE]")
@click.option("--all", "show_all", is_flag=True, help="Not only the newest: twenty, or what fits a screen.")
@click.option("--json", "json_output", is_flag=True, help="As JSON on stdout.")
def runs(path: str | None, show_all: bool, json_output: bool) -> None:
    """List your runs on this computer, the newest first, with what became of each and the command for the next step.

    With FILE (an input, a failures file or a run folder), all rounds of that sheet, and how much of it is done.
    """
    from batch.cli import views
    from batch.cli.console import Console
    from batch.commands.runs import newest_runs, rounds

    console = Console()
    if path is None:
        found = newest_runs(None if show_all or json_output else SHOWN_RUNS)
        listed, page = found.runs, views.runs_page(found, math.inf if show_all else console.room, console.height)
    else:
        sheets = rounds(path)
        listed, page = [one for sheet in sheets for one in sheet.rounds], views.rounds_page(sheets)
    if json_output:
        _json_line().show(views.runs_values(listed))
    else:
        console.show(page)


@batch.command(short_help="How far a run is.")
@click.argument("run_folder", type=click.Path(file_okay=False))
@click.option("--json", "json_output", is_flag=True, help="As JSON on stdout.")
def status(run_folder: str, json_output: bool) -> None:
    """Say how far the run in RUN_FOLDER is that another process does: counts, rate, time left. Nothing is locked."""
    from batch.cli import views
    from batch.cli.console import Console
    from batch.commands.status import status as look

    found = look(Path(run_folder))
    if json_output:
        _json_line().show(found.as_dict())
    else:
        Console().show((line, "") for line in views.status_page(found))


@batch.command(short_help="The JSON Schema of what --json prints.")
@click.argument("document", type=click.Choice(["summary", "plan", "pull", "status", "log", "results"]))
def schema(document: str) -> None:
    """Print the JSON Schema (draft 2020-12) of a document that programs read.

    summary is what update, undo, resume, results and check print with --json; log is an event of --log-format json,
    results a line of results.parquet and results.csv.
    """
    import json

    from batch.commands.schema import schema as schema_of

    click.echo(json.dumps(schema_of(document), indent=2))


@batch.command(short_help="Remove a run and its files.")
@click.argument("run_folder", type=click.Path())
@click.option(
    "--older-than",
    metavar="TIME",
    help="RUN_FOLDER is the folder around runs, checks and plans: remove all that got no further for so long, "
    "such as 30d.",
)
@click.option("--unfinished", is_flag=True, help="With --older-than: also what is not finished, or waits for approval.")
@setting_options("purge")
def purge(run_folder: str, older_than: str | None, unfinished: bool, yes: bool | None) -> None:
    """Remove the run in RUN_FOLDER: journal, results and all; the records at the API stay as they are.

    Its undos go with it. It cannot be undone after that, nor gone on with. A folder with other files in it, or in use,
    is left alone.
    """
    from batch.cli import views
    from batch.cli.console import Console
    from batch.commands.purge import purge as run_purge
    from batch.commands.purge import purge_older

    console = Console(yes=bool(yes))
    if older_than is not None:
        try:
            seconds = duration(older_than)
        except ValueError as error:
            raise click.UsageError(f"--older-than {older_than}: {error}.") from None
        done = purge_older(Path(run_folder), seconds, console.confirm_purge_older, unfinished=unfinished)
        for line in views.purge_older_page(done, older_than):
            click.echo(line, err=True)
        sys.exit(ExitCode.OK if done is not None and not done.failed else ExitCode.COULD_NOT_START)
    if unfinished:
        raise click.UsageError("--unfinished goes with --older-than; a run that is named is removed as it is.")
    preview = run_purge(Path(run_folder), console, console.confirm_purge)
    click.echo(views.purge_page(preview), err=True)
    sys.exit(ExitCode.OK if preview else ExitCode.COULD_NOT_START)


@batch.command(short_help="What there is, and its fields.")
@click.argument("name", required=False, shell_complete=complete_endpoint)
@click.option("--json", "json_output", is_flag=True, help="As JSON on stdout.")
def endpoints(name: str | None, json_output: bool) -> None:
    """List the endpoints, or show the fields of endpoint NAME: types, limits, labels."""
    from batch.cli import views
    from batch.cli.console import Console

    environment = _environment()
    if json_output:
        _json_line().show(views.endpoints_values(name, environment))
    else:
        console = Console()
        console.show((line, "") for line in views.endpoints_page(name, environment, console.width).split("\n"))


@batch.command(short_help="An empty spreadsheet with the right headers.")
@setting_options("template", only=["endpoint"])
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The .xlsx or .csv to write.")
@setting_options("template", without=["endpoint"])
@click.option("--force", is_flag=True, help="Write over an existing file.")
def template(output: str, force: bool, **values: Any) -> None:
    """Write an empty spreadsheet with the headers of an endpoint.

    With a key (or --sandbox), the organisation's custom fields are columns too.
    """
    from batch.cli import views
    from batch.commands.template import make_template

    environment = _environment()
    settings = _merged(values, environment)
    console = _console(settings)
    made = make_template(Path(output), settings, environment, console, may_replace=force)
    console.tell(views.template_page(made))


@batch.command(short_help="Set up the key of a company.")
@setting_options("login", only=["endpoint"])
@click.option("--name", metavar="NAME", help="The company, for --as and on every screen; asked for without.")
@click.option(
    "--store", type=click.Choice(["keyring", "file"]),
    help="Where the key is kept; default: in the keyring of the system where there is one, else in a file.",
)  # fmt: skip
@setting_options("login", without=["endpoint"])
def login(name: str | None, store: Literal["keyring", "file"] | None, **values: Any) -> None:
    """Ask for a key, try it with a read, and keep it under the name of its company.

    Commands then take it by themselves: the only one there is, or the one that --as names.
    """
    from batch.cli import views
    from batch.commands.login import log_in

    environment = _environment()
    settings = _merged(values, environment)
    console = _console(settings)
    console.tell(views.login_page(log_in(settings, name, store, console, environment)))


@batch.group(short_help="What your own headers were remembered to stand for.", invoke_without_command=True)
@click.pass_context
def mappings(context: click.Context) -> None:
    """List, show and forget what your own headers were remembered to stand for; alone it lists them."""
    if context.invoked_subcommand is None:
        context.invoke(list_mappings)


@mappings.command(name="list")
def list_mappings() -> None:
    """List the mappings, with what each is for."""
    from batch.cli import views
    from batch.cli.console import Console

    _show(views.mappings_page(_environment().mappings.read(), Console().width))


@mappings.command(name="show")
@click.argument("name")
def show_mapping(name: str) -> None:
    """Show what each header stands for in the mapping NAME."""
    from batch.cli import views

    _show(views.mapping_page(_environment().mappings.named(name)))


@mappings.command(name="forget")
@click.argument("name")
def forget_mapping(name: str) -> None:
    """Forget the mapping NAME; runs that were made with it stay as they are."""
    from batch.cli import views

    _show(views.forgotten_page(_environment().mappings.forget(name)))


def _show(lines: "Iterable[str]") -> None:
    from batch.cli.console import Console

    Console().show((line, "") for line in lines)


@batch.command(short_help="The page, for working without a terminal.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="The port; default: a free one.")
@click.option("--no-open", is_flag=True, help="Only print the address; open no browser.")
def page(port: int, no_open: bool) -> None:
    """Open the page in the browser: choose a file, match its columns, see what would change, send it, take it back.

    It is served on this machine only, until it is closed with its button or Ctrl-C. A second start opens the same page.
    """
    from dataclasses import replace

    from batch.web.server import serve

    environment = replace(_environment(), has_terminal=True)  # a keyring may open a window where a browser can
    serve(environment, port, click.echo, opens=not no_open)


@batch.command(short_help="Forget the key of a company.")
@click.argument("name", required=False)
@click.option("-e", "--endpoint", metavar="ENDPOINT", help="Where two APIs have a login of this name: which one.")
def logout(name: str | None, endpoint: str | None) -> None:
    """Remove the key of company NAME from this computer; at the API it stays as it is."""
    from batch.cli import views
    from batch.cli.console import Console
    from batch.commands.login import log_out
    from batch.run.target import api_of, find_endpoint

    environment, console = _environment(), Console()
    api = api_of(find_endpoint(endpoint, environment)) if endpoint else None
    console.tell(views.logout_page(*log_out(name, api, console, environment)))


@batch.command(short_help="Whose keys are set up.")
def logins() -> None:
    """List the companies whose keys are set up, and where each key is kept."""
    from batch.cli import views
    from batch.cli.console import Console
    from batch.commands.login import list_logins

    console = Console()
    console.show((line, "") for line in views.logins_page(list_logins(console, _environment())))


@batch.command(
    short_help="The imitated APIs on a loopback port.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Serve both imitated APIs on 127.0.0.1 until stopped; --help shows the switches."""
    from batch.sandbox.__main__ import main as serve

    match list(arguments):
        case ["start", *switches]:
            _start_sandbox(switches)
        case ["stop"]:
            _stop_sandbox()
        case switches:
            sys.exit(serve(switches))


def _start_sandbox(switches: list[str]) -> None:
    from batch.cli import views
    from batch.cli.console import Console
    from batch.run.standing_sandbox import start_standing
    from batch.sandbox.__main__ import options_of
    from batch.sandbox.options import OptionError

    others = [one for one in switches if one != "--new"]
    try:
        options = options_of(["--limits", "fast", *others])
        found, is_new = start_standing(options, new=others != switches)
    except OptionError as error:
        raise SettingsError(f"{command()} sandbox: {error}") from None
    Console().tell(views.sandbox_start_page(found.url, is_new=is_new))


def _stop_sandbox() -> None:
    from batch.cli import views
    from batch.cli.console import Console
    from batch.run.standing_sandbox import stop_standing

    Console().tell(views.sandbox_stop_page(was_running=stop_standing()))


def main() -> NoReturn:
    """Run the command line."""
    complete(batch)
    gc.set_threshold(10_000)  # objects; looking for garbage after every 700 costs a twentieth of a run
    sys.argv[1:] = meant(sys.argv[1:])
    code = _run_command(sys.argv[1:])
    gc.freeze()  # or Python looks for garbage among all that was imported once more, for a tenth of a second
    sys.exit(code)
