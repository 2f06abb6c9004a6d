"""Idempotency keys: what lets an API recognise a change that it was sent before."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from batch.endpoints.base import Endpoint
from batch.exact_json import encode


def make_key(endpoint: Endpoint, seed: str, change: int, number: int, body: Mapping[str, Any]) -> str | None:
    """Derive the key that all attempts of an intent carry; None where the API has no such keys.

    `seed` is the id of a run, `number` is which of the intents of `change` it is: another body, and another intent, has
    another key.
    """
    if not endpoint.rules.idempotent_keys:
        return None
    return str(uuid5(_namespace(seed), f"{change} {number} {encode(body)}"))


@lru_cache(maxsize=2)
def _namespace(seed: str) -> UUID:
    """Read the id of a run once, not for each of its changes."""
    return UUID(seed)
