"""What goes wrong with an answer on its way: its bytes are cut, held back or thrown away.

A layer between a server's protocol and its socket, and of no other use: it knows neither HTTP nor what the answer says.
Promises: a spoilt answer is whole before a byte of it leaves, and what is not spoilt passes as it is.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

SPOILT: Final = frozenset({"drop-before", "hang-before", "drop-after", "hang-after", "half"})
"""The faults that are made here."""


class Connection(asyncio.Transport):
    """A server's side of a connection, over the transport that it really is."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._held: list[bytes] | None = None
        self._closes = False
        self._is_silent = False

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
            case "half":
                head, end, body = answer.partition(b"\r\n\r\n")
                self._transport.write(head + end + body[: len(body) // 2])
                self._transport.close()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, hold or forget `data`."""
        if self._held is not None:
            self._held.append(bytes(data))
        elif not self._is_silent:
            self._transport.write(data)

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
