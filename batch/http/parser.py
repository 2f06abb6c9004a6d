"""One answer, from the bytes of a connection: HTTP/1.1 as httptools reads it, bounded, and told from what follows it.

httptools itself neither bounds a head, nor gives back what it did not use, nor ends a body with its connection.

Promises: an answer is complete only where its length, its last chunk, or (without either) the end of the connection
says so; a byte after its end is an `OutOfStepError`, not the beginning of the next answer.
"""

import httpx
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from batch.http.failures import BrokeOffError, OutOfStepError

MAX_HEAD_BYTES = 64 * 1024
_BEGIN = b"HTTP/1."
_HEAD_END = b"\r\n\r\n"


class AnswerParser:
    """Takes in bytes as they come; what a server says before the answer itself (1xx) is left out."""

    def __init__(self) -> None:
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._before_head = self._tail = b""
        self._room = MAX_HEAD_BYTES
        self._has_length = self._is_chunked = self._is_followed = False
        self.status = self.fed = self.body_bytes = 0
        self.coding = b""
        """How the body is packed, in lower case."""
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        """What came of the body since somebody took it."""
        self.has_head = self.is_complete = self.is_kept_alive = False
        self.failure: httpx.TransportError | None = None
        """Why there will be no whole body."""

    @property
    def has_end(self) -> bool:
        """Tell whether the answer itself says where it ends, not the end of its connection alone."""
        return self._has_length or self._is_chunked

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more is expected."""
        return self.is_complete or self.failure is not None

    def close(self) -> None:
        """End the exchange: no more is taken in. (httptools' parser holds this one, and a circle is freed late.)"""
        self._parser = None

    def feed(self, data: bytes) -> None:
        """Take in what came next; raises httpx.RemoteProtocolError where it is no answer."""
        self.fed += len(data)
        if not self.has_head:
            data = self._feed_heads(self._before_head + data)
        if data and self.failure is None:
            self._feed_body(data)

    def end(self) -> None:
        """Take in the end of the connection, which is the answer's where nothing else tells it."""
        if self.is_complete:
            return
        if self._before_head:
            raise BrokeOffError("it ended within the head")
        if not self.has_head:
            raise httpx.ReadError("it ended without an answer")
        if self.has_end:
            self.failure = BrokeOffError("it ended within the body")
        self.is_complete = self.failure is None

    def _feed_heads(self, data: bytes) -> bytes:
        """Read as far as the end of the answer's own head; return the rest."""
        while data and not self.has_head:
            if data[: len(_BEGIN)] != _BEGIN[: len(data)]:
                raise httpx.RemoteProtocolError("it does not begin as an answer")
            end = data.find(_HEAD_END)
            size = len(data) if end < 0 else end + len(_HEAD_END)
            if size > self._room:
                raise httpx.RemoteProtocolError("the head is too long")
            if end < 0:
                if data.count(b"\n") != data.count(b"\r\n"):
                    raise httpx.RemoteProtocolError("its lines do not end as they must")
                break
            self._parse(data[:size])
            self._room -= size
            data = data[size:]
        self._before_head = b"" if self.has_head else data
        return data if self.has_head else b""

    def _feed_body(self, data: bytes) -> None:
        was_complete, seen = self.is_complete, self.body_bytes
        self._tail = (self._tail + data[-6:])[-6:]
        try:
            if not was_complete:
                self._parse(data)
        except httpx.RemoteProtocolError as error:
            self.failure = error
        if self.is_complete and (
            was_complete or self.failure or self._is_surplus(len(data) - (self.body_bytes - seen))
        ):
            self.failure = OutOfStepError("more came than was asked for")

    def _is_surplus(self, without_body: int) -> bool:
        """Tell whether bytes follow the end; httptools passes over line ends before a next answer."""
        if self._is_followed or not self._is_chunked:
            return self._is_followed or without_body > 0
        return not self._tail.endswith(_HEAD_END) or self._tail == b"\r\n" + _HEAD_END

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None  # noqa: S101 - for the type checker: nothing is received after the end
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            raise httpx.RemoteProtocolError("it is not proper HTTP") from error

    def on_message_begin(self) -> None:
        """Note that another answer follows."""
        self._is_followed = self.is_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what comes behind the head is a trailer, and dropped."""
        if not self.has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """See what the head says of the body."""
        if self.has_head:
            return
        assert self._parser is not None  # noqa: S101 - it is what calls
        status = self._parser.get_status_code()
        if status < 100:
            raise ValueError("there is no such status")  # httptools makes an error of its own of it
        if status < 200:
            self.headers.clear()
            return
        self.status, self.has_head = status, True
        transfer = b""
        for name, value in self.headers:
            match name.lower():
                case b"content-length":
                    self._has_length = True
                case b"transfer-encoding":
                    transfer += value.lower() + b" "
                case b"content-encoding":
                    self.coding = value.lower()
        self._is_chunked = transfer == b"chunked "
        if transfer and not self._is_chunked:
            self.failure = httpx.RemoteProtocolError("its transfer coding was not asked for")

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        if not self.is_complete:
            self.body_bytes += len(data)
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        """End the answer, if it is one of its own."""
        if self._parser is not None and self.has_head and not self.is_complete:
            self.is_complete, self.is_kept_alive = True, self._parser.should_keep_alive()
