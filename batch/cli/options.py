"""The options of each command, and what settings they make: both from the table in `batch/settings.py`.

Promises: each option is also `BATCH_<NAME>` in the environment and a key of a settings file: the one that --config
names, the user's own, and, as far as that is safe, a `batch.toml` that is found beside the input, else in the current
folder; what such a file sets is said. What was not given anywhere is left to the defaults of `Settings`.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from click.core import ParameterSource

from batch.addresses import STORAGE_OPTION, is_address, shown
from batch.cli.completion import complete_endpoint, completer_of
from batch.input_names import STDIN, is_pattern, is_read_once, joined, split
from batch.model import command, shorten, visible
from batch.settings import (
    COMMAND_LINE,
    ENVIRONMENT,
    INPUT,
    PAIRS,
    SETTINGS,
    EndpointOptions,
    Layer,
    Setting,
    Settings,
    SettingsFiles,
    config_folder,
    merge_layers,
    read_files,
)

F = TypeVar("F", bound=Callable[..., Any])
GENERAL = "update"
"""The command that takes all options of those that take an input."""
FILE_COMMANDS = ("check", "login", "plan", "pull", "resume", "template", "undo", "update")
"""The commands that read settings files."""
ENDPOINT_FLAGS = {"sparse": "PUT the change alone, not the record with the change laid over it (Vayu)."}
"""The flags that endpoints have of their own; here, since to import the endpoints is slow."""


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
        """Return the variable's value as it is, also if it is empty."""
        return os.environ.get(str(self.envvar))


def setting_options(
    command: str, *, only: Sequence[str] = (), without: Sequence[str] = (), last: Sequence[str] = ()
) -> Callable[[F], F]:
    """Add the settings that `command` takes, in the table's order but for those that come `last`.

    A command that takes an input takes the rest of update's options as well, unseen: so one word makes a check or a
    plan of an update.
    """
    taken = [one for one in SETTINGS.values() if command in one.commands and one.name not in without]
    shown = [one for one in taken if not only or one.name in only]
    shown.sort(key=lambda one: last.index(one.name) + 1 if one.name in last else 0)
    options = [_option(one, command) for one in shown]
    if command in INPUT:
        rest = [one for one in SETTINGS.values() if GENERAL in one.commands and one not in taken]
        flags = [_flag(name, text, command) for name, text in ENDPOINT_FLAGS.items()]
        options = [_input(command), *options, *(_option(one, command) for one in rest), *flags]
    if command in FILE_COMMANDS and not only:
        options.append(_CONFIG)

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _option(setting: Setting, command: str) -> Callable[[F], F]:
    """Make the option of a setting; what pydantic checks better is left to it."""
    spelling = f"--{setting.key}" + (f"/--no-{setting.key}" if setting.default is True else "")
    names = [*([setting.short] if setting.short else []), spelling, setting.name]
    more: dict[str, Any] = {}
    if setting.type is bool:
        more = {"is_flag": True}
    elif setting.type in (int, float) and setting.parse is None:
        more = {"type": setting.type}
    elif get_origin(setting.type) is Literal and setting.metavar is None:
        more = {"type": click.Choice(get_args(setting.type))}
    elif get_origin(setting.type) in (dict, tuple):
        more = {"multiple": True}
    variable = setting.variable if setting.is_layered and "multiple" not in more else None  # BATCH_MAP has lines
    return click.option(
        *names, cls=_AddressOption if setting.name == "base_url" else _Option, envvar=variable, show_envvar=False,
        default=None, metavar=setting.metavar, help=setting.help_of.get(command, setting.help),
        hidden=command not in setting.commands,
        shell_complete=complete_endpoint if setting.name == "endpoint" else completer_of(setting.metavar), **more,
    )  # fmt: skip


def _flag(name: str, text: str, command: str) -> Callable[[F], F]:
    """Make the option of a flag that an endpoint has of its own."""
    envvar = f"BATCH_{name.upper()}"
    is_hidden = command == "check"
    return click.option(
        f"--{name}", cls=_Option, is_flag=True, default=None, envvar=envvar, help=text, hidden=is_hidden
    )


