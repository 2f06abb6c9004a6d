"""Which files a name stands for: one path, several, a folder, or a pattern; and what their folders say of them.

Promises: a folder or a pattern never takes in what is in batch's own folders, though they may lie among the files, nor
the files of a table whose log says that some of their rows are deleted. What is left out of a folder is told.
"""

import errno
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from batch.errors import InputError
from batch.files import check_name, os_reason
from batch.input_names import STDIN, is_pattern, is_read_once, split
from batch.model import first_few
from batch.own_files import is_own
from batch.sources.formats import FORMATS, SINGLE, WORKBOOKS, Format, ending_of

LOCKS = {"Excel": "~${}", "LibreOffice": ".~lock.{}#"}
"""What spreadsheet programs lay beside a file while it is open."""
RESULTS = re.compile(r"results(-\d+)?\.(csv|ndjson|parquet|xlsx)")
STDIN_PATH = Path("/dev/stdin")
SHOWN_FILES = 3
"""Files that a message lists."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that belongs to an input."""

    path: Path
    name: str
    """What people call it."""
    is_stream: bool = False
    """It can be read only once."""
    partition: Mapping[str, str | None] = field(default_factory=dict, hash=False)
    """The columns that the names of its folders hold, as Hive has them: `year=2026/month=05`."""


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """All files of an input, in their order."""

    files: tuple[FoundFile, ...]
    notes: tuple[str, ...] = ()
    """What the person should know about what was left out."""
    is_many: bool = False
    """Whether they were named as several, however many there are."""
    is_delta: bool = False
    """Whether it is the folder of a Delta Lake table."""


def find_files(argument: str) -> FoundFiles:
    """Return the files that `argument` names; raises InputError where there are none, or none that fit together."""
    parts = split(argument)
    if len(parts) == 1:
        return _find(parts[0])
    if STDIN in parts:
        raise InputError("Standard input (-) is an input of its own: leave out - or the other names.")
    found = [_find(part) for part in parts]
    table = next((one.files[0].name for one in found if one.is_delta), None)
    if table is not None:
        raise InputError(f"{table} is a table of {DELTA}, which is an input of its own: leave it or the others out.")
    files = [file for one in found for file in one.files]
    twice = [path for path, count in Counter(file.path.resolve() for file in files).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0].name} is named twice: name it once.")
    return FoundFiles(tuple(files), tuple(note for one in found for note in one.notes), is_many=True)


def _find(argument: str) -> FoundFiles:
    if argument == STDIN:
        return FoundFiles((FoundFile(STDIN_PATH, "standard input", is_stream=True),))
    path = Path(argument)
    check_name(path)
    _refuse_lock(path.name)
    _refuse_results(path)
    mode = _file_mode(path)
    if mode is not None and stat.S_ISDIR(mode):
        return _in_folder(path)
    if mode is None and is_pattern(argument):
        return _matching(argument)
    is_stream = mode is not None and (stat.S_ISFIFO(mode) or (is_read_once(argument) and not stat.S_ISREG(mode)))
    return FoundFiles((FoundFile(path, argument if is_read_once(argument) else path.name, is_stream),))


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


def _file_mode(path: Path) -> int | None:
    """Return the file type of `path`; None if it cannot be read (then whoever opens it says why)."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def trouble(error: OSError) -> str:
    """Say why a file cannot be opened."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return "does not exist: check the name and the folder"
        case errno.EACCES | errno.EPERM:
            return "may not be read by this user: ask for permission to read it"
    return f"cannot be read: {os_reason(error)}"


DELTA = "Delta Lake"
TABLES = {
    DELTA: "_delta_log",
    "Apache Iceberg": "metadata/*.metadata.json",
    "Apache Hudi": ".hoodie",
}
"""Kinds of tables that are more than their Parquet files, and what lies in the folder of each."""


def refuse_tables(folders: Iterable[Path], name: str) -> None:
    """Refuse files of a table whose log says which of their rows count: deleted ones are still in them."""
    ancestors = {parent for folder in folders for one in (folder.resolve(),) for parent in (one, *one.parents)}
    for parent in sorted(ancestors, key=lambda one: len(one.parts), reverse=True):
        kind = next((kind for kind, mark in TABLES.items() if next(parent.glob(mark), None)), None)
        if kind:
            instead = "write the table as it is now to one Parquet file, and give its name"
            raise InputError(
                f"{name} belongs to a table of {kind} ({parent.name}), whose Parquet files also hold rows that were "
                f"deleted or replaced: {'give the folder of the table' if kind == DELTA else instead}."
            )


