"""Whole runs against APIs whose lists cannot be relied on: nothing is sent unseen, and nothing is called absent."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from batch.commands.plan import plan
from batch.commands.undo import undo
from batch.commands.update import update
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.errors import Declined, ExitCode, StoppedError, UsageError
from batch.exit_code import exit_code_of_error
from batch.run.finish import FinishedRun
from batch.run.target import Environment
from batch.settings import Settings
from tests.job_fixture import DUALENTRY, VAYU, FakeReporter, results, told
from tests.little_api import Asked, LittleApi, Said, little_api

ROOT = "/public/v2/customers/"
NOT_FOUND = {"success": False, "errors": {"__all__": ["Not found"]}}
ENVIRONMENT = Environment({"DUALENTRY_API_KEY": "a-key-for-tests", "VAYU_API_TOKEN": "a-token-for-tests"})


def customer(number: int) -> dict[str, Any]:
    place = {"street": f"{number} Elm", "city": "Austin", "postal_code": "78701", "state": "TX", "country": "US"}
    return {"id": number, "name": f"N {number}", "unique_id": f"C-{number}", "phone": "1", "full_address": place}


@dataclass
class Customers:
    """DualEntry's customers 1 to `count`; `spoil` may answer a list in another way."""

    count: int = 400
    spoil: Callable[[list[int], int], Said | None] = lambda ids, nth: None
    """Takes the ids and which list it is (from 1)."""
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lists: int = 0

    def __post_init__(self) -> None:
        self.records = {number: customer(number) for number in range(1, self.count + 1)}

    def answer(self, asked: Asked) -> Said:
        parts = urlsplit(asked.path)
        if parts.path == ROOT:
            self.lists += 1
            ids = [int(value) for name, value in parse_qsl(parts.query) if name == "id"]
            return self.spoil(ids, self.lists) or self.listed(ids)
        record = self.records.get(int(parts.path.removeprefix(ROOT).strip("/")))
        if record is None:
            return Said(404, NOT_FOUND)
        if asked.is_write:
            self.bodies.append(json.loads(asked.body))
            record.update(self.bodies[-1])
        return Said(200, {name: value for name, value in record.items() if name != "full_address"})

    def listed(self, ids: list[int], count: int | None = None) -> Said:
        items = [self.records[one] for one in ids if one in self.records]
        return Said(200, {"items": items, "count": len(items) if count is None else count})


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def settings(little: LittleApi, folder: Path, text: str, endpoint: str = DUALENTRY, **options: Any) -> Settings:
    sheet = folder / "sheet.csv"
    sheet.write_text(text, encoding="utf-8")
    given = {"base_url": little.url, "max_per_second": 2000.0, "yes": True} | options
    return Settings(input=str(sheet), endpoint=endpoint, **given)


def run(api: Customers, folder: Path, text: str, **options: Any) -> FinishedRun:
    with little_api(api.answer) as little:
        return update(settings(little, folder, text, **options), FakeReporter(), ENVIRONMENT)


def outcomes(closing: FinishedRun) -> dict[str, int]:
    return dict(Counter(outcome for outcome, _ in told(closing)))


OTHER = {"items": [customer(399)], "count": 1}
SPOILT = [
    (404, NOT_FOUND),
    (404, {"detail": "Not Found"}),
    (400, {}),
    (413, ""),
    (501, ""),
    (200, OTHER),
    (200, {}),
]


@pytest.mark.parametrize("said", SPOILT)
def test_one_list_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: tuple[int, Any]) -> None:
    """After one bad list every address is still completed from its record, and undo puts all of them back."""
    monkeypatch.setattr(DualEntryCustomers, "ids_per_read", 10)
    api = Customers(spoil=lambda ids, nth: Said(*said) if nth == 2 else None)
    rows = "".join(f"{number},Berlin\n" for number in range(1, 36))  # 4 lists, of which the second is bad
    is_mixed_up = said[1] is OTHER  # lists are not used any more, and the record by itself shows no address
    with little_api(api.answer) as little:
        given = settings(little, tmp_path, f"id,full_address.city\n{rows}")
        closing = update(given, FakeReporter(), ENVIRONMENT)
        assert api.lists > 1
        assert {True} == {"TX" == body["full_address"]["state"] for body in api.bodies}
        if is_mixed_up:
            assert {"updated", "failed"} == outcomes(closing).keys()
            assert outcomes(closing)["updated"] == len(api.bodies)
            return
        assert ({"updated": 35}, 0) == (outcomes(closing), closing.summary.exit_code)
        undone = undo(closing.folder, given, FakeReporter(), ENVIRONMENT)
    assert {"updated": 35} == outcomes(undone)
    assert api.records == Customers().records


@pytest.mark.parametrize("status", [403, 407])
def test_list_that_is_not_for_this_key(tmp_path: Path, status: int) -> None:
    """What an API refuses as a proxy would, or for the key, it may refuse of a list alone: the run goes on."""
    api = Customers(spoil=lambda ids, nth: Said(status, "") if nth == 2 else None)
    closing = run(api, tmp_path, "id,name\n" + "".join(f"{number},New\n" for number in range(1, 211)))
    assert ({"updated": 210}, 0) == (outcomes(closing), closing.summary.exit_code)


