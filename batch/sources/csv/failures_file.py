"""Reading a corrected failures file: unescapes formulas, and finds rows that a spreadsheet program has padded.

A malformed row stands in a failures file with more or fewer cells than the header, so it stays invalid until it is
corrected. But a spreadsheet program that saves the file gives every row the same number of cells, and the row would
look whole, with its values under the wrong headers. The position of batch's own cells shows it: `batch_row` and
`batch_outcome` are a number and the word of an outcome, and nowhere else in a row do these follow each other.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import pairwise

import polars as pl

from batch.csv_injection import unescape_formula
from batch.model import READ_ERRORS, Outcome, Problem, cell_column, read_errors_text


def is_reserved(headers: Sequence[str]) -> bool:
    """Return whether a header line is that of a failures file, in which formula-like texts are escaped."""
    return "batch_row" in _names(headers)


def _names(headers: Sequence[str]) -> list[str]:
    return [header.strip().casefold() for header in headers]


def iter_restored(frames: Iterator[pl.DataFrame], headers: Sequence[str], delimiter: str) -> Iterator[pl.DataFrame]:
    """Unescape every cell, and mark the rows whose values are under the wrong headers."""
    cells = [cell_column(index) for index in range(len(headers))]
    is_misplaced = _is_misplaced(_names(headers), cells)
    for frame in frames:
        marked = frame.with_columns(misplaced=is_misplaced & pl.col(READ_ERRORS).is_null())
        if marked["misplaced"].any():
            marked = marked.with_columns(_with_read_errors(marked, cells, delimiter))
        yield marked.drop("misplaced").with_columns(unescape_formula(pl.col(cells)))


def _is_misplaced(names: Sequence[str], cells: Sequence[str]) -> pl.Expr:
    """Return whether a row has its number and outcome elsewhere, or something else in their place."""
    at = names.index("batch_row")
    if at + 1 >= len(names) or names[at + 1] != "batch_outcome":
        return pl.lit(False)
    pairs = [_is_pair(one, other) for one, other in pairwise(cells)]
    elsewhere = reduce(lambda one, other: one | other, [*pairs[:at], *pairs[at + 1 :]], pl.lit(False))
    blank = pl.all_horizontal(pl.col(cells[at], cells[at + 1]).fill_null("").str.strip_chars() == "")
    return ~pairs[at] & (elsewhere | ~blank)


def _is_pair(row: str, outcome: str) -> pl.Expr:
    number, word = pl.col(row).str.strip_chars(), pl.col(outcome).str.strip_chars()
    return (number.str.contains(r"^[0-9]+$") & word.is_in([one.value for one in Outcome])).fill_null(False)


def _with_read_errors(frame: pl.DataFrame, cells: Sequence[str], delimiter: str) -> pl.Series:
    rows = frame.select("misplaced", READ_ERRORS, *cells).iter_rows()
    texts = [
        _misplaced_row(values, delimiter) if misplaced else read_errors for misplaced, read_errors, *values in rows
    ]
    return pl.Series(READ_ERRORS, texts, dtype=pl.String)


def _misplaced_row(values: Sequence[str | None], delimiter: str) -> str:
    line = io.StringIO(newline="")
    csv.writer(line, delimiter=delimiter, lineterminator="").writerow(values)
    return read_errors_text([(None, Problem("misplaced", seen=line.getvalue()))])
