"""XLSX -> rows of exact text in `input.parquet`, with a reason beside every cell that cannot be trusted.

Promises: nothing is inferred, rounded or blanked; row numbers are the spreadsheet's own; what is hidden, merged,
calculated or left out is told or refused; memory does not grow with the sheet (the shared texts aside), and a file made
to exhaust it is refused before it does.

In order: `package` opens the archive, `workbook` selects the sheet, `layout` reads what stands around its rows, `scan`
parses its cells, `values` turns them into text, and `table` finds the header and turns the cells into rows. README.md
says why this is not left to a library.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import polars as pl

from batch.errors import InputError
from batch.model import COMMENTS, SheetStyle, Staged, original_column
from batch.own_files import INPUT
from batch.sources.excel.comments import Comment, read_comments
from batch.sources.excel.layout import LAST_ROW, MAX_MERGED, Layout, parse_sheet_layout, read_sheet_layout
from batch.sources.excel.markup import MarkupError, NeedsXmlParser
from batch.sources.excel.package import MAX_STRINGS, Package, open_package
from batch.sources.excel.scan import iter_cells
from batch.sources.excel.shared_strings import read_texts
from batch.sources.excel.table import (
    Header,
    Table,
    find_header,
    hidden_columns_note,
    hidden_rows_note,
    iter_column_notes,
    listed,
    totals_note,
)
from batch.sources.excel.values import Values
from batch.sources.excel.workbook import SelectedSheet, Sheet, Workbook, read_workbook, select_sheet
from batch.sources.header_row import LOOK_AHEAD, find_header_row, skipped_note
from batch.sources.input import Input
from batch.sources.options import ReadOptions
from batch.sources.staging import Rows, staged_schema, write_frames

MAX_WITH_LOOKS = 20 << 20
"""Bytes of a workbook up to which it is kept what its cells look like."""
MAX_COLUMNS = 4_096
"""Columns of a table. Excel can have 16,384, but only a stray cell is ever so far out."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A workbook that is ready to be read: its sheet is selected and its shared strings are in memory."""

    package: Package
    workbook: Workbook
    selected: SelectedSheet
    layout: Layout
    texts: pl.Series
    comments: Mapping[tuple[int, int], Comment]

    @property
    def where(self) -> str:
        """The name of the sheet in messages."""
        return f'{self.package.name}, sheet "{self.selected.sheet.name}"'


@dataclass(frozen=True, slots=True)
class _Read:
    """The result of reading the sheet once."""

    path: Path
    table: Table
    values: Values
    rows: Rows


def stage(input: Input, folder: Path, options: ReadOptions) -> Staged:
    """Read a workbook once into `folder/input.parquet`; raise `InputError` when it is no table that can be trusted."""
    path = input.files[0].content
    with open_package(path, input.name) as package:
        try:
            opened = _open(package, options.sheet, with_looks=path.stat().st_size <= MAX_WITH_LOOKS)
            read = _read_as_needed(opened, folder, options)
            _check(opened, read, options)
        except MarkupError as error:
            (folder / INPUT).unlink(missing_ok=True)
            raise package.damaged() from error
        except InputError:
            (folder / INPUT).unlink(missing_ok=True)
            raise
    return _staged(input, opened, read, options)


def find_sheet(input: Input, options: ReadOptions) -> tuple[str, str] | None:
    """Return the first sheet's name and that of another one, where the first does not fit and just the other does.

    A sheet fits whose header names the id and a field; where none does, one with a number of the sender's own, by which
    records can be found, and a field. Where the user named one, there is nothing to be found.
    """
    if options.sheet is not None or options.header_row is not None or options.totals is None:
        return None
    with open_package(input.files[0].content, input.name) as package:
        try:
            workbook = read_workbook(package)
            selected = select_sheet(package, workbook, None)
            if not selected.others:
                return None
            texts = _shared_texts(package, workbook)
            first = _headers(package, workbook, selected.sheet, texts, options)
            if _fits(first, options.totals.is_id, options):
                return None
            others = [(one.name, _headers(package, workbook, one, texts, options)) for one in selected.others]
        except MarkupError as error:
            raise package.damaged() from error
    for names_record in (options.totals.is_id, options.is_own_number):
        found = [name for name, headers in others if _fits(headers, names_record, options)]
        if found or _fits(first, names_record, options):
            break
    is_offered = len(found) == 1 and not _fits(first, names_record, options)
    return (selected.sheet.name, found[0]) if is_offered else None


