"""A TCP proxy that fails: each connection through it meets the next trouble of a plan, at a byte of one direction."""

import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["reset", "close", "half-close", "blackhole", "latency"]
LATE = 0.2


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens once `after` bytes went `up` (the request) or `down` (the answer)."""

    kind: Kind
    way: Literal["up", "down"]
    after: int


@dataclass
class Proxy:
    """A running proxy: where it is, and what the next connections meet; without a plan they go through."""

    port: int
    plan: deque[Trouble] = field(default_factory=deque)
    met: int = 0
    """How many troubles did strike."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Connection:
    """Two sockets, and a thread for each direction between them."""

    def __init__(self, client: socket.socket, server: socket.socket, trouble: Trouble | None, proxy: Proxy) -> None:
        self._client, self._server, self._trouble, self._proxy = client, server, trouble, proxy
        self.threads = [
            threading.Thread(target=self._pump, args=(client, server, "up"), daemon=True),
            threading.Thread(target=self._pump, args=(server, client, "down"), daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, way: str) -> None:
        trouble = self._trouble if self._trouble and self._trouble.way == way else None
        passed = 0
        with suppress(OSError):
            while data := source.recv(4096):
                if trouble is not None and passed + len(data) > trouble.after:
                    target.sendall(data[: trouble.after - passed])
                    self._proxy.met += 1
                    if not self._goes_on(trouble, target):
                        return
                    data, trouble = data[trouble.after - passed :], None
                target.sendall(data)
                passed += len(data)
            target.shutdown(socket.SHUT_WR)

    def _goes_on(self, trouble: Trouble, target: socket.socket) -> bool:
        match trouble.kind:
            case "latency":
                time.sleep(LATE)
                return True
            case "half-close":
                target.shutdown(socket.SHUT_WR)
            case "close":
                self.close()
            case "reset":
                for one in (self._client, self._server):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close()
            case "blackhole":
                pass  # both sides stay open, and nothing more comes
        return False

    def close(self) -> None:
        """Close both sides."""
        for one in (self._client, self._server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR) if not one.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER) else None
            one.close()


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """Run a proxy before a port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = Proxy(listener.getsockname()[1])
    connections: list[_Connection] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                trouble = proxy.plan.popleft() if proxy.plan else None
                connections.append(_Connection(client, server, trouble, proxy))

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for one in connections:
            one.close()
        for running in (thread, *(t for one in connections for t in one.threads)):
            running.join(5)
