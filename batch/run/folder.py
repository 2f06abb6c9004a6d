"""Runs on disk: which folder a run lives in, whether there is one to resume, and what it holds.

Promises: the same input (bytes, endpoint, host, company, mapping, clear token, and whatever else changes what a row
means) resumes the run that still has rows to retry; a folder with another input's run is never touched. Folders
are 0700. Where runs go there may be anything else: a folder is known as a run's by what is in it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from batch.addresses import is_address, name_of, named
from batch.credentials import Company
from batch.errors import FolderError, JournalError
from batch.files import make_private, unusable_folder
from batch.input_names import is_pattern, is_read_once, split
from batch.journal import START_OVER, VERSION, Journal, peek
from batch.own_files import INPUT, JOURNAL, NAME, is_own
from batch.run import index
from batch.run.cleanup import remove_parts
from batch.run.locks import run_held
from batch.run.metadata import RunMetadata
from batch.shard import Shard
from batch.sources.formats import unpacked_name

TIME = "%Y%m%d-%H%M%S"


def identity(meaning: Mapping[str, Any], sha256: str, endpoint: str, host: str, *, plan: str | None = None) -> str:
    """Fingerprint what makes a run the same run; `plan` is the checksum of the plan that it carries out."""
    parts = {**meaning, "sha256": sha256, "endpoint": endpoint, "host": host}
    parts |= {"plan": plan} if plan else {}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def runs_of(argument: str, out: Path | None, shard: Shard | None) -> Path:
    """Name the folder where the runs on an input go; those of a shard have one of their own in it. Raises FolderError.

    So each shard has its own `latest`, and no start of another one moves it.
    """
    parent = parent_of(argument, out)
    return parent if shard is None or parent.name == shard.folder else parent / shard.folder


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
    first, *others = split(argument)
    if is_read_once(first):
        return Path("stdin.batch")
    path = Path(name_of(first)) if is_address(first) else Path(first)
    path = path if path.name not in ("", "..") else path.resolve()  # "." and the like have no name to go beside
    run = run_around(path.parent)
    if run is not None:
        return beside(run)
    if path.is_dir():
        stem = path.resolve().name
    else:
        stem = re.sub(r"[*?\[\]]+", "_", path.stem) if is_pattern(first) else Path(unpacked_name(path.name)).stem
    while is_pattern(str(path.parent)):
        path = path.parent
    return path.with_name(f"{stem}{f'+{len(others)}' if others else ''}.batch")


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


def begun_at(folder: Path) -> float:
    """Return when a folder of ours was made, as its name or else the file system says; seconds since 1970."""
    return datetime.strptime(_age(folder)[0] or "20000101-000000", TIME).replace(tzinfo=UTC).timestamp()


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
    run_id: str
    identity: str
    sha256: str
    """Of its input."""
    is_finished: bool
    is_undone: bool
    """It was taken back, so that the same input is sent anew."""
    company: Company
    last: float
    """When it last got further, in seconds since 1970."""
    version: int
    """Of its journal."""
    pending: int
    """Rows that wait until somebody approves them at the API."""
    shard: Shard | None = None
    """The shard of its input that it does; None: all of it."""


def look_into(folder: Path) -> ExistingRun | None:
    """Read whose run is in `folder`, None when there is no journal; raises FolderError when it cannot be read."""
    path = folder / JOURNAL
    if not path.is_file():
        return None
    try:
        seen = peek(path)
        meta = seen.meta
        if "identity" not in meta:
            return None
        is_done = seen.final >= int(meta["staged"]["rows"]) and meta.get("exit_code") is not None
        is_done = is_done and not (meta.get("look_since") or meta.get("not_uploaded"))
        company = Company(str(meta.get("fingerprint", "")), meta.get("company"))
        shard = Shard.parse(str(meta["shard"])) if meta.get("shard") else None
        texts = str(meta["run_id"]), str(meta["identity"]), str(meta["staged"]["sha256"])
    except JournalError as error:
        raise FolderError(str(error)) from None
    except (KeyError, TypeError, ValueError):
        raise _senseless(path) from None
    return ExistingRun(
        folder, *texts, is_done, bool(meta.get("undone")), company, seen.last, seen.version, seen.pending, shard
    )


def iter_unfinished(
    parent: Path, wanted: str, company: Company, note: Callable[[str], None] = lambda text: None
) -> Iterator[ExistingRun]:
    """Yield the runs with this identity and company that have rows to retry, the newest first.

    They are looked for in `parent` and in the index. `note` is told, in a line each, of a folder that cannot be read,
    and of a run that belongs to somebody else.
    """
    known = index.with_identity(wanted)
    passed = {one.run_id for one in known if one.state in ("superseded", "undone", "purged")}
    folders = list_runs(parent)
    there = {folder.resolve() for folder in folders}
    looked = map(partial(_look, note), [*folders, *(one.folder for one in known if one.folder not in there)])
    same = [one for one in looked if one and one.identity == wanted]
    own = [one for one in same if one.version == VERSION and one.company.is_same(company)]
    is_over = {one.run_id: one.is_finished or one.is_undone or one.run_id in passed for one in same}
    last = max((one.last for one in own if is_over[one.run_id]), default=0.0)
    mine = [one for one in own if not is_over[one.run_id] and one.last > last]  # else a later run did all rows
    others = [one for one in same if one not in own and not is_over[one.run_id]]
    if others and not mine:
        begun = f"{others[0].folder}: this run of the same input is not finished, and was begun {_by_whom(others[0])}"
        note(f"{begun}; it is left as it is, and a new run begins.")
    yield from sorted(mine, key=lambda one: one.last, reverse=True)


def _look(note: Callable[[str], None], folder: Path) -> ExistingRun | None:
    try:
        return look_into(folder)
    except FolderError as error:
        note(f"{folder}: this run is passed over: {error}")
        return None


def _by_whom(run: ExistingRun) -> str:
    if run.company.name:
        return f"for {run.company.name}"
    return "by an earlier version of batch" if run.version != VERSION else "with another key"


def check_run(folder: Path) -> None:
    """Raise FolderError unless there is a run in `folder`."""
    if not (folder / JOURNAL).is_file():
        raise no_run(folder)


def no_run(folder: Path) -> FolderError:
    """Return the error that says that a folder holds no run."""
    if is_address(str(folder)):
        return FolderError(
            f"{named(folder)}: this is an address, and a run lies in a folder of the machine that did it; at "
            'the address are its results. Its folder is in its summary.json, under "run".'
        )
    return FolderError(f"{folder}: there is no run in this folder (no {JOURNAL}).")


def peek_metadata(folder: Path) -> RunMetadata:
    """Read what the run in `folder` knows of itself without opening it; raises FolderError."""
    check_run(folder)
    try:
        return RunMetadata.from_journal(peek(folder / JOURNAL).meta, folder / INPUT)
    except JournalError as error:
        raise FolderError(str(error)) from None
    except ValueError:
        raise _senseless(folder / JOURNAL) from None


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


def open_held_run(folder: Path, stack: ExitStack) -> tuple[Journal, RunMetadata]:
    """Hold the run in `folder` until `stack` ends, and open it without what a crash left half written.

    Raises FolderError, and BusyError when somebody else holds it.
    """
    check_run(folder)  # a folder that holds no run is left as it is, without a lock
    stack.enter_context(run_held(folder))
    remove_parts(folder)
    journal, metadata = open_run(folder)
    stack.enter_context(journal)
    return journal, metadata


def read_metadata(folder: Path, journal: Journal) -> RunMetadata:
    """Read what a run knows of itself; raises FolderError when it makes no sense."""
    try:
        return RunMetadata.from_journal(journal.meta(), folder / INPUT)
    except (JournalError, ValueError):
        raise _senseless(folder / JOURNAL) from None


def _senseless(path: Path) -> FolderError:
    return FolderError(f"{path}: the record of this run is damaged (what it holds makes no sense). {START_OVER}")