def test_every_list_refused(tmp_path: Path) -> None:
    """Records are compared one by one; an object that only lists show is not sent, and its row says so."""
    api = Customers(spoil=lambda ids, nth: Said(404, NOT_FOUND))
    closing = run(api, tmp_path, "id,name,full_address.city\n1,New,\n2,N 2,\n3,,Berlin\n4,,Bonn\n")
    reason = (
        'column "full_address.city": full_address is written as a whole, and the API does not show what it is now, '
        "so nothing was sent"
    )
    assert [("updated", ""), ("unchanged", ""), ("failed", reason), ("failed", reason)] == told(closing)
    assert [{"name": "New"}] == api.bodies


CUTS: dict[str, Callable[[Customers], Callable[[list[int], int], Said | None]]] = {
    "pages of 20, true count": lambda api: lambda ids, nth: api.listed(ids[:20], len(ids)),
    "pages of 20, their own count": lambda api: lambda ids, nth: api.listed(ids[:20]),
    "the last id alone counts": lambda api: lambda ids, nth: api.listed(ids[-1:]),
    "the filter is ignored": lambda api: lambda ids, nth: api.listed(list(range(200, 300)), api.count),
    "an empty list": lambda api: lambda ids, nth: api.listed([]),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_cut_lists(tmp_path: Path, cut: Callable[[Customers], Callable[[list[int], int], Said | None]]) -> None:
    """What lists leave out is there all the same; only what says 404 itself is not."""
    api = Customers()
    api.spoil = cut(api)
    closing = run(api, tmp_path, "id,name\n" + "".join(f"{one},New\n" for one in (*range(1, 61), 999)))
    assert {"updated": 60, "rejected": 1} == outcomes(closing)
    (missing,) = (row for row in results(closing.folder) if row["outcome"] == "rejected")
    assert ("999", "404", "there is no customer with this id") == (
        missing["id"], missing["status"], missing["message"].removeprefix('column "id": '),
    )  # fmt: skip
    assert {"name": "New"} == {key: value for body in api.bodies for key, value in body.items()}


def test_status_is_the_row_s_own(tmp_path: Path) -> None:
    """A row for which nothing was asked but a list has no status."""
    closing = run(Customers(), tmp_path, "id,name\n1,New\n2,N 2\n999,New\n")
    assert ["200", None, "404"] == [row["status"] for row in results(closing.folder)]


@pytest.mark.parametrize("status", [401, 403, 405])
@pytest.mark.parametrize(("endpoint", "options"), [(DUALENTRY, "--no-compare"), (VAYU, "--no-compare --sparse")])
def test_no_read_allowed(tmp_path: Path, status: int, endpoint: str, options: str) -> None:
    """Where no read is allowed nothing is sent; the key is named first, and then what can do without reading."""

    def script(asked: Asked) -> Said:
        if asked.path == "/login":
            return Said(200, {"accessToken": "x"})
        return Said(status, {"success": False, "errors": {"__all__": ["no"]}, "code": "no", "message": "no"})

    ids = [1, 2, 3] if endpoint == DUALENTRY else [f"65f00000000000000000000{number}" for number in (1, 2, 3)]
    with little_api(script) as little:
        given = settings(little, tmp_path, "id,name\n" + "".join(f"{one},New\n" for one in ids), endpoint)
        closing = update(given, FakeReporter(), ENVIRONMENT)
        assert [] == [one for one in little.asked if one.is_write]
        with pytest.raises(StoppedError) as caught:
            plan(given, FakeReporter(), ENVIRONMENT)
    stopped = closing.stopped
    assert (2, {"unsent": 3}) == (closing.summary.exit_code, outcomes(closing))
    assert -1 < stopped.find("_API_") < stopped.find("may write") < stopped.find(options)
    assert stopped.endswith(options)
    assert (2, -1) == (exit_code_of_error(caught.value), str(caught.value).find("--"))


def test_no_read_allowed_where_it_must_be(tmp_path: Path) -> None:
    """Where the sheet says what its records must show, nothing does without reading."""
    with little_api(lambda asked: Said(403, NOT_FOUND)) as little:
        closing = update(settings(little, tmp_path, "id,name,name (now)\n1,New,N 1\n"), FakeReporter(), ENVIRONMENT)
    assert (2, -1) == (closing.summary.exit_code, closing.stopped.find("--no-compare"))


def test_look_refused_without_comparing(tmp_path: Path) -> None:
    """With --no-compare a key that may not read ends no run: a row without an answer is unknown, the others go on."""
    api = Customers()

    def script(asked: Asked) -> Said | None:
        if not asked.is_write:
            return Said(403, NOT_FOUND)
        return None if "/2/" in asked.path else api.answer(asked)

    with little_api(script) as little:
        text, options = "id,name\n1,New\n2,New\n3,New\n", {"compare": False, "max_attempts": 1, "max_at_once": 1}
        given = settings(little, tmp_path, text, read_timeout=0.3, **options)
        closing = update(given, FakeReporter(), ENVIRONMENT)
    assert (["updated", "unknown", "updated"], "") == ([one for one, _ in told(closing)], closing.stopped)


# -- a sheet of another company -------------------------------------------------------------------------------------


def absent(count: int, *more: int) -> str:
    return "id,name\n" + "".join(f"{one},New\n" for one in (*range(1001, 1001 + count), *more))


@pytest.mark.parametrize("command", [update, plan])
@pytest.mark.parametrize("invalid", ["skip", "abort"])
def test_first_ids_absent(tmp_path: Path, command: Callable[..., Any], invalid: str) -> None:
    """Where no record has any of the first 100 ids a pipeline is refused, in words, and nothing is left behind."""
    with little_api(Customers().answer) as little:
        given = settings(little, tmp_path, absent(250, 1), company="Acme", invalid=invalid)
        with pytest.raises(UsageError) as caught:
            command(given, FakeReporter(), ENVIRONMENT)
    said = (
        f'sheet.csv: no customer of the company "Acme" at {little.url} has any of the first 100 ids. They may be '
        "another company's, or those of another system. Nothing was sent. If they are meant:  --none-found"
    )
    assert (said, ExitCode.COULD_NOT_START) == (str(caught.value), caught.value.exit_code)
    assert [] == [one for one in little.asked if one.is_write]
    assert [] == list((tmp_path / "sheet.batch").glob("[0-9]*"))
    assert 202 == len(little.asked)


@pytest.mark.parametrize(("answers", "options"), [([True], {}), ([], {"none_found": True})])
def test_first_ids_absent_and_meant(tmp_path: Path, answers: list[bool], options: dict[str, Any]) -> None:
    """Whoever says that they are meant gets all rows settled, and is asked once."""
    reporter = FakeReporter(can_ask=True, answers=[True, *answers])
    with little_api(Customers().answer) as little:
        given = settings(little, tmp_path, absent(250, 1, 2), canary=1, **options)
        closing = update(given, reporter, ENVIRONMENT)
    assert ({"rejected": 250, "updated": 2}, len(answers)) == (outcomes(closing), len(reporter.questions))


def test_first_ids_absent_and_declined(tmp_path: Path) -> None:
    """Whoever says no leaves nothing behind."""
    reporter = FakeReporter(can_ask=True, answers=[False])
    with little_api(Customers().answer) as little, pytest.raises(Declined):
        update(settings(little, tmp_path, absent(100)), reporter, ENVIRONMENT)
    assert [] == list((tmp_path / "sheet.batch").glob("[0-9]*"))


@pytest.mark.parametrize("text", [absent(99), "id,name\n1,New\n" + absent(150).partition("\n")[2]])
def test_some_ids_absent(tmp_path: Path, text: str) -> None:
    """Fewer are nothing odd, nor are any once a record was found."""
    closing = run(Customers(), tmp_path, text)
    assert 1 == closing.summary.exit_code


def definition(number: int, of: str) -> dict[str, Any]:
    return {
        "id": number, "name": f"Field {number}", "field_type": "text", "is_active": True, "options": [],
        "applies_to": [{"type": of, "is_active": True, "is_required": False}],
    }  # fmt: skip


def test_cut_list_of_custom_fields(tmp_path: Path) -> None:
    """Of a list that is cut all pages are read, also behind one that is of other records."""
    of = ["customer", "customer", "vendor", "vendor", "customer"]
    definitions = [definition(number, one) for number, one in enumerate(of, start=1)]
    customers = Customers()

    def answer(asked: Asked) -> Said:
        parts = urlsplit(asked.path)
        if not parts.path.endswith("/custom-fields/"):
            return customers.answer(asked)
        offset = int(dict(parse_qsl(parts.query))["offset"])
        return Said(200, {"items": definitions[offset : offset + 2], "count": len(definitions)})

    with little_api(answer) as little:
        text = "id,name,custom_fields.Field 5\n1,New,\n"
        closing = update(settings(little, tmp_path, text), FakeReporter(), ENVIRONMENT)
    assert {"updated": 1} == outcomes(closing)


def test_later_page_of_custom_fields_refused(tmp_path: Path) -> None:
    """Where a later page is refused, no field is called none of the organisation's: none of them is known."""
    customers = Customers()

    def answer(asked: Asked) -> Said:
        parts = urlsplit(asked.path)
        if not parts.path.endswith("/custom-fields/"):
            return customers.answer(asked)
        is_first = dict(parse_qsl(parts.query))["offset"] == "0"
        return Said(200, {"items": [definition(1, "customer")], "count": 2}) if is_first else Said(422, {})

    reporter = FakeReporter()
    with little_api(answer) as little:
        closing = update(settings(little, tmp_path, "id,name,custom_fields.Field 5\n1,New,\n"), reporter, ENVIRONMENT)
    assert {"updated": 1} == outcomes(closing)
    assert [True] == [one.endswith("their values go as text.") for one in reporter.notes if "custom fields" in one]
