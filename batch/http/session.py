"""The exchange: one request out, one bounded answer in, and an honest word when there is none."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote, urlencode

import httpx

from batch import __version__
from batch.credentials import Redaction
from batch.errors import UsageError
from batch.http.failures import RequestFailure, Timeouts
from batch.http.given import Given
from batch.http.response import ApiResponse, RawHeader, Received
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
    """A credential in `content`; those in headers are known."""


SECRET_HEADERS = frozenset({"authorization", "x-api-key"})


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
        """Take a URL that `check_base_url` returned; `headers` go with every request."""
        self.redaction = redaction or Redaction()
        base = httpx.URL(base_url)
        self._prefix = base.raw_path.decode("ascii").rstrip("/")
        timeouts = timeouts or Timeouts()
        self._carrier = Given(transport, base, timeouts) if transport else _make_wire(base, timeouts, max_at_once)
        defaults = {"user-agent": f"batch/{__version__}", "accept": "application/json", "accept-encoding": "gzip"}
        self._headers = check_headers({"host": base.netloc.decode("ascii"), **defaults, **(headers or {})})

    async def __aenter__(self) -> Self:
        """Open the way to the API."""
        await self._carrier.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._carrier.close()

    async def exchange(
        self, request: ApiRequest, more: Mapping[str, str] | None = None
    ) -> ApiResponse | RequestFailure:
        """Send `request` once, with `more` headers beside its own; UsageError if it would not leave as it is meant."""
        headers = self._headers | check_headers(request.headers) | check_headers(more or {})
        content = request.content or b""
        if request.content is not None:
            headers.setdefault("content-type", (b"content-type", b"application/json"))
            headers["content-length"] = (b"content-length", b"%d" % len(content))
        raw = list(headers.values())
        answer = await self._carrier.carry(request.method, self._target(request), raw, content, request.max_bytes)
        if isinstance(answer, RequestFailure):
            return answer
        self.redaction.add_secret(request.secret)
        for name in SECRET_HEADERS & headers.keys():
            self.redaction.add_header(name, headers[name][1].decode("ascii"))
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
