"""The list of a plan (`plan.csv`, `plan.xlsx`), read again before the plan is carried out.

Promises: whoever approves may sort the list, add columns, remarks and sheets, and save it with a spreadsheet program; a
line that is no longer what was planned, is gone or is new refuses the plan and is named. The list is compared by its
cells, in any order; it costs 16 bytes of memory a line.
"""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import polars as pl

from batch import sources
from batch.csv_injection import FORMULA
from batch.endpoints.base import Endpoint
from batch.errors import BatchError, InputError
from batch.model import Staged, cell_column, looks_blank, shorten, visible
from batch.outputs.plan import iter_lines
from batch.outputs.tables import sheet_text
from batch.own_files import PLAN_LISTS
from batch.run.cleanup import scratch
from batch.run.plan_file import PlanFile

SHEETS = re.compile(r"Plan( \d+)?")
SHOWN = 12
KEPT = 1_000
"""Lines of each kind that are held against each other, to tell a changed one from one removed and one added."""
ADVICE = (
    "A plan is carried out as it was made or not at all. To leave something out or change it, edit the input and plan "
    "again. (What is added beside the list, such as an approval or remarks, does no harm.)"
)


class Cells(NamedTuple):
    """What counts of a line; the name of the record, and every other column, is free."""

    row: str
    id: str
    field: str
    before: str
    after: str


def lists_of(plan: Path) -> list[Path]:
    """Return the lists beside the plan in the file or folder `plan`."""
    folder = plan.parent if plan.is_file() else plan
    return [folder / name for name in PLAN_LISTS if (folder / name).is_file()]


def check_lists(plan: PlanFile, endpoint: Endpoint, clear_token: str) -> None:
    """Raise InputError unless every list beside the plan still says what the plan says."""

    def planned() -> Iterator[Cells]:
        for line in iter_lines((one.as_shown() for one in plan), clear_token):
            yield Cells(str(line.row), *map(_plain, (line.id, line.field, line.before, line.after)))

    for path in lists_of(plan.path):
        edits = _compare(planned, partial(_iter_list, path, endpoint))
        if edits.count:
            shown = [f"  {one}" for one in edits.shown[:SHOWN]]
            shown += [f"  … and {edits.count - SHOWN:,} more"] if edits.count > SHOWN else []
            head = f"{path}: it does not say what was planned any more, so nothing was sent."
            raise InputError("\n".join([head, *shown, ADVICE]))


# -- reading --------------------------------------------------------------------------------------------------------


def _iter_list(path: Path, endpoint: Endpoint) -> Iterator[Cells]:
    """Yield the lines of a list; raises InputError when it cannot be read as one."""
    try:
        for sheet in _sheets(path):
            with scratch() as folder:
                options = sources.ReadOptions(sheet=sheet, hidden="include")
                staged = sources.stage(sources.open_input(str(path), folder), folder, options)
                yield from _iter_lines(staged, endpoint)
    except BatchError as error:
        raise InputError(
            f"{path}: this list of the plan cannot be held against it, so nothing was sent. {error} {ADVICE}"
        ) from None


def _sheets(path: Path) -> Sequence[str | None]:
    """Name the sheets on which the list stands; None: the first with anything in it."""
    if path.suffix == ".csv":
        return [None]
    from batch.sources.excel.package import open_package
    from batch.sources.excel.workbook import read_workbook

    with open_package(path, path.name) as package:
        names = [sheet.name for sheet in read_workbook(package).sheets]
    return [name for name in names if SHEETS.fullmatch(name)] or [None]


def _iter_lines(staged: Staged, endpoint: Endpoint) -> Iterator[Cells]:
    headers = [header.strip().casefold() for header in staged.headers]
    missing = [name for name in Cells._fields if headers.count(name) != 1]
    if missing:
        raise InputError(f"It needs one column {' and one '.join(missing)}.")
    columns = [cell_column(headers.index(name)) for name in Cells._fields]
    for frame in sources.iter_frames(staged):
        for values in frame.select(pl.col(columns).fill_null("")).iter_rows():
            cells = Cells(*map(_plain, values))
            if _is_line(cells, endpoint):
                yield cells


def _is_line(cells: Cells, endpoint: Endpoint) -> bool:
    """Return whether this is a line of the list, and not an approval or a remark below it."""
    is_numbered = cells.row.isdecimal() and any(cells[1:])
    return is_numbered or (bool(cells.field) and endpoint.field_named(cells.field) is not None)


def _plain(text: str) -> str:
    """Return a cell without what files and spreadsheet programs do to it, whatever the format."""
    if looks_blank(text):
        return ""
    text = sheet_text(text.replace("\r\n", "\n").replace("\r", "\n"))
    if text[0] == "'" and re.match(FORMULA, text):
        text = text.lstrip("'")
    return text.casefold() if text in ("TRUE", "FALSE") else text


# -- comparing ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Edits:
    count: int = 0
    shown: list[str] = field(default_factory=list)


def _compare(planned: Callable[[], Iterable[Cells]], listed: Callable[[], Iterable[Cells]]) -> _Edits:
    """Compare as multisets, by hashes; lines are looked at again only where these differ."""
    wanted, found = array("q", map(hash, planned())), array("q", map(hash, listed()))
    if pl.Series(wanted).sort().equals(pl.Series(found).sort()):
        return _Edits()
    removed, added = Counter(wanted), Counter(found)
    removed, added = removed - added, added - removed
    return _name(_pick(planned(), removed), _pick(listed(), added), max(removed.total(), added.total()))


def _pick(lines: Iterable[Cells], hashes: Counter[int]) -> list[Cells]:
    picked: list[Cells] = []
    for line in lines:
        if hashes[hash(line)] > 0 and len(picked) < KEPT:
            hashes[hash(line)] -= 1
            picked.append(line)
    return picked


def _name(removed: Sequence[Cells], added: Sequence[Cells], count: int) -> _Edits:
    """Name each edit; a line that is gone and one that is new are a changed one where they are about one cell."""
    edits, new = _Edits(), list(added)
    for line in removed:
        other = _same_line(line, new)
        if other is None:
            edits.shown.append(f"removed: {_where(line)}: {_quoted(line.before)} -> {_quoted(line.after)}")
            continue
        new.remove(other)
        changes = [
            f"{name} is {_quoted(now)}, and was {_quoted(was)}"
            for name, was, now in zip(Cells._fields, line, other, strict=True)
            if was != now
        ]
        edits.shown.append(f"changed: {_where(line)}: {'; '.join(changes)}")
    edits.shown += [f"added: {_where(line)}: {_quoted(line.before)} -> {_quoted(line.after)}" for line in new]
    edits.count = max(count, len(edits.shown))
    return edits


def _same_line(line: Cells, others: Iterable[Cells]) -> Cells | None:
    """Find the line that this one has become: of the same cell, else with most else the same."""
    alike = [(sum(map(str.__eq__, line, other)), other) for other in others]
    return max((pair for pair in alike if pair[0] >= 3), default=(0, None), key=lambda pair: pair[0])[1]


def _where(line: Cells) -> str:
    return visible(shorten(f"row {line.row}, id {line.id}, {line.field}", 120))


def _quoted(text: str) -> str:
    return f'"{visible(shorten(text))}"' if text else "(empty)"
