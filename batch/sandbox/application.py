"""The sandbox as a Starlette application: both imitated APIs, what they do wrong, and routes of its own.

The order for each request: number, fault of a gateway, judgement, latency, deed, **ledger**, answer.

Its own routes under `/_sandbox/` are a second writer, the truth about a record, and counts. No authentication:
they are reachable from this machine alone, and open nothing but samples. Where several keys were given, `company` is
the number of one (from 1, which it is by itself), here and in the ledger.

    POST /_sandbox/edit     {"api": "dualentry" | "vayu", "id": …, "set": {…}}   the body of a PATCH, by another hand
    POST /_sandbox/approve  {"id": …, "granted": true}  applies a change that waits for approval, or drops it
    POST /_sandbox/expire                               makes all access tokens worthless
    POST /_sandbox/faults   {"faults": ["KIND=WHEN", …]}  from now on these faults and no others; counts start anew
    POST /_sandbox/behave   {"read_lag": 2, …}          changes options (those in `CHANGEABLE`)
    POST /_sandbox/stop     {"key": …}                    ends it, for whoever knows its key
    POST /_sandbox/reset    {}                            records and options as they were at the beginning, no faults
    GET  /_sandbox/record?api=&id=&company=             the record as it is, never stale
    GET  /_sandbox/counts                               requests, applied, most_at_once
"""

import asyncio
import dataclasses
import itertools
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
from pydantic_core import to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from batch.sandbox.api import EDIT, Answer, Call, json_answer, parsed
from batch.sandbox.dualentry import DualEntry
from batch.sandbox.faults import Faults
from batch.sandbox.ledger import Counts, Ledger
from batch.sandbox.options import CHANGEABLE, OptionError, SandboxOptions
from batch.sandbox.vayu import Vayu
from batch.sandbox.wire import SPOILT, Connection

_NOTHING_DONE = frozenset({"drop-before", "hang-before"})
_INSTEAD = {
    "garbage": Answer(200, b"<html><body>Welcome</body></html>", content_type="text/html"),
    "empty": Answer(200, b""),
    "queued": json_answer(202, {"status": "queued"}),
    "success-true": json_answer(200, {"success": True}),
}
"""By fault, what is answered whatever the API says."""


class SpoiltAnswerError(Exception):
    """An answer is to be spoilt on its way, and there is no connection: the application is asked in process."""

    def __init__(self, fault: str, answer: Response) -> None:
        super().__init__(fault)
        self.fault = fault
        self.answer = answer


class Sandbox:
    """Both APIs of each company, and all that surrounds them."""

    def __init__(self, options: SandboxOptions) -> None:
        self._first_options = self.options = options
        self.keys = options.keys or (secrets.token_hex(16),)
        self.vayu = [Vayu(options, key) for key in self.keys]
        self.apis: dict[str, Sequence[DualEntry | Vayu]] = {
            "dualentry": [DualEntry(options, key) for key in self.keys], "vayu": self.vayu,
        }  # fmt: skip
        self.ledger = Ledger(
            options.ledger, writes_only=options.ledger_writes_only, bodies=not options.ledger_no_bodies
        )
        self.faults = Faults(options.faults, options.seed)
        self.counts = Counts()
        self.numbers = itertools.count(1)
        self.stop: asyncio.Event | None = None
        """Ends the serving; None where the application is asked in process."""

    async def answer(self, call: Call) -> tuple[Answer | None, str | None]:
        """The answer to a request, None where nothing was done for it, and the fault that it meets."""
        self.counts.enter()
        try:
            return await self._answer(call)
        finally:
            self.counts.at_once -= 1

    async def _answer(self, call: Call) -> tuple[Answer | None, str | None]:
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
        return answer, fault

    async def _decide(self, api: DualEntry | Vayu, call: Call, fault: str | None) -> Answer | None:
        early = self._before(api, fault)
        opened = early or (None if fault in _NOTHING_DONE else api.open(call, anyio.current_time()))
        if self.options.latency:
            await anyio.sleep(self.options.latency)
        if opened is None or isinstance(opened, Answer):
            return opened
        answer = opened(fault)
        if fault is not None and fault.endswith("-after") and fault[:3].isdigit():
            return self._failed(api, int(fault[:3]))
        return _INSTEAD.get(fault or "", answer)

    def _before(self, api: DualEntry | Vayu, fault: str | None) -> Answer | None:
        """The answer of a gateway that never asks the API."""
        if fault == "429-bare":
            answer = api.failed(429)
            answer.headers.pop("Retry-After", None)
            return answer
        return self._failed(api, int(fault)) if fault is not None and fault.isdigit() else None

    def _failed(self, api: DualEntry | Vayu, status: int) -> Answer:
        answer = api.failed(status)
        if self.options.retry_after:
            answer.headers["Retry-After"] = self.options.retry_after
        return answer

    def behave(self, options: SandboxOptions) -> None:
        """From now on answer by these options; limits, keys and the like stay as they were at the start."""
        self.options = options
        for apis in self.apis.values():
            for api in apis:
                api.options = options

    def reset(self) -> None:
        """Make all as it was at the beginning, and without faults."""
        self.behave(self._first_options)
        self.faults.plan(())
        for apis in self.apis.values():
            for api in apis:
                api.forget()

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
        write_aside(path, state)

    @property
    def written(self) -> int:
        """How often a record was written."""
        return sum(api.records.writes for apis in self.apis.values() for api in apis)


