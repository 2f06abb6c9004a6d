"""The types that all packages share: problems, staged input, columns, changes, intents and row results.

Frozen values without behaviour. A cell's three states are: absent from a mapping
(**leave**), `None` (**clear**), anything else (a **value**).
"""

import json
import os
import re
import shlex
import shutil
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from batch.exact_json import HALF
from batch.problems import API, SENTENCES, Values, sentence

ROW = "row"
"""Column of `input.parquet` with the row's number as the spreadsheet shows it (UInt32, header = 1)."""
READ_ERRORS = "damage"
"""Column of `input.parquet`: null, or JSON `[[column index or null, seen, reason, code, values], …]` of what cannot be
trusted; 0.1 wrote no code and values."""
COMMENTS = "comments"
"""Column of `input.parquet` of a workbook with comments: null, or JSON `{column index: text}`."""
NOTE_AUTHOR = "batch"
"""Who wrote the notes in our own workbooks."""
NOTE_MARK = "Your comment: "
"""Stands in a note of a failures workbook before what the person's own comment of the cell says."""
RESERVED_PREFIX = "batch_"
"""Columns whose header begins with this are added to failures files, and ignored on input."""
REASONS_SHEET = "What to do"
"""First sheet of a failures workbook."""
GUIDE_SHEET = "How to fill this in"
"""Second sheet of a template."""
CHOICES_SHEET = "batch_choices"
"""Hidden sheet of a template: the lists behind its drop-downs."""
SCRIPTS = ("batch", "batch-update")
"""What an installed program is called: the second where `at` has a `batch` of its own."""
RESERVED_SHEETS = frozenset({REASONS_SHEET, GUIDE_SHEET, CHOICES_SHEET})
"""Sheets that are never taken for a table of changes."""


def cell_column(index: int) -> str:
    """Name the column of `input.parquet` that holds the input's column `index` (0-based) as text."""
    return f"c{index}"


def original_column(index: int) -> str:
    """Name the column of `input.parquet` that keeps column `index` as it was, where text does not (typed Parquet)."""
    return f"o{index}"


class Outcome(StrEnum):
    """What became of a row, in the order in which outcomes are listed."""

    UPDATED = "updated"
    UNCHANGED = "unchanged"
    INVALID = "invalid"
    REJECTED = "rejected"
    FAILED = "failed"
    UNKNOWN = "unknown"
    UNSENT = "unsent"


class State(StrEnum):
    """How far a result is settled."""

    CONFIRMED = "confirmed"
    """The API confirmed it; whether the record shows it is still to be looked at."""
    PENDING = "pending"
    """The API took it, and carries it out when somebody approves it."""
    FINAL = "final"


NEEDS_EDIT = frozenset({Outcome.INVALID, Outcome.REJECTED})
"""A person must edit the row."""
NEEDS_RETRY = frozenset({Outcome.FAILED, Outcome.UNKNOWN, Outcome.UNSENT})
"""The same command again takes these up."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one row: a code of `batch/problems.py` with the values that its sentence names.

    `seen` is the cell's text (cut to 80 characters where shown), "" when it plays no part; `text` takes the place of
    the sentence where the words are not ours, or were written down by an earlier version.
    """

    code: str
    values: Values = field(default_factory=dict, hash=False)
    field: str = ""
    header: str = ""
    cell: str = ""
    seen: str = ""
    text: str = ""

    @classmethod
    def from_api(cls, field: str, text: str) -> "Problem":
        """Build the problem that an API tells in its own words."""
        return cls(API, field=field, text=text)

    @classmethod
    def restored(cls, text: str, code: str = "", values: Values | None = None, **where: str) -> "Problem":
        """Build a problem that was written down with its text, which stays as it was; raises ValueError."""
        made = cls(code, values or {}, **where)
        return made if code in SENTENCES and made.reason == text else replace(made, text=text)

    @property
    def reason(self) -> str:
        """What is wrong and what to do, without the cell's own text, so that equal problems can be grouped."""
        return self.text if self.text or self.code in ("", API) else sentence(self.code, self.values)

    @property
    def message(self) -> str:
        """The problem as one sentence for a results file."""
        where = f'column "{self.header}": ' if self.header else ""
        seen = f'"{shorten(self.seen)}" ' if self.seen else ""
        return f"{where}{seen}{self.reason}"

    def with_texts(self, edit: Callable[[str], str]) -> "Problem":
        """Return the problem with its texts as `edit` returns them, but for the cell's own."""
        values = {name: edit(value) if isinstance(value, str) else value for name, value in self.values.items()}
        return replace(self, values=values, text=edit(self.text))