def _in_folder(folder: Path) -> FoundFiles:
    if (folder / TABLES[DELTA]).is_dir():
        return FoundFiles((FoundFile(folder, folder.resolve().name),), is_delta=True)
    refuse_tables([folder], str(folder))
    if is_own(folder):
        raise InputError(f"{folder} is the folder of a run: give the name of the file in it that is meant.")
    inside = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path, folder))
    inside = _without_own(inside, folder)
    by_format: dict[Format, list[Path]] = {}
    for path in inside:
        ending = ending_of(path.name)
        if ending in FORMATS and ending not in SINGLE:
            by_format.setdefault(FORMATS[ending], []).append(path)
    workbooks = [path for path in inside if ending_of(path.name) in WORKBOOKS]
    if not by_format and workbooks:
        names = first_few(workbooks[:SHOWN_FILES], len(workbooks))
        raise InputError(f"{folder} is a folder, and a workbook is read by its own name: {names}.")
    if not by_format:
        raise InputError(f"{folder} is a folder without CSV, NDJSON or Parquet files: give the name of a file in it.")
    if len(by_format) > 1:
        kinds = "; ".join(f"{_counted(paths)} ({names_of(paths)})" for paths in by_format.values())
        pattern = folder / f"*{next(iter(by_format.values()))[0].suffix}"
        raise InputError(
            f"{folder} has files of several kinds, of which only one kind makes a table: {kinds}. Name those that are "
            f'meant by a pattern, such as "{pattern}".'
        )
    (found,) = by_format.values()
    others = f"workbooks are not read with other files: {names_of(workbooks)}"
    notes = [f"{folder}: {names_of(found)} {'is' if len(found) == 1 else 'are'} read; {others}."] if workbooks else []
    return FoundFiles(_named(found, folder), tuple(notes), is_many=True)


def _counted(paths: Sequence[Path]) -> str:
    """Say how many files there are, by the ending of the first."""
    return f"1 {paths[0].suffix} file" if len(paths) == 1 else f"{len(paths):,} {paths[0].suffix} files"


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str: ...


def names_of(files: Sequence[Named]) -> str:
    """List the first names."""
    return first_few((one.name for one in files[:SHOWN_FILES]), len(files))


def _named(paths: Iterable[Path], top: Path) -> tuple[FoundFile, ...]:
    """Name files by where they are below the folder `top`, and read what the names of their folders hold."""
    files = []
    for path in paths:
        below = path.relative_to(top)
        pairs = (part.partition("=") for part in below.parts[:-1] if "=" in part)
        partition = {unquote(key): None if value == HIVE_NULL else unquote(value) for key, _, value in pairs}
        files.append(FoundFile(path, below.as_posix(), partition=partition))
    return tuple(files)


HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""What a folder is called whose column is null."""


def _without_own(paths: Iterable[Path], top: Path) -> list[Path]:
    """Leave out what lies in the folders of runs at or below `top`: rows as they were read, results and failures."""
    lies_in_own = {top: is_own(top)}

    def is_left_out(folder: Path) -> bool:
        if folder not in lies_in_own:
            lies_in_own[folder] = is_own(folder) or is_left_out(folder.parent)
        return lies_in_own[folder]

    return [path for path in paths if not is_left_out(path.parent)]


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_", "~$")) for part in path.relative_to(folder).parts)


def _matching(pattern: str) -> FoundFiles:
    whole = Path(pattern)
    anchor = Path(whole.anchor) if whole.is_absolute() else Path()
    parts = whole.parts[1:] if whole.is_absolute() else whole.parts
    found = sorted(path for path in anchor.glob(str(Path(*parts))) if path.is_file())
    if not found:
        raise InputError(f"{pattern} matches no file: check the name and the folder.")
    top = _fixed_part(whole)
    found = _without_own(found, top)
    if not found:
        raise InputError(f"{pattern} matches files of runs only: give the name of the one that is meant.")
    other = next((path for path in found if ending_of(path.name) not in FORMATS), None)
    if other is not None and len(found) > 1:
        raise InputError(f"{pattern} matches {other.name}, too, whose name tells no format: make it match less.")
    return FoundFiles(_named(found, top), is_many=True)


def _fixed_part(pattern: Path) -> Path:
    """Return the folder that all files lie in which a pattern matches."""
    folder = pattern.parent
    while is_pattern(str(folder)):
        folder = folder.parent
    return folder
