"""Connections that are kept: none that ended or was spoiled in the meantime costs a request, or answers a wrong one."""

import threading
import time

import anyio
import anyio.to_thread
import httpx
import pytest

from batch.http import ApiRequest, ApiResponse, FailureKind, RequestFailure, Session, Timeouts, transport
from tests.http.server import OK, Peer, Script, Server, answering, response

pytestmark = pytest.mark.anyio
CALL = ApiRequest("PATCH", "/customers/7", "PATCH customer", content=b"{}")
STRAY = response("408 Request Timeout")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n"


class FieldChange:
    """A script that answers one request a connection and then does `end` when the test says so."""

    def __init__(self, end: Script) -> None:
        self._end = end
        self._go, self._done = threading.Event(), threading.Semaphore(0)

    def __call__(self, peer: Peer) -> None:
        is_early = not self._go.is_set()
        while peer.read():
            peer.send(response("200 OK", body=b'{"connection":%d}' % peer.number))
            if is_early:
                self._go.wait(10)
                self._end(peer)
                self._done.release()

    def end(self, connections: int = 1) -> None:
        """Let the script go on, and wait until it has: the event loop stands still meanwhile and sees nothing of it."""
        self._go.set()
        for _ in range(connections):
            assert self._done.acquire(timeout=10)


def silent(peer: Peer) -> None:
    while peer.read():
        pass


def served_by(answer: object) -> object:
    assert isinstance(answer, ApiResponse)
    return answer.json


@pytest.mark.parametrize("end", [Peer.close, Peer.reset, lambda peer: peer.send(STRAY)])
@pytest.mark.parametrize("is_noticed", [True, False])
async def test_an_ended_connection_is_not_used(end: Script, is_noticed: bool) -> None:
    """FIN, RST or a stray answer between two requests: the second goes out on a new connection, and is answered."""
    step = FieldChange(end)
    with Server(step) as server:
        async with Session(server.url) as session:
            first = await session.exchange(CALL)
            step.end()
            if is_noticed:
                await anyio.sleep(0.02)  # not for the server: for the event loop to read what has come
            second = await session.exchange(CALL)
    assert (served_by(first), served_by(second)) == ({"connection": 1}, {"connection": 2})


async def test_a_restarted_server_costs_nothing() -> None:
    """When all kept connections have ended, as many requests at once are all answered."""
    step = FieldChange(Peer.close)
    answers: list[object] = []

    async def send() -> None:
        answers.append(served_by(await session.exchange(CALL)))

    with Server(step) as server:
        async with Session(server.url, max_at_once=8) as session:
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(send)
            step.end(connections=8)
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(send)
    assert sorted(answer["connection"] for answer in answers) == list(range(1, 17))


@pytest.mark.parametrize("stray", [STRAY, OK, b"\r\n", b"\r\n\r\n", b"\n", b"x"])
@pytest.mark.parametrize("answer", [OK, CHUNKED, response("404 Not Found"), b"HTTP/1.1 204 No Content\r\n\r\n"])
async def test_more_than_one_answer_is_none(answer: bytes, stray: bytes) -> None:
    """Bytes behind an answer, of whatever kind: nothing is believed of it, and the next one gets another connection."""
    with Server(answering(answer + stray)) as server:
        async with Session(server.url) as session:
            answers = [await session.exchange(CALL) for _ in range(2)]
        assert server.connections == 2
    for one in answers:
        assert isinstance(one, RequestFailure)
        assert (one.delivered, one.kind, one.status) == ("unknown", FailureKind.GARBLED, None)
        assert one.cause == "the server sent more than one answer to a request"


async def test_more_than_the_announced_length_is_no_answer() -> None:
    """Surplus bytes spoil their own answer at most: unknown; the next request gets its own."""
    requests: list[bytes] = []

    def script(peer: Peer) -> None:
        while request := peer.read():
            requests.append(request)
            peer.send(OK + b"x" if len(requests) == 1 else OK)

    with Server(script) as server:
        async with Session(server.url) as session:
            first, second = await session.exchange(CALL), await session.exchange(CALL)
    assert isinstance(first, RequestFailure)
    assert (first.delivered, first.kind) == ("unknown", FailureKind.GARBLED)
    assert served_by(second) == {"ok": True}


