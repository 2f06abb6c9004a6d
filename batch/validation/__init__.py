"""Rows -> changes, or the reasons why not (pydantic).

    row_validator.py    rows -> changes and results, by column    blank_or_clear.py   a cell's three states
    file_changes.py     the whole input: counts, then changes     duplicates.py       ids that occur repeatedly
    typed_cells.py      numbers and dates in columns of text

Promises: a row becomes part of exactly one change or gets at least one problem; all problems of a row are found in one
pass; a blank cell never sets anything; a cell that could not be read makes its row invalid. Rows with one id become one
change, or are all invalid when they disagree. Memory grows only with the ids that occur twice.
"""

from batch.validation.blank_or_clear import is_hardly_meant
from batch.validation.duplicates import GROUP_ROWS, Duplicates, ReadRows, find_duplicates, id_cells, iter_validated
from batch.validation.row_validator import ColumnCount, RowValidator, ValidatedRows, cell_problem

__all__ = [
    "GROUP_ROWS", "ColumnCount", "Duplicates", "ReadRows", "RowValidator", "ValidatedRows", "cell_problem",
    "find_duplicates", "id_cells", "is_hardly_meant", "iter_validated",
]  # fmt: skip
