"""Finding the input: what it really is, and what to do when that is nothing to read."""

import gzip
import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from batch.errors import InputError
from batch.sources import Input, open_input
from batch.sources.input import InputFile


def packed(*names: str) -> bytes:
    """A ZIP archive with these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), "x")  # which is of 1980, so that each run names its tests alike
    return out.getvalue()


def paths(found: Input) -> tuple[Path, ...]:
    """The files of an input."""
    return tuple(file.path for file in found.files)


def refusal(argument: Path | str, spool: Path) -> str:
    """Say why an argument is refused."""
    with pytest.raises(InputError) as caught:
        open_input(str(argument), spool)
    return str(caught.value)


XLSX = packed("[Content_Types].xml", "xl/workbook.xml")
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500
THOUGH = "although its name ends in"
UNPACK = "unpack it, then give the file that is in it."
SAVE = "open it in the program that made it and save it as .xlsx or .csv."
COPY = "copy its table into a spreadsheet and save that."
ONE_A_LINE = "save it with one object a line (.ndjson), or as CSV or Parquet."
ONE_KIND = "files of one kind make a table. Give them as separate inputs."
SEVERAL = (
    " has files of several kinds, of which only one kind makes a table: 1 .csv file (x.csv); 1 .jsonl file (y.jsonl). "
    'Name those that are meant by a pattern, such as "*.csv".'
)
SHEET = "ask its sender for the spreadsheet"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.csv",
            gzip.compress(b"id\n1\n", mtime=0),
            f"a.csv is a gzip archive, {THOUGH} .csv: rename it to a.csv.gz.",
        ),
        ("a.csv.gz", b"id\n1\n", f"a.csv.gz is plain text (CSV), {THOUGH} .gz: rename it to a.csv."),
        ("a.csv.gz", gzip.compress(gzip.compress(b"id", mtime=0), mtime=0), f"a.csv.gz is a gzip archive: {UNPACK}"),
        (
            "a.tar.gz",
            gzip.compress(b"a".ljust(257, b"\0") + b"ustar" + b"\0" * 250, mtime=0),
            f"a.tar.gz is a tar archive: {UNPACK}",
        ),
        (
            "a.csv.gz",
            gzip.compress(b"PAR1....PAR1", mtime=0),
            f"a.csv.gz is a Parquet file, {THOUGH} .csv: rename it to a.parquet.gz.",
        ),
        (
            "a.arrow",
            b"\xff\xff\xff\xff" * 4,
            "a.arrow is a stream of Arrow records: save it as an Arrow file or as Parquet.",
        ),
        ("a.csv", packed("a.csv"), f"a.csv is a ZIP archive: {UNPACK}"),
        ("a.zip", packed("a.csv"), f"a.zip is a ZIP archive: {UNPACK}"),
        ("a.csv", XLSX, f"a.csv is an Excel workbook, {THOUGH} .csv: rename it to a.xlsx."),
        ("a.parquet", XLSX, f"a.parquet is an Excel workbook, {THOUGH} .parquet: rename it to a.xlsx."),
        ("a.xlsx", b"id,name\n", f"a.xlsx is plain text (CSV), {THOUGH} .xlsx: rename it to a.csv."),
        ("a.xls", b"id\tname\n", f"a.xls is plain text (CSV), {THOUGH} .xls: rename it to a.csv."),
        ("a.parquet", b"id,name\n", f"a.parquet is plain text (CSV), {THOUGH} .parquet: rename it to a.csv."),
        ("a.csv", b"PAR1....PAR1", f"a.csv is a Parquet file, {THOUGH} .csv: rename it to a.parquet."),
        ("a.csv", OLE, f"a.csv is an old or password-protected Excel workbook, {THOUGH} .csv: rename it to a.xls."),
        ("a.xls", b"\xef\xbb\xbf\n <HTML xmlns='x'><table>", f"a.xls is a web page (HTML): {SAVE}"),
        ("a.xls", "<html>".encode("utf-16"), f"a.xls is a web page (HTML): {SAVE}"),
        ("a.xls", b"<?xml version='1.0'?><Workbook>", f"a.xls is an XML file: {SAVE}"),
        ("a.csv", b'{"id": 1}', f"a.csv is NDJSON (a JSON object a line), {THOUGH} .csv: rename it to a.ndjson."),
        ("a.json", b'[{"id": 1}]', f"a.json is a JSON file: {ONE_A_LINE}"),
        ("a.ndjson", b'{\n"id": 1}', f"a.ndjson is a JSON file: {ONE_A_LINE}"),
        ("a.csv", b"%PDF-1.7", f"a.csv is a PDF: {SHEET} it was made from."),
        ("a.csv", b"\x89PNG\r\n", f"a.csv is a picture (PNG): {SHEET} itself."),
        ("a.xlsx", packed("word/document.xml"), f"a.xlsx is a Word document: {COPY}"),
        ("a.xlsx", XLSX[:40], "a.xlsx is a damaged or incomplete ZIP archive or workbook: copy or download it again."),
        ("a.csv", b"", "a.csv is empty (zero bytes): save it again from the program that made it."),
    ],
)
def test_what_it_really_is(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    """A file that is not what its name says, or nothing to read, is named, with what to do."""
    (tmp_path / name).write_bytes(data)
    assert message == refusal(tmp_path / name, tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "form"),
    [
        ("a.csv", b"id\n", "csv"),
        ("A.CSV", b"id\n", "csv"),
        ("a.txt", b"id\n", "csv"),
        ("a", b"id\n", "csv"),
        ("a.csv", "id;é\n".encode("utf-16"), "csv"),
        ("a.csv", b"<clear>,name\n", "csv"),
        ("a.xlsx", XLSX, "xlsx"),
        ("a.bin", XLSX, "xlsx"),
        ("a.xlsb", packed("xl/workbook.bin"), "xlsx"),
        ("a.ndjson", b'\n{"id": 1, "x": {}}\n', "ndjson"),
        ("a.jsonl", b'\xef\xbb\xbf{"id": "' + b"x" * 5000 + b'"}', "ndjson"),
        ("a.json", b'{"id": 1}\n{"id": 2}', "ndjson"),
    ],
)
def test_format(name: str, data: bytes, form: str, tmp_path: Path) -> None:
    """The format is told by the content, where the name does not contradict it."""
    path = tmp_path / name
    path.write_bytes(data)
    found = open_input(str(path), tmp_path)
    file = InputFile(path, name, path, path.stat().st_mtime_ns)
    expected = Input((file,), name, hashlib.sha256(data).hexdigest(), form)  # type: ignore[arg-type] # a parameter of the test
    assert expected == found


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("no.csv", "no.csv does not exist: check the name and the folder."),
        ("no/no.csv", "no.csv does not exist: check the name and the folder."),
        ("*.parquet", "*.parquet matches no file: check the name and the folder."),
        ("x" * 300, f"{'x' * 300} cannot be read: File name too long."),
        ("a\0b", "a\0b: this cannot be the name of a file."),
        ("folder", "folder is a folder without CSV, NDJSON or Parquet files: give the name of a file in it."),
        ("mailed", "mailed is a folder, and a workbook is read by its own name: mailed/a.xlsx, mailed/b.ods."),
        ("/dev/null", "null is no file but a device: give a file, a pipe, or - for standard input."),
        ("*.*", "*.* matches notes.md, too, whose name tells no format: make it match less."),
        (
            "[xy].*",
            f"[xy].*: y.jsonl is NDJSON (a JSON object a line), and x.csv is plain text (CSV): {ONE_KIND}",
        ),
        ("{x.csv,./x.csv}", "x.csv is named twice: name it once."),
        ("{x.csv,-}", "Standard input (-) is an input of its own: leave out - or the other names."),
        (".", "." + SEVERAL),
    ],
)
def test_nothing_to_read(argument: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be found or read is said in words."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "mailed").mkdir()
    for one in ("a.xlsx", "b.ods", "letter.pdf"):
        (tmp_path / "mailed" / one).touch()
    (tmp_path / "x.csv").write_bytes(b"id\n")
    (tmp_path / "y.jsonl").write_bytes(b'{"id": 1}')
    (tmp_path / "notes.md").write_bytes(b"id\n")
    assert message == refusal(argument, tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_without_permission(tmp_path: Path) -> None:
    """A file that this user may not read is named."""
    (tmp_path / "a.csv").touch(mode=0o000)
    assert "a.csv may not be read by this user: ask for permission to read it." == refusal(tmp_path / "a.csv", tmp_path)


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input is kept in a file that only this user may read, and hashed like a file."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"id\n1\n")))
    found = open_input("-", tmp_path)
    (path,) = (file.content for file in found.files)
    assert ("standard input", "csv", tmp_path) == (found.name, found.format, path.parent)
    assert (b"id\n1\n", 0o600) == (path.read_bytes(), path.stat().st_mode & 0o777)
    assert hashlib.sha256(b"id\n1\n").hexdigest() == found.sha256


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (packed("a.csv"), f"standard input is a ZIP archive: {UNPACK}"),
        (
            gzip.compress(b"id\n" * 99, mtime=0)[:-9],
            "standard input is cut off: its end is missing. Copy or download it again.",
        ),
        (b"", "standard input is empty (zero bytes): check the command that was to write to it."),
    ],
)
def test_standard_input_is_refused(data: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes on standard input is looked at like any file."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert message == refusal("-", tmp_path)


def test_parquet_files_are_one_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder and a glob give the same files in the order of their names, and one hash of names and bytes."""
    monkeypatch.chdir(tmp_path)
    Path("in/sub").mkdir(parents=True)
    for name in ("in/b.parquet", "in/a.parquet", "in/_SUCCESS.parquet", "in/.c.parquet"):
        pl.DataFrame({"id": [name]}).write_parquet(name)
    folder, glob = open_input("in", tmp_path), open_input("in/[ab]*.parquet", tmp_path)
    assert (Path("in/a.parquet"), Path("in/b.parquet")) == paths(folder) == paths(glob)
    assert ("in", "in/[ab]*.parquet") == (folder.name, glob.name)
    Path("in/b.parquet").rename("in/c.parquet")
    assert folder.sha256 == glob.sha256 != open_input("in", tmp_path).sha256


