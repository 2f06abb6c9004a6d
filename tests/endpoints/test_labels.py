"""The labels of fields: which languages there are, what does not matter in a header, and what a file may hold."""

from pathlib import Path

import pytest

from batch.endpoints.base import Endpoint
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.endpoints.labels import LANGUAGES, fold_label, read_labels, spellings, with_labels
from batch.endpoints.vayu.customers import VayuCustomers

ENDPOINTS = [DualEntryCustomers(), VayuCustomers()]
USUAL = {
    "Kundenname": "name", "Firma": "name", "Client": "name", "Razón Social": "",
    "PLZ": "postal",
    "Code postal": "postal", "CÓDIGO POSTAL": "postal", "Codigo Postal": "postal",
    "Ort": "city", "Ville": "city", "Ciudad": "city",
    "Straße": "street", "Strasse": "street", "Rue": "street", "Calle": "street", "Land": "country", "Pays": "country",
    "País": "country", "Kd-Nr": "number", "Kd.-Nr.": "number", "Kunden-Nr.:": "number", "N° client": "number",
    "Bundesland": "state",
}  # fmt: skip
FIELDS = {
    "dualentry.customers": {
        "name": "name", "postal": "full_address.postal_code", "city": "full_address.city", "country": "country",
        "street": "full_address.street", "number": "unique_id", "state": "full_address.state", "": "name",
    },
    "vayu.customers": {
        "name": "name", "postal": "address.postalCode", "city": "address.city", "country": "address.country",
        "street": "address.addressText", "number": "externalId", "state": "address.state", "": "legalName",
    },
}  # fmt: skip


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
def test_usual_headers_are_known_in_four_languages(endpoint: Endpoint) -> None:
    """German, French and Spanish headers lead to the field that the English one leads to."""
    found = {header: endpoint.field_named(header) for header in USUAL}
    expected = {header: FIELDS[endpoint.name][what] for header, what in USUAL.items()}
    assert expected == {header: field.name if field else None for header, field in found.items()}


def test_telephones_are_known_where_a_customer_has_one() -> None:
    """An endpoint whose records have no phone of their own takes no column for it."""
    headers = ("Telefon", "Téléphone", "Telephone", "Teléfono", "Tel.", "Telefon-Nr.")
    assert {"phone"} == {one.name if (one := ENDPOINTS[0].field_named(header)) else "" for header in headers}
    assert [None] * len(headers) == [ENDPOINTS[1].field_named(header) for header in headers]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
def test_no_two_fields_share_a_spelling(endpoint: Endpoint) -> None:
    """Nor does a field share one with the id, whichever accents are left out."""
    owners: dict[str, set[str]] = {}
    named = {"id": ("id", *endpoint.id_labels)} | {one.name: (one.name, *one.labels) for one in endpoint.fields}
    for name, labels in named.items():
        for label in labels:
            for spelt in spellings(label):
                owners.setdefault(spelt, set()).add(name)
    assert {} == {spelt: names for spelt, names in owners.items() if len(names) > 1}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
def test_no_label_is_written_down_twice(endpoint: Endpoint) -> None:
    """A label that another one covers, but for what does not matter, earns no place."""
    for labels in (endpoint.id_labels, *(one.labels for one in endpoint.fields)):
        assert [] == [one for one in labels if [fold_label(two) for two in labels].count(fold_label(one)) > 1]


def test_labels_in_every_language_may_be_left_out(tmp_path: Path) -> None:
    """English comes first, and a language or a field that is not known is refused."""
    path = tmp_path / "labels.toml"
    path.write_text('[name]\nde = ["Kundenname"]\nen = ["customer name"]\n', encoding="utf-8")
    assert {"name": ("customer name", "Kundenname")} == read_labels(path)
    path.write_text('[name]\nit = ["nome"]\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"labels.toml: name has other languages than " + ", ".join(LANGUAGES)):
        read_labels(path)
    with pytest.raises(ValueError, match="there is no field nome"):
        with_labels(ENDPOINTS[0].fields, {"nome": ("nome",)})
