"""What an API operation looks like: the one interface through which the program knows an API.

An `Endpoint` is data and pure functions: fields with their limits, how a record is addressed, written, read and
compared, how its errors are spelt. It never sends anything. Adding an API is adding one folder beside this file and its
name in `__init__.py`.
"""

import copy
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, ClassVar, Final, Protocol

from batch.endpoints.cell_types import ParseOptions
from batch.endpoints.errors import error_text, parse_common_errors, tidied
from batch.endpoints.labels import fold, fold_label, spellings
from batch.endpoints.spelling import is_spelling
from batch.exact_json import (
    HALF,
    base_key,
    encode,
    is_exact,
    is_number,
    is_same_number,
    members,
    repeated_key,
    shortest_text,
    whole_text,
)
from batch.http import ApiRequest, ApiResponse, RequestFailure
from batch.model import Field, Outcome, Problem
from batch.ratelimit import Limits
from batch.retry import Rules

Record = Mapping[str, Any]
"""A record as the API shows it."""


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""The record does not show this field, so it cannot be compared."""


@dataclass(frozen=True, slots=True)
class CustomField:
    """A custom field as the organisation defined it."""

    name: str
    kind: str
    id: int | str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CredentialVariable:
    """An environment variable that carries a credential."""

    name: str
    is_required: bool
    what: str
    is_secret: bool = True
    """False for an account name, which texts may show."""
    found_at: str = ""
    """Where the maker's product shows it: "in Acme: Settings, API keys"."""


@dataclass(frozen=True, slots=True)
class EndpointOption:
    """A setting of one endpoint: `help` says what it does when it is on."""

    name: str
    type: type
    default: Any
    help: str


Send = Callable[[ApiRequest], Awaitable[ApiResponse | RequestFailure]]
"""Sends one call under the limits, with retries, and gives the last answer."""


class Account(Protocol):
    """Who we are at the API; shared by all workers of a run."""

    async def headers(self, send: Send) -> Mapping[str, str]:
        """Give the headers that authenticate a request, logging in first when that is needed."""

    async def renew(self, send: Send, refused: Mapping[str, str]) -> bool:
        """Try to get past a 401 that `refused` headers got, once for all workers; false: nothing to try."""


@dataclass(frozen=True, slots=True)
class StaticAccount:
    """An account whose headers never change."""

    fixed: Mapping[str, str] = field(repr=False)

    async def headers(self, send: Send) -> Mapping[str, str]:
        """Give the fixed headers."""
        return self.fixed

    async def renew(self, send: Send, refused: Mapping[str, str]) -> bool:
        """Nothing can be renewed."""
        return False


class UnreadableReplyError(ValueError):
    """An answer lacks what it should carry; `str()` says what, in words."""


