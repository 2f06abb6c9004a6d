"""Whole pages: the check's, the closing summary, the endpoints, and the template."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batch.cli import messages
from batch.cli.console import STYLES, Screen
from batch.commands.check import Checked
from batch.commands.plan import PlanSummary
from batch.endpoints.base import Endpoint
from batch.errors import SettingsError
from batch.model import Field, Outcome, shorten
from batch.run.finish import FinishedRun
from batch.run.target import Environment, make_endpoint
from batch.settings import Settings
from batch.summary import Summary

STOP_STYLE = "red"


def as_json(summary: Summary | PlanSummary) -> str:
    """The summary as `--json` prints it: what is in `summary.json`."""
    return json.dumps(summary.as_dict(), indent=2, ensure_ascii=False)


def show_check(screen: Screen, found: Checked) -> None:
    """Show what a check found: on stdout, since it is what was asked for."""
    import click

    if not screen.settings.quiet:
        click.echo("\n".join(messages.checked(found)))


def tell_closing(screen: Screen, end: FinishedRun) -> None:
    """Print the summary on stdout where --json asks for it, and show it on stderr."""
    import click

    if screen.settings.json_output:
        click.echo(as_json(end.summary))
    show_closing(screen, end)


def show_closing(screen: Screen, end: FinishedRun) -> None:
    """Show the closing summary on stderr."""
    screen.leave()
    for line, style in messages.closing(end):
        colour = STOP_STYLE if style == "stop" else STYLES.get(Outcome(style)) if style else None
        screen.say(line, style=colour, is_error=style == "stop")


# -- endpoints ------------------------------------------------------------------------------------------------------


def endpoints_page(name: str | None, environment: Environment, *, as_json: bool) -> str:
    """Describe all endpoints in a line each, or one with its fields."""
    if name is None:
        listed = [make_endpoint(Settings(endpoint=one), environment) for one in environment.endpoints]
        if as_json:
            return json.dumps([_summary_of(one) for one in listed], indent=2)
        return "\n".join(messages.table([(e.name, e.title, f"{e.method} {e.base_url}") for e in listed]))
    endpoint = make_endpoint(Settings(endpoint=name), environment)
    if as_json:
        fields = [_field_as_dict(field) for field in endpoint.fields]
        return json.dumps(
            _summary_of(endpoint) | {"fields": fields, "families": dict(endpoint.dynamic_fields)}, indent=2
        )
    return "\n".join(_endpoint_page(endpoint))


def _summary_of(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "name": endpoint.name,
        "title": endpoint.title,
        "method": endpoint.method,
        "base_url": endpoint.base_url,
        "credentials": {one.name: one.what for one in endpoint.variables},
        "id": {"form": endpoint.id_form, "labels": list(endpoint.id_labels)},
    }


def _field_as_dict(field: Field) -> dict[str, Any]:
    return {
        "name": field.name,
        "kind": field.kind,
        "limits": field.limits,
        "clear": field.nullable,
        "choices": list(field.choices),
        "labels": list(field.labels),
        "spaces": "trimmed" if field.trims else "kept",
    }


def _endpoint_page(endpoint: Endpoint) -> Iterator[str]:
    yield f"{endpoint.name}: {endpoint.title}, {endpoint.method} {endpoint.base_url}"
    yield ""
    rows = [("FIELD", "CLEAR", "SPACES", "LIMITS", "ALSO CALLED")]
    rows += [("id", "", "trimmed", endpoint.id_form, ", ".join(endpoint.id_labels))]
    rows += [_field_row(field) for field in endpoint.fields]
    rows += [(name, "yes", "", meaning, "") for name, meaning in endpoint.dynamic_fields]
    yield from (f"  {line}" for line in messages.table(rows))
    yield ""
    yield "CLEAR: whether <clear> may empty it. SPACES: whether spaces around a value are trimmed or kept."
    limits = "; ".join(_limits(endpoint)) or "not known, so they are found out"
    yield f"Limits: {limits} (--max-per-second for others)"
    if endpoint.variables:
        yield "Credentials: " + "; ".join(f"{one.name} = {one.what}" for one in endpoint.variables)
    if endpoint.key_fields:
        yield "Records can also be found by: " + ", ".join(f"--key {one}" for one in endpoint.key_fields)


def _field_row(field: Field) -> tuple[str, str, str, str, str]:
    limits = ", ".join(field.choices) if field.choices else field.limits
    clear, spaces = "yes" if field.nullable else "no", "trimmed" if field.trims else "kept"
    return field.name, clear, spaces, limits, shorten(", ".join(field.labels), 60)


def _limits(endpoint: Endpoint) -> Iterator[str]:
    for what, bucket in (("in all", endpoint.limits.total), ("for each kind of request", endpoint.limits.per_route)):
        if bucket:
            yield f"{bucket.per_second:g} a second after the first {bucket.burst} {what}"


# -- template -------------------------------------------------------------------------------------------------------


def make_template(path: Path, settings: Settings, environment: Environment, *, may_replace: bool) -> str:
    """Write an empty spreadsheet, and say where it is."""
    from batch.commands.template import template_columns, write_template

    if path.suffix.lower() not in (".xlsx", ".csv"):
        raise SettingsError(f"{path}: a template is an .xlsx or a .csv file.")
    if path.exists() and not may_replace:
        raise SettingsError(f"{path} is there already. Name another file, or use --force to write over it.")
    notes: list[str] = []
    columns = template_columns(settings, environment, notes.append)
    write_template(path, columns, make_endpoint(settings, environment))
    check = f"{messages.command()} check {path} -e {settings.endpoint}"
    return "\n".join(
        [
            *notes,
            f"{path}: {len(columns)} columns. Fill it in, then:  {check}",
        ]
    )
