"""The page in a real browser: an accountant's whole way, who can use it, and what it withstands.

They need Playwright (`./run.sh test --long` installs it) and Debian's chromium; without them they are skipped, loudly.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.shell import ROOT
from tests.web.browser import OWN

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None  # type: ignore[assignment]  # it is looked at below
NEEDED = "Playwright (./run.sh test --long installs it) and chromium (apt install chromium)"
pytestmark = pytest.mark.skipif(sync_playwright is None or not CHROMIUM, reason=f"the page's own way needs {NEEDED}")

SLOWEST_MS = 120_000
"""What a step may take on a machine that does other things, too."""
DUALENTRY, VAYU = "dualentry.customers|sandbox||", "vayu.customers|sandbox||"
VAYU_ID = "65f{:021x}"
HOSTILE = (
    "id,name,phone\n"
    f"10001,{'A very long name of a customer ' * 10},555-0001\n"
    "10002,شركة المثال للتجارة العامة,555-0002\n"
    "10003,<script>document.title='owned'</script>,555-0003\n"
    f"10004,{'x' * 300},555-0004\n"
    '10005,"<img src=x onerror=""document.title=\'owned\'"">",<clear>\n'
)


@dataclass
class Served:
    """A page that runs, and the browser that looks at it."""

    url: str
    home: Path
    chromium: Any
    environment: dict[str, str]

    def batch(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command line of the same user."""
        program = [sys.executable, "-X", "utf8", "-m", "batch", *words]
        return subprocess.run(program, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    def token(self) -> str:
        """An address that opens the page once."""
        return self.batch("page", "--no-open").stdout.strip()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page in a process of its own, and a browser."""
    home = tmp_path_factory.mktemp("accountant")
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-X", "utf8", "-m", "batch", "page", "--no-open"]
    page = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    assert page.stdout is not None
    url = page.stdout.readline().split("?")[0]
    try:
        with sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            yield Served(url, home, chromium, environment)
            chromium.close()
    finally:
        page.terminate()
        page.communicate(timeout=60)


@pytest.fixture
def window(served: Served) -> Iterator[Any]:
    """A window on the page, which must say nothing to the browser's console."""
    context = served.chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(SLOWEST_MS)
    found, said = context.new_page(), []
    found.on("console", lambda one: said.append(one.text) if one.type in ("error", "warning") else None)
    found.on("pageerror", lambda one: said.append(str(one)))
    found.goto(served.token())
    yield found
    context.close()
    assert [] == said


def sheet(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def choose(window: Any, path: Path, account: str = DUALENTRY) -> None:
    """Step 1, up to the columns."""
    window.set_input_files("#file", path)
    window.check(f"input[value='{account}']")
    window.click("text=Read the columns")
    window.wait_for_selector("table.columns")


def to_changes(window: Any) -> None:
    """Steps 2 to 4, of a sheet whose columns are known."""
    window.click("text=Check the rows")
    window.click("form[action$='/changes'] button")
    window.wait_for_selector("h1:has-text('Changes') >> nth=0")
    window.wait_for_selector(".facts")


def send(window: Any) -> None:
    """Steps 5 and 6, of fewer than ten changes."""
    window.click("text=Go on to send")
    window.click(".go")
    window.wait_for_url("**/run/*")
    assert "Finished" in window.inner_text(".facts")


def test_an_accountants_way(served: Served, window: Any, tmp_path: Path) -> None:
    """Problems, a corrected upload, the first ten, the others, the result, and back: typing nothing but the key."""
    rows = "".join(f"{10020 + number},Page {number},555-01{number:02}\n" for number in range(13))
    choose(window, sheet(tmp_path, "May.csv", f"Customer ID,Who,Phone\n10040,Wrong,ext. 5\n{rows}"))
    assert "SANDBOX" in window.inner_text(".mark")
    window.fill("input[name=c1]", "name")
    window.click("text=Check the rows")
    window.wait_for_selector(".groups")
    assert "has letters in it" in window.inner_text(".groups")
    with window.expect_download() as saved:
        window.click("text=Save the 1 row, marked")
    corrected = tmp_path / saved.value.suggested_filename
    saved.value.save_as(corrected)
    first = window.url
    window.click("text=Go on with the 13 rows")
    window.wait_for_selector(".facts:has-text('13 customers will change')")
    window.fill("input[type=search]", "Page 7")
    window.click("button:has-text('Search')")
    assert window.locator("tbody tr").count() == 2
    window.click("text=Go on to send")
    window.click(".go")
    window.wait_for_selector("text=Send the other 3?")
    window.click("button[value=yes]")
    window.wait_for_url("**/run/*")
    assert "13" in window.inner_text("tr.updated .num")

    corrected.write_text(corrected.read_text(encoding="utf-8").replace("ext. 5", "555-0199"), encoding="utf-8")
    window.goto(first.replace("/changes", "/problems").replace("/send", "/problems"))
    window.goto(served.token())
    choose(window, corrected)
    window.fill("input[name=c1]", "name")
    window.click("text=Check the rows")
    window.click("form[action$='/changes'] button")
    window.wait_for_selector(".facts:has-text('1 customer will change')")
    window.click("text=Go on to send")
    window.click(".go")
    window.wait_for_url("**/run/*")
    listed = served.batch("runs").stdout
    assert "May.csv" in listed
    window.click("text=Take it back …")
    window.wait_for_selector("text=Put this back?")
    window.click("text=Put back 1 record")
    window.wait_for_url("**/run/*")
    assert "Finished" in window.inner_text(".facts")


@pytest.mark.long
def test_the_way_without_scripts(served: Served, tmp_path: Path) -> None:
    """All of it works in a browser that runs no script, for the other API: problems, the first ten, and back."""
    context = served.chromium.new_context(java_script_enabled=False)
    context.set_default_timeout(SLOWEST_MS)
    window = context.new_page()
    window.goto(served.token())
    rows = "".join(f"{VAYU_ID.format(number + 1)},Page {number},45_DAYS\n" for number in range(13))
    text = f"id,name,dueDays\n{VAYU_ID.format(20)},Wrong,soon\n{rows}"
    choose(window, sheet(tmp_path, "v.csv", text), VAYU)
    window.click("text=Check the rows")
    window.wait_for_selector(".groups")
    with window.expect_download() as saved:
        window.click("text=Save the 1 row, marked")
    corrected = Path(saved.value.path()).read_text(encoding="utf-8-sig").replace("soon", "60_DAYS")
    window.set_input_files("input[name=file]", sheet(tmp_path, "v failures.csv", corrected))
    window.click("text=Upload it")
    window.wait_for_selector("table.columns")
    to_changes(window)
    assert "1 customer will change" in window.inner_text(".facts")
    send(window)
    window.click("text=Go on with them")
    window.click("form[action$='/changes'] button")
    window.wait_for_selector(".facts:has-text('13 customers will change')")
    window.click("text=Go on to send")
    window.click(".go")
    window.wait_for_selector("text=Send the other 3?")
    window.click("button[value=yes]")
    window.wait_for_url("**/run/*")
    assert "13" in window.inner_text("tr.updated .num")
    window.click("text=Take it back …")
    window.wait_for_selector("text=Put this back?")
    window.click("text=Put back 13 records")
    window.wait_for_url("**/run/*")
    assert "Finished" in window.inner_text(".facts")
    context.close()


def each_step(window: Any, tmp_path: Path) -> Iterator[str]:
    """Stop at each step of a sheet with all that is odd in it."""
    yield "file"
    choose(window, sheet(tmp_path, "odd.csv", HOSTILE + "10006,No,ext. 5\n,No id,555\n"))
    yield "columns"
    window.click("text=Check the rows")
    window.wait_for_selector(".groups")
    yield "problems"
    window.click("form[action$='/changes'] button")
    window.wait_for_selector(".cells")
    yield "changes"
    window.click("text=Go on to send")
    window.wait_for_selector(".go")
    yield "send"
    window.click(".go")
    window.wait_for_url("**/run/*")
    yield "result"
    window.click("text=Take it back …")
    window.wait_for_selector(".question .cells")
    yield "undo"


@pytest.mark.long
def test_everybody_can_use_it(window: Any, tmp_path: Path) -> None:
    """axe-core finds nothing on any step, light or dark; nothing sticks out at any width; no script of a cell runs."""
    import axe_playwright_python.sync_playwright as axe

    for step in each_step(window, tmp_path):
        for scheme in ("light", "dark"):
            window.emulate_media(color_scheme=scheme)
            window.wait_for_timeout(200)
            tags = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
            found = axe.Axe().run(window, options=tags)
            assert 0 == found.violations_count, (step, scheme, found.generate_report())
        for width in (400, 768, 1280, 2560):
            window.set_viewport_size({"width": width, "height": 900})
            assert width >= window.evaluate("document.documentElement.scrollWidth"), (step, width)
        window.set_viewport_size({"width": 1280, "height": 900})
        assert window.title() != "owned"


@pytest.mark.long
def test_by_the_keyboard(window: Any, tmp_path: Path) -> None:
    """A sheet is brought to its changes without a mouse, and where the focus is can be seen."""
    choose(window, sheet(tmp_path, "keys.csv", "id,name\n10001,By Keyboard\n"))
    window.focus("text=Check the rows")
    assert "none" != window.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    window.keyboard.press("Enter")
    window.wait_for_selector("text=Compare with the records")
    window.focus("text=Compare with the records")
    window.keyboard.press("Enter")
    window.wait_for_selector(".cells")
    window.keyboard.press("Home")
    window.focus(".skip")
    window.keyboard.press("Enter")
    assert "main" == window.evaluate("document.activeElement.id")


def drop(window: Any, place: str, *paths: Path, text: str = "") -> bool:
    """Drop files or a text with the mouse; return whether the page took it, so that the browser does not open it."""
    window.wait_for_load_state()  # the page's script comes after what can be seen
    box = window.locator(place).bounding_box()
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    items = [{"mimeType": "text/plain", "data": text}] if text else []
    data = {"items": items, "files": [str(path) for path in paths], "dragOperationsMask": 1}
    window.evaluate("addEventListener('dragover', (event) => { window.isTaken = event.defaultPrevented; })")
    browser = window.context.new_cdp_session(window)
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})
    return bool(window.evaluate("window.isTaken"))


