"""One HTTP exchange at a time, told honestly.

`Session.exchange` sends one request and comes back with an `ApiResponse`, or with a `RequestFailure` that says whether
the request may have reached the API. It never repeats a request, never follows a redirect, never reads more than it
was told to, and raises nothing for anything that the network or the server does.

    url.py       base URLs, ids as path segments
    failures.py  how an exchange can be lost, in plain words
    response.py  answers: bounded, decoded, parsed
    session.py   the exchange itself, over the wire or any httpx transport
    wire.py      aiohttp's connections (imported when first needed), and the proxy they go through
"""

from batch.http.failures import FailureKind, RequestFailure, Timeouts
from batch.http.response import ApiResponse
from batch.http.session import ApiRequest, Session
from batch.http.url import check_base_url, encode_id

__all__ = [
    "ApiRequest", "ApiResponse", "FailureKind", "RequestFailure", "Session", "Timeouts", "check_base_url", "encode_id",
]  # fmt: skip
