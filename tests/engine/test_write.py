"""Change -> outcome, on a virtual clock: attempts, waits, proofs, and every reason to stop."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from typing import Any

import anyio
import httpx
import pytest
from trio.testing import MockClock

from batch.endpoints.base import Record
from batch.endpoints.vayu.customers import VayuCustomers
from batch.engine.api_session import fetch_definitions
from batch.engine.idempotency import make_key
from batch.engine.prepare import PreparedChange
from batch.engine.retry_loop import ApiClient
from batch.engine.shutdown import Shutdown
from batch.engine.write import LOOKS
from batch.errors import JournalError, StoppedError
from batch.http import ApiResponse
from batch.model import Change, Condition, Intent, Outcome, Problem, RowResult, State
from batch.ratelimit import Bucket, Limits
from batch.retry import CircuitBreaker
from tests.engine.writer_fixture import (
    DUALENTRY,
    Api,
    Script,
    WriterFixture,
    prepared,
    writer_fixture,
)

UPDATED, UNCHANGED, INVALID, REJECTED, FAILED, UNKNOWN, UNSENT = Outcome
FOUND_APPLIED = "no answer came, but reading back showed that it was applied"
DROPPED = "the connection was dropped before an answer came"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


pytestmark = pytest.mark.anyio


def done(request: httpx.Request, **shown: Any) -> httpx.Response:
    """The customer as it is after the change, or as it is said to be."""
    record_id = request.url.path.rstrip("/").rsplit("/", 1)[1]
    return httpx.Response(200, json={"id": record_id, "name": "New", **shown})


def refuse(status: int, body: Any = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={} if body is None else body, headers=named)


def always(response: httpx.Response) -> Script:
    return lambda request, count: response


def first(count: int, said: Any, then: Callable[[httpx.Request], Any] = done) -> Script:
    """Say it to the first so many requests, and do as asked afterwards."""
    return lambda request, number: said if number <= count else then(request)


# -- one change -----------------------------------------------------------------------------------------------------


async def test_updated() -> None:
    """A change that the API confirms is updated, with one attempt."""
    async with writer_fixture(lambda request, count: done(request)) as d:
        assert [UPDATED] == await d.send(2)
    assert {2: RowResult(2, "2", UPDATED, 200, 1)} == d.journal.row_results
    assert {"requests": 1, "attempts": 1} == d.counts


async def test_intent_goes_first() -> None:
    """The intent of each attempt is written down before its first byte leaves."""
    seen: list[int] = []

    def script(request: httpx.Request, count: int) -> Any:
        seen.append(len(d.journal.intents))
        return refuse(500) if count < 3 else done(request)

    async with writer_fixture(script) as d:
        await d.send(2)
    assert ([1, 2, 3], [1, 2, 3]) == (seen, [one.attempts for one in d.journal.intents])
    assert 1 == len({one.key for one in d.journal.intents})


async def test_every_row_of_a_change() -> None:
    """Every row of a change has its result."""
    async with writer_fixture(lambda request, count: done(request)) as d:
        await d.writer.send(replace(prepared(2), change=Change((2, 5, 9), "2", {"name": "New"})))
    assert {2: UPDATED, 5: UPDATED, 9: UPDATED} == {
        row: row_result.outcome for row, row_result in d.journal.row_results.items()
    }


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (refuse(422, {"errors": {"name": ["too plain"]}}), "too plain"),
        (refuse(400, {"errors": "no"}), "no"),
        (refuse(404), "there is no customer with this id (404)"),
        (refuse(409), "the API answered 409: {}"),
        (refuse(501, {"detail": "cannot"}), "cannot"),
        (httpx.Response(200, json={"success": False, "errors": {"__all__": ["not saved"]}}), "not saved"),
    ],
)
async def test_rejected(response: httpx.Response, said: str) -> None:
    """What the API refuses is rejected at the first attempt, in its own words."""
    async with writer_fixture(always(response)) as d:
        assert [REJECTED] == await d.send(2)
    assert ({2: (REJECTED, [said])}, 1) == (d.journal.told(), len(d.api.asked))


async def test_conflict_is_never_sent() -> None:
    """A change that the current record makes impossible is invalid, without a request."""
    async with writer_fixture(always(refuse(500))) as d:
        one = PreparedChange(
            Change((2,), "2", {"full_address.city": "X"}), {"full_address.city": "X"}, record={"id": 2}
        )
        assert INVALID is await d.writer.send(one)
    assert (0, [], 0) == (len(d.api.asked), d.journal.intents, d.journal.row_results[2].attempts)


async def test_answer_shows_otherwise() -> None:
    """A 200 whose record shows something else is no success."""
    async with writer_fixture(lambda request, count: done(request, name="Old")) as d:
        await d.send(2)
    assert {2: (REJECTED, ['the API accepted the change, but still shows "Old" instead of "New"'])} == d.journal.told()


UNFORESEEN = {
    "no content": httpx.Response(204),
    "empty": httpx.Response(200, content=b"  "),
    "queued": httpx.Response(202, json={"id": 2, "name": "New"}),
    "of several": httpx.Response(207, json=[{"id": 2, "name": "New"}]),
    "only success": httpx.Response(200, json={"success": True}),
    "another record": httpx.Response(200, json={"id": 3, "name": "New"}),
    "without an id": httpx.Response(200, json={"name": "New"}),
    "with a blank id": httpx.Response(200, json={"id": "", "name": "New"}),
    "as a page of one": httpx.Response(200, json={"items": [{"id": 2, "name": "New"}], "count": 1}),
    "in a list": httpx.Response(200, json=[{"id": 2, "name": "New"}]),
}


@pytest.mark.parametrize("response", UNFORESEEN.values(), ids=UNFORESEEN)
@pytest.mark.parametrize(
    ("shown", "expected"), [("New", UPDATED), ("Old", FAILED), ("Third", UNKNOWN), (None, UNKNOWN)]
)
async def test_unforeseen_answer(response: httpx.Response, shown: str | None, expected: Outcome) -> None:
    """What does not confirm a change as the API does is looked into: the record tells what became of it."""
    script = lambda request, count: response if request.method == "PATCH" else customers(shown)  # noqa: E731 - as short
    async with writer_fixture(script, read_back=read_list) as d:
        assert [expected] == await d.send(2, **BEFORE)
    assert 1 == [request.method for _, request in d.api.asked].count("PATCH")


@pytest.mark.parametrize("failure", [{"error": "no"}, {"success": False, "message": "no"}])
@pytest.mark.parametrize(("shown", "expected"), [("New", UPDATED), ("Old", REJECTED), (None, UNKNOWN)])
async def test_failure_beside_the_record(failure: dict[str, Any], shown: str | None, expected: Outcome) -> None:
    """An answer that shows the changed record and says that it failed is neither believed: the record tells."""
    script = lambda request, count: done(request, **failure) if request.method == "PATCH" else customers(shown)  # noqa: E731 - as short
    async with writer_fixture(script, read_back=read_list) as d:
        assert [expected] == await d.send(2, **BEFORE)
    [(_, said)] = d.journal.told().values()
    assert said == [
        {
            UPDATED: "the API answered 200, but says that it failed, but reading back showed that it was applied",
            REJECTED: "no",
        }.get(expected, said[0])
    ]


@pytest.mark.parametrize(("shown", "expected"), [("New", UPDATED), ("Old", REJECTED), (None, UNKNOWN)])
async def test_unforeseen_status(shown: str | None, expected: Outcome) -> None:
    """A refusal by a code that no standard has may come after the deed: the record tells."""
    script = lambda request, count: refuse(499) if request.method == "PATCH" else customers(shown)  # noqa: E731 - short
    async with writer_fixture(script, read_back=read_list) as d:
        assert [expected] == await d.send(2, **BEFORE)
    assert 1 == [request.method for _, request in d.api.asked].count("PATCH")


async def test_answer_about_another_record_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a connection gives to the wrong write it would give to all that follow."""
    ended: list[int] = []
    monkeypatch.setattr(ApiResponse, "distrust_connection", lambda response: ended.append(response.status))
    async with writer_fixture(always(UNFORESEEN["another record"])) as d:
        await d.send(2)
        assert [200] == ended
    async with writer_fixture(lambda request, count: done(request)) as d:
        await d.send(2)
        assert [200] == ended


