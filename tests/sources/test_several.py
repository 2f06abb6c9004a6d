"""Several CSV files as one table: put together by their headers, with rows that know their file."""

from pathlib import Path

import polars as pl
import pytest

from batch.errors import InputError
from batch.input_names import file_stem, joined, short_name, split
from batch.model import CsvDialect, FilePart, Staged, iter_read_errors
from batch.sources import ReadOptions, open_input, stage


def write(folder: Path, **files: str | bytes) -> str:
    """Write files into the folder `in`; gives its name."""
    (folder / "in").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "in" / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder / "in")


def staged(folder: Path, argument: str, **options: object) -> Staged:
    """Stage an input."""
    return stage(open_input(argument, folder), folder, ReadOptions(**options))  # type: ignore[arg-type] # by name


def rows(found: Staged) -> list[tuple[object, ...]]:
    """The numbers and texts of all rows."""
    return pl.read_parquet(found.path).select("row", "^c\\d+$").rows()


def test_numbered_through(tmp_path: Path) -> None:
    """Rows are numbered through; each knows its file, and its number there."""
    folder = write(tmp_path, b="Export of May\n\nid,name\n3,c\n\n4,d\n", a="id,name\n1,a\n\n2,b\n", c="id,name\n")
    found = staged(tmp_path, folder, is_known={"id", "name"}.__contains__)
    assert [(2, "1", "a"), (4, "2", "b"), (5, "3", "c"), (7, "4", "d")] == rows(found)
    assert (FilePart("a.csv", 2, 0), FilePart("b.csv", 5, 1), FilePart("c.csv", 8, 6)) == found.files
    assert ["a.csv row 4", "b.csv row 4", "b.csv row 6"] == [found.cell(row, 0) for row in (4, 5, 7)]
    assert 'b.csv: The header is row 3. What stands above it was left out: "Export of May".' in found.notes


def test_another_order(tmp_path: Path) -> None:
    """Columns are put together by name; their order, encoding and delimiter do not matter, nor do empty ones."""
    folder = write(
        tmp_path,
        a="id,name,phone\n1,a,11\n",
        b="name;id ;phone\nä;2;22\n".encode("cp1252"),
        c="phone,id,name,\n33,3,c,\n",
    )
    found = staged(tmp_path, folder)
    assert ("id", "name", "phone") == found.headers
    assert [("1", "a", "11"), ("2", "ä", "22"), ("3", "c", "33")] == [row[1:4] for row in rows(found)]
    assert CsvDialect("utf-8-sig", ",", "\n") == found.dialect
    assert [False, True, True] == [part.is_foreign for part in found.files]
    assert (
        "3 files are read as one table: a.csv, b.csv, c.csv.",
        "b.csv: It was read as Windows-1252, since it is not UTF-8; --encoding says otherwise.",
    ) == found.notes


def test_values_without_a_header(tmp_path: Path) -> None:
    """A column without a header is not lost where only a later file has one."""
    found = staged(tmp_path, write(tmp_path, a="id,name\n1,a\n", b="name,id,\nb,2,lost?\n"))
    assert (("id", "name", ""), [(2, "1", "a", None), (3, "2", "b", "lost?")]) == (found.headers, rows(found))


def test_read_errors_of_another_order(tmp_path: Path) -> None:
    """What is wrong with a cell is told under its own header."""
    found = staged(tmp_path, write(tmp_path, a="id,name,x\n1,a,\n", b='x,id,name\n,2,a"b\n'))
    errors = [list(iter_read_errors(text)) for text in pl.read_parquet(found.path)["damage"]]
    assert [[], [(1, "quote_in_cell")]] == [[(at, problem.code) for at, problem in one] for one in errors]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ("id\n2\n", 'the files differ. Column "name" of a.csv is missing in b.csv'),
        ("id,name,x\n2,b,c\n", 'the files differ. Column "x" of b.csv is missing in a.csv'),
        ("id,Name\n2,b\n", 'the files differ. Column "name" of a.csv is missing in b.csv'),
    ],
)
def test_other_columns(other: str, why: str, tmp_path: Path) -> None:
    """Files with other columns are no one table; the first column that is missing is named."""
    folder = write(tmp_path, a="id,name\n1,a\n", b=other)
    with pytest.raises(InputError) as caught:
        staged(tmp_path, folder)
    assert f"{folder}: {why}: give them as separate inputs." == str(caught.value)


def test_same_header_twice(tmp_path: Path) -> None:
    """Where a header stands twice, another order cannot be put right."""
    folder = write(tmp_path, a="id,x,x\n1,a,b\n", b="x,id,x\na,2,b\n")
    with pytest.raises(InputError) as caught:
        staged(tmp_path, folder)
    assert str(caught.value) == (
        f'{folder}: the columns of b.csv stand in another order than in a.csv, and "x" is there more than once: give '
        "them as separate inputs."
    )
    assert 2 == staged(tmp_path, write(tmp_path, b="id,x,x\n2,a,b\n")).rows


def test_limit(tmp_path: Path) -> None:
    """--limit counts rows of all files; one that is not reached is not told of."""
    found = staged(tmp_path, write(tmp_path, a="id,x\n1,a\n2,b\n", b="id,x\n3,c\n4,d\n", c="id,x\n5,e\n"), limit=3)
    assert (["1", "2", "3"], ["a.csv", "b.csv"]) == ([row[1] for row in rows(found)], [one.name for one in found.files])


def test_workbooks_beside(tmp_path: Path) -> None:
    """A workbook in the folder is told of, as it is not read; texts and hidden files are nobody's table."""
    folder = write(tmp_path, a="id,x\n1,a\n")
    for name in ("b.xlsx", "README.txt", "notes.md", "_c.csv", "~$b.csv", ".d.csv"):
        (tmp_path / "in" / name).write_bytes(b"x")
    assert (f"{folder}: a.csv is read; workbooks are not read with other files: b.xlsx.",) == staged(
        tmp_path, folder
    ).notes


def test_names_of_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several paths are one text, in their order, whatever is in their names."""
    monkeypatch.chdir(tmp_path)
    paths = ["in/b.csv", "in/Acme, Inc.csv", "{x}.csv", "back\\slash.csv"]
    text = joined(paths)
    assert ("{in/b.csv,in/Acme\\, Inc.csv,\\{x\\}.csv,back\\\\slash.csv}", paths) == (text, split(text))
    assert ("b.csv and 3 more", "b.csv+3") == (short_name(text), file_stem(text))
    write(tmp_path, b="id,x\n1,a\n", **{"Acme, Inc": "id,x\n2,b\n"})
    found = staged(tmp_path, joined(paths[:2]))
    assert ["b.csv", "Acme, Inc.csv"] == [one.name for one in found.files]
    Path("{a,b}").write_text("id,x\n1,a\n")
    assert ["{a,b}"] == split("{a,b}")
