"""What the headers of an input stand for, where they do not say it themselves: remembered, or asked column by column.

Promises: where nobody can be asked nothing is guessed; a mapping that is used is said; what was answered is printed as
one whole command, and remembered only with consent.
"""

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from batch import sources
from batch.columns import is_known_header
from batch.endpoints.base import Endpoint
from batch.endpoints.labels import fold, fold_label
from batch.errors import Declined, HeaderError, InputError, NotationError, SettingsError, TitleError, UnmatchedError
from batch.mappings import BESIDE, Mappings, SavedMapping, fold_all
from batch.model import RowResult, Staged, cell_column, command, shorten, visible
from batch.run.cleanup import scratch
from batch.run.consent import Person, require_consent
from batch.run.read_input import match_input, read_options
from batch.settings import Settings, as_options
from batch.sources import Input
from batch.sources.totals import begins_with_word
from batch.validation.file_changes import ChangeSource

PEEKED_ROWS = 50
"""Rows that are read to show examples."""
EXAMPLES = 3
MOST_LISTED = 9
"""Fields that are offered at once."""
LEAVE_OUT, STOP = "-", "q"
HOW = f'Number, part of a field\'s name, "{LEAVE_OUT}" to leave it out, "{STOP}" to stop'


@dataclass(frozen=True, slots=True)
class Peek:
    """The headers of an input, and what is wrong with them."""

    staged: Staged
    """Its first rows; the file itself is gone."""
    examples: Sequence[tuple[str, ...]]
    """Values of each column, as a person is shown them."""
    error: HeaderError | None

    @property
    def headers(self) -> Sequence[str]:
        """The headers, as they stand in the file."""
        return self.staged.headers

    @property
    def problem(self) -> UnmatchedError | None:
        """What has to be asked: what a header stands for."""
        return self.error if isinstance(self.error, UnmatchedError) else None


def settle_headers(
    source: Input, settings: Settings, endpoint: Endpoint, person: Person, mappings: Mappings, *, verb: str
) -> Settings:
    """Return the settings with what every header stands for, as far as that is remembered or can be asked.

    `verb` is the command that is printed. Raises Declined where the person stops, SettingsError for a mapping that
    there is not; what is still unknown is left to whoever matches the headers.
    """
    if not person.can_ask:
        return _settle_sheet(source, settings, endpoint, person, mappings)
    settings, peek = recognise_headers(source, settings, endpoint, person, mappings)
    while peek.problem is not None:
        settings = _Dialogue(person, source.name, endpoint, settings, peek).ask(peek.problem)
        peek = peek_headers(source, settings, endpoint, mappings)
        if peek.problem is None:
            person.note(f"The same without questions:  {_words(verb, settings)}")
            _remember(source, settings, endpoint, person, mappings, peek.headers)
    return settings


def recognise_headers(
    source: Input, settings: Settings, endpoint: Endpoint, person: Person, mappings: Mappings
) -> tuple[Settings, Peek]:
    """Return the settings with what is remembered of the headers of a file, and what is to be seen of them then.

    Raises what `settle_headers` does, and TitleError where nobody can be asked which row is the header.
    """
    settings = _settle_sheet(source, settings, endpoint, person, mappings)
    try:
        peek = peek_headers(source, settings, endpoint, mappings)
    except TitleError as error:
        require_consent(person, error.seen, str(error), f"Is row {error.row} the header?")
        settings = replace(settings, header_row=error.row)
        peek = peek_headers(source, settings, endpoint, mappings)
    if peek.problem is not None and settings.mapping is None:
        known = mappings.recognise(settings.endpoint, peek.headers)
        if known is not None:
            person.note(
                f'The mapping "{known.name}", remembered on {known.saved} for files with these headers, says what they '
                "stand for."
            )
            person.note(f"To forget it:  {command()} mappings forget {shlex.quote(known.name)}")
            settings = apply_mapping(settings, known)
            peek = peek_headers(source, settings, endpoint, mappings)
    return settings, peek


