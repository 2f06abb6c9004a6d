"""Headers -> columns: every header is used, ignored on purpose, or ours; all that does not fit is told at once."""

from typing import Any

import pytest

from batch.columns import match_columns
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.endpoints.vayu.customers import VayuCustomers
from batch.errors import ExitCode, HeaderError
from batch.model import Columns

DUALENTRY, VAYU = DualEntryCustomers(), VayuCustomers()
FIRST = "customers.csv: the headers do not fit dualentry.customers.\n"
LAST = "\nNothing was sent."


def match(*headers: str, endpoint: Any = DUALENTRY, **options: Any) -> Columns:
    return match_columns(headers, endpoint, name="customers.csv", **{"mapping": {}, **options})


def roles(columns: Columns) -> list[tuple[str, str]]:
    return [(one.role, one.target) for one in columns.all]


def refused(*headers: str, **options: Any) -> str:
    """What the person reads, without the first and the last line."""
    with pytest.raises(HeaderError) as caught:
        match(*headers, **options)
    text = str(caught.value)
    assert ExitCode.COULD_NOT_START == caught.value.exit_code
    assert (FIRST, LAST) == (text[: len(FIRST)], text[-len(LAST) :])
    return text[len(FIRST) : -len(LAST)]


def test_names() -> None:
    """Headers that are field names stand for these fields, in the order of the file."""
    found = match("name", "id", "full_address.city", "phone")
    assert [("field", "name"), ("id", "id"), ("field", "full_address.city"), ("field", "phone")] == roles(found)
    assert ("id", ["name", "full_address.city", "phone"]) == (found.id.header, [one.target for one in found.fields])


@pytest.mark.parametrize(
    "header",
    ["Phone Number", "PHONE-NUMBER", " phone_number ", "phonenumber", "Ｐｈｏｎｅ", "pho\u200bne", "Phone\nNumber"],
)
def test_spellings(header: str) -> None:
    """Case, spaces, hyphens, underscores, Unicode forms and invisible marks of a header do not matter."""
    assert ("field", "phone") == roles(match("id", header))[1]


@pytest.mark.parametrize("header", ["id", "ID", "Customer ID", "customerId", "customer_id", "Internal ID"])
def test_id(header: str) -> None:
    """The id's column has usual names of its own."""
    assert ("id", "id") == roles(match("name", header))[1]


@pytest.mark.parametrize("header", ["batch_row", "batch_outcome", "Batch_Message", " batch_field"])
def test_ours(header: str) -> None:
    """Columns of a failures file are ignored when it is the next input."""
    assert ("reserved", "") == roles(match("id", "name", header))[2]


def test_ours_on_purpose() -> None:
    """Even such a column is used when --map says so."""
    assert ("field", "phone") == roles(match("id", "name", "batch_phone", mapping={"batch_phone": "phone"}))[2]


def test_map_names_a_field() -> None:
    """--map decides what a header stands for, whatever it would stand for otherwise."""
    found = match("id", "Mobile", "Name", mapping={"Mobile": "Phone Number", "name": "email"})
    assert [("id", "id"), ("field", "phone"), ("field", "email")] == roles(found)


def test_map_names_the_id() -> None:
    """--map can name the id's column."""
    assert ("id", "id") == roles(match("Cust#", "name", mapping={"Cust#": "id"}))[0]


def test_map_ignores() -> None:
    """A column is left out on purpose by mapping it to nothing, whatever its header would stand for."""
    found = match("id", "name", "Notes", "Phone", mapping={"Notes": "", "Phone": ""})
    assert [("id", "id"), ("field", "name"), ("ignored", ""), ("ignored", "")] == roles(found)


def test_custom_fields() -> None:
    """Custom fields are named by name or by id; the kind after the name is not part of it."""
    found = match("id", "custom_fields.Tier", "Custom Field.Partner:boolean", "custom_fields[042]")
    names = ["custom_fields.Tier", "custom_fields.Partner", "custom_fields[42]"]
    assert names == [one.target for one in found.fields]


