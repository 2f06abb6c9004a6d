"""One custom field has one road to it, and the type that the organisation or the record gives it."""

from typing import Any

import pytest

from batch.commands.check import check
from batch.endpoints.base import ConflictError, CustomField
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.endpoints.vayu.customers import VayuCustomers
from batch.engine import context as context_module
from batch.errors import HeaderError, UnmatchedError
from batch.run.target import Environment
from tests.job_fixture import VAYU, VAYU_1, FakeReporter, JobFixture, told


def item(name: str, value_type: str, value: Any, source: str = "Hubspot") -> dict[str, Any]:
    """A custom field of a Vayu record."""
    return {"vayuCustomFieldName": name, "valueType": value_type, "integrationSource": source, "value": value}


@pytest.fixture
def without_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The organisation's custom fields may not be read."""

    async def fetch(*_: Any) -> list[CustomField]:
        return []

    monkeypatch.setattr(context_module, "fetch_definitions", fetch)


def custom_fields(job: JobFixture) -> list[dict[str, Any]]:
    """What was written of custom fields: the item of each, without where it comes from."""
    return [
        {"name": one["vayuCustomFieldName"], "type": one["valueType"], "value": one["value"]}
        for _, _, body in job.writes()
        for one in body["customFields"]
    ]


# -- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value_type", "old", "cell", "expected"),
    [
        ("Boolean", False, "TRUE", True),
        ("Boolean", True, "no", False),
        ("Number", 1, "12.5", 12.5),
        ("Number", 1, "7", 7),
        ("String", "x", "true", "true"),
        ("String", "x", "007", "007"),
        ("Enum", "Tin", "Gold", "Gold"),
    ],
)
@pytest.mark.usefixtures("without_definitions")
def test_type_of_the_record(job: JobFixture, value_type: str, old: Any, cell: str, expected: Any) -> None:
    """Without definitions the record's own item says the type."""
    job.sandbox.edit("vayu", VAYU_1, {"customFields": [item("Own", value_type, old)]})
    closing = job.update(job.sheet(f"id,customFields.Own\n{VAYU_1},{cell}\n"), VAYU)
    assert [("updated", "")] == told(closing)
    (found,) = custom_fields(job)
    assert ({"name": "Own", "type": value_type, "value": expected}, type(expected)) == (found, type(found["value"]))


@pytest.mark.parametrize(
    ("value_type", "cell", "reason"),
    [
        ("Boolean", "maybe", "is neither yes nor no (use true, false, yes, no, 1 or 0)"),
        ("Number", "abc", "is not a number (use digits, a minus sign and one decimal mark)"),
        ("Number", "1.234", "may mean 1234 or 1.234 (say which mark is the decimal one: --decimal)"),
        ("Number", "true", "is not a number (use digits, a minus sign and one decimal mark)"),
    ],
)
@pytest.mark.usefixtures("without_definitions")
def test_what_does_not_fit(job: JobFixture, value_type: str, cell: str, reason: str) -> None:
    """What does not fit the type of the record is invalid, and nothing is sent."""
    job.sandbox.edit("vayu", VAYU_1, {"customFields": [item("Own", value_type, None)]})
    closing = job.update(job.sheet(f"id,customFields.Own\n{VAYU_1},{cell}\n"), VAYU)
    assert ([("invalid", f'column "customFields.Own": {reason}')], []) == (told(closing), job.writes())


@pytest.mark.usefixtures("without_definitions")
def test_another_spelling(job: JobFixture) -> None:
    """A name that is equal but for case or spacing is the record's, which is said; none is added beside."""
    job.sandbox.edit("vayu", VAYU_1, {"customFields": [item("Account Tier", "String", "Tin")]})
    closing = job.update(job.sheet(f"id,customFields.account tier\n{VAYU_1},Gold\n"), VAYU)
    said = 'the record spells it "Account Tier", and that custom field was meant'
    assert [("updated", f'column "customFields.account tier": {said}')] == told(closing)
    assert [{"name": "Account Tier", "type": "String", "value": "Gold"}] == custom_fields(job)


