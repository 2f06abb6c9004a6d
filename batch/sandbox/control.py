"""The sandbox's own routes under `/_sandbox/`: a second writer, the truth about a record, and counts.

No authentication: they are reachable from this machine alone, and open nothing but samples.

    POST /_sandbox/edit     {"api": "dualentry" | "vayu", "id": …, "set": {…}}   the body of a PATCH, by another hand
    POST /_sandbox/approve  {"id": …}                   applies a change that waits for approval
    POST /_sandbox/expire                               makes all access tokens worthless
    POST /_sandbox/faults   {"faults": ["KIND=WHEN", …]}  from now on these faults and no others; counts start anew
    POST /_sandbox/reset    {}                            all records as they were at the beginning, and no faults
    GET  /_sandbox/record?api=&id=                      the record as it is, never stale
    GET  /_sandbox/counts                               requests, applied, most_at_once
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from batch.sandbox.dualentry import DualEntry
from batch.sandbox.exchange import EDIT, Answer, Call, json_answer, parsed
from batch.sandbox.faults import Faults
from batch.sandbox.ledger import Ledger
from batch.sandbox.options import OptionError
from batch.sandbox.vayu import Vayu


@dataclass(slots=True)
class Counts:
    """What was asked of the APIs, without the sandbox's own routes."""

    requests: Counter[tuple[str, str, int | None]] = field(default_factory=Counter)
    applied: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0

    def enter(self) -> None:
        """A request has come."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)

    def note(self, api: str, call: Call, status: int | None) -> None:
        """A request has been decided."""
        self.requests[api, call.method, status] += 1
        self.applied[api] += call.applied

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        apis: dict[str, dict[str, int]] = {"dualentry": {}, "vayu": {}}
        for (api, method, status), count in sorted(self.requests.items(), key=str):
            apis[api][f"{method} {status or 'none'}"] = count
        return {
            "requests": apis,
            "total": self.requests.total(),
            "applied": {api: self.applied[api] for api in apis},
            "most_at_once": self.most_at_once,
        }


class Control:
    """Answers the routes under `/_sandbox/`."""

    def __init__(self, dualentry: DualEntry, vayu: Vayu, ledger: Ledger, counts: Counts, faults: Faults) -> None:
        self._apis: dict[str, DualEntry | Vayu] = {"dualentry": dualentry, "vayu": vayu}
        self._dualentry = dualentry
        self._vayu = vayu
        self._ledger = ledger
        self._counts = counts
        self._faults = faults

    def answer(self, call: Call) -> Answer:
        """Answer one request."""
        match call.method, call.path:
            case "POST", "/_sandbox/edit":
                return self._edit(call)
            case "POST", "/_sandbox/approve":
                return self._approve(call)
            case "POST", "/_sandbox/expire":
                self._vayu.tokens.expire_all()
                return json_answer(200, {})
            case "POST", "/_sandbox/faults":
                return self._set_faults(call)
            case "POST", "/_sandbox/reset":
                return self._reset()
            case "GET", "/_sandbox/record":
                return self._record(call)
            case "GET", "/_sandbox/counts":
                return json_answer(200, self._counts.shown())
        return json_answer(404, {"message": f"The sandbox has no {call.method} {call.path}"})

    def _edit(self, call: Call) -> Answer:
        body = _object(call)
        api = self._apis.get(str(body.get("api")))
        if api is None or "id" not in body or not isinstance(body.get("set"), dict):
            return json_answer(400, {"message": 'Send {"api": "dualentry" or "vayu", "id": …, "set": {…}}'})
        edit = Call(call.n, EDIT, call.path, "", {}, to_json(body["set"]))
        answer = api.edit(edit, str(body["id"]))
        self._ledger.record(api.name, edit, status=answer.status, fault=None, by="other")
        return answer

    def _approve(self, call: Call) -> Answer:
        approval = Call(call.n, EDIT, call.path, "", {}, b"")
        answer = self._dualentry.approve(approval, str(_object(call).get("id")))
        self._ledger.record("dualentry", approval, status=answer.status, fault=None, by="approval")
        return answer

    def _set_faults(self, call: Call) -> Answer:
        try:
            self._faults.plan(tuple(map(str, _object(call).get("faults", ()))))
        except OptionError as error:
            return json_answer(400, {"message": str(error)})
        return json_answer(200, {})

    def _reset(self) -> Answer:
        for api in self._apis.values():
            api.records.forget()
        self._faults.plan(())
        return json_answer(200, {})

    def _record(self, call: Call) -> Answer:
        parameters = call.parameters
        api = self._apis.get(parameters.get("api", [""])[-1])
        record = api.true_record(parameters.get("id", [""])[-1]) if api else None
        if record is None:
            return json_answer(404, {"message": "no such api or record"})
        return json_answer(200, record)


def _object(call: Call) -> dict[str, Any]:
    try:
        body = parsed(call.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
