"""Finding by key on the virtual clock: what it costs at DualEntry's documented limits, and answers that mislead."""

from pathlib import Path
from typing import Any

import pytest

from batch.commands.update import update as run_update
from batch.run.finish import FinishedRun
from batch.settings import Settings
from tests.job_fixture import FakeReporter, told
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
    assert 1 + 31 == len(lists.lists())
    assert lists.asked[-1][0] - lists.asked[1][0] <= 31 - 10 + 1  # seconds; the first 10 may go at once


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
    assert 1 + 5 + 5 == len(lists.lists())


def test_filter_that_does_nothing(tmp_path: Path) -> None:
    """An API that ignores the filter is found out, and nobody is changed by chance."""
    lists = Lists(range(1, 501))
    lists.filters = False
    closing = update(lists, tmp_path, ["C-400"])
    reason = 'column "unique_id": "C-400" cannot be found: the API does not narrow down unique_id'
    assert [("rejected", reason)] == told(closing)


def test_key_refused(tmp_path: Path) -> None:
    """A credential that is not accepted stops the run before anything is written: every row is unsent."""
    lists = Lists(range(1, 501))
    lists.refusal = 401
    closing = update(lists, tmp_path, ["C-1", "C-2", "C-3"])
    assert [("unsent", "")] * 3 == told(closing)
    assert 2 == closing.summary.exit_code
