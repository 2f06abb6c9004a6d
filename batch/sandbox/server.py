"""The socket side: one loopback port for both APIs, the faults on the way, and a clean end.

The order for each request: number, fault of a gateway, judgement, latency, deed, **ledger**, answer.

Its own routes under `/_sandbox/` are a second writer, the truth about a record, and counts. No authentication:
they are reachable from this machine alone, and open nothing but samples. Where several keys were given, `company` is
the number of one (from 1, which it is by itself), here and in the ledger.

    POST /_sandbox/edit     {"api": "dualentry" | "vayu", "id": …, "set": {…}}   the body of a PATCH, by another hand
    POST /_sandbox/approve  {"id": …}                   applies a change that waits for approval
    POST /_sandbox/expire                               makes all access tokens worthless
    POST /_sandbox/faults   {"faults": ["KIND=WHEN", …]}  from now on these faults and no others; counts start anew
    POST /_sandbox/reset    {}                            all records as they were at the beginning, and no faults
    GET  /_sandbox/record?api=&id=&company=             the record as it is, never stale
    GET  /_sandbox/counts                               requests, applied, most_at_once
"""

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from pydantic_core import to_json

from batch.sandbox.api import EDIT, Answer, Call, json_answer, parsed
from batch.sandbox.dualentry import DualEntry
from batch.sandbox.faults import BARE_429, Faults
from batch.sandbox.ledger import Counts, Ledger
from batch.sandbox.options import VAYU_CLIENT_ID, OptionError, SandboxOptions
from batch.sandbox.vayu import Vayu


class Control:
    """Answers the routes under `/_sandbox/`."""

    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox

    def answer(self, call: Call) -> Answer:
        """Answer one request."""
        match call.method, call.path:
            case "POST", "/_sandbox/edit":
                return self._edit(call)
            case "POST", "/_sandbox/approve":
                return self._approve(call)
            case "POST", "/_sandbox/expire":
                for api in self._sandbox.vayu:
                    api.tokens.expire_all()
                return json_answer(200, {})
            case "POST", "/_sandbox/faults":
                return self._set_faults(call)
            case "POST", "/_sandbox/reset":
                return self._reset()
            case "GET", "/_sandbox/record":
                return self._record(call)
            case "GET", "/_sandbox/counts":
                return json_answer(200, self._sandbox.counts.shown())
        return json_answer(404, {"message": f"The sandbox has no {call.method} {call.path}"})

    def _edit(self, call: Call) -> Answer:
        body = _object(call)
        api, company = self._api(body)
        if api is None or "id" not in body or not isinstance(body.get("set"), dict):
            return json_answer(400, {"message": 'Send {"api": "dualentry" or "vayu", "id": …, "set": {…}}'})
        edit = Call(call.n, EDIT, call.path, "", {}, to_json(body["set"]), company=company)
        answer = api.edit(edit, str(body["id"]))
        self._sandbox.ledger.record(api.name, edit, status=answer.status, fault=None, by="other")
        return answer

    def _approve(self, call: Call) -> Answer:
        body = _object(call)
        api, company = self._api(body | {"api": "dualentry"})
        if not isinstance(api, DualEntry):
            return json_answer(400, {"message": 'Send {"id": …}'})
        approval = Call(call.n, EDIT, call.path, "", {}, b"", company=company)
        answer = api.approve(approval, str(body.get("id")))
        self._sandbox.ledger.record("dualentry", approval, status=answer.status, fault=None, by="approval")
        return answer

    def _set_faults(self, call: Call) -> Answer:
        try:
            self._sandbox.faults.plan(tuple(map(str, _object(call).get("faults", ()))))
        except OptionError as error:
            return json_answer(400, {"message": str(error)})
        return json_answer(200, {})

    def _reset(self) -> Answer:
        for apis in self._sandbox.apis.values():
            for api in apis:
                api.records.forget()
        self._sandbox.faults.plan(())
        return json_answer(200, {})

    def _record(self, call: Call) -> Answer:
        named = {name: values[-1] for name, values in call.parameters.items()}
        api, _ = self._api(named)
        record = api.true_record(named.get("id", "")) if api else None
        if record is None:
            return json_answer(404, {"message": "no such api or record"})
        return json_answer(200, record)

    def _api(self, named: Mapping[str, Any]) -> tuple[DualEntry | Vayu | None, int]:
        """The API that is named, None when there is no such one, and the number of the company."""
        number = str(named.get("company", 1))
        apis = self._sandbox.apis.get(str(named.get("api")), ())
        found = dict(enumerate(apis, start=1)).get(int(number)) if number.isdecimal() else None
        return found, int(number) if found else 0


