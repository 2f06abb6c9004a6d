"""The failures file of a CSV input is written as the input was, and is the next input."""

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from batch.model import Outcome, RowResult, Staged
from batch.outputs import Wanted, write
from batch.sources import ReadOptions, iter_frames, open_input, stage
from tests.worded import worded

BAD = (worded("has letters in it (use digits)", field="phone", header="Phone", seen="=ext"),)


def staged(folder: Path, data: bytes, name: str = "customers.csv", **options: Any) -> Staged:
    """Stage a file with these bytes."""
    path = folder / name
    path.write_bytes(data)
    return stage(open_input(str(path), folder), folder, ReadOptions(**options))


def failures(folder: Path, found: Staged, outcome: Outcome = Outcome.INVALID) -> bytes:
    """Write a failures file with all rows, and return it."""

    def row_results(first: int, last: int) -> dict[int, RowResult]:
        return {row: RowResult(row, "", outcome, None, 0, BAD) for row in range(first, last + 1)}

    write(folder, found, partial(iter_frames, found), row_results, Wanted(with_results=False))
    return (folder / "failures.csv").read_bytes()


def again(folder: Path, found: Staged) -> Staged:
    """Stage the failures file of a staged file, in which all rows are unsent."""
    data = failures(folder, found, Outcome.UNSENT)
    return staged(folder, data, "failures.csv")


def cells(found: Staged, width: int) -> list[tuple[Any, ...]]:
    """The first cells of all rows."""
    return pl.read_parquet(found.path).select([f"c{index}" for index in range(width)]).rows()


def whole(found: Staged) -> list[bool]:
    """Tell of each row whether it is one."""
    return pl.read_parquet(found.path)["damage"].is_null().to_list()


def whole_rows(found: Staged, width: int) -> list[tuple[Any, ...]]:
    """The first cells of the rows that are not damaged."""
    return [row for row, is_whole in zip(cells(found, width), whole(found), strict=True) if is_whole]


MESSAGE = 'column "Phone": "=ext" has letters in it (use digits)'.replace('"', '""')


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b"id;name\r\n1;M\xfcller\r\n",
            f'id;name;batch_row;batch_outcome;batch_field;batch_message;batch_run;batch_seen\r\n'
            f'1;Müller;2;invalid;phone;"{MESSAGE}";;\r\n'.encode(
                "cp1252"
            ),
        ),
        (
            b'\xef\xbb\xbf"id","name"\n"1",""\n"2","a"\n',
            '\ufeff"id","name","batch_row","batch_outcome","batch_field","batch_message","batch_run","batch_seen"\n'
            f'"1","","2","invalid","phone","{MESSAGE}","",""\n"2","a","3","invalid","phone","{MESSAGE}","",""\n'.encode(),
        ),
        (
            "\ufeffsep=|\r\nid|name\r\n1|ü\r\n".encode("utf-16-be"),
            "\ufeffsep=|\r\nid|name|batch_row|batch_outcome|batch_field|batch_message|batch_run|batch_seen\r\n"
            f'1|ü|2|invalid|phone|"{MESSAGE}"||\r\n'.encode("utf-16-be"),
        ),
        (
            b"id,name,,\r1,=1+1,,\r",
            "id,name,batch_row,batch_outcome,batch_field,batch_message,batch_run,batch_seen\r"
            f"1,'=1+1,2,invalid,phone,\"{MESSAGE}\",,\r".encode(),
        ),
        (
            b"id,name\n1,a,b\n2\n3,\"x\n4,y\n",
            "id,name,batch_row,batch_outcome,batch_field,batch_message,batch_run,batch_seen\n"
            f'1,a,b,2,invalid,phone,"{MESSAGE}",,\n2,3,invalid,phone,"{MESSAGE}",,\n'
            f'"3,""x",4,invalid,phone,"{MESSAGE}",,\n4,y,5,invalid,phone,"{MESSAGE}",,\n'.encode(),
        ),
    ],
    ids=["cp1252", "bom-all-quoted", "utf16-sep", "cr-trailing", "damaged"],
)  # fmt: skip
def test_written_as_the_input_was(data: bytes, expected: bytes, tmp_path: Path) -> None:
    """Encoding, mark, delimiter, quotation and line ends are those of the input; damaged rows are as near as can be."""
    assert expected == failures(tmp_path, staged(tmp_path, data))


