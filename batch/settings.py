"""Every setting, defined once; and the layers of values that make one frozen `Settings`.

The fields of `Settings` are the table: type and default as in any dataclass, everything else in the `Setting` beside
them. The command line's options, the environment variables, and the keys of `batch.toml` are made from it.

Promises: an earlier layer wins over a later one, and any layer over the default; an unknown key or a value that makes
no sense is a SettingsError that names where it stands. No credential is a setting. Importing this module loads no
pydantic, so that showing help stays cheap.
"""

import csv
import operator
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, MinLen

from batch.addresses import Address, is_address, shown
from batch.credentials import is_redis, shown_redis
from batch.errors import SettingsError
from batch.shard import Shard

FILE_NAME = "batch.toml"
DEFAULT_CLEAR = "<clear>"
DEFAULT_AT_ONCE = 16

INPUT = ("check", "plan", "update")
"""The commands that take an input."""
CONNECTION = ("plan", "pull", "resume", "undo", "update")
"""The commands that talk to the API."""
SENDING = ("resume", "undo", "update")
"""The commands that write to the API."""
OUTPUT = ("check", "plan", "pull", "results", "resume", "undo", "update")
"""The commands that show a summary."""


@dataclass(frozen=True, slots=True)
class Parsing:
    """What the cells of an input mean; see the options of these names."""

    map: Mapping[str, str]
    columns: tuple[str, ...]
    key: str | None
    clear_token: str
    as_shown: tuple[str, ...]
    decimal: Literal[".", ","] | None
    date_format: Literal["iso", "dmy", "mdy"] | None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and how persistent a job may be; see the options of these names."""

    max_at_once: int
    max_per_second: float | None
    max_attempts: int
    max_wait: float
    """Seconds."""
    read_timeout: float
    verify_within: float
    """Seconds."""
    grace: float
    """Seconds that attempts in flight are given after the first signal."""
    limiter: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a setting beside its type and its default."""

    help: str = ""
    metavar: str | None = None
    commands: tuple[str, ...] = ()
    """The commands that take it as an option; those without any take none."""
    short: str = ""
    help_of: Mapping[str, str] = field(default_factory=dict)
    """Help texts of the commands that say something else."""
    in_identity: bool = False
    """Whether it changes what a row means, so that a run is the same run only when it is the same."""
    is_later: bool = False
    """Whether it came after identities were written down, which it must not change while it is not given."""
    repeat: int | None = None
    """Its place among the options that the next command repeats; None: it is not repeated."""
    of_input: bool = False
    """Whether it belongs to one input file, so that the next command repeats it for the same input only."""
    is_layered: bool = True
    """Whether the environment and `batch.toml` may set it, not only the command."""
    found_file: Literal["no", "if careful", "yes"] = "no"
    """Whether a `batch.toml` that was found, not named, may set it; "if careful": only towards more care."""
    is_secret: bool = False
    """Whether it may hold a password: no message shows its value, and of an address what is shown and written down is
    the rest."""
    parse: Callable[[Any], Any] | None = None
    """Brings a value into form before its type is checked; raises ValueError with what it should be."""
    name: str = ""
    """The name of the field. This and the next two come from the field itself."""
    type: Any = None
    """Its type without None."""
    default: Any = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Have pydantic call `parse` first."""
        from pydantic_core import core_schema  # nothing but help is shown without it

        schema = handler(source)
        return core_schema.no_info_before_validator_function(self.parse, schema) if self.parse else schema

    @property
    def key(self) -> str:
        """The setting as options and `batch.toml` spell it: `max-wait`."""
        return self.name.removesuffix("_output").removesuffix("_login").replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "BATCH_" + self.key.replace("-", "_").upper()


def listed_columns(given: Sequence[str]) -> tuple[str, ...]:
    """Return the headers of `A,B` and `C`; a header with a comma stands in quotation marks, as in CSV."""
    cells = (cell.strip() for text in given for row in csv.reader([text], skipinitialspace=True) for cell in row)
    return tuple(dict.fromkeys(filter(None, cells)))


def _address(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError("it is empty, and would mean the maker's own API. Name an address, or unset it")
    return value


def _redis(value: Any) -> Any:
    if isinstance(value, str) and not is_redis(value):
        raise ValueError("it should be an address such as redis://host:6379/0, or rediss:// with encryption")
    return value


def _clear_token(value: Any) -> Any:
    if isinstance(value, str) and value and not value.strip():
        raise ValueError("it must not be blank, or every blank cell would clear its field")
    return value.strip() if isinstance(value, str) else value


def _number_or_share(value: Any) -> Any:
    text = str(value) if isinstance(value, int) else value
    if isinstance(text, str) and not re.fullmatch(r"\s*(\d{1,9}|(100|\d{1,2}(\.\d{1,6})?)\s*%)\s*", text, re.ASCII):
        raise ValueError("it should be a number of rows (50) or a share of them (5%)")
    return text


def duration(value: Any) -> Any:
    """Return a text such as 90s, 30m, 24h or 7d as seconds, anything else as it is; raises ValueError."""
    units = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d+)?)\s*([smhd]?)\s*", value) if isinstance(value, str) else None
    if isinstance(value, str) and not found:
        raise ValueError("it should be a time such as 90s, 30m, 24h or 7d")
    return float(found[1]) * units[found[2]] if found else value


def _place(value: Any) -> Any:
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(value, str) and is_address(value):
        address = Address.parse(value, "--out ")
        if address.is_web:
            raise SettingsError(
                f"--out {address}: results cannot be written there. They go to a folder, or to {WRITTEN}."
            )
        if address.is_pattern:
            raise SettingsError(f"--out {address}: this is a pattern. Results go to one place.")
    return value


def _plan_folder(value: Any) -> Any:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(text, str) and is_address(text):
        raise ValueError("a plan is carried out from a folder of this machine. Copy it here, with all its files")
    return value


WRITTEN = "s3://, gs://, az:// or abfss://"


def _shard(value: Any) -> Any:
    return str(Shard.parse(value)) if isinstance(value, str) else value


def _one_character(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    value = {"tab": "\t", "\\t": "\t"}.get(value, value)
    if len(value) != 1 or value in '"\r\n':
        raise ValueError('it must be one character, such as ; or , or "tab"')
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a job needs to know; options are shown in this order. Values that nobody checked: `merge_layers`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    # fmt: off
    # (a setting in few lines, so that the table can be read as one)
    input: Annotated[str, Setting(is_layered=False)] = ""
    endpoint: Annotated[str, Setting(
        "What to change, such as dualentry.customers.", "NAME", (*INPUT, "login", "pull", "template"), short="-e",
        found_file="yes",
    )] = ""
    out: Annotated[str | None, MinLen(1), Setting(
        "Where runs go, each in a folder of its own; default: <input>.batch beside the input. An address such as "
        "s3://bucket/runs gets the results.", "PARENT",
        (*INPUT, "resume", "undo"), help_of={
            "resume": "The address that gets the results, such as s3://bucket/runs; the run stays in RUN_FOLDER.",
            "undo": "Where the undo goes; default: beside RUN_FOLDER.",
        },
        repeat=22, of_input=True, parse=_place,
    )] = None
    work_dir: Annotated[Path | None, Setting(
        "Where runs go on this machine, when --out is an address.", "PARENT", (*INPUT, "undo"),
        repeat=39, of_input=True,
    )] = None
    store: Annotated[str | None, MinLen(1), Setting(
        "Where copies of the run's record go, so that another machine goes on with it: a folder or s3://….", "PLACE",
        ("update",), repeat=47,
    )] = None
    storage_option: Annotated[dict[str, str], Setting(
        "How to open s3://, gs:// and az:// addresses, such as a region. Repeatable.", "K=V",
        (*INPUT, "resume", "undo"), is_secret=True,
    )] = field(default_factory=dict, repr=False)
    map: Annotated[dict[str, str], Setting(
        'What a header stands for; "HEADER=" leaves the column out. Repeatable.', '"HEADER=FIELD"', INPUT,
        in_identity=True, repeat=1, found_file="yes",
    )] = field(default_factory=dict)
    columns: Annotated[tuple[str, ...], Setting(
        "Use only these columns, by their headers, and leave out all others. Repeatable.", "A,B,…", INPUT,
        in_identity=True, is_later=True, repeat=41, found_file="yes",
    )] = ()
    mapping: Annotated[str | None, MinLen(1), Setting(
        "What headers stand for, as remembered under this name.", "NAME", INPUT,
    )] = None
    sheet: Annotated[str | None, Setting(
        "The sheet of a workbook; default: the first.", "NAME", INPUT,
        in_identity=True, repeat=17, of_input=True, found_file="yes",
    )] = None
    header_row: Annotated[int | None, Ge(1), Setting(
        "The row with the headers; default: it is found.", "N", INPUT,
        in_identity=True, is_later=True, repeat=32, of_input=True, found_file="yes",
    )] = None
    delimiter: Annotated[str | None, Setting(
        'What separates the cells of a CSV file; "tab" for tabs.', "C", INPUT, parse=_one_character,
        in_identity=True, repeat=18, of_input=True, found_file="yes",
    )] = None
    encoding: Annotated[str | None, Setting(
        "The encoding of a CSV file, such as cp1252.", "NAME", INPUT,
        in_identity=True, repeat=19, of_input=True, found_file="yes",
    )] = None
    hidden: Annotated[Literal["include", "skip"] | None, Setting(
        "What to do with hidden rows of a workbook.", None, INPUT,
        in_identity=True, repeat=20, of_input=True, found_file="yes",
    )] = None
    decimal: Annotated[Literal[".", ","] | None, Setting(
        'The decimal mark of numbers, "." or ",".', "C", INPUT, in_identity=True, repeat=6, found_file="yes",
    )] = None
    date_format: Annotated[Literal["iso", "dmy", "mdy"] | None, Setting(
        "How dates are written: 2026-04-03, day first, or month first.", None, INPUT,
        in_identity=True, repeat=7, found_file="yes",
    )] = None
    clear_token: Annotated[str, MinLen(1), Setting(
        "The cell text that empties a field; default: <clear>.", "TEXT", INPUT, parse=_clear_token,
        in_identity=True, repeat=5,
    )] = DEFAULT_CLEAR
    as_shown: Annotated[tuple[str, ...], Setting(
        "Take the numbers and dates of this text column as the workbook shows them. Repeatable.", "COLUMN", INPUT,
        in_identity=True, repeat=25,
    )] = ()
    limit: Annotated[int | None, Ge(1), Setting(
        "Only the first N rows.", "N", INPUT, in_identity=True, repeat=21, of_input=True,
    )] = None
    shard: Annotated[str | None, Setting(
        "Only the records of shard K of N, such as 3/16: N starts share the work of one input.", "K/N", INPUT,
        in_identity=True, is_later=True, repeat=46, of_input=True, parse=_shard,
    )] = None
    require_rows: Annotated[bool, Setting(
        "Refuse an input without rows instead of being done with it.", None, INPUT, repeat=37,
    )] = False
    key: Annotated[str | None, Setting(
        "Find records by this field of yours instead of the API's id.", "FIELD", INPUT,
        in_identity=True, repeat=4, found_file="yes",
    )] = None
    compare: Annotated[bool, Setting(
        "Read first and send only what differs (default), or not.", None, (*INPUT, "resume"), repeat=24,
    )] = True
    overwrite: Annotated[bool, Setting(
        "Write also over what others changed since the sheet was made.", None, ("plan", "update"),
        in_identity=True, repeat=28,
    )] = False
    only_empty: Annotated[bool, Setting(
        "Write a field only where the record has none: a fill never overwrites.", None, ("plan", "update"),
        in_identity=True, repeat=42,
    )] = False
    other_company: Annotated[bool, Setting(
        "Take a sheet that was pulled, or a plan that was made, for another company.", None,
        ("plan", "resume", "update"), repeat=29,
    )] = False
    none_found: Annotated[bool, Setting(
        "Go on although no record has any of the first 100 ids.", None, ("plan", "resume", "update"), repeat=30,
    )] = False
    results_xlsx: Annotated[bool, Setting(
        "Write results.xlsx, to read and to print, for an input that is no workbook, too.", None,
        ("resume", "results", "undo", "update"), repeat=34,
    )] = False
    keep: Annotated[tuple[str, ...], Setting(
        "Carry these columns of the input along in the results, by their headers. Repeatable.", "A,B,…",
        ("resume", "results", "update"), repeat=40,
    )] = ()
    keep_data: Annotated[bool, Setting(
        "Keep the values of rows and records (default), or none but those of the failures file when nothing is left "
        "to retry: such a run cannot be undone.", None, ("resume", "update"), repeat=45,
    )] = True
    excel_csv: Annotated[bool, Setting(
        "Separate the cells of CSV files with semicolons, as Excel wants it in many countries.", None,
        ("check", "plan", "pull", "template", "update"), repeat=35,
    )] = False
    json_output: Annotated[bool, Setting("The summary as JSON on stdout.", None, OUTPUT)] = False
    quiet: Annotated[bool, Setting("Errors only.", None, OUTPUT)] = False
    base_url: Annotated[str | None, Setting(
        "The API's address instead of the maker's.", "URL", (*CONNECTION, "login", "template"), parse=_address,
        repeat=3,
    )] = None
    allow_http: Annotated[str | None, MinLen(1), Setting(
        "Send the key to this host without encryption, such as to a stand-in for the API in another container.",
        "HOST", (*CONNECTION, "login", "template"), repeat=38,
    )] = None
    sandbox: Annotated[bool, Setting(
        "Send to an imitation of the API (`sandbox start`: to one that stays).", None,
        (*CONNECTION, "template"), repeat=2,
    )] = False
    token_file: Annotated[Path | None, Setting(
        "A file that holds the key or token.", "FILE", (*CONNECTION, "login", "template"), repeat=8,
    )] = None
    token_command: Annotated[str | None, MinLen(1), Setting(
        "A command that prints the key or token, run without a shell.", "COMMAND", (*CONNECTION, "login", "template"),
        repeat=36,
    )] = None
    as_login: Annotated[str | None, MinLen(1), Setting(
        "The company whose key is taken, of those that have a login.", "NAME",
        (*CONNECTION, "template"), repeat=33,
    )] = None
    max_at_once: Annotated[int, Ge(1), Le(1024), Setting(
        "Requests in flight; default: 16.", "N", CONNECTION, repeat=10, found_file="if careful",
    )] = DEFAULT_AT_ONCE
    max_per_second: Annotated[float | None, Gt(0), Setting(
        "Requests a second, instead of the documented limits.", "X", CONNECTION, repeat=9, found_file="if careful",
    )] = None
    limiter: Annotated[str | None, Setting(
        "A Redis that shares the API's limits among all hosts; default: those of this host share them.", "URL",
        (*CONNECTION, "login", "template"), parse=_redis, repeat=43, is_secret=True,
    )] = field(default=None, repr=False)
    max_attempts: Annotated[int, Ge(1), Le(100), Setting(
        "Tries for one change; default: 6.", "N", CONNECTION, repeat=11, found_file="if careful",
    )] = 6
    max_wait: Annotated[float, Ge(0), Setting(
        "The longest wait the API may ask for; default: 300.", "SECONDS", CONNECTION, repeat=12,
    )] = 300.0
    read_timeout: Annotated[float, Gt(0), Setting(
        "How long the API may be silent; default: 60.", "SECONDS", CONNECTION, repeat=26,
    )] = 60.0
    verify_within: Annotated[float, Ge(0), Setting(
        "How long to look for a confirmed change that the record does not show yet; default: 60.", "SECONDS",
        SENDING, repeat=31,
    )] = 60.0
    max_failures: Annotated[str | None, Setting(
        "Stop after so many rejections.", "N|N%", SENDING, parse=_number_or_share,
        repeat=13, found_file="if careful",
    )] = None
    invalid: Annotated[Literal["skip", "abort"], Setting(
        "Leave invalid rows behind (default), or send nothing while there are any.", None, ("resume", "update"),
        repeat=16, found_file="if careful",
    )] = "skip"
    plan: Annotated[Path | None, Setting(
        "Do exactly what the plan in FOLDER, or in a colleague's .batch-plan.zip, says; refused when the input or its "
        "list changed.", "FOLDER",
        ("resume", "update"),
        repeat=23, of_input=True, is_layered=False, parse=_plan_folder,
    )] = None
    max_age: Annotated[float | None, Ge(0), Setting(
        "Refuse a plan that was made longer ago, such as 2d.", "TIME", ("update",), parse=duration,
    )] = None
    max_clears: Annotated[str | None, Setting(
        "The most records that may lose one field; default: 20% of them (from 10 on).", "N|N%", ("update", "undo"),
        help_of={"undo": "The most records that may lose one field; default: all."}, parse=_number_or_share,
        repeat=14, found_file="if careful",
    )] = None
    canary: Annotated[int | None, Ge(0), Setting(
        "Send N changes first, verify them, and go on only if all held; 0: do not.", "N", SENDING,
        repeat=15, found_file="if careful",
    )] = None
    company: Annotated[str | None, MinLen(1), Setting(
        "Whose records these are, whatever the key; a run belongs to it.", "NAME", ("plan", "pull", *SENDING),
        repeat=27, help_of={"pull": "Whose records these are, whatever the key; the sheet says so."},
    )] = None
    detailed_exitcode: Annotated[bool, Setting(
        "Exit with 10 instead of 0 where something would change.", None, ("plan",),
    )] = False
    output: Annotated[Literal["text", "md"], Setting(
        "What is printed: text (default), or Markdown for a pull request.", None, ("plan",),
    )] = "text"
    log_format: Annotated[Literal["text", "json"], Setting(
        "How what happens is told on standard error: in text (default), or as one line of JSON an event.", None,
        CONNECTION,
    )] = "text"
    metrics_file: Annotated[Path | None, Setting(
        "Write figures for Prometheus into this .prom file at the end.", "FILE", SENDING,
    )] = None
    on_finish: Annotated[str | None, MinLen(1), Setting(
        "Run this command at the end, without a shell, with the summary on its standard input.", "COMMAND", SENDING,
    )] = None
    grace: Annotated[float, Ge(0), Setting(
        "How long what is in flight and the results files may take after Ctrl-C or SIGTERM; default: 20.", "SECONDS",
        SENDING,
    )] = 20.0
    new: Annotated[bool, Setting("Start over instead of resuming.", None, ("update",))] = False
    resume_within: Annotated[float, Ge(0), Setting(
        "Go on with an unfinished run only if it got so far less long ago, such as 24h (default), 30m, 7d.", "TIME",
        ("update",), parse=duration,
    )] = 86_400.0
    trust_folder: Annotated[bool, Setting(
        "Believe what a run folder says although this computer does not know it.", None, SENDING,
        is_layered=False,
    )] = False
    report: Annotated[bool, Setting(
        "Leave a report.html beside the results (default), or not.", None, ("plan", *SENDING), repeat=44,
    )] = True
    yes: Annotated[bool, Setting("Do not ask.", None, (*SENDING, "purge"))] = False
    # fmt: on

    full_input: str = field(default="", compare=False, repr=False)
    """The input with what its `input` hides, where it is an address with a secret in it."""
    endpoint_options: Mapping[str, Any] = field(default_factory=dict)
    """The options that the endpoint has of its own, from its table in `batch.toml`."""
    sources: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Where each value that was given came from: the `source` of its layer."""
    found: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What only a file says that was found, not named: a mapping goes before it."""

    @property
    def uploads(self) -> bool:
        """Whether results go to an address."""
        return self.out is not None and is_address(os.fspath(self.out))

    @property
    def parent(self) -> Path | None:
        """The folder on this machine that was named for runs."""
        return Path(self.out) if self.out is not None and not self.uploads else self.work_dir

    @property
    def part(self) -> Shard | None:
        """The shard that is done; None: all of the input is."""
        return None if self.shard is None else Shard.parse(self.shard)

    @property
    def csv_delimiter(self) -> str:
        """What separates the cells of CSV files for people."""
        return ";" if self.excel_csv else ","

    @property
    def parsing(self) -> Parsing:
        """The settings about what cells mean."""
        return Parsing(
            self.map,
            listed_columns(self.columns),
            self.key,
            self.clear_token,
            self.as_shown,
            self.decimal,
            self.date_format,
        )

    @property
    def pace(self) -> Pace:
        """The settings about speed and persistence."""
        return Pace(
            self.max_at_once, self.max_per_second, self.max_attempts, self.max_wait, self.read_timeout,
            self.verify_within, self.grace, self.limiter,
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """Return the values that make a run another run, as JSON can hold them; those without a None come first."""
        found = sorted((one for one in SETTINGS.values() if one.in_identity), key=lambda one: one.default is None)
        values = {one.name: getattr(self, one.name) for one in found}
        return {  # an empty list, or a switch that is off, says nothing: runs of before there was one stay the same
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value != () and value is not False and not (value is None and SETTINGS[name].is_later)
        }


def _read_table() -> dict[str, Setting]:
    hints = get_type_hints(Settings, include_extras=True)
    defaults, table = Settings(), {}
    for one in fields(Settings):
        if get_origin(hints[one.name]) is Annotated:
            kind, *_, setting = get_args(hints[one.name])
            kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
            (kind,) = set(kinds) - {NoneType}
            table[one.name] = replace(setting, name=one.name, type=kind, default=getattr(defaults, one.name))
    return table


SETTINGS = _read_table()
"""All settings by name, in the order in which options are shown."""


# -- layers ---------------------------------------------------------------------------------------------------------

COMMAND_LINE = "the command line"
ENVIRONMENT = "the environment"


@dataclass(frozen=True, slots=True)
class Layer:
    """Values that were given together, and where they stand: in a file, its path."""

    source: str
    """"" for the arguments of a function."""
    values: Mapping[str, Any]
    is_found: bool = False
    """Whether it is a file that nobody named, which may have been put there by somebody else."""

    def spell(self, name: str) -> str:
        """Name a setting as its source spells it; a variable is told as the option that it stands for."""
        if not self.source:
            return name
        if self.source in (COMMAND_LINE, ENVIRONMENT):
            return f"--{SETTINGS[name].key}"
        return f"{self.source}: {SETTINGS[name].key}"


def merge_layers(layers: Sequence[Layer]) -> Settings:
    """Merge layers, of which the first wins; pairs add up. Raises SettingsError with all wrong values."""
    origins: dict[str, Layer] = {}
    for layer in layers:
        origins = dict.fromkeys(layer.values, layer) | origins
    found = {name: layer.values[name] for name, layer in origins.items() if layer.is_found}
    found |= {"map": _found_headers(layers)}
    values = {name: layer.values[name] for name, layer in origins.items()}
    sources = {name: layer.source for name, layer in origins.items()}
    merged = values | {name: _added_up(layers, name) for name in PAIRS & values.keys()}
    options: dict[str, Any] = {}
    for layer in reversed(layers):
        options |= layer.values.get("endpoint_options", {})
    merged |= {"endpoint_options": options} if options else {}
    checked = _checked(merged, lambda name: origins[name].spell(name))
    if checked.work_dir is not None and checked.out is not None and not checked.uploads:
        raise SettingsError("--out and --work-dir both name a folder. --work-dir is for an --out that is an address.")
    if is_address(checked.input):
        Address.parse(checked.input, "")
        checked = replace(checked, input=shown(checked.input), full_input=checked.input)
    elif "://" in checked.input:
        raise SettingsError(
            f"{shown(checked.input)}: an address is an input of its own. Of several objects name the folder that they "
            "are in, or a pattern."
        )
    return replace(checked, sources=sources, found=found)


PAIRS = frozenset(("map", "storage_option"))
"""Settings of names and values, which add up."""


def _added_up(layers: Sequence[Layer], name: str) -> dict[str, str]:
    """Return the pairs of all layers, of which the first wins."""
    pairs: dict[str, str] = {}
    for layer in reversed([one for one in layers if name in one.values]):
        pairs |= getattr(_checked({name: layer.values[name]}, layer.spell), name)
    return pairs


def _found_headers(layers: Sequence[Layer]) -> dict[str, str]:
    """Return what a file that was found says of headers, and no layer before it."""
    headers: dict[str, str] = {}
    for layer in reversed(layers):
        own = layer.values.get("map", {})
        headers = {**headers, **own} if layer.is_found else {one: to for one, to in headers.items() if one not in own}
    return headers


def _checked(values: Mapping[str, Any], spell: Callable[[str], str]) -> Settings:
    """Return the values as settings; `spell` names a setting in errors."""
    from pydantic import ValidationError

    try:
        checked: Settings = _reader().validate_python(values)
    except ValidationError as error:
        lines = [_in_words(detail, spell) for detail in error.errors(include_url=False)]
        raise SettingsError("\n".join(lines)) from None
    return checked


@cache
def _reader() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Settings)


EndpointOptions = Mapping[str, Mapping[str, Any]]
"""The options that each endpoint has of its own: their types by name."""
WORDS = (("a valid integer", "a whole number"), ("a valid number", "a number"), ("a valid boolean", "true or false"))
MAP_IN_FILE = 'it should be a table:  [map]  and below it lines such as  "Header" = "field"'


def _in_words(detail: Any, spell: Callable[[str], str]) -> str:
    """Say which setting makes no sense, what was seen, and what it should be."""
    name, *inner = (str(part) for part in detail["loc"])
    message = str(detail["msg"]).removeprefix("Value error, ").replace("Input should be", "it should be")
    message = message.partition(", unable to")[0]
    for theirs, ours in WORDS:
        message = message.replace(theirs, ours)
    spelled = spell(name)
    if name == "map":
        message = 'it should be "field"' if inner else MAP_IN_FILE
        spelled = spelled.removesuffix("map") + f'[map] "{inner[0]}" =' if inner else spelled
    given = shown(detail["input"]) if isinstance(detail["input"], str) else detail["input"]
    if name in SETTINGS and SETTINGS[name].is_secret:
        return f"{'.'.join((spelled, *inner))} …: {message}."
    return f"{spelled} {given!r}: {message}."


def as_options(settings: Settings, *, for_same_input: bool) -> list[str]:
    """Spell the settings that the next command must repeat as command-line options."""
    options: list[str] = []
    repeated = [one for one in SETTINGS.values() if one.repeat and (for_same_input or not one.of_input)]
    for one in sorted(repeated, key=lambda one: one.repeat or 0):
        value = getattr(settings, one.name)
        if one.is_secret:  # the next command has the same environment and files; a password is for a person to add
            source, told = settings.sources.get(one.name), shown_redis(value) if value is not None else ""
            is_repeated = source == COMMAND_LINE or (told == value and source != ENVIRONMENT)
            options += [f"--{one.key}", told] if value is not None and is_repeated else []
        elif isinstance(value, dict):
            options += [f"--{one.key}={header}={target}" for header, target in value.items()]
        elif isinstance(value, tuple):
            options += [part for item in value for part in (f"--{one.key}", item)]
        elif isinstance(value, bool):
            options += [] if value == one.default else [f"--{one.key}" if value else f"--no-{one.key}"]
        elif value != one.default:
            options += [f"--{one.key}", f"{value:g}" if isinstance(value, float) else str(value)]
    options += [f"--{name.replace('_', '-')}" for name, value in settings.endpoint_options.items() if value is True]
    return options


# -- batch.toml -----------------------------------------------------------------------------------------------------


def config_folder(variables: Mapping[str, str]) -> Path | None:
    """Return the folder of this user's own settings and logins; None for a user without a home."""
    given = variables.get("XDG_CONFIG_HOME", "")
    home = Path(given) if given.startswith("/") else Path(os.path.expanduser("~"), ".config")
    return home / "batch" if home.is_absolute() else None


