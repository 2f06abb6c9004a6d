"""Inputs at https:// addresses, as the command reads them: whole, or refused in words, and nothing secret is told."""

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from batch import machine
from batch.http import download
from tests.http.server import Peer, Server, response
from tests.shell import DUALENTRY, Api, Ended, Shell, iter_files, summary

SHEET = b"id,name\n10001,Acme\n10002,Bolt\n"
KEY = "SECRETSIGNATURE"


class Site(NamedTuple):
    """A server with a certificate of a company's own authority."""

    root: Path
    tls: ssl.SSLContext


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    authority = trustme.CA()
    root = tmp_path_factory.mktemp("root") / "root.pem"
    authority.cert_pem.write_to_path(str(root))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return Site(root, context)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
    return


def check(shell: Shell, site: Site, *answers: bytes, path: str = f"/in/customers.csv?sig={KEY}&x=%2B") -> Ended:
    """Check what a server answers, the last answer again and again; what is told and kept has no key in it."""
    with Server(_script(answers), site.tls) as server:
        ended = shell.here("check", server.url + path, "-e", DUALENTRY, env={"SSL_CERT_FILE": str(site.root)})
        said = ended.err.replace(server.url, "{site}")
    for text in (ended.out, said, *(one.read_bytes().decode("latin-1") for one in iter_files(shell.folder.parent))):
        assert KEY not in text
    return Ended(ended.code, ended.out, said)


def _script(answers: tuple[bytes, ...]):  # type: ignore[no-untyped-def]  # a Script
    left = list(answers)

    def script(peer: Peer) -> None:
        request = peer.read()
        assert request.startswith(b"GET /")
        peer.send(left.pop(0) if len(left) > 1 else left[0])
        peer.socket.unwrap() if isinstance(peer.socket, ssl.SSLSocket) else None
        peer.socket.close()

    return script


def test_read(offline: Shell, site: Site) -> None:
    """A file at an address is read as any file, and nothing but what was asked for is left behind."""
    ended = check(offline, site, response("200 OK", body=SHEET))
    assert (0, "Copying {site}/in/customers.csv?… …\n") == (ended.code, ended.err)
    assert "customers.csv: 2 rows, 2 columns\n" == ended.out.splitlines(keepends=True)[0]
    assert "To send the 2 rows:  batch update 'https://127.0.0.1:" in ended.out
    assert [] == list(offline.folder.iterdir())


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(SHEET), SHEET)
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + SHEET
HALF_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(SHEET), SHEET)


def test_in_chunks(offline: Shell, site: Site) -> None:
    """An answer that is made as it goes says by its last chunk that it is whole."""
    assert 0 == check(offline, site, CHUNKED).code


def test_broken_once(offline: Shell, site: Site) -> None:
    """What broke off in the middle is read again from its beginning."""
    ended = check(offline, site, HALF, HALF_CHUNK, response("200 OK", body=SHEET))
    assert (0, "customers.csv: 2 rows, 2 columns") == (ended.code, ended.out.splitlines()[0])


PAGE = response("200 OK", body=b"PAR1" + b"x" * 100)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HALF, "it could not be read: the answer broke off half-way."),
        (HALF_CHUNK, "it could not be read: the answer broke off half-way."),
        (b"HTTP/1.1 200 OK\r\n\r\n" + SHEET, ("the server does not say how long its answer is, so it cannot be told "
         "whether it is whole. Download it, and give the file's name.")),
        (response("404 Not Found"), "there is nothing at this address: check the name (404)."),
        (response("403 Forbidden", body=KEY.encode()), ("the server does not permit it: an address with a key in it "
         "may have expired, or lack a part (403).")),
        (response("503 Unavailable"), "the server does not give it (503)."),
        (response("302 Found", f"Location: /elsewhere.csv?sig={KEY}"), ("the server sends elsewhere (302), to "
         "{site}/elsewhere.csv?…. If that is right, give that address.")),
        (response("204 No Content"), "the server does not give it (204)."),
        (b"no answer\r\n\r\n", "it could not be read: what came back was not a proper HTTP answer."),
    ],
)  # fmt: skip
def test_refused(offline: Shell, site: Site, answer: bytes, said: str) -> None:
    """What is not there, not whole, or elsewhere is refused in words; a shorter table is never read."""
    ended = check(offline, site, answer)
    whole = f"Copying {{site}}/in/customers.csv?… …\n{{site}}/in/customers.csv?…: {said}\n"
    assert (2, "", whole) == (ended.code, ended.out, ended.err)
    assert [] == list(offline.folder.iterdir())


