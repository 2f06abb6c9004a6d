"""What an input is called on a command: a path, a pattern, several paths as one text, or what can be read only once.

    customers.csv              a file or a folder
    exports/*.csv              a pattern
    {a.csv,b.csv}              several of these, as shells spell them; a backslash stands before a comma in a name
    -  /dev/stdin  /dev/fd/63  what is read once: standard input, and what a shell makes of `<(command)`

Promises: it means the same for everybody who asks where runs go, what a link is called, and what can be read again.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from batch.addresses import is_address, name_of
from batch.errors import InputError

STDIN = "-"
_READ_ONCE = re.compile(r"-|/dev/stdin|/dev/fd/\d+|/proc/self/fd/\d+")
_SPECIAL = re.compile(r"[,{}\\]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PART = re.compile(r"(?:[^,\\]|\\.)+", re.DOTALL)


def is_read_once(argument: str) -> bool:
    """Return whether it is a stream of this process, which no other command can read again."""
    return _READ_ONCE.fullmatch(argument) is not None


def is_pattern(argument: str) -> bool:
    """Return whether it may match several files; a file that is called like that is that file."""
    return any(mark in argument for mark in "*?[") and not os.path.lexists(argument)


def joined(paths: Sequence[str]) -> str:
    """Spell several paths as one text; one path is itself. Raises InputError where one of several is an address."""
    if len(paths) == 1:
        return paths[0]
    if any(map(is_address, paths)):
        raise InputError("Several addresses are no input: name the folder that they are in, or a pattern.")
    escaped = (_SPECIAL.sub(r"\\\g<0>", one) for one in paths)
    return "{" + ",".join(escaped) + "}"


def split(argument: str) -> list[str]:
    """Return the paths of a text; a file that is called like several is that file."""
    is_several = len(argument) > 2 and argument[0] == "{" and argument[-1] == "}" and not os.path.lexists(argument)
    return [_ESCAPED.sub(r"\1", one) for one in _PART.findall(argument[1:-1])] if is_several else [argument]


def short_name(argument: str) -> str:
    """Return what people call it: the last part of a path, and how many there are beside it."""
    first, *others = split(argument)
    name = "standard input" if is_read_once(first) else name_of(first)
    return f"{name} and {len(others)} more" if others else name


def file_stem(argument: str) -> str:
    """Return what the names of files and folders that belong to it begin with."""
    first, *others = split(argument)
    path = name_of(first) if is_address(first) else Path(first).absolute().name
    return f"{'stdin' if is_read_once(first) else path}{f'+{len(others)}' if others else ''}"
