"""The books: every row has one line, joined by its number; files are whole, private, and true."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.model import Outcome, Problem, RowResult, Staged
from batch.outputs import Wanted, Written, write
from batch.outputs.failures import code_text
from batch.sources import ReadOptions, iter_frames, open_input, stage
from tests.outputs import ADDED
from tests.worded import worded

DATA = b"id,name\n10,Acme\n11,Bolt\n\n12,Cedar\n13,Dill\n"
LETTERS = worded('has letters in it ("ext.")', field="phone", header="Phone", cell="F3", seen="=ext. 5")
MISSING = worded("is empty", field="name")
RESULTS = {
    2: RowResult(2, "10", Outcome.UPDATED, 200, 1),
    3: RowResult(3, "11", Outcome.INVALID, None, 0, (LETTERS, MISSING)),
    5: RowResult(5, "12", Outcome.FAILED, 503, 5, (worded("the API\r\n was busy"),)),
}


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    """Four rows, staged in a run folder."""
    return stage_in(tmp_path, DATA)


def stage_in(folder: Path, data: bytes) -> Staged:
    """Stage a file with these bytes beside a run folder."""
    path = folder / "customers.csv"
    path.write_bytes(data)
    (folder / "run").mkdir(exist_ok=True)
    return stage(open_input(str(path), folder), folder / "run", ReadOptions())


def kept(staged: Staged, row_results: Mapping[int, RowResult] = RESULTS, wanted: Wanted | None = None) -> Written:
    """Write the results files of a run with these results."""
    folder = staged.path.parent

    def between(first: int, last: int) -> dict[int, RowResult]:
        return {row: row_result for row, row_result in row_results.items() if first <= row <= last}

    return write(folder, staged, partial(iter_frames, staged, 2), between, wanted or Wanted(id_column=0))


def names(staged: Staged) -> set[str]:
    """The files of the run folder but the rows as they were read."""
    return {path.name for path in staged.path.parent.iterdir()} - {"input.parquet"}


def test_a_line_for_every_row(staged: Staged) -> None:
    """Each row has its line, in the order of the input; what has no fate is unsent; formulas are made safe."""
    kept(staged)
    assert (
        "row,id,outcome,status,attempts,field,message\n"
        "2,10,updated,200,1,,\n"
        '3,11,invalid,,0,phone; name,"column ""Phone"": ""=ext. 5"" has letters in it (""ext.""); is empty"\n'
        "5,12,failed,503,5,,the API was busy\n"
        "6,13,unsent,,0,,\n"
    ) == (staged.path.parent / "results.csv").read_text()


def test_counts_of_all_outcomes(staged: Staged) -> None:
    """All seven outcomes are counted, also those of no row; together they are the rows."""
    found = kept(staged).outcomes
    assert {
        Outcome.UPDATED: 1,
        Outcome.UNCHANGED: 0,
        Outcome.INVALID: 1,
        Outcome.REJECTED: 0,
        Outcome.FAILED: 1,
        Outcome.UNKNOWN: 0,
        Outcome.UNSENT: 1,
    } == found
    assert staged.rows == sum(found.values())


def test_failures_are_the_rows_that_need_something(staged: Staged) -> None:
    """All but updated and unchanged rows are in the failures file."""
    assert {"results": "results.csv", "failures": "failures.csv"} == kept(staged).files
    rows = (staged.path.parent / "failures.csv").read_text().splitlines()
    assert ["id,name,batch_row", "11,Bolt,3", "12,Cedar,5", "13,Dill,6"] == [
        ",".join(row.split(",")[:3]) for row in rows
    ]


def test_only_some_outcomes(staged: Staged) -> None:
    """`check` writes the invalid rows only, and no results."""
    wanted = Wanted(id_column=0, only=frozenset({Outcome.INVALID}), with_results=False)
    assert {"failures": "failures.csv"} == kept(staged, wanted=wanted).files
    assert {"failures.csv"} == names(staged)
    assert 2 == len((staged.path.parent / "failures.csv").read_text().splitlines())


def test_no_failures_no_file(staged: Staged) -> None:
    """When nothing needs anything any more, an earlier failures file is gone."""
    kept(staged)
    row_results = {row: RowResult(row, "", Outcome.UNCHANGED) for row in (2, 3, 5, 6)}
    assert {"results": "results.csv"} == kept(staged, row_results).files
    assert {"results.csv"} == names(staged)


def test_again_is_the_same(staged: Staged) -> None:
    """Files made again from the same results are the same, byte by byte."""
    folder = staged.path.parent
    kept(staged)
    before = [(folder / name).read_bytes() for name in ("results.csv", "failures.csv")]
    kept(staged)
    assert before == [(folder / name).read_bytes() for name in ("results.csv", "failures.csv")]


def test_files_are_private(staged: Staged) -> None:
    """Only this user may read the files."""
    kept(staged)
    folder = staged.path.parent
    assert {0o600} == {(folder / name).stat().st_mode & 0o777 for name in ("results.csv", "failures.csv")}


def test_links_are_not_followed(staged: Staged, tmp_path: Path) -> None:
    """A link in the place of a file, or of its temporary one, is replaced, and what it points to is untouched."""
    target = tmp_path / "precious"
    target.write_text("as it was")
    for name in ("results.csv", ".results.csv.part", "failures.csv", ".failures.csv.part"):
        (staged.path.parent / name).symlink_to(target)
    kept(staged)
    assert "as it was" == target.read_text()
    assert {"results.csv", "failures.csv"} == names(staged)
    assert not any(path.is_symlink() for path in staged.path.parent.iterdir())


def test_an_error_leaves_the_old_files(staged: Staged) -> None:
    """When writing ends half-way, the files of before are still there, whole, and nothing else."""
    kept(staged)
    folder = staged.path.parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def broken() -> Iterator[pl.DataFrame]:
        yield next(iter_frames(staged, 2))
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        write(folder, staged, broken, lambda _first, _last: {})
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("what", ["CsvLines", "failures_writer"])
def test_disk_that_takes_no_byte(staged: Staged, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Where the first bytes of a file are refused, no beginning of it is left, either."""

    def refuse(*_: object) -> None:
        raise OSError("the disk is full")

    before = names(staged)
    monkeypatch.setattr(f"batch.outputs.results.{what}", refuse)
    with pytest.raises(OSError, match="the disk is full"):
        kept(staged)
    assert before == names(staged)


