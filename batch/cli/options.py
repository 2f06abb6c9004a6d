"""The options of each command, and what settings they make: both from the table in `batch/settings.py`.

Promises: each option is also `BATCH_<NAME>` in the environment and a key of `batch.toml` (beside the input, else in the
current folder); what was not given anywhere is left to the defaults of `Settings`.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from click.core import ParameterSource

from batch.settings import (
    COMMAND_LINE,
    ENVIRONMENT,
    SETTINGS,
    EndpointOptions,
    Layer,
    Setting,
    Settings,
    merge_layers,
    read_file,
)

F = TypeVar("F", bound=Callable[..., Any])
GENERAL = "update"
"""The command that takes all options of those that take an input."""


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
    if command in SETTINGS["out"].commands:
        rest = [one for one in SETTINGS.values() if GENERAL in one.commands and one not in taken]
        options = [click.argument("input", metavar="INPUT"), *options, *(_option(one, command) for one in rest)]

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
    elif setting.type in (int, float):
        more = {"type": setting.type}
    elif get_origin(setting.type) is Literal and setting.metavar is None:
        more = {"type": click.Choice(get_args(setting.type))}
    elif get_origin(setting.type) is dict:
        more = {"multiple": True}
    return click.option(
        *names,
        cls=_AddressOption if setting.name == "base_url" else _Option,
        envvar=setting.variable if setting.is_layered and "multiple" not in more else None,  # BATCH_MAP has lines
        show_envvar=False,
        default=None,
        metavar=setting.metavar,
        help=setting.help_of.get(command, setting.help),
        hidden=command not in setting.commands,
        **more,
    )


def to_settings(values: Mapping[str, Any], endpoints: EndpointOptions) -> Settings:
    """Merge options, environment and `batch.toml`, with the `endpoints`' own options; raises SettingsError."""
    given, variables = _given(values)
    folders = [Path.cwd()]
    source = values.get("input") or "-"
    if source != "-":
        folders.insert(0, Path(source).parent)
    from_file = read_file(list(dict.fromkeys(folders)), values.get("endpoint"), endpoints)
    layers = [_with_map(given, values.get("map") or ()), _with_map(variables, _lines_of_map()), from_file]
    if not any(layer.values.get("endpoint") for layer in layers):
        raise click.UsageError("Which endpoint? Name it with -e, such as -e dualentry.customers. See: batch endpoints")
    return merge_layers(layers)


def to_undo_settings(values: Mapping[str, Any], endpoints: EndpointOptions) -> Settings:
    """Merge options, environment and the settings of `batch.toml` that are about sending; raises SettingsError."""
    from_file = read_file([Path.cwd()], None, endpoints)
    about_sending = {name: value for name, value in from_file.values.items() if name in values}
    return merge_layers([*_given(values), replace(from_file, values=about_sending)])


def _given(values: Mapping[str, Any]) -> tuple[Layer, Layer]:
    """Tell apart what stands on the command line and in the environment."""
    context = click.get_current_context()
    layers: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for name, value in values.items():
        if value is not None and name != "map":
            layers[context.get_parameter_source(name) is ParameterSource.ENVIRONMENT][name] = value
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


def _lines_of_map() -> list[str]:
    return os.environ.get(SETTINGS["map"].variable, "").splitlines()


def to_where(options: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Read `FIELD=VALUE` pairs; the first `=` is the one that counts, since values have more of them than names."""
    pairs = []
    for text in options:
        name, equals, value = text.partition("=")
        if not (equals and name.strip()):
            raise click.UsageError(f'--where "{text}": write it as "FIELD=VALUE".')
        pairs.append((name.strip(), value))
    return tuple(pairs)
