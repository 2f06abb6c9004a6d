"""Headers -> columns: which field each header names, before any row is read.

Promises: every header is used, ignored on purpose (`--map "Notes="`, `--map "*="` for all that name nothing, or not
among `--columns`), or one that batch adds (`batch_…`); anything else stops the run before anything is sent, and the
message has the `--map` options to paste, for all problems at once. A header `name (now)` sets nothing: it says what
`name` must show.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from batch.endpoints.base import Endpoint
from batch.endpoints.labels import fold
from batch.errors import HeaderError, UnmatchedError
from batch.model import RESERVED_PREFIX, Column, Columns, Field, column_letters, map_option, shorten, visible
from batch.provenance import pulled_place

MAX_LISTED = 20
REST = "*"
"""Stands in a mapping for all headers that name nothing."""
_NOW = re.compile(r"(.*\S)\s*\(\s*now\s*\)\s*", re.IGNORECASE | re.DOTALL)


def match_columns(
    headers: Sequence[str], endpoint: Endpoint, *, name: str, mapping: Mapping[str, str], chosen: Collection[str] = (),
    key_field: str | None = None, filled: Callable[[int], str] = lambda index: column_letters(index + 1),
) -> Columns:  # fmt: skip
    """Match `headers` of input `name` to the fields of `endpoint`; raises HeaderError with every problem at once.

    `mapping` is what `--map` says: header -> field, "" to ignore it; `chosen` what `--columns` says: where there are
    any, all others are ignored. `filled` names column `index` as the spreadsheet does, "" when all of its cells are
    blank: then its missing header does not matter.
    """
    given = {fold(header): target for header, target in mapping.items()}
    key, matched = _key_field(endpoint, key_field), match_each(headers, endpoint, mapping, chosen, key_field)
    problems = [*_unknown_mapping(headers, mapping, endpoint), *_unknown_chosen(headers, chosen)]
    columns: list[Column] = []
    unmatched: list[str] = []
    for index, (header, column) in enumerate(zip(headers, matched, strict=True)):
        if column is not None:
            columns.append(column)
        elif header.strip():
            unmatched.append(header)
        elif letters := filled(index):
            problems.append(f"Column {letters} has values but no header. Name it, or empty it.")
        else:
            columns.append(Column(index, header, "empty"))
    taken = {one.target for one in columns if one.target}
    problems += _unmatched([one for one in unmatched if fold(one) not in given], endpoint, taken)
    problems += [*_duplicated(columns, endpoint, waits=True), *_pulled_twice(columns)]
    record = next((one for one in columns if one.role == ("key" if key else "id")), None)
    if record is None:
        problems += _no_id(columns, unmatched, endpoint, key_field)
    fields = tuple(one for one in columns if one.role == "field")
    if record is not None and not fields and not unmatched:
        problems.append("Beside the id there is no column that sets a field.")
    if problems or record is None:
        message = "\n".join([f"{name}: the headers do not fit {endpoint.name}.", *problems, "Nothing was sent."])
        unknown = [one for one in unmatched if fold(one) not in given]
        if not unknown and record is not None:
            raise HeaderError(message)
        raise UnmatchedError(
            message, unmatched=unknown, taken=taken, lacks_id=record is None,
            options=_nearest_options(unknown, endpoint, taken, lacks_id=record is None and not key_field),
        )  # fmt: skip
    record_id = next((one for one in columns if one.role == "id"), None) if key else None
    return Columns(tuple(columns), record, fields, key_field, record_id)


def match_each(
    headers: Sequence[str], endpoint: Endpoint, mapping: Mapping[str, str], chosen: Collection[str] = (),
    key_field: str | None = None,
) -> list[Column | None]:  # fmt: skip
    """Match each header by itself, None where it names no field; raises HeaderError for a key that there is not."""
    given = {fold(header): target for header, target in mapping.items()}
    key, is_left_out = _key_field(endpoint, key_field), leaves_out(endpoint, mapping, chosen)
    return [_match(index, header, endpoint, given, key, is_left_out) for index, header in enumerate(headers)]


def is_known_header(endpoint: Endpoint, mapping: Mapping[str, str]) -> Callable[[str], bool]:
    """Return what tells whether a header means anything: a field, the id, one of ours, or what `--map` says."""
    given = {fold(header) for header in mapping}

    def is_known(header: str) -> bool:
        is_ours = header.strip().casefold().startswith(RESERVED_PREFIX)
        return bool(header.strip()) and (
            is_ours or fold(header) in given or endpoint.is_id(header) or _field_named(header, endpoint)[0] is not None
        )

    return is_known


def is_id_header(endpoint: Endpoint, mapping: Mapping[str, str], key_field: str | None) -> Callable[[str], bool]:
    """Return what tells whether a header names what says which record: the id, or the field of --key."""
    given = {fold(header): target for header, target in mapping.items()}

    def is_id(header: str) -> bool:
        target = given.get(fold(header), header)
        if key_field is None:
            return endpoint.is_id(target)
        field, is_now = _field_named(target, endpoint)
        return field is not None and field.name == key_field and not is_now

    return is_id


def _key_field(endpoint: Endpoint, key_field: str | None) -> Field | None:
    if key_field is None:
        return None
    if key_field not in endpoint.key_fields:
        by = " or ".join(endpoint.key_fields) or "their id alone (leave out --key)"
        raise HeaderError(f"--key {key_field}: {endpoint.name} finds records by {by}.")
    return endpoint.field_named(key_field)


def leaves_out(endpoint: Endpoint, mapping: Mapping[str, str], chosen: Collection[str]) -> Callable[[str], bool]:
    """Return what tells whether a column is ignored on purpose, by its header."""
    is_known = is_known_header(endpoint, {})
    given = {fold(header): target for header, target in mapping.items()}
    kept = set(map(fold, chosen))

    def is_left_out(header: str) -> bool:
        if header.strip().casefold().startswith(RESERVED_PREFIX):
            return given.get(fold(header), header) == ""
        if fold(header) in given:
            return bool(header.strip()) and not given[fold(header)].strip()
        return fold(header) not in kept if kept else REST in mapping and not is_known(header)

    return is_left_out


def _match(
    index: int, header: str, endpoint: Endpoint, given: Mapping[str, str], key: Field | None,
    is_left_out: Callable[[str], bool],
) -> Column | None:  # fmt: skip
    target = given.get(fold(header), header)
    if is_left_out(header):
        return Column(index, header, "ignored")
    if header.strip().casefold().startswith(RESERVED_PREFIX) and target == header:
        return Column(index, header, "reserved")
    if endpoint.is_id(target):
        return Column(index, header, "id")
    field, is_now = _field_named(target, endpoint)
    if field is None:
        return None
    if is_now:
        return Column(index, header, "now", field)
    return Column(index, header, "key" if key and field.name == key.name else "field", field)


def _field_named(target: str, endpoint: Endpoint) -> tuple[Field | None, bool]:
    """Find the field that a header names, and whether it is only looked at: `name (now)`."""
    found = endpoint.field_named(target) if target.strip() else None
    if now := _NOW.fullmatch(target):
        looked_at = endpoint.field_named(now[1])
        is_itself = found is not None and endpoint.is_custom(found.name) and _is_defined(found.name, endpoint)
        return (found, False) if is_itself or looked_at is None else (looked_at, True)
    return found, False


def _is_defined(name: str, endpoint: Endpoint) -> bool:
    """Whether the organisation has a custom field that is called just so, as "Tier (now)" may be."""
    return bool(endpoint.definitions) and not endpoint.definition_problem(name)


def _unknown_mapping(headers: Sequence[str], mapping: Mapping[str, str], endpoint: Endpoint) -> list[str]:
    known = {fold(header) for header in headers}
    problems = [
        f'{map_option(header, target)}: there is no header "{_shown(header)}".'
        for header, target in mapping.items()
        if fold(header) not in known and header != REST
    ]
    if mapping.get(REST, "").strip():
        problems.append(
            f'{map_option(REST, mapping[REST])}: "{REST}" stands for all headers that name nothing, which can be left '
            f"out alone:  {map_option(REST, '')}"
        )
        mapping = {header: target for header, target in mapping.items() if header != REST}
    for header, target in mapping.items():
        if target.strip() and not endpoint.is_id(target) and _field_named(target, endpoint)[0] is None:
            near = ", ".join(endpoint.nearest(target))
            problems.append(
                f'{map_option(header, target)}: there is no field "{_shown(target)}".'
                + (f" Nearest: {near}." if near else "")
            )
    return problems


def _unknown_chosen(headers: Sequence[str], chosen: Collection[str]) -> list[str]:
    known = {fold(header) for header in headers}
    return [f'--columns: there is no header "{_shown(one)}".' for one in chosen if fold(one) not in known]


def _unmatched(headers: Sequence[str], endpoint: Endpoint, taken: Collection[str]) -> list[str]:
    listed = headers[:MAX_LISTED]
    lines = [near_line(one, "names no field", endpoint.nearest(one, without=taken)) for one in listed]
    more = len(headers) - MAX_LISTED
    return lines + ([f"  … and {more} more."] if more > 0 else [])


def near_line(header: str, problem: str, near: Sequence[str]) -> str:
    """Say what is wrong with a header, and the `--map` that settles it: leaving it out, or the nearest field."""
    line = f'  "{_shown(header)}" {problem}.  To leave it out:  {map_option(header, "")}'
    return line + (f"  Nearest: {', '.join(near)}.  If it is that:  {map_option(header, near[0])}" if near else "")


def _nearest_options(
    headers: Iterable[str], endpoint: Endpoint, taken: Collection[str], *, lacks_id: bool
) -> list[str]:
    """Spell the options that take every header for the nearest field that is left, and leave out what is near none.

    Where no column is the id, the first header that is near to nothing is taken for it.
    """
    targets: dict[str, str] = {}
    for header in headers:
        near = endpoint.nearest(header, 1, without={*taken, *targets.values()})
        targets[header] = near[0] if near else ""
    if lacks_id and "id" not in targets.values():
        unlike = next((header for header, target in targets.items() if not target), None)
        targets |= {unlike: "id"} if unlike is not None else {}
    return [map_option(header, target) for header, target in targets.items()]


def _pulled_twice(columns: Iterable[Column]) -> list[str]:
    """Say which columns hold the same part of what was pulled, so that it cannot be told which is a row's own."""
    by_place: dict[int | None, list[Column]] = {}
    for one in columns:
        if one.role == "reserved":
            by_place.setdefault(pulled_place(one.header), []).append(one)
    return [
        f"Columns {' and '.join(column_letters(one.index + 1) for one in found)} are both "
        f'"{_shown(found[0].header)}". Remove all of them but the one that was pulled with the rows.'
        for place, found in by_place.items()
        if place is not None and len(found) > 1
    ]


