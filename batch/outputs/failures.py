"""What all failures files have in common: the Protocol of their writers, and the columns that batch adds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from batch.model import RESERVED_PREFIX, RowResult, Staged
from batch.provenance import RUN, SEEN, pulled_place

FILE_COLUMNS = ("batch_file", "batch_file_row")
"""Of which file a row is, and its number there, where several files make up the input."""
_ABOUT_ROW = ("batch_row", "batch_outcome", "batch_field", "batch_message")
ADDED_COLUMNS = (*_ABOUT_ROW, RUN, SEEN)


def added_columns(staged: Staged) -> tuple[str, ...]:
    """Return the columns that a failures file adds."""
    return (*_ABOUT_ROW, *FILE_COLUMNS, RUN, SEEN) if staged.files else ADDED_COLUMNS


def place_of(staged: Staged, row: int) -> tuple[str, str] | None:
    """Return the cells of `FILE_COLUMNS`; None where one file is the input."""
    part = staged.part(row) if staged.files else None
    return (part.name, str(row - part.shift)) if part else None


@dataclass(frozen=True, slots=True)
class FailedRow:
    """What a failures file says of a row beside its own cells."""

    result: RowResult
    run: str = ""
    """The run that writes the file."""
    seen: str = ""
    """What it saw in the fields that the row was to change (`batch/provenance.py`)."""
    place: tuple[str, str] | None = None
    """The cells of `FILE_COLUMNS`."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The cells of the columns that are added."""
        result = self.result
        said = str(result.row), result.outcome.value, field_text(result), message_text(result)
        return (*said, *(self.place or ()), self.run, self.seen)


def added_cells(rows: Sequence[FailedRow], staged: Staged) -> pl.DataFrame:
    """Return the cells of the columns that are added, as texts."""
    return pl.DataFrame([one.texts for one in rows], dict.fromkeys(added_columns(staged), pl.String), orient="row")


class FailuresWriter(Protocol):
    """Writes the rows that still need something; constructed with `(path, staged)`.

    `path` is an empty temporary file beside the final one; `ResultsWriter` syncs and renames it after `finish`, or
    removes it.
    """

    def add(self, frame: pl.DataFrame, rows: Sequence[FailedRow]) -> None:
        """Take some rows of `input.parquet` (all its columns), in order, and what is said of each."""

    def finish(self) -> None:
        """Write what is left and close the file."""


def original_indexes(staged: Staged) -> list[int]:
    """Return the columns of the input that an earlier failures file did not add, in order."""
    return [index for index, header in enumerate(staged.headers) if not is_added(header)]


def is_added(header: str) -> bool:
    """Return whether a header is one that a failures file adds; what was pulled stays beside its row."""
    return header.strip().casefold().startswith(RESERVED_PREFIX) and not is_pulled(header)


def is_pulled(header: str) -> bool:
    """Return whether a column holds what was pulled."""
    return pulled_place(header) is not None


def is_hidden(header: str) -> bool:
    """Return whether a column is hidden in a workbook, as it says nothing to a person."""
    return is_pulled(header) or header.strip().casefold() in (RUN, SEEN)


def field_text(row_result: RowResult) -> str:
    """Return the fields of a row's problems, for the columns `field` and `batch_field`."""
    match row_result.problems:
        case ():
            return ""
        case (only,):
            return only.field or only.header
    fields = [problem.field or problem.header for problem in row_result.problems]
    return "; ".join(dict.fromkeys(filter(None, fields)))


def message_text(row_result: RowResult) -> str:
    """Return the messages of a row's problems, for the columns `message` and `batch_message`."""
    match row_result.problems:
        case ():
            return ""
        case (only,):
            return only.message
    return "; ".join(dict.fromkeys(problem.message for problem in row_result.problems))


def code_text(row_result: RowResult) -> str:
    """Return the codes of a row's problems, for the column `code`."""
    return "; ".join(dict.fromkeys(problem.code for problem in row_result.problems if problem.code))


def on_one_line(text: pl.Expr) -> pl.Expr:
    """Replace line breaks by spaces: a message must not look like several rows of a CSV file."""
    return text.str.replace_all(r"\s*[\r\n]\s*", " ")
