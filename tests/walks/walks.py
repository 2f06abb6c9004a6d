"""What an accountant does, from first start to taking it back: what is typed, and the screen after each line."""

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from batch.sandbox.options import SandboxOptions
from tests.libreoffice import print_out, type_into
from tests.sandbox.control import ControlledSandbox
from tests.shell import DUALENTRY, ROOT, Shell
from tests.walks.terminal import PROMPT, Terminal

SIZES = ((80, 24), (120, 40))
SCREENS = Path(__file__).parent / "screens"
SHEETS = Path(__file__).parent / "sheets"
KEYS = ("key-of-the-north-1111", "key-of-the-south-2222")
QUESTION = "[y/N/l list]:"
MEANT = "meant? (Enter: none):"
DIFFERS = (
    (r"\d{8}-\d{6}", "20261126-180000"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d", "2026-11-26 18:00"),
    (r"(?<=  )\d{4}-\d\d-\d\d(?=\n)", "2026-11-26"),
    (r"remembered on \d{4}-\d\d-\d\d", "remembered on 2026-11-26"),
    (r"127\.0\.0\.1:\d{5}", "127.0.0.1:12345"),
    (r"\b\d\.\d s\b", "0.5 s"),
    (r"batch-walk-\w{8}", "batch-walk-________"),
    (r"(?<=sandbox\), key …)\w{4}", "____"),
    (r"(?<=sandbox\), key\n  …)\w{4}", "____"),
)
"""What is another one each time, and of the same width, so that lines break where they did."""


@dataclass
class Person:
    """Who sits at the terminal, with the screens that were looked at."""

    terminal: Terminal
    folder: Path
    shell: Shell
    url: str
    screens: list[str] = field(default_factory=list)

    def runs(self, words: str, until: str = PROMPT) -> None:
        """Type a command on an empty screen, and look at what is there at its end (`until`: at its question)."""
        self.terminal.clear()
        self.answers(f"./run.sh {words}", until)

    def answers(self, text: str, until: str = PROMPT, *, hidden: bool = False) -> None:
        """Type a line, and look at the screen when it ends with `until`."""
        self._look("(the key)" if hidden else text, self.terminal.type(text, until))

    def leaves(self, text: str, when: str) -> None:
        """Type a line, press Ctrl-C as soon as `when` is to be seen, and once more when that is answered."""
        self.terminal.begin(text)
        self.terminal.wait_to_see(when)
        self.terminal.press("C-c")
        self.terminal.wait_to_see("a second time: leave at once")
        self.terminal.press("C-c")
        self._look(f"{text}, then Ctrl-C twice", self.terminal.wait_for(PROMPT))

    def in_libreoffice(self, file: str, cells: Mapping[str, str], saved_as: str) -> None:
        """Open a workbook of the folder in LibreOffice, type into cells, and save it under another name."""
        (source,) = self.folder.glob(file)
        type_into(source, self.folder / saved_as, cells, self.folder.parent)
        self._look(f"in LibreOffice: {', '.join(cells)}; saved as {saved_as}", [])

    def prints(self, file: str) -> None:
        """Let LibreOffice print a workbook, and look at its pages."""
        printed = print_out(self.folder / file, self.folder.parent)
        sizes = sorted({f"{width} by {height}" for width, height in printed})
        self._look(f"prints {file}: pages of {', '.join(sizes)} points", [])

    def _look(self, did: str, screen: list[str]) -> None:
        self.screens.append("\n".join((f"━━ {did}", *screen)))


def screen_file(name: str, size: tuple[int, int]) -> Path:
    """Where the screens of a walk are recorded."""
    return SCREENS / f"{name}.{size[0]}x{size[1]}.txt"


def walk(name: str, columns: int, lines: int) -> str:
    """Go a walk on a terminal of this size; gives its screens as a text."""
    with desk(columns, lines) as person:
        WALKS[name](person)
        text = "\n\n".join(person.screens) + "\n"
    for pattern, same in DIFFERS:
        for found in sorted(set(re.findall(pattern, text)), reverse=True):
            broken = re.compile(r"\n?".join(map(re.escape, found)))  # a terminal breaks lines anywhere
            text = broken.sub(lambda match, same=same: _as_broken(match[0], same), text)
    return text


def _as_broken(found: str, same: str) -> str:
    """Give a text with line breaks where another one of its length has them."""
    letters = iter(same)
    return "".join("\n" if one == "\n" else next(letters) for one in found)


@contextmanager
def desk(columns: int, lines: int, person: type[Person] = Person) -> Iterator[Person]:
    """Seat a person at a terminal of this size, with sheets and a sandbox."""
    with tempfile.TemporaryDirectory(prefix="batch-walk-", dir="/tmp") as name:  # a path as long as on any machine
        folder = Path(name, "work")
        folder.mkdir()
        shell = Shell(folder, {"TERM": "screen-256color", "LANG": "C.UTF-8", "BATCH_COMMAND": "./run.sh"})
        shell.environment["PYTHONPATH"] = str(folder)
        program = folder / "run.sh"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -X utf8 -m batch "$@"\n')
        program.chmod(0o700)
        for path in SHEETS.iterdir():
            shutil.copy(path, folder)
        for part in ("batch", "samples"):  # as in a checkout
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.batch"))
        options = SandboxOptions(keys=KEYS, limits="off", records=1000)
        with (
            ControlledSandbox(options) as sandbox,
            Terminal(folder, columns, lines, shell.environment) as terminal,
        ):
            try:
                yield person(terminal, folder, shell, sandbox.url)
            finally:
                shell.run("sandbox", "stop")


# -- the walks ---------------------------------------------------------------------------------------------------------


def first_start(person: Person) -> None:
    """No key, no file: the greeting leads to the samples; a file of one's own needs a key, which is said."""
    person.runs("", "(Enter: nothing):")
    person.answers("1", QUESTION)
    person.answers("y")
    person.runs(f"update small.xlsx -e {DUALENTRY}")


def login(person: Person) -> None:
    """A wrong key, the right one, a name, and the first sheet."""
    person.runs(f"login -e {DUALENTRY} --base-url {person.url}", "type it):")
    person.answers("a-wrong-key", "type it):", hidden=True)
    person.answers(KEYS[0], "[dualentry]:", hidden=True)
    person.answers("north")
    person.runs("logins")
    person.runs(f"update small.xlsx -e {DUALENTRY} --base-url {person.url}", QUESTION)
    person.answers("y")


def two_companies(person: Person) -> None:
    """With two logins the company is asked for, or named."""
    for name, key in zip(("north", "south"), KEYS, strict=True):
        (person.folder / "key.txt").write_text(key)
        person.shell.run("login", "-e", DUALENTRY, "--base-url", person.url, "--name", name, "--token-file", "key.txt")
    person.runs(f"update small.xlsx -e {DUALENTRY} --base-url {person.url}", "(Enter: none):")
    person.answers("2", QUESTION)
    person.answers("y")
    person.runs(f"update small.xlsx -e {DUALENTRY} --base-url {person.url} --as north", QUESTION)
    person.answers("y")
    person.runs("runs")


def own_headers(person: Person) -> None:
    """A German sheet with a title, a group header, totals and eight headers of its own; and the same next month."""
    person.runs("sandbox start")
    person.runs(f"update 'Kunden Oktober.xlsx' -e {DUALENTRY} --sandbox", "stop:")
    person.answers("1", "stop:")
    person.answers("name", "stop:")
    person.answers("phone", "stop:")
    person.answers("street", "stop:")
    person.answers("-", "[Y/n]:")
    person.answers("y", QUESTION)
    person.answers("y")
    person.runs(f"update 'Kunden November.xlsx' -e {DUALENTRY} --sandbox", QUESTION)
    person.answers("y")
    person.runs("mappings")
    person.runs("mappings show 'Kunden Oktober'")
    person.runs("mappings forget 'Kunden Oktober'")


def check_list_and_send(person: Person, sheet: str, options: str = "") -> None:
    """Check a sheet, list what will change, and send it."""
    person.runs("sandbox start")
    person.runs(f"check {sheet} -e {DUALENTRY}")
    person.runs(f"update {sheet} -e {DUALENTRY} --sandbox{options}", QUESTION)
    person.answers("l", QUESTION)
    person.answers("y")


def few_differ(person: Person) -> None:
    """400 rows, of which three differ: known before the question."""
    check_list_and_send(person, "quarter.xlsx")


def postal_codes(person: Person) -> None:
    """Numbers that show zeros are no postal codes until somebody says so."""
    check_list_and_send(person, "addresses.xlsx", " --as-shown 'Postal Code'")


def fix_and_undo(person: Person, *, is_usual: bool = False) -> None:
    """Some rows have problems: send the others, mend those in the failures file, send it, and take all back."""
    person.runs("sandbox start")
    person.runs("check problems.xlsx", MEANT)
    person.answers("1")
    if is_usual:  # a plan before it is sent, and no look at what there was
        person.runs("plan problems.xlsx --sandbox", MEANT)
        person.answers("1")
    person.runs("update problems.xlsx --sandbox", MEANT)
    person.answers("1", QUESTION)
    person.answers("y")
    failures = "problems.batch/latest/failures.xlsx"
    person.in_libreoffice(failures, {"D2": "555-0203", "B4": "Delta Renamed", "A5": "10006"}, "mended.xlsx")
    person.runs("update mended.xlsx --sandbox", MEANT)
    person.answers("1", QUESTION)
    person.answers("y")
    if not is_usual:
        person.runs("runs problems.xlsx")
    person.runs("undo problems.xlsx --sandbox", "one? (Enter: none):")
    person.answers("1", QUESTION)
    person.answers("y")


def plan_for_approval(person: Person) -> None:
    """A plan, the same sheet sent by it, and what is left of both."""
    person.runs("sandbox start")
    person.runs(f"plan quarter.xlsx -e {DUALENTRY} --sandbox")
    person.prints("quarter.batch/latest/plan.xlsx")
    person.runs(f"update quarter.xlsx -e {DUALENTRY} --sandbox --plan quarter.batch/latest", QUESTION)
    person.answers("y")
    person.runs("runs")


def rehearsal(person: Person) -> None:
    """A template; then the sandbox's records are pulled, edited, sent, taken back, and the run is removed."""
    person.runs(f"template -e {DUALENTRY} -o new.xlsx")
    person.runs("sandbox start")
    person.runs(f"pull -e {DUALENTRY} -o customers.xlsx --sandbox")
    person.in_libreoffice("customers.xlsx", {"B3": "Renamed AG"}, "edited.xlsx")
    person.runs(f"update edited.xlsx -e {DUALENTRY} --sandbox", QUESTION)
    person.answers("y")
    person.prints("edited.batch/latest/results.xlsx")
    person.runs("undo edited.xlsx --sandbox", "one? (Enter: none):")
    person.answers("1", QUESTION)
    person.answers("y")
    person.runs("purge edited.batch/latest-edited.xlsx", "[y/N]:")
    person.answers("y")
    person.runs("sandbox stop")


def left_at_once(person: Person) -> None:
    """Ctrl-C while the API is silent about the last change, and again: what is known, and how it goes on."""
    person.runs("sandbox start --fault hang-after=nth:3")
    person.runs(f"update quarter.xlsx -e {DUALENTRY} --sandbox --max-at-once 1", QUESTION)
    person.leaves("y", "2/3")
    person.runs("status quarter.batch/latest")
    person.runs("runs quarter.xlsx")
    person.runs(f"update quarter.xlsx -e {DUALENTRY} --sandbox --max-at-once 1", "[y/N]:")
    person.answers("y")


WALKS: dict[str, Callable[[Person], None]] = {
    "first-start": first_start,
    "login": login,
    "two-companies": two_companies,
    "own-headers": own_headers,
    "few-differ": few_differ,
    "postal-codes": postal_codes,
    "fix-and-undo": fix_and_undo,
    "plan-for-approval": plan_for_approval,
    "rehearsal": rehearsal,
    "left-at-once": left_at_once,
}
NEEDS_LIBREOFFICE = ("fix-and-undo", "plan-for-approval", "rehearsal")