@pytest.mark.long
def test_dropping(window: Any, tmp_path: Path) -> None:
    """One file that is dropped anywhere on the page is chosen; of a folder and of several it is said why not."""
    one, other = (sheet(tmp_path, name, "id,phone\n10001,ext. 5\n") for name in ("one.csv", "other.csv"))

    def chosen() -> list[str]:
        found: list[str] = window.evaluate(
            "[...document.querySelector('[data-drop] input').files].map(one => one.name)"
        )
        return found

    assert drop(window, "[data-drop]", one, other)
    assert "These are 2 files. Drop one: each is sent by itself." == window.inner_text(".alert")
    assert drop(window, "[data-drop]", tmp_path)
    assert f'"{tmp_path.name}" is a folder. Drop the file itself.' == window.inner_text(".alert")
    drop(window, "[data-drop]", text="some words")
    assert [] == chosen()
    assert drop(window, "h1", other)
    assert ["other.csv"] == chosen()
    assert drop(window, "[data-drop]", one)
    assert (["one.csv"], 0, 0) == (chosen(), window.locator(".alert").count(), window.locator(".over").count())
    window.check(f"input[value='{DUALENTRY}']")
    window.click("text=Read the columns")
    window.wait_for_selector("table.columns")
    assert drop(window, "h1", other)
    window.click("text=Check the rows")
    window.wait_for_selector(".groups")
    assert drop(window, "h1", other)
    assert ["other.csv"] == chosen()


