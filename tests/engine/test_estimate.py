"""The one estimate: every request is counted, and the time is right, at the documented limits without refusals."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest
import trio

from batch.commands.plan import plan as run_plan
from batch.commands.pull import Wanted
from batch.commands.pull import pull as run_pull
from batch.commands.undo import undo as run_undo
from batch.commands.update import update as run_update
from batch.engine.estimate import Sent, estimate_reads, seconds_at_limits, starts_within
from batch.engine.reporter import Cost, Estimate, Progress
from batch.ratelimit import Bucket, Limits
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.sandbox.api import Answer, Call
from batch.sandbox.dualentry import DualEntry
from batch.sandbox.options import SandboxOptions
from batch.sandbox.vayu import Vayu
from batch.settings import Settings
from tests.endpoints.acme import AcmeVendors
from tests.job_fixture import DUALENTRY, VAYU, FakeReporter
from tests.resilience.memory_api import ENVIRONMENT, KEYS
from tests.sandbox.control import ControlledSandbox
from tests.virtual import run_on_virtual_clock

RECORDS = 400
LATENCY = {DUALENTRY: 0.05, VAYU: 0.01}
"""Seconds; at Vayu's so short that the limit is what limits, not the slots (--max-at-once)."""
WITHIN = 0.15
OWN = {DUALENTRY: "unique_id", VAYU: "externalId"}


