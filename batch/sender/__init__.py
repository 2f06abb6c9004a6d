"""Change -> outcome: attempts, verdicts, and what they mean for the row.

    stop.py       the stop sign: ends a run from wherever the reason is seen
    attempts.py   one call, as often as it takes, under the limits
    writing.py    one change: intent, attempts, proof, outcome
    planning.py   the same, but only written down

Promises: waiting holds neither slot nor token; an intent is on disk before its bytes leave; nothing that one row does
crosses a task group: a reason to stop is a value, and every row still gets its true outcome.
"""

from batch.sender.attempts import Answer, Caller
from batch.sender.planning import Planner
from batch.sender.stop import StopSign
from batch.sender.writing import Parcel, Sender

__all__ = ["Answer", "Caller", "Parcel", "Planner", "Sender", "StopSign"]
