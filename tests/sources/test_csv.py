"""Reading CSV as a person asks for it: options, encodings, numbers of rows, and files that are large."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from batch.errors import InputError
from batch.model import CsvDialect, Staged
from batch.sources import ReadOptions, open_input, stage


def staged(folder: Path, data: bytes, **options: Any) -> Staged:
    """Stage a file with these bytes."""
    path = folder / "customers.csv"
    path.write_bytes(data)
    return stage(open_input(str(path), folder), folder, ReadOptions(**options))


def cells(found: Staged) -> list[tuple[Any, ...]]:
    """The rows that were staged, without their damage."""
    return pl.read_parquet(found.path).drop("damage").rows()


def refusal(folder: Path, data: bytes, **options: Any) -> str:
    """Say why a file with these bytes is refused."""
    with pytest.raises(InputError) as caught:
        staged(folder, data, **options)
    return str(caught.value)


@pytest.mark.parametrize("said", ["\t", "tab", "\\t", "TAB"])
def test_delimiter_that_was_said(said: str, tmp_path: Path) -> None:
    """The delimiter that was said is the one, whatever the header looks like."""
    found = staged(tmp_path, b"id, no\tname\n1\tAcme\n", delimiter=said)
    assert (("id, no", "name"), [(2, "1", "Acme")]) == (found.headers, cells(found))


@pytest.mark.parametrize("said", ["~", "^", ".", "\\", " ", "x"])
def test_unusual_delimiter(said: str, tmp_path: Path) -> None:
    """Any one character can be the delimiter, also one that means something in a pattern."""
    text = f'id{said}name\n1{said}"A{said}B"\n2{said}C{said}D\n3{said}E\n'
    found = staged(tmp_path, text.encode(), delimiter=said)
    assert [(2, "1", f"A{said}B"), (3, "2", "C"), (4, "3", "E")] == cells(found)


@pytest.mark.parametrize("said", ["", ";;", "é", '"', "\n", "\x00"])
def test_impossible_delimiter(said: str, tmp_path: Path) -> None:
    """A delimiter that cannot be one is refused."""
    expected = f'--delimiter "{said}": give one character, such as ";", or the word tab.'
    assert expected == refusal(tmp_path, b"id,name\n1,a\n", delimiter=said)


@pytest.mark.parametrize(
    ("said", "codec", "data"),
    [
        ("cp1252", "cp1252", "Müller €".encode("cp1252")),
        ("latin-1", "iso8859-1", "Müller ¤".encode("latin-1")),
        ("UTF-16-LE", "utf-16-le", None),
        ("utf-16", "utf-16", None),
        ("utf8", "utf-8", "Müller".encode()),
        ("cp850", "cp850", "Müller".encode("cp850")),
        ("shift_jis", "shift_jis", "ミュラー".encode("shift_jis")),
    ],
)
def test_encoding_that_was_said(said: str, codec: str, data: bytes | None, tmp_path: Path) -> None:
    """The encoding that was said is the one, and nothing is noted about it."""
    text = data.decode(said) if data else "Müller"
    found = staged(tmp_path, f"id,name\n1,{text}\n".encode(said), encoding=said)
    assert ([(2, "1", text)], (), codec) == (cells(found), found.notes, found.dialect and found.dialect.encoding)


@pytest.mark.parametrize("said", ["klingon", "rot13", "base64", ""])
def test_encoding_that_does_not_exist(said: str, tmp_path: Path) -> None:
    """An encoding that nobody knows, or that is none of texts, is refused."""
    expected = f'There is no encoding "{said}": try utf-8, cp1252, latin-1 or utf-16.'
    assert expected == refusal(tmp_path, b"id\n1\n", encoding=said)


@pytest.mark.parametrize("said", ["cp1252", "utf-16", "latin-1"])
def test_encoding_against_the_mark(said: str, tmp_path: Path) -> None:
    """A file that says what it is by a mark is not read as something else."""
    expected = f'customers.csv begins with the mark of utf-8, so it is not "{said}": leave --encoding out.'
    assert expected == refusal(tmp_path, b"\xef\xbb\xbfid\n1\n", encoding=said)


@pytest.mark.parametrize(
    ("mark", "said", "codec"),
    [("utf-8-sig", "utf-8", "utf-8-sig"), ("utf-16", "utf-16-le", "utf-16"), ("utf-16", "utf-16", "utf-16")],
)
def test_encoding_with_the_mark(mark: str, said: str, codec: str, tmp_path: Path) -> None:
    """The mark is no part of the text, and is written again, also if the encoding was said."""
    found = staged(tmp_path, "id\nü\n".encode(mark), encoding=said)
    assert (("id",), [(2, "ü")], codec) == (found.headers, cells(found), found.dialect and found.dialect.encoding)


def test_too_many_columns(tmp_path: Path) -> None:
    """What has more columns than any spreadsheet is no table."""
    expected = "customers.csv has 20,001 columns: no spreadsheet has more than 16,384."
    assert expected == refusal(tmp_path, b"id" + b"," * 20_000 + b"\n1\n")


def test_latin1_that_is_windows(tmp_path: Path) -> None:
    """Read as Latin-1, a Windows euro sign is no letter, and its row says so."""
    found = staged(tmp_path, "id;name\n1;5 €\n2;Bolt\n".encode("cp1252"), encoding="latin-1")
    reason = "has a character that is none in this encoding (type the cell again, or try another --encoding)"
    expected = f'[[1,"5 \x80","{reason}","control_character",{{}}]]'
    assert [expected, None] == pl.read_parquet(found.path)["damage"].to_list()


def test_damage_late_in_a_large_file(tmp_path: Path) -> None:
    """The one bad byte of a large UTF-8 file makes one row invalid, also when it is the last."""
    data = b"id,name\n1,M\xc3\xbcller\n" + b"2,Bolt\n" * 300_000 + b"3,M\xfcller\n"
    found = pl.read_parquet(staged(tmp_path, data).path)
    assert [300_003] == found.filter(pl.col("damage").is_not_null())["row"].to_list()
    assert ("Müller", 300_002) == (found["c1"][0], found.height)


def test_windows_letters_late_in_a_large_file(tmp_path: Path) -> None:
    """The encoding is chosen by the whole file, not by its beginning."""
    found = staged(tmp_path, b"id,name\n" + b"2,Bolt\n" * 300_000 + b"3,M\xfcller\n")
    assert ("cp1252", (300_002, "3", "Müller")) == (found.dialect and found.dialect.encoding, cells(found)[-1])


def test_dialect_is_kept(tmp_path: Path) -> None:
    """How the file was written is kept, so that its failures file is written the same way."""
    found = staged(tmp_path, '\ufeffsep=;\r\n"id";"na""me"\r\n"1";"a"\r\n'.encode())
    assert CsvDialect("utf-8-sig", ";", "\r\n", "all", has_sep_line=True) == found.dialect


@pytest.mark.parametrize(
    ("limit", "rows", "notes"),
    [(1, [2], ()), (2, [2, 4], ("1 blank row was left out.",)), (9, [2, 4, 5], ("1 blank row was left out.",))],
)
def test_limit(limit: int, rows: list[int], notes: tuple[str, ...], tmp_path: Path) -> None:
    """The first rows are those that are not blank."""
    found = staged(tmp_path, b"id\n1\n\n2\n3\n", limit=limit)
    assert (rows, notes, len(rows)) == ([row for row, _ in cells(found)], found.notes, found.rows)


def test_guard_is_only_undone_in_files_of_ours(tmp_path: Path) -> None:
    """An apostrophe is part of the text, unless a failures file of ours put it there."""
    theirs = cells(staged(tmp_path, b"id,name,row\n1,'=1+1,2\n"))
    ours = cells(staged(tmp_path, b"id,'=name,Batch_Row \n1,'=1+1,2\n"))
    assert [(2, "1", "'=1+1", "2"), (2, "1", "=1+1", "2")] == theirs + ours


def test_header_beyond_a_megabyte_is_no_table(tmp_path: Path) -> None:
    """A quotation mark in the header that is never closed is named, however much follows."""
    expected = "customers.csv, row 1: the header has a quotation mark without a partner: correct it."
    assert expected == refusal(tmp_path, b'id,"name\n' + b"1,Acme\n" * 300_000)


def test_input_parquet_is_private_and_alone(tmp_path: Path) -> None:
    """What is staged is readable by this user only, and nothing else is left in the folder."""
    found = staged(tmp_path, b"id\n1\n")
    assert 0o600 == found.path.stat().st_mode & 0o777
    assert {"customers.csv", "input.parquet"} == {path.name for path in tmp_path.iterdir()}


def test_changed_while_it_is_read(tmp_path: Path) -> None:
    """A file that was saved anew after it was found is refused, for its hash is another file's."""
    path = tmp_path / "customers.csv"
    path.write_bytes(b"id\n1\n")
    found = open_input(str(path), tmp_path)
    path.write_bytes(b"id\n2\n")
    with pytest.raises(InputError) as caught:
        stage(found, tmp_path, ReadOptions())
    assert str(caught.value) == "customers.csv was changed while it was read: save it, close it, and run again."
