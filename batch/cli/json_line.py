"""The one line of `--json`: what a command found, or why it could not.

Promises: where it is wanted, exactly one line of JSON is on standard output, whatever the exit code; all of them begin
alike (`batch.summary.Head`), also where nothing could be begun.
"""

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from batch.errors import ExitCode
from batch.machine import now_text
from batch.settings import INPUT, Settings

if TYPE_CHECKING:
    from batch.summary import Summary


class JsonLine:
    """Prints it, once."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        """The settings of the job, once they are known."""
        self.is_told = False
        """Others were told how this start ended."""
        self._started = now_text()
        self._is_printed = False

    def show(self, values: Any) -> None:
        """Print what a command found, unless something was printed before."""
        if not self._is_printed:
            self._is_printed = True
            click.echo(spell(values))

    def failure(self, command: str, known: Settings, code: ExitCode, reason: str, message: str) -> "Summary":
        """Return the document of a command that ended with an error; `known`: what is known of the job."""
        from batch.summary import Stopped, Summary  # here, since most commands do not fail

        return Summary(
            command=command, endpoint=known.endpoint, input=known.input if command in INPUT else "",
            company=known.as_login or known.company, sandbox=known.sandbox, started=self._started,
            finished=now_text(), exit_code=int(code), stopped=Stopped(reason, message, code.hint),
        )  # fmt: skip


def spell(values: Mapping[str, Any]) -> str:
    """Spell JSON in a line, with the letters that standard output has; all others as JSON escapes them."""
    text = json.dumps(values, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return json.dumps(values)
    return text
