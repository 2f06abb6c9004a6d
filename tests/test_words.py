"""What people read has plain words: no screen, and no sentence of the program, speaks as its engineers do."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden.showing import SCREENS
from tests.shell import ROOT

ENGINEERS = re.compile(
    r"(?<![-/\w])(?:(?i:endpoint|journal|pipeline|canary)s?|PATCH|PUT)(?![-/\w=]|\.sqlite)"  # not options, paths, keys
)
COMMANDS = re.compile(r"batch \w+.*|-e ENDPOINT|^\$ .*")
ALLOWED = {
    " endpoints", " endpoints ",  # the command
    "PATCH customer", "PUT customer",  # names of requests, for limits
    "PUT the change alone, not the record with the change laid over it (Vayu).",  # help of an endpoint's own option
    "PUT the change alone: for who knows that PUT merges",
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(SCREENS.glob("*.txt")), ids=lambda path: path.stem)
def test_screens(path: Path) -> None:
    """Recorded screens, but for help, JSON, and what is in files."""
    screen = path.read_text(encoding="utf-8").partition("\n-- ")[0]
    if path.stem.startswith(("help", "endpoints")):
        return
    lines = [COMMANDS.sub("", line) for line in screen.splitlines() if '": ' not in line]
    assert [] == [line for line in lines if ENGINEERS.search(line)]


def _sentences() -> Iterator[tuple[str, str]]:
    """Yield the strings with several words in the code, but for docstrings and SQL."""
    for path in sorted((ROOT / "batch").rglob("*.py")):
        if "sandbox" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        described = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
        for one in ast.walk(tree):
            is_text = isinstance(one, ast.Constant) and isinstance(one.value, str) and id(one) not in described
            if is_text and " " in one.value and not re.search(r"\b(SELECT|CREATE|WHERE|PRAGMA)\b", one.value):
                yield path.name, one.value


def test_sentences() -> None:
    """All that the program can say."""
    found = [(name, text) for name, text in _sentences() if text not in ALLOWED]
    assert len(found) > 1_000
    assert [] == [(name, text) for name, text in found if ENGINEERS.search(COMMANDS.sub("", text))]
