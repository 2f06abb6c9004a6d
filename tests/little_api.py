"""A server of one script, for what the sandbox never does: hostile texts, echoed headers, redirects, long waits."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """One request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: str

    @property
    def is_write(self) -> bool:
        return self.method in ("PATCH", "PUT")


@dataclass
class Said:
    """What is answered; a body that is not text or bytes is sent as JSON."""

    status: int = 200
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)


Script = Callable[[Asked], Said | None]
"""Answers a request; None says nothing at all until the server is closed."""


@dataclass
class LittleApi:
    """A running server: where it is, and what it was asked."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    given_up: list[Asked] = field(default_factory=list)
    """Those for whose answer the client waited longer than the server had patience to say nothing."""

    @property
    def options(self) -> list[str]:
        return ["--base-url", self.url, "--max-per-second", "2000", "--yes"]


@contextmanager
def little_api(script: Script) -> Iterator[LittleApi]:
    """Serve `script` on a free port of this machine."""
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer leaves in two pieces

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            asked = Asked(self.command, self.path, dict(self.headers.items()), body)
            api.asked.append(asked)
            said = script(asked)
            if said is None:
                if not closing.wait(30):
                    api.given_up.append(asked)
                self.close_connection = True
            else:
                self._say(said)

        do_GET = do_PATCH = do_PUT = do_POST = handle_any

        def _say(self, said: Said) -> None:
            data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            self.send_response(said.status)
            for name, value in {"Content-Type": "application/json", **said.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api = LittleApi(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield api
    finally:
        closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
