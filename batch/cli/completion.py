"""What a shell offers while a command is typed: files, folders and endpoints; commands and options are click's own.

Promises: a command that is completed is never run, whatever it was started as.
"""

import os
from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from batch.model import command

VARIABLE = "_BATCH_COMPLETE"
"""In it a shell asks for the script that it reads, or for what goes on."""
_KINDS = {"FILE": "file", "FOLDER": "dir", "PARENT": "dir", "INPUT": "file"}

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]


def complete(program: click.Group) -> None:
    """Answer a shell that asks, and end; without one, do nothing."""
    if os.environ.get(VARIABLE):
        program.main(prog_name=os.path.basename(command()), complete_var=VARIABLE)


def completer_of(metavar: str | None) -> Completer | None:
    """Return what completes a value that is called `metavar`: the files and folders of the shell."""
    kind = _KINDS.get(metavar or "")
    return None if kind is None else lambda context, parameter, begun: [CompletionItem(begun, type=kind)]


def complete_endpoint(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    """Offer the endpoints."""
    from batch.endpoints import ENDPOINTS  # here, since to import them is slow

    return [CompletionItem(name) for name in ENDPOINTS if name.startswith(begun)]
