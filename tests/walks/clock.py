"""How long an accountant takes, from a fresh clone to undo: `python -m tests.walks.clock` prints a time for each step.

The machine's part is measured. The person's is not: it is what published figures say of typing and reading, so that it
grows with every word that a screen says and every letter that has to be typed. A line is read once, each word of it,
which nobody does; nobody is interrupted, which everybody is.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.shell import ROOT
from tests.walks.terminal import PROMPT
from tests.walks.walks import SIZES, Person, desk, fix_and_undo

KEY, POINT, THINK = 0.28, 1.1, 1.35
"""Seconds for a key of an average typist, for pointing with a mouse, and for making up one's mind before a line: Card,
Moran and Newell, The keystroke-level model, Communications of the ACM 23 (1980), 396-410."""
WORD = 60 / 238
"""Seconds to read a word: Brysbaert, How many words do we read per minute?, J. of Memory and Language 109 (2019)."""

GIT = shutil.which("git") or "git"


@dataclass(frozen=True)
class Step:
    """One line that is typed, and the screen after it; seconds."""

    did: str
    typing: float
    reading: float
    machine: float

    @property
    def total(self) -> float:
        return self.typing + self.reading + self.machine


@dataclass
class ClockedPerson(Person):
    """A person beside whom somebody sits with a clock."""

    steps: list[Step] = field(default_factory=list)
    has_read: set[str] = field(default_factory=set)

    def runs(self, words: str, until: str = PROMPT) -> None:
        self.terminal.clear()
        self.answers(f"./run.sh {words}", until)

    def answers(self, text: str, until: str = PROMPT, *, hidden: bool = False) -> None:
        began = time.monotonic()
        super().answers(text, until, hidden=hidden)
        machine = time.monotonic() - began
        lines = {line for line in self.terminal.screen() if text not in line} - self.has_read
        words = sum(len(line.split()) for line in lines)
        self.has_read |= lines
        self.steps.append(Step(text, THINK + KEY * (len(text) + 1), WORD * words, machine))

    def in_libreoffice(self, file: str, cells: Mapping[str, str], saved_as: str) -> None:
        began = time.monotonic()
        super().in_libreoffice(file, cells, saved_as)
        machine = time.monotonic() - began
        typing = sum(THINK + POINT + KEY * (len(text) + 1) for text in cells.values())
        typing += 4 * (THINK + POINT) + KEY * len(saved_as)  # find the file, open it, "Save as", its name, close it
        notes = WORD * 15 * len(cells)  # each bad cell has a note
        self.steps.append(Step(f"mend {len(cells)} cells, save as {saved_as}", typing, notes, machine))


def set_up() -> Step:
    """Clone what is committed, and start it once, which installs what it needs; pip may have that in its cache."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        subprocess.run([GIT, "clone", "--quiet", str(ROOT), folder], check=True)
        subprocess.run(["./run.sh", "--version"], cwd=folder, check=True, capture_output=True)
        return Step("set-up", THINK, 0.0, time.monotonic() - began)


def main() -> None:
    """Print the table."""
    with desk(*SIZES[1], ClockedPerson) as person:
        fix_and_undo(person, is_usual=True)
    assert isinstance(person, ClockedPerson)
    person.steps.insert(0, set_up())
    lines = ["| step | typing s | reading s | machine s |", "|---|---|---|---|"]
    lines += [f"| `{one.did}` | {one.typing:.0f} | {one.reading:.0f} | {one.machine:.1f} |" for one in person.steps]
    typing, reading = sum(one.typing for one in person.steps), sum(one.reading for one in person.steps)
    machine = sum(one.machine for one in person.steps)
    lines.append(f"| in all {typing + reading + machine:.0f} s | {typing:.0f} | {reading:.0f} | {machine:.1f} |\n")
    sys.stdout.write("\n".join(lines))


if __name__ == "__main__":
    main()