class Endpoint(ABC):
    """One API operation on one kind of record. Instances are immutable; `defined` returns a changed copy.

    An endpoint has to say what stands first; what follows under "optional" has defaults with which nothing is sent
    that the API may not know. `tests/endpoints/conformance.py` checks all of it.
    """

    name: ClassVar[str]
    """API and kind of record: `vayu.customers`."""
    title: ClassVar[str]
    noun: ClassVar[str]
    """What messages call a record: "customer"; `plural` "customers"."""
    plural: ClassVar[str]
    method: ClassVar[str]
    """The HTTP method of a write, to show."""
    base_url: ClassVar[str]
    """The maker's production system; credentials go there unless the person names another."""
    fields: ClassVar[tuple[Field, ...]]
    id_labels: ClassVar[tuple[str, ...]] = ()
    """Headers that mean the id, beside "id"."""
    id_form: ClassVar[str] = "letters, digits, - and _"
    id_pattern: ClassVar[str] = "^[A-Za-z0-9_-]+$"
    """Ids that this fits (in polars' and Python's dialect) have no `id_problem`; the others are asked one by one."""
    ids_ignore_case: ClassVar[bool] = False
    """Two ids are the same when they are equal; true: also when only upper and lower case differ."""

    # optional: the system beside the production one, its credentials and limits
    test_urls: ClassVar[tuple[str, ...]] = ()
    has_sandbox: ClassVar[bool] = False
    """`batch sandbox` imitates this API; without, --sandbox is refused."""
    variables: ClassVar[tuple[CredentialVariable, ...]] = ()
    limits: ClassVar[Limits] = Limits()
    """Documented limits; where there are none, the rate is found out."""
    seconds_logged_in: ClassVar[float] = 0.0
    """How long one log-in of the account lasts; 0: it never logs in."""
    rules: ClassVar[Rules] = Rules()
    """How its answers are classified, and whether it has idempotency keys."""
    options: ClassVar[tuple[EndpointOption, ...]] = ()
    """Settings of its own, which the constructor takes by name."""

    # optional: how it writes
    needs_full_body: bool = False
    """The write body is the whole record, so that the current one must be read before (read, overlay, write)."""
    may_need_full_body: ClassVar[bool] = False
    """With some of its options it does."""
    replaced_whole: ClassVar[tuple[str, ...]] = ()
    """Fields whose parts are written by sending all of it; their names with a dot and a part are fields, too."""
    known_parts: ClassVar[Mapping[str, Collection[str]]] = {}
    """What a write takes inside of objects and of the objects in lists; what records show beside is the API's own."""
    confirming: ClassVar[frozenset[int]] = frozenset({200})
    """The statuses with which the API confirms a write, with the record in the answer; all others are looked into."""
    hidden_in_answers: ClassVar[tuple[str, ...]] = ()
    """Fields that the answer to a write is known to leave out, so that they are read back."""

    # optional: how it reads, beside one record by its id
    ids_per_read: ClassVar[int] = 1
    """Records that one `read_request` asks for."""
    hidden_in_lists: ClassVar[tuple[str, ...]] = ()
    """Fields that an answer for several records is known to leave out, so that each record is read alone."""
    page_size: ClassVar[int] = 0
    """Records on one page of `page_request`; 0: the API lists nothing."""
    page_overlap: ClassVar[int] = 0
    """Records that a page repeats of the page before, so that a page that slipped is noticed."""
    filters: ClassVar[frozenset[str]] = frozenset()
    """Fields by which the API can narrow down `page_request`."""
    key_fields: ClassVar[tuple[str, ...]] = ()
    """Fields by which a record is found whose id is not known (--key)."""
    lists_by_key: ClassVar[bool] = False
    """`find_request` lists every record that has a key; false: one look-up may hide a second, so all pages are read."""

    # optional: fields that each organisation defines
    has_custom_fields: ClassVar[bool] = False
    """`definitions_request` lists them, `is_custom` knows their names."""
    dynamic_fields: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Fields with a name to fill in, as (spelling, what it means), for lists of fields."""

    def __init__(self, *, definitions: Sequence[CustomField] = (), parse_options: ParseOptions | None = None) -> None:
        self.definitions = tuple(definitions)
        self.parse_options = parse_options or ParseOptions()
        self._by_label = _labels(self.fields)
        self._id_labels = {spelt for label in ("id", *self.id_labels) for spelt in spellings(label)}

    # -- what every endpoint must say ---------------------------------------------------------------------------

    @abstractmethod
    def account(self, credentials: Mapping[str, str]) -> Account:
        """Build the account from the values of `variables`."""

    @abstractmethod
    def write_request(self, record_id: str, body: Mapping[str, Any], key: str | None) -> ApiRequest:
        """Build the call that writes `body`; `key` is the change's idempotency key, where the API has them."""

    @abstractmethod
    def read_one_request(self, record_id: str) -> ApiRequest:
        """Build the call that reads one record by its id."""

    @abstractmethod
    def parse_records(self, response: ApiResponse) -> list[Record]:
        """Read the records out of an answer to any call that reads or writes records.

        Raises UnreadableReplyError when there are none where there should be.
        """

    def parse_written(self, response: ApiResponse) -> Record:
        """Read the record out of an answer that confirms a write.

        Raises UnreadableReplyError where it is not in the form that the API has for that.
        """
        records = self.parse_records(response)
        if len(records) != 1:
            raise UnreadableReplyError(f"the answer holds {len(records)} records")
        return records[0]

    # -- ids ----------------------------------------------------------------------------------------------------

    def is_id(self, header: str) -> bool:
        """Return whether `header` names the record's id."""
        return fold_label(header) in self._id_labels

    def id_problem(self, record_id: str) -> Problem | None:
        """Say why `record_id` (spaces around it dropped) cannot be an id here, None when it can."""
        is_id = re.fullmatch(self.id_pattern, record_id)
        return None if is_id else Problem("id_malformed", {"noun": self.noun, "form": self.id_form})

    def id_key(self, record_id: str) -> str:
        """Return what two ids have in common exactly when they are the same."""
        return record_id.lower() if self.ids_ignore_case else record_id

    def record_id(self, record: Record) -> str:
        """Read a record's id as text, "" when it has none."""
        value = record.get("id")
        return "" if value is None else whole_text(value)

    def record_name(self, record: Record) -> str:
        """Return what a person calls the record, "" when it shows no name."""
        return str(record.get("name") or "")

    # -- fields -------------------------------------------------------------------------------------------------

    def field_named(self, header: str) -> Field | None:
        """Find the field that `header` names: by name, by label, or as one of a family."""
        found = self._by_label.get(fold_label(header))
        return found or self.dynamic_field(unicodedata.normalize("NFC", header.strip()))

    def nearest(self, header: str, count: int = 3, *, without: Collection[str] = ()) -> list[str]:
        """Name the fields whose name or label is nearest to `header`, but none of those in `without`."""
        labels = dict.fromkeys(self._id_labels, "id") | {label: known.name for label, known in self._by_label.items()}
        labels = {label: name for label, name in labels.items() if name not in without}
        close = get_close_matches(fold_label(header), labels, n=count * 2, cutoff=0.7)
        return list(dict.fromkeys(labels[label] for label in close))[:count]

    def columns(self) -> list[Field]:
        """List the fields that have a column of their own in a sheet of records: all but whole objects, custom last."""
        return [one for one in self.fields if one.kind != "object"] + self.custom_fields()

    def more_columns(self, record: Record | None) -> list[str]:
        """Name the fields that only some records have (None: those worth having in an empty sheet).

        They may be among `columns`, too. Where `field_named` does not lead back to a name, no header can carry it.
        """
        return []

    def conflicts(self, fields: Mapping[str, Any], *, reads_before_write: bool) -> list[Problem]:
        """List where fields of one change do not go together, by which are set and which cleared.

        `reads_before_write`: the current record will be read first and completes what the sheet leaves out.
        """
        return [
            Problem("whole_cleared", {"whole": whole, "noun": self.noun}, name)
            for whole, value in fields.items()
            if value is None and not self.is_custom(whole)  # those may be called "A" and "A.B"
            for name in fields
            if name.startswith(whole + ".")
        ]

    # -- fields that each organisation defines ------------------------------------------------------------------

    def is_custom(self, name: str) -> bool:
        """Return whether field `name` is one of those that the organisation defines."""
        return False

    def dynamic_field(self, header: str) -> Field | None:
        """Build the field for a header such as `custom_fields.Tier`, None where it names none."""
        return None

    def definitions_request(self, offset: int) -> ApiRequest:
        """Build the call for the organisation's custom fields after the first `offset`, or for all of them."""
        raise NotImplementedError

    def parse_definitions(self, response: ApiResponse) -> list[CustomField]:
        """Read custom field definitions out of an answer; [] when the page has none."""
        return []

    def lists_definitions(self, response: ApiResponse) -> bool:
        """Whether an answer is a list of definitions, be it an empty one: nothing else says that there are no more."""
        data = response.json
        values = data.values() if isinstance(data, Mapping) else (data,)
        return response.status in self.confirming and any(isinstance(one, list) for one in values)

    def count_definitions(self, response: ApiResponse) -> int:
        """Count the definitions in an answer, with those that `parse_definitions` leaves out."""
        return len(self.parse_definitions(response))

    def custom_fields(self) -> list[Field]:
        """List the fields of all definitions, each under a name that no other has."""
        return []

    def definition_problem(self, name: str) -> str:
        """Say why field `name` cannot be one of the organisation's custom fields; "" where it can, or is none."""
        return ""

    def nearest_custom(self, name: str, count: int = 2) -> list[str]:
        """Name the organisation's custom fields that are spelt like field `name`, which is none of them."""
        family, dot, wanted = name.partition(".")
        names = dict.fromkeys(one.name for one in self.definitions)
        close = get_close_matches(wanted, names, n=count, cutoff=0.5)
        return [f"{family}{dot}{one}" for one in close] if self.definition_problem(name) else []

    def same_field(self, name: str) -> str:
        """Return what two names have in common exactly when they lead to one field."""
        return name

    def ambiguity(self, record: Record, name: str) -> Problem | None:
        """Return why it cannot be told which of the record's values field `name` is; None where it can."""
        return None

    def fitted(self, fields: Mapping[str, Any], record: Record) -> dict[str, Any]:
        """Return `fields` with their values of the types that the record itself shows for its custom fields.

        Raises ConflictError where a value does not fit, where it cannot be told which of the record's custom fields is
        meant, and where two names lead to one.
        """
        taken: dict[str, str] = {}
        for name in filter(self.is_custom, fields):
            if problem := self.ambiguity(record, name):
                raise ConflictError(problem)
            other = taken.setdefault(self.shown_as(record, name) or name, name)
            if other != name:
                raise ConflictError(Problem("custom_field_twice", {"noun": self.noun, "other": other}, name))
        return dict(fields)

    def shown_as(self, record: Record, name: str) -> str:
        """Return what tells the item of a record that is custom field `name` from all others, "" where it has none."""
        return name

    def respelt(self, record: Record, name: str) -> str:
        """Return how a record spells custom field `name`, where that is not as `name` does; else ""."""
        return ""

    def with_parse_options(self, parse_options: ParseOptions) -> "Endpoint":
        """Return a copy that reads numbers and dates by these."""
        twin = copy.copy(self)
        twin.parse_options = parse_options
        return twin

    def defined(self, definitions: Sequence[CustomField]) -> "Endpoint":
        """Return a copy that knows the organisation's custom fields."""
        twin = copy.copy(self)
        twin.definitions = tuple(definitions)
        return twin

    # -- writing ------------------------------------------------------------------------------------------------

    def body(self, fields: Mapping[str, Any], current: Record | None) -> dict[str, Any]:
        """Build the write body for `fields` (None clears), completed from `current` where the API needs it.

        The default writes each field under its own name. Raises ConflictError where the current record makes the
        change impossible.
        """
        known = current if self.needs_full_body and current else {}
        return {one.name: known[one.name] for one in self.fields if one.name in known} | dict(fields)

    def replaced_values(self, fields: Iterable[str], record: Record) -> dict[str, Any]:
        """Read the nested values of which `fields` are parts."""
        names = dict.fromkeys(name.partition(".")[0] for name in fields if "." in name)
        return {name: record.get(name) for name in names if name in self.replaced_whole}

    def writable(self, name: str, value: Any) -> Any:
        """Return what a write takes of the `value` that a record shows for a field, or for one object of a list."""
        if isinstance(value, str) or self.is_custom(name):
            return value
        parts = self.known_parts.get(name.partition(".")[0])
        return _only_known(value, parts) if parts is not None else value

    def is_needed(self, name: str) -> bool:
        """Return whether a record cannot be left without field `name`, so that nothing takes back its first value."""
        known = self.field_named(name)
        return known is not None and not known.nullable and "." not in name

    def unwritable(self, name: str, value: Any) -> list[str]:
        """Name the parts of a value that a record showed and no write takes."""
        parts = self.known_parts.get(name, ())
        objects = [(name, value)]
        if isinstance(value, list):
            objects = [(f"{name}.{number}", one) for number, one in enumerate(only_objects(value), 1)]
        shown = [(start, one) for start, one in objects if parts and isinstance(one, Mapping)]
        return [
            f"{start}.{part}"
            for start, one in shown
            for part in one
            if base_key(part) not in parts and not is_blank(one[part])
        ]

    def pending_note(self, record: Record) -> str:
        """Say what an accepted write still waits for, "" when nothing."""
        return ""

    def awaits_approval(self, record: Record) -> bool:
        """Return whether a record says that a change of it waits to be approved; only what is certain counts."""
        return False

    def parse_error(self, response: ApiResponse) -> list[tuple[str, str]]:
        """Read (field, message) pairs out of an error answer; field is "" where none is named. Never raises."""
        return tidied(parse_common_errors(response.json) or [("", error_text(response))])

    def is_own_error(self, response: ApiResponse) -> bool:
        """Return whether an error answer has the form of the API's own, so that no gateway and no web page made it.

        Only then a 404 means that a record is not there. The default takes what `parse_error` finds a reason in.
        """
        return self.parse_error(response) != tidied([("", error_text(response))])

    # -- comparing ----------------------------------------------------------------------------------------------

    def value(self, record: Record, name: str) -> Any:
        """Read field `name` from a record, as `body` would be given it; MISSING where the record does not show it."""
        return record.get(name, MISSING)

    def unit(self, name: str) -> str:
        """Return what must not have changed when field `name` is written: it, or the object that goes with it."""
        whole, dot, _ = name.partition(".")
        return whole if dot and whole in self.replaced_whole and not self.is_custom(name) else name

    def excerpt(self, record: Record) -> dict[str, Any]:
        """Return the part of a record from which `value` reads the fields, to be kept in a sheet."""
        names = dict.fromkeys(one.name.partition(".")[0] for one in self.fields)
        return {name: record[name] for name in names if name in record}

    def has_value(self, record: Record, name: str) -> bool:
        """Return whether a record shows field `name` at all."""
        return self.value(record, name) is not MISSING

    def is_same(self, name: str, wanted: Any, current: Any) -> bool:
        """Return whether a record that shows `current` already has `wanted`, as the API means it."""
        if self.is_custom(name):
            return same_custom_value(wanted, current)
        return same_value(self.writable(name, wanted), self.writable(name, current))

    def is_spelling(self, name: str, wanted: Any, current: Any) -> bool:
        """Return whether a record that shows `current` has `wanted` but for its spelling."""
        known = None if self.is_custom(name) else self.field_named(name)
        return known is not None and known.name == name and is_spelling(known.spelling, wanted, current)

    # -- reading several records --------------------------------------------------------------------------------

    @property
    def without_reading(self) -> str:
        """The options with which records are written without reading them before; "" where there are none."""
        return "" if self.needs_full_body else "--no-compare"

    def read_request(self, record_ids: Sequence[str]) -> ApiRequest:
        """Build the call that reads at most `ids_per_read` records."""
        (record_id,) = record_ids
        return self.read_one_request(record_id)

    def find_request(self, key_field: str, key: str) -> ApiRequest:
        """Build the call that lists the records with one of `key_fields`, where the API `lists_by_key`.

        Elsewhere it may show one of them, so that a key which no page shows can be asked for once more. ValueError: no
        address can carry the key, or the API has no such call.
        """
        raise ValueError("no record can be asked for by a key")

    def page_request(self, cursor: str, where: Mapping[str, str]) -> ApiRequest:
        """Build the call for one page of all records; `cursor` is "" for the first, `where` among `filters`."""
        raise NotImplementedError

    def next_cursor(self, response: ApiResponse, cursor: str) -> str | None:
        """Return the cursor of the page after `response`, None when it was the last."""
        return None

    def rewind(self, cursor: str) -> str | None:
        """Return an earlier cursor where pages slip when records are removed; None at the start and elsewhere."""
        return None

    def total(self, response: ApiResponse) -> int | None:
        """Read from a page how many records there are in all, None when it does not say."""
        return None

    def pages_in(self, total: int) -> int:
        """Return how many pages `total` records take."""
        return 1 + max(0, -(-(total - self.page_size) // (self.page_size - self.page_overlap)))


class ConflictError(ValueError):
    """A change does not fit the current record; `problem` says where and why, `outcome` what becomes of it."""

    def __init__(self, problem: Problem, outcome: Outcome = Outcome.INVALID) -> None:
        super().__init__(problem.reason)
        self.problem, self.outcome = problem, outcome


def _labels(fields: Iterable[Field]) -> dict[str, Field]:
    known = {spelt: one for one in fields for label in one.labels for spelt in spellings(label)}
    return known | {fold_label(one.name): one for one in fields}


def as_content(body: Mapping[str, Any]) -> bytes:
    """Write a body as JSON bytes, the same bytes for the same body always.

    Raises ConflictError where it holds something of a record that cannot be written back as it was.
    """
    text = encode(body)
    if not is_exact(text):
        name, part = next((name, one) for name in body if not is_exact(one := encode({name: body[name]})))
        raise ConflictError(Problem("not_exact", {"what": _inexact(base_key(name), part)}), Outcome.REJECTED)
    return text.encode()


def _inexact(name: str, text: str) -> str:
    if HALF in text:
        return f"half of a character, such as a cut emoji, in {name}"
    key = repeated_key(text)
    return f'the key "{key}" twice' + ("" if key == name else f" in {name}")


def definition_id(item: Mapping[str, Any]) -> int | str | None:
    """Read the id of a custom field's definition."""
    value = item.get("id")
    return value if value is None or isinstance(value, int | str) else whole_text(value)


def nest(fields: Mapping[str, Any], whole: str) -> dict[str, Any]:
    """Collect the parts of object `whole` (`whole.part` -> `part`)."""
    start = whole + "."
    return {name.removeprefix(start): value for name, value in fields.items() if name.startswith(start)}


def only_objects(items: Iterable[Any]) -> list[Mapping[str, Any]]:
    """Return the objects of a list as they are counted everywhere: an item that is none does not count."""
    return [one for one in items if isinstance(one, Mapping)]


def _only_known(value: Any, parts: Collection[str]) -> Any:
    if isinstance(value, list):
        return [_only_known(one, parts) for one in only_objects(value)]
    return members(value, parts) if isinstance(value, Mapping) else value


def is_blank(value: Any) -> bool:
    """Whether a value reads as empty: null, "", an empty list, or an object of which every part does."""
    return value in (None, "", []) or (isinstance(value, Mapping) and all(map(is_blank, value.values())))


def same_value(wanted: Any, current: Any) -> bool:
    """Compare as APIs mean it: null equals "", a boolean is never a number, everything else by value."""
    if isinstance(wanted, str) and isinstance(current, str):
        return wanted == current
    if is_blank(wanted) or is_blank(current):
        return is_blank(wanted) and is_blank(current)
    if isinstance(wanted, bool) or isinstance(current, bool):
        return isinstance(wanted, bool) and isinstance(current, bool) and wanted is current
    if isinstance(wanted, Mapping) and isinstance(current, Mapping):  # what is left out is the same as what is empty
        return all(same_value(wanted.get(part), current.get(part)) for part in {*wanted, *current})
    if isinstance(wanted, list) and isinstance(current, list):
        return len(wanted) == len(current) and all(map(same_value, wanted, current))
    return bool(wanted == current)


def same_custom_value(wanted: Any, current: Any) -> bool:
    """Compare values of custom fields, which may be kept as text whatever their type, and lists in any order."""
    if isinstance(wanted, list) and isinstance(current, list):
        return sorted(map(_in_order, wanted)) == sorted(map(_in_order, current))
    if isinstance(wanted, str) and isinstance(current, bool):
        return wanted == encode(current)
    if isinstance(wanted, str) and is_number(current):  # "007" is another text than 7
        return wanted in (encode(current), shortest_text(current))
    if isinstance(current, str) and isinstance(wanted, bool):
        return current.strip().casefold() == encode(wanted)
    if isinstance(current, str) and is_number(wanted):
        return is_same_number(current, wanted)
    return same_value(wanted, current)


def _in_order(item: Any) -> str:
    return shortest_text(item) or str(item) if is_number(item) else str(item)


_SUFFIX = re.compile(r"(?P<name>.*\S)\s*:\s*(?P<kind>[a-z_]+)", re.IGNORECASE | re.DOTALL)


def split_kind(name: str, kinds: Collection[str]) -> tuple[str, str | None]:
    """Split `Partner:boolean` into name and kind, where the kind is one of `kinds`; else the name is whole."""
    found = _SUFFIX.fullmatch(name)
    if found and found["kind"].casefold() in kinds:
        return found["name"], found["kind"].casefold()
    return name, None


def unknown_definition(definitions: Sequence[CustomField], wanted: str) -> str:
    """Say that the organisation has no custom field `wanted`; "" where it has."""
    if not definitions or find_definition(definitions, wanted) is not None:
        return ""
    return "is none of your custom fields"


def find_definition(definitions: Sequence[CustomField], name: str) -> CustomField | None:
    """Find a custom field by name; another case or spacing will do where only one field is meant."""
    exact = next((one for one in definitions if one.name == name), None)
    alike = [one for one in definitions if fold(one.name) == fold(name)]
    return exact or (alike[0] if len(alike) == 1 else None)