def find_hidden_rows(input: Input, options: ReadOptions) -> str:
    """Say which rows below the header are hidden and have a value, "" where none is; raises InputError."""
    with open_package(input.files[0].content, input.name) as package:
        try:
            workbook = read_workbook(package)
            sheet = select_sheet(package, workbook, options.sheet).sheet
            texts = _shared_texts(package, workbook)
            try:
                rows = _hidden_rows(package, workbook, sheet, read_sheet_layout(package, sheet), texts, options)
            except NeedsXmlParser:
                rows = _hidden_rows(package, workbook, sheet, parse_sheet_layout(package, sheet), texts, options)
        except MarkupError as error:
            raise package.damaged() from error
    return _hidden_text(f'{package.name}, sheet "{sheet.name}"', rows) if rows else ""


def _hidden_rows(
    package: Package, workbook: Workbook, sheet: Sheet, layout: Layout, texts: pl.Series, options: ReadOptions
) -> list[int]:
    first = _head(package, workbook, sheet, layout, texts)
    by_row = first.group_by("row", maintain_order=True).agg("text").head(LOOK_AHEAD)
    header = options.header_row or find_header_row(by_row.iter_rows(), options.is_known)
    values = Values(workbook, texts)
    some = (cells for cells in iter_cells(package, sheet, layout, only_hidden=True) if cells["is_hidden"].any())
    hidden = (values.read(cells).filter(pl.col("is_hidden") & (pl.col("row") > header)) for cells in some)
    return list(dict.fromkeys(row for cells in hidden for row in cells["row"]))


def sheet_names(input: Input) -> tuple[str, ...]:
    """Name the sheets that could be read, in their order; raises InputError."""
    with open_package(input.files[0].content, input.name) as package:
        try:
            workbook = read_workbook(package)
            selected = select_sheet(package, workbook, None)
        except MarkupError as error:
            raise package.damaged() from error
    names = {selected.sheet.name, *(one.name for one in selected.others)}
    return tuple(one.name for one in workbook.sheets if one.name in names)


def _headers(
    package: Package, workbook: Workbook, sheet: Sheet, texts: pl.Series, options: ReadOptions
) -> Sequence[str]:  # fmt: skip
    """Return the texts of a sheet's header row."""
    try:
        first = _head(package, workbook, sheet, read_sheet_layout(package, sheet), texts)
    except NeedsXmlParser:
        first = _head(package, workbook, sheet, parse_sheet_layout(package, sheet), texts)
    by_row = first.group_by("row", maintain_order=True).agg("text").head(LOOK_AHEAD)
    rows: dict[int, Sequence[str]] = dict(by_row.iter_rows())
    return rows[find_header_row(rows.items(), options.is_known)]


def _fits(headers: Sequence[str], names_record: Callable[[str], bool], options: ReadOptions) -> bool:
    """Whether a header row says which records its rows are about, and something of them."""
    ids = [one for one in headers if names_record(one)]
    return bool(ids) and sum(map(options.is_known, headers)) > len(ids)


def _head(package: Package, workbook: Workbook, sheet: Sheet, layout: Layout, texts: pl.Series) -> pl.DataFrame:
    values = Values(workbook, texts)
    frames = (values.read(cells) for cells in iter_cells(package, sheet, layout))
    return _pull_header(frames, f'{package.name}, sheet "{sheet.name}"', 0)


def _shared_texts(package: Package, workbook: Workbook) -> pl.Series:
    strings = workbook.strings
    if not strings:
        return pl.Series(dtype=pl.String)
    return read_texts(lambda: package.iter_bytes(strings, size=4 << 20, limit=MAX_STRINGS))


def _open(package: Package, sheet: str | None, *, with_looks: bool) -> _Opened:
    workbook = read_workbook(package, with_looks=with_looks)
    selected = select_sheet(package, workbook, sheet)
    layout = read_sheet_layout(package, selected.sheet)
    comments = read_comments(package, selected.sheet) if with_looks else {}
    opened = _Opened(package, workbook, selected, layout, _shared_texts(package, workbook), comments)
    _check_layout(opened)
    return opened


def _check_layout(opened: _Opened) -> None:
    if opened.layout.last_row > LAST_ROW:
        raise InputError(
            f"{opened.where}: it says that it has {opened.layout.last_row:,} rows, and no sheet has more than "
            f"{LAST_ROW:,}. The file is damaged, or made to do harm; nothing of it was read."
        )
    if opened.layout.merged_count > MAX_MERGED:
        raise InputError(
            f"{opened.where}: it has {opened.layout.merged_count:,} merged cells. Unmerge them (select all, then "
            "Home > Merge & Center > Unmerge Cells), fill in what is meant, save the file, and run again."
        )


