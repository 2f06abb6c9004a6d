"""The process: one loopback port for both APIs, served by uvicorn, and a clean end."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from filelock import FileLock, Timeout
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from batch.sandbox.application import Sandbox, application, write_aside
from batch.sandbox.options import VAYU_CLIENT_ID, OptionError, SandboxOptions, lock_of
from batch.sandbox.wire import Connection

HOST: Final = "127.0.0.1"
LOCK_SECONDS: Final = 2.0
"""Whoever looks whether a sandbox runs takes its lock for a moment."""
SAVE_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 3600
"""How long an idle connection is kept, and one on which an answer never comes."""


def run(options: SandboxOptions) -> None:
    """Serve until told to stop."""
    with _held(options.address):
        _run(options)


@contextlib.contextmanager
def _held(address: Path | None) -> Iterator[None]:
    """Hold the lock of the file with the address; that file is gone afterwards, unless the process is killed."""
    if address is None:
        yield
        return
    try:
        with FileLock(lock_of(address), timeout=LOCK_SECONDS, mode=0o600):
            yield
            address.unlink(missing_ok=True)
    except Timeout:
        raise OptionError(f"--address {address}: another sandbox serves there") from None


def _run(options: SandboxOptions) -> None:
    sandbox = Sandbox(options)
    if options.state:
        sandbox.load(options.state)
    with socket.create_server((HOST, options.port), backlog=1024) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # head and body leave in two writes
        connections: dict[Any, Connection] = {}
        server = _server(sandbox, connections)
        hello = _hello(listener.getsockname()[1], sandbox.keys[0])
        if options.address:
            write_aside(options.address, {**hello, "key": sandbox.keys[0], "limits": options.limits})
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(_serve(server, listener, sandbox, hello))
    sandbox.ledger.close()
    if options.state:
        sandbox.save(options.state)


class _Server(uvicorn.Server):
    """Leaves signals alone: uvicorn looks ten times a second whether one came, and raises it again at its end."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]  # all it is used as
        return contextlib.nullcontext()


def _server(sandbox: Sandbox, connections: dict[Any, Connection]) -> uvicorn.Server:
    class Protocol(HttpToolsProtocol):
        """HTTP over connections whose answers can be spoilt."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            connection = Connection(transport)
            super().connection_made(connection)
            connections[self.client] = connection

        def connection_lost(self, exc: Exception | None) -> None:
            connections.pop(self.client, None)
            super().connection_lost(exc)

    config = uvicorn.Config(
        application(sandbox, connections), http=Protocol, ws="none", lifespan="off", interface="asgi3",
        proxy_headers=False, server_header=False, log_config=None, log_level="error", access_log=False,
        timeout_keep_alive=IDLE_SECONDS,
    )  # fmt: skip
    return _Server(config)


async def _serve(server: uvicorn.Server, listener: socket.socket, sandbox: Sandbox, hello: dict[str, Any]) -> None:
    stop = sandbox.stop = asyncio.Event()
    _stop_on(stop, until_stdin_closes=sandbox.options.until_stdin_closes)
    sys.stdout.write(json.dumps(hello) + "\n")
    sys.stdout.flush()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve([listener]))
        saving = tasks.create_task(_save_now_and_then(sandbox))
        await stop.wait()
        saving.cancel()
        logging.disable()  # uvicorn would log every request that ends now
        for connection in list(server.server_state.connections):
            connection.transport.abort()  # a request that still waits gets no answer that tells of the stop
        serving.cancel()


async def _save_now_and_then(sandbox: Sandbox) -> None:
    """Save what was written within a second or two, so that little is lost where the process is killed."""
    saved, pause = sandbox.written, SAVE_SECONDS
    while sandbox.options.state:
        await asyncio.sleep(pause)
        if saved != sandbox.written:
            saved, began = sandbox.written, time.monotonic()
            with contextlib.suppress(OSError):  # said at the end, where it is still so
                sandbox.save(sandbox.options.state)
            pause = max(SAVE_SECONDS, 20 * (time.monotonic() - began))


def _stop_on(stop: asyncio.Event, *, until_stdin_closes: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if until_stdin_closes:
        threading.Thread(target=_wait_for_stdin, args=(loop, stop), daemon=True).start()


def _wait_for_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with contextlib.suppress(OSError):  # closed from the beginning
        while os.read(0, 4096):
            pass
    loop.call_soon_threadsafe(stop.set)


def _hello(port: int, key: str) -> dict[str, Any]:
    url = f"http://{HOST}:{port}"
    vayu = {"VAYU_API_TOKEN": key, "VAYU_CLIENT_ID": VAYU_CLIENT_ID}
    return {
        "url": url, "dualentry": {"base_url": url, "env": {"DUALENTRY_API_KEY": key}},
        "vayu": {"base_url": url, "env": vayu}, "pid": os.getpid(),
    }  # fmt: skip
