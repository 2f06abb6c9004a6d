"""A small object store in this process: as much of S3 as obstore asks for, and the wrong that a test says."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "bucket"
Fault = Callable[["Handler", str, str], bool]
"""Is told the method and the key, and answers itself where it gives true."""


def refusal(status: int, code: str) -> Fault:
    """Return a fault that refuses everything as S3 does."""
    return lambda handler, method, key: handler.refuse(status, code)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        key, query = self._asked()
        if self.server.store.does_wrong(self, "GET", key):
            return
        if "list-type" in query:
            self._list(query["prefix"][0] if "prefix" in query else "")
        elif key in self.server.store.objects:
            self.give(self.server.store.objects[key])
        else:
            self.refuse(404, "NoSuchKey")

    def do_PUT(self) -> None:
        key, _ = self._asked()
        content = self.rfile.read(int(self.headers["content-length"]))
        if not self.server.store.does_wrong(self, "PUT", key):
            self.server.store.objects[key] = content
            self._answer(200, b"", ETag='"1"')

    def do_POST(self) -> None:  # of several objects at once
        text = self.rfile.read(int(self.headers["content-length"])).decode()
        for key in [one.partition("</Key>")[0] for one in text.split("<Key>")[1:]]:
            self.server.store.objects.pop(unquote(key), None)
        self._answer(200, b"<DeleteResult></DeleteResult>")

    def give(self, content: bytes, *, etag: str | None = None, size: int | None = None) -> bool:
        """Answer with an object; `size`: as many bytes are promised."""
        named = etag or f"{hash(content)}"
        self._answer(200, content, size=size, ETag=f'"{named}"', **{"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"})
        return True

    def refuse(self, status: int, code: str) -> bool:
        """Answer with an error as S3 words it."""
        self._answer(status, f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode())
        return True

    def _asked(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        self.server.store.asked.append(f"{self.command} {self.path}")
        return unquote(parts.path.removeprefix(f"/{BUCKET}").removeprefix("/")), parse_qs(parts.query)

    def _list(self, prefix: str) -> None:
        quote = self.server.store.quote
        found = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(content)}</Size><ETag>{quote}{hash(content)}{quote}</ETag>"
            "<LastModified>2015-10-21T07:28:00.000Z</LastModified></Contents>"
            for key, content in sorted(self.server.store.objects.items())
            if key.startswith(prefix)
        )
        self._answer(200, f"<ListBucketResult>{found}<IsTruncated>false</IsTruncated></ListBucketResult>".encode())

    def _answer(self, status: int, content: bytes, *, size: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(size or len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = self.close_connection or size is not None

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Knows its objects."""

    daemon_threads = True
    store: "Objects"


class Objects:
    """The store, by key, while it is open."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.fault: Fault | None = None
        self.quote = "&quot;"
        """Around the ETags of a list; Azure has none there."""
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.store = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def variables(self) -> dict[str, str]:
        """What makes obstore ask it, and nobody else for keys."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        keys = {"AWS_ACCESS_KEY_ID": "AKIATESTED", "AWS_SECRET_ACCESS_KEY": "never-shown", "AWS_REGION": "eu-west-1"}
        return {**keys, "AWS_ENDPOINT_URL": url, "AWS_METADATA_ENDPOINT": url}

    def does_wrong(self, handler: Handler, method: str, key: str) -> bool:
        """Whether the fault that a test set has answered."""
        return self.fault is not None and self.fault(handler, method, key)

    def folders(self, prefix: str) -> dict[str, list[str]]:
        """The names of objects by their folder, below a prefix."""
        found: dict[str, list[str]] = {}
        for key in sorted(self.objects):
            if key.startswith(prefix):
                found.setdefault(key.rpartition("/")[0], []).append(key.rpartition("/")[2])
        return found
