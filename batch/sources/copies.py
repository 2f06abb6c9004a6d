"""Copies of what cannot be read where it is: streams, and files that are packed by gzip or zstd.

Promises: a copy is whole, or there is none: a stream that is cut or damaged is an InputError, never a shorter table (a
stream that was put together of several, and cut just between two of them, cannot be told). One that was packed to fill
a disk ends before it does; no more than a piece of it is in memory. A copy is readable by this user only.
"""

import gzip
import os
import select
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from batch.errors import FolderError, InputError
from batch.files import os_reason
from batch.machine import LEAST_FREE, Room
from batch.sources.formats import ZSTD, Content

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 1 << 20
MOMENT = 0.25
"""Seconds after which a wait for a stream looks whether a signal came."""
ALWAYS = 1 << 30
"""Bytes that any file may unpack to."""
MOST_TIMES = 200
"""How many times its own size a file may unpack to beyond that; tables of blanks come to some hundred."""


def copy(source: "Stream", target: Path, name: str) -> None:
    """Copy the rest of a stream to the new file `target`; raises FolderError where it does not fit."""
    _write(_iter_as_they_come(source), target, name)


def _iter_as_they_come(stream: "Stream") -> Iterator[bytes]:
    """Yield the rest of a stream in pieces.

    It is read when it has something: a read that waits would not heed a signal that came in the instant before it.
    """
    while True:
        with suppress(OSError, ValueError):  # nothing to wait for: it is in memory, or this is Windows
            while not select.select([stream], [], [], MOMENT)[0]:
                pass
        piece = stream.read1(PIECE)
        if not piece:
            return
        yield piece


def unpack(source: Path, content: Content, target: Path, name: str) -> None:
    """Write to the new file `target` what is packed in `source`; raises InputError, and FolderError without room."""
    most = max(ALWAYS, MOST_TIMES * source.stat().st_size)
    try:
        with zstd.ZstdFile(source) if content is ZSTD else gzip.GzipFile(source) as opened:
            _write(iter_pieces(opened), target, name, most)
    except EOFError:
        raise InputError(f"{name} is cut off: its end is missing. Copy or download it again.") from None
    except (gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
        raise InputError(f"{name} is damaged ({error}): copy or download it again.") from None


def _write(pieces: Iterator[bytes], target: Path, name: str, most: int | None = None) -> None:
    room = Room(target.parent)
    try:
        with open(target, "xb", opener=_private) as file:
            for piece in pieces:
                if not room.take(len(piece)):
                    raise FolderError(
                        f"{name} cannot be copied into {target.parent}: less than {LEAST_FREE >> 20} MB are free "
                        "there. Make room, or name another place with the variable TMPDIR."
                    )
                if most is not None and room.written > most:
                    raise InputError(
                        f"{name} unpacks to more than {most >> 20:,} MB, and few tables do: is it damaged, or made to "
                        "fill the disk? If not, unpack it yourself, and give the file that is in it."
                    )
                file.write(piece)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile) and error.errno is not None:
            raise FolderError(f"{name} cannot be copied into {target.parent}: {os_reason(error)}.") from None
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Stream(Protocol):
    """A stream that is open for reading."""

    def read1(self, size: int, /) -> bytes:
        """Wait for the next bytes, and return them; none at the end."""

    def fileno(self) -> int:
        """Return its number; raises OSError where it has none."""


class Readable(Protocol):
    """A file that is open for reading."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, none at the end."""


def iter_pieces(file: Readable) -> Iterator[bytes]:
    """Yield the rest of a file in pieces."""
    while piece := file.read(PIECE):
        yield piece
