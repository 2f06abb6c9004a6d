"""Reading Parquet: every type as the value that is stored, and what has no honest text by name."""

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch import sources
from batch.errors import InputError
from batch.model import FilePart, Staged, iter_read_errors
from batch.sources import ReadOptions, open_input, stage

BERLIN = dt.timezone(dt.timedelta(hours=2))


def staged(folder: Path, frame: pl.DataFrame, **options: Any) -> Staged:
    """Stage a file with these columns."""
    path = folder / "customers.parquet"
    frame.write_parquet(path, row_group_size=7)
    return stage(open_input(str(path), folder), folder, ReadOptions(**options))


def refusal(folder: Path, argument: str) -> str:
    """Say why an argument is refused."""
    with pytest.raises(InputError) as caught:
        stage(open_input(argument, folder), folder, ReadOptions())
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "dtype", "texts"),
    [
        (["00123", " x ", None, "", " \u00a0"], pl.String, ["00123", " x ", None, None, None]),
        ([-(2**63), 2**63 - 1, None], pl.Int64, ["-9223372036854775808", "9223372036854775807", None]),
        ([1, 255], pl.UInt8, ["1", "255"]),
        ([2**64 - 1], pl.UInt64, ["18446744073709551615"]),
        ([10**30], pl.Int128, ["1000000000000000000000000000000"]),
        ([True, False, None], pl.Boolean, ["true", "false", None]),
        ([1.5, 1.0, -0.0, 0.1, 1e-7], pl.Float64, ["1.5", "1.0", "-0.0", "0.1", "1e-7"]),
        ([10042.0, -3.0, None], pl.Float64, ["10042", "-3", None]),
        ([2.0**53, 1.0], pl.Float64, ["9007199254740992.0", "1.0"]),
        ([16777215.0], pl.Float32, ["16777215"]),
        ([16777216.0], pl.Float32, ["16777216.0"]),
        ([0.1], pl.Float32, ["0.1"]),
        ([Decimal("1.10"), Decimal("-100000.00"), Decimal("0")], pl.Decimal(20, 2), ["1.10", "-100000.00", "0.00"]),
        ([dt.date(2026, 4, 3), dt.date(1, 1, 1)], pl.Date, ["2026-04-03", "0001-01-01"]),
        ([dt.time(9), dt.time(9, 0, 0, 5)], pl.Time, ["09:00:00", "09:00:00.000005"]),
        ([dt.datetime(2026, 4, 3, 9, 5)], pl.Datetime("ms"), ["2026-04-03T09:05:00"]),
        ([dt.datetime(2026, 4, 3), dt.datetime(2026, 4, 4)], pl.Datetime("ns"), ["2026-04-03", "2026-04-04"]),
        (
            [dt.datetime(2026, 4, 3, 9, tzinfo=dt.UTC)],
            pl.Datetime("us", "Europe/Berlin"),
            ["2026-04-03T11:00:00+02:00"],
        ),
        ([dt.datetime(2026, 4, 3, tzinfo=dt.UTC)], pl.Datetime("us", "UTC"), ["2026-04-03T00:00:00+00:00"]),
        ([dt.timedelta(days=1, seconds=2)], pl.Duration("us"), ["P1DT2S"]),
        (["Gold", None, "Silver"], pl.Categorical, ["Gold", None, "Silver"]),
        (["Gold", "Silver"], pl.Enum(["Silver", "Gold"]), ["Gold", "Silver"]),
        ([["a", "b"], ["c"], [], None], pl.List(pl.String), ["a; b", "c", None, None]),
        ([["a", "b"]], pl.Array(pl.String, 2), ["a; b"]),
        ([[1, 2]], pl.List(pl.Int32), ["1; 2"]),
        ([None, None], pl.Null, [None, None]),
    ],
)
def test_text_of_each_type(values: list[Any], dtype: Any, texts: list[str | None], tmp_path: Path) -> None:
    """A value becomes the text that says exactly what is stored; null and blank stay blank."""
    frame = pl.DataFrame({"id": [str(number) for number in range(len(values))], "x": pl.Series(values, dtype=dtype)})
    found = pl.read_parquet(staged(tmp_path, frame).path)
    assert (texts, [None] * len(texts)) == (found["c1"].to_list(), found["damage"].to_list())
    if "o1" in found.columns:
        assert frame["x"].to_list() == found["o1"].to_list()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_float_comes_back(tmp_path: Path, values: list[float]) -> None:
    """The text of a float is the float again."""
    found = pl.read_parquet(staged(tmp_path, pl.DataFrame({"x": values})).path)
    assert values == [float(text) for text in found["c0"]]


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [pl.Float64, pl.Float32])
def test_no_number_changes_no_other_cell(odd: float, dtype: Any, tmp_path: Path) -> None:
    """A NaN or an infinity is wrong by itself: the other cells of its column are read as without it."""
    frame = pl.DataFrame({"id": ["1", "2", "3"], "zip": pl.Series([501.0, odd, 90210.0], dtype=dtype)})
    found = pl.read_parquet(staged(tmp_path, frame).path)
    assert ["501", "90210"] == [found["c1"][0], found["c1"][2]]
    assert [None, 1, None] == [text and json.loads(text)[0][0] for text in found["damage"]]