OWN = {
    "journal.sqlite": b"SQLite format 3\0 CREATE TABLE intent(", "summary.json": b'{"input_sha256": "0"}',
    "plan.json": b'{"batch": 1', ".lock": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("where", ["in.batch/20260101-000000", "20260101-000000", "deep/mine", "undo-20260101-000000"])
def test_own_folders_are_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str) -> None:
    """What is in the folder of a run, or of one that has just begun, is not taken in by a folder or a pattern."""
    monkeypatch.chdir(tmp_path)
    run = Path("in") / where
    (run / "nested").mkdir(parents=True)
    for path in ("in/a.parquet", "in/deep.parquet", f"{run}/input.parquet", f"{run}/nested/failures.parquet"):
        pl.DataFrame({"id": [path]}).write_parquet(path)
    (run / name).write_bytes(OWN[name])
    (run.parent / "latest").symlink_to(run.name)
    expected = (Path("in/a.parquet"), Path("in/deep.parquet"))
    for argument in ("in", "in/**/*.parquet", str(tmp_path / "in" / "**" / "*.parquet")):
        assert expected == tuple(Path(*one.parts[-2:]) for one in paths(open_input(argument, tmp_path)))
    for pattern in (f"{run}/*.parquet", f"{run.parent}/latest/*.parquet", f"{run}/*/*.parquet"):
        assert f"{pattern} matches files of runs only: give the name of the one that is meant." == refusal(
            pattern, tmp_path
        )
    assert f"{run} is the folder of a run: give the name of the file in it that is meant." == refusal(run, tmp_path)
    assert (run / "input.parquet",) == paths(open_input(f"{run}/input.parquet", tmp_path))


