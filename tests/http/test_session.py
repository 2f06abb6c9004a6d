"""The exchange over real sockets: what left, what came back, and what is said when nothing did."""

import gc
import socket
import threading
import time

import anyio
import anyio.to_thread
import pytest

from batch.http import ApiRequest, ApiResponse, FailureKind, RequestFailure, Session, Timeouts
from tests.http.server import OK, Peer, Script, Server, answering, response

pytestmark = pytest.mark.anyio
BIG = b"x" * (24 * 1024 * 1024)


def patch(path: str = "/customers/7", content: bytes = b'{"name":"A"}', max_bytes: int = 1024 * 1024) -> ApiRequest:
    return ApiRequest("PATCH", path, "PATCH customer", content=content, max_bytes=max_bytes)


async def exchange(
    script: Script, request: ApiRequest | None = None, **timeouts: float
) -> ApiResponse | RequestFailure:
    with Server(script) as server:
        async with Session(server.url, timeouts=Timeouts(**timeouts)) as session:
            return await session.exchange(request or patch())


def silent(peer: Peer) -> None:
    while peer.read():
        pass


def ending(answer: bytes, end: Script) -> Script:
    """Return a script that sends `answer` after one request, and then ends the connection."""

    def script(peer: Peer) -> None:
        peer.read()
        peer.send(answer)
        end(peer)

    return script


def outcome(answer: ApiResponse | RequestFailure) -> tuple[str, FailureKind, str]:
    assert isinstance(answer, RequestFailure)
    return answer.delivered, answer.kind, answer.cause


async def test_a_request_leaves_as_it_was_meant() -> None:
    """Method, path, query, headers and body are exactly those of the call, and nothing is added to them."""
    requests: list[bytes] = []
    request = ApiRequest("PATCH", "/customers/7", "r", (("expand", "a b"),), b"{}", {"Idempotency-Key": "k-1"})
    with Server(answering(OK, requests)) as server:
        async with Session(server.url + "/v1", headers={"X-API-Key": "secret"}) as session:
            await session.exchange(request)
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.decode().lower().split("\r\n") == [
        "patch /v1/customers/7?expand=a%20b http/1.1",
        f"host: 127.0.0.1:{server.port}",
        "user-agent: batch/0.1.0",
        "accept: application/json",
        "accept-encoding: gzip",
        "x-api-key: secret",
        "idempotency-key: k-1",
        "content-type: application/json",
        "content-length: 2",
    ]
    assert body == b"{}"


async def test_an_answer_comes_back_whole() -> None:
    """Status, headers in lower case, body and its JSON are there."""
    answer = await exchange(answering(response("201 Created", "X-A: 1", "x-a: 2", body=b'{"id":7}')))
    assert isinstance(answer, ApiResponse)
    assert (answer.status, answer.headers["x-a"], answer.json) == (201, "1, 2", {"id": 7})
    assert not answer.is_truncated


async def test_connections_are_used_again() -> None:
    """Requests one after the other share one connection."""
    with Server(answering()) as server:
        async with Session(server.url) as session:
            for _ in range(5):
                await session.exchange(patch())
        assert server.connections == 1


async def test_never_more_connections_than_allowed() -> None:
    """More exchanges than `max_at_once` share that many connections."""
    with Server(answering()) as server:
        async with Session(server.url, max_at_once=3) as session, anyio.create_task_group() as tasks:
            for _ in range(30):
                tasks.start_soon(session.exchange, patch())
        assert server.connections == 3


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirects_are_answers(status: str) -> None:
    """A redirect is handed back, and nothing goes where it points."""
    requests: list[bytes] = []
    with Server(answering(response(status, "Location: /elsewhere"), requests)) as server:
        async with Session(server.url) as session:
            answer = await session.exchange(patch())
    assert isinstance(answer, ApiResponse)
    assert (answer.status, answer.headers["location"], len(requests)) == (int(status[:3]), "/elsewhere", 1)


async def test_cookies_are_not_kept() -> None:
    """What one answer sets is not sent with the next request."""
    requests: list[bytes] = []
    with Server(answering(response("200 OK", "Set-Cookie: a=b; Path=/"), requests)) as server:
        async with Session(server.url) as session:
            await session.exchange(patch())
            await session.exchange(patch())
    assert [b"cookie" in request.lower() for request in requests] == [False, False]


