"""XML as it may come from strangers: read by expat, without document types, so without entities of its own.

Names are given without their namespace prefix: `<x:row>` and `<row>` are the same.
"""

import re
from collections.abc import Callable, Container, Iterable
from xml.parsers import expat

Start = Callable[[str, dict[str, str]], None]
Text = Callable[[str], None]


MAX_ELEMENTS = 200_000
"""Of a kind, in a small document: Excel itself stops at 65,490 styles."""
MAX_DEPTH = 1_000


class MarkupError(Exception):
    """The XML is broken, or is of a kind that no spreadsheet program writes."""


class NeedsXmlParser(Exception):
    """The XML may be right, but is not in the form that the fast scanners read."""


class MarkupReader:
    """Reads one document piece by piece, calling `start`, `end` and `text` as it goes; raises `MarkupError`."""

    def __init__(self, *, start: Start, end: Text | None = None, text: Text | None = None) -> None:
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = _refuse_doctype
        self._parser.StartElementHandler = lambda name, attributes: start(local(name), attributes)
        if end is not None:
            self._parser.EndElementHandler = lambda name: end(local(name))
        if text is not None:
            self._parser.CharacterDataHandler = text

    def feed(self, piece: bytes, *, is_last: bool = False) -> None:
        """Read the next piece."""
        try:
            self._parser.Parse(piece, is_last)
        except (expat.ExpatError, LookupError) as error:  # LookupError: an encoding that Python does not know
            raise MarkupError(str(error)) from error


def parse(pieces: Iterable[bytes], *, start: Start, end: Text | None = None, text: Text | None = None) -> None:
    """Read `pieces` as one document; raise `MarkupError`."""
    reader = MarkupReader(start=start, end=end, text=text)
    for piece in pieces:
        reader.feed(piece)
    reader.feed(b"", is_last=True)


def elements(document: bytes, wanted: Container[str]) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """List the elements of a small document that have one of these names, each as its path and its attributes."""
    found: list[tuple[tuple[str, ...], dict[str, str]]] = []
    path: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        if name in wanted:
            found.append((tuple(path), {local(key): value for key, value in attributes.items()}))
        if len(found) > MAX_ELEMENTS or len(path) > MAX_DEPTH:
            raise MarkupError("more than any program writes")

    def end(_: str) -> None:
        path.pop()

    parse([document], start=start, end=end)
    return found


def local(name: str) -> str:
    """Drop the namespace prefix."""
    return name.rpartition(":")[2]


def is_true(value: str | None) -> bool:
    """Read an XML boolean attribute."""
    return value in ("1", "true", "on")


def whole_number(text: str | None, default: int = 0) -> int:
    """Read an attribute that counts; `default` where it is left out or no number."""
    return int(text) if text and re.fullmatch(r"\d{1,9}", text) else default


def is_utf8(start: bytes | bytearray) -> bool:
    """Tell by its beginning whether a document is in UTF-8, as all spreadsheet programs write."""
    declared = re.match(rb"\xef\xbb\xbf|<\?xml [^<>]*?encoding=[\"']([^\"']*)", start)
    return start[:1] not in (b"\xff", b"\xfe", b"\0") and (
        declared is None or declared[1] is None or declared[1].lower() == b"utf-8"
    )


def _refuse_doctype(*_: object) -> None:
    raise MarkupError("it declares a document type")