@dataclass
class Documented:
    """One of the imitated APIs in this process, with its documented buckets; remembers when it was asked what."""

    endpoint: str = DUALENTRY
    records: int = RECORDS
    asked: list[tuple[float, str, str]] = field(default_factory=list)
    refused: int = 0
    now: float = 0.0
    began: float = 0.0
    """When the present event loop began, whose own clock begins at 0."""

    def __post_init__(self) -> None:
        options = SandboxOptions(records=self.records)
        kind = DualEntry if self.endpoint == DUALENTRY else Vayu
        self.api: DualEntry | Vayu = kind(options, KEYS[0])

    @property
    def environment(self) -> Environment:
        return Environment(ENVIRONMENT, self.run, lambda: httpx.MockTransport(self.answer))

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run on the virtual clock, after a person took a while to look at the screen."""
        self.began = self.now + 20
        return run_on_virtual_clock(function, *arguments)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        raw = request.extensions.get("target", request.url.raw_path).decode("ascii")
        path, _, query = raw.partition("?")
        call = Call(0, request.method, path, query, request.headers, await request.aread())
        call.record = self.api.record_in(call)
        self.now = self.began + trio.current_time()
        self.asked.append((self.now, call.method, path))
        opened = self.api.open(call, self.now)
        answer = opened if isinstance(opened, Answer) else opened(None)
        self.refused += answer.status == 429
        await anyio.sleep(LATENCY[self.endpoint])
        return httpx.Response(answer.status, content=answer.rendered(), headers=call.reply_headers | answer.headers)

    def ids(self, count: int) -> list[str]:
        first = 10_001 if self.endpoint == DUALENTRY else 0x65F000000000000000000001
        form = "d" if self.endpoint == DUALENTRY else "024x"
        return [format(number, form) for number in range(first, first + count)]

    def keys(self, count: int) -> list[str]:
        return [f"C-{10_001 + n}" if self.endpoint == DUALENTRY else f"V-{1 + n}" for n in range(count)]

    def seconds(self, since: int = 0) -> float:
        return self.asked[-1][0] - self.asked[since][0]


@dataclass
class Job:
    """A folder, an API, and what was told before sending."""

    folder: Path
    api: Documented
    reporter: FakeReporter = field(default_factory=FakeReporter)
    at_question: int = 0
    """Requests before the question."""

    def __post_init__(self) -> None:
        confirm = self.reporter.confirm

        def counted(preflight: Any) -> Any:
            self.at_question = len(self.api.asked)
            return confirm(preflight)

        self.reporter.confirm = counted  # type: ignore[method-assign]  # it is a fake, and so is this

    def settings(self, text: str, **options: Any) -> Settings:
        sheet = self.folder / "sheet.csv"
        sheet.write_text(text)
        return Settings(input=str(sheet), endpoint=self.api.endpoint, yes=True, **options)

    def update(self, text: str, **options: Any) -> FinishedRun:
        return run_update(self.settings(text, **options), self.reporter, self.api.environment)

    @property
    def told(self) -> Estimate:
        return self.reporter.asked[-1].cost

    def check(self, cost: Cost, since: int = 0) -> None:
        """Compare a figure with what happened: every request, and the time of those after the question."""
        assert 0 == self.api.refused
        assert cost.requests == pytest.approx(len(self.api.asked) - since, rel=WITHIN)
        assert cost.seconds is not None
        assert cost.seconds == pytest.approx(self.api.seconds(since + self.at_question), rel=WITHIN, abs=1.0)


@pytest.fixture
def make_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return lambda endpoint=DUALENTRY, records=RECORDS: Job(tmp_path, Documented(endpoint, records))


def sheet(first: str, names: list[str], columns: dict[str, str]) -> str:
    rows = [",".join([name, *(f"{value} {at}" for value in columns.values())]) for at, name in enumerate(names)]
    return "\n".join([",".join([first, *columns]), *rows, ""])


ADDRESS = {"full_address.street": "Street", "full_address.city": "City", "full_address.postal_code": "1"}
CASES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "lists": (DUALENTRY, {"name": "N"}, {}),
    "unread": (DUALENTRY, {"name": "N"}, {"compare": False}),
    "read one by one": (DUALENTRY, {"address": "A"}, {}),
    "read back": (DUALENTRY, ADDRESS, {}),
    "read before": (DUALENTRY, {f"shipping_{name[5:]}": value for name, value in ADDRESS.items()}, {}),
    "both": (DUALENTRY, {"address": "A"} | ADDRESS, {}),
    "custom fields": (DUALENTRY, {"custom_fields.Account Manager": "M"}, {}),
    "canary": (DUALENTRY, {"name": "N"}, {"canary": 60}),
    "canary of what no list shows": (DUALENTRY, {"address": "A"}, {"canary": 60}),
    "vayu": (VAYU, {"name": "N"}, {}),
    "vayu, sparse": (VAYU, {"name": "N"}, {"endpoint_options": {"sparse": True}, "compare": False}),
    "vayu, custom fields": (VAYU, {"customFields.Region": "x"}, {}),
    "slower": (DUALENTRY, {"name": "N"}, {"max_per_second": 0.7}),
}


@pytest.mark.parametrize("case", CASES)
def test_update(make_job: Callable[..., Job], case: str) -> None:
    """Where all rows differ, the figure for the whole is what it takes, and "up to" is no less."""
    endpoint, columns, options = CASES[case]
    job = make_job(endpoint)
    count = 110 if endpoint == DUALENTRY else RECORDS  # two lists at DualEntry
    closing = job.update(sheet("id", job.api.ids(count), columns), **options)
    assert {"updated": count} == {one.value: n for one, n in closing.summary.outcomes.items() if n}
    job.check(job.told.whole)
    assert options.get("compare", True) is not job.told.is_known
    if case not in (
        "read before",
        "both",
        "canary",
        "canary of what no list shows",
    ):  # how many records one list serves, is not known before
        assert len(job.api.asked) == job.told.whole.requests


@pytest.mark.parametrize(
    ("endpoint", "count", "records"),
    [(DUALENTRY, 2, 300), (DUALENTRY, 100, 8000), (VAYU, 30, 300)],
)
def test_by_key(make_job: Callable[..., Job], endpoint: str, count: int, records: int) -> None:
    """Look-ups one by one, or all pages before the first write."""
    job = make_job(endpoint, records)
    closing = job.update(sheet(OWN[endpoint], job.api.keys(count), {"name": "N"}), key=OWN[endpoint])
    assert count == closing.summary.rows
    job.check(job.told.whole)


@pytest.mark.long
def test_by_key_and_long(make_job: Callable[..., Job]) -> None:
    """What pages brought more than a minute ago is read again, and counted."""
    job = make_job(DUALENTRY, 8_000)
    job.update(sheet("unique_id", job.api.keys(400), {"name": "N"}), key="unique_id")
    job.check(job.told.whole)


def unchanged(job: Job, count: int, differing: int) -> str:
    ids = job.api.ids(count)
    names = [job.api.api.true_record(one)["name"] for one in ids]  # type: ignore[index]  # the record is there
    step = max(1, count // differing)
    return "id,name\n" + "".join(
        f'{one},"{f"New {at}" if at % step == 0 and at // step < differing else name}"\n'
        for at, (one, name) in enumerate(zip(ids, names, strict=True))
    )


@pytest.mark.long
def test_comparing(make_job: Callable[..., Job]) -> None:
    """Where nothing differs, the figure for comparing is what it takes."""
    job = make_job(VAYU, 2_000)
    job.update(unchanged(job, 2_000, 1).replace("New 0", "Same"))
    job.check(job.told.comparing)
    assert (2_000, False) == (job.told.writes, job.told.is_known)


@pytest.mark.parametrize("columns", [{"name": "N"}, {"phone": "1"} | ADDRESS], ids=["plain", "read back"])
def test_plan(make_job: Callable[..., Job], columns: dict[str, str]) -> None:
    """A plan has one figure for the whole, and an update by it another start's, which are the same and right."""
    job = make_job()
    text = sheet("id", job.api.ids(60), columns)
    made = run_plan(job.settings(text), job.reporter, job.api.environment)
    since = len(job.api.asked)
    job.update(text, plan=made.folder)
    told = job.told
    assert (told.whole, told.writes, told.reads) == (made.cost, made.summary.writes, made.summary.reads)
    assert told.is_known
    job.at_question -= since
    job.check(job.told.whole, since)


