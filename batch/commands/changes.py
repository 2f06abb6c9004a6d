"""The changes of a plan, a page at a time, for whoever looks through them before they are sent.

Promises: they are read from the plan file, whose checksum was checked when it was opened, so what is shown is what is
sent; a search takes as long whether it finds one change or all; memory does not grow with what is shown: 16 bytes a
change, and 8 for each that a search finds. What is searched is in a private file without a name (SQLite's `""`).
"""

import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from batch.conditions import PlannedChange
from batch.errors import FolderError
from batch.outputs.plan import CLEARED, Line, iter_lines
from batch.own_files import PLAN
from batch.run.plan_file import PlanFile

CHANGES_A_PAGE: Final = 50
BETWEEN: Final = "\0"
"""Stands between two texts, so that nothing is found across them."""


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """Some of the changes, each as the lines of its cells."""

    changes: tuple[tuple[Line, ...], ...]
    number: int
    """Of this page, from 1."""
    pages: int
    found: int
    """Changes that fit what was looked for."""
    in_all: int


class OpenPlan:
    """A plan that is looked through, by several threads at once; `close` when done."""

    def __init__(self, folder: Path, headers: Mapping[str, str]) -> None:
        """Open the plan in a folder, and read through it once.

        `headers`: the header of each field, where it is not the field's own name: it is searched, too. Raises
        InputError where the plan is not what was written, FolderError where there is no room for what is searched.
        """
        self.folder, self.headers = folder, headers
        self._lock = Lock()
        self._searched: tuple[str, array[int]] = ("", array("Q"))
        """What was looked for last, and where it is."""
        self._plan = PlanFile(folder / PLAN)
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self.cells, self.clears = Counter[str](), Counter[str]()
        """What the plan does, by field: cells that it changes, and those of them that it empties."""
        try:
            self._db.execute("CREATE TABLE searched(place INTEGER PRIMARY KEY, text TEXT)")
            self._db.execute("BEGIN")
            self._db.executemany("INSERT INTO searched VALUES (?, ?)", enumerate(map(self._read, self._plan)))
            self._db.execute("COMMIT")
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                why = f"{folder}: the changes cannot be made ready to be searched ({error}). Make room on the disk."
                raise FolderError(why) from error
            raise

    def _read(self, change: PlannedChange) -> str:
        """Count the cells of a change, and return what is searched of it."""
        lines = tuple(iter_lines([change.as_shown()], CLEARED))
        for line in lines:
            self.cells[line.field] += 1
            self.clears[line.field] += line.is_clear
        return _folded(BETWEEN.join(self._iter_texts(lines)))

    def _iter_texts(self, lines: Sequence[Line]) -> Iterator[str]:
        for line in lines[:1]:
            yield from (str(line.row), line.id, line.name)
        for line in lines:
            yield from (line.field, self.headers.get(line.field, ""), line.before, line.after)

    @property
    def checksum(self) -> str:
        """Of the file."""
        return self._plan.checksum

    def __len__(self) -> int:
        return len(self._plan)

    def page(self, text: str = "", number: int = 1) -> ChangesPage:
        """Return a page of the changes that have `text` in them; of pages that there are not, the nearest."""
        with self._lock:
            places = self._places(_folded(text))
            found = len(places)
            pages = max(1, -(-found // CHANGES_A_PAGE))
            number = min(max(1, number), pages)
            some = places[(number - 1) * CHANGES_A_PAGE : number * CHANGES_A_PAGE]
            shown = tuple(tuple(iter_lines([self._plan.at(place).as_shown()], CLEARED)) for place in some)
            return ChangesPage(shown, number, pages, found, len(self._plan))

    def _places(self, wanted: str) -> Sequence[int]:
        """Return where the changes are that have this in them."""
        if not wanted:
            return range(len(self._plan))
        if self._searched[0] != wanted:
            rows = self._db.execute("SELECT place FROM searched WHERE instr(text, ?) ORDER BY place", (wanted,))
            self._searched = wanted, array("Q", (place for (place,) in rows))
        return self._searched[1]

    def close(self) -> None:
        """Close the files."""
        self._plan.close()
        self._db.close()


def _folded(text: str) -> str:
    """Return a text as it is searched: neither case nor the kind and number of spaces count."""
    return " ".join(text.split()).casefold()
