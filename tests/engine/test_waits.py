"""Waiting and giving up, whole jobs on the virtual clock: what ends a wait, and what a row is told of it."""

import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from batch.commands.update import update as run_update
from batch.ratelimit import MemoryStore
from batch.retry import RetryQuota
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import DUALENTRY, VAYU, FakeReporter, results, told
from tests.resilience.memory_api import ENVIRONMENT, MemoryApi
from tests.virtual import KEY, run_on_virtual_clock

Answer = Callable[[httpx.Request], Any]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def update(
    tmp_path: Path, rows: int | str, answer: Answer, reporter: FakeReporter | None = None, **options: Any
) -> FinishedRun:
    """Change the names of so many customers, or these, at an API that answers like this."""
    sheet = tmp_path / "sheet.csv"
    if isinstance(rows, int):
        rows = "".join(f"{n},New {n}\n" for n in range(1, rows + 1))
    sheet.write_text(f"id,name\n{rows}")
    given = {"base_url": "https://api.test", "max_per_second": 1e3, "yes": True} | options
    environment = Environment(KEY, run_on_virtual_clock, lambda: httpx.MockTransport(answer))
    return run_update(Settings(input=str(sheet), endpoint=DUALENTRY, **given), reporter or FakeReporter(), environment)


def customer(request: httpx.Request, name: str = "Old") -> httpx.Response:
    """The customers that a list asks for, or the one that was written; no custom fields."""
    if "custom-fields" in request.url.path:
        return httpx.Response(200, json={"items": [], "count": 0})
    if request.method == "PATCH":
        number = int(request.url.path.split("/")[-2])
        return httpx.Response(200, json={"id": number} | json.loads(request.content))
    items = [{"id": int(one), "name": name} for one in request.url.params.get_list("id")]
    return httpx.Response(200, json={"items": items, "count": len(items)})


@pytest.mark.parametrize("has_429s", [False, True])
def test_reads_live_and_writes_die(tmp_path: Path, has_429s: bool) -> None:
    """Good reads, and refusals for rate, do not hide that no write works: 20 fail, those in flight, and a probe."""
    written = list[int]()

    async def answer(request: httpx.Request) -> httpx.Response:
        await anyio.sleep(0.05)
        if request.method == "GET":
            return customer(request)
        written.append(429 if has_429s and len(written) % 2 else 500)
        if written[-1] == 500:
            raise httpx.ReadError("")
        return httpx.Response(429, json={})

    ended = update(tmp_path, 1_000, answer, max_at_once=8)
    cause = "the connection was dropped before an answer came"
    assert f"The API does not work at the moment: {cause}, time after time." == ended.stopped
    assert (True, 3) == (20 < written.count(500) <= 20 + 8 + 1, ended.summary.exit_code)


def test_writes_live_and_reads_die(tmp_path: Path) -> None:
    """Reads are bounded in the same way where only they are dead."""
    reads = list[httpx.Request]()

    async def answer(request: httpx.Request) -> httpx.Response:
        await anyio.sleep(0.05)
        if request.method != "GET" or "custom-fields" in request.url.path:
            return customer(request)
        reads.append(request)
        return httpx.Response(500, json={})

    ended = update(tmp_path, 3_500, answer, max_at_once=8)  # 35 lists
    assert (True, 3) == (len(reads) <= 20 + 8 + 1, ended.summary.exit_code)


NOTHING_LEFT = {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "86400"}


def test_rate_header_that_is_wrong(tmp_path: Path) -> None:
    """Good answers that say "nothing left until tomorrow" cost one short wait for each route, which is told."""
    times, reporter = list[float](), FakeReporter()

    async def answer(request: httpx.Request) -> httpx.Response:
        times.append(anyio.current_time())
        found = customer(request)
        found.headers.update(NOTHING_LEFT)
        return found

    ended = update(tmp_path, 200, answer, reporter, max_per_second=None)
    assert (0, 200) == (ended.summary.exit_code, ended.summary.outcomes["updated"])
    assert times[-1] - times[0] < 200 + 3 * 10  # at DualEntry's documented pace, 1/s after a burst
    assert "Waiting 60 s: the API says that nothing is left of its limit." not in reporter.notes


