"""The exchange: one request out, one bounded answer in, and an honest word when there is none.

It goes over the wire (`wire.py`) or, in tests and where users bring one along, over any httpx transport.
"""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol, Self, cast
from urllib.parse import quote, urlencode

import anyio
import httpx

from batch import __version__
from batch.credentials import Redaction
from batch.errors import UsageError
from batch.http.failures import RequestFailure, Timeouts, explain, out_of_time
from batch.http.response import ApiResponse, Bounded, RawHeader, Received, read_headers
from batch.http.url import is_exact

MIB = 1024 * 1024
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request as the endpoint means it; `path` is percent-encoded already and begins with a slash."""

    method: str
    path: str
    route: str
    query: tuple[tuple[str, str], ...] = ()
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int = MIB
    secret: str = field(default="", repr=False)
    """A credential in `content`; the headers that the account adds are known."""


class Carrier(Protocol):
    """What brings requests to the API and answers back: the wire, or a transport that was given."""

    async def open(self) -> None:
        """Begin to keep connections."""

    async def close(self) -> None:
        """Close all of them."""

    async def carry(
        self, method: str, target: str, headers: Sequence[RawHeader], content: bytes, max_bytes: int
    ) -> Received | RequestFailure:
        """Make one exchange, as it is given."""


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
        redaction: Redaction | None = None,
    ) -> None:
        """Take a URL that `check_base_url` returned; `headers`, secrets all of them, go with every request."""
        self.redaction = redaction or Redaction()
        base = httpx.URL(base_url)
        self._prefix = base.raw_path.decode("ascii").rstrip("/")
        timeouts = timeouts or Timeouts()
        self._carrier = Given(transport, base, timeouts) if transport else _make_wire(base, timeouts, max_at_once)
        defaults = {"user-agent": f"batch/{__version__}", "accept": "application/json", "accept-encoding": "gzip"}
        for name, value in (headers or {}).items():
            self.redaction.add_header(name, value)
        self._headers = check_headers({"host": base.netloc.decode("ascii"), **defaults, **(headers or {})})

    async def __aenter__(self) -> Self:
        """Open the way to the API."""
        await self._carrier.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Close all connections."""
        await self._carrier.close()

    async def exchange(
        self, request: ApiRequest, account: Mapping[str, str] | None = None
    ) -> ApiResponse | RequestFailure:
        """Send `request` once, with the headers of the account; UsageError if it would not leave as it is meant.

        All values of the account's headers are secrets: what is shown of an answer that echoes them is without.
        """
        account = account or {}
        headers = self._headers | check_headers(request.headers) | check_headers(account)
        content = request.content or b""
        if request.content is not None:
            headers.setdefault("content-type", (b"content-type", b"application/json"))
            headers["content-length"] = (b"content-length", b"%d" % len(content))
        raw = list(headers.values())
        answer = await self._carrier.carry(request.method, self._target(request), raw, content, request.max_bytes)
        if isinstance(answer, RequestFailure):
            return answer
        self.redaction.add_secret(request.secret)
        for name, value in account.items():
            self.redaction.add_header(name, value)
        status, received, body, is_truncated = answer
        return ApiResponse(status, received, body, is_truncated, self.redaction)

    def _target(self, request: ApiRequest) -> str:
        """Return path and query, of which every byte leaves as it is."""
        target = self._prefix + request.path
        if request.query:
            target += "?" + urlencode(request.query, quote_via=quote)
        if not is_exact(target):
            raise UsageError(f"the path {target!a} would not leave as it is meant")
        return target


def _make_wire(base: httpx.URL, timeouts: Timeouts, max_at_once: int) -> Carrier:
    from batch.http.wire import Wire  # aiohttp is slow to import, and a given transport needs none of it

    return Wire(base, timeouts, max_at_once=max_at_once)


def check_headers(headers: Mapping[str, str]) -> dict[str, RawHeader]:
    """Return headers as they leave, by name in lower case; UsageError, without the value, for one that HTTP cannot."""
    checked: dict[str, RawHeader] = {}
    for name, value in headers.items():
        lower, raw_name = _checked_name(name)
        if value and not _VALUE.fullmatch(value):
            raise UsageError(
                f'the value for the header "{name}" has a line break, a space at an end or a character '
                "outside of plain ASCII in it (copy it again)"
            )
        checked[lower] = (raw_name, value.encode("ascii"))
    return checked


@lru_cache(maxsize=64)  # there are a dozen
def _checked_name(name: str) -> tuple[str, bytes]:
    if not _TOKEN.fullmatch(name):
        raise UsageError(f"{name!a} cannot be the name of a header")
    return name.lower(), name.lower().encode("ascii")


class Given:
    """Carries exchanges over a transport that speaks httpx's requests and responses."""

    def __init__(self, transport: httpx.AsyncBaseTransport, base: httpx.URL, timeouts: Timeouts) -> None:
        """Take a transport that is not open yet."""
        self._transport, self._base, self._timeouts = transport, base, timeouts
        self._extensions = {"timeout": timeouts.as_extension()}

    async def open(self) -> None:
        """Open the transport."""
        await self._transport.__aenter__()

    async def close(self) -> None:
        """Close the transport and its connections."""
        await self._transport.__aexit__()

    async def carry(
        self, method: str, target: str, headers: Sequence[RawHeader], content: bytes, max_bytes: int
    ) -> Received | RequestFailure:
        """Make one exchange; UsageError if the path would not leave as it is."""
        stream = httpx.ByteStream(content)  # unlike content=, leaves the headers as they are
        url, extensions = self._url(target.encode("ascii")), dict(self._extensions)
        request = httpx.Request(method, url, headers=headers, stream=stream, extensions=extensions)
        status: int | None = None
        with anyio.CancelScope(deadline=anyio.current_time() + self._timeouts.total):
            try:
                response = await self._transport.handle_async_request(request)
                status = response.status_code
                return await _read(response, max_bytes)
            except httpx.TransportError as error:
                return explain(error, self._timeouts, status)
        return out_of_time(self._timeouts, status)

    def _url(self, target: bytes) -> httpx.URL:
        url = self._base.copy_with(raw_path=target)
        if url.raw_path != target:
            raise UsageError(f"the path {target!r} would not leave as it is meant")
        return url


async def _read(response: httpx.Response, max_bytes: int) -> Received:
    try:
        headers = read_headers(response.headers.raw)
        if response.is_stream_consumed:  # a transport that brings answers whole and decoded, as httpx.MockTransport
            body, is_truncated = response.content[:max_bytes], len(response.content) > max_bytes
        else:
            bounded = Bounded(max_bytes, headers.get("content-encoding", ""))
            await _collect(response, bounded)
            body, is_truncated = bounded.body, bounded.is_truncated
    finally:
        await response.aclose()
    return response.status_code, headers, body, is_truncated


async def _collect(response: httpx.Response, bounded: Bounded) -> None:
    chunks = aiter(cast(httpx.AsyncByteStream, response.stream))  # not aiter_raw(): it would decompress, without bounds
    try:
        async for chunk in chunks:
            bounded.feed(chunk)
            if bounded.is_full:
                break
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