def customers(name: str | None) -> httpx.Response:
    """A list of one customer, or a refusal to give it."""
    return refuse(501) if name is None else httpx.Response(200, json={"items": [{"id": 2, "name": name}], "count": 1})


async def test_refused_after_no_answer_where_reads_lag() -> None:
    """A refusal does not hide that the try before it was applied, though the record shows that only a bit later."""
    tries = iter([httpx.ReadError(""), refuse(422)])
    looks = iter(["Old", "Old", "Old", "New"])

    def script(request: httpx.Request, count: int) -> Any:
        return next(tries) if request.method == "PATCH" else customers(next(looks))

    async with writer_fixture(script, read_back=read_list) as d:
        assert [UPDATED] == await d.send(2, **BEFORE)
    assert [] == list(tries)


@pytest.mark.parametrize("first", [httpx.ReadError(""), refuse(500)])
async def test_refused_after_no_answer_at_a_stop(first: Any) -> None:
    """Where the run stops before the record was looked at for long enough, the refusal does not settle it."""
    tries = iter([first, refuse(422)])

    def script(request: httpx.Request, count: int) -> Any:
        if request.method != "PATCH":
            return customers("Old")
        answer = next(tries)
        if answer is not first:
            d.shutdown.request("enough")
        return answer

    async with writer_fixture(script, read_back=read_list) as d:
        assert [Outcome.UNKNOWN] == await d.send(2, **BEFORE)
    assert ["refused_in_doubt"] == [one.code for one in d.journal.row_results[2].problems]


async def test_spelling_of_what_nobody_saw_before() -> None:
    """What shows in another spelling after a try without an answer is applied, if nobody saw it so before."""
    tries = iter([httpx.ReadError(""), refuse(422)])
    script = lambda request, count: next(tries) if request.method == "PATCH" else customers("NEW")  # noqa: E731 - short
    async with writer_fixture(script, read_back=read_list) as d:
        assert [UPDATED] == await d.send(2)


# -- again ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 520])
async def test_transient(status: int) -> None:
    """Transient trouble is tried again with the same key until it passes."""
    async with writer_fixture(first(2, refuse(status))) as d:
        assert [UPDATED] == await d.send(2)
    assert (3, 3, 1) == (d.journal.row_results[2].attempts, len(d.api.asked), len(set(d.api.keys)))


async def test_attempts_are_used_up() -> None:
    """After --max-attempts a row that cannot be read is unknown, with the last status and its cause."""
    async with writer_fixture(always(refuse(502)), max_attempts=4) as d:
        assert [UNKNOWN] == await d.send(2)
    expected = RowResult(2, "2", UNKNOWN, 502, 4, (Problem("in_doubt", {"cause": "the API's gateway failed (502)"}),))
    assert (expected, 4, {"requests": 1, "attempts": 4}) == (d.journal.row_results[2], len(d.api.asked), d.counts)


async def test_backoff() -> None:
    """Each wait is a random one within half a second, doubled each time, and at most 30 s."""
    async with writer_fixture(always(refuse(500)), max_attempts=12) as d:
        await d.send(2)
    bounds = [min(30.0, 0.5 * 2**n) for n in range(11)]
    assert [True] * 11 == [0 <= gap <= bound + 0.01 for gap, bound in zip(d.api.gaps, bounds, strict=True)]
    assert len(set(d.api.gaps)) > 8
    assert max(d.api.gaps) > 4


async def test_never_arrived() -> None:
    """A request that never left is simply sent again."""
    async with writer_fixture(first(1, httpx.ConnectError("refused"))) as d:
        assert [UPDATED] == await d.send(2)
    assert 2 == d.journal.row_results[2].attempts


async def test_retry_after_is_waited_in_full() -> None:
    """A Retry-After keeps everybody away until it is over."""

    def script(request: httpx.Request, count: int) -> Any:
        return refuse(429, Retry_After="40") if count == 1 else done(request)

    async with writer_fixture(script, max_at_once=1) as d:
        assert [UPDATED] * 5 == await d.send(2, 3, 4, 5, 6)
    refused_at = d.api.times[0] + d.api.seconds
    assert (6, True) == (len(d.api.asked), all(refused_at + 40 <= at for at in d.api.times[1:]))
    assert 1 == d.counts["throttled"]


async def test_retry_after_while_the_disk_is_slow() -> None:
    """A Retry-After that comes while an attempt is being written down holds that one back, too."""

    def script(request: httpx.Request, count: int) -> Any:
        return refuse(429, Retry_After="40") if count == 1 else done(request)

    async with writer_fixture(script) as d, anyio.create_task_group() as tasks:
        d.journal.seconds = 0.5
        tasks.start_soon(d.send, 2)
        await anyio.sleep(0.3)  # the refusal comes at 0.58
        assert [UPDATED] == await d.send(3)
    assert (3, True) == (len(d.api.asked), all(40 <= at - d.api.times[0] for at in d.api.times[1:]))
    assert [(2, 1), (2, 2), (3, 1)] == sorted((intent.change, intent.attempts) for intent in d.journal.intents)


async def test_retry_after_of_a_conflict() -> None:
    """A 409 with Retry-After means that the first try still runs: wait, and repeat it with the same key."""
    async with writer_fixture(first(2, refuse(409, Retry_After="7"))) as d:
        assert [UPDATED] == await d.send(2)
    assert ([True, True], 1) == ([gap >= 7 for gap in d.api.gaps], len(set(d.api.keys)))


async def test_answer_too_large_to_replay() -> None:
    """A 409 without Retry-After after a try that may have been taken is what the record shows, and else a refusal."""
    for shown, expected in (("New", UPDATED), ("Old", REJECTED), (None, UNKNOWN)):
        script = lambda request, count, shown=shown: (  # noqa: E731 - as short
            customers(shown) if request.method == "GET" else httpx.ReadError("") if count == 1 else refuse(409)
        )
        async with writer_fixture(script, read_back=read_list) as d:
            assert [expected] == await d.send(2)
        assert 1 == len({key for key in d.api.keys if key})


async def test_conflict_after_429() -> None:
    """A 409 after nothing but 429s is a refusal, with the API's own reason, whatever the record shows."""
    conflict = refuse(409, {"errors": {"name": ["is taken"]}})
    script = lambda request, count: customers("New") if request.method == "GET" else conflict  # noqa: E731 - as short
    async with writer_fixture(
        first(1, refuse(429, Retry_After="1"), lambda request: script(request, 2)), read_back=read_list
    ) as d:
        assert [REJECTED] == await d.send(2)
    assert ({2: (REJECTED, ["is taken"])}, 2) == (d.journal.told(), len(d.api.asked))


@pytest.mark.parametrize(
    ("asked", "said"),
    [("2520", "42 min"), ("5, 2520", "42 min"), ("999999999", "11,574 days"), ("9" * 40, "11,574,074 days")],
)
async def test_too_long_a_wait(asked: str, said: str) -> None:
    """A Retry-After beyond --max-wait stops the run, whatever its number, and every row not answered is unsent."""
    async with writer_fixture(first(1, refuse(429, Retry_After=asked)), max_at_once=1) as d:
        assert [UNSENT] * 3 == await d.send(2, 3, 4)
    assert f"The API asks to wait {said} (Retry-After), longer than --max-wait 300." == d.shutdown.reason
    assert (1, [(UNSENT, ["too many requests (429)"])]) == (len(d.api.asked), list(d.journal.told().values()))