def _joined(context: click.Context, parameter: click.Parameter, words: Sequence[str]) -> str:
    """Spell several inputs as one; where the words make no sense, the first that is no option, and files beside it."""
    if context.resilient_parsing:
        plain = [one for one in words if one[:2] != "--"]
        words = [one for at, one in enumerate(plain) if at == 0 or os.path.exists(one) or is_pattern(one)]
    return joined(words) if words else ""


def _input(command: str) -> Callable[[F], F]:
    """Return the argument that names the input; a plan that a colleague sent brings its own."""
    return click.argument(
        "input", metavar="INPUT...", nargs=-1, required=command != "update", callback=_joined,
        shell_complete=completer_of("INPUT"),
    )  # fmt: skip


_CONFIG = click.option(
    "--config",
    cls=_Option,
    envvar="BATCH_CONFIG",
    metavar="FILE",
    help="A file of settings, such as a batch.toml.",
    shell_complete=completer_of("FILE"),
)


class NoEndpointError(click.UsageError):
    """Nothing says whose records are meant."""

    def __init__(self) -> None:
        super().__init__(
            f"Which records? Name them with -e, such as -e dualentry.customers. See: {command()} endpoints"
        )


def to_settings(values: Mapping[str, Any], endpoints: EndpointOptions, rates: Mapping[str, float]) -> Settings:
    """Merge options, environment and settings files, with the `endpoints`' own options.

    Raises SettingsError, and NoEndpointError where nothing says whose records are meant.
    `rates`: the requests a second that each endpoint documents.
    """
    given, variables = _given(values)
    folders = [Path()]
    source = values.get("input") or STDIN
    if not (is_read_once(source) or is_address(source)):
        folders.insert(0, Path(split(source)[0]).parent)
    files = _files(values, list(dict.fromkeys(folders)))
    from_files = read_files(files, values.get("endpoint"), endpoints, lambda name: rates.get(name, 0.0))
    from_variables = _with_lists(_with_map(variables, _lines_of("map")))
    layers = [_with_map(given, values.get("map") or ()), from_variables, *from_files]
    layers[:2] = _with_storage_options(given=layers[0], variables=layers[1], words=values.get("storage_option") or ())
    if not any(layer.values.get("endpoint") for layer in layers):
        raise NoEndpointError
    return _merged(layers)


def to_run_settings(values: Mapping[str, Any], endpoints: EndpointOptions, rates: Mapping[str, float]) -> Settings:
    """Merge options, environment and what settings files say about sending; raises SettingsError.

    The endpoint is the run's, which is not known yet: the slowest of the `rates` counts.
    """
    slowest = min(rates.values(), default=0.0)
    from_files = read_files(_files(values, [Path()]), None, endpoints, lambda name: slowest)
    about_sending = [
        replace(layer, values={name: value for name, value in layer.values.items() if name in values})
        for layer in from_files
    ]
    given, variables = _given(values)
    layers = _with_storage_options(given=given, variables=variables, words=values.get("storage_option") or ())
    return _merged([*layers, *about_sending])


def to_known(command: click.Command, words: Sequence[str]) -> Settings:
    """Return what the words of a command and the environment say, as far as they make sense; files do not count.

    It is for telling why a start could not begin. `command` is the one that takes most options.
    """
    lenient: dict[str, Any] = {"resilient_parsing": True, "ignore_unknown_options": True, "allow_extra_args": True}
    names = ["-h", "--help"]  # which the command keeps for its next help
    try:
        with command.make_context(None, list(words), help_option_names=names, **lenient) as context:
            values = context.params
            found = [one for one in (values.get("input"), *context.args) if one and one[:2] != "--"]
    except click.ClickException:
        return Settings()
    texts = {name: values.get(name) or "" for name in ("endpoint", "on_finish", "company", "as_login", "log_format")}
    return Settings(
        input=shown(found[0]) if found else "", endpoint=texts["endpoint"], company=texts["company"] or None,
        as_login=texts["as_login"] or None, sandbox=bool(values.get("sandbox")),
        json_output=bool(values.get("json_output")), log_format="json" if texts["log_format"] == "json" else "text",
        metrics_file=Path(values["metrics_file"]) if values.get("metrics_file") else None,
        on_finish=texts["on_finish"] or None, out=values.get("out") or None,
        work_dir=Path(values["work_dir"]) if values.get("work_dir") else None,
    )  # fmt: skip


