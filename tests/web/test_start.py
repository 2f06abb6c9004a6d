"""How the page is started: by a double-click, by a second start, and how it ends."""

import configparser
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from batch.errors import UsageError
from batch.run.target import Environment
from batch.web.server import STATE, serve
from batch.web.uploads import runs_folder
from tests.shell import ROOT
from tests.web.browser import OWN

START = ROOT / "samples" / "start"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a run.sh that says how it was called."""
    folder = tmp_path / "my batch"
    folder.mkdir()
    script = folder / "run.sh"
    script.write_text('#!/bin/sh\necho "started: $* $BATCH_WINDOW"\n')
    script.chmod(0o755)
    return folder


def run(words: list[str], tmp_path: Path, home: Path | None) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | ({"BATCH_HOME": str(home)} if home else {})
    done = subprocess.run(words, env=environment, capture_output=True, text=True, input="\n", timeout=20, check=False)
    return done.stdout


def desktop_words() -> list[str]:
    """What a desktop runs, by the rules of the specification: first the escapes of values, then those of quotes."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(START / "batch.desktop", encoding="utf-8")
    words = shlex.split(parser["Desktop Entry"]["Exec"].replace("\\\\", "\\"))
    return [word.replace("\\$", "$") for word in words]  # as quotes have it there, beside what shlex knows


def test_by_a_double_click(place: Path, tmp_path: Path) -> None:
    """What lies on the desktop finds batch, also in a folder with a space, or says where to put it."""
    for words in (desktop_words(), ["bash", str(START / "batch.command")]):
        assert "started: page 1\n" == run(words, tmp_path, place)
    copied = tmp_path / "batch.command"
    copied.write_text((START / "batch.command").read_text())
    for words in (desktop_words(), ["bash", str(copied)]):
        assert "batch was not found. Put its folder into your home folder" in run(words, tmp_path, None)


def test_by_a_double_click_on_windows() -> None:
    """What is missing there is named, with what installs it; the lines end as Windows has them."""
    text = (START / "batch.bat").read_bytes()
    assert text.count(b"\n") == text.count(b"\r\n")
    for said in (b"wsl --install", b"batch was not found", b"BATCH_WINDOW=1 bash ~/batch/run.sh page"):
        assert said in text
    assert 3 == text.count(b"if %errorlevel% neq 0")
    assert b"if errorlevel" not in text, "the -1 of wsl.exe is less than 1"


def test_what_windows_copied(place: Path, tmp_path: Path) -> None:
    """A run.sh that is not executable, as Windows's Explorer leaves it in Linux, is started all the same."""
    (place / "run.sh").chmod(0o644)
    place.rename(tmp_path / "batch")
    line = (START / "batch.bat").read_text(encoding="ascii").splitlines()[-1]
    words = shlex.split(line.removeprefix("wsl.exe -e "))
    assert "started: page 1\n" == run(words, tmp_path, None)


