"""Bytes -> text: finds out how a CSV file is encoded, and reads it in pieces.

Promises that no byte is dropped in silence: one that means nothing in the encoding becomes `�`, or in Windows-1252 the
control character of the same number; both make the row that holds it invalid (see `rows.py`).
"""

import codecs
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from batch.errors import InputError

PIECE = 1 << 20
DECODING_ERRORS = "batch.keep"
"""Name of the error handler that keeps an undefined byte as the character of the same number."""
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
"""What is a letter in UTF-8, and next to never found in any other text."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A Python codec, and what the user is told about the choice."""

    codec: str
    note: str = ""

    @property
    def is_unicode(self) -> bool:
        return self.codec.startswith("utf-")


def _keep_byte(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(map(chr, error.object[error.start : error.end])), error.end


codecs.register_error(DECODING_ERRORS, _keep_byte)


def find_encoding(path: Path, name: str, said: str | None) -> Encoding:
    """Return the encoding: the one that the user named, else by the byte order mark, else UTF-8, else Windows-1252."""
    with path.open("rb") as file:
        head = file.read(4096)
    marked = next((codec for mark, codec in BOMS if head.startswith(mark)), None)
    if said is not None:
        return Encoding(_said_codec(said, marked, name))
    if marked:
        return Encoding(marked)
    _refuse_unmarked_utf16(head, name)
    return _scan(path)


def _said_codec(said: str, marked: str | None, name: str) -> str:
    """Return the codec that the user named, or the more exact one of the byte order mark."""
    try:
        codec = codecs.lookup(said).name
        "".encode(codec)
    except (LookupError, ValueError):
        raise InputError(f'There is no encoding "{said}": try utf-8, cp1252, latin-1 or utf-16.') from None
    if marked is None:
        return codec
    if _family(codec) != _family(marked):
        raise InputError(
            f'{name} begins with the mark of {_family(marked)}, so it is not "{said}": leave --encoding out.'
        )
    return marked


def _family(codec: str) -> str:
    return "-".join(codec.split("-")[:2])


def _refuse_unmarked_utf16(head: bytes, name: str) -> None:
    odd, even = head[1::2].count(0), head[0::2].count(0)
    if max(odd, even) * 4 > len(head) and min(odd, even) * 50 < len(head):
        guess = "utf-16-le" if odd > even else "utf-16-be"
        raise InputError(f"{name} looks like UTF-16 without a byte order mark: if so, add --encoding {guess}.")


def _scan(path: Path) -> Encoding:
    """Read the whole file once to see whether it is UTF-8.

    A file that has letters in UTF-8 *and* bytes that are not is UTF-8 with damaged rows: read as Windows-1252, its
    good letters would turn into others.
    """
    is_utf8, has_multibyte = True, False
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            if piece.isascii() and not decoder.getstate()[0]:
                continue
            has_multibyte = has_multibyte or MULTIBYTE.search(piece) is not None
            is_utf8 = is_utf8 and _decodes(decoder, piece)
            if not is_utf8 and has_multibyte:
                return Encoding("utf-8")
    if is_utf8 and _decodes(decoder, b"", final=True):
        return Encoding("utf-8")
    if has_multibyte:
        return Encoding("utf-8")
    return Encoding("cp1252", "It was read as Windows-1252, since it is not UTF-8; --encoding says otherwise.")


def _decodes(decoder: codecs.IncrementalDecoder, piece: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(piece, final)
    except UnicodeDecodeError:
        decoder.reset()
        return False
    return True


class TextPieces:
    """Pulls a file as text, in pieces of about a megabyte; the byte order mark is not part of it."""

    def __init__(self, path: Path, encoding: Encoding) -> None:
        self._pieces = _iter_decoded(path, encoding)
        self.is_at_end = False

    def read(self, characters: int = 0) -> str:
        """Return at least so many more characters (one piece at least), or less at the end."""
        parts: list[str] = []
        size = 0
        while not self.is_at_end and (not parts or size < characters):
            piece = next(self._pieces, None)
            if piece is None:
                self.is_at_end = True
            else:
                parts.append(piece)
                size += len(piece)
        return "".join(parts)

    def close(self) -> None:
        """Close the file before its end."""
        self._pieces.close()


def _iter_decoded(path: Path, encoding: Encoding) -> Generator[str, None, None]:
    errors = "replace" if encoding.is_unicode else DECODING_ERRORS
    decoder = codecs.getincrementaldecoder(encoding.codec)(errors)
    is_first = True
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            text = decoder.decode(piece)
            if is_first and text:
                text, is_first = text.removeprefix("\ufeff"), False
            if text:
                yield text
        if text := decoder.decode(b"", True):
            yield text