@pytest.mark.parametrize("name", ["results.csv", "results.ndjson", "results.parquet", "results-2.xlsx"])
def test_results_are_no_input(tmp_path: Path, name: str) -> None:
    """What became of the rows of a run is no sheet of changes; elsewhere a file may have that name."""
    path = tmp_path / name
    path.write_bytes(b"id,name\n1,A\n")
    assert "says what became of the rows of a run" not in _opened_or_why(path)
    (tmp_path / "journal.sqlite").write_bytes(OWN["journal.sqlite"])
    expected = f"{path} says what became of the rows of a run: give its failures file, or its input."
    assert expected == refusal(path, tmp_path)


def _opened_or_why(path: Path) -> str:
    try:
        return open_input(str(path), path.parent).name
    except InputError as error:
        return str(error)


def test_folder_in_a_folder_of_a_run(tmp_path: Path) -> None:
    """What is above the folder that is named does not matter: 0.1 was told to put its run anywhere."""
    (tmp_path / "in").mkdir()
    (tmp_path / "journal.sqlite").write_bytes(OWN["journal.sqlite"])
    pl.DataFrame({"id": ["1"]}).write_parquet(tmp_path / "in" / "a.parquet")
    assert (tmp_path / "in" / "a.parquet",) == paths(open_input(str(tmp_path / "in"), tmp_path))


