"""What a DualEntry PATCH may carry: the fields, their limits, and the custom fields with their definitions.

Unknown keys are ignored, as their framework does by default.
"""

from datetime import date
from typing import Annotated, Any, Final

from pydantic import BaseModel, StringConstraints, TypeAdapter, ValidationError

# pydantic wants this one below Python 3.12
from typing_extensions import TypedDict

STRING_FIELDS: Final = ("name", "email", "address", "country", "website", "phone")

UniqueId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Phone = Annotated[str, StringConstraints(max_length=32, pattern=r"^[0-9\s\+\-\.\(\)]*$")]
Country = Annotated[str, StringConstraints(pattern=r"^([A-Z]{2})?$")]


class Address(BaseModel):
    """A nested address, always sent whole."""

    street: str
    second_line: str = ""
    city: str
    state: str = ""
    postal_code: str
    country: Country = ""
    name: str | None = None


class Patch(TypedDict, total=False):
    """The body: what is not there stays as it is."""

    name: str | None
    email: str | None
    address: str | None
    country: str | None
    website: str | None
    phone: Phone | None
    unique_id: UniqueId | None
    full_address: Address | None
    shipping_address: Address | None
    custom_fields: list[dict[str, Any]] | None


_PATCH: Final = TypeAdapter(Patch)

Errors = dict[str, list[str]]


class RefusedError(Exception):
    """The body is refused; `errors` by field, `is_json` tells a wrong value from a body that cannot be read."""

    def __init__(self, errors: Errors, *, is_json: bool = True) -> None:
        super().__init__(errors)
        self.errors = errors
        self.is_json = is_json


def changes_from(body: bytes, current_custom_fields: dict[str, Any]) -> dict[str, Any]:
    """The changes that a body asks for, ready to be stored; raises `RefusedError`."""
    try:
        patch = _PATCH.validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None
    changes: dict[str, Any] = dict(patch)
    for name in STRING_FIELDS:
        if name in changes and changes[name] is None:
            changes[name] = ""
    for name in ("full_address", "shipping_address"):
        if isinstance(changes.get(name), Address):
            changes[name] = changes[name].model_dump()
    if "custom_fields" in changes:
        changes["custom_fields"] = _merged(current_custom_fields, changes["custom_fields"])
    return changes


def _refusal(error: ValidationError) -> RefusedError:
    errors: Errors = {}
    details = error.errors(include_url=False, include_context=False, include_input=False)
    for detail in details:
        errors.setdefault(".".join(map(str, detail["loc"])) or "__all__", []).append(detail["msg"])
    return RefusedError(errors, is_json=details[0]["type"] != "json_invalid")


def _definition(number: int, name: str, field_type: str, *options: str, of: str = "customer") -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "field_type": field_type,
        "is_active": True,
        "company_id": None,
        "company_ids": [],
        "description": "",
        "helper_text": "",
        "applies_to": [{"type": of, "is_active": True, "is_required": False}],
        "default_value": None,
        "options": list(options),
    }


DEFINITIONS: Final = (
    _definition(31, "Tier", "single_select", "Gold", "Silver", "Bronze"),
    _definition(32, "Partner", "boolean"),
    _definition(33, "Account Manager", "text"),
    _definition(34, "Credit Limit", "number"),
    _definition(35, "Renewal", "date"),
    _definition(36, "Segments", "multi_select", "Retail", "Wholesale", "Online"),
    _definition(42, "Region", "text"),
    _definition(43, "Region", "text"),
    _definition(50, "Vendor Class", "text", of="vendor"),
)
OF_CUSTOMERS: Final = {str(d["id"]): d for d in DEFINITIONS if d["applies_to"][0]["type"] == "customer"}


def read_custom_fields(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Custom fields as a record shows them: every definition, with its value or null."""
    return [
        {"field": definition, "value": _read_value(definition, values.get(number))}
        for number, definition in OF_CUSTOMERS.items()
    ]


def _read_value(definition: dict[str, Any], value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"custom_field_id": definition["id"], "custom_field_name": definition["name"], "value": value}


def _merged(current: dict[str, Any], items: list[dict[str, Any]] | None) -> dict[str, Any]:
    if items is None:
        return {}
    merged = dict(current)
    problems: list[str] = []
    for item in items:
        try:
            number, value = _item(item)
            merged[number] = value
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise RefusedError({"custom_fields": problems})
    return merged


def _item(item: dict[str, Any]) -> tuple[str, Any]:
    """The definition's id and the value of one item, by id or by name."""
    if set(item) == {"field", "value"} and isinstance(item["field"], dict):
        definition, value = _by_id(item["field"].get("id"), item["value"])
    elif len(item) == 1:
        [(name, value)] = item.items()
        definition = _by_name(name)
    else:
        raise ValueError("Each item must name exactly one custom field")
    if value is not None and not _fits(definition, value):
        raise ValueError(f"Invalid value for custom field '{definition['name']}' ({definition['field_type']})")
    return str(definition["id"]), value


def _by_id(number: Any, value: Any) -> tuple[dict[str, Any], Any]:
    definition = OF_CUSTOMERS.get(str(number)) if isinstance(number, int) else None
    if definition is None:
        raise ValueError(f"Custom field with id {number} does not exist")
    if value is None:
        return definition, None
    if not isinstance(value, dict) or value.get("custom_field_id") != number:
        raise ValueError(f"The value of custom field {number} must carry its custom_field_id")
    return definition, value.get("value")


def _by_name(name: str) -> dict[str, Any]:
    named = [definition for definition in OF_CUSTOMERS.values() if definition["name"] == name]
    if not named:
        raise ValueError(f"Custom field '{name}' does not exist")
    if len(named) > 1:
        raise ValueError(f"More than one custom field is named '{name}': use its id")
    return named[0]


def _fits(definition: dict[str, Any], value: Any) -> bool:
    match definition["field_type"]:
        case "boolean":
            return isinstance(value, bool)
        case "number" | "currency":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "single_select":
            return value in definition["options"]
        case "multi_select":
            return isinstance(value, list) and all(one in definition["options"] for one in value)
        case "date":
            return isinstance(value, str) and _is_date(value)
        case _:
            return isinstance(value, str)


def _is_date(value: str) -> bool:
    try:
        return date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False
