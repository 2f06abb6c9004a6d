"""What happened, on disk (sqlite3): the record of a run, written as it happens.

    journal.py    `Journal`: the journal while a run goes on, with one writer and group commit
    queries.py    `JournalQueries`: what it answers about results, intents and counts
    database.py   the SQLite file: opened safely, and checked before it is believed
    version_1.py  journals of 0.1, with today's names

Promises: an intent is on disk before its bytes leave, an outcome before it is counted. One writer, group commit (all
that waits goes into one transaction), WAL with `synchronous=FULL`, both pragmas read back. A journal is there complete
or not at all; one that is damaged, or that has lost its newest part, is refused instead of believed. Everything else —
results, failures, summary — can be made again from it. No credential is ever in it.
"""

from batch.journal.database import OPEN, START_OVER, OutOfTimeError, Peek, copy_from, peek
from batch.journal.journal import VERSION, Journal, open_for_reading
from batch.journal.queries import AttemptsOverTime, JournalQueries

__all__ = [
    "OPEN",
    "START_OVER",
    "VERSION",
    "AttemptsOverTime",
    "Journal",
    "JournalQueries",
    "OutOfTimeError",
    "Peek",
    "copy_from",
    "open_for_reading",
    "peek",
]
