"""Runs on disk: which folder a run lives in, whether there is one to resume, and what it holds.

Promises: the same input (bytes, endpoint, host, company, mapping, clear token, and whatever else changes what a row
means) resumes the run that still has rows to retry; a folder with another input's run is never touched. Folders
are 0700.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batch.credentials import NOBODY, Company
from batch.errors import FolderError, JournalError
from batch.files import make_private, unusable_folder
from batch.journal import START_OVER, Journal, peek
from batch.run.metadata import RunMetadata

JOURNAL = "journal.sqlite"
INPUT = "input.parquet"
SUMMARY = "summary.json"
PLAN = "plan.json"


def identity(meaning: Mapping[str, Any], sha256: str, endpoint: str, host: str, *, plan: str | None = None) -> str:
    """Fingerprint what makes a run the same run; `plan` is the checksum of the plan that it carries out."""
    parts = {**meaning, "sha256": sha256, "endpoint": endpoint, "host": host}
    parts |= {"plan": plan} if plan else {}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def parent_of(argument: str) -> Path:
    """Name the folder that holds the runs on an input: `customers.xlsx` -> `customers.batch` beside it."""
    if argument == "-":
        return Path("stdin.batch")
    path = Path(argument)
    if path.is_dir():
        return path.with_name(path.resolve().name + ".batch")
    stem = path.stem if path.exists() else re.sub(r"[*?\[\]]+", "_", path.stem)
    while any(mark in str(path.parent) for mark in "*?["):
        path = path.parent
    return path.with_name(f"{stem}.batch")


def new_folder(parent: Path, *, prefix: str = "") -> Path:
    """Make a new run folder in `parent`, named by the time (UTC)."""
    name = prefix + datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    make_private(parent)
    for number in range(1, 1000):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise unusable_folder(parent, error) from None
        return folder
    raise FolderError(f"{parent}: there are too many runs of this second.")


@dataclass(frozen=True, slots=True)
class ExistingRun:
    """A run folder with a journal: whose run it is, and whether rows are left to retry."""

    folder: Path
    identity: str
    is_finished: bool
    exit_code: int | None
    is_undone: bool = False
    """It was taken back, so that the same input is sent anew."""
    company: Company = NOBODY


def look_into(folder: Path) -> ExistingRun | None:
    """Read whose run is in `folder`, None when there is no journal; raises FolderError when it cannot be read."""
    path = folder / JOURNAL
    if not path.is_file():
        return None
    try:
        seen = peek(path)
        meta, final = seen.meta, seen.final
        if "identity" not in meta:
            return None
        rows = int(meta["staged"]["rows"])
        company = Company(str(meta.get("fingerprint", "")), meta.get("company"))
    except JournalError as error:
        raise FolderError(str(error)) from None
    except (KeyError, TypeError, ValueError):
        raise _senseless(path) from None
    is_finished = final >= rows and meta.get("exit_code") is not None  # and its files were written
    return ExistingRun(folder, meta["identity"], is_finished, meta.get("exit_code"), bool(meta.get("undone")), company)


def find_unfinished(
    parent: Path, wanted: str, company: Company, note: Callable[[str], None] = lambda text: None
) -> Path | None:
    """Find the newest run in `parent` with this identity and company that has rows to retry.

    `note` is told of one that belongs to somebody else.
    """
    notes: list[str] = []
    if not parent.is_dir():
        return None
    for folder in sorted((one for one in parent.iterdir() if one.is_dir()), reverse=True):
        found = look_into(folder)
        if found is None or found.identity != wanted or found.is_finished or found.is_undone:
            continue
        if found.company.is_same(company):
            return folder
        notes.append(f"{folder}: this run of the same input is not finished, and was begun {_by_whom(found.company)}")
    for text in notes[:1]:
        note(f"{text}; it is left as it is, and a new run begins.")
    return None


def _by_whom(company: Company) -> str:
    if company.name:
        return f"for {company.name}"
    return "with another key" if company.fingerprint else "by an earlier version, with a key that is not known"


def look_into_out(folder: Path, wanted: str, argument: str, company: Company = NOBODY) -> ExistingRun | None:
    """Look at the folder that --out names: None when it is free; raises FolderError when it is somebody else's.

    `argument` is the input, as it was given: nothing is ever written beside it, where it could be written over.
    """
    if folder.is_symlink():
        raise FolderError(f"--out {folder}: this is a link. Name the folder itself.")
    if folder.exists() and not folder.is_dir():
        raise FolderError(f"--out {folder}: this is not a folder.")
    if folder.is_dir() and _holds(folder, argument):
        raise FolderError(f"--out {folder}: the input is in it. Name a new or an empty folder.")
    found = look_into(folder)
    if found is None:
        if folder.is_dir() and (other := _foreign(folder)):
            raise FolderError(f"--out {folder}: there are other files in it ({other}). Name a new or an empty folder.")
        return None
    if found.identity != wanted:
        raise FolderError(
            f"--out {folder}: it holds the run of another input (or of other options). Name another folder."
        )
    if not found.company.is_same(company):
        raise FolderError(f"--out {folder}: the run in it was begun {_by_whom(found.company)}. Name another folder.")
    if found.is_undone:
        raise FolderError(f"--out {folder}: the run in it was taken back (undo). Name another folder to send again.")
    return found


def free_out(folder: Path, argument: str) -> Path:
    """Make the folder that --out names for files beside no run; raises FolderError when it is somebody else's."""
    look_into_out(folder, "", argument)
    make_private(folder)
    return folder


