"""The fields of DualEntry's PATCH body, each with its limits and labels (apis.md)."""

from typing import Any

from batch.endpoints import cells
from batch.model import Field

ADDRESSES = ("full_address", "shipping_address")
REQUIRED_PARTS = ("street", "city", "postal_code")
OPTIONAL_PARTS = ("second_line", "state", "country", "name")


def _text(name: str, *labels: str, limits: str = "text") -> Field:
    return Field(name, cells.text(), labels=labels, limits=limits)


def _address(whole: str, title: str, prefixes: tuple[str, ...]) -> tuple[Field, ...]:
    def part(name: str, *labels: str, **kwargs: Any) -> Field:
        spelt = tuple(f"{prefix}{label}".strip() for prefix in prefixes for label in labels)
        options = {"type": cells.text(), "nullable": True, "limits": "text"} | kwargs
        return Field(f"{whole}.{name}", labels=spelt, **options)

    return (
        Field(whole, cells.ONLY_CLEAR, limits=f"the {title} as a whole: only <clear>", kind="object"),
        part("name", "recipient", "attention"),
        part("street", "street", "street address", "address line 1", type=cells.text(min_length=1), nullable=False),
        part("second_line", "address line 2", "street 2"),
        part("city", "city", "town", type=cells.text(min_length=1), nullable=False),
        part("state", "state", "province", "region"),
        part(
            "postal_code", "postal code", "postcode", "zip", "zip code", type=cells.text(min_length=1), nullable=False
        ),
        part(
            "country",
            "country code",
            type=cells.text(pattern="^[A-Z]{2}$"),
            limits="two capital letters (ISO 3166)",
            form="use the two capital letters of the country, such as US or DE",
        ),
    )


FIELDS: tuple[Field, ...] = (
    _text("name", "customer name", "company name", "company", "display name"),
    _text("email", "e-mail", "email address", "e-mail address", "mail"),
    Field(
        "phone",
        cells.text(max_length=32, pattern=r"^[0-9\s\+\-\.\(\)]*$"),
        labels=("phone number", "telephone", "telephone number", "tel", "phone no"),
        limits="at most 32 characters: digits, spaces and + - . ( )",
        form="use digits, spaces and + - . ( ) only",
    ),
    Field(
        "unique_id",
        cells.text(min_length=1, max_length=64),
        labels=("customer number", "customer no", "external id", "account number"),
        limits="1 to 64 characters",
    ),
    _text("website", "web site", "url", "homepage"),
    _text("country", "country name"),
    Field("address", cells.text(trim=False), limits="text, spaces around it kept", trims=False),
    *_address("full_address", "address", ("", "billing ", "full address ")),
    *_address("shipping_address", "shipping address", ("shipping ", "delivery ", "ship to ")),
)

KINDS: dict[str, str] = {
    "text": "text", "paragraph": "text", "link": "text",
    "number": "number", "currency": "number",
    "date": "date", "boolean": "boolean",
    "single_select": "single_select", "multi_select": "multi_select",
}  # fmt: skip
"""Kinds of custom fields, and how their cells are read."""