def test_rate_header_of_an_unknown_limit(tmp_path: Path) -> None:
    """Where no bucket is documented, such a header holds for a minute, and that is told."""
    reporter = FakeReporter()

    async def answer(request: httpx.Request) -> httpx.Response:
        found = customer(request)
        found.headers.update(NOTHING_LEFT if request.method == "PATCH" else {})
        return found

    ended = update(tmp_path, 20, answer, reporter, max_at_once=1)
    assert 0 == ended.summary.exit_code
    assert ["Waiting 60 s: the API says that nothing is left of its limit."] == [
        one for one in reporter.notes if one.startswith("Waiting")
    ]


@pytest.mark.parametrize(("refused", "stopped"), [(1, ""), (3, "The API has let nothing through for 7 min")])
def test_waits_are_not_added_up(tmp_path: Path, refused: int, stopped: str) -> None:
    """Any number of announced waits is waited for, unless nothing is accepted for longer than --max-wait."""
    times, reporter = list[float](), FakeReporter()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return customer(request)
        times.append(anyio.current_time())
        is_refused = len(times) % (refused + 1) != 0
        return httpx.Response(429, headers={"Retry-After": "200"}, json={}) if is_refused else customer(request)

    ended = update(tmp_path, 6, answer, reporter, max_at_once=1)
    assert (stopped + ", longer than --max-wait 300." * bool(stopped), 3 * bool(stopped)) == (
        ended.stopped, ended.summary.exit_code,
    )  # fmt: skip
    assert any(re.match(r"Waiting 3 min: the API asks for it\.", one) for one in reporter.notes)


def test_nothing_accepted_for_too_long(tmp_path: Path) -> None:
    """An API that lets every write run into its time-out stops the run after --max-wait, whatever tries are left."""
    began = list[float]()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return customer(request)
        began.append(anyio.current_time())
        await anyio.sleep(60)
        raise httpx.ReadTimeout("")

    ended = update(tmp_path, 40, answer, max_at_once=1, max_attempts=100)
    assert (3, True) == (ended.summary.exit_code, began[-1] - began[0] <= 60 + 300 + 90)
    assert "longer than --max-wait 300." in ended.stopped


def failing(share: float, dead_after: float = math.inf) -> tuple[Answer, list[tuple[float, str]]]:
    """An API of which so many answers are a 500, and the times of its writes."""
    dice, writes = random.Random(1), list[tuple[float, str]]()  # noqa: S311 - no secret

    async def answer(request: httpx.Request) -> httpx.Response:
        await anyio.sleep(0.05)
        now = anyio.current_time()
        if request.method == "PATCH":
            writes.append((now, request.url.path))
        return httpx.Response(500, json={}) if dice.random() < share or now > dead_after else customer(request)

    return answer, writes


@pytest.mark.parametrize(
    "options",
    [{}, *(pytest.param(one, marks=pytest.mark.long) for one in ({"compare": False}, {"max_at_once": 1}))],
)
def test_last_tries(tmp_path: Path, options: dict[str, Any]) -> None:
    """With 40 % of 500s every row gets all of its tries: the last ones at the end, at a quarter of the pace."""
    answer, writes = failing(0.4)
    reporter = FakeReporter()
    ended = update(tmp_path, 1_000, answer, reporter, max_per_second=20.0, **options)
    assert 0.02 * 1_000 >= 1_000 - ended.summary.outcomes["updated"]
    assert all(line["attempts"] == "6" for line in results(ended.folder) if line["outcome"] != "updated")
    [said] = [one for one in reporter.notes if "the rest of them" in one]
    assert re.fullmatch(r"\d+ changes whose tries failed get the rest of them now, at a quarter of the pace\.", said)
    late = [at for at, _ in writes if at > writes[-1][0] - 60]
    assert 4 * 60 <= len(late) <= 5.5 * 60  # looks take their share