def test_not_what_its_name_says(offline: Shell, site: Site) -> None:
    """The content decides what it is, and is told by the name at the address."""
    ended = check(offline, site, PAGE)
    said = "customers.csv is a Parquet file, although its name ends in .csv: rename it to customers.parquet."
    assert (2, said) == (ended.code, ended.err.splitlines()[-1])


def test_without_an_end(offline: Shell, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not end is read as far as there is room on the disk, and leaves nothing."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(machine, "LOOK_EVERY", 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=1 << 20))
    ended = check(offline, site, CHUNKED)
    assert 2 == ended.code
    assert "after 0 MB there is no more room in " in ended.err
    assert "Make room there, or name another place with --out or --work-dir." in ended.err
    large = check(offline, site, b"HTTP/1.1 200 OK\r\nContent-Length: 99000000000\r\n\r\n")
    assert "1 MB are free in " in large.err
    assert "it has 94,413 MB" in large.err
    assert [] == list(offline.folder.iterdir())


def test_unknown_certificate(offline: Shell, site: Site) -> None:
    """A server whose certificate nobody here trusts is not read from."""
    with Server(_script((response("200 OK", body=SHEET),)), site.tls) as server:
        ended = offline.here("check", f"{server.url}/x.csv", "-e", DUALENTRY)
    assert 2 == ended.code
    assert "the server's certificate was not accepted" in ended.err


def test_without_encryption(offline: Shell) -> None:
    """Rows come without encryption from this machine alone, and from the host that was named."""
    ended = offline.here("check", f"http://files.example/x.csv?{KEY}", "-e", DUALENTRY)
    said = (
        "http://files.example/x.csv?…: its rows would come without encryption. Use https://, or permit it:  "
        "--allow-http files.example\n"
    )
    assert (2, said) == (ended.code, ended.err)
    with Server(_script((response("200 OK", body=SHEET),))) as server:
        assert 0 == offline.here("check", f"{server.url}/x.csv", "-e", DUALENTRY).code


def test_user_and_password(offline: Shell) -> None:
    """Who opens it goes into a header, and is told nowhere."""
    asked = list[bytes]()

    def script(peer: Peer) -> None:
        asked.append(peer.read())
        peer.send(response("200 OK", body=SHEET))

    with Server(script) as server:
        url = server.url.replace("//", f"//me:{KEY}@")
        ended = offline.here("check", f"{url}/a%20b.csv?x=%2B~", "-e", DUALENTRY, "--json")
    assert asked[0].startswith(b"GET /a%20b.csv?x=%2B~ HTTP/1.1\r\n")
    assert b"\r\nauthorization: Basic bWU6U0VDUkVUU0lHTkFUVVJF\r\n" in asked[0]
    assert f"{server.url}/a%20b.csv?…" == ended.json["input"]
    assert KEY not in ended.out + ended.err


def test_headers_that_nobody_knows(offline: Shell, site: Site) -> None:
    """The command that would settle headers is told without the key."""
    ended = check(offline, site, response("200 OK", body=b"Number,name\n1,x\n"))
    assert 2 == ended.code
    assert KEY not in ended.err


def test_update_and_again(shell: Shell, api: Api) -> None:
    """Runs lie in the current folder, by the last part of the address; the same bytes are the same input."""
    sheet = api.names(2).encode()
    with Server(_script((response("200 OK", body=sheet),))) as server:
        words = ["-e", DUALENTRY, *api.options]
        first = shell.here("update", f"{server.url}/out/crm.csv?sig={KEY}", *words)
        again = shell.here("update", f"{server.url}/out/crm.csv?sig=another", *words, "--json")
    assert (0, 0) == (first.code, again.code)
    folders = shell.runs("crm.batch")
    assert {"latest", "latest-crm.csv", *(one.name for one in folders)} == {
        one.name for one in (shell.folder / "crm.batch").iterdir()
    }
    told = [summary(one) for one in folders]
    assert [f"{server.url}/out/crm.csv?…"] * 2 == [one["input"] for one in told]
    assert [2, 0] == [one["outcomes"]["updated"] for one in told]
    assert told[0]["input_sha256"] == told[1]["input_sha256"]
    for path in iter_files(shell.folder.parent):
        assert KEY.encode() not in path.read_bytes(), path
    listed = shell.here("runs", f"{server.url}/out/crm.csv?sig=third")
    assert "crm.csv?…: 2 of 2 rows done, in 1 round" in listed.out
