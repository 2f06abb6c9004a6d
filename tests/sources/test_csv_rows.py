"""Reading CSV: the fast way gives what the careful way gives, wherever the pieces of the file end."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batch.errors import InputError
from batch.model import READ_ERRORS, ROW, looks_blank
from batch.sources.csv.encoding import Encoding, TextPieces
from batch.sources.csv.rows import CsvRows, Shape, _read_carefully, check_record, split_lines
from batch.sources.staging import Rows

Row = tuple[Any, ...]
WIDTHS = st.integers(1, 4)
MESSY = st.text(alphabet='a1é ,,,""\n\n\r\t\x00\x85\ufffd;\u2028', max_size=120)


class Pieces(TextPieces):
    """Text that comes in pieces of a given length."""

    def __init__(self, text: str, length: int) -> None:
        self._pieces: Iterator[str] = (text[at : at + length] for at in range(0, len(text), length))
        self.is_at_end = False


def read(text: str, width: int, length: int = 1 << 20, block: int = 1 << 20) -> list[Row]:
    """Read all rows the way the program does, from pieces of a length, in blocks of a size."""
    frames = CsvRows("", Pieces(text, length), Shape("x.csv", ",", width, 2), block).iter_frames()
    return [row for frame in Rows(width, 2).iter_tidy(frames) for row in frame.rows()]


def read_carefully(text: str, width: int) -> list[Row]:
    """Read all rows one by one with the careful reader alone."""
    lines, at, number, rows = split_lines(text.removesuffix("\x1a")), 0, 2, []
    while at < len(lines):
        record = _read_carefully(lines, at, ",", is_end=True)
        record = check_record(record, lines[at : at + record.lines], width, ",")
        cells = [cell if cell.strip(" \t\n\r\x85\u2028") else None for cell in record.cells[:width]]
        if record.read_errors or any(cells):
            rows.append((number, *cells, *[None] * (width - len(cells)), record.read_errors_text))
        at, number = at + record.lines, number + 1
    return rows


@given(MESSY, WIDTHS, st.integers(1, 30), st.integers(1, 30))
@example('a,"b\n', 2, 3, 3)
@example("a,b\r\nc,d\r", 2, 5, 1)
@example("a,b\n\nc,d,e\nf\n", 2, 100, 4)
@example('"a\r\nb",c\r\n', 2, 4, 2)
@example("a\n\x1a", 1, 1, 1)
@example('1,"a\nb"\n2,c\n"', 2, 3, 3)
@settings(max_examples=300, deadline=None)
def test_fast_is_careful(text: str, width: int, length: int, block: int) -> None:
    """Any text, cut anywhere, gives the rows that reading record by record gives."""
    assert read_carefully(text, width) == read(text, width, length, block) == read(text, width)


TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(st.text('ab,"\n\r ;é', max_size=6), min_size=width, max_size=width), min_size=1)
)


@given(TABLES, st.sampled_from(["\n", "\r\n", "\r"]))
@settings(deadline=None)
def test_reads_what_python_writes(table: list[list[str]], line_end: str) -> None:
    """Well-formed CSV gives back every cell as it was; only a row with line breaks may be in doubt."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(table)
    found = {row[0]: (row[1:-1], row[-1]) for row in read(out.getvalue(), len(table[0]))}
    for number, cells in enumerate(table, 2):
        read_cells, read_errors = found.get(number, ((None,) * len(cells), None))
        assert tuple(None if looks_blank(cell) else cell for cell in cells) == read_cells
        assert read_errors is None or any(end in cell for cell in cells for end in "\r\n")


def test_ten_megabyte_cell() -> None:
    """A cell of 10 MB with line breaks is read as it stands."""
    cell = ("0123456789 abcde" * 10 + "\n") * 65_000
    assert [(2, "1", cell, None), (3, "2", "x", None)] == read(f'1,"{cell}"\n2,x\n', 2, 1 << 20)


def test_ten_megabyte_line() -> None:
    """A line of 10 MB is read as it stands."""
    cell = "0123456789abcdef" * 650_000
    assert [(2, "1", cell, None)] == read(f"1,{cell}\n", 2, 1 << 20)


def test_thousand_columns() -> None:
    """A thousand columns are read, and a row with one cell less is invalid."""
    line = ",".join(map(str, range(1000)))
    rows = read(f"{line}\n{line[: line.rindex(',')]}\n{line}\n", 1000)
    assert [(2, None), (4, None)] == [(row[0], row[-1]) for row in rows if row[-1] is None]
    assert [999, 3] == [rows[1].index(None) - 1, rows[1][0]]


def test_column_that_is_blank_at_first() -> None:
    """A column whose first 10,000 cells are blank keeps the value that comes then."""
    rows = read("1,\n" * 10_000 + "2,007\n", 2)
    assert [(10_002, "2", "007", None)] == rows[10_000:]
    assert (2, "1", None, None) == rows[0]


def test_unclosed_quote_costs_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quotation mark without a partner does not take the rest of a large file with it."""
    monkeypatch.setattr("batch.sources.csv.rows.MAX_RECORD", 1000)
    rows = read('1,"a\n' + "2,b\n" * 5000, 2, 500, 500)
    assert [2, 5002, 5001] == [rows[0][0], rows[-1][0], len(rows)]
    assert [2] == [row[0] for row in rows if row[-1]]


def test_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless text without a line break is refused before it fills the memory."""
    monkeypatch.setattr("batch.sources.csv.rows.MAX_LINE", 1000)
    with pytest.raises(InputError) as caught:
        read("1,a\n1," + "x" * 5000, 2, 100, 100)
    assert str(caught.value) == "x.csv, row 3 has a line of more than 1,000 characters: this is no table of rows."


def test_limit_ends_the_reading() -> None:
    """Only the first rows are pulled when there is a limit; blank ones do not count."""
    pieces = Pieces("1,a\n\n2,b\n3,c\n4,d\n" * 1000, 18)
    tidy = Rows(2, 2, limit=2)
    frames = list(tidy.iter_tidy(CsvRows("", pieces, Shape("x.csv", ",", 2, 2), 18).iter_frames()))
    assert [2, 4] == pl.concat(frames)[ROW].to_list()
    assert (2, 1, False) == (tidy.kept, tidy.blank, pieces.is_at_end)


@pytest.mark.parametrize("text", ["a,b\n", "a\n", '"\n', "\n", '"a",b\na,\n'])
def test_frames_always_have_the_same_columns(text: str) -> None:
    """A frame's columns do not depend on whether its lines are regular, damaged or blank."""
    frames = list(CsvRows("", Pieces(text, 9), Shape("x.csv", ",", 2, 2)).iter_frames())
    assert {(ROW, "c0", "c1", READ_ERRORS)} == {tuple(frame.columns) for frame in frames}


def test_pieces_end_inside_a_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter of several bytes is whole also where a piece of the file ends inside it."""
    monkeypatch.setattr("batch.sources.csv.encoding.PIECE", 3)
    path = tmp_path / "x.csv"
    path.write_bytes("aé€😀ü".encode())
    pieces = TextPieces(path, Encoding("utf-8"))
    assert "aé€😀ü" == pieces.read(100)
