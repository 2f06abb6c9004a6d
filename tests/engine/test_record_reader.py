"""Reading records by their ids from APIs whose lists cannot be relied on: what is asked, and what is concluded."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from batch.credentials import Redaction
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.endpoints.vayu.customers import VayuCustomers
from batch.engine.record_reader import Absent, ListSize, ReadResult, RecordReader, Unreadable
from batch.engine.retry_loop import Answer
from batch.engine.shutdown import Shutdown
from batch.errors import StopCause
from batch.http import ApiRequest, ApiResponse, FailureKind, RequestFailure, Session
from batch.retry import classify
from tests.http.server import Peer, Server, response


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio
Said = tuple[int, Any]
NO = {"success": False, "errors": {"__all__": ["no"]}}


@dataclass
class Api:
    """An API with the customers 1 to 500; `lists` answers a list of ids, `alone` a record by itself."""

    lists: Callable[[list[int]], Said | RequestFailure]
    alone: Callable[[int], Said]
    endpoint: Any = field(default_factory=DualEntryCustomers)
    shutdown: Shutdown = field(default_factory=Shutdown)
    session: Any = field(default_factory=lambda: SimpleNamespace(redaction=Redaction()))
    asked: list[int] = field(default_factory=list)
    """How many ids each request asked for; 0: a record by itself."""

    async def read(self, request: ApiRequest, **_: object) -> Answer:
        await anyio.lowlevel.checkpoint()
        ids = [int(value) for name, value in request.query if name == "id"]
        self.asked.append(len(ids))
        said = self.lists(ids) if ids else self.alone(int(re.findall(r"\d+", request.path)[-1]))
        if isinstance(said, RequestFailure):
            return Answer(said, classify(None, {}, None, delivered=said.delivered), 6)
        status, body = said
        response = ApiResponse(status, body=json.dumps(body).encode())
        return Answer(response, classify(status, {}, body, delivered="answered"), 1)


def alone(number: int) -> Said:
    """A record by itself, which does not show what lists show."""
    return (200, {"id": number, "name": "alone"}) if number <= 500 else (404, NO)


def page(ids: Iterable[int], count: int | None = None) -> Said:
    items = [{"id": number, "name": "listed"} for number in ids if number <= 500]
    return 200, {"items": items, "count": len(items) if count is None else count}


def reader(
    lists: Callable[[list[int]], Said | RequestFailure], single: Callable[[int], Said] = alone
) -> tuple[RecordReader, Api]:
    api: Any = Api(lists, single)
    return RecordReader(lambda: api, 100, without_reading="--no-compare"), api


async def read(made: RecordReader, numbers: Iterable[int]) -> dict[str, ReadResult]:
    return await made.read_many([str(number) for number in numbers])


def is_right(found: dict[str, ReadResult], numbers: Iterable[int]) -> bool:
    """Whether every record came, under its id, in whatever order."""
    return {str(number): number for number in numbers} == {
        one: record["id"] for one, record in found.items() if isinstance(record, dict)
    }


async def test_normal() -> None:
    """Where lists work nothing more is asked, and only what a list does not show costs a read of its own."""
    made, api = reader(page)
    assert is_right(await read(made, range(1, 251)), range(1, 251))
    assert [100, 100, 50] == api.asked
    found = await read(made, [499, 500, 501])
    assert ([3, 0], Absent(404)) == (api.asked[3:], found["501"])


REFUSALS = [(404, {"detail": "Not Found"}), (404, NO), (400, NO), (413, ""), (501, NO), (403, NO), (405, NO)]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_every_list_refused(refusal: Said) -> None:
    """Lists that are always refused are soon no longer asked for, but now and then; every record is read."""
    made, api = reader(lambda ids: refusal)
    for start in (1, 101, 201):
        assert is_right(await read(made, range(start, start + 100)), range(start, start + 100))
    assert 300 == api.asked.count(0)
    assert len(api.asked) < 300 + 10 + 2 * 300 / 10


async def test_two_in_a_row() -> None:
    """Two refused lists of one size halve it, one does not; ten good ones double it."""
    refused = [True, False, False, True, True]
    made, api = reader(lambda ids: (400, NO) if len(ids) > 50 and refused.pop(0) else page(ids))
    await read(made, range(1, 101))  # refused, and its halves are good
    await read(made, range(1, 201))
    assert ([100, 50, 50, 100, 100], 100) == (api.asked, made.size.now)
    await read(made, range(1, 201))  # both are refused
    assert ([100, 50, 50, 100, 50, 50], 50) == (api.asked[5:], made.size.now)
    await read(made, range(1, 501))
    assert ([50] * 10, 100) == (api.asked[11:], made.size.now)


async def test_one_record_that_no_list_bears() -> None:
    """A record that spoils each list it is in costs some lists; the others are read, and lists stay as long."""
    made, api = reader(
        lambda ids: (500, NO) if 137 in ids else page(ids), lambda number: (500, NO) if number == 137 else alone(number)
    )
    found = await read(made, range(1, 301))
    assert is_right(found, [one for one in range(1, 301) if one != 137])
    assert isinstance(found["137"], Unreadable)
    assert (500, False, 100) == (found["137"].status, found["137"].is_refused, made.size.now)
    assert len(api.asked) < 3 + 16


@pytest.mark.parametrize("size", [1, 20, 60])
async def test_cut_with_a_true_count(size: int) -> None:
    """Where the API shows fewer than were asked for and says so, the next lists are as long as it takes."""
    made, api = reader(lambda ids: page(ids[:size], len(ids)))
    assert is_right(await read(made, range(1, 201)), range(1, 201))
    assert -(-100 // size) + -(-100 // size) - 1 <= len(api.asked) <= 200 // size + 3
    assert 1 == sum(count > size for count in api.asked)
    assert 0 not in api.asked


async def test_cut_without_a_count() -> None:
    """Where it does not say so, reading what is missing shows it."""
    made, api = reader(lambda ids: page(ids[:20]))
    assert is_right(await read(made, range(1, 201)), range(1, 201))
    assert [100, *[0] * 80, *[20] * 5] == api.asked


@pytest.mark.parametrize("count", [100, 1])
async def test_only_the_last_counts(count: int) -> None:
    """A filter that takes one id only is asked for one only."""
    made, api = reader(lambda ids: page(ids[-1:], min(count, len(ids))))
    assert is_right(await read(made, range(1, 151)), range(1, 151))
    assert 1 == sum(one > 1 for one in api.asked)


@pytest.mark.parametrize(
    ("shown", "count"), [(range(1, 101), 500), (range(1, 101), None), (range(201, 301), 100), ([499], 1)]
)
@pytest.mark.parametrize("first", [1, 101])
async def test_filter_ignored(shown: Iterable[int], count: int | None, first: int) -> None:
    """A list of others than asked, or of all there are, is the last one; what it shows is believed, else read alone."""
    is_telling = not (shown == range(1, 101) and count is None and first == 1)
    made, api = reader(lambda ids: (200, {"items": page(shown)[1]["items"]} | ({"count": count} if count else {})))
    assert is_right(await read(made, range(first, first + 100)), range(first, first + 100))
    assert is_right(await read(made, range(401, 501)), range(401, 501))
    assert (1 if is_telling else 2) == sum(one > 0 for one in api.asked)


async def test_some_are_not_listed() -> None:
    """A list that leaves out a few kinds of records (such as archived ones) goes on to be asked for."""
    made, api = reader(lambda ids: page(one for one in ids if one % 5))
    assert is_right(await read(made, range(1, 301)), range(1, 301))
    assert ([100] * 3, 60) == ([one for one in api.asked if one], api.asked.count(0))


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ((404, {"detail": "Not Found"}), 404),
        ((404, "<h1>gone</h1>"), 404),
        ((410, NO), 410),
        ((200, {"id": 999}), 200),
        ((200, {"ok": True}), 200),
        ((500, NO), 500),
    ],
)
async def test_unreadable(said: Said, status: int) -> None:
    """Only the record's own 404 in the API's own words means that it is not there."""
    made, _ = reader(lambda ids: page([]), lambda number: said)
    found = (await read(made, [7]))["7"]
    assert isinstance(found, Unreadable)
    assert (status, False, 1) == (found.status, found.is_stopped, len(found.problems))


@pytest.mark.parametrize("count", [None, 3])
async def test_listed_twice(count: int | None) -> None:
    """A record that a list shows in two ways is read by itself."""
    twice = {"items": [*page([1, 2])[1]["items"], {"id": 1, "name": "as it was"}]} | ({"count": count} if count else {})
    made, api = reader(lambda ids: (200, twice))
    found = await read(made, [1, 2])
    assert ({"1": "alone", "2": "listed"}, [2, 0]) == ({one: found[one]["name"] for one in found}, api.asked)  # type: ignore[index, call-overload]  # records


@pytest.mark.parametrize(
    "said", [RequestFailure("no", "the connection was refused", FailureKind.REFUSED), (429, NO)], ids=["lost", "429"]
)
async def test_status_of_a_list_is_no_row_s(said: Said | RequestFailure) -> None:
    """A list that cannot be reached, or comes too soon, is not halved, and gives no record a status."""
    made, api = reader(lambda ids: said)
    found = await read(made, range(1, 11))
    assert ({None}, [10]) == ({one.status for one in found.values() if isinstance(one, Unreadable)}, api.asked)


@pytest.mark.parametrize("status", [401, 403, 405])
async def test_first_reads_refused(status: int) -> None:
    """Where lists and single records are refused from the first, the run ends; the key comes first."""
    made, api = reader(lambda ids: (status, NO), lambda number: (status, NO))
    found = await read(made, range(1, 101))
    assert {True} == {one.is_stopped for one in found.values() if isinstance(one, Unreadable)}
    assert (100, [100, 0]) == (len(found), api.asked[:2])
    assert StopCause.CREDENTIALS is api.shutdown.cause
    key, help_, option = map(api.shutdown.reason.find, ("DUALENTRY_API_KEY", "may write", "--no-compare"))
    assert -1 < key < help_ < option


@pytest.mark.parametrize("status", [403, 405])
async def test_one_record_refused_later(status: int) -> None:
    """What is refused once other records were read is this record's own."""
    made, api = reader(lambda ids: page(one for one in ids if one != 7), lambda number: (status, NO))
    found = await read(made, range(1, 11))
    assert ((status, True), "") == ((found["7"].status, found["7"].is_refused), api.shutdown.reason)  # type: ignore[union-attr]


