"""Any httpx transport in place of the wire: what tests and users bring along."""

from collections.abc import AsyncGenerator, Sequence
from typing import cast

import anyio
import httpx

from batch.errors import UsageError
from batch.http.failures import RequestFailure, Timeouts, explain, out_of_time
from batch.http.response import Bounded, RawHeader, Received, read_headers


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
        request = httpx.Request(
            method,
            self._url(target.encode("ascii")),
            headers=headers,
            stream=httpx.ByteStream(content),  # unlike content=, leaves the headers as they are
            extensions=dict(self._extensions),
        )
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
