"""The APIs that the program knows, by name."""

from batch.endpoints.base import Endpoint
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.endpoints.vayu.customers import VayuCustomers

ENDPOINTS: dict[str, type[Endpoint]] = {one.name: one for one in (DualEntryCustomers, VayuCustomers)}
