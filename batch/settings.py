"""Options + environment + `batch.toml` -> one frozen value.

Promises: option > environment > file > default; an unknown key or a value that makes no sense is a SettingsError that
names where it stands. Credentials come from the environment or a token file only, and never show in a repr.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from batch.errors import SettingsError

FILE_NAME = "batch.toml"
DEFAULT_CLEAR = "<clear>"
DEFAULT_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Parsing:
    """What the cells of an input mean; see the options of these names."""

    map: Mapping[str, str]
    key: str | None
    clear_token: str
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


class Settings(BaseModel):
    """Everything a job needs to know beside the input itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)

    input: str = ""
    endpoint: str = ""
    base_url: str | None = None
    sandbox: bool = False
    out: Path | None = None
    map: dict[str, str] = Field(default_factory=dict)
    sheet: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    hidden: Literal["include", "skip"] | None = None
    decimal: Literal[".", ","] | None = None
    date_format: Literal["iso", "dmy", "mdy"] | None = None
    clear_token: str = Field(default=DEFAULT_CLEAR, min_length=1)
    limit: int | None = Field(default=None, ge=1)
    key: str | None = None
    max_at_once: int = Field(default=DEFAULT_AT_ONCE, ge=1, le=1024)
    max_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_attempts: int = Field(default=6, ge=1, le=100)
    max_wait: float = Field(default=300.0, ge=0, allow_inf_nan=False)
    max_failures: str | None = None
    max_clears: str | None = None
    canary: int | None = Field(default=None, ge=0)
    compare: bool = True
    plan: Path | None = None
    invalid: Literal["skip", "abort"] = "skip"
    new: bool = False
    yes: bool = False
    json_output: bool = False
    quiet: bool = False
    token_file: Path | None = None
    sparse: bool = False
    """A setting of Vayu's endpoint: PUT the change alone (`[vayu.customers] sparse = true` in batch.toml)."""

    @property
    def parsing(self) -> Parsing:
        """The settings about what cells mean."""
        return Parsing(self.map, self.key, self.clear_token, self.decimal, self.date_format)

    @property
    def pace(self) -> Pace:
        """The settings about speed and persistence."""
        return Pace(self.max_at_once, self.max_per_second, self.max_attempts, self.max_wait)

    @field_validator("base_url")
    @classmethod
    def _no_blank_address(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("it is empty, and would mean the maker's own API. Name an address, or unset it")
        return value

    @field_validator("clear_token")
    @classmethod
    def _no_blank_token(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("it must not be blank, or every blank cell would clear its field")
        return value.strip()

    @field_validator("max_failures", "max_clears", mode="before")
    @classmethod
    def _number_or_share(cls, value: Any) -> Any:
        text = str(value) if isinstance(value, int) else value
        if isinstance(text, str) and not re.fullmatch(r"\s*(\d{1,9}|(100|\d{1,2}(\.\d{1,6})?)\s*%)\s*", text, re.ASCII):
            raise ValueError("it should be a number of rows (50) or a share of them (5%)")
        return text

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        value = {"tab": "\t", "\\t": "\t"}.get(value or "", value)
        if value is not None and (len(value) != 1 or value in '"\r\n'):
            raise ValueError('it must be one character, such as ; or , or "tab"')
        return value


IN_FILE = frozenset(Settings.model_fields) - {"input", "plan", "json_output"} | {"json"}
OF_ENDPOINT: dict[str, frozenset[str]] = {"vayu.customers": frozenset({"sparse"}), "dualentry.customers": frozenset()}
_APIS = frozenset(name.partition(".")[0] for name in OF_ENDPOINT)


def make_settings(values: Mapping[str, Any]) -> Settings:
    """Validate the merged values; SettingsError tells every one that makes no sense."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = [_in_words(detail) for detail in error.errors(include_url=False)]
        raise SettingsError("\n".join(lines)) from None


def _in_words(detail: Any, *, is_file: bool = False) -> str:
    """Spell a mistake as options or as `batch.toml` spell the setting."""
    name, *inner = (str(part) for part in detail["loc"])
    option = ("" if is_file else "--") + name.replace("json_output", "json").replace("_", "-")
    message = str(detail["msg"]).removeprefix("Value error, ").replace("Input should be", "it should be")
    message = message.partition(", unable to")[0]
    for theirs, ours in WORDS:
        message = message.replace(theirs, ours)
    if name == "map":
        option, message = (f'[map] "{inner[0]}" =', 'it should be "field"') if inner else ("map", MAP_IN_FILE)
    return f"{option} {detail['input']!r}: {message}."


WORDS = (("a valid integer", "a whole number"), ("a valid number", "a number"), ("a valid boolean", "true or false"))
MAP_IN_FILE = 'it should be a table:  [map]  and below it lines such as  "Header" = "field"'


OF_INPUT = ("sheet", "delimiter", "encoding", "hidden", "limit", "out", "plan")
"""Settings that belong to one input file: its failures file does not need them."""
REPEATED = (
    "sandbox", "base_url", "key", "clear_token", "decimal", "date_format", "token_file", "max_per_second",
    "max_at_once", "max_attempts", "max_wait", "max_failures", "max_clears", "canary", "invalid",
)  # fmt: skip


def as_options(settings: Settings, *, for_same_input: bool) -> list[str]:
    """Spell the settings that the next command must repeat as command-line options."""
    defaults = Settings()
    options = [f"--map={header}={field}" for header, field in settings.map.items()]
    for name in (*REPEATED, *(OF_INPUT if for_same_input else ())):
        value = getattr(settings, name)
        if value != getattr(defaults, name):
            option = "--" + name.replace("_", "-")
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            options += [option] if value is True else [option, shown]
    return options + ([] if settings.compare else ["--no-compare"])


def read_file(folders: Sequence[Path], endpoint: str | None) -> dict[str, Any]:
    """Read `batch.toml` from the first of `folders` that has one; {} when none has."""
    for folder in folders:
        path = folder / FILE_NAME
        if path.is_file():
            return _read_toml(path, endpoint)
    return {}


def _read_toml(path: Path, endpoint: str | None) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows put a mark in front
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: it cannot be read: {error}") from None
    except RecursionError:
        raise SettingsError(f"{path}: it cannot be read: brackets within brackets within brackets") from None
    tables = _tables(data, path)
    plain = {key: value for key, value in data.items() if not (isinstance(value, Mapping) and _api(key) in _APIS)}
    for known, options in OF_ENDPOINT.items():
        for key in options & plain.keys():
            raise SettingsError(f'{path}: "{key}" belongs under [{known}].')
    values = {_known(key, IN_FILE, path): value for key, value in plain.items()}
    name = str(endpoint or values.get("endpoint") or "")
    for known, table in tables.items():
        found = {_known(key, OF_ENDPOINT[known], path): value for key, value in table.items()}
        values |= found if known == name else {}
    if "json" in values:
        values["json_output"] = values.pop("json")
    try:
        Settings.model_validate(values)
    except ValidationError as error:
        lines = [f"{path}: {_in_words(detail, is_file=True)}" for detail in error.errors(include_url=False)]
        raise SettingsError("\n".join(lines)) from None
    return values


def _api(key: str) -> str:
    return key.partition(".")[0]


def _tables(data: Mapping[str, Any], path: Path) -> dict[str, Mapping[str, Any]]:
    """Find the endpoints' tables: `[vayu.customers]`, which TOML nests, or `["vayu.customers"]`."""
    named: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and _api(key) in _APIS:
            named |= {key: value} if "." in key else {f"{key}.{kind}": table for kind, table in value.items()}
    for name, table in named.items():
        _known(name, frozenset(OF_ENDPOINT), path)
        if not isinstance(table, Mapping):
            raise SettingsError(f"{path}: [{name}] must be a table.")
    return named


def _known(key: str, options: frozenset[str], path: Path) -> str:
    name = key.replace("-", "_")
    if name in options:
        return name
    near = get_close_matches(name, sorted(options), n=1)
    hint = f"; did you mean {near[0].replace('_', '-')}?" if near else "."
    raise SettingsError(f'{path}: there is no setting "{key}"{hint}')
