"""A third API, and the one file that it takes: Acme's vendors, with the API itself in memory.

It has no sandbox, no key lookups, no custom fields and no idempotency keys; its ids tell upper from lower case.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from batch.endpoints import cell_types
from batch.endpoints.base import (
    Account,
    CredentialVariable,
    Endpoint,
    EndpointOption,
    Record,
    StaticAccount,
    UnreadableReplyError,
    as_content,
)
from batch.endpoints.errors import error_text, tidied
from batch.http import ApiRequest, ApiResponse, encode_id
from batch.model import Field
from batch.run.target import Environment
from tests.virtual import run_on_virtual_clock

KEY = "a-key-for-acme"
PAGE = 2


class AcmeVendors(Endpoint):
    """PATCH /vendors/{id}"""

    name = "acme.vendors"
    title = "Acme vendors"
    noun, plural = "vendor", "vendors"
    method = "PATCH"
    base_url = "https://api.acme.example"
    id_labels = ("vendor id",)
    id_form = "V and 4 letters or digits"
    id_pattern = "^V[A-Za-z0-9]{4}$"
    variables = (CredentialVariable("ACME_KEY", True, "the key"),)
    page_size = PAGE
    options = (EndpointOption("source", str, "batch", "what Acme notes as the source of a change"),)
    fields = (
        Field("name", cell_types.text(min_length=1), nullable=False, labels=("vendor name",), limits="text"),
        Field("email", cell_types.text(), labels=("mail",), limits="text"),
        Field("tier", cell_types.choice("Gold", "Tin"), limits="one of a list", choices=("Gold", "Tin"), kind="choice"),
        Field("tags", cell_types.TEXT_LIST, limits="a list: a; b; c", kind="list"),
        Field("preferred", cell_types.BOOLEAN, limits="true or false", kind="boolean"),
    )

    def __init__(self, *, source: str = "batch", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._source = source

    def account(self, credentials: Mapping[str, str]) -> Account:
        """Send the key with every request."""
        return StaticAccount({"Authorization": f"Token {credentials['ACME_KEY']}"})

    def write_request(self, record_id: str, body: Mapping[str, Any], key: str | None) -> ApiRequest:
        """PATCH one vendor."""
        content, query = as_content(body), (("source", self._source),)
        return ApiRequest("PATCH", f"/vendors/{encode_id(record_id)}", "PATCH vendor", query=query, content=content)

    def read_one_request(self, record_id: str) -> ApiRequest:
        """GET one vendor."""
        return ApiRequest("GET", f"/vendors/{encode_id(record_id)}", "GET vendor")

    def page_request(self, cursor: str, where: Mapping[str, str]) -> ApiRequest:
        """List the vendors behind an id."""
        return ApiRequest("GET", "/vendors", "GET vendors", query=(("after", cursor),) if cursor else ())

    def next_cursor(self, response: ApiResponse, cursor: str) -> str | None:
        """Go on behind the last id; a page that is not full is the last."""
        records = self.parse_records(response)
        return self.record_id(records[-1]) if len(records) == PAGE else None

    def parse_records(self, response: ApiResponse) -> list[Record]:
        """Read a list, or one vendor."""
        found = response.json if isinstance(response.json, list) else [response.json]
        if all(isinstance(one, Mapping) and "id" in one for one in found):
            return found
        raise UnreadableReplyError("the answer holds no vendor")

    def parse_error(self, response: ApiResponse) -> list[tuple[str, str]]:
        """Read `{"problems": [{"at", "why"}]}`."""
        data: Any = response.json
        items = data.get("problems") if isinstance(data, Mapping) else None
        found = [one for one in items if isinstance(one, Mapping)] if isinstance(items, list) else []
        pairs = [(str(one.get("at") or ""), str(one["why"])) for one in found if "why" in one]
        return tidied(pairs or [("", error_text(response))])


def vendor(record_id: str, name: str, **more: Any) -> dict[str, Any]:
    """Make a vendor of whom little is known."""
    return {"id": record_id, "name": name, "email": "", "tier": None, "tags": [], "preferred": False} | more


@dataclass
class AcmeApi:
    """Acme's API in memory; refuses an e-mail address without an @."""

    records: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            one["id"]: one
            for one in (
                vendor("Vaaaa", "Ann", email="ann@a.example", tags=["x", "y"]),
                vendor("VaaaA", "Ben", tier="Gold"),
                vendor("Vbbbb", "Cy", preferred=True),
            )
        }
    )
    writes: list[tuple[str, Any]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def environment(self) -> Environment:
        """Return a world in which this API is the only one."""
        endpoints = {AcmeVendors.name: AcmeVendors}
        return Environment({"ACME_KEY": KEY}, run_on_virtual_clock, lambda: httpx.MockTransport(self.answer), endpoints)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        if request.headers.get("Authorization") != f"Token {KEY}":
            return httpx.Response(401, json={"problems": [{"at": "", "why": "who are you?"}]})
        _, _, record_id = request.url.path.removeprefix("/").partition("/")
        if not record_id:
            known = sorted(one for one in self.records if one > request.url.params.get("after", ""))
            return httpx.Response(200, json=[self.records[one] for one in known[:PAGE]])
        if record_id not in self.records:
            return httpx.Response(404, json={"problems": [{"at": "id", "why": "nobody"}]})
        if request.method == "PATCH":
            body = json.loads(request.content)
            if "@" not in (body.get("email") or "@"):
                return httpx.Response(422, json={"problems": [{"at": "email", "why": "is no address"}]})
            self.writes.append((record_id, body))
            self.sources.append(request.url.params["source"])
            self.records[record_id] |= body
        return httpx.Response(200, json=self.records[record_id])
