"""Change thousands of customer records from a spreadsheet, and know what happened to every row."""

__version__ = "0.1.0"
