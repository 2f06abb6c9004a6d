"""The words of a command as they were meant: what mail programs and file managers make of them, and missing quotes.

Promises: a word that names a file stays as it is; words become one only where together they name a file that is there.
"""

import re
from collections.abc import Sequence
from os.path import exists
from typing import Final
from urllib.parse import unquote, urlsplit

LONG_DASHES: Final = re.compile(r"-?[‐‑‒–—―−]{1,2}-?")
"""What mail and text programs make of `-` and `--` at the start of a word."""
CURLY: Final = "“”„‟«»‘’‚"
NO_BREAK: Final = "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"


def meant(words: Sequence[str]) -> list[str]:
    """Return the words of a command line as they were meant."""
    parts = [part for word in words for part in _parts(word)]
    return _joined([_with_short_dashes(from_url(part)) for part in parts])


def from_url(word: str) -> str:
    """Return the path that a `file://` address names, where it is there; a file that is dragged is pasted like this."""
    path = unquote(urlsplit(word).path) if word.startswith("file://") else word
    return path if exists(path) else word


def _parts(word: str) -> list[str]:
    """Split a word at no-break spaces, which a shell takes for letters."""
    return [word] if exists(word) else [one for one in re.split(f"[{NO_BREAK}]+", word) if one] or [word]


def _with_short_dashes(word: str) -> str:
    found = LONG_DASHES.match(word)
    if found is None or exists(word):
        return word
    rest = word[found.end() :]
    return f"{'-' if len(rest) == 1 else '--'}{rest}" if rest[:1].isalpha() else word


def _joined(words: list[str]) -> list[str]:
    """Make one word of those that name a file together, which was typed without quotes, or in curly ones."""
    found = list[str]()
    start = 0
    while start < len(words):
        end = next((end for end in range(len(words), start, -1) if _is_file(words[start:end])), start + 1)
        found.append(_name(words[start:end]) if _is_file(words[start:end]) else words[start])
        start = end
    return found


def _is_file(words: Sequence[str]) -> bool:
    name = _name(words)
    is_other = len(words) > 1 or name != words[0]
    return is_other and not exists(words[0]) and not words[0].startswith("-") and exists(name)


def _name(words: Sequence[str]) -> str:
    return " ".join(words).strip(CURLY)
