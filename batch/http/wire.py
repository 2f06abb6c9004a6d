"""The wire, used outside of tests: our requests over connections that aiohttp makes, keeps and parses.

Neither httpx's pool, which scans all its connections for every request, nor aiohttp's client, which costs as much as
everything else together (tests/benchmarks/transports.py), but aiohttp's connector and parser alone. Each request leaves
byte for byte as it is given, once: nothing here repeats it, follows a redirect, keeps a cookie, or folds a path.
`delivered="no"` only if not one byte of it left.

The proxy (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, and NO_PROXY against them) is looked up once for a session, not for every
request. This machine itself is never reached through one.
"""

import asyncio
import os
import select
import ssl
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from yarl import URL

from batch.errors import SettingsError
from batch.http.failures import BrokeOffError, RequestFailure, Timeouts, explain, out_of_time
from batch.http.response import Bounded, RawHeader, Received, read_headers
from batch.http.url import is_loopback


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's address without its credentials, and the headers that carry them."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def find_proxy(target: httpx.URL) -> Proxy | None:
    """Return the proxy to use for `target`, None to go straight; SettingsError if it cannot be used."""
    if is_loopback(target.host):
        return None
    found = getproxies()
    address = found.get(target.scheme) or found.get("all")
    host_and_port = target.host if target.port is None else f"{target.host}:{target.port}"
    if not address or proxy_bypass(host_and_port):
        return None
    variable = f"{target.scheme.upper()}_PROXY" if target.scheme in found else "ALL_PROXY"
    return _read_proxy(address if "://" in address else f"http://{address}", variable)


def _read_proxy(address: str, variable: str) -> Proxy:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        raise SettingsError(
            f"{variable} cannot be read (write it like http://proxy.example.com:3128)"
        ) from None  # it may quote a password
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError(f"{variable} names a kind of proxy that is not supported (http:// and https:// ones are)")
    headers = {}
    if url.userinfo:
        user, _, password = url.userinfo.partition(b":")
        pair = f"{unquote(user.decode('ascii'))}:{unquote(password.decode('ascii'))}"
        headers["Proxy-Authorization"] = "Basic " + b64encode(pair.encode()).decode("ascii")
    return Proxy(str(url.copy_with(userinfo=b"", path="/")), headers)


# Below the 5 s after which Node and uvicorn close an idle connection: a request that crosses such a closing on its
# way is "unknown".
KEEPALIVE_SECONDS = 4.0
_LOOP_TURNS_TO_SETTLE = 4
_LOOKS_AT_WRITING = 10
"""How often, within the time for a silence, it is looked whether the server still takes a large body."""

_used_before: WeakSet[ResponseHandler] = WeakSet()


