"""Keyrings for tests, named by PYTHON_KEYRING_BACKEND: the program loads them in a process of its own, as any other."""

import json
import subprocess
import sys
import time
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError


class FileKeyring(KeyringBackend):
    """One that keeps its entries in the user's home folder."""

    priority = 5.0

    @property
    def path(self) -> Path:
        return Path.home() / "keyring.json"

    def _entries(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return found

    def get_password(self, service: str, username: str) -> str | None:
        return self._entries().get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self.path.write_text(json.dumps(self._entries() | {f"{service}/{username}": password}))

    def delete_password(self, service: str, username: str) -> None:
        entries = self._entries()
        if entries.pop(f"{service}/{username}", None) is None:
            raise PasswordDeleteError
        self.path.write_text(json.dumps(entries))


class HangingKeyring(FileKeyring):
    """One that waits for a click, together with a window of its own that holds its pipes."""

    def get_password(self, service: str, username: str) -> str | None:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        time.sleep(60)
        return None

    def set_password(self, service: str, username: str, password: str) -> None:
        self.get_password(service, username)


class LockedKeyring(FileKeyring):
    """One that is locked."""

    def set_password(self, service: str, username: str, password: str) -> None:
        raise KeyringLocked


class TalkativeKeyring(FileKeyring):
    """One whose errors hold the key."""

    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError(f"cannot keep {password}")


class ForgetfulKeyring(FileKeyring):
    """One that takes everything and keeps nothing."""

    def set_password(self, service: str, username: str, password: str) -> None:
        return
