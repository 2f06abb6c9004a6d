"""JSON of records: numbers keep their text, keys their order, and what cannot be written back is known."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.endpoints.base import ConflictError, as_content
from batch.endpoints.dualentry.customers import DualEntryCustomers
from batch.endpoints.vayu.customers import VayuCustomers
from batch.exact_json import (
    Number,
    decode,
    encode,
    encode_ascii,
    encode_for_people,
    is_exact,
    is_same_number,
    plain_text,
    shortest_text,
    whole_text,
)
from batch.model import Outcome

NUMBERS = st.from_regex(
    r"\A-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,25})?\Z", alphabet="-+.eE0123456789"
)
"""The text of any number, as the standard of JSON has it."""
EXAMPLES = [
    "12345678901234567890.25", "1.10", "1E5", "1e+5", "-0", "-0.0", "0.10", "1e999999999", "-1E-999999999", "0e99999",
    "1e99999999999999999999999999", "9" * 5_000, "0." + "0" * 400 + "1", "1.5", "12",
]  # fmt: skip


@given(NUMBERS)
def test_any_number_is_written_as_it_was_read(text: str) -> None:
    """Whatever a number looks like, it is written back by every encoder as it came."""
    said = f'{{"a":[{text}],"b":{{"c":{text}}}}}'
    value = decode(said)
    assert (said, said, said.replace(":", ": ").replace(",", ", ")) == (
        encode(value), encode_ascii(value), encode_for_people(value),
    )  # fmt: skip


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_odd_number_is_written_as_it_was_read(text: str) -> None:
    """That holds for the largest, the longest and the smallest; and none of them takes long to compare."""
    began = time.perf_counter()
    value = decode(text)
    assert (text, True, False) == (encode(value), value == decode(text), value == 3)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("1.10", "1.1", True), ("1E5", "100000", True), ("1e5", "1.0e+05", True), ("-0", "0", True),
        ("-0.00", "0e7", True), ("100", "1e2", True), ("0.001", "1E-3", True), ("1e999999999", "10E999999998", True),
        ("1.10", "-1.10", False), ("1.10", "1.11", False), ("12345678901234567890.5", "12345678901234567890.6", False),
        ("1e999999999", "1e999999998", False), ("1e99999999999999999999", "1e99999999999999999998", False),
    ],
)  # fmt: skip
def test_numbers_are_compared_by_value(one: str, other: str, expected: bool) -> None:
    """How a number is written makes no difference, its last digit does."""
    assert (expected, expected) == (decode(one) == decode(other), decode(other) == decode(one))


def test_a_number_equals_nothing_else() -> None:
    """Neither its text nor a boolean is equal to a number."""
    assert [False] * 4 == [decode("1.0E0") == other for other in ("1.0E0", True, None, [])]


@pytest.mark.parametrize(
    ("text", "number", "expected"),
    [
        ("1.10", "1.1", True), (" 1,10", "1.1", False), ("007", "7", True), ("+7", "7", True), ("1e1", "10", True),
        ("", "0", False), (".", "0", False), ("-", "0", False), ("e5", "0", False), ("7x", "7", False),
    ],
)  # fmt: skip
def test_texts_that_are_numbers(text: str, number: str, expected: bool) -> None:
    """A number that is kept as text has the value that it says."""
    assert expected is is_same_number(text, decode(number))


@pytest.mark.parametrize("text", ["9" * 1_000_000 + "x", "1e" + "0" * 1_000_000 + "x", "1." + "0" * 1_000_000 + "x"])
def test_a_long_text_that_is_nearly_a_number(text: str) -> None:
    """It takes no longer than it is long to see that it is none."""
    began = time.perf_counter()
    assert not is_same_number(text, 9)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000", "1000"), ("1000.0", "1000"), ("1E3", "1000"), ("-0", "0"), ("1.5", "1.5"), ("10.50", "10.50"),
        ("1e999999999", "1e999999999"), ('"01"', "01"), ("9007199254740993.0", "9007199254740993"),
    ],
)  # fmt: skip
def test_ids_are_whole(text: str, expected: str) -> None:
    """An id is its digits, however the API writes the number."""
    assert expected == whole_text(decode(text))


@pytest.mark.parametrize(
    ("text", "plain", "shortest"),
    [
        ("1.10", "1.10", "1.1"), ("1E5", "100000", "100000"), ("15e-3", "0.015", "0.015"), ("-1.5e1", "-15", "-15"),
        ("1e-300", None, None), ("1e41", None, None), ("1.0", "1.0", "1"), ("-0", "-0", "0"),
    ],
)  # fmt: skip
def test_numbers_for_cells(text: str, plain: str | None, shortest: str | None) -> None:
    """A cell has no exponent in it; a number that would be long without has no cell."""
    assert (plain, shortest) == (plain_text(decode(text)), shortest_text(decode(text)))


@pytest.mark.parametrize(
    "text", ["NaN", "[-Infinity]", '{"a":Infinity}', "01", "1.", ".5", "+1", "", "\ufeff1", '"\t"']
)
def test_what_is_not_json(text: str) -> None:
    """An answer is read as strictly as the standard has it."""
    with pytest.raises(ValueError, match=r"not JSON|Expecting|Extra data|BOM|control character"):
        decode(text)


def test_depth() -> None:
    """Two hundred brackets are read, one more is not, whatever stands beside them."""
    assert decode("[" * 200 + "]" * 200)
    for deep in ("[" * 201 + "]" * 201, '[{"a":1},' + '{"a":' * 200 + "1" + "}" * 200 + "]", "[" * 500_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            decode(deep)


@given(st.recursive(st.text() | NUMBERS.map(Number) | st.booleans() | st.none(), lambda one: st.lists(one)
                    | st.dictionaries(st.text(), one)))  # fmt: skip
def test_any_value(value: Any) -> None:
    """What was written is read as the same, in the same order."""
    text = encode(value)
    assert (value, text) == (decode(text), encode(decode(text)))


def test_repeated_keys_and_halves_of_characters() -> None:
    """The last one of a repeated key counts; a text is one that any file can hold; and both are still known later."""
    said = r'{"d":1,"a":"x\ud800y","b":"\ud83d\ude00","c":"\\ud800","d":2,"d":3}'
    value = decode(said)
    assert {"b": "\U0001f600", "c": "\\ud800", "d": 3} == {key: value[key] for key in ("b", "c", "d")}
    assert value["a"] != decode(r'"x\ud801y"')
    assert encode(value).encode()
    assert decode(encode_ascii(value)) == decode(encode(value)) == value
    assert [False, False, True] == [is_exact(encode(one)) for one in (value, value["a"], value["b"] + value["c"])]


# -- bodies ------------------------------------------------------------------------------------------------------------

VAYU_RECORD = """{"id":"65f000000000000000000001","createdAt":%(n)s,"source":"Api","name":"Acme","externalId":"E-1",
"taxIds":[%(n)s],"contacts":[{"phone":"+49123","name":"Ann","id":%(n)s}],"currency":"EUR","address":{"city":"Bonn",
"country":"DE"},"customFields":[{"value":%(n)s,"vayuCustomFieldName":"Limit","valueType":"Number"},
{"vayuCustomFieldName":"Terms","valueType":"String","value":{"z":%(n)s,"a":[%(n)s]}}]}"""
VAYU_BODY = """{"source":"Api","name":"Bolt","externalId":"E-1",
"taxIds":[%(n)s],"contacts":[{"phone":"+49123","name":"Ann"}],"currency":"EUR","address":{"city":"Bonn",
"country":"DE"},"customFields":[{"value":%(n)s,"vayuCustomFieldName":"Limit","valueType":"Number"},
{"vayuCustomFieldName":"Terms","valueType":"String","value":{"z":%(n)s,"a":[%(n)s]}}]}"""
DUALENTRY_RECORD = """{"id":1000,"full_address":{"city":"Bonn","street":"Weg 1","postal_code":%(n)s,"state":null,
"lines":[%(n)s]},"balance":%(n)s}"""
DUALENTRY_BODY = """{"full_address":{"city":"Ulm","street":"Weg 1","postal_code":%(n)s}}"""


@given(NUMBERS)
def test_a_body_has_the_numbers_of_the_record(text: str) -> None:
    """What a write must repeat of a record, it repeats as it was read: numbers by their text, keys in their order."""
    vayu = VayuCustomers().body({"name": "Bolt"}, decode(VAYU_RECORD % {"n": text}))
    dualentry = DualEntryCustomers().body({"full_address.city": "Ulm"}, decode(DUALENTRY_RECORD % {"n": text}))
    expected = [(one % {"n": text}).replace("\n", "") for one in (VAYU_BODY, DUALENTRY_BODY)]
    assert expected == [as_content(vayu).decode(), as_content(dualentry).decode()]


@pytest.mark.parametrize(
    ("endpoint", "fields", "record", "expected"),
    [
        (VayuCustomers(), {"name": "B"}, r'{"taxId":"a\ud800"}', "half of a character, such as a cut emoji, in taxId"),
        (VayuCustomers(), {"name": "B"}, '{"taxId":"1","taxId":"2"}', 'the key "taxId" twice'),
        (VayuCustomers(), {"name": "B"}, '{"contacts":[{"name":"1","name":"2"}]}', 'the key "name" twice in contacts'),
        (
            VayuCustomers(),
            {"name": "B"},
            '{"customFields":[{"value":{"a":1,"a":2}}]}',
            'the key "a" twice in customFields',
        ),
        (
            VayuCustomers(sparse=True),
            {"address.city": "B"},
            '{"address":{"state":"1","state":"2"}}',
            'the key "state" twice in address',
        ),
        (
            VayuCustomers(sparse=True),
            {"address.city": "B"},
            '{"address":{},"address":{"state":"2"}}',
            'the key "address" twice',
        ),
        (
            DualEntryCustomers(),
            {"full_address.city": "B"},
            r'{"full_address":{"street":"a\udc00","city":"b","postal_code":"1"}}',
            "half of a character, such as a cut emoji, in full_address",
        ),
        (
            DualEntryCustomers(),
            {"full_address.city": "B"},
            '{"full_address":{"street":"a","street":"","city":"b","postal_code":"1","street":"c"}}',
            'the key "street" twice in full_address',
        ),
        (
            DualEntryCustomers(),
            {"full_address.city": "B"},
            '{"full_address":null,"full_address":{"street":"c","city":"b","postal_code":"1"}}',
            'the key "full_address" twice',
        ),
    ],
)
def test_what_cannot_be_written_back(endpoint: Any, fields: Any, record: str, expected: str) -> None:
    """What must be sent whole, and would come back otherwise, is not sent; that is no fault of the sheet."""
    body = endpoint.body(fields, decode(record))
    with pytest.raises(ConflictError, match=f"^the record has {expected}, which") as caught:
        as_content(body)
    assert ("not_exact", Outcome.REJECTED) == (caught.value.problem.code, caught.value.outcome)


@pytest.mark.parametrize(
    ("endpoint", "fields", "record"),
    [
        (VayuCustomers(), {"name": "B"}, r'{"id":"a","id":"b","createdAt":"\ud800","address":{"id":1,"id":2}}'),
        (VayuCustomers(), {"taxId": "B"}, r'{"taxId":"\ud800"}'),
        (VayuCustomers(sparse=True), {"name": "B"}, r'{"taxId":"\ud800","address":{"city":"1","city":"2"}}'),
        (DualEntryCustomers(), {"name": "B"}, r'{"name":"\ud800","full_address":{"city":"1","city":"2"}}'),
    ],
)  # fmt: skip
def test_elsewhere_such_records_are_ordinary(endpoint: Any, fields: Any, record: str) -> None:
    """Where what cannot be written back is not sent, nothing is in the way."""
    assert "B" in json.loads(as_content(endpoint.body(fields, decode(record)))).values()
