"""When two values are one in two spellings: what an API may make of a value when it normalises.

Promises: nothing is a spelling but of text and phone numbers, in fields that say so (`Field.spelling`): an id, a key, a
code, a number, a choice or a custom field means what it says, character by character.
"""

import re
import unicodedata
from typing import Any

_PUNCTUATION = re.compile(r"[()./\s-]")
_PHONE = re.compile(r"\+?[0-9]+")


def is_spelling(kind: str, one: Any, other: Any) -> bool:
    """Return whether two values of a field of this kind are equal but for their spelling; lists item by item."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(is_spelling(kind, *pair) for pair in zip(one, other, strict=True))
    if not (kind and isinstance(one, str) and isinstance(other, str)):
        return False
    return _plain_text(one) == _plain_text(other) or (kind == "phone" and _is_same_phone(one, other))


def _plain_text(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split()).lower()


def _is_same_phone(one: str, other: str) -> bool:
    """Compare digits, and whether + or 00 stands in front."""
    plain = _PUNCTUATION.sub("", one)
    return plain == _PUNCTUATION.sub("", other) and _PHONE.fullmatch(plain) is not None
