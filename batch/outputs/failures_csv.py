"""The failures file of a CSV input: written in the dialect of the input, so that the same programs read it the same.

Promises that batch reads every cell back as it was, that a spreadsheet program executes none of them, and that
a malformed row stays malformed (it must be corrected, not sent).
"""

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from batch.csv_injection import guard
from batch.model import READ_ERRORS, CsvDialect, Outcome, Staged, cell_column, iter_read_errors
from batch.outputs.failures import (
    ADDED_COLUMNS,
    FILE_COLUMNS,
    FailedRow,
    added_cells,
    added_columns,
    on_one_line,
    original_indexes,
)

_MONTH = (
    "(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    "nov(?:ember)?|dec(?:ember)?)"
)
SPOILT = (
    r"(?i)^\s*(?:[+-]?0\d[\d.,]*|\+\d+|\d{16,}|\d+(?:\.\d+)?e[+-]?\d+|\d{1,2}[-/]\d{1,4}|"
    r"\d{1,4}[-/]\d{1,2}[-/]\d{1,4}|\d{1,2}\.\d{1,2}\.\d{0,4}|\d{1,2}:\d\d(?::\d\d)?|"
    rf"\d{{1,4}}[-/ .]?{_MONTH}(?:[-/ .]?\d{{1,4}})?|{_MONTH}[-/ .]?\d{{1,4}})\s*$"
)
"""What Excel makes something else of when it opens a CSV file: zeros in front and a plus are lost, so are digits behind
the fifteenth, and 3-4, MAR1 and 1E5 become dates and numbers."""


def first_spoilt(frame: pl.DataFrame, indexes: Sequence[int]) -> str:
    """Return the first cell of these columns that Excel would change, "" where there is none."""
    for index in indexes:
        cells = frame[cell_column(index)]
        found = cells.filter(cells.str.contains(SPOILT))
        if len(found):
            return str(found[0]).strip()
    return ""


class CsvFailures:
    """Appends rows to a CSV file in the dialect of the input."""

    def __init__(self, path: Path, staged: Staged) -> None:
        self._staged = staged
        self._dialect = staged.dialect or CsvDialect()
        self._indexes = original_indexes(staged)
        self._is_escaped = len(self._indexes) < len(staged.headers)
        self._old_width = len(staged.headers)
        self._path = path
        self._begin([staged.headers[index] for index in self._indexes])

    def _begin(self, headers: Sequence[str]) -> None:
        encoding = self._dialect.encoding
        if encoding.startswith(("utf-16", "utf-32")) or encoding == "utf-8-sig":
            self._append("\ufeff".encode(_without_mark(encoding)))
        if self._dialect.has_sep_line:
            self._write(f"sep={self._dialect.delimiter}{self._dialect.line_end}")
        header = pl.DataFrame([[*headers, *added_columns(self._staged)]], orient="row")
        self._write_frame(header.with_columns(guard(pl.all())))

    def add(self, frame: pl.DataFrame, rows: Sequence[FailedRow]) -> None:
        """Append rows: sound ones together, each malformed one by itself."""
        added = added_cells(rows, self._staged).select(guard(on_one_line(pl.all().replace("", None))))
        cells = [guard(pl.col(cell_column(index))) for index in self._indexes]
        lines = pl.concat([frame.select(cells), added], how="horizontal")
        malformed = [at for at, text in enumerate(frame[READ_ERRORS].to_list()) if text and _raw(text) is not None]
        start = 0
        for at in malformed:
            self._write_frame(lines[start:at])
            is_foreign = bool(self._staged.files) and self._staged.part(rows[at].result.row).is_foreign
            self._write_malformed(_raw(frame[READ_ERRORS][at]) or "", added.row(at), is_foreign=is_foreign)
            start = at + 1
        self._write_frame(lines[start:])

    def _write_frame(self, lines: pl.DataFrame) -> None:
        if not lines.height:
            return
        text = lines.write_csv(
            include_header=False, separator=self._dialect.delimiter, line_terminator=self._dialect.line_end,
            quote_style="always" if self._dialect.quoting == "all" else "necessary",
        )  # fmt: skip
        self._write(text)

    def _write_malformed(self, raw: str, added: Sequence[str], *, is_foreign: bool) -> None:
        """Write a malformed row back as it was found, so that it stays malformed until somebody corrects it.

        One of a file that is written otherwise stands in its first cell: its cells would come under other headers.
        """
        cells = [raw] if is_foreign else self._old_cells(raw)
        if not self._is_escaped:
            safe = pl.DataFrame({"cell": cells}, schema={"cell": pl.String}).select(guard(pl.col("cell")))
            cells = safe.to_series().to_list()
        if len(cells) == len(self._indexes):
            cells.append("")
        self._write_frame(pl.DataFrame([[*cells, *added]], orient="row"))

    def _old_cells(self, raw: str) -> list[str]:
        try:
            records = list(csv.reader(io.StringIO(raw, newline=""), delimiter=self._dialect.delimiter, strict=True))
        except csv.Error:
            return [raw]
        if len(records) != 1 or len(records[0]) == self._old_width:
            return [raw]
        return _without_added(records[0]) if self._is_escaped else records[0]

    def _write(self, text: str) -> None:
        encoding = _without_mark(self._dialect.encoding)
        try:
            data = text.encode(encoding)
        except UnicodeEncodeError:
            data = b"".join(_encode_letter(letter, encoding) for letter in text)
        self._append(data)

    def _append(self, data: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(data)

    def finish(self) -> None:
        """Nothing is left to write."""


def _raw(read_errors: str) -> str | None:
    """Return the text of the whole row, if the error is not that of single cells."""
    return next((problem.seen for index, problem in iter_read_errors(read_errors) if index is None), None)


def _without_added(cells: list[str]) -> list[str]:
    """Drop the cells that an earlier failures file added at the end, and what a spreadsheet program put after."""
    end = len(cells)
    while end and not cells[end - 1].strip():
        end -= 1
    for start in range(max(end - len(ADDED_COLUMNS) - len(FILE_COLUMNS), 0), end - 1):
        if cells[start].strip().isdecimal() and cells[start + 1].strip() in set(Outcome):
            return cells[:start]
    return cells


def _without_mark(encoding: str) -> str:
    """Return the codec that writes no byte order mark by itself."""
    return {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(encoding, encoding)


def _encode_letter(letter: str, encoding: str) -> bytes:
    """Return the undefined byte that was kept as the control character of the same number; else `?`."""
    try:
        return letter.encode(encoding)
    except UnicodeEncodeError:
        return letter.encode("latin-1") if "\x80" <= letter <= "\x9f" else codecs.encode(letter, encoding, "replace")
