"""The exchange over any httpx transport, on asyncio and on trio: what its errors mean, and how long it may take."""

import ssl
import subprocess
import sys
from collections.abc import Callable
from typing import Self

import anyio
import httpx
import pytest
from trio.testing import MockClock

from batch.http import ApiRequest, ApiResponse, FailureKind, RequestFailure, Session, Timeouts
from tests.http.server import OK, Peer, Script, Server, answering

CALL = ApiRequest("PATCH", "/customers/7", "PATCH customer", content=b"{}")

GIVEN_UP = "the request was given up before an answer came ({})"


async def exchange(
    handler: Callable[[httpx.Request], httpx.Response], **timeouts: float
) -> ApiResponse | RequestFailure:
    transport = httpx.MockTransport(handler)
    async with Session("https://test", transport=transport, timeouts=Timeouts(**timeouts)) as session:
        return await session.exchange(CALL)


class Stream(httpx.AsyncByteStream):
    """A body that does as it is told after its first piece; no generator, since httpx leaves those of others open."""

    def __init__(self, then: Callable[[], object], pause: float = 0) -> None:
        self._then, self._pause = then, pause
        self._has_begun = self.is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._has_begun:
            self._has_begun = True
            return b'{"ok"'
        await anyio.sleep(self._pause)
        self._then()
        return b" " * 1000

    async def aclose(self) -> None:
        self.is_closed = True


def fail(error: Exception) -> Callable[..., httpx.Response]:
    def handler(*_: object) -> httpx.Response:
        raise error

    return handler


def connect_error(cause: Exception) -> httpx.ConnectError:
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = cause
    return error


@pytest.mark.anyio
async def test_a_mock_answers() -> None:
    """An answer made in a test comes back as any other, with the request as it was meant."""
    answer = await exchange(lambda request: httpx.Response(200, json=[str(request.url), request.content.decode()]))
    assert isinstance(answer, ApiResponse)
    assert answer.json == ["https://test/customers/7", "{}"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "sent", "kind", "cause"),
    [
        (httpx.ConnectTimeout(""), "no", FailureKind.CONNECT_TIMEOUT, "no connection came about within 10 s"),
        (httpx.PoolTimeout(""), "no", FailureKind.CONNECT_TIMEOUT, "no connection came about within 10 s"),
        (httpx.ConnectError(""), "no", FailureKind.UNREACHABLE, "the server could not be reached"),
        (connect_error(ConnectionRefusedError()), "no", FailureKind.REFUSED, "the connection was refused"),
        (connect_error(ssl.SSLError()), "no", FailureKind.TLS, "no secure connection came about (TLS)"),
        (httpx.ProxyError("x"), "no", FailureKind.PROXY, "the proxy did not pass the connection on: x"),
        (httpx.UnsupportedProtocol(""), "no", FailureKind.UNREACHABLE, "the request could not be put together"),
        (httpx.LocalProtocolError(""), "unknown", FailureKind.DROPPED, GIVEN_UP.format("LocalProtocolError")),
        (ConnectionRefusedError(), "unknown", FailureKind.DROPPED, GIVEN_UP.format("ConnectionRefusedError")),
        (KeyError("timeout"), "unknown", FailureKind.DROPPED, GIVEN_UP.format("KeyError")),
        (
            httpx.WriteTimeout(""),
            "unknown",
            FailureKind.WRITE_TIMEOUT,
            "the server did not take the request within 30 s",
        ),
        (httpx.WriteError(""), "unknown", FailureKind.DROPPED, "the connection was dropped before an answer came"),
        (httpx.ReadTimeout(""), "unknown", FailureKind.READ_TIMEOUT, "no answer within 60 s"),
        (httpx.ReadError(""), "unknown", FailureKind.DROPPED, "the connection was dropped before an answer came"),
        (httpx.CloseError(""), "unknown", FailureKind.DROPPED, "the connection was dropped before an answer came"),
        (httpx.RemoteProtocolError("?"), "unknown", FailureKind.GARBLED, "what came back was not a proper HTTP answer"),
    ],
)
async def test_what_errors_mean(error: Exception, sent: str, kind: FailureKind, cause: str) -> None:
    """Only errors of connecting promise that nothing was sent, whosever they are; every message is in plain words."""
    answer = await exchange(fail(error))
    assert isinstance(answer, RequestFailure)
    assert (answer.delivered, answer.kind, answer.cause, answer.status) == (sent, kind, cause, None)