def check_duplicated(columns: Columns, endpoint: Endpoint, *, name: str) -> None:
    """Raise HeaderError where headers lead to one field, now that all is known that can be known of custom fields."""
    if problems := _duplicated(columns.all, endpoint, waits=False):
        first = f"{name}: the headers do not fit {endpoint.name}."
        raise HeaderError("\n".join([first, *problems, "Nothing was sent."]))


def _duplicated(columns: Iterable[Column], endpoint: Endpoint, *, waits: bool) -> list[str]:
    """Say which headers lead to one field; with `waits` not of those that definitions may still tell apart."""
    by_field: dict[str, list[Column]] = {}
    for one in columns:
        if one.target:
            by_field.setdefault(endpoint.same_field(one.target), []).append(one)
    return [
        _duplicated_line(name, found)
        for name, found in by_field.items()
        if len(found) > 1 and not (waits and _may_be_told_apart(found, endpoint))
    ]


def _may_be_told_apart(columns: Sequence[Column], endpoint: Endpoint) -> bool:
    """Whether what looks like a kind behind the name of a custom field may be part of the name."""
    headers = {fold(one.header) for one in columns}
    return endpoint.is_custom(columns[0].target) and not endpoint.definitions and len(headers) == len(columns)


def _duplicated_line(target: str, columns: Sequence[Column]) -> str:
    listed = " and ".join(f'"{_shown(one.header)}" ({column_letters(one.index + 1)})' for one in columns)
    line = f"Columns {listed} {'both' if len(columns) == 2 else 'all'} stand for {target}. Keep one"
    if len({fold(one.header) for one in columns}) < len(columns):
        return f"{line}, and rename or remove the other."
    return f"{line}, and leave out the other, such as:  {map_option(columns[-1].header, '')}"


def _shown(header: str) -> str:
    return shorten(visible(header), 60)


def _no_id(columns: Sequence[Column], unmatched: Sequence[str], endpoint: Endpoint, key_field: str | None) -> list[str]:
    if key_field is not None:
        return [f"No column is {key_field}, by which --key finds the records."]
    headers = [one.header for one in columns if one.role != "empty"] + list(unmatched)
    lines = [f"No column is the {endpoint.noun}'s id. Columns: {', '.join(map(_shown, headers[:MAX_LISTED]))}."]
    own = next(iter(endpoint.key_fields), "")
    known = next((one.header for one in columns if own and one.target == own), None)
    likely = [*unmatched, *(one.header for one in columns if one.role == "field" and one.header != known)]
    if likely:
        lines.append(f'If "{_shown(likely[0])}" is it:  {map_option(likely[0], "id")}')
    if known is not None:
        lines.append(f'If the {endpoint.plural} are to be found by your own number in "{_shown(known)}":  --key {own}')
    elif own and likely:
        lines.append(f"(if it is your own number, not the API's:  --key {own} {map_option(likely[0], own)})")
    return lines