def test_contacts() -> None:
    """Contacts are named by number and part."""
    found = match("id", "contacts.1.email", "Contact . 2 . Phone", "Contacts[3].Receive Invoice Email", endpoint=VAYU)
    names = ["contacts.1.email", "contacts.2.phone", "contacts.3.receiveInvoiceEmail"]
    assert names == [one.target for one in found.fields]


def test_unnamed_column_without_values() -> None:
    """A column without header and values is nothing to worry about."""
    found = match("id", "name", "", "  ", filled=lambda index: "AB"[index : index + 1])
    assert [("empty", ""), ("empty", "")] == roles(found)[2:]


def test_unnamed_column_with_values() -> None:
    """A column with values but no header is named as a spreadsheet does."""
    assert "Column C has values but no header. Name it, or empty it." == refused("id", "name", "")


def test_near_field() -> None:
    """A header that is nearly a field's gets that field proposed, and how to leave it out."""
    expected = (
        '  "Webbsite" names no field.  To leave it out:  --map "Webbsite="'
        '  Nearest: website.  If it is that:  --map "Webbsite=website"'
    )
    assert expected == refused("id", "name", "Webbsite")


def test_taken_fields_are_not_proposed() -> None:
    """A field that another column stands for is not proposed, nor is the id."""
    assert '  "Internal note" names no field.  To leave it out:  --map "Internal note="' == refused(
        "id", "name", "Internal note"
    )
    assert '  "Webbsite" names no field.  To leave it out:  --map "Webbsite="' == refused("id", "website", "Webbsite")


@pytest.mark.parametrize(
    ("header", "option"),
    [
        ('5" pipe', "--map '5\" pipe='"),
        ("Price in $HOME", "--map 'Price in $HOME='"),
        ("it's", '--map "it\'s="'),
        ("Two\nlines", '--map "Two lines="'),
        ("N" * 100, f'--map "{"N" * 100}="'),
    ],
)
def test_option_to_paste(header: str, option: str) -> None:
    """The option can be pasted into a shell, whatever the header, and fits it."""
    line = refused("id", "name", header)
    assert line.endswith(f"names no field.  To leave it out:  {option}")
    assert ("ignored", "") == roles(match("id", "name", header, mapping={" ".join(header.split()): ""}))[2]


def test_hostile_header() -> None:
    """Escape sequences in a header are shown, not obeyed."""
    assert refused("id", "name", "\x1b[2Jx").startswith('  "\\x1b[2Jx" names no field.')


def test_many_unknown_headers() -> None:
    """After twenty unknown headers the others are counted."""
    lines = refused("id", "name", *(f"zzqq{number}" for number in range(25))).splitlines()
    assert (21, "  … and 5 more.") == (len(lines), lines[-1])


def test_doubled_field() -> None:
    """Two columns for one field are both named, with the way out."""
    expected = (
        'Columns "Phone" (B) and "Telephone" (C) both stand for phone. '
        'Keep one, and leave out the other, such as:  --map "Telephone="'
    )
    assert expected == refused("id", "Phone", "Telephone")


def test_tripled_field_of_one_spelling() -> None:
    """Columns whose headers are the same cannot be told apart by --map, so they are to be renamed."""
    expected = (
        'Columns "Phone" (B) and "phone" (C) and "PHONE" (D) all stand for phone. '
        "Keep one, and rename or remove the other."
    )
    assert expected == refused("id", "Phone", "phone", "PHONE")


def test_doubled_id() -> None:
    """Two columns for the id are refused, too."""
    expected = (
        'Columns "id" (A) and "Customer ID" (B) both stand for id. '
        'Keep one, and leave out the other, such as:  --map "Customer ID="'
    )
    assert expected == refused("id", "Customer ID", "name")


def test_no_id() -> None:
    """Without an id column, the message says how to name it, also by one's own number."""
    expected = (
        '  "Cust#" names no field.  To leave it out:  --map "Cust#="\n'
        "No column is the customer's id. Columns: Name, Phone, Cust#.\n"
        'If "Cust#" is it:  --map "Cust#=id"\n'
        '(if it is your own number, not the API\'s:  --key unique_id --map "Cust#=unique_id")'
    )
    assert expected == refused("Cust#", "Name", "Phone")