def test_name_with_a_bracket_is_a_file(tmp_path: Path) -> None:
    """A file whose name looks like a pattern is that file."""
    path = tmp_path / "customers [1].csv"
    path.write_bytes(b"id\n1\n")
    assert (path,) == paths(open_input(str(path), tmp_path))


ONE_FILE = "write the table as it is now to one Parquet file, and give its name"
FOLDER = "give the folder of the table"


@pytest.mark.parametrize(
    ("kind", "mark", "instead"),
    [
        ("Delta Lake", "_delta_log/00000000000000000000.json", FOLDER),
        ("Apache Iceberg", "metadata/v1.metadata.json", ONE_FILE),
        ("Apache Hudi", ".hoodie/hoodie.properties", ONE_FILE),
    ],
)
@pytest.mark.parametrize(
    "argument", ["lake/table", "lake", "lake/table/data/*.parquet", "lake/table/data/1.parquet", "link.parquet"]
)
def test_table_with_a_log(
    kind: str, mark: str, instead: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of a table hold deleted rows, too: it is refused by name, however they are named."""
    if kind == "Delta Lake" and argument == "lake/table":
        return  # which is read
    monkeypatch.chdir(tmp_path)
    table = Path("lake/table")
    (table / mark).parent.mkdir(parents=True)
    (table / mark).write_bytes(b"{}")
    (table / "data").mkdir()
    pl.DataFrame({"id": ["1"]}).write_parquet(table / "data" / "1.parquet")
    Path("link.parquet").symlink_to(table / "data" / "1.parquet")
    name = Path(argument).name if argument.endswith("/1.parquet") else argument
    assert (
        f"{name} belongs to a table of {kind} (table), whose Parquet files also hold rows that were deleted or "
        f"replaced: {instead}."
    ) == refusal(argument, tmp_path)


def test_folder_that_is_called_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is only called metadata is no table."""
    monkeypatch.chdir(tmp_path)
    Path("in/metadata").mkdir(parents=True)
    pl.DataFrame({"id": ["1"]}).write_parquet("in/1.parquet")
    assert (Path("in/1.parquet"),) == paths(open_input("in", tmp_path))
