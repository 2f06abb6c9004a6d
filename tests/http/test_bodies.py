"""Answers that no server should give: bounded in memory and time, and never more than an `ApiResponse` or a failure."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Iterator

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.http import ApiRequest, ApiResponse, RequestFailure, Session, Timeouts
from batch.http.response import Bounded
from tests.http.server import Peer, Script, Server, answering, response

MIB = 1024 * 1024
CALL = ApiRequest("GET", "/customers/7", "GET customer")
JSON_TYPE = "Content-Type: application/json"
GZIP = "Content-Encoding: gzip"


def get(script: Script, **timeouts: float) -> ApiResponse | RequestFailure:
    """Do one exchange; the library's own loop, since hypothesis wants functions that are not async."""

    async def exchange(url: str) -> ApiResponse | RequestFailure:
        async with Session(url, timeouts=Timeouts(**timeouts)) as session:
            return await session.exchange(CALL)

    with Server(script) as server:
        return anyio.run(exchange, server.url)


def get_reply(answer: bytes) -> ApiResponse:
    received = get(answering(answer))
    assert isinstance(received, ApiResponse)
    return received


@pytest.mark.parametrize(
    "body",
    [
        b"<!doctype html><title>Down for maintenance</title>",
        b'{"name":',
        b'{"name":"\xff\xfe"}',
        b'{"balance":NaN}',
        b"[" * 10_000 + b"]" * 10_000,
        b"[" * 500_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"",
    ],
    ids=["html", "cut", "utf-8", "nan", "deep", "open", "deep-object", "empty"],
)
def test_a_body_that_is_not_proper_json(body: bytes) -> None:
    """The answer and its status stand; there is only no JSON in it."""
    answer = get_reply(response("200 OK", JSON_TYPE, body=body))
    assert (answer.status, answer.body, answer.json) == (200, body, None)


def test_no_content() -> None:
    """204 has neither body nor JSON, and is a whole answer."""
    answer = get_reply(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (answer.status, answer.body, answer.json, answer.is_truncated) == (204, b"", None, False)


def test_an_announced_gzip_body_that_is_not_there() -> None:
    """204 with Content-Encoding is a whole answer, too."""
    answer = get_reply(f"HTTP/1.1 204 No Content\r\n{GZIP}\r\n\r\n".encode())
    assert (answer.status, answer.is_truncated) == (204, False)


def test_gzip() -> None:
    """A compressed answer is read like any other."""
    answer = get_reply(response("200 OK", JSON_TYPE, GZIP, body=gzip.compress(b'{"id":7}')))
    assert (answer.json, answer.is_truncated) == ({"id": 7}, False)


def test_text_is_at_most_64_kib() -> None:
    """What is kept for people stays within 64 KiB, also where undecodable bytes become longer ones."""
    assert len(get_reply(response("500 Oops", body=b"\xff" * MIB)).text.encode()) <= 64 * 1024


def test_text_in_an_old_charset() -> None:
    """A page that says that it is Latin-1 is decoded as it says."""
    page = response(
        "502 Bad Gateway", "Content-Type: text/html; charset=ISO-8859-1", body="Zugriff für Müller".encode("cp1252")
    )
    assert get_reply(page).text == "Zugriff für Müller"


def peak_memory(script: Script) -> tuple[ApiResponse | RequestFailure, int]:
    """Return the answer and the bytes that Python held at most; the server in its thread holds next to nothing."""
    get(answering(response("200 OK")))  # what is imported or cached at first use is not the answer's
    tracemalloc.start()
    try:
        return get(script), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bomb() -> bytes:
    """Return 256 MiB of spaces as 250 KiB of gzip."""
    pack = zlib.compressobj(9, wbits=31)
    return b"".join([*(pack.compress(b" " * MIB) for _ in range(256)), pack.flush()])


def test_gzip_bomb() -> None:
    """Of 256 MiB that arrive as 250 KiB, the first MiB is unfolded, and no more."""
    packed = response("200 OK", GZIP, body=bomb())
    answer, peak = peak_memory(answering(packed))
    assert isinstance(answer, ApiResponse)
    assert (len(answer.body), answer.is_truncated, answer.json) == (MIB, True, None)
    assert peak < 6 * MIB


def test_endless_body() -> None:
    """Of a body without end the first MiB is read; then the connection is closed."""

    def script(peer: Peer) -> None:
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            peer.send(b"400\r\n" + b"x" * 1024 + b"\r\n")

    answer, peak = peak_memory(script)
    assert isinstance(answer, ApiResponse)
    assert (len(answer.body), answer.is_truncated) == (MIB, True)
    assert peak < 6 * MIB


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b'{"id":7}')[:-9]),
        ("gzip", gzip.compress(b'{"id":7}') + b"more"),
        ("gzip", b'{"id":7}'),
        ("br", b"\x0b\x03\x80" + b'{"id":7}' + b"\x03"),
    ],
    ids=["cut", "surplus", "plain", "unasked"],
)
def test_a_body_that_cannot_be_unpacked(encoding: str, body: bytes) -> None:
    """The status stands; what is left of the body is not taken for the whole."""
    answer = get_reply(response("200 OK", JSON_TYPE, f"Content-Encoding: {encoding}", body=body))
    assert (answer.status, answer.is_truncated, answer.json) == (200, True, None)


