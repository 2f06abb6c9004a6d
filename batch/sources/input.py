"""Finds the input: one path, several Parquet files, or standard input; and says which format it really has.

Promises that an `Input` exists, can be read, is what its name says, and is identified by the SHA-256 of its bytes.
A folder or a pattern never takes in what is in batch's own folders, though they may lie among the files.
Everything else is an `InputError` that says what the file really is and what to do.
"""

import errno
import hashlib
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from batch.errors import InputError
from batch.extras import ensure_extra
from batch.files import NewFile, check_name, os_reason, write_private
from batch.own_files import is_own
from batch.sources.formats import FORMATS, ODS, PASSWORD, XLS, Content, Format, sniff

STDIN = "standard input"
LOCKS = {"Excel": "~${}", "LibreOffice": ".~lock.{}#"}
"""What spreadsheet programs lay beside a file while it is open."""
RESULTS = re.compile(r"results(-\d+)?\.(csv|xlsx|parquet)")
PIECE = 1 << 20
SAVE_AGAIN = "save it again from the program that made it"


@dataclass(frozen=True, slots=True)
class Input:
    """An input file, or several Parquet files that make one table."""

    paths: tuple[Path, ...]
    name: str
    """The name in messages."""
    sha256: str
    format: Format
    changed: tuple[int, ...] = ()
    """When each file was last changed (ns), so that a change while it is read is noticed."""
    converted: Path | None = None
    """The same cells as .xlsx, where the file is an .ods or .xls."""

    @property
    def workbook(self) -> Path:
        """The .xlsx that is read."""
        return self.converted or self.paths[0]

    def check_unchanged(self) -> None:
        """Raise `InputError` if a file is not the one whose bytes were hashed."""
        if self.changed and self.changed != _changed(self.paths):
            raise InputError(f"{self.name} was changed while it was read: save it, close it, and run again.")


def open_input(argument: str, spool: Path, note: Callable[[str], None] = lambda text: None) -> Input:
    """Return the input that `argument` names (a path, a folder or glob of Parquet files, `-`), with hash and format.

    Standard input is copied into the folder `spool` first, readable by this user only, and the cells of an .ods or .xls
    file are; `note` is told when what reads them is installed. Raises InputError, and ExtraError where it cannot be.
    """
    if argument == "-":
        path = _spool_stdin(spool)
        return _input((path,), STDIN, _checked(_sniff(path, STDIN), STDIN, ".csv"))
    if "://" in argument:
        raise InputError(f"{argument} is an address, not a file: download it, then give the file's name.")
    path = Path(argument)
    check_name(path)
    _refuse_lock(path.name)
    _refuse_results(path)
    mode = _file_mode(path)
    if mode is not None and stat.S_ISDIR(mode):
        return _input(_parquet_files(path), argument, "parquet")
    if mode is None and any(mark in argument for mark in "*?["):
        return _input(_glob(argument), argument, "parquet")
    content = _sniff(path, path.name)
    found = _input((path,), path.name, _checked(content, path.name, path.suffix.lower()))
    return _converted(found, spool, note) if content in (ODS, XLS) else found


def _converted(found: Input, spool: Path, note: Callable[[str], None]) -> Input:
    """Copy the cells of an .ods or .xls file; one with a password is left to the reader, which says so."""
    path = found.paths[0]
    if PASSWORD in path.read_bytes():
        return found
    ensure_extra("ods", "python_calamine", f"reading {found.name}", note)
    from batch.sources.excel import conversion  # here, since it reads what few have

    target = spool / "converted.xlsx"
    write_private(target, "")
    conversion.convert(path, found.name, target)
    return replace(found, converted=target)


def _refuse_lock(name: str) -> None:
    """Refuse the small file that a spreadsheet program lays beside a file while it is open."""
    for program, lock in LOCKS.items():
        start, end = lock.split("{}")
        if name.startswith(start) and name.endswith(end) and len(name) > len(lock) - 2:
            meant = name.removeprefix(start).removesuffix(end)
            raise InputError(f"{name} is the mark that {program} leaves while {meant} is open: give {meant}.")


def _refuse_results(path: Path) -> None:
    """Refuse the results of a run, which have ids and names in them, and are no changes."""
    if RESULTS.fullmatch(path.name) and is_own(path.parent):
        raise InputError(f"{path} says what became of the rows of a run: give its failures file, or its input.")


def lock_note(input: Input) -> str:
    """Say that a file seems to be open in a spreadsheet program, by the mark beside it; "" where none lies there."""
    for program, lock in LOCKS.items():
        for path in input.paths if input.name != STDIN else ():
            mark = path.with_name(lock.format(path.name))
            with suppress(OSError, ValueError):
                if mark.is_file():
                    return (
                        f"{path.name} seems to be open in {program} ({mark.name} lies beside it): what was edited and "
                        "not saved there is not read."
                    )
    return ""


def _input(paths: tuple[Path, ...], name: str, form: Format) -> Input:
    changed = _changed(paths)
    if form == "parquet":
        _refuse_tables({path.parent for path in paths}, name)
        for path in paths:
            _checked(_sniff(path, path.name), path.name, ".parquet")
    return Input(paths, name, _sha256(paths), form, changed)


def _changed(paths: tuple[Path, ...]) -> tuple[int, ...]:
    return tuple(path.stat().st_mtime_ns for path in paths)


