"""How an exchange can be lost, and whether the API may have acted on it.

`sent="no"` is a promise: not one byte of the request left. Everything after the first byte is `"maybe"`.
"""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import httpx


class Kind(StrEnum):
    """What became of the exchange."""

    DNS = "dns"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    PROXY = "proxy"
    CONNECT_TIMEOUT = "connect_timeout"
    WRITE_TIMEOUT = "write_timeout"
    READ_TIMEOUT = "read_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    DROPPED = "dropped"
    HALF_ANSWER = "half_answer"
    GARBLED = "garbled"


@dataclass(frozen=True, slots=True)
class Lost:
    """An exchange without a (whole) answer; `status` is that of an answer that broke off."""

    sent: Literal["no", "maybe"]
    cause: str
    kind: Kind
    seconds: float = 0.0
    status: int | None = None


class BrokeOffError(httpx.ReadError):
    """The connection ended within the head of an answer."""


def not_sent(error: httpx.TransportError) -> tuple[Kind, str] | None:
    """Return kind and cause of an error that says that nothing was sent, None for every other error."""
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Kind.CONNECT_TIMEOUT, "no connection came about in time"
        case httpx.ProxyError():
            return Kind.PROXY, f"the proxy did not pass the connection on: {error}"
        case httpx.ConnectError():
            return _why_not_connected(error)
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return Kind.UNREACHABLE, "the request could not be put together"
        case _:
            return None


def _why_not_connected(error: httpx.ConnectError) -> tuple[Kind, str]:
    for cause in _iter_causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return Kind.TLS, f"the server's certificate was not accepted: {cause.verify_message}"
            case ssl.SSLError():
                return Kind.TLS, "no secure connection came about (TLS)"
            case socket.gaierror():
                return Kind.DNS, "the host name was not found"
            case ConnectionRefusedError():
                return Kind.REFUSED, "the connection was refused"
    return Kind.UNREACHABLE, "the server could not be reached"


def _iter_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def maybe_sent(error: httpx.TransportError, *, has_status: bool) -> tuple[Kind, str]:
    """Return kind and cause of an error that came after the request had begun to leave."""
    match error:
        case httpx.ReadTimeout() if has_status:
            return Kind.READ_TIMEOUT, "the answer stopped half-way"
        case httpx.ReadTimeout():
            return Kind.READ_TIMEOUT, "no answer in time"
        case httpx.WriteTimeout():
            return Kind.WRITE_TIMEOUT, "the server did not take the request in time"
        case BrokeOffError():
            return Kind.HALF_ANSWER, "the answer broke off half-way"
        case _ if has_status:
            return Kind.HALF_ANSWER, "the answer broke off half-way"
        case httpx.RemoteProtocolError() if not str(error).startswith("Server disconnected"):
            return Kind.GARBLED, "what came back was not an HTTP answer"
        case _:
            return Kind.DROPPED, "the connection was dropped before an answer came"
