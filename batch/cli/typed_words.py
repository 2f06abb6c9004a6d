"""The words of a command as they were meant: what mail programs and file managers make of them, and missing quotes.

Promises: a word that names a file stays as it is; words become one only where together they name a file that is there.
Nothing is asked about the place of a --store.
"""

import re
from collections.abc import Sequence
from os.path import exists
from typing import Final
from urllib.parse import unquote

LONG_DASH: Final = "[‐‑‒–—―−]"
LONG_DASHES: Final = re.compile(rf"-?{LONG_DASH}{{1,2}}-?")
"""What mail and text programs make of `-` and `--` at the start of a word."""
CURLY: Final = "“”„‟«»‘’‚"
_NO_BREAK = "[\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}]+"
BESIDE_OPTION: Final = re.compile(rf"(?<=^-\w){_NO_BREAK}|{_NO_BREAK}(?=[-‐‑‒–—―−]{{1,2}}[a-zA-Z])")
"""No-break spaces before an option, or behind a short one at the start: elsewhere they belong to a header or value."""
STORE: Final = "--store"
"""Before what may be a network file system whose server is gone."""
MOST_WORDS: Final = 64
"""Words that may make one name."""


def meant(words: Sequence[str]) -> list[str]:
    """Return the words of a command line as they were meant; the place of a --store, which may hang, as it is."""
    if STORE in words[:-1]:
        place = words.index(STORE) + 1
        return [*meant(words[:place]), words[place], *meant(words[place + 1 :])]
    parts = [part for word in words for part in _parts(word)]
    return _joined([_with_short_dashes(from_url(_unquoted(part))) for part in parts])


def _unquoted(word: str) -> str:
    """Take off the quotes that a terminal puts around a file that is dragged to where quotes stand already."""
    inner = word[1:-1]
    return inner if word[:1] in ("'", '"') and word[-1:] == word[:1] and not exists(word) and exists(inner) else word


def from_url(word: str) -> str:
    """Return the path that a `file://` address names, where it is there; a file that is dragged is pasted like this."""
    found = re.fullmatch(r"file://[^/]*(/.+)", word)
    path = unquote(found[1]) if found else word
    return path if exists(path) else word


def _parts(word: str) -> list[str]:
    """Split a word at the no-break spaces that stand where a shell needs plain ones."""
    if " " in word or exists(word):
        return [word]
    before, *rest = BESIDE_OPTION.split(word, maxsplit=1)
    return [before, *(part for one in rest for part in _parts(one))]


def _with_short_dashes(word: str) -> str:
    found = LONG_DASHES.match(word)
    if found is None or exists(word):
        return word
    rest = word[found.end() :]
    name, equals, value = rest.partition("=")
    option = f"{'-' if len(rest) == 1 else '--'}{re.sub(LONG_DASH, '-', name)}"
    return f"{option}{equals}{value}" if rest[:1].isalpha() else word


def _joined(words: Sequence[str]) -> list[str]:
    """Make one word of those that name a file together, which was typed without quotes, or in curly ones."""
    found, start = list[str](), 0
    while start < len(words):
        end = _end_of_name(words, start)
        found.append(words[start] if end is None else _name(words[start:end]))
        start = end or start + 1
    return found


def _end_of_name(words: Sequence[str], start: int) -> int | None:
    """Return where the longest name of a file ends that begins with a word which is none itself."""
    if words[start].startswith("-") or exists(words[start]):
        return None
    ends = range(min(len(words), start + MOST_WORDS), start, -1)
    return next((end for end in ends if exists(_name(words[start:end]))), None)


def _name(words: Sequence[str]) -> str:
    return " ".join(words).strip(CURLY)
