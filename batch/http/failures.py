"""How an exchange can be lost, and whether the API may have acted on it.

`delivered="no"` is a promise: not one byte of the request left. `may_have_left` alone says so, of anybody's transport.
Everything else is `"unknown"`.
"""

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import httpx

from batch.machine import OUT_OF_FILES, machine_reason


class FailureKind(StrEnum):
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
    MACHINE = "machine"
    """Nothing left, for a reason that lies here and not at the API."""


@dataclass(frozen=True, slots=True)
class RequestFailure:
    """An exchange without a (whole) answer; `status` is that of an answer that broke off.

    `is_lasting`: it will be the same until somebody changes something, here or at the proxy.
    """

    delivered: Literal["no", "unknown"]
    cause: str
    kind: FailureKind
    status: int | None = None
    is_lasting: bool = False


class BrokeOffError(httpx.ReadError):
    """The connection ended within an answer."""


class OutOfStepError(httpx.RemoteProtocolError):
    """More came than one answer, so that this one may be the answer to another request."""


NOT_DELIVERED = (
    httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol,
)  # fmt: skip


def may_have_left(error: Exception) -> bool:
    """Return whether a byte of the request may have left, whosever transport raised `error` before an answer began."""
    return not isinstance(error, NOT_DELIVERED)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect (name look-up, proxy and TLS included), for each silence, and for the whole exchange."""

    connect: float = 10.0
    write: float = 30.0
    read: float = 60.0
    total: float = 120.0

    def __post_init__(self) -> None:
        """Refuse a whole that could be over before a request has left: it would be called "unknown"."""
        if not 0 < self.connect < self.total or self.read <= 0 or self.write <= 0:
            raise ValueError("time-outs must be positive, and `total` longer than `connect`")

    @classmethod
    def for_reads(cls, seconds: float) -> "Timeouts":
        """Return the usual ones with so long a silence; a whole exchange takes twice that, and as long as usual."""
        return cls(read=seconds, total=max(cls().total, 2 * seconds))

    def as_extension(self) -> dict[str, float]:
        """Return them as httpx transports take them."""
        return {"connect": self.connect, "pool": self.connect, "write": self.write, "read": self.read}


def explain(error: Exception, timeouts: Timeouts, status: int | None) -> RequestFailure:
    """Return what an error means; `status` is that of the answer's head if it had come."""
    if status is None and not may_have_left(error):
        kind, cause = _why_not_delivered(error, timeouts)
        return RequestFailure("no", cause, kind, is_lasting=is_lasting(error))
    kind, cause = _what_happened(error, timeouts, status)
    is_anothers = isinstance(error, OutOfStepError)
    return RequestFailure("unknown", cause, kind, status=None if is_anothers else status)


def out_of_time(timeouts: Timeouts, status: int | None) -> RequestFailure:
    """Return what the end of the whole time means; connecting alone cannot have used it up."""
    return RequestFailure(
        "unknown", f"no whole answer within {timeouts.total:g} s", FailureKind.TOTAL_TIMEOUT, status=status
    )


def _why_not_delivered(error: Exception, timeouts: Timeouts) -> tuple[FailureKind, str]:
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return FailureKind.CONNECT_TIMEOUT, f"no connection came about within {timeouts.connect:g} s"
        case httpx.ProxyError():
            return FailureKind.PROXY, f"the proxy did not pass the connection on: {error}"
        case httpx.ConnectError():
            return why_not_connected(error)
        case _:
            return FailureKind.UNREACHABLE, "the request could not be put together"


def _what_happened(error: Exception, timeouts: Timeouts, status: int | None) -> tuple[FailureKind, str]:
    match error:
        case OutOfStepError():
            return FailureKind.GARBLED, "the server sent more than one answer to a request"
        case httpx.ReadTimeout() if status is None:
            return FailureKind.READ_TIMEOUT, f"no answer within {timeouts.read:g} s"
        case httpx.ReadTimeout():
            return (
                FailureKind.READ_TIMEOUT,
                f"the answer stopped half-way, and nothing more came within {timeouts.read:g} s",
            )
        case httpx.WriteTimeout():
            return FailureKind.WRITE_TIMEOUT, f"the server did not take the request within {timeouts.write:g} s"
        case _ if status is not None or isinstance(error, BrokeOffError):
            return FailureKind.HALF_ANSWER, "the answer broke off half-way"
        case httpx.RemoteProtocolError() if not str(error).startswith("Server disconnected"):  # httpcore's words
            return FailureKind.GARBLED, "what came back was not a proper HTTP answer"
        case httpx.NetworkError() | httpx.RemoteProtocolError():
            return FailureKind.DROPPED, "the connection was dropped before an answer came"
        case _:
            return FailureKind.DROPPED, f"the request was given up before an answer came ({type(error).__name__})"


_SAY_NOTHING = (ssl.SSLCertVerificationError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""The first has its own sentence, its own or in its cause; the others only mean that the handshake was not over."""


def why_not_connected(error: Exception) -> tuple[FailureKind, str]:
    """Say why no connection came about, by what caused `error`, whosever it is."""
    for cause in _iter_causes(error):
        match cause:
            case ssl.SSLCertVerificationError(verify_message=str()):  # some libraries' own kinds of it have none
                return FailureKind.TLS, _why_not_trusted(cause)
            case ssl.SSLError() if not isinstance(cause, _SAY_NOTHING):
                return FailureKind.TLS, "no secure connection came about (TLS)"
            case socket.gaierror() if cause.errno in _NO_SUCH_NAME:
                return FailureKind.DNS, "the host name was not found"
            case socket.gaierror():
                return FailureKind.DNS, "the host name could not be looked up at the moment"
            case OSError() if cause.errno in OUT_OF_FILES or cause.errno == errno.ENOMEM:
                return FailureKind.MACHINE, machine_reason(cause) or ""
            case ConnectionRefusedError():
                return FailureKind.REFUSED, "the connection was refused"
    return FailureKind.UNREACHABLE, "the server could not be reached"


_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_PROXY_SAYS_NO = re.compile(r"\b40[37]\b")


def is_lasting(error: Exception) -> bool:
    """Return whether to connect again is of no use: a certificate, a name that does not exist, a proxy's refusal."""
    if isinstance(error, httpx.ProxyError) and _PROXY_SAYS_NO.search(str(error)):
        return True
    for cause in _iter_causes(error):
        match cause:
            case ssl.SSLCertVerificationError(verify_message=str()):
                return True
            case socket.gaierror():
                return cause.errno in _NO_SUCH_NAME
    return False


# OpenSSL's numbers for chains that end in a root that is not known here.
_UNKNOWN_ROOT = (18, 19, 20, 21)


def _why_not_trusted(error: ssl.SSLCertVerificationError) -> str:
    reason = f"the server's certificate was not accepted: {error.verify_message.rstrip('.')}"
    if error.verify_code in _UNKNOWN_ROOT:
        reason += " (if it is your company's own, name the file with its root certificate in SSL_CERT_FILE)"
    return reason


def _iter_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    causes: list[BaseException | None] = [error]
    while causes:
        cause = causes.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        causes.append(cause.__cause__ or cause.__context__)
        if isinstance(cause, BaseExceptionGroup):  # each of a host's addresses has its own
            causes += cause.exceptions
