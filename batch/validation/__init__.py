"""Rows -> changes, or the reasons why not (pydantic).

    row_validator.py   rows -> changes and results, a column at a time     messages.py     the problem of a bad cell
    file_changes.py    the whole input: counts, then changes               duplicates.py   ids that occur repeatedly

Promises: a row becomes part of exactly one change or gets at least one problem; all problems of a row are found in one
pass; a blank cell never sets anything; a cell that could not be read makes its row invalid. Rows with one id become one
change, or are all invalid when they disagree. Memory grows only with the ids that occur twice.
"""

from batch.validation.duplicates import GROUP_ROWS, Duplicates, ReadRows, find_duplicates, id_cells, iter_validated
from batch.validation.messages import cell_problem, is_hardly_meant
from batch.validation.row_validator import ColumnCount, RowValidator, ValidatedRows

__all__ = [
    "GROUP_ROWS",
    "ColumnCount",
    "Duplicates",
    "ReadRows",
    "RowValidator",
    "ValidatedRows",
    "cell_problem",
    "find_duplicates",
    "id_cells",
    "is_hardly_meant",
    "iter_validated",
]
