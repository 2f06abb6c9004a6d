"""What happened, on disk (sqlite3): the run's record, written as it happens.

    writing.py   the journal while a run goes on: one writer, group commit
    reading.py   what it tells: fates, intents, counts
    file.py      the file: opened safely, checked before it is believed, looked into

Promises: an intent is on disk before its bytes leave, an outcome before it is counted. One writer, group commit (all
that waits goes into one transaction), WAL with `synchronous=FULL`, both pragmas read back. A journal is there complete
or not at all; one that is damaged, or that has lost its newest part, is refused instead of believed. Everything else —
results, failures, summary — can be made again from it. No credential is ever in it.
"""

from batch.journal.file import OPEN, START_OVER, peek
from batch.journal.writing import VERSION, Journal

__all__ = ["OPEN", "START_OVER", "VERSION", "Journal", "peek"]
