"""The httpx transport used outside of tests: httpx's requests and responses over aiohttp's connections.

The stock httpx pool scans all its connections for every request; this one does not (tests/benchmarks/transports.py).
What aiohttp would do differently from what was asked is switched off here: repeating a request on a new connection,
following redirects, cookies, .netrc, decompression without bounds, folding paths. Errors say whether the request had
begun to leave: `httpx.ConnectError` and its like only if not one byte of it did.
"""

import asyncio
import os
import select
import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from types import TracebackType
from typing import Self
from weakref import WeakSet

import aiohttp
import httpx
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from batch.errors import SettingsError
from batch.transport.lost import BrokeOffError
from batch.transport.proxy import Proxy, find_proxy

# Below the 5 s after which Node and uvicorn close an idle connection: a request that crosses such a closing on its
# way is a "maybe".
KEEPALIVE_SECONDS = 4.0
# A body up to here fits into the buffers of an idle connection, so that writing it cannot block.
_SMALL_BODY = 32 * 1024
_LOOP_TURNS_TO_SETTLE = 4

_used_before: WeakSet[ResponseHandler] = WeakSet()


class WireTransport(httpx.AsyncBaseTransport):
    """Sends each request once, on asyncio, to the one origin that it was made for."""

    def __init__(self, base: httpx.URL, *, max_at_once: int) -> None:
        """Look up the proxy and the trusted certificates for `base`; SettingsError if they cannot be used."""
        self._origin = f"{base.scheme}://{base.netloc.decode('ascii')}"
        self._proxy = find_proxy(base)
        self._ssl = _trusted() if base.scheme == "https" else None
        self._max_at_once = max_at_once

    async def __aenter__(self) -> Self:
        """Open the pool; connections are made as they are needed."""
        connector = aiohttp.TCPConnector(
            limit=self._max_at_once, keepalive_timeout=KEEPALIVE_SECONDS, ssl=self._ssl or True
        )
        self._client = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            middlewares=(self._send_once,),
            auto_decompress=False,
            trust_env=False,  # it would read .netrc, and look for the proxy anew for each request, in a thread
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Close all connections."""
        await self._client.close()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the answer's body is still to be read, as raw bytes."""
        seconds = request.extensions["timeout"]
        headers = [(name.decode("ascii"), value.decode("ascii")) for name, value in request.headers.raw]
        if self._proxy and request.url.scheme == "http":
            headers += self._proxy.headers.items()
        content = await request.aread()
        answer = await self._client.request(
            request.method,
            _exact_url(self._origin, request),
            headers=headers,
            data=_LargeBody(content, seconds["write"]) if len(content) > _SMALL_BODY else content or None,
            allow_redirects=False,
            timeout=_client_timeout(seconds["connect"], seconds["read"]),
            proxy=self._proxy.url if self._proxy else None,
            proxy_headers=self._proxy.headers if self._proxy else None,
        )
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Answer(answer))

    async def _send_once(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Keep aiohttp from repeating the request: it does so only after errors of its own kinds."""
        while True:
            try:
                return await handler(request)
            except _StaleError:
                continue  # nothing has left; the pool forgets that connection and comes to its end
            except (aiohttp.ClientError, OSError, HttpProcessingError) as error:
                has_left = isinstance(request, _Request) and request.has_left
                raise (_after(error) if has_left else _before(error, self._proxy)) from error


class _StaleError(Exception):
    """A pooled connection turned out to be closed, or to hold bytes that nobody asked for."""


class _Request(aiohttp.ClientRequest):
    """Looks at the connection before using it, and notes that the request has begun to leave."""

    has_left = False

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        protocol = conn.protocol
        if protocol is None or not await _is_quiet(conn, protocol):
            if protocol in _used_before:
                raise _StaleError
            raise aiohttp.ClientConnectionError("closed before it was used")
        _used_before.add(protocol)
        response = await super().send(conn)
        self.has_left = True
        return response


async def _is_quiet(conn: Connection, protocol: ResponseHandler) -> bool:
    """Tell whether the connection is open with nothing to read: its end may be known to the kernel only, as yet."""
    for _ in range(_LOOP_TURNS_TO_SETTLE):
        if conn.closed or protocol.should_close:
            return False
        if not _is_readable(conn):
            return True
        await asyncio.sleep(0)  # the loop reads: the end, a stray answer, or only TLS session tickets
    return not (conn.closed or protocol.should_close)


def _is_readable(conn: Connection) -> bool:
    socket = conn.transport.get_extra_info("socket") if conn.transport else None
    if socket is None:
        return False
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([socket.fileno()], [], [], 0)[0])
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class _WriteTimeout(TimeoutError):
    """The server stopped taking bytes."""


class _LargeBody(aiohttp.Payload):
    """A body in pieces, each of which must be taken within `seconds`; aiohttp itself would wait for ever."""

    _value: bytes
    _autoclose = True
    _PIECE = 64 * 1024

    def __init__(self, value: bytes, seconds: float) -> None:
        super().__init__(value)
        self._size = len(value)
        self._seconds = seconds

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        for start in range(0, len(self._value), self._PIECE):
            try:
                async with asyncio.timeout(self._seconds):
                    await writer.write(self._value[start : start + self._PIECE])
                    await writer.drain()
            except TimeoutError as error:
                raise _WriteTimeout from error

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        await self.write(writer)


class _Answer(httpx.AsyncByteStream):
    """The body as it comes in; closing it early closes the connection."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self  # no generator: one that is left half-way would be closed only when it is collected

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._answer.content.readany()
        except (aiohttp.ClientError, OSError, HttpProcessingError) as error:
            raise _after(error) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        if not self._answer.closed:
            self._answer.close()


def _before(error: Exception, proxy: Proxy | None) -> httpx.TransportError:
    """Translate an error of the time before the request began to leave."""
    match error:
        case TimeoutError():
            return httpx.ConnectTimeout("no connection in time")
        case aiohttp.ClientHttpProxyError(status=407):
            return httpx.ProxyError("it wants a user name and a password (407), or others than it was given")
        case aiohttp.ClientHttpProxyError():
            return httpx.ProxyError(f"it answered with status {error.status}")
        case aiohttp.ClientProxyConnectionError():
            return httpx.ProxyError("it could not be reached")
        case aiohttp.ClientConnectorDNSError() if proxy:
            return httpx.ProxyError("its name was not found")
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError("no connection")
        case aiohttp.ClientResponseError() | HttpProcessingError() if proxy:
            return httpx.ProxyError("it did not answer as a proxy does")
        case _ if proxy:
            return httpx.ProxyError("it dropped the connection")
        case _:
            return httpx.ConnectError("the connection was closed before it was used")


def _after(error: Exception) -> httpx.TransportError:
    """Translate an error of the time since the request began to leave."""
    match error:
        case _WriteTimeout():
            return httpx.WriteTimeout("the request was not taken in time")
        case TimeoutError():
            return httpx.ReadTimeout("no answer in time")
        case aiohttp.ServerDisconnectedError() if not isinstance(error.message, str):
            return BrokeOffError("the head of the answer broke off")
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return httpx.RemoteProtocolError("not an HTTP answer")
        case _:
            return httpx.ReadError("the connection was dropped")


def _exact_url(origin: str, request: httpx.Request) -> URL:
    """Return the URL for aiohttp, which would fold dot segments and re-quote in anything not marked as encoded."""
    target = request.extensions.get("target", request.url.raw_path).decode("ascii")
    return URL(origin + target, encoded=True)


@lru_cache(maxsize=16)
def _client_timeout(connect: float, read: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)


def _trusted() -> ssl.SSLContext:
    """Return what to trust: SSL_CERT_FILE or SSL_CERT_DIR alone if set, else the usual roots and this machine's."""
    try:
        context = httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        name = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        raise SettingsError(
            f'{name}: no certificates could be read from "{os.environ.get(name)}" '
            "(name a file in PEM format, or unset the variable)"
        ) from error
    if not os.environ.get("SSL_CERT_FILE") and not os.environ.get("SSL_CERT_DIR"):
        context.load_default_certs()  # companies that look into TLS put their root there
    context.set_alpn_protocols(["http/1.1"])
    return context