def _object(call: Call) -> dict[str, Any]:
    try:
        body = parsed(call.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


HOST: Final = "127.0.0.1"
LAST_SECONDS: Final = 0.1
"""What a request in progress is given when the sandbox stops; an answer that hangs would hold it up for ever."""
_NOTHING_DONE: Final = {"drop-before", "hang-before"}
_BROKEN_OFF: Final = {"drop-after", "hang-after", "half"}


class Sandbox:
    """Both APIs of each company, and all that surrounds them; `handle` answers one request."""

    def __init__(self, options: SandboxOptions) -> None:
        self._options = options
        self.keys = options.keys or (secrets.token_hex(16),)
        self.dualentry = [DualEntry(options, key) for key in self.keys]
        self.vayu = [Vayu(options, key) for key in self.keys]
        self.apis: dict[str, Sequence[DualEntry | Vayu]] = {"dualentry": self.dualentry, "vayu": self.vayu}
        self.ledger = Ledger(
            options.ledger, writes_only=options.ledger_writes_only, bodies=not options.ledger_no_bodies
        )
        self.faults = Faults(options.faults, options.seed)
        self.counts = Counts()
        self._control = Control(self)
        self._numbers = itertools.count(1)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or fail it in the way that was asked for."""
        path, _, query = request.raw_path.partition("?")
        try:
            body = await request.read() if request.can_read_body else b""
        except web.HTTPRequestEntityTooLarge:
            body = b" " * (request.content_length or 1024**2)  # each API refuses it in its own words
        call = Call(next(self._numbers), request.method, path, query, request.headers, body)
        if path.startswith("/_sandbox/"):
            return _response(call, self._control.answer(call))
        self.counts.enter()
        try:
            return await self._answer(request, call)
        finally:
            self.counts.at_once -= 1

    async def _answer(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        apis = self.apis["dualentry" if call.path.startswith("/public/") else "vayu"]
        opened = [number for number, one in enumerate(apis, start=1) if one.is_opened_by(call)]
        call.company = next(iter(opened), None)
        api = apis[(call.company or 1) - 1]  # without a good key, the first one refuses
        call.record = api.record_in(call)
        fault = self.faults.draw(call)
        answer = await self._decide(api, call, fault)
        status = answer.status if answer else None
        self.ledger.record(api.name, call, status=status, fault=fault)
        self.counts.note(api.name, call, status)
        if answer is None:
            if fault == "hang-before":
                await _client_gone(request)
            return _close(request)
        if fault in _BROKEN_OFF:
            return await _break_off(request, call, answer, fault)
        return _response(call, answer)

    async def _decide(self, api: DualEntry | Vayu, call: Call, fault: str | None) -> Answer | None:
        """The answer; None when the connection is to close with nothing done."""
        early = _before(api, fault)
        opened = early or (None if fault in _NOTHING_DONE else api.open(call, time.monotonic()))
        if self._options.latency:
            await asyncio.sleep(self._options.latency)
        if opened is None or isinstance(opened, Answer):
            return opened
        answer = opened(fault)
        if fault == "500-after":
            return api.failed(500)
        if fault == "garbage":
            return Answer(200, b"<html><body>Welcome</body></html>", content_type="text/html")
        return answer

    def load(self, path: Path) -> None:
        """Take up the records that an earlier sandbox saved."""
        if not path.exists():
            return
        try:
            saved = json.loads(path.read_bytes())
            for name, apis in self.apis.items():
                apis[0].records.load(saved[name])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise OptionError(f"--state {path}: this is not a state that a sandbox saved") from None

    def save(self, path: Path) -> None:
        """Save what was written, for the next sandbox."""
        state = {name: apis[0].records.dump() for name, apis in self.apis.items()}
        unfinished = path.with_name(path.name + ".tmp")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(state, file)
        unfinished.replace(path)


def run(options: SandboxOptions) -> None:
    """Serve until told to stop."""
    asyncio.run(_serve(options))


async def _serve(options: SandboxOptions) -> None:
    sandbox = Sandbox(options)
    if options.state:
        sandbox.load(options.state)
    runner = web.ServerRunner(web.Server(sandbox.handle, access_log=None), shutdown_timeout=LAST_SECONDS)
    await runner.setup()
    stop = asyncio.Event()
    _stop_on(stop, until_stdin_closes=options.until_stdin_closes)
    try:
        await web.TCPSite(runner, HOST, options.port, backlog=1024).start()
        sys.stdout.write(json.dumps(_hello(runner.addresses[0][1], sandbox.keys[0])) + "\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await runner.cleanup()
        sandbox.ledger.close()
    if options.state:
        sandbox.save(options.state)


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


def _before(api: DualEntry | Vayu, fault: str | None) -> Answer | None:
    """The answer of a gateway that never asks the API."""
    if fault == BARE_429:
        answer = api.failed(429)
        answer.headers.pop("Retry-After", None)
        return answer
    return api.failed(int(fault)) if fault is not None and fault.isdigit() else None


def _response(call: Call, answer: Answer) -> web.Response:
    return web.Response(
        body=answer.rendered(), status=answer.status, headers=call.reply_headers | answer.headers,
        content_type=answer.content_type,
    )  # fmt: skip


def _close(request: web.BaseRequest) -> web.Response:
    """Close the connection; what is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _break_off(request: web.BaseRequest, call: Call, answer: Answer, fault: str | None) -> web.StreamResponse:
    if fault == "hang-after":
        await _client_gone(request)
    elif fault == "half":
        await _send_half(request, call, answer)
    return _close(request)


async def _client_gone(request: web.BaseRequest) -> None:
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - aiohttp tells nobody
        await asyncio.sleep(0.05)


async def _send_half(request: web.BaseRequest, call: Call, answer: Answer) -> None:
    body = answer.rendered()
    response = web.StreamResponse(status=answer.status, headers=call.reply_headers | answer.headers)
    response.content_type = answer.content_type
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
