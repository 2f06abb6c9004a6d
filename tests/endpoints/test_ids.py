"""When two ids are the same is the endpoint's to say; keys are always exact."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import polars as pl
import pytest

from batch.diff import other_record
from batch.endpoints import DualEntryCustomers, VayuCustomers
from batch.endpoints.base import Endpoint
from batch.journal import Journal
from batch.model import READ_ERRORS, ROW, Intent, Outcome, Staged
from batch.run.recovery import resolve_in_doubt
from batch.validation import find_duplicates, id_cells
from tests.endpoints.acme import AcmeVendors


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    """Three rows whose ids differ in case alone, or not at all."""
    rows = pl.DataFrame({ROW: [2, 3, 4], "c0": ["Ab", "aB", "Ab"], "c1": ["x", "y", "x"]})
    rows.with_columns(pl.col(ROW).cast(pl.UInt32), pl.lit(None, pl.String).alias(READ_ERRORS)).write_parquet(
        tmp_path / "input.parquet"
    )
    return Staged(tmp_path / "input.parquet", "x.csv", "csv", ("id", "name"), 3, "")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """The journal of a run that ended while the change of row 2 had no answer."""
    with Journal.create(tmp_path / "journal.sqlite", {"run_id": "r"}) as made:

        async def send() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(made.run_writer, lambda error: None, in_thread=False))
                await made.write_intent(Intent(2, "Ab", None, 1, {"name": "x"}, None, {"name": "x"}))
                tasks.cancel_scope.cancel()

        anyio.run(send)
        yield made


@pytest.mark.parametrize(
    ("endpoint", "are_same"), [(DualEntryCustomers(), False), (VayuCustomers(), True), (AcmeVendors(), False)]
)
def test_same_ids(endpoint: Endpoint, are_same: bool) -> None:
    """Ids are exact, but where the endpoint says that case does not matter."""
    assert are_same is (endpoint.id_key("Ab") == endpoint.id_key("aB"))
    assert are_same is not other_record(endpoint, "Ab", {"id": "aB"})


class AnyCase(AcmeVendors):
    """Acme's vendors with ids that ignore case."""

    ids_ignore_case = True


def test_same_ids_in_columns() -> None:
    """Ids are the same in a column exactly when the endpoint says so of them, also beyond ASCII."""
    ids = ["Ab", "aB", "STRASSE", "strasse", "straße", "İ", "i", "ΑΣ", "ας", "ασ"]
    cells = pl.DataFrame({"c0": ids}).select(id_cells(0, ignore_case=True)).to_series().to_list()
    for one, first in zip(ids, cells, strict=True):
        for other, second in zip(ids, cells, strict=True):
            assert (first == second) is (AnyCase().id_key(one) == AnyCase().id_key(other)), (one, other)


@pytest.mark.parametrize(("ignore_case", "groups"), [(True, ((2, 3, 4),)), (False, ((2, 4),))])
def test_duplicates(staged: Staged, ignore_case: bool, groups: tuple[tuple[int, ...], ...]) -> None:
    """Rows are about one record when their ids are the same."""
    assert groups == find_duplicates(staged, 0, ignore_case=ignore_case).groups


@pytest.mark.parametrize(("ignore_case", "rows"), [(True, [2, 3, 4]), (False, [2, 4])])
def test_in_doubt(journal: Journal, staged: Staged, ignore_case: bool, rows: list[int]) -> None:
    """A change in doubt makes unknown its own rows, and none of another id or key."""
    resolve_in_doubt(journal, staged, 0, ignore_case=ignore_case)
    journal.flush()
    found = journal.row_results(2, 4)
    assert rows == sorted(found)
    assert {Outcome.UNKNOWN} == {one.outcome for one in found.values()}
