"""Runs on disk: which folder a run lives in, whether there is one to resume, and what it holds.

Promises: the same input (bytes, endpoint, host, company, mapping, clear token, and whatever else changes what a row
means) resumes the run that still has rows to retry; a folder with another input's run is never touched. Folders
are 0700. Where runs go there may be anything else: a folder is known as a run's by what is in it.
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
from batch.own_files import INPUT, JOURNAL, NAME, is_own
from batch.run.metadata import RunMetadata

TIME = "%Y%m%d-%H%M%S"


def identity(meaning: Mapping[str, Any], sha256: str, endpoint: str, host: str, *, plan: str | None = None) -> str:
    """Fingerprint what makes a run the same run; `plan` is the checksum of the plan that it carries out."""
    parts = {**meaning, "sha256": sha256, "endpoint": endpoint, "host": host}
    parts |= {"plan": plan} if plan else {}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def parent_of(argument: str, out: Path | None = None) -> Path:
    """Name the folder where the runs on an input go: `out` (--out), else `customers.batch` beside `customers.xlsx`.

    The runs of a file that lies in a run folder, such as its failures file, lie beside that run. Raises FolderError
    where `out` is a run folder itself.
    """
    if out is not None:
        run = run_around(out)
        if run is not None:
            raise FolderError(
                f"--out {out}: this is the folder of one run, and --out names the folder in which runs lie beside each "
                f"other, such as the one around it: --out {beside(run)}"
            )
        return out
    if argument == "-":
        return Path("stdin.batch")
    path = Path(argument)
    run = run_around(path.parent)
    if run is not None:
        return beside(run)
    if path.is_dir():
        return path.with_name(path.resolve().name + ".batch")
    stem = path.stem if path.exists() else re.sub(r"[*?\[\]]+", "_", path.stem)
    while any(mark in str(path.parent) for mark in "*?["):
        path = path.parent
    return path.with_name(f"{stem}.batch")


def run_around(folder: Path) -> Path | None:
    """Return the run folder that `folder` is, or is in; the outermost, since 0.1 nested the runs of failures files."""
    found, folder = None, folder.resolve()
    for one in (folder, *folder.parents):
        if is_own(one):
            found = one
        elif one.suffix != ".batch":
            break
    return found


def beside(run: Path) -> Path:
    """Return the folder around a run folder, from the current folder where that is shorter."""
    parent = run.resolve().parent
    return parent.relative_to(Path.cwd()) if parent.is_relative_to(Path.cwd()) else parent


def list_runs(parent: Path) -> list[Path]:
    """List the folders in `parent` that are our own, the newest first; links to them are left out."""
    with suppress(OSError):
        return sorted(filter(is_own, (one for one in parent.iterdir() if not one.is_symlink())), key=_age, reverse=True)
    return []


def _age(folder: Path) -> tuple[str, int]:
    """Order folders by the time in their name, or in the file system where somebody gave them another one."""
    named = NAME.fullmatch(folder.name)
    if named:
        return named["time"], int(named["number"] or 1)
    with suppress(OSError):
        return datetime.fromtimestamp(folder.stat().st_mtime, UTC).strftime(TIME), 0
    return "", 0


def new_folder(parent: Path, *, prefix: str = "") -> Path:
    """Make a new run folder in `parent`, named by the time (UTC)."""
    name = prefix + datetime.now(UTC).strftime(TIME)
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
    for folder in list_runs(parent):
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
