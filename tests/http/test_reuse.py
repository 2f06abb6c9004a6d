"""Connections that are kept: none that ended or was spoiled in the meantime costs a request, or answers a wrong one."""

import threading

import anyio
import pytest

from batch.http import ApiRequest, ApiResponse, FailureKind, RequestFailure, Session
from tests.http.server import OK, Peer, Script, Server, answering, response

pytestmark = pytest.mark.anyio
CALL = ApiRequest("PATCH", "/customers/7", "PATCH customer", content=b"{}")
STRAY = response("408 Request Timeout")


@pytest.fixture
def anyio_backend() -> str:
    """Production runs on asyncio."""
    return "asyncio"


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


async def test_a_second_answer_is_dropped() -> None:
    """Two answers to one request: the second never becomes the answer to the next request."""
    with Server(answering(OK + STRAY)) as server:
        async with Session(server.url) as session:
            answers = [served_by(await session.exchange(CALL)) for _ in range(3)]
    assert answers == [{"ok": True}] * 3


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