def test_endless_nothing() -> None:
    """A compressed body that never ends and never unfolds to anything is read no further than any other."""
    nothing = zlib.compressobj(wbits=31)
    bounded = Bounded(1000, "gzip")
    bounded.feed(nothing.compress(b"") + nothing.flush(zlib.Z_FULL_FLUSH))
    while not bounded.is_full:
        bounded.feed(nothing.flush(zlib.Z_FULL_FLUSH) or b"\x00\x00\x00\xff\xff")
    assert (bounded.body, bounded.is_truncated) == (b"", True)


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes_as_a_body_are_a_reply(body: bytes, is_packed: bool) -> None:
    """JSON and text of any body can be asked for."""
    bounded = Bounded(200, "gzip" if is_packed else "")
    bounded.feed(gzip.compress(body) if is_packed else body)
    answer = ApiResponse(200, {}, bounded.body, bounded.is_truncated)
    assert answer.body == body[:200]
    assert len(answer.text.encode()) <= 600
    if answer.json is not None:
        assert answer.json == json.loads(body)


@pytest.fixture(scope="module")
def rude_server() -> Iterator[tuple[list[bytes], Server]]:
    """Return a list whose item is the next answer, and the server that gives it."""
    answers = [b""]

    def script(peer: Peer) -> None:
        peer.read()
        peer.send(answers[0])
        peer.close()

    with Server(script) as server:
        yield answers, server


HEADS = ["HTTP/1.1 ", "200 OK", "HTTP/9.9 999", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 101 Switching\r\nUpgrade: x"]
HEADERS = ["Content-Length: ", "5", "-1", "Transfer-Encoding: chunked", "Content-Encoding: gzip", ": ", "\x00"]
ENDS = ["\r\n", "\r\n\r\n", "0\r\n\r\n", "ffffffff\r\n"]
PIECES = st.sampled_from([piece.encode() for piece in HEADS + HEADERS + ENDS])


@given(st.lists(PIECES | st.binary(max_size=8), max_size=12).map(b"".join))
@settings(max_examples=200, deadline=None)
def test_any_bytes_as_an_answer_are_a_reply_or_lost(rude_server: tuple[list[bytes], Server], answer: bytes) -> None:
    """Whatever a server sends before it hangs up, nothing is raised, and nothing is called unsent."""
    answers, server = rude_server
    answers[0] = answer

    async def exchange() -> ApiResponse | RequestFailure:
        async with Session(server.url, timeouts=Timeouts(read=5)) as session:
            return await session.exchange(CALL)

    received = anyio.run(exchange)
    assert isinstance(received, ApiResponse) or received.delivered == "unknown"
