"""The process of the page: one loopback port, one page a user, and an orderly end.

Promises: only this machine is served; a second start finds the page that runs, and opens that; closing it stops what
goes on as Ctrl-C does, and waits until its files are written.
"""

import contextlib
import errno
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import uvicorn
from filelock import FileLock, Timeout

from batch.errors import UsageError
from batch.files import write_private
from batch.run.locks import state_folder
from batch.run.standing_sandbox import stop_standing
from batch.run.target import Environment
from batch.web.application import Page
from batch.web.guards import HOST, Keys
from batch.web.uploads import runs_folder
from batch.web.work import Desk

STATE: Final = "page.json"
"""Where the page is, and the token that opens it once more: 0600, in the state folder."""
GRACE_SECONDS: Final = 40.0
"""How long a run that is stopped may take to settle what is in flight, and to write its files."""
CLOSE_SECONDS: Final = 1.0
START_SECONDS: Final = 10.0
MOST_AT_ONCE: Final = 500
"""Connections, of which each open window may keep one."""


@dataclass(slots=True)
class _Door:
    """The file that tells a second start where the page is."""

    path: Path
    address: str = ""
    token: str = field(default="", repr=False)

    def keep(self, token: str) -> None:
        """Write down the token that is good now."""
        self.token = token
        if self.address:
            write_private(self.path, json.dumps({"address": self.address, "token": token}))

    @property
    def url(self) -> str:
        """The address that opens the page once."""
        return f"{self.address}/?token={self.token}"


def serve(environment: Environment, port: int, say: Callable[[str], None], *, opens: bool) -> None:
    """Serve the page until it is closed, or open the one that runs; `say` is told the address, in one line.

    Raises UsageError where the port is taken, or runs cannot be kept.
    """
    runs = runs_folder(environment.variables)
    path = state_folder() / STATE
    lock = FileLock(path.with_suffix(".lock"), timeout=0, mode=0o600)
    try:
        with lock:
            _serve(environment, runs, path, port, say, opens=opens)
    except Timeout:
        _open(_running(path), say, opens=opens)


def _running(path: Path) -> str:
    """Return the address that opens the page that another process serves; it may just be starting."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(path.read_bytes())
            return f"{known['address']}/?token={known['token']}"
        time.sleep(0.1)
    raise UsageError("The page seems to be open already, but does not say where. Close it, and start it again.")


def _serve(
    environment: Environment, runs: Path, path: Path, port: int, say: Callable[[str], None], *, opens: bool
) -> None:
    door = _Door(path)
    desk = Desk(environment, runs)
    try:
        with _listen(port) as listener:
            number = listener.getsockname()[1]
            door.address = f"http://{HOST}:{number}"
            keys = Keys(door.keep)
            server = _Server(uvicorn.Config(
                Page(desk, keys, close=lambda: server.end()).application(number), http="httptools", ws="none",
                lifespan="off", interface="asgi3", proxy_headers=False, server_header=False, log_config=None,
                log_level="critical", access_log=False, limit_concurrency=MOST_AT_ONCE, timeout_keep_alive=30,
                timeout_graceful_shutdown=3, h11_max_incomplete_event_size=64 << 10,
            ))  # fmt: skip
            _open(door.url, say, opens=opens)
            anyio.run(server.serve, [listener])
    finally:
        path.unlink(missing_ok=True)
        _end(desk, say)


def _end(desk: Desk, say: Callable[[str], None]) -> None:
    """Stop what goes on, and the sandbox that the page began."""
    if any(one.is_busy for one in desk.works.values()):
        say("Stopping what goes on. Answers to what was sent are waited for first …")
    if not desk.close(GRACE_SECONDS):
        say("Something did not end in time. Nothing is lost: its run can be gone on with.")
    if desk.has_started_sandbox:
        with contextlib.suppress(UsageError):
            stop_standing()


@contextlib.contextmanager
def _listen(port: int) -> Iterator[socket.socket]:
    try:
        listener = socket.create_server((HOST, port), backlog=256)
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        why = "another program is there" if is_taken else f"it cannot be taken ({error.strerror})"
        raise UsageError(f"--port {port}: {why}. Leave it out, and a free one is taken.") from None
    with listener:
        yield listener


class _Server(uvicorn.Server):
    """Ends in order on a signal and on the button, and raises no signal again."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]  # all it is used as
        return self._ended_by_signals()

    @contextlib.contextmanager
    def _ended_by_signals(self) -> Iterator[None]:
        numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
        is_main = threading.current_thread() is threading.main_thread()
        before = {one: signal.signal(one, self.handle_exit) for one in numbers} if is_main else {}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def end(self) -> None:
        """End once the answer that says so has left, with the style and the script that it asks for."""
        threading.Timer(CLOSE_SECONDS, self.handle_exit, (signal.SIGINT, None)).start()


def _open(url: str, say: Callable[[str], None], *, opens: bool) -> None:
    """Say where the page is, and open it in the browser, which is not waited for."""
    say(url)
    if opens:
        threading.Thread(target=_open_browser, args=(url,), daemon=True).start()


def _open_browser(url: str) -> None:
    """Open a window on this machine's screen, where it has one: never a browser of text in the terminal."""
    opener = shutil.which("rundll32.exe")
    with contextlib.suppress(OSError, webbrowser.Error):
        if "microsoft" in platform.release().casefold() and opener is not None:  # WSL: the browser is that of Windows
            subprocess.run([opener, "url.dll,FileProtocolHandler", url], check=False)  # noqa: S603 - our own address
        elif sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(url)