def test_plan_of_a_few(make_job: Callable[..., Job]) -> None:
    """Of 300 rows 40 differ: an update by the plan takes 3 reads, 40 writes, and 5 reads just before these leave."""
    job = make_job()
    made = run_plan(job.settings(unchanged(job, 300, 40)), job.reporter, job.api.environment)
    assert (40, 48) == (made.summary.writes, made.summary.requests)
    assert [Cost(3, 0.0)] == job.reporter.costs


def test_plan_of_what_no_list_shows(make_job: Callable[..., Job]) -> None:
    """A plan tells before it begins how long reading record by record takes."""
    job = make_job()
    run_plan(job.settings(sheet("id", job.api.ids(50), {"address": "A"})), job.reporter, job.api.environment)
    (told,) = job.reporter.costs
    job.check(told)
    assert 51 == told.requests


def test_undo(make_job: Callable[..., Job]) -> None:
    """An undo knows what it writes."""
    job = make_job()
    closing = job.update(sheet("id", job.api.ids(30), ADDRESS))
    since = len(job.api.asked)
    settings = Settings(endpoint=DUALENTRY, yes=True)
    run_undo(closing.folder, settings, job.reporter, job.api.environment)
    assert job.told.is_known
    job.at_question -= since
    job.check(job.told.whole, since)


def test_pull(make_job: Callable[..., Job]) -> None:
    """A pull counts the requests for custom fields, too; an id that no page shows costs one more."""
    job = make_job(DUALENTRY, 1_500)
    ids = job.folder / "ids.txt"
    ids.write_text("\n".join([*job.api.ids(1_400), "999999"]))
    listener = SimpleNamespace(note=print, cost=job.reporter.cost, pulled=lambda count, total: None)
    wanted = Wanted(job.folder / "pulled.csv", ids=ids)
    run_pull(Settings(endpoint=DUALENTRY), wanted, listener, job.api.environment)
    (told,) = job.reporter.costs
    job.check(told)
    assert len(job.api.asked) == told.requests + 1


# -- the arithmetic -------------------------------------------------------------------------------------------------

BOTH = Limits(Bucket(50, 5.0), Bucket(10, 1.0))