async def test_too_long_a_wait_of_a_log_in() -> None:
    """The same where a log-in is asked to wait: nothing else is tried."""
    endpoint = VayuCustomers()
    account = endpoint.account({"VAYU_API_TOKEN": "refresh"})
    async with writer_fixture(first(1, refuse(429, Retry_After="2520")), endpoint=endpoint, account=account) as d:
        assert [UNSENT] * 3 == await send_vayu(d, 3)
    assert "The API asks to wait 42 min (Retry-After), longer than --max-wait 300." == d.shutdown.reason
    assert (1, []) == (len(d.api.asked), d.journal.intents)


async def test_blocked_for_too_long() -> None:
    """An API that refuses everything for longer than --max-wait, and says nothing of the time, stops the run."""
    async with writer_fixture(always(refuse(429)), max_wait=60, max_attempts=100) as d:
        outcomes = await d.send_all(range(2, 102), workers=16)
    said = re.fullmatch(r"The API has let nothing through for (\d+) s, longer than --max-wait 60\.", d.shutdown.reason)
    assert said is not None
    assert 60 <= int(said[1]) <= 75
    assert {UNSENT: 100} == outcomes


async def test_retries_of_a_whole_run_are_bounded() -> None:
    """An API that is half dead costs a bounded number of retries: 100, and one for every five rows that succeed."""

    def script(request: httpx.Request, count: int) -> Any:
        return refuse(500) if request.url.path.endswith(("1/", "3/", "5/", "7/", "9/")) else done(request)

    async with writer_fixture(script, max_at_once=64, breaker=CircuitBreaker(in_a_row=2_000, any_cause=2_000)) as d:
        await d.send(*range(1000, 2000))
    assert 1000 + 100 + 100 >= len(d.api.asked) >= 1000 + 100
    assert Counter({UPDATED: 500, UNKNOWN: 500}) == Counter(
        row_result.outcome for row_result in d.journal.row_results.values()
    )


# -- no answer ------------------------------------------------------------------------------------------------------


async def read_list(client: ApiClient, record_id: str) -> Record | None:
    """Read the record back as the job does."""
    answer = await client.read(client.endpoint.read_request([record_id]))
    found = client.endpoint.parse_records(answer.response) if answer.classification.cause == "done" else []  # type: ignore[arg-type]  # a reply
    return found[0] if found else None


def environment(*, applies: bool, shows: str | None = None, losses: int = 99, approval: str = "") -> Script:
    """An API that loses the answers to the first writes, having applied them or not."""
    name, lost = "Old", 0

    def script(request: httpx.Request, count: int) -> Any:
        nonlocal name, lost
        if request.method == "GET":
            record = {"id": 2, "name": shows or name, "approval_status": approval}
            return httpx.Response(200, json={"items": [record], "count": 1})
        lost += 1
        if applies or lost > losses:
            name = "New"
        return httpx.ReadError("") if lost <= losses else done(request)

    return script


BEFORE = {"before": {"name": "Old"}, "record": {"id": 2, "name": "Old"}}


async def test_applied_without_an_answer() -> None:
    """An attempt without an answer that was applied is found by reading back, and not repeated."""
    async with writer_fixture(environment(applies=True), read_back=read_list) as d:
        assert [UPDATED] == await d.send(2, **BEFORE)
    assert (["PATCH", "GET"], [FOUND_APPLIED]) == ([r.method for _, r in d.api.asked], d.journal.told()[2][1])


async def test_applied_in_another_spelling() -> None:
    """One that reads show in another spelling, which was not there before, was applied, too, and says so."""
    async with writer_fixture(environment(applies=True, shows="NEW"), read_back=read_list) as d:
        assert [UPDATED] == await d.send(2, **BEFORE)
    spelt = 'the API made "NEW" of it, which is another spelling of the same'
    assert (["PATCH", "GET"], [FOUND_APPLIED, spelt]) == ([r.method for _, r in d.api.asked], d.journal.told()[2][1])
    assert {"name": "NEW"} == d.journal.row_results[2].shown


async def test_not_applied_without_an_answer() -> None:
    """One that was not applied is repeated with the same key."""
    async with writer_fixture(environment(applies=False, losses=1), read_back=read_list) as d:
        assert [UPDATED] == await d.send(2, **BEFORE)
    assert ["PATCH", "GET", "PATCH"] == [request.method for _, request in d.api.asked]
    assert (2, 1) == (d.journal.row_results[2].attempts, len({key for key in d.api.keys if key}))


@pytest.mark.parametrize("name", ["Old", "NEW"])
async def test_never_applied(name: str) -> None:
    """When the attempts are used up and the record is as before, the row has failed: it can be sent again.

    That it was another spelling of the same before is no sign that it was applied.
    """
    before = {"before": {"name": name}, "record": {"id": 2, "name": name}}
    async with writer_fixture(environment(applies=False, shows=name), read_back=read_list, max_attempts=2) as d:
        assert [FAILED] == await d.send(2, **before)
    assert [f"{DROPPED}, and the record does not show it so far"] == d.journal.told()[2][1]


async def test_perhaps_taken_for_approval() -> None:
    """Where the record says that a change of it awaits approval, that may be this one: it is unknown."""
    async with writer_fixture(environment(applies=False, approval="pending"), read_back=read_list, max_attempts=2) as d:
        assert [UNKNOWN] == await d.send(2, **BEFORE)
    assert [f"{DROPPED}: it may have been applied or not"] == d.journal.told()[2][1]


async def test_refused_after_a_failure() -> None:
    """A refusal after a 5xx, which may have been applied, is not believed where the record cannot be read."""
    script = first(1, refuse(500), lambda request: refuse(422, {"errors": {"__all__": ["no"]}}))
    async with writer_fixture(script) as d:
        assert [UNKNOWN] == await d.send(2)


async def test_neither_as_asked_nor_as_before() -> None:
    """When the record shows neither, nobody knows, and all three values are told."""
    async with writer_fixture(environment(applies=False, shows="Third"), read_back=read_list, max_attempts=1) as d:
        assert [UNKNOWN] == await d.send(2, **BEFORE)
    expected = 'the record now shows "Third": it was "Old", and "New" was sent (somebody else may have changed it)'
    assert [expected] == d.journal.told()[2][1]


async def test_no_answer_and_no_reading() -> None:
    """Without a way to read back, an attempt without an answer is unknown."""
    async with writer_fixture(always_lost, max_attempts=2) as d:
        assert [UNKNOWN] == await d.send(2)
    assert [f"{DROPPED}: it may have been applied or not"] == d.journal.told()[2][1]


def always_lost(request: httpx.Request, count: int) -> Any:
    return httpx.ReadError("")


async def test_html_instead_of_an_answer() -> None:
    """A success that is a web page did not come from the API: it is looked up, not believed."""
    async with writer_fixture(always(httpx.Response(200, html="<html>login")), max_attempts=2) as d:
        assert [UNKNOWN] == await d.send(2)


async def test_resumed_with_the_same_key() -> None:
    """A change that an earlier part of the run began keeps its key, when it is the same request."""
    earlier = Intent(2, "2", "11111111-1111-4111-8111-111111111111", 3, {"name": "New"}, None, {"name": "New"})
    async with writer_fixture(first(1, refuse(500))) as d:
        await d.send(2, earlier=earlier)
    assert ([earlier.key] * 2, [4, 5], 5) == (
        d.api.keys,
        [i.attempts for i in d.journal.intents],
        d.journal.row_results[2].attempts,
    )