def _settle_sheet(
    source: Input, settings: Settings, endpoint: Endpoint, person: Person, mappings: Mappings
) -> Settings:
    """Return the settings with the mapping that they name, and the sheet that is read."""
    settings = _settle_unseen(source, settings, person)
    if settings.mapping is not None:
        settings = apply_mapping(settings, mappings.named(settings.mapping, settings.endpoint))
    settings = choose_sheet(source, settings, endpoint, person, mappings)
    return _settle_hidden_rows(source, settings, endpoint, person)


def _settle_unseen(source: Input, settings: Settings, person: Person) -> Settings:
    """Ask once about what cannot be seen of an .ods or .xls file."""
    if not source.is_converted or settings.hidden == "include":
        return settings
    from batch.sources.excel.conversion import UNSEEN  # here, since most inputs are of another kind

    if settings.hidden == "skip":
        raise SettingsError(f"--hidden skip and {source.name}: {UNSEEN}. Save it as .xlsx, and run again with that.")
    instead = "To read it all the same:  --hidden include\nElse save it as .xlsx, and run again with that file."
    question = "Read it all the same? (Or stop, save it as .xlsx, and give that.)"
    require_consent(person, f"{source.name}: {UNSEEN}.", instead, question)
    return replace(settings, hidden="include")


HIDDEN = {"skip": "leave them out", "include": "read them like the others"}


def _settle_hidden_rows(source: Input, settings: Settings, endpoint: Endpoint, person: Person) -> Settings:
    """Ask what is to become of hidden rows; raises Declined. Where nobody can be asked, reading them is refused."""
    if settings.hidden is not None or not person.can_ask:
        return settings
    found = sources.find_hidden_rows(source, read_options(settings, endpoint))
    if not found:
        return settings
    person.note(found)
    chosen = person.choose("What is to become of them? (Enter: nothing, which stops)", list(HIDDEN.values()))
    if chosen is None:
        raise Declined("Nothing was sent.")
    value = list(HIDDEN)[chosen]
    person.note(f"In a script:  --hidden {value}")
    values: dict[str, Any] = {"hidden": value}
    return replace(settings, **values)


def apply_mapping(settings: Settings, mapping: SavedMapping) -> Settings:
    """Return the settings with what a mapping says; what the command, the environment or a named file says goes first.

    A file that was found goes after it.
    """
    found = settings.found
    given = {fold(header) for header in settings.map if header not in found.get("map", {})}
    mapped = {header: target for header, target in mapping.map.items() if fold(header) not in given}
    names = set(map(fold, mapped))
    kept = {header: target for header, target in settings.map.items() if fold(header) not in names}
    beside: dict[str, Any] = {
        one: value
        for one in BESIDE
        if (value := getattr(mapping, one)) is not None and (getattr(settings, one) is None or one in found)
    }
    return replace(settings, map=kept | mapped, mapping=mapping.name, **beside)


def make_mapping(settings: Settings, name: str, headers: Sequence[str]) -> SavedMapping:
    """Make a mapping of what the headers of a file came to stand for."""
    known = set(map(fold, headers))
    mapped = {header: target for header, target in settings.map.items() if fold(header) in known}
    beside: dict[str, Any] = {one: getattr(settings, one) for one in BESIDE}
    return SavedMapping(name, settings.endpoint, fold_all(headers), mapped, date.today(), **beside)


def _words(verb: str, settings: Settings) -> str:
    """Return the whole command that needs no question about headers."""
    options = shlex.join(as_options(settings, for_same_input=True))
    return f"{command()} {verb} {shlex.quote(settings.input)} -e {settings.endpoint} {options}"


def _remember(
    source: Input, settings: Settings, endpoint: Endpoint, person: Person, mappings: Mappings, headers: Sequence[str]
) -> None:
    """Keep what was answered for the next file of this kind, if the person likes."""
    if _wants_it_remembered(person):
        name = remember_mapping(source, settings, endpoint, mappings, headers)
        person.note(f'Remembered as "{name}".  In a script:  --mapping {shlex.quote(name)}')


def _wants_it_remembered(person: Person) -> bool:
    said = person.ask_text("Remember this for files with these headers? [Y/n]").strip().casefold()
    return said in ("", "y", "yes")