def test_no_id_but_own_number() -> None:
    """When a column is one's own number, the message offers to find the customers by it."""
    expected = (
        "No column is the customer's id. Columns: Customer No, Name.\n"
        'If "Name" is it:  --map "Name=id"\n'
        'If the customers are to be found by your own number in "Customer No":  --key unique_id'
    )
    assert expected == refused("Customer No", "Name")


def test_nothing_to_set() -> None:
    """A file with ids alone changes nothing, and is refused."""
    assert "Beside the id there is no column that sets a field." == refused("id", "batch_row")


def test_map_without_header() -> None:
    """--map of a header that is not there is a mistake."""
    assert '--map "Notes=": there is no header "Notes".' == refused("id", "name", mapping={"Notes": ""})


def test_map_to_no_field() -> None:
    """--map to something that is no field is a mistake, told once, with the nearest fields."""
    expected = '--map "Mobile=phon": there is no field "phon". Nearest: phone.'
    assert expected == refused("id", "Name", "Mobile", mapping={"Mobile": "phon"})


def test_all_at_once() -> None:
    """All that is wrong with the headers is told in one message."""
    lines = refused("Name", "Company", "Colour", "", mapping={"Nmae": "name"}).splitlines()
    doubled = (
        'Columns "Name" (A) and "Company" (B) both stand for name. '
        'Keep one, and leave out the other, such as:  --map "Company="'
    )
    expected = [
        '--map "Nmae=name": there is no header "Nmae".',
        "Column D has values but no header. Name it, or empty it.",
        '  "Colour" names no field.  To leave it out:  --map "Colour="',
        doubled,
        "No column is the customer's id. Columns: Name, Company, Colour.",
    ]
    assert expected == lines[:5]


def test_key() -> None:
    """With --key, one's own number says which record, and a column of the API's ids is held against it."""
    found = match("unique_id", "id", "name", key_field="unique_id")
    assert [("key", "unique_id"), ("id", "id"), ("field", "name")] == roles(found)
    assert ("unique_id", "unique_id", found.all[1]) == (found.id.header, found.key_field, found.record_id)


def test_key_column_missing() -> None:
    """With --key, a column must have that number."""
    assert "No column is unique_id, by which --key finds the records." == refused("id", "name", key_field="unique_id")


def test_no_key_field() -> None:
    """--key takes only fields by which the API can find records."""
    with pytest.raises(HeaderError) as caught:
        match("id", "name", key_field="phone")
    assert "--key phone: dualentry.customers finds records by unique_id." == str(caught.value)


def test_rest() -> None:
    """`--map "*="` leaves out what names nothing, and a column without a header; what has a meaning keeps it."""
    columns = match("id", "Phone", "Notes", "", "Cust#", "batch_pulled", mapping={"*": "", "Cust#": "name"})
    expected = [("id", "id"), ("field", "phone"), ("ignored", ""), ("ignored", ""), ("field", "name"), ("reserved", "")]
    assert expected == roles(columns)
    assert '--map "*=x": "*" stands for all headers that name nothing, which can be left out alone:  --map "*="' == (
        refused("id", "name", mapping={"*": "x"})
    )


def test_chosen_columns() -> None:
    """`--columns` leaves out all others, however well they are known; batch's own stay, and what is mapped is used."""
    columns = match("id", "PHONE", "name", "x", "y", "batch_seen", chosen=["ID", "phone"], mapping={"x": "website"})
    expected = ["id", "field", "ignored", "field", "ignored", "reserved"]
    assert (expected, "website") == ([one.role for one in columns.all], columns.all[3].target)
    assert '--columns: there is no header "phnoe".\nBeside the id there is no column that sets a field.' == (
        refused("id", "phone", chosen=["id", "phnoe"])
    )
    assert '  "x" names no field.  To leave it out:  --map "x="' == (
        refused("id", "phone", "x", "y", chosen=["id", "phone", "x"], mapping={"*": ""})
    )