async def test_resumed_with_another_body() -> None:
    """Another request gets another key: the API would replay the answer to the first."""
    earlier = Intent(2, "2", "11111111-1111-4111-8111-111111111111", 3, {"name": "X"}, None, {"name": "X"})
    async with writer_fixture(lambda request, count: done(request)) as d:
        await d.send(2, earlier=earlier)
    assert earlier.key not in d.api.keys


async def test_earlier_part_and_a_read_that_shows_nothing_of_it() -> None:
    """A record of which a read shows only a part says nothing of another hand: the key stays."""
    made = Intent(2, "2", "11111111-1111-4111-8111-111111111111", 1, {"name": "New"}, {"name": "Old"}, {"name": "New"})
    async with writer_fixture(lambda request, count: done(request)) as d:
        await d.send(2, earlier=made, record={"id": 2}, before={})
        await d.send(
            3, earlier=replace(made, change=3, id="3"), record={"id": 3, "name": "Other"}, before={"name": "Other"}
        )
    assert [True, False] == [key == made.key for key in d.api.keys]


@pytest.mark.parametrize("change", [{"is_settled": True}, {"before": {"name": "Old"}}], ids=["through", "drifted"])
async def test_resumed_after_another_hand(change: dict[str, Any]) -> None:
    """The same change is another request, with another key, where the first is through or its record may be another."""
    made = Intent(2, "2", "11111111-1111-4111-8111-111111111111", 3, {"name": "New"}, None, {"name": "New"})
    async with writer_fixture(lambda request, count: done(request)) as d:
        await d.send(2, earlier=replace(made, **change), record={"id": 2, "name": "Other"}, before={"name": "Other"})
    assert made.key not in d.api.keys
    assert [({"name": "Other"}, 2)] == [(one.before, one.number) for one in d.journal.intents]


@dataclass
class Replaying:
    """An API that answers as before to what has `key`, and does nothing; to the first requests it gives `failures`."""

    key: str | None
    failures: list[Any] = field(default_factory=list)
    name: str = "Other"

    def __call__(self, request: httpx.Request, count: int) -> Any:
        if request.method == "GET":
            return customers(self.name)
        if request.headers["Idempotency-Key"] != self.key:
            self.name = "New"
        return self.failures.pop(0) if self.failures else done(request)


@pytest.mark.parametrize("is_replayed", [True, False])
async def test_resumed_with_a_key_that_may_be_used(is_replayed: bool) -> None:
    """Where nothing was read before, the key is the same; its answer may be the first one's, so a read is the proof."""
    made = Intent(2, "2", "11111111-1111-4111-8111-111111111111", 3, {"name": "New"}, None, {"name": "New"})
    api = Replaying(made.key if is_replayed else None)
    async with writer_fixture(api, read_back=read_list) as d:
        assert [UPDATED] == await d.send(2, earlier=made, record={"id": 2, "name": "Other"}, before={"name": "Other"})
    assert ("New", 4 + is_replayed) == (api.name, d.journal.row_results[2].attempts)
    looks = [["GET"], ["GET"] * len(LOOKS) + ["PATCH"]][is_replayed]  # what does not show yet may show a bit later
    assert ["PATCH", *looks] == [request.method for _, request in d.api.asked]
    assert [(1, 4), *[(2, 1)] * is_replayed] == [(one.number, one.attempts) for one in d.journal.intents]


async def test_second_intent_of_a_copy() -> None:
    """One that the record says did not leave may have left after the copy of it was made: a read is the proof."""
    made = Intent(
        2, "2", "11111111-1111-4111-8111-111111111111", 0, {"name": "New"}, {"name": "Other"}, {"name": "New"},
        number=2, spent=1,
    )  # fmt: skip
    api = Replaying(made.key)
    async with writer_fixture(api, read_back=read_list) as d:
        d.writer.context.keys_may_be_used = True
        assert [UPDATED] == await d.send(2, earlier=made, record={"id": 2, "name": "Other"}, before={"name": "Other"})
    assert "New" == api.name


async def test_key_that_may_be_used_after_a_failure() -> None:
    """So it is where the first try of this start failed: the answer to the second may still be of long ago."""
    made = Intent(2, "2", "11111111-1111-4111-8111-111111111111", 3, {"name": "New"}, None, {"name": "New"})
    api = Replaying(made.key, [refuse(500)])
    async with writer_fixture(api, read_back=read_list) as d:
        assert [UPDATED] == await d.send(2, earlier=made, record={"id": 2, "name": "Other"}, before={"name": "Other"})
    assert "New" == api.name


@pytest.mark.looks
async def test_refused_after_a_replay_with_reads_that_lag() -> None:
    """What was sent without an answer before a replayed one is not forgotten: a later refusal proves nothing."""
    answers = iter([httpx.RemoteProtocolError("gone"), done, refuse(422)])
    written: list[float] = []

    def script(request: httpx.Request, count: int) -> Any:
        now = anyio.current_time()
        if request.method == "GET":
            return customers("New" if written and now - written[0] > 70 else "Other")
        written.append(now)
        answer = next(answers)
        return answer(request) if callable(answer) else answer

    made = Intent(2, "2", "11111111-1111-4111-8111-111111111111", 3, {"name": "New"}, None, {"name": "New"})
    async with writer_fixture(script, read_back=read_list) as d:
        assert [UPDATED] == await d.send(2, earlier=made, record={"id": 2, "name": "Other"}, before={"name": "Other"})
    assert (3, ["found_applied"]) == (len(written), [one.code for one in d.journal.row_results[2].problems])


@pytest.mark.looks
async def test_resumed_with_reads_that_lag() -> None:
    """What an earlier start may have sent is not sent under another key because one read does not show it yet."""
    written: list[float] = []

    def script(request: httpx.Request, count: int) -> Any:
        now = anyio.current_time()
        if request.method == "GET":
            return customers("New" if now - written[0] > 8 else "Other")
        written.append(now)
        return done(request)

    made = Intent(2, "2", "11111111-1111-4111-8111-111111111111", 3, {"name": "New"}, None, {"name": "New"})
    async with writer_fixture(script, read_back=read_list) as d:
        assert [UPDATED] == await d.send(2, earlier=made, record={"id": 2, "name": "Other"}, before={"name": "Other"})
    assert 1 == len(written)


async def test_disproved_at_a_stop() -> None:
    """Where the answer itself shows another value, and no read settles it before the stop, it is not called updated."""

    def script(request: httpx.Request, count: int) -> Any:
        d.shutdown.request("enough")
        return done(request, name="Old") if request.method == "PATCH" else refuse(500)

    async with writer_fixture(script, read_back=read_list) as d:
        await d.send(2, record={"id": 2, "name": "Old"}, before={"name": "Old"})
    result = d.journal.row_results[2]
    said = "the API confirmed the change, and showed another value: it may have been applied or not"
    assert (Outcome.UNKNOWN, [said]) == (result.outcome, [one.reason for one in result.problems])


async def test_found_applied_after_a_500() -> None:
    """Where the API has keys, too, a change that its record shows after a 500 is updated, and the 500 is named."""
    api = Held()

    def fail() -> httpx.Response:
        api.record["shipping_address"]["city"] = "Berlin"
        return refuse(500, Retry_After="8")

    api.answers.append(fail)
    async with writer_fixture(api, read_back=read_list) as d:
        assert UPDATED is await d.writer.send(city(read_at=anyio.current_time()))
    (problem,) = d.journal.row_results[2].problems
    assert ("found_applied_after", "PATCH GET") == (problem.code, api.methods)


