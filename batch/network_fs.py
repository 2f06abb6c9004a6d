"""Whether a folder is on a network file system, where neither the lock nor the journal can be relied on.

SQLite keeps the index of a WAL in memory that all its users share, which works on one machine alone (sqlite.org/wal).
Promises: a run is refused there before anything is written or sent; where mounts are not known, a disk counts as local.
"""

import re
from pathlib import Path

from batch.errors import FolderError

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
            "safely. Name a folder on a disk of this machine with --out; a run that is there already goes on in a "
            "copy of its folder."
        )
