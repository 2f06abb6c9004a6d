"""One pass over the rows, each with its result: into the results file, the failures file, and counts by outcome."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import polars as pl
from pydantic import ConfigDict

from batch.csv_injection import escape_formula
from batch.documents import CONFIG
from batch.files import NewFile, digest_of, free_path, remove, written_earlier
from batch.model import READ_ERRORS, ROW, Outcome, RowResult, Staged, cell_column, original_column, shorten
from batch.outputs.failures import (
    FILE_COLUMNS,
    FailedRow,
    FailuresWriter,
    code_text,
    field_text,
    message_text,
    on_one_line,
    original_indexes,
    place_of,
)
from batch.outputs.failures_csv import CsvFailures, first_spoilt
from batch.outputs.failures_parquet import ParquetParts
from batch.outputs.plan import Line
from batch.outputs.tables import MAX_SHEET_ROWS
from batch.provenance import SEEN

if TYPE_CHECKING:  # xlsxwriter is imported by runs that write a workbook
    from batch.outputs.results_xlsx import ResultsWorkbook


@dataclass(frozen=True, slots=True)
class ResultLine:
    """What became of a row, as `results.parquet` has it; `results.csv` has all but the `code`."""

    __pydantic_config__: ClassVar[ConfigDict] = CONFIG

    row: int
    """Its number as the spreadsheet shows it (header = 1)."""
    id: str
    outcome: Outcome
    status: int | None
    """The last HTTP status that its own requests got."""
    attempts: int
    field: str
    message: str
    code: str
    """What kind of problem it is, in words that never change."""


SMALLER: Mapping[str, type[pl.DataType]] = {"row": pl.UInt32, "status": pl.UInt16, "attempts": pl.UInt32}
PARQUET_SCHEMA = {one.name: SMALLER.get(one.name, pl.String) for one in fields(ResultLine)}
SCHEMA = {name: kind for name, kind in PARQUET_SCHEMA.items() if name != "code"}
"""The columns of `results.csv`."""
RECORD_ID = "record_id"
"""The column with the record's own id, where the input names it by a key."""
RESULT_COLUMNS = frozenset({*PARQUET_SCHEMA, *FILE_COLUMNS, RECORD_ID})
"""The names that no column of the input has in the results."""


class LinesWriter(Protocol):
    """Writes lines of the results file: ids as they stand in the input, results, and what stands behind, in order."""

    def add(self, ids: Sequence[str], row_results: Sequence[RowResult], more: pl.DataFrame) -> None: ...

    def finish(self) -> None: ...


@dataclass(frozen=True, slots=True)
class MoreColumns:
    """What a results file says of each row behind its result: of which file it is, and what was asked for."""

    staged: Staged
    kept: Mapping[str, int]
    """Columns of the input that are carried along, by what they are called: their indexes."""
    record_id: Callable[[RowResult], str | None] | None
    """Gives the id of the record that a row's key stands for; None where rows have the id itself."""
    is_typed: bool
    """Whether values keep the types of the input."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in order."""
        return (*(FILE_COLUMNS if self.staged.files else ()), *self.kept, *([RECORD_ID] if self.record_id else []))

    def of(self, frame: pl.DataFrame, row_results: Sequence[RowResult]) -> pl.DataFrame:
        """Return their cells for rows of the input."""
        columns: list[pl.Series] = []
        if self.staged.files:
            parts = [self.staged.part(one.row) for one in row_results]
            numbers = [one.row - part.shift for one, part in zip(row_results, parts, strict=True)]
            columns.append(pl.Series(FILE_COLUMNS[0], [part.name for part in parts], dtype=pl.String))
            columns.append(pl.Series(FILE_COLUMNS[1], numbers, dtype=pl.UInt32))
        columns += [frame[self._source(index, frame)].alias(name) for name, index in self.kept.items()]
        if self.record_id:
            columns.append(pl.Series(RECORD_ID, list(map(self.record_id, row_results)), dtype=pl.String))
        return pl.DataFrame(columns)

    def _source(self, index: int, frame: pl.DataFrame) -> str:
        original = original_column(index)
        has_type = self.is_typed and original in frame.columns and not isinstance(frame.schema[original], pl.Struct)
        return original if has_type else cell_column(index)


