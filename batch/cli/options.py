"""The options, and what settings they make: option > environment > batch.toml > default.

Promises: each option is also `BATCH_<NAME>` in the environment and a key of `batch.toml` (beside the input, else in the
current folder); what was not given anywhere is left to the defaults of `Settings`.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])
ENVIRONMENT = "BATCH_"


class _Option(click.Option):
    """An option that says where a wrong value stands."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Name the option, and the variable if the value came from there."""
        hint = super().get_error_hint(ctx)
        if ctx and self.name and ctx.get_parameter_source(self.name) is ParameterSource.ENVIRONMENT:
            return f"{hint} (environment variable {self.envvar})"
        return hint


class _AddressOption(_Option):
    """An option for which a variable that is set to nothing is a mistake: it would mean the maker's own API."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Give the variable's value as it is, also if it is empty."""
        return os.environ.get(str(self.envvar))


def _option(*names: str, **kwargs: Any) -> Callable[[F], F]:
    long = next(name for name in names if name.startswith("--"))
    variable = ENVIRONMENT + long.partition("/")[0].lstrip("-").replace("-", "_").upper()
    kind = _AddressOption if long == "--base-url" else _Option
    return click.option(*names, cls=kind, envvar=variable, show_envvar=False, **kwargs)


endpoint_option = _option("-e", "--endpoint", metavar="NAME", help="What to change, such as dualentry.customers.")

JSON_AND_QUIET: tuple[Callable[[Any], Any], ...] = (
    _option("--json", "json_output", is_flag=True, default=None, help="The summary as JSON on stdout."),
    _option("--quiet", is_flag=True, default=None, help="Errors only."),
)

INPUT_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.argument("input", metavar="INPUT"),
    endpoint_option,
    _option("--out", metavar="FOLDER", help="The run folder; default: <input>.batch/<time> beside the input."),
    click.option(
        "--map", "map", metavar='"HEADER=FIELD"', multiple=True,
        help='What a header stands for; "HEADER=" leaves the column out. Repeatable.',
    ),
    _option("--sheet", metavar="NAME", help="The sheet of a workbook; default: the first."),
    _option("--delimiter", metavar="C", help='What separates the cells of a CSV file; "tab" for tabs.'),
    _option("--encoding", metavar="NAME", help="The encoding of a CSV file, such as cp1252."),
    _option("--hidden", type=click.Choice(["include", "skip"]), help="What to do with hidden rows of a workbook."),
    _option("--decimal", metavar="C", help='The decimal mark of numbers, "." or ",".'),
    _option(
        "--date-format", type=click.Choice(["iso", "dmy", "mdy"]),
        help="How dates are written: 2026-04-03, day first, or month first.",
    ),
    _option("--clear-token", metavar="TEXT", help="The cell text that empties a field; default: <clear>."),
    _option("--limit", type=int, metavar="N", help="Only the first N rows."),
    _option("--key", metavar="FIELD", help="Find records by this field of yours instead of the API's id."),
    _option("--compare/--no-compare", default=None, help="Read first and send only what differs (default), or not."),
    *JSON_AND_QUIET,
)  # fmt: skip

CONNECTION_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    _option("--base-url", metavar="URL", help="The API's address instead of the maker's."),
    _option("--sandbox", is_flag=True, default=None, help="Send to an imitation of the API, started for this run."),
    _option("--token-file", metavar="FILE", help="A file that holds the key or token."),
    _option("--max-at-once", type=int, metavar="N", help="Requests in flight; default: 16."),
    _option("--max-per-second", type=float, metavar="X", help="Requests a second, instead of the documented limits."),
    _option("--max-attempts", type=int, metavar="N", help="Tries for one change; default: 6."),
    _option("--max-wait", type=float, metavar="SECONDS", help="The longest wait the API may ask for; default: 300."),
)  # fmt: skip

RUN_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    *CONNECTION_OPTIONS,
    _option("--max-failures", metavar="N|N%", help="Stop after so many rejections."),
    _option(
        "--invalid", type=click.Choice(["skip", "abort"]),
        help="Leave invalid rows behind (default), or send nothing while there are any.",
    ),
    click.option(
        "--plan", type=click.Path(), metavar="FOLDER",
        help="Do exactly what the plan in FOLDER says; refused when the input changed.",
    ),
    _option(
        "--max-clears", metavar="N|N%",
        help="The most rows that may clear one field; default: 20% of them (from 10 cells on).",
    ),
    _option(
        "--canary", type=int, metavar="N",
        help="Send N changes first, verify them, and go on only if all held; 0: do not.",
    ),
    _option("--new", is_flag=True, default=None, help="Start over instead of resuming."),
    _option("--yes", is_flag=True, default=None, help="Do not ask."),
)  # fmt: skip

yes_option = _option("--yes", is_flag=True, help="Do not ask.")

