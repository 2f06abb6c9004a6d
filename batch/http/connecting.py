"""Connections as they come about: name, TCP, the proxy, TLS; any error of this time means that nothing was delivered.

Promises: nothing of a request is known here, so that none can leave before the server's certificate was verified.
"""

import os
import re
import socket
import ssl
from dataclasses import dataclass

import anyio
import httpx
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from batch.errors import SettingsError
from batch.http.connection import LOST, Connection
from batch.http.proxies import Proxy, find_proxy

MAX_PROXY_HEAD_BYTES = 64 * 1024
_PORTS = {"http": 80, "https": 443}
_PROXY_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r]")


class _ByProxyError(Exception):
    """The proxy is why there is no connection."""


@dataclass(frozen=True, slots=True)
class Connector:
    """Opens connections to the one origin that it was made for."""

    base: httpx.URL
    proxy: Proxy | None
    context: ssl.SSLContext | None

    @classmethod
    def to(cls, base: httpx.URL) -> "Connector":
        """Look up the proxy and the trusted certificates for `base`; SettingsError if they cannot be used."""
        proxy = find_proxy(base)
        is_secure = base.scheme == "https" or (proxy is not None and proxy.url.scheme == "https")
        return cls(base, proxy, trusted() if is_secure else None)

    @property
    def told_proxy(self) -> Proxy | None:
        """The proxy that gets the requests themselves, since nothing is tunnelled without TLS."""
        return self.proxy if self.base.scheme == "http" else None

    async def connect(self, seconds: float | None) -> Connection:
        """Make a connection within so many seconds; httpx.ConnectTimeout, ConnectError or ProxyError if none comes."""
        try:
            with anyio.fail_after(seconds):
                stream = await (self._reach(self.base) if self.proxy is None else self._reach_through(self.proxy))
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except _ByProxyError as error:
            raise httpx.ProxyError(str(error)) from error.__cause__
        except LOST as error:
            raise httpx.ConnectError("no connection") from error
        return Connection(stream)

    async def _reach(self, url: httpx.URL) -> ByteStream:
        stream = await anyio.connect_tcp(_host(url), _port(url))
        return await self._secure(stream, url) if url.scheme == "https" else stream

    async def _reach_through(self, proxy: Proxy) -> ByteStream:
        try:
            stream = await self._reach(proxy.url)
        except socket.gaierror as error:
            raise _ByProxyError("its name was not found") from error
        except LOST as error:
            raise _ByProxyError("it could not be reached") from error
        if self.told_proxy:
            return stream
        try:
            await self._ask_for_tunnel(stream, proxy)
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise
        return await self._secure(stream, self.base)

    async def _secure(self, stream: ByteStream, url: httpx.URL) -> ByteStream:
        try:
            return await TLSStream.wrap(
                stream, hostname=_host(url), ssl_context=self.context, standard_compatible=False
            )
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise

    async def _ask_for_tunnel(self, stream: ByteStream, proxy: Proxy) -> None:
        host = b"%s:%d" % (self.base.netloc.rpartition(b":")[0] or self.base.netloc, _port(self.base))
        try:
            await stream.send(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (host, host, proxy.authorization))
            head = b""
            while b"\r\n\r\n" not in head and len(head) < MAX_PROXY_HEAD_BYTES:
                head += await stream.receive()
        except LOST as error:
            raise _ByProxyError("it dropped the connection") from error
        status = _PROXY_STATUS.match(head)
        match int(status[1]) if status else 0:
            case 407:
                raise _ByProxyError("it wants a user name and a password (407), or others than it was given")
            case 200 if head.endswith(b"\r\n\r\n"):  # else there are bytes before TLS, which nobody can have sent
                return
            case 0 | 200:
                raise _ByProxyError("it did not answer as a proxy does")
            case other:
                raise _ByProxyError(f"it answered with status {other}")


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")


def _port(url: httpx.URL) -> int:
    return url.port or _PORTS[url.scheme]


def trusted() -> ssl.SSLContext:
    """Return what to trust: SSL_CERT_FILE or SSL_CERT_DIR alone if set, else the usual roots and this machine's."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if file or folder:
            context = ssl.create_default_context(cafile=file or None, capath=None if file else folder)
        else:
            context = httpx.create_ssl_context(trust_env=False)
            context.load_default_certs()  # companies that look into TLS put their root there
    except OSError as error:  # ssl.SSLError is one
        name = "SSL_CERT_FILE" if file else "SSL_CERT_DIR"
        raise SettingsError(
            f'{name}: no certificates could be read from "{os.environ.get(name)}" '
            "(name a file in PEM format, or unset the variable)"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
