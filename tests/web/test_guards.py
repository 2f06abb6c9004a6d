"""Every attack of the safety list that needs no browser: each fails without its guard."""

import os
import re
import socket
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from batch.errors import InputError, UsageError
from batch.sources.formats import FORMATS
from batch.web import guards, views
from batch.web.server import HOST, _listen
from batch.web.uploads import folder_of, keep_upload, list_kept, safe_name
from tests.sources.workbooks import make_book, sheet_xml
from tests.web.browser import HERE, OWN, PORT, Browser

CSV = b"id,name\n10001,New Name\n"
SANDBOX = "dualentry.customers|sandbox||"


# -- who may ask ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1:{PORT + 1}", f"localhost:{PORT}", "",
     f"127.0.0.1:{PORT}.evil.example", f"127.0.0.1.evil.example:{PORT}", f"[::1]:{PORT}", f"127.0.0.2:{PORT}"],
)  # fmt: skip
def test_another_host(browser: Browser, host: str) -> None:
    """A request for another host or port, as of a name that was bound anew to this machine, gets nothing."""
    answer = browser.request("GET", browser.page.base + "/", headers={"Host": host})
    assert (421, "batch" in answer.text) == (answer.status_code, False)


def test_the_port_listens_on_this_machine_alone() -> None:
    """No other machine reaches it."""
    with _listen(0) as listener:
        assert listener.getsockname()[0] == HOST == "127.0.0.1"


def test_a_port_that_cannot_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why a port cannot be taken is what the system says: one that only an administrator may take is not in use."""
    monkeypatch.setattr(socket, "create_server", Mock(side_effect=PermissionError(13, "Permission denied")))
    said = "--port 80: it cannot be taken (Permission denied). Leave it out, and a free one is taken."
    with pytest.raises(UsageError, match=re.escape(said)), _listen(80):
        pass


@pytest.mark.parametrize("path", ["/", "/static/page.css", "/static/page.js", "/w/1/live", "/run/1", "/nothing"])
def test_no_cookie(stranger: Browser, path: str) -> None:
    """Without the cookie nothing is shown, not even which addresses there are."""
    assert stranger.get(path).status_code == 403


def test_no_token(stranger: Browser) -> None:
    """The address without its token, or with a wrong one, opens nothing."""
    for path in ("/", "/?token=", "/?token=wrong", "/?other=1"):
        answer = stranger.request("GET", path)
        assert (403, "set-cookie" in answer.headers) == (answer.status_code, False)


def test_a_used_token(stranger: Browser) -> None:
    """A token opens the page once: who finds it in a history gets nothing."""
    token = stranger.page.keys.token
    first = stranger.request("GET", f"/?token={token}", follow_redirects=False)
    stranger.client.cookies.clear()
    again = stranger.request("GET", f"/?token={token}", follow_redirects=False)
    assert (303, 403, False) == (first.status_code, again.status_code, token in first.headers["location"])


def test_the_cookie(stranger: Browser) -> None:
    """The cookie is for this page's own folder, for no script, and sent from no other site."""
    page = stranger.page
    answer = stranger.request("GET", f"/?token={page.keys.token}", follow_redirects=False)
    said = answer.headers["set-cookie"]
    assert f"batch_page={page.keys.session}; HttpOnly; Path={page.base}/; SameSite=strict" == said


def test_a_guessed_cookie(stranger: Browser) -> None:
    """Another value of the cookie opens nothing, however the header is spelt."""
    for cookie in ("batch_page=x", "batch_page=", "batch_page", "x=y", f"batch_page=x{stranger.page.keys.session}"):
        answer = stranger.request("GET", stranger.page.base + "/", headers={"Cookie": cookie})
        assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{PORT + 1}"},
        {"Origin": f"https://127.0.0.1:{PORT}"},
        {"Origin": HERE, "Sec-Fetch-Site": "cross-site"},
        {"Origin": HERE, "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
        {"Referer": HERE},
    ],
    ids=str,
)
def test_a_foreign_origin(browser: Browser, headers: dict[str, str]) -> None:
    """What another page sends, with our cookie, changes nothing."""
    closed: list[int] = []
    object.__setattr__(browser.page, "close", lambda: closed.append(1))
    answer = browser.request("POST", browser.page.base + "/close", headers=headers)
    assert (403, []) == (answer.status_code, closed)


def test_our_own_form(browser: Browser) -> None:
    """What the page itself sends does what it says, also of a browser that sends only one of the two headers."""
    closed: list[int] = []
    object.__setattr__(browser.page, "close", lambda: closed.append(1))
    for headers in (OWN, {"Origin": HERE}, {"Sec-Fetch-Site": "same-origin"}):
        assert browser.request("POST", browser.page.base + "/close", headers=headers).status_code == 200
    assert closed == [1, 1, 1]