async def test_netrc_is_not_read(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .netrc with an entry for the host adds no credentials."""
    netrc = tmp_path_factory.mktemp("home") / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("NETRC", str(netrc))
    requests: list[bytes] = []
    await exchange(answering(OK, requests))
    assert b"authorization" not in requests[0].lower()


# What never left


async def test_refused() -> None:
    """No server on the port: not sent."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with Session(f"http://127.0.0.1:{free.getsockname()[1]}") as session:
            assert outcome(await session.exchange(patch())) == ("no", FailureKind.REFUSED, "the connection was refused")


async def test_unknown_host() -> None:
    """A name that does not exist: not sent."""
    async with Session("http://api.invalid") as session:
        assert outcome(await session.exchange(patch())) == ("no", FailureKind.DNS, "the host name was not found")


async def test_connect_time_out() -> None:
    """A server whose queue is full answers no handshake: not sent."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with Session(url, timeouts=Timeouts(connect=0.05)) as session:
            answer = await session.exchange(patch())
    assert outcome(answer) == ("no", FailureKind.CONNECT_TIMEOUT, "no connection came about within 0.05 s")


# What may have arrived


async def test_read_time_out() -> None:
    """The request arrived and no answer comes: unknown."""
    answer = await exchange(silent, read=0.05)
    assert outcome(answer) == ("unknown", FailureKind.READ_TIMEOUT, "no answer within 0.05 s")


async def test_write_time_out() -> None:
    """The server stops reading in the middle of the request: unknown."""
    limiter = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        limiter.wait(10)

    with Server(script) as server:
        async with Session(server.url, timeouts=Timeouts(write=0.05)) as session:
            answer = await session.exchange(patch(content=BIG))
        limiter.set()
    assert outcome(answer) == (
        "unknown",
        FailureKind.WRITE_TIMEOUT,
        "the server did not take the request within 0.05 s",
    )


async def test_given_up_while_sending() -> None:
    """What had not left when the request was given up never leaves: half a request changes nothing."""
    limiter, got = threading.Event(), bytearray()

    def script(peer: Peer) -> None:
        limiter.wait(10)
        while chunk := peer.socket.recv(1024 * 1024):
            got.extend(chunk)

    with Server(script) as server:
        async with Session(server.url, timeouts=Timeouts(write=0.05)) as session:
            answer = await session.exchange(patch(content=BIG))
            limiter.set()
            await anyio.sleep(0.2)  # in which the rest would leave
        server.end()
    assert (FailureKind.WRITE_TIMEOUT, True) == (outcome(answer)[1], len(got) < len(BIG))


async def test_head_that_comes_too_late() -> None:
    """An answer that begins in the very turn of the event loop in which its time is over is lost, not waited for."""
    has_come = threading.Event()

    def script(peer: Peer) -> None:
        peer.read()
        has_come.set()
        time.sleep(0.1)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        silent(peer)

    async def hold_up() -> None:
        await anyio.to_thread.run_sync(has_come.wait)
        time.sleep(0.3)  # noqa: ASYNC251 - the loop is what is held up

    with Server(script) as server:
        timeouts = Timeouts(connect=0.1, total=0.2)
        async with Session(server.url, timeouts=timeouts) as session, anyio.create_task_group() as tasks:
            tasks.start_soon(hold_up)
            answer = await session.exchange(patch())
    assert outcome(answer) == ("unknown", FailureKind.TOTAL_TIMEOUT, "no whole answer within 0.2 s")


async def test_reset_while_sending() -> None:
    """The server resets after the head of the request: unknown."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.reset()

    answer = await exchange(script, patch(content=BIG))
    assert outcome(answer) == ("unknown", FailureKind.DROPPED, "the connection was dropped before an answer came")


@pytest.mark.parametrize("end", [Peer.reset, Peer.close])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
async def test_dropped_after_sending(end: Script, method: str) -> None:
    """The whole request arrived, then the connection ends: unknown, and no second request behind our back."""
    requests: list[bytes] = []

    def script(peer: Peer) -> None:
        requests.append(peer.read())
        end(peer)

    answer = await exchange(script, ApiRequest(method, "/x", "r", content=b"{}"))
    assert outcome(answer) == ("unknown", FailureKind.DROPPED, "the connection was dropped before an answer came")
    assert len(requests) == 1


@pytest.mark.parametrize("end", [Peer.reset, Peer.close])
@pytest.mark.parametrize("half", ["Content-Length: 11\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{"])
async def test_half_a_body(half: str, end: Script) -> None:
    """An answer that ends before its announced end: unknown, with the status that had come."""
    answer = await exchange(ending(f"HTTP/1.1 200 OK\r\n{half}".encode(), end))
    assert outcome(answer) == ("unknown", FailureKind.HALF_ANSWER, "the answer broke off half-way")
    assert isinstance(answer, RequestFailure)
    assert answer.status == 200


async def test_half_a_head() -> None:
    """An answer that ends within its headers: unknown."""
    answer = await exchange(ending(b"HTTP/1.1 200 OK\r\nContent-Len", Peer.close))
    assert outcome(answer) == ("unknown", FailureKind.HALF_ANSWER, "the answer broke off half-way")


async def test_an_answer_that_stops() -> None:
    """Half an answer and then silence: unknown, with the status that had come."""

    def script(peer: Peer) -> None:
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b'{"ok"')
        peer.read()

    answer = await exchange(script, read=0.05)
    assert outcome(answer) == (
        "unknown",
        FailureKind.READ_TIMEOUT,
        "the answer stopped half-way, and nothing more came within 0.05 s",
    )
    assert isinstance(answer, RequestFailure)
    assert answer.status == 200