async def test_replayed_at_a_stop() -> None:
    """Where that read fails and no other follows, the answer proves nothing: the change is in doubt as before."""
    made = Intent(2, "2", "11111111-1111-4111-8111-111111111111", 3, {"name": "New"}, None, {"name": "New"})

    def script(request: httpx.Request, count: int) -> Any:
        d.shutdown.request("enough")
        return done(request) if request.method == "PATCH" else refuse(500)

    async with writer_fixture(script, read_back=read_list) as d:
        await d.send(2, earlier=made, record={"id": 2, "name": "Other"}, before={"name": "Other"})
    result = d.journal.row_results[2]
    assert (Outcome.UNKNOWN, ["replayed_in_doubt"]) == (result.outcome, [one.code for one in result.problems])


# -- what a body is made of, when it leaves -------------------------------------------------------------------------


ADDRESS = {"street": "Old St", "city": "Bonn", "postal_code": "1"}


@dataclass
class Held:
    """An API with one customer, who has an address, and the times at which it was read and written."""

    record: dict[str, Any] = field(default_factory=lambda: {"id": 2, "name": "Old", "shipping_address": dict(ADDRESS)})
    answers: list[Any] = field(default_factory=list)
    """What is answered to the first writes instead; what is called makes the answer, and may edit the record."""
    calls: list[tuple[str, float]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)

    def __call__(self, request: httpx.Request, count: int) -> Any:
        self.calls.append((request.method, anyio.current_time()))
        if request.method == "GET":
            return httpx.Response(200, json={"items": [json.loads(json.dumps(self.record))], "count": 1})
        self.bodies.append(json.loads(request.content))
        if self.answers:
            said = self.answers.pop(0)
            return said() if callable(said) else said
        self.record |= self.bodies[-1]
        return httpx.Response(200, json=self.record)

    @property
    def methods(self) -> str:
        return " ".join(method for method, _ in self.calls)

    def pause_and_edit(self, part: str, value: str) -> None:
        """Answer the next write with a pause, in which another hand changes a part of the address."""

        def edit() -> httpx.Response:
            self.record["shipping_address"][part] = value
            return refuse(429, Retry_After="2")

        self.answers.append(edit)


def city(**known: Any) -> PreparedChange:
    """A change of one part of an address, which is written as a whole."""
    fields = {"shipping_address.city": "Berlin"}
    record = {"id": 2, "name": "Old", "shipping_address": dict(ADDRESS)}
    before = {"shipping_address.city": "Bonn"}
    return PreparedChange(Change((2,), "2", fields), fields, before, record, **known)


@pytest.mark.parametrize(("age", "methods", "street"), [(4.0, "PATCH", "Old St"), (6.0, "GET PATCH", "New St")])
async def test_body_is_made_of_the_record_as_it_is(age: float, methods: str, street: str) -> None:
    """Where the API replaces a whole, the rest of it is what the record showed at most five seconds before."""
    api = Held()
    async with writer_fixture(api, read_back=read_list) as d:
        api.record["shipping_address"]["street"] = "New St"  # by another hand
        assert UPDATED is await d.writer.send(city(read_at=anyio.current_time() - age))
    assert (methods, street) == (api.methods, api.bodies[-1]["shipping_address"]["street"])


async def test_record_is_read_again_after_a_pause() -> None:
    """What another hand wrote while the API wanted no request is not written over."""
    api = Held()
    api.pause_and_edit("street", "New St")
    async with writer_fixture(api, read_back=read_list) as d:
        assert UPDATED is await d.writer.send(city(read_at=anyio.current_time()))
    assert ("PATCH GET PATCH", "New St") == (api.methods, api.bodies[-1]["shipping_address"]["street"])
    assert 2 == len(set(d.api.keys) - {None})


async def test_own_field_of_another_hand() -> None:
    """Where another hand changed the same field meanwhile, the sheet wins, and the message names what it was."""
    api = Held()
    api.pause_and_edit("city", "Paris")
    async with writer_fixture(api, read_back=read_list) as d:
        assert UPDATED is await d.writer.send(city(read_at=anyio.current_time()))
    said = 'somebody had changed it meanwhile, from "Bonn" to "Paris"; the sheet\'s value was written over that'
    assert [said] == d.journal.told()[2][1]
    assert {"shipping_address.city": "Paris"} == d.journal.intents[-1].before


async def test_kept_for_another_hand_after_an_attempt_in_doubt() -> None:
    """Where reads lag, what a record shows may be older than the attempt: what is kept for it is not *rejected*."""
    api = Held()

    def edit() -> httpx.Response:
        api.record["name"] = "Third"
        return refuse(503, Retry_After="6")

    api.answers.append(edit)
    change = Change((2,), "2", {"name": "New"}, conditions=(Condition("name", ("Old",), "now"),))
    async with writer_fixture(api, read_back=read_list) as d:
        one = PreparedChange(change, change.fields, read_at=anyio.current_time(), **BEFORE)
        assert UNKNOWN is await d.writer.send(one)
    said = 'the record now shows "Third": it was "Old", and "New" was sent (somebody else may have changed it)'
    assert ([said], [{"name": "New"}]) == (d.journal.told()[2][1], api.bodies)


async def test_already_so_when_it_leaves() -> None:
    """What another hand made as the sheet wants it meanwhile is not sent."""
    api = Held()
    api.record["shipping_address"]["city"] = "Berlin"
    async with writer_fixture(api, read_back=read_list) as d:
        await d.writer.send(city(read_at=-60.0))
    assert ("GET", UNCHANGED, []) == (api.methods, d.journal.row_results[2].outcome, d.journal.intents)


async def test_plain_fields_are_sent_as_they_are() -> None:
    """A partial body depends on nothing, so its record need not be read again."""
    api = Held()
    async with writer_fixture(api, read_back=read_list) as d:
        assert [UPDATED] == await d.send(2, **BEFORE)
    assert "PATCH" == api.methods


@pytest.mark.parametrize(("rate", "oldest", "lists"), [(1.0, 5.5, range(5, 11)), (0.1, 20.5, range(10, 21))])
async def test_one_list_for_those_that_leave_soon(rate: float, oldest: float, lists: range) -> None:
    """At one write a second, one list is read for about five of them; at a tenth of it, for every second one.

    No body is made of an older record, however long its change has waited.
    """
    ids, read_at, ages = range(2, 42), dict[int, float](), list[float]()
    records = {one: {"id": one, "shipping_address": dict(ADDRESS)} for one in ids}

    def script(request: httpx.Request, count: int) -> Any:
        if request.method == "GET":
            found = [records[int(one)] for one in request.url.params.get_list("id")]
            read_at.update(dict.fromkeys((one["id"] for one in found), anyio.current_time()))
            return httpx.Response(200, json={"items": found, "count": len(found)})
        one = records[int(request.url.path.split("/")[-2])]
        ages.append(anyio.current_time() - read_at[one["id"]])
        one |= json.loads(request.content)
        return httpx.Response(200, json=one)

    async def read(client: ApiClient, wanted: Mapping[str, Any]) -> dict[str, Record]:
        answer = await client.read(client.endpoint.read_request(list(wanted)))
        return {str(one["id"]): one for one in client.endpoint.parse_records(answer.response)}  # type: ignore[arg-type]  # a reply

    limits = Limits(per_route=Bucket(1, rate))
    async with writer_fixture(script, limits=limits, max_at_once=16) as d:
        d.writer.read_backs.reader.read_back = lambda wanted: read(d.writer.client, wanted)  # type: ignore[method-assign]  # as above
        async with anyio.create_task_group() as tasks:
            for one in ids:
                read_at[one] = anyio.current_time()
                change = city(read_at=anyio.current_time())
                tasks.start_soon(
                    d.writer.send, replace(change, change=replace(change.change, rows=(one,), id=str(one)))
                )
    methods = [request.method for _, request in d.api.asked]
    assert (40, True) == (methods.count("PATCH"), methods.count("GET") in lists), methods.count("GET")
    assert max(ages) <= oldest, ages