def write_aside(path: Path, value: Any) -> None:
    """Write a private file of JSON, which is whole whenever it is there."""
    unfinished = path.with_name(path.name + ".tmp")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(value, file)
    unfinished.replace(path)


def application(sandbox: Sandbox, connections: Mapping[Any, Connection]) -> Router:
    """The ASGI application; `connections` by the client's address, none of them where it is asked in process."""
    control = _Control(sandbox)
    routes = [
        Route("/edit", control.edit, methods=["POST"]),
        Route("/approve", control.approve, methods=["POST"]),
        Route("/expire", control.expire, methods=["POST"]),
        Route("/faults", control.plan_faults, methods=["POST"]),
        Route("/behave", control.behave, methods=["POST"]),
        Route("/stop", control.stop, methods=["POST"]),
        Route("/reset", control.reset, methods=["POST"]),
        Route("/record", control.record),
        Route("/counts", control.counts),
    ]

    async def apis(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        call = Call(next(sandbox.numbers), request.method, path, query, request.headers, body)
        answer, fault = await sandbox.answer(call)
        response = _response(call, answer or Answer(200, b""))
        if fault not in SPOILT:
            await response(scope, receive, send)
            return
        connection = connections.get(scope["client"])
        if connection is None:
            raise SpoiltAnswerError(fault, response)
        with connection.spoiling(fault):
            await response(scope, receive, send)

    return Router([Mount("/_sandbox", routes=routes)], redirect_slashes=False, default=apis)


class _Control:
    """The routes under `/_sandbox/`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def edit(self, request: Request) -> Response:
        body = await _object(request)
        api, company = self._api(body)
        if api is None or "id" not in body or not isinstance(body.get("set"), dict):
            return _said(400, {"message": 'Send {"api": "dualentry" or "vayu", "id": …, "set": {…}}'})
        edit = self._call(request, company, to_json(body["set"]))
        answer = api.edit(edit, str(body["id"]))
        self._sandbox.ledger.record(api.name, edit, status=answer.status, fault=None, by="other")
        return _response(edit, answer)

    async def approve(self, request: Request) -> Response:
        body = await _object(request)
        api, company = self._api(body | {"api": "dualentry"})
        if not isinstance(api, DualEntry):
            return _said(400, {"message": 'Send {"id": …}'})
        approval = self._call(request, company)
        answer = api.approve(approval, str(body.get("id")), granted=body.get("granted", True) is True)
        self._sandbox.ledger.record("dualentry", approval, status=answer.status, fault=None, by="approval")
        return _response(approval, answer)

    async def expire(self, request: Request) -> Response:
        for api in self._sandbox.vayu:
            api.tokens.expire_all()
        return _said(200, {})

    async def plan_faults(self, request: Request) -> Response:
        body = await _object(request)
        try:
            self._sandbox.faults.plan(tuple(map(str, body.get("faults", ()))))
        except OptionError as error:
            return _said(400, {"message": str(error)})
        return _said(200, {})

    async def behave(self, request: Request) -> Response:
        body = await _object(request)
        if unknown := set(body) - CHANGEABLE:
            return _said(400, {"message": f"{', '.join(sorted(unknown))}: set at the start, or not at all"})
        try:
            self._sandbox.behave(dataclasses.replace(self._sandbox.options, **body))
        except (OptionError, TypeError) as error:
            return _said(400, {"message": str(error)})
        return _said(200, {})

    async def stop(self, request: Request) -> Response:
        body = await _object(request)
        if self._sandbox.stop is None or str(body.get("key")) not in self._sandbox.keys:
            return _said(403, {"message": 'Send {"key": …} with the key of this sandbox'})
        asyncio.get_running_loop().call_later(0.1, self._sandbox.stop.set)  # when this answer has left
        return _said(200, {})

    async def reset(self, request: Request) -> Response:
        self._sandbox.reset()
        return _said(200, {})

    async def record(self, request: Request) -> Response:
        api, _ = self._api(request.query_params)
        record = api.true_record(request.query_params.get("id", "")) if api else None
        if record is None:
            return _said(404, {"message": "no such api or record"})
        return _said(200, record)

    async def counts(self, request: Request) -> Response:
        return _said(200, self._sandbox.counts.shown())

    def _call(self, request: Request, company: int, body: bytes = b"") -> Call:
        """A change by another hand, as the ledger shows it."""
        now = anyio.current_time()
        return Call(next(self._sandbox.numbers), EDIT, request.url.path, "", {}, body, company=company, now=now)

    def _api(self, named: Mapping[str, Any]) -> tuple[DualEntry | Vayu | None, int]:
        """The API that is named, None when there is no such one, and the number of the company."""
        number = str(named.get("company", 1))
        apis = self._sandbox.apis.get(str(named.get("api")), ())
        found = dict(enumerate(apis, start=1)).get(int(number)) if number.isdecimal() else None
        return found, int(number) if found else 0


async def _object(request: Request) -> dict[str, Any]:
    try:
        body = parsed(await request.body())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _response(call: Call, answer: Answer) -> Response:
    headers = call.reply_headers | answer.headers | {"Content-Type": answer.content_type}
    return Response(answer.rendered(), answer.status, headers)


def _said(status: int, payload: dict[str, Any]) -> Response:
    return Response(to_json(payload), status, media_type="application/json")
