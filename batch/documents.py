"""Values as JSON documents, and the JSON Schema of these: both from the types of their dataclasses.

Promises: a document is what its schema says, since both are made by the same pydantic adapter; every key is always
there.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, cast

from pydantic import ConfigDict, PlainSerializer, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

NOT_KNOWN: Final = -1
"""Stands for a number that nobody knows (yet)."""
CONFIG: Final = ConfigDict(arbitrary_types_allowed=True, json_schema_serialization_defaults_required=True)
"""What the dataclass of a document has as its `__pydantic_config__`."""

Text = Annotated[str, PlainSerializer(lambda text: text or None, return_type=str | None)]
"""A text that is null in JSON where it is ""."""
Number = Annotated[int, PlainSerializer(lambda number: None if number == NOT_KNOWN else number, return_type=int | None)]
"""A number that is null in JSON where it is NOT_KNOWN."""
Seconds = Annotated[float, PlainSerializer(lambda seconds: round(seconds, 3), return_type=float)]
"""Seconds, to the millisecond in JSON."""
Rate = Annotated[float, PlainSerializer(lambda rate: round(rate, 2), return_type=float)]
"""How many a second, to the hundredth in JSON."""
Tenths = Annotated[
    float | None, PlainSerializer(lambda seconds: seconds and round(seconds, 1), return_type=float | None)
]
"""Seconds as far as they can be told, to the tenth in JSON."""


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def as_json(document: Any) -> dict[str, Any]:
    """Return a dataclass as JSON has it."""
    kind: Any = type(document)
    return cast(dict[str, Any], _adapter(kind).dump_python(document, mode="json"))


def document_text(values: Mapping[str, Any]) -> str:
    """Return a JSON document as its file has it."""
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def json_schema(kind: Any, title: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what `as_json` makes of a dataclass, or of one of several."""
    found = _adapter(kind).json_schema(mode="serialization")
    return {"$schema": GenerateJsonSchema.schema_dialect, **found, "title": title}
