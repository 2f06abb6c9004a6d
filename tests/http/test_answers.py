"""Answers as HTTP/1.1 allows them, and as it does not: where each ends, what is of it, and what only follows it."""

import gzip
import time
import tracemalloc
import zlib
from functools import cache
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.http import ApiRequest, ApiResponse, FailureKind, RequestFailure, Session, Timeouts
from batch.http.failures import OutOfStepError
from batch.http.parser import MAX_HEAD_BYTES, AnswerParser
from batch.http.transport import MAX_BODY_BYTES, HttpTransport
from tests.http.server import OK, Peer, Script, Server, answering, response

CALL = ApiRequest("GET", "/customers/7", "GET customer")
MIB = 1024 * 1024
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
CHUNKED = b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"ok"\r\n6;a=b\r\n:true}\r\n0\r\n'
BODY = b'{"ok":true}'


def ended(answer: bytes) -> Script:
    """Return a script that gives one answer, and closes the connection."""

    def script(peer: Peer) -> None:
        peer.read()
        peer.send(answer)
        peer.close()

    return script


async def exchange_twice(script: Script) -> tuple[list[ApiResponse | RequestFailure], int]:
    """Return two answers, and over how many connections they came."""
    with Server(script) as server:
        async with Session(server.url, timeouts=Timeouts(read=5)) as session:
            answers = [await session.exchange(CALL) for _ in range(2)]
        return answers, server.connections


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "body", "connections"),
    [
        (OK, BODY, 1),
        (CONTINUE + OK, BODY, 1),
        (b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n", BODY, 1),
        (b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"X-Sum: 1\r\n\r\n", BODY, 1),
        (b"HTTP/1.1 200\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n", b"", 1),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 11\r\n\r\n", b"", 1),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 11\r\n\r\n", b"", 1),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 11\r\n\r\n" + BODY, BODY, 2),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 11\r\n\r\n" + BODY, BODY, 1),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 11\r\n\r\n" + BODY, BODY, 2),
    ],
    ids=["length", "1xx", "chunked", "trailers", "empty", "204", "304", "1.0", "1.0-kept", "close"],
)
async def test_answers(answer: bytes, body: bytes, connections: int) -> None:
    """Each is whole, ends where it says, and leaves its connection to the next where it may."""
    answers, used = await exchange_twice(answering(answer))
    for one in answers:
        assert isinstance(one, ApiResponse)
        assert (one.body, one.is_truncated) == (body, False)
        assert not {"link", "x-sum"} & set(one.headers)
    assert used == connections


@pytest.mark.anyio
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n"])
async def test_an_answer_that_ends_with_its_connection(head: bytes) -> None:
    """Without length or chunks the end of the connection is that of the answer."""
    answers, used = await exchange_twice(ended(head + BODY))
    assert ([BODY] * 2, 2) == ([one.body for one in answers if isinstance(one, ApiResponse)], used)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 11\n\n" + BODY,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 11\r\n\r\n" + BODY,
        b"HTTP/1.1 000 No\r\nContent-Length: 11\r\n\r\n" + BODY,
        b"HTTP/1.1 2000 No\r\nContent-Length: 11\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nContent-Length: 12\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n" + CHUNKED + b"\r\n",
        b"\r\n" + OK,
        CONTINUE * 2000 + OK,
    ],
    ids=["bare-lf", "101", "101-bare", "2.0", "000", "2000", "lengths", "length-and-chunks", "blank", "endless-1xx"],
)
async def test_what_is_no_answer(answer: bytes) -> None:
    """What several readers would read in several ways is not read at all."""
    answers, used = await exchange_twice(ended(answer))
    for one in answers:
        assert isinstance(one, RequestFailure)
        assert (one.delivered, one.kind, one.status) == ("unknown", FailureKind.GARBLED, None)
    assert used == 2


