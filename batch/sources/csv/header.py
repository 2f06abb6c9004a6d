"""The beginning of a CSV file: `sep=` line, delimiter, header, and how the file is written.

Promises a header that is one: the row with the most names of fields; what stands above it is told. Where no row has
any, a title above what looks like the header is an `InputError`, and so is an unclosed quotation mark in it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from batch.errors import InputError, TitleError
from batch.model import shorten
from batch.sources.csv.rows import Record, UnfinishedError, read_record, split_lines
from batch.sources.header_row import LOOK_AHEAD, find_header_row, skipped_note
from batch.sources.options import ReadOptions

DELIMITERS = (",", ";", "\t", "|")
NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
SEP_LINE = re.compile(r'"?sep=([\t !#-~])"?(?:\r\n|\r|\n)', re.IGNORECASE)
FIRST_LINES = 10
SAMPLE_ROWS = 100
MAX_COLUMNS = 16_384


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before the first row, and what it says about all rows."""

    headers: tuple[str, ...]
    """With empty ones at the end, if every line ends with delimiters."""
    delimiter: str
    line_end: str
    quoting: Literal["minimal", "all"]
    has_sep_line: bool
    first_row: int
    rest: str
    """The text after the header's line."""
    notes: tuple[str, ...] = ()


def read_head(text: str, name: str, options: ReadOptions) -> Head:
    """Return the head of `text`, which is the beginning of the file or all of it."""
    sep = SEP_LINE.match(text)
    body = text[sep.end() :] if sep else text
    lines = split_lines(body)
    first = next((at for at, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise InputError(f"{name} has nothing in it but blank lines: a header and rows are needed.")
    said = _delimiter(options.delimiter) or (sep.group(1) if sep else None)
    rows = _first_rows(lines, said, max(first + LOOK_AHEAD, options.header_row or 0))
    filled = {number: one.record.cells for number, one in rows.items() if not one.record.is_blank}
    if not filled:
        raise InputError(f"{name} has nothing in it but blank cells: a header and rows are needed.")
    wanted = options.header_row or find_header_row(filled.items(), options.is_known)
    if wanted not in filled:
        raise InputError(f"{name}: there is nothing in row {wanted}, which --header-row says is the header.")
    is_first = options.header_row is None and rows[wanted].at == first
    first = rows[wanted].at
    delimiter = said or _find_delimiter(lines[first:])
    record = _record(lines, first, delimiter)
    if record is None or record.read_errors:
        raise InputError(f"{name}, row {wanted}: the header has a quotation mark without a partner: correct it.")
    if len(record.cells) > MAX_COLUMNS:
        raise InputError(f"{name} has {len(record.cells):,} columns: no spreadsheet has more than {MAX_COLUMNS:,}.")
    if is_first:
        _refuse_title(lines, first, record, delimiter, name)
    rest = "".join(lines[first + record.lines :])
    sample = _sample(lines, first + record.lines, delimiter)
    extra = _has_trailing_delimiters(sample, len(record.cells))
    return Head(
        headers=(*record.cells, *[""] * extra), delimiter=delimiter,
        line_end=_line_end(lines[first + record.lines - 1]),
        quoting="all" if _is_all_quoted(lines[first : first + record.lines], record, delimiter) else "minimal",
        has_sep_line=sep is not None, first_row=wanted + 1, rest=rest,
        notes=(
            skipped_note(wanted, (cell for row, one in rows.items() if row < wanted for cell in one.record.cells)),
            "Every row ends with a delimiter that the header does not have; it was ignored." if extra else "",
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that may be the header, and the line that it begins on."""

    at: int
    record: Record


def _first_rows(lines: Sequence[str], said: str | None, count: int) -> dict[int, _Row]:
    """Read the first rows by their numbers, each by the delimiter that it would have as the header."""
    rows: dict[int, _Row] = {}
    at = 0
    while at < len(lines) and len(rows) < count:
        record = _record(lines, at, said or _find_delimiter(lines[at:])) or Record([lines[at]])
        rows[len(rows) + 1] = _Row(at, record)
        at += record.lines
    return rows


def _delimiter(said: str | None) -> str | None:
    if said is None:
        return None
    delimiter = NAMES.get(said.lower(), said)
    if not re.fullmatch(r"[\t !#-~]", delimiter):
        raise InputError(f'--delimiter "{said}": give one character, such as ";", or the word tab.')
    return delimiter


def _record(lines: Sequence[str], at: int, delimiter: str) -> Record | None:
    try:
        return read_record(lines, at, delimiter, is_end=False)
    except UnfinishedError:
        return None


def _find_delimiter(lines: Sequence[str]) -> str:
    """Return the delimiter of the header: the one that gives most lines its number of cells, then most cells."""

    def fit(delimiter: str) -> tuple[int, int]:
        header = _record(lines, 0, delimiter)
        width = len(header.cells) if header else 1
        if width < 2:
            return 0, 0
        sample = _sample(lines, 0, delimiter, FIRST_LINES)
        return sum(len(record.cells) == width for record in sample), width

    return max(DELIMITERS, key=fit)


def _sample(lines: Sequence[str], at: int, delimiter: str, limit: int = SAMPLE_ROWS) -> list[Record]:
    """Read the first records that are not blank."""
    found: list[Record] = []
    while at < len(lines) and len(found) < limit:
        record = _record(lines, at, delimiter)
        if record is None:
            break
        at += record.lines
        if not record.is_blank:
            found.append(record)
    return found


def _refuse_title(lines: Sequence[str], first: int, header: Record, delimiter: str, name: str) -> None:
    """Raise if the first line is no header (one cell, or a width no row has) and one of the next looks like it."""
    start = first + header.lines
    alone = [cell.strip() for cell in header.cells if cell.strip()]
    is_unlike = all(len(row.cells) != len(header.cells) for row in _sample(lines, start, delimiter, FIRST_LINES))
    for at in range(start, min(start + FIRST_LINES, len(lines))):
        found = delimiter if delimiter in lines[at] else _find_delimiter(lines[at:])
        if len(alone) > 1 and not (is_unlike and found != delimiter):
            continue
        record = _record(lines, at, found)
        if record and _looks_like_header(record, _sample(lines, at + record.lines, found, FIRST_LINES)):
            names = ", ".join(f'"{shorten(cell.strip(), 30)}"' for cell in record.cells if cell.strip())
            title = shorten(alone[0] if len(alone) == 1 else lines[first].strip())
            raise TitleError(
                f'{name}, row {first + 1}: "{title}" is a title, not a header. Row {at + 1} looks like '
                f"the header ({shorten(names, 120)}).",
                at + 1,
            )


def _looks_like_header(record: Record, after: Sequence[Record]) -> bool:
    """Return whether a record has two texts or more, no numbers, and rows of its width below it."""
    texts = [cell for cell in record.cells if cell.strip()]
    has_numbers = any(re.fullmatch(r"[\d\s.,+-]+", cell) for cell in texts)
    alike = [other for other in after if len(other.cells) == len(record.cells)]
    return len(texts) > 1 and not has_numbers and not record.read_errors and len(alike) * 2 >= max(len(after), 1)


def _has_trailing_delimiters(sample: Sequence[Record], width: int) -> bool:
    """Return whether each of several rows has one cell more than the header, a blank one at its end."""
    return len(sample) > 2 and all(len(row.cells) == width + 1 and not row.cells[-1].strip() for row in sample)


def _line_end(line: str) -> str:
    return next((end for end in ("\r\n", "\n", "\r") if line.endswith(end)), "\n")


def _is_all_quoted(lines: Sequence[str], header: Record, delimiter: str) -> bool:
    raw = "".join(lines).rstrip("\r\n")
    quoted = delimiter.join('"' + cell.replace('"', '""') + '"' for cell in header.cells)
    return raw == quoted