def read_errors_text(found: list[tuple[int | None, Problem]]) -> str:
    """Return what the column `READ_ERRORS` holds of the problems in the columns with these indexes."""
    errors = [[index, one.seen, one.reason, one.code, one.values] for index, one in found]
    return json.dumps(errors, ensure_ascii=False, separators=(",", ":"))


def iter_read_errors(text: str | None) -> Iterator[tuple[int | None, Problem]]:
    """Yield column index (None: the whole row) and problem of what the column `READ_ERRORS` holds."""
    for index, seen, *said in json.loads(text) if text else ():
        yield index, Problem.restored(*said, seen=seen)


def shorten(text: str, limit: int = 80) -> str:
    """Cut `text` for a message, marking the cut with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of one row. `status` is the last HTTP status, `attempts` the HTTP exchanges of its change."""

    row: int
    id: str
    outcome: Outcome
    status: int | None = None
    attempts: int = 0
    problems: tuple[Problem, ...] = ()
    state: State = State.FINAL
    shown: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What the API showed for fields of the change that it does not show to the letter."""


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How a CSV input was written, so that its failures file is written alike."""

    encoding: str = "utf-8"
    """Python codec name; "utf-8-sig" when the file began with a byte order mark."""
    delimiter: str = ","
    line_end: str = "\n"
    quoting: Literal["minimal", "all"] = "minimal"
    has_sep_line: bool = False


@dataclass(frozen=True, slots=True)
class CellStyle:
    """What a cell of an XLSX input looks like, beside its number format; colours are `#RRGGBB`, "" the usual one."""

    font: str = ""
    size: float = 0.0
    """In points; 0: the usual one."""
    bold: bool = False
    italic: bool = False
    underline: bool = False
    strikeout: bool = False
    wraps: bool = False
    colour: str = ""
    fill: str = ""


@dataclass(frozen=True, slots=True)
class SheetStyle:
    """What an XLSX input looked like beside its cells' values, for its failures workbook."""

    sheet: str
    first_row: int
    """The header's row number in the sheet (1-based)."""
    first_column: int
    """The first column's number in the sheet (1-based), so that cells can be named as Excel names them."""
    has_formats: bool = True
    """Whether the number formats are known, with which a number is shown; those of .ods and .xls are not."""
    is_1904: bool = False
    formats: tuple[str, ...] = ("General",)
    """The number formats of its cells, as `input.parquet` counts them (`batch/sources/excel/values.py`)."""
    looks: tuple[CellStyle, ...] = ()
    """What cells with each of these formats look like; none where that is not known."""
    header_formats: tuple[int, ...] = ()
    """Which of these each header has, where that is known."""
    widths: tuple[float, ...] = ()
    """How wide each column is, in characters; 0: as usual."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """The rows of one of several files that make one input: they are numbered through."""

    name: str
    first: int
    """The number of its first row in the whole input."""
    shift: int
    """What its rows' own numbers are less than those in the whole input."""
    is_foreign: bool = False
    """Whether it is a CSV that separates its cells otherwise than the first file, or has them in another order."""


