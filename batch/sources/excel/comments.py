"""What people noted beside cells, for the failures workbook.

Promises: what is odd in it is left out, and never refuses a workbook; what batch noted itself is no comment. Since
LibreOffice drops the names of authors, a comment without one in a failures file counts as batch's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batch.model import NOTE_AUTHOR, NOTE_MARK, shorten
from batch.sources.excel.layout import read_area
from batch.sources.excel.markup import MarkupError, parse, whole_number
from batch.sources.excel.package import Package
from batch.sources.excel.workbook import Sheet, target_of

MAX_COMMENTS = 10_000
MAX_COMMENT = 2_000
"""Characters of a comment that are kept."""


@dataclass(frozen=True, slots=True)
class Comment:
    """A person's comment; `is_signed` where it is certain that it is a person's."""

    text: str
    is_signed: bool


def read_comments(package: Package, sheet: Sheet) -> dict[tuple[int, int], Comment]:
    """Return the comments of a sheet by row and column (1 = A); of our own notes what the person's own one was."""
    try:
        part = target_of(package, sheet.part, "comments")
        return _Comments().read(package.read(part)) if part and package.has(part) else {}
    except MarkupError:
        return {}


class _Comments:
    """Collects comments as expat meets them."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], Comment] = {}
        self._authors: Sequence[str] = []
        self._author = self._text = self._reference = ""
        self._open = ""

    def read(self, document: bytes) -> dict[tuple[int, int], Comment]:
        parse([document], start=self._start, end=self._end, text=self._take_text)
        return self._found

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "comment":
            number = whole_number(attributes.get("authorId"))
            self._author = self._authors[number] if number < len(self._authors) else ""
            self._reference, self._text = attributes.get("ref", ""), ""
        elif name in ("author", "t"):
            self._open = name
            self._author = "" if name == "author" else self._author

    def _take_text(self, text: str) -> None:
        if self._open == "author":
            self._author += text
        elif self._open == "t" and len(self._text) < MAX_COMMENT:
            self._text += text

    def _end(self, name: str) -> None:
        if name == "author":
            self._authors = [*self._authors, self._author]
        elif name == "comment" and len(self._found) < MAX_COMMENTS:
            ours, mark, theirs = self._text.partition(NOTE_MARK)
            text = (theirs if mark else "" if self._author == NOTE_AUTHOR else ours).strip()
            if text:
                area = read_area(self._reference)
                is_signed = bool(mark or self._author.strip())
                self._found[area.top, area.left] = Comment(shorten(text, MAX_COMMENT), is_signed)
        if name in ("author", "t"):
            self._open = ""
