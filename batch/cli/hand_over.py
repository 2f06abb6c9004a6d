"""What others are told at the end of a run: `--metrics-file` for Prometheus, and the command of `--on-finish`.

Promises: a metrics file is whole or as it was; what goes wrong here is said, and changes neither the run nor its exit
code.
"""

import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from batch.errors import ExitCode
from batch.files import os_reason, write_private
from batch.model import Outcome
from batch.summary import Summary

LAST_SUCCESS = "batch_last_success_timestamp_seconds"
SECONDS = 60.0
"""What the command may take."""


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


def run_on_finish(command: str, summary: Summary, say: Callable[[str], None]) -> None:
    """Run a command, without a shell, with the summary as one line of JSON on its standard input."""
    line = json.dumps(summary.as_dict()) + "\n"
    try:
        words = shlex.split(command)
        done = subprocess.run(words, input=line.encode(), timeout=SECONDS, check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - that is what was asked for, without a shell
    except (OSError, ValueError, IndexError) as error:
        said = os_reason(error).lower() if isinstance(error, OSError) else str(error)
        say(f"--on-finish {command}: it cannot be run ({said}).")
    except subprocess.TimeoutExpired:
        say(f"--on-finish {command}: it did not end within {SECONDS:.0f} s.")
    else:
        if done.returncode:
            say(f"--on-finish {command}: it ended with exit code {done.returncode}.")
