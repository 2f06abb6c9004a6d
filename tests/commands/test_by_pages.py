"""Many rows at Vayu are compared by pages: as few requests as that takes, and never a wrong word about a record."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from batch.commands.update import update
from batch.run.finish import FinishedRun
from tests.engine.test_estimate import Documented, Job, unchanged
from tests.job_fixture import DUALENTRY, VAYU, results, summary, told

ADDRESS = ("full_address.street", "full_address.city", "full_address.postal_code")
OWN = {DUALENTRY: "unique_id", VAYU: "externalId"}
Spoil = Callable[[dict[str, Any]], httpx.Response | None]


@dataclass
class Pages(Documented):
    """Vayu, whose pages may be spoilt; remembers what was written."""

    endpoint: str = VAYU
    spoil: Spoil = lambda page: None
    before_read: Callable[[str], None] = lambda record_id: None
    bodies: dict[str, Any] = field(default_factory=dict)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        record_id = request.url.path.rpartition("/")[2]
        if request.method == "PUT":
            self.bodies[record_id] = json.loads(await request.aread())
        elif record_id != "customers":
            self.before_read(record_id)
        found = await super().answer(request)
        if request.method == "GET" and record_id == "customers" and found.status_code == 200:
            return self.spoil(found.json()) or found
        return found

    def counted(self) -> Counter[str]:
        """How many pages and records were read, and records written."""
        kinds = {"/login": "log-ins", "/customers": "pages"}
        return Counter(kinds.get(path, "reads" if method == "GET" else "writes") for _, method, path in self.asked)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def names(api: Documented, count: int, differing: int, by_key: bool = False) -> str:
    """A sheet of so many rows, of which some set another name than the record has."""
    text = unchanged(Job(Path(), api), count, differing)
    if by_key:
        keys = dict(zip(api.ids(count), api.keys(count), strict=True))
        lines = (line.partition(",") for line in text.splitlines()[1:])
        text = f"{OWN[api.endpoint]},name\n" + "".join(f"{keys[one]},{rest}\n" for one, _, rest in lines)
    return text


def run(folder: Path, api: Documented, text: str, **options: Any) -> FinishedRun:
    job = Job(folder, api)
    return update(job.settings(text, **options), job.reporter, api.environment)


@pytest.mark.parametrize(("records", "pages", "by_key"), [(1_000, 1, False), (5_000, 5, True)], ids=["id", "key"])
def test_few_that_differ(tmp_path: Path, records: int, pages: int, by_key: bool) -> None:
    """1,000 rows of which 31 differ take at most 70 requests."""
    api = Pages(records=records)
    options = {"key": "externalId"} if by_key else {}
    closing = run(tmp_path, api, names(api, 1_000, 31, by_key), **options)
    assert {"updated": 31, "unchanged": 969} == dict(Counter(outcome for outcome, _ in told(closing)))
    assert {"log-ins": 1, "pages": pages, "reads": 1 + 31, "writes": 31} == api.counted()
    assert len(api.asked) <= 70


@pytest.mark.parametrize(
    ("records", "rows", "pages", "reads"),
    [(10**6, 5, 0, 5), (10**6, 50, 1, 50), (9_000, 80, 1, 80), (9_000, 100, 9, 2)],
)
def test_choice_by_the_counts(tmp_path: Path, records: int, rows: int, pages: int, reads: int) -> None:
    """A few rows of very many customers are read one by one; a page weighs as much as ten reads."""
    api = Pages(records=records)
    run(tmp_path, api, names(api, rows, 1))
    assert (pages, reads) == (api.counted()["pages"], api.counted()["reads"])


def test_what_no_page_shows(tmp_path: Path) -> None:
    """A row that no page shows is read by itself, and only its own 404 says that there is no such customer."""

    def cut(page: dict[str, Any]) -> httpx.Response:
        return httpx.Response(200, json=page | {"customers": page["customers"][::2]})

    api = Pages(spoil=cut)
    text = names(api, 100, 4) + f"{'f' * 24},New\n"
    closing = run(tmp_path, api, text)
    outcomes = Counter(outcome for outcome, _ in told(closing))
    assert {"updated": 4, "unchanged": 96, "rejected": 1} == dict(outcomes)
    assert "404" == next(row["status"] for row in results(closing.folder) if row["outcome"] == "rejected")
    assert (50, 4) == (api.counted()["reads"] - 1 - 1 - 2, len(api.bodies))


START = "YWZ0ZXI6MA=="
"""The cursor of the first page."""


def mixed_up(page: dict[str, Any]) -> httpx.Response:
    others = [one | {"id": format(int(one["id"], 16) + 10**9, "024x")} for one in page["customers"]]
    return httpx.Response(200, json=page | {"customers": others})


SPOILT: dict[str, Spoil] = {
    "400": lambda page: httpx.Response(400, json={"code": "bad_request", "message": "no"}),
    "401": lambda page: httpx.Response(401, json={"code": "authentication_failed", "message": "no"}),
    "403": lambda page: httpx.Response(403, json={"code": "forbidden", "message": "no"}),
    "404": lambda page: httpx.Response(404, text="<h1>404</h1>"),
    "500": lambda page: httpx.Response(500, json={"code": "internal_error", "message": "no"}),
    "no list": lambda page: httpx.Response(200, json={"customers": "none"}),
    "empty": lambda page: httpx.Response(200, json={"customers": [], "total": 0, "hasMore": False}),
    "mixed up": mixed_up,
    "pages of one": lambda page: httpx.Response(200, json=page | {"customers": page["customers"][:1], "total": 400}),
    "without an end": lambda page: httpx.Response(200, json=page | {"hasMore": True, "nextCursor": START}),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_pages_of_no_use(tmp_path: Path, spoilt: str) -> None:
    """Where pages are refused, cut, mixed up or endless, every record is read by itself, and every row is right."""
    api = Pages(spoil=SPOILT[spoilt])
    closing = run(tmp_path, api, names(api, 60, 3), max_attempts=2)
    assert {"updated": 3, "unchanged": 57} == dict(Counter(outcome for outcome, _ in told(closing)))
    assert (3, True) == (len(api.bodies), api.counted()["pages"] <= 8)


def test_more_pages_than_the_list_says(tmp_path: Path) -> None:
    """Pages are given up when they have cost as much as the reads that they were to save."""
    api = Pages(records=20_000, spoil=lambda page: httpx.Response(200, json=page | {"total": 1_000}))
    closing = run(tmp_path, api, names(api, 60, 3))
    assert {"updated": 3, "unchanged": 57} == dict(Counter(outcome for outcome, _ in told(closing)))
    assert (6, 60) == (api.counted()["pages"], api.counted()["reads"])


@pytest.mark.parametrize("way", ["by the first cursor", "by new cursors", "to nothing"])
def test_pages_that_go_round(tmp_path: Path, way: str) -> None:
    """With --key, where there are only pages, a list that leads back to its beginning, or nowhere, has an end, too."""
    api, pages = Pages(records=3_000), 0

    def spoil(page: dict[str, Any]) -> httpx.Response:
        nonlocal pages
        pages += 1
        following = page["nextCursor"] or START
        if way != "by the first cursor":
            following = f"{following}&again={pages}"
        if way == "to nothing" and pages > 3:
            page = page | {"customers": []}
        return httpx.Response(200, json=page | {"hasMore": True, "nextCursor": following})

    api.spoil = spoil
    closing = run(tmp_path, api, names(api, 30, 3, by_key=True), key="externalId")
    assert {"updated": 3, "unchanged": 27} == dict(Counter(outcome for outcome, _ in told(closing)))
    assert api.counted()["pages"] <= 9


def test_page_that_fails(tmp_path: Path) -> None:
    """Where a page cannot be read its rows are failed; they have no status, since none was asked for alone."""
    answers = iter([False, True])
    api = Pages(records=3_000)
    api.spoil = lambda page: httpx.Response(500) if next(answers, True) else httpx.Response(200, json=page)
    closing = run(tmp_path, api, names(api, 10, 3, by_key=True), key="externalId", max_attempts=1)
    assert {("failed", None)} == {(one["outcome"], one["status"]) for one in results(closing.folder)}


def without(*left_out: str) -> Spoil:
    def spoil(page: dict[str, Any]) -> httpx.Response:
        listed = [{name: value for name, value in one.items() if name not in left_out} for one in page["customers"]]
        return httpx.Response(200, json=page | {"customers": listed})

    return spoil


@pytest.mark.parametrize("by_key", [False, True], ids=["id", "key"])
def test_pages_that_leave_something_out(tmp_path: Path, by_key: bool) -> None:
    """What a page does not show is not taken for empty: nothing is called unchanged, or written over, for that."""
    api = Pages(spoil=without("address", "contacts", "legalName"))
    named = api.keys(30) if by_key else api.ids(30)
    text = f"{'externalId' if by_key else 'id'},legalName\n" + "".join(f"{one},<clear>\n" for one in named)
    closing = run(tmp_path, api, text, max_clears="100%", **({"key": "externalId"} if by_key else {}))
    assert 0 == closing.summary.exit_code
    truth: list[Mapping[str, Any]] = [api.api.true_record(one) or {} for one in api.ids(30)]
    assert {""} == {one.get("legalName") or "" for one in truth}
    fresh = Documented(VAYU)
    kept: list[Mapping[str, Any]] = [fresh.api.true_record(one) or {} for one in fresh.ids(30)]
    assert [one["address"] for one in kept] == [one["address"] for one in truth]
    assert len(api.bodies) == sum(bool(one["legalName"]) for one in kept) > 0


def test_another_hand_after_the_page(tmp_path: Path) -> None:
    """What is written is laid over the record as it is just before, not as the page showed it."""
    api = Pages()

    def edit(record_id: str) -> None:
        number = api.api.number_of(record_id)
        if number is not None and api.counted()["reads"]:  # after the one that tells whether pages show all
            api.api.records.write(number, {"legalName": f"Edited {number}"}, now=api.now)

    text = names(api, 100, 10)
    api.before_read = edit
    closing = run(tmp_path, api, text)
    written = [row["id"] for row in results(closing.folder) if row["outcome"] == "updated"]
    assert 11 == api.counted()["reads"]
    assert (10, set(written)) == (len(written), set(api.bodies))
    assert all(api.bodies[one]["legalName"].startswith("Edited") for one in written)


CASES = {
    "few differ": (300, 30, {}),
    "all differ": (120, 120, {}),
    "few rows": (4, 4, {}),
}  # fmt: skip


@pytest.mark.parametrize("by_key", [False, True], ids=["id", "key"])
@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
@pytest.mark.parametrize("case", CASES)
def test_figures_agree(tmp_path: Path, endpoint: str, case: str, by_key: bool) -> None:
    """What is told before the question, the summary, and what the API was asked agree to the request."""
    rows, differing, options = CASES[case]
    api = Documented(endpoint, 1_000)
    job = Job(tmp_path, api)
    settings = job.settings(
        names(api, rows, differing, by_key), **options, **({"key": OWN[endpoint]} if by_key else {})
    )
    closing = update(settings, job.reporter, api.environment)
    assert differing == closing.summary.outcomes[next(one for one in closing.summary.outcomes if one == "updated")]
    figures, cost = summary(closing.folder), job.told
    assert len(api.asked) == figures["requests"] == figures["attempts"]
    each = 1 + (endpoint == VAYU and (rows > 20 or by_key))  # a read just before, after pages
    expected = cost.whole.requests if differing == rows else cost.comparing.requests + differing * each
    assert (expected, 0) == (len(api.asked), api.refused)


def test_figures_agree_with_addresses(tmp_path: Path) -> None:
    """The same where the answer to each write leaves out what was written, but for a look where one is too old."""
    api = Documented(DUALENTRY, 1_000)
    job = Job(tmp_path, api)
    head = ",".join(("id", *ADDRESS))
    settings = job.settings(f"{head}\n" + "".join(f"{one},Street {one},City,1\n" for one in api.ids(150)))
    figures = summary(update(settings, job.reporter, api.environment).folder)
    assert len(api.asked) == figures["requests"] == figures["attempts"]
    assert len(api.asked) - job.told.whole.requests in (0, 1)