def test_key_of_each_intent() -> None:
    """Run, change, number of the intent and body: what differs in one of them has a key of its own."""
    runs, numbers, bodies = ("0" * 32, "1" * 32), (1, 2), ({"name": "New"}, {"name": "Newer"})
    asked = list(product(runs, numbers, numbers, bodies))
    assert len(asked) == len({make_key(DUALENTRY, *one) for one in asked} - {None})
    assert make_key(DUALENTRY, *asked[0]) == make_key(DUALENTRY, *asked[0])
    assert make_key(VayuCustomers(), *asked[0]) is None


# -- how long a record is looked at ---------------------------------------------------------------------------------


@pytest.mark.looks
@pytest.mark.parametrize(("within", "looks"), [(60.0, [0, 1, 5, 20, 60]), (600.0, [0, 10, 50, 200, 600])])
async def test_how_long_it_is_looked_at(within: float, looks: list[int]) -> None:
    """What the API confirmed and its record does not show is looked at five times in that time, then rejected."""
    api = Held(answers=[httpx.Response(200, json={"id": 2, "name": "Old"})])
    async with writer_fixture(api, read_back=read_list, verify_within=within) as d:
        assert [REJECTED] == await d.send(2, **BEFORE)
    times = [at for method, at in api.calls if method == "GET"]
    assert (looks, 1) == ([round(at - times[0]) for at in times], d.journal.row_results[2].attempts)


async def test_refused_after_an_attempt_in_doubt_and_shown_nowhere() -> None:
    """A read that does not show the field proves no more than none: what may have been applied is not *rejected*."""

    def script(request: httpx.Request, count: int) -> Any:
        if request.method == "PATCH":
            return refuse(503 if count == 1 else 422)
        return httpx.Response(200, json={"items": [{"id": 2}], "count": 1})

    async with writer_fixture(script, read_back=read_list) as d:
        assert [UNKNOWN] == await d.send(2, **BEFORE)


async def test_confirmed_and_shown_nowhere() -> None:
    """What the API confirmed, and neither its answer nor any read shows, is *updated*, and says so."""

    def script(request: httpx.Request, count: int) -> Any:
        return httpx.Response(200, json={"id": 2} if request.method == "PATCH" else {"items": [{"id": 2}], "count": 1})

    async with writer_fixture(script, read_back=read_list) as d:
        assert [UPDATED] == await d.send(2, **BEFORE)
    said = "the API confirmed the change, but neither its answer nor a read shows it: look at the record"
    assert {2: (UPDATED, [said])} == d.journal.told()


@pytest.mark.parametrize(("answered", "known"), [("Old", {}), ("Third", {"name": "Third"})])
async def test_only_its_own_answer_tells_what_became_of_a_value(answered: str, known: dict[str, str]) -> None:
    """Another value that a look alone shows may be another hand's: an undo must not take it for this change's."""

    def script(request: httpx.Request, count: int) -> Any:
        if request.method == "PATCH":
            return done(request, name=answered)
        return httpx.Response(200, json={"items": [{"id": 2, "name": "Third"}], "count": 1})

    async with writer_fixture(script, read_back=read_list) as d:
        assert [REJECTED] == await d.send(2, **BEFORE)
    assert known == d.journal.row_results[2].shown


@pytest.mark.looks
async def test_read_that_lags() -> None:
    """A record that shows the change a little later is updated; meanwhile it is written down as confirmed."""
    api, seen = Held(), list[State]()

    def lagging(request: httpx.Request, count: int) -> Any:
        if request.method == "GET":
            seen.append(d.journal.row_results[2].state)
            api.record["name"] = "New" if len(seen) == 3 else "Old"
        return api(request, count) if request.method == "GET" else httpx.Response(200, json={"id": 2})

    async with writer_fixture(lagging, read_back=read_list) as d:
        assert [UPDATED] == await d.send(2, **BEFORE)
    assert ([State.CONFIRMED] * 3, State.FINAL) == (seen, d.journal.row_results[2].state)


@pytest.mark.looks
async def test_first_look_that_takes_long() -> None:
    """The minute begins with the first look, however long that had to wait."""
    api = Held(answers=[httpx.Response(200, json={"id": 2, "name": "Old"})])

    async def read(client: ApiClient, record_id: str) -> Record | None:
        began = anyio.current_time()
        await anyio.sleep(70 if "GET" not in api.methods else 0)
        api.record["name"] = "New" if began > 80 else "Old"
        return await read_list(client, record_id)

    async with writer_fixture(api, read_back=read) as d:
        assert [UPDATED] == await d.send(2, **BEFORE)
    times = [at for method, at in api.calls if method == "GET"]
    assert [0, 1, 5, 20] == [round(at - times[0]) for at in times]


@pytest.mark.parametrize(("is_sending", "expected"), [(True, 2), (False, 16)])
async def test_looks_at_once_where_nothing_lists_records(is_sending: bool, expected: int) -> None:
    """Of 16 slots a ninth is for looks while changes are being sent, and all are when nothing is left to send."""
    api = Api(
        lambda request, count: (
            1.0,
            httpx.Response(200, json={"customer": {"id": request.url.path[-24:], "name": "Old"}}),
        )
    )
    async with writer_fixture(api.script, answer=api.answer, endpoint=VayuCustomers(), read_back=read_list) as d:
        d.writer.read_backs.is_sending = lambda: is_sending
        async with anyio.create_task_group() as tasks:
            for number in hex_ids(64):
                tasks.start_soon(d.writer.read_backs.read_back, f"{number:024x}", ["name"])
    assert (64, expected) == (len(api.asked), api.peak)


VAYU_ID = "65f000000000000000000001"


@pytest.mark.parametrize(("applies", "expected", "writes"), [(True, UPDATED, 1), (False, UPDATED, 2)])
async def test_failure_without_keys_is_looked_into(applies: bool, expected: Outcome, writes: int) -> None:
    """Where the API has no idempotency keys, what it answered with a 500 is looked at before it is repeated."""
    record = {"id": VAYU_ID, "name": "Old"}
    count_of_writes = 0

    def script(request: httpx.Request, count: int) -> Any:
        nonlocal count_of_writes
        if request.method == "GET":
            return httpx.Response(200, json={"customer": record})
        count_of_writes += 1
        if applies or count_of_writes > 1:
            record["name"] = "New"
        return refuse(500) if count_of_writes == 1 else httpx.Response(200, json={"customer": record})

    async with writer_fixture(script, endpoint=VayuCustomers(), read_back=read_list) as d:
        change = prepared(2, id=VAYU_ID, before={"name": "Old"}, record=dict(record), read_at=anyio.current_time())
        assert expected is await d.writer.send(change)
    said = ["the API failed (500), but reading back showed that it was applied"] if applies else []
    assert (writes, said) == (count_of_writes, d.journal.told()[2][1])


@pytest.mark.parametrize("name", [None, "Old"])
@pytest.mark.parametrize("is_applied", [True, False])
async def test_cleared_in_an_answer_that_leaves_it_out(is_applied: bool, name: str | None) -> None:
    """An answer that does not show a field does not prove that it is empty now: the record does."""
    record = {"id": VAYU_ID, "name": "Old", "legalName": "Old Ltd"}
    answer = {one: value for one, value in {"id": VAYU_ID, "name": name}.items() if value}

    def script(request: httpx.Request, count: int) -> Any:
        if request.method == "PUT" and is_applied:
            record.pop("legalName", None)  # what is null is left out
        return httpx.Response(200, json={"customer": answer if request.method == "PUT" else record})

    async with writer_fixture(script, endpoint=VayuCustomers(), read_back=read_list) as d:
        clear, before = {"legalName": None}, {"legalName": "Old Ltd"}
        change = PreparedChange(Change((2,), VAYU_ID, clear), clear, before, dict(record), read_at=anyio.current_time())
        outcome = await d.writer.send(change)
    assert (UPDATED if is_applied else REJECTED if name else FAILED) is outcome


