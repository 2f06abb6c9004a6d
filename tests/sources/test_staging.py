"""Pulling staged rows: in slices, by number, without holding more than a slice."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.model import Staged
from batch.sources import ReadOptions, iter_frames, open_input, read_rows, stage
from batch.sources.staging import rows_at_once, staged_schema, write_frames


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    """25,000 rows, every third line blank."""
    folder = tmp_path_factory.mktemp("run [1]*")
    path = folder / "customers.csv"
    path.write_text("id,name\n" + "".join("\n" if n % 3 == 0 else f"{n},Customer {n}\n" for n in range(2, 37_502)))
    return stage(open_input(str(path), folder), folder, ReadOptions())


@pytest.mark.parametrize("size", [7_000, 10_000, 1_000_000])
def test_slices_are_all_rows_in_order(staged: Staged, size: int) -> None:
    """Slices are no larger than asked, and together they are all rows, in a folder of any name."""
    frames = list(iter_frames(staged, size))
    assert [n for n in range(2, 37_502) if n % 3] == pl.concat(frames)["row"].to_list()
    assert min(size, 10_000) == max(frame.height for frame in frames)


@given(st.lists(st.integers(0, 40_000), max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_rows_by_number(staged: Staged, rows: list[int]) -> None:
    """Rows are found by their numbers, in order; a blank row's number finds nothing."""
    expected = [(row, str(row)) for row in sorted(set(rows)) if 2 <= row < 37_502 and row % 3]
    assert expected == read_rows(staged, rows).select("row", "c0").rows()


@pytest.mark.parametrize(
    ("columns", "rows"), [(1, 10_000), (200, 10_000), (1_000, 2_000), (16_384, 122), (99_999, 100)]
)
def test_wide_tables_are_held_in_fewer_rows(columns: int, rows: int) -> None:
    """The wider the table, the fewer rows are held at once."""
    assert rows == rows_at_once(columns)


def test_frames_are_pulled_as_they_are_written(tmp_path: Path) -> None:
    """What a frame's making raises comes out as it is, and leaves no file."""

    def frames() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"row": [2], "c0": ["x"], "damage": [None]}, schema=staged_schema(1))
        raise KeyError("as it is")

    with pytest.raises(KeyError, match="as it is"):
        write_frames(frames(), staged_schema(1), tmp_path)
    assert [] == list(tmp_path.iterdir())


SHOWN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
"""Signs of Arabic and other scripts that format other signs, and are seen."""
KINDS = ("Cc", "Cf", "Zs", "Zl", "Zp")


def unseen() -> list[str]:
    """List every sign of Unicode of which nothing is to be seen."""
    codes = set(range(1, 0x110000)) - SHOWN - {10, 13}
    return [chr(code) for code in sorted(codes) if unicodedata.category(chr(code)) in KINDS]


def test_what_looks_blank_is_blank(tmp_path: Path) -> None:
    """A cell of which nothing is to be seen is blank, whatever web pages and PDF files put into it."""
    found = unseen()
    texts = [*found, "\u2800", "\u3164", "\ufe0f", "\u200b \ufeff\u00a0", "a\u200b", "\u0601"]
    path = tmp_path / "x.csv"
    path.write_text("id,name\n" + "".join(f'{row},"{text}"\n' for row, text in enumerate(texts)), encoding="utf-8")
    read = pl.concat(iter_frames(stage(open_input(str(path), tmp_path), tmp_path, ReadOptions())))["c1"].to_list()
    assert [None] * (len(texts) - 2) + ["a\u200b", "\u0601"] == read
    assert len(found) > 100
