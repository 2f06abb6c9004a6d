"""What `batch` alone says on a terminal: what it does, and the four ways to begin.

Promises: each way is a command of the program, and ends with that command, to be pasted the next time; nothing is asked
that the command asks itself.
"""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from batch.cli.console import Console
from batch.cli.typed_words import from_url
from batch.endpoints.base import Endpoint
from batch.errors import ExitCode
from batch.files import shown_path
from batch.model import command, command_line
from batch.run.target import Environment, has_key

INTRODUCTION: Final = (
    "batch changes customer records in DualEntry or Vayu from a spreadsheet.",
    "It shows what will change, asks, sends it, and notes what became of every row.",
)
SAMPLE: Final = Path(__file__).resolve().parents[2] / "samples" / "customers.csv"
"""It is not there where only the package was installed."""
Run = Callable[[Sequence[str]], int]
"""Runs a command of the program, and gives its exit code."""


def greet(console: Console, environment: Environment, run: Run) -> int:
    """Say what the program does, ask what to do, do it, and say which command does the same; gives the exit code."""
    for line in INTRODUCTION:
        console.say(line)
    console.say("")
    ways: list[tuple[str, Callable[[], int]]] = [
        ("Send a file", lambda: _send(console, environment, run)),
        ("Look at earlier runs", lambda: _run(["runs"], console, run)),
        ("Set up a key", lambda: _set_up(console, environment, run)),
    ]
    if SAMPLE.exists():
        sample = ["update", shown_path(str(SAMPLE)), "-e", "dualentry.customers", "--sandbox"]
        ways.insert(0, ("Try it with sample records", lambda: _run(sample, console, run)))
    chosen = console.choose("What would you like to do? (Enter: nothing)", [label for label, _ in ways])
    if chosen is None:
        console.say(f"All commands:  {command()} --help")
        return ExitCode.OK
    return ways[chosen][1]()


def _set_up(console: Console, environment: Environment, run: Run) -> int:
    kind = ask_endpoint("Which records does the key open?", console, environment)
    return _run(["login", "-e", kind.name], console, run) if kind else ExitCode.OK


def _send(console: Console, environment: Environment, run: Run) -> int:
    path = _ask_file(console)
    kind = ask_endpoint("Which records does it change?", console, environment) if path else None
    if path is None or kind is None:
        return ExitCode.OK
    if not has_key(kind, environment, console.note):
        console.say(f"There is no key for {kind.title} yet, so that comes first.")
        code = _run(["login", "-e", kind.name], console, run)
        if code:
            return code
    return _run(["update", shown_path(str(path)), "-e", kind.name], console, run)


def _run(words: list[str], console: Console, run: Run) -> int:
    code = run(words)
    console.say(f"The same command:  {command_line(*words)}")
    return code


def ask_endpoint(question: str, console: Console, environment: Environment) -> type[Endpoint] | None:
    """Ask whose records are meant; None for none."""
    kinds = list(environment.endpoints.values())
    chosen = console.choose(f"{question} (Enter: none)", [f"{kind.title}  ({kind.name})" for kind in kinds])
    return None if chosen is None else kinds[chosen]


def _ask_file(console: Console) -> Path | None:
    """Ask until there is such a file; None for none."""
    while said := console.ask_text("Which file? Type its name, or drag it into this window (Enter: none)").strip():
        path = dropped_path(said)
        if path.exists():
            return path
        console.say(f"{path}: there is no such file. Check the name and the folder.")
    return None


def dropped_path(text: str) -> Path:
    """Return the path that was typed, or pasted as terminals do for a file that is dragged into them.

    They put it in quotes, put backslashes before spaces, or make it a file:// URL; what exists as it is, is as it is.
    """
    try:
        words = shlex.split(text)
    except ValueError:  # one apostrophe
        words = []
    found = [text, *(words if len(words) == 1 else [])]
    paths = [Path(from_url(one)).expanduser() for one in found]
    return next((path for path in paths if path.exists()), paths[-1])