async def test_confirmed_unseen_without_comparing() -> None:
    """What an answer does not show, where nothing is compared, is only said to be confirmed."""
    address = {f"full_address.{part}": value for part, value in ADDRESS.items()}
    async with writer_fixture(lambda request, count: done(request)) as d:
        await d.writer.send(PreparedChange(Change((2,), "2", address), address))
    said = "the API confirmed the change; its answer does not show all of it, and nothing was read (--no-compare)"
    assert ({2: (UPDATED, [said])}, 1) == (d.journal.told(), len(d.api.asked))


CHECK = "Check DUALENTRY_API_KEY: the key may be wrong, expired, or not permitted to do this."

# -- reasons to stop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (
            refuse(403, {"errors": {"__all__": ["API key authentication failed"]}}),
            f'The API does not permit this with the key (403) and says: "API key authentication failed". {CHECK}',
        ),
        (
            refuse(401, {"detail": "no\x1b[2J"}),
            f'The API does not accept the key (401) and says: "no\\x1b[2J". {CHECK}',
        ),
        (
            refuse(308, Location="https://elsewhere/"),
            "The API answers with a redirect (308), which is never followed.",
        ),
        (refuse(407), "The API asks for a login, as only a proxy should (407)."),
    ],
)
async def test_stops(response: httpx.Response, reason: str) -> None:
    """What would meet every row alike stops the run at once; what was not sent is unsent."""
    async with writer_fixture(always(response), max_at_once=2) as d:
        assert [UNSENT] * 50 == await d.send(*range(2, 52))
    assert (reason, True) == (d.shutdown.reason, len(d.api.asked) <= 2)
    assert {UNSENT} == {row_result.outcome for row_result in d.journal.row_results.values()}
    assert {"https://test"} == {f"{r.url.scheme}://{r.url.host}" for _, r in d.api.asked}


def vayu(tokens: Sequence[str], accepted: str) -> Script:
    """A maker whose log-in gives tokens in turn, of which it accepts one."""
    left = list(tokens)

    def script(request: httpx.Request, count: int) -> Any:
        if request.url.path == "/login":
            return httpx.Response(200, json={"accessToken": left.pop(0) if len(left) > 1 else left[0]})
        if request.headers["Authorization"] != f"Bearer {accepted}":
            return refuse(401, {"message": "expired"})
        record_id = request.url.path.rsplit("/", 1)[1]
        return httpx.Response(200, json={"customer": {"id": record_id, "name": "New"}})

    return script


def hex_ids(count: int) -> list[int]:
    return list(range(0x10**23, 0x10**23 + count))


async def send_vayu(d: WriterFixture, count: int) -> list[Outcome]:
    async def one(number: int) -> None:
        found.append(await d.writer.send(prepared(number, id=f"{number:024x}")))

    found: list[Outcome] = []
    async with anyio.create_task_group() as tasks:
        for number in range(2, 2 + count):
            tasks.start_soon(one, number)
    return found


def logins(d: WriterFixture) -> int:
    return sum(request.url.path == "/login" for _, request in d.api.asked)


async def test_renewed_once_for_all() -> None:
    """A token that is refused is renewed by one log-in for all workers, and every row goes on."""
    endpoint = VayuCustomers()
    account = endpoint.account({"VAYU_API_TOKEN": "refresh"})
    async with writer_fixture(vayu(["old", "new"], "new"), endpoint=endpoint, account=account) as d:
        assert [UPDATED] * 40 == await send_vayu(d, 40)
    assert (2, True) == (logins(d), len(d.api.asked) <= 2 + 2 * 40)


async def test_renewed_in_vain() -> None:
    """A new token that is refused as well stops the run, after one more log-in."""
    endpoint = VayuCustomers()
    account = endpoint.account({"VAYU_API_TOKEN": "refresh"})
    async with writer_fixture(vayu(["old", "older"], "new"), endpoint=endpoint, account=account) as d:
        assert [UNSENT] * 40 == await send_vayu(d, 40)
    expected = (
        'The API does not accept the key (401) and says: "expired". '
        "Check VAYU_API_TOKEN and VAYU_CLIENT_ID: the key may be wrong, expired, or not permitted to do this."
    )
    assert (expected, 2) == (d.shutdown.reason, logins(d))


async def test_log_in_refused() -> None:
    """A log-in that is refused stops the run before anything is sent."""
    endpoint = VayuCustomers()
    account = endpoint.account({"VAYU_API_TOKEN": "refresh"})
    async with writer_fixture(always(refuse(401)), endpoint=endpoint, account=account) as d:
        assert [UNSENT] * 40 == await send_vayu(d, 40)
    assert (1, {}, []) == (len(d.api.asked), d.journal.row_results, d.journal.intents)
    assert "Vayu refused the API token (VAYU_API_TOKEN). Make a new one in its dashboard." == d.shutdown.reason


LIMITS = Limits(total=Bucket(50, 5), per_route=Bucket(10, 1))


@pytest.mark.parametrize("limits", [None, LIMITS], ids=["no limits", "documented limits"])
@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (httpx.ConnectError("x"), "the server could not be reached"),
        (httpx.Response(503), "the API is unavailable (503)"),
    ],
    ids=["unreachable", "unavailable"],
)
async def test_dead_api(limits: Limits | None, said: Any, cause: str) -> None:
    """2,000 rows against a dead API cost at most 20 + max_at_once + 1 requests, whatever the limits."""
    async with writer_fixture(lambda request, count: said, limits=limits, max_at_once=16) as d:
        outcomes = await d.send_all(range(2, 2_002), workers=64)
    assert 20 + 16 + 1 >= len(d.api.asked)
    assert f"The API does not work at the moment: {cause}, time after time." == d.shutdown.reason
    assert ({UNSENT, FAILED, UNKNOWN}, 2_000) == (set(outcomes) | {FAILED, UNKNOWN}, outcomes.total())


async def test_api_that_comes_back() -> None:
    """When the probe after the pause succeeds, everybody goes on."""

    def script(request: httpx.Request, count: int) -> Any:
        return refuse(503) if anyio.current_time() < began + 5 else done(request)

    async with writer_fixture(script, max_at_once=4, max_attempts=50) as d:
        began = anyio.current_time()
        assert {UPDATED: 40} == await d.send_all(range(2, 42), workers=16)
    late = [at for at in d.api.times if began + 5 <= at]
    overlapping = [after for before, after in pairwise(late) if after - before < d.api.seconds]
    assert (False, True, True) == (d.shutdown.requested, late[0] >= began + 15, len(overlapping) > 20)


async def test_only_one_probes() -> None:
    """While an API seems dead, nobody starts before the pause is over, and then one alone."""
    async with writer_fixture(always(httpx.Response(503)), max_at_once=8, limits=LIMITS, max_attempts=50) as d:
        await d.send(*range(2, 200))
    paused_at = d.api.times[19] + d.api.seconds
    late = [at for at in d.api.times if at > paused_at + 0.01]
    assert (1, True) == (len(late), late[0] >= paused_at + 15)


# -- slots ----------------------------------------------------------------------------------------------------------


async def test_peak_in_flight() -> None:
    """Never more attempts in flight than --max-at-once, retries and reads included."""

    def script(request: httpx.Request, count: int) -> Any:
        return count * 0.618 % 1, refuse(500) if count % 3 == 0 else done(request)

    async with writer_fixture(script, max_at_once=7) as d:
        await d.send(*range(2, 202))
    assert 7 == d.api.peak


