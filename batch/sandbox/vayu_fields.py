"""What a Vayu PUT may carry: the fields, their limits and enums. Unknown keys are refused, inside of objects too."""

from typing import Annotated, Any, Final, Literal, Required

from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError

# pydantic wants this one below Python 3.12
from typing_extensions import TypedDict

NonEmpty = Annotated[str, StringConstraints(min_length=1)]
Phone = Annotated[str, StringConstraints(pattern=r"^\+?[1-9]\d{4,15}$")]
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
Source = Literal["Stripe", "VayuEventsApi", "Api", "Salesforce", "HubSpot"]
DueDays = Literal["END_OF_MONTH", "SAME_DAY", "15_DAYS", "30_DAYS", "45_DAYS", "60_DAYS", "90_DAYS"]
Currency = Literal["USD", "EUR", "GBP", "ILS", "CAD", "AUD", "COP", "BRL"]
ValueType = Literal["String", "Number", "Boolean", "Enum"]
IntegrationSource = Literal[
    "NetSuite", "QuickBooks", "Stripe", "Salesforce", "Hubspot", "Vayu", "Slack", "S3", "Morning", "Snowflake",
    "Anrok", "Connact", "Xero",
]  # fmt: skip
EntityType = Literal["Account", "Invoice", "SalesOrder", "Item", "Deal", "Company", "Opportunity"]

_CLOSED = ConfigDict(extra="forbid")


class Contact(TypedDict, total=False):
    """A person at the customer."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic's own way of giving a TypedDict its settings
    name: str | None
    email: Email | None
    title: str | None
    phone: Phone | None
    receiveInvoiceEmail: bool | None


class Address(TypedDict, total=False):
    """Replaced whole."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # as above
    country: str | None
    city: str | None
    addressText: str | None
    state: str | None
    postalCode: str | None


class CustomField(TypedDict, total=False):
    """A custom field with its value."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # as above
    vayuCustomFieldName: Required[NonEmpty]
    valueType: Required[ValueType]
    integrationSource: IntegrationSource | None
    integrationEntityType: EntityType | None
    fieldPath: str | None
    value: Any


class CloudProviderSettings(TypedDict, total=False):
    """Where the customer buys through a cloud marketplace."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # as above
    cloudProvider: Literal["AWS"]
    cloudProviderMarketplaceId: str
    customerIdentifier: str


class Put(TypedDict, total=False):
    """The body, not wrapped."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # as above
    name: NonEmpty
    externalId: NonEmpty
    aliases: list[str] | None
    taxIds: list[str] | None
    contacts: list[Contact] | None
    source: Source | None
    legalName: str | None
    taxId: str | None
    customerErpId: str | None
    salesForceAccountId: str | None
    subsidiary: str | None
    address: Address | None
    dueDays: DueDays | None
    currency: Currency | None
    customFields: list[CustomField] | None
    cloudProviderSettings: CloudProviderSettings | None


_PUT: Final = TypeAdapter(Put)

LEFT_OUT: Final[dict[str, Any]] = {
    name: [] if name in ("aliases", "taxIds") else None
    for name in Put.__annotations__
    if name not in ("name", "externalId", "__pydantic_config__")
}
"""What a field becomes that a replacing PUT leaves out; name and externalId cannot be null and stay."""


class RefusedError(Exception):
    """The body is refused: Vayu's code, its message, and the parameters with a message each."""

    def __init__(self, code: str, message: str, params: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.params = params


def changes_from(body: bytes) -> dict[str, Any]:
    """The fields that a body sets; raises `RefusedError`."""
    try:
        return dict(_PUT.validate_json(body, strict=True))
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> RefusedError:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    if not details[0]["loc"]:
        return RefusedError("bad_request", "The request body must be a JSON object", [])
    params = [(".".join(map(str, detail["loc"])), detail["msg"]) for detail in details]
    if len(params) > 1:
        return RefusedError("validation_failed", "Multiple parameters failed validation", params)
    if details[0]["type"] == "missing":
        return RefusedError("parameter_missing", f"Missing required parameter: {params[0][0]}", params)
    return RefusedError("parameter_invalid", f"{params[0][0]}: {params[0][1]}", params)


DEFINITIONS: Final = [
    {
        "id": f"{0x66A000000000000000000000 + place:024x}",
        "vayuEntity": "Customer",
        "vayuCustomFieldName": name,
        "valueType": value_type,
        "integrationSource": source,
        "integrationEntityType": "Account" if source else None,
        "fieldPath": path,
        "allowedValues": allowed,
        "defaultValue": None,
    }
    for place, (name, value_type, source, path, allowed) in enumerate(
        [
            ("Segment", "Enum", "Salesforce", "Segment__c", ["Enterprise", "Startup", "Public sector"]),
            ("Seats", "Number", None, None, None),
            ("AE Name", "String", "Salesforce", "Owner.Name", None),
            ("Is Partner", "Boolean", None, None, None),
        ],
        start=1,
    )
]
