"""Who may talk to the page, and what it may be told: checked before anything of a request is looked at.

Promises, each of them tested by an attack: only requests for exactly this host and port are answered; a token opens the
page once; whatever changes something comes from the page itself; no answer can be framed, run a foreign script, or be
kept by the browser; a body that is too long or too slow is broken off.
"""

import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST: Final = "127.0.0.1"
COOKIE: Final = "batch_page"
FORM_BYTES: Final = 4 << 20
"""What a form may come to at most: a few thousand columns, each with what it stands for."""
UPLOAD_BYTES: Final = 512 << 20
SLOW_SECONDS: Final = 30.0
"""How long the next part of a body may be waited for."""
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
REPORT_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
"""Of a report, which has its style inside, and neither scripts nor forms."""
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
READING: Final = ("GET", "HEAD")
AGAIN: Final = "Open it again the way you started it: a double-click on its icon, or  ./run.sh page"


@dataclass(slots=True)
class Keys:
    """What opens the page: a token for the address bar, good once, and the cookie that it is exchanged for."""

    keep_token: Callable[[str], None] = lambda token: None
    """Is told each new token, for a later start that finds this page running."""
    token: str = field(default="", repr=False)
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    door: str = field(default_factory=lambda: secrets.token_hex(8), repr=False)
    """The folder of all addresses: a cookie of a path goes to no other server at 127.0.0.1, whatever its port."""

    def __post_init__(self) -> None:
        """Make the first token."""
        self.renew()

    def renew(self) -> None:
        """Make another token: the one before opens nothing any more."""
        self.token = secrets.token_urlsafe(32)
        self.keep_token(self.token)

    def is_token(self, text: str) -> bool:
        """Whether this is the token, which is used up by it."""
        is_it = _is_same(text, self.token)
        if is_it:
            self.renew()
        return is_it


@dataclass(frozen=True, slots=True)
class Guard:
    """The outermost part of the application; `port` is the one that it is served on."""

    app: ASGIApp
    keys: Keys
    port: int
    slow_seconds: float = SLOW_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what may be handed on; answer everything else."""
        if scope["type"] != "http":
            return  # neither a lifespan nor a web socket is served
        send = _with_headers(send)
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(*refusal)(scope, receive, send)
        elif scope["path"] == "/":
            await self._open(scope, receive, send)
        elif not self._is_known(headers):
            await _refuse(403, f"This page is not open in this browser. {AGAIN}")(scope, receive, send)
        else:
            most = UPLOAD_BYTES if scope["path"].endswith("/upload") else FORM_BYTES
            await self.app(scope, _Body(receive, most, self.slow_seconds).receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Return why a request is refused, whoever sends it."""
        own = f"{HOST}:{self.port}"
        if headers.getlist("host") != [own]:
            return 421, f"Only http://{own} is served here."
        if scope["method"] in READING:
            return None
        if scope["method"] != "POST":
            return 405, "This is neither read nor sent here."
        origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
        if (not origins and not sites) or any(one != f"http://{own}" for one in origins):
            return 403, "This was not sent by the page itself, so nothing was done."
        if any(one != "same-origin" for one in sites):
            return 403, "This was not sent by the page itself, so nothing was done."
        length = headers.get("content-length", "0")
        most = UPLOAD_BYTES if scope["path"].endswith("/upload") else FORM_BYTES
        if not length.isdecimal() or int(length) > most:
            return 413, _too_long(most)
        return None

    def _is_known(self, headers: Headers) -> bool:
        return any(_is_same(one, self.keys.session) for one in _cookies(headers.getlist("cookie")))

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Exchange the token for the cookie."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        if scope["method"] != "GET" or not self.keys.is_token(given[0]):
            message = f"This address opens the page once, and was used, or is of an earlier start. {AGAIN}"
            await _refuse(403, message)(scope, receive, send)
            return
        path = f"/{self.keys.door}/"
        answer = RedirectResponse(path, 303)
        answer.set_cookie(COOKIE, self.keys.session, path=path, httponly=True, samesite="strict")
        await answer(scope, receive, send)


class BodyError(HTTPException):
    """A body is too long or too slow."""

    def __init__(self, status: int, message: str) -> None:
        """Have the connection closed, since the rest of the body is not read."""
        super().__init__(status, message, {"Connection": "close"})


@dataclass(slots=True)
class _Body:
    """The body of one request, of which no more is taken than it may have."""

    inner: Receive
    most: int
    seconds: float
    size: int = 0

    async def receive(self) -> Message:
        """Wait for the next part; raises BodyError."""
        if self.size < 0:  # all of it is here: what comes now is the end of the connection
            return await self.inner()
        with anyio.move_on_after(self.seconds) as waited:
            message = await self.inner()
        if waited.cancelled_caught:
            raise BodyError(408, f"Nothing came for {self.seconds:.0f} seconds, so nothing was taken.")
        self.size += len(message.get("body", b""))
        if self.size > self.most:
            raise BodyError(413, _too_long(self.most))
        if not message.get("more_body", False):
            self.size = -1
        return message


def _too_long(most: int) -> str:
    return f"This is too long: at most {most >> 20:,} MB are taken. Nothing was kept."


def _cookies(headers: Sequence[str]) -> list[str]:
    """Return the values of our cookie; browsers send those of all paths that fit, the longest path first."""
    found = []
    for header in headers:
        for one in header.split(";"):
            cookie = SimpleCookie()
            try:
                cookie.load(one.strip())
            except CookieError:
                continue
            found += [morsel.value for name, morsel in cookie.items() if name == COOKIE]
    return found


def _is_same(one: str, other: str) -> bool:
    """Compare secrets in a time that does not tell how much of them is right."""
    return hmac.compare_digest(one.encode(), other.encode())


def _refuse(status: int, message: str) -> PlainTextResponse:
    return PlainTextResponse(f"{message}\n", status, headers={"Connection": "close"})


def _with_headers(send: Send) -> Send:
    """Return what sends an answer with the headers that keep it safe, but for those that it has itself."""

    async def send_guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_guarded
