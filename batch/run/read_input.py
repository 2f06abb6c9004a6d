"""An input as a command reads it: what the settings make of its rows, of its columns, and of the shard that is done.

Promises: nobody is asked; rows that are left out are said.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from batch import sources
from batch.columns import is_id_header, is_known_header, leaves_out
from batch.endpoints.base import Endpoint
from batch.endpoints.labels import fold
from batch.errors import HeaderError
from batch.model import CsvDialect, Staged, shorten, visible
from batch.outputs.results import RESULT_COLUMNS
from batch.settings import Settings
from batch.sources import Input, ReadOptions
from batch.sources.totals import Totals
from batch.validation.file_changes import FileChanges, match_file
from batch.validation.shard_rows import keep_shard


def stage_input(source: Input, folder: Path, settings: Settings, endpoint: Endpoint) -> Staged:
    """Read the input, or the rows of the shard that is done, into `folder`; raises HeaderError where none is told."""
    staged = sources.stage(source, folder, read_options(settings, endpoint))
    if settings.limit is not None and staged.rows == settings.limit:
        rows = "row was" if staged.rows == 1 else f"{staged.rows:,} rows were"
        note = f"Only the first {rows} read (--limit); what is behind that is in no count."
        staged = replace(staged, notes=(*staged.notes, note))
    if not staged.rows:
        staged = replace(staged, notes=(*staged.notes, _empty_note(staged)))
    if settings.excel_csv and staged.dialect is not None:  # in which its failures are written
        staged = replace(staged, dialect=CsvDialect("utf-8-sig", settings.csv_delimiter, "\r\n"))
    return keep_shard(match_input(staged, settings, endpoint), settings.part) if settings.part else staged


def _empty_note(staged: Staged) -> str:
    """Say where rows were looked for, and what to do where there should be some."""
    headers = shorten(visible(", ".join(one for one in staged.headers if one.strip())), 80)
    where = f' (row {staged.style.first_row} of sheet "{visible(staged.style.sheet)}")' if staged.style else ""
    other = (
        ", or name the sheet or the row of the headers that is meant (--sheet, --header-row)" if staged.style else ""
    )
    return (
        f"There is no row with a value below the header{where}: {headers}. If there should be some, save the file in "
        f"the program that has it open, and run again{other}."
    )


def read_options(settings: Settings, endpoint: Endpoint) -> ReadOptions:
    """Return how the input is read."""
    own_numbers = [is_id_header(endpoint, settings.map, one) for one in endpoint.key_fields]
    return ReadOptions(
        settings.sheet, settings.delimiter, settings.encoding, settings.hidden, settings.limit, settings.header_row,
        is_known_header(endpoint, dict.fromkeys(settings.parsing.columns, "") | settings.map),
        lambda header: any(is_own(header) for is_own in own_numbers),
        Totals(is_id_header(endpoint, settings.map, settings.key), settings.key is not None),
        leaves_out(endpoint, settings.map, settings.parsing.columns), settings.require_rows,
    )  # fmt: skip


def kept_columns(staged: Staged, names: Sequence[str]) -> dict[str, int]:
    """Return the columns that results carry along, by what they are called there: their indexes.

    One that has the name of a column of the results is called `input.NAME`. Raises HeaderError for one that there is
    not, or more than one.
    """
    folded = [fold(header) for header in staged.headers]
    problems = [
        f'--keep: there is no header "{shorten(visible(name), 60)}" in {staged.name}.'
        if fold(name) not in folded
        else f'--keep: {staged.name} has more than one header "{shorten(visible(name), 60)}".'
        for name in names
        if folded.count(fold(name)) != 1
    ]
    if problems:
        raise HeaderError("\n".join([*problems, "Nothing was sent."]))
    found = {staged.headers[at].strip(): at for at in (folded.index(fold(name)) for name in names)}
    return {f"input.{name}" if name in RESULT_COLUMNS else name: at for name, at in found.items()}


def read_input(source: Input, folder: Path, settings: Settings, endpoint: Endpoint) -> FileChanges:
    """Read the input into `folder` and match its headers."""
    return match_input(stage_input(source, folder, settings, endpoint), settings, endpoint)


def match_input(staged: Staged, settings: Settings, endpoint: Endpoint) -> FileChanges:
    """Match the headers of an input that was read."""
    return match_file(staged, endpoint, settings.parsing, reads_before_write=reads_before_write(settings, endpoint))


def reads_before_write(settings: Settings, endpoint: Endpoint) -> bool:
    """Whether current records will be read before writing, so that nested values may be given in part."""
    return settings.compare or endpoint.needs_full_body or settings.key is not None
