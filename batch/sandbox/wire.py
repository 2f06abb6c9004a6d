"""What goes wrong with an answer on its way: its bytes are cut, garbled, sent twice or held back.

A layer between a server's protocol and its socket, whatever the server: of HTTP it knows where a head ends, no more.
Promises: a spoilt answer is whole before a byte of it leaves, and what is not spoilt passes as it is.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

SPOILT: Final = frozenset(
    {"drop-before", "hang-before", "drop-after", "hang-after", "reset", "half", "garbled", "stray", "stray-late"}
)
"""The faults that are made here."""
_NO_LINGERING: Final = struct.pack("ii", 1, 0)
"""For SO_LINGER: a connection that is closed is reset."""


class Connection(asyncio.Transport):
    """A server's side of a connection, over the transport that it really is."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._held: list[bytes] | None = None
        self._closes = False
        self._is_silent = False
        self._stray = b""
        """What comes before the next answer."""

    @contextmanager
    def spoiling(self, fault: str) -> Iterator[None]:
        """Take what is written meanwhile as one answer, and spoil it."""
        self._held = []
        yield
        answer, self._held = b"".join(self._held), None
        self._spoil(fault, answer)
        if self._closes and not self._is_silent:
            self._transport.close()

    def _spoil(self, fault: str, answer: bytes) -> None:
        match fault:
            case "hang-before" | "hang-after":
                self._is_silent = True
            case "drop-before" | "drop-after":
                self.abort()
            case "reset":
                self.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
                self.abort()
            case "half":
                head, end, body = answer.partition(b"\r\n\r\n")
                self._send(head + end + body[: len(body) // 2])
                self._transport.close()
            case "garbled":
                self._send(bytes(byte ^ 0x80 if byte > 0x20 else byte for byte in answer))  # lines stay lines
            case "stray":
                self._send(answer + answer)
            case "stray-late":
                self._send(answer)
                self._stray = answer

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, hold or forget `data`."""
        if self._held is not None:
            self._held.append(bytes(data))
        elif not self._is_silent:
            self._send(data)

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        stray, self._stray = self._stray, b""
        self._transport.write(stray + data if stray else data)

    def close(self) -> None:
        """Close, once a held answer is sent."""
        if self._held is not None:
            self._closes = True
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close without sending what is left."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._closes or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Tell what the real transport knows of itself."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Read nothing for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()