def _lines(ids: Sequence[str], row_results: Sequence[RowResult]) -> pl.DataFrame:
    columns: dict[str, Iterator[object] | list[object]] = {
        "row": [row_result.row for row_result in row_results],
        "id": list(ids),
        "outcome": [row_result.outcome.value for row_result in row_results],
        "status": [row_result.status for row_result in row_results],
        "attempts": [row_result.attempts for row_result in row_results],
        "field": [field_text(row_result) for row_result in row_results],
        "message": [message_text(row_result) for row_result in row_results],
        "code": [code_text(row_result) for row_result in row_results],
    }
    return pl.DataFrame(columns, schema=PARQUET_SCHEMA)


class CsvLines:
    """Results as CSV in UTF-8 with commas; formulas are escaped."""

    def __init__(self, path: Path, more: Sequence[str]) -> None:
        self._path = path
        header = pl.DataFrame([[*SCHEMA, *more]], orient="row").select(escape_formula(pl.all()))
        path.write_text(header.write_csv(include_header=False), encoding="utf-8")

    def add(self, ids: Sequence[str], row_results: Sequence[RowResult], more: pl.DataFrame) -> None:
        texts = ["id", "field", "message", *(name for name, dtype in more.schema.items() if dtype == pl.String)]
        lines = pl.concat([_lines(ids, row_results).drop("code"), more], how="horizontal")
        lines = lines.with_columns(escape_formula(on_one_line(pl.col(texts).replace("", None))))
        with self._path.open("ab") as file:
            lines.write_csv(file, include_header=False)

    def finish(self) -> None:
        """Nothing is left to write."""


class ParquetLines:
    """Results as Parquet: typed columns, texts as they are."""

    def __init__(self, path: Path, more: Sequence[str]) -> None:
        self._parts = ParquetParts(path)

    def add(self, ids: Sequence[str], row_results: Sequence[RowResult], more: pl.DataFrame) -> None:
        self._parts.add(pl.concat([_lines(ids, row_results), more], how="horizontal"))

    def finish(self) -> None:
        self._parts.finish()


Frames = Callable[[], Iterable[pl.DataFrame]]
"""Yields the rows of the input from the first on, whenever it is called."""
ReadResults = Callable[[int, int], Mapping[int, RowResult]]
"""Returns the results of the rows from the first number to the last; a row without one is unsent."""

ENDINGS = {"csv": ".csv", "ndjson": ".ndjson", "xlsx": ".xlsx", "parquet": ".parquet"}
OPEN_OUTCOMES = frozenset(Outcome) - {Outcome.UPDATED, Outcome.UNCHANGED}


@dataclass(frozen=True, slots=True)
class KnownFiles:
    """The files that earlier parts of the run wrote."""

    digests: Mapping[str, str]
    """What may be in each by now if nobody changed it: one or two SHA-256, separated by a space."""
    note: Callable[[str, str], None]
    """Keeps the digests of a file, before it is put into its place."""


@dataclass(frozen=True, slots=True)
class AboutRun:
    """What `results.xlsx` says beside the results of the rows."""

    title: str
    facts: Mapping[str, str]
    """What the run was, by what it is called."""
    changes: Iterable[tuple[Line, Outcome]]
    """Every cell that was or may have been sent, in order, and what became of it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `write` has to make."""

    id_column: int | None = None
    """Index of the column with the records' ids."""
    only: frozenset[Outcome] = OPEN_OUTCOMES
    """The outcomes whose rows go to the failures file."""
    with_results: bool = True
    failures: Mapping[str, str] | None = None
    """The failures files, by what they are, that stay as they are, since the rows for others are not known any more."""
    known: KnownFiles | None = None
    """None: nothing is known of earlier files, and they are replaced."""
    run: str = ""
    """The run whose files these are."""
    done_later: Mapping[int, str] = field(default_factory=dict)
    """When the rows that are through by now were so, in a later run: they need nothing any more."""
    seen: Callable[[int, str], str] = lambda row, id: ""
    """Says what was seen in the fields that a row was to change, given its number and its id."""
    kept: Mapping[str, int] = field(default_factory=dict)
    """Columns of the input that the results carry along, by what they are called there: their indexes."""
    record_id: Callable[[RowResult], str | None] | None = None
    """Gives the id of the record that a row's key stands for; None where rows have the id itself."""
    workbook: AboutRun | None = None
    """What `results.xlsx` says beside the results; None: there is to be none."""


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` made."""

    files: dict[str, str] = field(default_factory=dict)
    """File names in the folder: "results", "results_xlsx", "failures", "failures_xlsx", where there are any; and those
    that stayed because somebody changed them: "failures_edited", "failures_edited_2" and so on."""
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    """All seven, also those of no row."""
    notes: tuple[str, ...] = ()
    done_later: Counter[Outcome] = field(default_factory=Counter)
    """Of those that still needed something, the rows that are through by now."""


def write(
    folder: Path, staged: Staged, frames: Frames, row_results: ReadResults, wanted: Wanted | None = None
) -> Written:
    """Write the files that are wanted into `folder`, and count the outcomes of all rows.

    `frames` yields all rows of `staged` in order, with all their columns. An earlier failures file is removed
    when no row belongs there any more, unless somebody changed it. Raises `OSError` when the folder cannot be written
    to.
    """
    wanted = wanted or Wanted()
    with ResultsWriter(folder, staged, wanted) as writer:
        for frame in frames():
            writer.add(frame, row_results)
        if writer.needs_workbook:
            for frame in frames():
                writer.add_to_workbook(frame, row_results)
        return writer.finish()


class ResultsWriter:
    """Writes results and failures as rows come; leaves nothing behind when an exception passes."""

    def __init__(self, folder: Path, staged: Staged, wanted: Wanted) -> None:
        self._folder = folder
        self._staged = staged
        self._wanted = wanted
        self._outcomes = dict.fromkeys(Outcome, 0)
        self._done_later: Counter[Outcome] = Counter()
        self._notes: list[str] = []
        is_parquet = staged.format == "parquet"
        self._more = MoreColumns(staged, wanted.kept, wanted.record_id, is_typed=is_parquet)
        self._results: tuple[NewFile, LinesWriter] | None = None
        self._workbook: tuple[NewFile, ResultsWorkbook] | None = None
        self._failures: tuple[NewFile, FailuresWriter] | None = None
        self._failures_xlsx: tuple[NewFile, FailuresWriter] | None = None
        self._made: list[NewFile] = []
        self._failed = 0
        self._spoilt = ""
        """The first cell of a CSV's failures that a spreadsheet program would change."""
        self._is_damaged = False

    def __enter__(self) -> "ResultsWriter":
        try:
            self._open()
        except BaseException:  # a full disk refuses the first bytes
            self.__exit__()
            raise
        return self

    def _new_file(self, name: str) -> NewFile:
        file = NewFile(self._folder / name)
        self._made.append(file)
        return file

    def _open(self) -> None:
        if self._wanted.with_results:
            is_parquet = self._staged.format == "parquet"
            file = self._new_file(f"results{'.parquet' if is_parquet else '.csv'}")
            self._results = file, (ParquetLines if is_parquet else CsvLines)(file.made, self._more.names)
            if is_parquet:  # an input without rows has results without lines, and all their columns
                nothing = pl.read_parquet(self._staged.path, n_rows=0, glob=False)
                self._results[1].add([], [], self._more.of(nothing, []))
        if self._wanted.workbook is not None:
            from batch.outputs.results_xlsx import ResultsWorkbook

            file = self._new_file("results.xlsx")
            self._workbook = file, ResultsWorkbook(file.made, file.parts, self._wanted.workbook.title)

    def __exit__(self, *exception: object) -> None:
        for file in self._made:
            file.discard()

    def add(self, frame: pl.DataFrame, row_results: ReadResults) -> None:
        """Write the next rows, with their results looked up by number."""
        if not frame.height:
            return
        ids, found = self._found(frame, row_results)
        for row_result in found:
            self._outcomes[row_result.outcome] += 1
        if self._results is not None:
            self._results[1].add(ids, found, self._more.of(frame, found))
        kept = self._open_rows(found) if self._wanted.failures is None else []
        self._done_later += Counter(one.outcome for one in found if self._is_done_later(one))
        if self._workbook is not None:
            self._workbook[1].add(ids, found, kept)
        if kept:
            self._add_failures(frame, found, kept)

    def _found(self, frame: pl.DataFrame, row_results: ReadResults) -> tuple[list[str], list[RowResult]]:
        """Return the ids of rows as they stand in the input, and their results."""
        rows, ids = frame[ROW].to_list(), self._ids(frame)
        known = row_results(rows[0], rows[-1])
        return ids, [known.get(row) or RowResult(row, id, Outcome.UNSENT) for row, id in zip(rows, ids, strict=True)]

    def _ids(self, frame: pl.DataFrame) -> list[str]:
        if self._wanted.id_column is None:
            return [""] * frame.height
        return frame[cell_column(self._wanted.id_column)].fill_null("").to_list()

    def _open_rows(self, found: Sequence[RowResult]) -> list[int]:
        """Return which of the rows still need something."""
        return [at for at, one in enumerate(found) if one.outcome in self._wanted.only and not self._is_done_later(one)]

    def _is_done_later(self, row_result: RowResult) -> bool:
        return row_result.outcome in self._wanted.only and row_result.row in self._wanted.done_later

    def _add_failures(self, frame: pl.DataFrame, found: Sequence[RowResult], kept: Sequence[int]) -> None:
        if self._failures is None:
            file = self._new_file(f"failures{ENDINGS[self._staged.format]}")
            self._failures = file, failures_writer(file.made, self._staged)
        rows = frame[kept] if len(kept) < frame.height else frame
        self._failures[1].add(rows, self._failed_rows(rows, [found[at] for at in kept]))
        self._failed += len(kept)
        if self._staged.format == "csv":
            self._spoilt = self._spoilt or first_spoilt(rows, original_indexes(self._staged))
            self._is_damaged = self._is_damaged or bool(rows[READ_ERRORS].is_not_null().any())

    @property
    def needs_workbook(self) -> bool:
        """Whether the failures of a CSV file are to be in a workbook, too: a spreadsheet program would change them.

        Not where a row cannot be trusted as it was read: it stays so in a CSV file only.
        """
        return bool(self._spoilt) and not self._is_damaged and self._failed <= MAX_SHEET_ROWS

    def add_to_workbook(self, frame: pl.DataFrame, row_results: ReadResults) -> None:
        """Write the next rows once more, those that still need something into a workbook."""
        _, found = self._found(frame, row_results)
        kept = self._open_rows(found)
        if not kept:
            return
        if self._failures_xlsx is None:
            from batch.outputs.failures_xlsx import ExcelFailures

            file = self._new_file("failures.xlsx")
            self._failures_xlsx = file, ExcelFailures(file.made, self._staged)
        nothing = [pl.lit(None, pl.String).alias(original_column(at)) for at in range(len(self._staged.headers))]
        rows = frame[kept].with_columns(nothing)
        self._failures_xlsx[1].add(rows, self._failed_rows(rows, [found[at] for at in kept]))

    def _failed_rows(self, frame: pl.DataFrame, found: Sequence[RowResult]) -> list[FailedRow]:
        """Add what was seen; where nothing was this time, what the earlier failures file said holds on."""
        column = next((at for at, one in enumerate(self._staged.headers) if one.strip().casefold() == SEEN), None)
        before = frame[cell_column(column)].to_list() if column is not None else [None] * frame.height
        wanted, ids = self._wanted, [one.strip() for one in self._ids(frame)]
        return [
            FailedRow(one, wanted.run, wanted.seen(one.row, row_id) or old or "", place_of(self._staged, one.row))
            for one, row_id, old in zip(found, ids, before, strict=True)
        ]

    def finish(self) -> Written:
        """Move the files to their places, and remove those of an earlier part that are no longer true."""
        if self._results is not None:
            self._results[1].finish()
        if self._workbook is not None and self._wanted.workbook is not None:
            about = self._wanted.workbook
            self._workbook[1].finish(about.facts, self._outcomes, about.changes)
        for failures in filter(None, (self._failures, self._failures_xlsx)):
            failures[1].finish()
        files: dict[str, str] = {}
        if self._results is not None:
            self._put("results", self._results[0], (), files)
        self._replace("results_xlsx", self._workbook, (".xlsx",), files)
        if self._wanted.failures is not None:
            return Written(files | dict(self._wanted.failures), self._outcomes, tuple(self._notes), self._done_later)
        self._replace("failures", self._failures, (ENDINGS[self._staged.format],), files)
        if self._staged.format == "csv":
            self._replace("failures_xlsx", self._failures_xlsx, (".xlsx",), files)
        if "failures_xlsx" in files:
            self._notes.append(
                f"Excel would change cells of {files['failures']}, such as {shorten(self._spoilt, 40)}: "
                f"{files['failures_xlsx']} has the same rows as text."
            )
        return Written(files, self._outcomes, tuple(self._notes), self._done_later)

    def _replace(
        self, name: str, writing: tuple[NewFile, object] | None, endings: Iterable[str], files: dict[str, str]
    ) -> None:
        """Put a file in the place of those that earlier parts wrote, but for what somebody changed."""
        earlier = written_earlier(self._folder, name.partition("_")[0], endings)
        edited = [path for path in earlier if is_edited(path, self._wanted.known)]  # looked at as late as can be
        if writing is not None:
            self._put(name, writing[0], edited, files)
        remove(path for path in earlier if path not in edited and path.name != files.get(name))
        for number, path in enumerate(edited, 1):
            files[f"{name}_edited{f'_{number}' if number > 1 else ''}"] = path.name
        if edited:
            self._notes.append(_say_edited(name, [path.name for path in edited], files.get(name)))

    def _put(self, name: str, file: NewFile, edited: Sequence[Path], files: dict[str, str]) -> None:
        file.path, note = free_path(self._folder, file.path.stem, file.path.suffix, edited)
        self._notes += [note] if note else []
        self._note_digest(file)
        file.keep()
        files[name] = file.path.name

    def _note_digest(self, file: NewFile) -> None:
        """Have kept what the file may be from now on: as it is still, or as it is about to be."""
        if self._wanted.known is not None:
            is_there = file.path.is_file()
            digests = [*([digest_of(file.path)] if is_there else []), digest_of(file.made)]
            self._wanted.known.note(file.path.name, " ".join(digests))


def is_edited(path: Path, known: KnownFiles | None) -> bool:
    """Return whether somebody changed a file that an earlier part wrote, or put one in its place."""
    if known is None:
        return False
    is_file = path.is_file() and not path.is_symlink()
    return not is_file or digest_of(path) not in known.digests.get(path.name, "").split()


def _say_edited(name: str, names: Sequence[str], new: str | None) -> str:
    stays = "were changed since they were written, so they stay" if names[1:] else (
        "was changed since it was written, so it stays"
    )  # fmt: skip
    what = "The rows that still need something are" if name.startswith("failures") else "What is so now is"
    rest = f" {what} in {new}, too." if new else ""
    return f"{' and '.join(names)} {stays} as {'they are' if names[1:] else 'it is'}.{rest}"


def failures_writer(path: Path, staged: Staged) -> FailuresWriter:
    """Return the writer of failures in the format of the input."""
    match staged.format:
        case "csv":
            return CsvFailures(path, staged)
        case "ndjson":
            from batch.outputs.failures_ndjson import NdjsonFailures

            return NdjsonFailures(path, staged)
        case "parquet":
            from batch.outputs.failures_parquet import ParquetFailures

            return ParquetFailures(path, staged)
        case "xlsx":
            from batch.outputs.failures_xlsx import ExcelFailures

            return ExcelFailures(path, staged)
