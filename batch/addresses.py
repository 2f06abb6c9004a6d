"""Addresses (URLs) of inputs and results: told from paths, taken apart, and shown without what is secret in them.

Promises: what follows the `?` of an address, and a user name and password in it, may be keys, and are in nothing that
is shown; what begins like an address is never taken for the name of a file.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from batch.errors import SettingsError

WEB: Final = ("https", "http")
OBJECT_STORES: Final = ("s3", "s3a", "gs", "az", "abfs", "abfss")
HIDDEN: Final = "?…"
"""Stands in an address that is shown for what followed its `?`."""
STORAGE_OPTION: Final = "--storage-option"
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/[^/\s]?.*", re.DOTALL)
"""What begins like an address; with one slash it is what paths make of one. A single letter is a drive of Windows."""
_INSIDE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
MAX_NAME = 100


def is_address(text: str) -> bool:
    """Whether it begins like an address, of whatever kind."""
    return _ADDRESS.fullmatch(text) is not None


def shown(text: str) -> str:
    """Return a text as it may be shown: an address without what may be secret in it, anything else as it is.

    Of a text in which an address stands behind something else, what is before it is shown, too.
    """
    if not is_address(text):
        inside = _INSIDE.search(text)
        return text[: inside.start()] + shown(text[inside.start() :]) if inside else text
    scheme, _, rest = text.partition(":")
    rest, mark, _ = rest.partition("?")
    rest = rest.partition("#")[0] if scheme.lower() in WEB else rest
    slashes, place, path = _split(rest)
    is_account = scheme.lower() in ("abfs", "abfss")  # container@account
    place = place if is_account and ":" not in place.partition("@")[0] else place.rpartition("@")[2]
    if not re.fullmatch(r"(\[[^@]*\]|[^:]*)(:\d*)?", place):  # a password with a slash in it, perhaps
        return f"{scheme}:{slashes}…"
    return f"{scheme}:{slashes}{place}{path}{HIDDEN if mark else ''}"


def named(path: Path) -> str:
    """Return the address that a path was made of, which lost a slash by that, as it may be shown."""
    return re.sub(r":/(?!/)", "://", shown(str(path)), count=1)


def _split(rest: str) -> tuple[str, str, str]:
    """Split what follows the colon into its slashes, the host and the path."""
    bare = rest.removeprefix("//") if rest.startswith("//") else rest.lstrip("/")
    place, slash, path = bare.partition("/")
    return rest[: len(rest) - len(bare)], place, slash + path


def shown_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command as they may be shown: without keys."""
    found, before = list[str](), ""
    for word in words:
        option, equals, value = word.partition("=")
        if before == STORAGE_OPTION:
            found.append(f"{option}=…")
        elif equals and option == STORAGE_OPTION:
            found.append(f"{option}={value.partition('=')[0]}=…")
        elif equals and option.startswith("--"):
            found.append(f"{option}={shown(value)}")
        else:
            found.append(shown(word))
        before = word
    return found


def name_of(argument: str) -> str:
    """Return the last part of an address as the name of a file, or of a path."""
    if not is_address(argument):
        return Path(argument).name
    path = shown(argument).removesuffix(HIDDEN).partition(":")[2].rstrip("/")
    last = path.rpartition("/")[2]
    last = unquote(last) if argument.partition(":")[0].lower() in WEB else last
    safe = re.sub(r"[^\w.*\[\]() +,;=@~^!-]", "_", last).lstrip(".").strip()
    return safe[-MAX_NAME:] or "input"


@dataclass(frozen=True)
class Address:
    """An address taken apart; its `str` and `repr` are without what may be secret."""

    full: str = field(repr=False)
    shown: str

    @classmethod
    def parse(cls, text: str, what: str) -> "Address":
        """Take an address apart; raises SettingsError, which begins with `what`, for one that cannot be used."""
        as_shown = shown(text)
        if as_shown.endswith(HIDDEN) and text.endswith(HIDDEN):
            raise SettingsError(f"{what}{as_shown}: what followed the ? is not shown. Give the whole address.")
        scheme = text.partition(":")[0].lower()
        if not re.match(r"[^:]+://", text):
            raise SettingsError(
                f"{what}{as_shown}: this is an address that lost a slash, as a Path of Python does. Write it as text: "
                f"{named(Path(text))}"
            )
        if scheme not in (*WEB, *OBJECT_STORES):
            known = ", ".join(f"{one}://" for one in (*OBJECT_STORES, *WEB))
            raise SettingsError(f"{what}{as_shown}: {scheme}:// is not known. What can be read is {known}, and files.")
        found = cls(text, as_shown)
        found._check(what)
        return found

    def __str__(self) -> str:
        """Show it."""
        return self.shown

    @cached_property
    def scheme(self) -> str:
        """What it begins with, in lower case."""
        return self.full.partition(":")[0].lower()

    @property
    def is_web(self) -> bool:
        """Whether it is read by plain HTTP."""
        return self.scheme in WEB

    @property
    def store(self) -> str:
        """Scheme and bucket (or container, with its account)."""
        return f"{self.scheme}://{self._split()[1]}"

    @property
    def bucket(self) -> str:
        """The bucket or container."""
        return self._split()[1].partition("@")[0]

    @property
    def key(self) -> str:
        """What stands behind the bucket, as it is."""
        return self._split()[2].lstrip("/")

    @property
    def name(self) -> str:
        """Its last part, as the name of a file."""
        return name_of(self.full)

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for all objects of such names."""
        return not self.is_web and any(mark in self.key for mark in "*[")

    def below(self, name: str) -> "Address":
        """Return the address of what lies in it."""
        full = f"{self.full.rstrip('/')}/{name}"
        return Address(full, shown(full))

    def _split(self) -> tuple[str, str, str]:
        return _split(self.full.partition(":")[2])

    def _check(self, what: str) -> None:
        if self.is_web:
            try:
                is_right = bool(urlsplit(self.full).hostname) and (urlsplit(self.full).port or 1) > 0
            except ValueError:
                is_right = False
            if not is_right or _UNSAFE.search(self.full):
                raise SettingsError(f"{what}{self.shown}: this address cannot be read (copy it again).")
            return
        if not self.bucket:
            raise SettingsError(f"{what}{self.shown}: this address names no bucket.")
        if "?" in self.full or ":" in self._split()[1] or ("@" in self._split()[1] and self.scheme[:4] != "abfs"):
            raise SettingsError(
                f"{what}{self.shown}: this address has a ? or a user name in it. Keys are given in the environment or "
                f"with {STORAGE_OPTION}; in a pattern * stands for any text."
            )