class Wire:
    """Carries exchanges with the one origin that it was made for, on asyncio."""

    def __init__(self, base: httpx.URL, timeouts: Timeouts, *, max_at_once: int) -> None:
        """Look up the proxy and the trusted certificates for `base`; SettingsError if they cannot be used."""
        self._host = base.netloc.decode("ascii")
        self._origin = f"{base.scheme}://{self._host}"
        self._timeouts, self._max_at_once = timeouts, max_at_once
        self._connecting = aiohttp.ClientTimeout(total=None, connect=timeouts.connect)
        self._proxy = find_proxy(base)
        self._ssl = _trusted() if base.scheme == "https" else None
        # A proxy that is not tunnelled through is told the whole address, and who asks.
        is_told = self._proxy is not None and base.scheme == "http"
        self._target_prefix = self._origin if is_told else ""
        self._more_headers = b"".join(
            b"%s: %s\r\n" % (name.encode("ascii"), value.encode("ascii"))
            for name, value in (self._proxy.headers.items() if self._proxy and is_told else ())
        )

    async def open(self) -> None:
        """Open the pool; connections are made as they are needed."""
        self._connector = aiohttp.TCPConnector(
            limit=self._max_at_once, keepalive_timeout=KEEPALIVE_SECONDS, ssl=self._ssl or True
        )
        # What the connector wants to know about a request is the same for all of them.
        self._whereto = aiohttp.ClientRequest(
            "GET",
            URL(self._origin),
            loop=asyncio.get_running_loop(),
            proxy=URL(self._proxy.url) if self._proxy else None,
            proxy_headers={**self._proxy.headers, "Host": self._host} if self._proxy else None,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._connector.close()

    async def carry(
        self, method: str, target: str, headers: Sequence[RawHeader], content: bytes, max_bytes: int
    ) -> Received | RequestFailure:
        """Send one request, and read its answer as far as `max_bytes` of the body."""
        began = asyncio.get_running_loop().time()
        request = f"{method} {self._target_prefix}{target} HTTP/1.1\r\n".encode("ascii")
        lines = [b"%s: %s\r\n" % header for header in headers]
        request = b"".join((request, *lines, self._more_headers, b"\r\n", content))
        try:
            connection = await self._connect()
        except httpx.TransportError as error:
            return explain(error, self._timeouts, None)
        exchange = _Exchange(connection, self._timeouts, began + self._timeouts.total)
        try:
            return await exchange.make(request, max_bytes)
        except _OutOfTimeError:
            return out_of_time(self._timeouts, exchange.status)
        except (aiohttp.ClientError, OSError, HttpProcessingError) as error:
            return explain(_after(error), self._timeouts, exchange.status)
        finally:
            exchange.end()

    async def _connect(self) -> Connection:
        """Give a connection on which nothing is to be read; httpx.TransportError if there is none."""
        while True:
            try:
                connection = await self._connector.connect(self._whereto, [], self._connecting)
            except (aiohttp.ClientError, OSError, HttpProcessingError) as error:
                raise _before(error, self._proxy) from error
            protocol = connection.protocol
            try:
                if protocol is not None and await _is_quiet(connection, protocol):
                    _used_before.add(protocol)
                    return connection
            except BaseException:
                connection.close()
                raise
            connection.close()
            if protocol not in _used_before:
                raise _before(aiohttp.ClientConnectionError("closed before it was used"), self._proxy)
            # else nothing has left; the pool forgets that connection and comes to its end


class _Exchange:
    """One request on its connection, and what came of it so far (`status`); `end()` is called in any case."""

    __slots__ = ("_alarm", "_broken", "_connection", "_deadline", "_left", "_loop", "_payload", "_protocol",
                 "_timeouts", "_transport", "status")  # fmt: skip

    def __init__(self, connection: Connection, timeouts: Timeouts, deadline: float) -> None:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            raise RuntimeError("the connection is gone")
        self._connection, self._protocol, self._transport, self._timeouts = connection, protocol, transport, timeouts
        self._payload: StreamReader | None = None
        self._broken: OSError | None = None
        self._loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._left = 0
        self._set_alarm()
        self.status: int | None = None

    async def make(self, request: bytes, max_bytes: int) -> Received:
        """Send the request and read the answer."""
        self._send(request)
        while True:
            message, payload = await self._protocol.read()
            if not 100 <= message.code <= 199 or message.code == 101:
                break
        self._payload, self.status = payload, message.code
        if self._broken is not None and not payload.is_eof():  # it was broken off as the head came
            raise self._broken
        headers = read_headers(message.raw_headers)
        bounded = Bounded(max_bytes, headers.get("content-encoding", ""))
        while not bounded.is_full and not payload.at_eof():
            bounded.feed(await payload.readany())
        if payload.at_eof() and not _unwritten(self._transport):
            self._connection.release()
        return message.code, headers, bounded.body, bounded.is_truncated

    def end(self) -> None:
        """Stop the clock; a connection that is not ready for the next request ends, with what has not left yet."""
        self._alarm.cancel()
        if self._connection.protocol is not None:  # else it was released
            self._transport.abort()
            self._connection.close()

    def _send(self, request: bytes) -> None:
        self._protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_timeout=self._timeouts.read)
        self._transport.write(request)
        self._left = _unwritten(self._transport)
        if self._left:  # too large to leave at once
            self._alarm.cancel()
            self._look(self._loop.time())
        else:
            self._protocol.start_timeout()

    def _set_alarm(self) -> None:
        self._alarm = self._loop.call_at(self._deadline, self._break_off, _OutOfTimeError)

    def _break_off(self, kind: type[OSError]) -> None:
        """Let whoever waits for the answer see this instead."""
        self._broken = kind()
        self._protocol.set_exception(self._broken)
        if self._payload is not None:
            self._payload.set_exception(self._broken)

    def _look(self, since: float) -> None:
        """See every now and then whether the server still takes the body; `since` then it has taken nothing."""
        now, left = self._loop.time(), _unwritten(self._transport)
        if left < self._left:
            self._left, since = left, now
        if not left:
            self._protocol.start_timeout()
            self._set_alarm()
        elif now >= self._deadline:
            self._break_off(_OutOfTimeError)
        elif now - since >= self._timeouts.write:
            self._break_off(_WriteTimeoutError)
        else:
            then = min(now + self._timeouts.write / _LOOKS_AT_WRITING, self._deadline)
            self._alarm = self._loop.call_at(then, self._look, since)


class _OutOfTimeError(OSError):
    """The whole exchange has taken too long."""


class _WriteTimeoutError(OSError):
    """The server stopped taking bytes."""


def _unwritten(transport: asyncio.Transport) -> int:
    """Count the bytes that have not left; asyncio itself leaves out those that TLS has encrypted already."""
    beneath = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return transport.get_write_buffer_size() + (beneath.get_write_buffer_size() if beneath is not None else 0)


async def _is_quiet(conn: Connection, protocol: ResponseHandler) -> bool:
    """Tell whether the connection is open with nothing to read: its end may be known to the kernel only, as yet."""
    if not hasattr(select, "poll"):  # Windows, where the loop may have read already, and only has to tell
        await asyncio.sleep(0)
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
        case _WriteTimeoutError():
            return httpx.WriteTimeout("the request was not taken in time")
        case TimeoutError():
            return httpx.ReadTimeout("no answer in time")
        case aiohttp.ServerDisconnectedError() if not isinstance(error.message, str):
            return BrokeOffError("the head of the answer broke off")
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return httpx.RemoteProtocolError("not an HTTP answer")
        case _:
            return httpx.ReadError("the connection was dropped")


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
