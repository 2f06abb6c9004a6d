"""Servers that misbehave to order: plain blocking sockets in threads, so that a test decides what happens when."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n" + b'{"ok":true}'


def response(status: str, *headers: str, body: bytes = b"") -> bytes:
    """Return an answer with its right length."""
    head = "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"])
    return head.encode("latin-1") + b"\r\n\r\n" + body


class Peer:
    """One accepted connection, as a script sees it; `number` counts from 1."""

    def __init__(self, raw: socket.socket, number: int) -> None:
        self.socket, self.number = raw, number
        self._buffer = b""

    def read_head(self) -> bytes:
        """Return the next request up to its empty line, b"" at the end of the connection."""
        while b"\r\n\r\n" not in self._buffer:
            chunk = self.socket.recv(65536)
            if not chunk:
                return b""
            self._buffer += chunk
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head

    def read(self) -> bytes:
        """Return the next request whole, b"" at the end of the connection."""
        head = self.read_head()
        lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        missing = int(lengths[0]) if lengths else 0
        while len(self._buffer) < missing:
            self._buffer += self.socket.recv(65536)
        body, self._buffer = self._buffer[:missing], self._buffer[missing:]
        return head + b"\r\n\r\n" + body if head else b""

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self.socket.sendall(data)

    def close(self) -> None:
        """End the connection with FIN."""
        self.socket.shutdown(socket.SHUT_WR)
        self.socket.close()

    def reset(self) -> None:
        """End the connection with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


Script = Callable[[Peer], None]


def answering(answer: bytes = OK, requests: list[bytes] | None = None) -> Script:
    """Return a script that gives `answer` to every request, and notes the requests."""

    def script(peer: Peer) -> None:
        while request := peer.read():
            if requests is not None:
                requests.append(request)
            peer.send(answer)

    return script


class Server:
    """Runs `script` for every connection, in a thread of its own, until left; then closes all of them."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script, self._tls = script, tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Close all connections, and wait for the scripts."""
        for listening in [self._listener, *self._sockets]:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                self.connections += 1
                self._sockets.append(accepted)
                thread = threading.Thread(target=self._run, args=(accepted, self.connections))
                self._threads.append(thread)
                thread.start()

    def _run(self, accepted: socket.socket, number: int) -> None:
        with suppress(OSError):
            if self._tls:
                accepted = self._tls.wrap_socket(accepted, server_side=True)
                self._sockets.append(accepted)
            self._script(Peer(accepted, number))
            accepted.close()
