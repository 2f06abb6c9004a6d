"""What this machine lacks, told as such: memory, disk, threads, open files, installed modules.

Promises: none of it is called a bug or the API's failure; what would end in an abort is refused before it begins.
"""

import errno
import getpass
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from batch.errors import UsageError
from batch.files import os_reason

FILES_OF_A_JOURNAL = 8
"""What SQLite may have open for a database at once: itself, its log and index, the folder, for two connections."""
LEAST_MEMORY = 512 << 20
LEAST_ADDRESSES = 1536 << 20
"""Bytes of address space: libraries reserve far more of it than they use. On 2 cores they need about 1,200 MB."""
CGROUPS = Path("/sys/fs/cgroup")
OUT_OF_FILES = {
    errno.EMFILE: "this process may open no more files (ulimit -n)",
    errno.ENFILE: "too many files are open",
}
OUT_OF_MEMORY = "there is too little memory (ulimit -v, the container's limit, or other programs)"
TIMES_THE_INPUT = {"csv": 3, "ndjson": 3, "parquet": 4, "xlsx": 10}
"""How much room rows, journal and results take as a rule, by what the input takes: a workbook is packed best."""

LEAST_DISK = 8 << 20
"""Of which the journal alone takes up to 4 MB beside what is in it, until that is moved to its place."""

_OF_THE_SYSTEM = re.compile(r"\(os error (\d+)\)")
"""What polars, whose files are read and written by Rust, says at the end of what the system said."""


def as_os_error(error: BaseException) -> OSError | None:
    """Return what the system said about a file or a disk, also where a library has put its own words around it."""
    if isinstance(error, OSError):
        return error
    if type(error).__name__ == "FileCreateError":  # xlsxwriter's
        return as_os_error(error.args[0])
    is_of_polars = type(error).__module__.partition(".")[0] == "polars"  # without importing it: it takes a while
    said = _OF_THE_SYSTEM.search(str(error)) if is_of_polars else None
    return OSError(int(said[1]), os.strerror(int(said[1]))) if said else None


def machine_reason(error: BaseException) -> str | None:
    """Say what this machine lacks, None where the error speaks of something else."""
    match error:
        case MemoryError():
            return f"On this machine {OUT_OF_MEMORY}"
        case ModuleNotFoundError(name=str()) if os.environ.get("BATCH_SETUP"):
            return f"The module {error.name} is missing: remove the folder .venv, and the next start sets it up anew"
        case ModuleNotFoundError(name=str()):
            return f"The module {error.name} is missing: install batch anew, with all that it needs"
        case OSError(errno=errno.ENOMEM):
            return f"On this machine {OUT_OF_MEMORY}"
        case OSError() if error.errno in OUT_OF_FILES:
            return f"On this machine {OUT_OF_FILES[error.errno]}"
        case OSError(errno=errno.ENOENT, filename=None) if "temporary directory" in str(error):  # tempfile's own
            return "No folder for temporary files can be written here: name one, such as TMPDIR=/data/tmp"
        case OSError():
            return f"{error.filename or 'The disk'}: {os_reason(error)}"
        case RuntimeError() if "can't start new thread" in str(error):
            return "On this machine no more threads can be started (ulimit -u, or the container's limit)"
    if (said := as_os_error(error)) is not None:
        return machine_reason(said)
    if type(error).__name__ == "PanicException":  # polars', which is no Exception and can only be told by its name
        return f"polars, which reads and writes tables here, gave up, as it does without memory: {error}"
    return None


def out_of_files() -> str:
    """Say that hardly any more files can be opened, "" where they can: SQLite only says that it cannot open its own."""
    with ExitStack() as opened:
        try:
            for _ in range(FILES_OF_A_JOURNAL):
                opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            return machine_reason(error) or ""
    return ""


def user_name() -> str:
    """Return who runs this, as the system calls them; "" where it has no name for them, as in a container."""
    with suppress(KeyError, OSError, ImportError):
        return getpass.getuser()
    return ""


def now_text() -> str:
    """Return the time now, ISO 8601 in UTC."""
    return utc_text(time.time())


def utc_text(seconds: float) -> str:
    """Spell a moment, in seconds since 1970: ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def first_of(error: BaseException) -> BaseException:
    """Return an error, or the first one of a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def check_memory() -> None:
    """Raise UsageError where there is too little memory to begin: libraries would end the process without a word."""
    limits = [(allowed, LEAST_MEMORY, "memory", "the container's limit") for allowed in _iter_memory_limits()]
    if (addresses := _address_limit()) is not None:
        limits.append((addresses, LEAST_ADDRESSES, "address space", "ulimit -v"))
    for allowed, least, what, where in limits:
        if allowed < least:
            raise UsageError(
                f"Only {allowed >> 20:,} MB of {what} are allowed here ({where}), and batch needs {least >> 20:,}. "
                "Nothing was done."
            )


def check_disk(folder: Path, size: int, form: str) -> None:
    """Raise UsageError where the disk of `folder` has less room than an input of so many bytes needs."""
    needed, free = LEAST_DISK + TIMES_THE_INPUT[form] * size, shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"{folder}: {free >> 20:,} MB are free there, and this input needs {-(-needed >> 20):,} MB for its rows, "
            "its record and results. Make room, or name another place with --out. Nothing was sent."
        )


def _address_limit() -> int | None:
    try:
        import resource  # there is none on Windows
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def _iter_memory_limits() -> Iterator[int]:
    for path in _iter_cgroup_files():
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if text.isdigit():  # else "max"
            yield int(text)


def _iter_cgroup_files() -> Iterator[Path]:
    """Yield the files with limits of this process's group and of those above it (cgroup 2 and 1)."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = (CGROUPS / "memory", "memory.limit_in_bytes") if controllers else (CGROUPS, "memory.max")
        own = top / group.strip("/")
        yield from (one / name for one in (own, *own.parents) if one.is_relative_to(top))


LEAST_FREE: Final = 64 << 20
"""Bytes that stay free on the disk of copies."""
LOOK_EVERY: Final = 16 << 20
"""Bytes after which it is looked how much room is left."""


@dataclass(slots=True)
class Room:
    """The room on a disk for copies: something without an end never fills it."""

    folder: Path
    written: int = 0
    _looked: int = 0

    @property
    def free(self) -> int:
        """Bytes that are free."""
        return shutil.disk_usage(self.folder).free

    def has(self, size: int) -> bool:
        """Whether something of so many bytes fits."""
        return self.free >= size + LEAST_FREE

    def take(self, size: int) -> bool:
        """Count bytes that are about to be written; False where nothing more fits beside them."""
        self.written += size
        if self.written - self._looked < LOOK_EVERY:
            return True
        self._looked = self.written
        return self.has(size)
