"""The input: its files as they are read, which format they have, and what tells it from others.

Promises that an `Input` exists, can be read, is what its name says, and is identified by the SHA-256 of its bytes (of
packed files, of those that are in them). Everything else is an `InputError` that says what the file really is and what
to do.
"""

import hashlib
import json
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from batch.errors import InputError
from batch.extras import ensure_extra
from batch.files import write_private
from batch.model import shorten
from batch.sources import copies
from batch.sources.discovery import LOCKS, STDIN_PATH, FoundFile, find_files, names_of, refuse_tables, trouble
from batch.sources.formats import (
    ARROW,
    FORMATS,
    ODS,
    PACKED,
    PASSWORD,
    XLS,
    Content,
    Format,
    ending_of,
    sniff,
    unpacked_name,
)

SAVE_AGAIN = "save it again from the program that made it"


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of an input."""

    path: Path
    """Where it lies."""
    name: str
    """What messages and the column `batch_file` call it."""
    content: Path
    """What is read: the file itself, or a copy of what it holds."""
    changed: int | None = None
    """When it was last changed (ns), so that a change while it is read is noticed; None of a stream."""
    partition: Mapping[str, str | None] = field(default_factory=dict, hash=False)
    """The columns that the names of its folders hold."""


@dataclass(frozen=True, slots=True)
class Input:
    """An input file, or several of one format that make one table."""

    files: tuple[InputFile, ...]
    name: str
    """The name in messages."""
    sha256: str
    format: Format
    is_converted: bool = False
    """Whether the cells are those of an .ods or .xls file, of which not everything can be seen."""
    is_many: bool = False
    """Whether it was named as several files, so that results say which file a row is of."""
    notes: tuple[str, ...] = ()
    """What the person should know about which files are read."""

    @property
    def size(self) -> int:
        """The bytes that are read."""
        return sum(file.content.stat().st_size for file in self.files)

    def check_unchanged(self) -> None:
        """Raise `InputError` if a file is not the one whose bytes were hashed."""
        if any(file.changed is not None and file.changed != _changed(file.path) for file in self.files):
            raise InputError(f"{self.name} was changed while it was read: save it, close it, and run again.")


def open_input(argument: str, spool: Path, note: Callable[[str], None] = lambda text: None) -> Input:
    """Return the input that `argument` names (`batch/input_names.py`), with its digest and format.

    What can be read only once is copied into the folder `spool` first, and so is what is packed, or of a kind that is
    read as another one; `note` is told when what reads it is installed. Raises InputError, FolderError where `spool` is
    full, and ExtraError where something cannot be installed.
    """
    found = find_files(argument)
    if found.is_delta:
        return _open_delta(found.files[0], spool, note)
    name = argument if found.is_many else found.files[0].name
    opened = [_open(file, spool, number) for number, file in enumerate(found.files)]
    form = _common_format(name, opened)
    if form == "parquet":
        paths = [one.file.path for one in opened if not one.is_copy]
        refuse_tables({path.parent for one in paths for path in (one, one.resolve())}, name)
    digest = _sha256(opened)
    files = [_converted(one, spool, number, note) for number, one in enumerate(opened)]
    is_converted = form == "xlsx" and files[0].content != opened[0].file.content
    is_many = found.is_many and len(files) > 1
    listed = [f"{len(files):,} files are read as one table: {names_of(files)}."] if is_many else []
    return Input(tuple(files), name, digest, form, is_converted, is_many, (*listed, *found.notes))


def _open_delta(found: FoundFile, spool: Path, note: Callable[[str], None]) -> Input:
    ensure_extra("delta", "deltalake", f"reading the Delta Lake table {found.name}", note)
    from batch.sources import delta  # here, since it reads what few have

    target = spool / "snapshot.parquet"
    write_private(target, "")
    snapshot = delta.copy_snapshot(found.path, found.name, target)
    told = f"{found.name} is a Delta Lake table: its version {snapshot.version:,} is read."
    file = InputFile(found.path, found.name, target)
    return Input((file,), found.name, snapshot.sha256, "parquet", notes=(told,))


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file, and what is in it."""

    file: InputFile
    content: Content
    is_copy: bool


def _open(found: FoundFile, spool: Path, number: int) -> _Opened:
    """Copy a file where that is needed, and tell its format; raises InputError where it is nothing to read."""
    path, name = found.path, found.name
    content_path, changed = path, None
    if found.is_stream:
        content_path = spool / f"{number}-copy"
        _copy_stream(found, content_path)
    else:
        _check_file(path, name)
        changed = _changed(path)
    content = _sniff(content_path, name, is_stream=found.is_stream)
    ending = Path(name).suffix.lower()
    if content.is_packed:
        if ending in FORMATS:
            raise InputError(_misnamed(name, content, ending, f"{Path(name).name}{content.ending}"))
        target = spool / f"{number}-unpacked"
        copies.unpack(content_path, content, target, name)
        content_path = target
        content = _sniff(target, name, is_stream=found.is_stream)
    elif ending in PACKED:
        raise InputError(_misnamed(name, content, ending, unpacked_name(name)))
    _check_content(content, name)
    file = InputFile(path, name, content_path, changed, found.partition)
    return _Opened(file, content, content_path != path)


