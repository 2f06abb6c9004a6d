"""Delta Lake tables: the rows of the current version, and no others; without deltalake, what to install."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from batch import extras
from batch.errors import InputError
from batch.extras import ExtraError
from batch.model import Staged
from batch.sources import ReadOptions, open_input, stage

deltalake: Any = pytest.importorskip("deltalake", reason="the extra delta: ./run.sh extra delta")
ROWS = {"id": [1, 2, 3], "name": ["a", "b", "c"], "year": ["2026", "2026", "05"]}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table in partitions."""
    path = tmp_path / "customers"
    pl.DataFrame(ROWS).write_delta(path, delta_write_options={"partition_by": ["year"]})
    return path


def staged(table: Path, folder: Path) -> Staged:
    """Stage a table into a new folder."""
    folder.mkdir()
    return stage(open_input(str(table), folder), folder, ReadOptions())


def rows(found: Staged) -> list[tuple[object, ...]]:
    """The texts of its rows, by id."""
    return sorted(pl.read_parquet(found.path).select("^c.$").rows(), key=str)


def test_current_version(table: Path, tmp_path: Path) -> None:
    """Deleted and replaced rows are not read; the version is told, and makes it another input."""
    first = staged(table, tmp_path / "1")
    assert [("1", "a", "2026"), ("2", "b", "2026"), ("3", "c", "05")] == rows(first)
    assert ("customers", "parquet", ("id", "name", "year")) == (first.name, first.format, first.headers)
    deltalake.DeltaTable(table).delete("id = 2")
    pl.DataFrame({"id": [4], "name": ["d"], "year": ["x"]}).write_delta(table, mode="append")
    second = staged(table, tmp_path / "2")
    assert [("1", "a", "2026"), ("3", "c", "05"), ("4", "d", "x")] == rows(second)
    assert ("customers is a Delta Lake table: its version 2 is read.",) == second.notes
    assert second.sha256 != first.sha256
    again = staged(table, tmp_path / "3")
    assert again.sha256 == second.sha256
    assert pl.read_parquet(again.path).equals(pl.read_parquet(second.path))


def test_another_table(table: Path, tmp_path: Path) -> None:
    """Two tables at the same version are two inputs."""
    other = tmp_path / "other"
    pl.DataFrame(ROWS).write_delta(other)
    assert staged(table, tmp_path / "1").sha256 != staged(other, tmp_path / "2").sha256


def test_table_beside_files(table: Path, tmp_path: Path) -> None:
    """A table is an input of its own."""
    with pytest.raises(InputError) as caught:
        open_input(f"{{{table},{table}}}", tmp_path)
    assert "customers is a table of Delta Lake, which is an input of its own: leave it or the others out." == str(
        caught.value
    )


@pytest.mark.parametrize("damage", ["log", "rows", "everything"])
def test_damaged(table: Path, damage: str, tmp_path: Path) -> None:
    """A table without its log, or of which rows are missing, is not read at all."""
    if damage == "rows":
        next(table.rglob("*.parquet")).unlink()
    for path in table.rglob("*.json") if damage != "rows" else ():
        path.write_text("nonsense") if damage == "log" else path.unlink()
    with pytest.raises(InputError, match=r"^customers: this Delta table cannot be read \("):
        staged(table, tmp_path / "1")
    assert not (tmp_path / "1" / "input.parquet").exists()


def test_without_deltalake(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without deltalake a sentence says what to install."""
    monkeypatch.delenv("BATCH_SETUP", raising=False)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ExtraError) as caught:
        open_input(str(table), tmp_path)
    told = "What reading the Delta Lake table customers needs is not installed. Install it:  "
    assert (told, True) == (str(caught.value)[: len(told)], "[delta]" in str(caught.value))


def test_nothing_else_needs_it() -> None:
    """Other inputs are read without deltalake."""
    code = "import sys; sys.modules['deltalake'] = None; import batch.sources.input, batch.sources.parquet"
    subprocess.run([sys.executable, "-c", code], check=True)
