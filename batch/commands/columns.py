"""What the columns of an input are taken for, before any row is validated: for whoever shows them and has them changed.

Promises: nothing is sent, and nothing is kept but a mapping that somebody names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from batch import sources
from batch.columns import match_each
from batch.endpoints.base import Endpoint
from batch.endpoints.labels import fold
from batch.errors import HeaderError, UnmatchedError
from batch.model import Column, column_letters, visible
from batch.run.cleanup import scratch
from batch.run.consent import Person
from batch.run.latest import fixed_name
from batch.run.match_headers import Peek, peek_headers, recognise_headers, remember_mapping
from batch.run.target import Environment, make_endpoint
from batch.settings import Settings

NEAREST = 3


@dataclass(frozen=True, slots=True)
class ShownColumn:
    """A column of the input."""

    letters: str
    """As a spreadsheet names it."""
    header: str
    examples: tuple[str, ...]
    column: Column | None
    """What it is taken for; None where nobody knows."""
    is_asked: bool
    """Whether somebody has to say what it stands for."""
    nearest: tuple[str, ...]
    """The fields that its header may mean."""

    @property
    def target(self) -> str:
        """The field's name, "id", or "" for a column without use."""
        return self.column.target if self.column is not None else ""


@dataclass(frozen=True, slots=True)
class ShownColumns:
    """All columns of an input."""

    settings: Settings
    """With the sheet, the row of the headers and the mapping that were found."""
    columns: tuple[ShownColumn, ...]
    error: str
    """Why the headers do not fit, "" where they do."""
    lacks_id: bool
    """No column says which record a row is about."""
    sheet: str
    """The sheet that is read, "" where there are none."""
    sheets: tuple[str, ...]
    """All that could be read."""
    notes: tuple[str, ...]
    """What the person should know about how it was read."""

    @property
    def is_settled(self) -> bool:
        """Whether every column is known, so that rows can be validated."""
        return not self.error


def show_columns(settings: Settings, person: Person, environment: Environment) -> ShownColumns:
    """Read the headers and a few rows, and match them; raises BatchError where it cannot be read as a table."""
    settings = replace(settings, input=fixed_name(settings.input))
    with scratch() as temporary:
        endpoint = make_endpoint(settings, environment)
        source = environment.open_input(settings, temporary, person.note)
        settings, peek = recognise_headers(source, settings, endpoint, person, environment.mappings)
        sheets = sources.sheet_names(source)
    return _shown(settings, endpoint, peek, sheets)


def keep_mapping(settings: Settings, name: str, environment: Environment) -> str:
    """Remember under a name what the headers of the input stand for; gives the name, which "" leaves to the file's."""
    with scratch() as temporary:
        endpoint = make_endpoint(settings, environment)
        source = environment.open_input(settings, temporary, lambda text: None)
        peek = peek_headers(source, settings, endpoint, environment.mappings)
        return remember_mapping(source, settings, endpoint, environment.mappings, peek.headers, name)


def _shown(settings: Settings, endpoint: Endpoint, peek: Peek, sheets: tuple[str, ...]) -> ShownColumns:
    matched = match_each(peek.headers, endpoint, settings.map, settings.columns, settings.key)
    taken = {one.target for one in matched if one is not None and one.target}
    asked = set(map(fold, peek.problem.unmatched)) if peek.problem is not None else set()
    first = peek.staged.style.first_column if peek.staged.style else 1
    columns = [
        ShownColumn(
            column_letters(first + index),
            visible(header),
            examples,
            column,
            column is None and fold(header) in asked,
            tuple(endpoint.nearest(header, NEAREST, without=taken)) if column is None and header.strip() else (),
        )
        for index, (header, examples, column) in enumerate(zip(peek.headers, peek.examples, matched, strict=True))
    ]
    return ShownColumns(
        settings, tuple(columns), _words(peek.error), peek.problem is not None and peek.problem.lacks_id,
        peek.staged.style.sheet if peek.staged.style else "", sheets, peek.staged.notes,
    )  # fmt: skip


def _words(error: HeaderError | None) -> str:
    match error:
        case None:
            return ""
        case UnmatchedError(unmatched=[], lacks_id=True):
            return "No column says which record a row is about. Choose “id” for the one that does."
        case UnmatchedError(unmatched=unmatched):
            if len(unmatched) == 1:
                return "1 column is not known: say what it stands for, or leave it out."
            return f"{len(unmatched)} columns are not known: say what each stands for, or leave it out."
    return str(error)


def with_targets(settings: Settings, targets: Mapping[str, str]) -> Settings:
    """Return the settings with what headers stand for as somebody said it: header -> field, "" to leave it out."""
    folded = set(map(fold, targets))
    kept = {header: target for header, target in settings.map.items() if fold(header) not in folded}
    return replace(settings, map=kept | dict(targets))
