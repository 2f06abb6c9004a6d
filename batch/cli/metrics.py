"""`--metrics-file`: the figures of a run in the text format of Prometheus.

Promises: the file is whole or as it was; what goes wrong is said, and changes neither the run nor its exit code.
"""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from batch.errors import ExitCode
from batch.files import os_reason, write_private
from batch.model import Outcome
from batch.summary import Summary

LAST_SUCCESS = "batch_last_success_timestamp_seconds"


def write_metrics(path: Path, summary: Summary, say: Callable[[str], None]) -> None:
    """Write the figures of a run in the text format of Prometheus; the last success is kept while none is newer.

    Of a start that could not begin only the exit code is known.
    """
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        labels = _labels(summary, before)
        label = "{" + labels + "}"
        last = time.time() if summary.exit_code == ExitCode.OK else _last_success(before)
        lines = [
            f"# HELP {LAST_SUCCESS} When a run last ended with exit code 0.", f"# TYPE {LAST_SUCCESS} gauge",
            *([f"{LAST_SUCCESS}{label} {last:.0f}"] if last is not None else []),
            "# HELP batch_exit_code The exit code of the last start.", "# TYPE batch_exit_code gauge",
            f"batch_exit_code{label} {summary.exit_code}",
        ]  # fmt: skip
        lines += _figures(summary, labels) if summary.run else ()
        write_private(path, "\n".join(lines) + "\n")
        path.chmod(0o644)  # what collects it is another user
    except (OSError, ValueError) as error:
        reason = os_reason(error).lower() if isinstance(error, OSError) else "what is there is no text"
        say(f"--metrics-file {path}: it cannot be written ({reason}).")


def _figures(summary: Summary, labels: str) -> Iterator[str]:
    yield from ("# HELP batch_rows Rows of the last run by outcome.", "# TYPE batch_rows gauge")
    yield from (f'batch_rows{{{labels},outcome="{outcome.value}"}} {summary.outcomes[outcome]}' for outcome in Outcome)
    figures = {
        "batch_requests": ("Requests of the last run, their retries apart.", summary.requests),
        "batch_attempts": ("HTTP exchanges of the last run.", summary.attempts),
        "batch_throttled": ("Of these those that were answered with 429.", summary.throttled),
        "batch_run_seconds": ("What the last run took.", round(summary.seconds, 3)),
    }
    for name, (text, value) in figures.items():
        yield from (f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name}{{{labels}}} {value}")


def _labels(summary: Summary, before: str) -> str:
    """Return the labels of all figures: those of `before` where a start does not know its own."""
    found = re.search(r"^batch_exit_code\{(.*)\} \d+$", before, re.MULTILINE)
    if found and not (summary.endpoint and summary.input):
        return found[1]
    return f'endpoint="{_escaped(summary.endpoint)}",input="{_escaped(summary.input)}"'


def _last_success(before: str) -> float | None:
    found = re.search(rf"^{LAST_SUCCESS}\{{.*\}} ([0-9.]+)$", before, re.MULTILINE)
    return float(found[1]) if found else None


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