@dataclass(frozen=True, slots=True)
class Staged:
    """An input after it was read once: `input.parquet` and what is known about it.

    `input.parquet` has `row`, `c0` … `cN` (String, null = the cell is blank), `read_errors`, and for formats with typed
    cells further columns that only the same format's failures writer reads. Blank rows are not in it.
    """

    path: Path
    name: str
    """The input as messages call it: `customers.xlsx`."""
    format: Literal["csv", "ndjson", "parquet", "xlsx"]
    """Of its failures file."""
    headers: tuple[str, ...]
    """As they stand in the file, in order; may hold duplicates and empty ones."""
    rows: int
    sha256: str
    notes: tuple[str, ...] = ()
    """What the person should know about how it was read: whole sentences."""
    dialect: CsvDialect | None = None
    style: SheetStyle | None = None
    left_out: tuple[int, ...] = ()
    """The rows of totals, which are no rows."""
    files: tuple[FilePart, ...] = ()
    """The files that make up the input, in order; none where it was named as one file."""
    all_rows: int = 0
    """The rows of all shards, where these are those of one; 0 where they are all."""
    telling: tuple[tuple[int, int, str], ...] = ()
    """Cells (row, column, text) by which the formats of numbers and dates were told in all shards."""

    def cell(self, row: int, index: int) -> str:
        """Name a cell as the spreadsheet does (`F17`), of several files the row (`b.csv row 17`); "" for all others."""
        if self.files:
            part = self.part(row)
            return f"{part.name} row {row - part.shift}"
        if self.style is None:
            return ""
        return f"{column_letters(self.style.first_column + index)}{row}"

    def part(self, row: int) -> FilePart:
        """Return the file that a row is of, where there are several."""
        return self.files[bisect_right(self.files, row, key=lambda one: one.first) - 1]


def column_letters(number: int) -> str:
    """Name column `number` (1 = A, 27 = AA) as a spreadsheet does."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the write body, addressed by its dotted `name`.

    `limits` is what a person must know about its values; `form` what to say when its pattern does not fit.
    """

    name: str
    type: Any
    nullable: bool = True
    labels: tuple[str, ...] = ()
    limits: str = ""
    form: str = ""
    choices: tuple[str, ...] = ()
    kind: str = "text"
    trims: bool = True
    spelling: Literal["", "text", "phone"] = ""
    """What its values may be normalised as by the API, so that another spelling is the same value; "": as nothing."""


Role = Literal["id", "key", "field", "now", "ignored", "reserved", "empty"]
NOW = " (now)"
"""Ends the header of a column that says what a field must show now."""


@dataclass(frozen=True, slots=True)
class Column:
    """A header and what it stands for; `field` is set for the roles "field", "key" and "now"."""

    index: int
    header: str
    role: Role
    field: Field | None = None

    @property
    def target(self) -> str:
        """The field's name (followed by "(now)" where it is only looked at), "id", or "" for a column without use."""
        if self.field is not None:
            return self.field.name + (NOW if self.role == "now" else "")
        return "id" if self.role == "id" else ""


