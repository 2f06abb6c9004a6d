"""The workbook as a zip archive: which kind of file it really is, and its parts, inflated within limits.

Nothing is inflated further than `MAX_UNPACKED`, and nothing that grows more than `MAX_RATIO` times: a zip bomb is
refused while it is being read, whatever sizes it declares. Every failure is an `InputError` that names the file.
"""

import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from batch.errors import InputError
from batch.sources.formats import PASSWORD

MAX_UNPACKED = 2 << 30
"""Bytes that one part may have unpacked: a sheet of 1,000,000 rows × 40 columns has about 1.6 GB."""
MAX_STRINGS = 512 << 20
"""Bytes of the part with all texts, which is held in memory."""
MAX_SMALL = 64 << 20
"""Bytes of any other part (styles, the list of sheets)."""
MAX_RATIO = 200
"""Real sheets shrink 5 to 40 times; deflate can reach 1032, which only a bomb does."""
UNSUSPECTED = 32 << 20
"""Bytes up to which the ratio does not matter."""

SAVE_AS = "Open it in Excel or LibreOffice, save it as .xlsx (Excel workbook), and run again with that file."


@dataclass(frozen=True, slots=True)
class Package:
    """An open workbook: its name for messages and its parts by lower-case path."""

    name: str
    archive: zipfile.ZipFile
    parts: dict[str, zipfile.ZipInfo]
    _open: list[IO[bytes]] = field(default_factory=list)

    def __enter__(self) -> "Package":
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._open:  # what was not read to its end would keep the archive open
            file.close()
        self.archive.close()

    def refusal(self, text: str) -> InputError:
        """Return the error that says `text` about this file."""
        return InputError(f"{self.name}: {text}")

    def damaged(self) -> InputError:
        """Return the error for a file that is not whole."""
        return self.refusal("the file is damaged. Open it in Excel or LibreOffice, save it, and run again.")

    def has(self, part: str) -> bool:
        """Return whether there is such a part."""
        return part.lower() in self.parts

    def read(self, part: str) -> bytes:
        """Read a small part whole."""
        return b"".join(self.iter_bytes(part, limit=MAX_SMALL))

    def iter_bytes(self, part: str, *, size: int = 1 << 20, limit: int = MAX_UNPACKED) -> Iterator[bytes]:
        """Inflate a part piece by piece; raise `InputError` as soon as it passes a limit."""
        info = self.parts.get(part.lower())
        if info is None:
            raise self.damaged()
        if info.flag_bits & 1:
            raise password(self.name)
        done = 0
        try:
            file = self.archive.open(info)
            self._open.append(file)
            with file:
                while piece := file.read(size):
                    done += len(piece)
                    self._check_growth(info, done, limit)
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise self.damaged() from error  # the last two: a method that is not known, a name that is no text

    def _check_growth(self, info: zipfile.ZipInfo, done: int, limit: int) -> None:
        if done > limit:
            raise self.refusal(
                f"it unpacks to more than {limit >> 20:,} MB, which is more than a table of records needs; "
                "nothing of it was read. Copy the rows that you need into a new workbook."
            )
        if done > UNSUSPECTED and done > MAX_RATIO * max(info.compress_size, 1):
            raise self.refusal(
                f"it unpacks to more than {MAX_RATIO} times its size, as only a file made to do harm does; "
                "nothing of it was read."
            )


def open_package(path: Path, name: str) -> Package:
    """Open the workbook at `path`; raise `InputError` naming what it is, when it is something else."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start.startswith(b"PK"):
        raise _not_a_workbook(path, name, start)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise InputError(
            f"{name}: the file is damaged or cut off. Open it in Excel or LibreOffice, save it, and run again."
        ) from error
    package = Package(name, archive, {info.filename.lower().lstrip("/"): info for info in archive.infolist()})
    try:
        _check_kind(package)
    except InputError:
        archive.close()
        raise
    return package


def resolve(base: str, target: str) -> str:
    """Return the path of the part that `target` names, relative to the part at `base`."""
    if target.startswith("/"):
        return target[1:]
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), target.replace("\\", "/")))


def password(name: str) -> InputError:
    """Return the error for a file that only opens with a password."""
    return InputError(
        f"{name}: the workbook is protected by a password. Open it in Excel, remove the password "
        "(File > Info > Protect Workbook > Encrypt with Password), save it, and run again."
    )


def _check_kind(package: Package) -> None:
    if package.has("xl/workbook.bin"):
        raise package.refusal(f"this is a binary Excel workbook (.xlsb). {SAVE_AS}")
    if package.has("content.xml"):
        raise package.refusal(f"this is an OpenDocument file (.ods). {SAVE_AS}")
    if len(package.parts) < len(package.archive.infolist()):  # two of one name: programs differ in which they read
        raise package.damaged()


def _not_a_workbook(path: Path, name: str, start: bytes) -> InputError:
    """What stands in an OLE container; everything else was told apart before (`batch/sources/input.py`)."""
    if start.startswith(b"\xd0\xcf\x11\xe0") and PASSWORD not in path.read_bytes():
        return InputError(f"{name}: this is an Excel 97–2003 workbook (.xls). {SAVE_AS}")
    return password(name)
