"""Rows that talk to the API: read what is there, send what differs, and settle every row's outcome.

Promises: waiting holds neither slot nor token; an intent is on disk before its bytes leave; nothing that one row does
crosses a task group: a reason to stop is a value, and every row still gets its true outcome.
"""