def remember_mapping(
    source: Input, settings: Settings, endpoint: Endpoint, mappings: Mappings, headers: Sequence[str], name: str = ""
) -> str:
    """Keep what the headers of a file stand for under a name, the file's own unless one is given; gives the name."""
    if settings.header_row is not None:
        anywhere = replace(settings, header_row=None)
        with suppress(TitleError):
            if peek_headers(source, anywhere, endpoint, mappings).headers == headers:
                settings = anywhere  # the next file may have a title of another height
    name = name or mappings.free_name(Path(source.name).stem or source.name)
    mappings.keep(make_mapping(settings, name, headers))
    return name


def peek_headers(source: Input, settings: Settings, endpoint: Endpoint, mappings: Mappings) -> Peek:
    """Read the headers and a few rows of a file; raises InputError."""
    options = read_options(settings, endpoint)
    if settings.header_row is None:  # what is remembered finds the header's row, too
        remembered = [one.map for one in mappings.read() if one.endpoint == settings.endpoint]
        known = settings.map | {header: "" for one in remembered for header in one}
        options = replace(options, is_known=is_known_header(endpoint, known))
    with scratch() as folder:
        staged = sources.stage(source, folder, replace(options, limit=PEEKED_ROWS))
        rows = pl.read_parquet(staged.path).filter(~begins_with_word(len(staged.headers)))
        examples = [_examples(rows[cell_column(index)]) for index in range(len(staged.headers))]
        try:
            match_input(staged, settings, endpoint)
        except HeaderError as error:
            return Peek(staged, examples, error)
        return Peek(staged, examples, None)


def _examples(cells: pl.Series) -> tuple[str, ...]:
    found = (visible(text) for text in cells.drop_nulls() if text.strip())
    return tuple(islice(dict.fromkeys(found), EXAMPLES))


