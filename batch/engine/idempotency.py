"""Idempotency keys: what lets an API recognise a change that it was sent before."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from batch.endpoints.base import Endpoint
from batch.exact_json import encode


def make_key(endpoint: Endpoint, run_id: str, change: int, number: int, body: Mapping[str, Any]) -> str | None:
    """Derive the key that all attempts of an intent carry; None where the API has no such keys.

    `number` is which of the intents of `change` it is: another body, and another intent, has another key.
    """
    if not endpoint.rules.idempotent_keys:
        return None
    return str(uuid5(_namespace(run_id), f"{change} {number} {encode(body)}"))


@lru_cache(maxsize=1)
def _namespace(run_id: str) -> UUID:
    """Read the id of the run once, not for each of its changes."""
    return UUID(run_id)
