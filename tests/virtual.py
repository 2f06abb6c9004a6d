"""What the tests on trio's virtual clock share: an API in memory with DualEntry's lists, and a job that runs by it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import httpx
import trio
from trio.testing import MockClock

from batch.run.target import Environment

KEY = {"DUALENTRY_API_KEY": "a-key-for-tests"}


def run_on_virtual_clock(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run as `anyio.run` does, but an hour of waiting takes no time."""
    options = {"clock": MockClock(autojump_threshold=0)}
    return anyio.run(partial(function, *arguments), backend="trio", backend_options=options)


class Lists:
    """DualEntry's list of customers, in memory; remembers what was asked, and when."""

    def __init__(self, numbers: range) -> None:
        self.records = {number: {"id": number, "unique_id": f"C-{number}", "name": f"N {number}"} for number in numbers}
        self.asked: list[tuple[float, httpx.Request]] = []
        self.before: Callable[[int], None] = lambda count: None
        """Is called before each list with how many there were."""
        self.has_count = True
        self.filters = True
        self.refusal: int | None = None
        """The status of every answer, if it is to be a refusal."""

    def environment(self) -> Environment:
        """A world in which this is the API."""
        return Environment(KEY, run_on_virtual_clock, lambda: httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.asked.append((trio.current_time(), request))
        if self.refusal is not None:
            return httpx.Response(self.refusal, json={"success": False, "errors": {"__all__": ["no"]}})
        if "custom-fields" in request.url.path:
            return httpx.Response(200, json={"items": [], "count": 0})
        number = request.url.path.split("/")[-2]
        if number.isdigit():
            record = self.records.get(int(number))
            if record is None:
                return httpx.Response(404, json={"success": False, "errors": {"__all__": ["Not found"]}})
            if request.method == "GET":
                return httpx.Response(200, json=record)
            record.update(httpx.Response(200, content=request.content).json())
            return httpx.Response(200, json=record)
        self.before(len(self.lists()) - 1)
        return self._list(request)

    def _list(self, request: httpx.Request) -> httpx.Response:
        asked = request.url.params
        found = [self.records[number] for number in sorted(self.records)]
        if self.filters and "unique_id" in asked:
            found = [one for one in found if one["unique_id"].casefold() == asked["unique_id"].casefold()]
        if "id" in asked:
            found = [one for one in found if str(one["id"]) in asked.get_list("id")]
        offset = int(asked.get("offset", "0"))
        items = found[offset : offset + 100]
        return httpx.Response(200, json={"items": items, "count": len(found)} if self.has_count else items)

    def lists(self) -> list[httpx.URL]:
        """The lists of customers that were asked for."""
        return [request.url for _, request in self.asked if request.method == "GET" and "customers" in request.url.path]