@pytest.mark.parametrize(
    ("first", "beside", "limits", "expected"),
    [
        ({}, {}, BOTH, 0),
        ({}, {"a": 9}, BOTH, 0),
        ({}, {"a": 10_000}, BOTH, 9990.5),
        ({}, {"a": 30, "b": 30}, BOTH, 20.5),
        ({}, dict.fromkeys("abcdefgh", 30), BOTH, 38.5),
        ({"a": 30}, {"b": 30}, BOTH, 41.0),
        ({"a": 30}, {"a": 30}, BOTH, 50.5),
        ({}, {"a": 300, "b": 300}, Limits(Bucket(100, 500.0)), pytest.approx(1.099)),
        ({}, {"a": 100}, Limits(), None),
    ],
)
def test_time_at_the_limits(
    first: dict[str, int], beside: dict[str, int], limits: Limits, expected: float | None
) -> None:
    """The slowest of all buckets says how long it takes, after its burst."""
    api: Any = SimpleNamespace(pace=Settings().pace, limits=limits)
    assert expected == seconds_at_limits(api, Counter(first), Counter(beside))


def test_rate_of_ones_own() -> None:
    """--max-per-second replaces the documented limits."""
    api: Any = SimpleNamespace(pace=Settings(max_per_second=4.0).pace, limits=BOTH)
    assert 24.75 == seconds_at_limits(api, Counter(a=100))
    assert 240 == starts_within(api, 60.0)
    assert Cost(9, 1.5) == estimate_reads(api, 7, spent=2)


def test_counted_changes() -> None:
    """What the answer to a write leaves out is read back; a change of which nothing is put back is none."""
    endpoint = Documented().environment.endpoints[DUALENTRY]()
    assert Sent(2, 1, 0, 1) == Sent.counted(endpoint, [["name"], ["phone", "full_address.city"], []])
    assert Sent(1, 1, 1, 1) == Sent.counted(endpoint, [["address", "full_address.city"]])
    assert Sent(1) == Sent.counted(AcmeVendors(), [["full_address.city"]])


# -- over sockets ---------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(("columns", "count"), [({"name": "N"}, 70), (ADDRESS, 45)], ids=["lists", "read back"])
def test_over_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: dict[str, str], count: int) -> None:
    """The figures hold against the sandbox over sockets, with its documented buckets."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path, reporter, api = tmp_path / "sheet.csv", FakeReporter(), Documented()
    path.write_text(sheet("id", api.ids(count), columns))
    with ControlledSandbox(SandboxOptions(ledger=tmp_path / "ledger.jsonl")) as sandbox:
        settings = Settings(input=str(path), endpoint=DUALENTRY, base_url=sandbox.url, yes=True)
        closing = run_update(settings, reporter, Environment(sandbox.environment()))
        asked = len(sandbox.read_ledger())
    cost = reporter.asked[0].cost.whole
    assert (asked, 0) == (cost.requests, closing.summary.throttled)
    assert closing.summary.seconds == pytest.approx(cost.seconds, rel=WITHIN)


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
@pytest.mark.parametrize("before", [0, 100])
def test_time_left(make_job: Callable[..., Job], endpoint: str, before: int) -> None:
    """After the first tenth of the sending, the bar says within 15 % how long the rest takes; it counts that alone."""
    job = make_job(endpoint)
    text = sheet("id", job.api.ids(300), {"name": "N"})
    if before:
        job.update("\n".join(text.split("\n")[: 1 + before]) + "\n")
    seen: list[tuple[float, Progress]] = []
    job.reporter.can_ask, job.reporter.interval = True, 0.1
    job.reporter.progress = lambda one: seen.append((anyio.current_time(), one))  # type: ignore[method-assign]
    confirm = job.reporter.confirm

    def forget(preflight: Any) -> Any:
        seen.clear()  # what was said while it compared
        return confirm(preflight)

    job.reporter.confirm = forget  # type: ignore[method-assign]  # it is a fake, and so is this
    job.update(text)
    end = job.api.asked[-1][0] - job.api.began
    assert {300 - before} == {one.rows for _, one in seen}
    for at, one in seen:
        if one.done > one.rows / 10 and end > at:
            assert one.eta == pytest.approx(end - at, rel=0.15, abs=1.0), (at, end, one)
