"""Finding by key on the virtual clock: what it costs at DualEntry's documented limits, and answers that mislead."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from batch.commands.update import update as run_update
from batch.errors import UsageError
from batch.http import ApiRequest, encode_id
from batch.run.finish import FinishedRun
from batch.settings import Settings
from tests.endpoints.acme import AcmeApi, AcmeVendors, vendor
from tests.job_fixture import FakeReporter, results, told
from tests.virtual import Lists


def update(lists: Lists, folder: Path, keys: list[str], **options: Any) -> FinishedRun:
    """Give the customers with these keys a name each."""
    sheet = folder / "sheet.csv"
    sheet.write_text("unique_id,name\n" + "".join(f"{key},New\n" for key in keys), encoding="utf-8")
    settings = Settings(input=str(sheet), endpoint="dualentry.customers", key="unique_id", **options)
    return run_update(settings, FakeReporter(), lists.environment())


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_pages_cost_less(tmp_path: Path) -> None:
    """1,000 keys among 3,000 customers, nothing to change: 31 pages at 1 a second instead of 1,000 lookups."""
    lists = Lists(range(1, 3_001))
    for record in lists.records.values():
        record["name"] = "New"
    closing = update(lists, tmp_path, [f"C-{number}" for number in range(1, 1_001)])
    assert [("unchanged", "")] * 1_000 == told(closing)
    assert 31 == len(lists.lists())
    assert lists.asked[-1][0] - lists.asked[0][0] <= 31 - 10 + 1  # seconds; the first 10 may go at once


def test_count_unknown(tmp_path: Path) -> None:
    """A list that does not say how long it is costs one look, and then a lookup for each key."""
    lists = Lists(range(1, 501))
    lists.has_count = False
    closing = update(lists, tmp_path, ["C-1", "C-2", "C-3", "C-4"])
    assert [("updated", "")] * 4 == told(closing)
    assert 1 + 4 == len(lists.lists())


def test_list_that_grows(tmp_path: Path) -> None:
    """Pages that turn out to be more than the keys are given up for lookups."""

    def grow(count: int) -> None:
        if count == 1:
            more = Lists(range(1_000, 5_000))
            lists.records |= more.records

    lists = Lists(range(1, 201))
    lists.before = grow
    closing = update(lists, tmp_path, [f"C-{number}" for number in range(1, 6)])
    assert [("updated", "")] * 5 == told(closing)
    assert 5 + 5 == len(lists.lists())


def test_filter_that_does_nothing(tmp_path: Path) -> None:
    """A filter that is ignored is found out at once; all pages are read instead, and show which record it is."""
    lists = Lists(range(1, 501))
    lists.filters = False
    closing = update(lists, tmp_path, ["C-400", "C-401", "C-999"])
    assert ["updated", "updated", "failed"] == [outcome for outcome, _ in told(closing)]
    assert {"New"} == {lists.records[number]["name"] for number in (400, 401)}
    assert 1 == sum("unique_id" in url.params for url in lists.lists())


@pytest.mark.parametrize("count", [50, 500])
def test_filter_that_does_nothing_proves_nothing(tmp_path: Path, count: int) -> None:
    """What it does not show may be there all the same, also where the list is short; and it is no other spelling."""
    lists = Lists(range(1, count + 1))
    lists.filters = False
    closing = update(lists, tmp_path, ["C-999"])
    reason = 'column "unique_id": "C-999" cannot be found: the API does not narrow down unique_id'
    assert ([("failed", reason)], None) == (told(closing), results(closing.folder)[0]["status"])


class Blind(Lists):
    """A filter that finds nothing, ever."""

    def _list(self, request: httpx.Request) -> httpx.Response:
        if "unique_id" in request.url.params:
            return httpx.Response(200, json={"items": [], "count": 0})
        return super()._list(request)


class Capped(Lists):
    """Pages of 20 at most, without saying so, and a list that ends with the first."""

    def _list(self, request: httpx.Request) -> httpx.Response:
        whole = super()._list(request).json()["items"]
        return httpx.Response(200, json=whole[:20])


def test_filter_that_finds_nothing(tmp_path: Path) -> None:
    """A filter that finds no record that is known to be there is not believed: the pages show which it is."""
    closing = update(Blind(range(1, 501)), tmp_path, ["C-400", "C-1"])
    assert ["updated", "updated"] == [outcome for outcome, _ in told(closing)]


def test_list_that_ends_early(tmp_path: Path) -> None:
    """Numbers that a walk over the pages does not show are asked for alone, and are found."""
    closing = update(Capped(range(1, 101)), tmp_path, ["C-10", "C-60", "C-70", "C-999"])
    assert ["updated", "updated", "updated", "invalid"] == [outcome for outcome, _ in told(closing)]


@pytest.mark.parametrize(("count", "keys", "more"), [(500, 1, 2), (500, 4, 1), (50, 9, 5)])
def test_numbers_that_nobody_has(tmp_path: Path, count: int, keys: int, more: int) -> None:
    """A filter is tried once with a number that is there; after a walk five numbers are asked for alone."""
    lists = Lists(range(1, count + 1))
    closing = update(lists, tmp_path, [f"X-{number}" for number in range(keys)])
    reasons = {f'column "unique_id": "X-{number}" is no customer\'s unique_id' for number in range(keys)}
    assert ({"invalid"}, reasons) == ({outcome for outcome, _ in told(closing)}, {said for _, said in told(closing)})
    by_pages = count == 50
    assert len(lists.lists()) == more + (1 if by_pages else keys + (keys > 2))
    statuses = [row["status"] for row in results(closing.folder)]
    assert statuses.count(None) == (keys - 5 if by_pages else 0)


def test_number_that_nobody_has_after_one_that_is_there(tmp_path: Path) -> None:
    """A filter that has found a record is believed when it finds none."""
    lists = Lists(range(1, 501))
    assert ["updated", "invalid"] == [
        outcome for outcome, _ in told(update(lists, tmp_path, ["C-1", "X"], max_at_once=1))
    ]
    assert 2 == len(lists.lists())


def test_refused_lookups(tmp_path: Path) -> None:
    """Look-ups that the API refuses say nothing of the records: failed, which --max-failures does not count."""
    lists = Lists(range(1, 501))
    lists.refusal = 422
    closing = update(lists, tmp_path, [f"C-{number}" for number in range(1, 11)], max_failures="2", max_at_once=1)
    assert Counter(failed=10) == Counter(outcome for outcome, _ in told(closing))


class Short(Lists):
    """Filters nothing out of nothing, and lists only half of its customers, of which it says how many there are."""

    def _list(self, request: httpx.Request) -> httpx.Response:
        if "unique_id" in request.url.params:
            return httpx.Response(200, json={"items": [], "count": 0})
        items = list(self.records.values())[::2] if request.url.params["offset"] == "0" else []
        return httpx.Response(200, json={"items": [one | {"unique_id": None} for one in items], "count": 100})


def test_pages_that_are_cut(tmp_path: Path) -> None:
    """Where neither a filter nor the pages tell, the row is failed, with the reason."""
    reason = (
        'column "unique_id": "C-60" was found nowhere, and the API\'s lists are not complete enough to tell that no '
        "customer has this unique_id"
    )
    assert [("failed", reason)] == told(update(Short(range(1, 101)), tmp_path, ["C-60"]))


class ByMail(AcmeVendors):
    """Acme's vendors, found by their e-mail address in pages."""

    key_fields = ("email",)