def test_a_network_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the folder of runs is another machine's disk, as Windows's is to Linux, the page does not start."""
    from batch.errors import FolderError
    from batch.run import locks

    mounts = tmp_path / "mounts"
    mounts.write_text(f"C: {tmp_path} 9p rw 0 0\n")
    monkeypatch.setattr(locks, "MOUNTS", mounts)
    with pytest.raises(FolderError, match="network file system"):
        runs_folder({"XDG_DATA_HOME": str(tmp_path / "data")})


def test_a_second_start_and_the_end(tmp_path: Path) -> None:
    """A second start prints the address of the page that runs, with a token of its own; the button ends it."""
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-X", "utf8", "-m", "batch", "page", "--no-open"]
    first = subprocess.Popen(words, env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        url = first.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", url)
        state = next(tmp_path.rglob(STATE))
        assert 0o600 == state.stat().st_mode & 0o777
        with httpx.Client(follow_redirects=True) as window:
            page = window.get(url)
            assert page.status_code == 200
            assert httpx.get(url).status_code == 403
            second = subprocess.run(words, env=home, capture_output=True, text=True, timeout=30, check=False)
            again = second.stdout.strip()
            assert (0, url.split("?")[0]) == (second.returncode, again.split("?")[0])
            assert again != url
            assert json.loads(state.read_text())["token"] in again
            assert httpx.get(again, follow_redirects=False).status_code == 303
            port = page.url.port
            headers = {**OWN, "Origin": f"http://127.0.0.1:{port}"}
            assert "batch is closed" in window.post(f"{page.url}close", headers=headers).text
        assert (0, "") == (first.wait(20), first.stderr.read() if first.stderr else "")
        assert not state.exists()
    finally:
        first.kill()
        first.communicate()


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    """Ctrl-C ends the page in order, without a word about where in the code it was."""
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-X", "utf8", "-m", "batch", "page", "--no-open"]
    page = subprocess.Popen(words, env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert page.stdout is not None
    url = page.stdout.readline().split()[-1]
    httpx.get(url, timeout=60)  # it serves, and heeds signals from then on
    page.send_signal(signal.SIGINT)
    assert "" == page.communicate(timeout=20)[1]
    assert page.returncode == 0


class Window:
    """A window on a page that another process serves."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(follow_redirects=True, timeout=60)
        self.base = str(self.client.get(url).url).rstrip("/")
        self.own = {**OWN, "Origin": url.split("/?")[0]}

    def get(self, path: str) -> str:
        return self.client.get(self.base + path).text

    def post(self, path: str, data: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        return self.client.post(self.base + path, data=data, headers=self.own, **options)

    def wait(self, path: str, *marks: str) -> str:
        until = time.monotonic() + 120
        while not any(map((text := self.get(path)).__contains__, marks)):
            assert time.monotonic() < until, text
            time.sleep(0.2)
        return text


@pytest.mark.long
def test_a_page_that_is_killed_while_it_sends(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The next page shows the run as not finished, and goes on with it: each row is applied, or was already."""
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-X", "utf8", "-m", "batch"]
    account = {"account": "dualentry.customers|sandbox||"}
    stop = [*program, "sandbox", "stop"]
    request.addfinalizer(lambda: subprocess.run(stop, env=home, capture_output=True, timeout=60, check=False))

    def start() -> tuple[subprocess.Popen[str], Window]:
        page = subprocess.Popen([*program, "page", "--no-open"], env=home, stdout=subprocess.PIPE, text=True)
        assert page.stdout is not None
        return page, Window(page.stdout.readline().strip())

    first, window = start()
    try:
        rows = "".join(f"{10001 + number},Killed {number}\n" for number in range(200))
        place = str(window.post("/upload", account, files={"file": ("killed.csv", f"id,name\n{rows}")}).url)
        place = place.removeprefix(window.base).removesuffix("/columns")
        window.wait(f"{place}/columns", "Check the rows")
        window.post(f"{place}/columns")
        window.wait(f"{place}/problems", "Compare with the records")
        window.post(f"{place}/changes")
        window.wait(f"{place}/changes", "Go on to send")
        found = re.search(r'name="checksum" value="([^"]+)"', window.get(f"{place}/send"))
        assert found
        window.post(f"{place}/send", {"checksum": found[1], "how": "all"})
        window.wait(f"{place}/send", *(f"<b>{count}</b> of 200" for count in range(5, 150)))
    finally:
        first.kill()
        first.communicate()
        window.client.close()
    second, window = start()
    try:
        run = re.findall(r'/run/([\w-]+)"', window.get("/"))[0]
        assert "Not finished" in window.get(f"/run/{run}")
        place = str(window.post(f"/run/{run}/resume", account).url).removeprefix(window.base)
        window.wait(place, "Finished")
        ended = window.get(f"/run/{run}")
        counts = {name: int(count) for name, count in re.findall(r'<tr class="(\w+)[^>]*>.*?"num">(\d+)<', ended)}
        assert 200 == counts["updated"] + counts["unchanged"], ended
        assert counts["unchanged"] <= 10, "only what was in flight may turn out to have been applied"
    finally:
        second.terminate()
        second.communicate(timeout=60)
        window.client.close()


def test_a_port_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another program has the port that was asked for, that is said, with what to do, and nothing is left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port}: another program is there. Leave it out"):
            serve(Environment({"XDG_DATA_HOME": str(tmp_path)}), port, print, opens=False)
    assert [] == list(tmp_path.rglob(STATE))