@pytest.mark.long
def test_fifty_windows(served: Served, window: Any, tmp_path: Path) -> None:
    """Fifty windows on one sheet see the same, and a click in one of them is still answered."""
    choose(window, sheet(tmp_path, "fifty.csv", "id,name\n10001,Fifty\n"))
    others = [window.context.new_page() for _ in range(49)]
    for one in others:
        one.goto(window.url)
    assert {window.inner_text("h1")} == {one.inner_text("h1") for one in others}
    to_changes(others[7])
    others[8].reload()
    others[8].goto(others[7].url)
    assert "1 customer will change" in others[8].inner_text(".facts")


@pytest.mark.long
def test_framed_and_called_from_elsewhere(served: Served, window: Any, tmp_path: Path) -> None:
    """A page of another origin on this machine cannot frame it, read it, or send its forms."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    here = window.url
    foreign = f"""<iframe id=f src="{here}"></iframe><form id=s method=post action="{here}close"></form>
        <script>fetch("{here}", {{credentials: "include", mode: "no-cors"}}).then(r => window.kind = r.type)</script>"""

    class Foreign(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(foreign.encode())

        def log_message(self, *words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Foreign)
    Thread(target=server.serve_forever, daemon=True).start()
    other = window.context.new_page()
    other.goto(f"http://127.0.0.1:{server.server_port}/")
    other.wait_for_timeout(500)
    assert "Choose a spreadsheet" not in "".join(one.content() for one in other.frames[1:])
    assert other.evaluate("window.kind") is None
    other.evaluate("document.getElementById('s').submit()")
    other.wait_for_load_state()
    assert "not sent by the page itself" in other.inner_text("body")
    server.shutdown()
    server.server_close()
    window.reload()
    assert "Choose a spreadsheet" in window.inner_text("main")


@pytest.mark.long
def test_two_gigabytes(served: Served, window: Any) -> None:
    """An upload that is too long is refused while it comes, and leaves nothing behind."""
    port, door = re.findall(r":(\d+)/(\w+)/", window.url)[0]
    cookie = window.context.cookies()[0]
    with socket.create_connection(("127.0.0.1", int(port))) as raw:
        raw.sendall(
            f"POST /{door}/upload HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
            f"Cookie: {cookie['name']}={cookie['value']}\r\nTransfer-Encoding: chunked\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode()
        )
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        part, sent = b"x" * (1 << 20), 0
        raw.sendall(b"%x\r\n%s\r\n" % (len(head), head))
        try:
            while sent < 2 << 30:
                raw.sendall(b"%x\r\n%s\r\n" % (len(part), part))
                sent += len(part)
        except OSError:
            pass
        assert sent < 1 << 30
    assert [] == [one for one in served.home.rglob("*") if one.is_file() and one.stat().st_size > 1 << 24]
    headers = {**OWN, "Origin": f"http://127.0.0.1:{port}", "Cookie": f"{cookie['name']}={cookie['value']}"}
    assert httpx.get(f"http://127.0.0.1:{port}/{door}/", headers=headers).status_code == 200


@pytest.mark.long
@pytest.mark.parametrize(("account", "record"), [(DUALENTRY, "{}"), (VAYU, VAYU_ID)], ids=["dualentry", "vayu"])
def test_a_run_outlives_its_window(served: Served, window: Any, tmp_path: Path, account: str, record: str) -> None:
    """A window that is closed while it sends changes nothing; the command line goes on with what was stopped."""
    first = 10100 if account == DUALENTRY else 100
    rows = "".join(f"{record.format(first + number)},Outlives {number}\n" for number in range(800))
    choose(window, sheet(tmp_path, "long.csv", f"id,name\n{rows}"), account)
    to_changes(window)
    window.click("text=Go on to send")
    window.check("input[value=all]")
    window.click(".go")
    window.wait_for_selector("progress")
    place = window.url
    window.close()
    other = window.context.new_page()
    other.goto(place)
    other.wait_for_selector(".counts .updated dd:text-matches('[1-9]')")  # else there is no run
    other.click(".stop button")
    other.wait_for_url("**/run/*")
    assert "Not finished" in other.inner_text(".facts")
    run = next(line for line in served.batch("runs").stdout.splitlines() if " resume " in line or " update " in line)
    words = re.findall(r"batch (.*)", run)[-1].split()
    done = served.batch(*words, "--yes")
    assert done.returncode == 0, done.stderr
    other.reload()
    assert "Finished" in other.inner_text(".facts")