class ByPath(ByMail):
    """Acme's vendors, found by their e-mail address in the path of a request."""

    lists_by_key = True

    def find_request(self, key_field: str, key: str) -> ApiRequest:
        return ApiRequest("GET", f"/vendors/{encode_id(key)}", "GET vendors by key")


def update_vendors(api: AcmeApi, endpoint: type[AcmeVendors], folder: Path, key: str) -> FinishedRun:
    """Give the vendor with this e-mail address a name."""
    sheet = folder / "sheet.csv"
    sheet.write_text(f"email,name\n{key},New\n", encoding="utf-8")
    environment = replace(api.environment(), endpoints={AcmeVendors.name: endpoint})
    return run_update(Settings(input=str(sheet), endpoint="acme.vendors", key="email"), FakeReporter(), environment)


def test_number_that_no_address_can_carry(tmp_path: Path) -> None:
    """A number that would change the path that leaves is not looked up."""
    reason = 'column "email": "a/../b" cannot be looked up as email: a web address cannot carry it'
    assert [("invalid", reason)] == told(update_vendors(AcmeApi(), ByPath, tmp_path, "a/../b"))


def test_list_that_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    """Where a look-up may hide a second record, all pages are read for a single row."""
    api = AcmeApi()
    api.records["Vcccc"] = vendor("Vcccc", "Di", email="ann@a.example")
    reason = 'column "email": "ann@a.example" belongs to 2 vendors (ids Vaaaa, Vcccc): say which one by its id'
    assert [("invalid", reason)] == told(update_vendors(api, ByMail, tmp_path, "ann@a.example"))


def test_list_that_is_refused(tmp_path: Path) -> None:
    """Without the list it cannot be told whether two share a number, so that nothing starts, and nothing is left."""
    api = AcmeApi()
    allowed = api.answer
    api.answer = lambda request: (  # type: ignore[method-assign]  # lists alone are refused
        httpx.Response(400, json={"problems": [{"at": "", "why": "no lists"}]})
        if request.url.path == "/vendors"
        else allowed(request)
    )
    with pytest.raises(UsageError) as caught:
        update_vendors(api, ByMail, tmp_path, "ann@a.example")
    expected = (
        "The vendors cannot be listed (the API refused it (400)), so it cannot be told whether two of them have the "
        'same number. Nothing was sent. Leave out --key, and give the API\'s ids in a column "id".'
    )
    assert (expected, False) == (str(caught.value), (tmp_path / "sheet.batch").exists())


def test_key_refused(tmp_path: Path) -> None:
    """A credential that is not accepted stops the run before anything is written: every row is unsent."""
    lists = Lists(range(1, 501))
    lists.refusal = 401
    closing = update(lists, tmp_path, ["C-1", "C-2", "C-3"])
    assert [("unsent", "")] * 3 == told(closing)
    assert 2 == closing.summary.exit_code