@dataclass(frozen=True, slots=True)
class SettingsFiles:
    """Where settings may be read from, beside the command and the environment."""

    named: Path | None
    """The file that --config names."""
    folders: Sequence[Path]
    """Where a `batch.toml` is looked for; the first one that is found counts."""
    own: Path | None
    """The user's own file, where there may be one."""


def read_files(
    files: SettingsFiles, endpoint: str | None, options: EndpointOptions, documented_rate: Callable[[str], float]
) -> list[Layer]:
    """Read the file that is named, the one that is found and the user's own, as layers in this order.

    `options` names all endpoints: each may have a table with options of its own, `endpoint` is the one that is asked.
    `documented_rate` gives the requests a second that an endpoint documents. A file that is found may have been put
    there by somebody else: raises SettingsError where it sets what it may not.
    """
    named, own = files.named, files.own if files.own and _is_readable(files.own) else None
    if named is not None and not named.is_file():
        raise SettingsError(f"--config {named}: there is no such file.")
    found = next((path for folder in files.folders if (path := folder / FILE_NAME).is_file()), None)
    if found is not None and any(found.samefile(other) for other in (named, own) if other is not None):
        found = None
    paths = [path for path in (named, found, own) if path is not None]
    name = endpoint or next(filter(None, (_read_toml(path, None, options).get("endpoint") for path in paths)), "")
    layers = [Layer(str(path), _read_toml(path, str(name), options), is_found=path is found) for path in paths]
    checked = [_checked(layer.values, layer.spell) for layer in layers]  # also what another layer overrides
    for number, layer in enumerate(layers):
        if layer.is_found:
            _check_found(
                layer, checked[number], _LEAST_CARE | {"max_per_second": documented_rate(str(name))}, files.own
            )
            own_names = (_CARE.keys() & layers[-1].values.keys()) if own is not None else set()
            kept = {
                one: value
                for one, value in layer.values.items()
                if one not in own_names or _CARE[one](getattr(checked[number], one), getattr(checked[-1], one))
            }
            layers[number] = replace(layer, values=kept)
    return layers