class _Dialogue:
    """Asks a person what headers stand for."""

    def __init__(self, person: Person, name: str, endpoint: Endpoint, settings: Settings, peek: Peek) -> None:
        self._person, self._name, self._endpoint = person, name, endpoint
        self._settings, self._peek = settings, peek

    def ask(self, problem: UnmatchedError) -> Settings:
        """Ask about each header that is not known, and then for the id; raises Declined."""
        count = len(problem.unmatched)
        if count:
            columns = "1 column is" if count == 1 else f"{count} columns are"
            self._person.note(f"{self._name}: {columns} not known to {self._endpoint.title}. Nothing is sent yet.")
        chosen: dict[str, str] = {}
        for header in problem.unmatched:
            taken = {*problem.taken, *chosen.values()}
            ids = ("id", *self._endpoint.key_fields)
            offered = ids if problem.lacks_id and not taken.intersection(ids) else ()
            chosen[header] = self._ask_header(header, offered, taken)
        settings = replace(self._settings, map=self._settings.map | chosen)
        taken = {*problem.taken, *chosen.values()}
        if problem.lacks_id and not any(self._endpoint.is_id(one) for one in chosen.values() if one):
            return self._ask_id(settings, taken)
        return settings

    def _ask_header(self, header: str, ids: Sequence[str], taken: Collection[str]) -> str:
        """Return the field that a header stands for, "" to leave the column out; `ids` say which record a row is."""
        self._person.note(self._shown(header, '"'))
        offered = list(dict.fromkeys((*self._near(header, taken), *ids, *self._custom(header))))
        while True:
            for number, name in enumerate(offered, 1):
                self._person.note(f"{number:>4}  {self._described(name)}")
            said = self._person.ask_text(HOW).strip()
            if said == LEAVE_OUT:
                return ""
            if said.casefold() == STOP:
                raise Declined("Nothing was sent.")
            if said.isascii() and said.isdigit() and 1 <= int(said) <= len(offered):
                return offered[int(said) - 1]
            if said and self._is_field(said):
                name = self._name_of(said)
                if name not in taken:
                    if name.casefold() != said.casefold():  # it might have been the beginning of a search
                        self._person.note(f'"{shorten(visible(header), 40)}" is taken for {name}.')
                    return name
                self._person.note(f"Another column is taken for {name} already.")
                continue
            found = self._search(said, taken) if said else []
            if said and not found:
                self._person.note(f'No field has "{shorten(said, 40)}" in its name. All of them:  '
                                  f"{command()} endpoints {self._settings.endpoint}")  # fmt: skip
            offered = found or offered

    def _name_of(self, said: str) -> str:
        """Return the name of the field that is named by it or by a label."""
        field = self._endpoint.field_named(said)
        return "id" if self._endpoint.is_id(said) or field is None else field.name

    def _shown(self, header: str, quote: str = "") -> str:
        """Show a header with examples of what stands below it."""
        of_column = dict(zip(self._peek.headers, self._peek.examples, strict=True))[header]
        examples = " · ".join(shorten(text, 24) for text in of_column)
        return f"{quote}{shorten(header, 40)}{quote}" + (f"  such as  {examples}" if examples else "  (all blank)")

    def _ask_id(self, settings: Settings, taken: Collection[str]) -> Settings:
        """Ask which column says which record a row is about; raises Declined."""
        endpoint, own = self._endpoint, next(iter(self._endpoint.key_fields), "")
        noun = endpoint.noun
        if own and own in taken:
            where = endpoint.title.split()[0]
            question = f"No column is the {noun}'s id at {where}. Find each {noun} by your own number ({own}) instead?"
            if self._person.ask(question):
                return replace(settings, key=own)
        shown = {one: self._shown(one) for one in self._peek.headers if one.strip()}
        headers = list(shown)
        self._person.note(
            f"{self._name}: no column says by its header that it is the {noun}'s id. Nothing is sent yet."
        )
        place = self._person.choose(
            f"Which column has the {noun}'s id? (Enter: none, which stops)", list(shown.values())
        )
        if place is None:
            raise Declined("Nothing was sent: without an id nobody knows which record a row is about.")
        return replace(settings, map={**settings.map, headers[place]: "id"})

    def _near(self, header: str, taken: Collection[str]) -> list[str]:
        """Name the fields that are spelt like a header."""
        return self._endpoint.nearest(header, MOST_LISTED, without=taken)

    def _custom(self, header: str) -> list[str]:
        """Name the custom field that a header may be the name of."""
        prefixes = [name.removesuffix("NAME") for name, _ in self._endpoint.dynamic_fields if name.endswith(".NAME")]
        custom = [f"{prefix}{header.strip()}" for prefix in prefixes if self._endpoint.has_custom_fields]
        return [one for one in custom if self._is_field(one)]

    def _search(self, text: str, taken: Collection[str]) -> list[str]:
        wanted = fold_label(text)
        fields = [one for one in self._endpoint.columns() if one.name not in taken]
        found = [one.name for one in fields if any(wanted in fold_label(label) for label in (one.name, *one.labels))]
        id_labels = ("id", *self._endpoint.id_labels)
        is_id = "id" not in taken and any(wanted in fold_label(label) for label in id_labels)
        return [*(["id"] if is_id else []), *found][:MOST_LISTED]

    def _described(self, name: str) -> str:
        if self._endpoint.is_id(name):
            return f"id  (the {self._endpoint.noun}'s id at {self._endpoint.title.split()[0]})"
        field = self._endpoint.field_named(name)
        labels = field.labels if field is not None else ()
        return f"{name}  ({labels[0]})" if labels else name

    def _is_field(self, text: str) -> bool:
        return self._endpoint.is_id(text) or self._endpoint.field_named(text) is not None


def validate_asking(
    changes: ChangeSource, keep: Callable[[Sequence[RowResult]], None], person: Person, settings: Settings,
    mappings: Mappings,
) -> dict[str, str]:  # fmt: skip
    """Validate all rows, and ask how numbers or dates are meant that can be read in two ways.

    What was answered for a file with these headers is remembered with what they stand for, and not asked again.
    Returns the settings that were answered. Raises Declined where the person stops, and what `validate_all` raises
    where nobody can be asked.
    """
    answered: dict[str, str] = {}
    while True:
        try:
            changes.validate_all(keep)
        except NotationError as error:
            if error.setting in answered:
                raise
            known = _known_mapping(changes.staged.headers, person, settings, mappings)
            value = known.formats.get(error.setting, "") if known is not None else ""
            if known is not None and value in error.readings:
                answered[error.setting] = value
                person.note(
                    f'{error.where}: {error.seen} is {error.readings[value]}, as the mapping "{known.name}" has it.'
                )
                if not _says_headers(settings, changes.staged):  # else it was said when they were matched
                    person.note(f"To forget it:  {command()} mappings forget {shlex.quote(known.name)}")
            elif person.can_ask:
                answered[error.setting] = said = _ask_format(error, person)
                _remember_format({error.setting: said}, known, changes.staged, person, settings, mappings)
            else:
                raise
            changes.read_as(answered)
        else:
            return answered


