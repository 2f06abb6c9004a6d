"""Reading an input and matching its headers, as check, plan and update do it alike."""

import shlex
from dataclasses import replace
from pathlib import Path

from batch import sources
from batch.columns import is_id_header, is_known_header
from batch.endpoints.base import Endpoint
from batch.errors import UsageError
from batch.model import CsvDialect, Staged, visible
from batch.run.consent import Person, require_consent
from batch.settings import Settings
from batch.sources import Input, ReadOptions
from batch.sources.totals import Totals
from batch.validation.file_changes import FileChanges, match_file


def choose_sheet(source: Input, settings: Settings, endpoint: Endpoint, person: Person | None) -> Settings:
    """Offer the one sheet that fits where the first one does not.

    Raises UsageError that names --sheet where nobody can be asked, and Declined for no.
    """
    found = sources.find_sheet(source, read_options(settings, endpoint))
    if found is None:
        return settings
    first, other = (visible(one) for one in found)
    odd = f'{source.name}: sheet "{first}", the first, does not fit {endpoint.title}. Sheet "{other}" fits.'
    options = "    ".join(f"--sheet {shlex.quote(one)}" for one in reversed(found))
    if person is None:
        raise UsageError(f"{odd} Say which one is meant:  {options}")
    require_consent(person, odd, f"Say which one is meant:  {options}", f'Read sheet "{other}"?')
    return replace(settings, sheet=found[1])


def stage_input(source: Input, folder: Path, settings: Settings, endpoint: Endpoint) -> Staged:
    """Read the input into `folder`."""
    staged = sources.stage(source, folder, read_options(settings, endpoint))
    if settings.excel_csv and staged.dialect is not None:  # in which its failures are written
        return replace(staged, dialect=CsvDialect("utf-8-sig", settings.csv_delimiter, "\r\n"))
    return staged


def read_options(settings: Settings, endpoint: Endpoint) -> ReadOptions:
    """Return how the input is read."""
    return ReadOptions(
        settings.sheet, settings.delimiter, settings.encoding, settings.hidden, settings.limit, settings.header_row,
        is_known_header(endpoint, settings.map),
        Totals(is_id_header(endpoint, settings.map, settings.key), settings.key is not None),
    )  # fmt: skip


def read_input(source: Input, folder: Path, settings: Settings, endpoint: Endpoint) -> FileChanges:
    """Read the input into `folder` and match its headers."""
    return match_input(stage_input(source, folder, settings, endpoint), settings, endpoint)


def match_input(staged: Staged, settings: Settings, endpoint: Endpoint) -> FileChanges:
    """Match the headers of an input that was read."""
    return match_file(staged, endpoint, settings.parsing, reads_before_write=reads_before_write(settings, endpoint))


def reads_before_write(settings: Settings, endpoint: Endpoint) -> bool:
    """Whether current records will be read before writing, so that nested values may be given in part."""
    return settings.compare or endpoint.needs_full_body or settings.key is not None
