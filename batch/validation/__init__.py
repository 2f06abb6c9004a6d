"""Rows -> changes, or the reasons why not (pydantic).

    sieve.py     validation, a column at a time       doubles.py   ids that occur more than once
    look.py      what is known of rows meanwhile      words.py     what is wrong with a cell, in words

Promises: a row becomes part of exactly one change or gets at least one problem; all problems of a row are found in one
pass; a blank cell never sets anything; a damaged cell makes its row invalid. Rows with one id become one change, or are
all invalid when they disagree. Memory does not grow with the file, but for the ids that occur twice.
"""

from batch.validation.duplicates import GROUP_ROWS, Duplicates, ReadRows, find_duplicates, id_cells, iter_validated
from batch.validation.messages import in_words, is_hardly_meant
from batch.validation.row_validator import ColumnCount, RowValidator, ValidatedRows

__all__ = [
    "GROUP_ROWS",
    "ColumnCount",
    "Duplicates",
    "ReadRows",
    "RowValidator",
    "ValidatedRows",
    "find_duplicates",
    "id_cells",
    "in_words",
    "is_hardly_meant",
    "iter_validated",
]