def test_only_odd_numbers(tmp_path: Path) -> None:
    """A column without any number has nothing that is whole."""
    found = pl.read_parquet(staged(tmp_path, pl.DataFrame({"x": [float("nan"), None]})).path)
    assert [["NaN", "is no number (leave the cell null, or give a number)"]] == [
        json.loads(text)[0][1:3] for text in found["damage"]
    ]


@pytest.mark.parametrize(
    ("series", "read_errors"),
    [
        (pl.Series([1.5, float("nan")]), ["NaN", "is no number (leave the cell null, or give a number)"]),
        (pl.Series([1.5, float("-inf")]), ["-inf", "is no number (leave the cell null, or give a number)"]),
        (
            pl.Series([["a"], ['b"; c', "d"]]),
            [
                'b"; c; d',
                "is a list with an empty item or one with a semicolon in it, which separates items (change the item)",
            ],
        ),
        (
            pl.Series([["a"], ["b", None]]),
            [
                "b",
                "is a list with an empty item or one with a semicolon in it, which separates items (change the item)",
            ],
        ),
    ],
)
def test_damaged_values(series: pl.Series, read_errors: list[str], tmp_path: Path) -> None:
    """A value that has no honest text makes its row invalid, and no other."""
    frame = pl.DataFrame({"id": ["1", "2"], "x": series, "y": [float("nan"), 0.5]}).with_columns(y=pl.lit(0.5))
    found = pl.read_parquet(staged(tmp_path, frame).path)["damage"].to_list()
    assert None is found[0]
    assert [(1, *read_errors)] == [(index, one.seen, one.reason) for index, one in iter_read_errors(found[1])]


def test_two_damaged_cells(tmp_path: Path) -> None:
    """All damaged cells of a row are named."""
    frame = pl.DataFrame({"x": [float("inf")], "y": [["a;b"]]})
    found = json.loads(pl.read_parquet(staged(tmp_path, frame).path)["damage"].item())
    assert [[0, "inf"], [1, "a;b"]] == [item[:2] for item in found]


def test_notes_on_columns(tmp_path: Path) -> None:
    """What was decided for a whole column is told."""
    frame = pl.DataFrame(
        {
            "id": [10042.0, None, 10043.0, 10044.0],
            "since": [dt.datetime(2026, 1, 1), None, None, dt.datetime(2026, 1, 2)],
            "aliases": [[], None, [], ["a"]],
            "tags": [["a"], None, [], ["a"]],
        }
    )
    assert (
        'Column "id" holds decimal numbers (Float64) that are all whole: read as 1, not 1.0.',
        'Column "since" holds points in time that are all at midnight: read as dates.',
        'Column "aliases" has 2 empty lists: read as blank, which changes nothing.',
        'Column "tags" has an empty list: read as blank, which changes nothing.',
        "1 blank row was left out.",
    ) == staged(tmp_path, frame).notes


