"""All records by pages: each once and none lost, whatever happens to the list meanwhile."""

from collections import Counter

import httpx
import pytest

from batch.endpoints import DualEntryCustomers
from batch.engine.api_session import ApiSession
from batch.engine.pages import Pages, UnreadError
from batch.engine.shutdown import Shutdown
from batch.run.target import Target
from batch.settings import Settings
from tests.virtual import KEY, Lists, run_on_virtual_clock


def pull_all(lists: Lists) -> list[int]:
    """The ids of all records, in the order in which the pages bring them."""

    async def pull() -> list[int]:
        target = Target(DualEntryCustomers(), "https://api.dualentry.com", "production", KEY)
        settings = Settings(endpoint="dualentry.customers", max_attempts=1)
        api = ApiSession(target, settings.pace, lists.environment())
        async with api.open_client(target.endpoint, Shutdown(), Counter[str]().update, print) as client:
            pages = Pages(client)
            found = []
            while not pages.is_done:
                found += [record["id"] for record in await pages.pull()]
            return found

    return list(run_on_virtual_clock(pull))


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 199, 200, 500])
@pytest.mark.parametrize("has_count", [True, False])
def test_each_once(count: int, has_count: bool) -> None:
    """Every record comes once, in order, at every size around a page's end, with and without a count."""
    lists = Lists(range(1, count + 1))
    lists.has_count = has_count
    assert list(range(1, count + 1)) == pull_all(lists)


@pytest.mark.parametrize("count", [1, 100, 101, 199, 200, 500])
def test_requests(count: int) -> None:
    """As many requests as are reckoned beforehand."""
    lists = Lists(range(1, count + 1))
    pull_all(lists)
    assert DualEntryCustomers().pages_in(count) == len(lists.lists())


def test_removed_meanwhile() -> None:
    """A customer removed on a page that was read makes the rest slip: none of the others is lost."""
    lists = Lists(range(1, 401))
    lists.before = lambda count: lists.records.pop(50, None) if count == 2 else None
    assert list(range(1, 401)) == pull_all(lists)


def test_many_removed_meanwhile() -> None:
    """The same with a whole page's worth removed at once."""

    def remove(count: int) -> None:
        for number in range(1, 121) if count == 2 else ():
            lists.records.pop(number)

    lists = Lists(range(1, 601))
    lists.before = remove
    found = pull_all(lists)
    assert set(range(1, 601)) == set(found)
    assert len(found) == len(set(found))


def test_added_meanwhile() -> None:
    """A customer that is added while reading comes once."""

    def add(count: int) -> None:
        if count == 1:
            lists.records[999] = {"id": 999}

    lists = Lists(range(1, 251))
    lists.before = add
    assert [*range(1, 251), 999] == pull_all(lists)


class Short(Lists):
    """Says that it has more customers than its pages show."""

    def _list(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=super()._list(request).json() | {"count": len(self.records) + 100})


class Rounding(Lists):
    """Begins each page at a multiple of 100, so that none joins the one before."""

    def _list(self, request: httpx.Request) -> httpx.Response:
        start = -(-int(request.url.params["offset"]) // 100) * 100
        items = list(self.records.values())[start : start + 100]
        return httpx.Response(200, json={"items": items, "count": len(self.records)})


class Repeating(Lists):
    """Shows the same page, wherever it is asked to begin, and says that there are many more."""

    def _list(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"items": list(self.records.values())[:100], "count": 1_000_000})


@pytest.mark.parametrize(
    ("kind", "count"), [(Short, 50), (Short, 250), (Rounding, 250), (Repeating, 100), (Repeating, 7)]
)
def test_pages_that_do_not_join(kind: type[Lists], count: int) -> None:
    """A list that ends before its own count, or whose pages never join, comes to an end, with all that it shows."""
    lists = kind(range(1, count + 1))
    assert list(range(1, count + 1)) == pull_all(lists)
    assert len(lists.lists()) <= 20


def test_unreadable() -> None:
    """A page that is none is told, in words."""
    lists = Lists(range(1, 5))
    lists.records[2] = {"name": "no id"}  # type: ignore[dict-item]  # that is the point
    with pytest.raises(UnreadError, match=r"^the answer holds no customer$"):
        pull_all(lists)
