"""One HTTP exchange at a time, told honestly.

`Session.exchange` sends one request and comes back with an `ApiResponse`, or with a `RequestFailure` that says whether
the request may have reached the API. It never repeats a request, never follows a redirect, never reads more than it
was told to, and raises nothing for anything that the network or the server does.

    session.py     the exchange itself, through httpx's client
    download.py    a file of any size from an address, whole or not at all
    transport.py   our transport: connections kept, requests sent, bodies unpacked
    connecting.py  how a connection comes about: name, proxy, TLS
    connection.py  one connection, and whether anything waits on it
    parser.py      one answer from the bytes of a connection
    response.py    answers as the rest of the program sees them: bounded, decoded, parsed
    failures.py    how an exchange can be lost, in plain words
    proxies.py, url.py

The README beside this says how a request travels, and why.
"""

from batch.http.failures import FailureKind, RequestFailure, Timeouts
from batch.http.response import ApiResponse
from batch.http.session import ApiRequest, Session
from batch.http.url import check_base_url, encode_id, is_loopback

__all__ = [
    "ApiRequest", "ApiResponse", "FailureKind", "RequestFailure", "Session", "Timeouts", "check_base_url", "encode_id",
    "is_loopback",
]  # fmt: skip
