"""A table of text cells as CSV, XLSX or Parquet, for people to edit and for `update` to read: what `pull` writes.

Promises that every cell is text and stays text when somebody edits it, and that a spreadsheet program executes none of
them. Memory does not grow with the rows: those that wait for the table to be made are on disk, for this user alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from batch.csv_injection import FORMULA, guard
from batch.machine import as_os_error
from batch.model import RESERVED_PREFIX, shorten

Frames = Callable[[], Iterable[pl.DataFrame]]
"""Yields the rows from the first on, whenever it is called: frames of String columns, named as the headers."""

ENDINGS = (".csv", ".xlsx", ".parquet")
MAX_SHEET_ROWS = 1_048_575
"""Rows that a sheet holds below its header."""
MAX_CELL = 32_000
"""Characters of a text in a workbook for people to read (Excel's limit is 32,767 UTF-16 units)."""
SHEET = "Customers"
MARK = "batch_row"
"""Its presence tells the CSV reader to unescape formulas (`batch/csv_injection.py`)."""
WIDEST = 40
HEAD = {"bold": True, "bottom": 1, "bg_color": "#DDEBF7"}


def write_table(
    path: Path, parts: Path, ending: str, headers: Sequence[str], frames: Frames, *, delimiter: str = ","
) -> None:
    """Fill the empty file at `path`, in the format that `ending` names; raises OSError.

    `parts` is a folder of our own, for parts of a workbook.
    """
    match ending:
        case ".csv":
            _write_csv(path, headers, frames, delimiter)
        case ".xlsx":
            _write_xlsx(path, parts, headers, frames())
        case ".parquet":
            _write_parquet(path, headers, frames())


def _write_csv(path: Path, headers: Sequence[str], frames: Frames, delimiter: str) -> None:
    """Write UTF-8 with a mark, without which Excel takes it for another encoding and spoils every umlaut."""
    needs_escape = any(_has_formula(frame) for frame in frames())
    names = [*headers, MARK] if needs_escape else list(headers)
    with path.open("wb") as file:
        file.write("\ufeff".encode())
        file.write(_lines(pl.DataFrame([names], orient="row"), delimiter))
        row = 1
        for frame in frames():
            if needs_escape:
                numbers = pl.int_range(row + 1, row + 1 + frame.height, eager=True).cast(pl.String).alias(MARK)
                frame = frame.with_columns(guard(pl.all())).with_columns(numbers)
            row += frame.height
            file.write(_lines(frame, delimiter))


def _has_formula(frame: pl.DataFrame) -> bool:
    return bool(frame.select(pl.any_horizontal(pl.all().str.contains(FORMULA).any())).item())


def _lines(frame: pl.DataFrame, delimiter: str) -> bytes:
    return frame.write_csv(include_header=False, separator=delimiter, line_terminator="\r\n").encode()


def _write_parquet(path: Path, headers: Sequence[str], frames: Iterable[pl.DataFrame]) -> None:
    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        yield from frames

    schema = {header: pl.String() for header in headers}
    try:
        register_io_source(source, schema=schema).sink_parquet(path, row_group_size=10_000)
    except pl.exceptions.PolarsError as error:
        raise as_os_error(error) or error from None


def _write_xlsx(path: Path, parts: Path, headers: Sequence[str], frames: Iterable[pl.DataFrame]) -> None:
    import xlsxwriter

    from batch.outputs.failures_xlsx.cells import TEXT_FORMAT, ExactSheet, close_book, is_unwritable

    options = {"constant_memory": True, "tmpdir": str(parts), "strings_to_urls": False}
    book = xlsxwriter.Workbook(str(path), options)
    sheet = book.add_worksheet(SHEET, ExactSheet)
    head, text = book.add_format(HEAD), book.add_format({"num_format": TEXT_FORMAT})
    widths = [len(header) + 4 for header in headers]
    for column, header in enumerate(headers):
        sheet.write_string(0, column, header, head)
    row = 0
    for frame in frames:
        for values in frame.iter_rows():
            row += 1
            for column, value in enumerate(values):
                if value and not is_unwritable(value):
                    sheet.write_string(row, column, value, text)
        longest = frame.select(pl.all().str.len_chars().max().fill_null(0)).row(0) if frame.height else ()
        widths = [max(pair) for pair in zip(widths, (n + 2 for n in longest), strict=False)] or widths
    for column, (header, width) in enumerate(zip(headers, widths, strict=True)):
        is_ours = header.startswith(RESERVED_PREFIX)
        sheet.set_column(column, column, min(width, WIDEST), text, {"hidden": is_ours})
    sheet.freeze_panes(1, 1)
    sheet.autofilter(0, 0, row, len(headers) - 1)
    close_book(book)


def sheet_text(text: str) -> str:
    """Return a text as a workbook for people holds it: cut where it is too long, without what XML cannot express."""
    if len(text) <= MAX_CELL // 2 and "\ufffe" not in text and "\uffff" not in text:  # as most are, of a million
        return text
    text = shorten(text.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd"), MAX_CELL)
    is_long = len(text.encode("utf-16-le", "surrogatepass")) > 2 * MAX_CELL
    return shorten(text, MAX_CELL // 2) if is_long else text


PART_ROWS = 5_000


class RowBuffer:
    """Takes rows as mappings from column to text, and yields them as frames of selected columns."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self._folder = folder
        self._parts: list[Path] = []
        self._rows: list[Mapping[str, str]] = []
        self.height = 0

    def add(self, row: Mapping[str, str]) -> None:
        """Add a row."""
        self._rows.append(row)
        self.height += 1
        if len(self._rows) >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory to disk."""
        if not self._rows:
            return
        names = dict.fromkeys(name for row in self._rows for name in row)
        columns = [pl.Series(name, [row.get(name) for row in self._rows], dtype=pl.String) for name in names]
        self._parts.append(self._folder / f"{len(self._parts)}.parquet")
        pl.DataFrame(columns).write_parquet(self._parts[-1], compression="lz4")
        self._rows = []

    def iter_frames(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield all rows in order, with these columns; those that a part does not have are blank."""
        for part in self._parts:
            frame = pl.read_parquet(part, glob=False)
            blank = pl.lit(None, pl.String)
            yield frame.select(pl.col(name) if name in frame.columns else blank.alias(name) for name in columns)

    def replace(self, part: int, frame: pl.DataFrame) -> None:
        """Replace the cells of a part; parts are counted as `iter_frames` yields them."""
        frame.write_parquet(self._parts[part], compression="lz4")
