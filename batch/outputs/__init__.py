"""Row results -> files: one line for every row, and the failures file, which is the next input as it is.

`results` drives the `failures_*` writers (one a format); `plan`, `template` and `tables` (what `pull` writes) are files
of their own; `cell_text` writes a record's values as cells.

Promises that each file is complete or absent (written beside, synced, renamed), readable by this user only, in the
order of the input, joined by row number and never by order; and that memory does not grow with the rows.
"""

from batch.outputs.failures import ADDED_COLUMNS, FailuresWriter, field_text, message_text
from batch.outputs.results import AboutRun, KnownFiles, ReadResults, Wanted, Written, is_edited, write

__all__ = [
    "ADDED_COLUMNS", "AboutRun", "FailuresWriter", "KnownFiles", "ReadResults", "Wanted", "Written", "field_text",
    "is_edited", "message_text", "write",
]  # fmt: skip
