"""The one line of `--json`: what a command found, or why it could not.

Promises: where it is wanted, exactly one line of JSON is on standard output, whatever the exit code; all of them begin
alike (`batch.summary.Head`), also where nothing could be begun.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batch.errors import BatchError, ExitCode
from batch.machine import now_text
from batch.settings import INPUT, Settings

if TYPE_CHECKING:
    from batch.cli.console import Console
    from batch.summary import Summary


class JsonLine:
    """Prints it, once."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        """The settings of the job, once they are known."""
        self.is_told = False
        """Others were told how this start ended."""
        self.console: Console | None = None
        """Whoever is told of the run, once there is one."""
        self._started = now_text()
        self._is_printed = False

    def show(self, values: Any) -> None:
        """Print what a command found, unless something was printed before."""
        if not self._is_printed:
            self._is_printed = True
            click.echo(spell(values))

    def failure(
        self, command: str, known: Settings, code: ExitCode, reason: str, message: str, *, has_time: bool = True
    ) -> "Summary":
        """Return the document of a command that ended with an error; `known`: what is known of the job.

        Where the run had begun to send it is that of the run; without time its rows are not counted.
        """
        from batch.summary import Stopped, Summary  # here, since most commands do not fail

        found = Summary(
            command=command, endpoint=known.endpoint, input=known.input if command in INPUT else "",
            company=known.as_login or known.company, sandbox=known.sandbox, started=self._started,
            finished=now_text(), exit_code=int(code), stopped=Stopped(reason, message, code.hint),
        )  # fmt: skip
        folder = self.console.run if self.console is not None else None
        return _of_run(found, folder, is_counted=has_time) if folder is not None else found


def _of_run(summary: "Summary", folder: Path, *, is_counted: bool) -> "Summary":
    """Return the summary with what the run in `folder` says of itself, by its record and its own summary."""
    from batch.commands.status import status
    from batch.run.summary_file import read_summary

    summary = replace(summary, run=str(folder.resolve()), state="unfinished", is_exact=False)
    written = read_summary(folder)
    if not written:
        return summary
    heads = ("run_id", "resumed", "endpoint", "host", "input", "company", "sandbox", "shard", "parent_run", "started")
    summary = replace(summary, **{name: written[name] for name in heads if written.get(name) is not None})
    if not is_counted:
        return summary
    if written["state"] != "running":  # its last part came to an end
        made = ("requests", "attempts", "throttled", "is_exact", "seconds")
        summary = replace(summary, **{name: written[name] for name in made})
    with suppress(BatchError, OSError):
        found = status(folder)
        return replace(summary, rows=found.rows, outcomes=found.outcomes, files=found.files)
    return summary


def spell(values: Mapping[str, Any]) -> str:
    """Spell JSON in a line, with the letters that standard output has; all others as JSON escapes them."""
    text = json.dumps(values, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return json.dumps(values)
    return text