@dataclass(frozen=True, slots=True)
class Columns:
    """All columns of an input in order. `id` is the one that says which record; with `--key` it is the key's."""

    all: tuple[Column, ...]
    id: Column
    fields: tuple[Column, ...]
    key_field: str | None = None
    record_id: Column | None = None
    """Beside a key: the column with the API's ids, if there is one."""

    @property
    def now(self) -> tuple[Column, ...]:
        """The columns that say what a field must show now."""
        return tuple(one for one in self.all if one.role == "now")

    @property
    def with_fields(self) -> tuple[Column, ...]:
        """The columns whose cells are values of a field, to be set or to be looked for."""
        return (*self.fields, *self.now)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a record must show before a change is sent: in `field` one of the `accepted` values, or the wanted one.

    `field` may be an object that is replaced whole, of which the change sets parts: then all of its parts count.
    `origin` says who expects it: the sheet as it was pulled, the run that wrote a failures file, or a column such as
    `name (now)`.
    """

    field: str
    accepted: tuple[Any, ...]
    origin: Literal["pulled", "seen", "now"]


@dataclass(frozen=True, slots=True)
class Change:
    """Validated row(s) for one record: the id and the fields to set (`None` clears).

    `bare_numbers`: the text fields among them whose cells are stored as numbers, so that zeros in front may be lost.
    `record_id`: where `id` is a key, the API's id beside it, "" where there is none.
    `conditions`: what is expected of the record.
    """

    rows: tuple[int, ...]
    id: str
    fields: Mapping[str, Any] = field(hash=False)
    bare_numbers: frozenset[str] = frozenset()
    record_id: str = ""
    conditions: tuple[Condition, ...] = field(default=(), hash=False)

    @property
    def number(self) -> int:
        """What the journal calls this change: the number of its first row."""
        return self.rows[0]


@dataclass(frozen=True, slots=True)
class Intent:
    """A change about to be sent.

    `key` is its idempotency key, `attempts` the attempts made or about to be made, `fields` what is wanted, `before`
    what the record showed for these fields (None: it was not read), `body` what is sent. `name` is the record's, and
    `replaced_whole` the nested values as they were of which only parts change: what an undo puts back exactly.
    `number` counts the intents of the change, `spent` the attempts of those before this one; `read` is when the record
    was read, in seconds since 1970.
    """

    change: int
    id: str
    key: str | None
    attempts: int
    fields: Mapping[str, Any]
    before: Mapping[str, Any] | None
    body: Mapping[str, Any]
    name: str = ""
    replaced_whole: Mapping[str, Any] = field(default_factory=dict)
    number: int = 1
    spent: int = 0
    read: float | None = None
    is_settled: bool = False
    """What became of it is known, of one from the journal: the same change is another request then."""

    @property
    def made(self) -> int:
        """The attempts of the change until now, with this intent and those before it."""
        return self.spent + self.attempts


_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufdd0\ufdd1\ufeff]")
_UNSEEN = (
    (0x1, 0x20), (0x7F, 0xA0), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x1680, 0x1680),
    (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x206F), (0x2800, 0x2800),
    (0x3000, 0x3000), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF9, 0xFFFB),
    (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_UNSEEN_CLASS = "".join(f"{chr(first)}-{chr(last)}" for first, last in _UNSEEN)
SEEN, UNSEEN = f"[^{_UNSEEN_CLASS}]", f"[{_UNSEEN_CLASS}]"
"""A character that shows, for Python and polars: no space, no control character (but NUL, which is a read error),
nothing invisible; and one that does not."""


def looks_blank(text: str) -> bool:
    """Return whether a text has no visible character, so that a cell with it counts as blank."""
    return re.search(SEEN, text) is None


def command() -> str:
    """Return what starts this program, as a shell takes it.

    That is its name where the PATH leads to it by that, and not to another program, such as the `batch` of `at`; else
    its path. Inside of another program, which uses the library, it is `batch`.
    """
    given, started = os.environ.get("BATCH_COMMAND"), sys.argv[0]
    name = os.path.basename(started)
    if given is None and started == os.path.join(os.path.dirname(__file__), "__main__.py"):
        return shlex.join([sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "batch"])
    if given is not None or name not in SCRIPTS:
        return given or SCRIPTS[0]
    found = shutil.which(name)
    return name if started == name or (found and os.path.samefile(found, started)) else shlex.quote(started)


def command_line(*words: str) -> str:
    """Return a command of this program, to be pasted."""
    return f"{command()} {shlex.join(words)}"


def map_option(header: str, target: str) -> str:
    """Spell `--map` so that a shell takes it as it is: in plain quotes unless the header has what they do not keep."""
    text = f"{' '.join(header.split())}={target}"
    return f'--map "{text}"' if not set(text) & set('"$`\\!') else f"--map {shlex.quote(text)}"


def with_header(field: str, header: str) -> str:
    """Name a field behind the user's header for it, "" where there is none."""
    return f"{header} ({field})" if header else field


def named(field: str, header: str) -> str:
    """Name a field as the user's header does, its own name beside it where the two differ."""
    is_same = header.strip().casefold().partition(":")[0] == field.casefold()
    return visible(with_header(field, "" if is_same else header))


def first_few(shown: Iterable[object], count: int) -> str:
    """List what is shown of `count` things, with an ellipsis where there are more: 17, 23, …"""
    texts = list(map(str, shown))
    return ", ".join(texts) + (", …" if count > len(texts) else "")


def minutes(seconds: float) -> str:
    """Spell a time as people do: 42 s, 42 min, 2 h 47 min, 11,574 days."""
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    whole = round(seconds / 60)
    if whole > 2 * 24 * 60:
        return f"{round(whole / (24 * 60)):,} days"
    return f"{whole} min" if whole < 120 else f"{whole // 60} h {whole % 60} min"


def visible(text: str) -> str:
    """Make control characters, escape sequences and bidi marks of foreign text visible; line breaks become spaces."""
    return _INVISIBLE.sub(_made_visible, text)


def _made_visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] == HALF:  # its digits follow
        return "\\u"
    return " " if code in (9, 10, 13) else f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