def test_structs_are_flat_columns(tmp_path: Path) -> None:
    """A struct is a column for each field, by the name that the API's fields have."""
    frame = pl.DataFrame(
        {"address": [{"city": "Bonn", "geo": {"lat": 1.5}}, {"city": None, "geo": None}], "id": [1, 2]}
    )
    found = staged(tmp_path, frame)
    assert ("address.city", "address.geo.lat", "id") == found.headers
    assert [(2, "Bonn", "1.5", "1"), (3, None, None, "2")] == pl.read_parquet(found.path).select("row", "^c.$").rows()


def test_blank_rows_keep_the_numbers(tmp_path: Path) -> None:
    """Blank rows are left out, and the numbers of the others stay those of the file."""
    found = staged(tmp_path, pl.DataFrame({"id": [None, "1", " ", None, "2", None]}), limit=2)
    assert [(3, "1"), (6, "2")] == pl.read_parquet(found.path).select("row", "c0").rows()
    assert (2, ("3 blank rows were left out.",)) == (found.rows, found.notes)


@pytest.mark.parametrize(
    ("series", "what"),
    [
        (pl.Series([b"x"]), "binary data"),
        (pl.Series([[1.5]]), "lists of something other than texts or whole numbers"),
        (pl.Series([[["x"]]]), "lists of something other than texts or whole numbers"),
        (pl.Series([[{"a": 1}]]), "lists of something other than texts or whole numbers"),
        (
            pl.Series([648]).ext.to(pl.Extension("pandas.period", pl.Int64(), "M")),
            "values of a kind of their own (pandas.period)",
        ),
    ],
)
def test_types_without_text(series: pl.Series, what: str, tmp_path: Path) -> None:
    """A column that no field can take is refused by its name, also inside a struct."""
    path = tmp_path / "a.parquet"
    pl.DataFrame({"id": [1], "x": pl.DataFrame({"y": series}).to_struct()}).write_parquet(path)
    expected = f'a.parquet, column "x.y": it holds {what}, which no field can take. To leave it out:  --map "x.y="'
    assert expected == refusal(tmp_path, str(path))


def test_types_without_text_that_are_left_out(tmp_path: Path) -> None:
    """Such a column that is left out on purpose is blank, and its values are kept for the failures file."""
    frame = pl.DataFrame({"id": [1], "x": [b"x"], "y": [[{"a": 1}]], "z": [{"b": b"x", "c": 2}]})
    found = staged(tmp_path, frame, is_left_out={"x", "y", "z.b"}.__contains__)
    kept = pl.read_parquet(found.path)
    assert ("id", "x", "y", "z.b", "z.c") == found.headers
    assert [("1", None, None, None, "2")] == kept.select("^c.$").rows()
    assert frame.rows() == kept.select("o0", "o1", "o2", "o3").rows()


PARTED = "year=2026/month=05"


