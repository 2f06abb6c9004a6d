"""What a journal keeps of its run as a whole: written as JSON, and read back as what it was written as.

Promises: whatever is of another kind than what was written, or could not have been, is a ValueError before anything
is made of it. (What is of the right kind and wrong all the same, such as another name, cannot be told.)
"""

import codecs
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, model_validator

from batch.model import CsvDialect, Staged

LINE_ENDS = ("\n", "\r", "\r\n")
Texts = tuple[str, ...]
Definitions = tuple[tuple[str, str, int | str | None, Texts], ...]


class _Known(BaseModel):
    """The values that something is made of, by their names in the journal."""

    model_config = ConfigDict(strict=True, extra="forbid")

    run_id: str
    identity: str
    endpoint: str
    host: str
    base_url: str
    input: str
    started: str
    seconds: NonNegativeFloat
    id_column: NonNegativeInt
    definitions: Definitions
    is_surveyed: bool
    staged: Staged
    again: Texts = ()
    next: Texts = ()
    sparse: bool = False
    stopped: str | None = None
    undoes: str | None = None
    exit_code: int | None = None

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
        if staged.style is not None and min(staged.style.first_row, staged.style.first_column) < 1:
            raise ValueError("there is no such cell")
        return self


def _check_dialect(dialect: CsvDialect) -> None:
    try:
        "".encode(codecs.lookup(dialect.encoding).name)
    except LookupError as error:  # unknown, or no encoding of texts
        raise ValueError(str(error)) from None
    if len(dialect.delimiter) != 1 or dialect.line_end not in LINE_ENDS:
        raise ValueError("no table is written like this")


def staged_as_meta(staged: Staged) -> dict[str, Any]:
    """Turn what is known of the input into JSON (without its path: the folder may be moved)."""
    return asdict(staged) | {"path": staged.path.name}


def read_staged(path: Path, meta: Mapping[str, Any]) -> Staged:
    """Read back what is known of the input at `path`, and see that all that is known makes sense; raises ValueError."""
    values = {name: meta[name] for name in _Known.model_fields if name in meta}
    known = _Known.model_validate_json(json.dumps(values))
    return replace(known.staged, path=path)