async def test_connection_close_is_heeded() -> None:
    """After an answer that says so, the next request goes out on a new connection."""
    with Server(answering(response("200 OK", "Connection: close"))) as server:
        async with Session(server.url) as session:
            for _ in range(3):
                await session.exchange(CALL)
        assert server.connections == 3


async def test_a_cut_answer_ends_its_connection() -> None:
    """When not all of an answer was read, the rest is not taken for the next one."""
    with Server(answering(response("200 OK", body=b"x" * 5_000_000))) as server:
        async with Session(server.url) as session:
            answers = [await session.exchange(ApiRequest("GET", "/x", "r", max_bytes=10)) for _ in range(2)]
        assert server.connections == 2
    assert [isinstance(answer, ApiResponse) and (answer.body, answer.is_truncated) for answer in answers] == [
        (b"x" * 10, True)
    ] * 2


async def test_the_last_used_connection_is_the_next() -> None:
    """After many at once, one request after the other goes over one connection, and the others may end."""

    def script(peer: Peer) -> None:
        while peer.read():
            peer.send(response("200 OK", body=b'{"connection":%d}' % peer.number))

    with Server(script) as server:
        async with Session(server.url, max_at_once=8) as session:
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(session.exchange, CALL)
            answers = [str(served_by(await session.exchange(CALL))) for _ in range(5)]
    assert (8, 1) == (server.connections, len(set(answers)))


async def test_a_connection_that_waited_for_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was idle for longer than servers let it be is closed, and all that waited for longer with it."""
    monkeypatch.setattr(transport, "KEEPALIVE_SECONDS", 0.05)
    ended = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        while peer.read():
            peer.send(OK)
        ended.release()

    with Server(script) as server:
        async with Session(server.url, max_at_once=4) as session:
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(session.exchange, CALL)
            await anyio.sleep(0.1)
            await session.exchange(CALL)
            assert all([await anyio.to_thread.run_sync(ended.acquire, True, 5) for _ in range(4)])
        assert server.connections == 5


async def test_no_connection_comes_free() -> None:
    """Who waits for a connection for too long has sent nothing."""
    with Server(silent) as server:
        timeouts = Timeouts(connect=0.5, read=60)
        async with Session(server.url, max_at_once=1, timeouts=timeouts) as session, anyio.create_task_group() as tasks:
            tasks.start_soon(session.exchange, CALL)
            await anyio.sleep(0.1)
            answer = await session.exchange(CALL)
            tasks.cancel_scope.cancel()
    assert isinstance(answer, RequestFailure)
    assert (answer.delivered, answer.kind) == ("no", FailureKind.CONNECT_TIMEOUT)


# Answers that are out of step


def shifted(late: bytes, pause: float = 0.1) -> Script:
    """Return a script that takes its time, and gives the second request `late` before its answer."""

    def script(peer: Peer) -> None:
        number = 0
        while peer.read():
            number += 1
            if peer.number == 1 and number == 2:
                peer.send(late)
            time.sleep(pause)
            peer.send(response("200 OK", body=b'{"number":%d,"connection":%d}' % (number, peer.number)))

    return script


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "409 Conflict", "422 Unprocessable"])
async def test_a_refusal_that_was_anothers(status: str) -> None:
    """A refusal after which the true answer arrives is no answer: nothing is known of the request."""
    with Server(shifted(response(status))) as server:
        async with Session(server.url) as session:
            first, second, third = [await session.exchange(CALL) for _ in range(3)]
    assert served_by(first) == {"number": 1, "connection": 1}
    assert isinstance(second, RequestFailure)
    assert (second.delivered, second.kind, second.status) == ("unknown", FailureKind.GARBLED, None)
    assert served_by(third) == {"number": 1, "connection": 2}


@pytest.mark.parametrize("headers", [(), ("Connection: close",)])
async def test_a_refusal_is_believed_after_silence(headers: tuple[str, ...]) -> None:
    """A refusal takes as long as another answer would, and no longer; at once where the connection ends with it."""

    def script(peer: Peer) -> None:
        while peer.read():
            time.sleep(0.05)
            peer.send(response("404 Not Found", *headers))
            if headers:
                return peer.close()

    with Server(script) as server:
        async with Session(server.url) as session:
            answers = [await session.exchange(CALL) for _ in range(3)]
        assert server.connections == (3 if headers else 1)
    assert [404] * 3 == [answer.status for answer in answers if isinstance(answer, ApiResponse)]


async def test_a_connection_after_a_long_answer() -> None:
    """It ends: what was read behind a long answer would wait where nobody looks."""
    text = b'"' + b"x" * 100_000 + b'"'
    with Server(answering(response("200 OK", body=text))) as server:
        async with Session(server.url) as session:
            answers = [await session.exchange(CALL) for _ in range(3)]
        assert server.connections == 3
    assert all(isinstance(one, ApiResponse) and one.body == text for one in answers)


async def test_the_wait_does_not_grow() -> None:
    """One refusal after the other takes no longer than the first: waiting is no part of how long an answer takes."""
    with Server(answering(response("404 Not Found"))) as server:
        carrier = transport.HttpTransport(httpx.URL(server.url), max_connections=1)
        async with Session(server.url, transport=carrier) as session:
            for _ in range(8):  # each wait would be twice the one before
                await session.exchange(CALL)
            assert carrier.seconds_of_doubt() < transport.AT_MOST


async def test_throttling_is_believed_at_once() -> None:
    """A 429 is asked again anyway, and must not be slower than it is."""
    with Server(answering(response("429 Too Many Requests"))) as server:
        async with Session(server.url) as session:
            await session.exchange(CALL)
            seconds: list[float] = []
            for _ in range(10):  # one of them is not held up by a busy machine
                began = anyio.current_time()
                await session.exchange(CALL)
                seconds.append(anyio.current_time() - began)
            assert min(seconds) < transport.AT_LEAST


async def test_a_connection_that_brought_anothers_answer() -> None:
    """It is not used any more, and what is under way on it is no answer either."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        while peer.read():
            if peer.number == 1 and go.is_set():
                time.sleep(0.1)
            peer.send(response("200 OK", body=b'{"connection":%d}' % peer.number))
            go.set()

    later: list[object] = []
    with Server(script) as server:
        async with Session(server.url) as session:
            first = await session.exchange(CALL)
            assert isinstance(first, ApiResponse)

            async def exchange() -> None:
                later.append(await session.exchange(CALL))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(exchange)
                await anyio.sleep(0.05)
                first.distrust_connection()
            last = await session.exchange(CALL)
            assert isinstance(last, ApiResponse)
            last.distrust_connection()
            assert served_by(await session.exchange(CALL)) == {"connection": 3}
    assert isinstance(later[0], RequestFailure)
    assert (later[0].delivered, later[0].kind) == ("unknown", FailureKind.GARBLED)
    assert served_by(last) == {"connection": 2}


