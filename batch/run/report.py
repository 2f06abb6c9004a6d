"""The report of a run, made from its record: at its end, and again whenever it is asked for.

Promises: it says what the summary says; what cannot be told of an older run is left out.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from batch.endpoints.base import Endpoint
from batch.errors import JournalError
from batch.journal import AttemptsOverTime, JournalQueries
from batch.model import Outcome, with_header
from batch.outputs.report import Pause, Rate, Report, Round, write_report
from batch.own_files import REPORT
from batch.run.metadata import RunMetadata
from batch.run.target import SANDBOXES
from batch.summary import Reason

PIECES: Final = 120
PAUSES: Final = 3
SHOWN_FILES: Final = {
    "results": "every row", "results_xlsx": "every row, as a workbook", "failures": "rows that need something",
    "failures_xlsx": "rows that need something, as a workbook",
}  # fmt: skip


def write_report_of_run(
    folder: Path, journal: JournalQueries, metadata: RunMetadata, endpoint: type[Endpoint] | None, *,
    facts: Mapping[str, str], outcomes: Mapping[Outcome, int], reasons: Sequence[Reason], spent: Mapping[str, Any],
    files: Mapping[str, str], rounds: Sequence[Round] = (),
) -> str:  # fmt: skip
    """Write the report of the run in `folder`, and return its name; raises OSError.

    `spent` has the summary's requests, attempts, throttled and seconds; `files` their paths, by what they are.
    """
    fields: dict[str, tuple[int, int]] = {}
    with suppress(JournalError):  # values that SQLite's JSON does not take, of an API that keeps half of a character
        fields = journal.changed_fields()
    over_time = journal.attempts_over_time(PIECES, metadata.asked)
    began = over_time.began if over_time else 0.0
    gaps = journal.longest_gaps(PAUSES, metadata.asked)
    report = Report(
        title=metadata.title,
        facts=facts,
        outcomes=outcomes,
        reasons=[one for one in reasons if one.outcome is not Outcome.UNCHANGED],
        fields={with_header(field, metadata.headers.get(field, "")): counts for field, counts in fields.items()},
        rate=_rate(over_time),
        limit=_limit(metadata, endpoint),
        pauses=[Pause(max(0.0, since - began), seconds) for since, seconds in gaps],
        rounds=rounds,
        files={SHOWN_FILES[what]: Path(path).name for what, path in files.items() if what in SHOWN_FILES},
        **spent,
    )
    write_report(folder / REPORT, report)
    return REPORT


def _rate(over_time: AttemptsOverTime | None) -> Rate | None:
    if over_time is None:
        return None
    per_second = [one / over_time.seconds for one in over_time.attempts]
    return Rate(over_time.began, over_time.seconds, per_second, over_time.throttled, over_time.asked)


def _limit(metadata: RunMetadata, endpoint: type[Endpoint] | None) -> float | None:
    """Return how many attempts a second the API permits, where somebody says so."""
    given = metadata.option_again("--max-per-second")
    if given is not None:
        with suppress(ValueError):
            return float(given)
    if endpoint is None or metadata.host in SANDBOXES or metadata.base_url.rstrip("/") != endpoint.base_url:
        return None
    buckets = (endpoint.limits.per_route, endpoint.limits.total)
    return min((one.per_second for one in buckets if one is not None), default=None)
