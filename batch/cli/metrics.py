"""`--metrics-file`: the figures of a run in the text format of Prometheus.

Promises: the file is whole or as it was; what goes wrong is said, and changes neither the run nor its exit code.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path

from batch.errors import ExitCode
from batch.files import os_reason, write_private
from batch.model import Outcome
from batch.summary import Summary

LAST_SUCCESS = "batch_last_success_timestamp_seconds"


def write_metrics(path: Path, summary: Summary, say: Callable[[str], None]) -> None:
    """Write the figures of a run in the text format of Prometheus; the last success is kept while none is newer."""
    labels = f'endpoint="{_escaped(summary.endpoint)}",input="{_escaped(summary.input)}"'
    label = "{" + labels + "}"
    try:
        last = _last_success(path) if path.exists() else None
        last = time.time() if summary.exit_code == ExitCode.OK else last
        lines = [
            f"# HELP {LAST_SUCCESS} When a run last ended with exit code 0.", f"# TYPE {LAST_SUCCESS} gauge",
            *([f"{LAST_SUCCESS}{label} {last:.0f}"] if last is not None else []),
            "# HELP batch_exit_code The exit code of the last run.", "# TYPE batch_exit_code gauge",
            f"batch_exit_code{label} {summary.exit_code}",
            "# HELP batch_rows Rows of the last run by outcome.", "# TYPE batch_rows gauge",
            *(
                f'batch_rows{{{labels},outcome="{outcome.value}"}} {summary.outcomes[outcome]}'
                for outcome in Outcome
            ),
        ]  # fmt: skip
        figures = {
            "batch_requests": ("Requests of the last run, their retries apart.", summary.requests),
            "batch_attempts": ("HTTP exchanges of the last run.", summary.attempts),
            "batch_throttled": ("Of these those that were answered with 429.", summary.throttled),
            "batch_run_seconds": ("What the last run took.", round(summary.seconds, 3)),
        }
        for name, (text, value) in figures.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name}{label} {value}"]
        write_private(path, "\n".join(lines) + "\n")
        path.chmod(0o644)  # what collects it is another user
    except OSError as error:
        say(f"--metrics-file {path}: it cannot be written ({os_reason(error).lower()}).")


def _last_success(path: Path) -> float | None:
    found = re.search(rf"^{LAST_SUCCESS}\{{.*\}} ([0-9.]+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return float(found[1]) if found else None


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