@pytest.mark.anyio
async def test_no_error_in_the_answer_is_a_promise() -> None:
    """Once an answer has begun, even an error of connecting cannot mean that nothing was sent."""
    answer = await exchange(lambda _: httpx.Response(503, stream=Stream(fail(httpx.ConnectError("")))))
    assert isinstance(answer, RequestFailure)
    assert (answer.delivered, answer.kind, answer.status) == ("unknown", FailureKind.HALF_ANSWER, 503)


def on_virtual_clock() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [on_virtual_clock()], ids=["trio"])
async def test_the_whole_time_is_bounded() -> None:
    """An answer that always goes on ends after `total` seconds, on the clock of the event loop."""
    stream = Stream(lambda: None, pause=1)
    began = anyio.current_time()
    answer = await exchange(lambda _: httpx.Response(200, stream=stream), total=90)
    assert anyio.current_time() - began == pytest.approx(90)
    assert isinstance(answer, RequestFailure)
    assert (answer.kind, answer.cause, answer.status) == (FailureKind.TOTAL_TIMEOUT, "no whole answer within 90 s", 200)
    assert stream.is_closed


@pytest.mark.anyio
async def test_a_long_answer_is_cut() -> None:
    """No more than `max_bytes` are read, and the stream is closed."""
    stream = Stream(lambda: None)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=stream))
    async with Session("https://test", transport=transport) as session:
        answer = await session.exchange(ApiRequest("GET", "/x", "r", max_bytes=3))
    assert isinstance(answer, ApiResponse)
    assert (answer.body, answer.is_truncated, answer.json, stream.is_closed) == (b'{"o', True, None, True)


@pytest.mark.parametrize(
    ("script", "sent", "kind"),
    [
        (Peer.reset, "unknown", FailureKind.DROPPED),
        (Peer.close, "unknown", FailureKind.DROPPED),
        (lambda peer: peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), "unknown", FailureKind.HALF_ANSWER),
        (lambda peer: peer.send(b"220 ESMTP\r\n\r\n"), "unknown", FailureKind.GARBLED),
        (lambda peer: peer.read() and None, "unknown", FailureKind.READ_TIMEOUT),
    ],
    ids=["reset", "closed", "half", "garbled", "silent"],
)
@pytest.mark.anyio
async def test_the_stock_transport(script: Script, sent: str, kind: FailureKind) -> None:
    """httpx's own transport, over real sockets on both event loops, is understood as well as ours."""

    def serve(peer: Peer) -> None:
        peer.read()
        script(peer)

    with Server(serve) as server:
        transport = httpx.AsyncHTTPTransport()
        async with Session(server.url, transport=transport, timeouts=Timeouts(read=0.05)) as session:
            answer = await session.exchange(CALL)
    assert isinstance(answer, RequestFailure)
    assert (answer.delivered, answer.kind) == (sent, kind)


@pytest.mark.anyio
async def test_the_stock_transport_answers() -> None:
    """And its answers are answers."""
    requests: list[bytes] = []
    with Server(answering(OK, requests)) as server:
        async with Session(server.url, transport=httpx.AsyncHTTPTransport()) as session:
            answer = await session.exchange(CALL)
    assert isinstance(answer, ApiResponse)
    assert (answer.json, requests[0].splitlines()[0]) == ({"ok": True}, b"PATCH /customers/7 HTTP/1.1")


@pytest.mark.parametrize("values", [{"connect": 0}, {"read": 0}, {"write": -1}, {"connect": 9, "total": 9}])
def test_time_outs_that_make_no_sense(values: dict[str, float]) -> None:
    """Zero would mean for ever to some transports, and `total` may not be over before a request has left."""
    with pytest.raises(ValueError, match="time-outs must be positive, and `total` longer than `connect`"):
        Timeouts(**values)


def test_importing_stays_cheap() -> None:
    """No event loop is imported before one runs."""
    code = "import sys, batch.http; print([name for name in ('asyncio', 'trio') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
