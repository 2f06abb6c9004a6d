"""Locks of inputs and run folders, the state folder that holds them, and the disks on which none can be relied on.

Promises: two starts of one input never send at the same time. A run is refused on a network file system before anything
is written or sent: a lock may hold nobody there, and SQLite keeps the index of a WAL in memory that all its users share
(sqlite.org/wal). Where mounts are not known, a disk counts as local. The state folder outlives runs; it is private to
this user, and never a folder that somebody else has made.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from batch.errors import BusyError, FolderError
from batch.files import make_private, unusable_folder, write_private
from batch.own_files import LOCK, remove_empty
from batch.shard import Shard

MOUNTS = Path("/proc/self/mounts")
NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "davfs", "ceph", "glusterfs",
    "lustre", "beegfs", "gpfs", "fuse.sshfs", "fuse.rclone", "fuse.davfs", "fuse.davfs2", "fuse.s3fs", "fuse.gcsfuse",
    "fuse.goofys", "fuse.mount-s3", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.juicefs", "fuse.curlftpfs",
    "fuse.gvfsd-fuse", "fuse.blobfuse", "fuse.blobfuse2",
})  # fmt: skip
"""File systems whose other side is another machine, as the kernel calls them."""


def network_kind(mounts: str, path: str) -> str | None:
    """Return the network file system that `path` (absolute, without links) is on, by the text of `/proc/mounts`."""
    best, kind = "", None
    for line in mounts.splitlines():
        _, point, found, *_ = [*line.split(" "), "", "", ""]
        point = _unescaped(point).rstrip("/")
        if (path + "/").startswith(point + "/") and len(point) >= len(best) and found:
            best, kind = point, found  # of several mounts at one place, the last one is what is seen
    return kind if kind in NETWORK else None


def _unescaped(text: str) -> str:
    """Return a path without the octal escapes with which the kernel writes blanks."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def kind_of(folder: Path) -> str | None:
    """Return the network file system that `folder` is on, or will be; None for a local disk."""
    try:
        mounts = MOUNTS.read_bytes().decode("utf-8", "surrogateescape")
        return network_kind(mounts, str(folder.resolve()))
    except (OSError, RuntimeError):  # no such file but on Linux; links in a circle are reported elsewhere
        return None


def check_local(folder: Path) -> None:
    """Raise FolderError when `folder` is on a network file system."""
    kind = kind_of(folder)
    if kind is not None:
        raise FolderError(
            f"{folder}: this is on a network file system ({kind}), where a run can neither be locked nor written down "
            "safely. Name a folder on a disk of this machine with --out; a run that is there already goes on when a "
            "copy of its folder lies in that one."
        )


def state_folder() -> Path:
    """Return the folder for what outlives runs, made if it is not there; raises FolderError."""
    given = os.environ.get("XDG_STATE_HOME", "")
    try:
        home = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
        folder = home / "batch"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK) and kind_of(folder) is None:  # a lock across a network may hold nobody
            return folder
    except (OSError, RuntimeError):  # Path.home() raises RuntimeError for a user without an entry
        pass
    return _temporary_state()


def _temporary_state() -> Path:
    """Return a state folder in the temporary folder; raises FolderError when somebody else made it."""
    owner = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()) / f"batch-{owner if owner is not None else 'user'}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise unusable_folder(folder, error) from None
    if not stat.S_ISDIR(found.st_mode) or owner not in (None, found.st_uid):
        raise FolderError(
            f"{folder}: somebody else has put this here, so no lock can be kept in it. "
            "Set XDG_STATE_HOME to a folder of yours."
        )
    return folder


@contextmanager
def held(path: Path, what: str, folder: Path) -> Iterator[None]:
    """Hold the lock at `path` while the run in `folder` goes on; raises BusyError that names who holds it.

    Raises FolderError when the folder is on a network file system: whatever needs a lock needs a journal, too.
    """
    check_local(folder)
    holder = path.with_suffix(".holder")
    lock = FileLock(path, timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(f"Another run holds {what}{_holder(holder)}. Wait for it, or stop it first.") from None
    except OSError as error:
        raise unusable_folder(path.parent, error) from None
    try:
        write_private(holder, json.dumps({"pid": os.getpid(), "folder": str(folder.resolve())}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        if path.name.startswith(INPUT_LOCK):  # where runs go: nothing but runs stays there
            path.unlink(missing_ok=True)
            remove_empty(folder)
        lock.release()


def run_held(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of a run folder; raises as `held` does."""
    return held(folder / LOCK, "this run folder", folder)


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock of a run folder now; nobody holds that of one that is gone."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


@contextmanager
def shared(path: Path, what: str, count: int) -> Iterator[None]:
    """Hold the lock at `path` together with other shards of the same `count`; raises BusyError.

    Who holds it alone does all of the input; who holds it for another number of shards splits the records otherwise.
    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise unusable_folder(path.parent, error) from None
    try:
        _share(lock, path, what, count)
        yield
    finally:
        os.close(lock)  # which lets it go


def _share(lock: int, path: Path, what: str, count: int) -> None:
    until = time.monotonic() + SHARE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
        else:  # the first one says how many there are
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(count).encode(), 0)
            fcntl.flock(lock, fcntl.LOCK_SH)
            break
        if time.monotonic() > until:
            holder = _holder(path.with_suffix(".holder"))
            raise BusyError(f"Another run holds all of {what}{holder}. Wait for it, or stop it first.")
        time.sleep(0.02)
    found = os.pread(lock, 16, 0).decode("ascii", "replace")
    if found != str(count):
        raise BusyError(
            f"{what.capitalize()} is being done in {found or 'other'} shards at the moment, not in {count}. Wait for "
            "these, or stop them first."
        )


SHARE_SECONDS: Final = 2.0
"""Within which another shard that begins at the same moment has said how many there are."""


def _holder(path: Path) -> str:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return f": process {known['pid']}, {known['folder']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def host_name() -> str:
    """Return a name, 128 random bits, for all who share these locks: whoever holds one knows that none of them does."""
    path = state_folder() / "locks" / "host"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(file, secrets.token_hex(16).encode())
        os.close(file)
    try:
        found = path.read_text(encoding="ascii")
    except (OSError, ValueError):
        found = ""
    return found if re.fullmatch("[0-9a-f]{32}", found) else secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class InputLocks:
    """The locks of an input, or of one shard of it."""

    shared: list[Path]
    """Those that all shards of the input hold together; none where all of it is done."""
    own: list[Path]
    """Those that one start holds alone, in the order in which they are taken."""


def input_locks(
    sha256: str, endpoint: str, host: str, owners: Sequence[str], parent: Path, shard: Shard | None = None
) -> InputLocks:
    """Name the locks of an input, one for each name of its owner.

    Those in the state folder are the same by whatever path the input or the folder is reached; the one in `parent`,
    where runs go, holds also whoever has another state folder.
    """
    folder = state_folder() / "locks"
    folder.mkdir(mode=0o700, exist_ok=True)
    make_private(parent)
    whole = [f"{sha256} {endpoint} {host} {owner}" for owner in owners]
    shared = [] if shard is None else [folder / f"{_digest(one)}.lock" for one in whole]
    names = [_digest(one if shard is None else f"{one} {shard}") for one in whole]
    own = [folder / f"{name}.lock" for name in names] + [parent / f"{INPUT_LOCK}{names[0][:16]}.lock"]
    return InputLocks(shared, own)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


INPUT_LOCK = ".input-"
"""Begins the names of locks in the folder of runs."""