def _read_as_needed(opened: _Opened, folder: Path, options: ReadOptions) -> _Read:
    """Read the sheet; a second time with the XML parser, or with more columns, when the first time shows the need."""
    try:
        read = _read(opened, folder, options, None)
    except NeedsXmlParser:
        opened = replace(opened, layout=parse_sheet_layout(opened.package, opened.selected.sheet))
        _check_layout(opened)
        read = _read(opened, folder, options, None)
    header = read.table.header
    if (read.table.left, read.table.right) == (header.left, header.right):
        return read
    wider = header.widened(read.table.left, read.table.right)
    if len(wider.texts) > MAX_COLUMNS:
        raise InputError(
            f"{opened.where}: cell {read.table.stray} has a value, far outside of the table. Empty it, or move it to "
            "another sheet, save the file, and run again."
        )
    return _read(opened, folder, options, wider)


def _read(opened: _Opened, folder: Path, options: ReadOptions, header: Header | None) -> _Read:
    values = Values(opened.workbook, opened.texts)
    frames = (values.read(cells) for cells in iter_cells(opened.package, opened.selected.sheet, opened.layout))
    first = _pull_header(frames, opened.where, options.header_row or 0)
    header = header or find_header(first, opened.layout.merged, opened.where, options)
    table = Table(header, opened.layout.merged, skips_hidden=options.hidden == "skip", comments=opened.comments)
    width = len(header.texts)
    totals = options.totals.among(header.texts) if options.totals else None
    rows = Rows(width, header.row + 1, options.limit, totals)
    added = [*map(original_column, range(width)), *([COMMENTS] if opened.comments else [])]
    schema = staged_schema(width, dict.fromkeys(added, pl.String()))
    tidy = rows.iter_tidy(table.iter_rows(chain([first], frames)))
    return _Read(write_frames(tidy, schema, folder), table, values, rows)


def _pull_header(frames: Iterator[pl.DataFrame], where: str, header_row: int) -> pl.DataFrame:
    """Pull frames until they hold the rows among which the header is looked for, and row `header_row`."""
    pulled: list[pl.DataFrame] = []
    for frame in frames:
        pulled.append(frame)
        is_beyond = len(frame) and int(frame["row"][-1]) > header_row
        if is_beyond and sum(one["row"].n_unique() for one in pulled) > LOOK_AHEAD:
            break
    cells = pl.concat(pulled) if pulled else pl.DataFrame()
    if not len(cells):
        raise InputError(f"{where}: there is nothing in this sheet.")
    return cells


def _check(opened: _Opened, read: _Read, options: ReadOptions) -> None:
    hidden = read.table.hidden_rows
    if hidden and options.hidden is None:
        raise InputError(
            f"{_hidden_text(opened.where, hidden)} "
            "Say what is to become of them: --hidden include reads them too, --hidden skip leaves them out."
        )


def _hidden_text(where: str, rows: Sequence[int]) -> str:
    are = "row is" if len(rows) == 1 else "rows are"
    return f"{where}: {len(rows):,} {are} hidden, by a filter or by hand: {listed(rows)}."


def _staged(input: Input, opened: _Opened, read: _Read, options: ReadOptions) -> Staged:
    header = read.table.header
    notes = [
        *opened.selected.notes,
        skipped_note(header.row, header.above),
        hidden_rows_note(read.table.hidden_rows, options.hidden),
        hidden_columns_note(header, opened.layout.hidden_columns),
        totals_note(read.rows.totals),
        read.rows.note(but=len(read.table.hidden_rows) if options.hidden == "skip" else 0),
        *iter_column_notes(header, read.values.counts),
    ]
    return Staged(
        path=read.path, name=input.name, format="xlsx", headers=header.texts, rows=read.rows.kept,
        sha256=input.sha256, left_out=tuple(read.rows.totals), notes=tuple(filter(None, notes)),
        style=SheetStyle(
            sheet=opened.selected.sheet.name, first_row=header.row, first_column=header.left,
            has_formats=not input.is_converted, is_1904=opened.workbook.is_1904,
            formats=tuple(read.values.codes), looks=tuple(read.values.looks),
            header_formats=header.formats if read.values.looks else (),
            widths=_widths(header, opened.layout) if read.values.looks else (),
        ),
    )  # fmt: skip


def _widths(header: Header, layout: Layout) -> tuple[float, ...]:
    """Return how wide the columns of the table are; 0 where the sheet does not say it."""
    widths = [0.0] * len(header.texts)
    for first, last, width in layout.widths:
        for column in range(max(first, header.left), min(last, header.right) + 1):
            widths[column - header.left] = width
    return tuple(widths)
