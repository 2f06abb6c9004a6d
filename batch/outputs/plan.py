"""`plan.csv` and `plan.xlsx`: what would change, one line for every cell, for who has to approve it.

Promises: the same lines in both; nothing in them is executed by a spreadsheet program; the file is complete or absent,
and memory does not grow with it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import polars as pl

from batch.conditions import PlannedChange
from batch.csv_injection import escape_formula
from batch.endpoints.base import MISSING, is_blank
from batch.exact_json import encode_for_people
from batch.files import NewFile
from batch.model import Outcome, RowResult

LINES_AT_ONCE = 5_000
CLEARED: Final = "(cleared)"
"""What pages show as the value of a cell that would be emptied."""


@dataclass(frozen=True, slots=True)
class Line:
    """One cell that would change, as text; `is_clear` when it would be emptied."""

    row: int
    id: str
    name: str
    field: str
    before: str
    after: str
    is_clear: bool = False


@dataclass(frozen=True, slots=True)
class AboutPlan:
    """What `plan.xlsx` says beside its lines."""

    title: str
    facts: Mapping[str, str]
    """What the plan is, by what it is called."""
    headers: Mapping[str, str]
    """The header of each field, where it is not the field's own name."""
    outcomes: Mapping[Outcome, int]
    not_sent: Iterable[tuple[str, RowResult]]
    """The rows of which nothing is sent, each with its id."""


COLUMNS = ("row", "id", "name", "field", "before", "after")


def as_cell(value: Any, clear_token: str = "") -> str:
    """Return a value as the text of a cell; an empty one as `clear_token`."""
    match value:
        case None | "" | []:
            return clear_token
        case str():
            return value
        case list() if all(isinstance(one, str) and ";" not in one for one in value):
            return "; ".join(value)
    return encode_for_people(value)


def iter_lines(changes: Iterable[PlannedChange], clear_token: str) -> Iterator[Line]:
    """Yield one line for every cell that would change."""
    for planned in changes:
        for step in planned.steps:
            was = as_cell(None if step.expected is MISSING else step.expected)
            will = as_cell(step.wanted, clear_token)
            yield Line(planned.row, planned.id, planned.name, step.field, was, will, is_clear=is_blank(step.wanted))


def write_plan(path: Path, lines: Iterable[Line], about: AboutPlan, *, delimiter: str = ",") -> None:
    """Write the lines as the ending of `path` says, a workbook with what is said of them; raises OSError."""
    file = NewFile(path)
    try:
        if path.suffix == ".xlsx":
            from batch.outputs.plan_xlsx import write_workbook  # here, since most runs write no workbook

            write_workbook(file.made, file.parts, lines, about)
        else:
            _write_csv(file.made, lines, delimiter)
        file.keep()
    finally:
        file.discard()


def _write_csv(path: Path, lines: Iterable[Line], delimiter: str) -> None:
    """Write UTF-8 with a mark, without which Excel takes it for another encoding and spoils every umlaut."""
    schema = {name: pl.UInt32 if name == "row" else pl.String for name in COLUMNS}
    texts = [name for name in COLUMNS if name != "row"]
    waiting = iter(lines)
    with path.open("wb") as file:
        file.write(("\ufeff" + delimiter.join(COLUMNS) + "\n").encode())
        while some := [
            (one.row, one.id, one.name, one.field, one.before, one.after) for one in islice(waiting, LINES_AT_ONCE)
        ]:
            frame = pl.DataFrame(some, schema=schema, orient="row")
            safe = frame.with_columns(escape_formula(pl.col(texts).replace("", None)))
            safe.write_csv(file, include_header=False, separator=delimiter)