def _copy_stream(found: FoundFile, target: Path) -> None:
    if found.path == STDIN_PATH:
        stdin: Any = sys.stdin.buffer  # what is known of it by type has no read1
        copies.copy(stdin, target, found.name)
        return
    try:
        with found.path.open("rb") as stream:
            copies.copy(stream, target, found.name)
    except OSError as error:
        raise InputError(f"{found.name} {trouble(error)}.") from None


def _check_file(path: Path, name: str) -> None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{name} is no file but a device: give a file, a pipe, or - for standard input.")
    except OSError as error:
        raise InputError(f"{name} {trouble(error)}.") from None
    except ValueError:  # a NUL in it
        raise InputError(f"{name}: this cannot be the name of a file.") from None


def _sniff(path: Path, name: str, *, is_stream: bool) -> Content:
    try:
        if path.stat().st_size == 0:
            advice = "check the command that was to write to it" if is_stream else SAVE_AGAIN
            raise InputError(f"{name} is empty (zero bytes): {advice}.")
        with path.open("rb") as file:
            return sniff(file)
    except OSError as error:
        raise InputError(f"{name} {trouble(error)}.") from None


def _check_content(content: Content, name: str) -> None:
    """Refuse what is nothing to read, and a file whose name says something else."""
    if content.format is None:
        raise InputError(f"{name} is {content.what}: {content.advice}.")
    ending = ending_of(name)
    if FORMATS.get(ending, content.format) != content.format:
        packing = Path(name).suffix if Path(name).suffix.lower() in PACKED else ""
        better = Path(unpacked_name(name)).with_suffix(content.ending).name + packing
        raise InputError(_misnamed(name, content, ending, better))


def _misnamed(name: str, content: Content, ending: str, better: str) -> str:
    return f"{name} is {content.what}, although its name ends in {ending}: rename it to {better}."


def _common_format(name: str, opened: Sequence[_Opened]) -> Format:
    first = opened[0]
    for one in opened[1:]:
        if one.content.format != first.content.format:
            raise InputError(
                f"{name}: {one.file.name} is {one.content.what}, and {first.file.name} is {first.content.what}: files "
                "of one kind make a table. Give them as separate inputs."
            )
    assert first.content.format is not None  # noqa: S101 - for the type checker: _open refused it
    if first.content.format == "xlsx" and len(opened) > 1:
        raise InputError(f"{name}: {first.file.name} is {first.content.what}: give workbooks one by one.")
    return first.content.format


def _converted(opened: _Opened, spool: Path, number: int, note: Callable[[str], None]) -> InputFile:
    """Copy what is read as another kind; a workbook with a password is left to the reader, which says so."""
    file = opened.file
    if opened.content is ARROW:
        return _replaced(file, _as_parquet(file, spool / f"{number}-converted.parquet"))
    if opened.content not in (ODS, XLS) or PASSWORD in file.content.read_bytes():
        return file
    ensure_extra("ods", "python_calamine", f"reading {file.name}", note)
    from batch.sources.excel import conversion  # here, since it reads what few have

    target = spool / f"{number}-converted.xlsx"
    write_private(target, "")
    conversion.convert(file.content, file.name, target)
    return _replaced(file, target)


def _replaced(file: InputFile, content: Path) -> InputFile:
    return InputFile(file.path, file.name, content, file.changed, file.partition)


def _as_parquet(file: InputFile, target: Path) -> Path:
    """Copy an Arrow file as Parquet, which is read in slices whatever the size of its batches."""
    write_private(target, "")
    try:
        pl.scan_ipc(file.content, glob=False, hive_partitioning=False).sink_parquet(target, compression="lz4")
    except pl.exceptions.PolarsError as error:
        reason = shorten(str(error).splitlines()[0], 120)
        said = "is damaged or not complete, or uses what cannot be read"
        raise InputError(f"{file.name} {said} ({reason}).") from None
    return target


def lock_note(input: Input) -> str:
    """Say that a file seems to be open in a spreadsheet program, by the mark beside it; "" where none lies there."""
    for program, lock in LOCKS.items():
        for path in (file.path for file in input.files if file.changed is not None):
            mark = path.with_name(lock.format(path.name))
            with suppress(OSError, ValueError):
                if mark.is_file():
                    return (
                        f"{path.name} seems to be open in {program} ({mark.name} lies beside it): what was edited and "
                        "not saved there is not read."
                    )
    return ""


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns


def _sha256(opened: Sequence[_Opened]) -> str:
    """Hash the bytes of one file, or the names, partitions and bytes of several."""
    digest = hashlib.sha256()
    for file in (one.file for one in opened):
        if len(opened) > 1:
            size = file.content.stat().st_size
            digest.update(f"{file.path.name}\0{size}\0".encode("utf-8", "surrogateescape"))
        if file.partition:
            digest.update(json.dumps(file.partition).encode())
        with file.content.open("rb") as content:
            for piece in copies.iter_pieces(content):
                digest.update(piece)
    return digest.hexdigest()
