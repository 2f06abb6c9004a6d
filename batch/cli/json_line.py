"""The one line of `--json`: what a command found, or why it could not.

Promises: where it is wanted, exactly one line of JSON is on standard output, whatever the exit code; all of them begin
alike (`batch.summary.Head`), also where nothing could be begun.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import click

from batch.errors import ExitCode
from batch.machine import now_text
from batch.settings import Settings

TRUE = ("1", "true", "t", "yes", "y", "on")


class JsonLine:
    """Prints it, once."""

    def __init__(self, words: Sequence[str]) -> None:
        """See in the words of the command whether it is wanted: they may make no sense later."""
        self.is_wanted = "--json" in words or os.environ.get("BATCH_JSON", "").strip().lower() in TRUE
        self.tells_events = _value_of("--log-format", words) == "json" or os.environ.get("BATCH_LOG_FORMAT") == "json"
        """What happens is told as events, also why nothing could be begun."""
        self._settings: Settings | None = None
        self._started = now_text()
        self._is_printed = False

    def learn(self, settings: Settings) -> None:
        """Take what the settings say of it, and of the job."""
        self.is_wanted |= settings.json_output
        self.tells_events |= settings.log_format == "json"
        self._settings = settings

    def show(self, values: Any) -> None:
        """Print what a command found."""
        self._is_printed = True
        click.echo(spell(values))

    def fail(self, command: str, code: ExitCode, reason: str, message: str) -> None:
        """Print why a command could not, unless it is not wanted, or something was printed before."""
        if not self.is_wanted or self._is_printed:
            return
        from batch.summary import Stopped, Summary  # here, since most commands do not fail

        known = self._settings or Settings()
        document = Summary(
            command=command, endpoint=known.endpoint, input=known.input, company=known.as_login or known.company,
            sandbox=known.sandbox, started=self._started, finished=now_text(), exit_code=int(code),
            stopped=Stopped(reason, message, code.hint),
        )  # fmt: skip
        self.show(document.as_dict() | {"rows": None})


def _value_of(option: str, words: Sequence[str]) -> str:
    """Return the value of an option among words that may make no sense; "" where it has none."""
    pairs = [*pairwise(words), *(tuple(one.split("=", 1)) for one in words if "=" in one)]
    return next((value for name, value in pairs if name == option), "")


def spell(values: Mapping[str, Any]) -> str:
    """Spell JSON in a line, with the letters that standard output has; all others as JSON escapes them."""
    text = json.dumps(values, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return json.dumps(values)
    return text
