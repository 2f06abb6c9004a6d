"""Mappings: what the headers of a file stand for, remembered under a name for this user.

Promises: a mapping says what headers mean, never what cells hold; the file is whole or not there, and read by its owner
alone; one that is damaged is told, and changes nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from batch.endpoints.labels import fold
from batch.errors import SettingsError
from batch.files import os_reason, write_private

FILE: Final = "mappings.json"
LOCK_SECONDS: Final = 10.0
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

    def is_for(self, endpoint: str, headers: Sequence[str]) -> bool:
        """Whether it was remembered for a file with just these headers, in whatever order."""
        return (self.endpoint, self.headers) == (endpoint, fold_all(headers))


def fold_all(headers: Iterable[str]) -> tuple[str, ...]:
    """Return headers as a mapping knows them again: folded, and sorted, since columns may be moved."""
    return tuple(sorted(fold(header) for header in headers if header.strip()))


_READER: Final = TypeAdapter(list[SavedMapping])


class Mappings:
    """The mappings of one user; every method raises SettingsError where their file cannot be used."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """The file."""
        if self._folder is None:
            raise SettingsError("This user has no home folder to keep mappings in. Name one:  XDG_CONFIG_HOME=/folder")
        return self._folder / FILE

    def read(self) -> list[SavedMapping]:
        """Read all of them, by name."""
        if self._folder is None:
            return []
        try:
            return sorted(_READER.validate_json(self.path.read_bytes()), key=lambda one: one.name)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SettingsError(f"{self.path}: it cannot be read ({os_reason(error).lower()}).") from None
        except ValidationError:
            raise SettingsError(f"{self.path}: it is damaged. Remove it, and match the columns once more.") from None

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
        with self._locked():
            self._write([one for one in self.read() if one.name != mapping.name] + [mapping])

    def forget(self, name: str) -> SavedMapping:
        """Remove a mapping."""
        with self._locked():
            found = self.named(name)
            self._write([one for one in self.read() if one.name != name])
        return found

    def _write(self, mappings: list[SavedMapping]) -> None:
        write_private(self.path.resolve(), _READER.dump_json(mappings, indent=2).decode() + "\n")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold off another start of this user, whose mapping would be lost."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock"), timeout=LOCK_SECONDS, mode=0o600):
                yield
        except Timeout:
            raise SettingsError(f"{self.path}: another mapping is being kept at the moment. Try again.") from None
        except OSError as error:
            raise SettingsError(f"{self.path}: it cannot be written ({os_reason(error).lower()}).") from None