def _files(values: Mapping[str, Any], folders: Sequence[Path]) -> SettingsFiles:
    """Name the files that settings may be read from."""
    folder = config_folder(os.environ)
    own = folder / "config.toml" if folder else None
    return SettingsFiles(Path(values["config"]) if values.get("config") else None, folders, own)


def _merged(layers: Sequence[Layer]) -> Settings:
    """Merge layers, and say what a file that was found sets."""
    settings = merge_layers(layers)
    for layer in (one for one in layers if one.is_found and not settings.quiet):
        names = [name for name in layer.values if name == "map" or settings.sources.get(name) == layer.source]
        if names:
            said = ", ".join(_say(name, layer.values[name]) for name in names)
            click.echo(shorten(visible(f"{layer.source} was found, and sets: {said}"), 400), err=True)
    return settings


def _say(name: str, value: Any) -> str:
    if name == "map":
        return ", ".join(f'"{header}" = "{field}"' for header, field in value.items())
    return f"{SETTINGS[name].key} {value}"


def _given(values: Mapping[str, Any]) -> tuple[Layer, Layer]:
    """Tell apart what stands on the command line and in the environment."""
    context = click.get_current_context()
    layers: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for name, value in values.items():
        layer = layers[context.get_parameter_source(name) is ParameterSource.ENVIRONMENT]
        if value not in (None, ()) and name in ENDPOINT_FLAGS:
            layer["endpoint_options"] = {name: value}
        elif value not in (None, ()) and name not in (*PAIRS, "config"):
            layer[name] = value
    return Layer(COMMAND_LINE, layers[0]), Layer(ENVIRONMENT, layers[1])


def _with_map(layer: Layer, pairs: Iterable[str]) -> Layer:
    """Add the mapping of headers; in `HEADER=FIELD` the last `=` is the one that counts."""
    headers = {}
    for text in pairs:
        header, equals, target = text.rpartition("=")
        if text.strip() and not (equals and header.strip()):
            raise click.UsageError(f'--map "{text}": write it as "HEADER=FIELD", or "HEADER=" to leave a column out.')
        if text.strip():
            headers[header.strip()] = target.strip()
    return replace(layer, values={**layer.values, "map": headers}) if headers else layer


def _with_storage_options(*, given: Layer, variables: Layer, words: Iterable[str]) -> list[Layer]:
    """Add the pairs of `--storage-option`, on the command line and in the environment; no value of them is shown."""
    layers = []
    for layer, texts in ((given, words), (variables, _lines_of("storage_option"))):
        pairs = dict[str, str]()
        for text in filter(str.strip, texts):
            name, equals, value = text.partition("=")
            if not (equals and name.strip()):
                raise click.UsageError(f"{STORAGE_OPTION}: write it as KEY=VALUE, such as region=eu-west-1.")
            pairs[name.strip()] = value
        layers.append(replace(layer, values={**layer.values, "storage_option": pairs}) if pairs else layer)
    return layers


def _with_lists(layer: Layer) -> Layer:
    """Add the settings of several values, of which a variable has one a line."""
    names = [one.name for one in SETTINGS.values() if get_origin(one.type) is tuple]
    lists = {name: tuple(filter(str.strip, _lines_of(name))) for name in names}
    return replace(layer, values={**layer.values, **{name: value for name, value in lists.items() if value}})


def _lines_of(name: str) -> list[str]:
    return os.environ.get(SETTINGS[name].variable, "").splitlines()


def to_where(options: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Read `FIELD=VALUE` pairs; the first `=` is the one that counts, since values have more of them than names."""
    pairs = []
    for text in options:
        name, equals, value = text.partition("=")
        if not (equals and name.strip()):
            raise click.UsageError(f'--where "{text}": write it as "FIELD=VALUE".')
        pairs.append((name.strip(), value))
    return tuple(pairs)
