"""`pull`: the current records as a spreadsheet to edit.

Promises: pulling and updating with what was pulled sends nothing; one edited cell sends that cell alone, and not over
what somebody else changed meanwhile (`batch/provenance.py`); what a cell cannot say is left blank and told. The file is
read back with our own reader before it gets its name, and whatever does not come back as it was is left blank, too. It
is complete or absent, this user's alone, and never takes the place of another without --force. Memory does not grow
with the records.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from batch import sources
from batch.engine.api_session import ApiSession, fetch_definitions
from batch.engine.estimate import estimate_reads
from batch.engine.pull_filter import make_pull_filter, read_ids
from batch.engine.pulled_records import PulledRecords
from batch.engine.reporter import Cost
from batch.engine.shutdown import Shutdown
from batch.errors import ExitCode, FolderError, SettingsError, StoppedError
from batch.exit_code import exit_code
from batch.files import NewFile, check_new_file, os_reason
from batch.machine import OUT_OF_FILES, as_os_error, first_of, now_text
from batch.model import READ_ERRORS, Outcome, cell_column, iter_read_errors
from batch.outputs.cell_text import Left, Renderer
from batch.outputs.tables import ENDINGS, MAX_SHEET_ROWS, RowBuffer, write_table
from batch.provenance import PulledFrom, pulled_cells, pulled_headers
from batch.run.cleanup import scratch
from batch.run.consent import Person
from batch.run.target import SANDBOXES, Environment, make_endpoint, make_target, with_login
from batch.settings import Settings
from batch.summary import Files, Head


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to pull and where to put it. `where` holds (field, value) as they were given."""

    path: Path
    where: tuple[tuple[str, str], ...] = ()
    ids: Path | None = None
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSummary(Head):
    """What was pulled; `as_dict` is what `--json` prints."""

    file: str
    records: int
    columns: tuple[str, ...]
    not_shown: tuple[str, ...]
    """Fields that the API does not show when it lists records."""
    left_blank: Mapping[str, int]
    """Cells that are blank although the record has a value, by column."""
    missing_ids: tuple[str, ...]
    """Ids of the file of ids that no record has."""
    requests: int
    attempts: int
    throttled: int


@dataclass(slots=True)
class Pulled:
    """What was pulled."""

    path: Path
    records: int
    columns: Sequence[str]
    left: dict[str, Left] = field(default_factory=dict)
    """Cells that are blank although the record has a value, by column."""
    hidden: Sequence[str] = ()
    """Fields that the API does not show when it lists records: they have no column."""
    missing: Sequence[str] = ()
    """Ids of the file of ids that no record has."""
    counts: Counter[str] = field(default_factory=Counter)
    company: str | None = None
    """Its name, where one was given."""
    endpoint: str = ""
    host: str = ""
    is_sandbox: bool = False
    started: str = ""
    seconds: float = 0.0

    @property
    def summary(self) -> PullSummary:
        """The document about it."""
        file = str(self.path.resolve())
        return PullSummary(
            command="pull", endpoint=self.endpoint, host=self.host, company=self.company, sandbox=self.is_sandbox,
            state="finished", started=self.started, finished=now_text(), seconds=self.seconds,
            exit_code=int(self.exit_code), files=Files(records=file), file=file, records=self.records,
            columns=tuple(self.columns), not_shown=tuple(self.hidden),
            left_blank={column: left.count for column, left in self.left.items()}, missing_ids=tuple(self.missing),
            requests=self.counts["requests"], attempts=self.counts["attempts"], throttled=self.counts["throttled"],
        )  # fmt: skip

    @property
    def exit_code(self) -> ExitCode:
        """Ids that no record has are rows to fix."""
        return exit_code({Outcome.INVALID: len(self.missing)})


class PullReporter(Person, Protocol):
    """Is told what happens while records are pulled."""

    def cost(self, cost: Cost) -> None:
        """What it takes in all."""

    def pulled(self, count: int, total: int | None) -> None:
        """So many records are there, of so many where that is known."""


