"""What a file really is, told by its content: the formats that are read, and what else people take for a table.

Sniffing reads the first bytes of a file (and the directory of a ZIP archive), since people rename files, and mail and
web programs pack them. It unpacks nothing.
"""

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

Format = Literal["csv", "ndjson", "parquet", "xlsx"]
"""How the rows of a file are read."""

HEAD = 4096


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is, in words; `format` is None when it cannot be an input, and `advice` then says what to do."""

    format: Format | None
    what: str
    ending: str = ""
    advice: str = ""
    is_packed: bool = False
    """Whether it is one packed file, which is read when it is unpacked."""


CSV = Content("csv", "plain text (CSV)", ".csv")
NDJSON = Content("ndjson", "NDJSON (a JSON object a line)", ".ndjson")
ARROW = Content("parquet", "an Arrow file", ".arrow")
PARQUET = Content("parquet", "a Parquet file", ".parquet")
XLSX = Content("xlsx", "an Excel workbook", ".xlsx")
XLSB = Content("xlsx", "a binary Excel workbook", ".xlsb")
ODS = Content("xlsx", "an OpenDocument spreadsheet", ".ods")
XLS = Content("xlsx", "an old or password-protected Excel workbook", ".xls")
PASSWORD = "EncryptedPackage".encode("utf-16-le")
"""Stands in a workbook that only opens with a password."""

UNPACK = "unpack it, then give the file that is in it"
GZIP = Content(None, "a gzip archive", ".gz", UNPACK, is_packed=True)
ZSTD = Content(None, "a zstd archive", ".zst", UNPACK, is_packed=True)
SAVE = "open it in the program that made it and save it as .xlsx or .csv"

SIGNATURES: tuple[tuple[bytes, Content], ...] = (
    (b"PAR1", PARQUET),
    (b"PARE", Content(None, "an encrypted Parquet file", advice="save it without encryption")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", XLS),
    (b"\x1f\x8b", GZIP),
    (b"BZh", Content(None, "a bzip2 archive", advice=UNPACK)),
    (b"\xfd7zXZ\x00", Content(None, "an xz archive", advice=UNPACK)),
    (b"\x28\xb5\x2f\xfd", ZSTD),
    (b"7z\xbc\xaf\x27\x1c", Content(None, "a 7-Zip archive", advice=UNPACK)),
    (b"Rar!", Content(None, "a RAR archive", advice=UNPACK)),
    (b"%PDF", Content(None, "a PDF", advice="ask its sender for the spreadsheet it was made from")),
    (b"\x89PNG", Content(None, "a picture (PNG)", advice="ask its sender for the spreadsheet itself")),
    (b"\xff\xd8\xff", Content(None, "a picture (JPEG)", advice="ask its sender for the spreadsheet itself")),
    (b"SQLite format 3\0", Content(None, "an SQLite database", advice="export the table as CSV")),
    (b"ARROW1", ARROW),
    (b"\xff\xff\xff\xff", Content(None, "a stream of Arrow records", advice="save it as an Arrow file or as Parquet")),
    (b"FEA1", Content(None, "a Feather file of the old kind", advice="save it as Parquet or CSV")),
    (b"Obj\x01", Content(None, "an Avro file", advice="save it as Parquet or CSV")),
)
JSON = Content(None, "a JSON file", advice="save it with one object a line (.ndjson), or as CSV or Parquet")
TEXTS: tuple[tuple[re.Pattern[bytes], Content], ...] = (
    (
        re.compile(rb"<(!doctype\s+html|html|head|body|table|meta|style)\b", re.IGNORECASE),
        Content(None, "a web page (HTML)", advice=SAVE),
    ),
    (re.compile(rb"<\?xml|<\w+[^\n,;\t|]*>\s*<", re.IGNORECASE), Content(None, "an XML file", advice=SAVE)),
    (re.compile(rb"\{\s*[\"}\n]|\[\s*[{\[]"), JSON),
    (re.compile(rb"\{\\rtf"), Content(None, "a text document (RTF)", advice=SAVE)),
)
TAR = Content(None, "a tar archive", advice=UNPACK)
TAR_MARK, TAR_AT = b"ustar", 257
BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def sniff(file: IO[bytes]) -> Content:
    """Return what `file`, opened for reading at its start, is."""
    head = file.read(HEAD)
    for signature, content in SIGNATURES:
        if head.startswith(signature):
            return content
    if head[TAR_AT : TAR_AT + len(TAR_MARK)] == TAR_MARK:
        return TAR
    return _sniff_zip(file) if head.startswith(b"PK\x03\x04") else _sniff_text(head)


def _sniff_zip(file: IO[bytes]) -> Content:
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            if "mimetype" in names and "content.xml" in names:
                return ODS
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return Content(None, "a damaged or incomplete ZIP archive or workbook", advice="copy or download it again")
    if any(name.startswith("xl/") and name.endswith(".bin") for name in names) and "xl/workbook.bin" in names:
        return XLSB
    if any(name.startswith("xl/") for name in names):
        return XLSX
    if any(name.startswith("word/") for name in names):
        return Content(None, "a Word document", advice="copy its table into a spreadsheet and save that")
    return Content(None, "a ZIP archive", advice=UNPACK)


def _sniff_text(head: bytes) -> Content:
    is_whole = len(head) < HEAD
    for mark in BOMS:
        head = head.removeprefix(mark)
    plain = head.replace(b"\0", b"").lstrip()
    if _begins_with_object(plain, is_whole=is_whole):
        return NDJSON
    for pattern, content in TEXTS:
        if pattern.match(plain):
            return content
    return CSV


def _begins_with_object(text: bytes, *, is_whole: bool) -> bool:
    """Return whether the first line is a JSON object, as far as it is there."""
    line, end, _ = text.partition(b"\n")
    if not re.match(rb"\{\s*[\"}]", line):
        return False
    if not (end or is_whole):
        return True
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


WORKBOOKS = (".xlsx", ".xlsm", ".xltx", ".xltm", ".xls", ".xlsb", ".ods")
FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".txt": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "parquet",
    ".feather": "parquet",
    ".ipc": "parquet",
    **dict.fromkeys(WORKBOOKS, "xlsx"),
}
"""Which format the ending of a name promises."""
PACKED = {".gz": GZIP, ".zst": ZSTD}
"""Endings that stand behind the one of the format."""
SINGLE = (*WORKBOOKS, ".txt")
"""Endings of files that are not taken in with the others of a folder."""


def ending_of(name: str) -> str:
    """Return the ending by which a file's format is told, in lower case, without that of a packed file."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in PACKED else path.suffix


def unpacked_name(name: str) -> str:
    """Return what a packed file is called when it is unpacked."""
    path = Path(name)
    return path.stem if path.suffix.lower() in PACKED else path.name
