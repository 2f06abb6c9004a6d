"""The exchange: one request out, one bounded answer in, and an honest word when there is none."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import anyio
import httpx

from batch import __version__
from batch.errors import UsageError
from batch.transport.lost import Kind, Lost, maybe_sent, not_sent
from batch.transport.reply import Bounded, Reply, read_headers

MIB = 1024 * 1024
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")


@dataclass(frozen=True, slots=True)
class Call:
    """A request as the endpoint means it; `path` is percent-encoded already and begins with a slash."""

    method: str
    path: str
    route: str
    query: tuple[tuple[str, str], ...] = ()
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int = MIB


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect (name look-up, proxy and TLS included), for each silence, and for the whole exchange."""

    connect: float = 10.0
    write: float = 30.0
    read: float = 60.0
    total: float = 120.0

    def __post_init__(self) -> None:
        """Refuse a whole that could be over before a request has left."""
        if not 0 < self.connect < self.total or self.read <= 0 or self.write <= 0:
            raise ValueError("time-outs must be positive, and `total` longer than `connect`")

    def as_extension(self) -> dict[str, float]:
        """Return them as httpx transports take them."""
        return {"connect": self.connect, "pool": self.connect, "write": self.write, "read": self.read}


class Session:
    """Connections to one API, open inside of `async with`."""

    def __init__(
        self,
        base_url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        timeouts: Timeouts | None = None,
        max_at_once: int = 64,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Take a URL that `check_base_url` returned; `headers` go with every request."""
        self._base = httpx.URL(base_url)
        self._prefix = self._base.raw_path.decode("ascii").rstrip("/")
        self._given = transport
        self._max_at_once = max_at_once
        self._timeouts = timeouts or Timeouts()
        defaults = {"user-agent": f"batch/{__version__}", "accept": "application/json", "accept-encoding": "gzip"}
        self._headers = defaults | check_headers(headers or {})
        self._extensions = {"timeout": self._timeouts.as_extension()}

    async def __aenter__(self) -> Self:
        """Open the transport."""
        self._transport = self._given or self._make_transport()
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the transport and its connections."""
        await self._transport.__aexit__(kind, error, trace)

    def _make_transport(self) -> httpx.AsyncBaseTransport:
        from batch.transport.wire import WireTransport  # aiohttp is slow to import, and tests need none of it

        return WireTransport(self._base, max_at_once=self._max_at_once)

    async def exchange(self, call: Call) -> Reply | Lost:
        """Send `call` once; UsageError before anything is sent if it would not leave as it is meant."""
        request = self._build(call)
        began = anyio.current_time()
        status: list[int] = []
        with anyio.move_on_after(self._timeouts.total):
            try:
                return await self._send(request, call.max_bytes, began, status)
            except httpx.TransportError as error:
                return self._lost(error, began, status)
        return Lost(
            "maybe", _within("no whole answer", self._timeouts.total), Kind.TOTAL_TIMEOUT, _since(began), *status
        )

    def _build(self, call: Call) -> httpx.Request:
        target = self._prefix + call.path
        if call.query:
            target += "?" + urlencode(call.query, quote_via=quote)
        headers = self._headers | check_headers(call.headers) if call.headers else dict(self._headers)
        if call.content is not None:
            headers.setdefault("content-type", "application/json")
        url = self._url(target)
        return httpx.Request(call.method, url, headers=headers, content=call.content, extensions=self._extensions)

    def _url(self, target: str) -> httpx.URL:
        try:
            url = self._base.copy_with(raw_path=target.encode("ascii"))
        except (httpx.InvalidURL, UnicodeEncodeError):
            url = self._base
        if url.raw_path.decode("ascii") != target or not target.startswith("/") or url.host != self._base.host:
            raise UsageError(f"the path {target!a} would not leave as it is meant; nothing was sent for it")
        return url

    async def _send(self, request: httpx.Request, max_bytes: int, began: float, status: list[int]) -> Reply:
        response = await self._transport.handle_async_request(request)
        status.append(response.status_code)
        try:
            body, is_truncated = await _read(response, max_bytes)
        finally:
            await response.aclose()
        return Reply(response.status_code, read_headers(response.headers), body, is_truncated, _since(began))

    def _lost(self, error: httpx.TransportError, began: float, status: list[int]) -> Lost:
        early = None if status else not_sent(error)
        kind, cause = early or maybe_sent(error, has_status=bool(status))
        limits = {
            Kind.CONNECT_TIMEOUT: self._timeouts.connect,
            Kind.WRITE_TIMEOUT: self._timeouts.write,
            Kind.READ_TIMEOUT: self._timeouts.read,
        }
        if kind in limits:
            cause = _within(cause.removesuffix(" in time"), limits[kind])
        return Lost("no" if early else "maybe", cause, kind, _since(began), *status)


async def _read(response: httpx.Response, max_bytes: int) -> tuple[bytes, bool]:
    if response.is_stream_consumed:  # a transport that brings the whole answer, already decoded: httpx.MockTransport
        return response.content[:max_bytes], len(response.content) > max_bytes
    bounded = Bounded(max_bytes, response.headers.get("content-encoding", ""))
    async for chunk in response.aiter_raw():
        bounded.feed(chunk)
        if bounded.is_full:
            break
    return bounded.body, bounded.is_truncated


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with names in lower case; UsageError, without the value, for one that HTTP cannot carry."""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise UsageError(f"{name!a} cannot be the name of a header")
        if value and not _VALUE.fullmatch(value):
            raise UsageError(
                f'the value for the header "{name}" has a line break, a space at an end or a character '
                "outside of plain ASCII in it (copy it again)"
            )
    return {name.lower(): value for name, value in headers.items()}


def _since(began: float) -> float:
    return anyio.current_time() - began


def _within(what: str, seconds: float) -> str:
    return f"{what} within {seconds:g} s"
