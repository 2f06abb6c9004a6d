"""Which SQLite files this process has open: to open one beside SQLite, and close it, would take SQLite's locks away."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_open_here: Counter[str] = Counter()
"""How many connections this process has to a database, by its path."""
_opening: Final = threading.RLock()


def note_open(path: Path) -> str:
    """Note that this process opens a connection to a database; return what `note_closed` wants."""
    name = os.path.realpath(path)
    with _opening:
        _open_here[name] += 1
    return name


def note_closed(name: str) -> None:
    """Note that a connection was closed."""
    with _opening:
        _open_here[name] -= 1
        if not _open_here[name]:
            del _open_here[name]


@contextmanager
def unless_open_here(path: Path) -> Iterator[bool]:
    """Yield whether the files of a database may be opened beside SQLite; nobody here opens it meanwhile.

    Whoever closes a file takes all locks of its process on it (POSIX), those of SQLite's connections, too. Another
    process then takes the database for one that nobody uses, and cuts the -shm file, which kills this one (SIGBUS).
    """
    with _opening:
        yield os.path.realpath(path) not in _open_here
