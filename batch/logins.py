"""Logins: the keys of companies, kept under their names for this user.

Promises: a key lies in the system's keyring or in a file that its owner alone can read, and nowhere else; the file is
whole or not there; beside a key stands the address that it is for, and it is given out for no other.
"""

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, get_args

from batch.errors import CredentialError
from batch.system_keyring import SERVICE, KeyringError, ask_keyring
from batch.user_file import UserFile

FILE: Final = "logins.json"
Kept = Literal["file", "keyring", "keyring, always"]
"""Where the key of a login lies; "always": the keyring is asked where there is no terminal, too."""


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
    """By the names of their variables; {} where the keyring has them."""
    kept: Kept = "file"

    @property
    def entry(self) -> str:
        """What the keyring calls it."""
        return f"{self.name} ({self.api})"

    def is_of(self, other: "Login") -> bool:
        """Whether both are of one company at one API, so that one takes the place of the other."""
        return (self.name, self.api) == (other.name, other.api)


class Logins:
    """The logins of one user, in the file `path`; every method raises CredentialError where that cannot be used."""

    def __init__(self, folder: Path | None) -> None:
        self._file = UserFile(folder, FILE, "login", CredentialError)

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def read(self, note: Callable[[str], None]) -> list[Login]:
        """Read all of them, by API and name; a file that others could read is closed to them, which is noted."""
        if self._file.folder is None:
            return []
        try:
            with self.path.open(encoding="utf-8") as file:
                self._close_to_others(file.fileno(), note)
                text = file.read()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise self._file.unusable("read", error) from None
        try:
            return sorted(_parsed(text), key=lambda one: (one.api, one.name))
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise CredentialError(
                f"{self.path}: it is damaged. Remove it, and log in to each company again:  batch login"
            ) from None

    def keep(self, login: Login, note: Callable[[str], None]) -> None:
        """Keep a login in the place of the one of this company at this API.

        Raises KeyringError where the keyring does not take its key; then nothing has changed.
        """
        with self._file.changing():
            before = self.read(note)
            kept = login
            if login.kept != "file":
                secret = {"base_url": login.base_url, "credentials": dict(login.credentials)}
                ask_keyring("set", login.entry, json.dumps(secret))
                kept = replace(login, credentials={})
            self._write([*(one for one in before if not one.is_of(login)), kept])
            if login.kept == "file":
                _forget_in_keyring([one for one in before if one.is_of(login)], note)

    def remove(self, login: Login, note: Callable[[str], None]) -> None:
        """Forget a login."""
        with self._file.changing():
            self._write([one for one in self.read(note) if not one.is_of(login)])
            _forget_in_keyring([login], note)

    def _write(self, logins: Sequence[Login]) -> None:
        self._file.write(json.dumps({"logins": [asdict(one) for one in logins]}, indent=2) + "\n")

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


def credentials_of(login: Login) -> Mapping[str, str]:
    """Return what a login opens its API with; raises KeyringError where the keyring does not give it."""
    if login.kept == "file":
        return login.credentials
    try:
        secret = json.loads(ask_keyring("get", login.entry))
        if secret["base_url"] != login.base_url:
            raise KeyringError("the system's keyring has the key of another address under this name")
        return {str(name): str(value) for name, value in secret["credentials"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise KeyringError("the system's keyring has something else under this name") from None


def _forget_in_keyring(logins: Iterable[Login], note: Callable[[str], None]) -> None:
    """Remove what the keyring has of them; say so where that is not possible."""
    for one in logins:
        if one.kept != "file":
            try:
                ask_keyring("delete", one.entry)
            except KeyringError as error:
                note(f'The key {one.shown} may still be in the keyring, as "{SERVICE}", "{one.entry}": {error}.')


def _parsed(text: str) -> Iterator[Login]:
    for one in json.loads(text)["logins"]:
        login = Login(**one)
        words = [login.name, login.api, login.base_url, login.shown, *login.credentials, *login.credentials.values()]
        if not all(isinstance(word, str) for word in words) or login.kept not in get_args(Kept):
            raise ValueError
        yield login
