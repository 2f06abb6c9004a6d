"""Answers: read no further than asked, decompressed no further than asked, parsed without surprises."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from batch.credentials import Redaction
from batch.exact_json import decode
from batch.http.connection import Connection

MAX_TEXT_BYTES = 64 * 1024


@dataclass(frozen=True)  # not slotted: cached_property keeps what it parsed in __dict__
class ApiResponse:
    """A whole answer, or the first `max_bytes` of one (`is_truncated`); header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_truncated: bool = False
    redaction: Redaction | None = field(default=None, repr=False, compare=False)
    """What hides the secrets that were sent, None where nothing is to be hidden."""
    connection: Connection | None = field(default=None, repr=False, compare=False)
    """What it came over, where our own transport brought it."""

    def distrust_connection(self) -> None:
        """Let nothing more be believed of this answer's connection, since it brought the answer to another request."""
        if self.connection is not None:
            self.connection.is_out_of_step = True

    @cached_property
    def redacted(self) -> "ApiResponse":
        """The answer as it may be shown; what goes back to the API is made from the answer as it came."""
        if self.redaction is None:
            return self
        return replace(self, body=self.redaction.hide_in_body(self.body), redaction=None)

    @cached_property
    def json(self) -> object:
        """The body as JSON; None when it is not JSON, not UTF-8, nested deeper than 200, or truncated."""
        if self.is_truncated or not self.body:
            return None
        try:
            parsed: object = decode(self.body)
        except ValueError:
            return None
        return parsed

    @cached_property
    def text(self) -> str:
        """At most 64 KiB of the body as text, for people; what cannot be decoded is shown as U+FFFD."""
        text = self.redacted.body[:MAX_TEXT_BYTES].decode(_charset(self.headers), "replace")
        return text.encode()[:MAX_TEXT_BYTES].decode("utf-8", "ignore")


def _charset(headers: Mapping[str, str]) -> str:
    """Only the two charsets that are met besides UTF-8: some of Python's decoders are slow on hostile input."""
    content_type = headers.get("content-type", "").lower()
    if any(name in content_type for name in ("iso-8859-1", "latin-1", "latin1", "windows-1252")):
        return "cp1252"
    return "utf-8"


RawHeader = tuple[bytes, bytes]


def read_headers(headers: Iterable[RawHeader]) -> dict[str, str]:
    """Return headers with names in lower case; values of a repeated one are joined by commas (RFC 9110, 5.3)."""
    read: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        read[name] = f"{read[name]}, {value}" if name in read else value
    return read


class Bounded:
    """Collects a body up to `max_bytes` of it, as it comes and decompressed: a bomb unfolds no further than that."""

    def __init__(self, max_bytes: int, content_encoding: str = "") -> None:
        """Take the answer's Content-Encoding; one that nobody asked for leaves the body as it is."""
        self._raw_room = self._room = max_bytes
        self._parts: list[bytes] = []
        encoding = content_encoding.strip().lower()
        is_packed = encoding in ("gzip", "x-gzip")
        self._unpack = zlib.decompressobj(wbits=31) if is_packed else None
        self._is_readable = is_packed or encoding in ("", "identity")
        self.is_full = False

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes as they came; sets `is_full` when no more are wanted."""
        self._raw_room -= len(chunk)
        if self._unpack is not None:
            chunk = self._decompress(self._unpack, chunk)
        if len(chunk) > self._room or self._raw_room < 0:
            self.is_full = True
            chunk = chunk[: self._room]
        self._room -= len(chunk)
        self._parts.append(chunk)

    def _decompress(self, unpack: "zlib._Decompress", chunk: bytes) -> bytes:
        try:
            return unpack.decompress(chunk, self._room + 1)  # one more, to see that there is more
        except zlib.error:
            self.is_full = True
            return b""

    @property
    def body(self) -> bytes:
        """What was collected."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    @property
    def is_truncated(self) -> bool:
        """Tell whether this is not the whole body, or not readable as it is."""
        if self._unpack is not None and self._parts:
            return self.is_full or not self._unpack.eof or bool(self._unpack.unused_data)
        return self.is_full or (bool(self._parts) and not self._is_readable)
