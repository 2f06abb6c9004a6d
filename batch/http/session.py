"""The exchange: one request out, one bounded answer in, and an honest word when there is none.

It goes through one `httpx.AsyncClient`, over our transport (`transport.py`) or, in tests and where users bring one
along, over any other, in the same way.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import AsyncGeneratorType
from typing import Any, Self, cast
from urllib.parse import quote, urlencode

import anyio
import httpx

from batch import __version__
from batch.credentials import Redaction
from batch.errors import UsageError
from batch.http.connection import Connection
from batch.http.failures import RequestFailure, Timeouts, explain, out_of_time
from batch.http.response import ApiResponse, Bounded, RawHeader, read_headers
from batch.http.transport import HttpTransport
from batch.http.url import is_exact
from batch.machine import machine_reason

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


class NoCookies(httpx.Cookies):
    """Keeps none, and looks for none."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Leave what an answer sets."""


class Client(httpx.AsyncClient):
    """httpx's client without cookies; what goes through it leaves as it is given."""

    @property  # type: ignore[misc]  # nothing sets them
    def cookies(self) -> httpx.Cookies:
        """None at all."""
        return _NO_COOKIES


async def _see_location(response: httpx.Response) -> None:
    """Drop a Location that cannot be read, since httpx would make a failure of the answer."""
    if response.has_redirect_location:
        try:
            httpx.URL(response.headers["location"])
        except httpx.InvalidURL:
            del response.headers["location"]


_NO_COOKIES, _NO_AUTH, _NO_BODY = NoCookies(), httpx.Auth(), httpx.ByteStream(b"")


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
        self._base = base = httpx.URL(base_url)
        self._origin = f"{base.scheme}://{base.netloc.decode('ascii')}"
        self._prefix = base.raw_path.decode("ascii").rstrip("/")
        self._timeouts = timeouts or Timeouts()
        self._extensions: dict[str, Any] = {"timeout": self._timeouts.as_extension()}
        self._is_told_target = transport is None
        """Ours takes a request's target from its extensions, as httpx's own does."""
        self.may_leave: Callable[[], bool] | None = None
        """Is asked right before a request's bytes leave, by our transport; None: all may."""
        transport = transport or HttpTransport(base, max_connections=max_at_once)
        hooks = {"response": [_see_location]}
        self._client = Client(transport=transport, trust_env=False, follow_redirects=False, event_hooks=hooks)
        defaults = {"user-agent": f"batch/{__version__}", "accept": "application/json", "accept-encoding": "gzip"}
        for name, value in (headers or {}).items():
            self.redaction.add_header(name, value)
        self._headers = check_headers({"host": base.netloc.decode("ascii"), **defaults, **(headers or {})})
        self._account: dict[str, str] = {}
        self._account_headers: dict[str, RawHeader] = {}
        """The account's headers as they leave, made anew only when it gives others."""

    async def __aenter__(self) -> Self:
        """Open the way to the API."""
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Close all connections."""
        await self._client.__aexit__()

    async def exchange(
        self, request: ApiRequest, account: Mapping[str, str] | None = None
    ) -> ApiResponse | RequestFailure:
        """Send `request` once, with the headers of the account; UsageError if it would not leave as it is meant.

        All values of the account's headers are secrets: what is shown of an answer that echoes them is without.
        """
        if account and account != self._account:
            self._take_account(account)
        headers = self._headers | check_headers(request.headers) | (self._account_headers if account else {})
        content = request.content or b""
        if request.content is not None:
            headers.setdefault("content-type", (b"content-type", b"application/json"))
            headers["content-length"] = (b"content-length", b"%d" % len(content))
        outgoing = self._request(request.method, self._target(request), list(headers.values()), content)
        answer = await self._carry(outgoing, request.max_bytes)
        self.redaction.add_secret(request.secret)
        return answer

    def _take_account(self, account: Mapping[str, str]) -> None:
        """Make the headers of an account ready, and hide their values."""
        self._account, self._account_headers = dict(account), check_headers(account)
        for name, value in account.items():
            self.redaction.add_header(name, value)

    def _request(self, method: str, target: str, headers: list[RawHeader], content: bytes) -> httpx.Request:
        """Return a request as it leaves; UsageError if the path would not leave as it is."""
        url, extensions = self._base, dict(self._extensions)
        if self.may_leave is not None:
            extensions["may_leave"] = self.may_leave
        if self._is_told_target:  # each has another one, and httpx takes long to read a URL
            extensions["target"] = target.encode("ascii")
        else:
            url = self._url(target)
        # unlike content=, a stream leaves the headers as they are
        return httpx.Request(method, url, headers=headers, stream=httpx.ByteStream(content), extensions=extensions)

    def _url(self, target: str) -> httpx.URL:
        try:
            url = httpx.URL(self._origin + target)
        except httpx.InvalidURL:  # it is too long
            url = None
        if url is None or url.raw_path != target.encode("ascii"):
            raise UsageError(f"the path {target!a} would not leave as it is meant")
        return url

    async def _carry(self, request: httpx.Request, max_bytes: int) -> ApiResponse | RequestFailure:
        """Make one exchange within its whole time; whatever a transport raises is told as a failure."""
        status: int | None = None
        with anyio.CancelScope(deadline=anyio.current_time() + self._timeouts.total):
            try:
                response = await self._client.send(request, stream=True, auth=_NO_AUTH)
                status = response.status_code
                return await self._read(response, max_bytes)
            except Exception as error:
                if isinstance(error, MemoryError | RuntimeError) and machine_reason(error):
                    raise  # nothing that would become better by going on
                return explain(error, self._timeouts, status)
        return out_of_time(self._timeouts, status)

    async def _read(self, response: httpx.Response, max_bytes: int) -> ApiResponse:
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
            response.stream = _NO_BODY  # httpx's holds the response: a circle is freed late
        found = response.extensions.get("connection")
        connection = found if isinstance(found, Connection) else None
        return ApiResponse(response.status_code, headers, body, is_truncated, self.redaction, connection)

    def _target(self, request: ApiRequest) -> str:
        """Return path and query, of which every byte leaves as it is."""
        target = self._prefix + request.path
        if request.query:
            target += "?" + urlencode(request.query, quote_via=quote)
        if not is_exact(target):
            raise UsageError(f"the path {target!a} would not leave as it is meant")
        return target


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


async def _collect(response: httpx.Response, bounded: Bounded) -> None:
    # Not aiter_raw(): it would decompress, without bounds. Ours without the generator that httpx puts around it.
    chunks = aiter(cast(httpx.AsyncByteStream, response.extensions.get("body", response.stream)))
    try:
        async for chunk in chunks:
            bounded.feed(chunk)
            if bounded.is_full:
                break
    except httpx.DecodingError:
        bounded.is_full = True
    finally:
        if isinstance(chunks, AsyncGeneratorType):
            await chunks.aclose()