CELL = st.text(alphabet="ab1,;|\"'=@+-\t\n\r é€", max_size=6)
TABLE = st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1))


def written(table: Sequence[Sequence[str]], delimiter: str, line_end: str) -> str:
    """A CSV file with a header and these rows, all cells in quotation marks."""
    lines = [[f"h{index}" for index in range(len(table[0]))], *table]
    quoted = [delimiter.join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines]
    return "".join(line + line_end for line in quoted)


@given(
    TABLE,
    st.sampled_from([",", ";", "|", "\t"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
def test_every_cell_comes_back(
    tmp_path: Path, table: list[list[str]], delimiter: str, line_end: str, encoding: str
) -> None:
    """Out into a failures file and back, every cell of every row is as it was, and a damaged row is still damaged."""
    assume(any(cell.strip() for row in table for cell in row))
    first = staged(tmp_path, written(table, delimiter, line_end).encode(encoding))
    second = again(tmp_path, first)
    assert whole(first) == whole(second)
    assert whole_rows(first, len(table[0])) == whole_rows(second, len(table[0]))


DAMAGED = [
    b"id,name,city\n1,a\n2,b,c,d\n3\n4,x,y\n",
    b'id,name,city\n1,"a,b\n2,"b" c,d\n3,e"f,g\n4,x,y\n',
    b"id,name\n1,a\n2,\n3,b,c\n" + b"4" * 3 + b"\n",
    b"id\n1,2\n\"3\n4\n",
    b"id,a,b,c,d,e\n1\n2,3\n1,2,3,4,5\n1,2,3,4,5,6,7\n",
    b"id,name,,\n1,2\n1,2,3\n1,2,,\n1,2,,,\n",
    b"id,name\n1,=a,b\n'=1\n=2,\"x\n3,ok\n",
    b"id;name\n1;\x81\n2;\xfc\n",
    b"id,name\n1,\x00\n2,\xef\xbf\xbd\n3,ok\n",
]  # fmt: skip


@pytest.mark.parametrize("data", DAMAGED)
def test_damaged_rows_stay_damaged(data: bytes, tmp_path: Path) -> None:
    """A row that is no row never becomes one by being written and read again, however often; no other is touched."""
    first = staged(tmp_path, data)
    second = again(tmp_path, first)
    third = again(tmp_path, second)
    assert whole(first) == whole(second) == whole(third)
    good = pl.read_parquet(third.path).filter(pl.col("damage").is_null())["c0"].to_list()
    assert pl.Series(good).is_in(["4", "3", "2", "1", "444"]).all()


@pytest.mark.parametrize("data", DAMAGED)
def test_second_failures_file_is_the_first(data: bytes, tmp_path: Path) -> None:
    """A failures file of a failures file is the same but for the rows' numbers, of damaged rows too."""
    first = failures(tmp_path, staged(tmp_path, data))
    second = failures(tmp_path, staged(tmp_path, first, "failures.csv"))
    third = failures(tmp_path, staged(tmp_path, second, "failures.csv"))
    assert second == third


def test_line_breaks_do_not_count_in_row_numbers(tmp_path: Path) -> None:
    """The number in `batch_row` is the spreadsheet's."""
    data = failures(tmp_path, staged(tmp_path, b'id,name\n\n1,"a\nb"\n2,c\n'))
    assert ["3", "4"] == [row[2] for row in cells(staged(tmp_path, data, "failures.csv"), 3)]


def test_letters_that_the_encoding_lacks(tmp_path: Path) -> None:
    """A message may lose a letter that the file's encoding does not have; a cell never does."""
    found = staged(tmp_path, b"id;name\n1;M\xfcller \x80\x81\n")
    problem = worded("is not Żółć", seen="")
    row_results = {2: RowResult(2, "1", Outcome.REJECTED, 422, 1, (problem,))}
    write(tmp_path, found, partial(iter_frames, found), lambda _first, _last: row_results, Wanted(with_results=False))
    assert (
        b"1;M\xfcller \x80\x81;2;rejected;;is not ?\xf3??;;\n"
        == (tmp_path / "failures.csv").read_bytes().splitlines(keepends=True)[1]
    )


def squared(data: bytes) -> bytes:
    """What a spreadsheet program makes of a CSV file: every row with the same number of cells."""
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    width = max(map(len, rows))
    out = io.StringIO(newline="")
    csv.writer(out).writerows([*row, *[""] * (width - len(row))] for row in rows)
    return out.getvalue().encode()


@pytest.mark.parametrize("data", [data for data in DAMAGED if data.isascii() and b"\x00" not in data])
def test_damaged_rows_stay_damaged_when_saved_by_a_spreadsheet_program(data: bytes, tmp_path: Path) -> None:
    """A damaged row that was squared up is noticed by where our cells stand, and no value is taken for another."""
    first = staged(tmp_path, data)
    second = staged(tmp_path, squared(failures(tmp_path, first)), "failures.csv")
    third = staged(tmp_path, squared(failures(tmp_path, second)), "failures.csv")
    assert whole(first) == whole(second) == whole(third)


def test_corrected_row_is_whole(tmp_path: Path) -> None:
    """A damaged row is whole when its cells were moved, or when it was written again without ours."""
    header = b"id,name,city,batch_row,batch_outcome,batch_field,batch_message,batch_run,batch_seen\n"
    rows = b'1,"a, b",c,2,invalid,,has 4 cells,,\n2,d,e,,,,,,\n3,f,g,4,invalid,,,,\n'
    assert [True, True, True] == whole(staged(tmp_path, header + rows, "failures.csv"))


@pytest.mark.parametrize("repaired", ["+49 30 1234", "030 1234", "Acme Ltd", "=1+1"])
def test_a_repaired_cell_loses_its_guard(repaired: str, tmp_path: Path) -> None:
    """A person who repairs a guarded cell may leave the apostrophe in front: it is no part of the value."""
    data = failures(tmp_path, staged(tmp_path, b"id,phone\n1,+49 30 ext. 5\n"))
    assert b"\n1,'+49 30 ext. 5," in data
    found = staged(tmp_path, data.replace(b"+49 30 ext. 5", repaired.encode(), 1), "failures.csv")
    assert [("1", repaired)] == cells(found, 2)


@pytest.mark.parametrize(
    ("columns", "place", "expected"),
    [
        (slice(2, 4), ".", "+49 30 1234"),  # one of ours is left
        (slice(2, None), "20261121-120000", "+49 30 1234"),  # beside its run
        (slice(2, None), ".", "'+49 30 1234"),  # nothing tells
    ],
)
def test_columns_that_somebody_deleted(columns: slice, place: str, expected: str, tmp_path: Path) -> None:
    """What a failures file guards is taken off as long as one of our columns, or its place, tells that it is one."""
    data = failures(tmp_path, staged(tmp_path, b"id,phone\n1,+49 30 ext. 5\n2,=1+1\n"))
    lines = list(csv.reader(io.StringIO(data.decode())))
    for line in lines:
        del line[columns]
    folder = tmp_path / place
    folder.mkdir(exist_ok=True)
    (folder / "journal.sqlite").write_bytes(b"CREATE TABLE intent") if place != "." else None
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    found = staged(folder, text.getvalue().replace("+49 30 ext. 5", "+49 30 1234").encode(), "failures.csv")
    assert [("1", expected)] == cells(found, 2)[:1]
    said = "1 cell begins with an apostrophe before the sign of a formula ('=), which stays"
    assert [expected[0] == "'"] == [any(one.startswith(said) for one in found.notes)]


def test_an_apostrophe_that_a_person_wrote(tmp_path: Path) -> None:
    """An apostrophe that guards nothing is dropped, too, which is said; one of the input's own comes back."""
    found = again(tmp_path, staged(tmp_path, b"id,name\n1,'t Hooft\n"))
    assert ([("1", "'t Hooft")], ()) == (cells(found, 2), found.notes)
    data = failures(tmp_path, found).replace(b"''t", b"'t", 1)
    edited = staged(tmp_path, data, "failures.csv")
    assert [("1", "t Hooft")] == cells(edited, 2)
    assert (
        "In a failures file an apostrophe in front is a guard: it was dropped from 1 cell (write two for one).",
    ) == edited.notes
