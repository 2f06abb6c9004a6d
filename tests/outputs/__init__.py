"""What the tests of output files share."""

ADDED = ("batch_row", "batch_outcome", "batch_field", "batch_message", "batch_run", "batch_seen")
"""The columns that a failures file has beside those of its input."""
