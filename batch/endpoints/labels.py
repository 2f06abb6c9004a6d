"""The labels of an API's fields in the languages of its users: data in a `labels.toml` beside the endpoint.

Promises: each file is a table of fields, each with lists of labels by language (`en`, `de`, `fr`, `es`), and nothing
else. A label also stands for its form without accents ("Telephone" for "Téléphone", "Laendercode" for "Ländercode").
"""

import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

from batch.model import Field

LANGUAGES = ("en", "de", "fr", "es")
_PUNCTUATION = str.maketrans("", "", ".:*'’")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})

Labels = Mapping[str, tuple[str, ...]]
"""Field name (or "id") -> its labels, English ones first."""


def read_labels(path: Path) -> Labels:
    """Read a file of labels; raises ValueError where it has anything else in it."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    for name, by_language in data.items():
        if not isinstance(by_language, dict) or not by_language.keys() <= set(LANGUAGES):
            raise ValueError(f"{path.name}: {name} has other languages than {', '.join(LANGUAGES)}")
    return {
        name: tuple(label for language in LANGUAGES for label in by_language.get(language, ()))
        for name, by_language in data.items()
    }


def with_labels(fields: Sequence[Field], labels: Labels) -> tuple[Field, ...]:
    """Return `fields` with their labels; raises ValueError where there is no such field."""
    if unknown := labels.keys() - {one.name for one in fields} - {"id"}:
        raise ValueError(f"there is no field {', '.join(sorted(unknown))}")
    return tuple(replace(one, labels=labels.get(one.name, ())) for one in fields)


def fold(header: str) -> str:
    """Fold a header for matching: Unicode form, case, spaces, `_`, `-` and invisible marks do not matter."""
    text = unicodedata.normalize("NFKC", header).casefold()
    return "".join(c for c in text if not (c.isspace() or c in "_-" or unicodedata.category(c) == "Cf"))


@lru_cache(4096)  # it is asked for the same few names with every record
def fold_label(header: str) -> str:
    """Fold a header as a label, of which `.`, `:`, `*` and apostrophes do not matter either: "Kd.-Nr.", "Name*"."""
    return fold(header).translate(_PUNCTUATION)


@cache  # an API has some two hundred labels, and every endpoint that is made asks for all of them
def spellings(label: str) -> frozenset[str]:
    """Return a label as people write it, folded: with its accents, without, and with ae for ä."""
    folded = fold_label(label)
    bare = "".join(c for c in unicodedata.normalize("NFD", folded) if not unicodedata.combining(c))
    return frozenset((folded, bare, folded.translate(_UMLAUTS)))