def routes(browser: Browser) -> list[Any]:
    """All routes of the page."""
    (mount,) = browser.app.app.routes
    return [one for one in mount.routes if hasattr(one, "methods")]


def test_nothing_changes_by_get(browser: Browser) -> None:
    """Whatever does something is done by POST alone; nothing else than these is read by GET."""
    reading = {one.path for one in routes(browser) if "GET" in one.methods}
    changing = {one.path for one in routes(browser) if "POST" in one.methods}
    assert {
        "/", "/w/{id}", "/w/{id}/columns", "/w/{id}/problems", "/w/{id}/changes", "/w/{id}/send", "/w/{id}/result",
        "/w/{id}/live", "/w/{id}/file/{what}", "/run/{run_id}", "/run/{run_id}/file/{what}", "/run/{run_id}/report",
    } == reading  # fmt: skip
    for path in changing - reading:
        answer = browser.get(path.replace("{id}", "1").replace("{run_id}", "1"))
        assert answer.status_code == 405, path


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_other_methods(stranger: Browser, method: str) -> None:
    """No other method is taken, whoever asks, so that no preflight allows anything."""
    answer = stranger.request(method, stranger.page.base + "/close", headers=OWN)
    assert (405, False) == (answer.status_code, "access-control-allow-origin" in answer.headers)


# -- what an answer may do in a browser -----------------------------------------------------------------------------


def test_every_answer_is_guarded(browser: Browser) -> None:
    """Pages, files, refusals and errors cannot be framed, sniffed, kept, or run a script that is not the page's."""
    answers = [
        browser.get("/"), browser.get("/static/page.js"), browser.get("/w/none"), browser.get("/nothing"),
        browser.request("GET", "/"), browser.request("GET", "/", headers={"Host": "evil.example"}),
        browser.request("POST", "/x"),
    ]  # fmt: skip
    assert [200, 200, 404, 404, 403, 421, 403] == [one.status_code for one in answers]
    for answer in answers:
        for name, value in guards.HEADERS.items():
            assert answer.headers[name] == value, (answer.url, name)
    named = {
        "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin", "Content-Security-Policy": guards.POLICY,
    }  # fmt: skip
    assert named.items() <= guards.HEADERS.items()
    policy = dict(one.strip().split(" ", 1) for one in guards.POLICY.split(";"))
    own = dict.fromkeys(("style-src", "script-src", "connect-src", "form-action"), "'self'")
    none = dict.fromkeys(("default-src", "base-uri", "frame-ancestors"), "'none'")
    assert own | none | {"img-src": "'self' data:"} == policy


def test_the_report_may_do_nothing() -> None:
    """A report has its own style, and nothing else: no script, picture, form or frame, and nothing that is loaded."""
    policy = dict(one.strip().partition(" ")[::2] for one in guards.REPORT_POLICY.split(";"))
    none = dict.fromkeys(("default-src", "frame-ancestors"), "'none'")
    assert none | {"style-src": "'unsafe-inline'", "sandbox": ""} == policy


def test_no_page_needs_what_the_policy_forbids() -> None:
    """No template has a script, a style or a handler inside, nor an address of another host."""
    folder = Path(guards.__file__).with_name("templates")
    for path in folder.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=|javascript:|https?://|\|\s*safe", text
        ), path


# -- bodies ---------------------------------------------------------------------------------------------------------


def test_a_body_that_says_that_it_is_too_long(browser: Browser) -> None:
    """Two gigabytes are refused by their header, before a byte of them is read."""
    read: list[int] = []

    async def body() -> Any:
        read.append(1)
        yield b"x"

    headers = {**OWN, "Content-Length": str(2 << 30), "Content-Type": "multipart/form-data; boundary=x"}
    answer = browser.request("POST", browser.page.base + "/upload", headers=headers, content=body())
    assert (413, []) == (answer.status_code, read)


