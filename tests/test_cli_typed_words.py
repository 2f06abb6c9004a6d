"""What people type, paste and drag: names with spaces, dashes and quotes of a mail program, `file://` addresses."""

import json
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pytest

from batch.cli import typed_words
from batch.cli.typed_words import meant
from tests.shell import DUALENTRY, Shell


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two files."""
    monkeypatch.chdir(tmp_path)
    for name in ("my customers - new.xlsx", "a.csv", "–odd"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("update|my|customers|-|new.xlsx|-e|x", "update|my customers - new.xlsx|-e|x"),
        ("update|-e|x|my|customers|-|new.xlsx", "update|-e|x|my customers - new.xlsx"),
        ("update|“my|customers|-|new.xlsx”", "update|my customers - new.xlsx"),
        ("update|„a.csv“|–e|x|—yes|–-json|−−out|o", "update|a.csv|-e|x|--yes|--json|--out|o"),
        ("update|a.csv|–as–shown|x|—map=A–B=name", "update|a.csv|--as-shown|x|--map=A–B=name"),
        ("update|a.csv\N{NO-BREAK SPACE}-e\N{NO-BREAK SPACE}x", "update|a.csv|-e|x"),
        ("check|'my customers - new.xlsx'|\"a.csv\"|'no.csv'", "check|my customers - new.xlsx|a.csv|'no.csv'"),
        ("check|–odd|-|–5|–", "check|–odd|-|–5|–"),
        ("update|no|such|file.xlsx|a.csv", "update|no|such|file.xlsx|a.csv"),
        ("update|a.csv|--map|x=y z", "update|a.csv|--map|x=y z"),
        ("update|file:///nobody.csv|file://[x|file://", "update|file:///nobody.csv|file://[x|file://"),
        ("update|a.csv|--map=N°\N{NO-BREAK SPACE}client=id", "update|a.csv|--map=N°\N{NO-BREAK SPACE}client=id"),
        ("update|a.csv|--map|N°\N{NO-BREAK SPACE}client=id", "update|a.csv|--map|N°\N{NO-BREAK SPACE}client=id"),
        ("update|A –\N{NO-BREAK SPACE}B=name", "update|A –\N{NO-BREAK SPACE}B=name"),
        ("", ""),
    ],
)
def test_words(typed: str, expected: str) -> None:
    """Words are taken as they were meant where that is certain, and left alone elsewhere."""
    assert expected.split("|") == meant(typed.split("|"))


@pytest.mark.usefixtures("here")
def test_many_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shell makes of a pattern is looked at word by word, not each with all that come after it."""
    asked = Counter[str]()
    monkeypatch.setattr(typed_words, "exists", lambda path: asked.update([path]) or path.endswith(".parquet"))
    words = [f"{number}.parquet" for number in range(2000)]
    assert words == meant(words)
    assert asked.total() <= 3 * 2000


def test_address(here: Path) -> None:
    """A file that a file manager pastes as an address is the file."""
    path = here / "my customers - new.xlsx"
    assert ["check", str(path)] == meant(["check", f"file://{quote(str(path))}"])


def test_command(offline: Shell) -> None:
    """The command line takes them so."""
    offline.sheet("id,name\n10001,New\n", "my customers.csv")
    ended = offline.run("check", "my", "customers.csv", "–e", DUALENTRY, "—json", cold=True)
    assert (0, "my customers.csv") == (ended.code, json.loads(ended.out)["input"]), ended.err
