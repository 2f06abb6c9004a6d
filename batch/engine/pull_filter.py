"""Which records: `--where FIELD=VALUE` and `--ids FILE`, read and checked before anything is asked.

Promises: a field that does not exist, a value that the field cannot have and an id that cannot be one are refused, all
ids at once; a value means what it would mean in a cell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter, ValidationError

from batch import sources
from batch.endpoints.base import Endpoint
from batch.errors import InputError, SettingsError
from batch.model import Field, cell_column, shorten
from batch.run.cleanup import scratch
from batch.validation import cell_problem

SHOWN = 5
LARGEST_LIST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PullFilter:
    """The records that are wanted.

    `values` holds what each of them has, by field (None: empty); `filters` what of it the API can narrow down by; `ids`
    None is all.
    """

    values: Mapping[str, Any]
    filters: Mapping[str, str]
    ids: tuple[str, ...] | None


def make_pull_filter(endpoint: Endpoint, where: Sequence[tuple[str, str]], ids: tuple[str, ...] | None) -> PullFilter:
    """Understand `where` by the fields of `endpoint`; raises SettingsError."""
    values: dict[str, Any] = {}
    filters: dict[str, str] = {}
    for name, text in where:
        if endpoint.is_id(name):
            known = None if ids is None else {endpoint.id_key(one) for one in ids}
            ids = tuple(one for one in (text.strip(),) if known is None or endpoint.id_key(one) in known)
            _check_ids(ids, endpoint, f'--where "{name}={text}"')
            continue
        field = _field(endpoint, name, text)
        if field.name in values:
            raise SettingsError(f"--where: {field.name} is named twice, and it cannot have two values.")
        values[field.name] = _value(field, name, text)
        if field.name in endpoint.filters and text.strip():
            filters[field.name] = text.strip()
    if ids is None and not endpoint.page_size:
        raise SettingsError(f"{endpoint.name} does not list its records: name those that are wanted with --ids FILE.")
    return PullFilter(values, filters, ids)


def _field(endpoint: Endpoint, name: str, text: str) -> Field:
    field = endpoint.field_named(name) if name.strip() else None
    if field is None:
        near = ", ".join(endpoint.nearest(name))
        raise SettingsError(
            f'--where "{name}={text}": there is no field "{name}".' + (f" Nearest: {near}." if near else "")
        )
    if field.kind == "object":
        parts = ", ".join(one.name for one in endpoint.fields if one.name.startswith(f"{field.name}."))
        raise SettingsError(f'--where "{name}={text}": name a part of it: {parts or f"{field.name}.1.email"}.')
    return field


def _value(field: Field, name: str, text: str) -> Any:
    if not text.strip():
        return None
    try:
        return TypeAdapter(field.type).validate_python(text)
    except ValidationError as error:
        reason = cell_problem(error.errors(include_url=False, include_input=False)[0], field, text).reason
        raise SettingsError(f'--where "{name}={text}": "{shorten(text)}" {reason}.') from None


# -- ids ------------------------------------------------------------------------------------------------------------


def read_ids(path: Path, endpoint: Endpoint) -> tuple[str, ...]:
    """Read the ids of a file: one a line, or the id column of a table; raises InputError."""
    ids = _listed(path, endpoint)
    if ids is None:
        ids = _tabled(path, endpoint)
    if not ids:
        raise InputError(f"{path}: there is no id in it.")
    _check_ids(ids, endpoint, str(path))
    known: dict[str, str] = {}
    for one in ids:
        known.setdefault(endpoint.id_key(one), one)
    return tuple(known.values())


def _check_ids(ids: Sequence[str], endpoint: Endpoint, where: str) -> None:
    bad = [(one, problem) for one in ids if (problem := endpoint.id_problem(one))]
    lines = [f'"{shorten(one)}" {problem.reason}' for one, problem in bad[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"and {len(bad) - SHOWN:,} more")
    if bad:
        raise InputError(f"{where}: {'; '.join(lines)}.")


def _listed(path: Path, endpoint: Endpoint) -> list[str] | None:
    """Read a list without a header, None when the file is something else."""
    try:
        if path.stat().st_size > LARGEST_LIST:
            return None
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError):
        return None
    ids = [line for line in lines if line]
    return ids if ids and endpoint.id_problem(ids[0]) is None else None


def _tabled(path: Path, endpoint: Endpoint) -> list[str]:
    with scratch() as folder:
        staged = sources.stage(sources.open_input(str(path), folder), folder, sources.ReadOptions(require_rows=True))
        places = [place for place, header in enumerate(staged.headers) if endpoint.is_id(header)]
        if len(places) != 1 and len(staged.headers) != 1:
            headers = ", ".join(f'"{shorten(header, 40)}"' for header in staged.headers[:20])
            raise InputError(f'{path}: name one column "id". Columns: {headers}.')
        name = cell_column(places[0] if places else 0)
        column = pl.scan_parquet(staged.path, glob=False).select(pl.col(name).str.strip_chars()).collect()
        return column[name].drop_nulls().to_list()