def test_a_body_that_does_not_say_how_long_it_is(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without an end is broken off at the limit."""
    monkeypatch.setattr(guards, "UPLOAD_BYTES", 1 << 20)
    sent: list[int] = []

    async def body() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        for _ in range(100):
            sent.append(1)
            yield b"x" * (1 << 17)

    headers = {**OWN, "Content-Type": "multipart/form-data; boundary=x"}
    answer = browser.request("POST", browser.page.base + "/upload", headers=headers, content=body())
    assert (413, True) == (answer.status_code, len(sent) < 20)


def test_a_slow_body(browser: Browser) -> None:
    """An upload of which nothing comes any more is broken off."""
    import anyio

    async def body() -> Any:
        yield b"--x\r\n"
        await anyio.sleep(30)

    headers = {**OWN, "Content-Type": "multipart/form-data; boundary=x"}
    assert browser.request("POST", browser.page.base + "/upload", headers=headers, content=body()).status_code == 408


def test_a_form_of_a_million_fields(browser: Browser) -> None:
    """A form is bounded in its fields, too."""
    data = {"account": SANDBOX} | {f"f{number}": "" for number in range(2_000)}
    assert browser.post("/upload", data, files={"file": ("a.csv", CSV)}).status_code == 400
    assert browser.page.desk.works == {}


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("customers.xlsx", "customers.xlsx"),
        ("../../../../etc/cron.d/x.csv", "x.csv"),
        (r"C:\Users\me\May 2026.xlsx", "May 2026.xlsx"),
        ("/abs/olute.csv", "olute.csv"),
        ("..csv", None),
        ("....//.csv", None),
        ("a\x00b\nc\x1b.csv", "a_b_c_.csv"),
        ("\u202egnp.csv", "_gnp.csv"),
        ("-rf.csv", "-rf.csv"),
        (".hidden.csv", "hidden.csv"),
        ("a*?[b]<script>.csv", "a___b__script_.csv"),
        ("evil.exe", None),
        ("evil.html", None),
        ("", None),
        ("Übersicht – Mai.csv", "Übersicht – Mai.csv"),
        ("x" * 300 + ".csv", "x" * 96 + ".csv"),
        ("ü" * 300 + ".csv", "ü" * 48 + ".csv"),
        ("x" * 300 + ".csv.gz", "x" * 93 + ".csv.gz"),
        ("rows.JSONL", "rows.JSONL"),
        ("rows.arrow", "rows.arrow"),
    ],
)
def test_names_of_uploads(given: str, expected: str | None) -> None:
    """What a browser calls a file is a name, and never a path, a mark or a program's."""
    try:
        found = safe_name(given)
    except InputError:
        found = None
    assert expected == found


def test_every_input_is_taken() -> None:
    """Whatever the command line reads may be uploaded, packed or not, and its runs are those of one sheet."""
    for ending in FORMATS:
        assert f"a{ending}" == safe_name(f"a{ending}")
        assert Path("runs", "a") == folder_of(Path("runs"), f"a{ending}")
    assert {Path("runs", "May")} == {folder_of(Path("runs"), name) for name in ("May.csv", "May.csv.gz", "May.CSV.ZST")}


def test_an_upload_stays_in_its_folder(browser: Browser, tmp_path: Path) -> None:
    """A path in an upload's name leads nowhere; what is kept is for its owner alone."""
    answer = browser.upload("../../../../../evil.csv", CSV, SANDBOX)
    assert answer.status_code == 200
    files = list(tmp_path.rglob("*evil.csv"))
    runs = tmp_path / "data" / "batch" / "runs"
    (path,) = files
    assert path.parent.parent == runs / "evil" / "files"
    places = [path, *path.parents][: len(path.relative_to(tmp_path / "data").parts)]
    assert (path, runs.parent) == (places[0], places[-1])
    assert [0o600] + [0o700] * 5 == [one.stat().st_mode & 0o777 for one in places]


def test_a_link_in_the_place_of_an_upload(tmp_path: Path) -> None:
    """What somebody put where a file goes is replaced, never followed."""
    target = tmp_path / "precious"
    target.write_text("mine")
    import hashlib
    import io

    place = tmp_path / "files" / hashlib.sha256(CSV).hexdigest()[:16]
    place.mkdir(parents=True)
    os.symlink(target, place / "a.csv")
    path = keep_upload(io.BytesIO(CSV), tmp_path, "a.csv")
    assert ("mine", CSV, False) == (target.read_text(), path.read_bytes(), path.is_symlink())


def test_a_link_among_the_uploads(tmp_path: Path) -> None:
    """What is offered again is a file that was uploaded, never one that a link leads to."""
    (tmp_path / "precious.csv").write_bytes(CSV)
    place = tmp_path / "runs" / "May" / "files" / "0123456789abcdef"
    place.mkdir(parents=True)
    (place / "May.csv").write_bytes(CSV)
    (place / "link.csv").symlink_to(tmp_path / "precious.csv")
    assert ["May.csv"] == [one.path.name for one in list_kept(tmp_path / "runs", (), 9)]


# -- text -----------------------------------------------------------------------------------------------------------

SCRIPT = "<script>alert(1)</script>"


def test_what_cannot_be_seen(browser: Browser) -> None:
    """A mark in a cell, a header or a name that turns or hides what follows is itself shown."""
    sheet = "id,na\u202eme,phone\n10001,a\u202eb\u200bc,5\u202e5x\n".encode()
    browser.upload("x.csv", sheet, SANDBOX)
    answers = [browser.settled()]
    browser.post(f"/w/{browser.work.id}/columns", {"c1": "name"})
    answers.append(browser.settled())
    for answer in answers:
        assert (200, True) == (answer.status_code, "\\u202e" in answer.text)
        assert not {"\u202e", "\u200b"} & set(answer.text)
    assert {"short": "a\\u202eb", "whole": ""} == views.FILTERS["cell"]("a\u202eb")


def test_script_in_cells_headers_and_names(browser: Browser) -> None:
    """What is in a sheet, or is its name, is text on every step."""
    sheet = f'id,name,"{SCRIPT}h",phone\n10001,{SCRIPT},x,{SCRIPT}\n'.encode()
    answers = [browser.upload("<img src=x>.csv", sheet, SANDBOX), browser.settled()]
    work = browser.work
    assert work.columns is not None
    browser.post(f"/w/{work.id}/columns", {"c2": "-"})
    answers += [browser.settled(), browser.get("/")]
    assert ["columns", "problems"] == [str(one.url).rsplit("/", 1)[1] for one in answers[1:3]]
    for answer in answers:
        assert "alert(1)</script>" not in answer.text
        assert "<img" not in answer.text
    assert "&lt;script&gt;" in answers[1].text
    assert "&lt;script&gt;" in answers[2].text


# -- the key --------------------------------------------------------------------------------------------------------

KEY = "key-of-nobody-4711-abcdef"


def test_the_key_is_nowhere(browser: Browser, tmp_path: Path) -> None:
    """A typed key is in no page, address or file, and no text that a fault of ours might print has it."""
    account = "dualentry.customers|typed||https://api.dualentry.com"
    answers = [browser.upload("a.csv", CSV, account, key_DUALENTRY_API_KEY=KEY, company="Acme"), browser.settled()]
    work = browser.work
    assert work.environment.variables["DUALENTRY_API_KEY"] == KEY
    answers += [browser.get("/"), browser.upload("a.exe", CSV, account, key_DUALENTRY_API_KEY=KEY)]
    assert 400 == answers[-1].status_code
    for answer in answers:
        assert KEY not in answer.text + str(answer.url) + str(answer.headers)
    assert KEY not in repr(work) + repr(work.chosen) + repr(browser.page.desk)
    kept = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert kept
    assert [] == [one for one in kept if KEY.encode() in one.read_bytes()]


@pytest.mark.parametrize("text", [KEY, f"\ufeff{KEY}\r\n", f"# mine\nDUALENTRY_API_KEY='{KEY}'\n"])
def test_a_key_from_a_file(browser: Browser, tmp_path: Path, text: str) -> None:
    """A key may be in a file, which stays where it is: nothing of it is on a page or written down here."""
    account = "dualentry.customers|typed||https://api.dualentry.com"
    files = {"file": ("a.csv", CSV), "key_file": ("my.key", text.encode())}
    answer = browser.post("/upload", {"account": account}, files=files)
    assert browser.work.environment.variables["DUALENTRY_API_KEY"] == KEY
    assert KEY not in answer.text + browser.settled().text
    assert [] == [one for one in tmp_path.rglob("*") if one.is_file() and KEY.encode() in one.read_bytes()]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty, or is something else"), (b"PK\x03\xff", "is empty, or is something else"),
     (b"a" * (1 << 17), "is empty, or is something else"), (b"one\ntwo\n", "should hold the token alone"),
     (b"two words", "Copy it again"), (KEY.encode(), "Do one of the two")],
    ids=["empty", "no text", "long", "lines", "words", "both"],
)  # fmt: skip
def test_a_file_without_a_key(browser: Browser, content: bytes, said: str) -> None:
    """A file that holds no key, or one beside a typed key, is refused with what to do, and nothing is opened."""
    data = {"account": "dualentry.customers|typed||https://api.dualentry.com"}
    data |= {"key_DUALENTRY_API_KEY": "typed-key"} if content == KEY.encode() else {}
    answer = browser.post("/upload", data, files={"file": ("a.csv", CSV), "key_file": ("my.key", content)})
    assert (400, True, {}) == (answer.status_code, said in answer.text, browser.page.desk.works)


def test_a_key_that_is_none(browser: Browser) -> None:
    """A key that no header can carry is refused in words that do not repeat it."""
    account = "dualentry.customers|typed||https://api.dualentry.com"
    answer = browser.upload("a.csv", CSV, account, key_DUALENTRY_API_KEY="two words\r\nX: y")
    assert (400, True, False) == (answer.status_code, "Copy it again" in answer.text, "two words" in answer.text)


def test_a_zip_bomb(browser: Browser, tmp_path: Path) -> None:
    """A workbook of a few kilobytes that unpacks to many megabytes is refused in words, and the page goes on."""
    bomb = make_book(tmp_path, sheet_xml("<row/>" * 6_000_000)).read_bytes()
    browser.upload("bomb.xlsx", bomb, SANDBOX)
    said = browser.settled()
    assert (200, True) == (said.status_code, "as only a file made to do harm does" in said.text)
    assert browser.get("/").status_code == 200
