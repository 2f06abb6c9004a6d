"""A credential goes to the API and nowhere else: not into logs, representations, causes or tracebacks."""

import logging
import traceback

import anyio
import pytest

from batch.errors import BatchError
from batch.http import ApiRequest, ApiResponse, Session, Timeouts
from tests.http.server import Peer, Script, Server, answering, response

CANARY = "canary-4f1d"
CALL = ApiRequest("PATCH", "/customers/7", "PATCH customer", content=b"{}")


def silent(peer: Peer) -> None:
    while peer.read():
        pass


SCRIPTS: dict[str, Script] = {
    "success": answering(),
    "unauthorized": answering(response("401 Unauthorized")),
    "redirect": answering(response("302 Found", "Location: http://127.0.0.1:1/")),
    "garbage": answering(b"220 ESMTP\r\n\r\n"),
    "reset": Peer.reset,
    "silent": silent,
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_no_credential_in_what_is_logged_or_shown(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    """With every logger at its most talkative, neither they nor what comes back hold the credential."""
    caplog.set_level(logging.DEBUG)
    shown: list[object] = []

    async def exchange(url: str) -> None:
        session = Session(url, headers={"X-API-Key": CANARY}, timeouts=Timeouts(read=0.05))
        async with session:
            shown.extend([session, await session.exchange(CALL)])

    with Server(script) as server:
        anyio.run(exchange, server.url, backend_options={"debug": True})
    assert CANARY not in caplog.text + repr(shown)


def test_whatever_the_account_adds_is_a_secret() -> None:
    """What is shown of an answer that echoes the account's headers, whatever their names, is without their values."""
    found: list[object] = []

    async def exchange(url: str) -> None:
        async with Session(url) as session:
            found.append(await session.exchange(CALL, {"X-Acme-Signature": CANARY, "Cookie": "sid biscuit-4f1d"}))

    with Server(answering(response("400 Bad Request", body=f"{CANARY} and biscuit-4f1d".encode()))) as server:
        anyio.run(exchange, server.url)
    (answer,) = found
    assert isinstance(answer, ApiResponse)
    assert b"(the key) and (the key)" == answer.redacted.body


def report(cause: BatchError) -> str:
    return "".join(traceback.format_exception(cause)) + repr(cause)


@pytest.mark.parametrize("value", [f"{CANARY}\n", f" {CANARY}", f"{CANARY}\N{ZERO WIDTH SPACE}"])
def test_no_credential_in_a_refusal(value: str) -> None:
    """A credential that cannot be sent is not repeated in the error, nor in its traceback."""
    with pytest.raises(BatchError) as refused:
        Session("https://test", headers={"X-API-Key": value})
    assert CANARY not in report(refused.value)


@pytest.mark.parametrize(
    "proxy", [f"http://me:{CANARY}@proxy:port", f"socks5://me:{CANARY}@proxy", f"http://me:{CANARY}:x@:y"]
)
def test_no_proxy_password_in_a_refusal(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the password of a proxy that cannot be used."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(BatchError) as refused:
        Session("https://api.test")
    assert CANARY not in report(refused.value)