def test_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the names of folders hold are columns, to the letter; null is blank; a pattern has them, too."""
    monkeypatch.chdir(tmp_path)
    for folder, ids in (
        (PARTED, [1, 2]),
        ("year=2026/month=__HIVE_DEFAULT_PARTITION__", [3]),
        ("year=a%2Fb/month=6", [4]),
    ):
        Path("in", folder).mkdir(parents=True)
        pl.DataFrame({"id": ids}).write_parquet(Path("in", folder, "part-0.parquet"))
    found = stage(open_input("in", tmp_path), tmp_path, ReadOptions())
    assert ("id", "year", "month") == found.headers
    assert [("1", "2026", "05"), ("2", "2026", "05"), ("3", "2026", None), ("4", "a/b", "6")] == (
        pl.read_parquet(found.path).select("^c.$").rows()
    )
    assert f"{PARTED}/part-0.parquet row 3" == found.cell(3, 0)
    pattern = open_input("in/*/*/*.parquet", tmp_path)
    assert ({"year": "2026", "month": "05"}, 3) == (pattern.files[0].partition, len(pattern.files))
    assert pattern.sha256 == open_input("in", tmp_path).sha256
    Path("in", PARTED).rename("in/year=2026/month=07")
    assert pattern.sha256 != open_input("in", tmp_path).sha256


@pytest.mark.parametrize(
    ("folder", "columns", "why"),
    [
        (
            "year=2026",
            {"id": [2]},
            'the files differ. Column "month" is of type String in year=2026/month=05/a.parquet, but missing in',
        ),
        (
            PARTED,
            {"id": [2], "month": [5]},
            f'column "month" is in {PARTED}/b.parquet, and the name of its folder has one',
        ),
    ],
)
def test_partitions_that_do_not_fit(folder: str, columns: dict[str, Any], why: str, tmp_path: Path) -> None:
    """Files under other partitions are no one table, nor does a column stand in two places."""
    for place, name, values in ((PARTED, "a", {"id": [1]}), (folder, "b", columns)):
        (tmp_path / "in" / place).mkdir(parents=True, exist_ok=True)
        pl.DataFrame(values).write_parquet(tmp_path / "in" / place / f"{name}.parquet")
    assert refusal(tmp_path, str(tmp_path / "in")).startswith(f"{tmp_path / 'in'}: {why}")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"id": ["1"], "name": ["b"]}, 'Column "id" is of type String in b.parquet, but of type Int64 in a.parquet'),
        ({"id": [1]}, 'Column "name" is missing in b.parquet, but of type String in a.parquet'),
        ({"id": [1], "name": ["b"], "x": [1]}, 'Column "x" is of type Int64 in b.parquet, but missing in a.parquet'),
    ],
)
def test_files_that_differ(second: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Files with different columns are no one table; the file and the column are named."""
    (tmp_path / "in").mkdir()
    pl.DataFrame({"id": [1], "name": ["a"]}).write_parquet(tmp_path / "in" / "a.parquet")
    pl.DataFrame(second).write_parquet(tmp_path / "in" / "b.parquet")
    folder = str(tmp_path / "in")
    assert f"{folder}: the files differ. {message}: give them as separate inputs." == refusal(tmp_path, folder)


def test_files_with_columns_in_another_order(tmp_path: Path) -> None:
    """Columns are put together by their names, in the order of the first file."""
    (tmp_path / "in").mkdir()
    pl.DataFrame({"id": [1], "name": ["a"]}).write_parquet(tmp_path / "in" / "a.parquet")
    pl.DataFrame({"name": ["b"], "id": [2]}).write_parquet(tmp_path / "in" / "b.parquet")
    found = stage(open_input(str(tmp_path / "in"), tmp_path), tmp_path, ReadOptions())
    assert (("id", "name"), [("1", "a"), ("2", "b")]) == (
        found.headers,
        pl.read_parquet(found.path).select("c0", "c1").rows(),
    )
    assert (FilePart("a.parquet", 2, 0), FilePart("b.parquet", 3, 1)) == found.files


def test_files_are_one_table(tmp_path: Path) -> None:
    """The rows of several files are numbered through, in the order of the files' names."""
    (tmp_path / "in").mkdir()
    for name in ("b", "a"):
        pl.DataFrame({"id": [f"{name}{n}" for n in range(3)]}).write_parquet(tmp_path / "in" / f"{name}.parquet")
    found = stage(open_input(str(tmp_path / "in"), tmp_path), tmp_path, ReadOptions())
    expected = [(2, "a0"), (3, "a1"), (4, "a2"), (5, "b0"), (6, "b1"), (7, "b2")]
    assert expected == pl.read_parquet(found.path).select("row", "c0").rows()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PAR1" + b"x" * 100, "is damaged or not complete, or uses what cannot be read (parquet"),
        (b"PAR1", "is damaged or not complete, or uses what cannot be read (parquet"),
    ],
)
def test_damaged_file(data: bytes, message: str, tmp_path: Path) -> None:
    """A file that breaks off is damaged, not empty."""
    (tmp_path / "a.parquet").write_bytes(data)
    assert f"a.parquet {message}" == refusal(tmp_path, str(tmp_path / "a.parquet"))[: len(message) + 10]


def test_no_rows(tmp_path: Path) -> None:
    """Columns without a row are an input that has nothing to send."""
    pl.DataFrame({"id": []}, schema={"id": pl.String}).write_parquet(tmp_path / "a.parquet")
    staged = sources.stage(sources.open_input(str(tmp_path / "a.parquet"), tmp_path), tmp_path, sources.ReadOptions())
    assert (0, ("id",), []) == (staged.rows, staged.headers, list(sources.iter_frames(staged)))
