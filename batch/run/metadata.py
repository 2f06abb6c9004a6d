"""What a journal keeps of its run as a whole: written as JSON, and read back as what it was written as.

Promises: whatever is of another kind than what was written, or could not have been, is a ValueError before anything
is made of it. (What is of the right kind and wrong all the same, such as another name, cannot be told.)
"""

import codecs
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, model_validator

from batch import __version__
from batch.credentials import Company
from batch.endpoints.base import CustomField
from batch.input_names import short_name
from batch.model import CsvDialect, SheetStyle, Staged

LINE_ENDS = ("\n", "\r", "\r\n")
Texts = tuple[str, ...]
Definitions = tuple[tuple[str, str, int | str | None, Texts], ...]


class RunMetadata(BaseModel):
    """What a run knows of itself; the aliases are the names in journals of 0.1."""

    model_config = ConfigDict(strict=True, extra="forbid", populate_by_name=True)

    run_id: str
    """128 random bits in hexadecimal; of runs of 0.1 another text."""
    parent_run: str | None = None
    """The run whose failures file this one was begun with."""
    shard: str | None = None
    identity: str
    """What makes another start the same run; of an undo the checksum of its list."""
    batch_version: str = Field(default=__version__, validation_alias="batch")
    command: str = ""
    endpoint: str
    host: str
    """What tells this host from others: "sandbox", or the base URL."""
    base_url: str
    company: str | None = None
    """The name that was given with --company."""
    fingerprint: str = ""
    """Of the key that the run was begun with; "" in runs of 0.1."""
    sparse: bool = False
    """The option of this name, in journals from before there were `endpoint_options`."""
    endpoint_options: dict[str, bool | int | float | str] = {}
    input: str
    map: dict[str, str] = {}
    options_again: Texts = Field(default=(), validation_alias="again")
    """Options that the same command needs again."""
    options_next: Texts = Field(default=(), validation_alias="next")
    """Options that a run on the failures file needs."""
    planned_by: str = ""
    """Who made the plan that it carries out, as the file says in which a colleague sent it."""
    users: Texts = ()
    """Who began it or went on with it, as the system calls them; none in runs of 0.1."""
    headers: dict[str, str] = {}
    """The header of each field, where it is not the field's own name."""
    keep: Texts = ()
    """Columns of the input that the results carry along, by their headers."""
    results_xlsx: bool = False
    """Whether there is a workbook of the results although the input is none."""
    staged: Staged
    id_column: NonNegativeInt
    started: str
    seconds: NonNegativeFloat
    definitions: Definitions
    has_definitions: bool = False
    is_validated: bool = Field(validation_alias="is_surveyed")
    clears_are_meant: bool = False
    canary_begun: bool = False
    """The changes that were sent are the first few of --canary."""
    canary_held: bool = False
    canary_failure: str = ""
    """Why the canary did not hold: until somebody looked, nothing else is sent."""
    asked: tuple[tuple[NonNegativeFloat, NonNegativeFloat], ...] = ()
    """From when to when a person was asked, in seconds since 1970: nothing was sent meanwhile."""
    limiter: Literal["process", "host", "redis"] = "process"
    """Who shared the limits of the API with the last start."""
    claim_epoch: NonNegativeInt = 0
    """The number of the last start's claim, 0 for none; the process that claims the run next has the next number."""
    has_copies: bool = False
    """There are copies of its record, from which another machine may have gone on."""
    own_seed: str = ""
    """What the keys of all but a change's first intent are made of, once others may know the run's id; "" before."""
    earlier: dict[str, NonNegativeInt] = {}
    """How many rows of each outcome were done when the last start went on with the run."""
    stopped: str | None = None
    stop_reason: str | None = None
    """The stable word for why it stopped."""
    finished: str | None = None
    """When its last part ended, ISO 8601 in UTC."""
    exit_code: int | None = None
    not_uploaded: bool = False
    """Its files could not be uploaded, or not be written in time, so that the same command goes on with it."""
    undoes: str | None = None
    """The folder of the run that this one takes back."""
    undoes_run: str | None = None
    """The name of that run."""
    look_since: NonNegativeFloat = 0.0
    """When the start began that was to look at what earlier parts said of records; 0: all of them were seen since."""
    meaning: dict[str, Any] = {}
    """The settings that say what its rows mean; none in runs of 0.1."""
    formats: dict[str, str] = {}
    """How a person said that numbers and dates are meant, by setting; a start that resumes it reads them so, too."""
    keeps_data: bool = True
    """False: the values are removed when the run is over."""
    is_erased: bool = False
    """The values were removed."""
    undone: str | None = None
    """The folder of the undo that took this run back."""
    parts: Texts = ()
    """The runs that were put together in this one, by their folders as seen from its own."""

    @classmethod
    def from_journal(cls, meta: Mapping[str, Any], input_path: Path) -> Self:
        """Read what a journal keeps of its run; raises ValueError when it makes no sense."""
        names = {one for name, info in cls.model_fields.items() for one in (name, str(info.validation_alias or name))}
        known = cls.model_validate_json(json.dumps({name: meta[name] for name in names & meta.keys()}))
        return known.model_copy(update={"staged": replace(known.staged, path=input_path)})

    def as_meta(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Return what the journal keeps, of all fields or of those in `names`."""
        return {name: self._as_json(name) for name in (type(self).model_fields if names is None else names)}

    def _as_json(self, name: str) -> Any:
        if name == "staged":
            return asdict(self.staged) | {"path": self.staged.path.name}  # the folder may be moved
        return getattr(self, name)

    @property
    def title(self) -> str:
        """What its report and its workbook are called."""
        return f"Taking back {short_name(self.undoes)}" if self.undoes else f"Changes from {short_name(self.input)}"

    @property
    def mapped(self) -> dict[str, str]:
        """What headers stand for that are not the names of their fields; "" for a column that is left out."""
        return {header: name for name, header in self.headers.items()} | self.map

    @property
    def mapping(self) -> str:
        """A digest of the settings that say what its rows mean."""
        return hashlib.sha256(json.dumps(self.meaning, sort_keys=True).encode()).hexdigest()

    @property
    def owner(self) -> Company:
        """Whose records they are."""
        return Company(self.fingerprint, self.company)

    @property
    def has_workbook(self) -> bool:
        """Whether its results are written as a workbook, too."""
        return self.results_xlsx or self.staged.format == "xlsx"

    @property
    def own_options(self) -> dict[str, Any]:
        """The options of its own that the endpoint had."""
        return self.endpoint_options or ({"sparse": True} if self.sparse else {})

    def option_again(self, option: str) -> str | None:
        """Return the value of an option that the same command needs again, None where it needs none."""
        again = self.options_again
        return again[again.index(option) + 1] if option in again[:-1] else None

    @property
    def is_compared(self) -> bool:
        """Whether its records are read before they are changed, so that a run on its failures may hold them to it."""
        return "--no-compare" not in self.options_again

    @property
    def is_keyed(self) -> bool:
        """Whether its rows say which record by a key, not by the API's id."""
        return "--key" in self.options_again

    @property
    def custom_fields(self) -> list[CustomField]:
        """The organisation's custom fields, as this run knows them."""
        return [CustomField(name, kind, number, options) for name, kind, number, options in self.definitions]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        staged = self.staged
        if self.id_column >= len(staged.headers) or staged.rows < 0:
            raise ValueError("there is no such column")
        if (staged.format == "csv") != (staged.dialect is not None):
            raise ValueError("only CSV has a dialect")
        if (staged.format == "xlsx") != (staged.style is not None):
            raise ValueError("only a workbook has a style")
        if staged.dialect is not None:
            _check_dialect(staged.dialect)
        if staged.style is not None:
            _check_style(staged.style, len(staged.headers))
        return self


def _check_dialect(dialect: CsvDialect) -> None:
    try:
        "".encode(codecs.lookup(dialect.encoding).name)
    except LookupError as error:  # unknown, or no encoding of texts
        raise ValueError(str(error)) from None
    if len(dialect.delimiter) != 1 or dialect.line_end not in LINE_ENDS:
        raise ValueError("no table is written like this")


def _check_style(style: SheetStyle, columns: int) -> None:
    if min(style.first_row, style.first_column) < 1:
        raise ValueError("there is no such cell")
    if len(style.looks) not in (0, len(style.formats)) or len(style.widths) not in (0, columns):
        raise ValueError("looks and widths of another sheet")
    if len(style.header_formats) not in (0, columns) or not set(style.header_formats) <= set(range(len(style.formats))):
        raise ValueError("there is no such format")
    if not all(re.fullmatch("(#[0-9A-F]{6})?", one) for look in style.looks for one in (look.colour, look.fill)):
        raise ValueError("there is no such colour")


def definitions_of(custom_fields: Sequence[CustomField]) -> Definitions:
    """Turn custom fields into what the journal keeps of them."""
    return tuple((one.name, one.kind, one.id, one.options) for one in custom_fields)
