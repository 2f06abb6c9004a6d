"""One connection, on which nothing but the answer to the last request may arrive.

Promises: a connection that ended, or on which something waits to be read, is not quiet, before the event loop has
noticed; nothing leaves any more from one that was closed.
"""

import select
import ssl
from collections.abc import Callable
from itertools import count

import anyio
import httpx
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute

from batch.http.parser import AnswerParser

ONE_READ = 64 * 1024
LOST = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
"""What streams raise when they end; ssl.SSLError is an OSError."""
_numbers = count(1)


class Connection:
    """A stream of bytes to the API, and what is known of it; `number` tells it from all others of the process."""

    __slots__ = ("_is_readable", "_stream", "_tls", "idle_since", "is_out_of_step", "number")

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._is_readable = _probe(stream)
        self._tls: ssl.SSLObject | None = stream.extra(TLSAttribute.ssl_object, None)  # noqa: S610 - not Django's
        self.number = next(_numbers)
        self.idle_since = 0.0
        self.is_out_of_step = False
        """Something came over it that was no answer to what was asked, or the answer to something else."""

    def is_quiet(self) -> bool:
        """Tell whether it is open and has nothing to read; its end may be known to the kernel only, as yet."""
        if self.is_out_of_step or self._is_readable():
            return False
        if self._tls is None:
            return True
        try:
            self.is_out_of_step = bool(self._tls.read(1))
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLError:
            pass
        return False

    async def send(self, data: bytes) -> None:
        """Send all of `data`; raises httpx.WriteError."""
        try:
            await self._stream.send(data)
        except LOST as error:
            raise httpx.WriteError("the connection was dropped") from error

    async def receive(self, parser: AnswerParser) -> None:
        """Let `parser` have what comes next; raises httpx.ReadError or RemoteProtocolError."""
        try:
            data = await self._stream.receive(ONE_READ)
        except anyio.EndOfStream:
            parser.end()
        except LOST as error:
            raise httpx.ReadError("the connection was dropped") from error
        else:
            parser.feed(data)

    async def close(self) -> None:
        """Close it at once, with what has not left yet."""
        await anyio.aclose_forcefully(self._stream)


def _probe(stream: ByteStream) -> Callable[[], bool]:
    """Return what asks the kernel whether there is anything to read: bytes, the end, or an error."""
    socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - not Django's
    if not hasattr(select, "poll"):  # Windows
        return lambda: socket.fileno() < 0 or bool(select.select([socket], [], [], 0)[0])
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return lambda: socket.fileno() < 0 or bool(poll.poll(0))
