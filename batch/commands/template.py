"""`template`: which columns an empty spreadsheet has, with the organisation's custom fields where a key is at hand.

Promises: without a key nothing is asked of any network; a key that does not work costs the custom fields, and this is
told; what is filled in under these headers is what `check` and `update` understand.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from batch.commands.pull import new_file
from batch.credentials import has_variable
from batch.endpoints.base import CustomField, Endpoint
from batch.endpoints.cell_types import text
from batch.engine.api_session import ApiSession, fetch_definitions
from batch.engine.shutdown import Shutdown
from batch.errors import FolderError, StoppedError
from batch.files import check_new_file, os_reason
from batch.model import Field
from batch.outputs import template
from batch.run.consent import Person
from batch.run.target import Environment, make_endpoint, make_target, with_login
from batch.settings import DEFAULT_CLEAR, Settings

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TemplateMade:
    """A template that was written."""

    path: Path
    endpoint: str
    columns: int
    notes: tuple[str, ...]


def make_template(
    path: Path, settings: Settings, environment: Environment, person: Person, *, may_replace: bool
) -> TemplateMade:
    """Write an empty spreadsheet for the endpoint; raises SettingsError where that may not be."""
    check_new_file(path, (".xlsx", ".csv"), force=may_replace)
    notes: list[str] = []
    settings = with_login(settings, environment, person)
    columns = template_columns(settings, environment, notes.append)
    write_template(path, columns, make_endpoint(settings, environment), delimiter=settings.csv_delimiter)
    return TemplateMade(path, settings.endpoint, len(columns), tuple(notes))


def template_columns(settings: Settings, environment: Environment, note: Note) -> list[Field]:
    """List the columns of a template: the id, and every field that a cell can set."""
    endpoint = make_endpoint(settings, environment)
    if endpoint.has_custom_fields and _has_key(settings, endpoint, environment):
        with ExitStack() as stack:
            target = make_target(settings, environment, stack, note)
            endpoint = endpoint.defined(_definitions(ApiSession(target, settings.pace, environment), note))
    elif endpoint.has_custom_fields:
        names = " and ".join(one.name for one in endpoint.variables if one.is_required)
        note(f"Without a key ({names}) your own custom fields are not known: they are left out.")
    record_id = Field("id", text(), nullable=False, labels=endpoint.id_labels, limits=endpoint.id_form, kind="id")
    more = [endpoint.field_named(name) for name in endpoint.more_columns(None)]
    return [record_id, *endpoint.columns(), *(one for one in more if one is not None)]


def _has_key(settings: Settings, endpoint: Endpoint, environment: Environment) -> bool:
    needed = [one.name for one in endpoint.variables if one.is_required]
    named = (settings.token_command, settings.token_file, settings.as_login)
    is_named = settings.sandbox or any(one is not None for one in named)
    return is_named or all(has_variable(one, environment.variables) for one in needed)


def _definitions(api: ApiSession, note: Note) -> list[CustomField]:
    async def fetch() -> list[CustomField]:
        async with api.open_client(api.target.endpoint, Shutdown(), lambda name: None, note) as client:
            return await fetch_definitions(client, note)

    try:
        found: list[CustomField] = api.environment.run(fetch)
    except StoppedError as error:
        note(f"Your own custom fields are left out: {error}")
        return []
    return found


def write_template(
    path: Path, columns: Sequence[Field], endpoint: Endpoint, *, clear_token: str = DEFAULT_CLEAR, delimiter: str = ","
) -> None:
    """Write an empty spreadsheet with these columns; a CSV file is its header alone."""
    file = new_file(path)
    try:
        made = [template.template_column(one) for one in columns]
        ending = path.suffix.lower()
        template.write_template(file.made, ending, made, endpoint, clear=clear_token, delimiter=delimiter)
        file.keep()
    except OSError as error:
        raise FolderError(f"{path}: it cannot be written ({os_reason(error)}).") from None
    finally:
        file.discard()
