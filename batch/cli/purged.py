"""`purge`: what it asks and says. Without a terminal to ask on it wants --yes: what is removed is gone."""

import sys
from dataclasses import dataclass

import click

from batch.cli.messages import plural, shown_path
from batch.commands.purge import PurgePreview
from batch.errors import UsageError
from batch.model import visible


@dataclass(frozen=True, slots=True)
class Question:
    """Asks before a run is removed."""

    is_answered: bool

    def __call__(self, preview: PurgePreview) -> bool:
        """Say what will be removed and ask; raises UsageError where there is nobody to ask."""
        if self.is_answered:
            return True
        if not (sys.stderr.isatty() and sys.stdin.isatty()):
            raise UsageError("There is no terminal to ask on, so nothing was removed. To remove it unasked: --yes")
        for line in _lines(preview):
            click.echo(line, err=True)
        return click.confirm("Remove it?", default=False, err=True)


def _lines(preview: PurgePreview) -> list[str]:
    what = f" of {visible(preview.input)}, {plural(preview.rows, 'row')}" if preview.input and preview.rows else ""
    lines = [f"{shown_path(str(preview.folder))}: a run{what} ({plural(preview.files, 'file')})"]
    if preview.left:
        lines.append(f"  {plural(preview.left, 'row')} of it are still to be sent or sent again.")
    return [*lines, "  Records at the API stay as they are; the run cannot be undone or gone on with after that."]


def said(preview: PurgePreview | None) -> str:
    """Say what came of it."""
    if preview is None:
        return "Nothing was removed."
    return f"Removed {shown_path(str(preview.folder))} ({plural(preview.files, 'file')})."
