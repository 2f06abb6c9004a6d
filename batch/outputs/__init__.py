"""Fates -> results and failures files: one line for every row, and the next input.

Promises that each file is complete or absent (written beside, synced, renamed), readable by this user only, in the
order of the input, joined by row number and never by order; and that memory does not grow with the rows.
"""

from batch.outputs.failures import OUR_COLUMNS, FailuresWriter, field_text, message_text
from batch.outputs.results import FATES, Wanted, Written, write

__all__ = ["FATES", "OUR_COLUMNS", "FailuresWriter", "Wanted", "Written", "field_text", "message_text", "write"]
