"""A file of any size from an address, by one GET over our transport: whole, or not at all.

Promises: no redirect is followed and no proxy of another kind is used than for the API; an answer that does not say
how long it is counts as none, since one that broke off could not be told from it.
"""

from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urljoin, urlsplit

import anyio
import httpx

from batch import __version__
from batch.http.failures import RequestFailure, Timeouts, explain
from batch.http.session import Client
from batch.http.transport import HttpTransport

TIMEOUTS: Final = Timeouts()
TRIES: Final = 3
PAUSES: Final = (1.0, 4.0)
"""Seconds between two tries."""
_KEPT: Final = "/%:@!$&'()*+,;=~?[]"


@dataclass(frozen=True, slots=True)
class NotDownloaded:
    """Why there is no file: the status of an answer that is none, or what became of the exchange."""

    status: int = 0
    sends_to: str = ""
    """Where a redirect leads to."""
    failure: RequestFailure | None = None
    has_no_length: bool = False

    @property
    def may_pass(self) -> bool:
        """Whether another try may do better."""
        if self.failure is not None:
            return not self.failure.is_lasting
        return self.status >= 500 or self.status in (408, 425, 429)


async def download(
    url: str, begin: Callable[[int | None], None], write: Callable[[bytes], None],
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> NotDownloaded | None:  # fmt: skip
    """Get what lies at `url`, None where all of it was written; raises SettingsError for a proxy that cannot be used.

    `begin` is called as each try begins, with the size in bytes where it is told, and `write` with each piece.
    """
    found: NotDownloaded | None = None
    for number in range(TRIES):
        if number:
            await sleep(PAUSES[number - 1])
        found = await _try(url, begin, write)
        if found is None or not found.may_pass:
            break
    return found


async def _try(url: str, begin: Callable[[int | None], None], write: Callable[[bytes], None]) -> NotDownloaded | None:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    base = httpx.URL(f"{parts.scheme}://{host}")
    target = quote(parts.path or "/", safe=_KEPT) + (f"?{quote(parts.query, safe=_KEPT)}" if parts.query else "")
    headers = {
        "host": base.netloc.decode("ascii"), "user-agent": f"batch/{__version__}", "accept": "*/*",
        "accept-encoding": "identity", "connection": "close",
    }  # fmt: skip
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["authorization"] = f"Basic {b64encode(pair.encode()).decode('ascii')}"
    extensions = {"timeout": TIMEOUTS.as_extension(), "target": target.encode("ascii")}
    request = httpx.Request("GET", base, headers=headers, extensions=extensions)
    transport = HttpTransport(base, max_connections=1, max_body_bytes=None)
    status: int | None = None
    async with Client(transport=transport, trust_env=False, follow_redirects=False) as client:
        response: httpx.Response | None = None
        try:
            response = await client.send(request, stream=True)
            status = response.status_code
            if status != httpx.codes.OK:
                return NotDownloaded(status, _location(url, response))
            if not response.extensions["has_end"]:
                return NotDownloaded(status, has_no_length=True)
            begin(_length(response))
            async for piece in response.stream:  # type: ignore[union-attr]  # an AsyncClient's
                write(piece)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            return NotDownloaded(failure=explain(error, TIMEOUTS, status))
        finally:
            if response is not None:
                await response.aclose()
    return None


def _length(response: httpx.Response) -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if text.isdigit() else None


def _location(url: str, response: httpx.Response) -> str:
    text = response.headers.get("location", "")
    return urljoin(url, text) if text and 300 <= response.status_code < 400 else ""