async def test_slow_row_holds_up_nobody() -> None:
    """A row that backs off, or whose answer takes long, does not hold up the others."""

    def script(request: httpx.Request, count: int) -> Any:
        if request.url.path.endswith("/3/"):
            return refuse(503)
        return 50.0 if request.url.path.endswith("/2/") else 0.08, done(request)

    async with writer_fixture(script, max_at_once=2, max_attempts=4) as d:
        outcomes = await d.send(*range(2, 102))
    quick = [at for at, request in d.api.asked if not request.url.path.endswith(("/2/", "/3/"))]
    assert ([UPDATED, UNKNOWN], True) == (outcomes[:2], max(quick) < 20)


async def test_limits_hold_for_retries() -> None:
    """No more starts in any ten seconds than the buckets permit, retries included."""

    def script(request: httpx.Request, count: int) -> Any:
        return refuse(500) if count % 2 else done(request)

    async with writer_fixture(script, limits=Limits(per_route=Bucket(3, 2)), max_at_once=16) as d:
        await d.send(*range(2, 62))
    windows = [sum(start <= at < start + 10 for at in d.api.times) for start in d.api.times]
    assert 3 + 2 * 10 >= max(windows)


# -- shutdown -----------------------------------------------------------------------------------------------------


async def test_stop_lets_what_is_in_flight_finish() -> None:
    """After a shutdown was requested, what is in flight gets its answer, and who waits is let go at once."""
    async with (
        writer_fixture(lambda request, count: (5.0, done(request)), max_at_once=2) as d,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(put_up_later, d.shutdown, 1.0)
        began = anyio.current_time()
        assert {UPDATED: 2, UNSENT: 2} == Counter(await d.send(2, 3, 4, 5))
        assert (2, 5.0) == (len(d.api.asked), pytest.approx(anyio.current_time() - began, abs=0.1))


async def put_up_later(shutdown: Shutdown, seconds: float) -> None:
    await anyio.sleep(seconds)
    shutdown.request("Enough.")


async def test_stop_of_a_row_that_failed_before() -> None:
    """What an earlier part sent in vain, as it seemed, is never called unsent by a later part that is stopped."""
    earlier = Intent(2, "2", "11111111-1111-4111-8111-111111111111", 3, {"name": "New"}, None, {"name": "New"})
    async with writer_fixture(always(refuse(429, Retry_After="9999"))) as d:
        assert [FAILED] == await d.send(2, earlier=earlier)
    assert (True, 4) == (d.shutdown.requested, d.journal.row_results[2].attempts)


async def test_stop_frees_who_backs_off() -> None:
    """Who waits for a second try is let go: what the first one did before the 503 is not known."""
    async with writer_fixture(always(refuse(503, Retry_After="200"))) as d, anyio.create_task_group() as tasks:
        tasks.start_soon(put_up_later, d.shutdown, 1.0)
        began = anyio.current_time()
        assert [UNKNOWN] == await d.send(2)
        assert 2 > anyio.current_time() - began


@pytest.mark.parametrize(
    "refusal", [refuse(429, Retry_After="200"), refuse(413, Retry_After="200")], ids=["429", "413"]
)
async def test_stop_after_what_was_not_taken(refusal: httpx.Response) -> None:
    """What the API said that it did not take is unsent at a stop, or failed where a later try may do."""
    async with writer_fixture(always(refusal)) as d, anyio.create_task_group() as tasks:
        tasks.start_soon(put_up_later, d.shutdown, 1.0)
        (outcome,) = await d.send(2)
    assert outcome in (UNSENT, FAILED)
    assert {"PATCH"} == {request.method for _, request in d.api.asked}


async def test_cut_short() -> None:
    """What is in flight when it is cut short may have been applied: unknown, never called failed."""
    async with writer_fixture(lambda request, count: (50.0, done(request))) as d, anyio.create_task_group() as tasks:

        async def cut() -> None:
            await anyio.sleep(1)
            d.shutdown.request("Enough.")
            await anyio.sleep(20)
            d.shutdown.cancel_in_flight()

        tasks.start_soon(cut)
        assert [UNKNOWN] == await d.send(2)
    assert ["batch was ended before an answer came: it may have been applied or not"] == d.journal.told()[2][1]


async def test_after_the_stop_nothing_starts() -> None:
    """A change that comes after the shutdown is unsent, and not even written down."""
    async with writer_fixture(lambda request, count: done(request)) as d:
        d.shutdown.request("Enough.")
        assert [UNSENT] == await d.send(2)
    assert ([], [], {}) == (d.api.asked, d.journal.intents, d.journal.row_results)


async def test_stop_while_the_disk_is_slow() -> None:
    """What is only just written down when the stop comes does not leave, which the journal then takes back."""
    async with writer_fixture(lambda request, count: done(request)) as d, anyio.create_task_group() as tasks:
        d.journal.seconds = 0.5
        tasks.start_soon(put_up_later, d.shutdown, 0.2)
        assert [UNSENT] == await d.send(2)
    assert ([], [1, 0], {}) == (d.api.asked, [intent.attempts for intent in d.journal.intents], d.journal.row_results)


@pytest.mark.parametrize(("body", "taken_back"), [("New", [3]), ("Old", [0])])
async def test_stop_while_in_doubt(body: str, taken_back: list[int]) -> None:
    """A row that may have been applied by an earlier part stays in doubt when this part sends nothing of it."""
    earlier = Intent(2, "2", "11111111-1111-4111-8111-111111111111", 3, {"name": body}, None, {"name": body})
    async with writer_fixture(lambda request, count: done(request)) as d, anyio.create_task_group() as tasks:
        d.journal.seconds = 0.5
        tasks.start_soon(put_up_later, d.shutdown, 0.2)
        await d.send(2, earlier=earlier, is_in_doubt=True)
    assert ([], taken_back) == (d.api.asked, [intent.attempts for intent in d.journal.intents[1:]])
    assert {} == d.journal.row_results


async def test_first_reason_counts() -> None:
    """The first reason to stop is the one that is told."""
    shutdown = Shutdown()
    shutdown.request("One.")
    shutdown.request("Two.")
    assert ("One.", True) == (shutdown.reason, shutdown.requested)


async def test_journal_that_cannot_be_written() -> None:
    """Without its intent on disk, nothing leaves."""
    async with writer_fixture(lambda request, count: done(request)) as d:
        d.journal.error = JournalError("full")
        with pytest.raises(JournalError):
            await d.writer.send(prepared(2))
    assert [] == d.api.asked


async def test_secret_is_only_in_its_header() -> None:
    """The key travels in its header, and nowhere else."""
    async with writer_fixture(lambda request, count: done(request)) as d:
        await d.send(2)
    (_, request), (intent,) = d.api.asked[0], d.journal.intents
    assert "k" == request.headers["X-API-KEY"]
    assert {"name": "New"} == json.loads(request.content) == intent.body


@pytest.mark.parametrize("answer", [(202, {}), (200, {"success": True}), (202, {"items": []})])
async def test_answer_that_lists_no_definitions(answer: tuple[int, Any]) -> None:
    """Only a list says that there are no more custom fields: another answer ends the start."""
    (status, body), first_page = answer, {"items": [{"id": 1, "name": "Tier"}]}
    pages = iter([httpx.Response(200, json=first_page), httpx.Response(status, json=body)])
    async with writer_fixture(lambda request, count: next(pages)) as d:
        with pytest.raises(StoppedError, match="The custom fields could not be read: the answer"):
            await fetch_definitions(d.writer.client, lambda text: None)


async def test_last_page_of_definitions() -> None:
    """An empty list is one."""
    pages = iter([{"items": [{"id": 1, "name": "Tier"}]}, {"items": []}])
    async with writer_fixture(lambda request, count: httpx.Response(200, json=next(pages))) as d:
        assert ["Tier"] == [one.name for one in await fetch_definitions(d.writer.client, lambda text: None)]
