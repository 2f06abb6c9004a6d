"""Records -> cells: the current values as text that `update` reads back as the very same values.

Promises: a cell with text in it means exactly the value that the record has, proven by reading it; what no text can
say (a semicolon inside of a list's item, the clear token as a value, what the field's own limits refuse) is left blank,
which changes nothing, and is told.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from batch.endpoints.base import MISSING, Endpoint, Record, is_blank
from batch.endpoints.cell_types import as_text
from batch.model import Field, looks_blank
from batch.validation import is_hardly_meant

SHOWN_IDS = 3
_NUMBERED = re.compile(r"(\w+)\.(\d+)\.")


@dataclass(slots=True)
class Left:
    """What was left blank in one column: how often, and in which records first."""

    count: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, record_id: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.ids) < SHOWN_IDS:
            self.ids.append(record_id)


class Renderer:
    """Turns records of one endpoint into cells by column name, and counts the values that no cell can express."""

    def __init__(self, endpoint: Endpoint, clear_token: str) -> None:
        self._endpoint, self._clear_token = endpoint, clear_token
        self._fixed = endpoint.columns()
        self._more: dict[str, Field] = {}
        self._inexpressible: set[str] = set()
        self._known = {one.name for one in self._fixed}
        self._adapters: dict[str, TypeAdapter[Any]] = {}
        self._shown: Counter[str] = Counter()
        self.records = 0
        self.left: dict[str, Left] = {}
        """The values that no cell can express, by column."""

    @property
    def columns(self) -> list[str]:
        """The columns beside the id: without those that no record shows, the numbered ones in their order."""
        fixed = [one.name for one in self._fixed if self._shown[one.name] or not self.records]
        return [*fixed, *sorted(self._more, key=_place)]

    @property
    def hidden(self) -> list[str]:
        """The fields that the API does not show when it lists records."""
        return [one.name for one in self._fixed if self.records and not self._shown[one.name]]

    def cells(self, record: Record) -> dict[str, str]:
        """Return the cells of a record that are not blank, with its id."""
        record_id = self._endpoint.record_id(record)
        self.records += 1
        for name in self._endpoint.more_columns(record):
            if name not in self._known:
                self._add_column(name)
            if name in self._inexpressible and not is_blank(self._endpoint.value(record, name)):
                self.leave(name, record_id)
        cells = {"id": record_id}
        for one in (*self._fixed, *self._more.values()):
            value = self._endpoint.value(record, one.name)
            if value is MISSING:
                if self._endpoint.ambiguity(record, one.name):
                    self._shown[one.name] += 1
                    self.leave(one.name, record_id)
                continue
            self._shown[one.name] += 1
            if is_blank(value):
                continue
            text = as_text(value)
            if text is not None and self._means(one, text, value):
                cells[one.name] = text
            else:
                self.leave(one.name, record_id)
        return cells

    def _add_column(self, name: str) -> None:
        """Add a column for a name that is met for the first time, if a header can express it."""
        self._known.add(name)
        field = self._endpoint.field_named(name)
        if field is not None and field.name == name and not self._endpoint.definition_problem(name):
            self._more[name] = field
        else:
            self._inexpressible.add(name)

    def leave(self, column: str, record_id: str) -> None:
        """Count a cell that is left blank although the record has a value."""
        self.left.setdefault(column, Left()).add(record_id)

    def _means(self, column: Field, text: str, value: Any) -> bool:
        """Return whether `text` in a sheet means `value` for update."""
        if looks_blank(text) or is_hardly_meant(text, self._clear_token, column.kind):
            return False
        if column.name not in self._adapters:
            self._adapters[column.name] = TypeAdapter(column.type)
        try:
            read = self._adapters[column.name].validate_python(text)
        except ValidationError:
            return False
        return self._endpoint.is_same(column.name, read, value)


def _place(name: str) -> tuple[str, int]:
    """Sort `contacts.10.email` behind `contacts.9.email`; everything else stays in the order of its coming."""
    found = _NUMBERED.match(name)
    return (found[1], int(found[2])) if found else (name.partition(".")[0], 0)


def matches(endpoint: Endpoint, record: Record, wanted: Mapping[str, Any]) -> bool:
    """Return whether a record has all of the wanted values."""
    found: Iterable[bool] = (
        endpoint.is_same(name, value, endpoint.value(record, name)) for name, value in wanted.items()
    )
    return all(found)