PULL_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    endpoint_option,
    click.option(
        "-o", "--output", required=True, type=click.Path(), metavar="FILE",
        help="The .csv, .xlsx or .parquet to write.",
    ),
    click.option(
        "--where", metavar="FIELD=VALUE", multiple=True,
        help='Only records with this value; "FIELD=" for those where it is empty. Repeatable.',
    ),
    click.option("--ids", type=click.Path(), metavar="FILE", help="Only the ids of this file."),
    click.option("--force", is_flag=True, help="Write over an existing file."),
    *CONNECTION_OPTIONS,
    *JSON_AND_QUIET,
)  # fmt: skip


def input_options(command: F) -> F:
    """Add what reading and checking an input needs."""
    for option in reversed(INPUT_OPTIONS):
        command = option(command)
    return command


def connection_options(command: F) -> F:
    """Add what talking to the API needs."""
    for option in reversed(CONNECTION_OPTIONS):
        command = option(command)
    return command


def run_options(command: F) -> F:
    """Add what sending needs."""
    for option in reversed(RUN_OPTIONS):
        command = option(command)
    return command


def silent_options(command: F) -> F:
    """Take the rest of update's options, too, unseen: so one word makes a check or a plan of an update."""
    shown: list[click.Parameter] = list(command.__click_params__)  # type: ignore[attr-defined]  # click keeps them there
    names = {one.name for one in shown}
    run_options(command)
    unseen = [one for one in command.__click_params__[len(shown) :] if one.name not in names]  # type: ignore[attr-defined]  # as above
    for option in unseen:
        option.hidden = True
    command.__click_params__ = [*unseen, *shown]  # type: ignore[attr-defined]  # as above
    return command


def undo_options(command: F) -> F:
    """Add what taking back needs: the run says the rest."""
    sending = [one for one in RUN_OPTIONS if _name_of(one) in {"max_failures", "canary", "yes"}]
    clears = _option("--max-clears", metavar="N|N%", help="The most rows that may clear one field; default: all.")
    for option in reversed((*CONNECTION_OPTIONS, clears, *sending, *JSON_AND_QUIET)):
        command = option(command)
    return command


def _name_of(option: Callable[[Any], Any]) -> str:
    def command() -> None: ...

    return str(option(command).__click_params__[0].name)


def pull_options(command: F) -> F:
    """Add what pulling needs."""
    for option in reversed(PULL_OPTIONS):
        command = option(command)
    return command


def template_options(command: F) -> F:
    """Add what asking for the organisation's custom fields needs."""
    given = {"base_url", "sandbox", "token_file"}
    for option in reversed([one for one in CONNECTION_OPTIONS if _name_of(one) in given]):
        command = option(command)
    return command


def to_where(options: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Read `FIELD=VALUE` pairs; the first `=` is the one that counts, since values have more of them than names."""
    pairs = []
    for text in options:
        name, equals, value = text.partition("=")
        if not (equals and name.strip()):
            raise click.UsageError(f'--where "{text}": write it as "FIELD=VALUE".')
        pairs.append((name.strip(), value))
    return tuple(pairs)


def to_settings(values: Mapping[str, Any]) -> Any:
    """Merge options, environment and `batch.toml`; raises SettingsError."""
    from batch.settings import make_settings, read_file

    given = {name: value for name, value in values.items() if value is not None and name != "map"}
    folders = [Path.cwd()]
    if given.get("input", "-") != "-":
        folders.insert(0, Path(given["input"]).parent)
    from_file = read_file(list(dict.fromkeys(folders)), given.get("endpoint"))
    settings = from_file | given | {"map": from_file.get("map", {}) | _mapping(values.get("map") or (), os.environ)}
    if not settings.get("endpoint"):
        raise click.UsageError("Which endpoint? Name it with -e, such as -e dualentry.customers. See: batch endpoints")
    return make_settings(settings)


def to_undo_settings(values: Mapping[str, Any]) -> Any:
    """Merge options, environment and the settings of `batch.toml` that are about sending; raises SettingsError."""
    from batch.settings import make_settings, read_file

    given = {name: value for name, value in values.items() if value is not None}
    from_file = read_file([Path.cwd()], None)
    return make_settings({name: value for name, value in from_file.items() if name in values} | given)


def _mapping(options: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, str]:
    """Read `HEADER=FIELD` pairs; in BATCH_MAP each stands on a line of its own. The last `=` is the one that counts."""
    pairs = {}
    for text in (*environment.get("BATCH_MAP", "").splitlines(), *options):
        header, equals, field = text.rpartition("=")
        if text.strip() and not (equals and header.strip()):
            raise click.UsageError(f'--map "{text}": write it as "HEADER=FIELD", or "HEADER=" to leave a column out.')
        if text.strip():
            pairs[header.strip()] = field.strip()
    return pairs