async def test_slow_drip() -> None:
    """An answer that always keeps coming, byte by byte, ends with the whole time that an exchange may take."""

    def script(peer: Peer) -> None:
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while peer.socket.send(b"x"):
            threading.Event().wait(0.01)

    answer = await exchange(script, connect=1.0, read=10.0, total=1.2)
    assert outcome(answer) == ("unknown", FailureKind.TOTAL_TIMEOUT, "no whole answer within 1.2 s")


@pytest.mark.parametrize("noise", [b"220 mail.example.com ESMTP\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28\r\n"])
async def test_not_http(noise: bytes) -> None:
    """Something answers that is not HTTP: unknown."""
    answer = await exchange(ending(noise, Peer.close))
    assert outcome(answer) == ("unknown", FailureKind.GARBLED, "what came back was not a proper HTTP answer")


async def test_endless_head() -> None:
    """An answer whose head never ends is given up, long before memory is."""

    def script(peer: Peer) -> None:
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            peer.send(b"X-A: " + b"y" * 1000 + b"\r\n")

    answer = await exchange(script)
    assert outcome(answer) == ("unknown", FailureKind.GARBLED, "what came back was not a proper HTTP answer")


# Cancellation


async def test_cancelling_ends_the_connection() -> None:
    """A cancelled exchange ends in its scope, and its connection is closed, not used again."""
    ended = threading.Event()

    def script(peer: Peer) -> None:
        while peer.read():
            if peer.number > 1:
                peer.send(OK)
        ended.set()

    with Server(script) as server:
        async with Session(server.url, max_at_once=1) as session:
            with anyio.move_on_after(0.05) as scope:
                await session.exchange(patch())
            again = await session.exchange(patch())
            assert await anyio.to_thread.run_sync(ended.wait, 5)
    assert scope.cancelled_caught
    assert isinstance(again, ApiResponse)


async def test_cancelling_in_the_middle_of_an_answer() -> None:
    """Cancellation while the body is read leaves the scope, too."""

    def script(peer: Peer) -> None:
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b'{"ok"')
        peer.read()

    with Server(script) as server:
        async with Session(server.url) as session:
            with anyio.move_on_after(0.05) as scope:
                await session.exchange(patch())
    assert scope.cancelled_caught


async def test_nothing_of_an_exchange_waits_for_the_garbage_collector() -> None:
    """An exchange leaves no circle of objects, which would be kept in memory until Python looks for garbage."""
    with Server(answering(OK)) as server:
        async with Session(server.url) as session:
            await session.exchange(patch())
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                await session.exchange(patch())
                gc.collect()
                left = {type(one).__name__ for one in gc.garbage}
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
    assert set() == left & {"Response", "BoundAsyncStream", "AnswerParser", "HttpResponseParser", "Request"}
