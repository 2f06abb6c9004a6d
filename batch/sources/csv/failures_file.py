"""Reading a corrected failures file: takes the guards off its cells, and finds rows that a program has padded.

A malformed row stands in a failures file with more or fewer cells than the header, so it stays invalid until it is
corrected. But a spreadsheet program that saves the file gives every row the same number of cells, and the row would
look whole, with its values under the wrong headers. The position of batch's own cells shows it: `batch_row` and
`batch_outcome` are a number and the word of an outcome, and nowhere else in a row do these follow each other.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path

import polars as pl

from batch.csv_injection import FORMULA, has_own_apostrophe, unguard
from batch.model import READ_ERRORS, ROW, Outcome, Problem, cell_column, read_errors_text
from batch.own_files import is_own

NAME = re.compile(r"failures(?:-\d+)?\.csv")
OWN_COLUMNS = frozenset({"batch_row", "batch_outcome", "batch_field", "batch_message", "batch_run", "batch_seen"})
"""One of them is enough to know a failures file."""


def is_guarded(headers: Sequence[str], path: Path) -> bool:
    """Return whether this is a file of batch's own in which formula-like texts are guarded.

    Its columns tell, and where somebody deleted all of them, its name beside a run.
    """
    is_known = not (OWN_COLUMNS | {"batch_undoes_row"}).isdisjoint(_names(headers))
    return is_known or (NAME.fullmatch(path.name) is not None and is_own(path.parent))


def _names(headers: Sequence[str]) -> list[str]:
    return [header.strip().casefold() for header in headers]


class OtherFile:
    """The rows of a file that is not known as batch's own, as they stand; looks for guards that stay in them."""

    def __init__(self) -> None:
        self._guarded = 0

    def iter_restored(self, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the rows as they are."""
        for frame in frames:
            cells = pl.exclude(READ_ERRORS, ROW)
            begins = frame.select(cells.str.starts_with("'"))
            if some := [one.name for one in begins if one.any()]:
                self._guarded += sum(int(frame[one].str.contains(f"^'{FORMULA[1:]}").sum()) for one in some)
            yield frame

    @property
    def note(self) -> str:
        """Tell of cells that begin like guarded ones; "" when there are none."""
        if not self._guarded:
            return ""
        cells = "1 cell begins" if self._guarded == 1 else f"{self._guarded:,} cells begin"
        return (
            f"{cells} with an apostrophe before the sign of a formula ('=), which stays: it is a guard in a failures "
            "file that has a batch_ column, and part of the text elsewhere."
        )


class FailuresFile:
    """The rows of a failures file as they were meant: every cell without its guard, misplaced rows marked."""

    def __init__(self, headers: Sequence[str], delimiter: str) -> None:
        self._cells = [cell_column(index) for index in range(len(headers))]
        self._is_misplaced = _is_misplaced(_names(headers), self._cells)
        self._delimiter = delimiter
        self._own_apostrophes = 0

    def iter_restored(self, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Take the guard off every cell, and mark the rows whose values are under the wrong headers."""
        cells = pl.col(self._cells)
        for frame in frames:
            marked = frame.with_columns(misplaced=self._is_misplaced & pl.col(READ_ERRORS).is_null())
            if marked["misplaced"].any():
                marked = marked.with_columns(_with_read_errors(marked, self._cells, self._delimiter))
            self._own_apostrophes += int(frame.select(pl.sum_horizontal(has_own_apostrophe(cells).sum())).item())
            yield marked.drop("misplaced").with_columns(unguard(cells))

    @property
    def note(self) -> str:
        """Tell of apostrophes that were dropped though the text behind them needs no guard; "" when there are none."""
        if not self._own_apostrophes:
            return ""
        cells = "1 cell" if self._own_apostrophes == 1 else f"{self._own_apostrophes:,} cells"
        return f"In a failures file an apostrophe in front is a guard: it was dropped from {cells} (write two for one)."


def _is_misplaced(names: Sequence[str], cells: Sequence[str]) -> pl.Expr:
    """Return whether a row has its number and outcome elsewhere, or something else in their place."""
    at = next((at for at, pair in enumerate(pairwise(names)) if pair == ("batch_row", "batch_outcome")), None)
    if at is None:
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