def test_unknown_name(job: JobFixture) -> None:
    """With definitions, a name that nobody defined stops the run before anything is sent."""
    with pytest.raises(HeaderError) as caught:
        job.update(job.sheet(f"id,customFields.Seat,customFields.Odd:enum\n{VAYU_1},7,x\n"), VAYU)
    assert (
        "sheet.csv: the headers do not fit vayu.customers.\n"
        '  "customFields.Seat" is none of your custom fields.  To leave it out:  --map "customFields.Seat="  '
        "Nearest: customFields.Seats, customFields.Segment.  "
        'If it is that:  --map "customFields.Seat=customFields.Seats"\n'
        '  "customFields.Odd:enum" is none of your custom fields.  To leave it out:  --map "customFields.Odd:enum="\n'
        "Nothing was sent."
    ) == str(caught.value)
    assert isinstance(caught.value, UnmatchedError)
    options = ['--map "customFields.Seat=customFields.Seats"', '--map "customFields.Odd:enum="']
    assert options == caught.value.options
    assert [] == job.writes()


# -- one field, two roads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ("custom_fields[{number}],custom_fields.Tier", "custom_fields[{number}]"),
        ("custom_fields.tier,custom_fields.Tier:single_select", "custom_fields[{number}]"),
    ],
)
def test_headers_of_one_field(job: JobFixture, headers: str, field: str) -> None:
    """Headers that lead to one field are refused before anything is sent, whatever their spelling."""
    items = job.record(10_001)["custom_fields"]
    number = next(one["field"]["id"] for one in items if one["field"]["name"] == "Tier")
    with pytest.raises(HeaderError, match="both stand for") as caught:
        job.update(job.sheet(f"id,{headers.format(number=number)}\n10001,Gold,Silver\n"))
    assert f"both stand for {field.format(number=number)}. Keep one" in str(caught.value)
    assert [] == job.writes()


def test_headers_with_a_kind(job: JobFixture) -> None:
    """A kind behind the name is no other field, also where no definition is known."""
    path = job.sheet(f"id,customFields.Tier,customFields.Tier:enum\n{VAYU_1},a,b\n")
    with pytest.raises(HeaderError, match=r"both stand for customFields\.Tier\. Keep one"):
        check(job.settings(path, VAYU), FakeReporter(), Environment({}))


def test_names_that_end_like_a_kind() -> None:
    """What looks like a kind is judged when the definitions are known: it may be part of the name."""
    known = [CustomField("Tier", "String"), CustomField("Tier:number", "String")]
    vayu = VayuCustomers(definitions=known)
    assert ["customFields.Tier", "customFields.Tier:number"] == [one.name for one in vayu.custom_fields()]
    assert 2 == len({vayu.same_field(one.name) for one in vayu.custom_fields()})
    dualentry = DualEntryCustomers(definitions=[CustomField("Tier", "text", 1), CustomField("Tier:number", "text", 2)])
    assert ["custom_fields.Tier", "custom_fields[2]"] == [one.name for one in dualentry.custom_fields()]


TWO = [item("Tier", "String", "a"), {**item("Tier", "String", "b", "Salesforce"), "fieldPath": "Account.Tier"}]


@pytest.mark.usefixtures("without_definitions")
def test_several_items_of_one_name(job: JobFixture) -> None:
    """Two custom fields of one name cannot be told apart: nothing is sent, and their sources are named."""
    job.sandbox.edit("vayu", VAYU_1, {"customFields": TWO})
    closing = job.update(job.sheet(f"id,customFields.Tier,legalName\n{VAYU_1},c,New\n"), VAYU)
    said = (
        'column "customFields.Tier": is the name of several custom fields of this customer '
        "(Hubspot, Salesforce Account.Tier), so nothing is sent"
    )
    assert ([("invalid", said)], []) == (told(closing), job.writes())


def test_several_items_in_a_body() -> None:
    """No body is ever made that writes one of several items of a name."""
    with pytest.raises(ConflictError, match="is the name of several custom fields"):
        VayuCustomers().body({"customFields.Tier": "c"}, {"id": "1", "customFields": TWO})


@pytest.mark.usefixtures("without_definitions")
def test_two_names_of_one_item(job: JobFixture) -> None:
    """Two headers that only the record shows to be one field are refused in the row."""
    job.sandbox.edit("vayu", VAYU_1, {"customFields": [item("Tier", "String", "a")]})
    closing = job.update(job.sheet(f"id,customFields.tier,customFields.TIER\n{VAYU_1},b,c\n"), VAYU)
    said = "is the same custom field of this customer as customFields.tier (keep one column)"
    assert ([("invalid", f'column "customFields.TIER": {said}')], []) == (told(closing), job.writes())
