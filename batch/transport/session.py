"""The exchange: one request out, one bounded answer in, and an honest word when there is none."""

import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import TracebackType
from typing import Self, cast
from urllib.parse import quote, urlencode

import anyio
import httpx

from batch import __version__
from batch.errors import UsageError
from batch.transport.lost import Lost, Timeouts, explain, out_of_time
from batch.transport.reply import Bounded, Reply, read_headers, without_secrets
from batch.transport.url import is_exact

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
    secret: str = field(default="", repr=False)
    """A credential in `content`; those in headers are known."""


RawHeader = tuple[bytes, bytes]
SECRET_HEADERS = ("authorization", "x-api-key")
_Received = tuple[int, Mapping[str, str], bytes, bool]
"""Status, headers, body as it came, and whether that is truncated."""


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
        self._transport = transport or _make_transport(self._base, max_at_once)
        self._timeouts = timeouts or Timeouts()
        defaults = {"user-agent": f"batch/{__version__}", "accept": "application/json", "accept-encoding": "gzip"}
        self._headers = check_headers({"host": self._base.netloc.decode("ascii"), **defaults, **(headers or {})})
        self._timeout_extension = self._timeouts.as_extension()
        self._goes_by_target = transport is None

    async def __aenter__(self) -> Self:
        """Open the transport."""
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the transport and its connections."""
        await self._transport.__aexit__(kind, error, trace)

    async def exchange(self, call: Call, more: Mapping[str, str] | None = None) -> Reply | Lost:
        """Send `call` once, with `more` headers beside its own; UsageError if it would not leave as it is meant."""
        headers = self._headers | check_headers(call.headers) | check_headers(more or {})
        request = self._build(call, headers)
        began = anyio.current_time()
        answer = await self._answer(request, call.max_bytes, began)
        seconds = anyio.current_time() - began
        if isinstance(answer, Lost):
            return replace(answer, seconds=seconds)
        secrets = (call.secret, *(headers[name][1].decode("ascii") for name in SECRET_HEADERS if name in headers))
        status, received, body, is_truncated = answer
        return Reply(status, received, without_secrets(body, secrets), is_truncated, seconds)

    async def _answer(self, request: httpx.Request, max_bytes: int, began: float) -> _Received | Lost:
        status: int | None = None
        with anyio.CancelScope(deadline=began + self._timeouts.total):
            try:
                response = await self._transport.handle_async_request(request)
                status = response.status_code
                return await _read(response, max_bytes)
            except httpx.TransportError as error:
                return explain(error, self._timeouts, status)
        return out_of_time(self._timeouts, status)

    def _build(self, call: Call, headers: dict[str, RawHeader]) -> httpx.Request:
        target = self._prefix + call.path
        if call.query:
            target += "?" + urlencode(call.query, quote_via=quote)
        if call.content is not None:
            headers.setdefault("content-type", (b"content-type", b"application/json"))
            headers["content-length"] = (b"content-length", b"%d" % len(call.content))
        return httpx.Request(
            call.method,
            self._url(target),
            headers=list(headers.values()),
            stream=httpx.ByteStream(call.content or b""),  # unlike content=, costs no second pass over the headers
            extensions={"timeout": self._timeout_extension, "target": target.encode("ascii")},
        )

    def _url(self, target: str) -> httpx.URL:
        """Return the URL for `target`, of which every byte leaves as it is; parsing one costs as much as sending."""
        if is_exact(target):
            if self._goes_by_target:
                return self._base
            url = self._base.copy_with(raw_path=target.encode("ascii"))
            if url.raw_path == target.encode("ascii"):
                return url
        raise UsageError(f"the path {target!a} would not leave as it is meant")


def _make_transport(base: httpx.URL, max_at_once: int) -> httpx.AsyncBaseTransport:
    from batch.transport.wire import WireTransport  # aiohttp is slow to import, and a given transport needs none of it

    return WireTransport(base, max_at_once=max_at_once)


async def _read(response: httpx.Response, max_bytes: int) -> _Received:
    try:
        headers = read_headers(response.headers)
        if response.is_stream_consumed:  # a transport that brings answers whole and decoded, as httpx.MockTransport
            body, is_truncated = response.content[:max_bytes], len(response.content) > max_bytes
        else:
            body, is_truncated = await _collect(response, Bounded(max_bytes, headers.get("content-encoding", "")))
    finally:
        await response.aclose()
    return response.status_code, headers, body, is_truncated


async def _collect(response: httpx.Response, bounded: Bounded) -> tuple[bytes, bool]:
    chunks = aiter(cast(httpx.AsyncByteStream, response.stream))  # not aiter_raw(), which costs more than it adds
    try:
        async for chunk in chunks:
            bounded.feed(chunk)
            if bounded.is_full:
                break
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    return bounded.body, bounded.is_truncated


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