@pytest.mark.parametrize("size", [60_000, 65_536, 131_072, 262_144, 1_048_576])
@pytest.mark.parametrize("is_chunked", [True, False])
async def test_a_stray_answer_behind_a_long_one(size: int, is_chunked: bool) -> None:
    """What an event loop has read ahead of time, in whatever portions, is no answer to the next request."""
    head, end = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size - 50), b""
    if is_chunked:
        head, end = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%08x\r\n" % (size - 100), b"\r\n0\r\n\r\n"
    begin = head[:15] + b"\r\nX: "
    body = b" " * (size - (100 if is_chunked else 50))
    padding = b"x" * (size - len(begin) - len(head[15:]) - len(body) - len(end))
    answer = begin + padding + head[15:] + body + end
    has_come = threading.Event()

    def script(peer: Peer) -> None:
        while peer.read():
            has_come.set()
            peer.send(answer + response("200 OK", body=b'{"stray":1}') if peer.number == 1 else OK)

    async def hold_up() -> None:
        await anyio.to_thread.run_sync(has_come.wait)
        time.sleep(0.05)  # noqa: ASYNC251 - in which all of it arrives

    request = ApiRequest("GET", "/customers", "r", max_bytes=2 * size)
    with Server(script) as server:
        async with Session(server.url) as session, anyio.create_task_group() as tasks:
            tasks.start_soon(hold_up)
            answers = [await session.exchange(request) for _ in range(2)]
    assert len(answer) == size
    assert isinstance(answers[0], ApiResponse) or answers[0].kind is FailureKind.GARBLED
    assert served_by(answers[1]) == {"ok": True}