def _is_readable(path: Path) -> bool:
    """Tell whether there is a file; a home that this user may not enter, as in a container, has none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _check_found(layer: Layer, checked: Settings, least: Mapping[str, Any], own: Path | None) -> None:
    """Raise SettingsError that names each setting that a file which was found may not set, and where it may stand."""
    wrong = []
    keys = {name: SETTINGS[name].key for name in layer.values if name in SETTINGS}
    keys |= {name: name.replace("_", "-") for name in layer.values.get("endpoint_options", {})}
    for name, key in keys.items():
        kind = SETTINGS[name].found_file if name in SETTINGS else "no"
        if kind == "no":
            why = "a file that was found, not named, may not set this"
        elif kind == "if careful" and not _CARE[name](getattr(checked, name), least[name]):
            limit = f"{least[name]:g}" if isinstance(least[name], float) else least[name]
            why = f"a file that was found, not named, may set this only towards more care ({limit} or stricter)"
        else:
            continue
        wrong.append(
            f"{layer.source}: {key}: {why}. It may stand on the command line (--{key}), in the environment "
            f"(BATCH_{key.replace('-', '_').upper()}), in your own settings ({own or OWN_FILE}), or in this file "
            f"when you name it:  --config {layer.source}"
        )
    if wrong:
        raise SettingsError("\n".join(wrong))


OWN_FILE = "$XDG_CONFIG_HOME/batch/config.toml"
SOME_ROWS, FEW_ROWS = "20%", 10
"""The rows that may clear a field unasked: this share of them, and fewer than so many in any case."""
_LEAST_CARE: dict[str, Any] = {
    "max_at_once": DEFAULT_AT_ONCE, "max_attempts": SETTINGS["max_attempts"].default, "max_failures": "100%",
    "max_clears": SOME_ROWS, "canary": 1, "invalid": "abort",
}  # fmt: skip
"""What a file that was found may set at the most, beside the documented rate."""


def _is_at_most(value: Any, other: Any) -> bool:
    """Compare two numbers of rows, or two shares of them; one of each can be compared with the defaults only."""
    one, two = str(value).strip(), str(other).strip()
    if one.endswith("%") != two.endswith("%"):
        return not one.endswith("%") and (two == "100%" or (two == SOME_ROWS and int(one) < FEW_ROWS))
    return float(one.rstrip("% ")) <= float(two.rstrip("% "))


_CARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "max_per_second": operator.le, "max_at_once": operator.le, "max_attempts": operator.le, "canary": operator.ge,
    "max_failures": _is_at_most, "max_clears": _is_at_most, "invalid": lambda value, other: value == "abort",
}  # fmt: skip
"""For each setting whether a value is at least as careful as another."""


def _read_toml(path: Path, endpoint: str | None, options: EndpointOptions) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows put a mark in front
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: it cannot be read: {error}") from None
    except RecursionError:
        raise SettingsError(f"{path}: it cannot be read: brackets within brackets within brackets") from None
    apis = {name.partition(".")[0] for name in options}
    tables, plain = dict[str, Any](), dict[str, Any]()
    for key, value in data.items():
        if not isinstance(value, Mapping) or key.partition(".")[0] not in apis:
            plain[key] = value
        else:  # [api.kind], which TOML nests, or ["api.kind"]
            tables |= {key: value} if "." in key else {f"{key}.{kind}": table for kind, table in value.items()}
    for name, table in tables.items():
        _known(name, {one: one for one in options}, path)
        if not isinstance(table, Mapping):
            raise SettingsError(f"{path}: [{name}] must be a table.")
    for name, types in options.items():
        for key in types.keys() & plain.keys():
            raise SettingsError(f'{path}: "{key}" belongs under [{name}].')
    keys = {one.key.replace("-", "_"): one.name for one in SETTINGS.values() if one.is_layered}
    values = {_known(key, keys, path): value for key, value in plain.items()}
    asked = str(endpoint or values.get("endpoint") or "")
    for name, table in tables.items():
        found = {_known(key, {one: one for one in options[name]}, path): value for key, value in table.items()}
        if name == asked and found:
            values["endpoint_options"] = _checked_options(found, options[name], path)
    return values


def _checked_options(values: Mapping[str, Any], types: Mapping[str, Any], path: Path) -> dict[str, Any]:
    from pydantic import TypeAdapter, ValidationError

    checked = {}
    for name, value in values.items():
        try:
            checked[name] = TypeAdapter(types[name]).validate_python(value)
        except ValidationError as error:
            detail: Any = error.errors(include_url=False)[0] | {"loc": (name,)}
            raise SettingsError(_in_words(detail, lambda option: f"{path}: {option}")) from None
    return checked


def _known(key: str, keys: Mapping[str, str], path: Path) -> str:
    """Return what a key stands for; raises SettingsError with the nearest key when there is none."""
    name = key.replace("-", "_")
    if name in keys:
        return keys[name]
    near = get_close_matches(name, sorted(keys), n=1)
    hint = f"; did you mean {near[0].replace('_', '-')}?" if near else "."
    raise SettingsError(f'{path}: there is no setting "{key}"{hint}')
