"""The sandbox in this very process, without sockets, so that it runs on whatever clock the test runs on."""

from collections.abc import AsyncIterator

import anyio
import httpx

from batch.sandbox.application import Sandbox, SpoiltAnswerError, application
from batch.sandbox.options import SandboxOptions


class InProcessSandbox(httpx.AsyncBaseTransport):
    """What a client sends by; an answer that is spoilt on its way fails as it would over a connection."""

    def __init__(self, options: SandboxOptions) -> None:
        self.sandbox = Sandbox(options)
        self._transport = httpx.ASGITransport(application(self.sandbox, {}))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, or fail it."""
        try:
            return await self._transport.handle_async_request(request)
        except SpoiltAnswerError as spoilt:
            if spoilt.fault.startswith("hang"):
                await anyio.sleep(request.extensions["timeout"]["read"])
                raise httpx.ReadTimeout("") from None
            answer = httpx.Response(spoilt.answer.status_code, headers=spoilt.answer.headers)
            if spoilt.fault.startswith("stray"):  # nobody sees what comes after an answer
                answer.stream = httpx.ByteStream(bytes(spoilt.answer.body))
                return answer
            if spoilt.fault == "half":
                answer.stream = _Half(bytes(spoilt.answer.body))
                return answer
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.") from None


class _Half(httpx.AsyncByteStream):
    """The first half of an answer."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body[: len(self._body) // 2]
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")
