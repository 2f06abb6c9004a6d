"""What holds documents against the schemas that `batch schema` prints."""

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from batch.commands.schema import schema


@cache
def _validator(name: str) -> Draft202012Validator:
    found = schema(name)
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


def held(document: Any, name: str) -> Any:
    """Return a document as it is; fails where it does not hold against the schema, or has keys that it does not name.

    While a run goes on, its summary says besides which process does it.
    """
    _validator(name).validate(document)
    wanted = schema(name)
    if "properties" in wanted:
        further = {"process", "process_host", "since"} if document.get("state") == "running" else set()
        assert list(wanted["properties"]) == [one for one in document if one not in further]
    return document
