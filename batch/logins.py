"""Logins: the keys of companies, kept under their names for this user.

Promises: a key lies in a file that its owner alone can read, and nowhere else; the file is whole or not there; beside a
key stands the address that it is for, and it is given out for no other.
"""

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from batch.errors import CredentialError
from batch.files import os_reason, write_private

FILE: Final = "logins.json"
LOCK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Login:
    """What opens the records of one company at one API."""

    name: str
    """The company's."""
    api: str
    """The first part of the names of its endpoints."""
    base_url: str
    shown: str
    """The key as it may be shown."""
    credentials: Mapping[str, str] = field(repr=False)
    """By the names of their variables."""

    def is_of(self, other: "Login") -> bool:
        """Whether both are of one company at one API, so that one takes the place of the other."""
        return (self.name, self.api) == (other.name, other.api)


class Logins:
    """The logins of one user, in the file `path`; every method raises CredentialError where that cannot be used."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """The file."""
        if self._folder is None:
            raise CredentialError("This user has no home folder to keep logins in. Name one:  XDG_CONFIG_HOME=/folder")
        return self._folder / FILE

    def read(self, note: Callable[[str], None]) -> list[Login]:
        """Read all of them, by API and name; a file that others could read is closed to them, which is noted."""
        if self._folder is None:
            return []
        try:
            with self.path.open(encoding="utf-8") as file:
                self._close_to_others(file.fileno(), note)
                text = file.read()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable("read", error) from None
        try:
            return sorted(_parsed(text), key=lambda one: (one.api, one.name))
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise CredentialError(
                f"{self.path}: it is damaged. Remove it, and log in to each company again:  batch login"
            ) from None

    def keep(self, login: Login, note: Callable[[str], None]) -> None:
        """Keep a login in the place of the one of this company at this API."""
        with self._locked():
            self._write([*(one for one in self.read(note) if not one.is_of(login)), login])

    def remove(self, login: Login, note: Callable[[str], None]) -> None:
        """Forget a login."""
        with self._locked():
            self._write([one for one in self.read(note) if not one.is_of(login)])

    def _write(self, logins: Sequence[Login]) -> None:
        try:
            # a link, as dotfile managers make them, stays one
            write_private(self.path.resolve(), json.dumps({"logins": [asdict(one) for one in logins]}, indent=2) + "\n")
        except OSError as error:
            raise self._unusable("written", error) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold off another log-in of this user, whose login would be lost."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock"), timeout=LOCK_SECONDS, mode=0o600):
                yield
        except Timeout:
            raise CredentialError(f"{self.path}: another login is being kept at the moment. Try again.") from None
        except OSError as error:
            raise self._unusable("written", error) from None

    def _close_to_others(self, number: int, note: Callable[[str], None]) -> None:
        """Take away what others may do with the file; refuse one that is somebody else's."""
        if os.name != "posix":
            return
        found = os.fstat(number)
        if found.st_uid != os.geteuid():
            raise CredentialError(f"{self.path}: it belongs to another user of this machine, so it is not believed.")
        for_others = stat.S_IMODE(found.st_mode) & 0o077
        if not for_others:
            return
        os.fchmod(number, 0o600)
        could = "change" if for_others & 0o022 else "read"
        note(
            f"{self.path}: other users of this machine could {could} it; it is closed to them now. If there are any, "
            "make new keys."
        )

    def _unusable(self, done: str, error: Exception) -> CredentialError:
        why = os_reason(error).lower() if isinstance(error, OSError) else "it is not a text file"
        return CredentialError(f"{self.path}: it cannot be {done} ({why}).")


def _parsed(text: str) -> Iterator[Login]:
    for one in json.loads(text)["logins"]:
        login = Login(**one)
        words = [login.name, login.api, login.base_url, login.shown, *login.credentials, *login.credentials.values()]
        if not all(isinstance(word, str) for word in words):
            raise ValueError
        yield login