def test_leavings_of_a_crash_are_removed(staged: Staged) -> None:
    """Temporary files that a crash left behind are gone after the next time."""
    folder = staged.path.parent
    for name in (".results.csv.part", ".failures.csv.part"):
        (folder / name).write_text("half")
    kept(staged)
    assert {"results.csv", "failures.csv"} == names(staged)


@pytest.mark.parametrize("lock", [".~lock.failures.csv#", "~$failures.csv"])
def test_file_that_is_open_in_a_spreadsheet_program(staged: Staged, lock: str) -> None:
    """A file that somebody has open is not replaced under his hands: another is written, and that is said."""
    folder = staged.path.parent
    (folder / "failures.csv").write_text("being edited")
    (folder / lock).touch()
    found = kept(staged)
    assert {"results": "results.csv", "failures": "failures-2.csv"} == found.files
    assert ("failures.csv is open in a spreadsheet program, so failures-2.csv was written instead.",) == found.notes
    (folder / lock).unlink()
    assert "being edited" == (folder / "failures.csv").read_text()
    assert {"results": "results.csv", "failures": "failures.csv"} == kept(staged).files
    assert {"results.csv", "failures.csv"} == names(staged)


def test_parquet_in_parquet_out(tmp_path: Path) -> None:
    """For Parquet the files are Parquet: results with types, failures with the original columns as they were."""
    frame = pl.DataFrame(
        {
            "id": [10.0, 11.0, 12.0],
            "address": [{"city": "Bonn", "geo": {"lat": 1.5}}, None, {"city": " ", "geo": None}],
            "aliases": [["a", "b"], [], None],
            "name": ["", "=x", None],
            "since": [None, None, None],
        }
    )
    frame.write_parquet(tmp_path / "customers.parquet")
    (tmp_path / "run").mkdir()
    found = stage(open_input(str(tmp_path / "customers.parquet"), tmp_path), tmp_path / "run", ReadOptions())
    assert {"results": "results.parquet", "failures": "failures.parquet"} == kept(found).files
    failures = pl.read_parquet(tmp_path / "run" / "failures.parquet")
    assert frame[1:].equals(failures.drop("^batch_.*$"))
    assert frame.schema == failures.drop("^batch_.*$").schema
    assert [(3, "invalid", "phone; name"), (4, "unsent", "")] == failures.select("^batch_(row|outcome|field)$").rows()
    results = pl.read_parquet(tmp_path / "run" / "results.parquet")
    assert [2, "10", "updated", 200, 1, "", "", ""] == list(results.row(0))


def test_codes_of_a_row() -> None:
    """The codes of a row's problems stand beside the message; what 0.1 worded has none."""
    problems = (Problem("merged"), Problem("merged"), Problem.from_api("phone", "no"), worded("x"))
    assert "merged; api" == code_text(RowResult(2, "42", Outcome.INVALID, problems=problems))


def test_parquet_failures_are_the_next_input(tmp_path: Path) -> None:
    """A Parquet failures file is read as the same rows, and a second one has our columns only once."""
    path = tmp_path / "customers.parquet"
    pl.DataFrame({"id": [1, 2], "x": [{"a": 1}, {"a": 2}]}).write_parquet(path)
    (tmp_path / "run").mkdir()
    first = stage(open_input(str(path), tmp_path), tmp_path / "run", ReadOptions())
    kept(first, {})
    failures = tmp_path / "run" / "failures.parquet"
    once = failures.read_bytes()
    second = stage(open_input(str(failures), tmp_path), tmp_path / "run", ReadOptions())
    assert ("id", "x.a", *ADDED) == second.headers
    kept(second, {})
    assert pl.read_parquet(once).equals(pl.read_parquet(failures))


@given(st.dictionaries(st.integers(2, 60), st.sampled_from(Outcome)), st.integers(1, 50))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
def test_books_balance(tmp_path: Path, outcomes: dict[int, Outcome], rows: int) -> None:
    """Whatever became of which rows, there is one line for each, with its own outcome, and the counts are the rows."""
    found = stage_in(tmp_path, b"id\n" + b"".join(b"%d\n" % row for row in range(2, rows + 2)))
    counts = kept(found, {row: RowResult(row, str(row), outcome) for row, outcome in outcomes.items()}).outcomes
    lines = pl.read_csv(found.path.parent / "results.csv", infer_schema=False)
    expected = [(str(row), str(row), outcomes.get(row, Outcome.UNSENT).value) for row in range(2, rows + 2)]
    assert expected == lines.select("row", "id", "outcome").rows()
    assert rows == sum(counts.values())