async def test_at_once() -> None:
    """Several tasks read through one reader, and each gets its own."""
    made, _ = reader(lambda ids: page(ids[:20], len(ids)))
    results: dict[int, dict[str, ReadResult]] = {}

    async def fill(start: int) -> None:
        results[start] = await read(made, range(start, start + 100))

    async with anyio.create_task_group() as tasks:
        for start in (1, 101, 201):
            tasks.start_soon(fill, start)
    assert all(is_right(found, range(start, start + 100)) for start, found in results.items())


async def test_never_in_lists() -> None:
    """An API without lists by id is asked for each record, once."""
    number = "65f00000000000000000000{}".format
    made, api = reader(page, lambda one: (200, {"customer": {"id": str(one)}}))
    api.endpoint, made.size = VayuCustomers(), ListSize(1)
    await made.read_many(list(map(number, range(1, 4))))
    assert [0, 0, 0] == api.asked


def test_sizes() -> None:
    """The size never leaves its bounds, and a failure of a list that was sent before changes nothing."""
    size = ListSize(100)
    for count in (100, 100):
        size.failed(count)
    size.failed(100)
    size.failed(100)
    assert 50 == size.now
    size.limit(30)
    for _ in range(25):
        size.succeeded(size.now)
    assert 30 == size.now
    size = ListSize(100)
    for count in (100, 100, *[50] * 9, 25, 50):  # in a row means without a failure in between
        (size.failed if count in (100, 25) else size.succeeded)(count)
    assert 50 == size.now
    size.limit(0)
    for _ in range(25):
        size.succeeded(0)
    assert 0 == size.now


async def test_another_record_ends_its_connection() -> None:
    """What a connection gives to the wrong read it would give to all that follow: the next one takes another."""

    def script(peer: Peer) -> None:
        while head := peer.read():
            number = 9 if peer.number == 1 else 7
            shown = {"items": [], "count": 0} if b"?" in head.split()[1] else {"id": number}
            peer.send(response("200 OK", body=json.dumps(shown).encode()))

    with Server(script) as server:
        async with Session(server.url) as session:

            async def ask(request: ApiRequest, **_: object) -> Answer:
                found = await session.exchange(request)
                assert isinstance(found, ApiResponse)
                return Answer(found, classify(found.status, {}, found.json, delivered="answered"), 1)

            made, api = reader(page)
            api.read = ask  # type: ignore[method-assign]  # over sockets
            results = [(await read(made, [7]))["7"] for _ in range(2)]
    assert isinstance(results[0], Unreadable)
    assert (results[1], server.connections) == ({"id": 7}, 2)
