"""Where requests go: base URLs, ids in paths, and header values, checked before anything is sent."""

from urllib.parse import unquote_to_bytes

import anyio
import httpx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from batch.errors import BatchError, CredentialError, SettingsError, UsageError
from batch.http import ApiRequest, ApiResponse, Session, check_base_url, encode_id
from tests.http.server import OK, Server, answering


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://api.example.com", "https://api.example.com"),
        (" https://API.Example.com:443/v1/ \n", "https://api.example.com/v1"),
        ("https://bücher.example/v1", "https://xn--bcher-kva.example/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.8.9.10", "http://127.8.9.10"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_base_urls_that_will_do(url: str, normal: str) -> None:
    """HTTPS anywhere and HTTP on this machine are taken, and normalised."""
    assert check_base_url(url, has_credentials=True) == normal


@pytest.mark.parametrize(
    "host",
    ["api.example.com", "127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "127.1", "[::2]"],
)
def test_credentials_are_never_sent_in_the_clear(host: str) -> None:
    """Plain HTTP with credentials is for this machine only."""
    with pytest.raises(CredentialError) as refused:
        check_base_url(f"http://{host}", has_credentials=True)
    assert str(refused.value) == (
        f'the base URL "http://{host}" would send the credentials unencrypted '
        "(use https://; http:// is for this machine only, such as http://127.0.0.1:8080, and for one that "
        "--allow-http names)"
    )


def test_plain_http_without_credentials() -> None:
    """Without credentials there is nothing to give away."""
    assert check_base_url("http://api.example.com/", has_credentials=False) == "http://api.example.com"


SCHEME = "the base URL must begin with https:// (write it like https://api.example.com)"
NO_HOST = "the base URL names no host (write it like https://api.example.com)"
USER = "the base URL has a user name or password in it (leave it out; credentials are given separately)"
PARTS = "the base URL has a ? or # part (leave out everything from there on)"
UNSAFE = "the base URL has a space, a line break or a backslash in it (copy it again)"
FOLDS = "the base URL cannot be used with that path (write out the path, without . or .. or //)"
UNREADABLE = "the base URL cannot be read (write it like https://api.example.com)"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", SCHEME),
        ("api.example.com", SCHEME),
        ("ftp://api.example.com", SCHEME),
        ("https://", NO_HOST),
        ("https://me:s3cret@api.example.com", USER),
        ("https://api.example.com?a=b", PARTS),
        ("https://api.example.com/#", PARTS),
        ("https://good.example\\@evil.example", UNSAFE),
        ("https://api.example.com/v 1", UNSAFE),
        ("https://api.example.com/v1%2F..", FOLDS),
        ("https://api.example.com//v1", FOLDS),
        ("https://[::1", UNREADABLE),
        ("https://api.example.com:port", UNREADABLE),
    ],
)
def test_base_urls_that_will_not_do(url: str, message: str) -> None:
    """Everything else is refused with what to do; a password in it is not repeated."""
    with pytest.raises(SettingsError) as refused:
        check_base_url(url, has_credentials=False)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("id", "segment"),
    [
        ("17", "17"),
        ("c_0-9.~", "c_0-9.~"),
        ("a/b", "a%2Fb"),
        ("50% off?#", "50%25%20off%3F%23"),
        ("%2e%2e", "%252e%252e"),
        ("...", "..."),
        ("Zoë", "Zo%C3%AB"),
        ("a;b,c@d:e", "a%3Bb%2Cc%40d%3Ae"),
    ],
)
def test_ids_become_one_segment(id: str, segment: str) -> None:
    """Everything but letters, digits and - . _ ~ is percent-encoded."""
    assert encode_id(id) == segment


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("", "the id is empty"),
        (" ", "the id is empty"),
        ("1\n2", "the id has a line break or another invisible control character in it"),
        ("1\x00", "the id has a line break or another invisible control character in it"),
        ("1\u2028", "the id has a line break or another invisible control character in it"),
        ("1\ud800", "the id has a line break or another invisible control character in it"),
        (".", 'the id has a part that is only "." or "..", which web addresses cannot carry'),
        ("..", 'the id has a part that is only "." or "..", which web addresses cannot carry'),
        ("7/../8", 'the id has a part that is only "." or "..", which web addresses cannot carry'),
        ("7\\..\\8", 'the id has a part that is only "." or "..", which web addresses cannot carry'),
    ],
)
def test_ids_that_would_not_arrive(id: str, message: str) -> None:
    """An id that could end up as another record's is refused."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the message is compared below
        encode_id(id)
    assert str(refused.value) == message


def can_travel(id: str) -> bool:
    try:
        encode_id(id)
    except ValueError:
        return False
    return True


PARTS_OF_IDS = [".", "..", "/", "\\", "%", "%2e", "%2F", "?", "#", ";", " ", "+", ":", "@", "ä", "7"]
NASTY = st.lists(st.sampled_from(PARTS_OF_IDS)).map("".join)
IDS = (st.text(min_size=1) | NASTY).filter(can_travel)


@given(st.lists(IDS, min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_the_path_that_leaves_is_the_path_meant(ids: list[str]) -> None:
    """Over a real socket: the bytes of the request line are those of the call, and decode to the id."""
    requests: list[bytes] = []

    async def send(url: str) -> None:
        async with Session(url) as session:
            for id in ids:
                await session.exchange(ApiRequest("PATCH", f"/v1/customers/{encode_id(id)}", "r"))

    with Server(answering(OK, requests)) as server:
        anyio.run(send, server.url)
    paths = [request.split(b" ")[1] for request in requests]
    assert paths == [f"/v1/customers/{encode_id(id)}".encode() for id in ids]
    assert [unquote_to_bytes(path.removeprefix(b"/v1/customers/")).decode() for path in paths] == ids


@given(IDS)
@settings(deadline=None)
def test_the_same_path_over_any_transport(id: str) -> None:
    """A transport that goes by the URL instead gets the same path."""
    paths: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(204)

    async def send() -> None:
        async with Session("http://test", transport=httpx.MockTransport(handler)) as session:
            await session.exchange(ApiRequest("PATCH", f"/customers/{encode_id(id)}", "r"))

    anyio.run(send, backend="trio")
    assert paths == [f"/customers/{encode_id(id)}".encode()]


async def refuse(request: ApiRequest, headers: dict[str, str] | None = None) -> str:
    """Return the message of the refusal; nothing may reach the transport."""
    sent: list[httpx.Request] = []
    with pytest.raises(UsageError) as refused:
        async with Session("http://test", transport=httpx.MockTransport(sent.append), headers=headers) as session:
            await session.exchange(request)
    assert not sent
    return str(refused.value)


FOLDING = [
    "/a/../b",
    "/a/./b",
    "/a/..",
    "/a/%2e%2E/b",
    "/a/.%2e",
    "/a%2F..%2fb",
    "/a%5C..",
    "//evil.example/a",
    "/a//b",
]
ODD = [
    "",
    "customers",
    "@evil.example/",
    "/a b",
    "/a\r\nb",
    "/ä",
    "/a#b",
    "/a\\b",
    '/a"b',
    "/a|b",
    "/a{b}",
    "/a?b c",
    "/a?b#c",
]
ESCAPES = ["/a%", "/a%2", "/a%zz", "/a?b=%"]


@pytest.mark.parametrize("path", FOLDING + ODD + ESCAPES)
def test_paths_that_would_change_on_the_way(path: str) -> None:
    """Such a path is refused before anything is sent."""
    message = anyio.run(refuse, ApiRequest("PATCH", path, "r"))
    assert message == f"the path {path!a} would not leave as it is meant"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b", "ключ", "a ", " a", "a\x7f", "\n"])
def test_header_values_that_http_cannot_carry(value: str) -> None:
    """They are refused, of the session as of the call, and the message does not repeat them: they may be secret."""
    message = (
        'the value for the header "X-API-Key" has a line break, a space at an end or a character '
        "outside of plain ASCII in it (copy it again)"
    )
    assert anyio.run(refuse, ApiRequest("PATCH", "/x", "r", headers={"X-API-Key": value})) == message
    assert anyio.run(refuse, ApiRequest("PATCH", "/x", "r"), {"X-API-Key": value}) == message


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "ä"])
def test_header_names_that_http_cannot_carry(name: str) -> None:
    """They are refused, too."""
    assert (
        anyio.run(refuse, ApiRequest("PATCH", "/x", "r", headers={name: "1"}))
        == f"{name!a} cannot be the name of a header"
    )


@given(name=st.text(), value=st.text())
@settings(deadline=None)
def test_any_header_arrives_or_is_refused(name: str, value: str) -> None:
    """A header either reaches the server as it is, or stops before anything is sent."""
    assume(name.lower() not in ("host", "content-length", "transfer-encoding", "connection"))
    seen: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get(name))
        return httpx.Response(204)

    async def send() -> ApiResponse | object:
        async with Session("http://test", transport=httpx.MockTransport(handler)) as session:
            return await session.exchange(ApiRequest("PATCH", "/x", "r", headers={name: value}))

    try:
        anyio.run(send)
    except BatchError:
        assert seen == []
    else:
        assert seen == [value]
