"""Mappings: what the headers of a file stand for, remembered under a name for this user.

Promises: a mapping says what headers mean, never what cells hold; the file is whole or not there, and read by its owner
alone; one that is damaged is told, and changes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Final

from batch.endpoints.labels import fold
from batch.errors import SettingsError
from batch.user_file import UserFile

FILE: Final = "mappings.json"
BESIDE: Final = ("key", "sheet", "header_row", "decimal", "date_format")
"""The settings that a mapping remembers beside what headers stand for."""


@dataclass(frozen=True, slots=True)
class SavedMapping:
    """What the headers of one kind of file stand for."""

    name: str
    endpoint: str
    headers: tuple[str, ...]
    """All headers of the file, folded and sorted: by them it is recognised."""
    map: dict[str, str]
    """As `--map` says it: header -> field, "" to leave it out."""
    saved: date
    key: str | None = None
    sheet: str | None = None
    header_row: int | None = None
    decimal: str | None = None
    date_format: str | None = None
    formats: dict[str, str] = field(default_factory=dict)
    """How numbers and dates are meant that can be read in two ways, as a person answered: by `decimal`, `date_format`.

    They are asked only where nothing else tells, so they are no settings, which would make a run another one.
    """

    def is_for(self, endpoint: str, headers: Sequence[str]) -> bool:
        """Whether it was remembered for a file with just these headers, in whatever order."""
        return (self.endpoint, self.headers) == (endpoint, fold_all(headers))


def fold_all(headers: Iterable[str]) -> tuple[str, ...]:
    """Return headers as a mapping knows them again: folded, and sorted, since columns may be moved."""
    return tuple(sorted(fold(header) for header in headers if header.strip()))


@cache
def _reader() -> Any:
    from pydantic import TypeAdapter  # few starts read mappings

    return TypeAdapter(list[SavedMapping])


class Mappings:
    """The mappings of one user; every method raises SettingsError where their file cannot be used."""

    def __init__(self, folder: Path | None) -> None:
        self._file = UserFile(folder, FILE, "mapping", SettingsError)

    def read(self) -> list[SavedMapping]:
        """Read all of them, by name."""
        if self._file.folder is None:
            return []
        try:
            text = self._file.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._file.unusable("read", error) from None
        from pydantic import ValidationError

        try:
            return sorted(_reader().validate_json(text), key=lambda one: one.name)
        except ValidationError:
            raise SettingsError(
                f"{self._file.path}: it is damaged. Remove it, and match the columns once more."
            ) from None

    def named(self, name: str, endpoint: str | None = None) -> SavedMapping:
        """Return the mapping of a name (and, where one is given, for this endpoint)."""
        known = self.read()
        found = next((one for one in known if one.name == name and endpoint in (None, one.endpoint)), None)
        if found is None:
            names = ", ".join(one.name for one in known if endpoint in (None, one.endpoint))
            of = f" of {endpoint}" if endpoint else ""
            raise SettingsError(
                f'There is no mapping "{name}"{of}. {f"There are: {names}." if names else "None is kept."}'
            )
        return found

    def recognise(self, endpoint: str, headers: Sequence[str]) -> SavedMapping | None:
        """Find the mapping that was remembered for a file with these headers, the newest where there are several."""
        fitting = [one for one in self.read() if one.is_for(endpoint, headers)]
        return max(fitting, key=lambda one: one.saved, default=None)

    def free_name(self, wanted: str) -> str:
        """Return a name that no mapping has: this one, or the first of it with a number."""
        taken = {one.name for one in self.read()}
        names = (wanted, *(f"{wanted}-{number}" for number in range(2, len(taken) + 3)))
        return next(one for one in names if one not in taken)

    def keep(self, mapping: SavedMapping) -> None:
        """Keep a mapping, in the place of the one of its name."""
        with self._file.changing():
            self._write([one for one in self.read() if one.name != mapping.name] + [mapping])

    def forget(self, name: str) -> SavedMapping:
        """Remove a mapping."""
        with self._file.changing():
            found = self.named(name)
            self._write([one for one in self.read() if one.name != name])
        return found

    def _write(self, mappings: list[SavedMapping]) -> None:
        self._file.write(_reader().dump_json(mappings, indent=2).decode() + "\n")