def _known_mapping(
    headers: Sequence[str], person: Person, settings: Settings, mappings: Mappings
) -> SavedMapping | None:
    """Return the mapping that is named, or on a terminal the one that was remembered for these headers."""
    if settings.mapping is not None:
        return mappings.named(settings.mapping, settings.endpoint)
    return mappings.recognise(settings.endpoint, headers) if person.can_ask else None


def _says_headers(settings: Settings, staged: Staged) -> bool:
    """Whether a mapping, an option or an answer says what some header stands for."""
    return bool(set(map(fold, settings.map)).intersection(map(fold, staged.headers)))


def _remember_format(
    answer: Mapping[str, str], known: SavedMapping | None, staged: Staged, person: Person, settings: Settings,
    mappings: Mappings,
) -> None:  # fmt: skip
    """Add an answer to the mapping of these headers, or begin one if the person likes; not where it was declined."""
    if known is None:
        if _says_headers(settings, staged) or not _wants_it_remembered(person):
            return
        name = mappings.free_name(Path(staged.name).stem or staged.name)
        known = make_mapping(settings, name, staged.headers)
    mappings.keep(replace(known, formats={**known.formats, **answer}))
    person.note(f'Remembered as "{known.name}".  In a script:  --mapping {shlex.quote(known.name)}')


def with_answers(settings: Settings, answered: Mapping[str, str]) -> Settings:
    """Return the settings with those that `validate_asking` returned."""
    values: dict[str, Any] = dict(answered)
    return replace(settings, **values)


def _ask_format(error: NotationError, person: Person) -> str:
    """Return which of the readings is meant, as the setting has it; raises Declined."""
    person.note(f"{error.where}: {error.seen} can be read in two ways, and no other cell tells which is meant.")
    chosen = person.choose("Which one is it? (Enter: none, which stops)", list(error.readings.values()))
    if chosen is None:
        raise Declined("Nothing was sent.")
    value = list(error.readings)[chosen]
    person.note(f"In a script:  --{error.setting.replace('_', '-')} {value}")
    return value


def choose_sheet(
    source: Input, settings: Settings, endpoint: Endpoint, person: Person, mappings: Mappings
) -> Settings:  # fmt: skip
    """Offer the one sheet that fits where the first one does not, or take it where that is remembered.

    Raises UsageError that names --sheet where nobody can be asked, and Declined for no.
    """
    found = sources.find_sheet(source, read_options(settings, endpoint))
    if found is None:
        return settings
    first, other = (visible(one) for one in found)
    chosen = replace(settings, sheet=found[1])
    known = _remembered_sheet(source, chosen, endpoint, mappings) if person.can_ask else None
    if known is not None:
        person.note(f'{source.name}: sheet "{other}" is read, as the mapping "{known.name}" has it.')
        return chosen
    odd = f'{source.name}: sheet "{first}", the first, does not fit {endpoint.title}. Sheet "{other}" fits.'
    options = "    ".join(f"--sheet {shlex.quote(one)}" for one in reversed(found))
    require_consent(person, odd, f"Say which one is meant:  {options}", f'Read sheet "{other}"?')
    return chosen


def _remembered_sheet(
    source: Input, settings: Settings, endpoint: Endpoint, mappings: Mappings
) -> SavedMapping | None:  # fmt: skip
    """Return the mapping that was remembered for the sheet of the settings, in a file with these headers."""
    if any((one.endpoint, one.sheet) == (settings.endpoint, settings.sheet) for one in mappings.read()):
        with suppress(InputError):
            known = mappings.recognise(settings.endpoint, peek_headers(source, settings, endpoint, mappings).headers)
            return known if known is not None and known.sheet == settings.sheet else None
    return None
