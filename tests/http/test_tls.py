"""HTTPS with certificates that should and should not be trusted, and ways through a proxy."""

import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from socket import SHUT_RDWR, create_connection, socket

import pytest
import trustme

from batch.errors import SettingsError
from batch.http import ApiRequest, ApiResponse, FailureKind, RequestFailure, Session, Timeouts, connecting
from tests.http.server import OK, Peer, Server, answering, response

pytestmark = pytest.mark.anyio
CALL = ApiRequest("PATCH", "/customers/7", "PATCH customer", content=b"{}", headers={"X-API-Key": "secret"})


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return a company's own certificate authority."""
    return trustme.CA()


@pytest.fixture(autouse=True)
def environment(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trust the authority as a company's people do, and set no proxy; return the file with its root."""
    root = tmp_path / "root.pem"
    authority.cert_pem.write_to_path(str(root))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    return root


def certified(authority: trustme.CA, *names: str, not_after: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, not_after=not_after).configure_cert(context)
    return context


async def exchange(url: str, **timeouts: float) -> ApiResponse | RequestFailure:
    async with Session(url, timeouts=Timeouts(**timeouts)) as session:
        return await session.exchange(CALL)


def outcome(answer: ApiResponse | RequestFailure) -> tuple[str, FailureKind, str]:
    assert isinstance(answer, RequestFailure)
    return answer.delivered, answer.kind, answer.cause


async def test_a_private_authority_is_trusted(authority: trustme.CA) -> None:
    """SSL_CERT_FILE names the root to trust; connections are kept under TLS, too."""
    with Server(answering(), certified(authority, "127.0.0.1")) as server:
        async with Session(server.url) as session:
            answers = [await session.exchange(CALL) for _ in range(3)]
        assert server.connections == 1
    assert [isinstance(answer, ApiResponse) and answer.json for answer in answers] == [{"ok": True}] * 3


@pytest.mark.parametrize("portions", [1, 2])
async def test_stray_bytes_under_tls(authority: trustme.CA, portions: int) -> None:
    """An answer that comes behind another one, in whatever records, is never that to the next request."""
    stray = response("200 OK", body=b'{"stray":1}')

    def script(peer: Peer) -> None:
        while peer.read():
            answers = [OK, stray] if peer.number == 1 else [OK]
            for answer in answers if portions == 2 else [b"".join(answers)]:
                peer.send(answer)

    with Server(script, certified(authority, "127.0.0.1")) as server:
        async with Session(server.url) as session:
            first, second = [await session.exchange(CALL) for _ in range(2)]
        assert server.connections == 2
    assert isinstance(first, ApiResponse) or first.delivered == "unknown"
    assert isinstance(second, ApiResponse)
    assert second.json == {"ok": True}


async def test_no_older_tls_than_1_2(authority: trustme.CA) -> None:
    """TLS 1.2 is the oldest that is spoken."""
    context = certified(authority, "127.0.0.1")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Server(answering(), context) as server:
        assert isinstance(await exchange(server.url), ApiResponse)
    assert connecting.trusted().minimum_version >= ssl.TLSVersion.TLSv1_2


NOT_ACCEPTED = "the server's certificate was not accepted: "


async def test_an_unknown_authority_is_not_trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SSL_CERT_FILE the public roots count: not sent."""
    monkeypatch.delenv("SSL_CERT_FILE")
    requests: list[bytes] = []
    with Server(answering(requests=requests), certified(authority, "127.0.0.1")) as server:
        sent, kind, cause = outcome(await exchange(server.url))
    assert (sent, kind, requests) == ("no", FailureKind.TLS, [])
    assert cause == (
        NOT_ACCEPTED + "unable to get local issuer certificate "
        "(if it is your company's own, name the file with its root certificate in SSL_CERT_FILE)"
    )


async def test_a_certificate_for_another_host(authority: trustme.CA) -> None:
    """A certificate must name the host: not sent."""
    with Server(answering(), certified(authority, "other.example")) as server:
        answer = await exchange(server.url)
    cause = NOT_ACCEPTED + "IP address mismatch, certificate is not valid for '127.0.0.1'"
    assert outcome(answer) == ("no", FailureKind.TLS, cause)


async def test_an_expired_certificate(authority: trustme.CA) -> None:
    """A certificate must be valid today: not sent."""
    context = certified(authority, "127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    with Server(answering(), context) as server:
        answer = await exchange(server.url)
    assert outcome(answer) == ("no", FailureKind.TLS, NOT_ACCEPTED + "certificate has expired")


async def test_https_to_a_server_without() -> None:
    """A server that does not speak TLS: not sent."""
    with Server(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        answer = await exchange(server.url.replace("http:", "https:"))
    assert outcome(answer) == ("no", FailureKind.TLS, "no secure connection came about (TLS)")


async def test_a_handshake_that_never_ends() -> None:
    """TLS counts as connecting: not sent."""
    done = threading.Event()
    with Server(lambda _: done.wait(10) and None) as server:
        answer = await exchange(server.url.replace("http:", "https:"), connect=0.05)
        done.set()
    assert outcome(answer) == ("no", FailureKind.CONNECT_TIMEOUT, "no connection came about within 0.05 s")


async def test_a_reset_in_the_handshake() -> None:
    """A connection that ends before the request could leave: not sent."""
    with Server(Peer.reset) as server:
        answer = await exchange(server.url.replace("http:", "https:"))
    assert outcome(answer) == ("no", FailureKind.UNREACHABLE, "the server could not be reached")


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_file_of_roots_that_cannot_be_read(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE must be a file with certificates, or the job does not start."""
    path = tmp_path / "other.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(SettingsError) as refused:
        Session("https://127.0.0.1")
    assert str(refused.value) == (
        f'SSL_CERT_FILE: no certificates could be read from "{path}" (name a file in PEM format, or unset the variable)'
    )


# Proxies. The host in the URL exists nowhere: only through the proxy can it be reached.


NOT_PASSED_ON = "the proxy did not pass the connection on: "
NOT_SUPPORTED = "names a kind of proxy that is not supported (http:// and https:// ones are)"
UNREADABLE = "cannot be read (write it like http://proxy.example.com:3128)"


class ConnectProxy:
    """A script that passes everything on to `port`, after the right CONNECT."""

    def __init__(self, port: int, credentials: str = "") -> None:
        self.heads: list[bytes] = []
        self._port = port
        self._wanted = b"basic " + b64encode(credentials.encode()) if credentials else b""

    def __call__(self, peer: Peer) -> None:
        head = peer.read_head()
        self.heads.append(head)
        if self._wanted.lower() not in head.lower():
            return peer.send(response("407 Proxy Authentication Required", 'Proxy-Authenticate: Basic realm="x"'))
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with create_connection(("127.0.0.1", self._port)) as upstream:
            back = threading.Thread(target=pump, args=(upstream, peer.socket))
            back.start()
            pump(peer.socket, upstream)
            back.join()
        return None


def pump(source: socket, target: socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(SHUT_RDWR)


@pytest.fixture
def api(authority: trustme.CA) -> Iterator[tuple[Server, list[bytes]]]:
    """Return a server that calls itself api.test, and the requests that it got."""
    requests: list[bytes] = []
    with Server(answering(requests=requests), certified(authority, "api.test")) as server:
        yield server, requests


async def test_through_a_proxy(api: tuple[Server, list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is asked to CONNECT with its credentials; it sees nothing of the request, nor the API of them."""
    server, requests = api
    script = ConnectProxy(server.port, "me@corp:p:w rd")
    with Server(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me%40corp:p%3Aw%20rd@127.0.0.1:{proxy.port}")
        async with Session(f"https://api.test:{server.port}/v1") as session:
            answers = [await session.exchange(CALL) for _ in range(2)]
    assert [isinstance(answer, ApiResponse) and answer.json for answer in answers] == [{"ok": True}] * 2
    assert [head.splitlines()[0].decode() for head in script.heads] == [f"CONNECT api.test:{server.port} HTTP/1.1"]
    assert b"secret" not in script.heads[0]
    assert [b"proxy-authorization" in request.lower() for request in requests] == [False, False]


async def test_a_proxy_that_wants_other_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """407: not sent."""
    with Server(ConnectProxy(1, "me:right")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:wrong@127.0.0.1:{proxy.port}")
        answer = await exchange("https://api.test")
    assert outcome(answer) == (
        "no",
        FailureKind.PROXY,
        NOT_PASSED_ON + "it wants a user name and a password (407), or others than it was given",
    )


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (response("502 Bad Gateway"), "it answered with status 502"),
        (b"", "it dropped the connection"),
        (b"SSH-2.0\r\n\r\n", "it did not answer as a proxy does"),
    ],
)
async def test_a_proxy_that_does_not_help(answer: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a proxy answers but 200: not sent."""

    def script(peer: Peer) -> None:
        peer.read()
        peer.send(answer)
        peer.close()

    with Server(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
        received = await exchange("https://api.test")
    assert outcome(received) == ("no", FailureKind.PROXY, NOT_PASSED_ON + why)


async def test_a_silent_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy counts as connecting: not sent."""
    with Server(lambda peer: [peer.read() for _ in range(2)] and None) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        answer = await exchange("https://api.test", connect=0.05)
    assert outcome(answer) == ("no", FailureKind.CONNECT_TIMEOUT, "no connection came about within 0.05 s")


@pytest.mark.parametrize(
    ("address", "why"),
    [("http://127.0.0.1:1", "it could not be reached"), ("http://proxy.invalid:1", "its name was not found")],
)
async def test_no_proxy_there(address: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is not there: not sent."""
    monkeypatch.setenv("HTTPS_PROXY", address)
    answer = await exchange("https://api.test")
    assert outcome(answer) == ("no", FailureKind.PROXY, NOT_PASSED_ON + why)


@pytest.mark.parametrize("exceptions", ["api.test", ".test", "other.example, api.test", "*"])
async def test_no_proxy_for_some_hosts(exceptions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts in NO_PROXY are reached straight; this one is in no name server."""
    script = ConnectProxy(1)
    with Server(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", exceptions)
        answer = await exchange("https://api.test")
    assert (outcome(answer)[1], script.heads) == (FailureKind.DNS, [])


async def test_this_machine_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loopback address, such as the sandbox's, is never reached through a proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with Server(answering()) as server:
        assert isinstance(await exchange(server.url), ApiResponse)


async def test_plain_http_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TLS the proxy gets the request itself, with the whole URL and its own credentials."""
    requests: list[bytes] = []
    with Server(answering(requests=requests)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:pw@127.0.0.1:{proxy.port}")
        answer = await exchange("http://api.test/v1")
    lines = requests[0].decode().split("\r\n")
    assert isinstance(answer, ApiResponse)
    assert lines[0] == "PATCH http://api.test/v1/customers/7 HTTP/1.1"
    assert f"Proxy-Authorization: Basic {b64encode(b'me:pw').decode()}" in lines


@pytest.mark.parametrize(
    ("variable", "address", "why"),
    [
        ("HTTPS_PROXY", "socks5://10.0.0.1", NOT_SUPPORTED),
        ("ALL_PROXY", "http://", NOT_SUPPORTED),
        ("HTTPS_PROXY", "http://me:s3cret@proxy:port", UNREADABLE),
    ],
)
def test_proxies_that_cannot_be_used(variable: str, address: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job does not start, rather than going around the proxy; a password in it is not repeated."""
    monkeypatch.setenv(variable, address)
    with pytest.raises(SettingsError) as refused:
        Session("https://api.test")
    assert str(refused.value) == f"{variable} {why}"
