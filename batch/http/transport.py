"""HTTP/1.1 for httpx over anyio's streams: connections kept for one origin, one request at a time on each.

Promises: each request leaves byte for byte as it is given, once; nothing here repeats it, follows a redirect, keeps a
cookie or folds a path. What came back belongs to the request: where more came than one answer, there is none. A
refusal is believed only after its connection has been silent for as long as another answer would take. Errors are
httpx's, and those that `may_have_left` calls *not delivered* are raised only where no byte left.
"""

import math
import zlib
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

import anyio
import httpx

from batch.http.connecting import Connector
from batch.http.connection import ONE_READ, Connection
from batch.http.failures import OutOfStepError
from batch.http.parser import AnswerParser

KEEPALIVE_SECONDS = 4.0
"""Below the 5 s after which Node and uvicorn close an idle connection: a request that meets such a closing on its way
is *unknown*."""
MAX_BODY_BYTES = 16 * 1024 * 1024
ONE_PIECE = 256 * 1024
AT_MOST, AT_LEAST = 1.0, 0.01
"""Seconds for which a refusal's connection is watched."""
LOOKS = 4
TO_SETTLE = 0.02
"""Seconds in which an event loop gives what it has read already."""
NOT_FINAL = frozenset({401, 408, 425, 429})
"""Refusals that are never the last word on a request."""


class HttpTransport(httpx.AsyncBaseTransport):
    """Carries requests to the one origin that it was made for, on asyncio and on trio."""

    def __init__(
        self, base: httpx.URL, *, max_connections: int = 64, max_body_bytes: int | None = MAX_BODY_BYTES
    ) -> None:  # fmt: skip
        """Look up the proxy and the trusted certificates for `base`; SettingsError if they cannot be used.

        `max_body_bytes`: None where whoever reads a body ends it.
        """
        self.max_body_bytes = math.inf if max_body_bytes is None else max_body_bytes
        self._connector = Connector.to(base)
        self._origin = (base.scheme, base.netloc)
        told = self._connector.told_proxy
        self._target_prefix = b"%s://%s" % (base.raw_scheme, base.netloc) if told else b""
        self._more_headers = told.authorization if told else b""
        self._max_connections = max_connections
        self._idle: list[Connection] = []
        self._durations = deque([AT_LEAST], maxlen=32)

    async def __aenter__(self) -> Self:
        """Begin to keep connections; they are made as they are needed."""
        self._free = anyio.Semaphore(self._max_connections, fast_acquire=True)
        return self

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            await self._idle.pop().close()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, and come back with the answer's head; its body comes as it is read."""
        content = self._written(request, await request.aread())
        seconds = {name: math.inf if value is None else value for name, value in request.extensions["timeout"].items()}
        await self._take_slot(seconds["pool"])
        connection: Connection | None = None
        try:
            connection, began = await self._connection(seconds["connect"])
            may_leave = request.extensions.get("may_leave")
            if may_leave is not None and not may_leave():
                raise httpx.ConnectError("this process was held up, and another one may do its work by now")
            parser = AnswerParser()
            await _ask(connection, content, parser, began, seconds)
        except BaseException:
            self._free.release()
            if connection is not None:
                await connection.close()
            raise
        body = _Body(self, request, connection, parser, seconds["read"], began)
        headers = parser.headers
        if body.is_packed:  # what it says is of the packed body
            headers = [one for one in headers if one[0].lower() not in (b"content-encoding", b"content-length")]
        extensions = {
            "http_version": b"HTTP/1.1", "connection": connection, "has_end": parser.has_end, "body": body,
        }  # fmt: skip
        return httpx.Response(parser.status, headers=headers, stream=body, extensions=extensions)

    def seconds_of_doubt(self) -> float:
        """Twice as long as answers take here: when another one would be there."""
        return min(AT_MOST, 2 * max(self._durations))

    def keep(self, connection: Connection, began: float, ended: float) -> None:
        """Keep a connection whose exchange took from one time to the other."""
        self._free.release()
        self._durations.append(ended - began)
        connection.idle_since = ended
        self._idle.append(connection)

    async def drop(self, connection: Connection) -> None:
        """Close a connection whose exchange is over."""
        self._free.release()
        await connection.close()

    def _written(self, request: httpx.Request, content: bytes) -> bytes:
        """Return all bytes of a request."""
        if (request.url.scheme, request.url.netloc) != self._origin or request.method in ("HEAD", "CONNECT"):
            raise httpx.UnsupportedProtocol("this transport carries ordinary requests to the origin it was made for")
        if content and "content-length" not in request.headers:
            raise httpx.UnsupportedProtocol("a request with a body needs its length")
        lines = [b"%s: %s\r\n" % header for header in request.headers.raw]
        target = request.extensions.get("target") or request.url.raw_path
        begin = b"%s %s%s HTTP/1.1\r\n" % (request.method.encode(), self._target_prefix, target)
        return b"".join((begin, *lines, self._more_headers, b"\r\n", content))

    async def _take_slot(self, seconds: float) -> None:
        try:
            self._free.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(seconds) as scope:
                await self._free.acquire()
            if scope.cancelled_caught:
                raise httpx.PoolTimeout("all connections were in use") from None

    async def _connection(self, seconds: float) -> tuple[Connection, float]:
        """Give a connection on which nothing is to be read, the one that was used last or a new one, and the time."""
        while self._idle:
            connection, now = self._idle.pop(), anyio.current_time()
            if now - connection.idle_since < KEEPALIVE_SECONDS and connection.is_quiet():
                return connection, now
            await connection.close()
        connection = await self._connector.connect(seconds)
        if self._connector.base.scheme == "http" and not connection.is_quiet():  # TLS may have its tickets to read
            await connection.close()
            raise httpx.ConnectError("the connection was closed before it was used")
        return connection, anyio.current_time()


