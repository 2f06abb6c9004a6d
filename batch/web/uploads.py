"""What is uploaded, and where it is kept: `$XDG_DATA_HOME/batch/runs/<file>/`, beside the runs that are made of it.

Promises: folders are 0700 and files 0600; a name from a browser is never a path; equal bytes of one name are one input,
so that a file that is given again goes on with its run; a disk of another machine holds no journal.
"""

import hashlib
import os
import shutil
import unicodedata
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Final

from batch.errors import InputError, MachineError, UsageError
from batch.files import make_private, os_reason
from batch.run.locks import check_local
from batch.sources.formats import FORMATS, PACKED, ending_of, unpacked_name

ENDINGS: Final = (*FORMATS, *PACKED, ".zip")
"""Of what is taken: inputs, packed or not, and a colleague's plan."""
MOST_BYTES: Final = 100
"""Of a name."""
FILES: Final = "files"
COPY_BYTES: Final = 1 << 20


def runs_folder(variables: Mapping[str, str]) -> Path:
    """Return the folder of the page's runs, made if it is not there; raises UsageError."""
    given = variables.get("XDG_DATA_HOME", "")
    home = Path(given) if given.startswith("/") else Path(os.path.expanduser("~"), ".local", "share")
    if not home.is_absolute():
        raise UsageError("This user has no home folder to keep runs in. Name one:  XDG_DATA_HOME=/folder")
    folder = home / "batch" / "runs"
    check_local(folder)
    make_private(folder.parent)
    make_private(folder)
    return folder


def safe_name(given: str) -> str:
    """Return the name of an uploaded file without whatever could make it a path, a command or another name.

    Raises InputError where nothing is left of it, or it is none of a spreadsheet's.
    """
    name = unicodedata.normalize("NFC", given.replace("\\", "/").rpartition("/")[2])
    name = "".join(one if one.isprintable() and one not in '<>:"|?*[]' else "_" for one in name).strip(" .")
    path = Path(name)
    if path.suffix.casefold() not in ENDINGS or not path.stem.strip(" ._"):
        raise InputError(
            f'"{name or "(no name)"}" is not one of a spreadsheet\'s files. Save it as .xlsx or .csv, and choose that.'
        )
    stem = _stem(name)
    ending = name[len(stem) :]
    while len((stem + ending).encode()) > MOST_BYTES:
        stem = stem[:-1].rstrip(" .")
    return stem + ending


def _stem(name: str) -> str:
    """Return a name without its ending, of a packed file without both."""
    return Path(unpacked_name(name) if ending_of(name) in FORMATS else name).stem


def folder_of(runs: Path, name: str) -> Path:
    """Return the folder for the runs of a file of this name, which its failures and results files share."""
    return runs / (_stem(name) or name)


@dataclass(frozen=True, slots=True)
class KeptUpload:
    """An upload of an earlier day: nothing was sent of it, and no window has it open."""

    place: str
    """Its path below the folder of runs, as a form calls it."""
    path: Path
    when: float
    """When it was uploaded, in seconds since 1970."""


def list_kept(runs: Path, used: Collection[str], most: int) -> list[KeptUpload]:
    """List the sheets that no run and no open sheet has (`used`: their paths), the newest first."""
    found = []
    for path in runs.glob(f"*/{FILES}/*/*"):
        with suppress(OSError):  # somebody takes it away just now
            if path.is_file() and not path.is_symlink() and path.suffix != ".zip" and str(path) not in used:
                found.append(KeptUpload(str(path.relative_to(runs)), path, path.stat().st_mtime))
    return sorted(found, key=lambda one: one.when, reverse=True)[:most]


def keep_upload(file: IO[bytes], folder: Path, name: str) -> Path:
    """Copy an uploaded file into `folder`, and return where it is; raises UsageError where that cannot be."""
    files = folder / FILES
    make_private(folder)
    make_private(files)
    try:
        with NamedTemporaryFile(dir=files, prefix=".", suffix=".part", delete=False) as copy:
            digest = hashlib.sha256()
            try:
                while some := file.read(COPY_BYTES):
                    digest.update(some)
                    copy.write(some)
                copy.flush()
                os.fsync(copy.fileno())
            except BaseException:
                os.unlink(copy.name)
                raise
        place = files / digest.hexdigest()[:16]
        place.mkdir(mode=0o700, exist_ok=True)
        os.replace(copy.name, place / name)  # equal bytes: what is there says the same
    except OSError as error:
        free = shutil.disk_usage(folder).free >> 20
        raise MachineError(
            f"{name} could not be kept in {folder}: {os_reason(error)} ({free:,} MB are free)."
        ) from None
    return place / name