@pytest.mark.anyio
@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "identity", "chunked\r\nTransfer-Encoding: chunked"])
async def test_a_transfer_coding_that_nobody_asked_for(coding: str) -> None:
    """The head has come, and its body cannot be told from what follows: half an answer."""
    answers, _ = await exchange_twice(
        ended(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n2\r\n12\r\n0\r\n\r\n".encode())
    )
    for one in answers:
        assert isinstance(one, RequestFailure)
        assert (one.kind, one.status) == (FailureKind.HALF_ANSWER, 200)


@pytest.mark.anyio
async def test_a_redirect_to_nowhere() -> None:
    """A Location that no one can read does not make the answer a failure."""
    answers, _ = await exchange_twice(answering(response("302 Found", "Location: http://a:b:c/")))
    assert [302, 302] == [one.status for one in answers if isinstance(one, ApiResponse)]


@pytest.mark.anyio
@pytest.mark.parametrize(("size", "is_answer"), [(MAX_HEAD_BYTES, True), (MAX_HEAD_BYTES + 1, False)])
async def test_the_longest_head(size: int, is_answer: bool) -> None:
    """A head of 64 KiB is read, and no longer one."""
    begin, end = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ", b"\r\n\r\n"
    answers, _ = await exchange_twice(answering(begin + b"x" * (size - len(begin) - len(end)) + end))
    assert [is_answer] * 2 == [isinstance(one, ApiResponse) for one in answers]


ANSWERS = [
    OK,
    CONTINUE + OK,
    b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n",
    b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"X-Sum: 1\r\n\r\n",
    response("404 Not Found", body=b"\r\n\r\n"),
    response("200 OK", body=b"\r\n0\r\n\r\n\r\n"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
]


@given(
    st.sampled_from(ANSWERS),
    st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"x", b"\x00", b"HTTP/1.1 ", *ANSWERS]),
    st.lists(st.integers(1, 200), max_size=12),
)
@settings(max_examples=500, deadline=None)
def test_any_cut_of_the_bytes_is_the_same_answer(answer: bytes, surplus: bytes, cuts: list[int]) -> None:
    """However the bytes arrive, the same is read; surplus is told wherever it comes with the end, or after it."""
    whole, parser = AnswerParser(), AnswerParser()
    whole.feed(answer)
    assert (whole.is_complete, whole.failure) == (True, None)
    data = answer + surplus
    edges = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]
    for begin, end in pairwise(edges):
        parser.feed(data[begin:end])
    assert (parser.status, parser.headers, b"".join(parser.pieces)) == (
        whole.status,
        whole.headers,
        b"".join(whole.pieces),
    )
    assert bool(surplus) == isinstance(parser.failure, OutOfStepError)


# Our transport under httpx's client alone


async def read(script: Script) -> tuple[httpx.Response, bytes]:
    """Read an answer to its end through httpx."""
    with Server(script) as server:
        url = httpx.URL(server.url)
        client = httpx.AsyncClient(transport=HttpTransport(url), trust_env=False)
        async with client, client.stream("GET", url) as answer:
            return answer, await answer.aread()


@pytest.mark.anyio
async def test_packed_answers_come_unpacked() -> None:
    """gzip is unpacked by the transport, and the answer no longer says that it is packed."""
    packed = gzip.compress(BODY * 100_000)
    answer, body = await read(answering(response("200 OK", "Content-Encoding: GZIP", "X-A: 1", body=packed)))
    assert (body, answer.headers.raw) == (BODY * 100_000, [(b"X-A", b"1")])


@cache
def _bomb() -> bytes:
    """Pack 256 MiB."""
    pack, spaces = zlib.compressobj(1, wbits=31), b" " * MIB
    return b"".join([*(pack.compress(spaces) for _ in range(256)), pack.flush()])


@pytest.mark.anyio
@pytest.mark.parametrize("is_packed", [True, False])
async def test_no_body_is_longer_than_16_mib(is_packed: bool) -> None:
    """A body ends in an error at 16 MiB as it is unpacked, though it is small as it comes, and takes no more memory."""
    body, header = (_bomb(), "Content-Encoding: gzip") if is_packed else (b" " * (MAX_BODY_BYTES + 1), "X-A: 1")
    script = answering(response("200 OK", header, body=body))
    tracemalloc.start()
    try:
        with pytest.raises(httpx.DecodingError, match="too long") as raised:
            await read(script)
        assert tracemalloc.get_traced_memory()[1] < (24 if is_packed else 72) * MIB
    finally:
        tracemalloc.stop()
    assert raised.value.request.method == "GET"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "url", "content"),
    [
        ("GET", "http://127.0.0.1:1/x", b""),
        ("GET", "https://127.0.0.1:{}/x", b""),
        ("HEAD", "http://127.0.0.1:{}/x", b""),
        ("CONNECT", "http://127.0.0.1:{}/x", b""),
    ],
)
async def test_nothing_leaves_for_another_origin(method: str, url: str, content: bytes) -> None:
    """A transport goes to the origin that it was made for, and nowhere else, and only as it can."""
    requests: list[bytes] = []
    with Server(answering(OK, requests)) as server:
        transport = HttpTransport(httpx.URL(server.url))
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            with pytest.raises(httpx.UnsupportedProtocol):
                await client.request(method, url.format(server.port), content=content)
    assert [] == requests


@pytest.mark.anyio
async def test_errors_name_their_request() -> None:
    """An error of the head or of the body has the request with it, as httpx's own."""
    for answer in (b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"):
        with pytest.raises(httpx.TransportError) as raised:
            await read(ended(answer))
        assert raised.value.request.url.path == "/"


@pytest.mark.anyio
async def test_a_head_that_drips() -> None:
    """A byte every now and then holds an exchange no longer than the whole time that it may take."""

    def script(peer: Peer) -> None:
        peer.read()
        for byte in OK[:-1]:
            peer.send(bytes([byte]))
            time.sleep(0.1)

    with Server(script) as server:
        timeouts = Timeouts(connect=1.0, read=10.0, total=1.2)  # whoever has the processor, a byte comes in time
        async with Session(server.url, timeouts=timeouts) as session:
            answer = await session.exchange(CALL)
    assert isinstance(answer, RequestFailure)
    assert (answer.kind, answer.cause) == (FailureKind.TOTAL_TIMEOUT, "no whole answer within 1.2 s")