def pull(settings: Settings, wanted: Wanted, reporter: PullReporter, environment: Environment) -> Pulled:
    """Read the records that are wanted, and write them as a table; raises BatchError when there is none."""
    began, started = time.monotonic(), now_text()
    check_new_file(wanted.path, ENDINGS, force=wanted.force)
    endpoint = make_endpoint(settings, environment)
    ids = read_ids(wanted.ids, endpoint) if wanted.ids else None
    make_pull_filter(endpoint, wanted.where, ids)  # so that a mistake is told before anything is asked
    with ExitStack() as stack:
        settings = with_login(settings, environment, reporter)
        target = make_target(settings, environment, stack, reporter.note)
        file = new_file(wanted.path)
        stack.callback(file.discard)
        counts: Counter[str] = Counter()
        api = ApiSession(target, settings.pace, environment)
        api.note_slower(reporter.note)
        work = _Work(api, settings.clear_token, counts, wanted.where, ids, RowBuffer(file.parts), reporter)
        try:
            environment.run(work.fetch)
            pulled = _write(file, work, settings)
        except Exception as error:
            raise _no_room(file.path, first_of(error)) or error from None
        pulled.counts, pulled.company = counts, target.company_name
        pulled.endpoint, pulled.host, pulled.is_sandbox = settings.endpoint, target.base_url, target.kind in SANDBOXES
        pulled.started, pulled.seconds = started, time.monotonic() - began
        return pulled


def new_file(path: Path) -> NewFile:
    """Begin a new file, for this user only; raises FolderError when that is not possible there."""
    try:
        return NewFile(path)
    except OSError as error:
        raise FolderError(f"{path}: it cannot be written ({os_reason(error)}).") from None


@dataclass(slots=True)
class _Work:
    """The part that talks to the API: records -> cells on disk."""

    api: ApiSession
    clear_token: str
    counts: Counter[str]
    where: Sequence[tuple[str, str]]
    ids: tuple[str, ...] | None
    buffer: RowBuffer
    reporter: PullReporter
    renderer: Renderer | None = None
    missing: Sequence[str] = ()
    has_told_cost: bool = False
    spent: int = 0
    """Requests before the first that reads records."""
    most_cells: int = 1
    """The most cells that a record takes as it was pulled."""

    @property
    def source(self) -> PulledFrom:
        """Where the records come from."""
        target = self.api.target
        return PulledFrom(target.endpoint.name, target.host, target.company)

    async def fetch(self) -> None:
        """Read definitions and records; raises StoppedError when the API does not give them."""
        endpoint = self.api.target.endpoint
        note = self.reporter.note
        async with self.api.open_client(endpoint, Shutdown(), lambda name: self.counts.update([name]), note) as client:
            client.endpoint = endpoint.defined(await fetch_definitions(client, note))
            self.spent = self.counts["requests"]
            self.renderer = Renderer(client.endpoint, self.clear_token)
            pulled = PulledRecords(client, make_pull_filter(client.endpoint, self.where, self.ids))
            async for records in pulled.iter_records():
                for record in records:
                    cells = pulled_cells(self.source, endpoint.record_id(record), endpoint.excerpt(record))
                    self.most_cells = max(self.most_cells, len(cells))
                    self.buffer.add(self.renderer.cells(record) | cells)
                self._tell(pulled)
            self.missing = pulled.missing
            self.buffer.flush()
            self.api.keep_learned(client.limiter)

    def _tell(self, pulled: PulledRecords) -> None:
        """Tell the cost once it is known, and then how far it is."""
        if not self.has_told_cost and pulled.reads is not None:
            self.has_told_cost = True
            self.reporter.cost(estimate_reads(self.api, pulled.reads, spent=self.spent))
        self.reporter.pulled(self.buffer.height, pulled.total)


