"""`schema`: the JSON Schemas of the documents that pipelines read."""

from types import MappingProxyType
from typing import Any, Final

from batch.commands.plan import PlanSummary
from batch.commands.pull import PullSummary
from batch.commands.status import Status
from batch.documents import json_schema
from batch.errors import UsageError
from batch.events import Event
from batch.outputs.results import ResultLine
from batch.summary import Summary

DOCUMENTS: Final = MappingProxyType({
    "summary": (Summary, "What a run came to: --json of update, undo, resume, results and check, and summary.json"),
    "plan": (PlanSummary, "What a plan comes to: --json of plan"),
    "pull": (PullSummary, "What was pulled: --json of pull"),
    "status": (Status, "How far a run is: --json of status"),
    "log": (Event, "One event: a line of --log-format json"),
    "results": (ResultLine, "What became of a row: a line of results.parquet; results.csv has all but the code"),
})  # fmt: skip


def schema(document: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a document; raises UsageError where there is none of this name."""
    if document not in DOCUMENTS:
        raise UsageError(f"{document}: there is no schema of this name. There are: {', '.join(DOCUMENTS)}")
    return json_schema(*DOCUMENTS[document])
