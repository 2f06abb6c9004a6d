"""The table of texts that all sheets of a workbook share, and the escapes of characters in XML and in Excel."""

import re
from collections.abc import Callable, Iterable, Iterator

import polars as pl

from batch.sources.excel.markup import MarkupError, NeedsXmlParser, is_utf8, parse

LETTERS = r"[^<\x00-\x08\x0b\x0c\x0e-\x1f\x{fffe}\x{ffff}]"
"""What may stand in a text, for regular expressions of polars: all that XML allows, before entities are replaced."""
_PLAIN = rf'^<t(?: xml:space="preserve")?>({LETTERS}*)</t></si>[ \t\n]*$'
_START = re.compile(rb"<sst(?: [^<>]*)?>")
_ENTITY = re.compile(r"&([^;&]*);?")
_CONTROL = re.compile(r"_x([0-9A-Fa-f]{4})_")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}


def read_texts(open_pieces: Callable[[], Iterable[bytes]]) -> pl.Series:
    """Read the shared texts in order; raise `MarkupError`. Formatting and reading aids (ruby) are left out."""
    try:
        texts = pl.concat([pl.Series(dtype=pl.String), *_iter_plain(open_pieces())])
    except NeedsXmlParser:
        texts = _read_any(open_pieces())
    return unescape_controls(texts.alias("texts"))


def _iter_plain(pieces: Iterable[bytes]) -> Iterator[pl.Series]:
    for stretch in _iter_stretches(pieces):
        try:
            text = stretch.decode()
        except UnicodeDecodeError as error:
            raise NeedsXmlParser from error
        if "<!" in text:
            raise NeedsXmlParser
        parts = pl.Series([with_plain_line_ends(text)]).str.split("<si>").explode()
        if parts[0].strip():
            raise NeedsXmlParser
        parts = parts.slice(1)
        texts = parts.str.extract(_PLAIN, 1)
        rich = texts.is_null().arg_true()
        texts = unescape_entities(texts) if "&" in text else texts
        yield texts.scatter(rich, [_rich_text(one) for one in parts.gather(rich)]) if len(rich) else texts


def _iter_stretches(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest, is_started = b"", False
    for piece in pieces:
        rest += piece
        if not is_started:
            match = _START.search(rest)
            if match is None:
                continue
            if b"<!" in rest[: match.start()] or not is_utf8(rest):
                raise NeedsXmlParser
            rest, is_started = rest[match.end() :], True
        cut = rest.rfind(b"</si>") + 5
        if cut > 4:
            yield rest[:cut]
            rest = rest[cut:]
    if rest.strip() != b"</sst>":
        raise NeedsXmlParser


def _rich_text(part: str) -> str:
    if part.count("</si>") != 1 or not part.rstrip().endswith("</si>"):
        raise NeedsXmlParser
    return str(_read_any([f"<si>{part}".encode()])[0])


def _read_any(pieces: Iterable[bytes]) -> pl.Series:
    texts: list[str] = []
    state = {"text": False, "phonetic": False}

    def start(name: str, _: dict[str, str]) -> None:
        if name == "si":
            texts.append("")
        elif name == "rPh":
            state["phonetic"] = True
        elif name == "t":
            state["text"] = not state["phonetic"]

    def end(name: str) -> None:
        if name == "rPh":
            state["phonetic"] = False
        elif name == "t":
            state["text"] = False

    def take(text: str) -> None:
        if state["text"] and texts:
            texts[-1] += text

    parse(pieces, start=start, end=end, text=take)
    return pl.Series(texts, dtype=pl.String)


def with_plain_line_ends(text: str) -> str:
    """Read line ends as XML does."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def unescape_entities(texts: pl.Series) -> pl.Series:
    """Replace `&amp;`, `&#10;` and the like; raise `MarkupError` for an entity that XML does not know of itself."""
    return _replace(texts, "&", lambda text: _ENTITY.sub(_entity, text))


def unescape_controls(texts: pl.Series) -> pl.Series:
    """Replace `_x000D_` and the like, Excel's spelling of characters that XML cannot hold."""
    return _replace(texts, "_x", lambda text: _CONTROL.sub(lambda match: chr(int(match[1], 16)), text))


def _replace(texts: pl.Series, mark: str, replace: Callable[[str], str]) -> pl.Series:
    marked = texts.str.contains(mark, literal=True).fill_null(value=False).arg_true()
    return texts.scatter(marked, [replace(one) for one in texts.gather(marked)]) if len(marked) else texts


def _entity(match: re.Match[str]) -> str:
    name = match[1]
    if name in _NAMED and match[0].endswith(";"):
        return _NAMED[name]
    if re.fullmatch(r"#\d{1,7}|#x[0-9A-Fa-f]{1,6}", name):
        number = int(name[2:], 16) if name[1] == "x" else int(name[1:])
        if 0 < number < 0x110000 and not 0xD800 <= number < 0xE000:
            return chr(number)
    raise MarkupError("an unknown entity")