def _holds(folder: Path, argument: str) -> bool:
    """Whether an input (`-` is none) is a folder, or is in it."""
    places = {Path(argument).resolve(), Path(argument).resolve().parent, Path(argument).parent.resolve()}
    return argument != "-" and folder.resolve() in places


def _foreign(folder: Path) -> str:
    """Name a file that is not ours, "" when there is none: what only has a name of ours needs a witness."""
    names = sorted(one.name for one in folder.iterdir())
    other = [name for name in names if not _OURS.fullmatch(name)]
    ours = [name for name in names if not (PART.fullmatch(name) or name == ".lock.holder")]
    return next(iter(other or ([] if _is_witnessed(folder) else ours)), "")


def _is_witnessed(folder: Path) -> bool:
    """Whether something shows that it was batch that wrote there: the lock of a start, a summary, a plan."""
    return (folder / ".lock").is_file() or '"run_id"' in _head(folder / SUMMARY) or '{"batch":' in _head(folder / PLAN)


def _head(path: Path) -> str:
    """Give the beginning of a file, "" where there is none."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(4096).decode(errors="replace")
    return ""


RESERVED_PREFIX = frozenset(
    {INPUT, SUMMARY, ".lock", ".lock.holder", PLAN, "plan.csv", "plan.xlsx"}
    | {f"{kind}.{end}" for kind in ("results", "failures") for end in ("csv", "xlsx", "parquet")}
)
"""What a folder without a journal may hold and still be free: what a check, or a crash at the start, left."""
_NAMES = "|".join(map(re.escape, sorted(RESERVED_PREFIX | {JOURNAL, "undo.json", "undo.csv"})))
PART = re.compile(rf"\.(?:{_NAMES})(?:\.\d+)?\.parts?(?:-wal|-shm)?")
"""The beginnings of our files, which a crash may leave."""
FILE = re.compile(rf"{_NAMES}|{re.escape(JOURNAL)}-(?:wal|shm|journal)|(?:results|failures)-\d+\.\w+|{PART.pattern}")
"""Any file that may be in a run folder; the numbered ones were made while a spreadsheet program had the other open."""
_OURS = re.compile(rf"{'|'.join(map(re.escape, sorted(RESERVED_PREFIX)))}|{PART.pattern}")
"""These, and the beginnings of them and of a journal."""


def check_run(folder: Path) -> None:
    """Raise FolderError unless there is a run in `folder`."""
    if not (folder / JOURNAL).is_file():
        raise FolderError(f"{folder}: there is no run in this folder (no {JOURNAL}).")


def open_run(folder: Path) -> tuple[Journal, RunMetadata]:
    """Open the run in `folder`; raises FolderError when there is none."""
    check_run(folder)
    if not (folder / INPUT).is_file():
        raise FolderError(f"{folder}: {INPUT} is missing, so the rows of this run are not known any more.")
    try:
        journal = Journal.open(folder / JOURNAL)
    except JournalError as error:
        raise FolderError(str(error)) from error  # nothing was sent
    try:
        return journal, read_metadata(folder, journal)
    except FolderError:
        journal.close()
        raise


def read_metadata(folder: Path, journal: Journal) -> RunMetadata:
    """Read what a run knows of itself; raises FolderError when it makes no sense."""
    try:
        return RunMetadata.from_journal(journal.meta(), folder / INPUT)
    except (JournalError, ValueError):
        raise _senseless(folder / JOURNAL) from None


def _senseless(path: Path) -> FolderError:
    return FolderError(f"{path}: the journal is damaged (what it holds makes no sense). {START_OVER}")
