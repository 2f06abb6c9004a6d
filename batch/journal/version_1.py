"""Journals of 0.1: their tables, and views that give them the names and meaning of today's.

Promises: what was written is read as it was meant. No run of 0.1 is gone on with; results of its rows in doubt may be
added.
"""

SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE intent(
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, key TEXT, attempts INTEGER NOT NULL,
    fields TEXT NOT NULL, before TEXT, body TEXT NOT NULL, name TEXT NOT NULL, wholes TEXT NOT NULL
);
CREATE TABLE earlier(
    place INTEGER PRIMARY KEY, number INTEGER NOT NULL, id TEXT NOT NULL, key TEXT, attempts INTEGER NOT NULL,
    fields TEXT NOT NULL, before TEXT, body TEXT NOT NULL, name TEXT NOT NULL, wholes TEXT NOT NULL
);
CREATE INDEX earlier_number ON earlier(number);
CREATE TABLE fate(
    row INTEGER PRIMARY KEY, number INTEGER NOT NULL, id TEXT NOT NULL, outcome TEXT NOT NULL, status INTEGER,
    attempts INTEGER NOT NULL, problems TEXT
);
CREATE TABLE tally(name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
"""

VIEWS = """
CREATE TEMP VIEW intent AS
    SELECT place, number AS change, place AS number, 1 AS part, attempts, id, key, fields, before, body, name,
        wholes AS replaced_whole, NULL AS read
    FROM main.earlier
    UNION ALL
    SELECT (1 << 30) + number, number, 1 << 30, 1, attempts, id, key, fields, before, body, name, wholes, NULL
    FROM main.intent;
CREATE TEMP VIEW result AS
    SELECT row, number AS change, id, outcome, 'final' AS state, status,
        attempts + coalesce((SELECT sum(attempts) FROM main.earlier WHERE earlier.number = fate.row), 0) AS attempts,
        0.0 AS time, NULL AS shown, problems
    FROM main.fate;
CREATE TEMP TRIGGER result_is_added INSTEAD OF INSERT ON result BEGIN
    INSERT OR REPLACE INTO fate VALUES (
        new.row, new.change, new.id, new.outcome, new.status,
        new.attempts - coalesce((SELECT sum(attempts) FROM earlier WHERE earlier.number = new.row), 0), new.problems
    );
END;
CREATE TEMP VIEW part AS
    SELECT 1 AS number, 0.0 AS started, NULL AS ended, 1 AS is_orderly,
        coalesce((SELECT count FROM main.tally WHERE name = 'requests'), 0) AS requests,
        coalesce((SELECT count FROM main.tally WHERE name = 'attempts'), 0) AS attempts,
        coalesce((SELECT count FROM main.tally WHERE name = 'throttled'), 0) AS throttled, 0 AS reserved;
CREATE TEMP TABLE second(at INTEGER PRIMARY KEY, attempts INTEGER NOT NULL, throttled INTEGER NOT NULL);
CREATE TEMP TABLE hidden(digest TEXT PRIMARY KEY, shown TEXT NOT NULL);
CREATE TEMP TABLE file(name TEXT PRIMARY KEY, digest TEXT NOT NULL);
"""
"""To be created in each connection. An intent of `earlier` was sent before the one of `intent`; attempts of a result
counted from the last body that was sent."""
