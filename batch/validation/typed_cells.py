"""Cells of text fields that the file itself stores as numbers or dates: what they say is not always what was meant.

Promises: a number is refused where another cell of its column shows it with zeros in front; a date where its column
holds anything but dates; both stay so in a failures file, which has not those other cells, until the cell is another
one. `--as-shown` takes what a cell shows instead, where its format can be shown in one way only.
Memory grows only with the cells that are refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import polars as pl

from batch.endpoints.labels import fold
from batch.errors import HeaderError
from batch.model import (
    READ_ERRORS,
    ROW,
    Columns,
    Problem,
    Staged,
    cell_column,
    iter_read_errors,
    original_column,
    read_errors_text,
)
from batch.settings import Parsing
from batch.sources.excel.number_formats import shown_date, shown_number

NO_TEXT: Final = frozenset({"number", "date", "boolean", "object"})
"""The kinds of fields that are no text: all others are sent as their cells say."""
COLUMN_CODES: Final = ("date_among_texts", "zeros_elsewhere", "number_without_format")
"""Codes of problems of a cell that are seen in other cells, or in the kind of the file."""
_MESSAGE: Final = "batch_message"
_PLAIN = r"^(?:0|[1-9][0-9]*)$"
_PADDED = r"^0[0-9]+$"
Errors: TypeAlias = dict[int, list[tuple[int, Problem | None]]]
"""By place in a frame: column indexes, each with what is wrong with its cell; None: nothing is, whatever was noted."""


@dataclass(slots=True)
class _Found:
    """What a column holds: cells stored as numbers, cells that are dates, other values, texts with zeros in front."""

    numbers: int
    dates: int
    others: int
    padded: int
    padded_texts: int
    refused: pl.Series = field(default_factory=lambda: pl.Series([], dtype=pl.UInt32))
    """Rows whose number another cell of the column shows with zeros in front."""


class TypedCells:
    """The cells of one input that its file stores as numbers or dates, in columns of text fields."""

    def __init__(self, staged: Staged, columns: Columns, parsing: Parsing) -> None:
        """Look over the columns once; raises HeaderError where `--as-shown` names no header."""
        self._staged, self._clear_token = staged, parsing.clear_token
        self._formats = staged.style.formats if staged.style else ()
        self._has_formats = staged.style is None or staged.style.has_formats
        shown = {fold(header) for header in parsing.as_shown}
        _check_as_shown(staged, parsing)
        kept = dict(pl.read_parquet_schema(staged.path))
        texts = [one for one in columns.fields if one.field and one.field.kind not in NO_TEXT]
        self._columns = {one.index: one for one in texts if _is_typed(kept, one.index)}
        self._shown = {index for index, one in self._columns.items() if fold(one.header) in shown}
        self._found = {index: self._look_over(index) for index in self._columns if index not in self._shown}
        told = (one for one in columns.all if one.role == "reserved" and one.header.strip().casefold() == _MESSAGE)
        message = next(told, None)
        self._still_refused = {} if message is None else {
            index: refused for index in self._found if (refused := self._look_for_refused(index, message.index))
        }  # fmt: skip
        """By column, the rows of a failures file whose cell is what was refused, each with the problem."""

    @property
    def notes(self) -> Iterator[str]:
        """Yield one line for each column with numbers that go as they are stored."""
        for index, found in self._found.items():
            again = [row for row, one in self._still_refused.get(index, {}).items() if one.code != "date_among_texts"]
            count = found.numbers - len({*found.refused, *again})
            if count and self._has_formats and not found.padded_texts:  # of a column with both the reader tells
                numbers, are = ("1 number", "is") if count == 1 else (f"{count:,} numbers", "are")
                yield f'Column "{self._columns[index].header}": {numbers} {are} sent without zeros in front, as stored.'

    def normalize(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with the cells that cannot be trusted marked, and with `--as-shown` as they are shown."""
        errors: Errors = {}
        for index, found in self._found.items():
            texts = frame[cell_column(index)]
            if found.numbers and not self._has_formats:
                for place in (_letters(frame, index) == "n").arg_true().to_list():
                    errors.setdefault(place, []).append((index, Problem("number_without_format", seen=texts[place])))
            if found.dates and found.others:
                for place in (_letters(frame, index) == "d").arg_true().to_list():
                    errors.setdefault(place, []).append((index, Problem("date_among_texts", seen=texts[place])))
            for place in frame[ROW].is_in(found.refused.implode()).arg_true().to_list() if len(found.refused) else ():
                errors.setdefault(place, []).append((index, Problem("zeros_elsewhere", seen=texts[place])))
        for index, refused in self._still_refused.items():
            for place in frame[ROW].is_in([*refused]).arg_true().to_list():
                if not any(noted == index for noted, _ in errors.get(place, ())):
                    errors.setdefault(place, []).append((index, refused[frame[ROW][place]]))
        for index in self._shown:
            frame = self._as_shown(frame, index, errors)
        return _with_errors(frame, errors) if errors else frame

    def bare_numbers(self, frame: pl.DataFrame) -> Mapping[str, pl.Series]:
        """Return by field which cells are stored as numbers, whose zeros in front may be lost."""
        return {
            self._columns[index].target: _is_bare(frame, index) for index, one in self._found.items() if one.numbers
        }

    def _look_over(self, index: int) -> _Found:
        cell, letter = pl.col(cell_column(index)), _letter(self._columns[index].index, self._staged)
        is_number = (letter == "n") & (cell.str.contains(_PLAIN) if self._has_formats else True)
        is_date, is_padded = letter == "d", cell.str.contains(_PADDED)
        is_other = cell.is_not_null() & (letter != "d") & (cell.str.strip_chars() != self._clear_token)
        rows = pl.scan_parquet(self._staged.path)
        counts = rows.select(
            numbers=is_number.sum(),
            dates=is_date.sum(),
            others=is_other.sum(),
            padded=is_padded.sum(),
            padded_texts=(is_padded & (letter != "n")).sum(),
        )
        found = _Found(**counts.collect(engine="streaming").row(0, named=True))
        if found.numbers and found.padded:
            digits = cell.str.strip_chars_start("0").replace("", "0").alias("digits")
            padded = rows.filter(is_padded).select(digits).unique()
            numbers = rows.filter(is_number).select(pl.col(ROW), cell.alias("digits"))
            matched = numbers.join(padded, on="digits", how="semi").select(ROW)
            found.refused = matched.collect(engine="streaming")[ROW].sort()
        return found

    def _look_for_refused(self, index: int, message: int) -> dict[int, Problem]:
        """Find the rows of a failures file that still have the number or date in a column for which it was refused."""
        name, said = cell_column(index), cell_column(message)
        is_typed = _letter(index, self._staged).is_in(["n", "d"]) & pl.col(said).is_not_null()
        rows = pl.scan_parquet(self._staged.path).filter(is_typed).select(ROW, name, said).collect(engine="streaming")
        found, header = {}, self._columns[index].header
        for row, text, told in rows.drop_nulls().iter_rows():
            problems = (Problem(code, header=header, seen=text) for code in COLUMN_CODES)
            problem = next((one for one in problems if one.message in told), None)
            if problem is not None:
                found[row] = Problem(problem.code, seen=text)
        return found

    def _as_shown(self, frame: pl.DataFrame, index: int, errors: Errors) -> pl.DataFrame:
        """Replace texts of numbers and dates by what the cells show; where that is not known, note it."""
        name, texts = cell_column(index), frame[cell_column(index)].to_list()
        if frame[original_column(index)].dtype != pl.String:
            return frame  # the file has no formats
        for place, origin in enumerate(frame[original_column(index)].to_list()):
            if origin and origin[0] in "nd" and texts[place]:
                code = self._formats[int(origin[1:].partition(":")[0])]
                shown = shown_number(texts[place], code) if origin[0] == "n" else shown_date(texts[place], code)
                shown = shown if self._has_formats else None
                if shown is None:
                    errors.setdefault(place, []).append((index, Problem("not_shown_alike", seen=texts[place])))
                else:
                    texts[place] = shown
                    errors.setdefault(place, []).append((index, None))
        return frame.with_columns(pl.Series(name, texts, dtype=pl.String))