def test_api_that_dies_before_the_last_tries(tmp_path: Path) -> None:
    """Changes that wait for their last tries cost a dead API no more than the others, and say why they were left."""
    answer, writes = failing(0.4, dead_after=1_000 / 20 + 5)
    ended = update(tmp_path, 1_000, answer, max_per_second=20.0, max_at_once=8)
    late = [at for at, _ in writes if at > 1_000 / 20 + 5]
    assert (True, 3) == (len(late) <= 20 + 8 + 1, ended.summary.exit_code)
    why = "the API failed (500), and the retries of the whole run were used up"
    assert any(said.startswith(why) for _, said in told(ended))


@pytest.mark.parametrize(("quota", "said"), [(0, ["1 change whose tries failed gets"]), (500, [])])
def test_nothing_written_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: int, said: list[str]) -> None:
    """The time in which nothing was to be written, since all was read or unchanged, is not one of refusals."""
    monkeypatch.setattr(RetryQuota, "SIZE", quota)
    tried, reporter = list[int](), FakeReporter()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            await anyio.sleep(50)
            return customer(request)
        tried.append(int(request.url.path.split("/")[-2]))
        is_bad = tried.count(tried[-1]) <= (6 if quota and tried[-1] == 1 else 2)
        return httpx.Response(500, json={}) if is_bad else customer(request)

    changes = {1: "New"} if not quota else {1: "New", 2999: "New"}
    rows = "".join(f"{number},{changes.get(number, 'Old')}\n" for number in range(1, 3_001))
    ended = update(tmp_path, rows, answer, reporter)
    assert ("", [3] if not quota else [6, 3]) == (ended.stopped, [tried.count(one) for one in changes])
    assert said == [one.partition(" the rest")[0] for one in reporter.notes if "the rest of them" in one]


def test_read_before_a_try_that_hides_the_address(tmp_path: Path) -> None:
    """An address that the read before another try leaves out is not taken for none: its row is run again as it is."""
    reads, record = list[str](), {"full_address": {"street": "S", "city": "Old", "postal_code": "1"}}

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            return httpx.Response(429, headers={"Retry-After": "8"}, json={})
        if not request.url.path.split("/")[-2].isdigit():
            return customer(request)
        reads.append(request.url.path)
        return httpx.Response(200, json={"id": 1, "name": "Old"} | (record if len(reads) == 1 else {}))

    (tmp_path / "sheet.csv").write_text("id,full_address.city\n1,New\n")
    environment = Environment(KEY, run_on_virtual_clock, lambda: httpx.MockTransport(answer))
    about = Settings(input=str(tmp_path / "sheet.csv"), endpoint=DUALENTRY, base_url="https://api.test", yes=True)
    ended = run_update(about, FakeReporter(), environment)
    assert [("failed", "the record could not be read again, and what is sent is made of it")] == told(ended)


def test_one_record_that_redirects(tmp_path: Path) -> None:
    """A customer that was merged into another, to which its reads redirect, does not end the run for all others."""

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/1/"):
            return httpx.Response(308, headers={"Location": "/public/v2/customers/2/"}, json={})
        if request.method == "GET" and "1" in request.url.params.get_list("id"):
            return httpx.Response(200, json={"items": [{"id": 2, "name": "Old"}], "count": 1})
        return customer(request)

    ended = update(tmp_path, 2, answer)
    cause = "the API answers with a redirect (308), which is never followed"
    assert [("failed", f"the record could not be read: {cause}"), ("updated", None)] == [
        (line["outcome"], line["message"]) for line in results(ended.folder)
    ]


