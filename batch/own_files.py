"""Which files and folders are batch's own: their names, and how a folder is known as a run's.

Promises: a name alone, which anybody may use, does not make a folder ours, but for one that is damaged.
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from batch.open_databases import unless_open_here
from batch.shard import is_shard_folder

JOURNAL = "journal.sqlite"
INPUT = "input.parquet"
SUMMARY = "summary.json"
PLAN = "plan.json"
PLAN_LISTS = ("plan.csv", "plan.xlsx")
UNDO_LIST, UNDO_SHEET = "undo.json", "undo.csv"
"""What a run changed that an undo takes back, and the rows that it sends for that."""
REPORT = "report.html"
LOCK, LOCK_HOLDER = ".lock", ".lock.holder"
NAME = re.compile(r"(?:check-|plan-|undo-)?(?P<time>\d{8}-\d{6})(?:-(?P<number>\d{1,3}))?")
"""What the folders of runs are called."""
RESCUED = re.compile(r"[0-9a-f]{32}(?:-\d{1,3})?|batch-rescue-\w+")
"""What a folder is called in which a run is kept whose own folder was lost."""
_NAMES = "|".join(
    map(re.escape, (
        INPUT, SUMMARY, JOURNAL, PLAN, *PLAN_LISTS, UNDO_LIST, UNDO_SHEET, REPORT, LOCK, LOCK_HOLDER,
        *(f"{kind}.{end}" for kind in ("results", "failures") for end in ("csv", "ndjson", "xlsx", "parquet")),
    ))
)  # fmt: skip
PART = re.compile(rf"\.(?:{_NAMES})(?:\.\d+)?\.parts?(?:-wal|-shm)?")
"""The beginnings of our files, which a crash may leave."""
FILE = re.compile(rf"{_NAMES}|{re.escape(JOURNAL)}-(?:wal|shm|journal)|(?:results|failures)-\d+\.\w+|{PART.pattern}")
"""Any file that may be in a run folder; the numbered ones were made while a spreadsheet program had the other open."""


IN_A_JOURNAL: Final = b"TABLE intent"


def is_own(folder: Path) -> bool:
    """Whether `folder` holds a run, a check or a plan, or what a run begins with; of a damaged one the name tells."""
    return (
        (NAME.fullmatch(folder.name) is not None and bool(_head(folder / JOURNAL)))
        or IN_A_JOURNAL in _head(folder / JOURNAL)
        or b'"input_sha256"' in _head(folder / SUMMARY)
        or b'{"batch":' in _head(folder / PLAN)
        or (_head(folder / INPUT, 4) == b"PAR1" and (folder / LOCK).is_file())
    )


def remove_empty(parent: Path) -> None:
    """Remove the folder that batch made for runs, with that of a shard, where nothing is in it any more."""
    with suppress(OSError):  # other runs, or a lock, are in it
        if is_shard_folder(parent.name):
            parent.rmdir()
            parent = parent.parent
        if parent.suffix == ".batch":
            parent.rmdir()


def _head(path: Path, size: int = 1 << 16) -> bytes:
    """Give the beginning of a file, nothing where there is none."""
    with suppress(OSError), unless_open_here(path) as may_read:
        if not may_read:
            return IN_A_JOURNAL
        if path.is_file():  # a pipe would wait for ever
            with path.open("rb") as file:
                return file.read(size)
    return b""