def _file_mode(path: Path) -> int | None:
    """Return the file type of `path`; None if it cannot be read (then `_sniff` says why)."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def _checked(content: Content, name: str, ending: str) -> Format:
    """Return the format of a content; refuse a file whose name says something else."""
    if content.format is None:
        raise InputError(f"{name} is {content.what}: {content.advice}.")
    expected = FORMATS.get(ending)
    if expected is None or expected == content.format:
        return content.format
    if name == STDIN:
        raise InputError(f"{STDIN} is {content.what}, and only CSV can come that way: give the file's name instead.")
    better = Path(name).with_suffix(content.ending).name
    raise InputError(f"{name} is {content.what}, although its name ends in {ending}: rename it to {better}.")


def _sniff(path: Path, name: str) -> Content:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(
                f"{name} is no file but a pipe or a device: give CSV on standard input, with - as the name."
            )
        if status.st_size == 0:
            advice = "check the command that was to write to it" if name == STDIN else SAVE_AGAIN
            raise InputError(f"{name} is empty (zero bytes): {advice}.")
        with path.open("rb") as file:
            return sniff(file)
    except OSError as error:
        raise InputError(f"{name} {_trouble(error)}.") from None
    except ValueError:  # a NUL in it
        raise InputError(f"{name}: this cannot be the name of a file.") from None


def _trouble(error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return "does not exist: check the name and the folder"
        case errno.EACCES | errno.EPERM:
            return "may not be read by this user: ask for permission to read it"
    return f"cannot be read: {os_reason(error)}"


TABLES = {
    "Delta Lake": "_delta_log",
    "Apache Iceberg": "metadata/*.metadata.json",
    "Apache Hudi": ".hoodie",
}
"""Kinds of tables that are more than their Parquet files, and what lies in the folder of each."""


def _refuse_tables(folders: Iterable[Path], name: str) -> None:
    """Refuse files of a table whose log says which of their rows count: deleted ones are still in them."""
    ancestors = {parent for folder in folders for one in (folder.resolve(),) for parent in (one, *one.parents)}
    for parent in sorted(ancestors, key=lambda one: len(one.parts), reverse=True):
        kind = next((kind for kind, mark in TABLES.items() if next(parent.glob(mark), None)), None)
        if kind:
            raise InputError(
                f"{name} belongs to a table of {kind} ({parent.name}), whose Parquet files also hold rows that were "
                "deleted or replaced: write the table as it is now to one Parquet file, and give its name."
            )


def _parquet_files(folder: Path) -> tuple[Path, ...]:
    _refuse_tables([folder], str(folder))
    if is_own(folder):
        raise InputError(f"{folder} is the folder of a run: give the name of the file in it that is meant.")
    found = sorted(path for path in folder.rglob("*.parquet") if path.is_file() and not _is_hidden(path, folder))
    found = _without_own(found, folder)
    if not found:
        raise InputError(f"{folder} is a folder without Parquet files: give the name of a file in it.")
    parted = next((part for path in found for part in path.relative_to(folder).parts[:-1] if "=" in part), None)
    if parted:
        raise InputError(
            f"{folder} is divided into folders such as {parted!r}, whose names hold a column: write it as one file."
        )
    return tuple(found)


def _without_own(paths: Iterable[Path], top: Path) -> list[Path]:
    """Leave out what lies in the folders of runs at or below `top`: rows as they were read, results and failures."""
    lies_in_own = {top: is_own(top)}

    def is_left_out(folder: Path) -> bool:
        if folder not in lies_in_own:
            lies_in_own[folder] = is_own(folder) or is_left_out(folder.parent)
        return lies_in_own[folder]

    return [path for path in paths if not is_left_out(path.parent)]


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)


def _glob(pattern: str) -> tuple[Path, ...]:
    whole = Path(pattern)
    anchor = Path(whole.anchor) if whole.is_absolute() else Path()
    parts = whole.parts[1:] if whole.is_absolute() else whole.parts
    found = sorted(path for path in anchor.glob(str(Path(*parts))) if path.is_file())
    if not found:
        raise InputError(f"{pattern} matches no file: check the name and the folder.")
    found = _without_own(found, _fixed_part(whole))
    if not found:
        raise InputError(f"{pattern} matches files of runs only: give the name of the one that is meant.")
    other = next((path for path in found if FORMATS.get(path.suffix.lower()) != "parquet"), None)
    if other:
        raise InputError(
            f"{pattern} matches {other.name}: only Parquet files can be read as one table; give one file's name."
        )
    return tuple(found)


def _fixed_part(pattern: Path) -> Path:
    """Return the folder that all files lie in which a pattern matches."""
    folder = pattern.parent
    while any(mark in str(folder) for mark in "*?["):
        folder = folder.parent
    return folder


def _spool_stdin(folder: Path) -> Path:
    file = NewFile(folder / "standard-input.csv")
    try:
        with file.made.open("wb") as copy:
            copy.writelines(_iter_pieces(sys.stdin.buffer))
        file.keep()
    finally:
        file.discard()
    return file.path


def _sha256(paths: tuple[Path, ...]) -> str:
    """Hash the bytes of one file, or the names and bytes of several."""
    digest = hashlib.sha256()
    for path in paths:
        if len(paths) > 1:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        with path.open("rb") as file:
            for piece in _iter_pieces(file):
                digest.update(piece)
    return digest.hexdigest()


def _iter_pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece
