"""One pass over the rows, each with its result: into the results file, the failures file, and counts by outcome."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import polars as pl

from batch.csv_injection import escape_formula
from batch.files import NewFile, digest_of, free_path, remove, written_earlier
from batch.model import ROW, Outcome, RowResult, Staged, cell_column
from batch.outputs.failures import FailedRow, FailuresWriter, code_text, field_text, message_text, on_one_line
from batch.outputs.failures_parquet import ParquetParts
from batch.outputs.plan import Line
from batch.provenance import SEEN

if TYPE_CHECKING:  # xlsxwriter is imported by runs that write a workbook
    from batch.outputs.results_xlsx import ResultsWorkbook

SCHEMA = {
    "row": pl.UInt32, "id": pl.String, "outcome": pl.String, "status": pl.UInt16, "attempts": pl.UInt32,
    "field": pl.String, "message": pl.String,
}  # fmt: skip
"""The columns of `results.csv`; `results.parquet` has one more, `code`."""


class LinesWriter(Protocol):
    """Writes lines of the results file: ids as they stand in the input, and results, in order."""

    def add(self, ids: Sequence[str], row_results: Sequence[RowResult]) -> None: ...

    def finish(self) -> None: ...


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
    return pl.DataFrame(columns, schema=SCHEMA | {"code": pl.String})


class CsvLines:
    """Results as CSV in UTF-8 with commas; formulas are escaped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_text(",".join(SCHEMA) + "\n", encoding="utf-8")

    def add(self, ids: Sequence[str], row_results: Sequence[RowResult]) -> None:
        lines = (
            _lines(ids, row_results)
            .drop("code")
            .with_columns(escape_formula(on_one_line(pl.col("id", "field", "message").replace("", None))))
        )
        with self._path.open("ab") as file:
            lines.write_csv(file, include_header=False)

    def finish(self) -> None:
        """Nothing is left to write."""


class ParquetLines:
    """Results as Parquet: typed columns, texts as they are."""

    def __init__(self, path: Path) -> None:
        self._parts = ParquetParts(path)

    def add(self, ids: Sequence[str], row_results: Sequence[RowResult]) -> None:
        self._parts.add(_lines(ids, row_results))

    def finish(self) -> None:
        self._parts.finish()


ReadResults = Callable[[int, int], Mapping[int, RowResult]]
"""Returns the results of the rows from the first number to the last; a row without one is unsent."""

ENDINGS = {"csv": ".csv", "xlsx": ".xlsx", "parquet": ".parquet"}
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
    known: KnownFiles | None = None
    """None: nothing is known of earlier files, and they are replaced."""
    run: str = ""
    """The run whose files these are."""
    done_later: Mapping[int, str] = field(default_factory=dict)
    """When the rows that are through by now were so, in a later run: they need nothing any more."""
    seen: Callable[[int, str], str] = lambda row, id: ""
    """Says what was seen in the fields that a row was to change, given its number and its id."""
    workbook: AboutRun | None = None
    """What `results.xlsx` says beside the results; None: there is to be none."""


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` made."""

    files: dict[str, str] = field(default_factory=dict)
    """File names in the folder: "results", "results_xlsx" and "failures" where there are any, and those that stayed
    because somebody changed them: "failures_edited", "failures_edited_2", "results_xlsx_edited" and so on."""
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    """All seven, also those of no row."""
    notes: tuple[str, ...] = ()
    done_later: Counter[Outcome] = field(default_factory=Counter)
    """Of those that still needed something, the rows that are through by now."""


def write(
    folder: Path, staged: Staged, frames: Iterable[pl.DataFrame], row_results: ReadResults, wanted: Wanted | None = None
) -> Written:
    """Write the files that are wanted into `folder`, and count the outcomes of all rows.

    `frames` are all rows of `staged` in order, with all their columns. An earlier failures file is removed
    when no row belongs there any more, unless somebody changed it. Raises `OSError` when the folder cannot be written
    to.
    """
    wanted = wanted or Wanted()
    with ResultsWriter(folder, staged, wanted) as writer:
        for frame in frames:
            writer.add(frame, row_results)
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
        self._results: tuple[NewFile, LinesWriter] | None = None
        self._workbook: tuple[NewFile, ResultsWorkbook] | None = None
        self._failures: tuple[NewFile, FailuresWriter] | None = None

    def __enter__(self) -> "ResultsWriter":
        if self._wanted.with_results:
            is_parquet = self._staged.format == "parquet"
            file = NewFile(self._folder / f"results{'.parquet' if is_parquet else '.csv'}")
            self._results = file, (ParquetLines if is_parquet else CsvLines)(file.made)
        if self._wanted.workbook is not None:
            from batch.outputs.results_xlsx import ResultsWorkbook

            file = NewFile(self._folder / "results.xlsx")
            self._workbook = file, ResultsWorkbook(file.made, file.parts, self._wanted.workbook.title)
        return self

    def __exit__(self, *exception: object) -> None:
        for opened in (self._results, self._workbook, self._failures):
            if opened is not None:
                opened[0].discard()

    def add(self, frame: pl.DataFrame, row_results: ReadResults) -> None:
        """Write the next rows, with their results looked up by number."""
        if not frame.height:
            return
        rows = frame[ROW].to_list()
        ids = self._ids(frame)
        known = row_results(rows[0], rows[-1])
        found = [known.get(row) or RowResult(row, id, Outcome.UNSENT) for row, id in zip(rows, ids, strict=True)]
        for row_result in found:
            self._outcomes[row_result.outcome] += 1
        if self._results is not None:
            self._results[1].add(ids, found)
        kept = self._open_rows(found)
        if self._workbook is not None:
            self._workbook[1].add(ids, found, kept)
        if kept:
            self._add_failures(frame, found, kept)

    def _ids(self, frame: pl.DataFrame) -> list[str]:
        if self._wanted.id_column is None:
            return [""] * frame.height
        return frame[cell_column(self._wanted.id_column)].fill_null("").to_list()

    def _open_rows(self, found: Sequence[RowResult]) -> list[int]:
        """Return which of the rows still need something."""
        kept = [at for at, row_result in enumerate(found) if row_result.outcome in self._wanted.only]
        later = [at for at in kept if found[at].row in self._wanted.done_later]
        self._done_later.update(found[at].outcome for at in later)
        return [at for at in kept if at not in set(later)] if later else kept

    def _add_failures(self, frame: pl.DataFrame, found: Sequence[RowResult], kept: Sequence[int]) -> None:
        if self._failures is None:
            file = NewFile(self._folder / f"failures{ENDINGS[self._staged.format]}")
            self._failures = file, failures_writer(file.made, self._staged)
        rows = frame[kept] if len(kept) < frame.height else frame
        self._failures[1].add(rows, self._failed_rows(rows, [found[at] for at in kept]))

    def _failed_rows(self, frame: pl.DataFrame, found: Sequence[RowResult]) -> list[FailedRow]:
        """Add what was seen; where nothing was this time, what the earlier failures file said holds on."""
        column = next((at for at, one in enumerate(self._staged.headers) if one.strip().casefold() == SEEN), None)
        before = frame[cell_column(column)].to_list() if column is not None else [None] * frame.height
        wanted, ids = self._wanted, [one.strip() for one in self._ids(frame)]
        return [
            FailedRow(one, wanted.run, wanted.seen(one.row, row_id) or old or "")
            for one, row_id, old in zip(found, ids, before, strict=True)
        ]

    def finish(self) -> Written:
        """Move the files to their places, and remove those of an earlier part that are no longer true."""
        if self._results is not None:
            self._results[1].finish()
        if self._workbook is not None and self._wanted.workbook is not None:
            about = self._wanted.workbook
            self._workbook[1].finish(about.facts, self._outcomes, about.changes)
        if self._failures is not None:
            self._failures[1].finish()
        files: dict[str, str] = {}
        if self._results is not None:
            self._put("results", self._results[0], (), files)
        self._replace("results_xlsx", self._workbook, (".xlsx",), files)
        self._replace("failures", self._failures, ENDINGS.values(), files)
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
    what = "The rows that still need something are" if name == "failures" else "What is so now is"
    rest = f" {what} in {new}, too." if new else ""
    return f"{' and '.join(names)} {stays} as {'they are' if names[1:] else 'it is'}.{rest}"


def failures_writer(path: Path, staged: Staged) -> FailuresWriter:
    """Return the writer of failures in the format of the input."""
    match staged.format:
        case "csv":
            from batch.outputs.failures_csv import CsvFailures

            return CsvFailures(path, staged)
        case "parquet":
            from batch.outputs.failures_parquet import ParquetFailures

            return ParquetFailures(path, staged)
        case "xlsx":
            from batch.outputs.failures_xlsx import ExcelFailures

            return ExcelFailures(path, staged)
