"""Idempotency keys: what lets an API recognise a change that it was sent before."""

import uuid

from batch.endpoints.base import Endpoint


def new_key(endpoint: Endpoint) -> str | None:
    """Make the key of a new intent, which all of its attempts carry; None where the API has no such keys."""
    return str(uuid.uuid4()) if endpoint.rules.idempotent_keys else None