def _check_as_shown(staged: Staged, parsing: Parsing) -> None:
    known = {fold(header) for header in staged.headers}
    missing = [header for header in parsing.as_shown if fold(header) not in known]
    if missing:
        lines = [f'--as-shown "{header}": there is no header "{header}".' for header in missing]
        raise HeaderError("\n".join([f"{staged.name}: the headers do not fit.", *lines, "Nothing was sent."]))


def _is_typed(kept: Mapping[str, pl.DataType], index: int) -> bool:
    dtype = kept.get(original_column(index))
    return dtype is not None and (dtype == pl.String or dtype.is_numeric())


def _letter(index: int, staged: Staged) -> pl.Expr:
    """Return how the file stores a cell, as the workbook's reader spells it: "n" a number, "d" a date."""
    if staged.format == "xlsx":
        return pl.col(original_column(index)).str.slice(0, 1).fill_null("")
    return pl.when(pl.col(original_column(index)).is_not_null()).then(pl.lit("n")).otherwise(pl.lit(""))


def _letters(frame: pl.DataFrame, index: int) -> pl.Series:
    kept = frame[original_column(index)]
    if kept.dtype == pl.String:
        return kept.str.slice(0, 1).fill_null("")
    return pl.Series(["n"], dtype=pl.String).new_from_index(0, len(kept))


def _is_bare(frame: pl.DataFrame, index: int) -> pl.Series:
    is_plain = frame[cell_column(index)].str.contains(_PLAIN).fill_null(value=False)
    return is_plain & (_letters(frame, index) == "n")


def _with_errors(frame: pl.DataFrame, errors: Errors) -> pl.DataFrame:
    """Add errors of cells to those that the reader noted; None takes the cell's own away."""
    texts = frame[READ_ERRORS].to_list()
    for place, added in errors.items():
        replaced = {index for index, _ in added}
        kept = [one for one in iter_read_errors(texts[place]) if one[0] not in replaced]
        kept += [(index, problem) for index, problem in added if problem is not None]
        texts[place] = read_errors_text(kept) if kept else None
    return frame.with_columns(pl.Series(READ_ERRORS, texts, dtype=pl.String))
