"""A small file of this user's own in the config folder: logins, mappings.

Promises: it is whole or not there, and its owner alone can read it; two processes that change it do not lose each
other's change; whatever cannot be done is told in words.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from batch.errors import UsageError
from batch.files import os_reason, write_private

LOCK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class UserFile:
    """The file `name` in `folder` (None: this user has none); every method raises `error`."""

    folder: Path | None
    name: str
    noun: str
    """What each entry of it is called."""
    error: type[UsageError]

    @property
    def path(self) -> Path:
        """Where it is."""
        if self.folder is None:
            raise self.error(
                f"This user has no home folder to keep {self.noun}s in. Name one:  XDG_CONFIG_HOME=/folder"
            )
        return self.folder / self.name

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold off other processes of this user while it is read and written again."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock"), timeout=LOCK_SECONDS, mode=0o600):
                yield
        except Timeout:
            raise self.error(f"{self.path}: another {self.noun} is being kept at the moment. Try again.") from None
        except OSError as error:
            raise self.unusable("written", error) from None

    def write(self, text: str) -> None:
        """Write all of it."""
        try:
            write_private(self.path.resolve(), text)  # a link, as dotfile managers make them, stays one
        except OSError as error:
            raise self.unusable("written", error) from None

    def unusable(self, done: str, error: Exception) -> UsageError:
        """Return the error that says what cannot be done with it, and why."""
        why = os_reason(error).lower() if isinstance(error, OSError) else "it is not a text file"
        return self.error(f"{self.path}: it cannot be {done} ({why}).")