@pytest.mark.parametrize(("refused", "is_stopped"), [({3, 8, 13, 18}, False), ({3, 4, 5}, True)])
def test_records_that_redirect_in_a_row(tmp_path: Path, refused: set[int], is_stopped: bool) -> None:
    """So is it with several, wherever good reads lie between them; three in a row are no accident of theirs."""

    async def answer(request: httpx.Request) -> httpx.Response:
        one = request.url.path.split("/")[-2]
        if one in map(str, refused):
            return httpx.Response(301, headers={"Location": "/elsewhere/"}, json={})
        if request.method == "GET" and one.isdigit():
            return httpx.Response(200, json={"id": int(one), "name": "Old"})
        if request.method == "GET" and "id" in request.url.params:
            return httpx.Response(400, json={"detail": "no lists"})
        return customer(request)

    ended = update(tmp_path, 20, answer, max_at_once=1)
    assert is_stopped == (ended.summary.outcomes["updated"] + len(refused) < 20)


@pytest.mark.looks
def test_looks_while_writes_wait_for_their_turn(tmp_path: Path) -> None:
    """A record is looked at soon though all other starts of the limit are for writes, and for as long as promised."""
    asked, written = list[tuple[float, str]](), set[str]()

    async def answer(request: httpx.Request) -> httpx.Response:
        now = anyio.current_time()
        if request.method == "PATCH":
            written.add(request.url.path.split("/")[-2])
            asked.append((now, "write"))
            return httpx.Response(202, json={}) if len(asked) == 20 else customer(request)
        if "custom-fields" in request.url.path or "id" not in request.url.params:
            return customer(request)
        ids = request.url.params.get_list("id")
        if ids == ["20"]:
            asked.append((now, "look"))
        lags = now < next((at for at, what in asked if what == "look"), now) + 15  # it shows it 15 s after the first
        shown = written - ({"20"} if lags else set())
        items = [{"id": int(one), "name": f"New {one}" if one in shown else "Old"} for one in ids]
        return httpx.Response(200, json={"items": items, "count": len(items)})

    ended = update(tmp_path, 100, answer, max_per_second=1.0)
    assert (0, 100) == (ended.summary.exit_code, ended.summary.outcomes["updated"])
    looks = [round(at - asked[19][0]) for at, what in asked if what == "look"]
    assert [1, 11, 21] == looks  # each as soon as one of ten starts is for it


@pytest.mark.parametrize("often", [1, 4])
def test_log_in_that_is_asked_to_wait(tmp_path: Path, often: int) -> None:
    """A log-in's Retry-After of 1 s costs 1 s each time, and not the rate of all that follows."""
    api, times = MemoryApi(VAYU), list[float]()
    api.begin((), (), lambda: None)

    async def answer(request: httpx.Request) -> httpx.Response:
        times.append(anyio.current_time())
        if len(times) <= often:
            return httpx.Response(429, headers={"Retry-After": "1"}, json={})
        return await api.answer(request)

    sheet = tmp_path / "sheet.csv"
    sheet.write_text("id,name\n" + "".join(f"{0x65F000000000000000000001 + n:024x},New\n" for n in range(40)))
    environment = Environment(ENVIRONMENT, run_on_virtual_clock, lambda: httpx.MockTransport(answer))
    given = Settings(input=str(sheet), endpoint=VAYU, base_url="https://api.test", yes=True)
    assert 0 == run_update(given, FakeReporter(), environment).summary.exit_code
    assert often <= times[-1] - times[0] <= often + 1


def test_run_keeps_a_record_while_its_answer_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record stays leased to its run for as long as the API takes to answer, though each lease is short."""
    api, store, left = MemoryApi(VAYU), MemoryStore(), list[float]()
    api.begin((), (), lambda: None)
    monkeypatch.setattr("batch.engine.api_session.MemoryStore", lambda: store)

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            await anyio.sleep(50)
            left.extend(one.until - anyio.current_time() for one in store._records.values())
        return await api.answer(request)

    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"id,name\n{0x65F000000000000000000001:024x},New\n")
    environment = Environment(ENVIRONMENT, run_on_virtual_clock, lambda: httpx.MockTransport(answer))
    given = Settings(input=str(sheet), endpoint=VAYU, base_url="https://api.test", yes=True)
    assert 0 == run_update(given, FakeReporter(), environment).summary.exit_code
    assert [True] == [one > 5 for one in left]