async def _ask(
    connection: Connection, content: bytes, parser: AnswerParser, now: float, seconds: Mapping[str, float]
) -> None:
    """Send a request, and read until the end of the answer's head."""
    has_left = False
    with anyio.CancelScope(deadline=now + seconds["write"]) as scope:
        await connection.send(content)
        has_left = True
        while not parser.has_head:
            scope.deadline = anyio.current_time() + seconds["read"]
            await connection.receive(parser)
    if scope.cancelled_caught:
        raise httpx.ReadTimeout("no answer in time") if has_left else httpx.WriteTimeout("not taken in time")


class _Body(httpx.AsyncByteStream):
    """The body of an answer, as it comes and unpacked: a bomb unfolds no further than it is read, nor than the limit.

    No generator, so that one who stops reading leaves nothing behind that has to be cleaned up.
    """

    def __init__(
        self, transport: HttpTransport, request: httpx.Request, connection: Connection, parser: AnswerParser,
        seconds: float, began: float,
    ) -> None:  # fmt: skip
        self._transport, self._request, self._connection, self._parser = transport, request, connection, parser
        self._seconds, self._began = seconds, began
        self._room, self._is_finished = transport.max_body_bytes, False
        self._unpack = zlib.decompressobj(wbits=31) if parser.coding in (b"gzip", b"x-gzip") else None

    @property
    def is_packed(self) -> bool:
        """Tell whether it came packed."""
        return self._unpack is not None

    def __aiter__(self) -> Self:
        """Return itself, which can be read once."""
        return self

    async def __anext__(self) -> bytes:
        """Give the next piece; httpx.DecodingError where a body is too long or cannot be unpacked."""
        try:
            while not self._is_finished:
                if piece := self._next_piece():
                    return piece
                if self._parser.is_over:
                    await self._finish()
                else:
                    await self._receive(self._seconds)
        except httpx.RequestError as error:
            error.request = self._request
            raise
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the exchange; with a body that was not read to its end, its connection ends."""
        self._parser.close()
        if not self._is_finished:
            self._is_finished = True
            await self._transport.drop(self._connection)

    def _next_piece(self) -> bytes:
        pieces = self._parser.pieces
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._unpack is not None:
            piece = self._unpacked(self._unpack, piece)
        self._room -= len(piece)
        if self._room < 0:
            raise httpx.DecodingError("the body is too long")
        return piece

    def _unpacked(self, unpack: "zlib._Decompress", data: bytes) -> bytes:
        data = unpack.unconsumed_tail + data
        if not data:
            return b""
        if unpack.eof:
            raise httpx.DecodingError("more follows what was packed")
        try:
            return unpack.decompress(data, ONE_PIECE)
        except zlib.error as error:
            raise httpx.DecodingError("the body cannot be unpacked") from error

    async def _receive(self, seconds: float) -> None:
        with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
            await self._connection.receive(self._parser)
        if scope.cancelled_caught:
            raise httpx.ReadTimeout("nothing more came in time")

    async def _finish(self) -> None:
        """See that this was the answer to this request, as far as that can be seen, and keep the connection."""
        parser, ended = self._parser, anyio.current_time()
        if parser.failure is None:
            await self._look_for_more()
        if isinstance(parser.failure, OutOfStepError):
            self._connection.is_out_of_step = True
        if self._connection.is_out_of_step:
            raise OutOfStepError("more came than the answer to this request")
        if parser.failure is not None:
            raise parser.failure
        if self._unpack is not None and parser.body_bytes and (not self._unpack.eof or self._unpack.unused_data):
            raise httpx.DecodingError("the body was not packed whole")
        self._is_finished = True
        if parser.is_kept_alive:
            self._transport.keep(self._connection, self._began, ended)
        else:
            await self._transport.drop(self._connection)

    async def _look_for_more(self) -> None:
        """Let the parser have what follows the answer.

        Until something does, nothing is received: what arrives while that is being cancelled would not be seen.
        """
        connection, parser = self._connection, self._parser
        if 400 <= parser.status <= 499 and parser.status not in NOT_FINAL:
            seconds = self._transport.seconds_of_doubt()
            for _ in range(LOOKS):
                if not connection.is_quiet():
                    break
                await anyio.sleep(seconds / LOOKS)
        if connection.is_quiet() and parser.fed < ONE_READ:  # of a longer one, more may have been read already
            return
        with anyio.move_on_after(TO_SETTLE) as scope, suppress(httpx.ReadError):
            await connection.receive(parser)
        parser.is_kept_alive &= not scope.cancelled_caught  # what came in that moment waits where nobody looks