def _write(file: NewFile, work: _Work, settings: Settings) -> Pulled:
    renderer, buffer = work.renderer, work.buffer
    assert renderer is not None  # noqa: S101 - for the type checker: fetch has made it
    ending = file.path.suffix.lower()
    if ending == ".xlsx" and buffer.height > MAX_SHEET_ROWS:
        raise SettingsError(
            f"{file.path}: {buffer.height:,} rows do not fit into a sheet. Name a .csv or .parquet file."
        )
    columns = ["id", *renderer.columns]
    names = [*columns, *pulled_headers(work.most_cells)]
    _write_proven(file, ending, names, buffer, renderer, settings.csv_delimiter)
    file.keep()
    return Pulled(file.path, buffer.height, columns, renderer.left, renderer.hidden, work.missing)


def _no_room(path: Path, error: BaseException) -> FolderError | None:
    """Say that the disk does not take what is pulled, which lies beside the file meanwhile; None for other errors."""
    said = as_os_error(error)
    if said is None or said.errno in OUT_OF_FILES:
        return None
    again = "Nothing was left there. Make room, or name another place with -o, and run the same command again."
    return FolderError(f"{path}: it cannot be written ({os_reason(said)}). {again}")


def _write_proven(
    file: NewFile, ending: str, columns: Sequence[str], buffer: RowBuffer, renderer: Renderer, delimiter: str
) -> None:
    """Write the table until everything in it comes back as it was: the second time at the latest."""
    for _ in range(MOST_TRIES):
        file.made.write_bytes(b"")
        write_table(file.made, file.parts, ending, columns, lambda: buffer.iter_frames(columns), delimiter=delimiter)
        if not buffer.height or not _blank_unproven(file.made, columns, buffer, renderer):
            return
    raise StoppedError(f"{file.path}: the table does not read back as it was written, so it was not kept.")


MOST_TRIES = 3


def _blank_unproven(path: Path, columns: Sequence[str], buffer: RowBuffer, renderer: Renderer) -> int:
    """Read the table as update would, and blank the cells that do not come back; gives how many there were."""
    count = offset = 0
    with scratch() as folder:
        found = sources.open_input(str(path), folder)
        staged = sources.stage(found, folder, sources.ReadOptions())
        read = pl.scan_parquet(staged.path, glob=False)
        for part, frame in enumerate(buffer.iter_frames(columns)):
            names = {cell_column(index): name for index, name in enumerate(columns)}
            back = read.slice(offset, frame.height).select(*names, READ_ERRORS).collect().rename(names)
            offset += frame.height
            broken = _broken(back[READ_ERRORS], columns)
            bad = {name: _differs(frame[name], back[name], broken[name]) for name in columns[1:]}
            for name, places in bad.items():
                for place in places.arg_true().to_list():
                    renderer.leave(name, frame["id"][place])
                    count += 1
            if any(places.any() for places in bad.values()):
                buffer.replace(part, _blanked(frame, bad))
    return count


def _broken(read_errors: pl.Series, columns: Sequence[str]) -> dict[str, pl.Series]:
    """Say for each column in which rows our reader does not trust it; a row that it does not trust counts for all."""
    places: dict[str, set[int]] = {name: set() for name in columns}
    for place in read_errors.is_not_null().arg_true().to_list():
        for index, _ in iter_read_errors(read_errors[place]):
            for name in columns if index is None else columns[index : index + 1]:
                places[name].add(place)
    return {name: pl.Series([place in bad for place in range(len(read_errors))]) for name, bad in places.items()}


def _differs(wanted: pl.Series, back: pl.Series, broken: pl.Series) -> pl.Series:
    return wanted.is_not_null() & (wanted.ne_missing(back) | broken)


def _blanked(frame: pl.DataFrame, bad: dict[str, Any]) -> pl.DataFrame:
    cells = [pl.when(~places).then(frame[name]).otherwise(None).alias(name) for name, places in bad.items()]
    return frame.with_columns(cells)
